"""Real names and public addresses, in a network namespace where they belong to the test."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from .conftest import ROOT

UNSHARE = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    if not shutil.which("unshare") or subprocess.run([*UNSHARE, "true"], capture_output=True).returncode:
        # the same is tested with an injected resolver in tests/fetch/test_client.py
        pytest.skip("this machine allows no network namespaces")
    folder = tmp_path_factory.mktemp("network")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    program = 'mount --bind "$1/resolv.conf" /etc/resolv.conf && exec "$0" -m tests.crawl.own_network "$1"'
    command = [*UNSHARE, "sh", "-c", program, sys.executable, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_name_that_rebinds_gains_nothing(found: dict) -> None:
    assert found["rebinding"] == ["<p>public", "address", "address"] and found["asked"] == 3
    assert found["secret"] == []


def test_scopes(found: dict) -> None:
    start, inner = "http://www.one.test/", "http://www.one.test/inner"
    domain, rebinds, other = "http://other.one.test/", "http://rebind.one.test/", "http://two.test/"
    assert found["host"] == {start: "fetched", inner: "fetched"}
    refused = found["domain"].pop(rebinds)
    assert found["domain"] == found["host"] | {domain: "fetched"}
    assert found["any"].pop(rebinds) == refused and refused in ("failed address", "disallowed robots.unreachable")
    assert found["any"].pop("http://127.0.0.1/") in ("failed address", "disallowed robots.unreachable")
    assert found["any"] == found["domain"] | {other: "fetched"}


def test_the_open_web_is_told_who_asks(found: dict) -> None:
    assert found["agents"] == ["openm3w/0.1 (+test@one.test)"]

"""A small web on loopback servers, and the m3w command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli import commands, options
from pipeline.miniweb import generate
from pipeline.miniweb.serve import Addresses, Server, answer_from
from pipeline.miniweb.web import Web
from tests.ports import PORT

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = ("--allow-private", "127.0.0.0/8")


@dataclass
class Miniweb:
    """A served web and its servers."""

    web: Web
    server: Server
    seeds: list[str]


@pytest.fixture(scope="module")
def miniweb() -> Iterator[Miniweb]:
    addresses = Addresses(PORT)
    web = generate(120, 3, addresses)
    resources = web.resources
    homes = [f"{addresses(host)}/" for host in addresses.hosts if f"{addresses(host)}/" in resources]
    with Server(list(addresses.hosts.values()), PORT, answer_from(resources, PORT)) as server:
        yield Miniweb(web, server, homes)


def start(*arguments: str | Path) -> subprocess.Popen:
    """The m3w command as a process group of its own."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def m3w(*arguments: str | Path, status: int = 0) -> str:
    """Output of the m3w command, both streams. Fails if it ends with another status."""
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    return out + err


def here(*arguments: str | Path) -> None:
    """The m3w command in this process and with one worker, which saves seconds of imports. Raises BuildError."""
    options.beam_options[:] = ["--direct_num_workers=1"]
    try:
        commands.app([*map(str, arguments)], standalone_mode=False)
    finally:
        options.beam_options.clear()


def build(*arguments: str | Path) -> None:
    here("build", *arguments, "--set", "windows.vocabulary=600", "--set", 'windows.formats=["parquet"]')


def documents(corpus: Path) -> dict[str, tuple]:
    """url -> (texts, image URLs) of every document."""
    found = {}
    for path in sorted((corpus / "documents").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            found[row["url"]] = (row["texts"], [image and image["url"] for image in row["images"]])
    return found


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the main process only: workers must end by themselves."""
    with process:  # which closes its pipes
        os.kill(process.pid, signal.SIGKILL)

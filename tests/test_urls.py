"""URLs: the standard's own cases, the short way for clean ones, and the parts that other modules read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import urls
from pipeline.urls import MAX_URL, host_of, key_of, normal, origin_of, resolve, site_of, split

BASE = "https://example.org/a/b.html"
WEB = ("http:", "https:", "file:")


PORTS = {"http:": 80, "https:": 443, "file:": 0}


def vectors(shared: Path, name: str) -> list[dict[str, Any]]:
    text = (shared / "data/vectors/url" / f"{name}.json").read_text("utf-8", "surrogatepass")
    return [case for case in json.loads(text) if isinstance(case, dict)]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("urltestdata", 890),
        ("urltestdata-javascript-only", 1),
        ("ada_extra_urltestdata", 28),
        ("ada_long_urltestdata", 1),
    ],
)
def test_the_cases_of_web_platform_tests(shared: Path, name: str, least: int) -> None:
    cases = vectors(shared, name)
    assert len(cases) >= least
    for case in cases:
        if case["input"] == "https://www.google.com" and "failure" in case:
            continue  # a base that is no URL: resolve() takes absolute references all the same
        expected = (case.get("href") or "").split("#")[0]
        expected = expected if expected.startswith(WEB) else None
        assert resolve(case["input"], case.get("base") or "") == expected, case
        if expected is None or "hostname" not in case:
            continue
        parts = split(expected)
        assert parts is not None
        assert parts.port == int(case["port"] or PORTS[case["protocol"]]) and parts.authority == case["host"]
        assert f"{parts.scheme}:" == case["protocol"] and parts.host == case["hostname"].strip("[]")
        assert parts.target.partition("?")[0] == case["pathname"] and host_of(expected) == parts.host
        if case["protocol"] != "file:":
            assert normal(expected) == f"{case['protocol']}//{case['host']}{parts.target}"
            assert origin_of(expected) == case.get("origin", origin_of(expected))


def test_hosts_of_other_scripts(shared: Path) -> None:
    for case in vectors(shared, "toascii"):
        expected = case["output"] and f"https://{case['output']}/x"
        assert resolve(f"https://{case['input']}/x", "") == expected, case


@given(st.text(max_size=60))
def test_resolve_is_idempotent(reference: str) -> None:
    url = resolve(reference, BASE)
    assert url is None or resolve(url, "https://other.example/") == url


@given(st.from_regex(urls._CLEAN, fullmatch=True))
def test_the_short_way_gives_what_the_parser_gives(reference: str) -> None:
    assert resolve(" " + reference, BASE) == resolve(reference, BASE)


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("http://a.org/b.jpg\n", "http://a.org/b.jpg"),
        ("http://a.org:80/b.jpg", "http://a.org/b.jpg"),
        ("https://a.org:443/", "https://a.org/"),
        ("http://a.org:8080/", "http://a.org:8080/"),
        ("#top", BASE),
        ("?", BASE + "?"),
        ("\ud800", "https://example.org/a/%EF%BF%BD"),
        ("/" + "x" * MAX_URL, None),
        ("mailto:a@b.org", None),
    ],
)
def test_references(reference: str, url: str | None) -> None:
    assert resolve(reference, BASE) == url


@pytest.mark.parametrize("base", ["", "page.html", "http://[", "urn:uuid:1", "about:blank"])
def test_an_absolute_url_needs_no_base(base: str) -> None:
    assert resolve("HTTP://A.org", base) == "http://a.org/"
    assert resolve("a.jpg", base) is None


def test_parts() -> None:
    url = resolve("http://u:p@A.example:8080/x?y@z/#f", "")
    assert url == "http://u:p@a.example:8080/x?y@z/"
    assert split(url) == ("http", "a.example", 8080, "a.example:8080", "/x?y@z/")
    assert normal(url) == "http://a.example:8080/x?y@z/" and origin_of(url) == "http://a.example:8080"
    assert host_of(url) == host_of(origin_of(url)) == "a.example" and host_of("file:///a") == host_of("") == ""
    assert host_of("http://[2001:db8::1]:81/") == "2001:db8::1"
    assert normal("file:///a") is None and normal("a") is None


def test_sites() -> None:
    assert site_of("https://A.B.example.co.uk:8080/") == "example.co.uk"
    assert site_of("http://127.0.0.1:80/") == "127.0.0.1" and site_of("file:///a/b.html") == ""
    assert site_of("http://a.b.unknowntld/") == "b.unknowntld"


def test_keys_of_one_thing_are_equal() -> None:
    names = ["http://A.org:80/b%5bc%5D.jpg#x", "http://a.org/b[c].jpg", "HTTP://a.org/b%5Bc].jpg"]
    assert len({key_of(name) for name in names}) == 1
    assert key_of("http://a.org/b%2Fc") != key_of("http://a.org/b/c")

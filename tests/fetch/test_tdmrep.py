"""/.well-known/tdmrep.json: the examples of the protocol's report, and files that are something else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch.tdmrep import Reservations


def rule(location: object, value: object = 1) -> dict:
    return {"location": location, "tdm-reservation": value}


def reserved(rules: object, path: str) -> bool:
    return Reservations.parse(json.dumps(rules)).reserve(f"http://h{path}")


def test_the_example_of_the_report() -> None:
    policy = {"tdm-policy": "https://provider.com/policies/policy.json"}
    rules = [rule("/directory-a/"), rule("/directory-b/html/") | policy, rule("/directory-b/images/*.jpg", 0)]
    assert reserved(rules, "/directory-a/x.pdf") and reserved(rules, "/directory-b/html/")
    assert not reserved(rules, "/directory-b/images/x.jpg") and not reserved(rules, "/elsewhere")
    assert reserved([rule("/")], "/") and reserved([rule("/")], "/a/b?c=d")


@pytest.mark.parametrize(
    ("location", "path", "matches"),
    [
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/a*c", "/abbbc/d", True),
        ("*.jpg", "/x/y.jpg", True),
        ("/A", "/a", False),
        ("/foo-%24", "/foo-$", True),
        ("/%7Euser", "/~user", True),
        ("/é", "/%C3%A9", True),
        ("/a?b=", "/a?b=c", True),
    ],
)
def test_patterns(location: str, path: str, matches: bool) -> None:
    assert reserved([rule(location)], path) == matches


def test_the_first_pattern_that_matches_decides() -> None:
    assert not reserved([rule("/open/", 0), rule("/")], "/open/x")
    assert reserved([rule("/"), rule("/open/", 0)], "/open/x")


@pytest.mark.parametrize("value", [1, "1", 2, None, "yes", [], -1])
def test_whatever_is_not_zero_reserves(value: object) -> None:
    assert (
        reserved([rule("/", value)], "/x")
        and not reserved([rule("/", 0)], "/x")
        and not reserved([rule("/", "0")], "/x")
    )


def test_what_is_no_such_file() -> None:
    assert Reservations.parse(None).reserve("http://h/"), "it could not be reached"
    for text in (
        "",
        "<!doctype html><p>Not found</p>",
        "[]",
        "{}",
        "null",
        "[1, {}]",
        '[{"location": "/"}]',
        "[" * 10**5,
    ):
        assert not Reservations.parse(text).reserve("http://h/"), text[:50]
    # meant to be one
    assert Reservations.parse('[{"location": "/", "tdm-reservation": 1},]').reserve("http://h/")
    assert reserved(rule("/"), "/") and reserved([{"tdm-reservation": 1}], "/x") and reserved([rule(7)], "/x")


@given(st.lists(st.none() | st.integers() | st.text() | st.builds(rule, st.text(), st.integers())))
def test_any_json(value: object) -> None:
    Reservations.parse(json.dumps(value)).reserve("http://h/a?b")

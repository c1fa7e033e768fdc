"""robots.txt: Google's expectations of its own parser, and what a crawl does where there is none."""

import ast
import re
from pathlib import Path

import pytest

from pipeline.fetch import FetchFailed, Response
from pipeline.fetch.robots import Rules, text_of

STRING = r'"(?:[^"\\]|\\.)*"'
STATEMENT = re.compile(
    rf"(?:const )?(?:absl::string_view|std::string)\s+(?P<name>\w+)\s*=\s*(?P<value>(?:{STRING}\s*)+);"
    rf"|EXPECT_(?P<truth>TRUE|FALSE)\(\s*IsUserAgentAllowed\(\s*(?P<text>\w+|(?:{STRING}\s*)+),"
    rf"\s*(?P<agent>\w+|{STRING}),\s*(?P<url>\w+|(?:{STRING}\s*)+)\s*\)\s*\)"
)
# Google's own extensions and courtesies to typing errors, which RFC 9309 does not know and Protego does otherwise:
# "foo bar" as an agent, a URL that is not percent-encoded, "disalow", index.html for a folder.
NOT_RFC = {"GoogleOnly_SystemTest", "GoogleOnly_AcceptUserAgentUpToFirstSpace", "ID_UserAgentValueCaseInsensitive",
           "ID_Encoding", "GoogleOnly_IndexHTMLisDirectory", "GoogleOnly_LineTooLong"}  # fmt: skip


def literal(text: str, names: dict[str, str]) -> str:
    if text.startswith('"'):
        return "".join(ast.literal_eval(part) for part in re.findall(STRING, text))
    return names[text]


def expectations(path: Path) -> list[tuple[str, str, str, str, bool]]:
    """(test, robots.txt, agent, URL, allowed) of the C++ source."""
    found = []
    for section in re.split(r"^TEST\(", path.read_text("utf-8"), flags=re.M)[1:]:
        name = section.partition(", ")[2].partition(")")[0]
        names: dict[str, str] = {}
        for match in STATEMENT.finditer(section):
            if match["name"]:
                names[match["name"]] = literal(match["value"], names)
                continue
            try:
                text, agent, url = (literal(match[key].strip(), names) for key in ("text", "agent", "url"))
            except KeyError:
                continue  # a variable that code computes
            found.append((name, text, agent, url, match["truth"] == "TRUE"))
    return found


def judged(text: str, agent: str, url: str) -> bool:
    """What `Rules` says, for another agent than ours."""
    parsed = Rules.parse(text)._parsed
    return parsed is None or parsed.can_fetch(url, agent)


def test_googles_expectations(shared: Path) -> None:
    found = expectations(shared / "data/vectors/google_robots_test.cc")
    assert len(found) > 80
    wrong = {
        (name, text, agent, url)
        for name, text, agent, url, allowed in found
        if agent and url and judged(text, agent, url) != allowed
    }
    assert {name for name, *_ in wrong} <= NOT_RFC
    assert sum(1 for name, *_ in found if name not in NOT_RFC) > 50


def rules_of(answer: Response | FetchFailed) -> Rules:
    return Rules.parse(text_of(answer))


def response(status: int, raw: bytes = b"", **headers: str) -> Response:
    return Response("http://h/robots.txt", "::1", 0.0, 0.0, b"", b"", raw, status, headers)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_no_file_allows_everything(status: int) -> None:
    rules = rules_of(response(status, b"User-agent: *\nDisallow: /"))
    assert rules.allows("http://h/x") and rules.delay is None


@pytest.mark.parametrize("answer", [response(500), response(503), response(429), response(302), response(100),
                                    FetchFailed("timeout"), FetchFailed("dns"), FetchFailed("redirects")])  # fmt: skip
def test_no_answer_allows_nothing(answer: Response | FetchFailed) -> None:
    assert not rules_of(answer).allows("http://h/x")


def test_a_file_that_cannot_be_decoded_allows_nothing() -> None:
    assert not rules_of(response(200, b"\x1f\x8b\x08\x00torn", **{"content-encoding": "gzip"})).allows("http://h/x")


def test_rules_that_name_us_count_before_those_for_all() -> None:
    text = (
        "User-agent: *\nDisallow:\n\nUser-agent: OpenM3W\nDisallow: /private\nCrawl-delay: 2.5\nSitemap: http://h/s.xml"
    )
    rules = rules_of(response(200, b"\xef\xbb\xbf" + text.encode()))
    assert rules.allows("http://h/public") and not rules.allows("http://h/private/x")
    assert rules.delay == 2.5 and rules.sitemaps == ["http://h/s.xml"]


@pytest.mark.parametrize("delay", ["-1", "nan", "inf", "x", ""])
def test_delays_that_mean_nothing(delay: str) -> None:
    assert Rules.parse(f"User-agent: *\nCrawl-delay: {delay}").delay is None


def test_request_rate_is_a_delay() -> None:
    assert Rules.parse("User-agent: *\nRequest-rate: 1/10s").delay == 10
    assert Rules.parse(f"User-agent: *\nRequest-rate: 1/{'1' * 400}").delay is None


def test_ai_txt_refuses_by_the_ending_of_a_file() -> None:
    rules = Rules.parse("User-Agent: *\nDisallow: *.jpg\nAllow: /\n")
    assert not rules.allows("http://h/a/b.jpg") and rules.allows("http://h/a/b.html")


def test_a_huge_file_is_read_in_part() -> None:
    text = b"User-agent: *\nDisallow: /private\n" + b"#" * 10_000_000
    rules = rules_of(response(200, text))
    assert not rules.allows("http://h/private") and rules.allows("http://h/x") and len(rules.text or "") <= 500 << 10

"""srcset attributes and URL templates with any content."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.images import PictureElements, is_reference, srcset, urls_of_json

# URLs that neither begin nor end with a comma, as the HTML standard asks of them
URLS = st.text("abz019/.:?=&,%(){}-_~é", min_size=1, max_size=20).filter(lambda url: url.strip(",") == url)
CANDIDATES = st.lists(
    st.tuples(
        URLS,
        st.one_of(
            st.integers(0, 999_999).map(lambda number: (float(number), "w")),
            st.decimals(0, 99, places=2).map(lambda number: (float(number), "x")),
            st.just((1.0, "x")),
        ),
    ),
    min_size=1,
    max_size=8,
)


@given(CANDIDATES, st.sampled_from([", ", " , ", "\n,\t"]))
def test_what_is_written_is_read(candidates: list[tuple[str, tuple[float, str]]], comma: str) -> None:
    written = comma.join(
        f"{url} {number:.2f}x" if unit == "x" else f"{url} {number:.0f}w" for url, (number, unit) in candidates
    )
    assert srcset(written) == [(url, number, unit) for url, (number, unit) in candidates]


@given(st.text("ab,.({ 0123456789wxh\t\n%", max_size=60))
def test_each_candidate_is_a_word_of_the_attribute(value: str) -> None:
    found = srcset(value)
    assert all(url in value and url.strip(",") and unit in ("w", "x", "h", "") for url, _, unit in found)
    assert len(found) <= len(value)


@given(st.text("ab/._-", max_size=9), st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True), st.text("ab/._-", max_size=9))
def test_a_named_hole_makes_a_template_and_nothing_else_does(before: str, hole: str, after: str) -> None:
    url = f"/{before}{hole}{after}"
    assert is_reference(url)
    for opened, closed in (("{", "}"), ("{{", "}}"), ("${", "}"), ("%7B", "%7D"), ("%7b", "%7d"), ("<%= ", " %>")):
        assert not is_reference(f"/{before}{opened}{hole}{closed}{after}")


@given(
    st.dictionaries(
        st.sampled_from(["src", "srcset", "data-src", "data-srcset", "data-image", "data-x", "width", "alt"]),
        st.text("ab/:. ,{}[]\"'0123456789wxjpgdt;%<#\n", max_size=60)
        | st.sampled_from(
            ["data:,", "data:image/png;base64,AAAA", "[" * 5000, '{"a": "/b.jpg"}', "{width}.jpg", "a.jpg"]
        ),
        max_size=5,
    )
)
def test_whatever_an_element_offers(attributes: dict[str, str]) -> None:
    found = PictureElements(1024).offered(attributes)
    assert len(found) == len(set(found)) and all(is_reference(url) for url in found)


@given(st.lists(st.sampled_from(["/a.jpg", "/b.png", "no", "c d.jpg"]), max_size=6))
def test_json_values_in_order(values: list[str]) -> None:
    text = "[" + ", ".join(f'{{"src": "{value}"}}' for value in values) + "]"
    assert urls_of_json(text) == [value for value in values if value in ("/a.jpg", "/b.png")]

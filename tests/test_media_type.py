"""The media type of a body, by its bytes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media_type import HTML, SNIFF_BYTES, essence, media_type

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
AVIF = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B"
GIF = b"GIF89a\x08\0\x08\0\xf0\0\0"
PAGE = b"<!DOCTYPE html><title>A page</title><p>Words."
XHTML = b'<?xml version="1.0"?>\n<!-- made -->\n<html xmlns="http://www.w3.org/1999/xhtml"><p>Words.</p></html>'
XHTML_1 = b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x"><html>'
RSS = b'<?xml version="1.0"?><rss version="2.0"><channel>&lt;html></channel></rss>'
SVG = b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><svg xmlns="x"><g/></svg>'
SCRIPT = b"<!-- old browsers\ndocument.write('<html><p>no page');"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("text/html", "text/html"),
        ("Text/HTML; charset=utf-8", "text/html"),
        ("text/html charset=utf-8", "text/html"),
        ("text/html, text/html; charset=UTF-8", "text/html"),
        (' "image/jpeg" ', "image/jpeg"),
        ("application/xhtml+xml", "application/xhtml+xml"),
        ("html", ""),
        ("", ""),
        ("; charset=x", ""),
    ],
)
def test_a_label_without_its_parameters(label: str, expected: str) -> None:
    assert essence(label) == expected


@pytest.mark.parametrize(
    ("label", "body", "kind"),
    [
        # pictures, whatever they are called
        ("application/jpg", JPEG, "picture"),
        ("text/html", JPEG, "picture"),
        ("application/x-download", JPEG, "picture"),
        ("text/plain", JPEG, "picture"),
        ("", JPEG, "picture"),
        ("application/octet-stream", AVIF, "picture"),
        ("video/mp4", AVIF, "picture"),
        ("text/html", GIF, "picture"),
        ("image/jpeg", b"anything", "picture"),
        ("image/svg+xml", SVG, "picture"),
        ("application/xml", SVG, "picture"),
        ("application/octet-stream", SVG, "picture"),
        # texts that begin like pictures
        ("text/html", b"GIF89a is the name of a format <p>", "page"),
        ("text/html", b"BMW builds cars \x02 <p>", "page"),
        ("text/plain", b"BM", "other"),
        # pages
        ("text/html", b"no markup", "page"),
        ("text/html", SVG, "page"),
        ("text/html", b"%PDF-1.4\n", "page"),
        ("text/html, text/html; charset=UTF-8", PAGE, "page"),
        ("text/html charset=utf-8", PAGE, "page"),
        ("application/xml", XHTML, "page"),
        ("text/xml", XHTML_1, "page"),
        ("", XHTML, "page"),
        ("text/plain", PAGE, "page"),
        ("application/pdf", b"\n" + PAGE, "page"),
        ("application/x-httpd-php", PAGE, "page"),
        ("application/x-httpd-php", b"<p>Words without a doctype", "page"),
        ("", b"\n <h1>Words</h1>", "page"),
        ("application/octet-stream", b"\xef\xbb\xbf<!-- a\nb --><html>", "page"),
        ("application/octet-stream", b"<meta charset=x>\n<html>", "page"),
        # neither
        ("text/plain", b"<p>shown as it is", "other"),
        ("application/javascript", SCRIPT, "other"),
        ("application/x-javascript", SCRIPT, "other"),
        ("application/json", b'"<html>"', "other"),
        ("text/html", RSS, "other"),
        ("application/rss+xml", RSS, "other"),
        ("application/octet-stream", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "other"),
        ("", b"%PDF-1.4\n<html>", "other"),
        ("application/octet-stream", b"\x1f\x8b\x08\0<html>", "other"),
        ("application/octet-stream", bytes(100), "other"),
        ("", b"", "other"),
    ],
)
def test_bytes_decide(label: str, body: bytes, kind: str) -> None:
    found = media_type(label, body)
    assert ("page" if found in HTML else "picture" if found.startswith("image/") else "other") == kind, found


def test_what_the_archive_identified_counts_where_the_label_says_nothing() -> None:
    assert media_type("application/x-httpd-php", b"words", "text/html") == "text/html"
    assert media_type("", b"words", "text/html; charset=x") == "text/html"
    assert media_type("text/plain", b"words", "text/html") == "text/plain"
    assert media_type("text/html", b"words", "application/pdf") == "text/html"
    assert media_type("", JPEG, "text/html") == "image/jpeg"


@given(st.text(max_size=30), st.binary(max_size=80), st.text(max_size=30))
def test_any_label_and_any_bytes(label: str, body: bytes, identified: str) -> None:
    found = media_type(label, body, identified)
    assert found == found.lower()


@pytest.mark.parametrize("piece", [b"<!--", b"<?", b" ", b"<!doctype x", b"<", b"\xef\xbb\xbf", b"<!-- -->", b"<a"])
def test_only_the_beginning_is_looked_at(piece: bytes) -> None:
    assert media_type("", piece * 5_000_000 + PAGE) == media_type("", (piece * SNIFF_BYTES)[:SNIFF_BYTES])

"""One small page per behaviour, each with the nodes that it must become."""

from pipeline.extract import extract
from shards.records import Image, Text

URL = "https://example.org/blog/post.html"
LOREM = (
    "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the hour into the log. "
    "Nobody read the log for forty years, and yet every page of it was full, neat, and dated."
)


def nodes(body: str, head: str = "", url: str = URL):
    page = f"<!DOCTYPE html><html><head><title>T</title>{head}</head><body>{body}</body></html>"
    document = extract(page.encode(), url)
    return document.nodes if document else None


def article(inner: str) -> str:
    return f"<article><p>{LOREM}</p>{inner}<p>{LOREM}</p></article>"


def images(inner: str, **keywords) -> list[Image]:
    return [node for node in nodes(article(inner), **keywords) or () if isinstance(node, Image)]


def test_image_between_paragraphs_keeps_its_place():
    assert nodes(article('<p><img src="a.jpg" alt="A lamp"></p>')) == (
        Text(LOREM),
        Image("https://example.org/blog/a.jpg", alt="A lamp"),
        Text(LOREM),
    )


def test_page_without_content_is_none():
    assert extract(b"", URL) is None
    assert extract(b"<html><body></body></html>", URL) is None

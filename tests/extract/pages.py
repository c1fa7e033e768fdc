"""Small pages around the markup under test."""

from pipeline.extract import ExtractOptions, extract
from shards.records import Document, Image, Text

URL = "https://example.org/blog/post.html"
ROOT = "https://example.org/blog/"
BEFORE = (
    "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the hour into the log. "
    "Nobody read the log for forty years, and yet every page of it was full, neat, and dated."
)
AFTER = (
    "When the lamp was replaced by an electric one, the keeper stayed for another winter, because the new machine "
    "was not trusted by the sailors, who wanted to know that somebody was awake up there."
)
MIDDLE = "He kept bees as well, which was unusual on an island without trees, and sold the honey to the pilots."
STORY = f"<article><h1>The keeper</h1><p>{BEFORE}</p><p>{MIDDLE}</p><p>{AFTER}</p></article>"
MENU = (
    '<nav><ul><li><a href="/">Home</a></li><li><a href="/news">News</a></li>'
    '<li><a href="/about">About</a></li></ul></nav>'
)
FOOTER = '<footer><p>© 2024 Example. All rights reserved. <a href="/privacy">Privacy policy</a></p></footer>'


def page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><title>The keeper</title>{head}</head><body>{body}</body></html>".encode()


def article(inner: str) -> str:
    return f"<article><p>{BEFORE}</p>{inner}<p>{AFTER}</p></article>"


def document(inner: str, head: str = "", url: str = URL, **options) -> Document:
    found = extract(page(article(inner), head), url, options=ExtractOptions(**options))
    assert found is not None
    return found


def images(inner: str, **keywords) -> list[Image]:
    return [node for node in document(inner, **keywords).nodes if isinstance(node, Image)]


def text(inner: str, **keywords) -> str:
    """The text between the two paragraphs around `inner`."""
    whole = "\n\n".join(node.text for node in document(inner, **keywords).nodes if isinstance(node, Text))
    assert whole.startswith(BEFORE) and whole.endswith(AFTER)
    return whole.removeprefix(BEFORE).removesuffix(AFTER).strip("\n")

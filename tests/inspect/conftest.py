"""A corpus with hostile text from strangers, and a browser to look at it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, sync_playwright

from pipeline.inspect.finished import open_corpus

SCRIPT = "<script>document.title='taken'</script>"
HOSTILE = (
    f"</style></title></textarea>--> {SCRIPT} <img src=x onerror=alert(1)> \" ' {{{{ 7*7 }}}} "
    "\u202egnp.exe\u202c \x1b[31m \x00"
)
URL = f'javascript:alert(1)//"><{SCRIPT}'


def _rewrite(path: Path, change: Any) -> None:
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def _document(row: dict[str, Any]) -> None:
    row["url"] = URL
    row["language"] = HOSTILE
    row["metadata"]["title"] = HOSTILE
    row["texts"] = [text and HOSTILE + text for text in row["texts"]]
    for image in filter(None, row["images"]):
        image |= {"alt": HOSTILE, "licence": HOSTILE, "author": HOSTILE}


def _window(row: dict[str, Any]) -> None:
    row["url"] = URL
    row["text"] = HOSTILE + row["text"]
    for image in row["image_metadata"]:
        image |= {"alt": HOSTILE, "licence": HOSTILE, "author": HOSTILE}


def _dropped(row: dict[str, Any]) -> None:
    row["url"] = URL
    if "detail" in row:
        row["detail"] = HOSTILE
    if "metadata" in row:  # a page as extracted
        row["metadata"] = row["metadata"] and row["metadata"] | {"title": HOSTILE, "licence": HOSTILE}
        row["texts"] = [text and HOSTILE + text for text in row["texts"] or ()]
        for image in filter(None, row["images"] or ()):
            image |= {"alt": HOSTILE, "licence": HOSTILE, "author": HOSTILE}


@pytest.fixture(scope="session")
def hostile_corpus(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("hostile") / "corpus"
    shutil.copytree(small_corpus, corpus)
    opened = open_corpus(corpus)
    for folder, change in (("documents", _document), ("windows", _window)):
        for entry in opened.files(folder):
            _rewrite(opened.path(entry), change)
    for folder in ("records", "pages", "decisions"):
        for entry in opened.work(folder):
            _rewrite(opened.path(entry), _dropped)
    return corpus


# Not for the session: Playwright's API keeps an event loop running in the thread, and other tests start their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium is not None, "the report is opened in a browser: `make browser` installs Debian's chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()

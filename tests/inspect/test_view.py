"""The viewer, served and requested over loopback, and walked through in a browser."""

import hashlib
import http.client
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lxml.html
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.rules import EXTRACTION
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.viewer.compare import paragraphs
from pipeline.inspect.viewer.inputs import Inputs
from pipeline.inspect.viewer.layout import Layout
from pipeline.inspect.viewer.queries import Library
from pipeline.inspect.viewer.server import server
from pipeline.inspect.viewer.tokens import pieces
from shards.readers import read_documents, read_windows
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER
from tests.corpora import build_here
from tests.inspect.conftest import SCRIPT


@contextmanager
def served(corpus: Path, *inputs: str) -> Iterator[tuple[str, int]]:
    serving = server(open_corpus(corpus), 0, inputs)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield "127.0.0.1", serving.server_address[1]
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture(scope="module")
def address(small_corpus: Path) -> Iterator[tuple[str, int]]:
    with served(small_corpus) as where:
        yield where


def ask(address: tuple[str, int], path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=60)
    headers = {"Host": f"{address[0]}:{address[1]}" if host is None else host}
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    policy = response.getheader("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy and "script-src 'unsafe" not in policy
    body = response.read()
    kind = response.getheader("Location") or response.getheader("Content-Type") or ""
    connection.close()
    return response.status, kind, body


def text(address: tuple[str, int], path: str) -> str:
    status, kind, body = ask(address, path)
    assert status == 200 and kind == "text/html; charset=utf-8", (status, path, body)
    return body.decode()


def documents_of(corpus: Path) -> list[dict[str, Any]]:
    opened = open_corpus(corpus)
    return list(read_documents(opened.path(entry) for entry in opened.files("documents")))


def pages_of(address: tuple[str, int], path: str) -> Iterator[str]:
    """All pages of a list."""
    while path:
        page = text(address, path)
        yield page
        more = re.search(r'rel="next" href="([^"]*)"', page)
        path = more[1].replace("&amp;", "&") if more else ""


def listed(address: tuple[str, int], path: str, kind: str = "document") -> list[str]:
    """The ids of the items of a list."""
    wanted = rf'<li class="item" tabindex="-1"><(?:h2[^>]*><)?a href="/{kind}/([\w-]+)"'
    return [found for page in pages_of(address, path) for found in re.findall(wanted, page)]


def test_paging_shows_every_document_once(address: tuple[str, int], small_corpus: Path) -> None:
    assert listed(address, "/documents") == [row["doc_id"] for row in documents_of(small_corpus)]


def test_filters_show_what_they_say(address: tuple[str, int], small_corpus: Path) -> None:
    rows = documents_of(small_corpus)
    language, host = rows[-1]["language"], rows[0]["url"].split("/")[2]
    word = next(text for text in rows[3]["texts"] if text).split()[0]

    def count(row: dict[str, Any]) -> int:
        return sum(image is not None for image in row["images"])

    for query, passes in (
        ("split=validation", lambda row: row["split"] == "validation"),
        (f"language={language}", lambda row: row["language"] == language),
        (f"host={host}", lambda row: row["url"].split("/")[2] == host),
        ("images=2", lambda row: count(row) == 2),
        ("images=2-3", lambda row: 2 <= count(row) <= 3),
        ("images=4-", lambda row: count(row) >= 4),
        ("split=nothing", lambda row: False),
        (f"q={quote(word.upper())}", lambda row: any(word.lower() in (node or "").lower() for node in row["texts"])),
    ):
        wanted = [row["doc_id"] for row in rows if passes(row)]
        assert listed(address, f"/documents?{query}") == wanted, query


def test_windows_by_a_measure_of_their_document(address: tuple[str, int], small_corpus: Path) -> None:
    opened = open_corpus(small_corpus)
    query = "metric=words&low=60&high=80"
    wanted = set(listed(address, f"/documents?{query}"))
    rows = [row for split in ("train", "validation") for path in opened.windows(split)
            for row in read_windows([opened.path(path)])]  # fmt: skip
    windows = {row["window_id"] for row in rows if row["doc_id"] in wanted}
    assert 0 < len(windows) < len(rows)
    assert f"{len(windows):,} found." in text(address, f"/windows?{query}")
    assert set(re.findall(r'href="/window/([\w-]+)"', text(address, f"/windows?{query}"))) <= windows


def test_a_bar_of_a_histogram_leads_to_what_it_counts(address: tuple[str, int]) -> None:
    page = text(address, "/figures")
    bars = re.findall(r'<a href="([^"]+)"><title>[^:]*: ([\d,]+)', page)
    assert len(bars) > 20
    for metric in ("metric=words&amp;", "metric=tokens&amp;", "metric=shorter_side&amp;", "/images?images="):
        path, count = max(
            ((path, int(n.replace(",", ""))) for path, n in bars if metric in path), key=lambda bar: bar[1]
        )
        assert f"{count:,} found." in text(address, path.replace("&amp;", "&")), path


def test_images_are_the_stored_bytes_and_name_their_pages(address: tuple[str, int], small_corpus: Path) -> None:
    rows = documents_of(small_corpus)
    for image in filter(None, rows[2]["images"]):
        content = image["sha256"].hex()[:32]
        status, kind, body = ask(address, f"/picture/{content}")
        assert (status, kind) == (200, "image/jpeg") and hashlib.sha256(body).digest() == image["stored_sha256"]
        shown = {
            row["doc_id"] for row in rows for other in row["images"] if other and other["sha256"] == image["sha256"]
        }
        assert set(listed(address, f"/image/{content}")) >= shown
    contents = listed(address, "/images", "image")
    kept = {image["sha256"].hex()[:32] for row in rows for image in row["images"] if image}
    assert len(contents) == len(set(contents)) and set(contents) == kept


def test_images_by_their_own_licence_or_that_of_their_page(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    entries = open_corpus(corpus).files("images")
    entry = entries[0]
    rows = pq.read_table(corpus / entry.path, partitioning=None)
    told = rows.to_pylist()
    own, inherited = [row for row in told if row["status"] == "success"][:2]
    own |= {"licence": "CC0 of the image", "author": "P. Hotographer", "page_licence": "CC BY of the page"}
    inherited |= {"page_licence": "CC BY of the page"}
    pq.write_table(pa.Table.from_pylist(told, rows.schema), corpus / entry.path)
    with served(corpus) as where:
        for row, licence in ((own, "CC0 of the image"), (inherited, "CC BY of the page")):
            content = row["sha256"].hex()[:32]
            assert listed(where, f"/images?rule=all&licence={quote(licence)}", "image") == [content]
            assert licence in text(where, f"/image/{content}")
        assert "P. Hotographer" in text(where, f"/image/{own['sha256'].hex()[:32]}")
    for entry in entries:  # as an older version wrote them
        older = pq.read_table(corpus / entry.path, partitioning=None).drop_columns(["licence", "author"])
        pq.write_table(older, corpus / entry.path)
    with served(corpus) as where:
        licence = quote("CC BY of the page")
        assert len(listed(where, f"/images?rule=all&licence={licence}", "image")) == 2


def test_each_rule_lists_as_much_as_the_funnel_counts(address: tuple[str, int], small_corpus: Path) -> None:
    levels = {level["level"]: level["rules"] for level in funnel(small_corpus)["levels"]}
    counted_alone = {rule.id for rule in EXTRACTION}
    for level in ("pages", "paragraphs", "images", "tokens", "document_images", "windows", "records"):
        for row in levels.get(level, []):
            shown = list(pages_of(address, f"/dropped?rule={row['rule']}&level={level}"))
            found = sum(page.count('<li class="item"') for page in shown)
            if row["rule"] in counted_alone or level in ("paragraphs", "tokens", "document_images", "windows"):
                numbers = [n for page in shown for n in re.findall(r'</a> <span class="tag">([\d,]+) \w+</span>', page)]
                found = sum(int(n.replace(",", "")) for n in numbers)
            assert found == row["count"], (level, row["rule"])


def test_what_was_dropped_opens_at_the_rule_with_most_pages_or_images(
    address: tuple[str, int], small_corpus: Path
) -> None:
    levels = {level["level"]: level["rules"] for level in funnel(small_corpus)["levels"]}
    most = max((row for name in ("pages", "images") for row in levels[name]), key=lambda row: row["count"])
    assert f"<h2>{most['rule']}</h2>" in text(address, "/dropped")


def test_a_copy_is_shown_beside_the_page_that_was_kept(address: tuple[str, int], small_corpus: Path) -> None:
    (copy, *_) = listed(address, "/dropped?rule=dedup.near_text&level=pages")
    page = text(address, f"/document/{copy}")
    kept = re.search(r'Kept instead: <a href="/document/(\w+)"', page)
    assert kept is not None and "<h2>Kept instead</h2>" in page and "Dropped: dedup.near_text" in page
    words = next(row for row in documents_of(small_corpus) if row["doc_id"] == kept[1])["texts"]
    assert any(text and text.split("\n\n")[0] in lxml.html.fromstring(page).text_content() for text in words)
    group = re.search(r'href="(/cluster/\w+)"', page)
    assert group is not None and {copy, kept[1]} <= set(listed(address, group[1]))
    assert group[1].split("/")[2] in listed(address, "/clusters", "cluster")


def test_a_window_is_shown_by_token_beside_its_document(address: tuple[str, int], small_corpus: Path) -> None:
    opened = open_corpus(small_corpus)
    tokenizer = opened.tokenizer()
    rows = list(read_windows(opened.path(entry) for entry in opened.windows("train")))
    row = max(rows, key=lambda row: len(row["image_positions"]))
    page = text(address, f"/window/{row['window_id']}?tokens=1")
    assert f'href="/document/{row["doc_id"]}"' in page
    ids = [int(id) for found in re.findall(r'title="token \d+: id ([\d ]+), sees', page) for id in found.split()]
    assert ids == [id for id in row["input_ids"].tolist() if id != tokenizer.image_id]
    for position, image in re.findall(r'title="token (\d+): id [\d ]+, sees (no image|image \d+)', page):
        before = sum(place < int(position) for place in row["image_positions"].tolist())
        assert image == (f"image {before}" if before else "no image")
    for sibling in (row for row in rows if row["doc_id"] == rows[0]["doc_id"]):
        assert f'<a href="/window/{sibling["window_id"]}"' in text(address, f"/document/{rows[0]['doc_id']}")


def test_what_is_known_of_an_item_is_said_in_words(address: tuple[str, int], small_corpus: Path) -> None:
    """No names of columns, and nothing that was not measured."""
    told = text(address, f"/document/{documents_of(small_corpus)[0]['doc_id']}")
    assert "share of lines that start with a bullet" in told and "whether it contains {" in told
    assert "bullet_lines" not in told and ">-1" not in told and ">False<" not in told


def test_tokens_that_share_a_character_are_shown_together(small_corpus: Path) -> None:
    tokenizer = open_corpus(small_corpus).tokenizer()
    ids = [*tokenizer.encode("naïve 𒀀漢"), tokenizer.eoc_id, tokenizer.image_id, *tokenizer.encode(" é")]
    found = pieces({"input_ids": ids}, tokenizer)
    assert "".join(token.text for token in found[0].tokens) == "naïve 𒀀漢¶"
    assert "".join(token.text for token in found[1].tokens) == " é"
    assert [id for segment in found for token in segment.tokens for id in token.ids] == [
        id for id in ids if id != tokenizer.image_id
    ]


def test_a_marker_without_text_has_no_row_of_its_own(small_corpus: Path) -> None:
    """Two images in a row have an end of chunk between them, and nothing to read."""
    opened = open_corpus(small_corpus)
    (row, *_) = read_windows(opened.path(entry) for entry in opened.windows("train"))
    image = row["image_metadata"][0]
    told = {**row, "text": f"First.{EOC_MARKER}{IMAGE_MARKER}{EOC_MARKER}{IMAGE_MARKER}Last.{EOC_MARKER}"}
    library = Library(opened)
    layout = Layout(library, Inputs(library))
    shown = layout._shown_window({**told, "image_metadata": [image, image], "split": "train"})
    page = lxml.html.fromstring(str(layout._templates.get_template("shown.html").module.window(shown)))
    assert [text.text_content() for text in page.iterfind(".//p")] == ["First.¶", "Last.¶"]
    assert len(page.findall(".//figure")) == 2


def test_the_source_page_is_marked_with_what_was_kept(address: tuple[str, int], small_corpus: Path) -> None:
    row = documents_of(small_corpus)[2]
    page = lxml.html.fromstring(text(address, f"/source/{row['doc_id']}"))
    assert not page.xpath("//script|//iframe|//link|//base|//meta|//*[@onclick]|//a[@href]")
    kept = "".join(span.text_content() for span in page.find_class("m3w-kept"))
    words = [word for node in row["texts"] if node for word in node.split()]
    assert sum(word in kept for word in words) > 0.9 * len(words)
    assert page.find_class("m3w-left-out")
    images = [image for image in page.iter("img") if "m3w-kept" in (image.get("class") or "")]
    assert len(images) == sum(image is not None for image in row["images"])
    assert all(image.get("src").startswith("data:image/jpeg;base64,") for image in images)


def test_the_source_page_opens_at_the_window(address: tuple[str, int], small_corpus: Path, browser: Any) -> None:
    opened = open_corpus(small_corpus)
    rows = list(read_windows(opened.path(entry) for entry in opened.windows("train")))
    row = max(rows, key=lambda row: row["token_start"])
    walk = Walk(browser, address, viewport={"width": 1400, "height": 500})
    walk.open(f"/window/{row['window_id']}")
    frame = walk.page.frame_locator("iframe.source")
    inside = [words for found in frame.locator(".m3w-window").all() if (words := found.text_content().strip())]
    begins, *_, ends = row["text"].replace("<|endofchunk|>", "<image>").split("<image>")
    begins, ends = begins.strip()[:20], ends.strip()[-20:]
    assert inside and all(words in row["text"] or begins in words or ends in words for words in inside)
    held = walk.page.locator(".at-window .node.in")  # and of the document only the text in the window is marked
    assert held.first.text_content().strip().lstrip("1").strip().startswith(begins)
    assert walk.page.locator(".at-window .node.outside").count()
    assert begins in frame.locator("#m3w-window").text_content()
    assert frame.locator("html").evaluate("html => html.scrollTop") > 0
    assert walk.page.evaluate("scrollY") == 0 and walk.wrong == []
    walk.page.close()


def test_a_dropped_image_is_shown_where_it_was_with_its_rule(address: tuple[str, int]) -> None:
    (page_id, *_) = listed(address, "/dropped?rule=image.too_small&level=images")
    page = lxml.html.fromstring(text(address, f"/document/{page_id}"))
    (figure, *_) = (found for found in page.find_class("dropped-image") if "image.too_small" in found.text_content())
    assert ask(address, figure.find("img").get("src"))[0] == 200
    # an image that cannot be decoded is not in the store: it comes from the input
    (page_id, *_) = listed(address, "/dropped?rule=image.undecodable&level=images")
    page = lxml.html.fromstring(text(address, f"/document/{page_id}"))
    sources = [image.get("src") for figure in page.find_class("dropped-image") for image in figure.iter("img")]
    (found, *_) = (source for source in sources if source.startswith("/found/"))
    assert ask(address, found)[0] == 200


def test_a_page_that_opted_out_is_not_shown(address: tuple[str, int], small_corpus: Path) -> None:
    opened = open_corpus(small_corpus)
    rules = [row for entry in opened.work("decisions") for row in opened.table(entry, ["rule", "url"]).to_pylist()]
    assert any((row["rule"] or "").startswith("consent.") for row in rules)
    for rule in {row["rule"] for row in rules if (row["rule"] or "").startswith("consent.")}:
        for page_id in listed(address, f"/dropped?rule={rule}&level=images"):
            figures = lxml.html.fromstring(text(address, f"/document/{page_id}")).find_class("dropped-image")
            assert not any(figure.find("img") is not None for figure in figures if rule in figure.text_content())
    assert listed(address, "/dropped?rule=consent.noai&level=pages") == []


def test_dropped_paragraphs_are_marked_in_place() -> None:
    assert paragraphs("a\n\nb\n\nc\n\nd", "b\n\nd") == [("a", True), ("b", False), ("c", True), ("d", False)]
    assert paragraphs("a\n\nb", "a\n\nb") == [("a\n\nb", False)]
    assert paragraphs("a\n\nb", "") == [("a\n\nb", True)]


def test_another_input_is_refused(small_corpus: Path) -> None:
    with pytest.raises(BuildError, match="is not the input of this corpus: it was built from miniweb"):
        server(open_corpus(small_corpus), 0, [str(small_corpus)])
    with pytest.raises(BuildError, match=r"^nowhere: file or folder not found"):
        server(open_corpus(small_corpus), 0, ["nowhere"])


@pytest.mark.parametrize(
    "path",
    [
        "/picture/0", "/picture/..%2f..", "/image/0/0/../../../etc/passwd", "/document/x", "/window/0", "/cluster/0",
        "/source/0", "/found/0?node=0", "/etc/passwd", "//etc/passwd", "/documents?from=-1", "/documents?from=x",
        "/documents?images=x", "/documents?metric=url&low=1", "/documents?metric=words&low=x", "/images?metric=tar",
        "/images?sort=tar", "/dropped?rule=no.such", "/documents/1", "/random/rule", "/documents?" + "a=1&" * 50,
        "/layout.html", "/view.css/..", "/document/' OR 1=1",
    ],
)  # fmt: skip
def test_what_there_is_not(address: tuple[str, int], path: str) -> None:
    assert ask(address, path.replace(" ", "%20"))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:80", ""])
def test_another_host_gets_nothing(address: tuple[str, int], host: str) -> None:
    status, _, body = ask(address, "/documents", host=host)
    assert status == 421 and b"document/" not in body


def test_nothing_can_be_sent(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("POST", "/documents", body=b"x")
    assert connection.getresponse().status == 501
    assert ask(address, "/documents", method="HEAD")[2] == b""


class Walk:
    """A page of a browser that notes whatever goes wrong, and every request that leaves the server."""

    def __init__(self, browser: Any, where: tuple[str, int], **options: Any) -> None:
        self.base = f"http://{where[0]}:{where[1]}"
        self.page = browser.new_page(**options)
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append("dialog"))
        self.page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:", "about:")):
            self.wrong.append(url)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)

    def images_shown(self) -> bool:
        """Whether all images can be shown, those further down too."""
        show = "image => { image.loading = 'eager'; return image.decode().then(() => true, () => false); }"
        return all(self.page.evaluate(f"Promise.all([...document.images].map({show}))"))


def test_a_walk_with_the_keyboard(address: tuple[str, int], browser: Any) -> None:
    walk = Walk(browser, address, viewport={"width": 1400, "height": 900})
    page = walk.page
    walk.open("/documents")
    for key in ("j", "j", "j", "k"):
        page.keyboard.press(key)
    second = page.locator("li.item").nth(1)
    assert second.evaluate("item => item === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_url("**/document/*")
    frame = page.frame_locator("iframe.source")
    assert frame.locator(".m3w-kept").count() and frame.locator(".m3w-left-out").count()
    first = page.url
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: url != first)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(first)
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("the")
    page.keyboard.press("Enter")
    page.wait_for_url("**/documents?q=the")
    walk.open("/windows")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/window/*")
    assert not page.locator(".tokens").count()
    page.keyboard.press("t")
    page.wait_for_url("**tokens=1")
    assert page.locator(".tokens span").count() > 8
    page.keyboard.press("r")
    page.wait_for_url(lambda url: "tokens" not in url)
    assert walk.wrong == []
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(420, "dark"), (1400, "light")])
def test_no_page_is_wider_than_the_window(address: tuple[str, int], browser: Any, width: int, scheme: str) -> None:
    walk = Walk(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    document = next(iter(listed(address, "/documents?images=3-")))
    window = re.findall(r'href="(/window/[\w-]+)"', text(address, "/windows"))[0]
    for path in ("/", "/documents", "/windows", "/images", "/dropped", "/clusters", "/figures", f"/document/{document}",
                 f"{window}?tokens=1"):  # fmt: skip
        walk.open(path)
        assert walk.page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert walk.wrong == []
    walk.page.close()


def test_a_browser_shows_hostile_pages_without_running_them(hostile_corpus: Path, browser: Any) -> None:
    with served(hostile_corpus) as where:
        walk = Walk(browser, where)
        document = listed(where, "/documents")[0]
        window = re.findall(r'href="(/window/[\w-]+)"', text(where, "/windows"))[0]
        image = listed(where, "/images", "image")[0]
        rules = re.findall(r'<a href="(/dropped\?[^"]+)"', text(where, "/dropped"))
        group = listed(where, "/clusters", "cluster")[0]
        copy = listed(where, "/dropped?rule=dedup.near_text&level=pages")[0]
        others = [f"/cluster/{group}", f"/document/{copy}", *(path.replace("&amp;", "&") for path in rules)]
        assert len(others) > 20
        for path in (*others, "/", "/documents", f"/document/{document}", "/windows", window, f"{window}?tokens=1",
                     "/images", f"/image/{image}", "/dropped", "/clusters", "/figures",
                     "/documents?q=%3C/style%3E%3Cscript%3E",
                     "/documents?host=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"):  # fmt: skip
            walk.open(path)
            assert walk.page.title() != "taken"
            assert walk.images_shown(), path
        assert walk.wrong == []
        walk.page.close()


XSS = """<!doctype html><html><head><title>{script}</title><base href="./">
<meta http-equiv="refresh" content="0;url=https://evil.example/"><link rel="stylesheet" href="https://evil.example/a.css">
<style>@import "https://evil.example/b.css"; p {{ background: url(https://evil.example/c.png) }} </style></head>
<body onload="document.title='taken'"><h1>{script}</h1><p>{words} {escaped}</p><script>document.title='taken'</script>
<p><img src="one.png" alt="{escaped}" onerror="document.title='taken'">{words}</p>
<iframe srcdoc="{escaped}"></iframe><object data="https://evil.example/x.swf"></object>
<svg onload="document.title='taken'"><script>document.title='taken'</script><a href="javascript:alert(1)">x</a></svg>
<form action="https://evil.example/"><button>send</button></form><a href="javascript:document.title='taken'">{words}</a>
<p style="background:url(https://evil.example/d.png)">{words}</p></body></html>"""


def test_a_hostile_source_page_runs_and_loads_nothing(tmp_path: Path, browser: Any) -> None:
    """Built from hostile markup, with windows in tar files only."""
    pages = tmp_path / "pages"
    pages.mkdir()
    escaped = SCRIPT.replace("<", "&lt;").replace('"', "&quot;")
    words = iter(
        f"The {old} bridge over the river was painted {colour} in spring, and nobody in the town could say who had "
        f"done it, or why they had chosen a {colour} that no shop sells. The mayor asked the {old} painter."
        for old, colour in (("old", "green"), ("new", "blue"), ("long", "red"), ("stone", "white"), ("far", "black"))
    )
    markup = re.sub(r"\{words\}", lambda _: next(words), XSS.replace("{{", "{").replace("}}", "}"))
    (pages / "one.html").write_text(markup.replace("{script}", escaped).replace("{escaped}", escaped))
    pixels = pytest.importorskip("PIL.Image").effect_noise((200, 150), 90)
    pixels.save(pages / "one.png")
    corpus = build_here([pages], tmp_path / "corpus", ['windows.formats=["tar"]'])
    with served(corpus) as where:
        walk = Walk(browser, where)
        (document,) = listed(where, "/documents")
        (window,) = set(re.findall(r'href="(/window/[\w-]+)"', text(where, f"/document/{document}")))
        for path in (f"/document/{document}", "/windows", f"{window}?tokens=1", f"/source/{document}"):
            walk.open(path)
            assert walk.page.title() != "taken"
        assert walk.page.locator("img.m3w-kept").evaluate("image => image.naturalWidth") > 0
        assert SCRIPT in walk.page.locator("h1").text_content()
        assert [words for words in walk.wrong if "Blocked script execution" not in words] == []
        walk.page.close()
    shutil.rmtree(corpus / "work")
    with served(corpus) as where:
        assert listed(where, "/documents?images=1") == [document]
        assert "/picture/" in text(where, f"/document/{document}") and "/picture/" in text(where, window)
        assert len(listed(where, "/images", "image")) == 1 and "/dropped" not in text(where, "/")
        assert ask(where, "/dropped")[0] == ask(where, f"/source/{document}")[0] == 404
        assert ask(where, "/random/document")[:2] == (303, f"/document/{document}")


def test_a_damaged_file_is_named(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    path = corpus / "documents" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with served(corpus) as where:
        status, _, body = ask(where, "/documents")
    assert status == 500 and b"run m3w verify" in body and b"Traceback" not in body


def test_counts_by_rule_are_those_of_the_files(address: tuple[str, int], small_corpus: Path) -> None:
    opened = open_corpus(small_corpus)
    counts: Counter[str] = Counter()
    for entry in opened.work("split"):
        counts.update(rule for rule in pq.read_table(opened.path(entry))["rule"].to_pylist() if rule)
    page = text(address, "/dropped")
    for rule, count in counts.items():
        assert re.search(rf'level=pages">{re.escape(rule)}</a></td><td class="n">{count:,}<', page), rule


def test_a_copy_of_a_near_copy_is_in_its_group(tmp_path: Path) -> None:
    """Of three pages the second is nearly the first and kept, the third equals the second."""
    pages = tmp_path / "pages"
    pages.mkdir()
    effect_noise = pytest.importorskip("PIL.Image").effect_noise
    effect_noise((200, 150), 90).save(pages / "one.png")
    words = " ".join(f"The bridge number {number} over the river was painted in spring." for number in range(40))
    for name, end in (("a", "Nobody knows why."), ("bb", "All know why."), ("ccc", "All know why.")):
        (pages / f"{name}.html").write_text(f"<body><h1>Bridges</h1><p>{words} {end}</p><img src='one.png'></body>")
    with served(build_here([pages], tmp_path / "corpus", ["dedup.near_text=false"])) as where:
        (group,) = listed(where, "/clusters", "cluster")
        assert len(listed(where, f"/cluster/{group}")) == 3

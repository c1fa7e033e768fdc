"""The answer to each address of the viewer. Documents, windows and images are addressed by id."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import jinja2

from filters import rules
from filters.image import SCORE_METRICS
from filters.rules import metrics
from filters.text import NOT_MEASURED
from pipeline.extract.charset import decode
from pipeline.inspect import plots
from pipeline.inspect.figures import COUNTS, short
from pipeline.inspect.pictures import StoredPlace, small, stored_bytes
from pipeline.inspect.report import TITLES, environment, shown_image, shown_level
from pipeline.inspect.samples import as_document, harmless
from pipeline.inspect.viewer import compare, source
from pipeline.inspect.viewer.database import PAGE_METRICS
from pipeline.inspect.viewer.inputs import Inputs
from pipeline.inspect.viewer.queries import Filter, Found, Library
from pipeline.inspect.viewer.tokens import pieces, segments
from shards.records import Text

HERE = Path(__file__).parent
DOCUMENTS, WINDOWS, IMAGES, DROPPED, NODES = 10, 8, 60, 40, 120
"""Items per page: documents, windows, images, dropped items, nodes of a document."""
THUMBS = 6
START = 300
MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp"}
LEVELS = ("pages", "paragraphs", "images", "tokens", "document_images", "windows", "records")
"""Levels of the funnel whose dropped items are listed."""
STATIC = {"view.css": "text/css; charset=utf-8", "view.js": "text/javascript; charset=utf-8",
          "icon.svg": "image/svg+xml"}  # fmt: skip
FILES = {"view.css": ("../style.css", "view.css")}
OPTED_OUT = ("consent.", "robots.")
UNREADABLE = {rule.id for rule in rules.DECODING} - {"image.undecodable"}
COUNTED_ALONE = {rule.id for rule in rules.EXTRACTION}


class Answer(NamedTuple):
    """A response: media type, body, and a policy or a redirect if it needs its own."""

    kind: str
    body: bytes
    policy: str = ""
    location: str = ""


@dataclass
class Pages:
    """Raises LookupError or ValueError for an address that does not exist, BuildError for a damaged corpus."""

    library: Library
    inputs: Inputs

    @cached_property
    def _templates(self) -> jinja2.Environment:
        made = environment()
        made.loader = jinja2.FileSystemLoader([HERE, HERE.parent])
        made.globals |= {"link_to": link_to, "bar": plots.bar, "explained": rules.EXPLAINED, "short": short}
        return made

    def answer(self, target: str) -> Answer:
        """The answer to a request target."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=20).items()}
        name, *rest = parts.path.removeprefix("/").split("/")
        lists: dict[str, Callable[[dict[str, str]], Answer]] = {
            "": self._home,
            "documents": self._documents,
            "windows": self._windows,
            "images": self._images,
            "dropped": self._dropped,
            "clusters": self._clusters,
            "figures": self._figures,
        }
        items: dict[str, Callable[[str, dict[str, str]], Answer]] = {
            "document": self._document,
            "window": self._window,
            "image": self._image,
            "cluster": self._cluster,
            "picture": self._picture,
            "found": self._found,
            "source": self._source,
            "random": self._random,
        }
        if not rest and name in lists:
            return lists[name](query)
        if not rest and name in STATIC:
            return Answer(STATIC[name], b"\n".join((HERE / file).read_bytes() for file in FILES.get(name, (name,))))
        if len(rest) == 1 and name in items and re.fullmatch(r"[A-Za-z0-9_-]{1,100}", rest[0]):
            return items[name](rest[0], query)
        raise LookupError(target)

    def _page(self, template: str, title: str, **content: Any) -> Answer:
        shared = {
            "title": title,
            "name": self.library.corpus.root.resolve().name,
            "has_work": self.library.corpus.has_work,
            "section": template.removesuffix(".html"),
            "before": None,
            "after": None,
            "found": None,
        }
        page = self._templates.get_template(template).render(**shared | content)
        return Answer("text/html; charset=utf-8", page.encode("utf-8", "replace"))

    def _list(self, template: str, wanted: Filter, query: dict[str, str], found: Found, **content: Any) -> Answer:
        """A list, with links to its start and its next page."""
        path = content.pop("path", f"/{template.removesuffix('.html')}")
        start = _number(query.get("from", "0"))
        return self._page(
            template,
            content.pop("title", template.removesuffix(".html")),
            query=wanted,
            found=found,
            path=path,
            before=link_to(path, wanted.query()) if start else None,
            after=None if found.next is None else link_to(path, wanted.query() | {"from": str(found.next)}),
            **content,
        )

    # lists

    def _home(self, query: dict[str, str]) -> Answer:
        corpus = self.library.corpus
        counts = [
            ("documents", sum(entry.rows for entry in corpus.files("documents")), "/documents"),
            ("training windows", sum(entry.rows for entry in corpus.windows("train")), "/windows?split=train"),
            ("validation windows", sum(entry.rows for entry in corpus.windows("validation")),
             "/windows?split=validation"),
            ("stored images", sum(entry.rows for entry in corpus.files("images", ".tar")), "/images"),
        ]  # fmt: skip
        return self._page("home.html", "corpus", counts=counts, missing=self.inputs.missing, built=self._built())

    def _built(self) -> list[tuple[str, str]]:
        corpus = self.library.corpus
        names = [source["name"] for source in corpus.manifest["input"]]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        return [("input", shown), ("recipe", f"{corpus.recipe.name} ({corpus.manifest['recipe'][:12]})")]

    def _choices(self, table: str) -> dict[str, list[tuple[str, int]]]:
        return {name: self.library.values(table, name) for name in ("split", "language", "licence", "host")}

    def _documents(self, query: dict[str, str]) -> Answer:
        wanted = Filter(**_known(query, "split host language licence images metric low high q rule"))
        found = self.library.find(wanted, _number(query.get("from", "0")), DOCUMENTS)
        return self._list(
            "documents.html",
            wanted,
            query,
            found,
            items=self._listed(found.rows, wanted.q),
            choices=self._choices("page"),
            metrics=list(PAGE_METRICS) if self.library.corpus.has_work else [],
            rules=self.library.rules_of("page"),
        )

    def _listed(self, rows: Sequence[dict[str, Any]], words: str = "") -> list[dict[str, Any]]:
        """Pages as they are listed: their beginning, or where the searched words are, and their first images."""
        places = [(row["part"], row["document"]) for row in rows if row["rule"] is None]
        kept = self.library.contents("documents", places, "texts, images")
        dropped = [(row["part"], row["row"]) for row in rows if row["rule"] is not None and row["doc_id"]]
        others = self.library.contents("pages", dropped, "texts")
        listed = []
        for row in rows:
            is_kept = row["rule"] is None
            content = kept[row["part"], row["document"]] if is_kept else others.get((row["part"], row["row"]), {})
            texts = [text for text in content.get("texts") or () if text]
            thumbs = [self._stored(image) for image in content.get("images") or () if image][:THUMBS]
            listed.append(row | {"start": _excerpt(texts, words), "thumbs": thumbs})
        return listed

    @staticmethod
    def _stored(image: dict[str, Any]) -> dict[str, Any]:
        content = image["sha256"].hex()[:32]
        return shown_image(image, f"/picture/{content}") | {"content": content}

    def _windows(self, query: dict[str, str]) -> Answer:
        wanted = Filter(**_known(query, "split host language licence images metric low high q"))
        found = self.library.find_windows(wanted, _number(query.get("from", "0")), WINDOWS)
        return self._list(
            "windows.html",
            wanted,
            query,
            found,
            items=[self._shown_window(row) for row in found.rows],
            choices=self._choices("windows"),
            metrics=["tokens"],
        )

    def _shown_window(self, row: dict[str, Any], tokens: bool = False) -> dict[str, Any]:
        """A window with its images between pieces of text."""
        images = [
            shown_image(image, f"/picture/{image['sha256'].hex()[:32]}") | {"content": image["sha256"].hex()[:32]}
            for image in row["image_metadata"]
        ]
        tokenizer = self.library.tokenizer if tokens else None
        parts = segments(row) if tokenizer is None else pieces(row, tokenizer)
        return row | {"images": images, "parts": parts, "tokens": len(row["input_ids"]), "by_token": tokens}

    def _images(self, query: dict[str, str]) -> Answer:
        wanted = Filter(**_known(query, "rule format images metric low high sort"))
        found = self.library.find_pictures(wanted, _number(query.get("from", "0")), IMAGES)
        return self._list(
            "images.html",
            wanted,
            query,
            found,
            items=found.rows,
            formats=self.library.values("picture", "format"),
            metrics=self.library.image_metrics(),
            rules=self.library.rules_of("picture"),
        )

    def _dropped(self, query: dict[str, str]) -> Answer:
        if not self.library.corpus.has_work:
            raise LookupError("dropped")
        groups = self._counts()
        rule = query.get("rule") or _largest(groups)
        known = {row["rule"] for _, rows in groups for row in rows}
        if rule and rule not in known:
            raise LookupError(rule)
        start = _number(query.get("from", "0"))
        level = query.get("level") or next((name for name, rows in groups for row in rows if row["rule"] == rule), "")
        kind, found = self._dropped_by(rule, level, start) if rule else ("pages", Found([], None))
        return self._list(
            "dropped.html",
            Filter(rule=rule),
            query,
            found,
            title=rule or "dropped",
            groups=[(TITLES[name][0], name, rows) for name, rows in groups],
            kind=kind,
            items=self._listed(found.rows) if kind == "pages" else found.rows,
            level=level,
        )

    def _counts(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Levels of the funnel with their rules, for the levels that are listed."""
        levels = {level["level"]: level for level in self.library.funnel["levels"]}
        shown = [(name, shown_level(levels[name])["rows"]) for name in LEVELS if name in levels]
        return [(name, rows) for name, rows in shown if rows]

    def _dropped_by(self, rule: str, level: str, start: int) -> tuple[str, Found]:
        if rule in COUNTED_ALONE:
            return "left_out", self.library.left_out(rule, start, DROPPED)
        if level == "images":
            return "images", self.library.dropped_references(rule, start, DROPPED)
        if level == "paragraphs":
            return "left_out", self.library.dropped_paragraphs(rule, start, DROPPED)
        if level in ("tokens", "document_images"):
            return "left_out", self.library.uncovered(level, rule, start, DROPPED)
        if level == "windows":
            return "left_out", self.library.dropped_windows(rule, start, DROPPED)
        if level == "records":
            return "records", self.library.dropped_records(rule, start, DROPPED)
        return "pages", self.library.find(Filter(rule=rule), start, DROPPED)

    def _clusters(self, query: dict[str, str]) -> Answer:
        found = self.library.clusters(_number(query.get("from", "0")), DROPPED)
        first = self.library.titles([row["id"] for row in found.rows])
        items = [row | {"first": first.get(row["id"])} for row in found.rows]
        return self._list("clusters.html", Filter(), query, found, items=items)

    def _cluster(self, id: str, query: dict[str, str]) -> Answer:
        found = self.library.cluster(id, _number(query.get("from", "0")), DOCUMENTS)
        items = self._listed(found.rows)
        return self._list("cluster.html", Filter(), query, found, items=items, path=f"/cluster/{id}", title="cluster")

    def _figures(self, query: dict[str, str]) -> Answer:
        """Histograms whose bars lead to what they count."""
        known, corpus = rules.metrics(), self.library.corpus
        of_pages = (
            [name for name in PAGE_METRICS if known[name].edges and name != "pictures"] if corpus.has_work else []
        )
        wanted: list[tuple[str, str, Sequence[float], str]] = [
            ("page", "images", COUNTS, "Images of a page"),
            *(("page", name, known[name].edges, known[name].what) for name in of_pages),
            ("windows", "tokens", _edges(corpus.recipe.windows.tokens), "Tokens of a window"),
            ("windows", "images", COUNTS, "Images of a window"),
            *(("picture", name, known[name].edges, known[name].what) for name in self.library.image_metrics()),
            ("picture", "pages", COUNTS, "Pages that show an image"),
        ]
        return self._page("figures.html", "figures", tiles=[self._tile(*figure) for figure in wanted])

    def _tile(self, table: str, column: str, edges: Sequence[float], what: str) -> dict[str, Any]:
        path = {"page": "/documents", "windows": "/windows", "picture": "/images"}[table]
        bins = []
        for low, high, kept, dropped in self.library.histogram(table, column, tuple(edges)):
            name = f"{short(low)}{'' if high is None else f'–{short(high)}'}{'+' if high is None else ''}"
            whole = isinstance(low, int) and (high is None or isinstance(high, int))
            if whole and high == low + 1:
                name = short(low)
            counted = column == "images" or (table == "picture" and column == "pages")
            span = {"metric": column, "low": f"{low:g}"} | ({} if high is None else {"high": f"{high:g}"})
            if counted:
                span = {"images": f"{low}-" if high is None else f"{low}-{int(high) - 1}"}
            target = link_to(path, span | ({"rule": "all"} if table != "windows" and dropped else {}))
            bins.append({"name": name, "count": kept + dropped, "dropped": dropped, "href": target})
        title = f"{what[0].upper()}{what[1:]}"
        return {"title": title, "plot": plots.histogram(bins, title), "column": column}

    # items

    def _document(self, doc_id: str, query: dict[str, str]) -> Answer:
        page = self.library.page(doc_id)
        start = _number(query.get("from", "0"))
        nodes, total = self._nodes(page, start)
        windows: list[dict[str, Any]] = []
        if page["rule"] is None:
            windows = compare.place_windows(self.library, page, nodes)
        instead = self._instead(page)
        wanted = Filter(rule=page["rule"] or "")
        before, after = self.library.beside(page["number"], wanted)
        return self._page(
            "document.html",
            page["title"] or page["url"],
            page=page,
            nodes=nodes,
            earlier=link_to(f"/document/{doc_id}", {"from": str(max(0, start - NODES))}) if start else None,
            later=link_to(f"/document/{doc_id}", {"from": str(start + NODES)}) if start + NODES < total else None,
            left=max(0, total - start - NODES),
            windows=[self._shown_window(row) | {"label": row["label"]} for row in windows],
            instead=instead,
            has_source=self._has_source(page),
            before=before and f"/document/{before}",
            after=after and f"/document/{after}",
            detail=self._detail(page),
            metadata=self._metadata(page),
        )

    def _has_source(self, page: dict[str, Any]) -> bool:
        return page["doc_id"] is not None and self.inputs.has(page["part"])

    def _instead(self, page: dict[str, Any]) -> dict[str, Any] | None:
        """The page that was kept instead of a copy."""
        if not page["survivor"]:
            return None
        kept = self.library.titles([page["survivor"]]).get(page["survivor"])
        return None if kept is None else kept | {"nodes": self._nodes(kept, 0)[0]}

    def _detail(self, page: dict[str, Any]) -> str:
        if page["rule"] is None or not self.library.corpus.has_work or page["doc_id"] is None:
            return ""
        said = self.library.extracted(page["part"], page["row"])["detail"] or ""
        measured = [
            f"{name.replace('_', ' ')} {page[name]}"
            for rule in rules.PAGES_JUDGED
            if rule.id == page["rule"]
            for name in rule.metrics
            if name != "url" and page.get(name) is not None
        ]
        return "; ".join(filter(None, [said, *measured]))

    def _metadata(self, page: dict[str, Any]) -> list[tuple[str, str]]:
        if page["doc_id"] is None:
            return []
        row = (
            self.library.document(page["part"], page["document"])
            if page["rule"] is None
            else self.library.extracted(page["part"], page["row"])
        )
        shown = [(name.replace("_", " "), value) for name, value in (row["metadata"] or {}).items() if value]
        capture = row["capture"] or {}
        shown += [("capture", f"{capture.get('file')}, byte {capture.get('offset')}, {capture.get('date') or ''}")]
        found = [(metric.what, page.get(name)) for name, metric in PAGE_METRICS.items()]
        return [*shown, *((what, _said(value)) for what, value in found if value not in (None, NOT_MEASURED))]

    def _nodes(self, page: dict[str, Any], start: int) -> tuple[list[dict[str, Any]], int]:
        """Nodes `start` and following of a page, dropped images in their place, and how many there are."""
        if page["doc_id"] is None:
            return [], 0
        if not self.library.corpus.has_work:
            nodes = as_document(self.library.document(page["part"], page["document"])).nodes
            shown = [
                {"node": index, "of": index, "windows": [], "rule": None, "rules": "", "detail": ""}
                | ({"text": node.text} if isinstance(node, Text) else self._stored(node.row()))
                | {"image": not isinstance(node, Text)}
                for index, node in enumerate(nodes)
            ]
            return shown[start : start + NODES], len(shown)
        row = self.library.extracted(page["part"], page["row"])
        verdicts = self.library.verdicts(page["part"], page["row"])
        shown = compare.nodes_of(row, verdicts, page)
        if page["rule"] is None:
            compare.document_nodes(shown, self.library.document(page["part"], page["document"])["images"])
        part = shown[start : start + NODES]
        known = self.library.pictures_of([node["content"] for node in part if node.get("content")])
        lost = [node for node in part if node["image"] and not known.get(node["content"] or "", {}).get("tar")]
        held = self.inputs.holds([url for node in lost for url in node["urls"]]) if self._has_source(page) else set()
        for node in part:
            if node["image"] and not (node["rule"] or "").startswith(OPTED_OUT):
                self._show(node, known.get(node["content"] or ""), held, page)
        return part, len(shown)

    @staticmethod
    def _show(node: dict[str, Any], stored: dict[str, Any] | None, held: set[str], page: dict[str, Any]) -> None:
        """Add to an image node where its pixels are: in the store, or in the input."""
        if stored:
            node["detail"] = stored["detail"] or ""
        if stored and stored["tar"]:
            node |= shown_image(stored | {"alt": node["alt"]}, f"/picture/{node['content']}")
        elif node["rule"] not in UNREADABLE and held.intersection(node["urls"]):
            node["src"] = f"/found/{page['doc_id']}?node={node['node']}"

    def _window(self, window_id: str, query: dict[str, str]) -> Answer:
        row = self.library.window(window_id)
        page = self.library.page(row["doc_id"])
        nodes, _ = self._nodes(page, 0)
        (placed,) = compare.place_windows(self.library, page, nodes, [row])
        first, last = placed["nodes"]
        if last >= NODES:
            start = max(0, first - 4)
            nodes, _ = self._nodes(page, start)
            (placed,) = compare.place_windows(self.library, page, nodes, [row])
        by_token = query.get("tokens") == "1"
        before, after = self.library.window_beside(row["number"])
        return self._page(
            "window.html",
            f"window {window_id}",
            window=self._shown_window(row, by_token),
            page=page,
            nodes=[node for node in nodes if first - 4 <= node["node"] <= last + 4],
            siblings=self.library.windows_of(row["doc_id"]),
            has_source=self._has_source(page),
            before=before and f"/window/{before}" + ("?tokens=1" if by_token else ""),
            after=after and f"/window/{after}" + ("?tokens=1" if by_token else ""),
        )

    def _image(self, content: str, query: dict[str, str]) -> Answer:
        picture = self.library.picture(content)
        start = _number(query.get("from", "0"))
        found = self.library.uses(content, start, DROPPED)
        return self._list("image.html", Filter(), query, found, picture=picture, items=found.rows,
                          path=f"/image/{content}", title="image", facts=_facts(picture))  # fmt: skip

    def _picture(self, content: str, query: dict[str, str]) -> Answer:
        """The stored bytes of an image; as a JPEG if browsers do not show its format."""
        row = self.library.picture(content)
        if not row["tar"]:
            raise LookupError(content)
        return _image(stored_bytes(self.library.corpus, StoredPlace(row["tar"], row["offset"], row["length"])))

    def _found(self, doc_id: str, query: dict[str, str]) -> Answer:
        """An image of a page that is not in the store, from the input."""
        page = self.library.page(doc_id)
        row = self.library.extracted(page["part"], page["row"])
        image = (row["images"] or [])[_number(query.get("node", ""))]
        if image is None or not self._has_source(page):
            raise LookupError(doc_id)
        urls = [image["url"], *(image["alternatives"] or ())]
        bodies = self.inputs.bodies(urls)
        data = next((bodies[url] for url in urls if url in bodies), b"")
        scaled = small(data)
        return _image(data) if scaled is None else Answer("image/jpeg", scaled)

    def _source(self, doc_id: str, query: dict[str, str]) -> Answer:
        """The page as it was captured, for a sandboxed frame."""
        page = self.library.page(doc_id)
        body = self.inputs.page(page)
        if not body:
            raise LookupError(doc_id)
        marks = compare.marks(self.library, page, body)
        shown = source.source_page(decode(body).replace("\0", ""), page["url"], marks, self._bodies(page), small)
        return Answer("text/html; charset=utf-8", shown, source.POLICY)

    def _bodies(self, page: dict[str, Any]) -> Callable[[Iterable[str]], dict[str, bytes]]:
        """A function that returns what is at some URLs of a page: its images in the store, the rest from the input."""
        images = self.library.extracted(page["part"], page["row"])["images"] or ()
        content_of: dict[str, str] = {}
        for node, verdict in self.library.verdicts(page["part"], page["row"]).items():
            if verdict["content"] and not (verdict["rule"] or "").startswith(OPTED_OUT):
                urls = (images[node]["url"], *(images[node]["alternatives"] or ()))
                content_of |= dict.fromkeys(urls, verdict["content"])
        places = self.library.pictures_of(sorted(set(content_of.values())))

        def bodies(urls: Iterable[str]) -> dict[str, bytes]:
            found, left = {}, []
            for url in urls:
                row = places.get(content_of.get(url, ""))
                if row and row["tar"]:
                    place = StoredPlace(row["tar"], row["offset"], row["length"])
                    found[url] = stored_bytes(self.library.corpus, place)
                else:
                    left.append(url)
            return found | self.inputs.bodies(left)

        return bodies

    def _random(self, kind: str, query: dict[str, str]) -> Answer:
        wanted = Filter(**_known(query, "split host language licence images metric low high rule format"))
        draw = {
            "document": self.library.random_page,
            "window": self.library.random_window,
            "image": self.library.random_picture,
        }[kind]
        return Answer("text/plain", b"", location=f"/{kind}/{quote(draw(wanted))}")


def link_to(path: str, query: dict[str, str]) -> str:
    kept = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(kept, quote_via=quote)}" if kept else path


def _largest(groups: Sequence[tuple[str, list[dict[str, Any]]]]) -> str:
    """The rule that dropped most pages or images."""
    rows = [row for name, rows in groups if name in ("pages", "images") for row in rows]
    rows = rows or [row for _, rows in groups for row in rows]
    return str(max(rows, key=lambda row: row["count"])["rule"]) if rows else ""


def _known(query: dict[str, str], names: str) -> dict[str, str]:
    return {name: query.get(name, "")[:500] for name in names.split()}


def _number(text: str) -> int:
    """Parse a number of at most 12 digits. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ValueError(f"not a number: {text!r}")
    return int(text)


def _image(data: bytes) -> Answer:
    """An image as it is if browsers show its format, else as a JPEG. Raises LookupError."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Answer("image/webp", data)
    for magic, kind in MAGIC.items():
        if data.startswith(magic):
            return Answer(f"image/{kind}", data)
    scaled = small(data)
    if scaled is None:
        raise LookupError("not an image")
    return Answer("image/jpeg", scaled)


def _edges(tokens: int) -> tuple[int, ...]:
    return tuple(range(0, tokens + 1, max(1, tokens // 16)))


def _excerpt(texts: Sequence[str], words: str) -> str:
    """The text around the first occurrence of `words`, else the beginning."""
    for text in texts:
        at = text.lower().find(words.lower()) if words else -1
        if at >= 0:
            start = max(0, at - START // 3)
            return ("… " if start else "") + harmless(text[start : start + START])
    return harmless(texts[0][:START]) if texts else ""


def _said(value: float) -> str:
    """A stored number or answer, as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _facts(picture: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of an image."""
    facts = [("format", picture["format"] or "unknown")]
    if picture["original_width"]:
        facts.append(("as fetched", f"{picture['original_width']}×{picture['original_height']}"))
    if picture["width"]:
        facts.append(("as stored", f"{picture['width']}×{picture['height']}, {picture['length']:,} bytes"))
    for name in ("spread", *(metric.name for metric in SCORE_METRICS)):
        if picture.get(name) is not None:
            facts.append((metrics()[name].what, f"{picture[name]:.3g}"))
    return [*facts, ("sha256", f"{picture['content']}…"), ("detail", picture["detail"] or "")]

"""Single items of the viewer: a document, a window, an image, and the source page."""

from collections.abc import Callable, Iterable
from typing import Any

from filters import rules
from filters.image import SCORE_METRICS
from filters.rules import metrics
from filters.text import NOT_MEASURED
from pipeline.extract.charset import decode
from pipeline.inspect.pictures import StoredPlace, small, stored_bytes
from pipeline.inspect.report import shown_image
from pipeline.inspect.samples import as_document
from pipeline.inspect.viewer import compare, source
from pipeline.inspect.viewer.database import PAGE_METRICS
from pipeline.inspect.viewer.layout import DROPPED, NODES, Answer, Layout, link_to, number
from pipeline.inspect.viewer.queries import Filter
from pipeline.inspect.viewer.tokens import EOC_MARKER, segments
from shards.clips import is_clip
from shards.records import Text

MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp"}
OPTED_OUT = ("consent.", "robots.")
UNREADABLE = {rule.id for rule in rules.DECODING} - {"image.undecodable"}


class Items(Layout):
    """The pages of single items, and the bytes of images."""

    def _document(self, doc_id: str, query: dict[str, str]) -> Answer:
        page = self.library.page(doc_id)
        start = number(query.get("from", "0"))
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
        return [*shown, *((what, said(value)) for what, value in found if value not in (None, NOT_MEASURED))]

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
        texts = [segment.text.replace(EOC_MARKER, "") for segment in segments(row)]
        by_token = query.get("tokens") == "1"
        before, after = self.library.window_beside(row["number"])
        return self._page(
            "window.html",
            f"window {window_id}",
            window=self._shown_window(row, by_token),
            page=page,
            nodes=list(compare.cut([node for node in nodes if first - 4 <= node["node"] <= last + 4], texts)),
            siblings=self.library.windows_of(row["doc_id"]),
            has_source=self._has_source(page),
            before=before and f"/window/{before}" + ("?tokens=1" if by_token else ""),
            after=after and f"/window/{after}" + ("?tokens=1" if by_token else ""),
        )

    def _image(self, content: str, query: dict[str, str]) -> Answer:
        picture = self.library.picture(content)
        start = number(query.get("from", "0"))
        found = self.library.uses(content, start, DROPPED)
        return self._list("image.html", Filter(), query, found, picture=picture, items=found.rows,
                          path=f"/image/{content}", title="image", facts=facts(picture))  # fmt: skip

    def _picture(self, content: str, query: dict[str, str]) -> Answer:
        """The stored bytes of an image; as a JPEG if browsers do not show its format."""
        row = self.library.picture(content)
        if not row["tar"]:
            raise LookupError(content)
        return image_answer(stored_bytes(self.library.corpus, StoredPlace(row["tar"], row["offset"], row["length"])))

    def _found(self, doc_id: str, query: dict[str, str]) -> Answer:
        """An image of a page that is not in the store, from the input."""
        page = self.library.page(doc_id)
        row = self.library.extracted(page["part"], page["row"])
        image = (row["images"] or [])[number(query.get("node", ""))]
        if image is None or not self._has_source(page):
            raise LookupError(doc_id)
        urls = [image["url"], *(image["alternatives"] or ())]
        bodies = self.inputs.bodies(urls)
        data = next((bodies[url] for url in urls if url in bodies), b"")
        scaled = small(data)
        return image_answer(data) if scaled is None else Answer("image/jpeg", scaled)

    def _source(self, doc_id: str, query: dict[str, str]) -> Answer:
        """The page as it was captured, for a sandboxed frame."""
        page = self.library.page(doc_id)
        body = self.inputs.page(page)
        if not body:
            raise LookupError(doc_id)
        marks = compare.marks(self.library, page, body)
        row = self.library.window(query["window"]) if query.get("window") else {"text": ""}
        window = "".join(segment.text.replace(EOC_MARKER, "") for segment in segments(row))
        html = decode(body).replace("\0", "")
        shown = source.source_page(html, page["url"], marks, self._bodies(page), small, window)
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


def image_answer(data: bytes) -> Answer:
    """An image as it is if browsers show its format, else as a JPEG. Raises LookupError."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Answer("image/webp", data)
    if is_clip(data) and (row := small(data)) is not None:
        return Answer("image/jpeg", row)
    for magic, kind in MAGIC.items():
        if data.startswith(magic):
            return Answer(f"image/{kind}", data)
    scaled = small(data)
    if scaled is None:
        raise LookupError("not an image")
    return Answer("image/jpeg", scaled)


def said(value: float) -> str:
    """A stored number or answer, as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def facts(picture: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of an image."""
    facts = [("format", picture["format"] or "unknown")]
    if picture["original_width"]:
        facts.append(("as fetched", f"{picture['original_width']}×{picture['original_height']}"))
    if picture["width"]:
        facts.append(("as stored", f"{picture['width']}×{picture['height']}, {picture['length']:,} bytes"))
    for name in ("spread", *(metric.name for metric in SCORE_METRICS)):
        if picture.get(name) is not None:
            facts.append((metrics()[name].what, f"{picture[name]:.3g}"))
    for name in ("licence", "author"):
        if picture[name]:
            facts.append((f"{name}, of the image or else its page", picture[name][:300]))
    return [*facts, ("sha256", f"{picture['content']}…"), ("detail", picture["detail"] or "")]

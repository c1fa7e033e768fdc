"""A local viewer for documents and windows.

It listens on 127.0.0.1, answers only GET, and only if the Host header is its own: a page elsewhere whose name resolves
to 127.0.0.1 (DNS rebinding) gets nothing. Images are requested by document and node, never by path."""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from filters import rules
from filters.rule import Level
from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished
from pipeline.inspect.funnel import funnel
from pipeline.inspect.library import Filter, Found, Library
from pipeline.inspect.report import environment, shown_image, style
from pipeline.inspect.samples import as_document, as_window
from shards.records import Text

SHOWN: tuple[Level, ...] = ("record", "page", "reference", "image")
"""Levels with dropped items to show; some images are only counted."""
DOCUMENTS, WINDOWS, DROPPED, NODES = 10, 6, 50, 200
"""Items per page: documents, windows, dropped items, nodes of a document."""
THUMBS = 5
START = 280
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp"}


def server(corpus: Finished, port: int = 0) -> ThreadingHTTPServer:
    """A server ready to serve on 127.0.0.1, on a free port if `port` is 0. Raises BuildError."""
    library, told = Library(corpus), funnel(corpus)
    pages = Pages(library, told)

    class Handler(_Handler):
        answer = staticmethod(pages.answer)

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BuildError(f"port {port} is not available ({error.strerror}): choose another --port") from None


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[str], tuple[str, bytes]]
    server_version, sys_version = "openm3w", ""
    timeout = 30

    def do_GET(self) -> None:
        _, port = self.connection.getsockname()
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"this page is for 127.0.0.1 only\n")
            return
        try:
            kind, body = self.answer(self.path)
        except (IndexError, LookupError, ValueError):
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such thing\n")
        except BuildError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", f"{error}\n".encode())
        else:
            self._send(HTTPStatus.OK, kind, body)

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the terminal is the user's."""


class Pages:
    """The answer to each path. Raises LookupError or ValueError for an unknown path."""

    def __init__(self, library: Library, told: dict[str, Any]):
        self._library = library
        self._funnel = told
        found = {row["rule"] for level in told["levels"] for row in level["rules"]}
        listed = {rule.id for rule in rules.of(*SHOWN)} - {rule.id for rule in rules.EXTRACTION}
        self._rules = sorted(found & listed, key=list(rules.EXPLAINED).index)
        self._template = environment().get_template("view.html")

    def answer(self, target: str) -> tuple[str, bytes]:
        """(media type, body) for a request target."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=10).items()}
        name, *numbers = parts.path.strip("/").split("/")
        if name == "image" and len(numbers) == 2:
            return self._image(_number(numbers[0]), _number(numbers[1]))
        if name == "document" and len(numbers) == 1:
            return self._document(_number(numbers[0]), _number(query.get("from", "0")))
        if numbers or name not in ("", "documents", "windows", "dropped"):
            raise LookupError(target)
        start = _number(query.get("from", "0"))
        wanted = Filter(**{key: query.get(key, "") for key in ("split", "host", "language", "q")})
        if name == "documents":
            return self._documents(wanted, start)
        if name == "windows":
            return self._windows(wanted, start)
        if name == "dropped" and self._rules:
            return self._dropped(query.get("rule", self._rules[0]), start)
        return self._page("home", "corpus", headline=self._headline())

    def _headline(self) -> list[tuple[str, int]]:
        kept = self._funnel["kept"]
        splits = [(f"{split} documents", count) for split, count in kept["documents"].items()]
        return [*splits, ("images", kept["images"]), *((f"{split} windows", n) for split, n in kept["windows"].items())]

    def _documents(self, wanted: Filter, start: int) -> tuple[str, bytes]:
        found = self._library.find(wanted, start, DOCUMENTS)
        shown = [self._listed(number) for number in found.numbers]
        return self._list("documents", wanted, start, found, documents=shown)

    def _listed(self, number: int) -> dict[str, Any]:
        document = as_document(self._library.document(number))
        text = next((node.text for node in document.nodes if isinstance(node, Text)), "")
        images = [node for node in self._nodes(number, 0, NODES) if "src" in node][:THUMBS]
        return vars(document) | {"index": number, "start": text[:START], "images": images}

    def _nodes(self, number: int, start: int, stop: int) -> list[dict[str, Any]]:
        nodes = as_document(self._library.document(number)).nodes
        return [
            {"text": node.text} if isinstance(node, Text) else shown_image(node.row(), f"/image/{number}/{index}")
            for index, node in enumerate(nodes)
            if start <= index < stop
        ]

    def _document(self, number: int, start: int) -> tuple[str, bytes]:
        document = as_document(self._library.document(number))
        left = max(0, len(document.nodes) - start - NODES)
        shown = vars(document) | {"nodes": self._nodes(number, start, start + NODES), "more": left}
        path = f"/document/{number}"
        return self._page(
            "document",
            document.title or document.url,
            document=shown,
            first=path if start else None,
            next=f"{path}?from={start + NODES}" if left else None,
        )

    def _windows(self, wanted: Filter, start: int) -> tuple[str, bytes]:
        rows, found = self._library.windows(wanted, start, WINDOWS)
        windows = []
        for split, row in rows:
            number = self._library.number(row["doc_id"])
            images = self._library.document(number)["images"] if number is not None else []
            node_of = {image["stored_sha256"]: node for node, image in enumerate(images) if image}
            window = as_window(row, split)
            sources = [node_of.get(image["stored_sha256"]) for image in window.images]
            shown = [
                shown_image(image, None if node is None else f"/image/{number}/{node}")
                for image, node in zip(window.images, sources, strict=True)
            ]
            windows.append(vars(window) | {"images": shown})
        return self._list("windows", wanted, start, found, windows=windows)

    def _list(self, kind: str, wanted: Filter, start: int, found: Found, **content: Any) -> tuple[str, bytes]:
        query = {name: value for name, value in vars(wanted).items() if value}
        more = None if found.next is None else f"/{kind}?{urlencode({**query, 'from': found.next}, quote_via=quote)}"
        message = "The search reached its time limit; next continues." if found.late else ""
        first = f"/{kind}?{urlencode(query, quote_via=quote)}" if start else None
        return self._page(kind, kind, query=wanted, first=first, next=more, message=message, **content)

    def _dropped(self, rule: str, start: int) -> tuple[str, bytes]:
        if rule not in self._rules:
            raise LookupError(rule)
        things, after = self._library.dropped(rule, start, DROPPED)
        more = None if after is None else f"/dropped?{urlencode({'rule': rule, 'from': after})}"
        first = f"/dropped?{urlencode({'rule': rule})}" if start else None
        return self._page("dropped", rule, query={"rule": rule}, dropped=things, first=first, next=more)

    def _image(self, number: int, node: int) -> tuple[str, bytes]:
        data = self._library.picture(number, node)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return "image/webp", data
        if data[4:12] in (b"ftypavif", b"ftypavis"):
            return "image/avif", data
        for magic, kind in MAGIC.items():
            if data.startswith(magic):
                return f"image/{kind}", data
        raise LookupError("not an image format that browsers show")

    def _page(self, kind: str, title: str, **content: Any) -> tuple[str, bytes]:
        nothing: dict[str, Any] = {"first": None, "next": None, "message": "", "query": {}}
        page = self._template.render(
            **nothing
            | {
                "kind": kind,
                "title": title,
                "name": self._library.corpus.root.resolve().name,
                "style": style(),
                "splits": self._library.values("split"),
                "languages": self._library.values("language"),
                "hosts": self._library.values("host")[:200],
                "rules": self._rules,
                "explained": rules.EXPLAINED,
            }
            | content
        )
        return "text/html; charset=utf-8", page.encode("utf-8", "replace")


def _number(text: str) -> int:
    """Parse a number of at most 12 digits. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ValueError(f"not a number: {text!r}")
    return int(text)

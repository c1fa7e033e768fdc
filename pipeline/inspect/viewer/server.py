"""The HTTP side of the viewer.

It listens on 127.0.0.1, answers only GET, and only if the Host header is its own: a page elsewhere whose name resolves
to 127.0.0.1 (DNS rebinding) gets nothing. No page runs inline scripts or loads anything from elsewhere."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished
from pipeline.inspect.viewer.inputs import Inputs
from pipeline.inspect.viewer.layout import Answer
from pipeline.inspect.viewer.pages import Pages
from pipeline.inspect.viewer.queries import Library

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def server(corpus: Finished, port: int = 0, inputs: Sequence[str] = ()) -> ThreadingHTTPServer:
    """A server ready to serve on 127.0.0.1, on a free port if `port` is 0. `inputs` are the paths of the build's input,
    for source pages; those beside the corpus are found without. Raises BuildError."""
    library = Library(corpus)
    pages = Pages(library, Inputs(library, inputs))

    class Handler(_Handler):
        answer = staticmethod(pages.answer)

    try:
        serving = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise BuildError(f"port {port} is not available ({error.strerror}): choose another --port") from None
    Thread(target=pages.prepare, daemon=True).start()
    return serving


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[str], Answer]
    server_version, sys_version = "openm3w", ""
    timeout = 30

    def do_GET(self) -> None:
        _, port = self.connection.getsockname()
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, Answer("text/plain", b"this page is for 127.0.0.1 only\n"))
            return
        try:
            answer = self.answer(self.path)
        except (LookupError, ValueError):
            self._send(HTTPStatus.NOT_FOUND, Answer("text/plain", b"there is no such thing\n"))
        except BuildError as error:
            message = Answer("text/plain; charset=utf-8", f"{error}\n".encode())
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        else:
            self._send(HTTPStatus.SEE_OTHER if answer.location else HTTPStatus.OK, answer)

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Content-Security-Policy", answer.policy or POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
            *((("Location", answer.location),) if answer.location else ()),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(answer.body)
            except ConnectionError:
                pass  # the browser went on to another page

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the terminal is the user's."""

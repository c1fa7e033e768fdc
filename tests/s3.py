"""moto's S3 server on loopback, with one bucket, and a faulty one."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from tests.ports import reserve

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Start the server, and let this process and its children use it. Yields s3://BUCKET."""
    port = reserve()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint} | dict(environment)).items():
                patch.setenv(name, value)
            _wait_for(port)
            import boto3

            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
            _forget()
            yield "s3://bucket"
        finally:
            _forget()
            server.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no server at port {port}, process {os.getpid()}")


def _forget() -> None:
    """Let fsspec ask the environment again: it keeps a file system for each set of options."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


class Faulty(ThreadingHTTPServer):
    """A store on loopback that passes every request on, but spoils one of ten: 500 or 503 instead of passing it on,
    half of the answer's body, or 500 after the request was served."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", reserve()), _Spoil)
        self.behind = endpoint.removeprefix("http://")
        self.requests = Counter[str]()
        self._lock = threading.Lock()

    def kind(self) -> str:
        """What happens to the next request."""
        with self._lock:
            draw = random.Random(self.requests.total())
            kind = draw.choice(("500", "503", "half", "lost")) if draw.random() < 0.1 else "whole"
            self.requests[kind] += 1
        return kind


class _Spoil(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kind = self.server.kind()
        if kind in ("500", "503"):
            self._answer(int(kind), {}, b"")
            return
        connection = HTTPConnection(self.server.behind)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data, headers = answer.read(), dict(answer.getheaders())
        connection.close()
        if kind == "lost":
            self._answer(500, {}, b"")
        else:
            self._answer(answer.status, headers, data, len(data) // 2 if kind == "half" else len(data))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def _answer(self, status: int, headers: dict[str, str], data: bytes, sent: int = 0) -> None:
        self.send_response_only(status)
        length = headers.pop("Content-Length", None) or str(len(data))
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data[:sent])
        if sent < len(data):
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def faulty_s3_server() -> Iterator[tuple[str, Faulty]]:
    """`s3_server`, reached through `Faulty`."""
    with s3_server() as bucket, pytest.MonkeyPatch.context() as patch:
        server = Faulty(os.environ["AWS_ENDPOINT_URL"])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        _forget()
        try:
            yield bucket, server
        finally:
            server.shutdown()
            server.server_close()

"""The fetch of one URL against servers that attack it or fail."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import subprocess
import threading
import time
import tracemalloc
import zlib
from functools import partial
from pathlib import Path

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch import Client, FetchFailed
from pipeline.fetch.client import parts_of
from pipeline.miniweb.serve import Asked
from tests.fetch.answers import LOOPBACK, QUICK, answering, get, ok, reason

# redirects


def redirecting(asked: Asked) -> bytes:
    number = int(asked.target.strip("/") or 0)
    if number == 0:
        return ok(b"there")
    return b"HTTP/1.1 301 M\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n" % (number - 1)


def test_redirects_are_followed_so_far_and_no_farther() -> None:
    with answering(redirecting) as root:
        assert get(f"{root}/5", follow=True).body == b"there"
        assert reason(f"{root}/6", follow=True) == "redirects"
    with answering(b"HTTP/1.1 302 F\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n") as root:
        assert reason(f"{root}/x", follow=True) == "redirect_loop"


# bodies


def test_what_came_over_the_wire_is_kept_as_it_is() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-TYPE:  text/html \r\nX-A: 1\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = b"5;x=y\r\nhello\r\n0\r\nTrailer: z\r\n\r\n"
    with answering(head + raw) as root:
        response = get(root)
    assert (response.head, response.raw, response.body) == (head, raw, b"hello")
    assert response.headers["x-a"] == "1" and response.media_type == "text/html" and response.address == "127.0.0.1"
    with answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(b"body")) as root:
        assert (get(root).head + get(root).raw) == ok(b"body")


def test_bodies_that_are_too_large() -> None:
    with answering(ok(bytes(100_001))) as root:
        assert reason(root) == "too_large"
    with answering(ok(b"x", length=10**15)) as root:
        assert reason(root) == "too_large"
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_000_000)) as root:
        assert reason(root) == "too_large"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_bombs(coding: str) -> None:
    pack = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": partial(brotli.compress, quality=5),
        "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    }[coding]
    packed = pack(bytes(50_000_000))
    assert len(packed) < 60_000
    with answering(ok(packed, b"Content-Encoding: " + coding.encode())) as root:
        tracemalloc.start()
        assert reason(root) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def endless(piece: bytes, pause: float, head: bytes = b"") -> int:
    """The port of a server that never ends its answer."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening:
            connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while True:
                connection.sendall(piece)
                time.sleep(pause)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"


def test_endless_and_slow_answers() -> None:
    begin = time.monotonic()
    assert reason(f"http://127.0.0.1:{endless(b'x' * 65536, 0, OK_HEAD)}/") == "too_large"
    assert reason(f"http://127.0.0.1:{endless(b'x', 0.05, OK_HEAD)}/") == "slow"
    assert (
        reason(f"http://127.0.0.1:{endless(b'X-A: b' + chr(10).encode(), 0.05, b'HTTP/1.1 200 OK' + bytes([13, 10]))}/")
        == "slow"
    )
    assert (
        reason(f"http://127.0.0.1:{endless(b'X-A: b' + chr(10).encode(), 0, b'HTTP/1.1 200 OK' + bytes([13, 10]))}/")
        == "header_too_large"
    )
    assert reason(f"http://127.0.0.1:{endless(b'', 0.5)}/") == "timeout"
    assert reason(f"http://127.0.0.1:{endless(b'HTTP/1.1 100 Continue' + bytes([13, 10, 13, 10]), 0)}/") in (
        "too_large",
        "slow",
        "timeout",
    )
    assert time.monotonic() - begin < 60


def test_wrong_lengths_and_broken_messages() -> None:
    with answering(ok(b"short", length=50)) as root:
        assert reason(root) == "reset"
    with answering(ok(b"longer than it says", length=6)) as root:
        assert get(root).body == b"longer"
    with answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n") as root:
        assert reason(root) == "protocol"
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello") as root:
        assert reason(root) == "protocol"
    with answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as root:
        assert reason(root) == "protocol"
    with answering(b"\x16\x03\x01\x02\x00" * 100) as root:
        assert reason(root) in ("protocol", "reset")
    with answering(ok(b"\x1f\x8b\x08\x00 no deflate stream", b"Content-Encoding: gzip")) as root:
        assert reason(root) == "coding"
    with answering(lambda asked: None) as root:
        assert reason(root) == "reset"
    assert reason("http://127.0.0.1:1/") == "connect"
    assert reason("http://nowhere.invalid/") == "dns"
    assert reason(f"http://{'a' * 64}.example/") == "dns"


@given(st.binary(max_size=300))
def test_any_bytes_for_an_answer(data: bytes) -> None:
    with answering(data) as root:
        try:
            _ = get(root).body
        except FetchFailed:
            pass


def test_a_kept_connection_that_the_server_closed_is_opened_anew() -> None:
    """Two answers on a connection, then it is reset in the moment of the third request."""
    count = 0

    def closing(asked: Asked) -> bytes | None:
        nonlocal count
        count += 1
        return None if count == 3 else ok(b"%d" % count)

    from pipeline.miniweb.web import Resource

    def keep(asked: Asked):
        answer = closing(asked)
        return None if answer is None else Resource(200, (), answer.rpartition(b"\r\n")[2], "")

    with answering(keep) as root:

        async def run() -> list[bytes]:
            async with Client(private=LOOPBACK, limits=QUICK) as client:
                return [(await client.exchange(root)).body for _ in range(4)]

        assert asyncio.run(run()) == [b"1", b"2", b"4", b"5"]


def test_no_cookie_and_no_credential_is_sent() -> None:
    seen = []

    def remember(asked: Asked) -> bytes:
        seen.append(asked.headers)
        return ok(b"x", b"Set-Cookie: a=b", b"WWW-Authenticate: Basic")

    with answering(remember) as root:
        for _ in range(2):
            get(root.replace("//", "//user:secret@") + "/x", contact="https://example.org/bot")
    assert all(not {"cookie", "authorization", "referer"} & set(headers) for headers in seen)
    assert seen[0]["user-agent"] == "openm3w/0.1 (+https://example.org/bot)" and "@" not in seen[0]["host"]


def test_a_request_cannot_be_smuggled() -> None:
    seen = []
    with answering(lambda asked: seen.append(asked) or ok(b"x")) as root:
        get(f"{root}/a b\r\nX-Injected: 1")
        get(f"{root}/é?ü=\x00&")
    assert all("x-injected" not in asked.headers for asked in seen)
    assert seen[1].target == "/%C3%A9?%C3%BC=%00&"


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(ok(b"safe"))
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    port = listening.getsockname()[1]

    async def local(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    assert reason(f"https://localhost:{port}/", resolve=local) == "tls"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert get(f"https://localhost:{port}/", resolve=local).body == b"safe"
    assert reason(f"https://other.example:{port}/", resolve=local) == "tls"


def test_origins() -> None:
    assert parts_of("http://u:p@A.example:8080/x?y#z") == ("http", "a.example", 8080, "a.example:8080", "/x?y")
    assert parts_of("https://[::1]/") == ("https", "::1", 443, "[::1]", "/")


def test_a_server_that_resets_as_soon_as_it_has_accepted() -> None:
    """Between the connection and the first look at its peer, who has no name any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        class Loop(asyncio.SelectorEventLoop):
            async def sock_connect(self, sock, address) -> None:
                await super().sock_connect(sock, address)
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()

        async def run() -> None:
            async with Client(private=LOOPBACK, limits=QUICK) as client:
                await client.exchange(f"http://127.0.0.1:{listener.getsockname()[1]}/")

        with asyncio.Runner(loop_factory=Loop) as runner, pytest.raises(FetchFailed) as caught:
            runner.run(run())
    assert caught.value.reason == "reset"

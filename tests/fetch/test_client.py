"""The fetch of one URL against servers that attack it or fail."""

import asyncio
import gzip
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.fetch import Client, FetchFailed, Limits, Networks, Response
from pipeline.fetch.address import is_public
from pipeline.fetch.client import origin_of
from pipeline.miniweb.serve import Asked, Server

LOOPBACK = Networks.parse(["127.0.0.0/8"])
QUICK = Limits(body_bytes=100_000, header_bytes=8192, total_seconds=3, connect_seconds=1, grace=0.5, min_rate=1000)


@contextmanager
def answering(answer) -> Iterator[str]:
    """A server that answers every request so, and its root URL."""
    give = answer if callable(answer) else lambda asked: answer
    with Server(["127.0.0.1"], 0, give) as server:
        yield f"http://127.0.0.1:{server.port}"


def get(url: str, follow: bool = False, **options) -> Response:
    async def run() -> Response:
        async with Client(**({"private": LOOPBACK, "limits": QUICK} | options)) as client:
            return (await client.fetch(url))[0] if follow else await client.exchange(url)

    return asyncio.run(run())


def reason(url: str, follow: bool = False, **options) -> str:
    """Why a fetch failed, the body's decoding included."""
    with pytest.raises(FetchFailed) as caught:
        _ = get(url, follow, **options).body
    return caught.value.reason


def ok(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# addresses

REFUSED = [
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "168.63.129.16",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001::1",
    "2001:db8::1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "3fff::1",
    "5f00::1",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert not Networks().allow(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert Networks().allow(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    inner = int(address)
    for outer in ((0xFFFF << 32) + inner, (0x64FF9B << 96) + inner, (0x2002 << 112) + (inner << 80)):
        if not is_public(address):
            assert not is_public(ipaddress.IPv6Address(outer))


def test_only_the_networks_that_were_named_are_opened() -> None:
    networks = Networks.parse(["127.0.0.1/32", "fd00::/8"])
    assert networks.allow("127.0.0.1") and networks.allow("::ffff:127.0.0.1") and networks.allow("fd00::1")
    assert not networks.allow("127.0.0.2") and not networks.allow("10.0.0.1") and not networks.allow("fe80::1%eth0")
    with pytest.raises(BuildError, match="--allow-private"):
        Networks.parse(["localhost"])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "[::1]",
     "[::ffff:127.0.0.1]", "0", "0.0.0.0", "%31%32%37.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "user:password@127.0.0.1"],
)  # fmt: skip
def test_no_spelling_of_loopback_reaches_it(host: str) -> None:
    with answering(ok(b"secret")) as root:
        port = root.rpartition(":")[2]
        assert reason(f"http://{host}:{port}/", private=Networks(), contact="x") in ("address", "dns")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x", "data:text/html,x", "x", "http://", "http://a b/"]
)
def test_only_http(url: str) -> None:
    assert reason(url) in ("scheme", "url")


def test_the_contact_is_asked_for_before_anything_is_sent() -> None:
    async def public(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    assert reason("http://a.example/", resolve=public) == "contact"


def test_a_name_that_rebinds_gains_nothing() -> None:
    """The first look-up gives a public address, every later one loopback: what is connected to was checked."""
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])
    asked = []

    async def rebind(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with answering(ok(b"secret")) as root:
        port = root.rpartition(":")[2]
        url = f"http://rebind.example:{port}/"

        async def run() -> list[str]:
            found = []
            async with Client("x", Networks(), Limits(connect_seconds=0.3), rebind) as client:
                for _ in range(3):
                    try:
                        found.append((await client.exchange(url)).status)
                    except FetchFailed as error:
                        found.append(error.reason)
                    client._names.clear()
            return found

        found = asyncio.run(run())
    assert found[0] in ("timeout", "connect") and found[1:] == ["address", "address"] and len(asked) == 3


def test_of_several_addresses_only_the_public_ones_are_tried() -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "8.8.8.8"]

    with answering(ok(b"secret")) as root:
        url = root.replace("127.0.0.1", "two.example")
        limits = Limits(connect_seconds=0.3)
        assert reason(url, private=Networks(), contact="x", resolve=both, limits=limits) in ("timeout", "connect")


@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:1/", "http://169.254.169.254/latest/", "http://[::1]/", "file:///etc/passwd"]
)
def test_redirects_to_private_addresses(target: str) -> None:
    with answering(b"HTTP/1.1 302 F\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target.encode()) as root:
        only = Networks.parse(["127.0.0.1/32"])
        assert reason(f"{root}/", follow=True, private=only, contact="x") in ("address", "scheme")


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
    assert response.headers["x-a"] == "1, 2" and response.media_type == "text/html" and response.address == "127.0.0.1"
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
        connection, _ = listening.accept()
        try:
            connection.recv(65536)
            connection.sendall(head)
            while True:
                connection.sendall(piece)
                time.sleep(pause)
        except OSError:
            connection.close()

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
    assert origin_of("http://u:p@A.example:8080/x?y#z") == (("http", "a.example", 8080), "a.example:8080", "/x?y")
    assert origin_of("https://[::1]/") == (("https", "::1", 443), "[::1]", "/")

"""Which addresses a fetch may connect to, however they are spelled, resolved or redirected to."""

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.fetch import Client, FetchFailed, Limits, Networks
from pipeline.fetch.address import is_public
from tests.fetch.answers import answering, ok, reason

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

"""Which addresses may be connected to: public ones, and private networks the user named."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import BuildError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Public by IANA's registries, but a metadata service reachable from a cloud's machines (Azure's wire server).
METADATA_SERVICES = {ipaddress.ip_address("168.63.129.16")}

# Not global by IANA's special-purpose registries, which the ipaddress module of older Pythons follows only in part:
# IETF protocol assignments (including a cloud's metadata service), 6to4 relays, documentation.
NOT_GLOBAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16", "2001::/23")))
# RFC 6052: IPv6 prefixes that a translator maps to the IPv4 address in the last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a packet to an IPv6 address would reach: IPv4-mapped and IPv4-compatible (RFC 4291), 6to4
    (RFC 3056), NAT64 (RFC 6052) and ISATAP (RFC 5214)."""
    number = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in NAT64 or (number >> 32 == 0 and number > 1):
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if number >> 32 & 0xFDFFFFFF == 0x5EFE:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet and unicast."""
    if address in METADATA_SERVICES or any(address in network for network in NOT_GLOBAL):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.sixtofour is not None:
        return is_public(address.sixtofour)  # Pythons differ in whether 2002::/16 is global
    if address.is_multicast or not address.is_global:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not address.is_reserved
    inner = embedded(address)
    if inner is not None:
        return is_public(inner)
    return address in GLOBAL_UNICAST


@dataclass(frozen=True)
class Networks:
    """Private networks that may be reached."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Networks":
        """Parse networks. Raises BuildError if one is not in CIDR notation."""
        try:
            return cls(tuple(ipaddress.ip_network(text, strict=False) for text in texts))
        except ValueError as error:
            raise BuildError(f"--allow-private: {error}") from None

    def named(self, text: str) -> bool:
        """Whether an address, as written by the socket layer, is in a network that the user named."""
        address = _parse(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address is not None and any(address in network for network in self.networks)

    def allow(self, text: str) -> bool:
        """Whether an address, as written by the socket layer, may be connected to."""
        address = _parse(text)
        return address is not None and (is_public(address) or self.named(text))


NO_NETWORKS = Networks()


def _parse(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None

"""Draws by hash: the same on every machine, in any order."""

from hashlib import sha256


def hash64(text: str) -> int:
    """The first 64 bits of the sha256 of a text. Of 10^8 texts, two share one with a likelihood of 3 in 10,000."""
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])

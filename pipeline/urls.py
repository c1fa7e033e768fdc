"""URLs: what pages write becomes absolute, after the WHATWG URL standard (ada-url), and its parts: host, site, keys
under which equal names of one thing meet. http, https and file only, without the fragment, which names a part of what
the URL without it fetches."""

import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ada_url import check_url, join_url, normalize_url

if TYPE_CHECKING:
    from tldextract import TLDExtract

# What most pages write and what needs no parser (1.1 µs instead of 1.8): a lower-case host that is no number and not
# internationalised, no dot segment, nothing to escape
_CLEAN = re.compile(
    r"https?://(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*(?::(?!80/|443/)[1-9][0-9]{1,3})?"
    r"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-]+)*/"
    r"(?:[A-Za-z0-9_~!$&()*+,;=:@-]+(?:\.[A-Za-z0-9]{1,5})?)?(?:\?[A-Za-z0-9/_~!$&()*+,;=:@.%-]*)?\Z"
)
# The parts of a URL that `resolve` returned, or of an origin
_PARTS = re.compile(r"(https?|file)://(?:[^/]*@)?((\[[^\]]*\]|[^/:]*)(?::(\d+))?)(/.*)?", re.DOTALL)
_CREDENTIALS = re.compile(r"(https?://)[^/]*@")
_DEFAULT_PORT = {"http": 80, "https": 443, "file": 0}

MAX_URL = 8192


def resolve(reference: str, base: str) -> str | None:
    """The absolute http, https or file URL that `reference` means on a page at `base`, without its fragment.

    None for anything else: other schemes, an invalid host or port, more than 8192 characters."""
    if _CLEAN.match(reference) and len(reference) <= MAX_URL:
        return reference
    if len(reference) > MAX_URL * 4:
        return None
    try:
        url = join_url(base, reference)
    except ValueError:
        url = _resolve_odd(reference, base)
    if not url.startswith(("http:", "https:", "file:")):
        return None
    url = url.partition("#")[0]
    return url if len(url) <= MAX_URL else None


def _resolve_odd(reference: str, base: str) -> str:
    """What the parser takes only without the base, or without surrogates; "" where it takes nothing."""
    reference, base = (text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in (reference, base))
    try:
        return join_url(base, reference) if check_url(base) else normalize_url(reference)
    except ValueError:
        return ""


class Parts(NamedTuple):
    """The parts of a URL: the host without brackets, the port that is connected to, `authority` as host and port are
    written, without credentials, path and query."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str


def split(url: str) -> Parts | None:
    """The parts of an absolute http, https or file URL; None for anything else."""
    match = _PARTS.fullmatch(resolve(url, "") or "")
    if match is None:
        return None
    scheme, authority, host, port, target = match.groups(default="")
    return Parts(scheme, host.strip("[]"), int(port or _DEFAULT_PORT[scheme]), authority, target)


def normal(url: str) -> str | None:
    """The URL under which a page is known, without credentials; None where it is no http or https URL."""
    found = resolve(url, "")
    if found is None or found.startswith("file:"):
        return None
    match = _CREDENTIALS.match(found)
    return match[1] + found[match.end() :] if match else found


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL that `resolve` returned."""
    match = _PARTS.match(url)
    return f"{match[1]}://{match[2]}" if match else ""


def host_of(url: str) -> str:
    """The name under which a server is asked politely, whatever the port and scheme, of a URL that `resolve` returned;
    "" without a host."""
    match = _PARTS.match(url)
    return match[3].strip("[]") if match else ""


def partition_of(host: str, partitions: int) -> int:
    """The partition that fetches all URLs of a host."""
    return int.from_bytes(sha256(host.encode()).digest()[:8]) % partitions


@cache
def _suffixes() -> "TLDExtract":
    from tldextract import TLDExtract  # imports requests

    return TLDExtract(suffix_list_urls=(), cache_dir=None)  # the list that comes with the package: no network, no cache


def site_of(url: str) -> str:
    """The registrable domain of a URL in lower case (Public Suffix List), or its address; "" without a host."""
    parts = _suffixes()(url.lower())
    if parts.suffix or not parts.subdomain:
        return parts.top_domain_under_public_suffix or parts.domain or parts.suffix
    # a top-level domain that the list does not know counts as a public suffix (its rule "*")
    return f"{parts.subdomain.rpartition('.')[2]}.{parts.domain}"


_PLAIN = re.compile(r"[A-Za-z0-9_.~!$&'()*+,;=:@/-]*")


def spelling(url: str) -> str:
    """One spelling for all that differ in which characters of the path are escaped, and how: pages and files disagree
    on brackets, blanks, the case of hex digits. Escaped slashes stay apart from slashes. No URL to fetch: a key."""
    path, mark, query = url.partition("?")
    if not _PLAIN.fullmatch(path):
        pieces = re.split(b"%2[Ff]", path.encode("utf-8", "surrogatepass"))
        path = "%2F".join(quote(unquote_to_bytes(piece), safe="/:@!$&'()*+,;=~") for piece in pieces)
    return path + mark + query


def key_of(url: str) -> str:
    """What equal names of one thing have in common: the spelling of the URL as references are resolved, or of the text
    where it is no such URL. WARC files name captures as crawlers wrote them: with ports, upper case, any escapes."""
    return spelling(resolve(url, "") or url.partition("#")[0])


def unescaped_spellings(url: str) -> Iterator[str]:
    """What references come to that name a path whose bytes are not UTF-8 without escapes, on pages in windows-1252:
    as much of the end of the path as they may name is read as windows-1252."""
    segments = url.split("/")
    for index in reversed(range(len(segments))):
        segment = unquote_to_bytes(segments[index])
        try:
            segment.decode()
        except UnicodeDecodeError:
            segments[index] = quote(segment.decode("windows-1252", "replace"))
            yield "/".join(segments)

"""URLs: resolve references as in the WHATWG URL standard (ada-url), and split and normalise URLs. http, https and file
only, without the fragment, which is never sent to a server."""

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ada_url import check_url, join_url, normalize_url

from shards.draws import hash64

if TYPE_CHECKING:
    from tldextract import TLDExtract

# Most URLs on pages need no parser (1.1 µs instead of 1.8): a lower-case host that is not a number and not
# internationalised, no dot segments, nothing to escape
_CLEAN = re.compile(
    r"https?://(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*(?::(?!80/|443/)[1-9][0-9]{1,3})?"
    r"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-]+)*/"
    r"(?:[A-Za-z0-9_~!$&()*+,;=:@-]+(?:\.[A-Za-z0-9]{1,5})?)?(?:\?[A-Za-z0-9/_~!$&()*+,;=:@.%-]*)?\Z"
)
# The parts of a URL returned by `resolve`, or of an origin
_PARTS = re.compile(r"(https?|file)://(?:[^/]*@)?((\[[^\]]*\]|[^/:]*)(?::(\d+))?)(/.*)?", re.DOTALL)
_CREDENTIALS = re.compile(r"(https?://)[^/]*@")
_DEFAULT_PORT = {"http": 80, "https": 443, "file": 0}

MAX_URL = 8192


def resolve(reference: str, base: str) -> str | None:
    """The absolute http, https or file URL of `reference` on a page at `base`, without its fragment.

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
    """Resolve what the parser accepts only without the base, or without surrogates; "" if it accepts neither."""
    reference, base = (text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in (reference, base))
    try:
        return join_url(base, reference) if check_url(base) else normalize_url(reference)
    except ValueError:
        return ""


class UrlParts(NamedTuple):
    """The parts of a URL: host without brackets, port to connect to, `authority` (host and port as written, without
    credentials), path and query."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str


def split(url: str) -> UrlParts | None:
    """The parts of an absolute http, https or file URL; None for anything else."""
    match = _PARTS.fullmatch(resolve(url, "") or "")
    if match is None:
        return None
    scheme, authority, host, port, target = match.groups(default="")
    return UrlParts(scheme, host.strip("[]"), int(port or _DEFAULT_PORT[scheme]), authority, target)


def normal(url: str) -> str | None:
    """The URL that identifies a page, without credentials; None if it is not an http or https URL."""
    found = resolve(url, "")
    if found is None or found.startswith("file:"):
        return None
    match = _CREDENTIALS.match(found)
    return match[1] + found[match.end() :] if match else found


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL returned by `resolve`."""
    match = _PARTS.match(url)
    return f"{match[1]}://{match[2]}" if match else ""


def host_of(url: str) -> str:
    """The host name used for politeness, for any port and scheme, of a URL returned by `resolve`; "" if there is
    none."""
    match = _PARTS.match(url)
    return match[3].strip("[]") if match else ""


def partition_of(host: str, partitions: int) -> int:
    """The partition that fetches all URLs of a host."""
    return hash64(host) % partitions


@cache
def _suffixes() -> "TLDExtract":
    from tldextract import TLDExtract  # this imports requests

    return TLDExtract(suffix_list_urls=(), cache_dir=None)  # use the list in the package: no network, no cache


def site_of(url: str) -> str:
    """The registrable domain of a URL in lower case (Public Suffix List), or its IP address; "" without a host."""
    parts = _suffixes()(url.lower())
    if parts.suffix or not parts.subdomain:
        return parts.top_domain_under_public_suffix or parts.domain or parts.suffix
    # a top-level domain missing from the list counts as a public suffix (its rule "*")
    return f"{parts.subdomain.rpartition('.')[2]}.{parts.domain}"


_PLAIN = re.compile(r"[A-Za-z0-9_.~!$&'()*+,;=:@/-]*")


def spelling(url: str) -> str:
    """One spelling for URLs that differ only in how characters of the path are escaped: pages and files disagree on
    brackets, spaces and the case of hex digits. Escaped slashes stay different from slashes. Not a URL to fetch: a
    key."""
    path, mark, query = url.partition("?")
    if not _PLAIN.fullmatch(path):
        pieces = re.split(b"%2[Ff]", path.encode("utf-8", "surrogatepass"))
        path = "%2F".join(quote(unquote_to_bytes(piece), safe="/:@!$&'()*+,;=~") for piece in pieces)
    return path + mark + query


def key_of(url: str) -> str:
    """The key under which a URL is looked up: its spelling after resolving references, or that of the text if it is not
    a URL. WARC files contain URLs as crawlers wrote them: with ports, upper case, any escapes."""
    return spelling(resolve(url, "") or url.partition("#")[0])


def unescaped_spellings(url: str) -> Iterator[str]:
    """Possible spellings of a path whose bytes are not UTF-8 and were not escaped, on pages in windows-1252: as much of
    the end of the path as may be meant is decoded as windows-1252."""
    segments = url.split("/")
    for index in reversed(range(len(segments))):
        segment = unquote_to_bytes(segments[index])
        try:
            segment.decode()
        except UnicodeDecodeError:
            segments[index] = quote(segment.decode("windows-1252", "replace"))
            yield "/".join(segments)

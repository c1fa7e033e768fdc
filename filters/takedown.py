"""Takedown lists: URLs, hosts, and sha256 sums of images that must not be in a corpus."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import numpy as np
from ada_url import normalize_url

from filters.rule import Key
from filters.word_lists import WordListError, file_digest

FILE = Key("page.takedown", "", 'File of URLs, hosts and sha256 sums to leave out, one per line; none: ""')
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
HOST = re.compile(r"(\*\.)?(?![0-9a-fA-F]{32,}$)[^\W_]([\w-]*\w)?(\.[\w-]+)*\.?")
"""A host, with or without dots. Not a hash of another kind, which would look like one."""


def digest(values: Mapping[str, Any]) -> str:
    """sha256 (hex) of a recipe's file, "" without one. Raises WordListError if it cannot be read."""
    return file_digest(values[FILE.name])


class Takedown(NamedTuple):
    """A list: URLs without scheme and fragment, hosts, and the first 16 bytes of sha256 sums."""

    urls: frozenset[str]
    hosts: frozenset[str]
    contents: frozenset[bytes]


@cache
def read(path: str) -> Takedown:
    """A file with one entry per line; # begins a comment. A host stands for its subdomains too.

    Raises WordListError if it cannot be read, or holds anything else, which would be ignored."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise WordListError(f"takedown list {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WordListError(f"takedown list {path} is not UTF-8 text") from None
    entries = [entry for entry in (re.split(r"(?:^|\s)#", line)[0].strip() for line in lines) if entry]
    sums = {entry for entry in entries if SHA256.fullmatch(entry)}
    urls = {entry for entry in entries if "/" in entry}
    for entry in entries:
        if not (entry in sums or ((HOST.fullmatch(entry) or entry in urls) and _is_url(entry.removeprefix("*.")))):
            raise WordListError(f"takedown list {path}: {entry!r} is neither a URL, a host nor a sha256 sum in hex")
    hosts = {entry.removeprefix("*.").strip(".") for entry in {*entries} - sums - urls}
    return Takedown(
        frozenset(map(_plain, urls)),
        frozenset(_host(_split(host)) for host in hosts),
        frozenset(bytes.fromhex(entry)[:16] for entry in sums),
    )


def _is_url(entry: str) -> bool:
    try:
        return _plain(entry) != ""
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    """The parts of a URL, or of one without its scheme, as the URL standard writes them: a list may have the letters of
    another script in a host or path. Raises ValueError if it is none."""
    return urlsplit(normalize_url(url if "://" in url else f"https://{url}"))


def _plain(url: str) -> str:
    """A URL without scheme, credentials, fragment and final slash."""
    parts = _split(url)
    port = f":{parts.port}" if parts.port else ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{_host(parts)}{port}{parts.path.rstrip('/')}{query}"


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def listed(url: str, known: Takedown) -> bool:
    """Whether a URL or its host is in a list."""
    try:
        host = _host(_split(url))
        plain = _plain(url)
    except ValueError:
        return False
    labels = host.split(".")
    return plain in known.urls or any(".".join(labels[start:]) in known.hosts for start in range(len(labels)))


def urls_listed(urls: Any, path: str) -> np.ndarray:
    """Whether each URL (n, Arrow array) is in the list at `path`."""
    known = read(path)
    return np.fromiter((listed(url or "", known) for url in urls.to_pylist()), bool, len(urls))


def references_listed(urls: Any, contents: Any, path: str) -> np.ndarray:
    """Whether each image (n) is in the list by its URL or its content hash."""
    known = read(path).contents
    by_content = np.fromiter((content in known for content in contents.to_pylist()), bool, len(contents))
    found: np.ndarray = urls_listed(urls, path) | by_content
    return found

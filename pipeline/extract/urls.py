"""Absolute URLs from what pages write, after the WHATWG URL standard as far as pictures and pages need it: http, https
and file. A fragment is left out: it names a part of what the URL without it fetches."""

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

import idna

# What most pages write and what needs no work: a lower-case host that is no number, no dot segment, nothing to escape
_CLEAN = re.compile(
    r"https?://(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*(?::(?!80/|443/)[1-9]\d{1,3})?(?:/[A-Za-z0-9_~!$&'()*+,;=:@-]+)*/"
    r"(?:[A-Za-z0-9_~!$&()*+,;=:@-]+(?:\.[A-Za-z0-9]{1,5})?)?(?:\?[A-Za-z0-9/_~!$&()*+,;=:@.%-]*)?\Z"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_TAB_NEWLINE = re.compile(r"[\t\n\r]")
_PATH_ESCAPE = re.compile(r"[^!$%&'()*+,\-./0-9:;=@A-Z\[\]\\_a-z|~]")
_QUERY_ESCAPE = re.compile(r"[^!$%&()*+,\-./0-9:;=?@A-Z\[\\\]^_`a-z{|}~]")
_USER_ESCAPE = re.compile(r"[^!$%&'()*+,\-.0-9A-Z_a-z~]")
_FORBIDDEN_HOST = re.compile(r"[\x00-\x20#/:<>?@\[\\\]^|%\x7f]")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
_DRIVE = re.compile(r"[A-Za-z][:|](?:/|$)")  # a Windows drive letter, with which a file path may begin
_SINGLE_DOT = {".", "%2e", "%2E"}
_DOUBLE_DOT = {"..", ".%2e", ".%2E", "%2e.", "%2E.", "%2e%2e", "%2E%2e", "%2e%2E", "%2E%2E"}
_DEFAULT_PORT = {"http": 80, "https": 443, "file": None}

MAX_URL = 8192

Parts = tuple[str, str, str, str | None]
"""scheme, authority, path, query"""


def resolve(reference: str, base: str) -> str | None:
    """The absolute http, https or file URL that `reference` means on a page at `base`, without its fragment.

    None for anything else: other schemes, an invalid host or port, more than 8192 characters."""
    if _CLEAN.match(reference) and len(reference) <= MAX_URL:
        return reference
    if len(reference) > MAX_URL * 4:
        return None
    parts = parse(reference, base)
    if parts is None:
        return None
    url = serialise(parts)
    return url if len(url) <= MAX_URL else None


def serialise(parts: Parts) -> str:
    """The URL of its parts."""
    scheme, authority, path, query = parts
    return f"{scheme}://{authority}{path}" + ("" if query is None else f"?{query}")


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


def parse(reference: str, base: str | None) -> Parts | None:
    """The parts of an absolute URL, or of one relative to `base`; None where it is invalid or of another scheme."""
    text = _TAB_NEWLINE.sub("", reference.strip(_C0_AND_SPACE))
    text = text.split("#", 1)[0]
    match = _SCHEME.match(text)
    base_parts: Parts | None = None
    if match:
        scheme = match[1].lower()
        if scheme not in _DEFAULT_PORT:
            return None
        rest = text[match.end() :]
        if (base is not None and rest[:2].replace("\\", "/") != "//" and scheme == base.split(":", 1)[0].lower()) or (
            scheme == "file" and base is not None and base.lower().startswith("file:")
        ):
            base_parts = parse(base, None)
    else:
        if base is None:
            return None
        base_parts = parse(base, None)
        if base_parts is None:
            return None
        scheme, rest = base_parts[0], text
    path_text, mark, query_text = rest.partition("?")
    query = _QUERY_ESCAPE.sub(_percent, query_text) if mark else None
    path_text = path_text.replace("\\", "/")
    if path_text.startswith("//") or (match and base_parts is None and scheme != "file"):
        if scheme == "file":
            authority_text, slash, path_text = path_text[2:].partition("/")
            if re.fullmatch(r"[A-Za-z][:|]", authority_text):  # a Windows drive letter, not a host
                authority, path_text = "", f"{authority_text}{slash}{path_text}"
            else:
                host = _host(authority_text) if authority_text else ""
                if host is None:
                    return None
                authority = "" if host == "localhost" else host
        else:
            authority_text, slash, path_text = path_text.lstrip("/").partition("/")
            found = _authority(authority_text, scheme)
            if found is None:
                return None
            authority = found
        return scheme, authority, _path(path_text, scheme), query
    if base_parts is None:
        if scheme != "file":
            return None
        base_parts = ("file", "", "/", None)
    authority, base_path = base_parts[1], base_parts[2]
    if scheme == "file":
        if _DRIVE.match(path_text):
            return scheme, authority, _path(path_text, scheme), query
        if path_text.startswith("/") and _DRIVE.match(base_path[1:]) and not _DRIVE.match(path_text[1:]):
            path_text = base_path[:3] + path_text
    if path_text.startswith("/"):
        return scheme, authority, _path(path_text[1:], scheme), query
    if not path_text:
        return scheme, authority, base_path, query if mark else base_parts[3]
    return (
        scheme,
        authority,
        _path(base_path[1:].rpartition("/")[0] + "/" + path_text if base_path.count("/") > 1 else path_text, scheme),
        query,
    )


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace"))


def _path(text: str, scheme: str) -> str:
    segments: list[str] = []
    pieces = text.split("/")
    last = len(pieces) - 1
    for index, piece in enumerate(pieces):
        if piece in _DOUBLE_DOT:
            if segments and not (scheme == "file" and len(segments) == 1 and re.fullmatch("[A-Za-z]:", segments[0])):
                segments.pop()
            if index == last:
                segments.append("")
        elif piece in _SINGLE_DOT:
            if index == last:
                segments.append("")
        else:
            if scheme == "file" and not segments and re.fullmatch(r"[A-Za-z]\|", piece):
                piece = piece[0] + ":"
            segments.append(_PATH_ESCAPE.sub(_percent, piece))
    return "/" + "/".join(segments)


def _authority(text: str, scheme: str) -> str | None:
    user, at, host_port = text.rpartition("@")
    credentials = ""
    if at:
        name, _colon, password = user.partition(":")
        credentials = _USER_ESCAPE.sub(_percent, name)
        if password:
            credentials += ":" + _USER_ESCAPE.sub(_percent, password)
        if credentials:
            credentials += "@"
    if host_port.startswith("["):
        host_text, bracket, port_text = host_port.partition("]")
        host_text += bracket
        if port_text and not port_text.startswith(":"):
            return None
        port_text = port_text[1:]
    else:
        host_text, _, port_text = host_port.partition(":")
    host = _host(host_text)
    if not host:
        return None
    if port_text:
        if (
            not port_text.isascii()
            or not port_text.isdigit()
            or len(port_text.lstrip("0")) > 5
            or int(port_text) > 65535
        ):
            return None
        if int(port_text) != _DEFAULT_PORT[scheme]:
            return f"{credentials}{host}:{int(port_text)}"
    return credentials + host


def _host(text: str) -> str | None:
    if text.startswith("["):
        import ipaddress

        if not text.endswith("]"):
            return None
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]" if "%" not in text else None
        except ValueError:
            return None
    if "%" in text:
        raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode("utf-8", "replace"))
        text = raw.decode("utf-8", "replace")
    if text.isascii():
        host = text.lower()
    else:
        try:
            host = idna.uts46_remap(text, std3_rules=False, transitional=False)
            labels = host.replace("。", ".").split(".")
            host = ".".join(_label(label) for label in labels)
        except (idna.IDNAError, UnicodeError, ValueError):
            return None
    if not host or _FORBIDDEN_HOST.search(host):
        return None
    labels = host.split(".")
    if labels[-1] == "" and len(labels) > 1:
        labels.pop()
    if labels[-1].isdigit() or re.fullmatch("0x[0-9a-f]*", labels[-1]):
        return _ipv4(labels)
    return host


def _label(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > 200:
        raise ValueError("a host label of more than 200 characters")
    return "xn--" + label.encode("punycode").decode("ascii")


def _ipv4(labels: list[str]) -> str | None:
    if len(labels) > 4:
        return None
    numbers = []
    for label in labels:
        if not label or len(label) > 64:
            return None
        try:
            if label.startswith("0x"):
                numbers.append(int(label[2:] or "0", 16))
            elif label.startswith("0") and len(label) > 1:
                numbers.append(int(label, 8))
            else:
                numbers.append(int(label))
        except ValueError:
            return None
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        return None
    value = numbers[-1]
    for index, number in enumerate(numbers[:-1]):
        value += number << (8 * (3 - index))
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))

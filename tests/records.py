"""Records of WARC files, written byte by byte: with headers that writers refuse to write."""

import gzip


def record(
    url: str,
    body: bytes = b"",
    media_type: str = "text/html",
    kind: str = "response",
    status: str = "200 OK",
    date: str = "2024-01-01T00:00:00Z",
    headers: str = "",
) -> bytes:
    """One HTTP capture as a gzip member; `headers` are further lines of HTTP, each with its line feed."""
    http = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n{headers}\r\n".encode() + body
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: {date}\r\n"
    head += f"Content-Type: application/http\r\nContent-Length: {len(http)}\r\n\r\n"
    return gzip.compress(head.encode() + http + b"\r\n\r\n", mtime=0)

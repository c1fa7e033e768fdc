"""Write WARC/1.1 (ISO 28500:2017), one gzip member per record, so that a file can be cut after any record."""

import hashlib
import os
import zlib
from base64 import b32encode
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.fetch.response import Response

MOST_BYTES = 1 << 30
"""When a file reaches this size, the next one is started, as is usual for WARC writers."""


def date_of(seconds: float) -> str:
    """A time (seconds since the epoch) as WARC-Date, in microseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def exchange(response: "Response", about: dict[str, Any]) -> bytes:
    """The records of one exchange: response, request, metadata. `about` are the metadata record's fields."""
    payload_type = response.media_type
    named = {
        "WARC-Target-URI": response.url,
        "WARC-Date": date_of(response.started),
        "WARC-IP-Address": response.address,
    }
    answer_id, answer = record(
        "response",
        {
            **named,
            "WARC-Payload-Digest": sha1(response.raw),
            "Content-Type": "application/http; msgtype=response",
        },
        response.head + response.raw,
    )
    _, request = record(
        "request",
        {**named, "WARC-Concurrent-To": answer_id, "Content-Type": "application/http; msgtype=request"},
        response.request,
    )
    fields = "".join(f"{name}: {value}\r\n" for name, value in about.items() if value is not None)
    named.pop("WARC-IP-Address")
    _, metadata = record(
        "metadata",
        {**named, "WARC-Concurrent-To": answer_id, "Content-Type": "application/warc-fields"},
        fields.encode("utf-8", "replace"),
    )
    # compressing compressed data only costs time
    level = 1 if payload_type.startswith(("image/", "video/", "audio/")) else 6
    return compressed(answer, level) + compressed(request) + compressed(metadata)


def warcinfo(name: str, seconds: float, about: dict[str, Any]) -> bytes:
    """The first record of a file."""
    fields = "".join(f"{key}: {value}\r\n" for key, value in about.items() if value is not None)
    headers = {"WARC-Date": date_of(seconds), "WARC-Filename": name, "Content-Type": "application/warc-fields"}
    return compressed(record("warcinfo", headers, fields.encode("utf-8", "replace"))[1])


def record(kind: str, headers: dict[str, str], block: bytes) -> tuple[str, bytes]:
    """(record id, the record). The id is derived from the content, so it never changes."""
    named = hashlib.sha256(repr((kind, sorted(headers.items()))).encode("utf-8", "replace") + block).hexdigest()
    identity = f"<urn:uuid:{named[:8]}-{named[8:12]}-5{named[13:16]}-8{named[17:20]}-{named[20:32]}>"
    lines = {
        "WARC-Type": kind,
        "WARC-Record-ID": identity,
        **headers,
        "WARC-Block-Digest": sha1(block),
        "Content-Length": str(len(block)),
    }
    head = "WARC/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return identity, b"".join((head.encode("utf-8", "replace"), block, b"\r\n\r\n"))


def compressed(record: bytes, level: int = 6) -> bytes:
    """One gzip member without a timestamp."""
    packer = zlib.compressobj(level, wbits=16 + zlib.MAX_WBITS)
    return packer.compress(record) + packer.flush()


def sha1(data: bytes) -> str:
    """As WARC records give a digest."""
    return f"sha1:{b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()}"


class WarcWriter:
    """Appends exchanges to PREFIX-00000.warc.gz, PREFIX-00001.warc.gz, ... of a folder.

    `end` is (file number, bytes) of what was recorded: anything after it is cut off, since it may be an incomplete
    record of a killed process. None for a new crawl; files with this prefix must not exist then."""

    def __init__(self, folder: Path, prefix: str, end: tuple[int, int] | None, about: dict[str, Any]) -> None:
        self._folder, self._prefix, self._about = folder, prefix, about
        self._file: Any = None
        self.number, self.size = end or (0, 0)
        for path in sorted(folder.glob(f"{prefix}-*.warc.gz")):
            if int(path.name.removeprefix(f"{prefix}-").partition(".")[0]) > self.number or self.size == 0:
                path.unlink()
        if self.size:
            os.truncate(self.path, self.size)

    @property
    def path(self) -> Path:
        return self._folder / f"{self._prefix}-{self.number:05d}.warc.gz"

    def add(self, response: "Response", seconds: float, about: dict[str, Any]) -> tuple[str, int, int]:
        """(file name, offset, length) of an exchange, which is flushed when this returns."""
        if self.size >= MOST_BYTES:
            self.close()
            self.number, self.size = self.number + 1, 0
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        if self.size == 0:
            self._write(warcinfo(self.path.name, seconds, self._about))
        offset = self.size
        self._write(exchange(response, about))
        return self.path.name, offset, self.size - offset

    def close(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)

"""A captured response, from any input kind."""

from dataclasses import dataclass, field

from pipeline.media_type import essence

LAST_CHUNK, CONTENT_LENGTH = "last chunk", "content-length"
"""Marks of a body whose chunked coding stops between two chunks, and of one shorter than its Content-Length: it may
still be complete, which decoding shows."""


def seconds(date: str) -> int:
    """A number that increases with a WARC date, 2026-11-21T09:20:26Z or 20261121092026, by one per second as if all
    months had 31 days; 0 without a date."""
    digits = "".join(character for character in date if character in "0123456789")[:14].ljust(14, "0")
    year, month, day, hour, minute, second = int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60 + second


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a WARC file, or a file of a folder, in the order of its part.

    `number` counts the records of the part from 0. `offset` and `length` are bytes of the WARC file on disk; length is
    0 if the file cannot be read from an offset. `body` is the payload after transfer and content decoding. `headers`
    have lower-case names; of a repeated one the first value counts (see `first_values`). `identified` is the media type
    that the writer of the record found in the bytes. `target` is where a redirect leads or which capture a revisit
    repeats. `truncated` says why the body may be incomplete. `rule` is set if the record cannot be used, and `detail`
    then says why.
    """

    number: int
    offset: int
    length: int
    kind: str  # WARC-Type, or "file"
    url: str = ""
    date: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    digest: str = ""  # WARC-Payload-Digest
    target: str = ""
    rule: str | None = None
    detail: str = ""
    identified: str = ""  # WARC-Identified-Payload-Type
    truncated: str = ""  # WARC-Truncated, LAST_CHUNK or CONTENT_LENGTH

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def media_type(self) -> str:
        return essence(self.content_type)

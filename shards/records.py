"""The data model of pages, in memory and in Parquet.

In memory a page is a `Document`, a list of `Text` and `Image` nodes in reading order. On disk it has the OBELICS layout
(Laurençon et al. 2023, arXiv 2306.16527): parallel lists `texts` and `images`, exactly one of the two non-null at each
index.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

FORMAT_VERSION = 4
"""Version of the corpus format. A directory with another version is refused."""


def other_format(corpus: Path, manifest: dict[str, Any]) -> str | None:
    """Why a corpus with this manifest is refused, in one line that names both formats; None if it has ours."""
    found = manifest["format"]
    if found == FORMAT_VERSION:
        return None
    version = manifest.get("tool", {}).get("version", "another version")
    return (
        f"{corpus} has corpus format {found} (openm3w {version}), and this version reads format {FORMAT_VERSION}: "
        "build it in another directory"
    )


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text between two images. Paragraphs are separated by exactly one blank line."""

    text: str


EMBEDDED = "data:sha256,"
"""The beginning of the name of an image that a page holds in a `data:` URL; the hash of its bytes follows, in hex."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image at its place in the reading order.

    `url` is absolute, or EMBEDDED and the sha256 of the bytes for an image that is part of the page itself;
    `alternatives` are the other absolute URLs the page offers for the image, best first. `width` and `height` are
    declared by the page, in CSS pixels. `caption` repeats words of the text around the image; `alt` is not
    part of the text. `within` is set if the image is inside a line of text: the white space ("", " " or "\n") that
    joins the text before and after it when the image is left out. `licence` and `author` are stated by the page for
    this image; "" if they are not: then the page's may hold. `captions` is the absolute URL of the captions of a clip.
    """

    url: str
    alternatives: tuple[str, ...] = ()
    alt: str = ""
    caption: str = ""
    width: int | None = None
    height: int | None = None
    within: str | None = None
    licence: str = ""
    author: str = ""
    captions: str = ""


Node = Text | Image


@dataclass(frozen=True, slots=True)
class Metadata:
    """The page's metadata; empty fields are unknown.

    `date` is ISO 8601, `language` a BCP 47 tag."""

    title: str = ""
    author: str = ""
    date: str = ""
    language: str = ""
    licence: str = ""
    site_name: str = ""
    description: str = ""
    canonical_url: str = ""
    robots: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A page: its nodes in reading order and its metadata.

    `inline_svg` counts inline SVG drawings in the text; they have no URL and no node. `left_out` counts the images that
    are not among the nodes, by the rule that left them out. `listings` repeats the parts of the text that are listings
    (pre elements)."""

    url: str
    nodes: tuple[Node, ...]
    metadata: Metadata = field(default_factory=Metadata)
    inline_svg: int = 0
    left_out: tuple[tuple[str, int], ...] = ()
    listings: tuple[str, ...] = ()


def document_id(url: str, capture: str) -> str:
    """32 hex digits from a URL and its capture: a WARC date, or the sha256 of a file's bytes.

    Contains no dot: a WebDataset key ends at its first one."""
    return hashlib.sha256(f"{capture}\n{url}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


METADATA_FIELDS = tuple(Metadata.__dataclass_fields__)

STORED = [
    ("sha256", pa.binary(32)),
    ("stored_sha256", pa.binary(32)),
    ("phash", pa.uint64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("original_width", pa.int32()),
    ("original_height", pa.int32()),
    ("format", pa.string()),
    ("tar", pa.string()),
    ("offset", pa.int64()),
    ("length", pa.int32()),
]
"""The image as fetched (`sha256`, original sizes in pixels, upright) and as stored: hash, sizes, and bytes at `offset`
of images/`tar`."""

# An image in a document on disk: what the page declares (sizes in CSS pixels), and `STORED`.
IMAGE = pa.struct(
    [
        ("url", pa.string()),
        ("alternatives", pa.list_(pa.string())),
        ("alt", pa.string()),
        ("caption", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("declared_width", pa.int32()),
        ("declared_height", pa.int32()),
        ("fetched_url", pa.string()),
        *STORED,
    ]
)

CAPTURE = pa.struct(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("date", pa.string()),
        ("truncated", pa.string()),
    ]
)
"""Where a page comes from. `truncated` is not "" if its body may be incomplete: the value of WARC-Truncated, "last
chunk" or "content-length"."""

DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("site", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("images", pa.list_(IMAGE)),
        ("metadata", pa.struct([(name, pa.string()) for name in METADATA_FIELDS])),
        ("language", pa.string()),
        ("capture", CAPTURE),
        ("cluster", pa.string()),
        ("split", pa.string()),
        ("held_out", pa.list_(pa.struct([("start", pa.int32()), ("stop", pa.int32()), ("split", pa.string())]))),
    ]
)
"""documents/*.parquet. `split` is train, validation, leak (would be validation, but shares an image or a near-duplicate
cluster with training documents) or mixed (a book-length page: its node ranges `held_out` are validation or leak, the
rest train)."""


# Data of each image of a window, in the order of its markers.
WINDOW_IMAGE = pa.struct(
    [
        ("url", pa.string()),
        ("alt", pa.string()),
        ("caption", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("sha256", pa.binary(32)),
        ("stored_sha256", pa.binary(32)),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

WINDOWS = pa.schema(
    [
        ("window_id", pa.string()),
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("site", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("image_positions", pa.list_(pa.int32())),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("image_metadata", pa.list_(WINDOW_IMAGE)),
        ("token_start", pa.int32()),
        ("seed", pa.int64()),
        ("tokenizer", pa.string()),
        ("recipe", pa.string()),
    ]
)
"""windows/*.parquet, one row per window. `image_positions` are the indices of the `<image>` tokens in `input_ids`;
`images[i]` is the image at `image_positions[i]`; `token_start` is the window's first token in its document's stream;
`tokenizer` and `recipe` are hashes."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An `Image` of a kept document and where it is stored: images/`tar`, `offset`, `length`."""

    image: Image
    fetched_url: str
    sha256: bytes
    stored_sha256: bytes
    phash: int
    width: int
    height: int
    original_width: int
    original_height: int
    format: str
    tar: str
    offset: int
    length: int

    def row(self) -> dict[str, object]:
        """This image as a value of the Arrow type `IMAGE`."""
        image = self.image
        return {
            "url": image.url,
            "alternatives": list(image.alternatives),
            "alt": image.alt,
            "caption": image.caption,
            "licence": image.licence,
            "author": image.author,
            "declared_width": image.width,
            "declared_height": image.height,
            **{name: getattr(self, name) for name in STORED_FIELDS},
        }

    @staticmethod
    def from_row(row: dict[str, Any]) -> "StoredImage":
        """The inverse of `row`."""
        image = Image(
            row["url"],
            tuple(row["alternatives"] or ()),
            row["alt"] or "",
            row["caption"] or "",
            row["declared_width"],
            row["declared_height"],
            licence=row.get("licence") or "",  # corpora of older versions have none
            author=row.get("author") or "",
        )
        return StoredImage(image, **{name: row[name] for name in STORED_FIELDS})


STORED_FIELDS = tuple(name for name in StoredImage.__dataclass_fields__ if name != "image")


def stored_nodes(texts: list[str | None], images: list[dict[str, Any] | None]) -> list[Text | StoredImage]:
    """The nodes of a row of documents/*.parquet, in reading order.

    Raises ValueError unless exactly one of the two lists is non-null at each index."""
    if len(texts) != len(images):
        raise ValueError(f"{len(texts)} texts but {len(images)} images: the lists must be parallel")
    nodes: list[Text | StoredImage] = []
    for index, (text, image) in enumerate(zip(texts, images, strict=True)):
        if (text is None) == (image is None):
            raise ValueError(f"node {index}: exactly one of text and image must be set")
        nodes.append(Text(text) if text is not None else StoredImage.from_row(image))  # type: ignore[arg-type]
    return nodes

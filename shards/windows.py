"""Windows: the slices of a document's token stream that a model is trained on.

Flamingo (Alayrac et al. 2022, arXiv 2204.14198, section A.3.1) draws a random subsequence of 256 tokens and takes its
first 5 images. Details the paper leaves open: markers count among the 256 tokens, a window starts at the start of a
word, and it ends before a sixth image.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from shards.records import StoredImage, Text, stored_nodes
from shards.stream import Stream, render, token_stream
from shards.tokenizer import Tokenizer

NO_IMAGE = "window.no_image"
NO_TIED_TEXT = "window.no_tied_text"
IMAGE_RUN = "window.image_run"
CUT = "window.cut"
RULES = (NO_IMAGE, NO_TIED_TEXT, IMAGE_RUN, CUT)
"""In the order they are applied; a window is counted under the first rule it fails."""
LEAK = "split.leak"
"""The rule for held-out parts of a book (counted as one) whose image is also in training documents."""


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How windows are cut.

    policy: `random` draws min(draws, ceil(tokens of the document / tokens)) starts, uniformly over those whose window
    contains an image and enough text tied to one; equal draws count once. `tile` lays windows end to end, so that every
    token is in exactly one. tokens, images: maximum per window; markers count as tokens (256 and 5: Flamingo).
    tied_text: minimum text tokens tied to some image of the window: those whose previous image it is, or those whose
    next image it is. image_run: a window with more images than this and no word between them is dropped. cut: a drawn
    window is dropped if the image after its last one takes more than this share of its tokens. The end of the document
    takes nothing, and tiles lose nothing: the next one starts there.
    """

    policy: Literal["random", "tile"] = "random"
    tokens: int = 256
    images: int = 5
    draws: int = 8
    tied_text: int = 8
    image_run: int = 3
    cut: float = 1 / 3


class Span(NamedTuple):
    """The tokens `start` to `stop` of a stream."""

    start: int
    stop: int


def cut_spans(stream: Stream, options: WindowOptions, *, seed: str) -> tuple[list[Span], Counter[str]]:
    """The windows of `stream`, in order, and the number dropped per rule.

    `seed` determines the draws; give each document a different one. A document without possible starts counts as one
    drop. Linear in the number of tokens."""
    size = len(stream)
    if options.policy == "tile":
        found = list(tile_spans(stream, options))
    else:
        starts = drawable_starts(stream, options)
        if not len(starts):
            return [], Counter({NO_TIED_TEXT if len(stream.images) else NO_IMAGE: 1} if size else {})
        count = min(options.draws, -(-size // options.tokens))
        drawn = np.unique(starts[[_draw(seed, number, len(starts)) for number in range(count)]])
        found = [Span(*pair) for pair in zip(drawn.tolist(), _stops(stream, options, drawn).tolist(), strict=True)]
    kept: list[Span] = []
    dropped: Counter[str] = Counter()
    text, words = _running_count(stream.is_text()), _running_count(stream.words)
    for candidate in found:
        failed = _failed_rule(candidate, stream.images, text, words, options)
        if failed is None:
            kept.append(candidate)
        else:
            dropped[failed] += 1
    return kept, dropped


def drawable_starts(stream: Stream, options: WindowOptions) -> np.ndarray:
    """Positions (m,) where a drawn window may start, ascending: at a word, a CJK character or an `<image>`, if the
    window from there contains an image with `options.tied_text` text tokens tied to it."""
    starts = np.flatnonzero(stream.begins)
    images = stream.images
    if not len(images):
        return starts[:0]
    stops = _stops(stream, options, starts)
    first = np.searchsorted(images, starts)
    last = np.searchsorted(images, stops) - 1
    has_image = last >= first
    starts, stops, first, last = starts[has_image], stops[has_image], first[has_image], last[has_image]
    text = _running_count(stream.is_text())
    before = text[images[first]] - text[starts]
    after = text[stops] - text[images[last]]
    enough = _running_count(np.diff(text[images]) >= options.tied_text)
    between = enough[last] > enough[first]
    return starts[(before >= options.tied_text) | (after >= options.tied_text) | between]


def tile_spans(stream: Stream, options: WindowOptions) -> Iterator[Span]:
    """Consecutive windows, each ending where the next may start; no rules apply. A word longer than a window is cut."""
    begins = np.flatnonzero(stream.begins)
    start = int(begins[0]) if len(begins) else len(stream)
    while start < len(stream):
        stop = int(_stops(stream, options, np.array([start]))[0])
        if stop < len(stream):
            last_begin = int(begins[np.searchsorted(begins, stop, side="right") - 1])
            stop = last_begin if last_begin > start else stop
        yield Span(start, stop)
        start = stop


def _stops(stream: Stream, options: WindowOptions, starts: np.ndarray) -> np.ndarray:
    """Ends (m,) of the windows that start at `starts` (m,)."""
    limits = np.append(stream.images, len(stream))
    beyond = np.searchsorted(stream.images, starts) + options.images
    return np.minimum(starts + options.tokens, limits[np.minimum(beyond, len(stream.images))])


def _running_count(flags: np.ndarray) -> np.ndarray:
    """(n + 1,): how many of the first 0, 1, ... n flags (n,) are set."""
    return np.concatenate([[0], np.cumsum(flags)])


def _draw(seed: str, number: int, choices: int) -> int:
    """A uniform number below `choices`; with 256 bits of a hash the bias is negligible."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{number}".encode()).digest()) % choices


def _failed_rule(
    span: Span, images: np.ndarray, text: np.ndarray, words: np.ndarray, options: WindowOptions
) -> str | None:
    """`text` and `words` are running counts, (n + 1,)."""
    start, stop = span
    inside = images[slice(*np.searchsorted(images, span))]
    if not len(inside):
        return NO_IMAGE
    if np.diff(text[[start, *inside, stop]]).max() < options.tied_text:
        return NO_TIED_TEXT
    if np.unique(words[inside], return_counts=True)[1].max() > options.image_run:
        return IMAGE_RUN
    possible = min(options.tokens, len(text) - 1 - start)
    if options.policy == "random" and possible - (stop - start) > options.cut * possible:
        return CUT
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A window as written: `input_ids` (n,) int32, `image_positions` (k,) int32, and its k `images`; `images[i]`
    belongs to the `<image>` at `input_ids[image_positions[i]]`. `token_start` counts from the start of the document's
    stream; `text` is for people."""

    doc_id: str
    url: str
    site: str
    language: str
    text: str
    input_ids: np.ndarray
    image_positions: np.ndarray
    images: tuple[StoredImage, ...]
    token_start: int
    seed: int
    tokenizer: str
    recipe: str

    @property
    def window_id(self) -> str:
        """Unique in a corpus, and without a dot: a WebDataset key ends at its first one."""
        return f"{self.doc_id}-{self.token_start}"


class Piece(NamedTuple):
    """A run of a document's nodes in one split."""

    split: str
    first_node: int
    nodes: list[Text | StoredImage]


def pieces(row: dict[str, Any]) -> list[Piece]:
    """The pieces of a row of documents/*.parquet: the whole or, if the split is `mixed`, its held-out node ranges
    (validation or leak) and the ranges between them (train).

    Raises ValueError if ranges overlap, run backwards or exceed the document."""
    nodes = stored_nodes(row["texts"], row["images"])
    if row["split"] != "mixed":
        return [Piece(row["split"], 0, nodes)]
    found: list[Piece] = []
    position = 0
    for held_out in sorted(row["held_out"] or (), key=lambda held_out: held_out["start"]):
        start, stop = held_out["start"], held_out["stop"]
        if not position <= start < stop <= len(nodes):
            raise ValueError(f"document {row['doc_id']}: held-out nodes {start} to {stop} of {len(nodes)}")
        found += [Piece("train", position, nodes[position:start]), Piece(held_out["split"], start, nodes[start:stop])]
        position = stop
    found.append(Piece("train", position, nodes[position:]))
    return [piece for piece in found if piece.nodes]


def training_texts(row: dict[str, Any]) -> Iterator[str]:
    """The texts of a row of documents/*.parquet that are not held out."""
    for piece in pieces(row):
        if piece.split == "train":
            yield from (node.text for node in piece.nodes if isinstance(node, Text))


class Coverage(NamedTuple):
    """Text tokens and images of a piece, and how many of them are in at least one of its windows."""

    tokens: int
    tokens_in_windows: int
    images: int
    images_in_windows: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The windows of a piece, the number dropped per rule, and the piece's coverage."""

    split: str
    windows: list[Window]
    coverage: Coverage
    dropped: Counter[str] = field(default_factory=Counter)


def _coverage(stream: Stream, spans: list[Span]) -> Coverage:
    text, image = stream.is_text(), stream.ids == stream.image_id
    covered = np.zeros(len(stream), bool)
    for span in spans:
        covered[span.start : span.stop] = True
    return Coverage(int(text.sum()), int((text & covered).sum()), int(image.sum()), int((image & covered).sum()))


def document_windows(
    row: dict[str, Any],
    tokenizer: Tokenizer,
    options: WindowOptions,
    *,
    seed: int,
    epoch: int = 0,
    recipe: str = "",
) -> list[Cut]:
    """The windows of a row of documents/*.parquet, piece by piece; none crosses a piece boundary.

    The stream is that of the whole document: pieces get no extra end-of-chunk tokens. Another `epoch` gives other draws
    of the same document. A document of split `leak` has no windows; a leaked part of one counts as one drop."""
    nodes = stored_nodes(row["texts"], row["images"])
    stream = token_stream(nodes, tokenizer)
    cuts = []
    for split, first_node, piece_nodes in pieces(row):
        first, stop = int(stream.nodes[first_node]), int(stream.nodes[first_node + len(piece_nodes)])
        part = stream.part(first, stop)
        if split == "leak":
            cuts.append(Cut(split, [], _coverage(part, []), Counter({LEAK: 1} if row["split"] == "mixed" else {})))
            continue
        draws = f"{seed}\n{epoch}\n{row['doc_id']}\n{first_node}"
        spans, dropped = cut_spans(part, options, seed=draws)
        windows = [
            _window(row, nodes, stream, Span(first + span.start, first + span.stop), tokenizer, seed, recipe)
            for span in spans
        ]
        cuts.append(Cut(split, windows, _coverage(part, spans), dropped))
    return cuts


def _window(
    row: dict[str, Any],
    nodes: list[Text | StoredImage],
    stream: Stream,
    span: Span,
    tokenizer: Tokenizer,
    seed: int,
    recipe: str,
) -> Window:
    ids = stream.ids[span.start : span.stop]
    inside = slice(*np.searchsorted(stream.images, span))
    return Window(
        doc_id=row["doc_id"],
        url=row["url"],
        site=row["site"],
        language=row["language"],
        text=render(ids, tokenizer),
        input_ids=ids,
        image_positions=stream.images[inside] - np.int32(span.start),
        images=tuple(nodes[node] for node in stream.image_nodes[inside]),
        token_start=span.start,
        seed=seed,
        tokenizer=tokenizer.id,
        recipe=recipe,
    )

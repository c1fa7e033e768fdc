"""Windows: the slices of a document's token stream that a model is trained on.

Tiles are laid around the images of a document so that no token is in two windows (shards.tiles). Flamingo (Alayrac et
al. 2022, arXiv 2204.14198, section A.3.1) draws a random subsequence of 256 tokens and takes its first 5 images.
Details the paper leaves open: markers count among the 256 tokens, a window starts at the start of a word, and it ends
before a sixth image.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from shards.records import StoredImage, Text, stored_nodes
from shards.stream import Stream, render, token_stream
from shards.tiles import cut_places, lay_around_images, long_runs
from shards.tokenizer import Tokenizer

NO_IMAGE = "window.no_image"
NO_TIED_TEXT = "window.no_tied_text"
IMAGE_RUN = "window.image_run"
CUT = "window.cut"
RULES = (NO_IMAGE, NO_TIED_TEXT, IMAGE_RUN, CUT)
"""In the order they are applied; a window is counted under the first rule it fails."""
NOT_DRAWN = "window.not_drawn"
NO_ROOM = "window.no_room"
"""Text and images that could be in a window but are in none: no draw contains them, or tiles beside them are full."""
LEAK = "split.leak"
"""The rule for held-out parts of a book (counted as one) whose image is also in training documents."""


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How windows are cut.

    policy: `tile` lays windows around the images so that no token is in two of them (shards.tiles). `random` draws
    min(draws, ceil(tokens of the document / tokens)) starts, uniformly over those whose window contains an image and
    enough text tied to one; equal draws count once. cover: after these, a start is drawn for each image in no window
    yet, uniformly over the windows that contain it. tokens, images: maximum per window; markers count as tokens (256
    and 5: Flamingo). min_images: minimum per window; with 0, text without images is cut too. tied_text: minimum text
    tokens of a tile; of a drawn window, those tied to one of its images: whose previous image it is, or whose next
    image it is. image_run: maximum images in a row without a word between them. cut: a drawn window is dropped if the
    image after its last one takes more than this share of its tokens. The end of the document takes nothing.
    """

    policy: Literal["random", "tile"] = "random"
    tokens: int = 256
    images: int = 5
    draws: int = 8
    min_images: int = 1
    cover: bool = False
    tied_text: int = 8
    image_run: int = 3
    cut: float = 1 / 3


RECIPE_KEYS = ("policy", "tokens", "images", "min_images", "draws", "cover")
"""The options that a recipe names in its section `windows`."""


class Span(NamedTuple):
    """The tokens `start` to `stop` of a stream."""

    start: int
    stop: int


def cut_spans(stream: Stream, options: WindowOptions, *, seed: str) -> tuple[list[Span], Counter[str]]:
    """The windows of `stream`, in order, and the number dropped per rule.

    `seed` determines the draws; give each document a different one. A document without windows counts as one drop.
    Linear in the number of tokens."""
    if not len(stream):
        return [], Counter()
    if options.policy == "tile":
        found, dropped = tile_spans(stream, options), Counter[str]()
    else:
        found, dropped = _drawn_spans(stream, options, seed)
    if not found and not dropped:
        dropped[NO_TIED_TEXT if len(stream.images) else NO_IMAGE] = 1
    return found, dropped


def _drawn_spans(stream: Stream, options: WindowOptions, seed: str) -> tuple[list[Span], Counter[str]]:
    starts, stops, failed = _drawable(stream, options)
    if not len(starts):
        return [], Counter()
    count = min(options.draws, -(-len(stream) // options.tokens))
    drawn = np.unique([_draw(seed, number, len(starts)) for number in range(count)])
    dropped = Counter(RULES[rule] for rule in failed[drawn].tolist() if rule < len(RULES))
    drawn = drawn[failed[drawn] == len(RULES)]
    if options.cover:
        drawn = _covering(stream.images, starts, stops, failed == len(RULES), drawn, seed)
    return [Span(*pair) for pair in zip(starts[drawn].tolist(), stops[drawn].tolist(), strict=True)], dropped


def _covering(
    images: np.ndarray, starts: np.ndarray, stops: np.ndarray, passing: np.ndarray, drawn: np.ndarray, seed: str
) -> np.ndarray:
    """`drawn` with a further start for each image in no window, where one can be drawn that fails no rule."""
    of_image = np.searchsorted(images, np.stack([starts, stops]))
    covered = np.zeros(len(images), bool)
    for start, stop in of_image[:, drawn].T.tolist():
        covered[start:stop] = True
    possible = np.flatnonzero(passing)
    # starts and stops ascend: the windows that contain an image follow one another
    firsts, lasts = (
        np.searchsorted(of_image[end, possible], np.arange(len(images)), side="right").tolist() for end in (1, 0)
    )
    more = list(drawn)
    for image, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        if not covered[image] and first < last:
            chosen = possible[first + _draw(f"{seed}\nimage", image, last - first)]
            more.append(chosen)
            covered[slice(*of_image[:, chosen])] = True
    return np.unique(np.array(more, np.int64))


def _drawable(stream: Stream, options: WindowOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and stops (m,) of the windows that may be drawn, and the first of RULES that each fails."""
    starts = np.flatnonzero(stream.begins)
    stops = _stops(stream, options, starts)
    failed = _first_failed(stream, options, starts, stops)
    possible = failed > RULES.index(NO_TIED_TEXT)
    return starts[possible], stops[possible], failed[possible]


def drawable_starts(stream: Stream, options: WindowOptions) -> np.ndarray:
    """Positions (m,) where a drawn window may start, ascending: at a word, a CJK character or an `<image>`, if the
    window from there contains `options.min_images` images, with `options.tied_text` text tokens tied to one."""
    return _drawable(stream, options)[0]


def tile_spans(stream: Stream, options: WindowOptions) -> list[Span]:
    """Windows that do not overlap, around the images, in order. If windows need no image, the text between these is
    laid out end to end."""
    around = [Span(*pair) for pair in lay_around_images(stream, options)]
    if options.min_images:
        return around
    bounds = [0, *(place for span in around for place in span), len(stream)]
    between = [span for pair in zip(bounds[::2], bounds[1::2], strict=True) for span in _laid(stream, options, *pair)]
    starts, stops = np.array(between, np.int64).reshape(-1, 2).T
    passed = _first_failed(stream, options, starts, stops) == len(RULES)
    return sorted([*around, *(span for span, fits in zip(between, passed.tolist(), strict=True) if fits)])


def _laid(stream: Stream, options: WindowOptions, start: int, stop: int) -> Iterator[Span]:
    """Consecutive windows from `start` to `stop`. Each ends at the last paragraph or else sentence that starts in its
    last quarter, or else where a word does. A word longer than a window is cut."""
    places = cut_places(stream, options.tokens)
    places = places[slice(*np.searchsorted(places, (start, stop)))]
    while len(places):
        start = int(places[0])
        end = min(int(_stops(stream, options, places[:1])[0]), stop)
        if end < stop:
            choice = places[1 : np.searchsorted(places, end, side="right")]
            late = choice[choice > end - options.tokens // 4]
            level = stream.breaks[late].max(initial=0)
            better = late[stream.breaks[late] == level] if level else choice
            end = int(better[-1]) if len(better) else end
        yield Span(start, end)
        places = places[np.searchsorted(places, end) :]


def _stops(stream: Stream, options: WindowOptions, starts: np.ndarray) -> np.ndarray:
    """Ends (m,) of the longest windows that start at `starts` (m,)."""
    limits = np.append(stream.images, len(stream))
    beyond = np.searchsorted(stream.images, starts) + options.images
    return np.minimum(starts + options.tokens, limits[np.minimum(beyond, len(stream.images))])


def _running_count(flags: np.ndarray) -> np.ndarray:
    """(n + 1,): how many of the first 0, 1, ... n flags (n,) are set."""
    return np.concatenate([[0], np.cumsum(flags)])


def _draw(seed: str, number: int, choices: int) -> int:
    """A uniform number below `choices`; with 256 bits of a hash the bias is negligible."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{number}".encode()).digest()) % choices


def _first_failed(stream: Stream, options: WindowOptions, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """(m,): for each window the index in RULES of the first rule that it fails, len(RULES) if none."""
    first, last = np.searchsorted(stream.images, starts), np.searchsorted(stream.images, stops) - 1
    few = last - first + 1 < options.min_images
    runs = _running_count(long_runs(stream, options.image_run))
    # the image at which a run inside of the window is too long
    end = np.minimum(first + options.image_run, last + 1)
    in_a_row = runs[last + 1] > runs[end]
    possible = np.minimum(options.tokens, len(stream) - starts)
    cut = (options.policy == "random") & (possible - (stops - starts) > options.cut * possible)
    untied = _tied_text(stream, options, starts, stops) < options.tied_text
    return np.select([few, untied, in_a_row, cut], range(len(RULES)), len(RULES))


def _tied_text(stream: Stream, options: WindowOptions, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """(m,): the text tokens of each tile; for a drawn window with images the most between two of them, before the first
    or after the last, as far as that decides the rule."""
    text, images = _running_count(stream.is_text()), stream.images
    whole = text[stops] - text[starts]
    if options.policy == "tile" or not len(images):
        return np.asarray(whole)
    first, last = np.searchsorted(images, starts), np.searchsorted(images, stops) - 1
    at = text[images]
    full = _running_count(np.diff(at) >= options.tied_text)
    begin, end = np.minimum(first, len(images) - 1), np.maximum(last, 0)
    inside = np.where(full[end] > full[begin], options.tied_text, 0)
    beside = np.maximum(np.maximum(at[begin] - text[starts], text[stops] - at[end]), inside)
    return np.where(last >= first, beside, whole)


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


class Held(NamedTuple):
    """Text tokens and images."""

    tokens: int
    images: int


Coverage = dict[str | None, Held]
"""The text and images of a piece: those in windows (None), and the others by the rule for which they are in none."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The windows of a piece, the number dropped per rule, and the piece's coverage."""

    split: str
    windows: list[Window]
    coverage: Coverage
    dropped: Counter[str] = field(default_factory=Counter)


def coverage(stream: Stream, spans: list[Span], options: WindowOptions) -> Coverage:
    """Which text and images of `stream` are in one of `spans`, and why the others are in none: the last rule that a
    window around them fails, over all windows of full length that contain them. Linear."""
    starts = np.flatnonzero(stream.begins)
    stops = _stops(stream, options, starts)
    failed = _first_failed(stream, options, starts, stops)
    reason = np.zeros(len(stream), np.int64)
    for rule in range(1, len(RULES) + 1):
        reason[_inside(starts[failed == rule], stops[failed == rule], len(stream))] = rule
    names = (*RULES, NO_ROOM if options.policy == "tile" else NOT_DRAWN, None)
    held = np.array(spans, np.int64).reshape(-1, 2)
    reason[_inside(held[:, 0], held[:, 1], len(stream))] = names.index(None)
    text, image = stream.is_text(), stream.ids == stream.image_id
    found = {
        name: Held(int((text & (reason == number)).sum()), int((image & (reason == number)).sum()))
        for number, name in enumerate(names)
    }
    return {name: held for name, held in found.items() if any(held)}


def _inside(starts: np.ndarray, stops: np.ndarray, size: int) -> np.ndarray:
    """(size,) bool: whether each token is in one of the windows."""
    steps = np.bincount(starts, minlength=size + 1) - np.bincount(stops, minlength=size + 1)
    return np.asarray(np.cumsum(steps)[:size] > 0)


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
            leaked: Coverage = {LEAK: Held(int(part.is_text().sum()), len(part.images))} if len(part) else {}
            cuts.append(Cut(split, [], leaked, Counter({LEAK: 1} if row["split"] == "mixed" else {})))
            continue
        draws = f"{seed}\n{epoch}\n{row['doc_id']}\n{first_node}"
        spans, dropped = cut_spans(part, options, seed=draws)
        windows = [
            _window(row, nodes, stream, Span(first + span.start, first + span.stop), tokenizer, seed, recipe)
            for span in spans
        ]
        cuts.append(Cut(split, windows, coverage(part, spans, options), dropped))
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

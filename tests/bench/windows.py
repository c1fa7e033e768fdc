"""What windows hold of the text and images of documents, and the bound for windows that do not overlap.

    python -m tests.bench.windows CORPUS... [--record]     --record: only for the three sites of tests.bench.build

Each corpus is cut anew from its documents with its own tokenizer: as its recipe's policy would with the defaults of
`random`, and as `tile`. The bound is the most text tokens within 256 tokens of an image that non-overlapping windows of
at most 256 tokens with 1 to 5 images can hold, wherever they may start.
"""

import argparse
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shards.readers import read_documents
from shards.records import stored_nodes
from shards.stream import Stream, token_stream
from shards.windows import Span, WindowOptions, cut_spans, pieces
from tests.bench.results import Figure, record
from train_min.data.windows import open_corpus

TIED = 8
DATA = "corpus of 3 sites crawled with wget: hugin, freedombox-en, skimage"


def bound(stream: Stream, tokens: int = 256, images: int = 5) -> int:
    """The most text tokens of `stream` that non-overlapping windows with an image can hold. Linear."""
    size, places = len(stream), stream.images.tolist()
    text = np.concatenate([[0], np.cumsum(stream.is_text())]).tolist()
    best = [0] * (size + 1)
    starts: deque[int] = deque()  # possible starts, by falling best[start] - text[start]
    entered = passed = 0  # starts before `entered` are in the deque; `passed` images are before the end
    for stop in range(1, size + 1):
        if passed < len(places) and places[passed] < stop:
            passed += 1
        best[stop] = best[stop - 1]
        if not passed:
            continue
        while entered <= places[passed - 1]:
            value = best[entered] - text[entered]
            while starts and best[starts[-1]] - text[starts[-1]] <= value:
                starts.pop()
            starts.append(entered)
            entered += 1
        first = places[passed - images - 1] + 1 if passed > images else 0
        while starts and starts[0] < max(first, stop - tokens):
            starts.popleft()
        if starts:
            best[stop] = max(best[stop], best[starts[0]] - text[starts[0]] + text[stop])
    return best[size]


@dataclass
class Totals:
    """Sums over the pieces of documents that are cut. `tied`: images with 8 text tokens before or behind them up to the
    next image, in the document (`could_be_tied`) and in their window. `at_sentence`: of the `cuts` inside documents."""

    windows: int = 0
    tokens: int = 0
    near: int = 0
    bound: int = 0
    inside: int = 0
    repeated: int = 0
    images: int = 0
    images_inside: int = 0
    could_be_tied: int = 0
    tied: int = 0
    orphans: int = 0
    cuts: int = 0
    at_sentence: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def add(self, stream: Stream, spans: list[Span]) -> None:
        text, places = stream.is_text(), stream.images
        held = np.zeros(len(stream), np.int64)
        for span in spans:
            held[span.start : span.stop] += 1
        reach = np.zeros(len(stream) + 1, np.int64)
        np.add.at(reach, np.maximum(places - 255, 0), 1)
        np.add.at(reach, np.minimum(places + 256, len(stream)), -1)
        self.windows += len(spans)
        self.tokens += int(text.sum())
        self.near += int((text & (np.cumsum(reach)[:-1] > 0)).sum())
        self.bound += bound(stream)
        self.inside += int((text & (held > 0)).sum())
        self.repeated += int((text * np.maximum(held - 1, 0)).sum())
        self.images += len(places)
        self.images_inside += int((held[places] > 0).sum())
        possible = tied(stream, Span(0, len(stream)))
        reached = np.zeros(len(places), bool)
        for span in spans:
            reached[slice(*np.searchsorted(places, span))] |= tied(stream, span)
        self.could_be_tied += int(possible.sum())
        self.tied += int((possible & reached).sum())
        counted = np.concatenate([[0], np.cumsum(text)])
        for span in spans:
            inner = places[slice(*np.searchsorted(places, span))]
            if len(inner) and span.stop < len(stream):
                following = places[np.searchsorted(places, inner[-1] + 1) :]
                end = int(following[0]) if len(following) else len(stream)
                behind = counted[span.stop] - counted[inner[-1]]
                self.orphans += bool(behind < min(3, counted[end] - counted[inner[-1]]))
            for place in (span.start, span.stop):
                if 0 < place < len(stream):
                    self.cuts += 1
                    self.at_sentence += bool(stream.breaks[place])


def tied(stream: Stream, span: Span) -> np.ndarray:
    """For each image of a span, whether enough text is directly before or behind it there."""
    counted = np.concatenate([[0], np.cumsum(stream.is_text())])
    inner = stream.images[slice(*np.searchsorted(stream.images, span))]
    chunks = np.diff(counted[[span.start, *inner, span.stop]])
    return np.asarray((chunks[:-1] >= TIED) | (chunks[1:] >= TIED))


def streams(folder: Path) -> Iterator[tuple[str, Stream]]:
    """The streams of a corpus that are cut: whole documents, or the pieces of those split between train and
    validation, by name."""
    corpus = open_corpus(folder)
    for row in read_documents(corpus.paths("documents/")):
        stream = token_stream(stored_nodes(row["texts"], row["images"]), corpus.tokenizer)
        for piece in pieces(row):
            first, stop = stream.nodes[piece.first_node], stream.nodes[piece.first_node + len(piece.nodes)]
            if piece.split != "leak":
                yield f"{row['doc_id']} {piece.first_node}", stream.part(int(first), int(stop))


def measure(folder: Path, options: WindowOptions) -> Totals:
    totals = Totals()
    for name, stream in streams(folder):
        begin = time.perf_counter()
        spans, *_ = cut_spans(stream, options, seed=f"0\n0\n{name}")
        seconds = time.perf_counter() - begin
        totals.add(stream, spans)
        totals.seconds += seconds
        totals.slowest = max(totals.slowest, seconds)
    return totals


def share(part: float, whole: float) -> float:
    return round(part / max(whole, 1), 3)


COLUMNS = (
    "| corpus | policy | windows | of text | of text within 256 | bound | of the bound | of images | tied | repeated |"
    " image last, its text cut off | cuts at a sentence | seconds (slowest document) |"
)


def row(name: str, policy: str, totals: Totals) -> str:
    cells = (
        name,
        policy,
        totals.windows,
        share(totals.inside, totals.tokens),
        share(totals.inside, totals.near),
        share(totals.bound, totals.near),
        share(totals.inside, totals.bound),
        share(totals.images_inside, totals.images),
        share(totals.tied, totals.could_be_tied),
        share(totals.repeated, totals.inside),
        totals.orphans,
        share(totals.at_sentence, totals.cuts),
        f"{totals.seconds:.2f} ({totals.slowest:.3f})",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("--record", action="store_true", help="write figures of the first one to results/windows.json")
    options = parser.parse_args()
    print(COLUMNS)
    print("|---" * 13 + "|")
    for folder in options.corpora:
        found = {policy: measure(folder, WindowOptions(policy=policy)) for policy in ("random", "tile")}  # type: ignore[arg-type]
        for policy, totals in found.items():
            print(row(folder.name, policy, totals), flush=True)
        if options.record and folder == options.corpora[0]:
            tile, drawn = found["tile"], found["random"]
            figures = [
                Figure("text of documents in windows", share(tile.inside, tile.tokens)),
                Figure("text of documents in windows, random draws", share(drawn.inside, drawn.tokens)),
                Figure(
                    "text in windows, of the most that tiles can hold", share(tile.inside, tile.bound), "", ">= 0.95"
                ),
                Figure("images in windows", share(tile.images_inside, tile.images), "", ">= 0.99"),
                Figure("images in windows, random draws", share(drawn.images_inside, drawn.images)),
                Figure(
                    "images with 8 tied tokens, of those that have them",
                    share(tile.tied, tile.could_be_tied),
                    "",
                    ">= 0.98",
                ),
            ]
            record("windows", figures, "python -m tests.bench.windows CORPUS --record", DATA)


if __name__ == "__main__":
    main()

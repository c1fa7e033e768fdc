"""Tiles: windows that do not overlap, laid around the images of a document.

A dynamic program over the places where a window may begin or end chooses the windows. It counts the text tokens that
they hold, their images, and the images that have text tied to them; it takes off for cuts inside sentences and for a
window that ends with an image while the image's text follows.
"""

from typing import NamedTuple, Protocol

import numpy as np

from shards.stream import PARAGRAPH, SENTENCE, Stream

IMAGE = 400
"""Worth of an image in a window, and once more if enough text is tied to it: more than all the text of most windows."""
TEXT_CUT_OFF = 200
"""Cost of a window that ends with an image whose text follows: less than the image, more than a better cut costs."""
BREAKS = np.zeros(PARAGRAPH + 1, np.int64)
BREAKS[:] = -12
BREAKS[SENTENCE], BREAKS[PARAGRAPH] = -2, 0
"""Worth of a cut inside a sentence, between sentences and between paragraphs, at each of a window's ends."""
WINDOW = -8
"""Worth of a window: of two ways to hold the same text, the one with fewer windows."""
NEVER = np.int64(-(2**60))


class _Gap(NamedTuple):
    """The places (m,) between one image and the next where a window may begin or end, and for each the worth of the
    best windows up to there; the first has index `begin` among all places. `roomy`: so many leave enough text before
    the next image. `best_roomy` and `best_close` are the worths of the best starts at or behind each place that do or
    do not, `from_roomy` and `from_close` their indices among all places."""

    begin: int
    places: np.ndarray
    roomy: int
    best_roomy: np.ndarray
    from_roomy: np.ndarray
    best_close: np.ndarray
    from_close: np.ndarray


class TileOptions(Protocol):
    """What a layout reads of `shards.windows.WindowOptions`."""

    @property
    def tokens(self) -> int: ...
    @property
    def images(self) -> int: ...
    @property
    def min_images(self) -> int: ...
    @property
    def tied_text(self) -> int: ...
    @property
    def image_run(self) -> int: ...


def lay_around_images(stream: Stream, options: TileOptions) -> list[tuple[int, int]]:
    """The best windows of a stream, in order: each with `options.min_images` (at least 1) to `options.images` images,
    at least `options.tied_text` text tokens, and no run of more than `options.image_run` images.

    Linear in tokens, and in images times `options.images`."""
    program = _Program(stream, options)
    for gap in range(len(stream.images) + 1):
        program.add(gap)
    return program.windows()


class _Program:
    def __init__(self, stream: Stream, options: TileOptions) -> None:
        self.options = options
        self.images = stream.images.astype(np.int64)
        self.places = cut_places(stream, options.tokens)
        text = stream.is_text()
        self.text = np.concatenate([[0], np.cumsum(text, dtype=np.int64)])
        self.at_break = np.append(BREAKS[stream.breaks], 0)
        bounds = self.text[np.concatenate([self.images, [len(stream)]])]
        self.after = np.diff(bounds)  # text between each image and the next, or the end
        self.full = self.after >= options.tied_text
        self.runs = np.concatenate([[0], np.cumsum(long_runs(stream, options.image_run))])
        self.bounds = np.concatenate([[0], np.searchsorted(self.places, self.images, side="right"), [len(self.places)]])
        self.came_from = np.full(len(self.places), -1)
        self.best = np.int64(0)
        self.gaps: list[_Gap] = []

    def add(self, gap: int) -> None:
        """Find the best windows that end between image `gap - 1` and image `gap`."""
        first, stop = int(self.bounds[gap]), int(self.bounds[gap + 1])
        places = self.places[first:stop]
        best, came_from = np.full(len(places), NEVER), np.full(len(places), -1)
        if gap and len(places):
            reached = int(np.searchsorted(places, self.images[gap - 1] + self.options.tokens, side="right"))
            best[:reached], came_from[:reached] = self._ending(gap, places[:reached])
        best = np.maximum.accumulate(np.maximum(best, self.best)) if len(places) else best
        before = np.concatenate([[self.best], best[:-1]])
        came_from[best <= before] = -1
        self.came_from[first:stop] = came_from
        if len(places):
            self.best = best[-1]
        self.gaps.append(self._starting(gap, places, best))

    def _starting(self, gap: int, places: np.ndarray, best: np.ndarray) -> _Gap:
        begin = int(self.bounds[gap])
        if gap == len(self.images):
            return _Gap(begin, places, 0, *[places[:0]] * 4)
        near = int(np.searchsorted(places, self.images[gap] - self.options.tokens + 1))
        places, best, begin = places[near:], best[near:], begin + near
        worth = best - self.text[places] + self.at_break[places]
        room = self.text[self.images[gap]] - self.text[places]
        roomy = int(np.count_nonzero(room >= self.options.tied_text))
        best_roomy, from_roomy = _best_behind(worth[:roomy])
        best_close, from_close = _best_behind(worth[roomy:])
        return _Gap(begin, places, roomy, best_roomy, from_roomy + begin, best_close, from_close + begin + roomy)

    def _ending(self, gap: int, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For windows whose last image is `gap - 1` the best worth up to each of `stops`, and its start (an index into
        `places`)."""
        last, options = gap - 1, self.options
        behind = self.text[stops] - self.text[self.images[last]]
        worth = self.text[stops] + self.at_break[stops] + WINDOW
        worth[behind < min(options.tied_text, self.after[last])] -= TEXT_CUT_OFF
        enough = behind >= options.tied_text
        last_tied = IMAGE * (enough | (gap > 1 and self.full[last - 1]))
        best, came_from = np.full(len(stops), NEVER), np.full(len(stops), -1)
        lowest = stops - options.tokens
        for count in range(options.min_images or 1, min(options.images, gap) + 1):
            first = last - count + 1
            if lowest[0] > self.images[first] or self._run(first, last):
                break
            start = self.gaps[first]
            low = np.searchsorted(start.places, lowest)
            inside = self.text[self.images[last]] - self.text[self.images[first]]
            total = worth + IMAGE * (count + self._tied_inside(first, last))
            if count > 1:
                total += last_tied
                gain = IMAGE * self.full[first]
            else:
                gain = IMAGE * enough
            close = np.maximum(low - start.roomy, 0)
            for worths, indices, index, more, allowed in (
                (start.best_roomy, start.from_roomy, low, IMAGE, low < start.roomy),
                (
                    start.best_close,
                    start.from_close,
                    close,
                    gain,
                    (close < len(start.best_close)) & (inside + behind >= options.tied_text),
                ),
            ):
                if len(worths):
                    at = np.minimum(index, len(worths) - 1)
                    value = np.where(allowed, total + more + worths[at], NEVER)
                    better = value > best
                    best[better], came_from[better] = value[better], indices[at][better]
        return best, came_from

    def _run(self, first: int, last: int) -> bool:
        """Whether more than `image_run` of the images stand in a row."""
        begin = first + self.options.image_run
        return begin <= last and bool(self.runs[last + 1] > self.runs[begin])

    def _tied_inside(self, first: int, last: int) -> int:
        """How many images between the first and the last have enough text beside them."""
        if last - first < 2:
            return 0
        full = self.full[first:last]
        return int((full[:-1] | full[1:]).sum())

    def windows(self) -> list[tuple[int, int]]:
        found = []
        place = len(self.places) - 1
        while place >= 0:
            start = int(self.came_from[place])
            if start < 0:
                place -= 1
                continue
            found.append((int(self.places[start]), int(self.places[place])))
            place = start
        return found[::-1]


def cut_places(stream: Stream, tokens: int) -> np.ndarray:
    """The places (m,) where a window may begin or end, ascending: where a word or an `<image>` does, and the end. A
    word longer than a window is cut."""
    places = np.flatnonzero(stream.begins).astype(np.int64)
    places = np.append(places, len(stream)) if len(places) else places
    long = np.flatnonzero(np.diff(places) > tokens)
    inside = [np.arange(places[index] + tokens, places[index + 1], tokens) for index in long]
    return np.unique(np.concatenate([places, *inside])) if inside else places


def long_runs(stream: Stream, image_run: int) -> np.ndarray:
    """(k,) bool: whether more than `image_run` images without a word between them end at each image."""
    words = np.concatenate([[0], np.cumsum(stream.words)])[stream.images]
    index = np.arange(len(words))
    new = np.ones(len(words), bool)
    new[1:] = words[1:] != words[:-1]
    return np.asarray(index - np.maximum.accumulate(np.where(new, index, 0)) >= image_run)


def _best_behind(worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each place the greatest worth at or behind it, and the index of its last holder."""
    reverse = worth[::-1]
    best = np.maximum.accumulate(reverse)
    new = np.ones(len(best), bool)
    new[1:] = best[1:] > best[:-1]
    holder = np.maximum.accumulate(np.where(new, np.arange(len(best)), 0))
    return best[::-1], (len(best) - 1 - holder)[::-1]

"""The windows of a corpus as flat arrays, permuted copies of them, and batches of packed rows.

A training run reads token ids and content hashes; the images themselves are read once, by `train_min.model.vision`.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from dedup.hamming import nearest
from pipeline.errors import BuildError
from pipeline.recipe import hashes
from shards.readers import read_documents
from shards.records import other_format
from shards.store import absent, parquet_source
from shards.tar import read_member, read_members
from shards.tokenizer import FILE_NAME, Tokenizer, TokenizerError, load_tokenizer
from shards.verify import file_problem
from shards.windows import RECIPE_KEYS, WindowOptions, document_windows
from train_min import TrainError
from train_min.data.features import FeatureTable
from train_min.model.flamingo import Batch, rounded

UNIT_TOKENS = 20 * 256
"""A book-length page counts as several documents of this many tokens."""

READ_TOGETHER = 256
PICTURE = ("url", "alt", "tar", "offset", "length", "format")

ALIKE_BITS = 4
"""Bits by which perceptual hashes of images that count as the same may differ: the default of split.leak_near."""

Losses = dict[str, np.ndarray]
"""Maps the name of an evaluation to the losses (T,) of the tokens of some windows."""


@dataclass(frozen=True)
class TrainingCorpus:
    """A corpus on disk: its folder, tokenizer and files, and three keys of its recipe: how windows are cut, the
    vocabulary size, and the maximum number of documents per image."""

    folder: Path
    tokenizer: Tokenizer
    files: tuple[str, ...]
    cut: WindowOptions
    vocabulary: int
    max_documents: int

    @property
    def tiles(self) -> WindowOptions:
        """Options for windows of the recipe's size that tile the text: no token occurs twice."""
        return replace(self.cut, policy="tile")

    def paths(self, prefix: str) -> list[Path]:
        return [self.folder / name for name in self.files if name.startswith(prefix) and name.endswith(".parquet")]


def open_corpus(folder: Path) -> TrainingCorpus:
    """Open a finished corpus. Raises TrainError if `folder` is not one."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if (other := other_format(folder, manifest)) is not None:
            raise TrainError(other)
        files = tuple(sorted(entry["path"] for entry in manifest["files"]))
    except FileNotFoundError:
        if (folder / "recipe.toml").exists():
            raise TrainError(f"the build of {folder} has not finished: rerun its m3w build command to resume") from None
        raise TrainError(f"{folder} has no manifest.json, so it is not a corpus: run m3w build first") from None
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise TrainError(f"{folder}/manifest.json cannot be read ({error}): rebuild the corpus") from None
    missing = absent(folder, files)
    stored = [name for name in files if name.startswith("windows/")]
    if stored and set(stored) <= set(missing):  # they can be cut from the documents
        files = tuple(name for name in files if name not in stored)
        missing = [name for name in missing if name not in stored]
    if missing:
        raise TrainError(f"{folder} lacks {missing[0]}, listed in its manifest: run m3w verify, or rebuild the corpus")
    if FILE_NAME not in files:
        raise TrainError(f"{folder} has no {FILE_NAME}: rebuild the corpus")
    try:
        return TrainingCorpus(folder, load_tokenizer(str(folder / FILE_NAME)), files, *of_recipe(folder))
    except TokenizerError as error:
        raise TrainError(str(error)) from None


def check_files(corpus: TrainingCorpus) -> None:
    """Compare the files that a run reads with the hashes in the manifest: the recipe, the tokenizer, the documents, the
    training windows, and the images, each read once. Raises TrainError for the first that differs."""
    manifest = json.loads((corpus.folder / "manifest.json").read_text())
    try:
        known = hashes(corpus.folder / "recipe.toml")
    except BuildError as error:
        raise TrainError(f"{corpus.folder}/recipe.toml: {error}") from None
    if manifest.get("recipe") not in known:
        raise TrainError(
            f"{corpus.folder}/recipe.toml does not match the manifest: it was edited, or built by another version of"
            " m3w; restore it, or rebuild the corpus"
        )
    for entry in (entry for entry in manifest["files"] if entry["path"] in corpus.files):
        path = entry["path"]
        read = path.startswith(("documents/", "windows/train-")) and path.endswith(".parquet")
        if read or (path.startswith("images/") and path.endswith(".tar")) or path == FILE_NAME:
            problem = file_problem(corpus.folder, entry)
            if problem is not None:
                raise TrainError(
                    f"{corpus.folder / path} is damaged ({problem}): run m3w verify, or rebuild the corpus"
                )


def of_recipe(folder: Path) -> tuple[WindowOptions, int, int]:
    """Read `cut`, `vocabulary` and `max_documents` of a `TrainingCorpus`. Raises TrainError if the recipe cannot be
    read."""
    try:
        recipe = tomllib.loads((folder / "recipe.toml").read_text())
        windows = recipe["windows"]
        cut = WindowOptions(**{name: windows[name] for name in RECIPE_KEYS})
        return cut, windows["vocabulary"], recipe["image"]["max_documents"]
    except FileNotFoundError:
        raise TrainError(f"{folder} has no recipe.toml: rebuild the corpus") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{folder}/recipe.toml cannot be read ({error!r}): rebuild the corpus") from None


@dataclass(frozen=True)
class WindowArrays:
    """W windows with T tokens and I images, from U units: documents, or pieces of book-length ones.

    `tokens` (T,) int32 and `starts` (W + 1,). `images` (I,) int32: rows of `hashes` (H, 32) in the order of the
    `<image>` tokens, -1 for a missing image; `image_starts` (W + 1,). `fetched` (H, 32): hashes of the images as
    fetched, which are the same in builds with other sizes or qualities. `unit` (W,) int32: index into `units`, dicts of
    doc_id, url, site and language. `window_ids` (W,). `answers` (T,) bool, if given: the only tokens to take a loss at.
    """

    tokens: np.ndarray
    starts: np.ndarray
    images: np.ndarray
    image_starts: np.ndarray
    unit: np.ndarray
    hashes: np.ndarray
    fetched: np.ndarray
    units: list[dict[str, str]]
    window_ids: list[str]
    image_id: int
    eoc_id: int
    answers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.unit)

    def of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and images of one window."""
        return (
            self.tokens[self.starts[index] : self.starts[index + 1]],
            self.images[self.image_starts[index] : self.image_starts[index + 1]],
        )

    def picture_hashes(self) -> set[bytes]:
        """Hashes of the images, both as stored and as fetched."""
        return {row.tobytes() for hashes in (self.hashes, self.fetched) for row in hashes}

    def image_units(self) -> np.ndarray:
        """The unit of each image, (I,)."""
        return np.repeat(self.unit, np.diff(self.image_starts))

    def with_images(self, images: np.ndarray) -> "WindowArrays":
        return replace(self, images=images.astype(np.int32))

    def only(self, chosen: np.ndarray) -> "WindowArrays":
        """The windows where `chosen` (W,) is true, and their images; `units` stay."""
        tokens = np.repeat(chosen, np.diff(self.starts))
        images = self.images[np.repeat(chosen, np.diff(self.image_starts))]
        used, numbers = np.unique(images, return_inverse=True)
        missing = int((used < 0).any())
        return replace(
            self,
            tokens=self.tokens[tokens],
            starts=np.append(0, np.cumsum(np.diff(self.starts)[chosen])),
            images=(numbers.reshape(-1) - missing).astype(np.int32),
            hashes=self.hashes[used[missing:]],
            fetched=self.fetched[used[missing:]],
            image_starts=np.append(0, np.cumsum(np.diff(self.image_starts)[chosen])),
            unit=self.unit[chosen],
            window_ids=[name for name, kept in zip(self.window_ids, chosen, strict=True) if kept],
            answers=None if self.answers is None else self.answers[tokens],
        )

    def save(self, path: Path) -> None:
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        rest = {name: value for name, value in vars(self).items() if name not in arrays}
        arrays["rest"] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        np.savez(path, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> "WindowArrays":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        return WindowArrays(**json.loads(arrays.pop("rest").tobytes()), **arrays)


def collect(rows: Iterable[dict[str, Any]], tokenizer: Tokenizer) -> WindowArrays:
    """Build flat arrays from rows with doc_id, url, site, language, window_id, token_start, input_ids and `hashes`, the
    stored and the fetched hash of each image."""
    tokens, starts, images, image_starts, unit, window_ids = [], [0], [], [0], [], []
    hashes: dict[bytes, int] = {}
    fetched: list[bytes] = []
    units: dict[tuple[str, int], int] = {}
    described: list[dict[str, str]] = []
    for row in rows:
        ids = np.asarray(row["input_ids"], np.int32)
        if len(ids) and ids.max() >= tokenizer.vocab_size:
            raise TrainError(
                f"window {row['window_id']} holds token {ids.max()}, the tokenizer has {tokenizer.vocab_size}: "
                "it does not belong to these windows; build the corpus again"
            )
        markers = int((ids == tokenizer.image_id).sum())
        if markers != len(row["hashes"]):
            raise TrainError(f"window {row['window_id']}: {markers} <image> tokens but {len(row['hashes'])} images")
        key = (row["doc_id"], row["token_start"] // UNIT_TOKENS)
        if key not in units:
            units[key] = len(units)
            described.append({name: row[name] or "" for name in ("doc_id", "url", "site", "language")})
        tokens.append(ids)
        starts.append(starts[-1] + len(ids))
        for stored, as_fetched in row["hashes"]:
            if stored not in hashes:
                hashes[stored] = len(hashes)
                fetched.append(as_fetched)
            images.append(hashes[stored])
        image_starts.append(len(images))
        unit.append(units[key])
        window_ids.append(row["window_id"])
    return WindowArrays(
        tokens=np.concatenate(tokens) if tokens else np.zeros(0, np.int32),
        starts=np.array(starts, np.int64),
        images=np.array(images, np.int32),
        image_starts=np.array(image_starts, np.int64),
        unit=np.array(unit, np.int32),
        hashes=np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        fetched=np.frombuffer(b"".join(fetched), np.uint8).reshape(-1, 32),
        units=described,
        window_ids=window_ids,
        image_id=tokenizer.image_id,
        eoc_id=tokenizer.eoc_id,
    )


def training_windows(corpus: TrainingCorpus, tokenizer: Tokenizer, seed: int) -> WindowArrays:
    """The corpus' own Parquet windows if they use `tokenizer`, otherwise windows cut from its documents as its recipe
    says.

    Raises TrainError if the corpus' windows do not match its own tokenizer."""
    if tokenizer.id != corpus.tokenizer.id or not corpus.paths("windows/train-"):
        return cut_windows(corpus, tokenizer, "train", corpus.cut, seed)
    columns = ["window_id", "doc_id", "url", "site", "language", "input_ids", "token_start", "tokenizer"]
    columns += ["image_metadata.list.element.stored_sha256", "image_metadata.list.element.sha256"]

    def rows() -> Iterator[dict[str, Any]]:
        for path in corpus.paths("windows/train-"):
            with pq.ParquetFile(parquet_source(path)) as file:
                for batch in file.iter_batches(1024, columns=columns):
                    for row in batch.to_pylist():
                        if row["tokenizer"] != tokenizer.id:
                            raise TrainError(
                                f"{path} was cut with another tokenizer than {corpus.folder}/tokenizer: "
                                "build the corpus again"
                            )
                        row["hashes"] = [(image["stored_sha256"], image["sha256"]) for image in row["image_metadata"]]
                        yield row

    return collect(rows(), tokenizer)


def cut_windows(
    corpus: TrainingCorpus, tokenizer: Tokenizer, split: str | None, options: WindowOptions, seed: int = 0
) -> WindowArrays:
    """Cut windows from the documents of `split`, None for all. As tiles, no token occurs in two windows."""

    def rows() -> Iterator[dict[str, Any]]:
        documents = read_documents(corpus.paths("documents/"))
        for document in (row for row in documents if split is None or row["split"] in (split, "mixed")):
            for cut in document_windows(document, tokenizer, options, seed=seed):
                for window in cut.windows if split in (None, cut.split) else ():
                    yield {
                        "window_id": window.window_id, "doc_id": window.doc_id, "url": window.url,
                        "site": window.site, "language": window.language, "token_start": window.token_start,
                        "input_ids": window.input_ids,
                        "hashes": [(image.stored_sha256, image.sha256) for image in window.images],
                    }  # fmt: skip

    return collect(rows(), tokenizer)


def pictures(corpus: TrainingCorpus, hashes: set[bytes]) -> dict[bytes, dict[str, Any]]:
    """Map each of `hashes` to where its image is stored, the columns `PICTURE`.

    Raises TrainError if documents/ lacks one."""
    found: dict[bytes, dict[str, Any]] = {}
    for document in read_documents(corpus.paths("documents/"), columns=["images"]):
        for image in document["images"]:
            if image is not None and image["stored_sha256"] in hashes:
                found.setdefault(image["stored_sha256"], {name: image[name] for name in PICTURE})
    missing = hashes - set(found)
    if missing:
        raise TrainError(
            f"{corpus.folder}: no document has the image {min(missing).hex()} used by a window: run m3w verify"
        )
    return found


def perceptual_hashes(corpus: TrainingCorpus) -> dict[bytes, int]:
    """The perceptual hash of each image of a corpus, by its hash as stored."""
    documents = read_documents(corpus.paths("documents/"), columns=["images"])
    return {image["stored_sha256"]: image["phash"] for row in documents for image in row["images"] if image is not None}


def look_alikes(known: dict[bytes, int], hashes: set[bytes]) -> set[bytes]:
    """The images of `known` (`perceptual_hashes`) that look like one of those with `hashes`, which are among them."""
    shown = [phash for stored, phash in known.items() if stored in hashes]
    every, some = np.array(list(known.values()), np.uint64), np.array(shown, np.uint64)
    near = nearest(every, some, ALIKE_BITS) >= 0
    return {stored for stored, found in zip(known, near.tolist(), strict=True) if found}


def read_picture(corpus: TrainingCorpus, place: dict[str, Any]) -> bytes:
    return read_member(_tar_of(corpus, place), place["offset"], place["length"])


def read_pictures(
    corpus: TrainingCorpus, places: Sequence[tuple[bytes, dict[str, Any]]]
) -> Iterator[tuple[bytes, bytes]]:
    """(name, bytes) of many images, from a store by few requests."""
    for start in range(0, len(places), READ_TOGETHER):
        some = places[start : start + READ_TOGETHER]
        for tar, together in groupby(some, lambda item: _tar_of(corpus, item[1])):
            group = list(together)
            found = read_members(tar, [(place["offset"], place["length"]) for _, place in group])
            yield from ((name, data) for (name, _), data in zip(group, found, strict=True))


def _tar_of(corpus: TrainingCorpus, place: dict[str, Any]) -> Path:
    """Those of other pairs are local, whatever the corpus is."""
    tar = Path(place["tar"])
    return tar if tar.is_absolute() else corpus.folder / "images" / tar.name


def rows_of(windows: WindowArrays, order: Iterable[int], context: int) -> Iterator[list[int]]:
    """Pack windows into rows of at most `context` tokens, each into the first of eight open rows with enough room."""
    open_rows: list[list[int]] = []
    room: list[int] = []
    for index in order:
        length = int(windows.starts[index + 1] - windows.starts[index])
        place = next((row for row, left in enumerate(room) if left >= length), None)
        if place is None:
            if len(open_rows) == 8:
                fullest = room.index(min(room))
                room.pop(fullest)
                yield open_rows.pop(fullest)
            open_rows.append([])
            room.append(max(context, length))
            place = len(room) - 1
        open_rows[place].append(index)
        room[place] -= length
    yield from open_rows


def training_rows(windows: WindowArrays, context: int, seed: int) -> Iterator[list[int]]:
    """Yield rows forever, with a new order of the windows in every epoch."""
    epoch = 0
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(len(windows))
        yield from rows_of(windows, order.tolist(), context)
        epoch += 1


def training_parts(windows: WindowArrays, context: int, tokens: int, seed: int) -> Iterator[list[list[int]]]:
    """Yield groups of `training_rows` forever, sized so that all groups so far average `tokens` tokens, to within one
    row. Rows fill differently with the lengths of windows, and a step must hold as much text in every corpus."""
    lengths = np.diff(windows.starts)
    owed = 0
    part: list[list[int]] = []
    for row in training_rows(windows, context, seed):
        if not part:
            owed += tokens
        part.append(row)
        owed -= int(lengths[row].sum())
        if owed <= 0:
            yield part
            part = []


def media_places(tokens: np.ndarray, image_id: int, images: np.ndarray, follow: bool) -> np.ndarray:
    """For each token (T,) the index of the image it sees: the last one at or before it or, with `follow`, the next one
    after it; -1 for none. Tokens after a marker whose image is missing see no image."""
    marker = tokens == image_id
    place = np.cumsum(marker) - (0 if follow else 1)
    known = np.append(np.where(images >= 0, np.arange(len(images)), -1), -1)
    return known[np.minimum(place, len(images))]


def token_places(windows: WindowArrays, rows: list[list[int]]) -> np.ndarray:
    """Indices into `windows.tokens` of the tokens of these rows, row by row."""
    spans = [np.arange(windows.starts[index], windows.starts[index + 1]) for row in rows for index in row]
    return np.concatenate(spans)


def make_batch(  # type: ignore[no-untyped-def]
    windows: WindowArrays,
    rows: list[list[int]],
    features,
    *,
    follow: np.ndarray | None = None,
    states: torch.Tensor | None = None,
) -> Batch:
    """Build a `Batch` from rows of windows. `features(indexes)` returns the features (n, S, V) for rows of
    `windows.hashes`; those of a `FeatureTable` have all frames of clips. `follow` (W,) marks windows whose text attends
    to the next image; `states` (T, D) covers all tokens of `windows`."""
    length = rounded(max(sum(len(windows.of(index)[0]) for index in row) for row in rows), 64)
    shape = (len(rows), length)
    tokens = np.zeros(shape, np.int64)
    segments, positions = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    media_index, targets = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    wanted: list[int] = []
    media_row: list[int] = []
    media_slot: list[int] = []
    for number, row in enumerate(rows):
        start = slot = 0
        for segment, index in enumerate(row):
            ids, images = windows.of(index)
            span = slice(start, start + len(ids))
            tokens[number, span], segments[number, span] = ids, segment
            positions[number, span] = np.arange(len(ids))
            places = media_places(ids, windows.image_id, images, bool(follow is not None and follow[index]))
            present = np.flatnonzero(images >= 0)
            slots = np.full(len(images) + 1, -1)
            slots[present] = slot + np.arange(len(present))
            media_index[number, span] = slots[places]
            unwanted = ids[1:] == windows.image_id
            if windows.answers is not None:
                unwanted = unwanted | ~windows.answers[windows.starts[index] + 1 : windows.starts[index + 1]]
            targets[number, start : start + len(ids) - 1] = np.where(unwanted, -1, ids[1:])
            wanted += images[present].tolist()
            media_row += [number] * len(present)
            media_slot += range(slot, slot + len(present))
            start, slot = start + len(ids), slot + len(present)
    arrays = [torch.from_numpy(array) for array in (tokens, segments, positions, media_index, targets)]
    batch = Batch(*arrays)  # type: ignore[arg-type]
    if states is not None:
        batch.states = states.new_zeros(*shape, states.shape[1])
        batch.states[batch.segments >= 0] = states[torch.from_numpy(token_places(windows, rows))]
    if wanted:
        order, batch.features = by_frames(features, np.array(wanted))
        batch.media_row, batch.media_slot = torch.tensor(media_row)[order], torch.tensor(media_slot)[order]
    return batch


def by_frames(features: Any, rows: np.ndarray) -> tuple[np.ndarray, list[torch.Tensor]]:
    """The features of some media (n,) in groups (m, F, S, V) of equal numbers of frames, and their order in these."""
    if not isinstance(features, FeatureTable) or (features.frames[rows] == 1).all():
        return np.arange(len(rows)), [features(rows)[:, None]]
    frames = features.frames[rows]
    order = np.argsort(frames, kind="stable")
    return order, [features.clips(rows[frames == count], count) for count in np.unique(frames).tolist()]


@dataclass(frozen=True)
class Seen:
    """For each token of some windows: `image` (T,) the index in `WindowArrays.images` of the image its prediction sees,
    -1 for none and for markers; `distance` (T,) the tokens between that image and the token, 0 right after it."""

    image: np.ndarray
    distance: np.ndarray


def seen_images(windows: WindowArrays, follow: bool = False) -> Seen:
    """Find the image each prediction sees. Token i is predicted at token i - 1 and sees what that token sees."""
    image = np.full(len(windows.tokens), -1, np.int64)
    distance = np.zeros(len(windows.tokens), np.int64)
    for index in range(len(windows)):
        tokens, images = windows.of(index)
        places = media_places(tokens, windows.image_id, images, follow)[:-1]
        markers = np.append(np.flatnonzero(tokens == windows.image_id), 0)
        start = int(windows.starts[index]) + 1
        text = (tokens[1:] != windows.image_id) & (tokens[1:] != windows.eoc_id)
        sees = (places >= 0) & text
        span = slice(start, start + len(places))
        image[span] = np.where(sees, places + windows.image_starts[index], -1)
        distance[span] = np.abs(np.arange(len(places)) - markers[places])
    return Seen(image, distance)

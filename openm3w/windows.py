"""The windows of a corpus as a map-style dataset: shuffled, dealt to ranks, resumable, with or without torch."""

import math
import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from multiprocessing import RawValue
from multiprocessing.context import get_spawning_popen
from typing import Any

import cv2
import numpy as np
import simplejpeg

from openm3w.corpus import Corpus, open_corpus
from pipeline.images.decode import render
from pipeline.images.header import Header, ImageDropped, read_header
from shards.draws import hash64
from shards.flat import read_flat, read_image_index
from shards.readers import next_image, previous_image
from shards.tar import read_images

Sample = dict[str, Any]
Decode = Callable[[bytes], Any]
"""Turns the bytes of an image into an array or tensor; all of one shape, so that batches can be stacked."""

MEAN_COLOUR = (124, 116, 104)
"""The mean colour of ImageNet's images, as torchvision normalizes by: (.485, .456, .406) of 255."""


def pixels(data: bytes, side: int = 224) -> np.ndarray:
    """Decode an image to (3, side, side) uint8, RGB: upright, on white, resized with its aspect ratio, and padded with
    `MEAN_COLOUR`, as in Flamingo (Alayrac et al. 2022, arXiv 2204.14198, section A.3.1).

    Raises ValueError if `data` is not an image that a corpus stores."""
    try:
        header = read_header(data)
        image = _scaled_jpeg(data, header, side) if (header.format, header.orientation) == ("jpeg", 1) else None
        if image is None:
            image = render(data, header, side)[..., ::-1]
    except ImageDropped as error:
        raise ValueError(str(error)) from None
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale != 1:
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        method = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC  # what is left to shrink is little
        image = cv2.resize(image, (width, height), interpolation=method)
    canvas = np.empty((3, side, side), np.uint8)
    if height != width:
        canvas[:] = np.array(MEAN_COLOUR, np.uint8)[:, None, None]
    top, left = (side - height) // 2, (side - width) // 2
    canvas[:, top : top + height, left : left + width] = cv2.split(image)
    return canvas


def _scaled_jpeg(data: bytes, header: Header, side: int) -> np.ndarray | None:
    """A JPEG file as RGB, scaled by libjpeg while it decodes, to `side` pixels or a little more: half the time of
    decoding it whole. None for what libjpeg does not turn into RGB without a warning."""
    scale = min(1.0, side / max(header.width, header.height))
    height, width = math.ceil(header.height * scale), math.ceil(header.width * scale)
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except ValueError:
        return None


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Join B samples to a batch of T tokens and up to I images each, padded at the end.

    input_ids, positions (B, T) int64: token ids, and 0, 1, ... in each window; padding has 0.
    attention_mask (B, T) bool: false for padding.
    image_index (B, T) int64: which of the window's images each token sees, -1 for none.
    image_positions (B, I) int64: the index of each `<image>` among the tokens, -1 for padding.
    pixels (B, I, ...), zeros for padding. image_mask (B, I) bool: false for padding.
    window_id, doc_id, url: lists of strings.

    The arrays are torch tensors if torch has been imported, numpy arrays otherwise."""
    lengths = np.array([len(sample["input_ids"]) for sample in samples])
    counts = np.array([len(sample["image_positions"]) for sample in samples])
    places = np.arange(lengths.max(initial=0))
    batch: dict[str, Any] = {
        "input_ids": _padded([sample["input_ids"] for sample in samples], lengths, 0),
        "positions": np.where(places < lengths[:, None], places, 0),
        "attention_mask": places < lengths[:, None],
        "image_index": _padded([sample["image_index"] for sample in samples], lengths, -1),
        "image_positions": _padded([sample["image_positions"] for sample in samples], counts, -1),
        "pixels": _stacked([sample["pixels"] for sample in samples], int(counts.max(initial=0))),
        "image_mask": np.arange(counts.max(initial=0)) < counts[:, None],
    }
    if (torch := sys.modules.get("torch")) is not None:
        batch = {name: torch.from_numpy(value) for name, value in batch.items()}
    return batch | {name: [sample[name] for sample in samples] for name in ("window_id", "doc_id", "url")}


def _padded(rows: list[np.ndarray], lengths: np.ndarray, value: int) -> np.ndarray:
    table = np.full((len(rows), lengths.max(initial=0)), value, np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate(rows) if rows else 0
    return table


def _stacked(images: list[list[Any]], most: int) -> np.ndarray:
    arrays = [[np.asarray(image) for image in window] for window in images]
    first = next((image for window in arrays for image in window), np.zeros(0, np.uint8))
    table = np.zeros((len(arrays), most, *first.shape), first.dtype)
    for row, window in enumerate(arrays):
        for slot, image in enumerate(window):
            table[row, slot] = image
    return table


class Loading:
    """What `Windows` and `DrawnWindows` share: options, the epoch, and how a window becomes a sample."""

    collate = staticmethod(collate)
    _beginning: Any = 0
    """The position at which an iteration starts that resumes nothing."""

    def __init__(
        self,
        corpus: Corpus | str | os.PathLike[str],
        split: str,
        *,
        shuffle: bool,
        seed: int,
        p_next: float,
        image_size: int,
        decode: Decode | None,
        rank: int,
        world_size: int,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to world_size - 1, not {rank} of {world_size}")
        if not 0 <= p_next <= 1:
            raise ValueError(f"p_next must be from 0 to 1, not {p_next}")
        self.corpus = corpus if isinstance(corpus, Corpus) else open_corpus(corpus)
        self._shards = self.corpus.shards(split)
        self.split, self.shuffle, self.seed, self.p_next = split, shuffle, seed, p_next
        self.rank, self.world_size = rank, world_size
        self._decode: Decode = decode or partial(pixels, side=image_size)
        # shared with worker processes: those of a DataLoader with persistent_workers live longer than an epoch
        self._epoch = RawValue("q", 0)
        self._start = self._position = self._beginning
        self._order_id = self._identity()

    def _identity(self) -> str:
        """A hash of what the order of samples depends on, other than the epoch."""
        files = sorted((entry["path"], entry["sha256"]) for entry in self.corpus.manifest["files"])
        return sha256(repr((self.split, self.seed, self.world_size, self.shuffle, files)).encode()).hexdigest()

    @property
    def epoch(self) -> int:
        return self._epoch.value

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the epoch of the next iteration: another order, and other choices by `p_next`."""
        if epoch != self.epoch:
            self._start = self._position = self._beginning
        self._epoch.value = epoch

    def __getstate__(self) -> dict[str, Any]:
        shared = get_spawning_popen() is not None
        return vars(self) | {"_epoch": self._epoch if shared else self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(self._epoch, int):
            self._epoch = RawValue("q", self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """The place of the last iteration, after the sample it gave last; of a loaded state until one has begun."""
        return {"order": self._order_id, "epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on after the sample at which `state` was taken.

        Raises ValueError if it was taken of another corpus, split, seed or number of ranks."""
        if state["order"] != self._order_id:
            raise ValueError(
                "the state is that of another corpus, split, seed or number of ranks: use the same as then"
            )
        self.set_epoch(state["epoch"])
        self._start = self._position = state["position"]

    def __iter__(self) -> Iterator[Sample]:
        self._position, self._start = self._start, self._beginning
        return self._from(self._position)

    @abstractmethod
    def _from(self, position: Any) -> Iterator[Sample]:
        """The samples from `position` on. Sets `_position` before each to what follows it."""

    def _sample(
        self,
        description: Mapping[str, Any],
        ids: np.ndarray,
        positions: np.ndarray,
        places: Sequence[tuple[str, int, int]],
    ) -> Sample:
        """`places`: tar file, offset and length of each image."""
        name = description["window_id"]
        follow = hash64(f"next\n{self.seed}\n{self.epoch}\n{name}") < self.p_next * 2**64
        folder = self.corpus.root / "images"
        try:
            images = [self._decode(data) for data in read_images(folder, places)]
        except (ValueError, OSError) as error:
            raise ValueError(f"window {name}: an image cannot be read ({error}): run m3w verify") from error
        return {
            **description,
            "input_ids": ids,
            "image_positions": positions,
            "image_index": (next_image if follow else previous_image)(positions, len(ids)),
            "pixels": images,
        }


class Windows(Loading):
    """The windows of a split, "train" or "validation", in the order of an epoch: a sequence, and so a map-style
    dataset for torch.

        windows = openm3w.Windows("corpus", split="train", seed=1)
        loader = torch.utils.data.DataLoader(windows, batch_size=8, num_workers=4, collate_fn=windows.collate)
        for epoch in range(3):
            windows.set_epoch(epoch)
            for batch in loader: ...

    `windows[i]` is a dict: window_id, doc_id, url, site, language, token_start, tokenizer (its hash); input_ids (n,)
    int32; image_positions (k,) int32, the index of each `<image>` in them; pixels, the k decoded images; image_index
    (n,) int32, which of these each token sees, -1 for none: the previous image or, with probability `p_next` for a
    whole window, the next one. `collate` joins such dicts to a batch.

    The order is a permutation of all windows by (`seed`, epoch), or that of the files without `shuffle`. Each of
    `world_size` ranks has every `world_size`-th window of it, so lengths differ by at most one. Do not let a library
    deal the samples to ranks a second time.

    Images are decoded to (3, image_size, image_size) uint8 by `pixels`, or by `decode` from their bytes.

    `for window in windows` can be resumed at any sample with `state_dict` and `load_state_dict`, and a loop over
    torchdata's StatefulDataLoader with those of the loader.

    Raises BuildError if `corpus` is not a finished corpus, ValueError for a damaged shard.
    """

    def __init__(
        self,
        corpus: Corpus | str | os.PathLike[str],
        split: str = "train",
        *,
        shuffle: bool = True,
        seed: int = 0,
        p_next: float = 0.0,
        image_size: int = 224,
        decode: Decode | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            corpus, split, shuffle=shuffle, seed=seed, p_next=p_next, image_size=image_size, decode=decode, rank=rank,
            world_size=world_size,
        )  # fmt: skip
        hashes, self._places = read_image_index(self.corpus.files("images"))
        self._windows = read_flat(self._shards, hashes)
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(range(self.rank, len(self._windows), self.world_size))

    def __getitem__(self, index: int) -> Sample:
        row = int(self._rows()[index])
        windows, places = self._windows, self._places
        inside = slice(windows.image_starts[row], windows.image_starts[row + 1])
        images = windows.images[inside]
        return self._sample(
            {name: windows.description[name][row].as_py() for name in windows.description.column_names},
            windows.tokens[windows.starts[row] : windows.starts[row + 1]],
            windows.positions[inside],
            [
                (places.tars[places.tar[image]], int(places.offset[image]), int(places.length[image]))
                for image in images
            ],
        )

    def _from(self, position: int) -> Iterator[Sample]:
        for index in range(position, len(self)):
            sample = self[index]
            self._position = index + 1
            yield sample

    def _rows(self) -> np.ndarray:
        """The windows of this rank in the order of the epoch."""
        epoch = self.epoch
        if self._order is None or self._order[0] != epoch:
            count = len(self._windows)
            order = np.random.default_rng([self.seed, epoch]).permutation(count) if self.shuffle else np.arange(count)
            self._order = epoch, order[self.rank :: self.world_size]
        return self._order[1]

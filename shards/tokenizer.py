"""Text to token ids and back, over the `tokenizers` library, with two ids of our own: `<image>` and `<|endofchunk|>`.

A page may hold any string, also `<|im_start|>` or `<image>`. `Tokenizer.encode` turns every string into ordinary text
tokens: no page can yield a control token of the language model or one of the two markers.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

IMAGE_MARKER = "<image>"
EOC_MARKER = "<|endofchunk|>"
CORPUS_VOCABULARY = 8192
FILE_NAME = "tokenizer.json"
"""The name under which a corpus keeps its tokenizer."""

# GPT-4's split pattern (tiktoken, cl100k_base), with combining marks counted as letters: without that, words of the
# Indic scripts fall apart at every vowel sign. Han characters stand apart from others, as in the pattern of Kimi K2:
# Japanese and Chinese set no spaces, so a "word" would go from one comma to the next.
_SPLIT = (
    r"\p{Han}[\p{Han}\p{M}]*|'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LONGEST_TOKEN = 48
"""Bytes: 16 characters of three bytes, which is SentencePiece's limit (`max_sentencepiece_length`). Where no spaces are
set, a phrase that stands on every page would become a token of its own."""


# An encoding of the tokenizers library takes some 500 bytes a token: a book is encoded in pieces of so many characters.
_CHUNK = 1 << 17
_WORD_AFTER_SPACE = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_]{2})")
_SURROGATES = re.compile("[\ud800-\udfff]")


class TokenizerError(ValueError):
    """A tokenizer that cannot be had or cannot be used. The message is one line: what, and what to do."""


class Tokenizer:
    """A vocabulary of `vocab_size - 2` text tokens, then `image_id` and `eoc_id`.

    `id` is the sha256, in hex, of the tokenizer's own JSON: two tokenizers with the same id give the same ids for
    every text. Raises TokenizerError where `definition` is no tokenizer.json, or holds a control token of one character
    (which a page could not help writing).
    """

    def __init__(self, definition: str) -> None:
        try:
            complete = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"not a tokenizer.json that tokenizers {tokenizers.__version__} reads: {error}"
            ) from error
        complete.no_truncation()
        complete.no_padding()
        self.json = complete.to_str(pretty=False)
        self.id = hashlib.sha256(self.json.encode()).hexdigest()
        self._decoder = complete
        # What page text is encoded with: no added token is looked for in it, but for the runs of spaces that GPT-NeoX
        # and its kin keep there, which are ordinary text. No template adds a BOS, no post-processor moves an offset.
        fields = json.loads(self.json)
        added = fields["added_tokens"]
        kept = [token for token in added if not token["special"] and _is_space(token["content"])]
        fields["added_tokens"] = kept
        fields["post_processor"] = None
        self._encoder = tokenizers.Tokenizer.from_str(json.dumps(fields))
        # With some of them gone, the library numbers those that are left anew.
        self._moved = np.arange(max(self._encoder.get_vocab().values(), default=-1) + 1, dtype=np.int32)
        for token in kept:
            self._moved[self._encoder.token_to_id(token["content"])] = token["id"]
        unknown = fields["model"].get("unk_token")
        self._control = {
            token["id"]: token["content"]
            for token in added
            if token["content"] != unknown and (token["special"] or not _is_space(token["content"]))
        }
        self._control_ids = np.array(sorted(self._control), np.int32)
        short = sorted(content for content in self._control.values() if len(content) < 2)
        if short:
            raise TokenizerError(f"the control token {short[0]!r} is a single character, which page text may hold")
        self.image_id = max(complete.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.eoc_id = self.image_id + 1
        self.vocab_size = self.image_id + 2

    def __repr__(self) -> str:
        return f"Tokenizer({self.id[:12]}, vocab_size={self.vocab_size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.json,)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, each below `image_id`; nothing is put before or after them."""
        return self.encode_with_offsets(text)[0].tolist()

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids (n,) and each token's first and last-plus-one character (n, 2), both int32.

        Tokens that share a character (a byte-level vocabulary cuts a rare one into bytes) both span it. Lone
        surrogates, which no encoding can write, count as U+FFFD."""
        cuts = _chunk_cuts(text)
        return _joined([(start, *self._encode(text[start:stop])) for start, stop in pairwise(cuts)])

    def _encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            encoding = self._encoder.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            text = _SURROGATES.sub("\ufffd", text)
            encoding = self._encoder.encode(text, add_special_tokens=False)
        ids = self._moved[np.array(encoding.ids, np.int32)]
        offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        forbidden = np.flatnonzero(np.isin(ids, self._control_ids))
        if not len(forbidden):
            return ids, offsets
        # Some models (Unigram, WordLevel) find a control token in their vocabulary even as plain text. Cut in the
        # middle of each, no part can hold it.
        spans = offsets[forbidden]
        if (spans[:, 1] - spans[:, 0] < 2).any():
            raise TokenizerError("the tokenizer spells a single character with a control token")
        cuts = [0, *sorted({int(middle) for middle in spans.sum(axis=1) // 2}), len(text)]
        return _joined([(start, *self._encode(text[start:stop])) for start, stop in pairwise(cuts)])

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`, markers and control tokens included as they are written."""
        ids = np.asarray(ids, np.int64)
        markers = np.flatnonzero(ids >= self.image_id)
        parts: list[str] = []
        start = 0
        for position in [*markers.tolist(), len(ids)]:
            if position > start:
                parts.append(self._decoder.decode(ids[start:position].tolist(), skip_special_tokens=False))
            if position < len(ids):
                parts.append(IMAGE_MARKER if ids[position] == self.image_id else EOC_MARKER)
            start = position + 1
        return "".join(parts)


def _joined(parts: list[tuple[int, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The ids and offsets of consecutive parts of a text, each given with the character at which it starts."""
    return np.concatenate([ids for _, ids, _ in parts]), np.concatenate(
        [offsets + np.int32(start) for start, _, offsets in parts]
    )


def _chunk_cuts(text: str) -> list[int]:
    """0, where to cut a long text so that its tokens are those of the whole, and its length. A word with one space
    before it starts a token of its own in every common tokenizer; where there is none in sight the cut is anywhere."""
    cuts = [0]
    while len(text) - cuts[-1] > _CHUNK:
        stop = cuts[-1] + _CHUNK
        words = list(_WORD_AFTER_SPACE.finditer(text, stop - _CHUNK // 8, stop))
        cuts.append(words[-1].start() if words else stop)
    return [*cuts, len(text)]


def _is_space(content: str) -> bool:
    return not content.replace("▁", " ").strip()


def train_corpus_tokenizer(texts: Iterable[str], vocabulary: int = CORPUS_VOCABULARY) -> Tokenizer:
    """Byte-level BPE with at most `vocabulary` text tokens (256 of them single bytes), trained on `texts`.

    Depends on the texts alone: neither their order nor the number of threads matters, because the trainer breaks ties
    between equally frequent pairs by their ids."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        max_token_length=_LONGEST_TOKEN + 1,  # the library takes what is shorter
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    return Tokenizer(trained.to_str())


def load_tokenizer(source: str) -> Tokenizer:
    """The tokenizer that `source` names: a tokenizer.json, a GGUF file, `corpus:PATH` (that of another corpus), or a
    Hugging Face name. `corpus` alone stands for one that has yet to be trained and is not accepted here.

    Raises TokenizerError."""
    path = tokenizer_file(source)
    if path is None:
        return _from_hub(source)
    return _from_gguf(path) if path.name.endswith(".gguf") else _read(path)


def tokenizer_file(source: str) -> Path | None:
    """The file that holds the tokenizer that `source` names, whether or not it is there; None for a Hugging Face
    name."""
    if source.startswith("corpus:"):
        return Path(source.removeprefix("corpus:")) / FILE_NAME
    path = Path(source)
    if path.is_dir():
        return path / FILE_NAME
    return path if source.endswith((".gguf", ".json")) or path.exists() else None


def _read(path: Path) -> Tokenizer:
    try:
        definition = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"cannot read the tokenizer {path}: {error}") from error
    try:
        return Tokenizer(definition)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error


def _from_gguf(path: Path) -> Tokenizer:
    if not path.is_file():
        raise TokenizerError(f"cannot read the tokenizer {path}: no such file")
    try:
        import gguf  # noqa: F401
        import torch  # noqa: F401
        from transformers import AutoTokenizer
    except ImportError as error:
        raise TokenizerError(
            f"reading the tokenizer of {path} needs {error.name}: pip install 'openm3w[train]', "
            "or give a tokenizer.json"
        ) from error
    try:
        loaded = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True)
        definition = loaded.backend_tokenizer.to_str()
    except Exception as error:  # whatever a file that is no GGUF, or of an architecture unknown to it, makes of it
        raise TokenizerError(f"{path}: transformers finds no tokenizer in it: {_first_line(error)}") from error
    return Tokenizer(definition)


def _from_hub(name: str) -> Tokenizer:
    from huggingface_hub import hf_hub_download

    try:
        try:
            path = hf_hub_download(name, FILE_NAME, local_files_only=True)
        except OSError:
            path = hf_hub_download(name, FILE_NAME)
    except (OSError, ValueError) as error:
        raise TokenizerError(
            f"no tokenizer {name!r}: neither a file here nor to be had from the Hugging Face hub ({_first_line(error)})"
        ) from error
    return _read(Path(path))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

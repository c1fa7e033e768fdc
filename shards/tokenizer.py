"""Tokenization with the `tokenizers` library, plus two ids of our own: `<image>` and `<|endofchunk|>`.

A page may contain any string, even `<|im_start|>` or `<image>`. `Tokenizer.encode` turns every string into ordinary
text tokens: no page can produce a control token of the language model or one of the two markers.
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

from shards.errors import first_line
from shards.store import located

IMAGE_MARKER = "<image>"
EOC_MARKER = "<|endofchunk|>"
CORPUS_VOCABULARY = 8192
FILE_NAME = "tokenizer.json"
"""File name of a corpus' tokenizer."""

# GPT-4's split pattern (tiktoken, cl100k_base), with combining marks counted as letters: otherwise words of Indic
# scripts split at every vowel sign. Han characters are separated from others, as in Kimi K2's pattern: Japanese and
# Chinese use no spaces, so a "word" would reach from one comma to the next.
_SPLIT = (
    r"\p{Han}[\p{Han}\p{M}]*|'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LONGEST_TOKEN = 48
"""Bytes: 16 characters of three bytes, SentencePiece's limit (`max_sentencepiece_length`). In scripts without spaces, a
phrase that occurs on every page would otherwise become a single token."""


# The tokenizers library takes some 500 bytes per encoded token: books are encoded in pieces of this many characters.
_CHUNK = 1 << 17
_WORD_AFTER_SPACE = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_]{2})")
_SURROGATES = re.compile("[\ud800-\udfff]")


class TokenizerError(ValueError):
    """A tokenizer that cannot be loaded or used. The message is one line: the problem, and what to do."""


class Tokenizer:
    """A vocabulary of `vocab_size - 2` text tokens, then `image_id` and `eoc_id`.

    `id` is the sha256, in hex, of the tokenizer's JSON: tokenizers with the same id give the same ids for every text.
    Raises TokenizerError if `definition` is not a tokenizer.json, or has a control token of a single character (which a
    page's text would contain).
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
        # Page text is encoded without added tokens, except the runs of spaces that GPT-NeoX and similar models keep
        # there, which are ordinary text. No template adds a BOS, no post-processor shifts offsets.
        fields = json.loads(self.json)
        added = fields["added_tokens"]
        kept = [token for token in added if not token["special"] and _is_space(token["content"])]
        fields["added_tokens"] = kept
        fields["post_processor"] = None
        self._encoder = tokenizers.Tokenizer.from_str(json.dumps(fields))
        # If some are removed, the library renumbers the rest.
        self._moved = np.arange(max(self._encoder.get_vocab().values(), default=-1) + 1, dtype=np.int32)
        for token in kept:
            self._moved[self._encoder.token_to_id(token["content"])] = token["id"]
        unknown = fields["model"].get("unk_token")
        self._control = {
            token["id"]: token["content"]
            for token in added
            if token["content"] != unknown and (token["special"] or not _is_space(token["content"]))
        }
        short = sorted(content for content in self._control.values() if len(content) < 2)
        if short:
            raise TokenizerError(f"the control token {short[0]!r} is a single character, which page text may contain")
        self.image_id = max(complete.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.eoc_id = self.image_id + 1
        self.vocab_size = self.image_id + 2
        self._is_control = np.zeros(self.vocab_size, bool)
        self._is_control[list(self._control)] = True

    def __repr__(self) -> str:
        return f"Tokenizer({self.id[:12]}, vocab_size={self.vocab_size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.json,)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, each below `image_id`; nothing is added before or after them."""
        return self.encode_with_offsets(text)[0].tolist()

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (n,), and each token's first and last-plus-one character (n, 2), both int32.

        Tokens that share a character (byte-level vocabularies split a rare one into bytes) both span it. Lone
        surrogates, which cannot be encoded, count as U+FFFD."""
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
        forbidden = np.flatnonzero(self._is_control[ids])
        if not len(forbidden):
            return ids, offsets
        # Some models (Unigram, WordLevel) find a control token in their vocabulary even in plain text. If each is cut
        # in the middle, no part contains it.
        spans = offsets[forbidden]
        if (spans[:, 1] - spans[:, 0] < 2).any():
            raise TokenizerError("the tokenizer spells a single character with a control token")
        cuts = [0, *sorted({int(middle) for middle in spans.sum(axis=1) // 2}), len(text)]
        return _joined([(start, *self._encode(text[start:stop])) for start, stop in pairwise(cuts)])

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of `ids`, with markers and control tokens spelled out."""
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
    """Join the ids and offsets of consecutive parts of a text, each given with its first character."""
    return np.concatenate([ids for _, ids, _ in parts]), np.concatenate(
        [offsets + np.int32(start) for start, _, offsets in parts]
    )


def _chunk_cuts(text: str) -> list[int]:
    """Where to cut a long text (0, cuts, length) so that its tokens stay the same. A word after a single space starts a
    new token in every common tokenizer; if there is none nearby, the cut is arbitrary."""
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

    Depends only on the texts, not on their order or the number of threads: the trainer breaks ties between equally
    frequent pairs by id."""
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
        max_token_length=_LONGEST_TOKEN + 1,  # the library accepts less
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    return Tokenizer(trained.to_str())


def load_tokenizer(source: str) -> Tokenizer:
    """Load the tokenizer `source`: a tokenizer.json, a GGUF file, `corpus:PATH` (another corpus' tokenizer), or a
    Hugging Face name. `corpus` alone means one still to be trained and is not accepted here.

    Raises TokenizerError."""
    path = tokenizer_file(source)
    if path is None:
        return _from_hub(source)
    return _from_gguf(path) if path.name.endswith(".gguf") else _read(path)


def tokenizer_file(source: str) -> Path | None:
    """The file of the tokenizer `source`, whether or not it exists; None for a Hugging Face name."""
    if source.startswith("corpus:"):
        return located(source.removeprefix("corpus:")) / FILE_NAME
    path = located(source)
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
        raise TokenizerError(f"cannot read the tokenizer {path}: file not found")
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
    except Exception as error:  # transformers raises anything for files that are not GGUF or of an unknown architecture
        raise TokenizerError(f"{path}: transformers finds no tokenizer in it: {first_line(error)}") from error
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
            f"no tokenizer {name!r}: not a file, and not available from the Hugging Face hub ({first_line(error)})"
        ) from error
    return _read(Path(path))

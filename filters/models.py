"""Models that a recipe names by path: ONNX models of images, and language models.

Heavy packages are imported when a model is loaded. Models run on the CPU in one thread, so that sums keep their order
and scores are the same everywhere; workers run beside each other.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

INSTALL = "pip install 'openm3w[scorers]'"
SIDE = 224
"""The side of images, in pixels, for ONNX models that leave it open."""
CONTEXT = 1024
"""Tokens of a text that a causal LM reads."""
KENLM = (".arpa", ".bin", ".binary", ".klm", ".gz")


class ModelError(ValueError):
    """A recipe names a model that is missing or cannot run here; the message says what to do."""


@cache
def digest(path: str) -> str:
    """sha256 (hex) of a model file, or of the files of a folder by name. Raises ModelError if it cannot be read."""
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    total = sha256()
    try:
        for file in files:
            with file.open("rb") as opened:
                while data := opened.read(1 << 20):
                    total.update(data)
            total.update(file.name.encode())
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror}") from None
    return total.hexdigest()


def _needs(key: str, path: str, package: str, install: str) -> None:
    if not Path(path).exists():
        raise ModelError(f"{key}: {path} does not exist: download the model and give its path")
    if find_spec(package) is None:
        raise ModelError(f"{key} needs {package}, which is not installed: {install}")


class OnnxModel:
    """An ONNX model that maps images to one number, such as an aesthetic or quality score.

    Its input is float32 RGB from 0 to 1, N x 3 x height x width or N x height x width x 3, or the embeddings of the
    open_clip model `clip`, N x d of length 1, as LAION's aesthetic predictor takes them. Its first output is N, N x 1,
    or N x k, of which the last column counts."""

    def __init__(self, path: str, clip: str = "") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._clip = Clip(clip) if clip and self.on_embeddings else None

    @property
    def on_embeddings(self) -> bool:
        """Whether its input is N x d."""
        return len(self._input.shape) == 2

    def __call__(self, pictures: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        batch = self._clip.images(pictures) if self._clip else self._batch(pictures)
        found = self._session.run(None, {self._input.name: batch})[0]
        return {"quality": np.asarray(found, np.float64).reshape(len(pictures), -1)[:, -1]}

    def _batch(self, pictures: Sequence[bytes]) -> np.ndarray:
        sizes = [size if isinstance(size, int) else None for size in self._input.shape]
        last = sizes[-1] == 3
        height, width = (sizes[1:3] if last else sizes[2:4]) if len(sizes) == 4 else (None, None)
        batch = np.stack([_pixels(picture, width or SIDE, height or SIDE) for picture in pictures])
        return batch if last else batch.transpose(0, 3, 1, 2)


def _pixels(picture: bytes, width: int, height: int) -> np.ndarray:
    """height x width x 3, RGB from 0 to 1."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[arg-type]
    return (resized[..., ::-1] / 255).astype(np.float32)


def check_onnx(key: str, path: str, clip_key: str = "", clip: str = "") -> None:
    """Raises ModelError if an ONNX model of images cannot be loaded, or takes other embeddings than those of `clip`,
    which a recipe names as `clip_key`."""
    _needs(key, path, "onnxruntime", INSTALL)
    try:
        model = OnnxModel(path)
    except Exception as error:  # the library's exceptions have no common base
        raise ModelError(f"{key}: {path} is not an ONNX model: {str(error).splitlines()[0]}") from None
    shape = model._input.shape
    if not model.on_embeddings and len(shape) != 4:
        raise ModelError(f"{key}: the input of {path} must have 2 or 4 dimensions, not {len(shape)}")
    if model.on_embeddings and not clip:
        raise ModelError(f"{key}: {path} takes embeddings: name the CLIP model that makes them as {clip_key}")
    if model.on_embeddings and shape[1] != (size := _embedding_size(clip)) and isinstance(shape[1], int):
        raise ModelError(f"{key}: {path} takes embeddings of {shape[1]} numbers; those of {clip} have {size}")


def _embedding_size(clip: str) -> int:
    """The numbers of an embedding of an open_clip model."""
    import open_clip

    config = Path(clip, "open_clip_config.json")
    if config.is_file():
        return int(json.loads(config.read_text("utf-8"))["model_cfg"]["embed_dim"])
    return int(open_clip.get_model_config(clip.partition("/")[0])["embed_dim"])


class Clip:
    """An open_clip model: images and sentences to vectors of length 1, whose product is their similarity."""

    def __init__(self, name: str) -> None:
        import open_clip
        import torch

        torch.set_num_threads(1)
        if Path(name).is_dir():
            model, options = f"local-dir:{name}", {}
        else:
            model, _, weights = name.partition("/")
            options = {"pretrained": weights}
        self._model, _, self._preprocess = open_clip.create_model_and_transforms(model, **options)
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(model)

    def images(self, pictures: Sequence[bytes]) -> np.ndarray:
        """n x d, float32."""
        import io

        import torch
        from PIL import Image

        batch = torch.stack([self._preprocess(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in pictures])
        with torch.inference_mode():
            return np.asarray(self._model.encode_image(batch, normalize=True).float())

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """n x d, float32."""
        import torch

        with torch.inference_mode():
            return np.asarray(self._model.encode_text(self._tokenizer(list(texts)), normalize=True).float())


def clip_digest(name: str) -> str:
    """What identifies an open_clip model: the sha256 (hex) of its files, or the name of published weights."""
    if Path(name).is_dir():
        return digest(name)
    model, _, weights = name.partition("/")
    return f"{model}/{digest(weights)}" if Path(weights).is_file() else name


def check_clip(key: str, name: str) -> None:
    """Raises ModelError if an open_clip model cannot be loaded."""
    if find_spec("open_clip") is None:
        raise ModelError(f"{key} needs open_clip, which is not installed: pip install 'openm3w[train]'")
    import open_clip

    folder, (model, _, weights) = Path(name), name.partition("/")
    if not folder.is_dir() and model not in open_clip.list_models():
        raise ModelError(f"{key}: {name} is neither a folder of an open_clip model nor MODEL/WEIGHTS of open_clip")
    if not folder.is_dir() and not Path(weights).is_file():
        if weights not in open_clip.list_pretrained_tags_by_model(model):
            raise ModelError(f"{key}: {weights!r} is neither a file nor published weights of open_clip's {model}")
        return  # loading would download them before any work
    try:
        Clip(name)
    except Exception as error:  # the library raises anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{key}: {name} is no open_clip model: {reason}") from None


Perplexity = Callable[[str], float | None]
"""A text to its perplexity; None if it is too short."""


def language_model(path: str) -> Perplexity:
    """A KenLM model (.arpa, .bin, ...), a GGUF file, or a folder with a causal LM and its tokenizer as transformers
    saves them."""
    return _kenlm(path) if path.endswith(KENLM) else _causal(path)


def _kenlm(path: str) -> Perplexity:
    import kenlm

    settings = kenlm.Config()
    settings.show_progress, settings.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    model = kenlm.Model(path, settings)

    def perplexity(text: str) -> float | None:
        """10^(-score / (words + 1)), a paragraph at a time, as OBELICS' code has it; words in lower case."""
        lines = [line.split() for line in text.lower().split("\n") if line.strip()]
        tokens = sum(len(line) + 1 for line in lines)
        return 10 ** (-sum(model.score(" ".join(line)) for line in lines) / tokens) if tokens else None

    return perplexity


def _causal(path: str) -> Perplexity:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    file = Path(path)
    folder, more = (str(file.parent), {"gguf_file": file.name}) if file.is_file() else (path, {})
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **more)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **more).eval()

    def perplexity(text: str) -> float | None:
        """exp of the mean negative log-likelihood of the first CONTEXT tokens."""
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=CONTEXT).input_ids
        if ids.shape[1] < 2:
            return None
        with torch.inference_mode():
            return math.exp(min(50.0, float(model(ids, labels=ids).loss)))

    return perplexity


def check_language_model(key: str, path: str) -> None:
    """Raises ModelError if a language model cannot be loaded."""
    if path.endswith(KENLM):
        _needs(key, path, "kenlm", "pip install kenlm")
    else:
        _needs(key, path, "transformers", "pip install 'openm3w[train]'")
    try:
        language_model(path)
    except Exception as error:  # the libraries raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{key}: {path} is no language model: {reason}") from None

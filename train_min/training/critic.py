"""InfoNCE with a Flamingo as the critic: a loss that teaches it whose image belongs to a text.

For the text that sees an image, the own image competes with images of other windows of the batch, each scored by the
text's likelihood with it (van den Oord et al. 2018, arXiv 1807.03748). The best critic's log-likelihood is the
pointwise mutual information of image and text, up to a number that depends on the text alone (Poole et al. 2019, arXiv
1905.06922), and a gain, which compares images for one text, does not contain that number. The loss of a language model
has the same optimum, but rewards every word that can be guessed without the image just as much.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from train_min.data.permute import derange
from train_min.model.flamingo import AroundLM, Batch


def info_nce(model: AroundLM, batch: Batch, negatives: int, rng: np.random.Generator) -> Tensor:
    """-log of the share of the own image (I, nats), for each image that predicted tokens see, among itself and
    `negatives` images of other windows, drawn anew."""
    if not batch.features:
        return model.new_rows.sum() * torch.zeros(1, device=batch.tokens.device)
    batch = replace(batch, latents=model.latents(batch))  # only once for all arrangements
    windows = windows_of_media(batch)
    own, seen = per_image(batch, model.nll(batch))
    losses = [own]
    for _ in range(negatives):
        losses.append(per_image(batch, model.nll(with_others(batch, windows, rng)))[0])
    return torch.logsumexp(own - torch.stack(losses), 0)[seen]


def per_image(batch: Batch, nll: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the losses of the tokens that see each item (B * slots), and whether there are any."""
    wanted = batch.targets >= 0
    slots = int(batch.media_index.max()) + 1
    item = torch.arange(len(batch.tokens), device=nll.device)[:, None] * slots + batch.media_index
    sees = batch.media_index[wanted] >= 0
    item = item[wanted][sees]
    size = len(batch.tokens) * slots
    sums = torch.zeros(size, device=nll.device).index_add(0, item, nll[sees].float())
    return sums, torch.bincount(item, minlength=size) > 0


def windows_of_media(batch: Batch) -> np.ndarray:
    """A number for the window of each item, (N,)."""
    places = batch.media_index == batch.media_slot[:, None, None]  # (N, B, T)
    row = torch.arange(len(batch.tokens), device=places.device)[None, :, None] == batch.media_row[:, None, None]
    segment = torch.where(places & row, batch.segments, -1).amax((1, 2))
    return (batch.media_row * (int(batch.segments.max()) + 1) + segment).cpu().numpy()


def with_others(batch: Batch, windows: np.ndarray, rng: np.random.Generator) -> Batch:
    """The batch with its media dealt to other windows; where there is none, an item keeps its own."""
    dealt = torch.from_numpy(derange(np.arange(len(windows)), windows, rng)).to(batch.media_row.device)
    return replace(batch, media_row=batch.media_row[dealt], media_slot=batch.media_slot[dealt])

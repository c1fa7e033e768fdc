"""Text generation with a trained Flamingo: cached media and self-attention, rows of different length and image
count."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train_min.data.windows import media_places
from train_min.model.flamingo import AroundLM, Batch, Media, head_logits, visible
from train_min.model.lm import packed_bias


@dataclass(frozen=True)
class Prompt:
    """Token ids, and the features (n, S, V) of the images in the order of their `<image>` tokens."""

    tokens: np.ndarray
    features: Tensor


def prompt_batch(prompts: list[Prompt], image_id: int) -> Batch:
    """Prompts as rows padded on the left, so that all end at the same position. No targets."""
    length = max(len(prompt.tokens) for prompt in prompts)
    shape = (len(prompts), length)
    tokens, segments = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    positions, media_index = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    for number, prompt in enumerate(prompts):
        span = slice(length - len(prompt.tokens), None)
        tokens[number, span], segments[number, span] = prompt.tokens, 0
        positions[number, span] = np.arange(len(prompt.tokens))
        media_index[number, span] = media_places(prompt.tokens, image_id, np.arange(len(prompt.features)), False)
    arrays = [torch.from_numpy(array) for array in (tokens, segments, positions, media_index)]
    batch = Batch(*arrays, torch.full(shape, -1))  # type: ignore[call-arg, arg-type]
    counts = [len(prompt.features) for prompt in prompts]
    if sum(counts):
        batch.features = [torch.cat([prompt.features for prompt in prompts if len(prompt.features)])[:, None]]
        batch.media_row = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(counts))
        batch.media_slot = torch.cat([torch.arange(count) for count in counts])
    return batch


class Session:
    """A batch of prompts being continued. `logits` (B, V) predict the next token."""

    @torch.inference_mode()
    def __init__(self, model: AroundLM, batch: Batch):
        self.model = model
        batch = batch.to(model.new_rows.device)
        x, positions, segments = model.inputs(batch)
        media = model.media(batch, x.dtype)
        self.per_item = 0 if media is None else media.latents.shape[1]
        self.slots = 0 if media is None else media.bias.shape[-1] // self.per_item
        self.keys_values = {} if media is None else {k: layer.keys_values(media) for k, layer in model.gated.items()}
        self.sees = batch.media_index[:, -1:]
        self.segments, self.position = segments, positions[:, -1:]
        self.cache: Any = model.lm.new_cache()
        self._run(x, positions, packed_bias(segments, x.dtype), batch.media_index)

    def _run(self, x: Tensor, positions: Tensor, bias: Tensor, media_index: Tensor) -> None:
        model = self.model
        media = None
        if self.slots:
            seen = visible(media_index, self.slots, self.per_item, x.dtype)
            media = Media(x[:0], positions[:0], positions[:0], *seen)

        def before(index: int, x: Tensor) -> Tensor:
            name = str(index)
            return model.gated[name](x, media, self.keys_values.get(name)) if name in model.gated else x

        hidden = model.lm.run(x, positions, bias, before, self.cache)
        self.logits = head_logits(hidden[:, -1], model.lm.head, model.new_rows).float()

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> None:
        """Append a token (B,) to each row."""
        self.segments = torch.cat([self.segments, torch.zeros_like(self.segments[:, :1])], 1)
        self.position = self.position + 1
        x = self.model.embed(tokens[:, None].to(self.position.device))
        mask = (self.segments == 0)[:, None, None]
        bias = torch.zeros(mask.shape, dtype=x.dtype, device=x.device).masked_fill_(~mask, float("-inf"))
        self._run(x, self.position, bias, self.sees)

    def select(self, rows: Tensor) -> None:
        """Continue with these rows, in this order; rows may repeat."""
        rows = rows.to(self.position.device)
        self.segments, self.position, self.sees = self.segments[rows], self.position[rows], self.sees[rows]
        self.keys_values = {name: (k[rows], v[rows]) for name, (k, v) in self.keys_values.items()}
        if isinstance(self.cache, list):
            self.cache = [(k[rows], v[rows]) for k, v in self.cache]
        else:
            self.cache.reorder_cache(rows)
        self.logits = self.logits[rows]


@torch.inference_mode()
def greedy(model: AroundLM, prompts: list[Prompt], image_id: int, eoc_id: int, length: int = 16) -> list[list[int]]:
    """Generate the most likely token at each step, up to EOC or `length` tokens; no markers other than EOC."""
    session = Session(model, prompt_batch(prompts, image_id))
    texts: list[list[int]] = [[] for _ in prompts]
    running = [True] * len(prompts)
    for _ in range(length):
        session.logits[:, image_id] = float("-inf")
        tokens = session.logits.argmax(-1)
        for number, token in enumerate(tokens.tolist()):
            running[number] = running[number] and token != eoc_id
            if running[number]:
                texts[number].append(token)
        if not any(running):
            break
        session.step(tokens)
    return texts


@torch.inference_mode()
def beam(
    model: AroundLM, prompt: Prompt, image_id: int, eoc_id: int, beams: int = 3, length: int = 16
) -> tuple[list[int], float]:
    """Return the continuation with the highest log-likelihood found by `beams` beams, and that log-likelihood
    (nats)."""
    session = Session(model, prompt_batch([prompt], image_id))
    session.select(torch.zeros(beams, dtype=torch.long))
    scores = torch.full((beams,), float("-inf"))  # on the CPU, where beams are selected
    scores[0] = 0.0
    texts: list[list[int]] = [[] for _ in range(beams)]
    best: tuple[list[int], float] = ([], float("-inf"))
    for step in range(length):
        session.logits[:, image_id] = float("-inf")
        total = scores[:, None] + session.logits.log_softmax(-1).cpu()
        values, places = total.flatten().topk(2 * beams)
        rows: list[int] = []
        tokens: list[int] = []
        kept: list[float] = []
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            row, token = divmod(place, total.shape[1])
            if token == eoc_id or step == length - 1:
                text = texts[row] + ([] if token == eoc_id else [token])
                best = max(best, (text, value), key=lambda found: found[1])
            elif len(rows) < beams:
                rows.append(row)
                tokens.append(token)
                kept.append(value)
        if not rows or best[1] >= max(kept):
            break
        texts = [texts[row] + [token] for row, token in zip(rows, tokens, strict=True)]
        scores = torch.tensor(kept)
        session.select(torch.tensor(rows))
        session.step(torch.tensor(tokens))
    return best


@torch.inference_mode()
def likelihoods(model: AroundLM, prompt: Prompt, answers: list[np.ndarray], image_id: int) -> list[float]:
    """Log-likelihood (nats) of each answer after the prompt."""
    rows = [Prompt(np.concatenate([prompt.tokens, answer]), prompt.features) for answer in answers]
    batch = prompt_batch(rows, image_id)
    for number, answer in enumerate(answers):
        batch.targets[number, -len(answer) - 1 : -1] = torch.from_numpy(answer.astype(np.int64))
    nll = model.nll(batch.to(model.new_rows.device))
    counts = [len(answer) for answer in answers]
    return [-float(part.sum()) for part in nll.split(counts)]

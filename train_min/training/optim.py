"""Muon for matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), AdamW for everything else.

In the few hundred steps of a validation, Muon teaches the cross-attention three to four times as much as AdamW at its
best rate; RESULTS.md has the figures.
"""

from typing import Any

import torch
from torch import Tensor, nn

from train_min.model.vision import fast_dtype

# Coefficients of three quintic iterations, fitted so that singular values in [0.01, 1] end up in [0.56, 1.15], on
# average closer to 1 than with Jordan's five iterations of one polynomial; at this size they save two fifths of Muon's
# cost
NEWTON_SCHULZ = ((5.8437, -16.1189, 11.7012), (4.0600, -5.1612, 1.7973), (2.4925, -2.0256, 0.5666))

# When a gate changes its sign, the attention it scales unlearns what it learnt: its momentum must outlive the noise of
# some batches, or one run in six never learns to use images (RESULTS.md)
GATE_BETAS = (0.98, 0.99)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Replace (n, rows, columns), rows <= columns, by the nearest matrices with singular values near 1, for which
    bfloat16 is precise enough."""
    x = matrices.to(fast_dtype(matrices.device))
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for a, b, c in NEWTON_SCHULZ:
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised update; matrices of one shape form one batch. On CPU that takes a third of the
    time of torch.optim.Muon, which updates them one by one."""

    def __init__(self, groups: Any, lr: float, momentum: float = 0.95):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
            for parameters in shapes.values():
                updates = torch.stack([self._momentum(parameter, group["momentum"]) for parameter in parameters])
                for parameter, update in zip(parameters, orthogonalize(updates), strict=True):
                    rows, columns = parameter.shape
                    if group["weight_decay"]:
                        parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    turned = update.mT if rows > columns else update
                    parameter.add_(turned.to(parameter.dtype), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov momentum, transposed if needed so that there are never more rows than columns."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        update = parameter.grad.lerp(state["momentum"], momentum)
        return update.mT if update.shape[0] > update.shape[1] else update


def make_optimizers(
    model: nn.Module, matrix_rate: float, rate: float, gate_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, the only ones with weight decay; AdamW for the gates, at a rate of their own, and for
    norms, latents and embeddings. Every group keeps its rate as `base`."""
    matrices, gates, others = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or not parameter.numel():
            continue
        if name.endswith("_gate"):
            gates.append(parameter)
        elif name.endswith(".weight") and parameter.ndim == 2:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [
        {"params": others, "base": rate, "weight_decay": 0.0},
        {"params": gates, "base": gate_rate, "weight_decay": 0.0, "betas": GATE_BETAS},
    ]
    return [
        Muon([{"params": matrices, "base": matrix_rate, "weight_decay": weight_decay}], matrix_rate),
        torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, betas=(0.9, 0.95), fused=True),
    ]

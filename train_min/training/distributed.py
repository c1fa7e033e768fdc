"""Several processes that train every variant together: `torchrun --nproc-per-node=2 -m train_min CORPUS`.

Each takes its share of the rows of a step, and gradients are summed (`loop.accumulate`); the first process prepares,
evaluates and writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

from train_min import TrainError
from train_min.model.vision import choose_device


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def refuse_torchrun(option: str) -> None:
    """Raises TrainError if torchrun started this process: what `option` runs trains on one."""
    if started_by_torchrun():
        raise TrainError(f"{option} does not train on several processes together: start it without torchrun")


def number() -> int:
    """Rank of this process among those started by torchrun; 0 without torchrun."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


@contextmanager
def together(device: str | None) -> Iterator[None]:
    """Join the process group of torchrun; do nothing without torchrun."""
    if not started_by_torchrun():
        yield
        return
    backend = "gloo"
    if choose_device(device).type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    # the others wait here while the first encodes images
    torch.distributed.init_process_group(backend, timeout=timedelta(days=1))
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def of_first(value: Any) -> Any:
    """Send the first process' value to every process."""
    if not torch.distributed.is_initialized():
        return value
    shared = [value]
    torch.distributed.broadcast_object_list(shared)
    return shared[0]

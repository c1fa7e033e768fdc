"""A device that is not the CPU, on any machine: tensors that say they lie on `meta`, but have their values.

As with a GPU, no operation takes tensors of both devices, but for single numbers and CPU indexes into rows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from train_min.model.flamingo import Flamingo

ELSEWHERE = torch.device("meta")


class Far(Tensor):
    """A tensor elsewhere; `near` holds its values."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor, requires_grad: bool = False):  # type: ignore[no-untyped-def]
        made = Tensor._make_wrapper_subclass(
            cls, near.shape, near.stride(), dtype=near.dtype, device=ELSEWHERE, requires_grad=requires_grad
        )
        made.near = near
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Far({self.near})"

    def tolist(self) -> Any:
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return run(func, args, kwargs or {})


def run(func, args, kwargs):  # type: ignore[no-untyped-def]
    tensors: list[Tensor] = []
    tree_map(lambda x: tensors.append(x) if isinstance(x, Tensor) else None, (args, kwargs))
    name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
    if any(isinstance(x, Far) for x in tensors) and name not in ("copy_", "_to_copy"):
        close = [x for x in tensors if not isinstance(x, Far) and x.ndim]
        if close and name not in ("index", "index_put", "index_put_"):
            raise RuntimeError(f"tensors on {ELSEWHERE} and on the CPU in {name}")
    device = kwargs.get("device")
    far = any(isinstance(x, Far) for x in tensors) if device is None else torch.device(device) == ELSEWHERE
    kwargs = dict(kwargs) | ({} if device is None else {"device": torch.device("cpu")})
    if name == "_fused_sdp_choice":
        return 0  # the formula: the kernels are those of real devices
    args, kwargs = tree_map(lambda x: x.near if isinstance(x, Far) else x, (args, kwargs))
    found = func(*args, **kwargs)
    with torch.inference_mode(False):  # where views of tensors like these could not be made
        return tree_map(lambda x: Far(x) if far and isinstance(x, Tensor) else x, found)


class TwoDevices(TorchDispatchMode):
    """Tensors made elsewhere, or moved there, keep their values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return run(func, args, kwargs or {})


def moved(model: Flamingo) -> Flamingo:
    """`model` with its weights elsewhere, in place."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                far = Far(parameter.detach())
                module._parameters[name] = torch.nn.Parameter(far, requires_grad=parameter.requires_grad)
    return model

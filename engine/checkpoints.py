"""Putting the tensors of a checkpoint into a network: every one of them is used, or named in the error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_into(module: nn.Module, state: dict[str, Tensor], *, path: Path, model: str) -> None:
    """Give `module` the tensors of `state`, which were read from `path` and should be those of `model`.

    The tensors, in the module's precision, take the place of its own, so that it may have been built on the meta
    device. Counters of batches, which evaluation does not read, may be missing. Raises `WeightsError` that names what
    is missing, what is left over and what has another shape.
    """
    import torch

    expected = module.state_dict()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked") and name not in state:
            state = {**state, name: torch.zeros((), dtype=tensor.dtype)}
    missing = [name for name in expected if name not in state]
    left_over = [name for name in state if name not in expected]
    other = [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    found = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("left over", left_over), ("of another shape", other))
        if names
    ]
    if found:
        raise WeightsError(
            f"{path} does not hold the weights of {model} ({'; '.join(found)}). "
            "Use the published file, and copy it again if it was cut short."
        )
    module.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in expected.items()}, assign=True)


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

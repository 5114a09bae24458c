"""How alike pictures look to a network: LPIPS (Zhang et al. 2018) on AlexNet, by weights on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import weights
from engine.core.errors import InputError, WeightsError

NAME = "lpips-alex"
"""Stem of the file that is looked for in the folders of weights."""
_BATCH = 16
_CHANNELS = (64, 192, 384, 256, 256)
_LAYERS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and deviation of the pictures that AlexNet learnt from, for values in -1..1."""


def find_lpips() -> Path:
    """The file `lpips-alex.*` in one of the folders of weights; `WeightsError` says how to make it if there is none."""
    for folder in weights.folders():
        for suffix in weights.CHECKPOINT_SUFFIXES:
            if (folder / f"{NAME}{suffix}").is_file():
                return folder / f"{NAME}{suffix}"
    raise WeightsError(
        "The weights of LPIPS are not on this machine. On one with a network, install the package lpips, write "
        f'torch.save(lpips.LPIPS(net="alex").state_dict(), "{NAME}.pth"), and put that file into a folder of weights '
        "(the one that ORIEL_WEIGHTS names, or the settings')."
    )


class Lpips:
    """LPIPS from the state of `lpips.LPIPS(net="alex")`, version 0.1. Nothing is downloaded."""

    def __init__(self, path: Path | str | None = None, *, device: str | None = None) -> None:
        """`path`: the file, else what `find_lpips` finds. Raises `WeightsError` for a missing, damaged or other one."""
        import torch
        from torch import nn

        from engine.core.device import pick_device

        self.path = find_lpips() if path is None else Path(path)
        state = {
            name.removeprefix("net."): tensor
            for name, tensor in weights.read_checkpoint(self.path).items()
            # The constants stand above, and the last layers are in the file a second time as `lins`.
            if not name.startswith(("scaling_layer.", "lins."))
        }
        inputs = (3, *_CHANNELS[:-1])
        kernels = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        self._layers = [nn.Conv2d(n, m, *kernel) for n, m, kernel in zip(inputs, _CHANNELS, kernels, strict=True)]
        self._heads = [nn.Conv2d(channels, 1, 1, bias=False) for channels in _CHANNELS]
        # Arranged as the file names them.
        self._network = nn.ModuleDict()
        for i, (name, layer, head) in enumerate(zip(_LAYERS, self._layers, self._heads, strict=True)):
            part, index = name.split(".")
            self._network[part] = nn.ModuleDict({index: layer})
            self._network[f"lin{i}"] = nn.ModuleDict({"model": nn.ModuleDict({"1": head})})
        weights.load_into(self._network, state, path=self.path, model="LPIPS with AlexNet")
        self.device = torch.device(device or pick_device())
        self._network.eval().requires_grad_(False).to(self.device)

    def distance(
        self,
        a: Sequence[npt.NDArray[Any]] | npt.NDArray[np.float32],
        b: Sequence[npt.NDArray[Any]] | npt.NDArray[np.float32],
    ) -> float:
        """LPIPS of two sets of N pictures (H, W, 3 or 4) of one size, RGB over white, 0..1: the mean; 0 for the same.

        d = sum over the layers l of the mean over pixels of w_l . (f_l(a) - f_l(b))^2, where f_l are the activations
        scaled to unit length across channels and w_l the learnt weights.
        """
        import torch

        if len(a) != len(b) or not len(a):
            raise InputError(f"LPIPS compares pictures one by one; it got {len(a)} and {len(b)}.")
        total = 0.0
        for start in range(0, len(a), _BATCH):
            with torch.inference_mode():
                layers = [self._features(x[start : start + _BATCH]) for x in (a, b)]
                for head, f, g in zip(self._heads, *layers, strict=True):
                    total += float(head((f - g) ** 2).mean((1, 2, 3)).sum())
        return total / len(a)

    def _features(self, pictures: Any) -> list[Any]:
        import torch
        from torch.nn import functional

        x = torch.from_numpy(np.stack([np.asarray(p, np.float32)[..., :3] for p in pictures])).to(self.device)
        shift, scale = (torch.tensor(v, device=self.device).reshape(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        x = (x.permute(0, 3, 1, 2) * 2 - 1 - shift) / scale
        found = []
        for i, layer in enumerate(self._layers):
            x = functional.relu(layer(functional.max_pool2d(x, 3, 2) if i in (1, 2) else x))
            found.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return found

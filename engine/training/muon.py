"""Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) in single precision.

`torch.optim.Muon` orthogonalises in bfloat16, which a processor without matrix tiles multiplies a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose steps are orthogonalised; for matrices only.

    Steps have the root mean square of AdamW's, 0.2 (Liu et al., "Muon is scalable for LLM training", 2025), so that
    rates and weight decay mean the same for both.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    alike.setdefault(p.shape, []).append((p, p.grad.lerp(buffer, group["momentum"])))
            for shape, pairs in alike.items():
                steps = orthogonalised(torch.stack([step for _, step in pairs]))
                scale = 0.2 * max(shape) ** 0.5
                for (p, _), step in zip(pairs, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"] * scale)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices (K, M, N) with their singular values brought near to 1 by Newton and Schulz's iteration.

    The iteration runs on the smaller Gram matrix, and the matrices are multiplied once, at the end: the same result in
    half of the work.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.float().mT if tall else matrices.float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    gram = x @ x.mT
    product = unit = torch.eye(gram.shape[-1], device=x.device).expand_as(gram)
    for _ in range(_ITERATIONS):
        polynomial = a * unit + b * gram + c * (gram @ gram)
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    x = product @ x
    return x.mT if tall else x

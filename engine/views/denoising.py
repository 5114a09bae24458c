"""Straight walls and even roofs out of doubtful occupancies: denoising by total variation along the axes."""

from __future__ import annotations

import torch
from torch import Tensor


def denoised(values: Tensor, weight: Tensor, iterations: int = 60) -> Tensor:
    """The grid u (X, Y, Z) with the least weight * TV(u) + |u - values|^2 / 2 (Rudin, Osher and Fatemi, 1992), for a
    weight everywhere or one for each value.

    TV adds the sizes of the differences along each axis, so that what is left has faces along the axes where the
    values allow it (Esedoglu and Osher, "Decomposition of images by the anisotropic Rudin-Osher-Fatemi model", 2004).
    The solid u > 0 is then the one that gains most of the values inside of it for `weight` a face of a cell (Chan,
    Esedoglu and Nikolova, 2006): a ripple that its own values do not pay for is gone, an edge stays where it is.
    Solved in the dual by accelerated projected gradients (Beck and Teboulle, 2009).
    """
    dual = values.new_zeros(3, *values.shape)
    ahead, momentum = dual, 1.0
    for _ in range(iterations):
        # the dual operator's norm is at most 12 = 4 for each axis
        new = (ahead + _differences(values - _adjoint(ahead)) / 12).clamp(-weight, weight)
        after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead, dual, momentum = new + (momentum - 1) / after * (new - dual), new, after
    return values - _adjoint(dual)


def _differences(u: Tensor) -> Tensor:
    """(3, X, Y, Z) differences to the next value along each axis, 0 at the end."""
    out = u.new_zeros(3, *u.shape)
    for axis in range(3):
        n = u.shape[axis] - 1
        out[axis].narrow(axis, 0, n).copy_(u.narrow(axis, 1, n) - u.narrow(axis, 0, n))
    return out


def _adjoint(p: Tensor) -> Tensor:
    """The adjoint of `_differences`."""
    u = torch.zeros_like(p[0])
    for axis in range(3):
        n = u.shape[axis] - 1
        part = p[axis].narrow(axis, 0, n)
        u.narrow(axis, 0, n).sub_(part)
        u.narrow(axis, 1, n).add_(part)
    return u

"""An object known exactly, ray-traced into views."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine import cameras

SIZE = 96
ELEVATION = 20.0


def house(points: Tensor) -> Tensor:
    """Signed distance to a box with a dome on it."""
    q = (points - points.new_tensor([0.0, 0.0, -0.1])).abs() - points.new_tensor([0.3, 0.2, 0.25])
    box = q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)
    dome = (points - points.new_tensor([0.0, 0.0, 0.2])).norm(dim=-1) - 0.2
    return torch.minimum(box, dome)


def trace(c2w: np.ndarray, k: np.ndarray, size: int) -> np.ndarray:
    """RGBA (size, size, 4) of the house over white; colours say where a point lies."""
    origin, directions = cameras.pixel_rays(c2w, k, cameras.pixel_grid(size))
    o, d = torch.from_numpy(origin), torch.nn.functional.normalize(torch.from_numpy(directions), dim=-1)
    t = torch.full((len(d),), 0.5)
    for _ in range(50):
        t = t + house(o + d * t[:, None]).clamp(-0.1, 0.3)
    points = o + d * t[:, None]
    hit = house(points) < 0.004
    rgb = torch.where(hit[:, None], (points + 0.5).clamp(0, 1), torch.ones(3))
    return torch.cat([rgb, hit[:, None].float()], -1).view(size, size, 4).numpy()

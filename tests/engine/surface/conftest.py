"""The house of `surface_scenes` in the 32 source views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from surface_scenes import ELEVATION, SIZE, trace

from engine import cameras


@dataclass
class Scene:
    views: np.ndarray
    c2ws: np.ndarray
    k: np.ndarray


@pytest.fixture(scope="session")
def scene() -> Scene:
    """The house in the 32 source views."""
    torch.set_num_threads(1)
    k = cameras.intrinsics(SIZE)
    c2ws = np.stack([p.matrix() for p in cameras.source_poses(ELEVATION)])
    return Scene(np.stack([trace(c, k, SIZE) for c in c2ws]), c2ws, k)

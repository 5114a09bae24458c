"""What is saved by cleverer ways: a field at every point of a grid."""

from __future__ import annotations

import numpy as np
import torch

from engine.cameras import VOLUME_EXTENT, FloatArray
from engine.surface.extraction import CHUNK, FieldFunction


def dense_grid(field: FieldFunction, resolution: int, extent: float = VOLUME_EXTENT) -> FloatArray:
    """Field (R, R, R) at every grid point, x first: the reference that `refined_grid` saves."""
    axis = np.arange(resolution, dtype=np.float32) * np.float32(2 * extent / (resolution - 1)) - np.float32(extent)
    points = torch.from_numpy(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3))
    with torch.no_grad():
        values = torch.cat([field(chunk).cpu() for chunk in points.split(CHUNK)])
    return values.numpy().reshape((resolution,) * 3)

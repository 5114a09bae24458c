"""Triangles over pixels in plain numpy: the base of atlas texels, depth, voxels and silhouettes.

Not OpenGL: triangles of a reconstruction cover few pixels, so that this is as quick as software OpenGL, and it is the
same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.core.progress import CancelToken

_CHUNK = 400_000
"""Candidate pixels that are held at once."""


def rasterize(
    triangles: npt.NDArray[Any], width: int, height: int, cancel: CancelToken | None = None, *, slack: float = 1e-5
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Pixels whose centre lies in triangles (F, 3, 2), in pixels, x right and y down, either way round.

    Yields, chunk by chunk and at least once, face numbers (M,), pixels (M,) as row * width + column, and barycentric
    weights (M, 3) in the precision of the triangles, none less than -`slack`. A pixel on a shared edge is given for
    both faces.
    """
    origin = triangles[:, 0]
    a, b = triangles[:, 1] - origin, triangles[:, 2] - origin
    twice_area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    limit = np.array([width, height])
    # numpy reduces over an axis of three slowly: hence the pairs
    least = np.minimum(np.minimum(origin, triangles[:, 1]), triangles[:, 2])
    most = np.maximum(np.maximum(origin, triangles[:, 1]), triangles[:, 2])
    low = np.clip(np.ceil(least - 0.5), 0, limit).astype(np.int64)
    high = np.clip(np.floor(most - 0.5), -1, limit - 1).astype(np.int64)
    extent = np.maximum(high - low + 1, 0)
    candidates = np.where(np.abs(twice_area) > 1e-9, extent[:, 0] * extent[:, 1], 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # weight of corner 1 and of corner 2, each a linear function of the offset from corner 0
        slope = np.stack([b[:, 1], -b[:, 0], -a[:, 1], a[:, 0]], -1) / twice_area[:, None]
    faces = np.flatnonzero(candidates)
    ends = np.cumsum(candidates[faces])
    start = 0
    while True:
        if cancel is not None:
            cancel.check()
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _CHUNK, side="right")), start + 1)
        chunk = faces[start:stop]
        count = candidates[chunk]
        face = np.repeat(chunk, count)
        local = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
        row, column = np.divmod(local, np.repeat(extent[chunk, 0], count))
        column += low[face, 0]
        row += low[face, 1]
        dx, dy = column + 0.5 - origin[face, 0], row + 0.5 - origin[face, 1]
        s = slope[face]
        second, third = dx * s[:, 0] + dy * s[:, 1], dx * s[:, 2] + dy * s[:, 3]
        first = 1 - second - third
        inside = np.flatnonzero((first >= -slack) & (second >= -slack) & (third >= -slack))
        bary = np.stack([first[inside], second[inside], third[inside]], -1).astype(triangles.dtype)
        yield face[inside], row[inside] * width + column[inside], bary
        start = stop
        if start >= len(faces):
            return

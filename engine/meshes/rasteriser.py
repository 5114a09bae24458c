"""Triangles over cells of a plane in plain numpy: the base of voxels and of silhouettes.

Slow for a picture of few huge triangles, fast enough for meshes of small ones, the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_CHUNK = 4_000_000


@dataclass(frozen=True)
class Covered:
    """Pairs of a triangle and a cell whose centre it covers."""

    faces: npt.NDArray[np.int64]
    """(P,) index of the triangle."""
    cells: npt.NDArray[np.int64]
    """(P,) row * width + column."""
    barycentric: npt.NDArray[np.float64]
    """(P, 3) weights of the three corners at the cell's centre."""
    orientation: npt.NDArray[np.float64]
    """(P,) +1 where the corners run counter-clockwise (x right, y up), else -1."""


def covered_cells(triangles: npt.ArrayLike, width: int, height: int) -> Covered:
    """All (triangle, cell) pairs of triangles (F, 3, 2) in cell units; cell (column, row) has its centre at + 0.5."""
    corners = np.asarray(triangles, np.float64)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    double_area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    limit = np.array([width, height])
    low = np.clip(np.ceil(corners.min(1) - 0.5), 0, limit).astype(np.int64)
    high = np.clip(np.floor(corners.max(1) - 0.5) + 1, 0, limit).astype(np.int64)
    span = np.maximum(high - low, 0)
    count = np.where(np.abs(double_area) > 1e-18, span[:, 0] * span[:, 1], 0)
    parts: list[tuple[npt.NDArray, npt.NDArray, npt.NDArray]] = []
    candidates = np.nonzero(count)[0]
    total = np.cumsum(count[candidates])
    start = 0
    while start < len(candidates):
        done = total[start - 1] if start else 0
        stop = max(int(np.searchsorted(total, done + _CHUNK, side="right")), start + 1)
        parts.append(_test(candidates[start:stop], corners, double_area, low, span, count, width))
        start = stop
    if not parts:
        empty = np.zeros(0, np.int64)
        return Covered(empty, empty, np.zeros((0, 3)), np.zeros(0))
    faces, cells, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Covered(faces, cells, weights, np.sign(double_area[faces]))


def _test(
    chosen: npt.NDArray,
    corners: npt.NDArray,
    double_area: npt.NDArray,
    low: npt.NDArray,
    span: npt.NDArray,
    count: npt.NDArray,
    width: int,
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Faces, cells and barycentric weights among the bounding boxes of the chosen triangles."""
    faces = np.repeat(chosen, count[chosen])
    begins = np.cumsum(count[chosen]) - count[chosen]
    within = np.arange(len(faces)) - np.repeat(begins, count[chosen])
    row, column = np.divmod(within, span[faces, 0])
    column, row = column + low[faces, 0], row + low[faces, 1]
    x, y = column + 0.5, row + 0.5
    (ax, ay), (bx, by), (cx, cy) = (corners[faces, i].T for i in range(3))
    wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / double_area[faces]
    wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / double_area[faces]
    wc = 1 - wa - wb
    keep = (wa >= 0) & (wb >= 0) & (wc >= 0)
    return faces[keep], (row * width + column)[keep], np.stack([wa[keep], wb[keep], wc[keep]], -1)

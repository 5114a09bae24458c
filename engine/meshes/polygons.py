"""Polygons cut into triangles, also those that are not convex: `triangulate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.meshes.mesh import IntArray

Array = npt.NDArray[Any]
_FLAT = 1e-9
"""Of twice a polygon's area: what is no turn of its outline but rounding."""


def triangulate(corners: Array, sizes: Array) -> tuple[IntArray, Array]:
    """Triangles (T, 3) of polygons, as places in `corners`, and the polygon (T,) that each is of, in their order.

    `corners` (C, 3): positions, polygon after polygon; `sizes` (F,): how many each has; of fewer than three nothing
    comes. Convex polygons become fans; others, which may lie in any plane, lose an ear at a time.

    >>> corners = np.array([[0, 0, 0], [4, 0, 0], [1, 1, 0], [0, 4, 0]])  # an arrowhead
    >>> triangulate(corners, np.array([4]))[0].tolist()
    [[2, 3, 0], [2, 0, 1]]
    """
    sizes = np.asarray(sizes, np.int64)
    starts = np.cumsum(sizes) - sizes
    found, of = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes[sizes > 2]).tolist():
        faces = np.flatnonzero(sizes == size)
        outline = starts[faces, None] + np.arange(size)
        if size > 3:
            outline, dented = _from_a_dent(np.asarray(corners, np.float64), outline)
        fan = np.stack([np.broadcast_to(outline[:, :1], (len(faces), size - 2)), outline[:, 1:-1], outline[:, 2:]], 2)
        if size > 4:
            for row in np.flatnonzero(dented):
                fan[row] = outline[row][_without_ears(np.asarray(corners, np.float64)[outline[row]])]
        found.append(fan.reshape(-1, 3))
        of.append(np.repeat(faces, size - 2))
    triangles, polygon = np.concatenate(found), np.concatenate(of)
    order = np.argsort(polygon, kind="stable")
    return triangles[order].astype(np.int32), polygon[order]


def _normals(points: Array) -> Array:
    """Normals (F, 3) of polygons (F, N, 3), as long as twice their areas (Newell)."""
    around = points - points[:, :1]
    return np.asarray(np.cross(around, np.roll(around, -1, 1)).sum(1))


def _from_a_dent(corners: Array, outline: Array) -> tuple[Array, Array]:
    """Outlines (F, N) that begin at a corner where the polygon turns in, if there is one; and (F,) if there is.

    From there a quad is a fan.
    """
    points = corners[outline]
    normals = _normals(points)
    along = np.roll(points, -1, 1) - points
    turns = np.einsum("fni,fi->fn", np.cross(np.roll(along, 1, 1), along), normals)
    deepest = turns.argmin(1)
    dented = np.take_along_axis(turns, deepest[:, None], 1)[:, 0] < -_FLAT * (normals**2).sum(1)
    first = np.where(dented, deepest, 0)
    size = outline.shape[1]
    return np.take_along_axis(outline, (first[:, None] + np.arange(size)) % size, 1), dented


def _without_ears(points: Array) -> Array:
    """Triangles (N - 2, 3) of one polygon (N, 3): corners that nothing else lies in are cut off, one by one."""
    normal = _normals(points[None])[0]
    axis = int(np.abs(normal).argmax())
    across = [(axis + 1) % 3, (axis + 2) % 3]
    flat = points[:, across] * (1.0, np.sign(normal[axis]) or 1.0)  # counter-clockwise
    slack = _FLAT * float(np.abs(normal[axis]))
    before, after = np.roll(np.arange(len(flat)), 1), np.roll(np.arange(len(flat)), -1)

    def turn(a: Array, b: Array, c: Array) -> Array:
        return np.asarray((b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1])) - (b[..., 1] - a[..., 1]) * (
            c[..., 0] - a[..., 0]
        )

    there = np.ones(len(flat), bool)
    dents = turn(flat[before], flat, flat[after]) < 0
    triangles: list[tuple[int, int, int]] = []
    at, tried, left = 0, 0, len(flat)
    while left > 3:
        a, c = int(before[at]), int(after[at])
        area = float(turn(flat[a], flat[at], flat[c]))
        inside = area < -slack
        if area > slack:
            others = flat[np.flatnonzero(dents & there)]
            sides = ((flat[a], flat[at]), (flat[at], flat[c]), (flat[c], flat[a]))
            within = np.all([turn(p, q, others) >= -slack for p, q in sides], 0)
            # an outline that leads to a hole and back goes through corners twice
            within &= ~np.any([(others == p).all(1) for p, _ in sides], 0)
            inside = bool(within.any())
        if inside and tried < left:
            at, tried = c, tried + 1
            continue
        # of outlines that cross themselves any corner will do once all were tried
        triangles.append((a, at, c))
        there[at] = False
        after[a], before[c] = c, a
        for corner in (a, c):
            dents[corner] = turn(flat[before[corner]], flat[corner], flat[after[corner]]) < 0
        at, tried, left = c, 0, left - 1
    triangles.append((int(before[at]), at, int(after[at])))
    return np.array(triangles)

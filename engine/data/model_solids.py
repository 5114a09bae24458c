"""Training solids made of real models: a mesh with finishes and carved voxels, moved, cut and joined as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.data.textures import LAYERS, texture_library

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

BUILDING, THING = 1, 2
"""Kinds of models."""


@dataclass(frozen=True)
class Carving:
    """Carved voxels, or a box-shaped part of them, somewhere in a solid."""

    occupancy: BoolArray
    """(R, R, R)."""
    to_cells: npt.NDArray[np.float64]
    """(4, 4) affine, from the solid's coordinates to cells of the grid."""
    low: npt.NDArray[np.float64]
    """(3,) cells; what lies below does not belong to the part."""
    high: npt.NDArray[np.float64]
    """(3,) cells."""

    def contains(self, points: FloatArray) -> BoolArray:
        """Whether the voxels that points (N, 3) lie in are solid."""
        side = self.occupancy.shape[0]
        m = self.to_cells.astype(np.float32)
        # row by row: three times quicker than a product of (N, 3) and (3, 3)
        px, py, pz = points.T
        x, y, z = (row[0] * px + row[1] * py + row[2] * pz + row[3] for row in m[:3])
        (x0, y0, z0), (x1, y1, z1) = self.low, self.high
        within = (x >= x0) & (y >= y0) & (z >= z0) & (x < x1) & (y < y1) & (z < z1)
        near = np.flatnonzero(within)
        at = (x[near].astype(np.int32) * side + y[near].astype(np.int32)) * side + z[near].astype(np.int32)
        within[near] = self.occupancy.reshape(-1)[at]
        return within

    def moved(self, inverse: Array) -> Carving:
        """The part after a move whose inverse (4, 4) is given."""
        return replace(self, to_cells=self.to_cells @ inverse)


@dataclass
class ModelSolid:
    """A textured model with carved occupancy. Z up, longest side of the bounding box 1, box centred at the origin.

    A surface point's colour is mix(color_a, color_b, texel.r) * (0.5 + texel.g) where its layer is one of the texture
    library's, else texel.rgb * color_a of its own picture; clamped, sRGB.
    """

    vertices: FloatArray
    """(V, 3)."""
    faces: npt.NDArray[np.int32]
    """(F, 3), counter-clockwise from the air where there is solid on the other side."""
    normals: FloatArray
    """(V, 3), unit length."""
    uv: FloatArray
    """(V, 2) in texture tiles; textures repeat."""
    layer: npt.NDArray[np.int32]
    """(V,) index into `texture_library()`, from its length on into `textures`."""
    color_a: FloatArray
    """(V, 3) in 0..1."""
    color_b: FloatArray
    """(V, 3) in 0..1."""
    textures: npt.NDArray[np.uint8] | None
    """(T, S, S, 3), row 0 at v = 0; None without pictures."""
    family: str
    """The model's name in its library."""
    kind: int
    """`BUILDING` or `THING`."""
    seed: int = 0
    """Of the changes that made this solid from the model."""
    carvings: Sequence[Carving] = field(default=(), repr=False)
    outer: FloatArray = field(default_factory=lambda: np.zeros((0, 3), np.float32), repr=False)
    """(P, 3) points of the outer surface, each standing for as much area as its weight says."""
    outer_normals: FloatArray = field(default_factory=lambda: np.zeros((0, 3), np.float32), repr=False)
    """(P, 3), into the air."""
    weight: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    """(P,)."""

    def contains(self, points: npt.ArrayLike) -> BoolArray:
        """Whether each of the points (N, 3) lies inside the solid."""
        p = np.asarray(points, np.float32).reshape(-1, 3)
        inside = self.carvings[0].contains(p)
        for part in self.carvings[1:]:
            inside |= part.contains(p)
        return inside

    def sample_surface(self, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """`count` points (N, 3) spread evenly over the outer surface, and outward normals (N, 3)."""
        chosen = np.minimum(np.searchsorted(self._shares, rng.random(count, np.float32)), len(self.outer) - 1)
        return self.outer[chosen], self.outer_normals[chosen]

    @cached_property
    def _shares(self) -> FloatArray:
        total = np.cumsum(self.weight, dtype=np.float64)
        return (total / total[-1]).astype(np.float32)

    @property
    def bounds(self) -> FloatArray:
        """(2, 3) lowest and highest coordinates of the mesh."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    @property
    def voxel(self) -> float:
        """Longest side of a voxel of the first carving."""
        return float(1 / np.linalg.norm(self.carvings[0].to_cells[:3, :3], axis=1).min())

    def moved(self, matrix: npt.ArrayLike) -> ModelSolid:
        """The solid after an affine map (4, 4): mesh, occupancy and samples follow; a mirrored one is wound anew."""
        m = np.asarray(matrix, np.float64)
        inverse = np.linalg.inv(m)
        volume = float(np.linalg.det(m[:3, :3]))

        def turned(normals: FloatArray) -> tuple[FloatArray, FloatArray]:
            n = (normals @ inverse[:3, :3]).astype(np.float32)
            length = np.maximum(np.linalg.norm(n, axis=1), 1e-12)
            return n / length[:, None], length

        outer_normals, stretch = turned(self.outer_normals)
        return replace(
            self,
            vertices=_place(self.vertices, m),
            faces=np.ascontiguousarray(self.faces[:, ::-1]) if volume < 0 else self.faces,
            normals=turned(self.normals)[0],
            carvings=[part.moved(inverse) for part in self.carvings],
            outer=_place(self.outer, m),
            outer_normals=outer_normals,
            weight=(self.weight * stretch * abs(volume)).astype(np.float32),
        )

    def unit(self) -> ModelSolid:
        """The solid with its box centred and the longest side 1."""
        low, high = self.bounds.astype(np.float64)
        matrix = np.eye(4) / float((high - low).max())
        matrix[:3, 3], matrix[3, 3] = -(low + high) / 2 * matrix[0, 0], 1
        return self.moved(matrix)

    def clipped(self, axis: int, at: float, *, above: bool, cap: bool) -> ModelSolid:
        """The part of an upright solid of one carving on one side of the plane where coordinate `axis` is `at`.

        `cap` closes the cut with a plane as far as the voxels beside it are solid.
        """
        mesh = _clip_mesh(self, axis, at if above else -at, 1.0 if above else -1.0)
        (part,) = self.carvings
        cell = float(part.to_cells[axis, axis] * at + part.to_cells[axis, 3])
        low, high = part.low.copy(), part.high.copy()
        if above:
            low[axis] = max(low[axis], cell)
        else:
            high[axis] = min(high[axis], cell)
        kept = (self.outer[:, axis] >= at) == above
        solid = replace(
            mesh,
            carvings=[replace(part, low=low, high=high)],
            outer=self.outer[kept],
            outer_normals=self.outer_normals[kept],
            weight=self.weight[kept],
        )
        return _capped(solid, axis, at, cell, above) if cap else solid

    def cross_section(self, axis: int, at: float) -> BoolArray:
        """(R, R), which voxels of the first carving are solid on the plane where coordinate `axis` is `at`."""
        part = self.carvings[0]
        cell = int(part.to_cells[axis, axis] * at + part.to_cells[axis, 3])
        return np.take(part.occupancy, min(max(cell, 0), part.occupancy.shape[0] - 1), axis)


def joined(solids: Sequence[ModelSolid]) -> ModelSolid:
    """Several solids as one, under the first one's name; what lies inside of another is no outer surface."""
    first = solids[0]
    sizes = np.cumsum([0] + [len(s.vertices) for s in solids])
    sheets: list[npt.NDArray[np.uint8]] = []
    layers = []
    library = len(texture_library())
    for solid in solids:
        own = solid.textures
        start = 0
        if own is not None:
            same = [i for i, sheet in enumerate(sheets) if sheet is own]
            if not same:
                sheets.append(own)
            start = sum(len(sheet) for sheet in sheets[: same[0] if same else -1])
        layers.append(np.where(solid.layer >= library, solid.layer + start, solid.layer).astype(np.int32))
    side = max((sheet.shape[1] for sheet in sheets), default=0)
    pictures = [resized(picture, side) for sheet in sheets for picture in sheet]
    outer, normals, weight = [], [], []
    for i, solid in enumerate(solids):
        aside = solid.outer + solid.outer_normals * np.float32(1.5 * solid.voxel)
        hidden = np.zeros(len(aside), bool)
        for j, other in enumerate(solids):
            if i != j:
                hidden |= other.contains(aside)
        outer.append(solid.outer[~hidden])
        normals.append(solid.outer_normals[~hidden])
        weight.append(solid.weight[~hidden])
    return replace(
        first,
        vertices=np.concatenate([s.vertices for s in solids]),
        faces=np.concatenate([s.faces + start for s, start in zip(solids, sizes, strict=False)]).astype(np.int32),
        normals=np.concatenate([s.normals for s in solids]),
        uv=np.concatenate([s.uv for s in solids]),
        layer=np.concatenate(layers),
        color_a=np.concatenate([s.color_a for s in solids]),
        color_b=np.concatenate([s.color_b for s in solids]),
        textures=np.stack(pictures) if pictures else None,
        carvings=[part for s in solids for part in s.carvings],
        outer=np.concatenate(outer),
        outer_normals=np.concatenate(normals),
        weight=np.concatenate(weight),
    )


def resized(picture: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """A picture (H, W, C) as (side, side, C); small ones keep their hard texels."""
    if picture.shape[:2] == (side, side):
        return picture
    shrinks = max(picture.shape[:2]) > side
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST))


def _place(points: FloatArray, matrix: Array) -> FloatArray:
    return np.ascontiguousarray(points @ matrix[:3, :3].T + matrix[:3, 3], np.float32)


def _clip_mesh(solid: ModelSolid, axis: int, at: float, sign: float) -> ModelSolid:
    """The mesh where sign * coordinate >= at; triangles across the plane are cut."""
    rows = np.concatenate(
        [solid.vertices, solid.normals, solid.uv, solid.color_a, solid.color_b, solid.layer[:, None]], 1
    ).astype(np.float32)
    beyond = sign * solid.vertices[:, axis] - at
    keep = beyond[solid.faces] >= 0
    count = keep.sum(1)
    kept = [solid.faces[count == 3]]
    added = []
    total = len(rows)

    def between(a: Array, b: Array) -> npt.NDArray[np.int64]:
        nonlocal total
        t = (beyond[a] / (beyond[a] - beyond[b]))[:, None]
        made = rows[a] + t * (rows[b] - rows[a])
        made[:, -1] = rows[a, -1]
        made[:, axis] = sign * at
        added.append(made)
        total += len(made)
        return np.arange(total - len(made), total)

    for wanted in (1, 2):
        cut = np.flatnonzero(count == wanted)
        # turn each so that the corner that differs from the others comes first
        first = np.argmax(keep[cut] == (wanted == 1), axis=1)
        a, b, c = (solid.faces[cut, (first + i) % 3] for i in range(3))
        ab, ac = between(a, b), between(a, c)
        kept += [np.stack([a, ab, ac], 1)] if wanted == 1 else [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
    faces = np.concatenate(kept)
    used, faces = np.unique(faces, return_inverse=True)
    rows = np.concatenate([rows, *added])[used].astype(np.float32)
    normals = rows[:, 3:6] / np.maximum(np.linalg.norm(rows[:, 3:6], axis=1, keepdims=True), 1e-12)
    return replace(
        solid,
        vertices=np.ascontiguousarray(rows[:, :3]),
        faces=faces.reshape(-1, 3).astype(np.int32),
        normals=normals,
        uv=np.ascontiguousarray(rows[:, 6:8]),
        color_a=np.ascontiguousarray(rows[:, 8:11]),
        color_b=np.ascontiguousarray(rows[:, 11:14]),
        layer=rows[:, 14].astype(np.int32),
    )


def _capped(solid: ModelSolid, axis: int, at: float, cell: float, above: bool) -> ModelSolid:
    """The solid with a plane over the solid voxels where it was cut, in its mean colour."""
    (part,) = solid.carvings
    side = part.occupancy.shape[0]
    mask = np.take(part.occupancy, min(max(int(cell), 0), side - 1), axis)
    boxes = _rectangles(mask)
    if not len(boxes) or not len(solid.vertices):
        return solid
    u, v = (i for i in range(3) if i != axis)
    scale, shift = np.diag(part.to_cells)[:3], part.to_cells[:3, 3]
    corners = np.empty((len(boxes), 4, 3), np.float32)
    corners[:, :, axis] = at
    corners[:, :, u] = (boxes[:, [0, 1, 1, 0]] - shift[u]) / scale[u]
    corners[:, :, v] = (boxes[:, [2, 2, 3, 3]] - shift[v]) / scale[v]
    out = np.zeros(3, np.float32)
    out[axis] = -1.0 if above else 1.0
    order = np.array([[0, 1, 2], [0, 2, 3]])
    if np.cross(np.eye(3)[u], np.eye(3)[v]) @ out < 0:
        order = order[:, ::-1]
    faces = (np.arange(len(boxes))[:, None, None] * 4 + order).reshape(-1, 3) + len(solid.vertices)
    points = corners.reshape(-1, 3)
    n = len(points)
    color = np.tile(mean_color(solid), (n, 1))
    # as many samples as the cut's area deserves beside those of the outer surface
    spots = np.argwhere(mask)
    cells = part.occupancy
    exposed = sum(int((np.diff(cells.view(np.int8), axis=i) != 0).sum()) for i in range(3)) / 1.5
    spots = spots[:: max(1, round(exposed / max(len(solid.outer), 1)))]
    centres = np.empty((len(spots), 3), np.float32)
    centres[:, axis] = at
    centres[:, u] = (spots[:, 0] + 0.5 - shift[u]) / scale[u]
    centres[:, v] = (spots[:, 1] + 0.5 - shift[v]) / scale[v]
    return replace(
        solid,
        vertices=np.concatenate([solid.vertices, points]),
        faces=np.concatenate([solid.faces, faces.astype(np.int32)]),
        normals=np.concatenate([solid.normals, np.tile(out, (n, 1))]),
        uv=np.concatenate([solid.uv, points[:, [u, v]] * 3]),
        layer=np.concatenate([solid.layer, np.full(n, LAYERS["plain_grain"], np.int32)]),
        color_a=np.concatenate([solid.color_a, color]),
        color_b=np.concatenate([solid.color_b, color * np.float32(0.7)]),
        outer=np.concatenate([solid.outer, centres]),
        outer_normals=np.concatenate([solid.outer_normals, np.tile(out, (len(centres), 1))]),
        weight=np.concatenate([solid.weight, np.full(len(centres), np.median(solid.weight), np.float32)]),
    )


def _rectangles(mask: BoolArray) -> npt.NDArray[np.int64]:
    """A mask (R, R) as rectangles (N, 4): first and end row, first and end column; equal runs of rows are one."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    done: list[tuple[int, int, int, int]] = []
    open_: dict[tuple[int, int], int] = {}
    for row in range(len(mask) + 1):
        runs: set[tuple[int, int]] = set()
        if row < len(mask):
            starts, ends = np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1)
            runs = set(zip(starts.tolist(), ends.tolist(), strict=True))
        for run in [run for run in open_ if run not in runs]:
            done.append((open_.pop(run), row, *run))
        for run in runs:
            open_.setdefault(run, row)
    return np.array(done, np.int64).reshape(-1, 4)


def mean_color(solid: ModelSolid) -> FloatArray:
    """(3,) the mean colour of the corners."""
    color = solid.color_a.mean(0)
    if solid.textures is not None and (solid.layer >= len(texture_library())).mean() > 0.5:
        color = color * (solid.textures.mean((0, 1, 2)) / 255)
    return color.astype(np.float32)

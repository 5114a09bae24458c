"""How close a mesh is to the true solid: volume IoU, Chamfer distance, F-score, also of the far side, and normals.

All figures are after one common scaling that makes the longest side of the *truth* 1; nothing is aligned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine.meshes.mesh import FloatArray, Mesh, facet_normals
from engine.meshes.rasteriser import rasterize

BoolArray = npt.NDArray[np.bool_]
Surface = tuple[FloatArray, FloatArray]
"""Points (N, 3) spread evenly over a surface and the unit normals (N, 3) there."""

_LOST = 0.05
"""Share of a surface that may lie in the open before the solid behind it is looked for in another way."""
_SEEN = 3
"""Directions from which a place has to be seen for it to be outside of a mesh with holes."""


class Solid(Protocol):
    """What the truth must offer, in the same frame as the prediction."""

    def contains(self, points: FloatArray) -> BoolArray:
        """Whether points (N, 3) lie inside."""

    def sample_surface(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """`n` points (n, 3) spread evenly over the outer surface, and their normals."""


@dataclass(frozen=True)
class Enclosure:
    """The voxels inside a mesh."""

    occupancy: BoolArray
    """Which voxel centres lie inside."""
    how: str = ""
    """What is wrong with the mesh and how its inside was found all the same, as a sentence with `{}` for the mesh."""
    empty: bool = False
    """Whether it encloses nothing: a sheet, or leaves."""


class MeshSolid:
    """A mesh as a `Solid`."""

    def __init__(self, mesh: Mesh, resolution: int = 128) -> None:
        """`resolution`: voxels along the longest side that `contains` answers from."""
        self.mesh = mesh
        self._resolution = resolution

    @cached_property
    def _voxels(self) -> tuple[npt.NDArray[np.float64], float, BoolArray]:
        """Low corner, step and occupancy of a grid."""
        low, high = self.mesh.bounds if len(self.mesh.vertices) else np.zeros((2, 3), np.float32)
        corner, step = _grid(low, high, self._resolution)
        return corner, step, self.enclosure(corner, step, (self._resolution,) * 3).occupancy

    def contains(self, points: FloatArray) -> BoolArray:
        """Whether the voxels that points (N, 3) lie in are inside."""
        low, step, occupancy = self._voxels
        index = np.floor((np.asarray(points) - low) / step).astype(np.int64)
        within = ((index >= 0) & (index < occupancy.shape[0])).all(1)
        inside = np.zeros(len(index), bool)
        inside[within] = occupancy[tuple(index[within].T)]
        return inside

    def enclosure(self, low: npt.ArrayLike, step: float, shape: tuple[int, int, int]) -> Enclosure:
        """The inside on any grid, see `enclose`."""
        return enclose(self.mesh, low, step, shape)

    def sample_surface(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """See `Solid.sample_surface`."""
        return sample_mesh(self.mesh, n, rng)


def volume_iou(prediction: Mesh, truth: Solid, *, resolution: int = 96) -> float:
    """IoU = |P and T| / |P or T| over the voxel centres of a cubic grid; 0 for an empty prediction.

    The grid spans both solids, `resolution` voxels along the longest side. `truth` is in the prediction's frame.
    """
    return overlap(prediction, truth, resolution=resolution)[0] if len(prediction.faces) else 0.0


def overlap(prediction: Mesh, truth: Solid, *, resolution: int = 96) -> tuple[float, Enclosure, Enclosure]:
    """The `volume_iou` of a mesh with faces, its inside and that of the truth."""
    samples, _ = truth.sample_surface(4000, np.random.default_rng(0))
    both = np.concatenate([prediction.bounds, samples])
    low, step = _grid(both.min(0), both.max(0), resolution)
    shape = (resolution,) * 3
    predicted = enclose(prediction, low, step, shape)
    if isinstance(truth, MeshSolid):
        actual = truth.enclosure(low, step, shape)
    else:
        axes = [low[i] + (np.arange(resolution) + 0.5) * step for i in range(3)]
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
        actual = Enclosure(truth.contains(centres).reshape(shape))
    union = int((predicted.occupancy | actual.occupancy).sum())
    iou = float((predicted.occupancy & actual.occupancy).sum() / union) if union else 0.0
    return iou, predicted, actual


def f_score_of(to_truth: npt.NDArray, to_prediction: npt.NDArray, threshold: float = 0.05) -> float:
    """F = 2 P R / (P + R), in 0..1, of distances from points of each surface to the other one.

    P: share of the prediction's points within `threshold` of the truth; R: the other way round.

    >>> f_score_of(np.array([0.01, 0.02]), np.array([0.01, 0.2]))  # nothing too much, half is missing
    0.6666666666666666
    """
    precision, recall = float((to_truth < threshold).mean()), float((to_prediction < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def surface_figures(
    predicted: Surface, actual: Surface, *, unit: float = 1.0, hidden: tuple[BoolArray, BoolArray] | None = None
) -> dict[str, float]:
    """`f_score`, `chamfer` and `normal_consistency` of a prediction's and the truth's surface, and `far_f_score`.

    `unit`: the truth's longest side in the common frame. `hidden` (N,), (M,): which points of the prediction and of
    the truth the input's camera does not see (each surface seen as a whole, by the camera that it belongs to).

    `f_score`: see `f_score_of`. `chamfer`: CD = (mean_p min_t |p - t| + mean_t min_p |p - t|) / 2; that of a surface to
    itself is the samples' spacing. `far_f_score`: F of the far side, P over the hidden points
    of the prediction, R over those of the truth, each against the *whole* other surface, so that no more is asked of
    either than that there is a surface where it lies; 0 where either has no far side. `normal_consistency`
    (Mescheder et al. 2019, Occupancy Networks): mean |cos| between the normal at a point and that at the nearest
    point of the other surface, averaged over both directions; 1 for the same surface, 0.5 for normals at random.
    """
    (p, p_normals), (t, t_normals) = predicted, actual
    to_truth, nearest_truth = cKDTree(t).query(p)
    to_prediction, nearest_prediction = cKDTree(p).query(t)
    to_truth, to_prediction = to_truth / unit, to_prediction / unit
    cosines = [
        float(np.abs((p_normals * t_normals[nearest_truth]).sum(1)).mean()),
        float(np.abs((t_normals * p_normals[nearest_prediction]).sum(1)).mean()),
    ]
    figures = {
        "f_score": f_score_of(to_truth, to_prediction),
        "chamfer": float((to_truth.mean() + to_prediction.mean()) / 2),
        "normal_consistency": sum(cosines) / 2,
    }
    if hidden is not None:
        far = to_truth[hidden[0]], to_prediction[hidden[1]]
        figures["far_f_score"] = f_score_of(*far) if len(far[0]) and len(far[1]) else 0.0
    return figures


def sample_mesh(mesh: Mesh, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """`n` points (n, 3) spread evenly over the surface, and the unit normals (n, 3) of their faces."""
    normals = facet_normals(mesh.vertices, mesh.faces, np.float64)
    double_area = np.linalg.norm(normals, axis=1)
    cumulative = np.cumsum(double_area)
    face = np.searchsorted(cumulative, rng.random(n) * cumulative[-1]).clip(max=len(normals) - 1)
    u, v = rng.random((2, n, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = (mesh.vertices[mesh.faces[face, i]].astype(np.float64) for i in range(3))
    unit = normals[face] / np.maximum(double_area[face], 1e-20)[:, None]
    return (a + u * (b - a) + v * (c - a)).astype(np.float32), unit.astype(np.float32)


def enclose(mesh: Mesh, low: npt.ArrayLike, step: float, shape: tuple[int, int, int]) -> Enclosure:
    """The inside of a mesh of any kind on the voxel centres `low + (index + 0.5) * step`.

    Along each column of voxels the signed crossings of faces are summed (the winding number), which stays right where
    closed parts overlap. That tells nothing of faces that are there twice, once each way, and wrong things of faces
    wound both ways: then what cannot be reached from outside is inside. Of a mesh with holes all can be reached; there
    a place is inside that is seen from hardly any direction at or above the horizon, so that houses need no floor.
    """
    # A few millionths of a voxel, unlike along each axis, so that no column runs exactly through an edge of a mesh
    # that lies on a grid itself.
    cells = (mesh.vertices.astype(np.float64) - np.asarray(low, np.float64)) / step + (3.1e-6, 4.7e-6, 5.9e-6)
    triangles = cells[mesh.faces]
    turns, upright = _crossings(triangles, shape, 2)
    winding = np.rint(turns.cumsum(2)).astype(np.int64)
    inside = winding[:, :, :-1] != 0
    both = min(int((winding > 0).sum()), int((winding < 0).sum())) > 1e-3 * inside.sum()
    if not both and not winding[:, :, -1].any() and _in_the_open([(2, upright)], inside) <= _LOST:
        return Enclosure(inside)
    walls = [(axis, upright if axis == 2 else _crossings(triangles, shape, axis)[1]) for axis in range(3)]
    flooded = ~_reached(walls, shape)
    lost = _in_the_open(walls, flooded)
    if lost > _LOST:
        seen = np.sum(list(_open_directions(triangles, shape)), axis=0, dtype=np.uint8)
        hidden: BoolArray = np.asarray(seen < _SEEN)
        lost_to_rays = _in_the_open(walls, hidden)
        if lost_to_rays < lost - _LOST:
            how = "Large parts of {} are open: its volume is what can hardly be seen from outside."
            return Enclosure(hidden, how, lost_to_rays > 0.9)
    how = "Faces of {} are doubled, wound both ways or missing: its volume is what cannot be reached from outside."
    return Enclosure(flooded, how, lost > 0.9)


def _crossings(
    triangles: npt.NDArray[np.float64], shape: tuple[int, int, int], axis: int, shear: tuple[int, int] = (0, 0)
) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """What columns along an axis cross on the way to each voxel centre and to the end of the grid: how often faces
    turn against the column less how often along it, and whether there are any.

    `triangles` (F, 3, 3) in voxels. Columns may lean by `shear` voxels along the two next axes for each along theirs;
    then there are more of them. The axes of both results are those of `shape`.
    """
    across = [(axis + 1) % 3, (axis + 2) % 3]
    depth = shape[axis]
    width, height = (shape[other] + abs(lean) * (depth - 1) for other, lean in zip(across, shear, strict=True))
    corners = triangles[:, :, across] - (triangles[:, :, axis, None] - 0.5) * shear
    corners += [max(lean, 0) * (depth - 1) for lean in shear]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    face, column, weights = map(np.concatenate, zip(*rasterize(corners, width, height, slack=0.0), strict=True))
    along = (triangles[face, :, axis] * weights).sum(1)
    at = column * (depth + 1) + np.clip(np.ceil(along - 0.5), 0, depth).astype(np.int64)
    size = width * height * (depth + 1)
    # +1 where the column enters: there the face looks against it.
    turns = np.bincount(at, -np.sign(ax * by - ay * bx)[face], size)
    order = np.argsort([across[1], across[0], axis])

    def placed(values: npt.NDArray) -> npt.NDArray:
        return values.reshape(height, width, depth + 1).transpose(order)

    return placed(turns), placed(np.bincount(at, minlength=size) > 0)


def _in_the_open(walls: list[tuple[int, BoolArray]], inside: BoolArray) -> float:
    """Share of a surface's crossings, along some axes, on both sides of which is outside; 1 where there are none."""
    lost = total = 0
    for axis, crossed in walls:
        around = np.pad(inside, [(1, 1) if axis == other else (0, 0) for other in range(3)])
        before, after = (np.moveaxis(around, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        there = np.moveaxis(crossed, axis, 0)
        lost += int((there & ~before & ~after).sum())
        total += int(there.sum())
    return lost / total if total else 1.0


def _reached(walls: list[tuple[int, BoolArray]], shape: tuple[int, int, int]) -> BoolArray:
    """Which voxel centres can be reached from outside of the grid, from centre to centre along the axes."""
    outside = np.zeros(shape, bool)
    count = -1
    while count != (count := int(outside.sum())):
        for axis, crossed in walls:
            here, wall = np.moveaxis(outside, axis, 0), np.moveaxis(crossed, axis, 0)
            here[0] |= ~wall[0]
            here[-1] |= ~wall[-1]
            for i in range(1, len(here)):
                here[i] |= here[i - 1] & ~wall[i]
            for i in range(len(here) - 1, 0, -1):
                here[i - 1] |= here[i] & ~wall[i]
    return outside


def _open_directions(triangles: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> Iterator[BoolArray]:
    """For each of 17 directions, level, half way up and straight up, whether the way from each centre is free."""
    leans = [(2, (across, aside)) for across, aside in product((-1, 0, 1), repeat=2)]  # along z, leaning every way
    leans += [(0, (aside, 0)) for aside in (-1, 0, 1)] + [(1, (0, 0))]  # level: along x, by y aside; along y
    index = np.indices(shape, np.int32)
    for axis, shear in leans:
        _, crossed = _crossings(triangles, shape, axis, shear)
        columns = np.moveaxis(crossed, axis, 0)
        depth, at = index[axis], list(index)
        for other, lean in zip(((axis + 1) % 3, (axis + 2) % 3), shear, strict=True):
            at[other] = index[other] - lean * depth + max(lean, 0) * (shape[axis] - 1)
        ahead = np.moveaxis(np.logical_or.accumulate(columns[::-1])[::-1][1:], 0, axis)
        yield ~ahead[tuple(at)]
        if axis != 2:
            behind = np.moveaxis(np.logical_or.accumulate(columns)[:-1], 0, axis)
            yield ~behind[tuple(at)]


def _grid(low: npt.ArrayLike, high: npt.ArrayLike, resolution: int) -> tuple[npt.NDArray[np.float64], float]:
    """Low corner and step of a cubic grid around a box, three quarters of a voxel to spare on each side of the longest,
    so that no centre falls onto the box's own sides."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    step = max(float((high - low).max()), 1e-6) / (resolution - 1.5)
    return (low + high) / 2 - step * resolution / 2, step

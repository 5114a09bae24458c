"""How close a mesh is to the true solid: volume IoU, Chamfer distance, F-score, also of the far side, and normals.

All figures are after one common scaling that makes the longest side of the *truth* 1; nothing is aligned.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine.meshes.mesh import FloatArray, Mesh, facet_normals
from engine.meshes.rasteriser import rasterize

BoolArray = npt.NDArray[np.bool_]
Surface = tuple[FloatArray, FloatArray]
"""Points (N, 3) spread evenly over a surface and the unit normals (N, 3) there."""


class Solid(Protocol):
    """What the truth must offer, in the same frame as the prediction."""

    def contains(self, points: FloatArray) -> BoolArray:
        """Whether points (N, 3) lie inside."""

    def sample_surface(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """`n` points (n, 3) spread evenly over the outer surface, and their normals."""


class MeshSolid:
    """A closed mesh as a `Solid`."""

    def __init__(self, mesh: Mesh, resolution: int = 128) -> None:
        """`resolution`: voxels along the longest side that `contains` answers from."""
        self.mesh = mesh
        low, high = mesh.bounds if len(mesh.vertices) else np.zeros((2, 3), np.float32)
        self._low, self._step = _grid(low, high, resolution)
        self._occupancy = voxelise(mesh, self._low, self._step, (resolution,) * 3)

    def contains(self, points: FloatArray) -> BoolArray:
        """Whether the voxels that points (N, 3) lie in are inside."""
        index = np.floor((np.asarray(points) - self._low) / self._step).astype(np.int64)
        within = ((index >= 0) & (index < self._occupancy.shape[0])).all(1)
        inside = np.zeros(len(index), bool)
        inside[within] = self._occupancy[tuple(index[within].T)]
        return inside

    def sample_surface(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """See `Solid.sample_surface`."""
        return sample_mesh(self.mesh, n, rng)


def volume_iou(prediction: Mesh, truth: Solid, *, resolution: int = 96) -> float:
    """IoU = |P and T| / |P or T| over the voxel centres of a cubic grid; 0 for an empty prediction.

    The grid spans both solids, `resolution` voxels along the longest side. `truth` is in the prediction's frame.
    """
    if not len(prediction.faces):
        return 0.0
    samples, _ = truth.sample_surface(4000, np.random.default_rng(0))
    both = np.concatenate([prediction.bounds, samples])
    low, step = _grid(both.min(0), both.max(0), resolution)
    shape = (resolution,) * 3
    predicted = voxelise(prediction, low, step, shape)
    axes = [low[i] + (np.arange(resolution) + 0.5) * step for i in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    actual = truth.contains(centres).reshape(shape)
    union = int((predicted | actual).sum())
    return float((predicted & actual).sum() / union) if union else 0.0


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


def voxelise(mesh: Mesh, low: npt.ArrayLike, step: float, shape: tuple[int, int, int]) -> BoolArray:
    """Which voxel centres `low + (index + 0.5) * step` lie inside the mesh, bool of `shape`.

    Along each column of voxels the signed crossings of faces are summed (the winding number), which unlike plain
    parity stays right where closed parts overlap. Where columns do not close, because the mesh has holes, the three
    axes vote.
    """
    origin = np.asarray(low, np.float64)
    occupancy, closed = _windings(mesh, origin, step, shape, 2)
    if closed:
        return occupancy
    votes = [occupancy, *(_windings(mesh, origin, step, shape, axis)[0] for axis in (0, 1))]
    return np.asarray(np.sum(votes, axis=0, dtype=np.uint8) >= 2)


def _windings(
    mesh: Mesh, low: npt.NDArray[np.float64], step: float, shape: tuple[int, int, int], axis: int
) -> tuple[BoolArray, bool]:
    """Occupancy from columns along `axis`, and whether every column closed."""
    across = [(axis + 1) % 3, (axis + 2) % 3]
    width, height, depth = shape[across[0]], shape[across[1]], shape[axis]
    # A few millionths of a voxel, unlike along each axis, so that no column runs exactly through an edge of a mesh
    # that lies on a grid itself.
    cells = (mesh.vertices.astype(np.float64) - low) / step + np.array([3.1e-6, 4.7e-6, 5.9e-6])
    triangles = cells[mesh.faces]
    corners = triangles[:, :, across]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    face, column, weights = map(np.concatenate, zip(*rasterize(corners, width, height, slack=0.0), strict=True))
    along = (triangles[face, :, axis] * weights).sum(1)
    first = np.clip(np.ceil(along - 0.5), 0, depth).astype(np.int64)
    # +1 where the ray enters: there the face looks against the ray.
    turn = np.sign(ax * by - ay * bx)[face]
    change = np.bincount(column * (depth + 1) + first, -turn, width * height * (depth + 1))
    winding = np.rint(change.reshape(height, width, depth + 1).cumsum(-1)).astype(np.int64)
    closed = not winding[..., -1].any()
    inside = (winding[..., :-1] != 0).transpose(1, 0, 2)  # axes: across[0], across[1], axis
    return np.ascontiguousarray(np.moveaxis(inside, (0, 1, 2), (across[0], across[1], axis))), closed


def _grid(low: npt.ArrayLike, high: npt.ArrayLike, resolution: int) -> tuple[npt.NDArray[np.float64], float]:
    """Low corner and step of a cubic grid around a box, half a voxel to spare on each side of the longest."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    step = max(float((high - low).max()), 1e-6) / (resolution - 1)
    return (low + high) / 2 - step * resolution / 2, step

"""A predicted mesh laid onto the true one, as One-2-3-45 does before it measures.

Up axes are made to agree; then, over a grid of scales and of rotations about the vertical, each start is improved by
ICP, and the one is kept that brings most points of each surface onto the other (the inliers). Both surfaces count
alike, by the harmonic mean of their shares, so that a prediction is not shrunk onto a piece of the truth. The last
rounds go by point to plane with the scale free between the grid's, which settles rotation and scale to a fraction of a
degree and of a per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from engine.core.errors import EmptyResultError, InputError
from engine.evaluation.geometry import Surface, f_score_of, sample_mesh
from engine.meshes.mesh import Mesh

Array = npt.NDArray[np.float64]

UP_AXES: dict[str, tuple[float, float, float]] = {
    "+x": (1, 0, 0),
    "-x": (-1, 0, 0),
    "+y": (0, 1, 0),
    "-y": (0, -1, 0),
    "+z": (0, 0, 1),
    "-z": (0, 0, -1),
}
"""Axes of a prediction that may point up, by name."""
INLIER = 0.05
"""Distance within which a point is an inlier, in units of the truth's longest side."""

_TURNS = 24
_SCALES = (0.8, 0.9, 1.0, 1.12, 1.25)
_COARSE_POINTS, _COARSE_ROUNDS = 500, 8
_FINE_POINTS, _FINE_STARTS = 3000, 24
_FINE = ((8, 1000, (0.25, 0.2, 0.16, 0.12, 0.1, 0.1)), (1, _FINE_POINTS, (0.1, 0.1, 0.1, 0.08, 0.08, 0.06, 0.06, 0.06)))
"""Rounds of refinement: how many places come through, points, and the reach of each step."""
_FREE = 1.09
"""How far the scale may move from the grid's, as a factor: to beyond half way to the next."""


@dataclass(frozen=True)
class Alignment:
    """A similarity that takes the prediction to the truth: x -> scale * rotation @ x + translation."""

    rotation: Array
    """(3, 3)."""
    scale: float
    translation: Array
    """(3,) in the truth's frame."""
    inliers: float
    """Share of both surfaces' points that lie within `INLIER` of the other surface, 0..1."""
    f_score: float
    """F-score at 0.05 afterwards, of the points that the alignment looked at."""

    def matrix(self) -> Array:
        """The similarity as 4x4."""
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = self.scale * self.rotation, self.translation
        return found

    def apply(self, points: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Points (N, 3) of the prediction in the truth's frame."""
        moved = np.asarray(points, np.float64) @ (self.scale * self.rotation).T + self.translation
        return moved.astype(np.float32)


@dataclass
class _Points:
    """Points of a surface with its normals, and the tree to find them by."""

    at: Array
    normals: Array

    def __post_init__(self) -> None:
        self.tree = cKDTree(self.at)


@dataclass
class _Place:
    """A similarity in the making, and the scale of the grid that it began with."""

    rotation: Array
    scale: float
    translation: Array
    grid_scale: float

    def forward(self, points: Array) -> Array:
        return points @ (self.scale * self.rotation).T + self.translation

    def back(self, points: Array) -> Array:
        return (points - self.translation) @ self.rotation / self.scale


def align(
    prediction: Mesh,
    truth: Mesh,
    *,
    up: Sequence[str] = ("+z",),
    points: tuple[Surface, Surface] | None = None,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> Alignment:
    """The similarity that lays `prediction` onto `truth`, whose up axis is Z.

    `up` names the axes of the prediction that may be its up axis (of `UP_AXES`); all are tried. `points` are the
    prediction's and the truth's points and normals (N, 3) to go by, 3000 or more in random order, as those that can be
    seen from outside; else points of the whole meshes are drawn. The answer is the same for the same seed. `check` is
    called often and may raise, to cancel.

    Raises `InputError` for an axis that there is not, `EmptyResultError` for a mesh without a surface.
    """
    for name in up:
        if name not in UP_AXES:
            raise InputError(f"There is no up axis {name!r}. Choose of {', '.join(UP_AXES)}.")
    if not up:
        raise InputError(f"No up axis was given. Name at least one of {', '.join(UP_AXES)}.")
    for mesh, what in ((prediction, "prediction"), (truth, "truth")):
        corners = mesh.vertices[mesh.faces].astype(np.float64)
        if (
            not len(mesh.faces)
            or not np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).any()
        ):
            raise EmptyResultError(f"The {what} has no surface, so there is nothing to align.")
    rng = np.random.default_rng(seed)
    given = (None, None) if points is None else points
    target, target_unit, target_middle = _sampled(truth, given[1], rng)
    source, _, source_middle = _sampled(prediction, given[0], rng)
    # In units of the truth's longest side around its middle; the prediction likewise, its size in `middle_scale`.
    target = _Points((target.at - target_middle) / target_unit, target.normals)
    source = _Points(source.at - source_middle, source.normals)
    centre, source_centre = target.at.mean(0), source.at.mean(0)
    middle_scale = float(np.sqrt(((target.at - centre) ** 2).sum(1).mean() / _spread(source.at)))

    few = [_Points(p.at[:_COARSE_POINTS], p.normals[:_COARSE_POINTS]) for p in (source, target)]
    starts: list[tuple[float, _Place]] = []
    for name in up:
        upright = _turn_to_z(UP_AXES[name])
        for turn in np.arange(_TURNS) * 2 * np.pi / _TURNS:
            rotation = Rotation.from_euler("z", turn).as_matrix() @ upright
            check()
            for factor in _SCALES:
                scale = middle_scale * factor
                place = _Place(rotation, scale, centre - scale * rotation @ source_centre, scale)
                for _ in range(_COARSE_ROUNDS):
                    place = _step_rigid(place, *few)
                starts.append((_closeness(place, *few)[0], place))
    starts.sort(key=lambda pair: -pair[0])
    places = [place for _, place in _apart(starts)]
    for survivors, count, reaches in _FINE:
        some = [_Points(p.at[:count], p.normals[:count]) for p in (source, target)]
        scored: list[tuple[float, _Place]] = []
        for place in places:
            for reach in reaches:
                check()
                place = _step_plane(place, some[0], some[1], reach)
            scored.append((_closeness(place, *some)[0], place))
        places = [place for _, place in sorted(scored, key=lambda pair: -pair[0])[:survivors]]
    place = places[0]
    _, to_truth, to_prediction = _closeness(place, source, target)
    inliers = float(((to_truth < INLIER).mean() + (to_prediction < INLIER).mean()) / 2)
    # Back from the units and middles of the search.
    scale = place.scale * target_unit
    translation = place.translation * target_unit + target_middle - scale * place.rotation @ source_middle
    return Alignment(place.rotation, scale, translation, inliers, f_score_of(to_truth, to_prediction, INLIER))


def _sampled(mesh: Mesh, given: Surface | None, rng: np.random.Generator) -> tuple[_Points, float, Array]:
    """Points of a mesh, its longest side and the middle of its box."""
    points, normals = sample_mesh(mesh, _FINE_POINTS, rng) if given is None else (x[:_FINE_POINTS] for x in given)
    used = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    low, high = used.min(0), used.max(0)
    found = _Points(points.astype(np.float64), normals.astype(np.float64))
    return found, float((high - low).max()), (low + high) / 2


def _spread(points: Array) -> float:
    """Mean squared distance from the centroid."""
    return float(((points - points.mean(0)) ** 2).sum(1).mean())


def _turn_to_z(axis: Sequence[float]) -> Array:
    found, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [axis])
    return np.asarray(found.as_matrix())


def _closeness(place: _Place, source: _Points, target: _Points) -> tuple[float, Array, Array]:
    """Shares of inliers, each the more the closer it is, as their harmonic mean 0..1; the distances, source first."""
    to_target = target.tree.query(place.forward(source.at))[0]
    to_source = source.tree.query(place.back(target.at))[0] * place.scale
    a, b = (float(np.clip(1 - d / INLIER, 0, None).mean()) for d in (to_target, to_source))
    return 2 * a * b / max(a + b, 1e-12), to_target, to_source


def _apart(starts: list[tuple[float, _Place]]) -> list[tuple[float, _Place]]:
    """The best starts that are not nearly the same."""
    chosen: list[tuple[float, _Place]] = []
    for score, place in starts:
        for _, other in chosen:
            turn = np.arccos(np.clip((np.trace(place.rotation.T @ other.rotation) - 1) / 2, -1, 1))
            if turn < np.radians(6) and abs(np.log(place.scale / other.scale)) < 0.15:
                break
        else:
            chosen.append((score, place))
        if len(chosen) == _FINE_STARTS:
            break
    return chosen


def _step_rigid(place: _Place, source: _Points, target: _Points) -> _Place:
    """One round of point to point at the same scale; the farthest fifth of the pairs does not count."""
    moved = place.forward(source.at)
    far, nearest = target.tree.query(moved)
    far_back, nearest_back = source.tree.query(place.back(target.at))
    a = np.concatenate([moved, moved[nearest_back]])
    b = np.concatenate([target.at[nearest], target.at])
    distance = np.concatenate([far, far_back * place.scale])
    keep = distance <= np.quantile(distance, 0.8)
    a, b = a[keep], b[keep]
    a_mean, b_mean = a.mean(0), b.mean(0)
    u, _, vt = np.linalg.svd((a - a_mean).T @ (b - b_mean))
    turn = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    moved_to = turn @ (place.translation - a_mean) + b_mean
    return _Place(turn @ place.rotation, place.scale, moved_to, place.grid_scale)


def _step_plane(place: _Place, source: _Points, target: _Points, reach: float) -> _Place:
    """One round of point to plane with the scale free; pairs farther apart than `reach` do not count."""
    moved = place.forward(source.at)
    far, nearest = target.tree.query(moved)
    far_back, nearest_back = source.tree.query(place.back(target.at))
    p = np.concatenate([moved, moved[nearest_back]])
    q = np.concatenate([target.at[nearest], target.at])
    n = np.concatenate([target.normals[nearest], source.normals[nearest_back] @ place.rotation.T])
    distance = np.concatenate([far, far_back * place.scale])
    weight = np.clip(1 - (distance / reach) ** 2, 0, None) ** 2
    rows = np.concatenate([np.cross(p, n), (n * p).sum(1, keepdims=True), n], axis=1)
    error = (n * (q - p)).sum(1)
    weighted = rows * weight[:, None]
    # What the surface does not tell, as a ball's rotation, stays as it is.
    normal = weighted.T @ rows + 1e-3 * max(weight.sum(), 1.0) * np.diag([1, 1, 1, 1, 0.1, 0.1, 0.1])
    step = np.linalg.solve(normal, weighted.T @ error)
    step *= min(1.0, 0.2 / max(float(np.abs(step[:4]).max()), 1e-12))
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    scale = float(np.clip(place.scale * np.exp(step[3]), place.grid_scale / _FREE, place.grid_scale * _FREE))
    moved_to = scale / place.scale * turn @ place.translation + step[4:]
    return _Place(turn @ place.rotation, scale, moved_to, place.grid_scale)

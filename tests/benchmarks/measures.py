"""Measures that tests and benchmarks take: distances of surfaces, and meshes drawn without a display."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine.cameras import FloatArray, project
from engine.evaluation.geometry import Solid, f_score_of, sample_mesh
from engine.evaluation.views import mask_iou
from engine.meshes.mesh import Mesh
from engine.meshes.rasteriser import rasterize

BoolArray = npt.NDArray[np.bool_]


def surface_distances(
    prediction: Mesh, truth: Solid, *, unit: float | None = None, samples: int = 20_000, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Distances (samples,) from points of the prediction to the truth's surface, and from the truth to the prediction.

    In units of `unit`, a length in the common frame: the truth's longest side in its own frame, by default that of its
    bounding box in this one. Both are infinite for an empty prediction.
    """
    rng = np.random.default_rng(seed)
    actual, _ = truth.sample_surface(samples, rng)
    if not len(prediction.faces):
        return np.full(samples, np.inf), np.full(samples, np.inf)
    predicted, _ = sample_mesh(prediction, samples, rng)
    scale = float(np.ptp(actual, axis=0).max()) if unit is None else unit
    return cKDTree(actual).query(predicted)[0] / scale, cKDTree(predicted).query(actual)[0] / scale


def chamfer_distance(
    prediction: Mesh, truth: Solid, *, unit: float | None = None, samples: int = 20_000, seed: int = 0
) -> float:
    """CD = (mean_p min_t |p - t| + mean_t min_p |p - t|) / 2, in units of the truth's longest side.

    `unit`: see `surface_distances`. The distance of a surface to itself is not 0 but about 0.006, the samples' spacing.
    """
    to_truth, to_prediction = surface_distances(prediction, truth, unit=unit, samples=samples, seed=seed)
    return float((to_truth.mean() + to_prediction.mean()) / 2)


def f_score(
    prediction: Mesh,
    truth: Solid,
    *,
    threshold: float = 0.05,
    unit: float | None = None,
    samples: int = 20_000,
    seed: int = 0,
) -> float:
    """F = 2 P R / (P + R), in 0..1.

    P: share of the prediction's surface within `threshold` of the truth's; R: the other way round. `threshold` is in
    units of the truth's longest side; `unit`: see `surface_distances`.
    """
    to_truth, to_prediction = surface_distances(prediction, truth, unit=unit, samples=samples, seed=seed)
    return f_score_of(to_truth, to_prediction, threshold)


def silhouette(mesh: Mesh, c2w: npt.ArrayLike, k: npt.ArrayLike, size: int) -> BoolArray:
    """Mask (size, size) of the pixels whose centre the mesh covers, from one camera (4x4, OpenGL axes; 3x3 in px)."""
    return draw(mesh, c2w, k, size)[..., 3] > 0.5


def silhouette_iou(mesh: Mesh, mask: npt.ArrayLike, c2w: npt.ArrayLike, k: npt.ArrayLike) -> float:
    """`mask_iou` of the mesh's silhouette and a square mask (S, S) seen by the same camera."""
    target = np.asarray(mask)
    return mask_iou(silhouette(mesh, c2w, k, len(target)), target)


def draw(mesh: Mesh, c2w: npt.ArrayLike, k: npt.ArrayLike, size: int) -> FloatArray:
    """Picture (size, size, 4) of the mesh in its texture or vertex colours (else mid grey), unlit, over white.

    One sample a pixel. Faces that reach behind the camera are left out.
    """
    picture = np.ones((size * size, 4), np.float32)
    picture[:, 3] = 0
    if len(mesh.faces):
        pixels, depth = project(mesh.vertices, c2w, k)
        faces = mesh.faces[(depth[mesh.faces] > 1e-3).all(1)]
        covered = rasterize(pixels[faces].astype(np.float64), size, size, slack=0.0)
        found, cells, weights = map(np.concatenate, zip(*covered, strict=True))
        corners = faces[found]
        # Depth is linear over the screen in its inverse, and so are attributes divided by it.
        weights = weights / depth[corners]
        nearness = weights.sum(1)
        order = np.argsort(nearness, kind="stable")  # the nearest face writes last
        weights = weights[order] / nearness[order, None]
        picture[cells[order], :3] = _colors(mesh, corners[order], weights)
        picture[cells, 3] = 1
    return picture.reshape(size, size, 4)


def _colors(mesh: Mesh, corners: npt.NDArray, weights: npt.NDArray) -> FloatArray:
    """Colours (P, 3) in 0..1 at barycentric `weights` (P, 3) of faces with these corner indices (P, 3)."""
    if mesh.texture is not None and mesh.uv is not None:
        uv = (mesh.uv[corners] * weights[..., None]).sum(1)
        height, width = mesh.texture.shape[:2]
        column = np.clip((uv[:, 0] * width).astype(np.int64), 0, width - 1)
        row = np.clip(((1 - uv[:, 1]) * height).astype(np.int64), 0, height - 1)
        return (mesh.texture[row, column, :3] / 255).astype(np.float32)
    if mesh.colors is not None:
        return ((mesh.colors[corners][..., :3] * weights[..., None]).sum(1) / 255).astype(np.float32)
    return np.full((len(corners), 3), 0.5, np.float32)

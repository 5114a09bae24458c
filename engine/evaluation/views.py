"""How close pictures are: PSNR, SSIM, mask IoU, and meshes drawn without a display for comparison."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engine.cameras import project
from engine.evaluation.rasteriser import covered_cells
from engine.mesh import Mesh

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def psnr(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """PSNR = -10 log10(mean((p - t)^2)) in dB of RGB over white, 0..1, whole picture; 100 at most.

    Pictures are (..., H, W, 3 or 4); alpha is not compared.
    """
    difference = np.asarray(prediction, np.float64)[..., :3] - np.asarray(truth, np.float64)[..., :3]
    return float(-10 * np.log10(max(float((difference**2).mean()), 1e-10)))


def ssim(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """SSIM (Wang et al. 2004) of two pictures (H, W, 3 or 4), RGB over white, 0..1; 1 for the same picture.

    Mean over pixels and channels of (2 m_p m_t + c1)(2 s_pt + c2) / ((m_p^2 + m_t^2 + c1)(s_p^2 + s_t^2 + c2)): means,
    variances and covariance under a Gaussian of 1.5 px in 11 x 11; c1 = 0.01^2, c2 = 0.03^2. Alpha is not compared.
    """
    p, t = (np.ascontiguousarray(np.asarray(x, np.float64)[..., :3]) for x in (prediction, truth))

    def blur(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT_101))

    mean_p, mean_t = blur(p), blur(t)
    var_p, var_t, both = blur(p * p) - mean_p**2, blur(t * t) - mean_t**2, blur(p * t) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_p * mean_t + c1) * (2 * both + c2) / ((mean_p**2 + mean_t**2 + c1) * (var_p + var_t + c2))
    return float(found.mean())


def mask_iou(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """IoU = |P and T| / |P or T| of two masks (H, W), inside where > 0.5; 1 when both are empty."""
    p, t = np.asarray(prediction) > 0.5, np.asarray(truth) > 0.5
    union = int((p | t).sum())
    return float((p & t).sum() / union) if union else 1.0


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
        found = covered_cells(pixels[faces], size, size)
        corners = faces[found.faces]
        # Depth is linear over the screen in its inverse, and so are attributes divided by it.
        weights = found.barycentric / depth[corners]
        nearness = weights.sum(1)
        order = np.argsort(nearness, kind="stable")  # the nearest face writes last
        weights = weights[order] / nearness[order, None]
        picture[found.cells[order], :3] = _colors(mesh, corners[order], weights)
        picture[found.cells, 3] = 1
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

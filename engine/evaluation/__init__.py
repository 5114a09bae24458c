"""Figures of merit against the truth, and the held-out cases they are taken on."""

from engine.evaluation.geometry import (
    MeshSolid,
    Solid,
    chamfer_distance,
    distances_between,
    f_score,
    f_score_of,
    sample_mesh,
    surface_distances,
    volume_iou,
    voxelise,
)
from engine.evaluation.views import draw, mask_iou, psnr, silhouette, silhouette_iou, ssim

__all__ = [
    "MeshSolid",
    "Solid",
    "chamfer_distance",
    "distances_between",
    "draw",
    "f_score",
    "f_score_of",
    "mask_iou",
    "psnr",
    "sample_mesh",
    "silhouette",
    "silhouette_iou",
    "ssim",
    "surface_distances",
    "volume_iou",
    "voxelise",
]

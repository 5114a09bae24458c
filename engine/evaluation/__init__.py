"""Figures of merit against the truth, and the held-out cases they are taken on."""

from engine.evaluation.geometry import (
    MeshSolid,
    Solid,
    chamfer_distance,
    f_score,
    f_score_of,
    sample_mesh,
    surface_distances,
    volume_iou,
    voxelise,
)
from engine.evaluation.views import draw, mask_iou, psnr, silhouette, silhouette_iou

__all__ = [
    "MeshSolid",
    "Solid",
    "chamfer_distance",
    "draw",
    "f_score",
    "f_score_of",
    "mask_iou",
    "psnr",
    "sample_mesh",
    "silhouette",
    "silhouette_iou",
    "surface_distances",
    "volume_iou",
    "voxelise",
]

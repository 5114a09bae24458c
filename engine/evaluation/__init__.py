"""Figures of merit against the truth."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_VIEWS = ("draw", "mask_iou", "psnr", "silhouette", "silhouette_iou", "ssim")


def __getattr__(name: str) -> Any:
    """Import what is asked for: the window, which only wants the measures' names, has no use for scipy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'views' if name in _VIEWS else 'geometry'}"), name)

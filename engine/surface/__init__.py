"""Surface reconstruction from posed views: cost volume, SDF and colour networks, extraction, clean-up."""

from engine.surface.cleaning import clean_mesh
from engine.surface.extraction import extract_mesh
from engine.surface.network import BUILT_IN, SurfaceConfig, SurfaceModel, SurfaceNetwork
from engine.surface.published import PUBLISHED, PublishedNetwork
from engine.surface.reconstruct import build_surface, load_surface, reconstruct_surface

__all__ = [
    "BUILT_IN",
    "PUBLISHED",
    "PublishedNetwork",
    "SurfaceConfig",
    "SurfaceModel",
    "SurfaceNetwork",
    "build_surface",
    "clean_mesh",
    "extract_mesh",
    "load_surface",
    "reconstruct_surface",
]

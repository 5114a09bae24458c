"""A site of 3D models on loopback, with the faults that real ones have."""

from tests.site.models import make_archive, make_glb, make_gltf
from tests.site.server import ModelSite, SiteModel, uid_of

__all__ = ["ModelSite", "SiteModel", "make_archive", "make_glb", "make_gltf", "uid_of"]

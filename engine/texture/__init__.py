"""UV atlas, texture baking from views, and mesh files."""

from engine.meshes.export import FORMATS, export_mesh
from engine.texture.bake import bake_texture

__all__ = ["FORMATS", "bake_texture", "export_mesh"]

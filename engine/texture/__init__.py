"""UV atlas, texture baking from views, and mesh files."""

from engine.texture.bake import bake_texture
from engine.texture.export import FORMATS, export_mesh

__all__ = ["FORMATS", "bake_texture", "export_mesh"]

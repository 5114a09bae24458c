"""UV atlas, texture baking from views, and mesh files."""

from engine.texture.export import FORMATS, export_mesh, load_mesh

__all__ = ["FORMATS", "export_mesh", "load_mesh"]

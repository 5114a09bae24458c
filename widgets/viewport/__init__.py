"""The 3D viewport: looking at a mesh, pictures and films of it, and its export."""

from widgets.viewport.export_dialog import ExportDialog, FilmDialog
from widgets.viewport.viewport import Viewport

__all__ = ["ExportDialog", "FilmDialog", "Viewport"]

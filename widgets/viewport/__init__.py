"""The 3D viewport: looking at a mesh or at two together, pictures and films of it, and its export."""

from widgets.viewport.export_dialog import ExportDialog, FilmDialog
from widgets.viewport.linking import Link, link
from widgets.viewport.viewport import Viewport

__all__ = ["ExportDialog", "FilmDialog", "Link", "Viewport", "link"]

"""The libraries that draw models, which take seconds to import: ahead of time, on a thread that nobody waits for."""

from __future__ import annotations

import importlib
import threading

VIEWER_MODULES = ("vtkmodules.vtkRenderingOpenGL2", "pyvista", "pyvista.plotting")
_importing = threading.Lock()


def import_viewer(*names: str) -> None:
    """Import these of `VIEWER_MODULES`, all if none is named; waits for another thread that does so.

    Python lets two threads that import parts of one package have it half-imported rather than wait for each other.
    """
    with _importing:
        for name in names or VIEWER_MODULES:
            importlib.import_module(name)

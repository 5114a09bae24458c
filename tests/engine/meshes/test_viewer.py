"""The libraries of the viewer are imported once, whoever is first."""

import subprocess
import sys

import pytest

RACE = """
import sys, threading, time
from engine.meshes.viewer import VIEWER_MODULES, import_viewer
thread = threading.Thread(target=lambda: [import_viewer(name) for name in VIEWER_MODULES])
thread.start()
while sys.argv[1] not in sys.modules:
    time.sleep(0.001)
import_viewer()
from pyvistaqt import QtInteractor
thread.join()
"""


@pytest.mark.parametrize("begun", ["pyvista", "pyvista.plotting"])
def test_a_window_that_draws_while_they_are_imported_waits_for_them(begun):
    done = subprocess.run([sys.executable, "-c", RACE, begun], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

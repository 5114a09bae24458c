from types import SimpleNamespace

import psutil
import pytest

from app import doctor
from engine.core.errors import OrielError
from engine.meshes import gl


def test_missing_opengl_is_a_problem_that_says_what_to_do(monkeypatch):
    def missing():
        raise OrielError("OpenGL 3.3 could not be started. Install a graphics driver.")

    monkeypatch.setattr(gl, "context", missing)
    found = {check.name: check for check in doctor._graphics()}["OpenGL without a display"]
    assert found.status == "problem"
    assert "Install a graphics driver" in found.detail


@pytest.mark.parametrize(("free", "status"), [(2.0, "problem"), (3.0, "ok")])
def test_memory_is_judged_by_what_a_run_needs(monkeypatch, free, status):
    memory = SimpleNamespace(total=8 * 2**30, available=int(free * 2**30))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert {check.name: check.status for check in doctor._machine()}["memory"] == status

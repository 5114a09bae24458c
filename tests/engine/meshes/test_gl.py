"""The drawers share framebuffers: what one draws does not depend on what another drew before."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from engine import cameras
from engine.data.objects import make_object
from engine.data.renderer import Renderer
from engine.evaluation.pictures import draw_shape, shape_of
from engine.meshes.mesh import Mesh
from engine.views.raster import render_mesh


def test_drawers_do_not_disturb_each_other() -> None:
    solid = make_object(3)
    mesh = Mesh(solid.vertices, solid.faces)
    poses, k = [cameras.Pose(30, 40, 1.9)], cameras.intrinsics(32)
    c2ws = [pose.matrix() for pose in poses]

    def drawn() -> list[np.ndarray]:
        return [
            *render_mesh(mesh, c2ws, cameras.intrinsics(256), 256, samples=1),
            draw_shape(shape_of(mesh), poses, 128),
            *Renderer(32).render(solid, c2ws * 3, k),  # on a sheet of 256 px
        ]

    first = drawn()
    assert first[1].max() > 0 and first[2][..., 3].max() == 1
    assert all(np.array_equal(a, b) for a, b in zip(first, drawn(), strict=True))


def test_networks_load_after_something_was_drawn() -> None:
    code = "from engine.meshes import gl\nwith gl.context(): pass\nimport timm, torch._dynamo, torchvision.ops"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # crashed where triton's LLVM came after that of software OpenGL

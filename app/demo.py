"""The demonstration: a bundled picture, its mesh, and the mesh seen from four sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.imaging import load_picture
from engine.mesh import Mesh
from engine.pipeline import Run

SAMPLES_FOLDER = Path(__file__).resolve().parent.parent / "resources" / "samples"
SIDES = (0.0, 90.0, 180.0, 270.0)
"""Azimuths of the pictures, in degrees from the input camera."""


def samples() -> list[Path]:
    """The bundled pictures."""
    return sorted(p for p in SAMPLES_FOLDER.glob("*") if p.suffix in (".png", ".jpg"))


def sample(name: str) -> Path:
    """The bundled picture `name`; InputError if there is none."""
    for path in samples():
        if path.stem == name:
            return path
    raise InputError(f"There is no sample named {name!r}. There are: {', '.join(p.stem for p in samples())}.")


def draw_sides(mesh: Mesh, elevation: float, size: int = 512) -> npt.NDArray[np.uint8]:
    """(4, size, size, 3) pictures of a mesh from four sides at `elevation` degrees. Needs no display."""
    import pyvista
    from vtkmodules.vtkCommonCore import vtkLogger

    from engine import cameras

    # Without a display VTK falls back to EGL or software by itself, but warns about it.
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    angle = float(np.degrees(2 * np.arctan(cameras.REFERENCE_SIZE / 2 / cameras.REFERENCE_FOCAL)))
    surface = pyvista.PolyData.from_regular_faces(mesh.vertices, mesh.faces)
    plotter = pyvista.Plotter(off_screen=True, window_size=(size, size), lighting="none")
    try:
        plotter.set_background("white")
        if mesh.texture is not None and mesh.uv is not None:
            surface.active_texture_coordinates = mesh.uv
            plotter.add_mesh(surface, texture=pyvista.numpy_to_texture(mesh.texture), lighting=False)
        elif mesh.colors is not None:
            plotter.add_mesh(surface, scalars=mesh.colors, rgb=True, lighting=False)
        else:
            plotter.add_light(pyvista.Light(light_type="headlight"))
            plotter.add_mesh(surface, color="lightgray")
        plotter.show(auto_close=False)
        pictures = []
        for azimuth in SIDES:
            pose = cameras.Pose(elevation, azimuth, cameras.INPUT_RADIUS)
            c2w = pose.matrix()
            plotter.camera.position = c2w[:3, 3]
            plotter.camera.focal_point = (0, 0, 0)
            plotter.camera.up = c2w[:3, 1]
            plotter.camera.view_angle = angle
            plotter.renderer.ResetCameraClippingRange()
            plotter.render()
            pictures.append(np.asarray(plotter.screenshot(None, return_img=True))[..., :3])
    finally:
        plotter.close()
    return np.stack(pictures)


def write_sheet(run: Run, path: Path, size: int = 384) -> None:
    """A picture of the input (first) and the finished mesh from four sides, in a row."""
    from PIL import Image

    mesh, estimate = run.mesh(), run.elevation()
    if mesh is None or estimate is None:
        raise InputError(f"The run {run.name} has no mesh yet. Reconstruct it first.")
    given = Image.fromarray(load_picture(next(run.folder.glob("input.*"))), "RGBA")
    given.thumbnail((size, size))
    sheet = Image.new("RGB", (size * (1 + len(SIDES)), size), "white")
    sheet.paste(given, ((size - given.width) // 2, (size - given.height) // 2), given)
    for i, picture in enumerate(draw_sides(mesh, estimate.value, size)):
        sheet.paste(Image.fromarray(picture), (size * (i + 1), 0))
    sheet.save(path)

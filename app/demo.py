"""The demonstration: a bundled picture, its mesh, and the mesh seen from four sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.imaging import load_picture
from engine.meshes.mesh import Mesh
from engine.reconstruct.run import Run

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
    from engine import cameras
    from engine.views.raster import render_mesh

    views, _ = render_mesh(mesh, cameras.camera_to_world(elevation, SIDES), cameras.intrinsics(size), size)
    return (views[..., :3] * 255).round().astype(np.uint8)


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

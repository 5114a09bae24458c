"""The files of a run: where each lies, and how it is written and read.

A run folder holds, each written to a temporary name and then renamed:

    input.<ext>          the picture as it was given
    run.json             options, status, owner process, times, finished steps
    mask.png, framed.png the foreground in the picture, and the picture as the generator sees it
    neighbours/          view_0_0_10.png .. view_0_3_10.png, on which the estimate of the elevation rests (RGBA over
                         white, as all views); missing where the elevation was typed
    views/               view_0.png .. view_7.png and, with a method that needs source views, view_0_0_10.png ..
                         view_7_3_10.png
    pose.json            cameras of the views, in One-2-3-45's layout
    elevation.json       the estimate with its error curve
    surface.npz          the mesh with vertex colours
    mesh.npz, mesh.glb   the textured mesh, in the world frame and as it was asked for (and other formats)
    report.json          seconds and peak memory by stage, and which models were used
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.core.errors import InputError, OutputError
from engine.core.files import whole_file
from engine.core.progress import CancelToken
from engine.meshes.mesh import Mesh
from engine.reconstruct.options import Options

if TYPE_CHECKING:
    from engine.elevation import ElevationEstimate

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

PRINCIPAL = tuple(cameras.principal_name(i) for i in range(8))
"""Names of the principal views; the first is the input itself."""
SOURCES = tuple(cameras.source_name(i) for i in range(32))
"""Names of the source views, four neighbours of each principal view in turn."""
NEIGHBOURS = SOURCES[:4]


class RunFolder:
    """The folder of a run, and what its steps have left there.

    What this process writes while a run is executed is kept as a reader would get it, so that the next step need not
    decode it again and cannot tell whether the one before ran just now or long ago.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, Any] = {}

    # -- results -----------------------------------------------------------------------------------------

    def picture(self) -> ByteArray:
        """(H, W, 4) straight RGBA, as `load_picture` returns it."""
        from engine.imaging import load_picture

        if "input" not in self._kept:
            self._kept["input"] = load_picture(self.input_file())
        return np.asarray(self._kept["input"])

    def input_file(self) -> Path:
        """The picture as it was given."""
        found = sorted(self.folder.glob("input.*"))
        if not found:
            raise InputError(f"{self.folder} has lost its input picture.")
        return found[0]

    def mask(self) -> FloatArray | None:
        """(H, W) foreground of the picture in 0..1."""
        return self._read_picture("mask.png", "L")

    def framed(self) -> FloatArray | None:
        """(256, 256, 4) framed input over white."""
        return self._read_picture("framed.png")

    def neighbours(self) -> FloatArray | None:
        """(4, H, W, 4) neighbours of the input, drawn before the elevation was known."""
        return self._read_views("neighbours", NEIGHBOURS)

    def principal_views(self) -> FloatArray | None:
        """(8, H, W, 4) principal views."""
        return self._read_views("views", PRINCIPAL)

    def source_views(self) -> FloatArray | None:
        """(32, H, W, 4) source views."""
        return self._read_views("views", SOURCES)

    def elevation(self) -> ElevationEstimate | None:
        """The elevation of the input camera, with its error curve."""
        from engine.elevation import ElevationEstimate

        path = self.folder / "elevation.json"
        with _reading(path):
            return ElevationEstimate.from_json(json.loads(path.read_text())) if path.exists() else None

    def surface(self) -> Mesh | None:
        """The mesh with vertex colours, in the world frame."""
        return self._kept.get("surface.npz") or self._read_mesh("surface.npz")

    def mesh(self) -> Mesh | None:
        """The textured mesh, or the one with vertex colours while there is no texture; world frame."""
        return self._read_mesh("mesh.npz") or self.surface()

    # -- writing -----------------------------------------------------------------------------------------

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        with whole_file(self.folder / name, durable=False) as partial:
            partial.write_bytes(content)

    def write_json(self, name: str, value: object) -> None:
        """Write a file of JSON."""
        self.write(name, json.dumps(value, indent=1).encode())

    def write_picture(self, name: str, picture: FloatArray) -> None:
        """Write a mask (H, W) or a picture (H, W, 4) in 0..1 as a PNG."""
        pixels = self._keep_picture(name, picture)
        self.write(name, _png(pixels))

    def write_views(self, part: str, views: Mapping[str, FloatArray]) -> None:
        """Put views by name in the place of all that are in the folder `part`; none takes the folder away."""
        partial = self.folder / f".{part}.{os.getpid()}.tmp"
        shutil.rmtree(partial, ignore_errors=True)
        if views:
            partial.mkdir()
        for name, picture in views.items():
            (partial / f"{name}.png").write_bytes(_png(self._keep_picture(f"{part}/{name}.png", picture)))
        shutil.rmtree(self.folder / part, ignore_errors=True)
        if views:
            partial.replace(self.folder / part)

    def write_elevation(self, estimate: ElevationEstimate) -> None:
        """Write the elevation, and the cameras that follow from it."""
        self.write_json("elevation.json", estimate.to_json())
        self.write_json("pose.json", cameras.pose_file(estimate.value))

    def write_surface(self, mesh: Mesh) -> None:
        """Write the mesh with vertex colours; a texture of another one goes."""
        self._write_mesh("surface.npz", mesh)
        self._kept["surface.npz"] = mesh
        (self.folder / "mesh.npz").unlink(missing_ok=True)

    def write_mesh(self, mesh: Mesh, options: Options, cancel: CancelToken) -> None:
        """Write the textured mesh, and the files that were asked for."""
        from engine.meshes.export import export_mesh

        self._write_mesh("mesh.npz", mesh)
        for suffix in dict.fromkeys(("glb", *options.formats)):
            cancel.check()
            export_mesh(mesh, self.folder / f"mesh.{suffix}", up=options.up, height_m=options.height_m)

    def sweep(self) -> None:
        """Remove files and folders that were not finished."""
        for leftover in self.folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
            with suppress(OSError):
                leftover.unlink(missing_ok=True)

    def forget(self) -> None:
        """Keep nothing in memory any more."""
        self._kept.clear()

    # -- inside ------------------------------------------------------------------------------------------

    def _keep_picture(self, name: str, picture: FloatArray) -> ByteArray:
        self._kept[name] = pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        return pixels

    def _read_picture(self, name: str, mode: str = "RGBA") -> FloatArray | None:
        if name not in self._kept and not (self.folder / name).exists():
            return None
        pixels = self._kept[name] if name in self._kept else read_image(self.folder / name, mode)
        return unit(pixels)

    def _read_views(self, part: str, names: tuple[str, ...]) -> FloatArray | None:
        pictures = [self._read_picture(f"{part}/{name}.png") for name in names]
        if any(picture is None for picture in pictures):
            return None
        with _reading(self.folder / part):
            return np.stack(pictures)  # type: ignore[arg-type]

    def _write_mesh(self, name: str, mesh: Mesh) -> None:
        arrays: dict[str, Any] = {"vertices": mesh.vertices, "faces": mesh.faces}
        arrays |= {part: value for part in ("colors", "uv") if (value := getattr(mesh, part)) is not None}
        if mesh.texture is not None:
            arrays["texture_png"] = np.frombuffer(_png(mesh.texture), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self.write(name, buffer.getvalue())

    def _read_mesh(self, name: str) -> Mesh | None:
        path = self.folder / name
        if not path.exists():
            return None
        with _reading(path), np.load(path) as arrays:
            mesh = Mesh(arrays["vertices"], arrays["faces"], arrays.get("colors"), arrays.get("uv"))
            if "texture_png" in arrays:
                with Image.open(io.BytesIO(arrays["texture_png"].tobytes())) as image:
                    mesh.texture = np.array(image.convert("RGB"))
        return mesh


# -- options -------------------------------------------------------------------------------------------------


def options_to_json(options: Options, folder: Path) -> dict[str, Any]:
    """JSON of options; the mask and the strokes become files in `folder`."""
    record = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    for name, file, read in (("strokes", "strokes.png", as_pixels), ("mask", "given_mask.png", _mask_pixels)):
        value = record[name]
        if isinstance(value, np.ndarray) or value not in (None, folder / file):
            RunFolder(folder).write(file, _png(read(value).astype(np.uint8)))
        record[name] = None if value is None else file
    return record


def options_from_json(record: dict[str, Any], folder: Path) -> Options:
    """The inverse; arrays are given as paths of files in `folder`. InputError for values of another version."""
    values = {f.name: record[f.name] for f in dataclasses.fields(Options) if f.name in record}
    values.setdefault("method", "views")  # runs from before there was a choice
    values["formats"] = tuple(values.get("formats", ("glb",)))
    if values.get("box") is not None:
        values["box"] = tuple(values["box"])
    values["points"] = tuple(tuple(point) for point in values.get("points", ()))
    for name in ("strokes", "mask"):
        if values.get(name) is not None:
            values[name] = folder / values[name]
    return Options(**values)


# -- pictures and errors -------------------------------------------------------------------------------------


def read_image(path: Path, mode: str) -> ByteArray:
    """Pixels of a picture file in a mode of Pillow's. InputError if it cannot be read."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}).") from None


def as_pixels(value: ByteArray | Path) -> ByteArray:
    """(H, W) of an array, or of a picture file that holds it."""
    return read_image(value, "L") if isinstance(value, Path) else value


def _mask_pixels(value: npt.NDArray[Any] | Path) -> ByteArray:
    from engine.imaging import load_mask

    return np.rint(load_mask(value) * 255).astype(np.uint8)


def unit(pixels: ByteArray) -> FloatArray:
    """Bytes as numbers in 0..1."""
    return pixels.astype(np.float32) / np.float32(255)


def _png(pixels: ByteArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the file system refuses into an OutputError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            text = f"The disk is full: {path} could not be written. Free some space and run it again."
        else:
            reason = (error.strerror or str(error)).lower()
            text = f"{error.filename or path} could not be written or read: {reason}. Choose another folder."
        raise OutputError(text) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what a damaged file brings about into an InputError that names it."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}). Run it again from the start.") from None

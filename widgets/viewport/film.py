"""Turntable films, rendered off-screen. No Qt: a film may be made on any thread, and in the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engine.core.errors import InputError, OutputError
from engine.core.files import whole_file
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.meshes.mesh import Mesh
from widgets.viewport.scene import HOME_AZIMUTH, HOME_ELEVATION, LIGHT, Look, Scene, Style

FILM_SUFFIXES = (".mp4", ".gif")


def save_turntable(
    mesh: Mesh,
    path: Path,
    *,
    seconds: float = 6.0,
    fps: int = 30,
    size: int = 720,
    style: Style = "texture",
    wireframe: bool = False,
    look: Look = LIGHT,
    light: str = "studio",
    backdrop: str = "theme",
    azimuth: float = HOME_AZIMUTH,
    elevation: float = HOME_ELEVATION,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> None:
    """Write one whole turn around the mesh as MP4 (H.264, yuv420p) or GIF (endless), by the suffix of `path`.

    `size` is the side of the square picture in pixels, made even. The file appears only when complete.
    Raises `InputError` for another suffix, `OutputError` where the file cannot be written, `Cancelled`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FILM_SUFFIXES:
        raise InputError(f"A film cannot be saved as {path.name}: choose a name that ends in .mp4 or .gif.")
    if suffix == ".gif":
        fps = min(fps, 25)  # GIF counts in hundredths of a second, and browsers slow down anything under 4 of them
    if not path.parent.is_dir():
        raise OutputError(f"The film could not be written: there is no folder {path.parent}. Choose another folder.")
    size = max(2, size // 2 * 2)
    count = max(2, round(seconds * fps))
    cancel = cancel or CancelToken()

    def frames() -> Iterator[np.ndarray]:
        with _turntable(mesh, size, look, azimuth, elevation) as (scene, render):
            scene.set_light(light)
            scene.set_backdrop(backdrop)
            scene.set_style(style)
            scene.set_wireframe(wireframe)
            for i in range(count):
                cancel.check()
                yield render(azimuth + 360.0 * i / count)
                progress(Progress("film", i + 1, count, f"Picture {i + 1} of {count}"))

    try:
        with whole_file(path) as partial:
            (_write_gif if suffix == ".gif" else _write_mp4)(partial, frames(), fps, size)
    except OSError as error:
        reason = error.strerror or "the encoder stopped, perhaps as the disk is full"
        raise OutputError(f"The film could not be written to {path}: {reason}. Choose another folder.") from error


@contextmanager
def _turntable(
    mesh: Mesh, size: int, look: Look, azimuth: float, elevation: float
) -> Iterator[tuple[Scene, Callable[[float], np.ndarray]]]:
    """The mesh, and a function that renders it from an azimuth: (size, size, 3) uint8."""
    import pyvista as pv

    plotter = pv.Plotter(off_screen=True, window_size=[size, size], lighting="none")
    try:
        window = plotter.render_window
        assert window is not None
        window.SetMultiSamples(4)
        scene = Scene(plotter, look)
        scene.set_mesh(mesh)
        scene.look_from(azimuth, elevation)
        scene.fit(1.0, turning=True)
        scene.apply_camera()
        plotter.show(auto_close=False, interactive=False)

        def render(angle: float) -> np.ndarray:
            scene.look_from(angle, elevation)
            scene.apply_camera()
            window.Render()
            return np.ascontiguousarray(plotter.image[..., :3])

        yield scene, render
    finally:
        plotter.close()


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: int, size: int) -> None:
    import imageio_ffmpeg

    writer = imageio_ffmpeg.write_frames(
        str(path),
        (size, size),
        fps=fps,
        codec="libx264",
        pix_fmt_in="rgb24",
        pix_fmt_out="yuv420p",
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="quiet",
        output_params=["-f", "mp4", "-movflags", "+faststart"],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(frame)
    finally:
        writer.close()


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: int, size: int) -> None:
    from PIL import Image

    def paletted() -> Iterator[Image.Image]:
        for frame in frames:
            yield Image.fromarray(frame).quantize(256, Image.Quantize.MEDIANCUT)

    pictures = paletted()
    first = next(pictures)
    duration = round(100 / fps) * 10
    first.save(path, "GIF", save_all=True, append_images=pictures, duration=duration, loop=0, optimize=False)

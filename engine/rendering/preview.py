"""A fast look at a model from the cameras that it will be rendered from, without Blender: `preview_frames`.

Poses and size are as in the rendering; light and materials are not. PyVista draws off the screen, in a process of its
own that ends with its caller: no file and no driver can harm the window, and a thread of the window may have an OpenGL
context of its own. On Linux it draws through EGL, which needs no display, else on the X server.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from engine.core.errors import InputError, OrielError
from engine.core.processes import Channel, Child, ChildEnded, ChildFault
from engine.core.progress import CancelToken
from engine.meshes.mesh import ByteArray
from engine.rendering.jobs import Frame, RenderSettings

if TYPE_CHECKING:
    from engine.meshes.reducing import PreviewPart

ONLY_BLENDER = (".fbx", ".usd", ".usda", ".usdc", ".usdz")
"""Kinds of models that only Blender reads."""

_TRIANGLES, _SIDE, _TEXTURE_BYTES = 300_000, 1024, 24 << 20
_SECONDS = 120.0
"""Longest time without a sign of life."""
_NICENESS = 5
_FINER = 2
"""Samples along a pixel's side."""
_LIGHTS = (((0.3, -0.4, 1.0), 0.6), ((-1.0, 0.6, 0.3), 0.3), ((1.0, 0.3, 0.2), 0.2))
"""Direction towards each lamp and its strength, as in the rendering."""


def preview_frames(
    model: Path,
    settings: RenderSettings,
    frames: Sequence[Frame],
    *,
    side: int = 160,
    cancel: CancelToken | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Draw frames of a model; yields the name of each with its picture, PNG, RGBA (straight alpha) of `side` px.

    Raises InputError for a model that cannot be shown (FBX and USD never can), OrielError where OpenGL does not work,
    and Cancelled within about 100 ms of the token. Closing the iterator ends the process.
    """
    if model.suffix.lower() in ONLY_BLENDER:
        raise InputError(
            f"Only Blender reads {model.name}: the preview shows GLB, glTF, OBJ, PLY and STL. Render one frame to see "
            "it, or convert it; it can be rendered all the same."
        )
    views = [(frame.name, frame.pose.matrix().tolist()) for frame in frames]
    angle = math.degrees(2 * math.atan(settings.sensor / 2 / settings.lens))
    scene = {"views": views, "angle": angle, "radius": settings.radius, "side": side}
    windows: list[str | None] = ["vtkEGLRenderWindow"] if sys.platform.startswith("linux") else [None]
    if windows[0] and os.environ.get("DISPLAY"):
        windows.append("vtkXOpenGLRenderWindow")
    for window in windows:
        try:
            yield from _drawn(model, scene | {"window": window}, cancel or CancelToken())
            return
        except _NoWindow as error:  # before the first picture: VTK crashes where it finds no OpenGL
            failure = error
    raise OrielError(
        "The preview needs OpenGL 3.2, and it could not be started. Install a graphics driver, or Mesa's software "
        f"renderer (on Debian: libegl1, libegl-mesa0 and libgl1-mesa-dri). {failure}"
    )


class _NoWindow(Exception):
    """VTK found nothing to draw with."""


def _drawn(model: Path, scene: dict[str, Any], cancel: CancelToken) -> Iterator[tuple[str, bytes]]:
    cancel.check()
    drawing = False
    with contextlib.closing(Child(_serve, model, scene, niceness=_NICENESS, hushed=True)) as child:
        try:
            child.answer(_SECONDS, cancel)
            drawing = True
            for _ in scene["views"]:
                frame = child.answer(_SECONDS, cancel)
                drawing = False
                yield frame
        except TimeoutError:
            raise InputError(
                f"{model.name} takes more than {_SECONDS:.0f} seconds to show. Render one frame of it instead."
            ) from None
        except ChildFault as fault:
            raise OrielError(
                f"The preview of {model.name} failed ({fault}). Render one frame of it instead, or look at it in "
                "another program."
            ) from None
        except ChildEnded as ended:
            if drawing:
                raise _NoWindow(f"VTK ended with code {ended.code} ({scene['window'] or 'default'}).") from None
            raise OrielError(
                f"The preview of {model.name} ended by itself (exit code {ended.code}): the model may be damaged, or "
                "too large for the memory. Render one frame of it instead, or look at it in another program."
            ) from None


# -- in a process of its own ---------------------------------------------------------------------------------


def _serve(channel: Channel, model: Path, scene: dict[str, Any]) -> None:
    """Load a model, say None, and draw it."""
    parts = _load(model)
    channel.send(None)
    for frame in _draw(parts, scene):
        channel.send(frame)


def _load(model: Path) -> list[PreviewPart]:
    from engine.meshes.loading import read_model
    from engine.meshes.reducing import reduce_model

    parts = reduce_model(
        read_model(model), triangles=_TRIANGLES, parts=64, side=_SIDE, texture_bytes=_TEXTURE_BYTES, name=model.name
    ).parts
    # They come with the middle of their bounds at the origin, inside the unit sphere.
    low = np.min([part.points.min(0) for part in parts], 0)
    high = np.max([part.points.max(0) for part in parts], 0)
    scale = np.float32(1 / (high - low).max())
    return [replace(part, points=part.points * scale) for part in parts]


def _draw(parts: list[PreviewPart], scene: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    if scene["window"]:
        os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = scene["window"]
    import pyvista as pv

    from engine.meshes.actors import actor_of

    side, radius = scene["side"], scene["radius"]
    plotter: Any = pv.Plotter(off_screen=True, window_size=[side * _FINER, side * _FINER], lighting="none")
    plotter.ren_win.SetMultiSamples(0)
    plotter.set_background("black")  # colours come multiplied with alpha
    for direction, strength in _LIGHTS:
        plotter.add_light(pv.Light(position=direction, intensity=strength, light_type="scene light"))
    if any(part.alpha == "blend" for part in parts):
        plotter.enable_depth_peeling(8)
    for part in parts:
        plotter.renderer.AddActor(actor_of(part, ambient=0.45, diffuse=0.75))
    plotter.show(auto_close=False, interactive=False)
    camera = plotter.camera
    camera.SetViewAngle(scene["angle"])
    for name, matrix in scene["views"]:
        c2w = np.asarray(matrix)
        camera.SetPosition(*c2w[:3, 3])
        camera.SetFocalPoint(*(c2w[:3, 3] - c2w[:3, 2]))
        camera.SetViewUp(*c2w[:3, 1])
        camera.SetClippingRange(max(radius - 1.0, 0.001), radius + 1.0)
        plotter.render()
        yield name, _png(plotter.screenshot(None, transparent_background=True, return_img=True))


def _png(drawn: ByteArray) -> bytes:
    """PNG, straight alpha, of a finer picture (colours times alpha, as they stand on black)."""
    side = len(drawn) // _FINER
    mean = drawn.reshape(side, _FINER, side, _FINER, 4).mean((1, 3))
    mean[..., :3] *= 255 / np.maximum(mean[..., 3:], 1e-3)
    raw = io.BytesIO()
    Image.fromarray(np.clip(np.round(mean), 0, 255).astype(np.uint8)).save(raw, "PNG", compress_level=1)
    return raw.getvalue()

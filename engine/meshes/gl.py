"""The headless OpenGL context that the renderers share."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import moderngl
import numpy as np
import numpy.typing as npt

from engine.cameras import world_to_camera
from engine.core.errors import OrielError

NEAR, FAR = 0.05, 20.0
"""Depth range of every projection, in world units."""

_local = threading.local()


@contextmanager
def context() -> Iterator[Any]:
    """The calling thread's OpenGL context, current within the block; made at the first call (EGL on Linux).

    Also decorates functions that draw, so that what they leave behind is freed at once.

    Afterwards the thread has no current context: VTK and Qt could not make theirs current beside it. Needs no
    display. Raises `OrielError` where the machine has no OpenGL 3.3.
    """
    ctx = getattr(_local, "context", None)
    if ctx is None:
        try:
            backend: dict[str, Any] = {"backend": "egl"} if sys.platform.startswith("linux") else {}
            ctx = moderngl.create_standalone_context(require=330, **backend)
        except Exception as error:
            raise OrielError(
                f"OpenGL 3.3 could not be started ({error}). Install a graphics driver, or Mesa's software "
                "renderer (on Debian: libegl1, libegl-mesa0 and libgl1-mesa-dri)."
            ) from error
        ctx.gc_mode = "context_gc"  # what dies outside of the block is freed in the next one
        _local.context, _local.store = ctx, {}
    ctx.__enter__()
    try:
        ctx.gc()
        yield ctx
    finally:
        ctx.gc()
        if sys.platform.startswith("linux"):
            ctypes.CDLL("libEGL.so.1").eglReleaseThread()


def current() -> Any:
    """The context of the block that this is called in."""
    return _local.context


def cached(key: str, make: Callable[[Any], Any]) -> Any:
    """An OpenGL object of this thread's context, made once by `make(context)` under a key; within `context`."""
    if key not in _local.store:
        _local.store[key] = make(current())
    return _local.store[key]


def program(vertex: str, fragment: str) -> Any:
    """A program of this thread's context, compiled once."""
    return cached(vertex + fragment, lambda ctx: ctx.program(vertex_shader=vertex, fragment_shader=fragment))


def target(side: int, samples: int = 0) -> Any:
    """A square framebuffer of colours and depth, made once, of `samples` a pixel (0 for one that can be read)."""
    size = side, side
    return cached(
        f"target {side} {samples}",
        lambda ctx: ctx.framebuffer(
            ctx.renderbuffer(size, 4, samples=samples), ctx.depth_renderbuffer(size, samples=samples)
        ),
    )


def vertices(program: Any, columns: dict[str, npt.NDArray[Any]], faces: npt.NDArray[Any]) -> Any:
    """A mesh for a program: by the name of its inputs, what each of V vertices has (V, n); faces (F, 3)."""
    data = np.concatenate(list(columns.values()), 1, dtype=np.float32)
    layout = " ".join(f"{values.shape[1]}f" for values in columns.values())
    ctx = current()
    index = ctx.buffer(np.ascontiguousarray(faces, np.int32).tobytes())
    return ctx.vertex_array(program, [(ctx.buffer(data.tobytes()), layout, *columns)], index)


def texture(picture: npt.NDArray[np.uint8]) -> Any:
    """A picture (H, W, C), first row at the top, for coordinates whose origin is at the lower left."""
    height, width, channels = picture.shape
    return current().texture((width, height), channels, np.ascontiguousarray(picture[::-1]).tobytes(), alignment=1)


def clear(target: Any) -> None:
    """Draw into a framebuffer from now on, which becomes white and transparent."""
    target.use()
    target.viewport = 0, 0, *target.size
    target.clear(1.0, 1.0, 1.0, 0.0, depth=1.0)


def colors_of(target: Any) -> npt.NDArray[np.uint8]:
    """What was drawn, RGBA (S, S, 4), rows from the top."""
    return np.frombuffer(target.read(components=4), np.uint8).reshape(*target.size, 4)


def depth_of(target: Any) -> npt.NDArray[np.float32]:
    """Distance of what was drawn along the viewing axis (S, S), rows from the top; 0 where there is nothing."""
    raw = target.read(components=1, attachment=-1, dtype="f4")
    return linear_depth(np.frombuffer(raw, np.float32).reshape(target.size))


def clip_from_world(c2w: npt.ArrayLike, k: npt.ArrayLike, size: int) -> npt.NDArray[np.float32]:
    """Column-major-ready (transposed) projection of the world into clip space, 4x4 float32.

    The picture's first row ends up at the bottom of the framebuffer, so that reading it back gives rows from the top.
    """
    kk = np.asarray(k, np.float64)
    p = np.zeros((4, 4))
    p[0, 0], p[0, 2] = 2 * kk[0, 0] / size, 1 - 2 * kk[0, 2] / size
    p[1, 1], p[1, 2] = -2 * kk[1, 1] / size, 1 - 2 * kk[1, 2] / size
    p[2, 2], p[2, 3] = -(FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    p[3, 2] = -1
    return np.ascontiguousarray((p @ world_to_camera(c2w).astype(np.float64)).T.astype(np.float32))


def linear_depth(buffer: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Depth buffer values 0..1 to distance along the viewing axis; 0 where nothing was drawn."""
    depth = 2 * NEAR * FAR / (FAR + NEAR - (2 * buffer - 1) * (FAR - NEAR))
    return np.where(buffer >= 1.0, 0.0, depth).astype(np.float32)

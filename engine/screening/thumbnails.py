"""Small pictures of many models, and hints about them, made ahead by a process and kept in a file: `Thumbnails`.

.thumbnails.jsonl   in the annotator's folder, one JSON object a model; may be deleted at any time
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from engine.cameras import camera_to_world
from engine.core import ledger
from engine.core.errors import Cancelled
from engine.core.processes import Channel, Child, ChildEnded
from engine.core.progress import CancelToken
from engine.meshes.mesh import ByteArray
from engine.meshes.rasteriser import rasterize
from engine.screening.cache import stamp_of
from engine.screening.hints import Hints
from engine.screening.preview import Preview, PreviewLimits, PreviewPart, load_preview

SIZE = (192, 144)
"""Pixels of a thumbnail."""
_FILE = ".thumbnails.jsonl"
_LIMITS = PreviewLimits(triangles=12_000, parts=8, texture_side=256, texture_bytes=4 << 20)
_START_SECONDS = 60.0
_JOBS = 200
"""Models after which the process is replaced by a fresh one."""
_NICENESS = 10
_FINER = 2
_POSE = (300.0, 18.0)
"""Azimuth and elevation, as the large view begins."""
_DISTANCE = 3.6
_GROUND = (43, 49, 59)
_LIGHTS = np.array([[0.0, 0.0, 1.0], [-0.66, 0.59, 0.46], [0.95, 0.17, 0.26]])
"""Towards the lamps, in the camera's frame; as strong as `_STRENGTHS`."""
_STRENGTHS = np.array([0.42, 0.5, 0.28]) * 0.78

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thumbnail:
    """How a model looks, and what its shape hints at."""

    picture: bytes
    """JPEG; empty where there is nothing to see."""
    problem: str = ""
    """Why there is nothing to see."""
    hints: Hints | None = None


class Thumbnails:
    """Thumbnails of files, made one after the other; `want` starts that. `close` it at the end."""

    def __init__(self, folder: Path) -> None:
        """Those that were made before are read from the folder."""
        self._file = folder / _FILE
        self._found: dict[str, tuple[list[int] | None, Thumbnail]] = {}
        self._changed = threading.Condition()
        self._wanted: list[Path] = []
        self._checked: set[Path] = set()
        self._working = False
        self._callbacks: list[Callable[[Path], None]] = []
        self._closing = CancelToken()
        self._thread: threading.Thread | None = None
        self._load()

    def want(self, paths: Sequence[Path]) -> None:
        """Make these next, in this order, where they are not there or their files have changed."""
        with self._changed:
            self._wanted = [path for path in dict.fromkeys(paths) if path not in self._checked]
            if self._thread is None and self._wanted:
                self._thread = threading.Thread(target=self._run, name="thumbnails", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def get(self, path: Path) -> Thumbnail | None:
        """The thumbnail of a file; None while there is none."""
        found = self._found.get(str(path))
        return None if found is None else found[1]

    def hints(self) -> dict[str, Hints]:
        """All hints that there are, by path."""
        return {path: made.hints for path, (_, made) in list(self._found.items()) if made.hints is not None}

    def on_ready(self, callback: Callable[[Path], None]) -> None:
        """Have `callback` called with the path of each that is ready, from another thread."""
        self._callbacks.append(callback)

    def wait(self, cancel: CancelToken | None = None) -> None:
        """Until all that is wanted is there, or cannot be. Raises Cancelled within about 100 ms of the token."""
        with self._changed:
            while self._thread is not None and self._thread.is_alive() and (self._wanted or self._working):
                if cancel is not None:
                    cancel.check()
                self._changed.wait(0.1)

    def close(self) -> None:
        """End the process and the thread."""
        with self._changed:
            self._closing.cancel()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(10.0)
        self._callbacks.clear()

    # -- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                path = self._next()
                try:
                    with contextlib.closing(Child(serve_thumbnails, niceness=_NICENESS)) as child:
                        child.answer(_START_SECONDS, self._closing)
                        for _ in range(_JOBS):
                            if not self._make(child, path):
                                break
                            path = self._next()
                        else:
                            self._put_back(path)
                except ChildEnded:
                    _log.exception("thumbnails cannot be made")
                    return
        except Cancelled:
            pass
        except Exception:
            _log.exception("the thread of the thumbnails has ended")

    def _next(self) -> Path:
        """Wait for a file that is to be drawn."""
        while True:
            with self._changed:
                self._working = False
                while not self._wanted:
                    self._changed.notify_all()
                    self._closing.check()
                    self._changed.wait()
                self._closing.check()
                path, self._working = self._wanted.pop(0), True
                if path in self._checked:
                    continue
                self._checked.add(path)
            known = self._found.get(str(path))
            if known is None or known[0] != _listed(path):
                return path

    def _put_back(self, path: Path) -> None:
        with self._changed:
            self._checked.discard(path)
            self._wanted.insert(0, path)

    def _make(self, child: Child, path: Path) -> bool:
        """Have one drawn; False if that has cost the process."""
        stamp = _listed(path)
        child.send(path)
        alive = True
        try:
            made: Thumbnail = child.answer(_LIMITS.seconds, self._closing, starved=4.0)
        except Cancelled:
            raise
        except (TimeoutError, ChildEnded):
            made, alive = Thumbnail(b"", f"{path.name} could not be drawn."), False
        self._found[str(path)] = stamp, made
        line: dict[str, Any] = {"path": str(path), "stamp": stamp, "picture": base64.b64encode(made.picture).decode()}
        line |= {"problem": made.problem, "hints": None if made.hints is None else asdict(made.hints)}
        with contextlib.suppress(OSError):  # it is made again another time
            ledger.append(self._file, json.dumps(line).encode() + b"\n")
        for callback in list(self._callbacks):
            callback(path)
        return alive

    def _load(self) -> None:
        with contextlib.suppress(OSError):
            for line in self._file.read_bytes().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    read = json.loads(line)
                    hints = read["hints"]
                    if hints is not None:
                        hints = Hints(hints["depth"], hints["inward"], tuple(hints["left_out"]), tuple(hints["shape"]))
                    made = Thumbnail(base64.b64decode(read["picture"]), read["problem"], hints)
                    self._found[read["path"]] = read["stamp"], made


def _listed(path: Path) -> list[int] | None:
    stamp = stamp_of(path)
    return None if stamp is None else list(stamp)


# -- in a process of its own ---------------------------------------------------------------------------------


def serve_thumbnails(channel: Channel) -> NoReturn:
    """Say None, then answer each path with its thumbnail: the work of a `Child`."""
    import fast_simplification  # noqa: F401 - before the first model, not with it

    channel.send(None)
    while True:
        channel.send(make_thumbnail(channel.receive()))


def make_thumbnail(path: Path) -> Thumbnail:
    """Draw a model's thumbnail, in this process; never raises."""
    preview = load_preview(path, _LIMITS)
    if preview.problem is not None:
        return Thumbnail(b"", preview.problem)
    raw = io.BytesIO()
    Image.fromarray(draw(preview)).save(raw, "JPEG", quality=88)
    return Thumbnail(raw.getvalue(), "", preview.facts.hints)


def draw(preview: Preview) -> ByteArray:
    """A preview's parts on a plain ground, RGB (144, 192, 3), from where the large view shows them first."""
    azimuth, elevation = _POSE
    width, height = SIZE[0] * _FINER, SIZE[1] * _FINER
    c2w = camera_to_world(elevation, azimuth, _DISTANCE).astype(np.float64)
    seen = [(part.points - c2w[:3, 3]) @ c2w[:3, :3] for part in preview.parts]
    slopes = [points[:, :2] / -points[:, 2:] for points in seen]
    low, high = np.min([s.min(0) for s in slopes], 0), np.max([s.max(0) for s in slopes], 0)
    scale = 0.94 * min(width / max(high[0] - low[0], 1e-9), height / max(high[1] - low[1], 1e-9))
    scale = min(scale, 0.94 * height / 0.2)
    picture = np.empty((height * width, 3))
    picture[:] = _GROUND
    depth = np.full(height * width, np.inf)
    for part, points, slope in zip(preview.parts, seen, slopes, strict=True):
        at = (slope - (low + high) / 2) * (scale, -scale) + (width / 2, height / 2)
        _draw_part(part, at, -points[:, 2], c2w, picture, depth, width, height)
    fine = picture.reshape(SIZE[1], _FINER, SIZE[0], _FINER, 3).mean((1, 3))
    return np.clip(np.rint(fine), 0, 255).astype(np.uint8)


def _draw_part(
    part: PreviewPart, at: Any, far: Any, c2w: Any, picture: Any, depth: Any, width: int, height: int
) -> None:
    corners = at[part.triangles]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0  # rows run downwards
    rows = np.arange(len(corners)) if part.double_sided else np.flatnonzero(front)
    near = 1 / far
    for faces, pixels, weights in rasterize(corners[rows], width, height):
        triangles = part.triangles[rows[faces]]
        share = weights * near[triangles]  # linear in space, not on the picture
        total = share.sum(1)
        share /= total[:, None]
        away = 1 / total
        colors, alpha = _colors(part, triangles, share)
        there = np.flatnonzero((away < depth[pixels]) & (alpha > (part.cutoff if part.alpha == "mask" else 0.3)))
        order = there[np.argsort(-away[there], kind="stable")]  # the nearest is written last
        normals = (part.normals[triangles[order]] * share[order, :, None]).sum(1) @ c2w[:3, :3]
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        normals[~front[rows[faces[order]]]] *= -1
        light = 0.3 + np.maximum(normals @ _LIGHTS.T, 0) @ _STRENGTHS
        picture[pixels[order]] = colors[order] * np.minimum(light, 1.2)[:, None]
        depth[pixels[order]] = away[order]


def _colors(part: PreviewPart, triangles: Any, share: Any) -> tuple[Any, Any]:
    """Colours (M, 3), 0 to 255, and alpha (M,), 0 to 1, of points in triangles (M, 3) with shares (M, 3)."""
    colors, alpha = np.full((len(triangles), 3), 255.0), np.ones(len(triangles))
    if part.colors is not None:
        found = (part.colors[triangles] * share[:, :, None]).sum(1)
        colors, alpha = found[:, :3], found[:, 3] / 255 if found.shape[1] == 4 else alpha
    if part.texture is not None and part.uv is not None:
        uv = (part.uv[triangles] * share[:, :, None]).sum(1)
        uv = uv % 1.0 if part.repeat else np.clip(uv, 0, 1)
        rows, columns = part.texture.shape[:2]
        x = np.minimum((uv[:, 0] * columns).astype(int), columns - 1)
        y = np.minimum(((1 - uv[:, 1]) * rows).astype(int), rows - 1)
        texel = part.texture[y, x].astype(float)
        colors = colors * texel[:, :3] / 255
        if texel.shape[1] == 4:
            alpha = alpha * texel[:, 3] / 255
    return colors, alpha

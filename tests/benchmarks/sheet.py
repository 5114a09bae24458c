"""A contact sheet of a run's meshes beside the truth, to be looked at before a figure is believed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from engine.cameras import Pose
from engine.evaluation.pictures import Shape, draw_shape, shape_of
from engine.meshes.mesh import Mesh
from tests.benchmarks.shapes import ShapesOptions, read_mesh
from tests.benchmarks.testsets import TestObject

ByteArray = npt.NDArray[np.uint8]

_TILE, _HEAD = 144, 22
_POSES = (*(Pose(20.0, azimuth) for azimuth in (0.0, 60.0, 180.0, 240.0)), Pose(89.0, 0.0))
_SIDES = ("0", "60", "180", "240", "above")
_LAMP = (-0.5, 0.6, 0.65)
"""Where the light comes from, in the camera's axes: over the left shoulder."""


def write_sheets(path: Path, options: ShapesOptions, before: Path | None) -> list[Path]:
    """One picture a set, beside `path` where there are several; what was written.

    Two rows an object, grey above and coloured below: the input; the truth from azimuths 0, 60, 180 and 240 at 20
    degrees and from above; the meshes of the run `before`, if given; and those of `options.out`.
    """
    runs = {"ours": options.out} if before is None else {"before": before, "after": options.out}
    wanted, _ = options.wanted()
    sets = list(dict.fromkeys(key for key, _ in wanted))
    written = []
    for key in sets:
        rows = [_heading(list(runs))]
        for name in [name for of, name in wanted if of == key]:
            meshes = [read_mesh(run, key, name) for run in runs.values()]
            rows.append(_row(options.load(key, name), meshes))
        target = path if len(sets) == 1 else path.with_stem(f"{path.stem}-{key}")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows)).save(target)
        written.append(target)
    return written


def _heading(runs: list[str]) -> ByteArray:
    texts = ["input"] + [f"{what}, {side}" for what in ("truth", *runs) for side in _SIDES]
    return np.concatenate([_text(text, _HEAD) for text in texts], 1)


def _text(text: str, height: int) -> ByteArray:
    picture = Image.new("RGB", (_TILE, height), "white")
    lines = [text[i : i + 22] for i in range(0, len(text), 22)]
    ImageDraw.Draw(picture).text((4, 4), "\n".join(lines), "black")
    return np.asarray(picture)


def _row(obj: TestObject, meshes: list[Mesh | None]) -> ByteArray:
    shapes = [obj.shape, *(None if mesh is None else shape_of(mesh) for mesh in meshes)]
    blank = np.full((2 * _TILE, len(_POSES) * _TILE, 3), 255, np.uint8)
    small = _bytes(cv2.resize(obj.image, (_TILE, _TILE), interpolation=cv2.INTER_AREA))
    name = _text(f"{Path(obj.name).stem} at {obj.elevation:.0f} degrees", _TILE)
    drawn = [blank if shape is None else _both(shape) for shape in shapes]
    return np.concatenate([np.concatenate([small, name]), *drawn], 1)


def _both(shape: Shape) -> ByteArray:
    """Grey above, in colours below, side by side from `_POSES`."""
    bare = shape.bare()
    grey = [draw_shape(bare, [pose], _TILE, sun=pose.matrix()[:3, :3] @ _LAMP)[0] for pose in _POSES]
    rows = [np.concatenate(list(row), 1) for row in (grey, draw_shape(shape, _POSES, _TILE))]
    return _bytes(np.concatenate(rows))


def _bytes(picture: npt.NDArray[np.float32]) -> ByteArray:
    return np.rint(picture[..., :3] * 255).astype(np.uint8)

"""Views that a generator predicts of rendered models, made once and kept: what the network will see in use.

From each of the 8 true principal views of a model the generator draws its four neighbours. It wants its input framed
(the silhouette centred, 75 % of the side), which a rendered view is not: there the model has the longest side 1 about
the origin. So the view is framed first, and what was drawn is moved back, as if drawn by the rendering's cameras.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.errors import InputError, OrielError
from engine.files import unwritable
from engine.imaging import frame
from engine.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.training.data import PRINCIPAL, SOURCES, RenderedModel, Renders, over_white, read_straight, resized

if TYPE_CHECKING:
    from engine.views import ViewGenerator

FloatArray = npt.NDArray[np.float32]

SIZE = cameras.REFERENCE_SIZE
"""Side in pixels of the pictures that are kept."""


@dataclass
class Predictions:
    """Predicted neighbours of the principal views of rendered models: `folder`/<folder>/<uid>/view_{i}_{j}_10.png."""

    renders: Renders
    generator: str
    """Name of a generator, or a file of weights of the built-in one's kind."""
    folder: Path
    _loaded: ViewGenerator | None = field(default=None, repr=False)

    @classmethod
    def of(cls, renders: Renders, generator: str, cache: Path | None, out: Path) -> Predictions:
        """Those of a generator, kept in a folder of its weights' own: under `cache`, else in the folder of the renders,
        or under `out` if that cannot be written. `WeightsError` if the generator's weights are missing."""
        home = cache or (renders.folder if os.access(renders.folder, os.W_OK) else out)
        return cls(renders, generator, home / f"predicted-{_digest(generator)}")

    def has(self, model: RenderedModel) -> bool:
        """Whether a model's views are there, made from what its pictures are now."""
        try:
            return (self.folder / model.key / "of.txt").read_text() == _stamp(model)
        except OSError:
            return False

    def view(self, model: RenderedModel, name: str, size: int) -> FloatArray:
        """(size, size, 4) predicted neighbour `view_{i}_{j}_10`: RGB over white, alpha the mask."""
        return resized(over_white(read_straight(self.folder / model.key / f"{name}.png")), size)

    def make(
        self,
        models: Sequence[RenderedModel],
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
    ) -> int:
        """Predict the views of the models that have none yet; returns how many that were.

        Reports `Progress` of stage `predict` in models. Raises `Cancelled`; what was made stays.
        """
        cancel = cancel or CancelToken()
        missing = [model for model in models if not self.has(model)]
        for number, model in enumerate(missing):
            progress(Progress("predict", number, len(missing), f"Predicting views of {model.key}"))
            self._make(model, cancel)
        if missing:
            progress(Progress("predict", len(missing), len(missing), f"Views of {len(missing)} models predicted"))
        return len(missing)

    def _make(self, model: RenderedModel, cancel: CancelToken) -> None:
        stamp = _stamp(model)
        target = self.folder / model.key
        work = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            work.mkdir(parents=True)
            for i in range(len(PRINCIPAL)):
                cancel.check()
                for j, view in enumerate(self.predict(model, i, cancel)):
                    # Kept straight, as the true ones are.
                    alpha = view[..., 3:]
                    color = np.where(alpha > 0, (view[..., :3] - 1 + alpha) / np.maximum(alpha, 1e-3), 0)
                    straight = np.concatenate([color, alpha], -1).clip(0, 1)
                    picture = Image.fromarray((straight * 255).round().astype(np.uint8), "RGBA")
                    picture.save(work / f"{SOURCES[4 * i + j]}.png", compress_level=3)
            (work / "of.txt").write_text(stamp)
            shutil.rmtree(target, ignore_errors=True)
            work.replace(target)
        except OSError as error:
            raise unwritable(target, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def predict(self, model: RenderedModel, i: int, cancel: CancelToken | None = None) -> FloatArray:
        """(4, SIZE, SIZE, 4) neighbours drawn of principal view i, as the rendering's cameras would see them."""
        path = model.folder / f"{PRINCIPAL[i]}.png"
        picture = read_straight(path)
        try:
            framed = frame(picture, picture[..., 3].astype(np.float32) / 255, SIZE)
        except InputError:
            raise InputError(f"{path} shows nothing: no view can be predicted from it. Leave this model out.") from None
        elevation = self.renders.elevation(PRINCIPAL[i])
        origin = cameras.Pose(elevation, 0.0)
        neighbours = cameras.neighbour_poses(origin)
        drawn = self._get().generate(
            framed.image, cameras.offsets(neighbours, origin), elevation=elevation, size=SIZE, cancel=cancel
        )
        return unframe(drawn, framed.transform, len(picture), elevation)

    def _get(self) -> ViewGenerator:
        from engine.views import GENERATORS, load_generator

        if self._loaded is None:
            named = self.generator in GENERATORS
            self._loaded = load_generator(
                self.generator if named else "built-in", None if named else Path(self.generator)
            )
        return self._loaded

    def release(self) -> None:
        """Let the generator go: training needs the memory."""
        self._loaded = None


def unframe(drawn: FloatArray, transform: FloatArray, size: int, elevation: float) -> FloatArray:
    """Neighbours (4, S, S, 4) drawn of a framed view, moved to where they lie in the rendering's neighbouring cameras.

    `transform` (3, 3) took the rendered view, of side `size`, to the framed one, of side S. The framed object is the
    rendered one scaled and shifted; where the rendering's origin went is read off the input and followed into each
    neighbour. (Exact for a flat object; the error of a deep one is that of the frame's own perspective.)
    """
    side = drawn.shape[1]
    zoom = float(transform[0, 0]) * size / side
    middle = transform[:2, :2] @ np.full(2, size / 2, np.float32) + transform[:2, 2]
    unit = cameras.INPUT_RADIUS / float(cameras.intrinsics(side)[0, 0])
    local = np.array([(middle[0] - side / 2) * unit, (side / 2 - middle[1]) * unit, 0.0], np.float32)
    origin = cameras.Pose(elevation, 0.0)
    world = origin.matrix()[:3, :3] @ local
    out = np.empty_like(drawn)
    for j, pose in enumerate(cameras.neighbour_poses(origin)):
        (at,), _ = cameras.project(world[None], pose.matrix(), cameras.intrinsics(side))
        # OpenCV counts from the first pixel's centre.
        shift = at - zoom * (side / 2 - 0.5) - 0.5
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out[j] = cv2.warpAffine(drawn[j], matrix, (side, side), flags=flags, borderValue=(1, 1, 1, 0))
    return out


def _digest(generator: str) -> str:
    """What tells the views of one generator's weights from another's: its name and the start of a checksum."""
    from engine import choices, weights
    from engine.views import GENERATORS

    if generator in GENERATORS:
        choices.require("generator", generator)
        located = choices.find("generator", generator)
        assert located is not None
        path, name = located.path, generator
    else:
        path, name = weights.find(generator).path, "built-in"
    stated = weights.read_card(path).get("sha256") if path.suffix == ".safetensors" else None
    if stated is None and name == "built-in":
        stated = weights.sha256(path)
    # Published weights are too big to be read for this.
    told = stated or json.dumps([path.name, path.stat().st_size])
    return f"{name}-{hashlib.sha256(str(told).encode()).hexdigest()[:10]}"


def _stamp(model: RenderedModel) -> str:
    """Changes when one of the pictures that views are predicted from does."""
    try:
        states = [(model.folder / f"{name}.png").stat() for name in PRINCIPAL]
    except OSError as error:
        raise OrielError(f"{model.folder} has changed: {error}. Check the folder, and start again.") from error
    return hashlib.sha256(json.dumps([[s.st_size, s.st_mtime_ns] for s in states]).encode()).hexdigest()

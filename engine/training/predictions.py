"""Views that a generator predicts of rendered models, made once and kept: what the network will see in use.

From each of the 8 true principal views of a model the generator draws its four neighbours. It wants its input framed
(the silhouette centred, 75 % of the side), which a rendered view is not: there the model has the longest side 1 about
the origin. So the view is framed first, and what was drawn is moved back, as if seen by the rendering's cameras.
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
from engine.training.data import (
    PRINCIPAL,
    SOURCES,
    RenderedModel,
    Renders,
    over_white,
    read_depth,
    read_straight,
    resized,
)

if TYPE_CHECKING:
    from engine.views import ViewGenerator

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

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
        name, renders = PRINCIPAL[i], self.renders
        elevation, _, radius = (float(v) for v in cameras.spherical(renders.c2ws[name]))
        path = model.folder / f"{name}_depth_mm.png"
        depth = read_depth(path) if path.exists() else np.full(picture.shape[:2], radius, np.float32)
        placement = Placement.of(picture[..., 3] >= 128, depth, renders.intrinsics(len(picture)), radius)
        generator = self._get()
        # The built-in one draws a solid from anywhere. Diffusion models know little of other distances.
        offsets = placement.offsets(elevation, follow=generator.name == "built-in")
        drawn = generator.generate(framed.image, offsets, elevation=elevation, size=SIZE, cancel=cancel)
        return placement.unframe(drawn, offsets, elevation)

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


@dataclass(frozen=True)
class Placement:
    """Where a framed object stands, compared with the rendered one: a point p of the rendering, in the axes of its
    camera but about its origin, is at scale * p + shift, about the origin that the framed input's camera looks at."""

    scale: float
    shift: FloatArray
    """(3,) in the camera's axes."""
    focal: float
    """Of the rendering's cameras, in pixels for side `SIZE`."""
    radius: float
    """Distance of the rendering's cameras."""

    @classmethod
    def of(cls, mask: BoolArray, depth: FloatArray, k: FloatArray, radius: float) -> Placement:
        """From what the rendering's camera sees: silhouette and depth (S, S), intrinsics (3, 3) and distance.

        What lies at the four ends of the silhouette is to lie at the four sides of the frame. The middle of the
        object's depth is taken to be at the origin in both: of a rendered one the bounding box is.
        """
        sizes, scale, shift = [], 0.0, np.zeros(3)
        half = cameras.FRAME_FRACTION * cameras.REFERENCE_TANGENT
        ends = [_ends(mask, depth, k, axis) for axis in (0, 1)]
        for (low, high), (near_low, near_high) in ends:
            # (scale * low + shift) / (INPUT_RADIUS - scale * (radius - depth)) = -half, and the other end at half
            sizes.append(high - low + half * (2 * radius - near_low - near_high))
        scale = 2 * half * cameras.INPUT_RADIUS / max(sizes)
        for axis, ((low, high), depths) in enumerate(ends):
            q_low, q_high = (cameras.INPUT_RADIUS - scale * (radius - d) for d in depths)
            shift[axis] = -scale * (low * q_high + high * q_low) / (q_low + q_high)
        return cls(scale, shift.astype(np.float32), float(k[0, 0]) * SIZE / len(mask), radius)

    def offsets(self, elevation: float, *, follow: bool) -> FloatArray:
        """(4, 3) offsets of the neighbours, as generators take them; with `follow` at the distance at which the framed
        object looks as large as the rendered one."""
        origin = cameras.Pose(elevation, 0.0)
        found = cameras.offsets(cameras.neighbour_poses(origin), origin)
        if follow:
            found[:, 2] = self.scale * self.radius + self._towards(elevation) - cameras.INPUT_RADIUS
        return found

    def unframe(self, drawn: FloatArray, offsets: FloatArray, elevation: float) -> FloatArray:
        """Neighbours (4, SIZE, SIZE, 4) drawn at `offsets`, moved to where the rendering's own cameras see them.

        They are scaled and shifted as pictures, by what holds for the plane of the rendering's origin.
        """
        out = np.empty_like(drawn)
        k = cameras.intrinsics(SIZE)
        towards = self._towards(elevation)
        for j, (up, around, away) in enumerate(offsets):
            pose = cameras.Pose(elevation + float(up), float(around), cameras.INPUT_RADIUS + float(away))
            (at,), _ = cameras.project(self._origin(elevation)[None], pose.matrix(), k)
            zoom = cameras.REFERENCE_FOCAL / self.focal * self.scale * self.radius / (pose.radius - towards[j])
            # OpenCV counts from the first pixel's centre.
            move = at - zoom * (SIZE / 2 - 0.5) - 0.5
            matrix = np.array([[zoom, 0, move[0]], [0, zoom, move[1]]], np.float64)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            out[j] = cv2.warpAffine(drawn[j], matrix, (SIZE, SIZE), flags=flags, borderValue=(1, 1, 1, 0))
        return out

    def _origin(self, elevation: float) -> FloatArray:
        """(3,) the rendering's origin in the framed world."""
        return cameras.camera_to_world(elevation, 0.0)[:3, :3] @ self.shift

    def _towards(self, elevation: float) -> FloatArray:
        """(4,) how far it lies towards each neighbour's camera."""
        neighbours = cameras.neighbour_poses(cameras.Pose(elevation, 0.0))
        return np.stack([n.matrix()[:3, 2] for n in neighbours]) @ self._origin(elevation)


def _ends(
    mask: BoolArray, depth: FloatArray, k: FloatArray, axis: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both ends of a silhouette along an axis of the camera (0 right, 1 up): their places in world units, rising, and
    their depths."""
    index = np.nonzero(mask)[1 - axis]
    along = index.astype(np.float32) + 0.5 if axis == 0 else len(mask) - index - np.float32(0.5)
    values = depth[mask]
    rim = max(1.0, len(mask) / 128)
    places, depths = [], []
    for end in (along.min() - 0.5, along.max() + 0.5):
        at = values[(np.abs(along - end) <= rim) & (values > 0)]
        depths.append(float(np.median(at)) if len(at) else float(np.median(values)))
        middle = k[0, 2] if axis == 0 else len(mask) - k[1, 2]
        places.append(float((end - middle) / k[axis, axis]) * depths[-1])
    return (places[0], places[1]), (depths[0], depths[1])


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

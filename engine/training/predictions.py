"""Views that a generator predicts of rendered models, made once and kept: what the network will see in use.

From each of the 8 true principal views of a model the generator draws its four neighbours, as in One-2-3-45, or all 32
from one of them, as a reconstruction does. It wants its input framed
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

REFERENCES = (0, 5)
"""Principal views that whole sets are drawn from: one of each elevation. A further one takes as long again."""
SIZE = cameras.REFERENCE_SIZE
"""Side in pixels of the pictures that are kept."""


@dataclass
class Predictions:
    """Predicted neighbours of the principal views of rendered models: `folder`/<folder>/<uid>/view_{i}_{j}_10.png; of
    whole sets those from view r: `folder`/<folder>/<uid>/from_{r}/view_{i}_{j}_10.png."""

    renders: Renders
    generator: str
    """Name of a generator, or a file of weights of the built-in one's kind."""
    folder: Path
    _loaded: ViewGenerator | None = field(default=None, repr=False)
    whole: bool = False
    """Whether all 32 views are drawn from one of `REFERENCES`."""
    _seen: tuple[str, FloatArray | None] | None = field(default=None, repr=False)
    """The model that was looked at last, and points of it."""

    @classmethod
    def of(cls, renders: Renders, generator: str, cache: Path | None, out: Path, *, whole: bool = False) -> Predictions:
        """Those of a generator, kept in a folder of its weights' own: under `cache`, else in the folder of the renders,
        or under `out` if that cannot be written. `WeightsError` if the generator's weights are missing."""
        home = cache or (renders.folder if os.access(renders.folder, os.W_OK) else out)
        folder = f"predicted-{_digest(generator)}" + ("-one" if whole else "")
        return cls(renders, generator, home / folder, whole=whole)

    def reference(self, i: int) -> int:
        """The principal view that a whole set is drawn from for an example of view i."""
        return REFERENCES[i % len(REFERENCES)]

    def has(self, model: RenderedModel) -> bool:
        """Whether a model's views are there, made from what its pictures are now."""
        try:
            return (self.folder / model.key / "of.txt").read_text() == _stamp(model)
        except OSError:
            return False

    def view(self, model: RenderedModel, name: str, size: int, reference: int = 0) -> FloatArray:
        """(size, size, 4) predicted neighbour `view_{i}_{j}_10`: RGB over white, alpha the mask. Of whole sets the one
        from the principal view `reference`."""
        folder = self.folder / model.key / (f"from_{reference}" if self.whole else "")
        return resized(over_white(read_straight(folder / f"{name}.png")), size)

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
            for i in REFERENCES if self.whole else range(len(PRINCIPAL)):
                cancel.check()
                folder = work / f"from_{i}" if self.whole else work
                folder.mkdir(exist_ok=True)
                names = SOURCES if self.whole else SOURCES[4 * i : 4 * i + 4]
                for name, view in zip(names, self.predict(model, i, names, cancel), strict=True):
                    # Kept straight, as the true ones are.
                    alpha = view[..., 3:]
                    color = np.where(alpha > 0, (view[..., :3] - 1 + alpha) / np.maximum(alpha, 1e-3), 0)
                    straight = np.concatenate([color, alpha], -1).clip(0, 1)
                    picture = Image.fromarray((straight * 255).round().astype(np.uint8), "RGBA")
                    picture.save(folder / f"{name}.png", compress_level=3)
            (work / "of.txt").write_text(stamp)
            shutil.rmtree(target, ignore_errors=True)
            work.replace(target)
        except OSError as error:
            raise unwritable(target, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def predict(
        self, model: RenderedModel, i: int, names: Sequence[str], cancel: CancelToken | None = None
    ) -> FloatArray:
        """(N, SIZE, SIZE, 4) neighbours of these names drawn from principal view i, as the rendering's cameras would
        see them."""
        path = model.folder / f"{PRINCIPAL[i]}.png"
        picture = read_straight(path)
        try:
            framed = frame(picture, picture[..., 3].astype(np.float32) / 255, SIZE)
        except InputError:
            raise InputError(f"{path} shows nothing: no view can be predicted from it. Leave this model out.") from None
        name, renders = PRINCIPAL[i], self.renders
        elevation, azimuth, radius = (float(v) for v in cameras.spherical(renders.c2ws[name]))
        path = model.folder / f"{name}_depth_mm.png"
        depth = read_depth(path) if path.exists() else np.full(picture.shape[:2], radius, np.float32)
        mask, k = picture[..., 3] >= 128, renders.intrinsics(len(picture))
        placement = Placement.of(mask, depth, k, radius, self._middle(model, renders.c2ws[name]))
        generator = self._get()
        # The built-in one draws a solid from anywhere. Diffusion models know little of other distances.
        poses = [cameras.Pose(*(float(v) for v in cameras.spherical(renders.c2ws[view])[:2])) for view in names]
        offsets = cameras.offsets(poses, cameras.Pose(elevation, azimuth))
        offsets[:, 1] = (offsets[:, 1] + 180) % 360 - 180
        if generator.name == "built-in":
            offsets = placement.follow(offsets, elevation)
        drawn = generator.generate(framed.image, offsets, elevation=elevation, size=SIZE, cancel=cancel)
        return placement.unframe(drawn, offsets, elevation)

    def _middle(self, model: RenderedModel, c2w: FloatArray) -> float:
        """The middle of a model's depth range as a camera sees it, from the origin towards it; 0 without depths."""
        if self._seen is None or self._seen[0] != model.key:
            points = self.renders.surface_points(model, 20000, np.random.default_rng(0))
            self._seen = (model.key, points)
        points = self._seen[1]
        if points is None:
            return 0.0
        towards = points @ c2w[:3, 2]
        return float(towards.min() + towards.max()) / 2

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
    def of(cls, mask: BoolArray, depth: FloatArray, k: FloatArray, radius: float, middle: float = 0.0) -> Placement:
        """From what the rendering's camera sees: silhouette and depth (S, S), intrinsics (3, 3) and distance.

        What lies at the four ends of the silhouette is to lie at the four sides of the frame. The middle of the
        object's depth range, `middle` nearer to the camera than the rendering's origin, is to be at the framed one's.
        """
        sizes, scale, shift = [], 0.0, np.zeros(3)
        away = radius - middle
        half = cameras.FRAME_FRACTION * cameras.REFERENCE_TANGENT
        ends = [_ends(mask, depth, k, axis) for axis in (0, 1)]
        for (low, high), (near_low, near_high) in ends:
            # (scale * low + shift) / (INPUT_RADIUS - scale * (away - depth)) = -half, and the other end at half
            sizes.append(high - low + half * (2 * away - near_low - near_high))
        scale = 2 * half * cameras.INPUT_RADIUS / max(sizes)
        for axis, ((low, high), depths) in enumerate(ends):
            q_low, q_high = (cameras.INPUT_RADIUS - scale * (away - d) for d in depths)
            shift[axis] = -scale * (low * q_high + high * q_low) / (q_low + q_high)
        shift[2] = -scale * middle
        return cls(scale, shift.astype(np.float32), float(k[0, 0]) * SIZE / len(mask), radius)

    def follow(self, offsets: FloatArray, elevation: float) -> FloatArray:
        """Offsets (N, 3), as generators take them, at the distance at which the framed object looks as large as the
        rendered one."""
        found = offsets.copy()
        found[:, 2] = self.scale * self.radius + self._towards(offsets, elevation) - cameras.INPUT_RADIUS
        return found

    def unframe(self, drawn: FloatArray, offsets: FloatArray, elevation: float) -> FloatArray:
        """Views (N, SIZE, SIZE, 4) drawn at `offsets` (N, 3), moved to where the rendering's own cameras see them.

        They are scaled and shifted as pictures, by what holds for the plane of the rendering's origin.
        """
        out = np.empty_like(drawn)
        k = cameras.intrinsics(SIZE)
        towards = self._towards(offsets, elevation)
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

    def _towards(self, offsets: FloatArray, elevation: float) -> FloatArray:
        """(N,) how far it lies towards each view's camera."""
        c2ws = cameras.camera_to_world(elevation + offsets[:, 0], offsets[:, 1])
        return c2ws[:, :3, 2] @ self._origin(elevation)


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

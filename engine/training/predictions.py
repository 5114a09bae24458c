"""Views that a generator predicts of rendered models, made once and kept: what the network will see in use.

From each of the 8 true principal views of a model the generator draws its four neighbours, as in One-2-3-45, or all 32
from one of them, as a reconstruction does. It wants its input framed (the silhouette centred, 75 % of the side), which
a rendered view is not: there the model has the longest side 1 about the origin. So the view is framed first, and what
was drawn is moved back, as if seen by the rendering's cameras. A whole set is then brought to the true model's size and
place, as an evaluation aligns a prediction: else training would pay for a solid that is somewhat too small, too near or
too high by inflating it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras, choices
from engine.core.errors import InputError, OrielError
from engine.core.files import unwritable
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.imaging import frame
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
VERSION = 2
"""Of how these views are made: those made otherwise are not used."""
FRAMINGS = 12
"""Rounds in which the place of a framed object is found: perspective makes it implicit."""
REGISTRATIONS = 3
"""Rounds in which a whole set is brought to the true model's size and place."""


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
        folder = f"predicted-{_digest(generator)}-{'whole' if whole else 'each'}-{VERSION}"
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
        elevation = renders.elevation(name)
        path = model.folder / f"{name}_depth_mm.png"
        depth = read_depth(path) if path.exists() else np.zeros(picture.shape[:2], np.float32)
        mask, k = picture[..., 3] >= 128, renders.intrinsics(len(picture))
        middle = self._middle(model, renders.c2ws[name])
        placement = Placement.of(mask, depth, k, renders.c2ws[name], middle)
        generator = self._get()
        c2ws = np.stack([renders.c2ws[view] for view in names])
        offsets = placement.offsets(c2ws)
        if generator.name not in (choices.METHODS["field"].generators or ()):
            offsets[:, 2] = 0  # a solid is drawn from anywhere; diffusion models know of one distance
        drawn = generator.generate(framed.image, offsets, elevation=elevation, size=SIZE, cancel=cancel)
        if self.whole:
            placement = self._register(model, placement, drawn, offsets)
        return placement.unframe(drawn, offsets, c2ws)

    def _register(
        self, model: RenderedModel, placement: Placement, drawn: FloatArray, offsets: FloatArray
    ) -> Placement:
        """The placement at which a whole set's silhouettes have the areas and the middles of the true ones."""
        c2ws = self.renders.c2ws
        sources = np.stack([c2ws[name] for name in SOURCES])
        true = [_extent(self.renders.view(model, name, SIZE)) for name in PRINCIPAL]
        # A camera's right and down, as directions in the axes of the reference's.
        axes = [(c2ws[n][:3, :2].T @ placement.camera[:3, :3]) * [[1], [-1]] for n in PRINCIPAL]
        for _ in range(REGISTRATIONS):
            views = placement.unframe(drawn, offsets, sources)
            # The four neighbours of a principal view lie around it.
            seen = [np.mean([_extent(v) for v in views[4 * i : 4 * i + 4]], 0) for i in range(len(PRINCIPAL))]
            both = [(t, s, axis) for t, s, axis in zip(true, seen, axes, strict=True) if t[0] and s[0]]
            if not both:
                break
            grow = float(np.exp(np.mean([np.log(t[0] / s[0]) for t, s, _ in both]) / 2))
            off = np.concatenate([t[1:] - SIZE / 2 - grow * (s[1:] - SIZE / 2) for t, s, _ in both])
            away = float(np.linalg.norm(placement.camera[:3, 3]))
            move = np.linalg.lstsq(np.concatenate([axis for *_, axis in both]), off * away / placement.focal)[0]
            scale = placement.scale / grow
            placement = replace(placement, scale=scale, shift=(placement.shift - scale * move).astype(np.float32))
        return placement

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
        from engine.views import load_generator

        if self._loaded is None:
            named = self.generator in choices.GENERATORS
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
    camera: FloatArray
    """(4, 4) of the rendering, that the framed picture was taken with."""

    @classmethod
    def of(
        cls, mask: BoolArray, depth: FloatArray, k: FloatArray, camera: FloatArray, middle: float = 0.0
    ) -> Placement:
        """From what a camera (4, 4) of the rendering sees: silhouette and depth (S, S), with intrinsics (3, 3). Without
        any depth above 0 all of it counts as being as far as the rendering's origin.

        Framed, the silhouette is centred and its longer side takes `FRAME_FRACTION` of the picture's. The middle of the
        object's depth range, `middle` nearer to the camera than the rendering's origin, is to be at the framed one's.
        """
        rows, columns = np.nonzero(mask & (depth > 0))
        if not len(rows):
            rows, columns = np.nonzero(mask)
            depth = np.full(mask.shape, np.linalg.norm(camera[:3, 3]), np.float32)
        along = np.tile(depth[rows, columns], 4).astype(np.float64)
        corners = [(columns + right, rows + down) for right in (0, 1) for down in (0, 1)]
        x, y = (np.concatenate(values) for values in zip(*corners, strict=True))
        away = float(np.linalg.norm(camera[:3, 3])) - along
        points = np.stack([(x - k[0, 2]) / k[0, 0] * along, (k[1, 2] - y) / k[1, 1] * along, away], -1)
        side = 2 * cameras.FRAME_FRACTION * cameras.REFERENCE_TANGENT
        scale, shift = 1.0, np.zeros(3)
        for _ in range(FRAMINGS):
            at = scale * points + shift
            seen = at[:, :2] / np.maximum(cameras.INPUT_RADIUS - at[:, 2:], 0.1)
            low, high = seen.min(0), seen.max(0)
            scale *= side / float((high - low).max())
            shift[:2] -= (low + high) / 2 * cameras.INPUT_RADIUS
            shift[2] = -scale * middle
        return cls(scale, shift.astype(np.float32), float(k[0, 0]) * SIZE / len(mask), camera)

    def offsets(self, c2ws: FloatArray) -> FloatArray:
        """Offsets (N, 3), as generators take them, of where cameras (N, 4, 4) of the rendering stand."""
        elevation, azimuth, radius = cameras.spherical(self._framed(c2ws)[0])
        around = (azimuth + 180) % 360 - 180
        return np.stack([elevation - self._elevation, around, radius - cameras.INPUT_RADIUS], -1).astype(np.float32)

    def unframe(self, drawn: FloatArray, offsets: FloatArray, c2ws: FloatArray) -> FloatArray:
        """Views (N, SIZE, SIZE, 4) drawn at `offsets` (N, 3) as cameras (N, 4, 4) of the rendering see them.

        Exact where the two stand in the same place, as both then see the same rays; else by what holds for the plane
        of the rendering's origin.
        """
        out = np.empty_like(drawn)
        wanted, origin = self._framed(c2ws)
        flip = np.diag([1.0, -1, -1])  # from OpenGL's axes to those that intrinsics are for
        k = np.array([[self.focal, 0, SIZE / 2], [0, self.focal, SIZE / 2], [0, 0, 1]])
        k_drawn = cameras.intrinsics(SIZE).astype(np.float64)
        centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts from the first pixel's centre
        for j, (up, around, away) in enumerate(offsets.astype(np.float64)):
            elevation, radius = self._elevation + up, cameras.INPUT_RADIUS + away
            there = cameras.camera_to_world(elevation, around, radius).astype(np.float64)
            at, normal = wanted[j, :3, 3], wanted[j, :3, 2]
            # A ray meets the plane at `at` + r * (normal . (origin - at)) / (normal . r).
            seen = np.outer(at - there[:3, 3], normal) + np.eye(3) * (normal @ (origin - at))
            matrix = k_drawn @ flip @ there[:3, :3].T @ seen @ wanted[j, :3, :3] @ flip @ np.linalg.inv(k)
            matrix = np.linalg.inv(centre) @ matrix @ centre
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            out[j] = cv2.warpPerspective(drawn[j], matrix, (SIZE, SIZE), flags=flags, borderValue=(1, 1, 1, 0))
        return out

    @property
    def _elevation(self) -> float:
        return float(cameras.spherical(self.camera)[0])

    def _framed(self, c2ws: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Cameras (N, 4, 4) of the rendering and its origin (3,) in the framed world."""
        # Both worlds stand upright; the framed one is turned so that the input's camera is at azimuth 0.
        axes = cameras.camera_to_world(self._elevation, 0.0)[:3, :3].astype(np.float64)
        turn = axes @ self.camera[:3, :3].T.astype(np.float64)
        origin = axes @ self.shift.astype(np.float64)
        found = np.tile(np.eye(4), (len(c2ws), 1, 1))
        found[:, :3, :3] = turn @ c2ws[:, :3, :3]
        found[:, :3, 3] = self.scale * c2ws[:, :3, 3] @ turn.T + origin
        return found, origin


def _extent(view: FloatArray) -> FloatArray:
    """(3,) area and middle (x, y) in pixels of the silhouette of a view (S, S, 4); zeros if there is none."""
    rows, columns = np.nonzero(view[..., 3] >= 0.5)
    if not len(rows):
        return np.zeros(3, np.float32)
    return np.array([len(rows), columns.mean() + 0.5, rows.mean() + 0.5], np.float32)


def _digest(generator: str) -> str:
    """What tells the views of one generator's weights from another's: its name and the start of a checksum."""
    from engine import weights

    if generator in choices.GENERATORS:
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

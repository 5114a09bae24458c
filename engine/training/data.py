"""Rendered models as training examples: what is in a folder, whether it is whole, and one batch of rays at a time.

A folder is one that `engine.rendering` made, or One-2-3-45's published training set: both have

    zero12345_narrow/<folder>/<uid>/view_{i}.png, view_{i}_{j}_10.png, view_{i}_depth_mm.png
    One2345_training_pose.json
    lvis_split_cc_by.json            may be missing: then a split is drawn

Nothing is loaded before it is needed; an example is a function of the seed and its place in the order alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.core.errors import InputError
from engine.core.files import read_object
from engine.meshes.mesh import Mesh

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

DATA, POSES, SPLIT = "zero12345_narrow", "One2345_training_pose.json", "lvis_split_cc_by.json"
VALIDATION = 50
"""Models of a drawn split that are held out; of fewer than ten times as many, a tenth."""
RIM = 1 / 32
"""How far beyond the object's edge importance sampling reaches, in sides of the picture."""
PRINCIPAL = tuple(cameras.principal_name(i) for i in range(8))
SOURCES = tuple(cameras.source_name(i) for i in range(32))
TRUE_SIDE = 96
"""Pixels along a side of the depth maps that a true shape is made of: more would make a viewport slow."""
STEEPEST = 6.0
"""Change of depth between two pixels, in their distance, beyond which there is an edge and not a slope."""
_PNG, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_SHOWN = 5


@dataclass(frozen=True)
class RenderedModel:
    """One model of a folder."""

    key: str
    """`<folder>/<uid>`."""
    folder: Path


@dataclass(frozen=True)
class Target:
    """A true principal view, at its full size."""

    color: FloatArray
    """(S, S, 3) over white."""
    mask: BoolArray
    """(S, S) where the object is: where it has a depth, or where no depth was rendered, where it is opaque."""
    depth: FloatArray | None
    """(S, S) along the viewing axis in world units, 0 where nothing is."""


@dataclass(frozen=True)
class Example:
    """One batch: 32 source views of a model, and rays of a true view that none of them is."""

    key: str
    views: FloatArray
    """(32, s, s, 4) RGB over white, alpha the mask; the neighbours of the reference view come first."""
    c2ws: FloatArray
    """(32, 4, 4)."""
    k: FloatArray
    """(3, 3) for side s."""
    sources: npt.NDArray[np.int64]
    """Rising indices of the views that features are taken from."""
    camera: FloatArray
    """(4, 4) of the true view."""
    camera_k: FloatArray
    """(3, 3) in its pixels."""
    pixels: npt.NDArray[np.int64]
    """(N, 2) x, y of the rays."""
    color: FloatArray
    """(N, 3)."""
    mask: BoolArray
    """(N,)."""
    depth: FloatArray | None
    """(N,) 0 where nothing is."""
    importance: FloatArray
    """(N,) weights of mean 1 with which the rays count as if they were spread evenly over the picture."""
    seed: int
    """For what else is drawn."""


@dataclass(frozen=True)
class Renders:
    """A folder of rendered models, checked."""

    folder: Path
    train: tuple[RenderedModel, ...]
    validation: tuple[RenderedModel, ...]
    c2ws: dict[str, FloatArray]
    """Camera (4, 4) by file stem, OpenGL axes, world Z up."""
    k: FloatArray
    """(3, 3) for a picture of side 1."""
    size: int
    """Side of the pictures in pixels."""
    problems: tuple[str, ...] = ()
    """What is wrong with the models that were left out."""

    @classmethod
    def open(
        cls, folder: Path, *, neighbours: bool = True, depth: bool = False, skip_faulty: bool = False, seed: int = 0
    ) -> Renders:
        """Read the poses and the split and look at every model's files.

        `neighbours` and `depth` say whether those pictures are needed. Raises `InputError` that names what is missing
        or damaged: in any model, or with `skip_faulty` if no training model is left.
        """
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Give one that `oriel render run` has made.")
        c2ws, k = _poses(folder / POSES)
        found = _models(folder / DATA)
        if not found:
            raise InputError(
                f"There are no models in {folder / DATA}. Render some into {folder} with `oriel render run`, or give "
                "the folder that has it."
            )
        train, validation, problems = _split(folder / SPLIT, found, seed)
        stems = [(name, False) for name in PRINCIPAL] + [(name, False) for name in SOURCES if neighbours]
        stems += [(f"{name}_depth_mm", True) for name in PRINCIPAL if depth]
        size = _common_size(found.values())
        whole: dict[str, bool] = {}
        for model in (*train, *validation):
            faults = [fault for stem, grey in stems if (fault := _fault(model.folder / f"{stem}.png", size, grey))]
            whole[model.key] = not faults
            problems += [f"{model.key}/{fault}" for fault in faults]
        if problems and not skip_faulty:
            more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise InputError(
                f"{folder} is not whole: {'; '.join(problems[:_SHOWN])}{more}.",
                advice="Render these models again, or leave them out{}.",
                options=[" with --skip-faulty"],
            )
        train, validation = ([m for m in part if whole[m.key]] for part in (train, validation))
        if not train:
            raise InputError(
                f"{folder} has no whole model to train on ({'; '.join(problems[:_SHOWN]) or 'its split names none'}). "
                "Render more models into it."
            )
        return cls(folder, tuple(train), tuple(validation), c2ws, k, size, tuple(problems))

    def intrinsics(self, size: int) -> FloatArray:
        """(3, 3) for pictures of a side."""
        return np.asarray(self.k * np.array([[size], [size], [1]]), np.float32)

    def elevation(self, name: str) -> float:
        """Degrees above the horizon that a view was taken from."""
        return float(cameras.spherical(self.c2ws[name])[0])

    def view(self, model: RenderedModel, name: str, size: int) -> FloatArray:
        """(size, size, 4) picture of the folder: RGB over white, alpha the mask. `InputError` if it is damaged."""
        return resized(_read_rgba(model.folder / f"{name}.png"), size)

    def target(self, model: RenderedModel, name: str) -> Target:
        """A principal view to compare with. `InputError` if a picture of it is damaged."""
        rgba = _read_rgba(model.folder / f"{name}.png")
        path = model.folder / f"{name}_depth_mm.png"
        depth = read_depth(path) if path.exists() else None
        if depth is not None and depth.shape != rgba.shape[:2]:
            raise InputError(f"{path} is {depth.shape[1]} pixels wide, its picture {rgba.shape[1]}. Render it again.")
        mask = rgba[..., 3] >= 0.5 if depth is None else depth > 0
        return Target(np.ascontiguousarray(rgba[..., :3]), mask, depth)

    def surface_points(self, model: RenderedModel, count: int, rng: np.random.Generator) -> FloatArray | None:
        """(count, 3) world points on what the principal views see, even in their pixels; None without depth."""
        points = []
        for name in PRINCIPAL:
            path = model.folder / f"{name}_depth_mm.png"
            depth = read_depth(path) if path.exists() else np.zeros((0, 0), np.float32)
            rows, columns = np.nonzero(depth)
            if len(rows):
                pixels = np.stack([columns, rows], -1) + np.float32(0.5)
                origin, rays = cameras.pixel_rays(self.c2ws[name], self.intrinsics(len(depth)), pixels)
                points.append(origin + rays * depth[rows, columns, None])
        if not points:
            return None
        together = np.concatenate(points)
        return together[rng.integers(0, len(together), count)].astype(np.float32)

    def true_surface(self, model: RenderedModel) -> Mesh | None:
        """What the principal views see of a model, from their depth maps, with colours; None without depth."""
        points, faces, colors, start = [], [], [], 0
        for name in PRINCIPAL:
            target = self.target(model, name)
            if target.depth is None:
                return None
            thin = max(1, len(target.depth) // TRUE_SIDE)
            depth, color = target.depth[::thin, ::thin], target.color[::thin, ::thin]
            side = len(depth)
            k = self.intrinsics(len(target.depth))
            rows, columns = np.mgrid[:side, :side]
            pixels = np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float32) * thin + np.float32(0.5)
            origin, rays = cameras.pixel_rays(self.c2ws[name], k, pixels)
            index = np.arange(side * side).reshape(side, side)
            corners = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
            far = depth.reshape(-1)[corners]
            flat = np.ptp(far, axis=1) < STEEPEST * thin * far.max(1) / k[0, 0]
            corners = corners[(far > 0).all(1) & flat]
            used, renumbered = np.unique(corners, return_inverse=True)
            corners = renumbered.reshape(-1, 4) + start
            start += len(used)
            points.append((origin + rays * depth.reshape(-1, 1))[used])
            colors.append(color.reshape(-1, 3)[used])
            faces += [corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]
        if not start:
            return None
        return Mesh(
            np.concatenate(points).astype(np.float32),
            np.concatenate(faces).astype(np.int32),
            colors=(np.concatenate(colors).clip(0, 1) * 255).round().astype(np.uint8),
        )


# -- reading -------------------------------------------------------------------------------------------------


def resized(picture: FloatArray, size: int) -> FloatArray:
    """A picture (S, S, 4) over white at another size, averaged when reduced."""
    if len(picture) == size:
        return picture
    method = cv2.INTER_AREA if size < len(picture) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.float32)


def over_white(rgba: npt.NDArray[np.uint8]) -> FloatArray:
    """Straight 8-bit RGBA (S, S, 4) as floats in 0..1, RGB over white."""
    picture = rgba.astype(np.float32) / np.float32(255)
    picture[..., :3] = picture[..., :3] * picture[..., 3:] + 1 - picture[..., 3:]
    return picture


def read_straight(path: Path) -> npt.NDArray[np.uint8]:
    """A picture as straight RGBA (S, S, 4); opaque ones get the mask that their white background says."""
    try:
        with Image.open(path) as image:
            if image.mode == "RGBA":
                return np.asarray(image)
            rgb = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"The picture {path} cannot be read ({error}). Render its model again.") from error
    from engine.views.zero123.generator import with_mask

    return (with_mask(rgb) * 255).round().astype(np.uint8)


def _read_rgba(path: Path) -> FloatArray:
    return over_white(read_straight(path))


def read_depth(path: Path) -> FloatArray:
    """Depth (S, S) in world units of a 16-bit picture in millimetres, 0 where nothing is."""
    try:
        with Image.open(path) as image:
            return np.asarray(image, np.float32) / np.float32(1000)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"The depth {path} cannot be read ({error}). Render its model again.") from error


# -- what is there -------------------------------------------------------------------------------------------


def _poses(path: Path) -> tuple[dict[str, FloatArray], FloatArray]:
    content = read_object(path)
    if content is None:
        raise InputError(
            f"{path} is missing or damaged: it says where the cameras stood. Render into the folder again."
        )
    names = [*PRINCIPAL, *SOURCES]
    try:
        given = dict(content["c2ws"])
        if not set(names) <= set(given):
            if len(given) != len(names):
                lacking = [name for name in names if name not in given]
                raise ValueError(f"it lacks {', '.join(lacking[:3])}")
            given = dict(zip(names, given.values(), strict=True))  # the published loader goes by the order as well
        c2ws = {}
        for name in names:
            matrix = np.eye(4, dtype=np.float32)
            rows = np.asarray(given[name], np.float32)
            if rows.shape not in ((4, 4), (3, 4)) or not np.isfinite(rows).all():
                raise ValueError(f"the camera of {name} is no 4 x 4 matrix")
            matrix[: len(rows)] = rows
            c2ws[name] = matrix
        k = np.asarray(content["intrinsics"], np.float32)[:3, :3]
        if k.shape != (3, 3) or not (k[[0, 1], [0, 1]] > 0).all() or not (k[:2, 2] > 0).all():
            raise ValueError("its intrinsics are no 3 x 3 matrix of a camera")
    except (KeyError, TypeError, ValueError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} cannot be used: {what}. Render into the folder again.") from None
    # The principal point is the picture's middle.
    return c2ws, np.asarray(k / np.array([[2 * k[0, 2]], [2 * k[1, 2]], [1]]), np.float32)


def _models(folder: Path) -> dict[str, RenderedModel]:
    parts = sorted(p for p in folder.glob("*") if p.is_dir() and not p.name.startswith("."))
    found = [m for part in parts for m in sorted(part.iterdir()) if m.is_dir() and not m.name.startswith(".")]
    models = [RenderedModel(f"{path.parent.name}/{path.name}", path) for path in found]
    return {model.key: model for model in models}


def _split(
    path: Path, found: dict[str, RenderedModel], seed: int
) -> tuple[list[RenderedModel], list[RenderedModel], list[str]]:
    """Training and validation models, and which ones the split names that are not there."""
    if not path.exists():
        train, held = draw_split(list(found), seed)
        return [found[key] for key in train], [found[key] for key in held], []
    content = read_object(path)
    parts = [_keys(content.get(name)) if content else None for name in ("train", "val")]
    if parts[0] is None or parts[1] is None:
        raise InputError(
            f"{path} is damaged: it is to list the models `train` and `val`. Remove it to draw a new split."
        )
    both = set(parts[0]) & set(parts[1])
    if both:
        raise InputError(f"{path} has {min(both)} for training and for validation. Correct it, or remove it.")
    missing = [f"{key} is in the split but not there" for part in parts if part for key in part if key not in found]
    chosen = [[found[key] for key in part if key in found] for part in parts if part is not None]
    return chosen[0], chosen[1], missing


def _keys(entries: Any) -> list[str] | None:
    """Keys of a split's entries: {"folder_id", "uid"} as published, a pair, or `folder/uid`."""
    if not isinstance(entries, list):
        return None
    keys = []
    for entry in entries:
        if isinstance(entry, dict):
            entry = (entry.get("folder_id"), entry.get("uid"))
        key = "/".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
        keys.append(key)
    return keys


def draw_split(keys: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Keys for training and for validation, each rising, drawn by `seed`."""
    order = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    count = VALIDATION if len(keys) >= 10 * VALIDATION else max(len(keys) // 10, 1 if len(keys) > 1 else 0)
    return sorted(order[count:]), sorted(order[:count])


def _common_size(models: Any) -> int:
    """The side in pixels that most first views have."""
    sides: dict[int, int] = {}
    for model in models:
        head = _head(model.folder / f"{PRINCIPAL[0]}.png")
        if head is not None:
            sides[head[0]] = sides.get(head[0], 0) + 1
    return max(sides, key=lambda side: sides[side], default=0)


def _head(path: Path) -> tuple[int, int, int, int] | None:
    """Width, height, bits and colour type of a PNG; None if it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:
        return None
    if len(head) < 26 or not head.startswith(_PNG):
        return None
    width, height, bits, color = struct.unpack(">IIBB", head[16:26])
    return width, height, bits, color


def _fault(path: Path, size: int, grey: bool) -> str | None:
    """What is wrong with a picture, judged by its two ends; None if nothing is."""
    if not path.exists():
        return f"{path.name} is missing"
    head = _head(path)
    if head is None:
        return f"{path.name} is no PNG"
    if head[:2] != (size, size):
        return f"{path.name} is {head[0]} x {head[1]} pixels, not {size} x {size}"
    if grey and head[2:] != (16, 0):
        return f"{path.name} has {head[2]} bits a pixel, not 16 bits of grey"
    with path.open("rb") as file:
        file.seek(-min(len(_END), path.stat().st_size), 2)
        return None if file.read() == _END else f"{path.name} is cut short"


# -- examples ------------------------------------------------------------------------------------------------


def pick_pixels(
    mask: BoolArray, count: int, foreground_share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """(count, 2) pixels (x, y): that share from the mask (S, S) and its rim, the others from the whole picture; and
    their importance (count,), even over even chance, of mean 1. Without it what is left out of the mask would cost more
    than what is put in beside it, and a network that is in doubt would learn to inflate."""
    size = len(mask)
    anywhere = rng.integers(0, size, (count, 2))
    reach = max(1, round(RIM * size))
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    rows, columns = np.nonzero(wide)
    wanted = round(count * foreground_share)
    if len(rows) and wanted:
        chosen = rng.integers(0, len(rows), wanted)
        anywhere[:wanted] = np.stack([columns[chosen], rows[chosen]], -1)
    else:
        wanted = 0
    rim = wide[anywhere[:, 1], anywhere[:, 0]] > 0
    importance = 1 / ((count - wanted) / size**2 + rim * (wanted / max(len(rows), 1)) + 1e-9)
    return anywhere, (importance / importance.mean()).astype(np.float32)


@dataclass
class Examples:
    """The examples of a run in their order: every view of every model once an epoch, shuffled anew each time."""

    renders: Renders
    models: Sequence[RenderedModel]
    size: int
    """Side in pixels of the source views."""
    rays: int
    foreground_share: float
    sources: int
    predicted_share: float
    predictions: Any = None
    """`Predictions`, if any are mixed in. Where they are drawn from one view, the share counts examples."""
    seed: int = 0
    _order: tuple[int, npt.NDArray[np.int64]] | None = field(default=None, repr=False)

    @property
    def per_epoch(self) -> int:
        """Examples of an epoch."""
        return len(self.models) * len(PRINCIPAL)

    def at(self, position: int, attempt: int = 0) -> Example:
        """The example at a place in the order; another `attempt` draws other rays."""
        epoch, index = divmod(position, self.per_epoch)
        order = self._order
        if order is None or order[0] != epoch:
            order = (epoch, np.random.default_rng([self.seed, 17, epoch]).permutation(self.per_epoch))
            self._order = order  # whole or not at all: threads read it
        which, reference = divmod(int(order[1][index]), len(PRINCIPAL))
        rng = np.random.default_rng([self.seed, 19, position, attempt])
        return self.make(self.models[which], reference, int(rng.integers(len(PRINCIPAL))), rng)

    def make(self, model: RenderedModel, reference: int, target: int, rng: np.random.Generator) -> Example:
        """An example of a model: source views turned so that those of view `reference` come first."""
        predicted = rng.random(len(PRINCIPAL)) < self.predicted_share
        if self.predictions is not None and self.predictions.whole:
            predicted[:] = predicted[0]
            reference = self.predictions.reference(reference)
        order = [(reference + turn) % len(PRINCIPAL) for turn in range(len(PRINCIPAL))]
        names = [SOURCES[4 * i + j] for i in order for j in range(4)]
        views = [
            self.predictions.view(model, name, self.size, reference)
            if self.predictions is not None and predicted[order[n // 4]]
            else self.renders.view(model, name, self.size)
            for n, name in enumerate(names)
        ]
        true = self.renders.target(model, PRINCIPAL[target])
        pixels, importance = pick_pixels(true.mask, self.rays, self.foreground_share, rng)
        at = (pixels[:, 1], pixels[:, 0])
        return Example(
            model.key,
            np.stack(views),
            np.stack([self.renders.c2ws[name] for name in names]),
            self.renders.intrinsics(self.size),
            np.sort(rng.permutation(len(names))[: self.sources]),
            self.renders.c2ws[PRINCIPAL[target]],
            self.renders.intrinsics(len(true.mask)),
            pixels,
            true.color[at],
            true.mask[at],
            None if true.depth is None else true.depth[at],
            importance,
            int(rng.integers(2**31)),
        )

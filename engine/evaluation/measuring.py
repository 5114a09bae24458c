"""All measures of one model's predictions: what a worker does. Everything in and out travels between machines."""

from __future__ import annotations

import functools
import io
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.core.errors import Cancelled, OrielError
from engine.evaluation.alignment import Alignment, align
from engine.evaluation.clip import ClipSimilarity, mean_cosine
from engine.evaluation.details import color_sums, frequency_sums
from engine.evaluation.geometry import MeshSolid, Surface, overlap, surface_figures
from engine.evaluation.likeness import Likeness
from engine.evaluation.lpips import Lpips
from engine.evaluation.pairs import Model, Prediction
from engine.evaluation.pictures import POSES, Shape, draw_shape, hidden_points, outer_points, read_shape
from engine.evaluation.views import mask_iou, psnr, ssim
from engine.meshes.companions import read_files

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SAMPLES = 20_000
"""Points of each surface for F-score and Chamfer distance."""
SHOWN = (cameras.Pose(20.0, 35.0, 1.75), cameras.Pose(20.0, 215.0, 1.75))
"""Cameras of the pictures on the report's page."""
_THUMBNAIL = 200
_UNLIT = POSES[::4]
"""Cameras of the pictures without light."""
_PICTURE_METRICS = {"clip", "psnr", "ssim", "lpips", "likeness", "mask_iou"}
_SURFACE_METRICS = {"f_score", "far_f_score", "chamfer", "normal_consistency"}


@dataclass(frozen=True)
class Settings:
    """What is measured, and with what."""

    metrics: tuple[str, ...]
    """Keys of `METRICS`."""
    clip: Path | None = None
    """Weights for `clip`."""
    lpips: Path | None = None
    """Weights for `lpips`."""
    up: tuple[str, ...] = ("+z",)
    """Axes of the predictions that may point up."""


@dataclass
class Measured:
    """What came of one prediction."""

    label: str
    name: str
    figures: dict[str, float]
    """By metric; empty where there is a problem."""
    alignment: dict[str, Any] | None
    """`matrix` (4x4, from the prediction's file to the true model's, both Z up), `scale` and `inliers`."""
    details: dict[str, list[list[float]]]
    """`frequency` and `colors`: sums, see `engine.evaluation.details`."""
    problem: str | None
    """Why it could not be measured."""
    notes: list[str]
    pictures: dict[str, bytes]
    """JPEG by name: `input`, `views`, `mesh`, `truth`."""
    seconds: float = 0.0


def measure_model(
    model: Model,
    predictions: list[Prediction],
    settings: Settings,
    contents: Mapping[str, bytes] | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Measured] | None:
    """Measure the predictions of a model; a problem with one of them is told in its place.

    None where this machine does not see the files; it is to be called again with `contents` as `pack` gives them.
    `check` is called often and may raise, to cancel.
    """
    if contents is not None:
        with tempfile.TemporaryDirectory(prefix="oriel-evaluate-") as folder:
            for name, content in contents.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            moved = [replace(p, path=Path(folder) / _sent(contents, str(i), p.path)) for i, p in enumerate(predictions)]
            case = replace(model.case, picture=_moved_picture(model, Path(folder)))
            there = replace(model, path=Path(folder) / _sent(contents, "model", model.path), case=case)
            return measure_model(there, moved, settings, None, check)
    if not all(path.exists() for path in (model.path, *(p.path for p in predictions))):
        return None
    try:
        truth = _Truth(model, settings, check)
    except Cancelled:
        raise
    except Exception as error:
        return [failed(p, f"The true model cannot be measured: {_words(error)}") for p in predictions]
    found = []
    for prediction in predictions:
        start = time.perf_counter()
        try:
            measured = _measure(truth, prediction, settings, check)
        except Cancelled:
            raise
        except Exception as error:
            measured = failed(prediction, _words(error))
        measured.seconds = time.perf_counter() - start
        measured.pictures |= {"truth": truth.thumbnail} | _given_pictures(model, prediction)
        found.append(measured)
    return found


def pack(model: Model, predictions: list[Prediction]) -> dict[str, bytes]:
    """The files of a model and its predictions, for a machine that does not see them."""
    found: dict[str, bytes] = {}

    def add(folder: str, path: Path) -> None:
        if path.is_dir():
            for name in ("run.json", "elevation.json", "mesh.npz", "surface.npz"):
                if (path / name).is_file():
                    found[f"{folder}/{path.name}/{name}"] = (path / name).read_bytes()
            for inside in (*sorted(path.glob("input.*"))[:1], *sorted(path.glob("views/view_?.png"))[:4]):
                found[f"{folder}/{path.name}/{inside.relative_to(path).as_posix()}"] = inside.read_bytes()
            return
        found.update((f"{folder}/{name}", content) for name, content in read_files(path).items())

    add("model", model.path)
    if model.case.picture is not None and model.case.picture.is_file():
        found[f"picture/{model.case.picture.name}"] = model.case.picture.read_bytes()
    for i, prediction in enumerate(predictions):
        add(str(i), prediction.path)
    return found


def _sent(contents: Mapping[str, bytes], part: str, path: Path) -> str:
    """Where a model or run lies among the files of its part, of which a model's own comes first."""
    names = (name for name in contents if name.startswith(f"{part}/") and name.endswith(f"/{path.name}"))
    return next(names, f"{part}/{path.name}")


def _moved_picture(model: Model, folder: Path) -> Path | None:
    return None if model.case.picture is None else folder / "picture" / model.case.picture.name


class _Truth:
    """A true model with all that its predictions are compared with."""

    def __init__(self, model: Model, settings: Settings, check: Callable[[], None]) -> None:
        read = read_shape(model.path)
        check()
        self.model, self.shape = model, read.moved(read.to_unit())
        wanted = set(settings.metrics)
        self.thumbnail = _strip(draw_shape(self.shape, SHOWN, _THUMBNAIL))
        self.solid = MeshSolid(self.shape.mesh) if "volume_iou" in wanted else None
        check()
        self.seen = outer_points(self.shape, SAMPLES, seed=1)
        check()
        self.pictures = draw_shape(self.shape) if _PICTURE_METRICS & wanted else None
        check()
        self.unlit = draw_shape(self.shape, _UNLIT, lit=False)
        self.embedded = {
            key: eye(settings).embed(self.pictures if self.pictures is not None else [])
            for key, eye in _EYES.items()
            if key in wanted
        }
        check()


def _measure(truth: _Truth, prediction: Prediction, settings: Settings, check: Callable[[], None]) -> Measured:
    shape = read_shape(prediction.path)
    shape = shape.moved(shape.to_unit())
    check()
    seen = outer_points(shape, SAMPLES)
    check()
    alignment = align(shape.mesh, truth.shape.mesh, up=settings.up, points=(seen, truth.seen), check=check)
    placed = shape.moved(alignment.matrix())
    estimate = _elevation(prediction.path)
    surface = alignment.apply(seen[0]), np.asarray(seen[1] @ alignment.rotation.T, np.float32)
    hidden = None
    if "far_f_score" in settings.metrics and estimate is not None:
        hidden = _hidden(shape, seen, truth, alignment, estimate.value)
    notes = list(shape.warnings)
    figures = _geometry(placed, surface, truth, settings.metrics, hidden, notes)
    check()
    if truth.pictures is not None:
        figures |= _pictures(draw_shape(placed), truth, settings, check)
    check()
    unlit = draw_shape(placed, _UNLIT, lit=False)
    details = {
        "frequency": frequency_sums(unlit, truth.unlit).tolist(),
        "colors": color_sums(unlit, truth.unlit).tolist(),
    }
    if "elevation_error" in settings.metrics and truth.model.case.elevation is not None and estimate is not None:
        figures["elevation_error"] = abs(estimate.value - truth.model.case.elevation)
        if estimate.is_fallback:
            notes.append("The elevation was not estimated but a default.")
    return Measured(
        prediction.label,
        prediction.name,
        {key: figures[key] for key in settings.metrics if key in figures},
        _described(alignment, shape, truth.shape),
        details,
        None,
        notes,
        {"mesh": _strip(draw_shape(placed, SHOWN, _THUMBNAIL))},
    )


def _hidden(
    shape: Shape, seen: Surface, truth: _Truth, alignment: Alignment, elevation: float
) -> tuple[BoolArray, BoolArray]:
    """Which points of the shape's and of the truth's outside the camera of the run's input does not see.

    The camera stands where the run had it; the truth is brought there by the alignment. Normals are not asked: in
    models as artists leave them they may point either way.
    """
    pose = cameras.Pose(elevation, 0.0)
    found = []
    for side, (points, _), matrix in (
        (shape, seen, np.eye(4)),
        (truth.shape, truth.seen, np.linalg.inv(alignment.matrix())),
    ):
        to_run = np.linalg.inv(shape.frame) @ matrix  # of a run's mesh the file's coordinates are the run's own
        at = np.asarray(points @ to_run[:3, :3].T + to_run[:3, 3], np.float32)
        found.append(hidden_points(side.moved(to_run), at, None, pose))
    return found[0], found[1]


def _geometry(
    placed: Shape,
    surface: Surface,
    truth: _Truth,
    wanted: tuple[str, ...],
    hidden: tuple[BoolArray, BoolArray] | None,
    notes: list[str],
) -> dict[str, float]:
    """`surface` is of the placed shape's outside; `hidden` see `surface_figures`. What is not as it should be is added
    to `notes`."""
    figures: dict[str, float] = {}
    if _SURFACE_METRICS & set(wanted):
        figures |= surface_figures(surface, truth.seen, hidden=hidden)
    if truth.solid is not None:
        iou, predicted, actual = overlap(placed.mesh, truth.solid)
        both = (predicted, "the prediction"), (actual, "the true model")
        empty = [what for found, what in both if found.empty]
        if empty:
            notes.append(f"There is no volume IoU: {' and '.join(empty)} {'enclose' + 's' * (len(empty) < 2)} nothing.")
        else:
            figures["volume_iou"] = iou
            notes += [found.how.format(what) for found, what in both if found.how]
    return figures


def _pictures(drawn: FloatArray, truth: _Truth, settings: Settings, check: Callable[[], None]) -> dict[str, float]:
    assert truth.pictures is not None
    figures: dict[str, float] = {}
    pairs = list(zip(drawn, truth.pictures, strict=True))
    for key, function in (("psnr", psnr), ("ssim", ssim)):
        if key in settings.metrics:
            figures[key] = float(np.mean([function(p, t) for p, t in pairs]))
            check()
    if "mask_iou" in settings.metrics:
        figures["mask_iou"] = float(np.mean([mask_iou(p[..., 3], t[..., 3]) for p, t in pairs]))
    for key, embedded in truth.embedded.items():
        figures[key] = mean_cosine(_EYES[key](settings).embed(drawn), embedded)
        check()
    if "lpips" in settings.metrics:
        figures["lpips"] = _lpips(settings.lpips).distance(drawn, truth.pictures)
    return figures


def _described(alignment: Alignment, prediction: Shape, truth: Shape) -> dict[str, Any]:
    """The alignment between the two files' own coordinates."""
    matrix = np.linalg.inv(truth.frame) @ alignment.matrix() @ prediction.frame
    return {
        "matrix": matrix.tolist(),
        "scale": float(np.cbrt(np.linalg.det(matrix[:3, :3]))),
        "inliers": alignment.inliers,
    }


def _elevation(path: Path) -> Any:
    from engine.reconstruct.run import Run

    return Run.open(path).elevation() if path.is_dir() else None


# One of each is in memory.
_clip = functools.lru_cache(maxsize=1)(ClipSimilarity)
_likeness = functools.lru_cache(maxsize=1)(Likeness)
_lpips = functools.lru_cache(maxsize=1)(Lpips)
_EYES: dict[str, Callable[[Settings], ClipSimilarity | Likeness]] = {
    "clip": lambda settings: _clip(settings.clip),
    "likeness": lambda settings: _likeness(),
}
"""What sees how alike pictures are, by measure."""


# -- pictures for the page -----------------------------------------------------------------------------------


def _given_pictures(model: Model, prediction: Prediction) -> dict[str, bytes]:
    """The input picture and the first four generated views, where there are any."""
    found: dict[str, bytes] = {}
    folder = prediction.path
    given = next(iter(sorted(folder.glob("input.*"))), None) if folder.is_dir() else None
    views = sorted(folder.glob("views/view_?.png"))[:4] if folder.is_dir() else []
    try:
        if (picture := given or model.case.picture) is not None:
            found["input"] = _strip([_read(picture)])
        if len(views) == 4:
            tiles = [_read(view)[::2, ::2] for view in views]
            rows = [np.concatenate(tiles[i : i + 2], 1) for i in range(0, len(tiles) - 1, 2)]
            found["views"] = _strip([np.concatenate(rows)])
    except (OSError, ValueError):
        return found  # the page goes without them
    return found


def _read(path: Path) -> FloatArray:
    """A picture over white, square, (S, S, 3)."""
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
    rgba.thumbnail((_THUMBNAIL, _THUMBNAIL))
    square = Image.new("RGBA", (_THUMBNAIL, _THUMBNAIL), "white")
    square.alpha_composite(rgba, ((_THUMBNAIL - rgba.width) // 2, (_THUMBNAIL - rgba.height) // 2))
    return np.asarray(square, np.float32)[..., :3] / np.float32(255)


def _strip(pictures: Any) -> bytes:
    """Pictures side by side, as a JPEG."""
    row = np.concatenate([np.asarray(picture)[..., :3] for picture in pictures], 1)
    raw = io.BytesIO()
    Image.fromarray((np.clip(row, 0, 1) * 255 + 0.5).astype(np.uint8)).save(raw, "JPEG", quality=82)
    return raw.getvalue()


def failed(prediction: Prediction, problem: str) -> Measured:
    """What there is of a prediction that could not be measured."""
    return Measured(prediction.label, prediction.name, {}, None, {}, problem, [], {})


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, OrielError) else f"{type(error).__name__}: {str(error)[:300]}"

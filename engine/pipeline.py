"""One picture in, one textured mesh out: the five stages, each run a folder that can be opened again.

A run folder holds, each written to a temporary name and then renamed:

    input.<ext>          the picture as it was given
    run.json             options, status, owner process, times, finished stages
    mask.png, framed.png the foreground in the picture, and the picture as the generator sees it
    views/               view_0.png .. view_7.png, view_0_0_10.png .. view_7_3_10.png (RGBA over white); of the latter
                         the first four at most where the method needs no source views
    pose.json            cameras of the views, in One-2-3-45's layout
    elevation.json       the estimate with its error curve
    surface.npz          the mesh with vertex colours
    mesh.npz, mesh.glb   the textured mesh, in the world frame and as it was asked for (and other formats)
    report.json          seconds and peak memory by stage, and which models were used

The elevation is estimated from four views and the other views depend on it, so the work goes
foreground, four views, elevation, all other views, surface, texture. Seconds and memory of both parts of the
views are counted together. With a method that needs no source views, only those four and the principal ones are drawn.
"""

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import errno
import io
import json
import os
import shutil
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image

from engine import cameras, choices, weights
from engine.core import device
from engine.core.errors import Cancelled, EmptyResultError, InputError, OrielError, OutputError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.meshes.mesh import Mesh

if TYPE_CHECKING:
    from engine.elevation import ElevationEstimate
    from engine.views.generator import SolidGenerator, ViewGenerator

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
UpAxis = Literal["Y", "Z"]

STAGES = ("foreground", "views", "elevation", "surface", "texture")
MODES = ("auto", "alpha", "plain", "grabcut", "sam", "whole")
FORMATS = ("glb", "obj", "ply", "stl")
SAMPLERS = ("fast", "published")
"""Few steps of a multistep solver, or the steps and noise of the published code."""
FRAMED_SIZE = cameras.REFERENCE_SIZE
ELEVATION_RANGE = (-60.0, 89.0)
"""Degrees that a typed elevation may take."""
SAME_ELEVATION = 0.25
"""Degrees within which views drawn for one elevation are kept for another."""
PREVIEW_RESOLUTION = 80
"""Grid of the generator's own solid that is shown at once: it takes less than a second."""


@dataclass(frozen=True)
class Quality:
    """What a quality level costs."""

    view_size: int
    """Side of the generated views in pixels."""
    resolution: int
    """Voxels along a side of the grid that the surface network's surface is extracted from."""
    solid_resolution: int
    """The same of the generator's own solid, which is smoother and slower to ask."""
    faces: int
    """Triangles that the surface is reduced to: unwrapping a texture takes time by the triangle."""
    texture_size: int
    """Side of the texture in pixels."""
    input_size: int
    """Side of the framed input picture, as the texture is baked from it."""


QUALITIES = {
    "draft": Quality(
        view_size=128, resolution=128, solid_resolution=112, faces=12_000, texture_size=512, input_size=256
    ),
    "standard": Quality(
        view_size=256, resolution=256, solid_resolution=192, faces=24_000, texture_size=1024, input_size=512
    ),
    "fine": Quality(
        view_size=256, resolution=320, solid_resolution=256, faces=60_000, texture_size=2048, input_size=768
    ),
}


@dataclass(frozen=True)
class Options:
    """What a user may choose for a run."""

    mode: str = "auto"
    """How the foreground is found: one of `MODES`."""
    box: tuple[int, int, int, int] | None = None
    """x0, y0, x1, y1 around the object, in pixels of the picture as `load_picture` returns it."""
    points: tuple[tuple[float, float, bool], ...] = ()
    """x, y in the same pixels, and whether the object (True) or the background (False) is there; for the mode `sam`."""
    strokes: npt.NDArray[np.uint8] | Path | None = None
    """(H, W) corrections to the foreground, 0 none, 1 add, 2 remove: an array, or a PNG that holds it."""
    mask: npt.NDArray[np.uint8] | Path | None = None
    """(H, W) finished mask, 0 or 255, used instead of finding one: an array, or a picture file."""
    elevation: float | None = None
    """Known elevation of the camera in degrees, instead of an estimate."""
    method: str = ""
    """How the surface comes about: a name in `engine.choices.METHODS`; by default what suits generator and surface."""
    generator: str = "built-in"
    """What draws the views: a name in `engine.views.GENERATORS`."""
    sampler: str = "fast"
    """How a diffusion model draws: one of `SAMPLERS`. The others have no choice."""
    matcher: str = "dense-flow"
    """What finds the same points in two views: a name in `engine.elevation.MATCHERS`."""
    surface: str = "built-in"
    """Reconstruction networks: a name in `engine.choices.SURFACES`, or a file with weights of one of them.

    Of use to methods with source views only.
    """
    memory_gb: float | None = None
    """Memory of the GPU that the models may fill, in GB; None for what is free."""
    quality: str = "standard"
    """One of `QUALITIES`."""
    seed: int = 0
    formats: tuple[str, ...] = ("glb",)
    """Files to write: of `FORMATS`. The GLB is always written."""
    up: UpAxis | None = None
    """Up axis of the files, `Y` or `Z`; by default Y in GLB and Z elsewhere."""
    height_m: float | None = None
    """Height of the object in metres in the files; by default one world unit is a metre."""

    def __post_init__(self) -> None:
        def one_of(what: str, value: object, allowed: Sequence[str]) -> None:
            if value not in allowed:
                raise InputError(f"{what} is {value!r}, but has to be one of {', '.join(allowed)}.")

        if not self.method:
            object.__setattr__(self, "method", choices.preferred_method(self.generator, self.surface))
        one_of("Method", self.method, tuple(choices.METHODS))
        one_of("Foreground mode", self.mode, MODES)
        one_of("Quality", self.quality, tuple(QUALITIES))
        one_of("Sampler", self.sampler, SAMPLERS)
        for f in self.formats:
            one_of("Format", f, FORMATS)
        if self.up is not None:
            one_of("Up axis", self.up, ("Y", "Z"))
        low, high = ELEVATION_RANGE
        if self.elevation is not None and not low <= self.elevation <= high:
            raise InputError(f"Elevation is {self.elevation:g} degrees, but has to lie between {low:g} and {high:g}.")
        if self.height_m is not None and not 0 < self.height_m < 1e6:
            raise InputError(f"Height is {self.height_m:g} metres, but has to be above 0 and below a million.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"Seed is {self.seed}, but has to be a whole number from 0 to {2**32 - 1}.")
        device.MemoryBudget(self.memory_gb)
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise InputError(f"Box {self.box} is empty: give left, top, right, bottom in pixels.")


_FIRST_STAGE = {
    "mode": "foreground",
    "box": "foreground",
    "points": "foreground",
    "strokes": "foreground",
    "mask": "foreground",
    "method": "views",
    "generator": "views",
    "sampler": "views",
    "quality": "views",
    "seed": "views",
    "elevation": "elevation",
    "matcher": "elevation",
    "surface": "surface",
    "formats": "texture",
    "up": "texture",
    "height_m": "texture",
}
"""The first stage that an option changes. The memory changes none: what was made with less is as good."""
_STAGE_OF = {"foreground": "foreground", "generator": "views", "matcher": "elevation", "surface": "surface"}
"""The stage that each part of the report's `used` belongs to."""


@dataclass
class _Work:
    """What the stages of one execution share."""

    progress: ProgressCallback
    cancel: CancelToken
    generator: ViewGenerator | None = None

    def report(self, stage: str, done: float, total: float, message: str = "", preview: Any = None) -> None:
        self.cancel.check()
        self.progress(Progress(stage, done, total, message, preview))


class Run:
    """One reconstruction and its folder. Open it anywhere; execute it in one thread at a time."""

    def __init__(self, folder: Path, record: dict[str, Any], report: dict[str, Any]) -> None:
        self.folder = folder
        self.report: dict[str, Any] = report
        """`stages`: seconds, peak_mb and, where a GPU was used, peak_gpu_mb; `seconds`, `peak_mb`, `vertices`, `faces`.

        `used`: for `foreground`, `generator`, `matcher` and, where the method takes one, `surface` what did the work:
        `name`, `label`, `device`, and `path` and `source` of its weights, None where it needs none. For `method` its
        `name` and `label`.
        """
        self._record = record
        self._picture: ByteArray | None = None

    # -- making and opening ------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        picture: Path | str | bytes,
        folder: Path | str,
        options: Options | None = None,
        *,
        name: str | None = None,
    ) -> Run:
        """Start a run in `folder`, which must not exist or be empty. Nothing is computed yet.

        Raises InputError if the picture cannot be used, OutputError if the folder cannot be written.
        """
        from engine.imaging import load_picture

        folder, options = Path(folder), options or Options()
        _check_choices(options)
        source = None if isinstance(picture, bytes) else Path(picture)
        loaded = load_picture(picture if isinstance(picture, bytes) else Path(picture))
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        with _writing(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise OutputError(f"{folder} is already there and is not an empty folder. Choose another name.")
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                (partial / f"input{_extension(data, source)}").write_bytes(data)
                record = {
                    "format": 1,
                    "name": name or (source.stem if source else "picture"),
                    "source": str(source.absolute()) if source else None,
                    "created": _now(),
                    "options": _options_to_json(options, partial),
                    "status": "unfinished",
                    "error": None,
                    "stages_done": [],
                }
                (partial / "run.json").write_text(json.dumps(record, indent=1))
                partial.replace(folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        run = cls(folder, record, {})
        run._picture = loaded
        return run

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open the run in `folder`; InputError if there is none."""
        folder = Path(folder)
        try:
            record = json.loads((folder / "run.json").read_text())
            _options_from_json(record["options"], folder)
            datetime.datetime.fromisoformat(record["created"])
            record["name"], record["status"], record["stages_done"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{folder} holds no run: its run.json is missing or damaged.") from None
        except InputError as error:
            raise InputError(f"The run in {folder} is of another version of this program: {error}") from None
        report: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            report = json.loads((folder / "report.json").read_text())
        return cls(folder, record, report)

    # -- what it is --------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the picture, without its ending."""
        return str(self._record["name"])

    @property
    def source(self) -> str | None:
        """Path that the picture came from, if it came from a file."""
        return self._record.get("source")

    @property
    def created(self) -> datetime.datetime:
        """When the run was made."""
        return datetime.datetime.fromisoformat(self._record["created"])

    @property
    def options(self) -> Options:
        """The options; arrays among them are given as paths of files in the folder."""
        return _options_from_json(self._record["options"], self.folder)

    @property
    def status(self) -> str:
        """`running`, `done`, `failed`, `cancelled`, or `unfinished`: not started, or its process is gone."""
        status = str(self._record["status"])
        return "unfinished" if status == "running" and not self._owner_lives() else status

    @property
    def error(self) -> str | None:
        """What went wrong, in plain words, if the run failed."""
        return self._record.get("error")

    @property
    def error_kind(self) -> str | None:
        """Class of the error, e.g. `WeightsError`, if the run failed."""
        return self._record.get("error_kind")

    @property
    def stages_done(self) -> tuple[str, ...]:
        """Stages whose results are up to date."""
        return tuple(self._record["stages_done"])

    def change(self, **changes: Any) -> str | None:
        """Change options, by name; returns the stage to execute from, None if no stage's result would change.

        What that stage and later ones have left no longer counts as done.
        """
        before = self.options
        after = dataclasses.replace(before, **changes)
        _check_choices(after)
        changed = [name for name in changes if not _same(getattr(before, name), getattr(after, name))]
        touched = [_FIRST_STAGE[name] for name in changed if name in _FIRST_STAGE]
        if not touched:
            if changed:
                with _writing(self.folder):
                    self._mark(options=_options_to_json(after, self.folder))
            return None
        if "elevation" in changed and after.elevation is None and self._record.get("generator_elevation") is None:
            touched.append("views")  # those that are there were drawn for what was typed
        start = min(touched, key=STAGES.index)
        kept = [s for s in self.stages_done if STAGES.index(s) < STAGES.index(start)]
        with _writing(self.folder):
            self._mark(options=_options_to_json(after, self.folder), stages_done=kept, status="unfinished", error=None)
        return start

    # -- results -----------------------------------------------------------------------------------------

    def picture(self) -> ByteArray:
        """(H, W, 4) straight RGBA, as `load_picture` returns it."""
        from engine.imaging import load_picture

        if self._picture is None:
            found = sorted(self.folder.glob("input.*"))
            if not found:
                raise InputError(f"{self.folder} has lost its input picture.")
            self._picture = load_picture(found[0])
        return self._picture

    def mask(self) -> FloatArray | None:
        """(H, W) foreground of the picture in 0..1."""
        path = self.folder / "mask.png"
        return _unit(_read_image(path, "L")) if path.exists() else None

    def framed(self) -> FloatArray | None:
        """(256, 256, 4) framed input over white."""
        path = self.folder / "framed.png"
        return _read_picture(path) if path.exists() else None

    def principal_views(self) -> FloatArray | None:
        """(8, H, W, 4) principal views."""
        return self._views([cameras.principal_name(i) for i in range(8)])

    def source_views(self) -> FloatArray | None:
        """(32, H, W, 4) source views."""
        return self._views([cameras.source_name(i) for i in range(32)])

    def elevation(self) -> ElevationEstimate | None:
        """The elevation of the input camera, with its error curve."""
        from engine.elevation import ElevationEstimate

        path = self.folder / "elevation.json"
        with _reading(path):
            return ElevationEstimate.from_json(json.loads(path.read_text())) if path.exists() else None

    def mesh(self) -> Mesh | None:
        """The textured mesh, or the one with vertex colours while there is no texture; world frame."""
        for name in ("mesh.npz", "surface.npz"):
            if (self.folder / name).exists():
                return _read_mesh(self.folder / name)
        return None

    def export(self, path: Path | str, *, up: UpAxis | None = None, height_m: float | None = None) -> None:
        """Write the mesh as .glb, .obj, .ply or .stl; see `engine.meshes.export`."""
        from engine.meshes.export import export_mesh

        mesh = self.mesh()
        if mesh is None:
            raise InputError(f"The run {self.name} has no mesh yet. Reconstruct it first.")
        with _writing(Path(path)):
            export_mesh(mesh, Path(path), up=up, height_m=height_m)

    # -- the work ----------------------------------------------------------------------------------------

    def execute(
        self,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        start: str = "foreground",
    ) -> None:
        """Run all stages from `start` on, or from the first one that is not done if that is earlier.

        `Progress.stage` is one of `STAGES`; previews are ("mask", (H, W)), ("framed", (256, 256, 4)),
        ("view", name, (H, W, 4)), ("elevation", ElevationEstimate) and ("mesh", Mesh). Raises an OrielError
        or Cancelled, after the run was marked as failed or cancelled. What earlier stages, or an earlier
        execution, have left stays until a stage replaces it.
        """
        if start not in STAGES:
            raise InputError(f"Stage is {start!r}, but has to be one of {', '.join(STAGES)}.")
        missing = [s for s in STAGES if s not in self.stages_done]
        start = min([start, *missing[:1]], key=STAGES.index)
        first = STAGES.index(start)
        from engine.imaging import sam

        if not missing:  # a finished run stays one where weights are missing; any other fails
            _require_models(self.options, STAGES[first:])
        with self._executing(progress, cancel) as work:
            if missing:
                _require_models(self.options, STAGES[first:])
            # A new elevation makes the views stale.
            done = [s for s in STAGES[:first] if not (s == "views" and start == "elevation")]
            self._mark(stages_done=done)
            used = {part: what for part, what in self.report.get("used", {}).items() if _STAGE_OF.get(part) in done}
            if start == "elevation":  # draws views as well, but the first of them may all be kept
                used |= {k: v for k, v in self.report.get("used", {}).items() if k == "generator"}
            stages = {s: t for s, t in self.report.get("stages", {}).items() if s in done}
            method = self._method
            chosen = {"name": self.options.method, "label": method.label}
            self.report = {"stages": stages, "used": {"method": chosen, **used}}
            if first <= STAGES.index("foreground"):
                self._stage("foreground", self._foreground, work, restart=True)
            sam.release()  # a preview may have loaded it as well
            if first <= STAGES.index("views"):
                self._mark(generator_elevation=None, views_elevation=None)
                self._stage("views", self._first_views, work, restart=True, finish=False)
            if first <= STAGES.index("elevation"):
                self._stage("elevation", self._estimate_elevation, work, restart=True)
                self._stage("views", self._other_views, work, restart=first == STAGES.index("elevation"))
            if method.source_views:
                work.generator = None
                _free_memory()
            if first <= STAGES.index("surface"):
                body = self._surface if method.source_views else self._solid_surface
                self._stage("surface", body, work, restart=True)
                work.generator = None
                _free_memory()
            self._stage("texture", self._texture, work, restart=True)
        _free_memory()

    def retry_view(
        self,
        index: int,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        """Draw principal view `index` (0..7) and its four neighbours again, by default with a new seed.

        Then `execute(start="surface")` rebuilds the mesh. View 0 is the input itself: only its neighbours change.
        InputError where the method needs no source views: its views are pictures of the finished solid.
        """
        if not 0 <= index < 8:
            raise InputError(f"View is {index}, but has to be 0 to 7.")
        if not self._method.source_views:
            raise InputError(
                f"The views of {self.name} are pictures of one solid, so that none can be drawn again alone. "
                "Choose the method 'views', or another seed."
            )
        estimate = self.elevation()
        if estimate is None or "views" not in self.stages_done:
            raise InputError(f"The run {self.name} has no views yet. Reconstruct it first.")
        seeds: dict[str, int] = dict(self._record.get("view_seeds", {}))
        seed = seeds.get(str(index), self.options.seed) + 1000 if seed is None else seed
        _require_models(self.options, ("views",))
        with self._executing(progress, cancel) as work:
            pose = cameras.principal_poses(estimate.value)[index]
            jobs = [(cameras.source_name(4 * index + j), p) for j, p in enumerate(cameras.neighbour_poses(pose))]
            if index > 0:
                jobs.insert(0, (cameras.principal_name(index), pose))
            drawn = self._draw(work, jobs, estimate.value, seed, done=0, total=len(jobs))
            for name, picture in drawn.items():
                _write_picture(self.folder / "views" / f"{name}.png", picture)
            self._mark(view_seeds=seeds | {str(index): seed}, stages_done=["foreground", "views", "elevation"])
        self._mark(status="unfinished")

    # -- stages ------------------------------------------------------------------------------------------

    def _foreground(self, work: _Work) -> None:
        from engine.imaging import extract_foreground, frame, sam

        work.report("foreground", 0, 3, "Finding the object")
        picture, options = self.picture(), self.options
        strokes = _read_image(options.strokes, "L") if isinstance(options.strokes, Path) else None
        if isinstance(options.mask, Path):
            mask = _read_mask(options.mask, picture.shape[:2])
            self._note_used("foreground", "mask")
        else:
            found = extract_foreground(
                picture,
                mode=options.mode,
                box=options.box,
                points=options.points,
                strokes=strokes,
                cancel=work.cancel,
            )
            mask = found.mask
            segmenter = sam.shared(found.weights) if found.weights is not None else None
            self._note_used("foreground", found.method, segmenter, found.weights)
        work.report("foreground", 1, 3, "Framing", ("mask", mask))
        framed = frame(picture, mask, FRAMED_SIZE).image
        work.report("foreground", 2, 3, "Framing", ("framed", framed))
        _write_image(self.folder / "mask.png", (mask * 255 + 0.5).astype(np.uint8))
        _write_picture(self.folder / "framed.png", framed)
        self._picture = None
        work.report("foreground", 3, 3, "Object found")

    def _first_views(self, work: _Work) -> None:
        """The generator's own guess, and the four neighbours of the input that the estimate rests on."""
        total = 40 if self._method.source_views else 12
        work.report("views", 0, total, "Loading the generator of views")
        framed, options = self._framed(), self.options
        if not self._method.source_views:
            solid = self._solid(work, options.elevation, PREVIEW_RESOLUTION)
            work.report("views", 0, total, "Drawing views", ("mesh", solid))
        if options.elevation is not None:
            return
        guess = self._generator(work).estimate_elevation(framed)
        work.cancel.check()
        origin = cameras.Pose(0.0 if guess is None else guess, 0.0)
        jobs = [(cameras.source_name(j), p) for j, p in enumerate(cameras.neighbour_poses(origin))]
        drawn = self._draw(work, jobs, guess, options.seed, done=0, total=total, origin=origin)
        (self.folder / "views").mkdir(exist_ok=True)
        for name, picture in drawn.items():
            _write_picture(self.folder / "views" / f"{name}.png", picture)
        self._mark(generator_elevation=guess, views_elevation=guess)

    def _estimate_elevation(self, work: _Work) -> None:
        from engine.elevation import ElevationEstimate, estimate_elevation, load_matcher

        work.report("elevation", 0, 1, "Estimating the elevation")
        typed = self.options.elevation
        if typed is not None:
            estimate = ElevationEstimate(
                value=float(typed),
                confidence=1.0,
                coarse=([], []),
                fine=([], []),
                matches=0,
                is_fallback=False,
                message="Typed by the user.",
            )
        else:
            neighbours = self._views([cameras.source_name(j) for j in range(4)])
            if neighbours is None:
                raise InputError(f"The run {self.name} has lost its views. Run it again from the views on.")
            fallback = self._record.get("generator_elevation")
            matcher = load_matcher(self.options.matcher)
            self._note_used("matcher", self.options.matcher, matcher)
            work.cancel.check()
            estimate = estimate_elevation(neighbours, matcher=matcher, fallback=fallback, cancel=work.cancel)
        _write_json(self.folder / "elevation.json", estimate.to_json())
        _write_json(self.folder / "pose.json", cameras.pose_file(estimate.value))
        work.report("elevation", 1, 1, f"Elevation {estimate.value:.1f} degrees", ("elevation", estimate))

    def _other_views(self, work: _Work) -> None:
        estimate = self.elevation()
        assert estimate is not None
        framed, options = self._framed(), self.options
        size = QUALITIES[options.quality].view_size
        value = estimate.value
        jobs = [(cameras.principal_name(i), p) for i, p in enumerate(cameras.principal_poses(value)) if i > 0]
        # The first neighbours are kept if they were drawn for (nearly) the elevation that came out, or by a
        # generator that takes no elevation; and where nothing but the estimate of the elevation rests on them.
        neighbours = [cameras.source_name(j) for j in range(4)]
        kept: list[str] = []
        drawn_for = self._record.get("views_elevation")
        if not self._method.source_views:
            kept = neighbours if self._record.get("generator_elevation") is not None else []
        else:
            jobs += [(cameras.source_name(i), p) for i, p in enumerate(cameras.source_poses(value))]
            if options.elevation is None and (drawn_for is None or abs(drawn_for - value) <= SAME_ELEVATION):
                kept = neighbours
        jobs = [job for job in jobs if job[0] not in kept]
        views = {cameras.principal_name(0): _resize(framed, size)}
        total = len(kept) + 1 + len(jobs)
        work.report("views", len(kept) + 1, total, "Drawing views", ("view", *next(iter(views.items()))))
        views |= self._draw(work, jobs, value, options.seed, done=len(kept) + 1, total=total)

        partial = self.folder / f".views.{os.getpid()}.tmp"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in kept:
            shutil.copy(self.folder / "views" / f"{name}.png", partial / f"{name}.png")
        for name, picture in views.items():
            work.cancel.check()
            _write_picture(partial / f"{name}.png", picture)
        shutil.rmtree(self.folder / "views", ignore_errors=True)
        partial.replace(self.folder / "views")
        self._mark(views_elevation=drawn_for if kept else value, view_seeds={})
        work.report("views", total, total, "Views drawn")

    def _surface(self, work: _Work) -> None:
        from engine.surface import load_surface, reconstruct_surface

        work.report("surface", 0, 1, "Loading the surface networks")
        estimate, views, framed, options = self.elevation(), self.source_views(), self._framed(), self.options
        if estimate is None or views is None:
            raise InputError(f"The run {self.name} has lost its views. Run it again from the views on.")
        value = estimate.value
        network = load_surface(options.surface, device.pick_device())
        given = Path(options.surface) if choices.is_file(options.surface) else None
        self._note_used("surface", options.surface, network, given)
        work.cancel.check()
        mesh = reconstruct_surface(
            network,
            views,
            np.stack([p.matrix() for p in cameras.source_poses(value)]),
            cameras.intrinsics(views.shape[1]),
            resolution=QUALITIES[options.quality].resolution,
            target_faces=QUALITIES[options.quality].faces,
            silhouettes=[(framed[..., 3], cameras.Pose(value, 0.0).matrix(), cameras.intrinsics(FRAMED_SIZE))],
            progress=_as_stage("surface", work.progress),
            cancel=work.cancel,
        )
        if len(mesh.faces) == 0:
            raise EmptyResultError(
                f"No surface was found in the views of {self.name}. Correct the foreground, or retry the views."
            )
        self._keep_surface(work, mesh)

    def _solid_surface(self, work: _Work) -> None:
        from engine.surface.cleaning import clean_mesh

        estimate, quality = self.elevation(), QUALITIES[self.options.quality]
        if estimate is None:
            raise InputError(f"The run {self.name} has lost its elevation. Run it again from the views on.")
        work.report("surface", 0, 3, "Extracting the surface")
        mesh = self._solid(work, estimate.value, quality.solid_resolution)
        work.report("surface", 2, 3, "Cleaning the mesh", ("mesh", mesh))
        self._keep_surface(work, clean_mesh(mesh, target_faces=quality.faces))

    def _keep_surface(self, work: _Work, mesh: Mesh) -> None:
        _write_mesh(self.folder / "surface.npz", mesh)
        (self.folder / "mesh.npz").unlink(missing_ok=True)
        work.report("surface", 1, 1, f"{len(mesh.faces):,} triangles", ("mesh", mesh))

    def _texture(self, work: _Work) -> None:
        from engine.imaging import frame
        from engine.meshes.export import export_mesh
        from engine.texture.bake import bake_texture

        work.report("texture", 0, 1, "Baking the texture")
        options, quality = self.options, QUALITIES[self.options.quality]
        estimate, principal, mask = self.elevation(), self.principal_views(), self.mask()
        source = self.source_views() if self._method.source_views else ()
        if estimate is None or principal is None or source is None or mask is None:
            raise InputError(f"The run {self.name} has lost its views. Run it again from the views on.")
        if not (self.folder / "surface.npz").exists():
            raise InputError(f"The run {self.name} has lost its surface. Run it again from the surface on.")
        surface = _read_mesh(self.folder / "surface.npz")
        picture = frame(self.picture(), mask, quality.input_size).image
        self._picture = None
        poses = [cameras.Pose(estimate.value, 0.0), *cameras.principal_poses(estimate.value)[1:]]
        poses += cameras.source_poses(estimate.value)[: len(source)]
        views = [_resize(v, quality.input_size) for v in (*principal[1:], *source)]
        mesh = bake_texture(
            surface,
            np.stack([picture, *views]),
            np.stack([p.matrix() for p in poses]),
            cameras.intrinsics(quality.input_size),
            weights=np.array([100.0] + [2.0] * 7 + [1.0] * len(source), np.float32),
            size=quality.texture_size,
            progress=_as_stage("texture", work.progress),
            cancel=work.cancel,
        )
        work.cancel.check()
        _write_mesh(self.folder / "mesh.npz", mesh)
        for fmt in dict.fromkeys(("glb", *options.formats)):
            work.cancel.check()
            export_mesh(mesh, self.folder / f"mesh.{fmt}", up=options.up, height_m=options.height_m)
        self.report |= {"vertices": len(mesh.vertices), "faces": len(mesh.faces)}
        work.report("texture", 1, 1, "Mesh written", ("mesh", mesh))

    # -- helpers of the stages ---------------------------------------------------------------------------

    @property
    def _method(self) -> choices.Method:
        return choices.METHODS[self.options.method]

    def _solid(self, work: _Work, elevation: float | None, resolution: int) -> Mesh:
        """The generator's own solid of the framed picture."""
        generator = cast("SolidGenerator", self._generator(work))
        return generator.mesh(
            self._framed(), elevation, resolution=resolution, seed=self.options.seed, cancel=work.cancel
        )

    def _generator(self, work: _Work) -> ViewGenerator:
        if work.generator is None:
            from engine.views import load_generator

            options = self.options
            budget = device.MemoryBudget(options.memory_gb)
            work.generator = load_generator(options.generator, sampler=options.sampler, budget=budget)
            self._note_used("generator", self.options.generator, work.generator)
        return work.generator

    def _note_used(self, part: str, name: str, model: object = None, path: Path | None = None) -> None:
        """Put into the report what does a part of the work.

        `model` is what was loaded, if anything was; `path` its weights where the name does not tell them.
        """
        located = [found for key in choices.models(part, name) if (found := weights.locate(key)) is not None]
        if path is not None:
            located = [found for found in located if found.path == path]
        elif located:
            path = located[0].path
        used: dict[str, Any] = dict(self.report.get("used", {}))
        used[part] = {
            "name": name,
            "label": getattr(model, "label", None) or choices.names(part).get(name, Path(name).name),
            "path": None if path is None else str(path),
            "source": located[0].source if located else None if path is None else "options",
            "device": str(getattr(model, "device", "cpu")),
        }
        self.report["used"] = used

    def _framed(self) -> FloatArray:
        framed = self.framed()
        if framed is None:
            raise InputError(f"The run {self.name} has lost its framed picture. Run it again from the start.")
        return framed

    def _views(self, names: list[str]) -> FloatArray | None:
        paths = [self.folder / "views" / f"{name}.png" for name in names]
        if not all(p.exists() for p in paths):
            return None
        pictures = [_read_picture(p) for p in paths]
        size = max(len(p) for p in pictures)
        return np.stack([_resize(p, size) for p in pictures])

    def _draw(
        self,
        work: _Work,
        jobs: list[tuple[str, cameras.Pose]],
        elevation: float | None,
        seed: int,
        *,
        done: int,
        total: int,
        origin: cameras.Pose | None = None,
    ) -> dict[str, FloatArray]:
        """Views by name. Each is reported once, as soon as the generator has it."""
        generator, framed = self._generator(work), self._framed()
        origin = origin or cameras.Pose(0.0 if elevation is None else elevation, 0.0)
        shown: set[int] = set()
        reached = float(done)

        def report(at: float, message: str, preview: Any = None) -> None:
            nonlocal reached
            reached = max(reached, at)  # a generator may work at many views before it finishes the first
            work.report("views", reached, total, message, preview)

        def show(index: int, picture: FloatArray) -> None:
            if index not in shown:
                shown.add(index)
                name = jobs[index][0]
                report(done + len(shown), f"Drawing {name}", ("view", name, picture))

        def on_progress(event: Progress) -> None:
            if event.preview is not None:
                show(*event.preview)
            else:
                report(done + event.fraction * len(jobs), event.message)

        pictures = generator.generate(
            framed,
            cameras.offsets([pose for _, pose in jobs], origin),
            elevation=elevation,
            size=QUALITIES[self.options.quality].view_size,
            seed=seed,
            progress=on_progress,
            cancel=work.cancel,
        )
        for index, picture in enumerate(pictures):
            show(index, picture)
        return {name: picture for (name, _), picture in zip(jobs, pictures, strict=True)}

    # -- bookkeeping -------------------------------------------------------------------------------------

    @contextmanager
    def _executing(self, progress: ProgressCallback | None, cancel: CancelToken | None) -> Iterator[_Work]:
        """Marks the run as running, and as done, cancelled or failed afterwards."""
        if self._record["status"] == "running" and self._owner_lives():
            raise InputError(f"The run {self.name} is being worked on already (process {self._record['pid']}).")
        token = cancel or CancelToken()
        self._sweep()  # what a killed process has left
        with _writing(self.folder):
            self._mark(
                status="running",
                error=None,
                started=_now(),
                pid=os.getpid(),
                process_started=_process_start(os.getpid()),
            )
        try:
            with _writing(self.folder), _memory():
                token.check()
                yield _Work(progress or ignore_progress, token)
                self._mark(status="done")
        except BaseException as error:
            self._sweep()
            if isinstance(error, Cancelled | KeyboardInterrupt):
                self._mark_end(status="cancelled")
            elif isinstance(error, OrielError):
                self._mark_end(status="failed", error=str(error), error_kind=type(error).__name__)
            else:
                text = f"Unexpected {type(error).__name__}: {error}"
                self._mark_end(status="failed", error=text, error_kind=type(error).__name__)
                with suppress(OSError):
                    (self.folder / "error.txt").write_text(traceback.format_exc())
            raise
        finally:
            _free_memory()

    def _sweep(self) -> None:
        """Remove files and folders that were not finished."""
        for leftover in self.folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
            with suppress(OSError):
                leftover.unlink(missing_ok=True)

    def _stage(
        self, stage: str, body: Callable[[_Work], None], work: _Work, *, restart: bool, finish: bool = True
    ) -> None:
        """Run one stage, or one of its two parts, and keep account of its seconds and memory."""
        work.cancel.check()
        before = {"seconds": 0.0, "peak_mb": 0.0} if restart else self.report["stages"][stage]
        begin = time.perf_counter()
        with _PeakMemory() as memory, self._memory_limit():
            body(work)
        stages: dict[str, dict[str, float]] = dict(self.report.get("stages", {}))
        stages[stage] = {
            "seconds": round(before["seconds"] + time.perf_counter() - begin, 3),
            "peak_mb": round(max(before["peak_mb"], memory.peak_mb), 1),
        }
        if memory.peak_gpu_mb:
            stages[stage]["peak_gpu_mb"] = round(max(before.get("peak_gpu_mb", 0.0), memory.peak_gpu_mb), 1)
        stages = {s: stages[s] for s in STAGES if s in stages}
        self.report["stages"] = stages
        self.report["seconds"] = round(sum(s["seconds"] for s in stages.values()), 3)
        self.report["peak_mb"] = max(s["peak_mb"] for s in stages.values())
        _write_json(self.folder / "report.json", self.report)
        if finish:
            done = {*self.stages_done, stage}
            self._mark(stages_done=[s for s in STAGES if s in done])

    def _memory_limit(self) -> AbstractContextManager[None]:
        gb = self.options.memory_gb
        return nullcontext() if gb is None else device.MemoryBudget(gb).limit(device.pick_device())

    def _mark(self, **changes: Any) -> None:
        self._record |= changes
        self._save()

    def _mark_end(self, **changes: Any) -> None:
        """Mark the end of an execution that went wrong, even on a full disk: then in the space it has already."""
        self._record |= changes
        try:
            self._save()
        except OSError:
            with suppress(OSError), (self.folder / "run.json").open("r+") as file:
                file.write(json.dumps(self._record, indent=1))
                file.truncate()

    def _save(self) -> None:
        _write_json(self.folder / "run.json", self._record)

    def _owner_lives(self) -> bool:
        pid, started = self._record.get("pid"), self._record.get("process_started")
        now = _process_start(pid) if isinstance(pid, int) else None
        return now is not None and isinstance(started, int | float) and abs(now - started) < 1.0


# -- processes and memory ------------------------------------------------------------------------------------


def _process_start(pid: int) -> float | None:
    """When process `pid` started, in seconds since 1970; None if it is gone or only waits to be collected."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


class _PeakMemory:
    """Largest resident set of this process while the context is open, sampled 20 times a second, and what torch took of
    a GPU's memory at most."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self.peak_gpu_mb = 0.0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="oriel-memory", daemon=True)

    def _sample(self) -> None:
        self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 2**20)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._sample()

    def __enter__(self) -> _PeakMemory:
        self._sample()
        self._thread.start()
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        if (cuda := _cuda()) is not None:
            self.peak_gpu_mb = cuda.max_memory_allocated() / 2**20


def _cuda() -> Any:
    """torch's CUDA, if torch is in use and there is one."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _free_memory() -> None:
    """Give back what a stage has left, so that the next one starts from little."""
    device.free()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def _memory() -> Iterator[None]:
    """Turns running out of memory into an OrielError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if device.is_out_of_memory(error):
            raise OrielError(
                "There was not enough memory for this run. Close other programs, or choose a lower quality."
            ) from error
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns what the file system refuses into an OutputError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            text = f"The disk is full: {path} could not be written. Free some space and run it again."
        else:
            reason = (error.strerror or str(error)).lower()
            text = f"{error.filename or path} could not be written or read: {reason}. Choose another folder."
        raise OutputError(text) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what a damaged file brings about into an InputError that names it."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}). Run it again from the start.") from None


# -- files ---------------------------------------------------------------------------------------------------


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat()


def _extension(data: bytes, source: Path | None) -> str:
    if source is not None and source.suffix:
        return source.suffix.lower()
    try:
        with Image.open(io.BytesIO(data)) as image:
            return f".{(image.format or 'png').lower()}"
    except OSError:
        return ".png"


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _write_json(path: Path, value: object) -> None:
    _write(path, json.dumps(value, indent=1).encode())


def _write_image(path: Path, image: ByteArray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    _write(path, buffer.getvalue())


def _write_picture(path: Path, picture: FloatArray) -> None:
    _write_image(path, (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _read_image(path: Path, mode: str) -> ByteArray:
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}).") from None


def _unit(image: ByteArray) -> FloatArray:
    return image.astype(np.float32) / np.float32(255)


def _read_picture(path: Path) -> FloatArray:
    return _unit(_read_image(path, "RGBA"))


def _read_mask(path: Path, shape: tuple[int, ...]) -> FloatArray:
    mask = _read_image(path, "L")
    height, width = shape
    if abs(mask.shape[1] / mask.shape[0] - width / height) > 0.02 * width / height:
        raise InputError(
            f"The mask {path.name} is {mask.shape[1]} x {mask.shape[0]} pixels, which does not fit the picture "
            f"({width} x {height}). Give a mask of the same size."
        )
    if mask.shape != shape:
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))
    return _unit(mask)


def _resize(picture: FloatArray, size: int) -> FloatArray:
    """(H, W, 4) to (size, size, 4)."""
    import cv2

    if picture.shape[0] == size:
        return picture
    method = cv2.INTER_AREA if size < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.float32)


def _write_mesh(path: Path, mesh: Mesh) -> None:
    arrays: dict[str, Any] = {"vertices": mesh.vertices, "faces": mesh.faces}
    arrays |= {name: value for name in ("colors", "uv") if (value := getattr(mesh, name)) is not None}
    if mesh.texture is not None:
        picture = io.BytesIO()
        Image.fromarray(mesh.texture).save(picture, "PNG", compress_level=3)
        arrays["texture_png"] = np.frombuffer(picture.getvalue(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    _write(path, buffer.getvalue())


def _read_mesh(path: Path) -> Mesh:
    with _reading(path), np.load(path) as arrays:
        mesh = Mesh(arrays["vertices"], arrays["faces"], arrays.get("colors"), arrays.get("uv"))
        if "texture_png" in arrays:
            with Image.open(io.BytesIO(arrays["texture_png"].tobytes())) as image:
                mesh.texture = np.array(image.convert("RGB"))
    return mesh


def _as_stage(stage: str, progress: ProgressCallback) -> ProgressCallback:
    """Passes on what a lower layer reports under the stage's name, without its previews."""
    return lambda event: progress(Progress(stage, event.fraction, 1.0, event.message))


def _check_choices(options: Options) -> None:
    for part in ("generator", "matcher", "surface"):
        choices.check(part, getattr(options, part))
    if (reason := choices.refusal(options.method, options.generator)) is not None:
        raise InputError(reason)


def _require_models(options: Options, stages: Sequence[str]) -> None:
    """WeightsError if weights that these stages need are missing: better now than after minutes of work."""
    chosen = {part: getattr(options, part) for part in ("generator", "matcher", "surface")}
    if options.elevation is not None:
        del chosen["matcher"]
    if not choices.METHODS[options.method].source_views:
        del chosen["surface"]
        if "surface" in stages:
            choices.require("generator", options.generator)
    if options.mask is None:
        chosen["foreground"] = options.mode
    for part, name in chosen.items():
        if _STAGE_OF[part] in stages:
            choices.require(part, name)


def _same(a: object, b: object) -> bool:
    """Whether two values of an option are the same; a picture file equals an array of its pixels."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        pixels = [_read_image(v, "L") if isinstance(v, Path) else v for v in (a, b)]
        return all(isinstance(p, np.ndarray) for p in pixels) and np.array_equal(*pixels)  # type: ignore[arg-type]
    return a == b


def _options_to_json(options: Options, folder: Path) -> dict[str, Any]:
    """JSON of options; the mask and the strokes become files in `folder`."""
    record = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    for name, file in (("strokes", "strokes.png"), ("mask", "given_mask.png")):
        value = record[name]
        if isinstance(value, Path) and value != folder / file:
            value = _read_image(value, "L")
        if isinstance(value, np.ndarray):
            _write_image(folder / file, value.astype(np.uint8))
        record[name] = None if value is None else file
    return record


def _options_from_json(record: dict[str, Any], folder: Path) -> Options:
    values = {f.name: record[f.name] for f in dataclasses.fields(Options) if f.name in record}
    values.setdefault("method", "views")  # runs from before there was a choice
    values["formats"] = tuple(values.get("formats", ("glb",)))
    if values.get("box") is not None:
        values["box"] = tuple(values["box"])
    values["points"] = tuple(tuple(point) for point in values.get("points", ()))
    for name in ("strokes", "mask"):
        if values.get(name) is not None:
            values[name] = folder / values[name]
    return Options(**values)

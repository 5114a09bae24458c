"""One reconstruction and its folder: made, executed, resumed, opened again.

The steps of `engine.reconstruct.stages` are executed one after the other, each on what the ones before left in memory
or, where they ran earlier, in the folder (`engine.reconstruct.folder`). People see five stages (`STAGES`): both steps
that draw views are the stage `views`, and their seconds and memory are counted together.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from PIL import Image

from engine import choices, weights
from engine.core import device
from engine.core.errors import Cancelled, EmptyResultError, InputError, OrielError, OutputError
from engine.core.processes import process_lives, process_started
from engine.core.progress import CancelToken, ProgressCallback, ignore_progress
from engine.reconstruct import stages
from engine.reconstruct.folder import (
    NEIGHBOURS,
    RunFolder,
    as_pixels,
    options_from_json,
    options_to_json,
    writing,
)
from engine.reconstruct.memory import PeakMemory, enough_memory, free_memory
from engine.reconstruct.options import STAGES, Options
from engine.reconstruct.stages import Work

if TYPE_CHECKING:
    from engine.views.generator import SolidGenerator, ViewGenerator

T = TypeVar("T")


@dataclass(frozen=True)
class _Step:
    """A step of the work."""

    stage: str
    """The stage that people see it as."""
    options: tuple[str, ...] = ()
    """Options that change its result. The memory changes none: what was made with less is as good."""
    part: str | None = None
    """The part of the report's `used` that says what did it."""


_STEPS = {
    "foreground": _Step(
        "foreground", ("mode", "box", "points", "strokes", "mask", "upright", "foreground_ratio"), "foreground"
    ),
    "neighbours": _Step("views", ("method", "generator", "sampler", "quality", "seed"), "generator"),
    "elevation": _Step("elevation", ("elevation", "matcher"), "matcher"),
    "views": _Step("views"),
    "surface": _Step("surface", ("surface", "silhouette", "faces", "smooth"), "surface"),
    "texture": _Step("texture", ("texture_size", "formats", "up", "height_m")),
}
_ORDER = tuple(_STEPS)


class Run(RunFolder):
    """One reconstruction and its folder. Open it anywhere; execute it in one thread at a time.

    >>> run = Run.create("resources/samples/house.jpg", folder / "house")
    >>> run.name, run.status  # `run.execute()` makes the mesh
    ('house', 'unfinished')
    >>> Run.open(folder / "house").source
    '...house.jpg'
    """

    def __init__(self, folder: Path, record: dict[str, Any], report: dict[str, Any]) -> None:
        super().__init__(folder)
        self.report: dict[str, Any] = report
        """`stages`: seconds, peak_mb and, where a GPU was used, peak_gpu_mb; `seconds`, `peak_mb`, `vertices`, `faces`.

        `used`: for `foreground`, `generator`, `matcher` and, where the method takes one, `surface` what did the work:
        `name`, `label`, `device`, and `path` and `source` of its weights, None where it needs none; `note`, what
        else is to be said. For `method` its `name` and `label`.

        `notes`: what is doubtful about the picture, in sentences.
        """
        self._record = record
        self._drawer: ViewGenerator | None = None

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
        options.check_choices()
        source = None if isinstance(picture, bytes) else Path(picture)
        loaded = load_picture(picture if isinstance(picture, bytes) else Path(picture))
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        with writing(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise OutputError(f"{folder} is already there and is not an empty folder. Choose another name.")
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                (partial / f"input{_extension(data, source)}").write_bytes(data)
                record = {
                    "format": 2,
                    "name": name or (source.stem if source else "picture"),
                    "source": str(source.absolute()) if source else None,
                    "created": _now(),
                    "options": options_to_json(options, partial),
                    "status": "unfinished",
                    "error": None,
                    "stages_done": [],
                    "costs": {},
                }
                (partial / "run.json").write_text(json.dumps(record, indent=1))
                partial.replace(folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        run = cls(folder, record, {})
        run._kept["input"] = loaded
        return run

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open the run in `folder`; InputError if there is none."""
        folder = Path(folder)
        report: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            report = json.loads((folder / "report.json").read_text())
        try:
            record = _up_to_date(json.loads((folder / "run.json").read_text()), report)
            options_from_json(record["options"], folder)
            datetime.datetime.fromisoformat(record["created"])
            record["name"], record["status"], record["stages_done"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{folder} holds no run: its run.json is missing or damaged.") from None
        except InputError as error:
            raise InputError(f"The run in {folder} is of another version of this program: {error}") from None
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
        return options_from_json(self._record["options"], self.folder)

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
        open_stages = {step.stage for name, step in _STEPS.items() if name not in self._record["stages_done"]}
        return tuple(stage for stage in STAGES if stage not in open_stages)

    def change(self, **changes: Any) -> str | None:
        """Change options, by name; returns the stage to execute from, None if no stage's result would change.

        What that stage and later ones have left no longer counts as done.
        """
        before = self.options
        after = dataclasses.replace(before, **changes)
        after.check_choices()
        changed = {name for name in changes if not _same(getattr(before, name), getattr(after, name))}
        start = next((name for name, step in _STEPS.items() if changed.intersection(step.options)), None)
        if not changed:
            return None
        with writing(self.folder):
            record: dict[str, Any] = {"options": options_to_json(after, self.folder)}
            if start is not None:
                start = self._rests_on(start, after)
                record |= {"stages_done": self._done_before(start), "status": "unfinished", "error": None}
            self._mark(**record)
        return None if start is None else _STEPS[start].stage

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
        missing = [name for name in _ORDER if name not in self._record["stages_done"]]
        wanted = next(name for name, step in _STEPS.items() if step.stage == start)
        first = self._rests_on(min([wanted, *missing[:1]], key=_ORDER.index), self.options)
        steps = _ORDER[_ORDER.index(first) :]
        if not missing:  # a finished run stays one where weights are missing; any other fails
            _require_models(self.options, steps)
        from engine.imaging import sam

        with self._executing(progress, cancel) as work:
            if missing:
                _require_models(self.options, steps)
            self._begin(first)
            if first == "views" and (estimate := self.elevation()) is not None:  # for who sees the run from now on
                stages.tell_elevation(estimate, work)
            bodies = {
                "foreground": self._foreground,
                "neighbours": self._neighbours,
                "elevation": self._elevation,
                "views": self._views,
                "surface": self._surface,
                "texture": self._texture,
            }
            for step in steps:
                if step != "foreground":
                    sam.release()  # a preview may have loaded it as well
                if step == "texture" or (step == "surface" and self._method.source_views):
                    self._drawer = None
                    free_memory()
                self._run_step(step, bodies[step], work)

    def retry_view(
        self, index: int, progress: ProgressCallback | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Draw principal view `index` (0..7) and its four neighbours again, with a new seed.

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
        seed = seeds.get(str(index), self.options.seed) + 1000
        _require_models(self.options, ("views",))
        with self._executing(progress, cancel) as work:
            generator, framed = self._generator(work), self._framed()
            drawn = stages.redraw_view(generator, framed, index, estimate.value, self.options, seed, work)
            self._note_used("generator", self.options.generator, generator)
            for name, picture in drawn.items():
                self.write_picture(f"views/{name}.png", picture)
            self._mark(view_seeds=seeds | {str(index): seed}, stages_done=self._done_before("surface"))
        self._mark(status="unfinished")

    # -- steps: what they take, and what stays of them ---------------------------------------------------

    def _foreground(self, work: Work) -> None:
        from engine.imaging import sam

        found, framing = stages.find_object(self.picture(), self.options, work, self.input_file())
        segmenter = sam.shared(found.weights) if found.method == "sam" else None
        self._note_used("foreground", found.method, segmenter, found.weights)
        self.report["notes"] = list(found.notes)
        self.write_picture("mask.png", found.mask)
        self.write_picture("framed.png", framing.image)
        self._mark(aim=framing.aim and framing.aim.to_json(), lens=framing.lens)
        del self._kept["input"]  # large, and not needed before the texture

    def _neighbours(self, work: Work) -> None:
        lens, generator = float(self._record.get("lens", 1.0)), self._generator(work)
        neighbours = stages.draw_neighbours(generator, self._framed(), self.options, work, lens)
        self._note_used("generator", self.options.generator, generator)  # its note may be another by now
        self.write_views("neighbours", neighbours.views)
        self._mark(generator_elevation=neighbours.guess)

    def _elevation(self, work: Work) -> None:
        from engine.elevation import load_matcher

        work.report("elevation", 0, 1, "Estimating the elevation")
        options = self.options
        if options.elevation is not None:
            estimate = stages.take_elevation(options.elevation, work)
        else:
            matcher = load_matcher(options.matcher)
            self._note_used("matcher", options.matcher, matcher)
            work.cancel.check()
            neighbours = self._need(self.neighbours(), "views")
            estimate = stages.find_elevation(neighbours, matcher, self._record.get("generator_elevation"), work)
        self.write_elevation(estimate)

    def _views(self, work: Work) -> None:
        pictures = self.neighbours()
        drawn = {} if pictures is None else dict(zip(NEIGHBOURS, pictures, strict=True))
        neighbours = stages.Neighbours(drawn, self._record.get("generator_elevation"))
        value = self._need(self.elevation(), "elevation").value
        generator = self._generator(work)
        views = stages.draw_views(generator, self._framed(), neighbours, value, self.options, work)
        self._note_used("generator", self.options.generator, generator)
        self.write_views("views", views)
        self._mark(view_seeds={})

    def _surface(self, work: Work) -> None:
        options, framed = self.options, self._framed()
        value = self._need(self.elevation(), "elevation").value
        if not self._method.source_views:
            solid = cast("SolidGenerator", self._generator(work, "surface"))
            self.write_surface(stages.take_solid(solid, framed, value, options, work))
            return
        from engine.surface import load_surface

        work.report("surface", 0, 1, "Loading the surface networks")
        work.cancel.check()
        views = self._need(self.source_views(), "views")
        network = load_surface(options.surface, device.pick_device())
        given = Path(options.surface) if choices.is_file(options.surface) else None
        fitted = stages.fits_silhouette(network, options)
        note = "fitted to the picture's silhouette" if fitted else "not fitted to the picture's silhouette"
        self._note_used("surface", options.surface, network, given, note)
        work.cancel.check()
        mesh = stages.build_surface(network, views, framed, value, options, work)
        if not len(mesh.faces):
            raise EmptyResultError(
                f"No surface was found in the views of {self.name}. Correct the foreground, or retry the views."
            )
        self.write_surface(mesh)

    def _texture(self, work: Work) -> None:
        from engine.imaging.aim import Aim

        value = self._need(self.elevation(), "views").value
        views = [*self._need(self.principal_views(), "views")]
        if self._method.source_views:
            views += [*self._need(self.source_views(), "views")]
        mask = self._need(self.mask(), "views")
        surface = self._need(self.surface(), "surface", "surface")
        aim = Aim.from_json(kept) if (kept := self._record.get("aim")) else None
        mesh = stages.bake(surface, self.picture(), mask, views, value, self.options, work, aim)
        work.cancel.check()
        self.write_mesh(mesh, self.options, work.cancel)
        self.report |= {"vertices": len(mesh.vertices), "faces": len(mesh.faces)}
        work.report("texture", 1, 1, "Mesh written", ("mesh", mesh))

    # -- helpers of the steps ----------------------------------------------------------------------------

    @property
    def _method(self) -> choices.Method:
        return choices.METHODS[self.options.method]

    def _framed(self) -> stages.FloatArray:
        return self._need(self.framed(), "framed picture", "start")

    def _need(self, found: T | None, what: str, stage: str = "views") -> T:
        """What an earlier step has left; InputError if it is gone."""
        if found is None:
            on = "start" if stage == "start" else f"{stage} on"
            raise InputError(f"The run {self.name} has lost its {what}. Run it again from the {on}.")
        return found

    def _generator(self, work: Work, stage: str = "views") -> ViewGenerator:
        if self._drawer is None:
            from engine.views import load_generator

            work.report(stage, 0, 1, "Loading the generator of views")
            work.cancel.check()  # it takes its time
            options = self.options
            budget = device.MemoryBudget(options.memory_gb)
            self._drawer = load_generator(options.generator, sampler=options.sampler, budget=budget)
            self._note_used("generator", options.generator, self._drawer)
            work.cancel.check()
        return self._drawer

    def _note_used(
        self, part: str, name: str, model: object = None, path: Path | None = None, note: str | None = None
    ) -> None:
        """Put into the report what does a part of the work.

        `model` is what was loaded, if anything was; `path` its weights where the name does not tell them; `note` is
        what else should be known of it.
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
        if note := note or getattr(model, "note", None):
            used[part]["note"] = note
        self.report["used"] = used

    # -- bookkeeping -------------------------------------------------------------------------------------

    def _rests_on(self, step: str, options: Options) -> str:
        """The step to begin with: an estimate of the elevation needs neighbours, which a typed one did without."""
        lacking = step == "elevation" and options.elevation is None and not (self.folder / "neighbours").exists()
        return "neighbours" if lacking else step

    def _done_before(self, step: str) -> list[str]:
        return [name for name in _ORDER[: _ORDER.index(step)] if name in self._record["stages_done"]]

    def _begin(self, first: str) -> None:
        """From step `first` on nothing counts as done any more, nor what it took and was done with."""
        done = self._done_before(first)
        costs = {step: cost for step, cost in self._record["costs"].items() if step in done}
        self._mark(stages_done=done, costs=costs)
        kept = {_STEPS[step].part for step in done}
        used = {part: what for part, what in self.report.get("used", {}).items() if part in kept}
        chosen = {"name": self.options.method, "label": self._method.label}
        self.report = {"stages": _by_stage(costs), "used": {"method": chosen, **used}}

    def _run_step(self, step: str, body: Callable[[Work], None], work: Work) -> None:
        """Execute a step, and keep account of it."""
        work.cancel.check()
        begin = time.perf_counter()
        with PeakMemory() as memory, self._memory_limit():
            body(work)
        cost = {"seconds": time.perf_counter() - begin, "peak_mb": memory.peak_mb}
        if memory.peak_gpu_mb:
            cost["peak_gpu_mb"] = memory.peak_gpu_mb
        costs = self._record["costs"] | {step: cost}
        told = _by_stage(costs)
        self.report |= {
            "stages": told,
            "seconds": round(sum(stage["seconds"] for stage in told.values()), 3),
            "peak_mb": max(stage["peak_mb"] for stage in told.values()),
        }
        self.write_json("report.json", self.report)
        self._mark(stages_done=[*self._record["stages_done"], step], costs=costs)

    @contextmanager
    def _executing(self, progress: ProgressCallback | None, cancel: CancelToken | None) -> Iterator[Work]:
        """Marks the run as running, and as done, cancelled or failed afterwards."""
        if self._record["status"] == "running" and self._owner_lives():
            raise InputError(f"The run {self.name} is being worked on already (process {self._record['pid']}).")
        token = cancel or CancelToken()
        self.sweep()  # what a killed process has left
        with writing(self.folder):
            self._mark(
                status="running",
                error=None,
                started=_now(),
                pid=os.getpid(),
                process_started=process_started(os.getpid()),
            )
        try:
            with writing(self.folder), enough_memory():
                token.check()
                yield Work(progress or ignore_progress, token)
                self._mark(status="done")
        except BaseException as error:
            self.sweep()
            if isinstance(error, Cancelled | KeyboardInterrupt):
                self._mark_end(status="cancelled")
            else:
                kind, known = type(error).__name__, isinstance(error, OrielError)
                text = str(error) if known else f"Unexpected {kind}: {error}"
                self._mark_end(status="failed", error=text, error_kind=kind)
                if not known:
                    with suppress(OSError):
                        (self.folder / "error.txt").write_text(traceback.format_exc())
            raise
        finally:
            self.forget()
            self._drawer = None
            free_memory()

    def _memory_limit(self) -> AbstractContextManager[None]:
        gb = self.options.memory_gb
        return nullcontext() if gb is None else device.MemoryBudget(gb).limit(device.pick_device())

    def _mark(self, **changes: Any) -> None:
        self._record |= changes
        self.write_json("run.json", self._record)

    def _mark_end(self, **changes: Any) -> None:
        """Mark the end of an execution that went wrong, even on a full disk: then in the space it has already."""
        try:
            self._mark(**changes)
        except OSError:
            with suppress(OSError), (self.folder / "run.json").open("r+") as file:
                file.write(json.dumps(self._record, indent=1))
                file.truncate()

    def _owner_lives(self) -> bool:
        pid, started = self._record.get("pid"), self._record.get("process_started")
        return isinstance(pid, int) and isinstance(started, int | float) and process_lives(pid, started)


def _up_to_date(record: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """The record of a run as it is written now.

    In format 1 both steps that draw views were one, counted together, and the neighbours were not kept for themselves:
    where they are needed again, they are drawn again.
    """
    if record.get("format", 1) == 1:
        done = [name for name, step in _STEPS.items() if step.stage in record["stages_done"]]
        record |= {"format": 2, "stages_done": done, "costs": report.get("stages", {})}
    return record


def _by_stage(costs: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The steps' costs as people see them, by stage."""
    told = {}
    for stage in STAGES:
        parts = [costs[name] for name, step in _STEPS.items() if step.stage == stage and name in costs]
        if parts:
            told[stage] = {
                "seconds": round(sum(part["seconds"] for part in parts), 3),
                "peak_mb": round(max(part["peak_mb"] for part in parts), 1),
            }
            if gpu := max(part.get("peak_gpu_mb", 0.0) for part in parts):
                told[stage]["peak_gpu_mb"] = round(gpu, 1)
    return told


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


def _same(a: object, b: object) -> bool:
    """Whether two values of an option are the same; a picture file equals an array of its pixels."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        pixels = [as_pixels(value) if isinstance(value, Path | np.ndarray) else None for value in (a, b)]
        return all(p is not None for p in pixels) and np.array_equal(*pixels)  # type: ignore[arg-type]
    return a == b


def _require_models(options: Options, steps: Sequence[str]) -> None:
    """WeightsError if weights that these steps need are missing: better now than after minutes of work."""
    takers = {"generator": {"neighbours", "views"}, "matcher": {"elevation"}, "surface": {"surface"}}
    if options.elevation is not None:
        del takers["matcher"]
    if not choices.METHODS[options.method].source_views:
        takers["generator"] |= takers.pop("surface")
    for part, taking in takers.items():
        if taking.intersection(steps):
            choices.require(part, getattr(options, part))
    if options.mask is None and "foreground" in steps:
        choices.require("foreground", options.mode)

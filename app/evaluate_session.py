"""What goes on between the Evaluate tab and the engine: folders, runs, and the meshes of a sample."""

from __future__ import annotations

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtGui import QImage

from app.engine_thread import EngineThread, load_viewer
from app.job_session import SETTLE, Job, JobSession, recalled
from app.model_previews import PREVIEW_TRIANGLES, mesh_of_parts
from app.settings import Settings
from engine.core.errors import InputError, OrielError
from engine.core.files import writing
from engine.core.progress import Progress
from engine.evaluation.metrics import METRICS
from engine.jobs import Pace as Rate
from engine.jobs import seconds_for
from widgets.evaluate import TRUTH, Choice, EvaluateTab, Found, Opened, Pace, Sample
from widgets.kit.words import count

if TYPE_CHECKING:
    from engine.evaluation.options import Options
    from engine.evaluation.study import Begun, Evaluation
    from engine.meshes.mesh import Mesh

KEPT = 12
"""Meshes that are kept, to go back to a sample at once."""


class EvaluateSession(JobSession[EvaluateTab, "Evaluation"]):
    """Everything that the Evaluate tab needs besides itself; meshes are read and placed on a thread of their own."""

    WORK = "evaluation"

    def __init__(self, tab: EvaluateTab, settings: Settings) -> None:
        self.looker = EngineThread("oriel-evaluate-meshes")
        super().__init__(tab, settings, "evaluate", self.looker)
        self._meshes: OrderedDict[tuple[str, str], Mesh] = OrderedDict()
        self._looks = 0
        self._counted = 0, 1
        """Predictions that are measured, and all."""
        tab.setup.places_changed.connect(self.tasks.then(self._open))
        tab.setup.folder.chosen.connect(self.tasks.then(self.choose_folder))
        tab.start_requested.connect(self.tasks.then(self.evaluate))
        tab.meshes_wanted.connect(self.tasks.then(self.show_sample))
        tab.folder_requested.connect(self.tasks.then(self.show_folder))
        tab.browser_requested.connect(self.tasks.then(lambda: self._open_outside(tab.page)))
        tab.csv_requested.connect(self.tasks.then(self.copy_csv))

    # -- life --------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        self.tab.setup.set_choice(recalled(Choice, self.kept.get("choice")))

    def _places(self) -> dict[str, Any]:
        setup = self.tab.setup
        return {"models": setup.models_path, "predictions": [*setup.prediction_paths], "folder": setup.folder_path}

    def _options(self) -> dict[str, Any]:
        return {"choice": asdict(self.tab.setup.choice())}

    def _look_around(self) -> None:
        self.tasks.spawn(self._look_for_weights())

    async def _look_for_weights(self) -> None:
        """Say which measures need weights that are not here; anew each time, as they may have been fetched."""
        self.tab.setup.set_missing(await self.files.submit(_missing_weights))

    # -- folders -----------------------------------------------------------------------------------------

    async def _open(self, models: Path | None, predictions: Sequence[Path] | None, folder: Path | None) -> None:
        """Take these folders, and another for the results unless there is one."""
        if (opened := await self._read(_open, models, list(predictions or ()), folder)) is not None:
            self._meshes.clear()
            self.tab.show_opened(opened)
            self._remember()

    async def choose_folder(self, folder: Path | None) -> None:
        """Take another folder for the results; what an earlier evaluation has left there is shown."""
        if folder is not None and self.job is None and await self.files.submit(_is_evaluation, folder):
            await self._open(None, [], folder)
        else:
            await self._open(self.tab.setup.models_path, self.tab.setup.prediction_paths, folder)

    # -- the evaluation ----------------------------------------------------------------------------------

    async def evaluate(self) -> None:
        """Measure what is not yet measured, and write the report."""
        setup = self.tab.setup
        models, predictions, folder = setup.models_path, setup.prediction_paths, setup.folder_path
        if self.job is not None or self.tasks.closing or models is None or folder is None:
            return
        choice, rate = setup.choice(), Rate(5000)

        def make() -> Evaluation:
            from engine.evaluation.study import Evaluation

            return Evaluation(models, predictions, folder, engine_options(choice))

        def note(event: Progress) -> tuple[Progress, float | None]:
            if event.stage != "measure":
                return event, None
            rate.tick()
            return event, seconds_for(event.total - event.done, rate.rate())

        self.job = job = Job(make, note)
        self.tab.begin()
        problem, stopped = await self._watch(job, self._take)
        if not problem and not stopped and not self.tasks.closing:
            problem, _ = await self._outcome(self._show_results(models, predictions, folder))
        self.job = None
        if stopped or problem or not self.tasks.closing:
            self._show_end(problem, stopped=stopped)

    def _take(self, told: list[tuple[Progress, float | None]]) -> None:
        found, pace = [], None
        for event, left in told:
            if event.stage == "measure":
                self._counted = int(event.done), int(event.total)
            pace = Pace(event.stage, *self._counted, event.message, left)
            one = event.preview
            row = None if one is None else self.tab.model.find(one.name)
            if row is not None and one.label in row.predictions:
                found.append((one.label, one.name, found_of(row.predictions[one.label].path, asdict(one))))
        self.tab.take_progress(found, pace)

    async def _show_results(self, models: Path, predictions: list[Path], folder: Path) -> None:
        opened = await self.files.submit(_open, models, predictions, folder)
        self.tab.running = False
        self.tab.show_opened(opened)

    def _show_end(self, problem: str, *, stopped: bool) -> None:
        tab = self.tab
        found = [one for row in tab.model.rows for one in row.predictions.values() if one.path is not None]
        left = sum(not one.settled for one in found)
        failed = [row.name for row in tab.model.rows if row.state == "failed"]
        again = {"Show them": lambda: tab.show_filter("failed")} if failed else {}
        if problem:
            tab.end(problem, "error", {"Try again": tab.request_start})
        elif stopped:
            tab.end(f"Stopped; {count(left, 'prediction')} to go. Evaluate goes on from here.", "info")
        elif failed:
            named = ", ".join(failed[:3]) + (f" and {len(failed) - 3:,} more" if len(failed) > 3 else "")
            done = f"Finished: {count(len(found), 'prediction')} looked at; {count(len(failed), 'sample')} failed"
            tab.end(f"{done}: {named}.", "warning", again)
        else:
            unavailable = [METRICS[key].label for key in (tab.results or {}).get("unavailable", {}) if key in METRICS]
            without = f" Not measured: {', '.join(unavailable)}, without weights." if unavailable else ""
            tab.end(f"Finished: {count(len(found), 'prediction')} measured.{without}", "info")

    # -- a sample ----------------------------------------------------------------------------------------

    async def show_sample(self) -> None:
        """Show the input picture and the two meshes of the chosen sample, if it stays chosen for a moment."""
        compare = self.tab.compare
        self._looks += 1
        mine = self._looks
        sample, folder = compare.sample, self.tab.setup.folder_path

        def current() -> bool:
            return mine == self._looks and not self.tasks.closing

        if sample is None:
            return
        kept = [self._meshes.get(_mesh_key(sample, side.label)) for side in compare.sides]
        if not all(kept):
            await asyncio.sleep(SETTLE)
        if not await load_viewer(self.files, current):
            return
        if folder is not None and current() and compare.picture.image is None:
            labels = list(reversed(sample.predictions))
            image = await self.files.submit(_input_picture, folder, labels, sample)
            compare.set_picture(sample.name, image)
        for side in compare.sides:
            which = side.label
            key = _mesh_key(sample, which)
            if not current():
                return
            note = _why_not(sample, which)
            mesh = self._meshes.get(key)
            if mesh is None and not note:
                if side.viewport is None or side.mesh_key is None:
                    compare.set_mesh(side, sample.name, which, None, "Loading the mesh…")
                try:
                    mesh = await self.looker.submit(_placed_mesh, sample, which)
                except OrielError as error:
                    note = str(error)
                else:
                    self._keep(key, mesh)
            if current():
                compare.set_mesh(side, sample.name, which, mesh, note)

    def _keep(self, key: tuple[str, str], mesh: Mesh) -> None:
        self._meshes[key] = mesh
        self._meshes.move_to_end(key)
        while len(self._meshes) > KEPT:
            self._meshes.popitem(last=False)

    # -- what has been written ---------------------------------------------------------------------------

    async def show_folder(self, name: str) -> None:
        """Open the folder of a sample's model; of the results, without a name."""
        row, folder = self.tab.model.find(name) if name else None, self.tab.setup.folder_path
        await self._open_outside(Path(row.path).parent if row is not None else folder)

    async def copy_csv(self, path: Path) -> None:
        """Copy the figures to a file."""
        folder = self.tab.setup.folder_path
        if folder is None:
            return
        try:
            await self.files.submit(_copy_csv, folder, path)
        except OrielError as error:
            self.tab.say(str(error))
        else:
            self.tab.say(f"The figures were saved to {path}.", "info")


# -- on the other threads ------------------------------------------------------------------------------------


def engine_options(choice: Choice) -> Options:
    """The engine's options."""
    from engine.evaluation.alignment import UP_AXES
    from engine.evaluation.options import Options

    wanted = tuple(key for key in METRICS if key not in choice.without)
    return Options(
        metrics=None if len(wanted) == len(METRICS) else wanted,
        clip=Path(choice.clip).expanduser() if choice.clip and "clip" in wanted else None,
        lpips=Path(choice.lpips).expanduser() if choice.lpips and "lpips" in wanted else None,
        up=tuple(UP_AXES) if choice.up == "all" else (choice.up,),
        workers=choice.workers or None if not choice.scheduler else None,
        scheduler=choice.scheduler or None,
    )


def choice_of(options: Options) -> Choice:
    """The options of an earlier evaluation as the user would choose them; who does the work is not kept."""
    up = "all" if len(options.up) > 1 else options.up[0]
    without = () if options.metrics is None else tuple(key for key in METRICS if key not in options.metrics)
    return Choice(without, str(options.clip or ""), str(options.lpips or ""), up)


def suggested_folder(models: Path, predictions: Sequence[Path]) -> Path:
    """Where the results go unless the user says otherwise: never where another evaluation's are."""
    from engine.evaluation.study import Begun

    wanted = models.absolute(), tuple(path.absolute() for path in predictions)
    base = models.absolute().with_name(f"{models.absolute().name}-evaluation")
    for number in range(1, 1000):
        path = base if number == 1 else base.with_name(f"{base.name}-{number}")
        begun = Begun.read(path)
        if not path.exists() or (begun is not None and (begun.models, begun.predictions) == wanted):
            return path
    return base


def found_of(path: str | None, row: dict[str, Any] | None) -> Found:
    """What a record of a prediction says of it."""
    if row is None:
        return Found(path)
    matrix = (row.get("alignment") or {}).get("matrix")
    problem = "" if path is None else row.get("problem") or ""
    return Found(path, row.get("figures") or {}, matrix, problem, tuple(row.get("notes") or ()))


def _missing_weights() -> dict[str, str]:
    from engine.evaluation.study import missing_weights

    return missing_weights()


def _is_evaluation(folder: Path) -> bool:
    return (folder / "results.json").is_file() or (folder / "study.json").is_file()


def _open(models: Path | None, predictions: list[Path], folder: Path | None) -> Opened:
    from engine.evaluation.pairs import find_pairs
    from engine.evaluation.report import JSON, read_results
    from engine.evaluation.study import Begun, read_measures

    begun = Begun.read(folder) if folder is not None else None
    results, rows, problem = None, {}, ""
    choice = None
    if begun is not None and models is None and not predictions:
        models, predictions, choice = begun.models, list(begun.predictions), choice_of(begun.options)
    if models is not None and predictions:
        others = folder is not None and _is_evaluation(folder) and not _same(begun, models, predictions)
        if folder is None or others:  # the results of another evaluation are not to be written over
            folder = suggested_folder(models, predictions)
            begun = Begun.read(folder)
    same = begun is None or _same(begun, models, predictions)
    try:
        if folder is not None and same and (folder / JSON).is_file() and (begun is not None or models is None):
            results = read_results(folder)
        if folder is not None and begun is not None and same:
            rows = read_measures(folder)
        if models is None or not predictions:
            if models is not None and not models.is_dir():
                problem = f"There is no folder {models}. Check the path."
            opened = Opened(models, predictions, folder, choice=choice, problem=problem)
            return _of_results(opened, results) if results is not None and models is None else opened
        pairs = find_pairs(models, predictions)
    except (OrielError, OSError) as error:
        opened = Opened(models, predictions, folder, choice=choice, problem=str(error))
        return _of_results(opened, results) if results is not None else opened
    if results is not None:
        rows = _rows_of(results.data) | rows
    samples = [
        Sample(
            model.name,
            str(model.path.absolute()),
            {
                label: found_of(str(one.path.absolute()) if one is not None else None, rows.get((label, model.name)))
                for label in pairs.labels
                for one in [pairs.predictions.get((label, model.name))]
            },
        )
        for model in pairs.models
    ]
    return Opened(
        models,
        predictions,
        folder,
        tuple(pairs.labels),
        samples,
        tuple(pairs.notes),
        results.data if results is not None else None,
        results.page if results is not None and results.page.is_file() else None,
        choice,
    )


def _same(begun: Begun | None, models: Path | None, predictions: Sequence[Path]) -> bool:
    if begun is None or models is None:
        return False
    given = tuple(path.absolute() for path in predictions)
    return (begun.models, begun.predictions) == (models.absolute(), given)


def _rows_of(data: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (label, sample["name"]): found for sample in data["samples"] for label, found in sample["predictions"].items()
    }


def _of_results(opened: Opened, results: Any) -> Opened:
    """What the results alone say, where the folders they are of are not known or not there."""
    data = results.data
    samples = [
        Sample(
            sample["name"],
            sample["path"],
            {label: found_of(found["path"], found) for label, found in sample["predictions"].items()},
        )
        for sample in data["samples"]
    ]
    page = results.page if results.page.is_file() else None
    return Opened(
        opened.models,
        opened.predictions,
        opened.folder,
        tuple(data["labels"]),
        samples,
        tuple(data["notes"]),
        data,
        page,
        opened.choice,
        opened.problem,
    )


def _input_picture(folder: Path, labels: Sequence[str], sample: Sample) -> QImage:
    from engine.evaluation.report import picture_path
    from engine.evaluation.study import PICTURES

    for label in labels:
        path = picture_path(folder / PICTURES, label, sample.name, "input")
        if path.is_file():
            return QImage(str(path))
    return QImage()


def _mesh_key(sample: Sample, which: str) -> tuple[str, str]:
    """What tells a placed mesh from others."""
    if which == TRUTH:
        return sample.path, ""
    found = sample.predictions.get(which)
    return (found.path or "" if found is not None else ""), str(found.matrix if found is not None else None)


def _why_not(sample: Sample, which: str) -> str:
    """Why a mesh cannot be shown; empty if it can."""
    if which == TRUTH:
        return ""
    found = sample.predictions.get(which)
    if found is None or found.path is None:
        return f"{which} has no prediction of {sample.name}."
    if found.problem:
        return f"Not measured, and so not laid onto the model. {found.problem}"
    return ""


def _placed_mesh(sample: Sample, which: str) -> Mesh:
    """The true model with its longest side 1 around the origin, or a prediction where it lies on it.

    One that is not measured yet stands as it is, with its own longest side 1.
    """
    import numpy as np

    from engine.evaluation.pictures import read_shape

    def read(path: str) -> Any:
        if not Path(path).exists():
            raise InputError(f"{path} is no longer there. Put it back, or evaluate again.")
        return read_shape(Path(path), PREVIEW_TRIANGLES)

    found = sample.predictions.get(which)
    shape = read(str(found.path) if found is not None else sample.path)
    if found is None or found.matrix is None:
        return mesh_of_parts(shape.moved(shape.to_unit()).parts)
    truth = read(sample.path)
    to_unit = truth.to_unit()
    # From the frame it was read in to its file's, to the true model's file, to the frame that one was read in.
    onto = to_unit @ truth.frame @ np.asarray(found.matrix, np.float64) @ np.linalg.inv(shape.frame)
    return mesh_of_parts(shape.moved(onto).parts)


def _copy_csv(folder: Path, path: Path) -> None:
    from engine.evaluation.report import CSV

    with writing(path):
        shutil.copyfile(folder / CSV, path)

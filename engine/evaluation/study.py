"""An evaluation of sets of predictions against true models: measured in parallel, resumable, and reported.

The folder of an evaluation holds

    study.json       what is measured against what, and how, so that it can be gone on with
    measures.jsonl   one prediction a line, appended and put on the disk as soon as it is measured; of several lines of
                     one prediction the last counts, and only while the files and the settings are those it was made of
    pictures/        what the page shows: <label>/<name>/{input,views,mesh}.jpg, .truth/<name>.jpg
    results.csv, results.json, report.html   written whole at the end, from the records alone
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from engine import weights
from engine.core import ledger
from engine.core.errors import InputError, WeightsError
from engine.core.files import locked_folder, read_object, sync, write_whole, writing
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.evaluation.measuring import Measured, Settings, failed, measure_model, pack
from engine.evaluation.metrics import METRICS
from engine.evaluation.options import Options
from engine.evaluation.pairs import Model, Pairs, Prediction, find_pairs
from engine.evaluation.report import Results, picture_path, write_report
from engine.jobs.dispatch import LOSSES, Dispatcher, Task, Worker

STUDY, RECORDS, PICTURES = "study.json", "measures.jsonl", "pictures"
_VERSION = 2
"""Of the measures; raised when they change, so that older records are measured again."""
_WORKER_BYTES = 1 << 30
_AT_A_TIME = 2
"""Models that a worker with several threads measures at a time."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """What an evaluation measures against what, as its folder keeps it."""

    models: Path
    predictions: tuple[Path, ...]
    options: Options
    """But for the machines."""

    def write(self, folder: Path) -> None:
        """Keep it in a folder; `OutputError` where it cannot be written."""
        options = {key: value for key, value in asdict(self.options).items() if key not in ("workers", "scheduler")}
        record = {"format": 1, "models": self.models, "predictions": self.predictions} | options
        write_whole(folder / STUDY, json.dumps(record, indent=1, default=str).encode())

    @staticmethod
    def read(folder: Path) -> Begun | None:
        """What was begun in a folder; None if nothing was, or its record is damaged."""
        record = read_object(folder / STUDY)
        try:
            assert record is not None
            paths = {key: Path(record[key]) if record[key] else None for key in ("clip", "lpips")}
            metrics = None if record["metrics"] is None else tuple(record["metrics"])
            options = Options(metrics, paths["clip"], paths["lpips"], tuple(record["up"]))
            return Begun(Path(record["models"]), tuple(Path(p) for p in record["predictions"]), options)
        except (AssertionError, KeyError, TypeError, InputError):
            return None


class Evaluation:
    """One evaluation; `run` it from any thread."""

    def __init__(self, models: Path, predictions: Sequence[Path], out: Path, options: Options | None = None) -> None:
        """See `find_pairs` for what the folders hold. Raises `InputError`, and `WeightsError` for chosen weights."""
        self.options = options or Options()
        self.out = Path(out)
        self.begun = Begun(Path(models).absolute(), tuple(Path(p).absolute() for p in predictions), self.options)
        self.pairs: Pairs = find_pairs(Path(models), [Path(p) for p in predictions])
        self.unavailable: dict[str, str] = {}
        """Measures that cannot be taken here, and why."""
        self.settings = self._settings()

    def run(self, progress: ProgressCallback = ignore_progress, cancel: CancelToken | None = None) -> Results:
        """Measure what is not yet measured, and write the report.

        Reports `Progress("measure", ...)` whose preview is the `Measured` that has just come, and `("report", ...)`.
        A prediction that cannot be measured is told in the results and the rest goes on. Raises `Cancelled` with all
        records kept, `InputError` where another evaluation is at work in the folder, `OutputError` where it cannot
        be written.
        """
        cancel = cancel or CancelToken()
        with _records(self.out) as records:
            cancel.check()
            self.begun.write(self.out)
            digests = self._digests(cancel)
            known = records.current(digests)
            total = len(digests)
            jobs = self._jobs(known)
            progress(Progress("measure", total - sum(len(p) for _, p in jobs), total, "Measuring"))

            def settled(found: list[Measured]) -> None:
                for measured in found:
                    key = measured.label, measured.name
                    known[key] = records.add(measured, digests[key])
                    done = total - sum(1 for k in digests if k not in known)
                    text = f"{measured.name} ({measured.label})" + (f": {measured.problem}" if measured.problem else "")
                    progress(Progress("measure", done, total, text, measured))

            if jobs:
                self._measure(jobs, settled, cancel)
            progress(Progress("report", 0, 1, "Writing the report"))
            results = write_report(
                self.out, self.pairs, self.settings.metrics, self.unavailable, known, self.out / PICTURES
            )
            progress(Progress("report", 1, 1, str(results.page)))
            return results

    # -- what there is to do ---------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        """The measures that can be taken; those of which weights are missing are told in `unavailable`."""
        options = self.options
        wanted = list(options.metrics or METRICS)
        if options.clip is not None and "clip" not in wanted:
            wanted.insert(0, "clip")
        if options.lpips is not None and "lpips" not in wanted:
            wanted.append("lpips")
        found: dict[str, Path] = {}
        for key, check in _WEIGHTS.items():
            chosen = getattr(options, key, None)
            if key not in wanted:
                continue
            try:
                found[key] = check(chosen)
            except WeightsError as error:
                if chosen is not None:
                    raise
                self.unavailable[key] = str(error)
                wanted.remove(key)
        if "elevation_error" in wanted and all(model.case.elevation is None for model in self.pairs.models):
            wanted.remove("elevation_error")
            if options.metrics is not None:
                self.unavailable["elevation_error"] = "No true elevations are known: cases.json beside the models."
        if "far_f_score" in wanted and not any(p.path.is_dir() for p in self.pairs.predictions.values()):
            wanted.remove("far_f_score")
            if options.metrics is not None:
                self.unavailable["far_f_score"] = (
                    "The input's camera is known of run folders of `oriel reconstruct` alone."
                )
        if not wanted:
            raise InputError(f"Nothing can be measured. {' '.join(self.unavailable.values())}")
        return Settings(tuple(dict.fromkeys(wanted)), found.get("clip"), found.get("lpips"), options.up)

    def _digests(self, cancel: CancelToken) -> dict[tuple[str, str], str]:
        """What each prediction's measures depend on."""
        settings = {key: str(value) for key, value in asdict(self.settings).items()}
        for key in ("clip", "lpips"):
            if (path := getattr(self.settings, key)) is not None:
                settings[key] = _stamp(path)
        of_models: dict[str, str] = {}
        found: dict[tuple[str, str], str] = {}
        for model in self.pairs.models:
            for label in self.pairs.labels:
                prediction = self.pairs.predictions.get((label, model.name))
                if prediction is None:
                    continue
                cancel.check()
                if model.name not in of_models:
                    of_models[model.name] = _content(model.path)
                parts = [_VERSION, settings, of_models[model.name], model.case.elevation, _content(prediction.path)]
                found[label, model.name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
        return found

    def _jobs(self, known: dict[tuple[str, str], dict[str, Any]]) -> list[tuple[Model, list[Prediction]]]:
        jobs = []
        for model in self.pairs.models:
            open_ = [
                prediction
                for label in self.pairs.labels
                if (prediction := self.pairs.predictions.get((label, model.name))) is not None
                and (label, model.name) not in known
            ]
            if open_:
                jobs.append((model, open_))
        return jobs

    # -- doing it --------------------------------------------------------------------------------------------

    def _measure(
        self,
        jobs: list[tuple[Model, list[Prediction]]],
        settled: Callable[[list[Measured]], None],
        cancel: CancelToken,
    ) -> None:
        if self.options.workers == 0 and self.options.scheduler is None:
            for model, predictions in jobs:
                found = measure_model(model, predictions, self.settings, None, cancel.check)
                settled(_lost(predictions, "Its file is no longer there.") if found is None else found)
            return
        from engine import cluster

        asyncio.run(cluster.attend(self._farm(jobs, settled), lambda: cancel.cancelled))
        cancel.check()

    async def _farm(
        self, jobs: list[tuple[Model, list[Prediction]]], settled: Callable[[list[Measured]], None]
    ) -> None:
        from dask.system import CPU_COUNT

        from engine import cluster

        async with contextlib.AsyncExitStack() as stack:
            address = self.options.scheduler
            if address is None:
                workers = self.options.workers
                if workers is None:
                    workers = max(1, min(CPU_COUNT, psutil.virtual_memory().available // _WORKER_BYTES))
                folder = stack.enter_context(cluster.scratch())
                here = cluster.local_cluster(min(workers, len(jobs)), 1, folder)
                address = await stack.enter_async_context(here)
            client = await stack.enter_async_context(cluster.connect(address, "oriel-evaluate"))

            async def attempt(job: _Job, worker: Worker) -> None:
                files, call = partial(pack, job.model, job.predictions), (job.model, job.predictions, self.settings)
                try:
                    found = await dispatcher.call(job, worker, _work, call, files)
                except (OSError, InputError) as error:
                    settled(_lost(job.predictions, f"A file cannot be sent: {error}"))
                else:
                    settled(_lost(job.predictions, "Its file is no longer there.") if found is None else found)

            def ended(job: _Job, how: str, why: str) -> None:
                if how == "lost":
                    settled(_lost(job.predictions, f"Its worker died, and {LOSSES - 1} others before it."))

            dispatcher = Dispatcher(attempt, ended, what="measure", log=_log, at_a_time=_AT_A_TIME)
            dispatcher.queue.extend(_Job(model, predictions) for model, predictions in jobs)
            await dispatcher.work(client, self.options.scheduler)


class _Job(Task):
    """A model's predictions to be measured."""

    def __init__(self, model: Model, predictions: list[Prediction]) -> None:
        super().__init__(model.name)
        self.model, self.predictions = model, predictions


def _work(job: tuple[Model, list[Prediction], Settings], contents: dict[str, bytes] | None) -> list[Measured] | None:
    """What a worker does: as `measure_model`, but that nothing is raised, so that no worker is blamed for a model."""
    import cv2

    cv2.setNumThreads(1)  # the workers share the cores
    model, predictions, settings = job
    try:
        return measure_model(model, predictions, settings, contents)
    except Exception as error:
        _log.warning("Measuring %s failed", model.name, exc_info=True)
        return _lost(predictions, f"Its worker failed ({type(error).__name__}: {error}).")


def _lost(predictions: list[Prediction], problem: str) -> list[Measured]:
    return [failed(prediction, problem) for prediction in predictions]


# -- weights and files ---------------------------------------------------------------------------------------


def _clip_path(chosen: Path | None) -> Path:
    from engine.evaluation.clip import KEY, ClipSimilarity

    return ClipSimilarity(chosen, device="cpu").path if chosen is not None else weights.require(KEY)


def _lpips_path(chosen: Path | None) -> Path:
    from engine.evaluation.lpips import Lpips, find_lpips

    return Lpips(chosen, device="cpu").path if chosen is not None else find_lpips()


def _likeness_path(chosen: None) -> Path:
    from engine.views.features import find_efficientnet

    return find_efficientnet()


_WEIGHTS: dict[str, Callable[[Any], Path]] = {
    "clip": _clip_path,
    "lpips": _lpips_path,
    "likeness": _likeness_path,
}
"""What finds the weights of a measure that needs some."""


def missing_weights() -> dict[str, str]:
    """Measures whose weights are not on this machine, and what to do about it."""
    found = {}
    for key, check in _WEIGHTS.items():
        try:
            check(None)
        except WeightsError as error:
            found[key] = str(error)
    return found


def _stamp(path: Path) -> str:
    """What tells weights apart without reading them all."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return json.dumps([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def _content(path: Path) -> str:
    """Checksum of a mesh file and of the files of its name, or of what is measured of a run folder."""
    if path.is_dir():
        files = [path / name for name in ("mesh.npz", "surface.npz", "elevation.json")]
    else:
        files = [path, *(path.with_suffix(suffix) for suffix in (".mtl", ".bin", ".png"))]
    found = hashlib.sha256()
    for file in files:
        try:
            found.update(weights.sha256(file).encode())
        except OSError:
            found.update(b"-")
    return found.hexdigest()


# -- records -------------------------------------------------------------------------------------------------


def read_measures(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What an evaluation has measured so far, by label and name; it may have been of other files of these names."""
    try:
        raw = (folder / RECORDS).read_bytes()
    except FileNotFoundError:
        return {}
    rows = {}
    for line in raw[: raw.rfind(b"\n") + 1].splitlines():
        try:
            row = json.loads(line)
            rows[str(row["label"]), str(row["name"])] = row
        except (ValueError, KeyError, TypeError):
            continue  # not ours to judge: it is measured again
    return rows


class _Records:
    """`measures.jsonl` of a folder, open for writing."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / RECORDS
        self._path.touch()
        ledger.mend(self._path)
        self._rows = read_measures(folder)

    def current(self, digests: dict[tuple[str, str], str]) -> dict[tuple[str, str], dict[str, Any]]:
        """The rows that were made of the very files and settings, with their pictures still there.

        Of what failed none is current: it is tried again.
        """
        return {
            key: row
            for key, row in self._rows.items()
            if row.get("digest") == digests.get(key, "")
            and not row.get("problem")
            and self._picture(*key, "mesh").is_file()
        }

    def add(self, measured: Measured, digest: str) -> dict[str, Any]:
        """Put a prediction on the disk: its pictures, then its line."""
        with writing(self._path):
            for name, picture in measured.pictures.items():
                path = self._picture(measured.label, measured.name, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, picture)
            row = asdict(measured) | {"digest": digest}
            del row["pictures"]
            ledger.append(self._path, json.dumps(row).encode() + b"\n")
        return row

    def _picture(self, label: str, name: str, which: str) -> Path:
        return picture_path(self._folder / PICTURES, label, name, which)


@contextlib.contextmanager
def _records(out: Path) -> Iterator[_Records]:
    """The records of a folder, which no other evaluation may use meanwhile."""
    busy = f"Another evaluation is at work in {out}. Wait for it, or choose another folder."
    with locked_folder(out, ".evaluate.lock", busy):
        with writing(out / RECORDS):
            records = _Records(out)
            sync(out)
        yield records

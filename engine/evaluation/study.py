"""An evaluation of sets of predictions against true models: measured in parallel, resumable, and reported.

The folder of an evaluation holds

    measures.jsonl   one prediction a line, appended and put on the disk as soon as it is measured; of several lines of
                     one prediction the last counts, and only while the files and the settings are those it was made of
    pictures/        what the page shows: <label>/<name>/{input,views,mesh}.jpg, .truth/<name>.jpg
    results.csv, results.json, report.html   written whole at the end, from the records alone
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from engine import weights
from engine.errors import InputError, WeightsError
from engine.evaluation.measuring import Measured, Settings, measure_model, pack
from engine.evaluation.metrics import METRICS
from engine.evaluation.pairs import Model, Pairs, Prediction, find_pairs
from engine.evaluation.report import Results, picture_path, write_report
from engine.files import lock_folder, sync, unwritable, write_whole
from engine.progress import CancelToken, Progress, ProgressCallback, ignore_progress

RECORDS, PICTURES = "measures.jsonl", "pictures"
_VERSION = 1
"""Of the measures; raised when they change, so that older records are measured again."""
_WORKER_BYTES = 1 << 30
_CONNECT_SECONDS = 15
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How an evaluation is done."""

    metrics: tuple[str, ...] | None = None
    """Keys of `METRICS`, the one that the page is about first; None for all that can be measured."""
    clip: Path | None = None
    """CLIP's weights: a file or folder; None for what the registry finds."""
    lpips: Path | None = None
    """Weights of LPIPS; None for what is found in the folders of weights."""
    up: tuple[str, ...] = ("+z",)
    """Axes of the predictions that may point up, once read by their format's custom; several are all tried."""
    workers: int | None = None
    """Processes on this machine, 0 for this very one; None from cores and memory."""
    scheduler: str | None = None
    """Address of a Dask scheduler, whose workers do the work instead."""

    def __post_init__(self) -> None:
        unknown = [key for key in self.metrics or () if key not in METRICS]
        if unknown:
            raise InputError(f"There is no measure {unknown[0]!r}. There are: {', '.join(METRICS)}.")
        if self.metrics is not None and not self.metrics:
            raise InputError(f"No measure was chosen. There are: {', '.join(METRICS)}.")
        if self.workers is not None and not 0 <= self.workers <= 1024:
            raise InputError(f"Workers are {self.workers}, but have to be 0 to 1024.")


class Evaluation:
    """One evaluation; `run` it from any thread."""

    def __init__(self, models: Path, predictions: Sequence[Path], out: Path, options: Options | None = None) -> None:
        """See `find_pairs` for what the folders hold. Raises `InputError`, and `WeightsError` for chosen weights."""
        self.options = options or Options()
        self.out = Path(out)
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
        for key, chosen, check in (("clip", options.clip, _clip_path), ("lpips", options.lpips, _lpips_path)):
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
        with self._client(len(jobs)) as client:
            _farm(client, jobs, self.settings, settled, cancel)

    @contextlib.contextmanager
    def _client(self, jobs: int) -> Iterator[Any]:
        """A client of the scheduler that was named, or of a cluster of processes on this machine."""
        import dask
        from distributed import Client, LocalCluster

        quiet = {
            "distributed.scheduler.allowed-failures": 1,
            "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
            "distributed.worker.profile.enabled": False,
        }
        with dask.config.set(quiet):
            if self.options.scheduler is not None:
                try:
                    client = Client(self.options.scheduler, timeout=_CONNECT_SECONDS)
                except (OSError, ValueError, TimeoutError) as error:
                    raise InputError(
                        f"There is no Dask scheduler at {self.options.scheduler} ({error}). Check the address, as "
                        "tcp://host:8786, and that it runs."
                    ) from error
                with client:
                    yield client
                return
            workers = self.options.workers
            if workers is None:
                workers = max(1, min(_cores(), psutil.virtual_memory().available // _WORKER_BYTES))
            cluster = LocalCluster(
                n_workers=min(workers, jobs),
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
            with cluster, Client(cluster, timeout=_CONNECT_SECONDS) as client:
                yield client


def _farm(
    client: Any,
    jobs: list[tuple[Model, list[Prediction]]],
    settings: Settings,
    settled: Callable[[list[Measured]], None],
    cancel: CancelToken,
) -> None:
    """Measure the jobs on a cluster; a worker that dies takes no more than what it was at."""
    from distributed import wait

    waiting = list(reversed(jobs))
    pending: dict[Any, tuple[Model, list[Prediction], bool]] = {}

    def submit(model: Model, predictions: list[Prediction], sent: bool) -> None:
        contents = pack(model, predictions) if sent else None
        future = client.submit(_work, model, predictions, settings, contents, pure=False)
        pending[future] = model, predictions, sent

    try:
        while waiting or pending:
            cancel.check()
            while waiting and len(pending) < 2 * max(1, len(client.nthreads())):
                submit(*waiting.pop(), False)
            try:
                done = wait(list(pending), timeout=0.2, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if client.status != "running":
                    raise InputError(
                        "The Dask scheduler has gone. Start it, and the evaluation again: it goes on from here."
                    ) from None
                continue
            for future in done:
                model, predictions, sent = pending.pop(future)
                try:
                    found = future.result()
                except Exception as error:
                    _log.warning("Measuring %s failed", model.name, exc_info=True)
                    settled(_lost(predictions, f"Its worker died or failed ({type(error).__name__}: {error})."))
                    continue
                if found is not None:
                    settled(found)
                elif sent:
                    settled(_lost(predictions, "Its file is no longer there."))
                else:
                    try:
                        submit(model, predictions, True)
                    except OSError as error:
                        settled(_lost(predictions, f"Its file cannot be read: {error.strerror}."))
    finally:
        client.cancel(list(pending), force=True)


def _work(
    model: Model, predictions: list[Prediction], settings: Settings, contents: dict[str, bytes] | None
) -> list[Measured] | None:
    import cv2

    cv2.setNumThreads(1)  # the workers share the cores
    return measure_model(model, predictions, settings, contents)


def _lost(predictions: list[Prediction], problem: str) -> list[Measured]:
    return [Measured(p.label, p.name, {}, None, {}, problem, [], {}) for p in predictions]


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- weights and files ---------------------------------------------------------------------------------------


def _clip_path(chosen: Path | None) -> Path:
    from engine.evaluation.clip import KEY, ClipSimilarity

    return ClipSimilarity(chosen, device="cpu").path if chosen is not None else weights.require(KEY)


def _lpips_path(chosen: Path | None) -> Path:
    from engine.evaluation.lpips import Lpips, find_lpips

    return Lpips(chosen, device="cpu").path if chosen is not None else find_lpips()


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


class _Records:
    """`measures.jsonl` of a folder, open for writing."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / RECORDS
        raw = self._path.read_bytes() if self._path.exists() else b""
        whole = raw[: raw.rfind(b"\n") + 1]  # a kill may have torn the last line
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        for line in whole.splitlines():
            try:
                row = json.loads(line)
                self._rows[str(row["label"]), str(row["name"])] = row
            except (ValueError, KeyError, TypeError):
                continue  # not ours to judge: it is measured again
        self._file = self._path.open("r+b" if self._path.exists() else "w+b")
        self._file.truncate(len(whole))
        self._file.seek(0, os.SEEK_END)

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
        try:
            for name, picture in measured.pictures.items():
                path = self._picture(measured.label, measured.name, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, picture)
            row = asdict(measured) | {"digest": digest}
            del row["pictures"]
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error
        return row

    def _picture(self, label: str, name: str, which: str) -> Path:
        return picture_path(self._folder / PICTURES, label, name, which)

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _records(out: Path) -> Iterator[_Records]:
    """The records of a folder, which no other evaluation may use meanwhile."""
    busy = f"Another evaluation is at work in {out}. Wait for it, or choose another folder."
    lock = lock_folder(out, ".evaluate.lock", busy)
    try:
        try:
            records = _Records(out)
            sync(out)
        except OSError as error:
            raise unwritable(out / RECORDS, error) from error
        try:
            yield records
        finally:
            records.close()
    finally:
        lock.release()

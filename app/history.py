"""The runs on this machine: a folder of run folders."""

from __future__ import annotations

import contextlib
import datetime
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from engine.core.errors import InputError, OrielError, OutputError
from engine.reconstruct.options import Options
from engine.reconstruct.run import Run


class History:
    """All runs below one folder, newest first. Holds nothing in memory: the folders are the truth."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def runs(self) -> list[Run]:
        """All runs, newest first. A folder that holds no readable run is passed over."""
        found: list[Run] = []
        with _looking(self.root):
            folders = list(self.root.iterdir()) if self.root.is_dir() else []
        for folder in folders:
            if not folder.name.startswith("."):
                with contextlib.suppress(OrielError, OSError):
                    found.append(Run.open(folder))
        return sorted(found, key=lambda run: (run.created, run.folder.name), reverse=True)

    def search(self, text: str) -> list[Run]:
        """Runs whose name, source, date, status, quality or generator hold every word of `text`, in any case."""
        words = text.lower().split()
        return [run for run in self.runs() if all(word in _haystack(run) for word in words)]

    def get(self, name: str) -> Run:
        """The run in the folder `name`; InputError if there is none."""
        with _looking(self.root / name):
            if not (self.root / name / "run.json").exists():
                raise InputError(f"There is no run named {name!r} in {self.root}. `oriel runs list` names them.")
        return Run.open(self.root / name)

    def create(self, picture: Path | bytes, options: Options | None = None, *, name: str | None = None) -> Run:
        """Start a run of `picture` in a new folder named by time and picture."""
        self._sweep()
        stem = name or (picture.stem if isinstance(picture, Path) else "picture")
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = free_folder(self.root / f"{stamp}-{safe_name(stem)}")
        return Run.create(picture, folder, options, name=stem)

    def delete(self, run: Run) -> None:
        """Delete a run and its files; InputError while it is being worked on."""
        if run.status == "running":
            raise InputError(f"The run {run.name} is being worked on. Cancel it first.")
        # Renamed first, so that a kill half-way leaves no half run in the history.
        folder = run.folder.resolve()
        doomed = folder.with_name(f".deleted-{folder.name}")
        try:
            folder.replace(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise OutputError(
                f"{run.folder} could not be deleted: {(error.strerror or str(error)).lower()}."
            ) from error

    def _sweep(self) -> None:
        """Remove what processes that were killed have left: runs half made and runs half deleted."""
        with contextlib.suppress(OSError):
            for folder in self.root.glob(".*"):
                made_by = re.fullmatch(r"\..*\.(\d+)\.tmp", folder.name)
                if folder.name.startswith(".deleted-") or (made_by and not psutil.pid_exists(int(made_by[1]))):
                    shutil.rmtree(folder, ignore_errors=True)


def safe_name(text: str) -> str:
    """`text` as a part of a file name on any system."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:60] or "picture"


def free_folder(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, ... that is not there; OutputError where nobody may look."""
    candidate, number = folder, 2
    with _looking(folder):
        while candidate.exists():
            candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


@contextlib.contextmanager
def _looking(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into an OutputError that names the place."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{folder} cannot be used: {reason}. Choose another folder.") from error


def _haystack(run: Run) -> str:
    options = run.options
    parts = [run.name, run.source or "", run.folder.name, run.status, options.quality, options.generator]
    return " ".join([*parts, run.created.strftime("%Y-%m-%d %H:%M")]).lower()

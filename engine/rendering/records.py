"""What a run of the farm has done, on disk: plain files in the output folder that survive a kill at any instant.

    models.json     the models of the last run: key and path
    render.jsonl    one line for each attempt that was settled, in order
    progress.json   what a run is doing, rewritten about once a second
    logs/KEY.log    what Blender said at a model's last failure

A line of render.jsonl is appended whole and put on the disk before the next model is settled; one that a kill or a
power cut tore is cut off when the folder is next opened. Which models are done is seen from their folders, not here.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.core import ledger
from engine.core.errors import InputError
from engine.core.files import locked_folder, read_object, write_whole, writing
from engine.core.processes import process_lives, process_started
from engine.rendering import layout
from engine.rendering.jobs import STATES, ModelFile, ModelState, RenderSettings, RenderTotals, frames

QUEUE, MODELS, PROGRESS, LOGS = "render.jsonl", "models.json", "progress.json", "logs"
EVENTS = ("done", "failed", "aside", "cancelled", "again")
"""What a line says of a model: rendered; an attempt failed; it failed too often and was set aside; its user took it
out; it is to be tried afresh."""
_FRESH = 30.0
"""Seconds for which a run on another machine is believed to live after it last wrote."""


@dataclass(frozen=True)
class Settled:
    """How a model's last attempt went."""

    event: str
    """One of `EVENTS`."""
    attempts: int = 0
    """Failed ones since it was done or tried afresh."""
    message: str = ""
    worker: str = ""
    seconds_per_frame: float | None = None
    sha256: str = ""
    """Of the model's file at that time."""


class Records:
    """The records of one folder by the models' keys: `open` them to write, `read` them to look."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.settled: dict[str, Settled] = {}
        self._host = socket.gethostname()
        self._began = process_started(os.getpid())

    # -- opening ---------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, out: Path) -> Records:
        """The records as they are now, also while a run writes them."""
        if not out.is_dir():
            raise InputError(f"There is no folder {out}. Name the folder that the renders are in.")
        records = cls(out)
        records._load()
        return records

    @classmethod
    @contextmanager
    def open(cls, out: Path) -> Iterator[Records]:
        """Lock the folder, which is made if needed, mend what a kill tore and read the records."""
        busy = f"Another run renders into {out}. Wait for it, stop it, or choose another folder."
        with locked_folder(out, ".render.lock", busy):
            records = cls(out)
            with writing(out / QUEUE):
                ledger.mend(out / QUEUE)
                records._load()
            yield records

    # -- the queue -------------------------------------------------------------------------------------------

    def add(
        self,
        key: str,
        event: str,
        message: str = "",
        *,
        worker: str = "",
        sha256: str = "",
        seconds_per_frame: float | None = None,
    ) -> Settled:
        """Record how an attempt at a model was settled, on the disk before this returns."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "key": key, "event": event}
        line |= {"message": message, "worker": worker, "sha256": sha256}
        if seconds_per_frame is not None:
            line["seconds_per_frame"] = round(seconds_per_frame, 4)  # type: ignore[assignment]
        with writing(self.out / QUEUE):
            ledger.append(self.out / QUEUE, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._take(line)
        return self.settled[key]

    def _take(self, line: dict[str, Any]) -> None:
        key, event = str(line["key"]), str(line["event"])
        before = self.settled.get(key)
        attempts = 0 if before is None or event in ("done", "again") else before.attempts
        pace = line.get("seconds_per_frame")
        self.settled[key] = Settled(
            event,
            attempts + (event in ("failed", "aside")),
            str(line.get("message", "")),
            str(line.get("worker", "")),
            float(pace) if isinstance(pace, int | float) else None,
            str(line.get("sha256", "")),
        )

    def _load(self) -> None:
        try:
            content = (self.out / QUEUE).read_bytes()
        except FileNotFoundError:
            return
        # What stands after the last end of a line may still be being written.
        for text in content.split(b"\n")[:-1]:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "key" in line and line.get("event") in EVENTS:
                self._take(line)

    # -- the models ------------------------------------------------------------------------------------------

    def write_models(self, models: Sequence[ModelFile]) -> None:
        """Keep which models the run is about, for those who look from outside."""
        found = {"models": [[model.key, str(model.path.absolute())] for model in models]}
        write_whole(self.out / MODELS, json.dumps(found, ensure_ascii=False).encode())

    def models(self) -> list[ModelFile]:
        """The models of the last run; empty if there was none."""
        found = (read_object(self.out / MODELS) or {}).get("models", [])
        return [ModelFile(str(key), Path(path)) for key, path in found]

    # -- what Blender said -----------------------------------------------------------------------------------

    def write_log(self, key: str, text: str) -> None:
        """Keep what was said at a model's failure."""
        path = log_path(self.out, key)
        with writing(path.parent):
            path.parent.mkdir(exist_ok=True)
        write_whole(path, text.encode("utf-8", "replace"))

    def drop_log(self, key: str) -> None:
        """A model is done: what was said at its failures is of no use any more."""
        log_path(self.out, key).unlink(missing_ok=True)

    # -- the moment ------------------------------------------------------------------------------------------

    def write_progress(self, totals: RenderTotals, working: Iterable[dict[str, Any]]) -> None:
        """Say what this process is doing; `working` are models with `key`, `message`, `frames`, `worker`."""
        found = {"process": os.getpid(), "host": self._host, "began": self._began}
        found |= {"totals": asdict(totals), "working": list(working)}
        write_whole(self.out / PROGRESS, json.dumps(found, ensure_ascii=False).encode())


def log_path(out: Path, key: str) -> Path:
    """Where Blender's words at a model's last failure are."""
    return out / LOGS / f"{key}.log"


def read_progress(out: Path) -> tuple[RenderTotals, list[dict[str, Any]], bool] | None:
    """What a run last said of itself, its models at work, and whether it still runs; None if nothing was said."""
    path = out / PROGRESS
    found = read_object(path)
    try:
        if found is None:
            return None
        totals = RenderTotals(**found["totals"])
        working, process = list(found["working"]), int(found["process"])
        if found["host"] == socket.gethostname():
            alive = process_lives(process, float(found["began"]))
        else:
            alive = datetime.now(UTC).timestamp() - path.stat().st_mtime < _FRESH
    except (KeyError, TypeError, ValueError, OSError):
        return None
    return totals, working, alive and totals.state != "finished"


def read_status(out: Path) -> tuple[RenderTotals, list[ModelState]]:
    """How far the renders of a folder are, from what is on the disk: also while another process works at it.

    `RenderTotals.state` is `stopped` where models are left and nothing runs. Raises InputError where nothing has been
    rendered.
    """
    records = Records.read(out)
    models = records.models()
    if not models:
        raise InputError(f"Nothing has been rendered into {out}. Name the folder of an `oriel render run`.")
    told = read_progress(out)
    totals, working, alive = told or (RenderTotals("stopped", len(models)), [], False)
    at_work = {str(found.get("key")): found for found in working} if alive else {}
    settings = (read_object(out / layout.SETTINGS) or {}).get("settings", {})
    each = len(frames(RenderSettings.from_dict(settings)))
    states: list[ModelState] = []
    for model in models:
        before = records.settled.get(model.key, Settled("again"))
        state, message, count = {"aside": "failed", "cancelled": "cancelled"}.get(before.event, "waiting"), "", 0
        worker, found = before.worker, at_work.get(model.key)
        if found is not None:
            state, message, worker = "working", str(found.get("message", "")), str(found.get("worker", ""))
            count = int(found.get("frames", 0))
        elif (layout.folder_of(out, model.key) / layout.METADATA).is_file():
            state, count = "done", each
        else:
            message = before.message
        pace = before.seconds_per_frame
        states.append(ModelState(model, state, message, count, each, pace, worker, before.attempts))
    if not alive:
        counts = {name: sum(state.state == name for state in states) for name in STATES}
        totals = replace(
            totals,
            state="stopped" if counts["waiting"] else "finished",
            total=len(states),
            done=counts["done"],
            failed=counts["failed"],
            cancelled=counts["cancelled"],
            working=0,
            frames=each * counts["done"],
            frames_total=each * len(states),
            frames_per_hour=0.0,
            seconds_left=None,
            workers=0,
            message="",
        )
    return totals, states

"""The farm: renders many models on the cores of this machine, or on many machines, with Dask.

`RenderRun.run` does the work on the calling thread, in an event loop of its own, and reports there. What is done is in
its place and on the disk before the run goes on, so that a run which ended in whatever way goes on with another `run`
over the same folder.

Who renders what is up to `engine.jobs.dispatch`. Only this process writes into the output; workers need no disk in
common with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import Cancelled, InputError, OrielError, OutputError
from engine.core.files import writing
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.jobs import Board, Pace, log_to, seconds_for
from engine.jobs.dispatch import LOSSES, Dispatcher, Task, Trouble, Worker
from engine.meshes.companions import read_files
from engine.rendering import layout
from engine.rendering.blender import BlenderProcess, find_blender
from engine.rendering.jobs import (
    STATES,
    FarmOptions,
    Frame,
    FrameDone,
    ModelFile,
    ModelState,
    RenderSettings,
    RenderTotals,
    frames,
)
from engine.rendering.records import Records, read_status

if TYPE_CHECKING:
    from engine.rendering.station import Outcome

__all__ = ["FarmOptions", "RenderRun", "read_status", "render_frame"]

log = logging.getLogger("engine.rendering")
_PACE_SECONDS = 900.0
"""Frames of that time make the pace."""


class _Item(Task):
    """What the run keeps of a model besides what is on the board; only its own thread looks at it."""

    def __init__(self, model: ModelFile) -> None:
        super().__init__(model.key)
        self.model = model
        self.attempts = self.bytes = 0
        self.took = 0.0
        """Seconds of the frames of the attempt in work."""


class RenderRun:
    """Renders models into a folder, for one `run`; a further one over the same folder does what is left."""

    def __init__(
        self,
        models: Sequence[ModelFile],
        out: Path,
        settings: RenderSettings,
        options: FarmOptions | None = None,
        *,
        source: Path | None = None,
        retry_failed: bool = False,
        board: Board[ModelState] | None = None,
    ) -> None:
        """`source` is what the models were found from, for the record; `retry_failed` tries models again that an
        earlier run has set aside or whose user took them out. `board` is one of these models that somebody looks at,
        with what is known of them."""
        self.out = out
        self.settings = settings
        self.options = options or FarmOptions()
        self._source = source
        self._retry_failed = retry_failed
        self._frame_count = len(frames(settings))
        self._items = {model.key: _Item(model) for model in models}
        if len(self._items) != len(models):
            raise InputError("Two models have the same key. Give each one of its own.")
        if board is None:
            waiting = (ModelState(model, "waiting", total=self._frame_count) for model in models)
            board = Board(waiting, lambda state: state.model.key)
        self.board = board
        """The models as they are now, in their order."""
        self._seen = board.version
        self._id = secrets.token_hex(6)
        self._commands: deque[tuple[str, list[str]]] = deque()
        self._dispatcher: Dispatcher[_Item] = Dispatcher(self._attempt, self._ended, what="render", log=log)
        self._records: Records
        self._state = "starting"
        self._notice = ""
        self._fatal: Exception | None = None
        self._pace = Pace(5000, _PACE_SECONDS)
        self._over = self._reported = 0.0
        self._disk = self._free = 0
        self._progress: ProgressCallback = ignore_progress

    # -- control, from any thread ----------------------------------------------------------------------------

    def pause(self) -> None:
        """Begin no further model; those that are being rendered go on to their end."""
        self._dispatcher.paused = True
        self._dispatcher.poke()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._dispatcher.paused = False
        self._pace.interrupt()
        self._dispatcher.poke()

    def cancel_models(self, keys: Iterable[str]) -> None:
        """Take models out, also while they are rendered; they stay out until `retry`."""
        self._command("cancel", keys)

    def retry(self, keys: Iterable[str]) -> None:
        """Try models afresh that were set aside or taken out; before `run`, or while it is at work."""
        self._command("retry", keys)

    def prioritise(self, keys: Iterable[str]) -> None:
        """Render these next, in this order."""
        self._command("first", keys)

    def _command(self, what: str, keys: Iterable[str]) -> None:
        self._commands.append((what, list(keys)))
        self._dispatcher.poke()

    # -- the run ---------------------------------------------------------------------------------------------

    def run(self, progress: ProgressCallback = ignore_progress, cancel: CancelToken | None = None) -> RenderTotals:
        """Render all models that are not done; returns the totals.

        Reports `Progress("model", frames, of, message, ModelState)` for each model that has changed,
        `Progress("frame", frames, of, name, FrameDone)` for each frame, and `Progress("render", settled models, models,
        message, RenderTotals)` a few times a second. Raises `Cancelled` after `cancel`, InputError where the folder
        holds renders of other settings or another run is at work in it, and an OrielError when no model can go well
        any more: no Blender, a full disk, a scheduler that is gone. What is done is kept in any case.
        """
        cancel = cancel or CancelToken()
        self._progress = progress
        with Records.open(self.out) as records, log_to(self.out / "render.log", log):
            self._records = records
            layout.prepare(self.out, self.settings, self._source)
            layout.sweep(self.out)
            records.write_models([item.model for item in self._items.values()])
            try:
                self._begin(cancel)
                self._obey()
                if waiting := self.board.counts["waiting"]:
                    self._guard_disk()
                    if self.options.scheduler is None:
                        find_blender(self.options.blender)  # better said at once than by every worker
                    log.info("begin: %d models, %d to render", len(self._items), waiting)
                    asyncio.run(self._work(cancel))
            finally:
                layout.sweep(self.out)
                self._end()
            if cancel.cancelled and self._left():
                raise Cancelled
            return self.totals()

    def _left(self) -> int:
        counts = self.board.counts
        return counts["waiting"] + counts["working"]

    def _begin(self, cancel: CancelToken) -> None:
        """Find out what is left to do."""
        for key, item in self._items.items():
            cancel.check()
            before = self._records.settled.get(key)
            if layout.is_finished(self.out, item.model, self.settings):
                known = layout.metadata(self.out, key) or {}
                item.bytes = sum(known.get("files", {}).values())
                by = {} if before is None else {"worker": before.worker, "seconds_per_frame": before.seconds_per_frame}
                self._move(item, "done", "", earlier=True, attempts=self.board[key].attempts, **by)
            elif before is not None and before.event not in ("done", "again", "failed"):
                if self._retry_failed or (before.event == "aside" and _has_changed(item.model, before.sha256)):
                    self._records.add(key, "again")
                    self._wait(item)
                else:
                    item.attempts = before.attempts
                    state = "failed" if before.event == "aside" else "cancelled"
                    self._move(item, state, before.message, earlier=True, worker=before.worker)
            else:
                if before is not None and before.event == "failed":
                    item.attempts = before.attempts
                self._wait(item)
            self._disk += item.bytes
            if self._due():
                self._emit()

    def _wait(self, item: _Item) -> None:
        """Put a model that is left to do into the queue."""
        self._dispatcher.queue.append(item)
        if self.board[item.key].state != "waiting":  # as it stood when somebody looked last
            self._move(item, "waiting", "")

    def _end(self) -> None:
        """Leave everything said and in order."""
        self._over, self._notice = time.monotonic(), ""
        self._state = "stopped" if self._left() else "finished"
        for item in self._items.values():
            if self.board[item.key].state == "working":
                self._move(item, "waiting", "")
        here = layout.folder_of(self.out, "x").parent
        layout.write_split(self.out, [p.name for p in here.iterdir() if (p / layout.METADATA).is_file()])
        self._records.write_progress(self.totals(), [])
        counts = self.board.counts
        counted = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        log.info("end: %s", counted or "no models")
        self._emit()

    async def _work(self, cancel: CancelToken) -> None:
        """Have the farm work while this reports, keeps watch, and ends it when it must."""
        from engine import cluster

        watched = 0.0

        def look() -> bool:
            nonlocal watched
            over = cancel.cancelled or self._fatal is not None
            if over:
                self._state = "stopping"
            if time.monotonic() - watched >= 1:
                watched = time.monotonic()
                self._watch()
            self._emit()
            return over

        await cluster.attend(self._farm(), look)
        if self._fatal is not None:
            raise self._fatal

    def _watch(self) -> None:
        try:
            self._guard_disk()
            working = [
                {"key": row.model.key, "message": row.message, "frames": row.frames, "worker": row.worker}
                for row in self.board.rows()
                if row.state == "working"
            ]
            self._records.write_progress(self.totals(), working)
        except OrielError as error:
            self._fatal = self._fatal or error

    def _guard_disk(self) -> None:
        try:
            self._free = shutil.disk_usage(self.out).free
        except OSError as error:
            raise OutputError(f"{self.out} cannot be used: {error.strerror or error}. Check the disk.") from error
        if self._free < self.options.keep_free:
            raise OutputError(
                f"The disk of {self.out} has only {self._free / 1e9:.1f} GB left; {self.options.keep_free / 1e9:g} GB "
                "are to stay free. Make room, then run it again: what is done is kept."
            )

    # -- the farm --------------------------------------------------------------------------------------------

    async def _farm(self) -> None:
        """Have the workers render until no model is left."""
        from engine import cluster
        from engine.rendering import station

        scheduler = self.options.scheduler
        async with self._scheduler() as address, cluster.connect(address, "oriel-render") as client:
            client.subscribe_topic(station.TOPIC, self._heard)
            try:
                await self._dispatcher.work(client, scheduler, self._turn)
            finally:
                if scheduler is not None:
                    with contextlib.suppress(Exception):  # those of machines that live on
                        await asyncio.wait_for(client.run(station.close_blender, on_error="ignore"), 5)

    @asynccontextmanager
    async def _scheduler(self) -> AsyncIterator[str]:
        from engine import cluster
        from engine.rendering.cluster import sizes
        from engine.rendering.station import close_blender

        if self.options.scheduler is not None:
            yield self.options.scheduler
            return
        workers, threads = sizes(self.board.counts["waiting"], self.options.workers, self.settings.device)
        scratch = layout.new_work(self.out, "workers")
        environment = {} if self.options.blender is None else {"ORIEL_BLENDER": self.options.blender}
        self._notice = f"starting {workers} workers"
        async with cluster.local_cluster(workers, threads, scratch, environment, close_blender) as address:
            yield address

    def _turn(self) -> None:
        self._notice = "" if self._dispatcher.fit() else self._waiting_for_workers()
        self._obey()
        self._state = "paused" if self._dispatcher.paused else "running"

    def _waiting_for_workers(self) -> str:
        if self.options.scheduler is None:
            return "waiting for workers"
        return f"waiting for workers: start `oriel render worker {self.options.scheduler}` on the machines"

    async def _attempt(self, item: _Item, worker: Worker) -> None:
        """Have a worker render a model, and settle how it went."""
        from engine.rendering.station import Job, code_version, render_job

        item.took, path, sha256 = 0.0, item.model.path, ""
        self._move(item, "working", "sent to a worker", worker=worker.name, frames=0, seconds_per_frame=None)
        try:
            sha256 = await asyncio.to_thread(layout.sha256_of, path)
            job = Job(self._id, item.key, str(path.absolute()), sha256, self.settings, code_version())
            read = partial(read_files, path)
            outcome: Outcome = await self._dispatcher.call(item, worker, render_job, job, read)
        except InputError as error:  # the model has just gone
            self._failed(item, worker, str(error), "", sha256)
            return
        if outcome.kind == "done":
            await self._done(item, worker, outcome, sha256)
        elif outcome.kind == "failed":
            self._failed(item, worker, outcome.message, outcome.log, sha256)
        elif outcome.kind == "cancelled":
            raise asyncio.CancelledError
        else:
            raise Trouble(outcome.message, unfit=outcome.kind == "unfit")

    async def _done(self, item: _Item, worker: Worker, outcome: Outcome, sha256: str) -> None:
        # Once begun this goes to its end: a cancelled run keeps what is rendered.
        keeping = asyncio.ensure_future(asyncio.to_thread(self._keep, item, outcome))
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            await keeping
        pace = outcome.seconds_per_frame
        self._records.add(item.key, "done", worker=worker.name, sha256=sha256, seconds_per_frame=pace)
        self._records.drop_log(item.key)
        item.attempts = 0
        self._disk += item.bytes
        self._move(item, "done", "", seconds_per_frame=pace)
        log.info("done %s on %s", item.key, worker.name)

    def _keep(self, item: _Item, outcome: Outcome) -> None:
        """Put a finished model in its place."""
        work = layout.new_work(self.out, item.key)
        with writing(work, "Check the disk."):
            for name, content in outcome.files.items():
                (work / Path(name).name).write_bytes(content)
        layout.place(work, self.out, item.key)
        item.bytes = sum(map(len, outcome.files.values()))

    def _failed(self, item: _Item, worker: Worker, message: str, said: str, sha256: str) -> None:
        """An attempt has failed for the model's sake; `said` is what Blender did."""
        self._records.write_log(item.key, f"{message}\n\n{said}\n")
        if item.attempts + 1 >= self.options.attempts:
            self._set_aside(item, message, sha256)
            return
        self._record(item, "failed", message, sha256)
        item.avoid.add(worker.address)
        self._dispatcher.queue.append(item)
        self._move(item, "waiting", f"{message} It is tried again.")

    def _set_aside(self, item: _Item, message: str, sha256: str) -> None:
        self._record(item, "aside", message, sha256)
        self._move(item, "failed", message)

    def _record(self, item: _Item, event: str, message: str, sha256: str) -> None:
        worker = self.board[item.key].worker
        item.attempts = self._records.add(item.key, event, message, worker=worker, sha256=sha256).attempts
        log.warning("%s %s on %s: %s", event, item.key, worker, message)

    def _ended(self, item: _Item, how: str, why: str) -> None:
        """An attempt has ended with nothing to show; see `Dispatcher`."""
        if how == "again":
            self._move(item, "waiting", why)
        elif how == "cancelled":
            row = self.board[item.key]
            self._records.add(item.key, "cancelled", "cancelled", worker=row.worker if row.state == "working" else "")
            self._move(item, "cancelled", "cancelled")
        else:
            self._set_aside(
                item,
                f"{LOSSES} workers ended while they rendered it. It may need more memory than they have: try it with "
                "fewer --workers, or make it smaller.",
                "",
            )

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker tells how far it is with a model."""
        told = event[1]
        item = self._items.get(told["key"]) if told.get("run") == self._id else None
        if item is None or item.worker is None or item.worker.address != told["worker"] or item.ended:
            return
        row = self.board[item.key]
        if row.state != "working":
            return
        if told["kind"] != "frame":
            words = {"starting": "starting Blender", "loading": "loading", "loaded": "rendering"}
            self.board.update(item.key, message=words[told["kind"]])
            return
        self._pace.tick()
        done = told["index"]
        item.took += told["seconds"]
        self.board.update(item.key, frames=done, message="rendering", seconds_per_frame=item.took / max(done, 1))
        if told.get("picture"):
            frame = FrameDone(told["key"], told["name"], told["picture"], told.get("depth"))
            self._progress(Progress("frame", done, row.total, told["name"], frame))

    def _obey(self) -> None:
        """Carry out what was asked for from other threads."""
        while self._commands:
            what, keys = self._commands.popleft()
            items = [self._items[key] for key in keys if key in self._items]
            if what == "cancel":
                for item in items:
                    self._dispatcher.cancel(item)
            elif what == "first":
                self._dispatcher.first(items)
            else:
                for item in items:
                    if self.board[item.key].state not in ("failed", "cancelled"):
                        continue
                    self._records.add(item.key, "again")
                    item.attempts = item.losses = 0
                    item.avoid.clear()
                    self._dispatcher.queue.append(item)
                    self._move(item, "waiting")

    # -- states ----------------------------------------------------------------------------------------------

    def _move(self, item: _Item, state: str, message: str | None = None, **values: Any) -> None:
        """Put a model into a state, with other values of its row."""
        values = {"attempts": item.attempts, "earlier": False, "total": self._frame_count} | values
        if state == "done":
            values["frames"] = self._frame_count
        elif state != "working":
            values["frames"] = 0
        if message is not None:
            values["message"] = message
        self.board.update(item.key, state=state, **values)

    def _due(self) -> bool:
        return time.monotonic() - self._reported >= 0.1

    def _emit(self) -> None:
        self._reported = time.monotonic()
        changed, self._seen = self.board.since(self._seen)
        for state in changed.values():
            self._progress(Progress("model", state.frames, state.total, state.message, state))
        totals = self.totals()
        settled = totals.done + totals.failed + totals.cancelled
        self._progress(Progress("render", settled, totals.total, totals.message, totals))

    def totals(self) -> RenderTotals:
        """The whole run as it is now; from any thread."""
        counts, each = self.board.counts, self._frame_count
        pace = self._pace.rate(self._over or None)
        at_work = [task for worker in list(self._dispatcher.workers.values()) for task in list(worker.tasks)]
        begun = sum(self.board[task.key].frames for task in at_work)
        left = each * (counts["waiting"] + counts["working"]) - begun
        return RenderTotals(
            state=self._state,
            total=len(self._items),
            done=counts["done"],
            failed=counts["failed"],
            cancelled=counts["cancelled"],
            working=counts["working"],
            frames=each * counts["done"] + begun,
            frames_total=each * len(self._items),
            frames_per_hour=pace * 3600,
            seconds_left=seconds_for(left, pace),
            disk=self._disk,
            free=self._free,
            workers=len(self._dispatcher.fit()),
            message=self._notice,
        )


def render_frame(
    model: Path,
    settings: RenderSettings,
    frame: Frame,
    blender: str | None = None,
    cancel: CancelToken | None = None,
) -> bytes:
    """One frame of a model as PNG (RGBA), with a Blender of its own. Raises what `BlenderProcess.render` does."""
    if not model.is_file():
        raise InputError(f"There is no file {model}. Check the path.")
    with tempfile.TemporaryDirectory(prefix="oriel-frame-") as folder, BlenderProcess(find_blender(blender)) as process:
        process.render(model, Path(folder), settings, [frame], cancel=cancel)
        return (Path(folder) / f"{frame.name}.png").read_bytes()


def _has_changed(model: ModelFile, sha256: str) -> bool:
    """Whether a model's file is another than the one that failed."""
    try:
        return layout.sha256_of(model.path) != sha256
    except OrielError:
        return False

"""The farm: renders many models on the cores of this machine, or on many machines, with Dask.

`RenderRun.run` does the work on the calling thread, in an event loop of its own, and reports there. What is done is in
its place and on the disk before the run goes on, so that a run which ended in whatever way goes on with another `run`
over the same folder.

Dask carries jobs, results and events, and says which workers there are. The queue is kept here: every worker has one
model at a time and the scheduler knows of no other, so that what comes next can be changed at any moment and a run of
thousands of models costs no more than one of ten. Only this process writes into the output; workers need no disk
in common with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import Cancelled, InputError, OrielError, OutputError
from engine.core.files import writing
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.jobs import Board, Pace, log_to, seconds_for
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
    from distributed import Client

    from engine.rendering.station import Outcome

__all__ = ["FarmOptions", "RenderRun", "read_status", "render_frame"]

log = logging.getLogger("engine.rendering")
_LOSSES = 3
"""Workers that may be lost over one model before it is set aside."""
_TROUBLES = 3
"""Failures of a worker in a row, none of a model's making, after which it gets no more."""
_SILENCE = 30.0
"""Seconds after which a scheduler that does not answer is given up."""
_PACE_SECONDS = 900.0
"""Frames of that time make the pace."""


class _Item:
    """What the run keeps of a model besides what is on the board; only its own thread looks at it."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.key = model.key
        self.attempts = self.losses = self.bytes = 0
        self.took = 0.0
        """Seconds of the frames of the attempt in work."""
        self.address = ""
        self.avoid: set[str] = set()
        self.ended = ""
        """Why the attempt is being ended: `lost`, `cancelled` or nothing."""
        self.task: asyncio.Task[None] | None = None


class _Worker:
    """A worker as the run sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.item: _Item | None = None
        self.apart = False
        """Whether it does not see the client's files."""
        self.troubles = 0
        self.unfit = ""
        """Why it gets no more models."""


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
        self._queue: deque[_Item] = deque()
        self._workers: dict[str, _Worker] = {}
        self._named = 0
        self._state = "starting"
        self._paused = False
        self._notice = ""
        self._fatal: Exception | None = None
        self._pace = Pace(5000, _PACE_SECONDS)
        self._over = self._reported = 0.0
        self._disk = self._free = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poked = asyncio.Event()
        self._progress: ProgressCallback = ignore_progress

    # -- control, from any thread ----------------------------------------------------------------------------

    def pause(self) -> None:
        """Begin no further model; those that are being rendered go on to their end."""
        self._paused = True
        self._poke()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        self._pace.interrupt()
        self._poke()

    def cancel_models(self, keys: Iterable[str]) -> None:
        """Take models out, also while they are rendered; they stay out until `retry`."""
        self._command("cancel", keys)

    def retry(self, keys: Iterable[str]) -> None:
        """Try models afresh that were set aside or taken out; before `run`, or while it is at work."""
        self._command("retry", keys)

    def prioritise(self, keys: Iterable[str]) -> None:
        """Render these next, in this order."""
        self._command("first", keys)

    def states(self) -> list[ModelState]:
        """All models as they are now, in their order."""
        return self.board.rows()

    def _command(self, what: str, keys: Iterable[str]) -> None:
        self._commands.append((what, list(keys)))
        self._poke()

    def _poke(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the run has just ended
                loop.call_soon_threadsafe(self._poked.set)

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
            layout.prepare(self.out, self.settings, self._source)
            layout.sweep(self.out)
            records.write_models([item.model for item in self._items.values()])
            try:
                self._begin(records, cancel)
                self._obey(records)
                if waiting := self.board.counts["waiting"]:
                    self._guard_disk()
                    if self.options.scheduler is None:
                        find_blender(self.options.blender)  # better said at once than by every worker
                    log.info("begin: %d models, %d to render", len(self._items), waiting)
                    asyncio.run(self._work(records, cancel))
            finally:
                layout.sweep(self.out)
                self._end(records)
            if cancel.cancelled and self._left():
                raise Cancelled
            return self.totals()

    def _left(self) -> int:
        counts = self.board.counts
        return counts["waiting"] + counts["working"]

    def _begin(self, records: Records, cancel: CancelToken) -> None:
        """Find out what is left to do."""
        for key, item in self._items.items():
            cancel.check()
            before = records.settled.get(key)
            if layout.is_finished(self.out, item.model, self.settings):
                known = layout.metadata(self.out, key) or {}
                item.bytes = sum(known.get("files", {}).values())
                by = {} if before is None else {"worker": before.worker, "seconds_per_frame": before.seconds_per_frame}
                self._move(item, "done", "", earlier=True, attempts=self.board[key].attempts, **by)
            elif before is not None and before.event not in ("done", "again", "failed"):
                if self._retry_failed or (before.event == "aside" and _has_changed(item.model, before.sha256)):
                    records.add(key, "again")
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
        self._queue.append(item)
        if self.board[item.key].state != "waiting":  # as it stood when somebody looked last
            self._move(item, "waiting", "")

    def _end(self, records: Records) -> None:
        """Leave everything said and in order."""
        self._over, self._notice = time.monotonic(), ""
        self._state = "stopped" if self._left() else "finished"
        for item in self._items.values():
            if self.board[item.key].state == "working":
                self._move(item, "waiting", "")
        here = layout.folder_of(self.out, "x").parent
        layout.write_split(self.out, [p.name for p in here.iterdir() if (p / layout.METADATA).is_file()])
        records.write_progress(self.totals(), [])
        counts = self.board.counts
        counted = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        log.info("end: %s", counted or "no models")
        self._emit()

    async def _work(self, records: Records, cancel: CancelToken) -> None:
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
                self._watch(records)
            self._emit()
            return over

        self._loop = asyncio.get_running_loop()
        try:
            await cluster.attend(self._farm(records), look)
        finally:
            self._loop = None
        if self._fatal is not None:
            raise self._fatal

    def _watch(self, records: Records) -> None:
        try:
            self._guard_disk()
            working = [
                {"key": row.model.key, "message": row.message, "frames": row.frames, "worker": row.worker}
                for row in self.board.rows()
                if row.state == "working"
            ]
            records.write_progress(self.totals(), working)
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

    async def _farm(self, records: Records) -> None:
        """Give models to workers until none is left."""
        from engine import cluster
        from engine.rendering import station

        async with self._scheduler() as address, cluster.connect(address, "oriel-render") as client:
            client.subscribe_topic(station.TOPIC, self._heard)
            try:
                await self._dispatch(client, records)
            finally:
                tasks = [item.task for item in self._items.values() if item.task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if self.options.scheduler is not None:
                    with contextlib.suppress(Exception):  # those of machines that live on
                        await asyncio.wait_for(client.run(station.close_blender, on_error="ignore"), 5)

    @asynccontextmanager
    async def _scheduler(self) -> AsyncIterator[str]:
        from engine import cluster
        from engine.rendering.cluster import leave, sizes

        if self.options.scheduler is not None:
            yield self.options.scheduler
            return
        workers, threads = sizes(self.board.counts["waiting"], self.options.workers, self.settings.device)
        scratch = layout.new_work(self.out, "workers")
        environment = {} if self.options.blender is None else {"ORIEL_BLENDER": self.options.blender}
        self._notice = f"starting {workers} workers"
        async with cluster.local_cluster(workers, threads, scratch, environment, leave) as address:
            yield address

    async def _dispatch(self, client: Client, records: Records) -> None:
        looked = answered = 0.0
        while True:
            now = time.monotonic()
            self._poked.clear()
            if now - looked >= 1:
                looked = now
                if await self._look_at_workers(client):
                    answered = time.monotonic()
                elif answered and now - answered > _SILENCE:
                    raise OrielError(
                        f"The scheduler at {self.options.scheduler} does not answer any more. Start it and its "
                        "workers, then run this again: what is done is kept."
                    )
            self._obey(records)
            if not self._paused:
                self._assign(client, records)
            if not self._left():
                return
            self._state = "paused" if self._paused else "running"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), 0.5)

    async def _look_at_workers(self, client: Client) -> bool:
        """Learn which workers there are and end the attempts of lost ones; returns whether the scheduler answered."""
        scheduler: Any = client.scheduler
        try:
            found = await asyncio.wait_for(scheduler.identity(n_workers=-1), 10)
        except (OSError, TimeoutError):
            return False
        here = {address for address, about in found["workers"].items() if about.get("status", "running") == "running"}
        for address in here - self._workers.keys():
            self._named += 1
            local = self.options.scheduler is None
            self._workers[address] = _Worker(f"worker {self._named}" if local else address.partition("://")[2])
            log.info("%s has come (%s)", self._workers[address].name, address)
        for address in self._workers.keys() - found["workers"].keys():
            worker = self._workers.pop(address)
            log.warning("%s is gone", worker.name)
            if worker.item is not None and worker.item.task is not None:
                worker.item.ended = worker.item.ended or "lost"
                worker.item.task.cancel()
        fit = [worker for worker in self._workers.values() if not worker.unfit]
        if self._workers and not fit:
            reasons = dict.fromkeys(worker.unfit for worker in self._workers.values())
            raise OrielError("No worker can render: " + " ".join(reasons))
        self._notice = "" if fit else self._waiting_for_workers()
        return True

    def _waiting_for_workers(self) -> str:
        if self.options.scheduler is None:
            return "waiting for workers"
        return f"waiting for workers: start `oriel render worker {self.options.scheduler}` on the machines"

    def _assign(self, client: Client, records: Records) -> None:
        """Give each idle worker the next model that it may have."""
        fit = {address: worker for address, worker in self._workers.items() if not worker.unfit}
        for address, worker in fit.items():
            if worker.item is not None:
                continue
            # One that has failed is for another worker, where there is one.
            item = next((i for i in self._queue if address not in i.avoid or fit.keys() <= i.avoid), None)
            if item is None:
                continue
            self._queue.remove(item)
            item.address, item.ended, item.took, worker.item = address, "", 0.0, item
            self._move(item, "working", "sent to a worker", worker=worker.name, frames=0, seconds_per_frame=None)
            item.task = asyncio.create_task(self._attempt(client, item, address, worker, records))

    async def _attempt(self, client: Client, item: _Item, address: str, worker: _Worker, records: Records) -> None:
        """Have a worker render a model, and settle how it went."""
        try:
            outcome, sha256 = await self._have_rendered(client, item, address, worker)
            await self._settle(item, address, worker, outcome, sha256, records)
        except asyncio.CancelledError:
            self._after_end(item, records)
        except Exception as error:
            self._fatal = self._fatal or error
            self._requeue(item, str(error))
        finally:
            worker.item = item.task = None
            self._poked.set()

    async def _have_rendered(self, client: Client, item: _Item, address: str, worker: _Worker) -> tuple[Outcome, str]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        from engine.rendering.station import Job, Outcome, code_version, render_job

        model = item.model
        try:
            sha256 = await asyncio.to_thread(layout.sha256_of, model.path)
        except OrielError as error:
            return Outcome("failed", str(error)), ""
        job = Job(self._id, model.key, str(model.path.absolute()), sha256, self.settings, code_version())
        future = None
        try:
            while True:
                content: Any = None
                if worker.apart:
                    files = await asyncio.to_thread(_read_files, model.path)
                    [content] = await client.scatter([files], workers=[address], hash=False)
                name = f"oriel-{self._id}-{model.key}-{secrets.token_hex(4)}"
                call = pickle.dumps((render_job, job))
                future = client.submit(_carrier(), call, content, key=name, workers=[address], pure=False)
                outcome: Outcome = await future
                if outcome.kind != "needs":
                    return outcome, sha256
                worker.apart = True
        except FutureCancelledError:
            return Outcome("trouble", "the scheduler has dropped the model"), sha256
        except KilledWorker:
            item.ended = "lost"
            raise asyncio.CancelledError from None
        except InputError as error:  # the model has just gone
            return Outcome("failed", str(error)), sha256
        except (ImportError, AttributeError) as error:
            text = f"{worker.name} has not the same Oriel as this machine ({error}). Install it there."
            return Outcome("unfit", text), sha256
        except Exception as error:  # of Dask, about the connection or a worker that has just gone: ours are not in it
            text = f"{worker.name} could not be given a model ({type(error).__name__}: {error})."
            return Outcome("trouble", text), sha256
        finally:
            if future is not None:
                # Nothing is waited for: this may be a worker that is gone, or a run that is over.
                future.release()

    async def _settle(
        self, item: _Item, address: str, worker: _Worker, outcome: Outcome, sha256: str, records: Records
    ) -> None:
        kind, key = outcome.kind, item.key
        if kind == "done":
            # Once begun this goes to its end: a cancelled run keeps what is rendered.
            keeping = asyncio.ensure_future(asyncio.to_thread(self._keep, item, outcome))
            try:
                await asyncio.shield(keeping)
            except asyncio.CancelledError:
                await keeping
            worker.troubles = 0
            pace = outcome.seconds_per_frame
            records.add(key, "done", worker=worker.name, sha256=sha256, seconds_per_frame=pace)
            records.drop_log(key)
            item.attempts = 0
            self._disk += item.bytes
            self._move(item, "done", "", seconds_per_frame=pace)
            log.info("done %s on %s", key, worker.name)
        elif kind == "failed":
            worker.troubles = 0
            final = item.attempts + 1 >= self.options.attempts
            records.write_log(key, f"{outcome.message}\n\n{outcome.log}\n")
            self._failed(item, "aside" if final else "failed", outcome.message, sha256, records)
            item.avoid.add(address)
        elif kind == "cancelled" or item.ended:
            self._after_end(item, records)
        else:
            worker.troubles += 1
            if kind == "unfit" or worker.troubles >= _TROUBLES:
                worker.unfit = outcome.message
            log.warning("%s: %s", worker.name, outcome.message)
            self._requeue(item, outcome.message)

    def _keep(self, item: _Item, outcome: Outcome) -> None:
        """Put a finished model in its place."""
        work = layout.new_work(self.out, item.key)
        with writing(work, "Check the disk."):
            for name, content in outcome.files.items():
                (work / Path(name).name).write_bytes(content)
        layout.place(work, self.out, item.key)
        item.bytes = sum(map(len, outcome.files.values()))

    def _failed(self, item: _Item, event: str, message: str, sha256: str, records: Records) -> None:
        worker = self.board[item.key].worker
        item.attempts = records.add(item.key, event, message, worker=worker, sha256=sha256).attempts
        log.warning("%s %s on %s: %s", event, item.key, worker, message)
        if event == "aside":
            self._move(item, "failed", message)
        else:
            self._queue.append(item)
            self._move(item, "waiting", f"{message} It is tried again.")

    def _after_end(self, item: _Item, records: Records) -> None:
        """Settle a model whose attempt was ended from here, or whose worker is gone."""
        worker = self.board[item.key].worker
        if item.ended == "cancelled":
            records.add(item.key, "cancelled", "cancelled", worker=worker)
            self._move(item, "cancelled", "cancelled")
        elif item.ended == "lost":
            item.losses += 1
            log.warning("%s was lost with %s", item.key, worker)
            if item.losses < _LOSSES:
                self._requeue(item, "its worker was lost; it is done again")
                return
            text = (
                f"{_LOSSES} workers ended while they rendered it. It may need more memory than they have: try it with "
                "fewer --workers, or make it smaller."
            )
            self._failed(item, "aside", text, "", records)
        else:
            self._requeue(item, "")

    def _requeue(self, item: _Item, message: str) -> None:
        self._queue.appendleft(item)
        self._move(item, "waiting", message)

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker tells how far it is with a model."""
        told = event[1]
        item = self._items.get(told["key"]) if told.get("run") == self._id else None
        if item is None or item.address != told["worker"] or item.ended:
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

    def _obey(self, records: Records) -> None:
        """Carry out what was asked for from other threads."""
        while self._commands:
            what, keys = self._commands.popleft()
            items = [self._items[key] for key in keys if key in self._items]
            for item in items:
                state = self.board[item.key].state
                if what == "cancel" and state == "waiting":
                    self._queue.remove(item)
                    records.add(item.key, "cancelled", "cancelled")
                    self._move(item, "cancelled", "cancelled")
                elif what == "cancel" and item.task is not None:
                    item.ended = "cancelled"
                    item.task.cancel()
                elif what == "retry" and state in ("failed", "cancelled"):
                    records.add(item.key, "again")
                    item.attempts = item.losses = 0
                    item.avoid.clear()
                    self._queue.append(item)
                    self._move(item, "waiting")
            if what == "first":
                for item in reversed([item for item in items if item in self._queue]):
                    self._queue.remove(item)
                    self._queue.appendleft(item)

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
        workers = list(self._workers.values())
        begun = sum(self.board[item.key].frames for worker in workers if (item := worker.item) is not None)
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
            workers=sum(not worker.unfit for worker in workers),
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


def _carrier() -> Callable[[bytes, Any], Any]:
    """What Dask is given to call: a scheduler without Oriel can unpack it, as it names nothing of the project."""

    def carry(call: bytes, content: Any) -> Any:
        import pickle

        function, job = pickle.loads(call)
        return function(job, content)

    return carry  # a function within one is sent by its code, not by its name


def _read_files(path: Path) -> dict[str, bytes]:
    """A model's files by names below one folder, its own first."""
    beside = layout.companions(path)
    # Some use files above their own folder.
    depth = max((Path(os.path.normpath(name)).parts.count("..") for name in beside), default=0)
    below = "/".join(["up"] * depth)
    try:
        found = {os.path.normpath(f"{below}/{path.name}" if below else path.name): path.read_bytes()}
        for name, file in beside.items():
            if file.is_file():
                found[os.path.normpath(f"{below}/{name}" if below else name)] = file.read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}. Check that it is there.") from error
    return found


def _has_changed(model: ModelFile, sha256: str) -> bool:
    """Whether a model's file is another than the one that failed."""
    try:
        return layout.sha256_of(model.path) != sha256
    except OrielError:
        return False

"""Who of the workers of a Dask scheduler does what: the queue, and what becomes of a task whose worker is lost.

Dask carries tasks and results, and says which workers there are. The queue is kept here: the scheduler knows only of
what is at work, so that what comes next can be changed at any moment, a run of thousands of tasks costs no more than
one of ten, and a worker that is lost takes with it what it was at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.core.errors import OrielError

if TYPE_CHECKING:
    from distributed import Client

LOSSES = 3
"""Workers that may be lost over one task before it is given up."""
_TROUBLES = 3
"""Failures of a worker in a row, none of a task's making, after which it gets no more."""
_SILENCE = 30.0
"""Seconds after which a scheduler that does not answer is given up."""


class Trouble(Exception):
    """A worker could not do a task, and not for the task's sake; an `unfit` one gets no more of them."""

    def __init__(self, text: str, *, unfit: bool = False) -> None:
        super().__init__(text)
        self.unfit = unfit


class Task:
    """A piece of work; for use in the dispatcher's event loop only."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.losses = 0
        self.avoid: set[str] = set()
        """Addresses of workers that get it only where there is no other."""
        self.worker: Worker | None = None
        """That has it, or had it last."""
        self.ended = ""
        """Why the attempt is being ended: `lost`, `cancelled` or nothing."""
        self.attempt: asyncio.Task[None] | None = None


class Worker:
    """A worker as the dispatcher sees it."""

    def __init__(self, name: str, address: str, room: int) -> None:
        self.name, self.address, self.room = name, address, room
        self.tasks: set[Task] = set()
        self.apart = False
        """Whether it does not see this machine's files."""
        self.troubles = 0
        self.unfit = ""
        """Why it gets no more tasks."""


AnyTask = TypeVar("AnyTask", bound=Task)


class Dispatcher(Generic[AnyTask]):
    """Has the tasks of `queue` done by the workers of a scheduler, in that order; `work` does it."""

    def __init__(
        self,
        attempt: Callable[[AnyTask, Worker], Awaitable[None]],
        ended: Callable[[AnyTask, str, str], None],
        *,
        what: str,
        log: logging.Logger,
        at_a_time: int = 1,
    ) -> None:
        """`attempt` does a task with a worker, by means of `call`, and settles how it went. `ended` is told of a task
        of which nothing came: with `again`, and why, when it waits for another attempt; with `lost` when its workers
        were lost too often, with `cancelled` after `cancel`: both are its end. `what` a worker does, in a word, is for
        errors; it does so many tasks `at_a_time`, but no more than it has threads."""
        self.queue: deque[AnyTask] = deque()
        self.workers: dict[str, Worker] = {}
        """By address."""
        self.paused = False
        """While it is True no further task is begun."""
        self._attempt, self._ended = attempt, ended
        self._what, self._log, self._at_a_time = what, log, at_a_time
        self._at_work: set[AnyTask] = set()
        self._named = 0
        self._failure: Exception | None = None
        self._client: Client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poked = asyncio.Event()

    # -- from any thread -------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Have `work` look at once at what has been changed."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(self._poked.set)

    # -- in the event loop -----------------------------------------------------------------------------------

    async def work(self, client: Client, scheduler: str | None, turn: Callable[[], None] = lambda: None) -> None:
        """Until no task is left; `scheduler` is the address of one elsewhere, None for this process's own.

        `turn` is called before tasks are given out, at least twice a second. Raises what an attempt does, but for
        `Trouble`, and OrielError once no worker is fit or the scheduler is gone.
        """
        looked = answered = 0.0
        self._client = client
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                now = time.monotonic()
                self._poked.clear()
                if now - looked >= 1:
                    looked = now
                    if await self._look_at_workers(scheduler):
                        answered = time.monotonic()
                    elif answered and now - answered > _SILENCE:
                        raise OrielError(
                            f"The scheduler at {scheduler} does not answer any more. Start it and its workers, then "
                            "run this again: what is done is kept."
                        )
                turn()
                if not self.paused:
                    self._assign()
                    await asyncio.sleep(0)  # an attempt that is ended before it has begun would not know of it
                if self._failure is not None:
                    raise self._failure
                if not self.queue and not self._at_work:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._poked.wait(), 0.5)
        finally:
            self._loop = None
            attempts = [task.attempt for task in self._at_work if task.attempt is not None]
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def call(
        self,
        task: AnyTask,
        worker: Worker,
        function: Callable[[Any, Any], Any],
        argument: Any,
        read: Callable[[], Any],
    ) -> Any:
        """What `function(argument, None)` returns on a worker; None says that it does not see this machine's files.

        It is then called with what `read` gives, on a thread, instead of None. Raises `Trouble`, and what `read` does.
        """
        files = await asyncio.to_thread(read) if worker.apart else None
        found = await self._call(task, worker, pickle.dumps((function, argument)), files)
        if found is None and files is None:
            files = await asyncio.to_thread(read)
            worker.apart = True
            found = await self._call(task, worker, pickle.dumps((function, argument)), files)
        return found

    def cancel(self, task: AnyTask) -> None:
        """Take a task out, also while it is worked at."""
        if task in self.queue:
            self.queue.remove(task)
            self._ended(task, "cancelled", "")
        elif task.attempt is not None:
            task.ended = "cancelled"
            task.attempt.cancel()

    def first(self, tasks: Iterable[AnyTask]) -> None:
        """Do those of the tasks next that wait, in this order."""
        for task in reversed([task for task in tasks if task in self.queue]):
            self.queue.remove(task)
            self.queue.appendleft(task)

    def fit(self) -> list[Worker]:
        """The workers that get tasks; from any thread."""
        return [worker for worker in list(self.workers.values()) if not worker.unfit]

    # -- workers ---------------------------------------------------------------------------------------------

    async def _look_at_workers(self, scheduler: str | None) -> bool:
        """Learn which workers there are and end the attempts of lost ones; returns whether the scheduler answered."""
        remote: Any = self._client.scheduler
        try:
            found = (await asyncio.wait_for(remote.identity(n_workers=-1), 10))["workers"]
        except (OSError, TimeoutError):
            return False
        for address, about in found.items():
            if address in self.workers or about.get("status", "running") != "running":
                continue
            self._named += 1
            name = f"worker {self._named}" if scheduler is None else address.partition("://")[2]
            self.workers[address] = Worker(name, address, min(self._at_a_time, about["nthreads"]))
            self._log.info("%s has come (%s)", name, address)
        for address in self.workers.keys() - found.keys():
            worker = self.workers.pop(address)
            self._log.warning("%s is gone", worker.name)
            for task in worker.tasks:
                task.ended = task.ended or "lost"
                if task.attempt is not None:
                    task.attempt.cancel()
        if self.workers and not self.fit():
            reasons = dict.fromkeys(worker.unfit for worker in self.workers.values())
            raise OrielError(f"No worker can {self._what}: " + " ".join(reasons))
        return True

    def _assign(self) -> None:
        """Give workers that have room the next tasks that they may have."""
        fit = self.fit()
        addresses = {worker.address for worker in fit}
        for worker in fit:
            while len(worker.tasks) < worker.room:
                # One that has failed is for another worker, where there is one.
                may = (t for t in self.queue if worker.address not in t.avoid or addresses <= t.avoid)
                task = next(may, None)
                if task is None:
                    break
                self.queue.remove(task)
                task.worker, task.ended = worker, ""
                worker.tasks.add(task)
                self._at_work.add(task)
                task.attempt = asyncio.create_task(self._hold(task, worker))

    async def _hold(self, task: AnyTask, worker: Worker) -> None:
        """One attempt, and what becomes of the task where nothing came of it."""
        try:
            try:
                await self._attempt(task, worker)
                worker.troubles = 0
            except asyncio.CancelledError:
                self._end(task)
            except Trouble as trouble:
                self._note_trouble(task, worker, trouble)
        except Exception as error:
            self._failure = self._failure or error
            self._again(task, str(error))
        finally:
            worker.tasks.discard(task)
            self._at_work.discard(task)
            task.attempt = None
            self._poked.set()

    def _note_trouble(self, task: AnyTask, worker: Worker, trouble: Trouble) -> None:
        if task.ended:
            self._end(task)
            return
        worker.troubles += 1
        if trouble.unfit or worker.troubles >= _TROUBLES:
            worker.unfit = str(trouble)
        self._log.warning("%s: %s", worker.name, trouble)
        self._again(task, str(trouble))

    def _end(self, task: AnyTask) -> None:
        if task.ended == "cancelled":
            self._ended(task, "cancelled", "")
        elif task.ended == "lost":
            task.losses += 1
            assert task.worker is not None
            self._log.warning("%s was lost with %s", task.key, task.worker.name)
            if task.losses < LOSSES:
                self._again(task, "its worker was lost; it is done again")
            else:
                self._ended(task, "lost", "")
        else:
            self._again(task, "")

    def _again(self, task: AnyTask, why: str) -> None:
        self.queue.appendleft(task)
        self._ended(task, "again", why)

    async def _call(self, task: AnyTask, worker: Worker, call: bytes, files: Any) -> Any:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        future = None
        try:
            content: Any = None
            if files is not None:
                [content] = await self._client.scatter([files], workers=[worker.address], hash=False)
            name = f"oriel-{task.key}-{secrets.token_hex(10)}"
            future = self._client.submit(_carrier(), call, content, key=name, workers=[worker.address], pure=False)
            return await future
        except FutureCancelledError:
            raise Trouble("the scheduler has dropped the model") from None
        except KilledWorker:
            task.ended = "lost"
            raise asyncio.CancelledError from None
        except (ImportError, AttributeError) as error:
            text = f"{worker.name} has not the same Oriel as this machine ({error}). Install it there."
            raise Trouble(text, unfit=True) from error
        except Exception as error:  # of Dask, about the connection or a worker that has just gone: ours are not in it
            text = f"{worker.name} could not be given a model ({type(error).__name__}: {error})."
            raise Trouble(text) from error
        finally:
            if future is not None:
                # Nothing is waited for: this may be a worker that is gone, or a run that is over.
                future.release()


def _carrier() -> Callable[[bytes, Any], Any]:
    """What Dask is given to call: a scheduler without Oriel can unpack it, as it names nothing of the project."""

    def carry(call: bytes, content: Any) -> Any:
        import pickle

        function, argument = pickle.loads(call)
        return function(argument, content)

    return carry  # a function within one is sent by its code, not by its name

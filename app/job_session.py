"""What the sessions of long work share: its threads, and the watch over a job that is on one of them for hours."""

from __future__ import annotations

import asyncio
import shutil
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from app.engine_thread import EngineThread
from app.settings import Settings
from app.tasks import Tasks
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken
from widgets.kit.job_page import JobPage

POLL = 0.1
"""Seconds between two looks at what a job has done."""
SETTLE = 0.12
"""Seconds that a row stays chosen before it is loaded: who walks on with the arrow keys does not wait."""
NICENESS = 5
DISK_INTERVAL = 5.0
"""Seconds between two looks at the free space."""


class Work(Protocol):
    """A job, between the thread that it runs on and the window, which takes what is new at its own pace."""

    cancel: CancelToken

    def work(self) -> Any:
        """Do it; on the thread for jobs."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""


Tab = TypeVar("Tab", bound=JobPage)
Job = TypeVar("Job", bound=Work)


class JobSession(Generic[Tab, Job]):
    """Everything that a tab of long work needs besides itself. `restore` it at the start, `close` it at the end.

    Runs on the Qt thread and waits for others: `runner` for the job, `files` for what is read, and the session's own.
    """

    WORK: ClassVar[str]
    """What its jobs are called."""

    def __init__(self, tab: Tab, settings: Settings, name: str, *others: EngineThread) -> None:
        self.tab = tab
        self.settings = settings
        self.runner = EngineThread(f"oriel-{name}", nice=NICENESS)
        self.files = EngineThread(f"oriel-{name}-files")
        self._threads = (self.runner, *others, self.files)
        self.job: Job | None = None
        self._opened = 0
        """How often folders were opened: what was read for an earlier time is not shown."""
        self._restored = False
        self.tasks = Tasks(tab.say)
        tab.stop_requested.connect(self.stop)
        tab.shown.connect(self._shown)

    # -- life --------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Set the options as they were; the folders are read once the tab is looked at."""
        self._recall()
        self._restored = True
        if self.tab.isVisible():
            self._shown()

    async def close(self) -> None:
        """Stop what runs and end the threads."""
        self.tasks.closing = True
        if self.job is not None:
            self.tab.status_changed.emit(f"Stopping the {self.WORK}; it goes on from here the next time…")
            self.stop()
        self._end_looks()
        await self.tasks.finish()
        await self._put_away()
        for thread in self._threads:
            await thread.close()

    @property
    def alive(self) -> bool:
        """Whether a thread of it still runs."""
        return any(thread.alive for thread in self._threads)

    def stop(self) -> None:
        """Stop the job as soon as it can be."""
        if self.job is not None:
            self.job.cancel.cancel()
            self.tab.set_state("stopping")

    def _recall(self) -> None:
        """Set the options as they were."""
        raise NotImplementedError

    def _remember(self) -> None:
        """Put options and folders into the settings."""
        raise NotImplementedError

    def _shown(self) -> None:
        """The tab came up; before `restore` that says nothing yet."""
        raise NotImplementedError

    def _end_looks(self) -> None:
        """Cancel what goes on beside the job."""

    async def _put_away(self) -> None:
        """Close what else is open, when nothing is at work any more."""

    # -- the job -----------------------------------------------------------------------------------------

    async def _watch(self, job: Job, take: Callable[[], None]) -> tuple[str, bool]:
        """Have a job done and `take` what is new as long as there is something; what went wrong, if anything, and
        whether it was cancelled."""
        self._remember()
        self.tasks.spawn(self.files.submit(self.settings.save_if_possible))
        work = asyncio.ensure_future(self.runner.submit(job.work))
        looked = 0.0
        while not work.done() or job.waiting:
            if work.done():
                await asyncio.sleep(0)
            else:
                await asyncio.wait({work}, timeout=POLL)
            take()
            if time.monotonic() - looked > DISK_INTERVAL:
                looked = time.monotonic()
                self.tasks.spawn(self._show_free())
        return await self._outcome(work)

    @staticmethod
    async def _outcome(work: Awaitable[Any]) -> tuple[str, bool]:
        """What went wrong with some work, if anything, and whether it was cancelled."""
        try:
            await work
        except Cancelled:
            return "", True
        except OrielError as error:
            return str(error), False
        except Exception as error:
            traceback.print_exc()
            return f"Something unexpected went wrong: {type(error).__name__}: {error}", False
        return "", False

    async def _show_free(self) -> None:
        folder = self.tab.setup.folder_path
        self.tab.set_free(await self.files.submit(free_space, folder) if folder is not None else None)


def free_space(folder: Path) -> int | None:
    """Bytes that are free on the disk of a folder that may not be there yet."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None

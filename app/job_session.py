"""What the sessions of long work share: its threads, and the watch over a job that is on one of them for hours."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from app.engine_thread import EngineThread
from app.model_previews import make_cache
from app.settings import Settings
from app.tasks import Tasks
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress, ProgressCallback
from widgets.kit.job_page import JobPage

if TYPE_CHECKING:
    from engine.screening import Preview, PreviewCache

POLL = 0.1
"""Seconds between two looks at what a job has done."""
SETTLE = 0.12
"""Seconds that a row stays chosen before it is loaded: who walks on with the arrow keys does not wait."""
NICENESS = 5
DISK_INTERVAL = 5.0
"""Seconds between two looks at the free space."""


class Work(Protocol):
    """What does a long job: an object of the engine, made for it."""

    def run(self, progress: ProgressCallback, cancel: CancelToken) -> Any:
        """Do it."""


Tab = TypeVar("Tab", bound=JobPage)
Run = TypeVar("Run", bound=Work)
Found = TypeVar("Found")
Options = TypeVar("Options")


class Job(Generic[Run]):
    """One piece of long work, between the thread that it is on and the window, which takes what it has told at its own
    pace; how its items stand is on the board that they share."""

    def __init__(self, make: Callable[[], Run], note: Callable[[Progress], Any] = lambda event: event) -> None:
        """Both are called on the thread for jobs; `note` says what is kept of an event, None for nothing."""
        self.cancel = CancelToken()
        self.told: deque[Any] = deque()
        """What is kept of its events until it is taken, the oldest first."""
        self._make, self._note = make, note
        self._run: Run | None = None
        self._asked: list[Callable[[Run], Any]] = []
        self._lock = threading.Lock()

    def work(self) -> Any:
        """Do it; on the thread for jobs."""
        self.cancel.check()
        run = self._make()
        with self._lock:
            self._run = run
            for request in self._asked:
                request(run)
        return run.run(self._keep, self.cancel)

    def ask(self, request: Callable[[Run], Any]) -> None:
        """Ask the run for something; as soon as it is made, if it is not yet."""
        with self._lock:
            if self._run is None:
                self._asked.append(request)
            else:
                request(self._run)

    def take(self) -> list[Any]:
        """What is new."""
        return [self.told.popleft() for _ in range(len(self.told))]

    def _keep(self, event: Progress) -> None:
        if (kept := self._note(event)) is not None:
            self.told.append(kept)


class JobSession(Generic[Tab, Run]):
    """Everything that a tab of long work needs besides itself. `restore` it at the start, `close` it at the end.

    Runs on the Qt thread and waits for others: `runner` for the job, `files` for what is read, and the session's own.
    """

    WORK: ClassVar[str]
    """What its jobs are called."""

    def __init__(self, tab: Tab, settings: Settings, name: str, *others: EngineThread) -> None:
        """`name` is the field of the settings that belongs to the tab."""
        self.tab = tab
        self.settings = settings
        self._name = name
        self.runner = EngineThread(f"oriel-{name}", nice=NICENESS)
        self.files = EngineThread(f"oriel-{name}-files")
        self._threads = (self.runner, *others, self.files)
        self.job: Job[Run] | None = None
        self._opened = 0
        """How often folders were opened: what was read for an earlier time is not shown."""
        self._restored = False
        self._previews: PreviewCache | None = None
        self.tasks = Tasks(tab.say)
        tab.stop_requested.connect(self.stop)
        tab.shown.connect(self._shown)
        tab.reload_requested.connect(self.tasks.then(self.reload))
        tab.setup.changed.connect(self._remember)

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
        if self._previews is not None:
            await self.files.submit(self._previews.close)
        for thread in self._threads:
            await thread.close()

    @property
    def alive(self) -> bool:
        """Whether a thread of it still runs."""
        return any(thread.alive for thread in self._threads)

    @property
    def kept(self) -> dict[str, Any]:
        """What is remembered of the tab."""
        return getattr(self.settings, self._name)

    def _recall(self) -> None:
        """Set the options as they were."""
        raise NotImplementedError

    def _places(self) -> dict[str, Any]:
        """Files and folders that are remembered, by name: a path, several, or None, in the order of `_open`."""
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        """The options as they are remembered."""
        raise NotImplementedError

    def _remember(self) -> None:
        """Put options and places into the settings."""
        places = self._places()
        kept = {
            name: [*map(str, place)] if isinstance(place, list) else str(place)
            for name, place in places.items()
            if place
        }
        if not kept and self._opened <= 1:  # the places of the last time still wait to be opened
            kept = {name: self.kept[name] for name in places if name in self.kept}
        setattr(self.settings, self._name, kept | self._options())

    def _shown(self) -> None:
        """The tab came up; before `restore` that says nothing yet."""
        if not self._restored or self.tasks.closing:
            return
        self._look_around()
        if not self._opened:
            self._opened = 1
            kept = [self.kept.get(name) for name in self._places()]
            if any(kept):
                paths = ([*map(Path, at)] if isinstance(at, list) else Path(at) if at else None for at in kept)
                self.tasks.spawn(self._open(*paths))

    def _look_around(self) -> None:
        """Look for what may have changed while another tab was shown."""

    def _end_looks(self) -> None:
        """Cancel what goes on beside the job."""

    # -- folders -----------------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read files and folders anew."""
        await self._open(*self._places().values())

    async def _open(self, *places: Any) -> None:
        """Take these places, and show what is in them."""
        raise NotImplementedError

    async def _open_outside(self, path: Path | None) -> None:
        """Open a file or folder with what the system has for it."""
        if path is not None and await self.files.submit(path.exists):
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
        else:
            self.tab.status_changed.emit(f"There is no folder yet: it is made when the {self.WORK} starts.")

    async def _read(self, read: Callable[..., Found], *arguments: Any) -> Found | None:
        """What `read` finds, on the thread for files; None where that is not to be shown (any more)."""
        if self.job is not None or self.tasks.closing:
            return None
        self._opened += 1
        mine = self._opened
        self.tab.status_changed.emit("Reading the folder…")
        found = await self.files.submit(read, *arguments)
        if mine != self._opened or self.job is not None or self.tasks.closing:
            return None
        self.tab.status_changed.emit("")
        return found

    # -- the job -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the job as soon as it can be."""
        if self.job is not None:
            self.job.cancel.cancel()
            self.tab.set_state("stopping")

    def ask(self, request: Callable[[Run], Any], state: str = "") -> None:
        """Ask something of the run, and show the state that it will come to."""
        if self.job is not None:
            self.job.ask(request)
            if state:
                self.tab.set_state(state)

    async def _watch(self, job: Job[Run], take: Callable[[list[Any]], Any]) -> tuple[str, bool]:
        """Have a job done and `take` what it tells, also where that is nothing but another look at its board; what went
        wrong, if anything, and whether it was cancelled."""
        self._remember()
        work = asyncio.ensure_future(self.runner.submit(job.work))
        looked = 0.0
        while not work.done():
            await asyncio.wait({work}, timeout=POLL)
            take(job.take())
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
            return error.plain, False
        except Exception as error:
            traceback.print_exc()
            return f"Something unexpected went wrong: {type(error).__name__}: {error}", False
        return "", False

    async def _show_free(self) -> None:
        folder = self.tab.setup.folder_path
        self.tab.set_free(await self.files.submit(free_space, folder) if folder is not None else None)

    # -- looking at models -------------------------------------------------------------------------------

    async def _preview(self, path: Path, wanted: Callable[[], Any], wait: Callable[[], Any]) -> Preview | None:
        """The preview of a model, which is made next; `wait` is called until it is there, None if it is not wanted any
        more."""
        cache = await self.files.submit(self._want, path)
        while wanted():
            if (preview := cache.get(path)) is not None:
                return preview
            wait()
            await asyncio.sleep(POLL / 2)
        return None

    def _want(self, path: Path) -> PreviewCache:
        """Have the preview of a model made next; on the thread for files."""
        if self._previews is None:
            self._previews = make_cache()
        self._previews.want([path])
        return self._previews


def recalled(kind: type[Options], values: Any) -> Options:
    """A dataclass of plain options from JSON values; what does not fit is passed over."""
    fitting = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value = values.get(field.name) if isinstance(values, dict) else None
        value = tuple(value) if isinstance(value, list) else value
        if type(value) is type(field.default) or (type(value), type(field.default)) == (int, float):
            fitting[field.name] = value
    return kind(**fitting)


def free_space(folder: Path) -> int | None:
    """Bytes that are free on the disk of a folder that may not be there yet."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None

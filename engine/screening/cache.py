"""Previews of models, made ahead of need by worker processes: `PreviewCache`."""

from __future__ import annotations

import logging
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import Cancelled, InputError
from engine.core.processes import Child, ChildEnded
from engine.core.progress import CancelToken
from engine.screening.preview import ELSEWHERE, Preview, PreviewFacts, PreviewLimits, serve_previews, too_large

Stamp = tuple[int, int] | None
"""Time of change (ns) and size of a file; None for one that is not there."""

_START_SECONDS = 60.0
_FAILED_STARTS = 3
_STARVED = 4.0
"""How many times as long a model may take that only lacks a processor."""
_NICENESS = 5
_PATIENCE = 10.0
"""Seconds for the threads to end."""

_log = logging.getLogger(__name__)


@dataclass
class _Entry:
    preview: Preview
    stamp: Stamp
    nbytes: int


class PreviewCache:
    """Previews of the files that will be wanted next, made by worker processes, and of those seen last.

    No call waits for a disk or a worker. Call `close` at the end: it leaves no process or thread behind.
    """

    def __init__(self, limits: PreviewLimits | None = None, *, workers: int = 2) -> None:
        if workers < 1:
            raise InputError(f"{workers} workers cannot load models; give at least 1.")
        self.limits = limits or PreviewLimits()
        self._changed = threading.Condition()
        self._wanted: tuple[Path, ...] = ()
        self._renewed = False
        self._loading: set[Path] = set()
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()
        self._callbacks: list[Callable[[Path], None]] = []
        self._closing = CancelToken()
        self._able = workers
        """Threads whose workers start."""
        self._threads = [threading.Thread(target=self._run, name="previews", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def want(self, paths: Sequence[Path]) -> None:
        """Say which files are needed, the most urgent first. Replaces what was wanted before.

        Wanted files that have changed on the disk are loaded again.
        """
        with self._changed:
            self._wanted = tuple(dict.fromkeys(paths))
            self._renewed = True
            self._changed.notify_all()

    def get(self, path: Path) -> Preview | None:
        """The preview of a file, with a `problem` where it cannot be shown; None while it is not ready."""
        with self._changed:
            entry = self._entries.get(path)
            if entry is None:
                return None
            self._entries.move_to_end(path)
            return entry.preview

    def on_ready(self, callback: Callable[[Path], None]) -> None:
        """Have `callback` called with the path of each preview that is ready, from a thread of the cache."""
        with self._changed:
            self._callbacks.append(callback)

    @property
    def nbytes(self) -> int:
        """Of memory that all previews take."""
        with self._changed:
            return sum(entry.nbytes for entry in self._entries.values())

    def close(self) -> None:
        """End the workers at once and forget all previews. May be called twice."""
        with self._changed:
            self._closing.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_PATIENCE)  # it may hang on a disk that is gone
        with self._changed:
            self._entries.clear()
            self._callbacks.clear()

    # -- the threads, one for each worker; the lock is never held while a disk or a process is asked --

    def _run(self) -> None:
        failed_starts = 0
        try:
            while failed_starts < _FAILED_STARTS:
                failed_starts += 1
                try:
                    with closing(Child(serve_previews, self.limits, niceness=_NICENESS)) as worker:
                        worker.answer(_START_SECONDS, self._closing)
                        failed_starts = 0
                        self._load_with(worker)
                except (OSError, ChildEnded):
                    _log.exception("a worker for previews does not start")
            with self._changed:
                self._able -= 1
                if self._able:
                    return
            while True:
                path, stamp = self._next()
                self._arrived(Preview(path, problem=_no_workers(path)), stamp)
        except Cancelled:
            pass
        except Exception:
            _log.exception("a preview thread has ended")

    def _load_with(self, worker: Child) -> None:
        """Load one wanted file after the other, until the worker has had enough."""
        for _ in range(self.limits.worker_jobs):
            path, stamp = self._next()
            if worker.ended:  # while it had nothing to do
                with self._changed:
                    self._loading.discard(path)
                return
            self._arrived(self._load(worker, path, stamp), stamp)
            if worker.closed or worker.resident > self.limits.worker_bytes // 2:
                return

    def _load(self, worker: Child, path: Path, stamp: Stamp) -> Preview:
        """The preview of a file; the worker is closed if it does not come."""
        facts = PreviewFacts(bytes=stamp[1] if stamp else 0)
        worker.send(path)
        try:
            preview: Preview = worker.answer(self.limits.seconds, self._closing, starved=_STARVED)
            return preview
        except Cancelled:
            raise
        except TimeoutError:
            text = f"{path.name} did not load within {self.limits.seconds:.0f} seconds."
            preview = Preview(path, (), facts, text, f"Decide without a picture, or {ELSEWHERE}")
        except ChildEnded as ended:  # a crash of a library, or the system ended it for want of memory
            text = f"{path.name} made its reader crash (exit code {ended.code})."
            killed = ended.code == -signal.SIGKILL
            crashed = Preview(path, (), facts, text, f"Reject it, or {ELSEWHERE}")
            preview = too_large(path, facts, self.limits) if killed else crashed
        except Exception as error:
            _log.exception("the preview of %s did not arrive", path)
            text = f"The preview of {path.name} did not arrive ({error}). Is the disk full?"
            preview = Preview(path, (), facts, text)
        worker.close()
        return preview

    def _next(self) -> tuple[Path, Stamp]:
        """Wait for a wanted file to load; it counts as being loaded from now on."""
        while True:
            self._look_for_changes()
            with self._changed:
                self._closing.check()
                path = self._missing()
                if path is not None:
                    self._loading.add(path)
                    break
                if not self._renewed:
                    self._changed.wait()
        return path, stamp_of(path)

    def _look_for_changes(self) -> None:
        """Forget the previews of wanted files that have changed."""
        with self._changed:
            if not self._renewed:
                return
            self._renewed = False
            known = [(path, self._entries[path]) for path in self._wanted if path in self._entries]
        changed = [(path, entry) for path, entry in known if stamp_of(path) != entry.stamp]
        with self._changed:
            for path, entry in changed:
                if self._entries.get(path) is entry:
                    del self._entries[path]

    def _missing(self) -> Path | None:
        """The most urgent wanted file that is neither ready nor being loaded and has room."""
        room = self.limits.cache_bytes * 3 // 4
        for index, path in enumerate(self._wanted):
            if index and room < self.limits.largest:
                break
            entry = self._entries.get(path)
            room -= self.limits.largest if entry is None else entry.nbytes
            if entry is None and path not in self._loading:
                return path
        return None

    def _arrived(self, preview: Preview, stamp: Stamp) -> None:
        with self._changed:
            self._loading.discard(preview.path)
            self._entries[preview.path] = _Entry(preview, stamp, preview.nbytes)
            self._evict()
            self._changed.notify_all()  # there may be room for more than was reckoned with
            kept = preview.path in self._entries
            callbacks = list(self._callbacks)
        if not kept:
            return
        for callback in callbacks:
            try:
                callback(preview.path)
            except Exception:
                _log.exception("a listener to previews has failed")

    def _evict(self) -> None:
        """Make room: wanted previews keep up to three quarters, those seen last the rest."""
        order = {path: index for index, path in enumerate(self._wanted)}
        wanted = sum(e.nbytes for p, e in self._entries.items() if p in order)
        others = sum(e.nbytes for p, e in self._entries.items() if p not in order)
        most = self.limits.cache_bytes
        for path in sorted((p for p in self._entries if p in order), key=lambda p: -order[p]):
            if wanted <= most * 3 // 4 or order[path] == 0:
                break
            wanted -= self._entries.pop(path).nbytes
        for path in [p for p in self._entries if p not in order]:
            if wanted + others <= most:
                break
            others -= self._entries.pop(path).nbytes


def _no_workers(path: Path) -> str:
    return (
        f"{path.name} cannot be shown: the processes that load models do not start. Start Oriel again; decisions "
        "can be made meanwhile."
    )


def stamp_of(path: Path) -> Stamp:
    """What tells whether a file has changed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size

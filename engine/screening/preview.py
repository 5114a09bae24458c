"""Previews of models, made ahead of need by worker processes: `PreviewCache`.

A preview can be turned on any machine: few triangles, small textures, Z up, inside the unit sphere. Whatever a file
does to its reader, the caller gets a `Preview`; where there is nothing to see, `problem` says why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import signal
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from engine.core.errors import InputError
from engine.meshes.loading import Unreadable, read_model
from engine.meshes.reducing import PreviewPart as PreviewPart
from engine.meshes.reducing import reduce_model

Stamp = tuple[int, int] | None
"""Time of change (ns) and size of a file; None for one that is not there."""

_NICENESS = 5
_FAILED_STARTS = 3
_PATIENCE = 10.0
"""Seconds for a thread or a process to end."""
_ALIGN = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviewLimits:
    """How large previews may be, and what making and keeping them may cost."""

    triangles: int = 150_000
    """In all parts of a preview together."""
    parts: int = 16
    """Of a preview, each drawn on its own."""
    texture_side: int = 1024
    """Pixels of a texture's longer side."""
    texture_bytes: int = 24 << 20
    """Of all textures of a preview, as decoded."""
    seconds: float = 30.0
    """For one model; then its worker is ended. One that only lacks a processor gets up to four times as long."""
    worker_bytes: int = 1536 << 20
    """Of memory that one model may take while it is loaded, beside its mapped file (where the system can limit it)."""
    cache_bytes: int = 512 << 20
    """Of all previews kept. A quarter is for those already seen, so that going back does not wait."""
    worker_jobs: int = 100
    """Models after which a worker is replaced by a fresh one."""

    def __post_init__(self) -> None:
        if min(self.triangles, self.parts, self.texture_side, self.texture_bytes, self.worker_jobs) < 1:
            raise InputError("Limits of previews must be at least 1.")
        if self.parts > 200:
            raise InputError(f"A preview of {self.parts} parts is not quick to draw; give at most 200.")
        if self.seconds <= 0 or self.worker_bytes < 1 or self.cache_bytes < 1:
            raise InputError("Limits of time and memory of previews must be above 0.")

    @property
    def largest(self) -> int:
        """Bytes of about the largest preview that these limits allow."""
        return self.triangles * (12 + 2 * 40) + self.texture_bytes


@dataclass(frozen=True)
class PreviewFacts:
    """What is known of the file itself."""

    bytes: int = 0
    """Of the file, without those beside it."""
    triangles: int = 0
    """As drawn, before the reduction."""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Smallest and largest corner in the file's units, Z up."""
    materials: int = 0
    textures: int = 0
    animated: bool = False
    compressed: str = ""
    """`Draco`, `meshopt` or nothing."""
    warnings: tuple[str, ...] = ()
    """What is not shown, or not as it should be: whole sentences."""
    seconds: float = 0.0
    """That loading took."""


@dataclass(frozen=True, eq=False)
class Preview:
    """A model ready to be drawn, or why there is none. Its arrays are shared: not to be written to."""

    path: Path
    parts: tuple[PreviewPart, ...] = ()
    facts: PreviewFacts = field(default_factory=PreviewFacts)
    problem: str | None = None
    """Why nothing can be shown, and what may be done; `parts` is empty then."""

    @property
    def nbytes(self) -> int:
        """Of memory that its arrays take."""
        return sum(array.nbytes for part in self.parts for array in part.arrays().values())


def load_preview(path: Path, limits: PreviewLimits | None = None) -> Preview:
    """The preview of a model file, in this process; never raises. For windows there is `PreviewCache`."""
    limits = limits or PreviewLimits()
    start = time.perf_counter()
    size = 0
    try:
        with contextlib.suppress(OSError):
            size = path.stat().st_size
        model = read_model(path)
        animated, compressed = model.animated, model.compressed
        reduced = reduce_model(
            model,
            triangles=limits.triangles,
            parts=limits.parts,
            side=limits.texture_side,
            texture_bytes=limits.texture_bytes,
            name=path.name,
        )
    except Unreadable as error:
        return Preview(path, facts=PreviewFacts(bytes=size, seconds=time.perf_counter() - start), problem=str(error))
    except MemoryError:
        return Preview(path, facts=PreviewFacts(bytes=size), problem=_too_large(path, size, limits))
    except Exception as error:  # nothing that is in a file may end the screening
        _log.warning("%s cannot be read", path, exc_info=True)
        text = (
            f"{path.name} cannot be read ({type(error).__name__}: {str(error)[:200]}). Reject it, or skip it and open "
            "it in another program."
        )
        return Preview(path, facts=PreviewFacts(bytes=size), problem=text)
    facts = PreviewFacts(
        bytes=size,
        triangles=reduced.triangles,
        bounds=reduced.bounds,
        materials=reduced.materials,
        textures=reduced.textures,
        animated=animated,
        compressed=compressed,
        warnings=tuple(reduced.warnings),
        seconds=time.perf_counter() - start,
    )
    return Preview(path, tuple(reduced.parts), facts)


def _too_large(path: Path, size: int, limits: PreviewLimits) -> str:
    return (
        f"{path.name} ({size / 1e6:,.0f} MB) is too large to be shown: it takes more than "
        f"{limits.worker_bytes / 1e9:.1f} GB of memory to load. Decide without a picture, or skip it."
    )


# -- the cache -----------------------------------------------------------------------------------------------


@dataclass
class _Entry:
    preview: Preview
    stamp: Stamp
    nbytes: int


class PreviewCache:
    """Previews of the files that will be wanted next, made by worker processes, and of those seen last.

    No call waits for a disk or a worker. Call `close` at the end: it leaves no process, thread or file behind.
    """

    def __init__(self, limits: PreviewLimits | None = None, *, workers: int = 2) -> None:
        if workers < 1:
            raise InputError(f"{workers} workers cannot load models; give at least 1.")
        self.limits = limits or PreviewLimits()
        self._lock = threading.Lock()
        self._wanted: tuple[Path, ...] = ()
        self._renewed = False
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()
        self._callbacks: list[Callable[[Path], None]] = []
        self._closing = False
        self._context = get_context("spawn")
        self._woken, self._wake_end = self._context.Pipe(duplex=False)
        self._folder = Path(tempfile.mkdtemp(prefix="oriel-previews-"))
        self._count = workers
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._thread = threading.Thread(target=self._run, name="previews", daemon=True)
        self._thread.start()

    def want(self, paths: Sequence[Path]) -> None:
        """Say which files are needed, the most urgent first. Replaces what was wanted before.

        Wanted files that have changed on the disk are loaded again.
        """
        with self._lock:
            self._wanted = tuple(dict.fromkeys(paths))
            told, self._renewed = self._renewed, True
        if not told:  # once is enough, and a full pipe would hold the caller up
            self._wake()

    def get(self, path: Path) -> Preview | None:
        """The preview of a file, with a `problem` where it cannot be shown; None while it is not ready."""
        with self._lock:
            entry = self._entries.get(path)
            if entry is None:
                return None
            self._entries.move_to_end(path)
            return entry.preview

    def on_ready(self, callback: Callable[[Path], None]) -> None:
        """Have `callback` called with the path of each preview that is ready, from a thread of the cache."""
        with self._lock:
            self._callbacks.append(callback)

    @property
    def nbytes(self) -> int:
        """Of memory that all previews take."""
        with self._lock:
            return sum(entry.nbytes for entry in self._entries.values())

    def close(self) -> None:
        """End the workers at once and forget all previews. May be called twice."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._wake()
        self._thread.join(_PATIENCE)  # it may hang on a disk that is gone
        if not self._thread.is_alive():
            self._woken.close()
            self._wake_end.close()
        with self._lock:
            self._entries.clear()
            self._callbacks.clear()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_end.send_bytes(b"")

    # -- the thread of the cache; the lock is never held while a disk or a process is asked --

    def _run(self) -> None:
        try:
            while not self._closing:
                self._start_workers()
                self._look_for_changes()
                self._assign()
                self._wait()
        except Exception:
            _log.exception("the preview thread has ended")
        finally:
            for worker in self._workers:
                worker.end()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start_workers(self) -> None:
        while len(self._workers) < self._count and self._failed_starts < _FAILED_STARTS:
            try:
                self._workers.append(_Worker(self._context, self._folder, self.limits))
            except OSError:
                self._failed_starts += 1
                _log.exception("a worker for previews does not start")

    def _look_for_changes(self) -> None:
        """Forget the previews of wanted files that have changed."""
        with self._lock:
            if not self._renewed:
                return
            self._renewed = False
            known = [(path, self._entries[path].stamp) for path in self._wanted if path in self._entries]
        changed = [path for path, stamp in known if _stamp(path) != stamp]
        with self._lock:
            for path in changed:
                self._entries.pop(path, None)

    def _assign(self) -> None:
        """Give the most urgent missing files to the workers that are free."""
        free = [worker for worker in self._workers if worker.ready and worker.path is None]
        if not self._workers:
            for path in self._missing(len(self._wanted)):
                self._arrived(Preview(path, problem=_no_workers(path)), None)
            return
        for worker, path in zip(free, self._missing(len(free)), strict=False):
            worker.begin(path, _stamp(path))

    def _missing(self, most: int) -> list[Path]:
        """Up to `most` wanted files that are neither ready nor being loaded and have room, the most urgent first."""
        busy = {worker.path for worker in self._workers}
        room = self.limits.cache_bytes * 3 // 4
        found: list[Path] = []
        with self._lock:
            for index, path in enumerate(self._wanted):
                if len(found) == most or (index and room < self.limits.largest):
                    break
                entry = self._entries.get(path)
                if entry is not None:
                    room -= entry.nbytes
                else:
                    room -= self.limits.largest
                    if path not in busy:
                        found.append(path)
        return found

    def _wait(self) -> None:
        """Wait for a worker, a wish or the end of somebody's time."""
        now = time.monotonic()
        left = [worker.deadline - now for worker in self._workers if worker.deadline is not None]
        sources: list[Any] = [self._woken, *(worker.pipe for worker in self._workers)]
        ready = connection.wait(sources, max(min(left), 0) if left else None)
        if self._woken in ready:
            while self._woken.poll():
                self._woken.recv_bytes()
        for worker in list(self._workers):
            if self._closing:
                return
            if worker.pipe in ready:
                self._hear(worker)
            elif worker.deadline is not None and time.monotonic() >= worker.deadline and not worker.extend():
                self._give_up(worker)

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            self._lost(worker)
            return
        if not worker.ready:
            worker.ready, worker.deadline = True, None
            self._failed_starts = 0
            return
        path, stamp = worker.path, worker.stamp
        worker.free()
        try:
            preview = _received(message)
        except Exception as error:
            assert path is not None
            _log.exception("the preview of %s did not arrive", path)
            preview = Preview(path, problem=f"The preview of {path.name} did not arrive ({error}). Is the disk full?")
        self._arrived(preview, stamp)
        if worker.jobs >= self.limits.worker_jobs or worker.resident() > self.limits.worker_bytes // 2:
            self._drop(worker)

    def _give_up(self, worker: _Worker) -> None:
        """End a worker whose time is over."""
        path, stamp = worker.path, worker.stamp
        self._drop(worker)
        if path is None:
            self._failed_starts += 1
            return
        text = (
            f"{path.name} did not load within {self.limits.seconds:.0f} seconds. Decide without a picture, or skip it "
            "and open it in another program."
        )
        self._arrived(Preview(path, facts=PreviewFacts(bytes=stamp[1] if stamp else 0), problem=text), stamp)

    def _lost(self, worker: _Worker) -> None:
        """A worker has ended by itself: a crash of a library, or the system ended it for want of memory."""
        path, stamp, started = worker.path, worker.stamp, worker.ready
        worker.join()
        code = self._drop(worker)
        if not started:
            self._failed_starts += 1
        if path is None:
            return
        size = stamp[1] if stamp else 0
        if code == -9:
            text = _too_large(path, size, self.limits)
        else:
            text = (
                f"{path.name} made its reader crash (exit code {code}). Reject it, or skip it and open it in another "
                "program."
            )
        self._arrived(Preview(path, facts=PreviewFacts(bytes=size), problem=text), stamp)

    def _drop(self, worker: _Worker) -> int | None:
        self._workers.remove(worker)
        return worker.end()

    def _arrived(self, preview: Preview, stamp: Stamp) -> None:
        with self._lock:
            self._entries[preview.path] = _Entry(preview, stamp, preview.nbytes)
            self._evict()
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


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


# -- workers -------------------------------------------------------------------------------------------------


class _Worker:
    """One process that loads models, one at a time, as its owner sees it."""

    def __init__(self, context: Any, folder: Path, limits: PreviewLimits) -> None:
        self._limits = limits
        self.pipe, theirs = context.Pipe()
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._process = context.Process(target=_work, args=(theirs, self._folder, limits), daemon=True)
        try:
            self._process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.ready = False
        self.path: Path | None = None
        self.stamp: Stamp = None
        self.deadline: float | None = time.monotonic() + 60
        self.jobs = 0
        self._begun = self._work_before = 0.0

    def begin(self, path: Path, stamp: Stamp) -> None:
        self.path, self.stamp = path, stamp
        self._begun = time.monotonic()
        self.deadline = self._begun + self._limits.seconds
        self._work_before = self._work_done()
        self.jobs += 1
        with contextlib.suppress(OSError):  # one that has just ended is noticed by its closed pipe
            self.pipe.send(path)

    def free(self) -> None:
        self.path, self.stamp, self.deadline = None, None, None

    def extend(self) -> bool:
        """Whether it gets more time, as it would run but others have the processor."""
        now, most = time.monotonic(), self._limits.seconds
        left = most - (self._work_done() - self._work_before)
        if self.path is None or left <= 0 or now >= self._begun + 4 * most:
            return False
        try:
            if psutil.Process(self._process.pid).status() != psutil.STATUS_RUNNING:
                return False
        except psutil.Error:
            return False
        self.deadline = min(now + left, self._begun + 4 * most)
        return True

    def _work_done(self) -> float:
        """Seconds of a processor that it has had."""
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def resident(self) -> int:
        """Bytes of memory that it holds now."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def join(self) -> None:
        """Wait for one that has closed its pipe: its own exit code tells more than that of an end by force."""
        self._process.join(1.0)

    def end(self) -> int | None:
        """End it at once; returns its exit code."""
        self._process.kill()
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        if code is not None:  # else it hangs in the system, on a disk that is gone
            self._process.close()
        self.pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return code


def _work(pipe: connection.Connection, folder: Path, limits: PreviewLimits) -> None:
    """Load one model after the other, until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICENESS)  # the window goes first
    import fast_simplification  # noqa: F401 - before the first model, not with it
    import PIL.Image
    import scipy.sparse.csgraph  # noqa: F401

    PIL.Image.MAX_IMAGE_PIXELS = None  # the limit of memory does better: a large JPEG is never decoded whole

    np.ones((64, 64)) @ np.ones((64, 64))  # takes its own memory once
    _limit_memory(limits.worker_bytes)
    owner = os.getppid()
    threading.Thread(target=_end_with, args=(owner, folder), daemon=True).start()
    try:
        pipe.send_bytes(b"ready")
        while True:
            path = pipe.recv()
            pipe.send_bytes(_sent(load_preview(path, limits), folder, limits))
    except (EOFError, OSError):
        _clear(folder)


def _limit_memory(most: int) -> None:
    """Let this process allocate `most` bytes more than now; mapped files do not count."""
    try:
        import resource

        used = psutil.Process().memory_info()
        held = int(getattr(used, "data", 0)) or int(used.rss)
        resource.setrlimit(resource.RLIMIT_DATA, (held + most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (ImportError, AttributeError, OSError, ValueError):
        _log.info("the memory of workers cannot be limited on this system")


def _end_with(owner: int, folder: Path) -> None:
    """End this process soon after its owner, also in the middle of a model."""
    while os.getppid() == owner:
        time.sleep(1.0)
    _clear(folder)
    os._exit(1)


def _clear(folder: Path) -> None:
    """Remove the folder of a worker whose owner is gone; the last one removes the owner's."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


# -- the way of a preview from one process to the other ------------------------------------------------------
#
# A file in the temporary folder, read at once into one block and deleted. The pipe takes but 64 KB at a time, and
# after each the reader has to get the interpreter back from the window's thread.


def _sent(preview: Preview, folder: Path, limits: PreviewLimits) -> bytes:
    """Write the arrays of a preview into a file; returns what the owner needs to read them."""
    try:
        return _write(preview, folder)
    except MemoryError:
        text = _too_large(preview.path, preview.facts.bytes, limits)
    except OSError as error:
        text = (
            f"The preview of {preview.path.name} cannot be kept in {folder} ({error.strerror}). Make room on the disk."
        )
    return _write(Preview(preview.path, facts=preview.facts, problem=text), folder)


def _write(preview: Preview, folder: Path) -> bytes:
    layout: list[tuple[dict[str, tuple[str, tuple[int, ...], int]], dict[str, Any]]] = []
    at = 0
    arrays: list[tuple[int, Any]] = []
    for part in preview.parts:
        found = part.arrays()
        places = {}
        for name, array in found.items():
            places[name] = (array.dtype.str, array.shape, at)
            arrays.append((at, np.ascontiguousarray(array)))
            at += -(-array.nbytes // _ALIGN) * _ALIGN
        plain = {n: getattr(part, n) for n in ("double_sided", "alpha", "cutoff", "repeat")}
        layout.append((places, plain))
    path = folder / "preview" if at else None
    if path is not None:
        with path.open("wb") as file:
            for start, array in arrays:
                file.seek(start)
                file.write(array)
            file.truncate(at)
    return pickle.dumps((preview.path, preview.facts, preview.problem, layout, path, at))


def _received(message: bytes) -> Preview:
    path, facts, problem, layout, place, size = pickle.loads(message)
    block = np.empty(size, np.uint8)
    if place is not None:
        with place.open("rb", buffering=0) as file:
            if file.readinto(block) != size:
                raise OSError("it is incomplete")
        place.unlink()
    parts = []
    for places, plain in layout:
        arrays: dict[str, Any] = {}
        for name, (kind, shape, start) in places.items():
            arrays[name] = np.ndarray(shape, kind, block, start)
            arrays[name].flags.writeable = False
        parts.append(PreviewPart(**arrays, **plain))
    return Preview(path, tuple(parts), facts, problem)

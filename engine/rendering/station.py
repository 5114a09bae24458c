"""What a worker of the farm does with one model: `render_job`, run by Dask in the worker's process.

The process keeps one Blender from job to job. A job ends early once Dask has let go of it, which it does as soon as the
client cancels it or is gone, so that nothing renders on for nobody.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import os
import shutil
import socket
import tempfile
import threading
import traceback
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from distributed import get_worker
from PIL import Image

from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken
from engine.rendering import layout
from engine.rendering.blender import BlenderEvent, BlenderProcess, RenderFailed, find_blender
from engine.rendering.jobs import ModelFile, RenderSettings, frames

TOPIC = "oriel-render"
"""Of the events by which workers tell of their frames; one for all runs, as a scheduler keeps topics for good."""
THUMBNAIL = 160
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@dataclass(frozen=True)
class Job:
    """One attempt at a model, as it travels to a worker."""

    run: str
    """Tells the events of one run from those of another."""
    key: str
    path: str
    """Of the model, on the client's machine."""
    sha256: str
    settings: RenderSettings
    version: str
    """`code_version` of the client."""


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    kind: str
    """`done`; `failed` (the model's fault); `trouble` or `unfit` (the worker's: for now, or for good); `cancelled`."""
    message: str = ""
    log: str = ""
    """What Blender said, or a traceback."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The finished folder."""
    seconds_per_frame: float | None = None


@cache
def code_version() -> str:
    """Tells one state of the rendering code from another: what differs in it may differ in the pictures."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    if not sources:
        return importlib.metadata.version("oriel")
    digest = hashlib.sha256()
    engine = Path(__file__).parents[1]
    for path in [*sources, *sorted((engine / "meshes").glob("*.py")), engine / "cameras.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class _TaskToken(CancelToken):
    """Cancelled once Dask has let go of the task that this thread carries out."""

    def __init__(self, tasks: dict[Any, Any], key: Any) -> None:
        super().__init__()
        self._tasks, self._key = tasks, key

    @property
    def cancelled(self) -> bool:
        task = self._tasks.get(self._key)
        return super().cancelled or task is None or task.state not in ("executing", "long-running")


_one_at_a_time = threading.Lock()
_blender: BlenderProcess | None = None


def _the_blender(threads: int) -> BlenderProcess:
    global _blender
    if _blender is None:
        _blender = BlenderProcess(find_blender(), threads=threads)
    return _blender


def close_blender() -> None:
    """End this process's Blender if it has one and it is idle."""
    global _blender
    if _blender is not None and _one_at_a_time.acquire(blocking=False):
        try:
            _blender.close()
            _blender = None
        finally:
            _one_at_a_time.release()


def render_job(job: Job, content: dict[str, bytes] | None = None) -> Outcome | None:
    """Render a model; None from a worker that does not see its file and wants `content`: its files by name, its own
    first."""
    worker = get_worker()
    token = _TaskToken(worker.state.tasks, worker.get_current_task())
    # Another client's job, or one that is just being cancelled, may still have the Blender.
    while not _one_at_a_time.acquire(timeout=0.1):
        if token.cancelled:
            return Outcome("cancelled")
    scratch: Path | None = None
    try:
        if job.version != code_version():
            return Outcome(
                "unfit",
                f"{socket.gethostname()} has another version of Oriel ({code_version()}) than this machine "
                f"({job.version}). Install the same there and start its worker again.",
            )
        scratch = Path(tempfile.mkdtemp(prefix="model-", dir=worker.local_directory))
        return _render(job, content, scratch, token)
    except Cancelled:
        return Outcome("cancelled")
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            where = error.filename or worker.local_directory
            return Outcome("trouble", f"{where} cannot be used on {socket.gethostname()}: {error.strerror}.")
        return Outcome("failed", f"Unexpected: {type(error).__name__}: {error}", traceback.format_exc())
    except Exception as error:  # a fault of the program must not cost a night's work
        return Outcome("failed", f"Unexpected: {type(error).__name__}: {error}", traceback.format_exc())
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        _one_at_a_time.release()


def _render(job: Job, content: dict[str, bytes] | None, scratch: Path, token: _TaskToken) -> Outcome | None:
    worker = get_worker()
    path = Path(job.path)
    if content is not None:
        for name, data in content.items():
            target = Path(os.path.normpath(scratch / "model" / name))
            if not target.is_relative_to(scratch / "model"):
                return Outcome("failed", f"The model uses the file {name}, which is no place beside it.")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        path = scratch / "model" / next(iter(content))
    elif not path.is_file() or layout.sha256_of(path) != job.sha256:
        return None
    try:
        blender = _the_blender(worker.state.nthreads)
    except InputError as error:
        return Outcome("unfit", f"{socket.gethostname()}: {error}")

    output = scratch / job.key
    output.mkdir()
    wanted = frames(job.settings)
    begun = [False]

    def report(event: BlenderEvent) -> None:
        begun[0] = begun[0] or event.kind != "starting"
        told: dict[str, Any] = {"run": job.run, "key": job.key, "worker": worker.address, "kind": event.kind}
        told |= {"name": event.name, "index": event.index, "total": event.total, "seconds": event.seconds}
        if event.kind == "frame":
            told |= _thumbnails(output, event.name)
        worker.log_event(TOPIC, told)

    try:
        rendered = blender.render(path, output, job.settings, wanted, on_event=report, cancel=token)
        layout.finish(output, ModelFile(job.key, Path(job.path)), job.sha256, job.settings, rendered)
    except OrielError as error:
        log = error.log if isinstance(error, RenderFailed) else ""
        if not begun[0]:
            return Outcome("trouble", f"{socket.gethostname()}: {error}", log)
        return Outcome("failed", str(error), log)
    token.check()
    taken = list(rendered.seconds.get("frames", {}).values())
    return Outcome(
        "done",
        files={file.name: file.read_bytes() for file in sorted(output.iterdir())},
        seconds_per_frame=sum(taken) / len(taken) if taken else None,
    )


def _thumbnails(output: Path, name: str) -> dict[str, bytes]:
    """Small pictures of a frame that has just been rendered, as far as they can be made."""
    found: dict[str, bytes] = {}
    with contextlib.suppress(OSError, ValueError, OrielError):
        found["picture"] = layout.thumbnail(output / f"{name}.png", THUMBNAIL)
        raw = output / f"{name}_depth.npy"
        if raw.exists():
            found["depth"] = _small_depth(np.load(raw, mmap_mode="r"))
    return found


def _small_depth(depth: npt.NDArray[np.float32]) -> bytes:
    """Depth (S, S; inf where nothing is) as a small grey PNG: near is bright, black where nothing is."""
    step = -(-len(depth) // THUMBNAIL)
    small = np.asarray(depth[::step, ::step])
    shown = layout.for_the_eye({"": np.where(np.isfinite(small), small, 0)})[""]
    raw = io.BytesIO()
    Image.fromarray(shown).save(raw, "PNG", compress_level=1)
    return raw.getvalue()

"""Blender as a process of its own: `find_blender`, `BlenderProcess`.

Blender runs `worker.py` beside this module, under the `bpy` module of an environment of its own or under any `blender`
executable. Jobs go in and events come out as JSON lines. Whatever a model does to Blender, the caller gets `Rendered`,
`RenderFailed` or `Cancelled`, and the next model gets a process that works.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.core.errors import InputError, OrielError
from engine.core.processes import Child, ChildEnded
from engine.core.progress import CancelToken
from engine.rendering.handover import serve_another, wants_another
from engine.rendering.jobs import Frame, RenderSettings

MINIMUM = (3, 6)
"""The oldest Blender that is used."""
START_SECONDS = 180.0
"""Longest time for Blender to start."""

_WORKER = Path(__file__).with_name("worker.py")
_ROOT = Path(__file__).resolve().parents[2]
_POLL = 0.1
_PATIENCE = 10.0
"""Seconds for a process or thread that has been ended to be gone."""
_LOG_LINES = 200
_EEVEE = " EEVEE needs a GPU with OpenGL 4.3, and older versions a display: where these are missing, choose cycles."


class RenderFailed(OrielError):
    """A model that could not be rendered."""

    def __init__(self, text: str, log: str = "", *, hung: bool = False) -> None:
        super().__init__(text)
        self.log = log
        """The last lines that Blender wrote."""
        self.hung = hung
        """Whether Blender took too long and was ended."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _failed, (str(self), self.log, self.hung)


def _failed(text: str, log: str, hung: bool) -> RenderFailed:
    return RenderFailed(text, log, hung=hung)


@dataclass(frozen=True)
class Blender:
    """A Blender that can be started."""

    command: tuple[str, ...]
    """Starts the worker."""
    version: str
    """Such as `5.0.1`."""


@dataclass(frozen=True)
class BlenderEvent:
    """What Blender has just begun or finished."""

    kind: str
    """`starting`, `loading`, `loaded` or `frame` (a frame is there, with its depth)."""
    name: str = ""
    """File stem of the frame."""
    index: int = 0
    """Frames that are there."""
    total: int = 0
    seconds: float = 0.0
    """That loading or the frame took."""


@dataclass(frozen=True)
class Rendered:
    """A model of which all frames are there."""

    statistics: dict[str, Any]
    """`vertices`, `triangles`, `objects`, `materials`, `textures`, `bounds` (lower and upper corner in the file's
    units, Z up), `scale` that was applied, `device` that rendered."""
    repairs: list[str] = field(default_factory=list)
    """What was wrong with the model and has been mended: whole sentences."""
    blender: str = ""
    """Version."""
    seconds: dict[str, Any] = field(default_factory=dict)
    """`load`, `frames` (by name), `depth` and `total`."""
    megabytes: float = 0.0
    """Of memory that Blender held at the end."""


def ignore_event(event: BlenderEvent) -> None:
    """For callers that do not watch."""


# -- finding -------------------------------------------------------------------------------------------------


def find_blender(choice: str | Path | None = None) -> Blender:
    """The Blender that is chosen, named by ORIEL_BLENDER, set up beside the project, or on the PATH.

    A choice is a `blender` executable, a Python executable that can import `bpy`, or the folder of either. Raises
    `InputError` for one that does not work or is too old, and when there is none.
    """
    chosen = choice or os.environ.get("ORIEL_BLENDER")
    if chosen:
        path = _executable(Path(chosen).expanduser())
        if path is None:
            raise InputError(
                f"There is no Blender at {chosen}: give a blender executable, or a Python with the bpy module. "
                "Leave the choice empty to use the one that make setup installs."
            )
        return _probe(path)
    path = _executable(_ROOT / ".venv-blender")
    if path is None:
        found = shutil.which("blender")
        path = Path(found) if found else None
    if path is None:
        raise InputError(
            "Rendering needs Blender, and none was found. Run make setup (with Python 3.11), install Blender 3.6 or "
            "newer so that `blender` is on the PATH, or set ORIEL_BLENDER to a blender executable."
        )
    return _probe(path)


def _executable(path: Path) -> Path | None:
    """The executable that `path` is or holds."""
    if not path.is_dir():
        found = shutil.which(str(path))
        return Path(found) if found else None
    names = ("blender", "bin/python", "Contents/MacOS/Blender")
    return next((path / name for name in names if (path / name).is_file()), None)


@lru_cache
def _probe(path: Path) -> Blender:
    """Ask an executable for its version; a Python is asked for its `bpy`."""
    python = path.name.startswith("python")
    ask = "import importlib.metadata as m; print('Blender', m.version('bpy'))"
    try:
        command = [str(path), "-c", ask] if python else [str(path), "--version"]
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=START_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path} does not start ({error}). Choose another Blender.") from error
    found = re.search(r"Blender (\d+)\.(\d+)(\.\d+)?", answer.stdout)
    if answer.returncode or not found:
        last = (answer.stderr.strip() or answer.stdout.strip()).rpartition("\n")[2]
        what = "a Python without the bpy module" if python else "not a Blender that works"
        raise InputError(f"{path} is {what} ({last or 'it says nothing'}). Choose another, or run make setup.")
    version = found[0].partition(" ")[2]
    if (int(found[1]), int(found[2])) < MINIMUM:
        raise InputError(f"{path} is Blender {version}: {MINIMUM[0]}.{MINIMUM[1]} or newer is needed.")
    if python:
        return Blender((str(path), str(_WORKER)), version)
    start = ("--background", "--factory-startup", "-noaudio", "--python-exit-code", "1", "--python", str(_WORKER))
    return Blender((str(path), *start), version)


# -- running -------------------------------------------------------------------------------------------------


class BlenderProcess:
    """A Blender that renders one model after the other, and is started, restarted and recycled as needed.

    Not for several threads at a time. Call `close` at the end, or use it as a context manager.
    """

    def __init__(
        self, blender: Blender, *, recycle_models: int = 50, recycle_bytes: int = 4 << 30, threads: int | None = None
    ) -> None:
        """After so many models, or when it holds so much memory, Blender is replaced by a fresh one; `threads` is how
        many it may use (default: one for each core)."""
        self.blender = blender
        self._recycle_models = recycle_models
        self._recycle_bytes = recycle_bytes
        self._threads = threads or 0
        self._running: _Running | None = None

    def __enter__(self) -> BlenderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int | None:
        """Of the Blender that waits for the next model; None while there is none."""
        return self._running.process_id if self._running else None

    def close(self) -> None:
        """End Blender."""
        if self._running:
            self._running.end()
            self._running = None

    def render(
        self,
        model: Path,
        output: Path,
        settings: RenderSettings,
        frames: Sequence[Frame],
        *,
        on_event: Callable[[BlenderEvent], None] = ignore_event,
        cancel: CancelToken | None = None,
    ) -> Rendered:
        """Render frames of a model into a folder that exists.

        Writes `<name>.png` (RGBA, straight alpha) and for frames with depth `<name>_depth.npy` (size x size float32:
        world units along the viewing axis, inf where there is nothing), each of them whole. Raises `RenderFailed`, or
        `Cancelled` within about 100 ms of the token; the folder may hold frames then.
        """
        begun = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="oriel-render-") as folder:
                work = self._work(model, Path(folder), output, settings, frames, on_event, cancel or CancelToken())
                settled, log = work
        except BaseException:
            self.close()  # whatever it is at, the next model does not wait for it
            raise
        if settled["event"] == "failed":
            raise RenderFailed(settled["text"], log)
        seconds = settled["seconds"] | {"total": time.monotonic() - begun}
        return Rendered(settled["statistics"], settled["repairs"], settled["blender"], seconds, settled["megabytes"])

    def _work(
        self,
        model: Path,
        folder: Path,
        output: Path,
        settings: RenderSettings,
        frames: Sequence[Frame],
        on_event: Callable[[BlenderEvent], None],
        cancel: CancelToken,
    ) -> tuple[dict[str, Any], str]:
        """The event that ends the job, and the log's tail; `folder` may be used meanwhile."""
        cancel.check()
        total = len(frames)
        if self._running is not None and not self._running.alive:
            self.close()
        if self._running is None:
            on_event(BlenderEvent("starting", total=total))
            self._running = _Running(self.blender)
            self._running.next("starting", model, cancel, time.monotonic() + START_SECONDS)
        running = self._running
        running.log.clear()
        running.hint = _EEVEE if settings.engine == "eevee" else ""
        limit = time.monotonic() + settings.model_seconds
        on_event(BlenderEvent("loading", total=total))
        given, told = self._given(running, model, folder, settings, cancel)
        running.send(
            {
                "model": str(given.absolute()),
                "name": model.name,
                "output": str(output.absolute()),
                "settings": asdict(settings),
                "threads": self._threads,
                "frames": [{"name": f.name, "matrix": f.pose.matrix().tolist(), "depth": f.depth} for f in frames],
            }
        )
        what, done = "loading", 0
        while True:
            event = running.next(what, model, cancel, min(limit, time.monotonic() + settings.frame_seconds))
            if event["event"] == "loaded":
                on_event(BlenderEvent("loaded", total=total, seconds=event["seconds"]))
            elif event["event"] == "frame":
                done += 1
                on_event(BlenderEvent("frame", event["name"], done, total, event["seconds"]))
            else:
                break
            what = frames[done].name if done < total else "finishing"
        if event["event"] == "done":
            event["repairs"] = told + event["repairs"]
        log = running.tail()
        running.models += 1
        if running.models >= self._recycle_models or event["megabytes"] * 2**20 >= self._recycle_bytes:
            self.close()
        return event, log

    def _given(
        self, running: _Running, model: Path, folder: Path, settings: RenderSettings, cancel: CancelToken
    ) -> tuple[Path, list[str]]:
        """The file that Blender is given for a model, and what is missing in it."""
        try:
            if not wants_another(model):
                return model, []
            with contextlib.closing(Child(serve_another, model, folder, hushed=True)) as child:
                return child.answer(settings.frame_seconds, cancel)
        except TimeoutError:
            raise running.hung("loading", model, settings.frame_seconds) from None
        except (OSError, ChildEnded, InputError):
            return model, []  # Blender may read it all the same, else it says why not


class _Running:
    """One process of Blender."""

    def __init__(self, blender: Blender) -> None:
        self.models = 0
        self.hint = ""
        """What else to do when it crashes or hangs."""
        self.log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
        self._blender = blender
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: OSError | None = None
        started = threading.Event()
        # Blender asks the system to end it together with the thread that started it. So that is one that lives as
        # long as Blender does, and not the caller's, which may be one of a pool.
        self._threads = [threading.Thread(target=self._listen, args=(started,), name="blender", daemon=True)]
        self._threads[0].start()
        started.wait()
        if self._process is None:
            raise RenderFailed(
                f"Blender cannot be started: {blender.command[0]} ({self._problem}). Choose another Blender."
            )
        self._threads.append(threading.Thread(target=self._note, name="blender-log", daemon=True))
        self._threads[1].start()

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, job: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError):  # one that has just ended is noticed by its closed output
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def next(self, what: str, model: Path, cancel: CancelToken, limit: float) -> dict[str, Any]:
        """The next event, until `limit` (of the monotonic clock)."""
        begun = time.monotonic()
        while True:
            cancel.check()
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=_POLL)
                if event is None:
                    raise self._crashed(what, model)
                return event
            if time.monotonic() >= limit:
                raise self.hung(what, model, time.monotonic() - begun)

    def tail(self) -> str:
        """The last lines that Blender wrote."""
        return "\n".join(self.log)

    def end(self) -> None:
        """End Blender and all that it has started, at once."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for thread in self._threads:
            thread.join(_PATIENCE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()

    def _listen(self, started: threading.Event) -> None:
        """Start Blender and queue its events, then None."""
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            self._process = subprocess.Popen(
                self._blender.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=surroundings,
                start_new_session=True,
            )
        except OSError as error:
            self._problem = error
        started.set()
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            if line.startswith(b'{"event"'):
                self._events.put(json.loads(line))
            else:  # of a Blender that is not yet at the worker
                self.log.append(line.decode("utf-8", "replace").rstrip())
        self._events.put(None)

    def _note(self) -> None:
        """Keep the last lines of what Blender says."""
        assert self._process is not None and self._process.stderr is not None
        for line in self._process.stderr:
            if not line.startswith(b"Fra:"):  # older versions say in hundreds of lines how a frame goes on
                self.log.append(line.decode("utf-8", "replace").rstrip())

    def _crashed(self, what: str, model: Path) -> RenderFailed:
        assert self._process is not None
        try:
            code = self._process.wait(_PATIENCE)
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        except (subprocess.TimeoutExpired, ValueError):
            how = "its output closed"
        self._threads[1].join(_PATIENCE)
        if what == "starting":
            text = (
                f"Blender {self._blender.version} ended while it started ({how}). Try `{self._blender.command[0]}` by "
                "hand, or choose another Blender."
            )
        else:
            text = (
                f"Blender ended at {what} of {model.name} ({how}); if the machine was short of memory, render fewer "
                f"models at a time, else look at the model in another program.{self.hint}"
            )
        return RenderFailed(text, self.tail())

    def hung(self, what: str, model: Path, seconds: float) -> RenderFailed:
        if what == "starting":
            text = f"Blender did not start within {seconds:.0f} s. Try again when the machine is less busy."
        else:
            text = (
                f"Blender was ended after {seconds:.0f} s at {what} of {model.name}. If the model is only heavy, allow "
                f"more time for a frame or a model, or take fewer samples; else leave it out.{self.hint}"
            )
        return RenderFailed(text, self.tail(), hung=True)

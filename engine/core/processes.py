"""Functions in processes of their own: `Child`. None outlives the process that started it, however that ends.

`process_lives` tells whether one that anybody started still runs.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import psutil

from engine.core.errors import OrielError
from engine.core.progress import CancelToken

_POLL = 0.1
_PATIENCE = 10.0
"""Seconds for a process that has ended, or been ended, to be gone."""
_ALIGN = 64


class ChildEnded(Exception):
    """A child has ended before it answered."""

    def __init__(self, code: int | None, said: str) -> None:
        super().__init__(code, said)
        self.code = code
        """Below 0 the signal that ended it; None where it hangs in the system, as on a disk that is gone."""
        self.said = said
        """The last line that it wrote to standard error, if that is kept; of a fault what was raised."""

    def __str__(self) -> str:
        return self.said or f"exit code {self.code}"


class ChildFault(ChildEnded):
    """The work of a child has raised what is no OrielError."""


class Channel:
    """One end of a pipe to another process, for any values.

    Arrays go through a file without a name and are read at once into one block: a pipe takes little at a time, and
    after each time the reader has to get the interpreter back from other threads. They arrive read-only.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def send(self, value: object) -> None:
        """Raises OSError where arrays find no room in the temporary folder; ConnectionError if nobody listens."""
        arrays: list[pickle.PickleBuffer] = []
        content = pickle.dumps(value, 5, buffer_callback=arrays.append)
        if not arrays:
            self.pipe.send((content, []))
            return
        sizes = []
        with TemporaryFile() as file:
            for array in arrays:
                sizes.append(file.write(array.raw()))
                file.write(bytes(-sizes[-1] % _ALIGN))
            file.seek(0)
            self.pipe.send((content, sizes))
            send_handle(self.pipe, file.fileno(), 0)

    def receive(self) -> Any:
        """Wait for a value. Raises EOFError once the other end is closed."""
        content, sizes = self.pipe.recv()
        arrays, start = [], 0
        if sizes:
            with os.fdopen(recv_handle(self.pipe), "rb") as file:
                block = np.fromfile(file, np.uint8)
            block.flags.writeable = False
            for size in sizes:
                arrays.append(block[start : start + size])
                start += size + -size % _ALIGN
        return pickle.loads(content, buffers=arrays)


class Child:
    """A function at work in a process of its own: `work(channel, *args)`, where the channel leads here.

    The process is in a session of its own: Ctrl-C is for this one, and what it has started ends with it. What it
    prints goes to standard error; with `hushed` that is kept for `ChildEnded` instead of shown.
    """

    def __init__(self, work: Callable[..., None], *args: Any, niceness: int = 0, hushed: bool = False) -> None:
        ours, theirs = Pipe()
        self._channel = Channel(ours)
        self._said = TemporaryFile() if hushed else None  # noqa: SIM115 - closed by `close`
        start = (
            f"import sys; sys.path[:] = {sys.path}; from engine.core.processes import _serve; "
            f"_serve({theirs.fileno()}, {os.getpid()}, {niceness})"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                stdin=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            self.send((work, args))
        except BaseException:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._channel.pipe.closed

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself, or somebody else has ended it."""
        return self._process.poll() is not None

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds now."""
        return self._look()[2]

    def send(self, value: object) -> None:
        """Raises OSError where arrays find no room in the temporary folder."""
        with contextlib.suppress(ConnectionError):  # `answer` tells of one that has just ended
            self._channel.send(value)

    def answer(self, seconds: float, cancel: CancelToken | None = None, *, starved: float = 1.0) -> Any:
        """What it sends next.

        Raises TimeoutError if that takes longer than `seconds`; one that would run but others have the processor gets
        up to `starved` times as long. Raises ChildEnded; an OrielError of its work as it is, and all else that the
        work raises as ChildFault; Cancelled within about 100 ms of the token.
        """
        begun, worked = time.monotonic(), self._look()[1]
        limit = begun + seconds
        while True:
            if cancel is not None:
                cancel.check()
            if self._channel.pipe.poll(_POLL):
                break
            if (now := time.monotonic()) >= limit:
                runs, work, _ = self._look()
                limit = min(now + seconds - (work - worked), begun + starved * seconds)
                if not runs or limit <= now:
                    raise TimeoutError
        try:
            answer = self._channel.receive()
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End it at once, with all that it has started. May be called twice."""
        if self.closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self._channel.pipe.close()
        if self._said is not None:
            self._said.close()

    def _look(self) -> tuple[bool, float, int]:
        """Whether it would run, the seconds of a processor that it has had, and the bytes of memory that it holds."""
        try:
            process = psutil.Process(self._process.pid)
            times = process.cpu_times()
            runs = process.status() == psutil.STATUS_RUNNING
            return runs, times.user + times.system, process.memory_info().rss
        except psutil.Error:
            return False, 0.0, 0

    def _ended(self) -> ChildEnded:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        said = b""
        if self._said is not None:
            self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 4096))
            said = self._said.read().strip().rpartition(b"\n")[2]
        return ChildEnded(self._process.returncode, said.decode(errors="replace"))


# -- in the process ------------------------------------------------------------------------------------------


def process_started(number: int) -> float | None:
    """When a process started, in seconds since 1970; None if it is gone or only waits to be collected."""
    try:
        process = psutil.Process(number)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def process_lives(number: int, started: float) -> bool:
    """Whether the process that started then still runs: one that has its number by now is another."""
    now = process_started(number)
    return now is not None and abs(now - started) < 1


def end_with(owner: int) -> None:
    """Have this process end soon after `owner`, which started it, whatever it is at."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(pipe: int, owner: int, niceness: int) -> None:
    """Do the work that comes through `pipe`."""
    end_with(owner)
    with contextlib.suppress(OSError):
        os.nice(niceness)
    os.dup2(2, 1)  # what libraries print is no output of this program
    channel = Channel(Connection(pipe))
    try:
        work, args = channel.receive()
        work(channel, *args)
    except Exception as error:
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        told = error if isinstance(error, OrielError) else ChildFault(1, words)
        with contextlib.suppress(OSError):  # the owner may be through with it
            channel.send(told)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # VTK and drivers may crash while they are taken down

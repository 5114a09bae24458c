"""The engine's background thread, and the way its progress comes back to the window's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from engine.core.progress import Progress
from engine.meshes.viewer import VIEWER_MODULES, import_viewer

T = TypeVar("T")

SWITCH_INTERVAL = 0.002
"""Seconds after which Python hands the interpreter lock to a waiting thread: keeps the window lively during a run."""
EVENT_INTERVAL = 1 / 30
"""Shortest time between two deliveries of progress events, in seconds."""


class EngineThread:
    """One worker thread that runs what coroutines hand to it, one call after the other.

    The engine's calls all go through one instance, so that a single thread owns torch and the GPU.
    """

    def __init__(self, name: str = "oriel-engine", *, nice: int = 0) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._nice = nice
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function(*args, **kwargs)` on the thread and return (or raise) what it does.

        Cancelling the awaiting task takes back a call that has not begun; one that has begun goes on to its
        end, so cancel its `CancelToken` as well.
        """
        if self._closed:
            raise RuntimeError("The engine thread is closed.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((future, lambda: function(*args, **kwargs)))
        return await future

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    async def close(self) -> None:
        """Finish the calls already submitted, end the thread and wait for it without blocking the event loop."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.01)
        self._thread.join()

    def _work(self) -> None:
        if self._nice and sys.platform == "linux":
            # Linux keeps niceness by thread, and the threads that torch starts from here inherit it.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        while (call := self._calls.get()) is not None:
            future, function = call
            if future.cancelled():
                continue
            result, error = None, None
            try:
                result = function()
            except BaseException as exception:
                error = exception
            with contextlib.suppress(RuntimeError):  # the event loop is gone: nobody waits for the result
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            del call, future, function, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


async def load_viewer(thread: EngineThread, wanted: Callable[[], Any]) -> bool:
    """Import the libraries of the viewport on a thread, one call each; whether the viewport is `wanted` still."""
    for name in VIEWER_MODULES:
        if not wanted():
            return False
        await thread.submit(import_viewer, name)
    return bool(wanted())


class ProgressFunnel:
    """Carries `Progress` events from the engine's thread to the event loop at no more than 30 deliveries a second.

    Events with a preview all arrive; of those without one only the latest of each stage. `post` may be called
    from any thread; `deliver` is called on the loop with a list of events in order.
    """

    def __init__(self, deliver: Callable[[list[Progress]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._lock = threading.Lock()
        self._events: list[Progress] = []
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0

    def post(self, event: Progress) -> None:
        """A `ProgressCallback`."""
        with self._lock:
            if event.preview is None and self._events:
                last = self._events[-1]
                if last.preview is None and last.stage == event.stage:
                    self._events.pop()
            self._events.append(event)
            if self._scheduled:
                return
            self._scheduled = True
        with contextlib.suppress(RuntimeError):  # the event loop is gone
            self._loop.call_soon_threadsafe(self._schedule)

    def close(self) -> None:
        """Deliver what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flush()

    def _schedule(self) -> None:
        wait = self._last + EVENT_INTERVAL - time.monotonic()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._flush)
        else:
            self._flush()

    def _flush(self) -> None:
        self._timer = None
        self._last = time.monotonic()
        with self._lock:
            events, self._events = self._events, []
            self._scheduled = False
        if events:
            self._deliver(events)

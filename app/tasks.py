"""The coroutines that the window's signals start."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from typing import Any


def unexpected(error: Exception) -> str:
    """What is said in the window of an error in the program itself; the terminal gets where it came from."""
    traceback.print_exception(error)
    return f"Something unexpected went wrong: {error}"


class Tasks:
    """Coroutines on the window's event loop. What nobody expected to go wrong in one is told with `tell`."""

    def __init__(self, tell: Callable[[str], Any]) -> None:
        self.closing = False
        """Whether no more are begun."""
        self._tell = tell
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin one, unless the window closes."""
        if self.closing:
            work.close()
            return
        task = asyncio.ensure_future(self._guarded(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def then(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., None]:
        """What a signal is connected to so that it begins `function`."""
        return lambda *args: self.spawn(function(*args))

    async def finish(self) -> None:
        """Begin no more, and wait for all others."""
        self.closing = True
        me = asyncio.current_task()
        while others := {task for task in self._running if task is not me}:
            await asyncio.wait(others)

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception as error:
            if not self.closing:
                self._tell(unexpected(error))

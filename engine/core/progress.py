"""Progress events and cancellation, the same for the window, the command line and the log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One event of a long job.

    `done` out of `total` is within `stage`. `preview` is something to show at once: what it holds is
    said by the function that reports it.
    """

    stage: str
    done: float
    total: float
    message: str = ""
    preview: Any = None

    @property
    def fraction(self) -> float:
        """Share done of the stage, 0..1."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else 0.0


ProgressCallback = Callable[[Progress], None]


def ignore_progress(event: Progress) -> None:
    """A `ProgressCallback` for callers that do not watch."""


class CancelToken:
    """Asked by a long job at least every 200 ms of work; may be cancelled from any thread.

    >>> token = CancelToken()
    >>> token.check()  # the job goes on
    >>> token.cancel()
    >>> token.check()
    Traceback (most recent call last):
    engine.core.errors.Cancelled
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the job to stop."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` once `cancel` was called."""
        if self.cancelled:
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but raise `Cancelled` as soon as `cancel` is called."""
        self._event.wait(seconds)
        self.check()

"""One piece of work on a thread of its own, reported on the window's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, Signal

from engine.core.errors import Cancelled, OrielError
from engine.core.progress import ProgressCallback


class Job(QObject):
    """Runs `work(progress)` once started. Signals arrive on the thread that made the job.

    Whoever gets `ended` calls `join()` before dropping the job: its thread is about to end, but still inside the
    signal, and Qt must not lose the sender there.
    """

    progressed = Signal(object)
    """`Progress` events of the work."""
    ended = Signal(str, bool)
    """Why it failed, in plain words (empty when it did not), and whether it was cancelled."""

    def __init__(self, name: str, work: Callable[[ProgressCallback], None]) -> None:
        super().__init__()
        self._work = work
        # A Python thread, not a QThread: those leave a phantom in `threading` when Python code ran in them.
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread: at once after `ended`, soon after cancelling."""
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether the work is going on."""
        return self._thread.is_alive()

    def _run(self) -> None:
        error, cancelled = "", False
        try:
            self._work(self.progressed.emit)
        except Cancelled:
            error, cancelled = "Cancelled.", True
        except OrielError as problem:
            error = str(problem)
        except Exception as problem:
            error = f"This did not work: {problem or type(problem).__name__}."
        self.ended.emit(error, cancelled)

"""What the commands that run long in a terminal share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from engine.core.progress import CancelToken


@contextmanager
def interruptible(cancel: CancelToken) -> Iterator[None]:
    """Ctrl-C (or SIGTERM) ends the work in good order; a second one at once, with `KeyboardInterrupt`."""

    def on_signal(number: int, frame: object) -> None:
        if cancel.cancelled:
            raise KeyboardInterrupt
        cancel.cancel()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""How long an event loop stands still."""

from __future__ import annotations

import asyncio
import time


class LoopGapProbe:
    """Measures how long the event loop went without serving a 5 ms timer.

    `longest` and `gaps` (those over 50 ms, with the second they ended at) count from `start`.
    """

    INTERVAL = 0.005

    def __init__(self) -> None:
        self.longest = 0.0
        self.gaps: list[tuple[float, float]] = []
        self._handle: asyncio.TimerHandle | None = None
        self._began = self._last = 0.0

    def start(self) -> None:
        """Begin to measure on the running loop."""
        self.longest, self.gaps = 0.0, []
        self._loop = asyncio.get_running_loop()
        self._began = self._last = time.monotonic()
        self._handle = self._loop.call_later(self.INTERVAL, self._tick)

    def stop(self) -> float:
        """End, and return the longest gap in seconds."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._note()
        return self.longest

    def _note(self) -> None:
        now = time.monotonic()
        gap = now - self._last - self.INTERVAL
        self._last = now
        self.longest = max(self.longest, gap)
        if gap > 0.05:
            self.gaps.append((now - self._began, gap))

    def _tick(self) -> None:
        self._note()
        self._handle = self._loop.call_later(self.INTERVAL, self._tick)

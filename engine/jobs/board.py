"""The board of a long job: its items and their states, which the job writes and everyone else only looks at.

A job on one thread and a window on another share one board. Whoever shows it holds no copy: it keeps the version that
it has seen, and asks what has changed since.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class HasState(Protocol):
    """A row of a board: a frozen dataclass, one field or property of which is its state."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def state(self) -> str: ...


Row = TypeVar("Row", bound=HasState)


class Board(Generic[Row]):
    """Rows in a fixed order, and how many there are in each state; safe to use from any thread."""

    def __init__(self, rows: Iterable[Row], key: Callable[[Row], str]) -> None:
        self._rows = list(rows)
        self._key = key
        self._places = {key(row): at for at, row in enumerate(self._rows)}
        self._counts = Counter(row.state for row in self._rows)
        self._changes: dict[int, int] = {}
        """The version that each row was changed with last, by its place, the oldest first."""
        self._version = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: str) -> Row:
        return self._rows[self._places[key]]

    def get(self, key: str) -> Row | None:
        """The row of a key; None if there is none."""
        place = self._places.get(key)
        return None if place is None else self._rows[place]

    def at(self, place: int) -> Row:
        """The row at a place."""
        return self._rows[place]

    def place(self, key: str) -> int | None:
        """The place of a row; None if there is none of this key."""
        return self._places.get(key)

    def rows(self) -> list[Row]:
        """All rows as they are now."""
        return list(self._rows)

    @property
    def counts(self) -> Counter[str]:
        """Number of rows by state."""
        with self._lock:
            return self._counts.copy()

    @property
    def version(self) -> int:
        """Counts the changes."""
        return self._version

    def since(self, version: int) -> tuple[dict[int, Row], int]:
        """The rows that have changed after a version, by place, what changed last at the end; and the version now."""
        changed: list[int] = []
        with self._lock:
            for place, at in reversed(self._changes.items()):
                if at <= version:
                    break
                changed.append(place)
            return {place: self._rows[place] for place in reversed(changed)}, self._version

    def update(self, key: str, **values: Any) -> Row:
        """Change fields of a row; returns the row as it is now."""
        with self._lock:
            return self._put(self._places[key], replace(self[key], **values))

    def put(self, row: Row) -> None:
        """Set a row in place of the one of the same key; one that is not on the board is passed over."""
        with self._lock:
            if (place := self._places.get(self._key(row))) is not None:
                self._put(place, row)

    def _put(self, place: int, row: Row) -> Row:
        before = self._rows[place]
        if row != before:
            self._counts[before.state] -= 1
            self._counts[row.state] += 1
            self._rows[place] = row
            self._version += 1
            self._changes.pop(place, None)
            self._changes[place] = self._version
        return row


class Pace:
    """How quickly work goes, from the moments at which pieces of it were done lately; safe to use from any thread."""

    def __init__(self, pieces: int, seconds: float = float("inf")) -> None:
        """So many pieces make the pace, of so many seconds."""
        self._seconds = seconds
        self._times: deque[float] = deque(maxlen=pieces)
        self._lock = threading.Lock()

    def tick(self) -> None:
        """A piece is done."""
        with self._lock:
            self._times.append(time.monotonic())

    def interrupt(self) -> None:
        """Begin anew: the time of a pause is not to count."""
        with self._lock:
            self._times.clear()

    def rate(self, now: float | None = None) -> float:
        """Pieces a second, lately; 0 while it is not known."""
        now = time.monotonic() if now is None else now
        with self._lock:
            while self._times and now - self._times[0] > self._seconds:
                self._times.popleft()
            return (len(self._times) - 1) / max(now - self._times[0], 1e-3) if len(self._times) > 1 else 0.0


def seconds_for(pieces: float, rate: float) -> float | None:
    """Seconds that so many pieces will take at a rate; None while that is not known."""
    return pieces / rate if rate > 0 else (None if pieces else 0.0)

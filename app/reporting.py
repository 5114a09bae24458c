"""What commands say: bars on a terminal, lines where standard error is a file, JSON lines; and how Ctrl-C ends them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.core.files import writing
from engine.core.progress import CancelToken, Progress, ProgressCallback

BAD_INPUT, INTERRUPTED = 2, 130
"""Exit codes: for what the user can put right, and for a work that was stopped."""
_PLAIN = "{desc} |{bar}| {elapsed}"


class Reporter:
    """A bar over the whole, one for each of the first `rows` things at work, and lines above them.

    Where standard error is no terminal, and where it is to be `silent`, there are only the lines. `scaled` counts are
    bytes, those of the rows where there are some.
    """

    def __init__(
        self, label: str = "", form: str = _PLAIN, *, rows: int = 0, scaled: bool = False, silent: bool = False
    ) -> None:
        from tqdm import tqdm

        self.quiet = silent or not sys.stderr.isatty()
        self._tqdm, self._scaled, self._most = tqdm, scaled, rows
        self._whole = self._make(0, form, label, scaled and not rows)
        self._rows: dict[int, Any] = {}
        self._places: dict[str, int] = {}
        self._told = ""

    def _make(self, place: int, form: str, label: str, scaled: bool) -> Any:
        return self._tqdm(
            desc=label, bar_format=form, unit_scale=scaled, disable=self.quiet, leave=False, position=place
        )

    def __call__(self, event: Progress) -> None:
        """Show an event of a job that has one bar."""
        self.show(event.done, event.total, f"{event.stage}: {event.message}")

    def show(
        self, done: float | None = None, total: float | None = None, text: str | None = None, after: str = ""
    ) -> None:
        """How far the whole is (as before, where that is not said), what it is at, and what stands behind the bar."""
        if done is not None:
            self._whole.n, self._whole.total = done, total or None
        if text is not None:
            self._whole.set_description_str(text[:100], refresh=False)
        self._whole.set_postfix_str(after[:110])

    def row(self, key: str, done: int, total: int, text: str) -> None:
        """The same of one thing at work, as far as there are rows left."""
        if key not in self._places:
            free = [place for place in range(self._most) if place not in self._places.values()]
            if not free:
                return
            self._places[key] = free[0]
        place = self._places[key]
        if place not in self._rows:
            self._rows[place] = self._make(place + 1, "  {desc} |{bar}| {n_fmt}/{total_fmt}", "", self._scaled)
        row = self._rows[place]
        row.n, row.total = done, total or None
        row.set_description_str(text)

    def keep(self, keys: set[str]) -> None:
        """Only these are at work still."""
        for key in self._places.keys() - keys:
            row = self._rows[self._places.pop(key)]
            row.n, row.total = 0, None
            row.set_description_str("")

    def drop(self, key: str) -> None:
        """This one is at work no more."""
        self.keep(self._places.keys() - {key})

    def line(self, text: str) -> None:
        """What stays on the screen."""
        self._tqdm.write(text, file=sys.stderr)

    def notice(self, text: str) -> None:
        """The same once, until another follows: a bar has no room for what a user is asked to do."""
        if text not in ("", self._told):
            self.line(text)
        self._told = text

    def close(self) -> None:
        """Clear the terminal."""
        for bar in [*self._rows.values(), self._whole]:
            bar.close()


def json_lines(told: Callable[[Progress], dict[str, Any] | None]) -> ProgressCallback:
    """Prints what is told of each event as a line of JSON; nothing for None."""

    def show(event: Progress) -> None:
        if (row := told(event)) is not None:
            say_json(row)

    return show


def say_json(value: Any) -> None:
    """Print a line of JSON at once."""
    print(json.dumps(value), flush=True)


@contextmanager
def working(label: str = "", form: str = _PLAIN, **how: Any) -> Iterator[tuple[Reporter, CancelToken]]:
    """A reporter (see there), and a token that Ctrl-C cancels, for a work of some time."""
    cancel, report = CancelToken(), Reporter(label, form, **how)
    try:
        with interruptible(cancel):
            yield report, cancel
    finally:
        report.close()


@contextmanager
def interruptible(cancel: CancelToken) -> Iterator[CancelToken]:
    """Ctrl-C (or SIGTERM) ends the work in good order; a second one at once, with `KeyboardInterrupt`."""

    def on_signal(number: int, frame: object) -> None:
        if cancel.cancelled:
            raise KeyboardInterrupt
        cancel.cancel()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def complain(text: str) -> None:
    """One line on standard error."""
    print(f"oriel: {' '.join(text.split())}", file=sys.stderr)


def write(path: Path, content: bytes) -> None:
    """Write a result; `OutputError` where that cannot be."""
    with writing(path, "Choose another place with -o."):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def duration(seconds: float) -> str:
    """As `40 s`, `12 min` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds / 60 + 0.5), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"

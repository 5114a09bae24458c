"""What follows when a site turns a request away: how long all pages wait, and which page it is charged to.

Refusals (429, 503, no answer) are mostly meant for whoever asks: then every page is refused until the site has been
left alone for a while. But a single page may be refused for itself, for ever. The two are told apart by asking other
pages meanwhile: a page that is refused again, though the site has answered another page in between after no longer a
rest than before this one, is refused for itself. It waits alone from then on, and each refusal costs it an attempt.
"""

from __future__ import annotations

import random
import time
from collections import deque
from datetime import datetime, timedelta

from engine.crawling.downloader import AccessDenied, PageFailed, PageTrouble

LONGEST_WAIT = 24 * 3600.0
"""Seconds: who is asked to wait longer comes back another day."""
DENIALS = 12
"""Pages in a row that a site may keep from this account (403)."""
_PATIENCE = 12
"""Refusals of a page, with no answer to any, where none is left but pages that were refused."""
_JITTER = 1.25
_SLACK = 0.1


class Turn:
    """The turns that a page was given."""

    def __init__(self) -> None:
        self.began = 0.0
        self.quiet = 0.0
        """Seconds before the last turn in which nothing was asked of the site."""
        self.refused = 0.0
        """When it was refused last; 0 if never."""
        self.own = False
        """Whether it was found to be refused for itself."""


class Refusals:
    """Those of one crawl; its caller sees to it that one thread at a time uses it."""

    def __init__(self, backoff: float, longest: float) -> None:
        """Seconds after the first refusal, which each further one doubles up to `longest`."""
        self._backoff, self._longest = backoff, longest
        self.hold_until = 0.0
        """No page is asked for before; monotonic."""
        self.notice = ""
        """Why, and until when, in words."""
        self.row: list[str] = []
        """The pages that were refused since the site last answered."""
        self.denied = 0
        """Those of them that this account may not have."""
        self._answers: deque[tuple[float, float]] = deque(maxlen=64)
        """When turns that were answered began, and how long nothing had been asked before."""
        self._last = 0.0
        self._ended = float("-inf")

    def begin(self, turn: Turn, *, alone: bool) -> None:
        """A page is asked for; `alone` if no other is at work."""
        turn.began = time.monotonic()
        turn.quiet = turn.began - self._ended if alone else 0.0

    def end(self, turn: Turn, *, answered: bool) -> None:
        """The turn is over; an answer to what was asked before the last refusal tells nothing of what came after."""
        self._ended = time.monotonic()
        if answered:
            self._answers.append((turn.began, turn.quiet))
            if turn.began >= self._last:
                self.row.clear()
                self.denied, self.notice = 0, ""

    def is_own(self, turn: Turn) -> bool:
        """Whether a page that is refused now is refused for itself."""
        since, rest = turn.refused, _JITTER * turn.quiet + _SLACK
        turn.own = turn.own or (since > 0 and any(began > since and quiet <= rest for began, quiet in self._answers))
        return turn.own

    def is_hopeless(self, key: str, *, left: int, attempts: int) -> bool:
        """Whether to give a page up, as those `left` were all refused, it too for often enough.

        Only where the site has answered others: one that refuses everything is waited for.
        """
        return bool(self._answers) and self.row.count(key) + 1 >= (_PATIENCE if left > 1 else 2 * attempts)

    def count(self, key: str, turn: Turn, refusal: PageFailed) -> float:
        """Have all pages wait, longer each time; returns the seconds."""
        asked = refusal.retry_after if isinstance(refusal, PageTrouble) else None
        now = turn.refused = time.monotonic()
        denied = isinstance(refusal, AccessDenied)
        # Pages at once that are refused together are one refusal.
        if denied or turn.began >= self._last:
            self.row.append(key)
            self.denied += denied
            self._last = now
        times = len(self.row)
        # What the site asks for is the least; where it did not help before, the wait grows all the same.
        wait = self.grown(times) if asked is None else max(asked, self.grown(times - 1) * (times > 1))
        if now + wait > self.hold_until:
            self.hold_until = now + wait
            self.notice = f"{refusal} {until(wait)}"
        return wait

    def grown(self, times: int) -> float:
        """Seconds to wait after so many failures, with some chance so that crawls do not come in step."""
        wait = min(self._backoff * 2 ** min(max(0, times - 1), 60), self._longest)
        return wait * random.uniform(1.0, _JITTER)


def until(wait: float) -> str:
    """So many seconds of waiting in words, with the time of day when they end."""
    end = datetime.now() + timedelta(seconds=min(wait, 10 * LONGEST_WAIT))
    clock = f"{end:%H:%M:%S}" if wait < 3600 else f"{end:%a %H:%M}"
    length = f"{wait:.0f} s" if wait < 120 else f"{wait / 60:.0f} min" if wait < 7200 else f"{wait / 3600:.1f} h"
    return f"Waiting {length}, until {clock}."

"""How a crawl is put into words: states, amounts, times, and what to do about a failure."""

from __future__ import annotations

import re

STATES = {
    "working": ("At work", "accent"),
    "waiting": ("Waiting", "muted"),
    "done": ("Done", "good"),
    "skipped": ("Skipped", "warning"),
    "failed": ("Failed", "error"),
}
"""Words and colour of each state of a page."""
CRAWL_STATES = {
    "starting": "Starting…",
    "running": "Running",
    "waiting": "Waiting, as the site asks",
    "paused": "Paused",
    "finishing": "Finishing the pages at work…",
    "stopping": "Stopping…",
    "finished": "Finished",
}
_ADVICE = (
    (
        r"noai|generative ai",
        "Nothing needs to be done: its author does not want it used this way, and no option changes that.",
    ),
    (
        r"not offer it for download",
        "Nothing needs to be done: the model can only be looked at on its page.",
    ),
    (
        r"licence",
        "To have it after all, allow its licence among the options, then look again at what was skipped.",
    ),
    (
        r"does not exist|removed|gone|\(404\)|\(410\)",
        "Open the page to see for yourself; if the model is gone, take its line out of the list.",
    ),
    (
        r"\(403\)|does not let",
        "Open the page with the account that the crawl uses, and see whether it may download the model.",
    ),
    (
        r"no mesh|no model|old format|neither as glb|cannot be packed|refers to",
        "Another attempt will bring the same file. Open the page: it may offer another format.",
    ),
    (r"selector|button|page looks", "The site may have changed. Look at the page as it was saved, then try again (F)."),
    (r"captcha|second factor|log ?in", "Show the browser (among the options) and try again (F), to answer the site."),
    (r"", "Try it again (F). If it fails in the same way, open the page and look for the reason there."),
)


def advice(state: str, message: str) -> str:
    """What to do about a page that failed or was skipped; empty for others."""
    if state not in ("failed", "skipped"):
        return ""
    return next(text for pattern, text in _ADVICE if re.search(pattern, message.lower()))


def plain(text: str) -> str:
    """A message of the engine without the options of the command line that it names."""
    return re.sub(r" \(--[a-z-]+\)", "", text)


def amount(size: float) -> str:
    """Bytes as people write them: `512 kB`, `3.4 MB`, `15 GB`."""
    for unit, worth in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}" if size < 10 * worth else f"{size / worth:.0f} {unit}"
    return f"{size / 1e3:.0f} kB" if size >= 1000 else f"{size:.0f} B"


def duration(seconds: float) -> str:
    """A time left as people say it: `40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    minutes = int(seconds / 60 + 0.5)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 page`, `10,000 pages`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"

"""How a crawl is put into words: its states, and what to do about a failure."""

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

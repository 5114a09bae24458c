"""How a crawl is put into words: its states, and what to do about a failure."""

from __future__ import annotations

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
_ADVICE = {
    "noai": "Nothing needs to be done: its author does not want it used this way, and no option changes that.",
    "not-downloadable": "Nothing needs to be done: the model can only be looked at on its page.",
    "created-with-ai": "To have it after all, allow models made with AI, then look again at what was skipped.",
    "licence": "To have it after all, allow its licence among the options, then look again at what was skipped.",
    "gone": "Open the page to see for yourself; if the model is gone, take its line out of the list.",
    "denied": "Open the page with the account that the crawl uses, and see whether it may download the model.",
    "model": "Another attempt will bring the same file. Open the page: it may offer another format.",
    "page": "The site may have changed. Look at the page as it was saved, then try again (F).",
    "login": "Show the browser (among the options) and try again (F), to answer the site.",
}
"""What to do about a page, by the kind of the reason."""


def advice(state: str, kind: str) -> str:
    """What to do about a page that failed or was skipped; empty for others."""
    if state not in ("failed", "skipped"):
        return ""
    otherwise = "Try it again (F). If it fails in the same way, open the page and look for the reason there."
    return _ADVICE.get(kind, otherwise)

"""How rendering is put into words: its states, and what to do about a failure."""

from __future__ import annotations

import re

STATES = {
    "working": ("At work", "accent"),
    "waiting": ("Waiting", "muted"),
    "done": ("Done", "good"),
    "failed": ("Failed", "error"),
    "cancelled": ("Cancelled", "warning"),
}
"""Words and colour of each state of a model."""
RUN_STATES = {
    "starting": "Starting…",
    "running": "Running",
    "paused": "Paused",
    "stopping": "Stopping…",
    "stopped": "Stopped",
    "finished": "Finished",
}
ENGINES = {"cycles": "Cycles", "eevee": "EEVEE"}
DEVICES = {
    "cpu": "CPU",
    "auto": "Automatic",
    "cuda": "CUDA",
    "optix": "OptiX",
    "hip": "HIP",
    "oneapi": "oneAPI",
    "metal": "Metal",
}
_ADVICE = (
    (
        r"hang|too long|longer than|time limit|seconds for|within",
        "If the model is merely slow, allow more time under Limits, then try it again.",
    ),
    (
        r"memory|killed",
        "Fewer workers leave more memory to each. Then try it again.",
    ),
    (
        r"empty|nothing to|no mesh|no visible|zero|extent",
        "Another attempt will bring the same. Show the file (S) and look at it elsewhere.",
    ),
    (
        r"corrupt|damaged|cannot be read|could not be read|not a valid|import|unreadable|broken|truncated",
        "The file is likely damaged. Open it elsewhere (S shows it), fetch it anew, then try it again.",
    ),
    (r"no longer there|missing|not found|no such", "See that the file is where the list says, then try it again."),
    (r"", "The log tells what Blender said. Try it again; if it fails in the same way, open the file elsewhere."),
)


def advice(state: str, message: str) -> str:
    """What to do about a model that failed; empty for others."""
    if state == "cancelled":
        return "It stays out until you try it again."
    if state != "failed":
        return ""
    return next(text for pattern, text in _ADVICE if re.search(pattern, message.lower()))


def pace(seconds: float) -> str:
    """Seconds of a frame: `0.42 s`, `4.5 s`, `38 s`."""
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def worker(name: str) -> str:
    """A worker's name without what all have in common."""
    return re.sub(r"^(tcp|tls)://(127\.0\.0\.1:)?", "", name)

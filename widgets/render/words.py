"""How rendering is put into words: its states, engines and paces."""

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


def sentence(text: str) -> str:
    """A message as a sentence; a file's name that it begins with stays as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def pace(seconds: float) -> str:
    """Seconds of a frame: `0.42 s`, `4.5 s`, `38 s`."""
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def worker(name: str) -> str:
    """A worker's name without what all have in common."""
    return re.sub(r"^(tcp|tls)://(127\.0\.0\.1:)?", "", name)

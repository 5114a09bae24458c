"""What the tab asks the application to do, and what it is given to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtGui import QImage


@dataclass
class Picture:
    """A picture that was brought in, with what the user drew on it."""

    source: Path | bytes
    """A file, or the bytes of one (pasted, dragged from a browser)."""
    name: str
    box: tuple[int, int, int, int] | None = None
    strokes: Any = None
    """uint8 (H, W): 0 none, 1 add, 2 remove; or None."""


@dataclass(frozen=True)
class Request:
    """A reconstruction to be made; the fields are those of `engine.pipeline.Options`."""

    picture: Picture
    mode: str = "auto"
    elevation: float | None = None
    quality: str = "standard"
    generator: str = "built-in"


@dataclass(frozen=True)
class HistoryEntry:
    """A run of the past as the list shows it."""

    key: str
    """Name of the run's folder."""
    title: str
    subtitle: str
    status: str
    thumbnail: QImage = field(default_factory=QImage)
    haystack: str = ""
    """What a search looks through, in lower case."""


@dataclass(frozen=True)
class QueueEntry:
    """A job that waits or runs."""

    key: int
    title: str
    running: bool = False

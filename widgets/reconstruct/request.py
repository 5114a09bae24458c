"""What the tab asks the application to do, and what it is given to show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtGui import QImage

from engine.reconstruct.options import Options


@dataclass
class Picture:
    """A picture that was brought in, with what the user drew on it."""

    source: Path | bytes
    """A file, or the bytes of one (pasted, dragged from a browser)."""
    name: str
    box: tuple[int, int, int, int] | None = None
    strokes: Any = None
    """uint8 (H, W): 0 none, 1 add, 2 remove; or None."""
    points: tuple[tuple[float, float, bool], ...] = ()
    """x, y in pixels, and whether the object is there (True) or not."""


@dataclass(frozen=True)
class Request:
    """A reconstruction to be made."""

    picture: Picture
    options: Options


@dataclass(frozen=True)
class Choice:
    """One of several ways to do a part of the work."""

    name: Any
    """The value of the option."""
    label: str
    present: bool = True
    """Whether the weights that it takes are on this machine."""


def short_label(label: str) -> str:
    """The name in a label without what is said about it: `LoFTR` of `LoFTR, as One-2-3-45 uses it`."""
    return re.split(r"[,(]", label)[0].strip()


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

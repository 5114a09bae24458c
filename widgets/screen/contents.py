"""What passes between the Screen tab and the application."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.screening import Entry, Item, Judged, ScreeningProgress


@dataclass(frozen=True)
class StartRequest:
    """What is to be screened, by whom."""

    source: Path
    folder: Path
    """Where the decisions go."""
    annotator: str
    criterion: str


@dataclass(frozen=True)
class Found:
    """What there is to screen, before it begins."""

    source: Path
    folder: Path
    items: int = 0
    decided: int = 0
    criterion: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Rights:
    """What a crawl has recorded of a model; empty where it is not known."""

    title: str = ""
    author: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Scene:
    """Everything the annotator sees but the model itself."""

    item: Item
    index: int
    total: int
    progress: ScreeningProgress
    decision: Entry | None = None
    """That stands on the item."""
    note: str | None = None
    """Of the item's flag; None without a flag."""
    rights: Rights = field(default_factory=Rights)
    recent: tuple[Judged, ...] = ()
    """Newest first."""
    criterion: str = ""
    notices: tuple[str, ...] = ()
    done: tuple[str, str, str] | None = None
    """What has just been recorded: the action, and key and line of its item."""
    ahead: tuple[Path, ...] = ()
    """Files to have ready, the most urgent first; begins with the item's own."""

    @property
    def title(self) -> str:
        """What to call the item."""
        if self.rights.title:
            return self.rights.title
        if self.item.path is not None:
            return self.item.path.name
        name = self.item.url.rstrip("/").rpartition("/")[2]
        return re.sub(r"-[0-9a-f]{32}$", "", name).replace("-", " ").strip() or self.item.url

"""What passes between the Screen tab and the application."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.screening import Entry, Item, Judged, Opinion, ScreeningProgress, Thumbnail, WithGold


@dataclass(frozen=True)
class StartRequest:
    """What is to be screened, by whom."""

    source: Path
    folder: Path
    """Where the decisions go."""
    annotator: str
    criterion: str
    reasons: str = ""
    """One a line."""
    gold: Path | None = None
    """A gold set to be taken; None leaves it as it is."""


@dataclass(frozen=True)
class Found:
    """What there is to screen, before it begins."""

    source: Path
    folder: Path
    items: int = 0
    decided: int = 0
    criterion: str = ""
    reasons: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Rights:
    """What a crawl has recorded of a model; empty where it is not known."""

    title: str = ""
    author: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Review:
    """Where one is among the items that are looked at again."""

    place: int
    """From 1; 0 for an item that is not among them."""
    total: int
    opinions: tuple[Opinion, ...]
    """Of the present item."""
    people: tuple[str, ...]
    reasons: tuple[str, ...]
    """Of all decisions."""


@dataclass(frozen=True)
class Sweep:
    """All items of the list, while they are shown as thumbnails."""

    items: Sequence[Item]
    decisions: Mapping[str, str]
    """`select`, `reject` or `skip` by the key of the item."""
    thumbnails: Mapping[Path, Thumbnail]
    """Those that are there already, by file."""


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
    reasons: tuple[str, ...] = ()
    """The project's, for the keys from 1 on."""
    gold: WithGold | None = None
    """How well the decisions agree with the gold set; None where there is none."""
    sweep: Sweep | None = None
    """None while one model is shown."""
    review: Review | None = None
    """None while the list is screened."""
    at_end: bool = False
    """Whether nothing is left to decide."""
    notices: tuple[str, ...] = ()
    done: tuple[str, str, str] | None = None
    """What has just been recorded: the action, and key and line of its item."""
    ahead: tuple[Path, ...] = ()
    """Files to have ready, the most urgent first; begins with the item's own."""

    @property
    def title(self) -> str:
        """What to call the item."""
        return self.rights.title or title_of(self.item)


def title_of(item: Item) -> str:
    """What to call an item of which no more is known: its file's name, or that of its page."""
    if item.path is not None:
        return item.path.name
    name = item.url.rstrip("/").rpartition("/")[2]
    return re.sub(r"-[0-9a-f]{32}$", "", name).replace("-", " ").strip() or item.url

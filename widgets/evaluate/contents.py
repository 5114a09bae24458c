"""What the Evaluate tab shows, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRUTH = ""
"""In place of a set's label: the true model."""


@dataclass(frozen=True)
class Choice:
    """How an evaluation is done, as the user chose it."""

    without: tuple[str, ...] = ()
    """Measures that are not wanted."""
    clip: str = ""
    lpips: str = ""
    up: str = "+z"
    """An up axis, or `all`."""
    workers: int = 0
    """0 for what fits the machine."""
    scheduler: str = ""


@dataclass(frozen=True)
class Found:
    """What is known of a sample in one set of predictions."""

    path: str | None = None
    """Of the prediction; None if there is none."""
    figures: dict[str, float] = field(default_factory=dict)
    matrix: Any = None
    """(4x4) from the prediction's file to the true model's; None before it is measured."""
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether it was measured, or could not be."""
        return self.matrix is not None or bool(self.problem)


@dataclass(frozen=True)
class Sample:
    """A true model and what was predicted for it."""

    name: str
    path: str
    predictions: dict[str, Found]
    """By label, in the order of the sets."""

    @property
    def state(self) -> str:
        """Of `STATES`."""
        there = [found for found in self.predictions.values() if found.path is not None]
        if any(found.problem for found in there):
            return "failed"
        if len(there) < len(self.predictions):
            return "missing"
        return "done" if all(found.settled for found in there) else "waiting"

    @property
    def message(self) -> str:
        """What is wrong with it."""
        lines = [f"{label}: {found.problem}" for label, found in self.predictions.items() if found.problem]
        lines += [f"{label} has no prediction of it." for label, found in self.predictions.items() if not found.path]
        lines += [f"{label}: {note}" for label, found in self.predictions.items() for note in found.notes]
        return "\n".join(lines)

    def figure(self, label: str, metric: str) -> float | None:
        """A measure of a set's prediction."""
        return self.predictions[label].figures.get(metric) if label in self.predictions else None

    def difference(self, first: str, second: str, metric: str) -> float | None:
        """Second minus first."""
        a, b = self.figure(first, metric), self.figure(second, metric)
        return None if a is None or b is None else b - a


@dataclass(frozen=True)
class Opened:
    """What stands on the disk."""

    models: Path | None = None
    predictions: Sequence[Path] = ()
    folder: Path | None = None
    labels: tuple[str, ...] = ()
    samples: Sequence[Sample] = ()
    notes: tuple[str, ...] = ()
    """What was found and is left out."""
    results: dict[str, Any] | None = None
    """Content of `results.json`, where it is of these models and predictions."""
    page: Path | None = None
    """The report of them."""
    choice: Choice | None = None
    """That the folder was begun with."""
    problem: str = ""


@dataclass(frozen=True)
class Pace:
    """How far an evaluation is."""

    stage: str
    done: int
    total: int
    message: str = ""
    seconds_left: float | None = None

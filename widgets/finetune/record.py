"""What a run has told of itself, by step, and how long it may still take."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.core.progress import Progress
from widgets.kit.words import duration

FloatArray = npt.NDArray[np.float64]

TRAIN = ("loss", "rgb", "mask", "eikonal", "sparsity", "depth")
VALIDATE = ("f_score", "mask_iou", "psnr")
_FEW = 3
"""Steps before which nothing is said of the time that is left."""
_RECENT = 60
"""Steps that the pace is taken from."""


@dataclass(frozen=True)
class Note:
    """Something that happened at a step."""

    step: float
    kind: str
    """`rollback`, `collapse` or `note`."""
    message: str


@dataclass(frozen=True)
class Series:
    """Values of a curve by step, in the order that they came in."""

    steps: FloatArray
    values: FloatArray
    """NaN where there is none."""
    breaks: tuple[int, ...] = ()
    """Places at which the run had gone back to an earlier step."""


class Record:
    """The rows of a run's log, whether read from the disk or just come."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._train = _Table(TRAIN)
        self._validate = _Table((*VALIDATE, "score"))

    def add(self, row: Mapping[str, Any]) -> None:
        """Take over a row: see `engine.training.records.COLUMNS`."""
        kind, step = row.get("kind"), float(row.get("step", 0))
        if message := row.get("message"):
            known = "note" if kind == "train" else str(kind)
            self.notes.append(Note(step, known, str(message)))
            if kind == "rollback":
                self._train.split()
                self._validate.split()
        elif kind == "validate":
            self._validate.add(step, row)
        elif kind == "train":
            # A run that goes on begins at its last checkpoint: what was said beyond that is said anew.
            if self._train.cut(step):
                self._validate.cut(step)
                self.notes = [note for note in self.notes if note.step < step or note.kind == "rollback"]
            self._train.add(step, row)

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over many."""
        for row in rows:
            self.add(row)

    def series(self, name: str) -> Series:
        """A loss term, or a figure of the validations."""
        return (self._validate if name in VALIDATE or name == "score" else self._train).series(name)

    def __len__(self) -> int:
        return len(self._train) + len(self._validate)

    @property
    def last_step(self) -> float:
        """The last step that something was said of."""
        return max(self._train.last, self._validate.last)

    @property
    def empty(self) -> bool:
        """Whether nothing has been said yet."""
        return not len(self) and not self.notes

    @property
    def best_step(self) -> float | None:
        """Step of the best validation since the training began; None before the first."""
        found = self._validate.series("score")
        after = [(value, step) for step, value in zip(found.steps, found.values, strict=True) if step > 0]
        return max(after, key=lambda pair: pair[0])[1] if after else None

    def figures(self, step: float | None = None) -> dict[str, float]:
        """Means of the validation at a step, the last one by default."""
        steps = self._validate.series("score").steps
        at = len(steps) - 1 if step is None else int(np.flatnonzero(steps == step)[-1]) if step in steps else -1
        if at < 0:
            return {}
        found = {name: float(self._validate.series(name).values[at]) for name in VALIDATE}
        return {name: value for name, value in found.items() if value == value} | {"step": float(steps[at])}


class _Table:
    """Columns of numbers that grow."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._steps = array("d")
        self._columns = {name: array("d") for name in names}
        self._breaks: list[int] = []

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last(self) -> float:
        return max(self._steps[-1], 0.0) if self._steps else 0.0

    def add(self, step: float, row: Mapping[str, Any]) -> None:
        self._steps.append(step)
        for name, column in self._columns.items():
            column.append(float(row.get(name, np.nan)))

    def split(self) -> None:
        """What comes now follows an earlier step."""
        self._breaks.append(len(self))

    def cut(self, step: float) -> bool:
        """Forget the rows from a step on, as far back as the run was not set back; whether there were any."""
        start, end = (self._breaks[-1] if self._breaks else 0), len(self)
        keep = end
        while keep > start and self._steps[keep - 1] >= step:
            keep -= 1
        for column in (self._steps, *self._columns.values()):
            del column[keep:]
        return keep < end

    def series(self, name: str) -> Series:
        # Copies: an array that somebody looks at cannot grow.
        return Series(np.array(self._steps), np.array(self._columns[name]), tuple(self._breaks))


class Pace:
    """The time that a run may still take, from what it has done since it was started."""

    def __init__(self, validate_every: int) -> None:
        """`validate_every`: steps between validations; 0 for none."""
        self._every = validate_every
        self._seconds: dict[str, deque[float]] = {name: deque(maxlen=_RECENT) for name in ("predict", "train")}
        self._validation: float | None = None
        self._began: float | None = None
        self._last: tuple[float, str] | None = None
        self._step, self._steps = 0.0, 0.0
        self._part = (0.0, 0.0)
        self.stage = ""

    def take(self, moment: float, event: Progress) -> None:
        """An event of the run that came at a moment, in seconds."""
        before, stage = self._last, event.stage
        if before is not None and before[1] == stage and stage in self._seconds:
            self._seconds[stage].append(moment - before[0])
        if stage == "validate":
            if self._began is None:
                self._began = before[0] if before is not None else None
            if event.done >= event.total and self._began is not None:
                self._validation = moment - self._began
        else:
            self._began = None
        if stage == "train":
            self._step, self._steps = event.done, event.total
        self._part = (event.done, event.total)
        self._last, self.stage = (moment, stage), stage

    def interrupt(self) -> None:
        """The run was held: the time until its next event says nothing of its pace."""
        self._last = self._began = None

    @property
    def left(self) -> float | None:
        """Seconds of training and validation that are left; None while there is nothing to tell it by."""
        seconds = self._seconds["train"]
        if len(seconds) < _FEW:
            return None
        left = (self._steps - self._step) * sum(seconds) / len(seconds)
        if self._every and self._validation is not None:
            ahead = self._steps // self._every - self._step // self._every + (self._steps % self._every > 0)
            left += ahead * self._validation
        return left

    def words(self) -> str:
        """What is left, as people say it; what is not known is not guessed."""
        if self.stage == "predict":
            seconds, (done, total) = self._seconds["predict"], self._part
            if not seconds or done >= total:
                return ""
            return f"about {duration((total - done) * sum(seconds) / len(seconds))} for the views, then the training"
        left = self.left
        if left is None or self._step >= self._steps:
            return ""
        words = f"about {duration(left)} left"
        return f"{words}, without validation" if self._every and self._validation is None else words

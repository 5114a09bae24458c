"""The looks at validation models: which model, at which step, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from widgets.finetune.words import FIGURES, LOOK_STATES, figure
from widgets.kit.theme import theme
from widgets.state_table import RowPainting, StateTable, StateView

_ROOMY = 430
"""Width from which all figures have columns."""


@dataclass(frozen=True)
class Look:
    """One validation model at one step."""

    model: str
    """Its key in the folder of the renders."""
    step: int
    figures: dict[str, float] = field(default_factory=dict)
    state: str = "latest"
    """A key of `LOOK_STATES`."""
    message: str = ""

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.model}@{self.step}"

    @property
    def name(self) -> str:
        """The model's name without its folder."""
        return self.model.rpartition("/")[2]


class LookTable(StateTable):
    """Looks, the newest first."""

    columns = ("State", "Model", "Step", "F-score", "IoU", "PSNR")

    def key(self, row: Look) -> str:
        return row.key

    def words(self, row: Look) -> str:
        return f"{row.model} step {row.step} {LOOK_STATES[row.state][0]}"

    def hint(self, row: Look, column: int) -> str:
        return row.message or (row.model if column == 1 else "")

    def cell(self, row: Look, column: int) -> str:
        if column == 0:
            return LOOK_STATES[row.state][0]
        if column == 1:
            return row.name
        if column == 2:
            return f"{row.step:,}"
        name = tuple(FIGURES)[column - 3]
        return figure(name, row.figures.get(name)).removesuffix(" dB")


class LookView(StateView):
    """The table on the screen."""

    def __init__(self, table: LookTable) -> None:
        super().__init__(table, _Painting(), ("Earlier", 1, "100,000", "F-score", "0.999", "PSNR"))
        self.setAccessibleName("Validation models")

    def resizeEvent(self, event: Any) -> None:
        # The name goes before; what has no room stands in the caption of the mesh.
        self.show_columns("IoU", "PSNR", on=self.width() >= theme.px(_ROOMY))
        super().resizeEvent(event)


class _Painting(RowPainting):
    def __init__(self) -> None:
        super().__init__({state: color for state, (_, color) in LOOK_STATES.items()}, bar=-1, right=(2, 3, 4, 5))

    def share(self, row: Look) -> float | None:
        return None

    def color(self, row: Look, column: int) -> str:
        return "muted" if row.state == "earlier" or column == 2 else "text"

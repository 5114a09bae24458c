"""Rows of figures, printed as one table and kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """One measured figure."""

    group: str
    """What was measured, e.g. `held-out, final mesh`."""
    figure: str
    """Name of the figure, e.g. `volume IoU, mean`."""
    value: float | None
    """None where it could not be measured."""
    unit: str = ""
    note: str = ""
    """The target, the baseline, or why nothing was measured."""


@dataclass
class Table:
    """Rows in the order in which they were measured."""

    rows: list[Row] = field(default_factory=list)

    def add(self, group: str, figure: str, value: float | None, unit: str = "", note: str = "") -> None:
        """Add a row."""
        self.rows.append(Row(group, figure, None if value is None else float(value), unit, note))

    def text(self) -> str:
        """The table as text, the group named where it changes."""
        cells, previous = [("", "figure", "value", "", "")], None
        for row in self.rows:
            value = "-" if row.value is None else _number(row.value)
            cells.append((row.group if row.group != previous else "", row.figure, value, row.unit, row.note))
            previous = row.group
        widths = [max(len(line[i]) for line in cells) for i in range(4)]
        lines = []
        for number, (group, figure, value, unit, note) in enumerate(cells):
            if group and number > 1:
                lines.append("")
            left = f"{group:<{widths[0]}}  {figure:<{widths[1]}}"
            lines.append(f"{left}  {value:>{widths[2]}} {unit:<{widths[3]}}  {note}".rstrip())
        return "\n".join(lines)

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as dictionaries."""
        return [vars(row) for row in self.rows]


def _number(value: float) -> str:
    if value != value or abs(value) == float("inf"):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"

"""The table of samples: each set's figure of one measure, and how they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from PySide6.QtCore import Qt

from engine.evaluation.metrics import METRICS
from widgets.evaluate.contents import Sample
from widgets.evaluate.words import STATES, figure, gain, signed
from widgets.state_table import LEFT, RIGHT, RowPainting, StateTable, StateView

STATE, NAME, FIRST, SECOND, DIFFERENCE = range(5)


class SampleTable(StateTable):
    """Samples, sorted by a column; of two sets of predictions, the first being the one that all are compared with."""

    columns = ("", "Model", "", "", "Difference")

    def __init__(self) -> None:
        super().__init__()
        self.metric = "f_score"
        self.first = self.second = ""
        """Labels; `second` is empty where there is one set only."""
        self.sorted_by, self.descending = NAME, False

    def key(self, row: Sample) -> str:
        return row.name

    def words(self, row: Sample) -> str:
        return f"{row.name} {row.message}"

    def cell(self, row: Sample, column: int) -> str:
        metric = METRICS[self.metric]
        if column == STATE:
            return ""
        if column == NAME:
            return row.name
        if column == DIFFERENCE:
            change = row.difference(self.first, self.second, self.metric)
            return "" if change is None else signed(change, metric)
        label = self.first if column == FIRST else self.second
        found = row.predictions.get(label)
        if found is None:
            return ""
        if found.path is None:
            return "missing"
        return "failed" if found.problem else figure(found.figures.get(self.metric), metric) if found.settled else ""

    def hint(self, row: Sample, column: int) -> str:
        return "\n".join(part for part in (f"{row.name}: {STATES[row.state][0].lower()}", row.message) if part)

    def show(self, metric: str, first: str, second: str) -> None:
        """Compare these sets by this measure."""
        if (metric, first, second) != (self.metric, self.first, self.second):
            self.metric, self.first, self.second = metric, first, second
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self.columns) - 1)
            self.set_rows(self.rows)

    def sort_by(self, column: int, *, descending: bool) -> None:
        """Order the rows; those without a value come last."""
        self.sorted_by, self.descending = column, descending
        self.set_rows(self.rows)

    def set_rows(self, rows: Iterable[Any]) -> None:
        """Show these in place of what was there."""
        super().set_rows(self.ordered(rows, self.sorted_by, descending=self.descending))

    def ordered(self, rows: Iterable[Sample], column: int, *, descending: bool) -> list[Sample]:
        """Rows in the order of a column."""
        by_name = sorted(rows, key=lambda row: row.name.lower(), reverse=descending and column == NAME)
        if column == NAME:
            return by_name
        if column == STATE:
            order = list(STATES)
            return sorted(by_name, key=lambda row: order.index(row.state), reverse=not descending)
        value: Callable[[Sample], float | None]
        if column == DIFFERENCE:
            value = lambda row: row.difference(self.first, self.second, self.metric)  # noqa: E731
        else:
            label = self.first if column == FIRST else self.second
            value = lambda row: row.figure(label, self.metric)  # noqa: E731
        known = [(found, row) for row in by_name if (found := value(row)) is not None]
        known.sort(key=lambda pair: pair[0], reverse=descending)
        return [row for _, row in known] + [row for row in by_name if value(row) is None]

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return LEFT if section < FIRST else RIGHT
            if section in (FIRST, SECOND):
                label = self.first if section == FIRST else self.second
                if role == Qt.ItemDataRole.DisplayRole:
                    return label
                if role == Qt.ItemDataRole.ToolTipRole:
                    return f"{METRICS[self.metric].label} of {label}; click to sort"
            elif role == Qt.ItemDataRole.ToolTipRole:
                return ("Sort by state", "Sort by name", "", "", f"{self.second} minus {self.first}; click to sort")[
                    section
                ]
        return super().headerData(section, orientation, role)


class SampleView(StateView):
    """The table on the screen; a click on a column's head sorts by it."""

    _table: SampleTable

    def __init__(self, table: SampleTable) -> None:
        super().__init__(table, _Painting(table), ("", 1, "00.00000", "00.00000", "+0.00000"), padding=12)
        self.setAccessibleName("Samples")
        header = self.horizontalHeader()
        header.setSectionsClickable(True)
        header.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        header.sectionClicked.connect(self._clicked)

    def make_room(self) -> None:
        """Have the columns hold the names of the sets."""
        table = self._table
        labels = (f"{label[:14]}  " if len(label) > 6 else "00.00000" for label in (table.first, table.second))
        self._samples = ("", 1, *labels, "Difference  ")
        self._restyle()

    def _clicked(self, column: int) -> None:
        table = self._table
        same = column == table.sorted_by
        table.sort_by(column, descending=not table.descending if same else column in (FIRST, SECOND, DIFFERENCE))
        self.mark_order()

    def mark_order(self) -> None:
        """Have the head of the column show the order."""
        order = Qt.SortOrder.DescendingOrder if self._table.descending else Qt.SortOrder.AscendingOrder
        self.horizontalHeader().setSortIndicatorShown(True)
        self.horizontalHeader().setSortIndicator(self._table.sorted_by, order)


class _Painting(RowPainting):
    def __init__(self, table: SampleTable) -> None:
        super().__init__(
            {state: color for state, (_, color) in STATES.items()}, bar=-1, right=(FIRST, SECOND, DIFFERENCE)
        )
        self._table = table

    def color(self, row: Sample, column: int) -> str:
        table = self._table
        if column == DIFFERENCE:
            difference = row.difference(table.first, table.second, table.metric)
            if not difference:
                return "muted"
            return "good" if gain(difference, METRICS[table.metric]) > 0 else "error"
        if column in (FIRST, SECOND):
            found = row.predictions.get(table.first if column == FIRST else table.second)
            if found is None or found.path is None:
                return "warning"
            return "error" if found.problem else "text"
        return "text" if row.state in ("done", "failed", "missing") else "muted"

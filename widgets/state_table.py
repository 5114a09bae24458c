"""A table of things that each have a state: its rows, filtered by state and words, and how they are painted.

Made for tens of thousands of rows that change all the time: the rows stand on a board, which a job on another thread
may write; only what has changed on it is told to the view, and a row is painted by hand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from engine.jobs import Board
from widgets.kit.theme import theme

ROW = Qt.ItemDataRole.UserRole
_FEW = 64
"""Rows that may come or go one by one; for more, the view begins anew."""
LEFT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
RIGHT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight

Index = QModelIndex | QPersistentModelIndex


class StateTable(QAbstractTableModel):
    """Rows in a fixed order, of which those are shown that a filter lets through.

    A row is any value with a `state`. What its key, its words and its cells are, a subclass says; column 0 holds the
    state, column 1 the name.
    """

    columns: tuple[str, ...] = ()
    counts_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.board: Board[Any] = Board((), self.key)
        """The rows, whether shown or not."""
        self._seen = 0
        self._shown: list[int] = []
        self._state = ""
        self._words: list[str] = []

    # -- what a subclass says ----------------------------------------------------------------------------

    def key(self, row: Any) -> str:
        """What tells a row from the others."""
        raise NotImplementedError

    def words(self, row: Any) -> str:
        """Everything that can be searched for in a row."""
        raise NotImplementedError

    def cell(self, row: Any, column: int) -> str:
        """Text of a cell."""
        raise NotImplementedError

    def hint(self, row: Any, column: int) -> str:
        """Tooltip of a cell."""
        return self.cell(row, column)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Any]:
        """All rows as they are now, whether shown or not."""
        return self.board.rows()

    @property
    def counts(self) -> Counter[str]:
        """Number of rows by state, whether shown or not."""
        return self.board.counts

    def set_rows(self, rows: Iterable[Any]) -> None:
        """Show these in place of what was there, on a board of their own."""
        self.beginResetModel()
        self.board, self._seen = Board(rows, self.key), 0
        self._shown = self._fitting()
        self.endResetModel()
        self.counts_changed.emit()

    def update_rows(self, rows: Iterable[Any]) -> None:
        """Take over what is new of some rows; those that are not in the table are passed over."""
        for row in rows:
            self.board.put(row)
        self.refresh()

    def refresh(self) -> list[Any]:
        """Show what has changed on the board; returns the rows that have."""
        found, self._seen = self.board.since(self._seen)
        moved, changed = [], []
        for at, row in found.items():
            place = bisect_left(self._shown, at)
            shown, fits = place < len(self._shown) and self._shown[place] == at, self._fits(row)
            if shown != fits:
                moved.append((at, fits))
            elif shown:
                changed.append(at)
        if len(moved) > _FEW:
            self.beginResetModel()
            self._shown = self._fitting()
            self.endResetModel()
        else:
            self._move(moved)
            self._touch(changed)
        if found:
            self.counts_changed.emit()
        return list(found.values())

    def set_filter(self, state: str = "", words: str = "") -> None:
        """Show rows of this state (all for none) in which all words occur."""
        self.beginResetModel()
        self._state, self._words = state, words.lower().split()
        self._shown = self._fitting()
        self.endResetModel()

    def find(self, key: str) -> Any:
        """The row of a key, whether shown or not; None if there is none."""
        return self.board.get(key)

    def row(self, key: str) -> int:
        """Place of a row among those shown, -1 if it is not."""
        at = self.board.place(key)
        if at is None:
            return -1
        row = bisect_left(self._shown, at)
        return row if row < len(self._shown) and self._shown[row] == at else -1

    def at(self, row: int) -> Any:
        """The row at a place of those shown; None if there is none."""
        return self.board.at(self._shown[row]) if 0 <= row < len(self._shown) else None

    # -- inside ------------------------------------------------------------------------------------------

    def _fits(self, row: Any) -> bool:
        if self._state and row.state != self._state:
            return False
        if not self._words:
            return True
        text = self.words(row).lower()
        return all(word in text for word in self._words)

    def _fitting(self) -> list[int]:
        if not self._state and not self._words:
            return list(range(len(self.board)))
        return [at for at, row in enumerate(self.rows) if self._fits(row)]

    def _move(self, moved: list[tuple[int, bool]]) -> None:
        for at, comes in moved:
            row = bisect_left(self._shown, at)
            if comes:
                self.beginInsertRows(QModelIndex(), row, row)
                self._shown.insert(row, at)
                self.endInsertRows()
            elif row < len(self._shown) and self._shown[row] == at:
                self.beginRemoveRows(QModelIndex(), row, row)
                del self._shown[row]
                self.endRemoveRows()

    def _touch(self, changed: list[int]) -> None:
        rows = [bisect_left(self._shown, at) for at in changed]
        last = len(self.columns) - 1
        if len(rows) > _FEW:
            rows.sort()
            self.dataChanged.emit(self.index(rows[0], 0), self.index(rows[-1], last))
            return
        for row in rows:
            self.dataChanged.emit(self.index(row, 0), self.index(row, last))

    # -- Qt ----------------------------------------------------------------------------------------------

    def rowCount(self, parent: Any = None) -> int:
        return len(self._shown)

    def columnCount(self, parent: Any = None) -> int:
        return len(self.columns)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section]
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        row = self.board.at(self._shown[index.row()])
        if role == Qt.ItemDataRole.DisplayRole:
            return self.cell(row, index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.hint(row, index.column()) or None
        if role == Qt.ItemDataRole.AccessibleDescriptionRole and index.column() == 0:
            return f"{self.cell(row, 1)}, {self.cell(row, 0)}. {row.message}"
        return row if role == ROW else None


class StateView(QTableView):
    """The table on the screen; the row that is chosen stays so, whatever comes and goes around it."""

    chosen = Signal(str)
    """Key of the row that is chosen now; empty for none."""
    moved_by_hand = Signal()
    """The user went to another place of the table."""

    def __init__(
        self, table: StateTable, painting: RowPainting, samples: tuple[str | int, ...], padding: int = 16
    ) -> None:
        """`samples` are texts that columns must have room for, or numbers: the shares of what is left.

        `padding` is what a row is higher than its text, in unscaled pixels.
        """
        super().__init__()
        self._table = table
        self._samples, self._padding = samples, padding
        self._key = ""
        self._top = 0
        self.setModel(table)
        painting.setParent(self)
        self.setItemDelegate(painting)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsClickable(False)
        header.setDefaultAlignment(LEFT)
        header.setMinimumSectionSize(20)
        self.selectionModel().currentRowChanged.connect(self._current_changed)
        table.modelAboutToBeReset.connect(self._remember)
        table.modelReset.connect(self._restore)
        theme.changed.connect(self._restyle)
        self._restyle()

    @property
    def current(self) -> Any:
        """The row that is chosen, or None."""
        return self._table.at(self.currentIndex().row())

    def show_columns(self, *names: str, on: bool) -> None:
        """Show or hide columns that only work in progress has something for."""
        for name in names:
            self.setColumnHidden(self._table.columns.index(name), not on)
        self._share_out()

    def choose(self, key: str) -> None:
        """Choose a row, if it is shown."""
        row = self._table.row(key)
        if row >= 0:
            self.setCurrentIndex(self._table.index(row, 0))

    def bring_into_view(self, key: str) -> None:
        """Scroll to a row without choosing it."""
        row = self._table.row(key)
        if row >= 0:
            self.scrollTo(self._table.index(row, 0))

    def _current_changed(self, current: QModelIndex) -> None:
        row = self._table.at(current.row())
        key = self._table.key(row) if row is not None else ""
        if key != self._key:
            self._key = key
            self.chosen.emit(key)

    def _remember(self) -> None:
        self._top = self.verticalScrollBar().value()
        self.selectionModel().blockSignals(True)

    def _restore(self) -> None:
        self.selectionModel().blockSignals(False)
        row = self._table.row(self._key) if self._key else -1
        if row >= 0:
            self.setCurrentIndex(self._table.index(row, 0))
        elif self._key:
            self._key = ""
            self.chosen.emit("")
        self.verticalScrollBar().setValue(self._top)

    def _restyle(self) -> None:
        metrics = QFontMetrics(theme.font())
        self.verticalHeader().setDefaultSectionSize(metrics.height() + theme.px(self._padding))
        header = self.horizontalHeader()
        room = theme.px(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        for column, sample in enumerate(self._samples):
            if isinstance(sample, str):
                extra = theme.px(18) if column == 0 else 0
                header.resizeSection(column, metrics.horizontalAdvance(sample) + room + extra)
        self._share_out()

    def _share_out(self) -> None:
        """Give the columns that have shares what the others leave."""
        header, samples = self.horizontalHeader(), self._samples
        fixed = sum(header.sectionSize(at) for at, sample in enumerate(samples) if isinstance(sample, str))
        left, shares = self.viewport().width() - fixed, sum(s for s in samples if isinstance(s, int))
        for column, sample in enumerate(samples):
            if isinstance(sample, int):
                width = left * sample // shares
                left, shares = left - width, shares - sample
                header.resizeSection(column, max(width, 20))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._share_out()

    def wheelEvent(self, event: Any) -> None:
        self.moved_by_hand.emit()
        super().wheelEvent(event)

    def mousePressEvent(self, event: Any) -> None:
        self.moved_by_hand.emit()
        super().mousePressEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        keys = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End)
        if event.key() in keys:
            self.moved_by_hand.emit()
        super().keyPressEvent(event)


class RowPainting(QStyledItemDelegate):
    """A dot with the state, a bar under what is on its way, everything else as one line."""

    def __init__(self, colors: dict[str, str], bar: int, right: tuple[int, ...] = ()) -> None:
        """Colour of each state; the column with a bar; columns whose text stands at the right."""
        super().__init__()
        self._colors, self._bar, self._right = colors, bar, right

    # -- what a subclass says ----------------------------------------------------------------------------

    def share(self, row: Any) -> float | None:
        """How much of a row in work is done, 0..1; None for no bar."""
        raise NotImplementedError

    def color(self, row: Any, column: int) -> str:
        """Colour of a cell's text."""
        raise NotImplementedError

    def paint_picture(self, painter: QPainter, room: QRect, row: Any) -> int:
        """Paint a picture before a row's name; returns the width that it took."""
        return 0

    # -- Qt ----------------------------------------------------------------------------------------------

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row = index.data(ROW)
        column, rect = index.column(), option.rect
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, theme.color("selection"))
            if column == 0:
                focused = bool(option.state & QStyle.StateFlag.State_Active) and option.widget.hasFocus()
                bar = QRect(rect.left(), rect.top(), theme.px(3), rect.height())
                painter.fillRect(bar, theme.color("accent" if focused else "strong_border"))
        room = rect.adjusted(theme.px(12), 0, -theme.px(6), 0)
        if column == 0:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            side = theme.px(8)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.color(self._colors[row.state]))
            painter.drawEllipse(QRect(room.left(), room.center().y() - side // 2 + 1, side, side))
            room.setLeft(room.left() + side + theme.px(8))
        elif column == 1:
            room.setLeft(room.left() + self.paint_picture(painter, room, row))
        elif column == self._bar and (share := self.share(row)) is not None:
            middle = room.center().y() + QFontMetrics(theme.font()).height() // 2
            self._paint_bar(painter, room, middle + theme.px(1), share)
            room.adjust(0, 0, 0, -theme.px(5))
        painter.setFont(theme.font())
        painter.setPen(theme.color(self.color(row, column)))
        shown = QFontMetrics(theme.font()).elidedText(index.data(), Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, RIGHT if column in self._right else LEFT, shown)
        painter.restore()

    def _paint_bar(self, painter: QPainter, room: QRect, top: int, share: float) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        bar = QRectF(room.left(), top, room.width(), theme.px(3))
        for part, color in ((1.0, "border"), (min(share, 1.0), "accent")):
            painter.setBrush(theme.color(color))
            done = QRectF(bar.left(), bar.top(), bar.width() * part, bar.height())
            painter.drawRoundedRect(done, bar.height() / 2, bar.height() / 2)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(60), theme.px(32))

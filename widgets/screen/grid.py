"""All models of the list as thumbnails, to sweep hundreds at once: `Grid`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPen, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)

from widgets.kit.labels import label
from widgets.kit.theme import theme
from widgets.kit.words import count
from widgets.screen.contents import Sweep, title_of
from widgets.screen.side import DECISIONS

if TYPE_CHECKING:
    from engine.screening import Item, Thumbnail

ORDERS = {
    "list": "In the list's order",
    "decision": "By decision",
    "flat": "Flat ones first",
    "inward": "Facing inwards first",
    "left out": "With a ground, a sky or strays first",
    "alike": "Alike ones together",
}
"""Ways to sort; what the shape hints at decides nothing."""
_KEPT = 600
"""Pictures that are decoded at a time."""
_QUIET_MS = 60
_CELL = (152, 142)


class Cells(QAbstractListModel):
    """The items in the order in which they are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.items: Sequence[Item] = ()
        self.order: list[int] = []
        """Places in the list, as shown."""
        self.decisions: Mapping[str, str] = {}
        self.thumbnails: dict[Path, Thumbnail] = {}
        self.words: Mapping[int, str] = {}
        """What is said of some besides, by their places in the list."""
        self._pixmaps: OrderedDict[Path, QPixmap] = OrderedDict()
        self._rows: dict[Path, int] = {}

    def show(self, items: Sequence[Item], order: list[int], words: Mapping[int, str]) -> None:
        """Show these items, in this order."""
        self.beginResetModel()
        self.items, self.order, self.words = items, order, words
        self._rows = {path: row for row, at in enumerate(order) if (path := items[at].path) is not None}
        self.endResetModel()

    def item(self, row: int) -> Item:
        """The item in a cell."""
        return self.items[self.order[row]]

    def add(self, path: Path, thumbnail: Thumbnail) -> None:
        """A thumbnail is there."""
        self.thumbnails[path] = thumbnail
        self._pixmaps.pop(path, None)
        if (row := self._rows.get(path)) is not None:
            self.dataChanged.emit(self.index(row), self.index(row))

    def pixmap(self, path: Path | None) -> QPixmap | None:
        """The picture of a file, if there is one."""
        made = self.thumbnails.get(path) if path is not None else None
        if path is None or made is None or not made.picture:
            return None
        if path not in self._pixmaps:
            pixmap = QPixmap()
            pixmap.loadFromData(made.picture)
            self._pixmaps[path] = pixmap
            while len(self._pixmaps) > _KEPT:
                self._pixmaps.popitem(last=False)
        self._pixmaps.move_to_end(path)
        return self._pixmaps[path]

    def said(self, row: int) -> str:
        """What there is to say of a cell: hints, or why there is no picture."""
        path = self.item(row).path
        made = self.thumbnails.get(path) if path is not None else None
        if path is None:
            return "a page: open it to see it"
        if made is None:
            return "…"
        words = [made.problem] if made.problem else list(made.hints.words if made.hints is not None else ())
        return " ".join([*words, *filter(None, [self.words.get(self.order[row])])])

    def rowCount(self, parent: Any = None) -> int:
        return len(self.order)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # type: ignore[override]
        if role == Qt.ItemDataRole.DisplayRole:
            return title_of(self.item(index.row()))
        if role == Qt.ItemDataRole.ToolTipRole:
            item = self.item(index.row())
            said = self.decisions.get(item.key)
            lines = [item.line, DECISIONS[said][0] if said else "", self.said(index.row())]
            return "\n".join(line for line in lines if line)
        return None


class _Painter(QStyledItemDelegate):
    """A picture, its name, what is hinted at, and the colour of its decision."""

    def sizeHint(self, option: Any, index: Any) -> QSize:
        return QSize(theme.px(_CELL[0]), theme.px(_CELL[1]))

    def paint(self, painter: QPainter, option: Any, index: Any) -> None:
        cells: Cells = index.model()
        item = cells.item(index.row())
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        rect = option.rect.adjusted(3, 3, -3, -3)
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        current = bool(option.state & QStyle.StateFlag.State_HasFocus)
        edge = theme.color("accent") if chosen else theme.color("text") if current else theme.color("border")
        painter.setPen(QPen(edge, 2 if chosen or current else 1))
        painter.setBrush(theme.color("selection") if chosen else theme.color("raised"))
        painter.drawRoundedRect(rect, 6, 6)
        line = theme.px(16)
        room = rect.adjusted(4, 4, -4, -2 * line - 4)
        pixmap = cells.pixmap(item.path)
        if pixmap is not None:
            size = pixmap.size().scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatio)
            at = QRect(room.center().x() - size.width() // 2, room.top(), size.width(), size.height())
            painter.drawPixmap(at, pixmap)
        said = cells.decisions.get(item.key)
        if said is not None:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.color(DECISIONS[said][1])))
            painter.drawRoundedRect(QRect(rect.left() + 4, room.bottom() + 1, rect.width() - 8, 4), 2, 2)
        lines = rect.adjusted(6, rect.height() - 2 * line - 1, -6, -1)
        texts = ((index.data(), "text", lines), (cells.said(index.row()), "warning", lines.adjusted(0, line, 0, 0)))
        painter.setFont(theme.font(11))
        for text, color, where in texts:
            painter.setPen(theme.color(color))
            shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, where.width())
            painter.drawText(where, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, shown)
        painter.restore()


class _View(QListView):
    """Cells of one size in rows; only those on the screen cost anything."""

    moved = Signal()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.moved.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentIndex().isValid():
                self.activated.emit(self.currentIndex())
        else:
            super().keyPressEvent(event)


class Grid(QWidget):
    """Arrows, Shift and Ctrl select as in any list; who owns it decides on `chosen`."""

    opened = Signal(int)
    """Show the item at this place of the list in the large view."""
    wanted = Signal(object)
    """Paths of the files whose thumbnails are needed, the most urgent first."""
    order_wanted = Signal(str)
    """Sort anew: one of `ORDERS`."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells()
        self.view = _View()
        self.view.setModel(self.cells)
        self.view.setItemDelegate(_Painter(self.view))
        self.view.setViewMode(QListView.ViewMode.IconMode)
        self.view.setMovement(QListView.Movement.Static)
        self.view.setResizeMode(QListView.ResizeMode.Adjust)
        self.view.setUniformItemSizes(True)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setAccessibleName("Thumbnails of all models")
        self.view.doubleClicked.connect(self._open)
        self.view.activated.connect(self._open)
        self.order = QComboBox()
        self.order.setToolTip("Sort the thumbnails; what their shapes hint at is never a decision")
        self.order.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for name, words in ORDERS.items():
            self.order.addItem(words, name)
        self.order.activated.connect(lambda _: self.order_wanted.emit(self.order.currentData()))
        self.state = label("", "muted")
        row = QHBoxLayout()
        row.addWidget(self.order)
        row.addWidget(self.state, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(row)
        column.addWidget(self.view, 1)
        self._quiet = QTimer(self, singleShot=True, interval=_QUIET_MS)
        self._quiet.timeout.connect(self._want)
        self.view.verticalScrollBar().valueChanged.connect(lambda _: self._quiet.start())
        self.view.moved.connect(self._quiet.start)
        selection = self.view.selectionModel()
        selection.selectionChanged.connect(lambda *_: self._tell())
        self.cells.dataChanged.connect(lambda *_: self._tell())
        theme.changed.connect(self.view.doItemsLayout)

    def show_sweep(self, sweep: Sweep, current: int) -> None:
        """Show the items and what was decided of them; `current` is the place of the present one."""
        self.cells.decisions = sweep.decisions
        if sweep.items is not self.cells.items:
            self.cells.thumbnails = dict(sweep.thumbnails)
            self.cells.show(sweep.items, list(range(len(sweep.items))), {})
            self.order.setCurrentIndex(0)
            self.go_to(current)
        self.view.viewport().update()
        self._tell()

    def show_order(self, order: list[int], words: Mapping[int, str]) -> None:
        """Show the items in another order, and say this of some."""
        self.cells.show(self.cells.items, order, words)
        self.go_to(order[0])

    def go_to(self, place: int) -> None:
        """Make the item at a place of the list the present one."""
        if place in self.cells.order:
            index = self.cells.index(self.cells.order.index(place))
            self.view.setCurrentIndex(index)
            self.view.scrollTo(index)
        self._quiet.start()

    @property
    def chosen(self) -> list[int]:
        """The places in the list of what is selected."""
        return [self.cells.order[index.row()] for index in self.view.selectionModel().selectedIndexes()]

    def drawn(self, place: int) -> bool:
        """Whether the item at a place of the list, or why it cannot be shown, was to be seen here."""
        path = self.cells.items[place].path
        return path is not None and path in self.cells.thumbnails

    def pictured(self, place: int) -> bool:
        """Whether the item itself was to be seen."""
        path = self.cells.items[place].path
        return path is not None and path in self.cells.thumbnails and bool(self.cells.thumbnails[path].picture)

    def go_on(self) -> None:
        """Select the first item without a decision after those that are selected, as they were just decided."""
        rows = [index.row() for index in self.view.selectionModel().selectedIndexes()]
        after = range(max(rows, default=-1) + 1, len(self.cells.order))
        row = next((row for row in after if self.cells.item(row).key not in self.cells.decisions), None)
        if row is not None:
            self.view.setCurrentIndex(self.cells.index(row))

    def _want(self) -> None:
        if not self.isVisible() or not self.cells.order:
            return
        top = self.view.indexAt(self.view.viewport().rect().topLeft() + self.view.viewport().rect().center() * 0.02)
        start = max(top.row(), 0) if top.isValid() else 0
        rows = [*range(start, len(self.cells.order)), *range(start)]
        paths = (self.cells.item(row).path for row in rows)
        self.wanted.emit([path for path in paths if path is not None and path not in self.cells.thumbnails])

    def _open(self, index: QModelIndex) -> None:
        self.opened.emit(self.cells.order[index.row()])

    def _tell(self) -> None:
        total, chosen = len(self.cells.order), len(self.view.selectionModel().selectedIndexes())
        words = [count(total, "item"), f"{chosen:,} selected" if chosen else ""]
        there = len(self.cells.thumbnails)
        words += [f"{there:,} drawn" if there < total else ""]
        self.state.setText(" · ".join(word for word in words if word))

"""The runs of the past: search, reopen, delete."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeyEvent, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QAbstractItemView,
    QLineEdit,
    QListView,
    QMenu,
    QStackedWidget,
    QStyle,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)

from widgets.kit.images import paint_fitted
from widgets.kit.labels import label
from widgets.kit.theme import theme
from widgets.reconstruct.request import HistoryEntry

ENTRY = Qt.ItemDataRole.UserRole
STATUS_COLORS = {"failed": "error", "cancelled": "warning", "unfinished": "warning", "running": "accent"}


class _Entries(QAbstractListModel):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[HistoryEntry] = []

    def show(self, entries: list[HistoryEntry]) -> None:
        self.beginResetModel()
        self.shown = entries
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.shown)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self.shown[index.row()]
        if role == ENTRY:
            return entry
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{entry.title}, {entry.subtitle}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{entry.title}\n{entry.subtitle}\nReturn: open    Delete: delete"
        return None


class _EntryDelegate(QStyledItemDelegate):
    def sizeHint(self, option: Any, index: Any) -> QSize:
        return QSize(theme.px(180), theme.px(66))

    def paint(self, painter: QPainter, option: Any, index: Any) -> None:
        entry: HistoryEntry = index.data(ENTRY)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rect = option.rect.adjusted(0, theme.px(2), -theme.px(4), -theme.px(2))
        state = option.state
        if state & QStyle.StateFlag.State_Selected or state & QStyle.StateFlag.State_MouseOver:
            back = QPainterPath()
            back.addRoundedRect(rect.toRectF(), theme.px(8), theme.px(8))
            selected = state & QStyle.StateFlag.State_Selected
            painter.fillPath(back, theme.color("selection" if selected else "raised"))
        side, pad = rect.height() - theme.px(10), theme.px(5)
        square = QRect(rect.left() + pad, rect.top() + pad, side, side)
        shape = QPainterPath()
        shape.addRoundedRect(square.toRectF(), theme.px(5), theme.px(5))
        painter.fillPath(shape, theme.color("raised" if entry.thumbnail.isNull() else "picture"))
        if not entry.thumbnail.isNull():
            painter.setClipPath(shape)
            paint_fitted(painter, entry.thumbnail, square)
            painter.setClipping(False)
        left = square.right() + theme.px(10)
        lines = QRect(left, rect.top() + theme.px(11), rect.right() - left - theme.px(6), rect.height() - theme.px(22))
        for text, size, color, where in (
            (entry.title, 13, "text", Qt.AlignmentFlag.AlignTop),
            (entry.subtitle, 12, STATUS_COLORS.get(entry.status, "muted"), Qt.AlignmentFlag.AlignBottom),
        ):
            font = theme.font(size, bold=size == 13)
            painter.setFont(font)
            painter.setPen(theme.color(color))
            shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, lines.width())
            painter.drawText(lines, where | Qt.AlignmentFlag.AlignLeft, shown)
        painter.restore()


class _List(QListView):
    delete_pressed = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.delete_pressed.emit()
        else:
            super().keyPressEvent(event)


class HistoryPanel(QWidget):
    """All runs, newest first, with a field to search them."""

    open_requested = Signal(str)
    delete_requested = Signal(str)
    folder_requested = Signal(str)
    rerun_requested = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._all: list[HistoryEntry] = []
        self._hidden: set[str] = set()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search the history")
        self.search.setToolTip("Name, date, status or quality (Ctrl+F)")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._open_first)
        self.model = _Entries()
        self.list = _List()
        self.list.setModel(self.model)
        self.list.setItemDelegate(_EntryDelegate(self.list))
        self.list.setMouseTracking(True)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setUniformItemSizes(True)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.setAccessibleName("Runs of the past")
        self.list.clicked.connect(self._open)
        self.list.activated.connect(self._open)
        self.list.delete_pressed.connect(lambda: self._emit(self.delete_requested))
        self.list.customContextMenuRequested.connect(self._menu)
        self._empty = label("", "muted", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.list)
        self.pages.addWidget(self._empty)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(10)
        column.addWidget(self.search)
        column.addWidget(self.pages, 1)
        theme.changed.connect(self.list.doItemsLayout)
        self._filter()

    def set_entries(self, entries: list[HistoryEntry]) -> None:
        """Show these runs, newest first."""
        self._all = entries
        self._filter()

    def hide_entry(self, key: str) -> None:
        """Take a run out of the list until it is deleted or shown again."""
        self._hidden.add(key)
        self._filter()

    def unhide_entry(self, key: str) -> None:
        """Show a hidden run again."""
        self._hidden.discard(key)
        self._filter()

    def leave_search(self) -> None:
        """Show all runs again, with the keyboard on the list."""
        self.search.clear()
        self.list.setFocus()

    def keys(self) -> list[str]:
        """Keys of the runs in the list, top to bottom."""
        return [entry.key for entry in self.model.shown]

    def _filter(self) -> None:
        words = self.search.text().lower().split()
        current = self._current()
        self.model.show(
            [e for e in self._all if e.key not in self._hidden and all(word in e.haystack for word in words)]
        )
        if current and current.key in self.keys():
            self.list.setCurrentIndex(self.model.index(self.keys().index(current.key)))
        self._empty.setText("No run matches." if words else "Runs appear here and can be opened again.")
        self.pages.setCurrentIndex(0 if self.model.shown else 1)

    def _current(self) -> HistoryEntry | None:
        index = self.list.currentIndex()
        return self.model.shown[index.row()] if index.isValid() and index.row() < len(self.model.shown) else None

    def _emit(self, signal: Any) -> None:
        if entry := self._current():
            signal.emit(entry.key)

    def _open(self, index: QModelIndex) -> None:
        self.open_requested.emit(index.data(ENTRY).key)

    def _open_first(self) -> None:
        if self.model.shown:
            self.list.setCurrentIndex(self.model.index(0))
            self._emit(self.open_requested)

    def _menu(self, position: Any) -> None:
        index = self.list.indexAt(position)
        if not index.isValid():  # asked for with the key, somewhere else
            index = self.list.currentIndex()
        if not index.isValid():
            return
        self.list.setCurrentIndex(index)
        menu = QMenu(self)
        menu.addAction("Open\tReturn", lambda: self._emit(self.open_requested))
        menu.addAction("Reconstruct again", lambda: self._emit(self.rerun_requested))
        menu.addAction("Show its folder", lambda: self._emit(self.folder_requested))
        menu.addSeparator()
        menu.addAction("Delete\tDel", lambda: self._emit(self.delete_requested))
        menu.exec(self.list.viewport().mapToGlobal(position))
        menu.deleteLater()

"""The table of pages: its rows, filtered by state and words, and how they are painted.

Made for tens of thousands of rows that change all the time: only what changed is told to the view, and a row is
painted by hand.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
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

from engine.crawling import PageState
from widgets.crawl.words import STATES, amount
from widgets.theme import theme

COLUMNS = ("State", "Model", "Size", "Speed", "Tries", "Message")
PAGE = Qt.ItemDataRole.UserRole
_FEW = 64
"""Rows that may come or go one by one; for more, the view begins anew."""
_LEFT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
_RIGHT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight

Index = QModelIndex | QPersistentModelIndex


class PageTable(QAbstractTableModel):
    """Pages in the order of their list, of which those are shown that a filter lets through."""

    counts_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[PageState] = []
        self.counts: Counter[str] = Counter()
        """Number of pages by state, whether shown or not."""
        self._places: dict[str, int] = {}
        self._shown: list[int] = []
        self._state = ""
        self._words: list[str] = []

    # -- content -----------------------------------------------------------------------------------------

    def set_pages(self, pages: list[PageState]) -> None:
        """Show these in place of what was there."""
        self.beginResetModel()
        self.pages = list(pages)
        self._places = {state.page.key: at for at, state in enumerate(self.pages)}
        self.counts = Counter(state.state for state in self.pages)
        self._shown = self._fitting()
        self.endResetModel()
        self.counts_changed.emit()

    def update_pages(self, states: Iterable[PageState]) -> None:
        """Take over what is new of some pages; those that are not in the table are passed over."""
        changed: list[int] = []
        moved: list[tuple[int, bool]] = []
        for state in states:
            at = self._places.get(state.page.key)
            if at is None:
                continue
            old = self.pages[at]
            new = _merged(old, state)
            fitted, fits = self._fits(old), self._fits(new)
            self.pages[at] = new
            self.counts[old.state] -= 1
            self.counts[new.state] += 1
            if fitted and fits:
                changed.append(at)
            elif fitted != fits:
                moved.append((at, fits))
        if len(moved) > _FEW:
            self.beginResetModel()
            self._shown = self._fitting()
            self.endResetModel()
        else:
            self._move(moved)
            self._touch(changed)
        if changed or moved:
            self.counts_changed.emit()

    def set_filter(self, state: str = "", words: str = "") -> None:
        """Show pages of this state (all for none) in whose title, address or message all words occur."""
        self.beginResetModel()
        self._state, self._words = state, words.lower().split()
        self._shown = self._fitting()
        self.endResetModel()

    def find(self, key: str) -> PageState | None:
        """The page of a key, whether shown or not."""
        at = self._places.get(key)
        return None if at is None else self.pages[at]

    def row(self, key: str) -> int:
        """Row of a page among those shown, -1 if it is not."""
        at = self._places.get(key)
        if at is None:
            return -1
        row = bisect_left(self._shown, at)
        return row if row < len(self._shown) and self._shown[row] == at else -1

    def at(self, row: int) -> PageState | None:
        """The page in a row of those shown."""
        return self.pages[self._shown[row]] if 0 <= row < len(self._shown) else None

    # -- inside ------------------------------------------------------------------------------------------

    def _fits(self, page: PageState) -> bool:
        if self._state and page.state != self._state:
            return False
        if not self._words:
            return True
        text = f"{page.title} {page.page.url} {page.message}".lower()
        return all(word in text for word in self._words)

    def _fitting(self) -> list[int]:
        if not self._state and not self._words:
            return list(range(len(self.pages)))
        return [at for at, page in enumerate(self.pages) if self._fits(page)]

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
        if len(rows) > _FEW:
            rows.sort()
            self.dataChanged.emit(self.index(rows[0], 0), self.index(rows[-1], len(COLUMNS) - 1))
            return
        for row in rows:
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(COLUMNS) - 1))

    # -- Qt ----------------------------------------------------------------------------------------------

    def rowCount(self, parent: Any = None) -> int:
        return len(self._shown)

    def columnCount(self, parent: Any = None) -> int:
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section]
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        page = self.pages[self._shown[index.row()]]
        if role == Qt.ItemDataRole.DisplayRole:
            return cell(page, index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            if index.column() == 1:
                return f"{page.title}\n{page.page.url}" if page.title else page.page.url
            return cell(page, index.column()) or None
        if role == Qt.ItemDataRole.AccessibleDescriptionRole and index.column() == 0:
            return f"{name(page)}, {cell(page, 0)}. {page.message}"
        return page if role == PAGE else None


def name(page: PageState) -> str:
    """What a page is called: its title once it is known, else the end of its address without the model's id."""
    return page.title or re.sub("-[0-9a-f]{32}$", "", page.page.url.rpartition("/")[2]) or page.page.url


def cell(page: PageState, column: int) -> str:
    """Text of a cell."""
    if column == 0:
        return STATES[page.state][0]
    if column == 1:
        return name(page)
    if column == 2:
        if page.state == "working" and page.received:
            return f"{amount(page.received)} of {amount(page.size)}" if page.size else amount(page.received)
        return amount(page.size) if page.size else ""
    if column == 3:
        return f"{amount(page.rate)}/s" if page.state == "working" and page.rate else ""
    if column == 4:
        return str(tries) if (tries := attempts(page)) else ""
    return page.message[:1].upper() + page.message[1:]


def attempts(page: PageState) -> int:
    """Attempts at a page so far, that in work included; 0 if there was none, or an earlier crawl made them."""
    if page.state == "working" or (page.state == "done" and not page.earlier):
        return page.attempts + 1
    return max(page.attempts, 1) if page.state == "failed" else page.attempts


def _merged(old: PageState, new: PageState) -> PageState:
    """`new`, with what only `old` knows: a crawl says nothing of the titles and sizes of an earlier one."""
    kept: dict[str, Any] = {}
    if not new.title and old.title:
        kept["title"] = old.title
    if not new.size and old.size and new.state == old.state == "done":
        kept |= {"size": old.size, "received": old.received}
    if new.earlier and new.attempts < old.attempts:
        kept["attempts"] = old.attempts
    return replace(new, **kept) if kept else new


class PageView(QTableView):
    """The table on the screen; the page that is chosen stays so, whatever comes and goes around it."""

    chosen = Signal(str)
    """Key of the page that is chosen now; empty for none."""
    moved_by_hand = Signal()
    """The user went to another place of the table."""

    def __init__(self, model: PageTable) -> None:
        super().__init__()
        self._pages = model
        self._key = ""
        self._top = 0
        self.setModel(model)
        self.setItemDelegate(_Delegate(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setAccessibleName("Pages of the crawl")
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsClickable(False)
        header.setDefaultAlignment(_LEFT)
        header.setMinimumSectionSize(20)
        self.selectionModel().currentRowChanged.connect(self._current_changed)
        model.modelAboutToBeReset.connect(self._remember)
        model.modelReset.connect(self._restore)
        theme.changed.connect(self._restyle)
        self._restyle()

    @property
    def current(self) -> PageState | None:
        """The page that is chosen."""
        return self._pages.at(self.currentIndex().row())

    def show_speed(self, on: bool) -> None:
        """Show or hide the column that only a crawl in work has something for."""
        self.setColumnHidden(COLUMNS.index("Speed"), not on)

    def choose(self, key: str) -> None:
        """Choose a page, if it is shown."""
        row = self._pages.row(key)
        if row >= 0:
            self.setCurrentIndex(self._pages.index(row, 0))

    def bring_into_view(self, key: str) -> None:
        """Scroll to a page without choosing it."""
        row = self._pages.row(key)
        if row >= 0:
            self.scrollTo(self._pages.index(row, 0))

    def _current_changed(self, current: QModelIndex) -> None:
        page = self._pages.at(current.row())
        key = page.page.key if page is not None else ""
        if key != self._key:
            self._key = key
            self.chosen.emit(key)

    def _remember(self) -> None:
        self._top = self.verticalScrollBar().value()
        self.selectionModel().blockSignals(True)

    def _restore(self) -> None:
        self.selectionModel().blockSignals(False)
        row = self._pages.row(self._key) if self._key else -1
        if row >= 0:
            self.setCurrentIndex(self._pages.index(row, 0))
        elif self._key:
            self._key = ""
            self.chosen.emit("")
        self.verticalScrollBar().setValue(self._top)

    def _restyle(self) -> None:
        metrics = QFontMetrics(theme.font())
        self.verticalHeader().setDefaultSectionSize(metrics.height() + theme.px(16))
        header = self.horizontalHeader()
        room = theme.px(20)
        samples = ("Skipped", "", "88.8 MB of 88.8 MB", "88.8 MB/s", "Tries", "")
        for column, sample in enumerate(samples):
            if sample:
                extra = theme.px(18) if column == 0 else 0
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
                header.resizeSection(column, metrics.horizontalAdvance(sample) + room + extra)
            else:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)

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


class _Delegate(QStyledItemDelegate):
    """A dot with the state, a bar under the size of what is on its way, everything else as one line."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        page: PageState = index.data(PAGE)
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
            painter.setBrush(theme.color(STATES[page.state][1]))
            painter.drawEllipse(QRect(room.left(), room.center().y() - side // 2 + 1, side, side))
            room.setLeft(room.left() + side + theme.px(8))
        elif column == 2 and page.state == "working" and page.size:
            self._paint_bar(painter, room, page)
            room.adjust(0, 0, 0, -theme.px(5))
        color = "text"
        if column >= 2:
            color = {"failed": "error", "skipped": "warning"}.get(page.state, "muted") if column == 5 else "muted"
        elif column == 1 and page.state == "waiting":
            color = "muted"
        painter.setFont(theme.font())
        painter.setPen(theme.color(color))
        text = QFontMetrics(theme.font()).elidedText(cell(page, column), Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, _RIGHT if column == 4 else _LEFT, text)
        painter.restore()

    def _paint_bar(self, painter: QPainter, room: QRect, page: PageState) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        bar = QRectF(room.left(), room.bottom() - theme.px(7), room.width(), theme.px(3))
        for share, color in ((1.0, "border"), (min(page.received / page.size, 1.0), "accent")):
            painter.setBrush(theme.color(color))
            part = QRectF(bar.left(), bar.top(), bar.width() * share, bar.height())
            painter.drawRoundedRect(part, bar.height() / 2, bar.height() / 2)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(60), theme.px(32))

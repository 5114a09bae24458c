"""Figures in rows and columns, of which a row can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QEvent, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from widgets.kit.theme import theme

TITLE_ROOM = 100
"""Pixels that titles are left at least, if need be by leaving out the small things."""


@dataclass(frozen=True)
class Cell:
    """A figure, with something small below it."""

    text: str
    small: str = ""
    color: str = "text"
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """A row of the grid."""

    key: str
    title: str
    cells: Sequence[Cell]
    hint: str = ""


class Grid(QWidget):
    """Titles at the left, figures at the right; a click or an arrow key chooses a row."""

    chosen = Signal(str)
    """Key of the row that the user has chosen."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self.headings: Sequence[str] = ()
        self.lines: Sequence[Line] = ()
        self.current = ""
        theme.changed.connect(self._restyle)

    def set_content(self, headings: Sequence[str], lines: Sequence[Line]) -> None:
        """Show these rows; `headings` are of the columns after the titles."""
        self.headings, self.lines = headings, lines
        self._restyle()

    def choose(self, key: str) -> None:
        """Mark a row."""
        self.current = key
        found = next((line for line in self.lines if line.key == key), None)
        if found is not None:
            spoken = ", ".join(f"{name} {cell.text}" for name, cell in zip(self.headings, found.cells, strict=False))
            self.setAccessibleDescription(f"{found.title}: {spoken}")
        self.update()

    def step(self, by: int) -> None:
        """Choose a row further down or up."""
        keys = [line.key for line in self.lines]
        if keys:
            at = keys.index(self.current) + by if self.current in keys else 0
            self._pick(keys[min(max(at, 0), len(keys) - 1)])

    # -- inside ------------------------------------------------------------------------------------------

    def _pick(self, key: str) -> None:
        self.choose(key)
        self.chosen.emit(key)

    def _restyle(self) -> None:
        self.setFixedHeight(self._top() + self._height() * len(self.lines))
        self.updateGeometry()
        self.update()

    def _metrics(self) -> tuple[QFontMetrics, QFontMetrics]:
        return QFontMetrics(theme.font()), QFontMetrics(theme.font(11))

    def _top(self) -> int:
        return self._metrics()[1].height() + theme.px(6) if self.headings else 0

    def _height(self) -> int:
        large, small = self._metrics()
        two = any(cell.small for line in self.lines for cell in line.cells)
        return large.height() + theme.px(7) + (small.height() if two else 0)

    def _columns(self) -> tuple[list[QRect], bool]:
        """Left and width of each column after the titles, as rectangles of no height; whether the small things fit."""
        large, small = self._metrics()
        bold, gap = QFontMetrics(theme.font(bold=True)), theme.px(11)
        room = self.width() - theme.px(8 + TITLE_ROOM)

        def measured(below: bool) -> list[int]:
            widths = []
            for at, heading in enumerate(self.headings):
                cells = [line.cells[at] for line in self.lines if at < len(line.cells)]
                texts = [(bold if cell.bold else large).horizontalAdvance(cell.text) for cell in cells]
                texts += [small.horizontalAdvance(cell.small) for cell in cells if below]
                most = theme.px(110 if below else 80)
                widths.append(max([*texts, theme.px(44), min(small.horizontalAdvance(heading) + 2, most)]))
            return widths

        widths = measured(True)
        fits = sum(widths) + gap * len(widths) <= room
        if not fits:
            widths, gap = measured(False), theme.px(7)
        right = self.width() - theme.px(8)
        found = []
        for width in reversed(widths):
            found.append(QRect(right - width, 0, width, 0))
            right -= width + gap
        return found[::-1], fits

    def _line_at(self, y: float) -> Line | None:
        at = int((y - self._top()) // max(self._height(), 1))
        return self.lines[at] if y >= self._top() and 0 <= at < len(self.lines) else None

    def sizeHint(self) -> QSize:
        return QSize(theme.px(300), self.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(120), self.height())

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        columns, fits = self._columns()
        height, top = self._height(), self._top()
        large, small = self._metrics()
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.setFont(theme.font(11))
        painter.setPen(theme.color("muted"))
        for heading, column in zip(self.headings, columns, strict=True):
            shown = small.elidedText(heading, Qt.TextElideMode.ElideMiddle, column.width())
            painter.drawText(QRect(column.left(), 0, column.width(), top - theme.px(4)), right, shown)
        for at, line in enumerate(self.lines):
            row = QRect(0, top + at * height, self.width(), height)
            if line.key == self.current:
                painter.fillRect(row, theme.color("selection"))
                color = theme.color("accent" if self.hasFocus() else "strong_border")
                painter.fillRect(QRect(0, row.top(), theme.px(3), height), color)
            painter.setFont(theme.font())
            painter.setPen(theme.color("text"))
            room = row.adjusted(theme.px(10), 0, 0, 0)
            room.setRight((columns[0].left() if columns else self.width()) - theme.px(8))
            if large.horizontalAdvance(line.title) > room.width() and height >= 2 * large.height():
                painter.drawText(room, left | Qt.TextFlag.TextWordWrap, line.title)
            else:
                painter.drawText(room, left, large.elidedText(line.title, Qt.TextElideMode.ElideRight, room.width()))
            for cell, column in zip(line.cells, columns, strict=False):
                box = QRect(column.left(), row.top(), column.width(), height)
                if cell.small and fits:
                    middle = box.center().y() + theme.px(2)
                    painter.setFont(theme.font(11))
                    painter.setPen(theme.color("muted"))
                    painter.drawText(QRect(box.left(), middle, box.width(), box.bottom() - middle), right, cell.small)
                    box.setBottom(middle)
                painter.setFont(theme.font(bold=cell.bold))
                painter.setPen(theme.color(cell.color))
                painter.drawText(box, right, cell.text)

    def mousePressEvent(self, event: Any) -> None:
        if (line := self._line_at(event.position().y())) is not None:
            self._pick(line.key)

    def keyPressEvent(self, event: Any) -> None:
        steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_End: 1000, Qt.Key.Key_Home: -1000}
        if event.key() in steps:
            self.step(steps[event.key()])
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: Any) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: Any) -> None:
        super().focusOutEvent(event)
        self.update()

    def event(self, event: Any) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            line = self._line_at(event.pos().y())
            if line is not None and line.hint:
                QToolTip.showText(event.globalPos(), f"<p>{line.hint}</p>", self)
            return True
        return super().event(event)

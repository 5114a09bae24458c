"""Raised areas, and how things are laid out on them."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QSize
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QLayout, QVBoxLayout, QWidget

from widgets.kit.labels import label

HEADING_HEIGHT = 34
"""Least height of a panel's top row in pixels, so that headings of neighbours stand level."""


class Panel(QFrame):
    """A raised area with an optional heading; add to `body`."""

    def __init__(self, heading: str = "", *, spacing: int = 10) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(14, 8, 14, 12)
        self.body.setSpacing(spacing)
        self.top = QHBoxLayout()
        self.top.setSpacing(6)
        self.top.addStrut(HEADING_HEIGHT)
        if heading:
            self.top.addWidget(label(heading, "heading"))
            self.top.addStretch(1)
            self.body.addLayout(self.top)


class Beside(QWidget):
    """Two rows beside each other, or below each other where there is no room for that."""

    def __init__(self, first: QHBoxLayout, second: QHBoxLayout) -> None:
        super().__init__()
        self._parts = (first, second)
        self._box = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.setSpacing(6)
        self._box.addLayout(first, 1)
        self._box.addLayout(second)

    def minimumSizeHint(self) -> QSize:
        widest = max(part.minimumSize().width() for part in self._parts)
        return QSize(widest, super().minimumSizeHint().height())

    def _fit(self) -> None:
        needed = sum(part.minimumSize().width() for part in self._parts) + self._box.spacing()
        way = QBoxLayout.Direction.LeftToRight if needed <= self.width() else QBoxLayout.Direction.TopToBottom
        if way != self._box.direction():
            self._box.setDirection(way)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return done


def clear_layout(layout: QLayout) -> None:
    """Take everything out of a layout and delete it."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.hide()
            widget.deleteLater()

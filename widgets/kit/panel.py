"""Raised areas, and how things are laid out on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QLayout, QScrollArea, QSplitter, QVBoxLayout, QWidget

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


def column(*parts: Any, spacing: int, within: QWidget | None = None) -> QVBoxLayout:
    """Widgets and layouts below each other, without margins. A number is room that is left, a tuple has the stretch
    of its part, None is a stretch."""
    return _filled(QVBoxLayout() if within is None else QVBoxLayout(within), parts, spacing)


def row(*parts: Any, spacing: int, within: QWidget | None = None) -> QHBoxLayout:
    """Widgets and layouts beside each other; see `column`."""
    return _filled(QHBoxLayout() if within is None else QHBoxLayout(within), parts, spacing)


def _filled(box: Any, parts: Sequence[Any], spacing: int) -> Any:
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(spacing)
    for part in parts:
        part, stretch = part if isinstance(part, tuple) else (part, 0)
        if part is None:
            box.addStretch(1)
        elif isinstance(part, int):
            box.addSpacing(part)
        elif isinstance(part, QLayout):
            box.addLayout(part, stretch)
        else:
            box.addWidget(part, stretch)
    return box


def holder(layout: QLayout) -> QWidget:
    """A widget for a layout."""
    widget = QWidget()
    widget.setLayout(layout)
    return widget


def split(*parts: tuple[QWidget, int], sizes: Sequence[int] = (), handle: int = 8, beside: bool = False) -> QSplitter:
    """Parts with their stretches, whose shares of the room the user can change; below each other, or `beside`."""
    splitter = QSplitter(Qt.Orientation.Horizontal if beside else Qt.Orientation.Vertical)
    for at, (part, stretch) in enumerate(parts):
        splitter.addWidget(part)
        splitter.setStretchFactor(at, stretch)
    splitter.setChildrenCollapsible(False)
    splitter.setHandleWidth(handle)
    if sizes:
        splitter.setSizes(sizes)
    return splitter


def scrolled(widget: QWidget, *, sideways: bool = False) -> QScrollArea:
    """Something that may be higher than the room it has."""
    area = QScrollArea(widgetResizable=True)
    if not sideways:
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(widget)
    return area


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

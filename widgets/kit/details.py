"""What the panels of details share: segments, logs, and a 3D view that has little room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontDatabase, QTextOption
from PySide6.QtWidgets import QButtonGroup, QFrame, QLabel, QPlainTextEdit, QToolButton, QWidget

from widgets.kit.theme import theme

if TYPE_CHECKING:
    from widgets.viewport import Viewport

SIDES = ("first side", "second side")
"""Actions that the two segments of details stand for."""


class Segments(QButtonGroup):
    """Buttons beside each other, of which one is down."""

    def __init__(self, parent: QWidget, number: int) -> None:
        super().__init__(parent)
        for at in range(number):
            button = QToolButton()
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setChecked(at == 0)
            self.addButton(button, at)


class LogView(QPlainTextEdit):
    """The end of a log."""

    def __init__(self, name: str, empty: str, *, lines: int = 4000, fixed: bool = True) -> None:
        """`empty` is said while there is nothing; `fixed` is for letters of one width."""
        super().__init__(readOnly=True)
        self.setObjectName("log")
        self.setMaximumBlockCount(lines)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setPlaceholderText(empty)
        self.setAccessibleName(name)
        if fixed:
            theme.changed.connect(self._restyle)
            self._restyle()

    def to_end(self) -> None:
        """Scroll to the newest line."""
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def keep_place(self, change: Callable[[], Any]) -> None:
        """Change the text; the view follows the end, but who reads further up is left there."""
        bar = self.verticalScrollBar()
        before, at_end = bar.value(), bar.value() >= bar.maximum() - 2
        change()
        bar.setValue(bar.maximum() if at_end else before)

    def _restyle(self) -> None:
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPixelSize(theme.px(12))
        self.setFont(font)


def small_viewport(tip: str) -> Viewport:
    """A viewport without its tools: those for a model of one's own have no room here, and no use; their keys work all
    the same."""
    from widgets.viewport import Viewport
    from widgets.viewport.tool_bar import ToolBar

    viewport = Viewport()
    own = Qt.FindChildOption.FindDirectChildrenOnly
    parts: Sequence[QWidget] = (*viewport.findChildren(ToolBar), *viewport.findChildren(QLabel, options=own))
    for part in parts:
        part.hide()
    viewport.setToolTip(tip)
    return viewport

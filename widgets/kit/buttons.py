"""Buttons with icons, and tooltips that name keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QToolButton

from widgets.kit.theme import theme


def with_key(text: str, key: str | QKeySequence | QKeySequence.StandardKey) -> str:
    """A tooltip with its key, e.g. `Open a picture (Ctrl+O)`."""
    return f"{text} ({QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)})"


class IconButton(QToolButton):
    """A button with an icon that follows the theme."""

    def __init__(self, icon: str, tip: str, clicked: Callable[[], Any] | None = None, *, text: str = "") -> None:
        super().__init__()
        self._icon, self._tint = icon, "text"
        self.setObjectName("flat")
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        if text:
            self.setText(text)
            self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        if clicked is not None:
            self.clicked.connect(lambda: clicked())
        theme.changed.connect(self._restyle)
        self._restyle()

    def set_icon(self, icon: str) -> None:
        """Show another icon."""
        self._icon = icon
        self._restyle()

    def _restyle(self) -> None:
        self.setIcon(theme.icon(self._icon, self._tint))
        self.setIconSize(QSize(theme.px(18), theme.px(18)))

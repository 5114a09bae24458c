"""What the user can do: its words, its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget


def bind(widget: QWidget, key: str, act: Callable[[], Any], *, alone: bool = False) -> None:
    """Have a key do something while a widget is on the screen, or while it has the keyboard `alone`."""
    shortcut = QShortcut(QKeySequence(key), widget)
    if alone:  # set here, as the context given beside a function to call is passed over
        shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
    shortcut.activated.connect(lambda: act())

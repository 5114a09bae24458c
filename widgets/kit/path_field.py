"""Paths that are typed, or asked for."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from widgets.kit.buttons import IconButton


class PathField(QWidget):
    """A path that can be typed, and a button that asks for it."""

    edited = Signal(str)

    def __init__(self, empty: str, tip: str) -> None:
        super().__init__()
        self._tip = tip
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(empty)
        self.edit.setAccessibleName(tip)
        self.button = IconButton("folder", tip)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.edit, 1)
        row.addWidget(self.button)
        self.edit.editingFinished.connect(lambda: self.edited.emit(self.edit.text().strip()))
        self.set_path(None)

    def set_path(self, path: Path | None) -> None:
        """Show a path."""
        self.edit.setText("" if path is None else str(path))
        self.edit.setToolTip(self._tip if path is None else f"{path}\n{self._tip}")

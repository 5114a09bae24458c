"""Paths that are typed, or asked for."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QWidget

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


class PlaceField(PathField):
    """The file or folder that is worked on; what the user wants in its place is `chosen`, and shown once it is set."""

    chosen = Signal(object)
    """A path, or None to do without."""

    path: Path | None = None

    def __init__(self, empty: str, tip: str, title: str) -> None:
        """`title` is what the dialog for a folder is called."""
        super().__init__(empty, tip)
        self._title = title
        self.edited.connect(self._typed)

    def set_path(self, path: Path | None) -> None:
        """Show a path that is in force now."""
        self.path = path
        super().set_path(path)

    def ask(self, begin: str) -> str:
        """Ask for a folder, from the one in force on, or else from `begin`; what was chosen, if anything."""
        if not self.isEnabled():
            return ""
        name = QFileDialog.getExistingDirectory(self, self._title, str(self.path or begin))
        if name:
            self.chosen.emit(Path(name))
        return name

    def _typed(self, text: str) -> None:
        path = Path(text).expanduser() if text else None
        if path != self.path:
            self.chosen.emit(path)

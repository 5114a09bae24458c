"""What can be had otherwise of a mesh that is there: triangles, smoothing, texture, seed."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QPushButton, QSpinBox

from engine.reconstruct.options import FACES, SMOOTHING, TEXTURE_SIZES, Options
from widgets.kit.buttons import with_key
from widgets.kit.form import Form, form_grid, put, taken
from widgets.kit.sheet import Sheet

KEY = "Ctrl+B"
_USUAL = "By the quality"


class _RebuildForm(Form):
    def value(self, name: str) -> Any:
        """What is chosen; None for what the quality says."""
        value = taken(self.fields[name])
        return None if name == "faces" and value < FACES[0] else value


class RebuildButton(QPushButton):
    """Opens a sheet of what can be had otherwise, and asks for it."""

    requested = Signal(dict)
    """The options to change, by their names in `Options`."""

    def __init__(self) -> None:
        super().__init__("Rebuild…")
        self.setShortcut(KEY)
        self.setToolTip(with_key("The same with other triangles, smoothing, texture or seed", KEY))
        self.sheet = Sheet(self, "Rebuild with", 330)
        self.form = _RebuildForm(Options())
        grid = form_grid(14, self.form)
        faces = QSpinBox()
        faces.setRange(FACES[0] - 1, FACES[1])  # the lowest stands for what is usual
        faces.setSpecialValueText(_USUAL)
        faces.setSingleStep(1000)
        faces.setGroupSeparatorShown(True)
        self.form.add(grid, "faces", "Triangles", faces, "How many triangles the mesh is reduced to")
        smooth = QSpinBox()
        smooth.setRange(*SMOOTHING)
        self.form.add(grid, "smooth", "Smoothing", smooth, "Passes that take ripples away; the volume stays")
        texture = QComboBox()
        texture.addItem(_USUAL, None)
        for size in TEXTURE_SIZES:
            texture.addItem(f"{size} x {size}", size)
        self.form.add(grid, "texture_size", "Texture", texture, "Side of the texture in pixels")
        seed = QSpinBox()
        seed.setRange(0, 2**31 - 1)
        self.form.add(grid, "seed", "Seed", seed, "Another opinion on the same picture: begins at the views")
        go = QPushButton("Rebuild")
        go.setObjectName("primary")
        go.clicked.connect(self._ask)
        self.sheet.column.addWidget(self.form)
        self.sheet.column.addWidget(go)
        self.clicked.connect(self.open)

    def show_options(self, options: dict[str, Any]) -> None:
        """Show what the mesh was made with, by the names of `Options`."""
        for name, field in self.form.fields.items():
            value = options.get(name, getattr(self.form.usual, name))
            put(field, FACES[0] - 1 if name == "faces" and value is None else value)

    def open(self) -> None:
        """Show the sheet below the button."""
        self.sheet.show_at(self, right=True)
        self.form.fields["faces"].setFocus()

    def _ask(self) -> None:
        self.sheet.hide()
        self.requested.emit({name: self.form.value(name) for name in self.form.fields})

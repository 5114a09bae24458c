"""Forms made of a dataclass: a field for each option, and a mark on what is not as usual."""

from __future__ import annotations

from dataclasses import fields
from functools import singledispatch
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from widgets.kit.fields import indent
from widgets.kit.labels import label
from widgets.kit.path_field import PathField
from widgets.kit.theme import theme


class Form(QWidget):
    """Fields by name. Those that a dataclass has are marked where they differ from `usual`, an instance of it; there
    may be more such instances, the names of whose fields are others."""

    changed = Signal()
    """The user has changed something."""

    def __init__(self, usual: Any, *more: Any) -> None:
        super().__init__()
        self.usual = usual
        self._usual = {field.name: getattr(one, field.name) for one in (usual, *more) for field in fields(one)}
        self.fields: dict[str, QWidget] = {}
        self._labels: dict[str, QLabel] = {}
        self._texts: dict[str, str] = {}
        self._setting = self._locked = False
        theme.changed.connect(self._mark)

    @property
    def differing(self) -> list[str]:
        """Names of the options that are not as usual."""
        return [name for name in self.fields if name in self._usual and self.value(name) != self._usual[name]]

    def head(self, grid: QGridLayout, text: str, room: int) -> None:
        """A heading in a row of its own, with room above it."""
        head = label(text, "heading")
        head.setContentsMargins(0, room, 0, 0)
        grid.addWidget(head, grid.rowCount(), 0, 1, 2)

    def add(self, grid: QGridLayout, name: str, text: str, field: Any, tip: str, *, wide: bool = False) -> None:
        """A field beside its label; a box to tick has its text beside it, and is as `wide` as both."""
        self.fields[name], self._texts[name] = field, text
        field.setToolTip(tip)
        field.setAccessibleName(text)
        at = grid.rowCount()
        if isinstance(field, QCheckBox):
            field.setText(text)
            field.toggled.connect(lambda _=False: self._edited())
            grid.addWidget(field, at, 0 if wide else 1, 1, 2 if wide else 1)
            return
        if isinstance(field, QSpinBox | QDoubleSpinBox):
            indent(field)
            field.valueChanged.connect(lambda _=0: self._edited())
        elif isinstance(field, QComboBox):
            field.currentIndexChanged.connect(lambda _=0: self._edited())
        elif isinstance(field, PathField):
            field.edited.connect(lambda _: self._edited())
        else:
            field.editingFinished.connect(self._edited)
        self.fit(field)
        self._labels[name] = label(text, "muted")
        self._labels[name].setToolTip(tip)
        grid.addWidget(self._labels[name], at, 0)
        grid.addWidget(field, at, 1)

    def fit(self, field: QWidget) -> None:
        """Have a field take the room that there is, and leave the wheel to the form."""
        if isinstance(field, QAbstractSpinBox | QComboBox):
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        field.setMinimumWidth(60)
        field.installEventFilter(self)

    def show_values(self, values: Any) -> None:
        """Show the values of a dataclass."""
        before, self._setting = self._setting, True
        for field in fields(values):
            if field.name in self.fields:
                put(self.fields[field.name], getattr(values, field.name))
        self._setting = before
        self._mark()

    # -- inside ------------------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """The value of a field."""
        return taken(self.fields[name])

    def _edited(self) -> None:
        if not self._setting:
            self._mark()
            self.changed.emit()

    def _mark(self) -> None:
        differing = self.differing
        for name in self.fields:
            style = f"color: {theme.color('accent').name()}; font-weight: 600;" if name in differing else ""
            (self._labels.get(name) or self.fields[name]).setStyleSheet(style)
        self._show_differing(differing, ", ".join(self._texts[name].lower() for name in differing))

    def _show_differing(self, names: list[str], text: str) -> None:
        """Say which options are not as usual: their names, and these in words."""

    def eventFilter(self, watched: Any, event: Any) -> bool:
        # The wheel scrolls the form; it changes a field only once one has gone into it.
        if event.type() == event.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


@singledispatch
def put(field: Any, value: Any) -> None:
    """Show a value in a field."""
    raise TypeError(f"no such field: {type(field)}")


@singledispatch
def taken(field: Any) -> Any:
    """The value of a field."""
    raise TypeError(f"no such field: {type(field)}")


put.register(QCheckBox, lambda field, value: field.setChecked(value))
put.register(QComboBox, lambda field, value: field.setCurrentIndex(max(field.findData(value), 0)))
put.register(QSpinBox, lambda field, value: field.setValue(value))
put.register(QDoubleSpinBox, lambda field, value: field.setValue(value))
put.register(QLineEdit, lambda field, value: field.setText(value))
put.register(PathField, lambda field, value: field.set_path(Path(value) if value else None))
taken.register(QCheckBox, lambda field: field.isChecked())
taken.register(QComboBox, lambda field: field.currentData())
taken.register(QSpinBox, lambda field: field.value())
taken.register(QDoubleSpinBox, lambda field: field.value())
taken.register(QLineEdit, lambda field: field.text().strip())
taken.register(PathField, lambda field: field.edit.text().strip())


def form_grid(gap: int, parent: QWidget | None = None) -> QGridLayout:
    """Labels at the left, `gap` pixels, fields at the right."""
    grid = QGridLayout() if parent is None else QGridLayout(parent)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(gap)
    grid.setVerticalSpacing(7)
    grid.setColumnStretch(1, 1)
    return grid

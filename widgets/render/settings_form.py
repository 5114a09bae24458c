"""The settings of a rendering and of the machines that do it, and which of them are not as usual."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from engine.rendering.jobs import DEVICES, ENGINES, LIMITS, RenderSettings
from widgets.kit.fields import indent
from widgets.kit.labels import label
from widgets.kit.path_field import PathField
from widgets.kit.theme import theme
from widgets.render import words

_GROUPS = {
    "Picture": {
        "engine": "Engine",
        "device": "Device",
        "size": "Size",
        "samples": "Samples",
        "filter_width": "Filter width",
        "denoise": "Denoised",
    },
    "Light paths": {
        "diffuse_bounces": "Diffuse",
        "glossy_bounces": "Glossy",
        "transparent_bounces": "Transparent",
        "transmission_bounces": "Transmission",
        "light": "Lights",
    },
    "Camera": {"lens": "Lens", "sensor": "Sensor", "radius": "Distance", "elevation": "Elevation"},
    "Limits": {"frame_seconds": "A frame", "model_seconds": "A model"},
}
_TIPS = {
    "engine": "Cycles follows the light, on any machine; EEVEE is quick where there is a GPU, and needs a display.",
    "device": "What Cycles computes on; automatic takes the best that Blender finds.",
}
_UNITS = {
    "size": " px",
    "filter_width": " px",
    "light": " ×",
    "lens": " mm",
    "sensor": " mm",
    "elevation": "°",
    "frame_seconds": " s",
    "model_seconds": " s",
}
_DECIMALS = {"filter_width": 2, "light": 2, "radius": 2, "frame_seconds": 0, "model_seconds": 0}
_STEPS = {"size": 64, "samples": 8, "filter_width": 0.1, "light": 0.1, "radius": 0.1, "elevation": 5, "lens": 5}


@dataclass(frozen=True)
class FarmChoice:
    """Who renders."""

    workers: int = 0
    """At a time on this machine; 0 for as many as cores and memory allow."""
    scheduler: str = ""
    """Address of a Dask scheduler; empty for this machine alone."""
    blender: str = ""
    """Executable; empty for the one that is found."""
    attempts: int = 2
    keep_free_gb: float = 1.0


class SettingsForm(QWidget):
    """All of them in groups; what differs from the defaults is marked."""

    changed = Signal()
    blender_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, QWidget] = {}
        self._labels: dict[str, QLabel] = {}
        self._given: dict[str, Any] = {}
        self._setting = self._locked = False
        texts = docs(RenderSettings) | _TIPS
        usual = RenderSettings()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 4, 0)
        self._grid.setHorizontalSpacing(14)
        self._grid.setVerticalSpacing(7)
        self._grid.setColumnStretch(1, 1)
        for group, names in _GROUPS.items():
            self._head(group)
            for name, text in names.items():
                field = _field(name, getattr(usual, name))
                self._add(
                    name, text, field, f"{texts.get(name, '')}\nUsually {self._words(name, getattr(usual, name))}."
                )
        self._head("Machines")
        self.blender = PathField("Automatic", "A blender executable, or a Python with the bpy module")
        self.blender.button.clicked.connect(self.open_blender)
        self.blender.edited.connect(lambda _: self._blender_edited())
        self._add("blender", "Blender", self.blender, "")
        self.blender_note = label("", "small", wrap=True)
        self._grid.addWidget(self.blender_note, self._grid.rowCount(), 0, 1, 2)
        workers = QSpinBox(minimum=0, maximum=256)
        workers.setSpecialValueText("Automatic")
        scheduler = QLineEdit()
        scheduler.setPlaceholderText("This machine")
        attempts = QSpinBox(minimum=1, maximum=20)
        keep_free = QDoubleSpinBox(minimum=0.0, maximum=100_000.0, decimals=1, suffix=" GB")
        for name, text, field, tip in (
            (
                "workers",
                "Workers",
                workers,
                "Models that are rendered at the same time; automatic fits cores and memory",
            ),
            ("scheduler", "Scheduler", scheduler, "tcp://… of a Dask scheduler, to render on many machines"),
            ("attempts", "Attempts", attempts, "How often a model is tried before it is set aside as failed"),
            ("keep_free_gb", "Keep free", keep_free, "The run stops before the disk has less than this left"),
        ):
            self._add(name, text, field, tip)
        self.reset = QPushButton("Back to the defaults")
        self.reset.clicked.connect(lambda _=False: self._reset())
        self._grid.addWidget(self.reset, self._grid.rowCount(), 0, 1, 2)
        self.set_values(usual)
        self.set_farm(FarmChoice())
        theme.changed.connect(self._mark)

    # -- content -----------------------------------------------------------------------------------------

    def values(self) -> RenderSettings:
        """The settings as they stand."""
        return RenderSettings(**{field.name: self._value(field.name) for field in fields(RenderSettings)})

    def set_values(self, settings: RenderSettings) -> None:
        """Show these."""
        self._setting = True
        for field in fields(RenderSettings):
            value = getattr(settings, field.name)
            self._given[field.name] = value
            _put(self.fields[field.name], value)
        self._setting = False
        self._mark()

    def farm(self) -> FarmChoice:
        """Who is to render."""
        return FarmChoice(**{field.name: self._value(field.name) for field in fields(FarmChoice)})

    def set_farm(self, farm: FarmChoice) -> None:
        """Show this."""
        self._setting = True
        for field in fields(FarmChoice):
            _put(self.fields[field.name], getattr(farm, field.name))
        self._setting = False
        self._mark()

    def show_blender(self, text: str, found: bool) -> None:
        """Say which Blender is there, or what to do about it."""
        self.blender_note.setText(text)
        self.blender_note.setObjectName("small" if found else "warning")
        self.blender_note.style().unpolish(self.blender_note)
        self.blender_note.style().polish(self.blender_note)

    def set_enabled(self, on: bool) -> None:
        """Whether anything can be changed."""
        for field in self.fields.values():
            field.setEnabled(on)
        self._locked = not on
        self._mark()

    @property
    def differing(self) -> list[str]:
        """Names of the settings that are not as usual; who renders does not count."""
        usual = RenderSettings()
        return [field.name for field in fields(usual) if self._value(field.name) != getattr(usual, field.name)]

    # -- inside ------------------------------------------------------------------------------------------

    def _head(self, text: str) -> None:
        head = label(text, "heading")
        head.setContentsMargins(0, 8 if self.fields else 0, 0, 0)
        self._grid.addWidget(head, self._grid.rowCount(), 0, 1, 2)

    def _add(self, name: str, text: str, field: QWidget, tip: str) -> None:
        if tip:
            field.setToolTip(tip.strip())
        field.setAccessibleName(text)
        at = self._grid.rowCount()
        self.fields[name] = field
        if isinstance(field, QAbstractSpinBox):
            indent(field)
        if isinstance(field, QSpinBox | QDoubleSpinBox):
            field.valueChanged.connect(lambda _=0: self._edited())
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        elif isinstance(field, QComboBox):
            field.currentIndexChanged.connect(lambda _=0: self._edited())
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        elif isinstance(field, QLineEdit):
            field.editingFinished.connect(self._edited)
        elif isinstance(field, QCheckBox):
            field.setText(text)
            field.toggled.connect(lambda _=False: self._edited())
            self._grid.addWidget(field, at, 1)
            return
        field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        field.setMinimumWidth(60)
        field.installEventFilter(self)
        self._labels[name] = label(text, "muted")
        self._labels[name].setToolTip(tip.strip())
        self._grid.addWidget(self._labels[name], at, 0)
        self._grid.addWidget(field, at, 1)

    def _value(self, name: str) -> Any:
        value = _taken(self.fields[name])
        given = self._given.get(name)
        # What was set to more digits than the field shows is kept, or the folder would have other settings.
        if isinstance(given, float) and round(given, self.fields[name].decimals()) == value:  # type: ignore[attr-defined]
            return given
        return value

    def _words(self, name: str, value: Any) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        named = {"engine": words.ENGINES, "device": words.DEVICES}.get(name)
        return named[value] if named else f"{value:g}{_UNITS.get(name, '')}"

    def _edited(self) -> None:
        if not self._setting:
            self._mark()
            self.changed.emit()

    def _blender_edited(self) -> None:
        self._edited()
        self.blender_changed.emit()

    def open_blender(self) -> None:
        """Ask for Blender."""
        name, _ = QFileDialog.getOpenFileName(self, "Blender, or a Python with the bpy module")
        if name:
            self.blender.set_path(Path(name))
            self._blender_edited()

    def _reset(self) -> None:
        self.set_values(RenderSettings())
        self.changed.emit()

    def _mark(self) -> None:
        here = not self._locked and not self._value("scheduler")  # other machines have their own
        for name in ("blender", "workers"):
            self.fields[name].setEnabled(here)
        differing = self.differing
        for field in fields(RenderSettings):
            on = field.name in differing
            style = f"color: {theme.color('accent').name()}; font-weight: 600;" if on else ""
            (self._labels.get(field.name) or self.fields[field.name]).setStyleSheet(style)
        self.reset.setEnabled(bool(differing) and not self._locked)
        self.reset.setToolTip(
            "Not as usual: " + ", ".join(self._name(name) for name in differing)
            if differing
            else "All settings are as usual"
        )

    def _name(self, name: str) -> str:
        return next(names[name] for names in _GROUPS.values() if name in names).lower()

    def eventFilter(self, watched: Any, event: Any) -> bool:
        # The wheel scrolls the form; it changes a field only once one has gone into it.
        if event.type() == event.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


def docs(kind: type) -> dict[str, str]:
    """What is written below each field of a dataclass; nothing where the source is not at hand."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, text in pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                found[name] = " ".join(written.split()).replace("`", "")
    return found


def _field(name: str, usual: Any) -> QWidget:
    if name in ("engine", "device"):
        box = QComboBox()
        names = words.ENGINES if name == "engine" else words.DEVICES
        for value in ENGINES if name == "engine" else DEVICES:
            box.addItem(names[value], value)
        return box
    if isinstance(usual, bool):
        return QCheckBox()
    low, high = LIMITS[name]
    if isinstance(usual, int):
        spin = QSpinBox(minimum=int(low), maximum=int(high), singleStep=int(_STEPS.get(name, 1)))
    else:
        spin = QDoubleSpinBox(
            minimum=low, maximum=high, decimals=_DECIMALS.get(name, 1), singleStep=_STEPS.get(name, 1)
        )
    spin.setSuffix(_UNITS.get(name, ""))
    spin.setGroupSeparatorShown(False)
    return spin


def _put(field: QWidget, value: Any) -> None:
    if isinstance(field, QCheckBox):
        field.setChecked(value)
    elif isinstance(field, QComboBox):
        field.setCurrentIndex(max(field.findData(value), 0))
    elif isinstance(field, QSpinBox | QDoubleSpinBox):
        field.setValue(value)
    elif isinstance(field, PathField):
        field.set_path(Path(value) if value else None)
    elif isinstance(field, QLineEdit):
        field.setText(value)


def _taken(field: QWidget) -> Any:
    if isinstance(field, QCheckBox):
        return field.isChecked()
    if isinstance(field, QComboBox):
        return field.currentData()
    if isinstance(field, QSpinBox | QDoubleSpinBox):
        return field.value()
    return (field.edit if isinstance(field, PathField) else field).text().strip()  # type: ignore[attr-defined]

"""The settings of a rendering and of the machines that do it, and which of them are not as usual."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from engine.core.options import texts_of
from engine.rendering.jobs import DEVICES, ENGINES, LIMITS, RenderSettings
from widgets.kit.form import Form, form_grid
from widgets.kit.labels import label
from widgets.kit.path_field import PathField
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


class SettingsForm(Form):
    """All of them in groups; what differs from the defaults is marked."""

    blender_changed = Signal()

    def __init__(self) -> None:
        super().__init__(RenderSettings())
        self._given: dict[str, Any] = {}
        texts = texts_of(RenderSettings) | _TIPS
        grid = form_grid(14, self)
        grid.setContentsMargins(0, 0, 4, 0)
        for group, names in _GROUPS.items():
            self.head(grid, group, 8 if self.fields else 0)
            for name, text in names.items():
                usual = getattr(self.usual, name)
                tip = f"{texts.get(name, '')}\nUsually {_words(name, usual)}.".strip()
                self.add(grid, name, text, _field(name, usual), tip)
        self.head(grid, "Machines", 8)
        self.blender = PathField("Automatic", "A blender executable, or a Python with the bpy module")
        self.blender.button.clicked.connect(self.open_blender)
        self.add(grid, "blender", "Blender", self.blender, "")
        self.blender.edited.connect(lambda _: self.blender_changed.emit())
        self.blender_note = label("", "small", wrap=True)
        grid.addWidget(self.blender_note, grid.rowCount(), 0, 1, 2)
        workers = QSpinBox(minimum=0, maximum=256)
        workers.setSpecialValueText("Automatic")
        scheduler = QLineEdit()
        scheduler.setPlaceholderText("This machine")
        attempts = QSpinBox(minimum=1, maximum=20)
        keep_free = QDoubleSpinBox(minimum=0.0, maximum=100_000.0, decimals=1, suffix=" GB")
        tip = "Models that are rendered at the same time; automatic fits cores and memory"
        self.add(grid, "workers", "Workers", workers, tip)
        tip = "tcp://… of a Dask scheduler, to render on many machines"
        self.add(grid, "scheduler", "Scheduler", scheduler, tip)
        tip = "How often a model is tried before it is set aside as failed"
        self.add(grid, "attempts", "Attempts", attempts, tip)
        tip = "The run stops before the disk has less than this left"
        self.add(grid, "keep_free_gb", "Keep free", keep_free, tip)
        self.reset = QPushButton("Back to the defaults")
        self.reset.clicked.connect(lambda _=False: self._reset())
        grid.addWidget(self.reset, grid.rowCount(), 0, 1, 2)
        self.set_values(self.usual)
        self.set_farm(FarmChoice())

    # -- content -----------------------------------------------------------------------------------------

    def values(self) -> RenderSettings:
        """The settings as they stand."""
        return RenderSettings(**{field.name: self.value(field.name) for field in fields(RenderSettings)})

    def set_values(self, settings: RenderSettings) -> None:
        """Show these."""
        self._given = {field.name: getattr(settings, field.name) for field in fields(settings)}
        self.show_values(settings)

    def farm(self) -> FarmChoice:
        """Who is to render."""
        return FarmChoice(**{field.name: self.value(field.name) for field in fields(FarmChoice)})

    def set_farm(self, farm: FarmChoice) -> None:
        """Show this."""
        self.show_values(farm)

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

    # -- inside ------------------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        value = super().value(name)
        given = self._given.get(name)
        # What was set to more digits than the field shows is kept, or the folder would have other settings.
        if isinstance(given, float) and round(given, self.fields[name].decimals()) == value:  # type: ignore[attr-defined]
            return given
        return value

    def open_blender(self) -> None:
        """Ask for Blender."""
        name, _ = QFileDialog.getOpenFileName(self, "Blender, or a Python with the bpy module")
        if name:
            self.blender.set_path(Path(name))
            self.blender.edited.emit(name)

    def _reset(self) -> None:
        self.set_values(RenderSettings())
        self.changed.emit()

    def _show_differing(self, names: list[str], text: str) -> None:
        here = not self._locked and not self.value("scheduler")  # other machines have their own
        for name in ("blender", "workers"):
            self.fields[name].setEnabled(here)
        self.reset.setEnabled(bool(names) and not self._locked)
        self.reset.setToolTip(f"Not as usual: {text}" if names else "All settings are as usual")


def _words(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    named = {"engine": words.ENGINES, "device": words.DEVICES}.get(name)
    return named[value] if named else f"{value:g}{_UNITS.get(name, '')}"


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
    spin: QSpinBox | QDoubleSpinBox
    if isinstance(usual, int):
        spin = QSpinBox(minimum=int(low), maximum=int(high), singleStep=int(_STEPS.get(name, 1)))
    else:
        spin = QDoubleSpinBox(
            minimum=low, maximum=high, decimals=_DECIMALS.get(name, 1), singleStep=_STEPS.get(name, 1)
        )
    spin.setSuffix(_UNITS.get(name, ""))
    spin.setGroupSeparatorShown(False)
    return spin

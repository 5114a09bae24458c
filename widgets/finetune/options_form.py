"""The options of a fine-tuning: the common ones in sight, the rest behind a button; what differs from the study's is
marked."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics, QValidator
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFileDialog, QLineEdit, QWidget

from engine.core.errors import InputError
from engine.core.options import options_of, texts_of
from engine.training import FineTuneOptions
from engine.training.options import FREE, LIMITS
from widgets.kit.buttons import IconButton
from widgets.kit.fields import ElidedComboBox, add_choice
from widgets.kit.form import Form, form_grid, put, taken
from widgets.kit.labels import label
from widgets.kit.panel import column
from widgets.kit.path_field import PathField
from widgets.kit.theme import theme
from widgets.reconstruct.model_choices import MISSING_TIP
from widgets.reconstruct.request import Choice

FROM_FILE, FROM_NOTHING = "file", "nothing:"
"""Data of the entries of what to start from, besides names of weights."""
_COMMON = {
    "epochs": "Epochs",
    "steps": "Steps at most",
    "rays": "Rays",
    "rate": "Learning rate",
    "predicted_share": "Predicted views",
    "validate_every": "Validate every",
    "validate_models": "Validate with",
    "device": "Device",
}
_GROUPS = {
    "Losses": {
        "rgb": "Colour",
        "mask": "Mask",
        "mask_loss": "Mask's form",
        "eikonal": "Eikonal",
        "sparsity": "Sparsity",
        "decay": "Its fading",
        "depth": "Depth",
    },
    "Schedule": {
        "accumulate": "Batches a step",
        "halve_at": "Halve rate at",
        "sharpness": "Sharpness",
        "precision": "Precision",
    },
    "Rays": {
        "sources": "Source views",
        "foreground_share": "On the object",
        "coarse": "Even samples",
        "fine": "Fine samples",
        "seed": "Seed",
    },
    "Predicted views": {"predicted_from": "Drawn from", "generator": "Drawn by", "cache": "Kept in"},
    "Care": {
        "checkpoint_every": "Checkpoint",
        "keep": "Kept",
        "rollbacks": "Rollbacks",
        "watch": "Roll a collapse back",
        "skip_faulty": "Leave out faulty models",
    },
}
_WORDS = {
    "device": {"auto": "Automatic", "cpu": "CPU", "cuda": "CUDA"},
    "precision": {"no": "Single", "bf16": "bfloat16", "fp16": "float16"},
    "mask_loss": {"bce": "Cross-entropy", "l1": "L1"},
    "predicted_from": {"each": "Each view", "one": "One view"},
}
_NONE = {"steps": "No limit", "sharpness": "Learned"}
"""What 0 stands for where the option may be None."""
_ZERO = {"validate_every": "Every epoch", "validate_models": "None"}
_UNITS = {"validate_every": " steps", "validate_models": " models", "checkpoint_every": " steps"}


class OptionsForm(Form):
    """What to start from, and `FineTuneOptions`."""

    def __init__(self) -> None:
        super().__init__(FineTuneOptions())
        self._kept = False
        self.start = ElidedComboBox()
        self.start.setAccessibleName("Start from")
        self.file = PathField("No file yet", "Weights of the surface network (.safetensors with its card, or .pth)")
        self.file.button.clicked.connect(self.open_weights)
        self.file.edited.connect(lambda _: self._edited())
        self.start.currentIndexChanged.connect(lambda _=0: self._start_changed())
        self.start.activated.connect(lambda _=0: self._ask_file())
        self.fit(self.start)
        self.start.setToolTip(
            "The network whose training goes on: the built-in one, the published one, or one of yours; "
            "or one that has learned nothing yet: the compact configuration has the published layers, "
            "but fewer voxels and smaller pictures"
        )
        self._rest = QWidget()
        common, rest = form_grid(10), form_grid(10, self._rest)
        for at, part in enumerate((label("Start from", "muted"), self.start, self.file)):
            common.addWidget(part, at, 0, 1, 2)
        texts = texts_of(FineTuneOptions)
        for group, names in ({"": _COMMON} | _GROUPS).items():
            grid = rest if group else common
            if group:
                self.head(grid, group, 8)
            for name, text in names.items():
                usual = getattr(self.usual, name)
                limits = f" From {LIMITS[name][0]:g} to {LIMITS[name][1]:g}." if name in LIMITS else ""
                tip = f"{texts.get(name, '')}\nIn the study {_spoken(name, usual)}.{limits}".strip()
                self.add(grid, name, text, self._field(name, usual), tip, wide=True)
        bold = QFontMetrics(theme.font(bold=True))
        wide = max(bold.horizontalAdvance(part.text()) for part in self._labels.values())
        for grid in (common, rest):
            grid.setColumnMinimumWidth(0, wide)
        self.more = IconButton("chevron-down", "Show all options", text="More")
        self.more.setCheckable(True)
        self.more.toggled.connect(self.show_more)
        self.reset = IconButton("undo", "All options are those of the study", self._reset, text="As in the study")
        whole = column(common, self.more, self._rest, self.reset, None, spacing=8, within=self)
        whole.setContentsMargins(0, 0, 4, 0)
        for button in (self.more, self.reset):
            whole.setAlignment(button, Qt.AlignmentFlag.AlignLeft)
        self.show_more(False)
        self.set_choices(False, {"built-in": "Built-in"})
        self.set_values(self.usual)

    # -- content -----------------------------------------------------------------------------------------

    def values(self) -> FineTuneOptions:
        """The options as they stand. Raises `InputError` where they do not go together."""
        given = {field.name: self.value(field.name) for field in fields(FineTuneOptions) if field.name in self.fields}
        start = str(self.start.currentData())
        if start == FROM_FILE:
            path = self.file.edit.text().strip()
            if not path:
                raise InputError("No file of weights is chosen to start from. Choose one, or start from another.")
            given["weights"] = path
        elif start.startswith(FROM_NOTHING):
            given["config"] = start.removeprefix(FROM_NOTHING)
        else:
            given["weights"] = start
        return FineTuneOptions(**given)

    def set_values(self, options: FineTuneOptions) -> None:
        """Show these."""
        self._setting = True
        wanted = options.weights if options.config is None else FROM_NOTHING + options.config
        if self.start.findData(wanted) < 0 and options.config is not None:
            self.start.addItem(f"Nothing: {options.config} configuration", wanted)
        elif self.start.findData(wanted) < 0:
            self.file.set_path(Path(wanted))
            wanted = FROM_FILE
        self.start.setCurrentIndex(self.start.findData(wanted))
        _offer_own(self.fields["generator"], options.generator)
        self.show_values(options)
        self._setting = False
        self._start_changed()
        self._mark()

    def set_choices(self, published: bool, generators: dict[str, str], missing: tuple[str, ...] = ()) -> None:
        """What there is to start from, and what may draw views; `missing` are generators whose weights are not here."""
        before, self._setting = self.start.currentData(), True
        self.start.clear()
        starts = [
            Choice("built-in", "Built-in weights"),
            Choice("one-2-3-45", "One-2-3-45 (published)", published),
            Choice(FROM_FILE, "A file of weights…"),
            Choice(f"{FROM_NOTHING}built-in", "Nothing: built-in configuration"),
            Choice(f"{FROM_NOTHING}compact", "Nothing: compact configuration"),
            Choice(f"{FROM_NOTHING}published", "Nothing: published configuration"),
        ]
        _offer(self.start, starts)
        if before is not None:
            if self.start.findData(before) < 0:
                self.start.addItem(f"Nothing: {str(before).removeprefix(FROM_NOTHING)} configuration", before)
            self.start.setCurrentIndex(self.start.findData(before))
        box: Any = self.fields["generator"]
        drawn = box.currentData()
        box.clear()
        _offer(box, [Choice(name, text, name not in missing) for name, text in generators.items()])
        _offer_own(box, drawn or self.usual.generator)
        put(box, drawn or self.usual.generator)
        self._setting = False
        self._start_changed()

    def set_enabled(self, on: bool, *, kept: bool = False) -> None:
        """Whether anything can be changed; with a run that is `kept`, only what does not change its steps."""
        self._locked, self._kept = not on, kept
        for name, field in self.fields.items():
            field.setEnabled(on and (not kept or name in FREE))
        for part in (self.start, self.file):
            part.setEnabled(on and not kept)
        self._mark()

    def show_more(self, on: bool) -> None:
        """Show all options, or the common ones."""
        self.more.setChecked(on)
        self.more.setText("Less" if on else "More")
        self.more.set_icon("chevron-up" if on else "chevron-down")
        self.more.setToolTip("Show the common options alone" if on else "Show all options")
        self._rest.setVisible(on)
        self._mark()

    def open_weights(self) -> None:
        """Ask for a file to start from."""
        name, _ = QFileDialog.getOpenFileName(
            self, "Weights to start from", self.file.edit.text(), "Weights (*.safetensors *.pth *.ckpt *.pt);;All (*)"
        )
        if name:
            self.file.set_path(Path(name))
            self._edited()

    # -- inside ------------------------------------------------------------------------------------------

    def _field(self, name: str, usual: Any) -> QWidget:
        if choices := options_of(FineTuneOptions)[name].choices:
            box = ElidedComboBox()
            for value in choices:
                box.addItem(_WORDS[name][value], value)
            return box
        if name == "generator":
            return ElidedComboBox()
        if name == "cache":
            field = PathField("In the renders", "Folder of the predicted views")
            field.button.clicked.connect(self._ask_cache)
            return field
        if name == "halve_at":
            return _Steps()
        if isinstance(usual, bool):
            return QCheckBox()
        low, high = LIMITS[name]
        number = Number(low, high, whole=isinstance(usual, int) or name == "steps", none=name in _NONE)
        number.setSpecialValueText(_NONE.get(name) or _ZERO.get(name) or "")
        number.setSuffix(_UNITS.get(name, ""))
        return number

    def value(self, name: str) -> Any:
        value = super().value(name)
        return (Path(value).expanduser() if value else None) if name == "cache" else value

    def _start_changed(self) -> None:
        self.file.setVisible(self.start.currentData() == FROM_FILE)
        self._edited()

    def _ask_file(self) -> None:
        if self.start.currentData() == FROM_FILE and not self.file.edit.text():
            self.open_weights()

    def _ask_cache(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of the predicted views")
        if name:
            self.fields["cache"].set_path(Path(name))  # type: ignore[attr-defined]
            self._edited()

    def _reset(self) -> None:
        kept = {name: self.value(name) for name in self.fields if self._kept and name not in FREE}
        for name, field in self.fields.items():
            self._setting = True
            put(field, kept.get(name, getattr(self.usual, name)))
        self._setting = False
        self._edited()

    def _show_differing(self, names: list[str], text: str) -> None:
        free = [name for name in names if not self._kept or name in FREE]
        self.reset.setEnabled(bool(free) and not self._locked)
        self.reset.setVisible(bool(names))
        self.reset.setToolTip(f"Not as in the study: {text}")
        hidden = [name for name in names if name not in _COMMON]
        if not self.more.isChecked():
            self.more.setText(f"More ({len(hidden)} changed)" if hidden else "More")


class Number(QDoubleSpinBox):
    """A number as people write it, `2e-4` included; 0 for none where that may be."""

    def __init__(self, low: float, high: float, *, whole: bool, none: bool) -> None:
        super().__init__()
        self.whole, self.none = whole, none
        self.setDecimals(0 if whole else 10)
        self.setRange(0.0 if none else low, high)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.setKeyboardTracking(False)

    def textFromValue(self, value: float) -> str:
        return f"{value:.0f}" if self.whole else f"{value:.8g}"

    def valueFromText(self, text: str) -> float:
        text = text.removesuffix(self.suffix()).strip()
        try:
            return float(text)
        except ValueError:
            return self.minimum() if text == self.specialValueText() else self.value()

    def validate(self, text: str, position: int) -> Any:
        plain = text.removesuffix(self.suffix()).strip()
        if plain == self.specialValueText():
            return QValidator.State.Acceptable, text, position
        try:
            fits = self.minimum() <= float(plain) <= self.maximum()
        except ValueError:
            typed = set(plain) <= set("0123456789.eE+-")
            return (QValidator.State.Intermediate if typed else QValidator.State.Invalid), text, position
        return (QValidator.State.Acceptable if fits else QValidator.State.Intermediate), text, position


class _Steps(QLineEdit):
    """Numbers of steps, apart by spaces or commas."""

    def steps(self) -> tuple[int, ...]:
        words = self.text().replace(",", " ").split()
        return tuple(sorted(int(word) for word in words if word.isdigit()))


@put.register
def _(field: Number, value: Any) -> None:
    field.setValue(0.0 if value is None else value)


@taken.register
def _(field: Number) -> Any:
    if field.none and field.value() == 0:
        return None
    return int(field.value()) if field.whole else field.value()


@put.register
def _(field: _Steps, value: Any) -> None:
    field.setText(", ".join(map(str, value)))
    field.setCursorPosition(0)  # its beginning is shown where there is no room for all


@taken.register
def _(field: _Steps) -> Any:
    return field.steps()


def _offer_own(box: Any, value: str) -> None:
    """Offer a file of the user's own too."""
    if box.findData(value) < 0:
        box.addItem(Path(value).name, value)


def _offer(box: QComboBox, choices: list[Choice]) -> None:
    for choice in choices:
        text = choice.label if choice.present else f"{choice.label}, missing"
        add_choice(box, choice.name, text, choice.label if choice.present else MISSING_TIP, present=choice.present)


def _spoken(name: str, value: Any) -> str:
    """A value of an option in words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return _NONE.get(name, "in the folder of the renders").lower()
    if name in _ZERO and value == 0:
        return _ZERO[name].lower()
    if isinstance(value, tuple):
        return ", ".join(f"{step:,}" for step in value)
    return _WORDS[name][value] if name in _WORDS else f"{value:g}" if isinstance(value, float | int) else str(value)

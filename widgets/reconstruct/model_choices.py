"""By which method and which models a run works: a choice, a button that says the models in a word, and its sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QComboBox, QGridLayout, QPushButton, QSizePolicy

from engine import choices as engine_choices
from widgets.kit.buttons import with_key
from widgets.kit.fields import ElidedComboBox, add_choice
from widgets.kit.labels import label
from widgets.kit.sheet import Sheet
from widgets.kit.theme import theme
from widgets.reconstruct.request import Choice, short_label

ROWS = {
    "generator": ("Views by", "What draws the object from other sides"),
    "sampler": ("Drawn", "How a diffusion model draws the views"),
    "matcher": ("Elevation by", "What finds the same points in two views, for the elevation of the camera"),
    "surface": ("Surface by", "What builds the surface from the views"),
    "silhouette": ("Outline", "Whether that surface is bent to the outline of the object in the picture"),
    "memory_gb": ("Memory", "How much of the GPU's memory the models may fill"),
}
SAMPLERS = (
    Choice("fast", "Quickly, in few steps"),
    Choice("published", "With the published steps"),
)
SILHOUETTES = (
    Choice("auto", "Fitted, unless the network is a published one"),
    Choice("fitted", "Fitted to the picture's outline"),
    Choice("free", "As the network has it"),
)
MEMORY = (None, 6.0, 8.0, 12.0, 18.0)
MISSING_TIP = "Not on this machine. The Models page (Ctrl+M) says how to get it."
METHOD_TIP = "How the surface comes about"
UNUSED_TIP = "The method that is chosen takes the view generator's own solid for the surface."
KEY = "Ctrl+Shift+M"


class ModelChoices(QPushButton):
    """The button; `value` tells what is chosen.

    What a user picks goes before what was remembered from an earlier session, and that before what is preferred on this
    machine. A choice whose weights are missing is listed, but cannot be picked; likewise a method that the generator
    cannot do. `method` stands beside the button wherever its owner puts it.
    """

    picked = Signal(str, object)
    """The user chose this for the method or that row of `ROWS`."""
    models_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("choice")
        self.setToolTip(with_key("Which models do the work", KEY))
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._picked: dict[str, Any] = {}
        self._remembered: dict[str, Any] = {}
        self._preferred: dict[str, Any] = {"sampler": "fast", "silhouette": "auto", "memory_gb": None}
        self._note = ""
        self.boxes: dict[str, QComboBox] = {}
        self.sheet = Sheet(self, "Models of the next run", 545)
        grid = QGridLayout()
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        for row, (part, (text, tip)) in enumerate(ROWS.items()):
            box = ElidedComboBox()
            box.setToolTip(tip)
            box.setAccessibleName(text)
            box.setMinimumContentsLength(24)
            box.activated.connect(lambda _=0, part=part: self._pick(part))
            box.currentIndexChanged.connect(lambda _=0: self._refresh())
            grid.addWidget(label(text, "muted"), row, 0)
            grid.addWidget(box, row, 1)
            self.boxes[part] = box
        self.method = ElidedComboBox()
        self._methods = QStandardItemModel(self.method)  # held: asked for again, PySide may give another object
        self.method.setModel(self._methods)
        self.method.setAccessibleName("Method")
        for name, method in engine_choices.METHODS.items():
            self.method.addItem(method.label, name)
        self.method.activated.connect(lambda _=0: self._pick("method"))
        self.note = label("", "warning", wrap=True)
        more = QPushButton("All models…")
        more.setToolTip(with_key("What is on this machine, and how to get the rest", "Ctrl+M"))
        more.clicked.connect(lambda: (self.sheet.hide(), self.models_requested.emit()))
        self.sheet.column.addLayout(grid)
        self.sheet.column.addWidget(self.note)
        self.sheet.column.addWidget(more, 0, Qt.AlignmentFlag.AlignRight)
        self.clicked.connect(lambda: self.open())
        self.set_choices(
            {
                "generator": [Choice("built-in", engine_choices.GENERATORS["built-in"].label)],
                "matcher": [Choice("dense-flow", "Dense flow")],
                "surface": [Choice("built-in", "Built-in")],
            },
            {"generator": "built-in", "matcher": "dense-flow", "surface": "built-in"},
        )

    def set_choices(self, choices: dict[str, list[Choice]], preferred: dict[str, str], note: str = "") -> None:
        """Offer these; `note` says what to expect of models that this machine is slow with."""
        self._preferred |= preferred
        self._note = note
        memory = [Choice(size, f"At most {size:g} GB" if size else "What is free") for size in MEMORY]
        fixed = {"sampler": list(SAMPLERS), "silhouette": list(SILHOUETTES), "memory_gb": memory}
        for part, offered in (choices | fixed).items():
            box = self.boxes[part]
            box.blockSignals(True)
            box.clear()
            for choice in offered:
                self._add(box, choice)
            box.blockSignals(False)
        self._choose()

    def remember(self, remembered: dict[str, Any]) -> None:
        """Choose what was picked by hand, by row, in place of what a run of the past had."""
        self._picked.clear()
        self._remembered = dict(remembered)
        self._choose()

    def choose(self, **values: Any) -> None:
        """Choose for the next run, as a run of the past had it; what no longer exists is listed as missing."""
        self._picked |= values
        if values.get("surface", "built-in") != "built-in" and "method" not in values:
            self._picked.pop("method", None)  # a network that was chosen is to be used
            self._remembered.pop("method", None)
        self._choose()

    def value(self, part: str) -> Any:
        """What is chosen for the method or a row of `ROWS`."""
        return (self.method if part == "method" else self.boxes[part]).currentData()

    def values(self) -> dict[str, Any]:
        """What is chosen, by the names of `Options`."""
        return {part: self.value(part) for part in ("method", *ROWS)}

    def open(self) -> None:
        """Show the sheet above the button, or below it where there is more room."""
        self.sheet.show_at(self, above=True)
        self.boxes["generator"].setFocus()

    # -- inside ------------------------------------------------------------------------------------------

    def _add(self, box: QComboBox, choice: Choice) -> None:
        text = choice.label if choice.present else f"{short_label(choice.label)}, missing"
        add_choice(box, choice.name, text, choice.label if choice.present else MISSING_TIP, present=choice.present)

    def _choose(self) -> None:
        for part, box in self.boxes.items():
            box.blockSignals(True)
            self._set(box, part)
            box.blockSignals(False)
        self._refresh()

    def _set(self, box: QComboBox, part: str) -> None:
        if part in self._picked:
            wanted = self._picked[part]
            if box.findData(wanted) < 0:
                if part == "memory_gb":
                    self._add(box, Choice(wanted, f"At most {wanted:g} GB"))
                else:  # a file, or a model of a newer version
                    self._add(box, Choice(wanted, Path(str(wanted)).name, present=Path(str(wanted)).is_file()))
            box.setCurrentIndex(box.findData(wanted))
            return
        for wanted in (self._remembered.get(part), self._preferred.get(part)):
            at = box.findData(wanted)
            if at >= 0 and box.itemData(at, Qt.ItemDataRole.ToolTipRole) != MISSING_TIP:
                box.setCurrentIndex(at)
                return

    def _pick(self, part: str) -> None:
        self._picked[part] = self._remembered[part] = self.value(part)
        self._refresh()
        self.picked.emit(part, self.value(part))

    def _refresh_method(self) -> None:
        """Offer the methods that the generator can do, and choose one of them."""
        generator, surface = self.value("generator"), self.value("surface")
        able = []
        for at, (name, method) in enumerate(engine_choices.METHODS.items()):
            refusal = engine_choices.refusal(name, generator)
            self._methods.item(at).setEnabled(refusal is None)
            self.method.setItemData(at, refusal or method.meaning, Qt.ItemDataRole.ToolTipRole)
            if refusal is None:
                able.append(name)
        wanted = [self._picked.get("method"), self._remembered.get("method")]
        wanted.append(engine_choices.preferred_method(generator, surface))
        self.method.setCurrentIndex(self.method.findData(next(name for name in wanted if name in able)))
        chosen = engine_choices.METHODS[self.value("method")]
        refused = [name for name in engine_choices.METHODS if name not in able]
        reasons = [engine_choices.refusal(name, generator) or "" for name in refused]
        self.method.setToolTip("\n".join([f"{METHOD_TIP}. {chosen.meaning}.", *reasons]))
        for part in ("surface", "silhouette"):
            self.boxes[part].setEnabled(chosen.source_views)
            self.boxes[part].setToolTip(ROWS[part][1] if chosen.source_views else UNUSED_TIP)

    def _refresh(self) -> None:
        self._refresh_method()
        diffusion = self.value("generator") not in (None, "built-in")
        self.boxes["sampler"].setEnabled(diffusion)
        self.note.setText(self._note if diffusion else "")
        self.note.setVisible(bool(self.note.text()))
        if self.sheet.isVisible():
            self.sheet.fit()
        parts = [part for part in ("generator", "matcher", "surface") if self.boxes[part].isEnabled()]
        shown = [short_label(self.boxes[part].currentText()) for part in parts]
        self._text = ", ".join(dict.fromkeys(shown))
        self.setAccessibleName(f"Models: {self._text}")
        self._elide()

    def _elide(self) -> None:
        room = self.width() - theme.px(30)
        self.setText(self.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideRight, max(room, 20)))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._elide()

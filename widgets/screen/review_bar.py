"""Above the model while decisions are looked at again: which ones, and what everybody said: `ReviewBar`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from widgets.kit.buttons import IconButton
from widgets.kit.labels import ElidedLabel, label
from widgets.screen.contents import Scene
from widgets.screen.side import DECISIONS

if TYPE_CHECKING:
    from engine.screening import Opinion

_STATES = {
    "": "All items",
    "select": "Selected",
    "reject": "Rejected",
    "skip": "Skipped",
    "undecided": "Without a decision",
    "unseen": "Decided unseen",
    "flagged": "Flagged",
    "disputed": "Disagreement",
}


class ReviewBar(QWidget):
    """Hidden while the list is screened."""

    changed = Signal()
    """Other items are wanted: see `wanted` and `others`."""
    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Path] = []
        """Folders of other annotators, whose decisions count as well."""
        self.state, self.reason, self.who = QComboBox(), QComboBox(), QComboBox()
        for text, value in ((words, state) for state, words in _STATES.items()):
            self.state.addItem(text, value)
        self.count = label("", "muted")
        self.said = ElidedLabel("", "small")
        others = QPushButton("Others…")
        others.setToolTip("Add the folder of another annotator, to look at those decisions too and where you disagree")
        others.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        others.clicked.connect(lambda: self._choose())
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(label("Review", "heading"))
        for box, name in ((self.state, "Decision"), (self.reason, "Reason"), (self.who, "Person")):
            box.setAccessibleName(name)
            box.setToolTip(f"{name} of the items to look at again")
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.activated.connect(lambda _: self.changed.emit())
            row.addWidget(box, 1)
        row.addWidget(others)
        row.addWidget(self.count)
        row.addWidget(IconButton("cancel", "Back to the list", self.left.emit))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.said)
        self.hide()

    @property
    def wanted(self) -> dict[str, str]:
        """What is wanted: `state`, `reason`, `who`."""
        boxes: dict[str, QComboBox] = {"state": self.state, "reason": self.reason, "who": self.who}
        return {name: str(box.currentData() or "") for name, box in boxes.items()}

    def add_folder(self, folder: Path) -> None:
        """Take in another annotator's decisions."""
        if folder not in self.others:
            self.others.append(folder)
            self.changed.emit()

    def show_scene(self, scene: Scene) -> None:
        """Say how many items there are, and what was said of the present one."""
        self.setVisible(scene.review is not None)
        if scene.review is None:
            self.others.clear()
            return
        _fill(self.reason, "Any reason", scene.review.reasons)
        _fill(self.who, "Anybody", scene.review.people)
        self.count.setText(f"{scene.review.place:,} of {scene.review.total:,}")
        self.said.setText(" · ".join(_words(opinion) for opinion in scene.review.opinions))
        self.said.setVisible(bool(scene.review.opinions))

    def _choose(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder with another annotator's decisions")
        if name:
            self.add_folder(Path(name))


def _fill(box: QComboBox, every: str, values: Sequence[str]) -> None:
    kept: Any = box.currentData()
    there = [box.itemData(at) for at in range(box.count())]
    if there != ["", *values]:
        box.clear()
        box.addItem(every, "")
        for value in values:
            box.addItem(value, value)
        box.setCurrentIndex(max(box.findData(kept), 0))


def _words(opinion: Opinion) -> str:
    entry = opinion.entry
    why = [*entry.reasons, *(["unseen"] if entry.unseen else []), *([entry.note] if entry.note else [])]
    said = f"{opinion.who}: {DECISIONS[entry.action][0].lower()}"
    return f"{said} ({', '.join(why)})" if why else said

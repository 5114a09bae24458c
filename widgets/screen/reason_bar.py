"""The project's reasons, as chips below the model: `ReasonBar`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from widgets.kit.theme import theme

_ACROSS = 6


class ReasonBar(QWidget):
    """Each chip gives or takes a reason; several may be given."""

    changed = Signal()
    """A reason was given or taken."""

    def __init__(self) -> None:
        super().__init__()
        self.chips: list[QPushButton] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(6)
        self._more: list[str] = []

    def show_reasons(self, reasons: Sequence[str], keys: Sequence[str]) -> None:
        """The project's reasons, and the key of each."""
        if len(reasons) != len(self.chips):
            for chip in self.chips:
                self._grid.removeWidget(chip)
                chip.deleteLater()
            self.chips = [self._chip(at) for at in range(len(reasons))]
        for chip, reason, key in zip(self.chips, reasons, keys, strict=False):
            chip.setProperty("reason", reason)
            chip.setProperty("words", f"{key}  {reason}")
            chip.setToolTip(f"{reason}: give or take this reason ({key}); it is recorded with the decision")
        self._write()
        self.setVisible(bool(reasons))

    @property
    def given(self) -> tuple[str, ...]:
        """The reasons that are given, those that are no longer in the list last."""
        return (*(str(chip.property("reason")) for chip in self.chips if chip.isChecked()), *self._more)

    def give(self, reasons: Sequence[str]) -> None:
        """Show these as given."""
        for chip in self.chips:
            chip.setChecked(chip.property("reason") in reasons)
        there = {chip.property("reason") for chip in self.chips}
        self._more = [reason for reason in reasons if reason not in there]

    def toggle(self, at: int) -> None:
        """Give the reason at a place, or take it."""
        if at < len(self.chips):
            self.chips[at].click()

    def _write(self) -> None:
        for chip in self.chips:
            room = max(chip.width() - theme.px(20), theme.px(40)) if chip.isVisible() else theme.px(600)
            words = chip.fontMetrics().elidedText(str(chip.property("words")), Qt.TextElideMode.ElideRight, room)
            chip.setText(words.replace("&", "&&"))

    def _chip(self, at: int) -> QPushButton:
        chip = QPushButton()
        chip.setObjectName("chip")
        chip.setCheckable(True)
        chip.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        chip.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        chip.clicked.connect(lambda: self.changed.emit())
        self._grid.addWidget(chip, at // _ACROSS, at % _ACROSS)
        return chip

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._grid.activate()
        self._write()

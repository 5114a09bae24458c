"""In the model's place: that it is still loading, or why there is nothing to see."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QLinearGradient, QPainter
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from widgets.kit.labels import label
from widgets.kit.theme import theme
from widgets.viewport.scene import DARK, LIGHT

QUIET_MS = 250
"""What comes sooner is not announced."""


class Curtain(QWidget):
    """Looks like the empty view behind a model, with a few words on it."""

    def __init__(self) -> None:
        super().__init__()
        self._icon = label()
        self.heading, self.text = label("", "title"), label("", "lead", wrap=True)
        for part in (self._icon, self.heading, self.text):
            part.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._bar = QProgressBar(textVisible=False)
        self._bar.setMaximum(0)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.text)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setSpacing(12)
        column.addStretch(3)
        column.addWidget(self._icon)
        column.addWidget(self.heading)
        column.addLayout(row)
        column.addWidget(self._bar, 0, Qt.AlignmentFlag.AlignCenter)
        column.addStretch(4)
        self._name = ""
        self._delay = QTimer(self, singleShot=True, interval=QUIET_MS)
        self._delay.timeout.connect(lambda: self._set_visible(True, busy=True))
        theme.changed.connect(self._restyle)
        self._restyle()
        self._set_visible(False)

    @property
    def problem(self) -> str:
        """Why there is nothing to see; empty while it is loading."""
        return self.text.text() if self._name == "problem" else ""

    def show_loading(self, text: str) -> None:
        """Something is on its way; said if it takes a moment."""
        self._name = "loading"
        self.heading.setText("")
        self.text.setText(text)
        self._set_visible(False)
        self._delay.start()

    def show_problem(self, heading: str, text: str) -> None:
        """There is nothing to see, and why."""
        self._delay.stop()
        self._name = "problem"
        self.heading.setText(heading)
        self.text.setText(text)
        self._set_visible(True)

    def hide_words(self) -> None:
        """Something else is shown now."""
        self._delay.stop()

    def _set_visible(self, on: bool, *, busy: bool = False) -> None:
        self._icon.setVisible(on and not busy)
        self.heading.setVisible(on and not busy)
        self.text.setVisible(on)
        self._bar.setVisible(on and busy)

    def _restyle(self) -> None:
        self._icon.setPixmap(theme.icon("picture", "muted").pixmap(theme.px(48), theme.px(48)))
        self.text.setFixedWidth(theme.px(480))
        self._bar.setFixedWidth(theme.px(160))
        self.update()

    def paintEvent(self, event: Any) -> None:
        lower, upper = (DARK if theme.dark else LIGHT).background
        gradient = QLinearGradient(0, 0, 0, self.height())
        gradient.setColorAt(0, QColor(upper))
        gradient.setColorAt(1, QColor(lower))
        QPainter(self).fillRect(self.rect(), gradient)

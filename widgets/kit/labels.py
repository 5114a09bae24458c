"""Labels whose look the style sheet gives."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QLabel, QSizePolicy


def label(text: str = "", name: str = "", *, wrap: bool = False) -> QLabel:
    """A label whose look the style sheet gives by `name`."""
    out = QLabel(text)
    out.setObjectName(name)
    out.setWordWrap(wrap)
    return out


def hint(text: str = "", *, margin: int = 16) -> QLabel:
    """What is said in the middle of a place that has nothing else to show."""
    out = label(text, "muted", wrap=True)
    out.setAlignment(Qt.AlignmentFlag.AlignCenter)
    out.setMargin(margin)
    return out


def plain_text(text: QLabel) -> QLabel:
    """Have a label show what others wrote: as it is, and to be copied."""
    text.setTextFormat(Qt.TextFormat.PlainText)
    text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return text


class ElidedLabel(QLabel):
    """One line that ends in an ellipsis where there is no room; the tooltip has the whole, or `detail`."""

    def __init__(self, text: str = "", name: str = "") -> None:
        super().__init__(text)
        self.detail = ""
        self.setObjectName(name)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def paintEvent(self, event: Any) -> None:
        shown = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        self.setToolTip(self.detail or (self.text() if shown != self.text() else ""))
        painter = QPainter(self)
        painter.setPen(self.palette().windowText().color())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)

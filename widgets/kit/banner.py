"""Messages in place: in a line, or on an empty page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from widgets.kit.buttons import IconButton
from widgets.kit.labels import label
from widgets.kit.panel import clear_layout
from widgets.kit.theme import theme


class Banner(QFrame):
    """A message in place: an error, a warning or a note, with what can be done about it."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.text = label("", wrap=True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._actions = QHBoxLayout()
        self._actions.setSpacing(8)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 10, 8, 10)
        row.setSpacing(12)
        row.addWidget(self.text, 1)
        row.addLayout(self._actions)
        row.addWidget(IconButton("cancel", "Dismiss this message", self.hide), 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_message(self, text: str, kind: str = "error", actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """Show `text` as `error`, `warning` or `info`, with a button for each action."""
        clear_layout(self._actions)
        for name, action in (actions or {}).items():
            button = QPushButton(name)
            button.clicked.connect(lambda _=False, act=action: (self.hide(), act()))
            self._actions.addWidget(button)
        self.text.setText(text)
        self.setProperty("kind", kind)
        self.style().unpolish(self)
        self.style().polish(self)
        self.show()


class MessagePage(QWidget):
    """A centred message: an icon, a title and a sentence."""

    def __init__(self, icon: str, title: str, sentence: str, width: int = 520, button: int = 120) -> None:
        """`width` of the sentence and least width of a `button`, in unscaled pixels."""
        super().__init__()
        self.setObjectName("page")
        self._icon, self._width, self._button = icon, width, button
        self._picture = label()
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        heading, lead = label(title, "title"), label(sentence, "lead", wrap=True)
        for part in (heading, lead):
            part.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._lead = lead
        middle = QHBoxLayout()
        middle.addStretch(1)
        middle.addWidget(lead)
        middle.addStretch(1)
        self.column = QVBoxLayout(self)
        self.column.setSpacing(14)
        self.column.addStretch(3)
        self.column.addWidget(self._picture)
        self.column.addWidget(heading)
        self.column.addLayout(middle)
        self.column.addStretch(4)
        theme.changed.connect(self._restyle)
        self._restyle()

    def add_buttons(self, buttons: Iterable[QWidget]) -> None:
        """A row of buttons below the sentence."""
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addStretch(1)
        for button in buttons:
            button.setMinimumWidth(self._button)
            row.addWidget(button)
        row.addStretch(1)
        last = self.column.count() - 1
        self.column.insertSpacing(last, 4)
        self.column.insertLayout(last + 1, row)

    def _restyle(self) -> None:
        side = theme.px(56)
        self._picture.setPixmap(theme.icon(self._icon, "muted").pixmap(side, side))
        self._lead.setFixedWidth(theme.px(self._width))

"""The annotator's keys on one page, where each can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from widgets.kit.labels import label
from widgets.kit.overlay import Overlay
from widgets.screen.keys import ACTIONS, REASONS, KeyMap, name_of, shown

_COLUMNS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"Decide": ("select", "reject", "skip", "undo", "flag"), "Reasons": REASONS},
    {"Move": ("next", "next_skipped", "back", "forward", "grid", "review", "open_page", "help")},
    {
        "Look": (
            *("left", "right", "up", "down", "zoom_in", "zoom_out"),
            *("inside", "everything", "four", "turntable", "home"),
        )
    },
)


class KeySheet(Overlay):
    """All keys; a click on one waits for another."""

    changed = Signal()

    def __init__(self, parent: QWidget, keymap: KeyMap) -> None:
        super().__init__(parent)
        self.keymap = keymap
        self.asking = ""
        """The action that waits for its key."""
        sheet = QFrame()
        sheet.setObjectName("sheet")
        self.buttons: dict[str, QPushButton] = {}
        self.words: dict[str, QLabel] = {}
        self._others: dict[str, Any] = {}
        columns = QHBoxLayout()
        columns.setSpacing(40)
        for groups in _COLUMNS:
            grid = QGridLayout()
            grid.setHorizontalSpacing(12)
            grid.setVerticalSpacing(6)
            for heading, actions in groups.items():
                grid.addWidget(label(heading, "heading"), grid.rowCount(), 0, 1, 3)
                for action in actions:
                    self._add(grid, action)
            grid.setRowStretch(grid.rowCount(), 1)
            columns.addLayout(grid)
        self.note = label("", "muted")
        reset = QPushButton("Usual keys")
        reset.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        reset.clicked.connect(lambda: self._reset())
        close = QPushButton("Close")
        close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        close.clicked.connect(lambda: self.dismiss())
        foot = QHBoxLayout()
        foot.setSpacing(10)
        foot.addWidget(self.note, 1)
        foot.addWidget(reset)
        foot.addWidget(close)
        body = QVBoxLayout(sheet)
        body.setContentsMargins(32, 24, 32, 24)
        body.setSpacing(14)
        body.addWidget(label("Keys of the Screen tab", "title"))
        body.addLayout(columns)
        body.addLayout(foot)
        row_layout = QVBoxLayout(self)
        row_layout.addWidget(sheet, 0, Qt.AlignmentFlag.AlignCenter)
        self._refresh()

    def _add(self, grid: QGridLayout, action: str) -> None:
        button, row = QPushButton(), grid.rowCount()
        button.setObjectName("cap")
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.setToolTip("Click, then press another key")
        button.clicked.connect(lambda: self.ask(action))
        self.buttons[action], self._others[action] = button, label("", "small")
        self.words[action] = label(ACTIONS[action][0], "muted")
        for column, part in enumerate((button, self.words[action], self._others[action])):
            grid.addWidget(part, row, column)

    def ask(self, action: str) -> None:
        """Wait for another key for an action."""
        self.asking = "" if self.asking == action else action
        self._refresh()
        self.setFocus()

    def show_reasons(self, reasons: Sequence[str]) -> None:
        """Say which reasons the number keys are for."""
        for number, action in enumerate(REASONS):
            there = number < len(reasons)
            self.words[action].setText(reasons[number] if there else "")
            self.buttons[action].setVisible(there)

    def open(self) -> None:
        """Show over the whole window and take the keyboard."""
        self.asking = ""
        self._refresh()
        super().open()

    def _reset(self) -> None:
        self.asking = ""
        self.keymap.reset()
        self._refresh()
        self.changed.emit()

    def _refresh(self, problem: str = "") -> None:
        for action, button in self.buttons.items():
            keys = self.keymap.keys(action)
            button.setText("…" if action == self.asking else shown(keys[0]))
            self._others[action].setText("  ".join(shown(key) for key in keys[1:]))
        if problem:
            self.note.setText(problem)
        elif self.asking:
            self.note.setText(f"Press the key for “{ACTIONS[self.asking][0]}”; Esc leaves it as it is.")
        else:
            self.note.setText("A click on a key changes it.")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = name_of(event)
        if not self.asking:
            if self.keymap.action(event) == "help" or key == "Esc":
                self.dismiss()
        elif key == "Esc":
            self.asking = ""
            self._refresh()
        elif key:
            problem = self.keymap.change(self.asking, key)
            if not problem:
                self.asking = ""
                self.changed.emit()
            self._refresh(problem)
        event.accept()

    def mousePressEvent(self, event: Any) -> None:
        inside = self.childAt(event.position().toPoint())
        if inside is None:
            self.dismiss()

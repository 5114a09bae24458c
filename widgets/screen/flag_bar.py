"""The line that asks why an item should be looked at again: `FlagBar`."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget


class FlagBar(QWidget):
    """Hidden until `ask`."""

    flagged = Signal(str)
    """Flag the item, with this note."""
    removed = Signal()
    """Take the flag away."""
    dismissed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.note = QLineEdit()
        self.note.setPlaceholderText("Why it should be looked at again; Return flags it, Esc does not")
        self.note.setMaxLength(300)
        self.note.returnPressed.connect(lambda: self.flagged.emit(self.note.text()))
        self.note.installEventFilter(self)
        self._unflag = QPushButton("Remove the flag")
        self._unflag.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._unflag.clicked.connect(self.removed)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.note, 1)
        row.addWidget(self._unflag)
        self.hide()

    def ask(self, note: str | None) -> None:
        """Show, with the note of a flag that there is already."""
        self.note.setText(note or "")
        self._unflag.setVisible(note is not None)
        self.show()
        self.note.setFocus()
        self.note.selectAll()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self.note or not isinstance(event, QKeyEvent) or event.key() != Qt.Key.Key_Escape:
            return False
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()
        elif event.type() == QEvent.Type.KeyPress:
            self.dismissed.emit()
        return True

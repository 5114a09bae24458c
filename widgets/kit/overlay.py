"""What lies over the window for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from widgets.kit.labels import label
from widgets.kit.theme import theme


class Overlay(QWidget):
    """Covers the window it belongs to; Esc or a click beside its content closes it."""

    closed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("overlay")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._below = parent
        self._before: QWidget | None = None
        parent.installEventFilter(self)
        self.hide()

    def open(self) -> None:
        """Show over the whole window and take the keyboard."""
        self._before = self.window().focusWidget()
        self.setGeometry(self._below.rect())
        self.show()
        self.raise_()
        self.setFocus()

    def dismiss(self) -> None:
        """Hide, and give the keyboard back."""
        if self.isVisible():
            self.hide()
            if self._before is not None:
                self._before.setFocus()
            self.closed.emit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.setGeometry(self._below.rect())
        return False

    def keyPressEvent(self, event: Any) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.dismiss()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: Any) -> None:
        self.dismiss()


class Toast(QFrame):
    """A short note at the bottom of the window with one thing to do, gone after some seconds."""

    SECONDS = 7

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("toast")
        self._below = parent
        self.text = label()
        self.button = QPushButton()
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 8, 8, 8)
        row.setSpacing(14)
        row.addWidget(self.text)
        row.addWidget(self.button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.finish)
        self.button.clicked.connect(self._act)
        self._action: Callable[[], Any] | None = None
        self._expired: Callable[[], Any] | None = None
        parent.installEventFilter(self)
        self.hide()

    def show_action(self, text: str, name: str, action: Callable[[], Any], expired: Callable[[], Any]) -> None:
        """Offer `action`; `expired` is called if it was not taken."""
        self.finish()
        self.text.setText(text)
        self.button.setText(name)
        self._action, self._expired = action, expired
        self.adjustSize()
        self._place()
        self.show()
        self.raise_()
        self._timer.start(self.SECONDS * 1000)

    def finish(self) -> None:
        """Let the offer lapse now."""
        self._close(self._expired)

    def _act(self) -> None:
        self._close(self._action)

    def _close(self, then: Callable[[], Any] | None) -> None:
        self._timer.stop()
        self.hide()
        self._action = self._expired = None
        if then is not None:
            then()

    def _place(self) -> None:
        room = self._below.rect()
        self.move((room.width() - self.width()) // 2, room.height() - self.height() - theme.px(44))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return False


class ShortcutSheet(Overlay):
    """Keys on one page (F1)."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._sheet: QFrame | None = None
        self._row = QVBoxLayout(self)

    def open_with(self, groups: dict[str, list[tuple[str, str]]]) -> None:
        """Show groups of (keys, what they do) by their headings."""
        if self._sheet is not None:
            self._sheet.hide()
            self._sheet.deleteLater()
        self._sheet = sheet = QFrame()
        sheet.setObjectName("sheet")
        columns = QHBoxLayout()
        columns.setSpacing(30)
        # Three columns of about the same length.
        sides: tuple[list[str], ...] = ([], [], [])
        lengths = [0, 0, 0]
        for name, rows in groups.items():
            side = lengths.index(min(lengths))
            sides[side].append(name)
            lengths[side] += len(rows) + 2
        for names in sides:
            column = QGridLayout()
            column.setHorizontalSpacing(14)
            column.setVerticalSpacing(7)
            for name in names:
                at = column.rowCount()
                heading = label(name, "heading")
                heading.setContentsMargins(0, 10, 0, 2)
                column.addWidget(heading, at, 0, 1, 2)
                for i, (keys, text) in enumerate(groups[name], at + 1):
                    column.addWidget(label(keys, "key"), i, 0, Qt.AlignmentFlag.AlignLeft)
                    column.addWidget(label(text, "muted"), i, 1)
            column.setRowStretch(column.rowCount(), 1)
            columns.addLayout(column)
        body = QVBoxLayout(sheet)
        body.setContentsMargins(30, 24, 30, 26)
        body.addWidget(label("Keyboard", "title"))
        body.addLayout(columns)
        self._row.addWidget(sheet, 0, Qt.AlignmentFlag.AlignCenter)
        self.open()

"""Small widgets and helpers that several tabs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QImage, QKeySequence, QPainter, QShortcut
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QBoxLayout,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.theme import theme


def to_qimage(picture: Any) -> QImage:
    """A `QImage` of a picture array (H, W), (H, W, 3) or (H, W, 4): uint8, or float in 0..1. Owns its pixels."""
    array = picture if picture.dtype == "uint8" else (picture.clip(0.0, 1.0) * 255.0 + 0.5).astype("uint8")
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else array.shape[2]
    kind = {1: QImage.Format.Format_Grayscale8, 3: QImage.Format.Format_RGB888, 4: QImage.Format.Format_RGBA8888}
    return QImage(array.tobytes(), width, height, width * channels, kind[channels]).copy()


def opaque(picture: Any) -> Any:
    """The colour of an engine picture (RGB already over white), without its mask."""
    return picture[..., :3] if picture.ndim == 3 else picture


def with_key(text: str, key: str | QKeySequence | QKeySequence.StandardKey) -> str:
    """A tooltip with its key, e.g. `Open a picture (Ctrl+O)`."""
    return f"{text} ({QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)})"


def label(text: str = "", name: str = "", *, wrap: bool = False) -> QLabel:
    """A label whose look the style sheet gives by `name`."""
    out = QLabel(text)
    out.setObjectName(name)
    out.setWordWrap(wrap)
    return out


def clear_layout(layout: QLayout) -> None:
    """Take everything out of a layout and delete it."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.hide()
            widget.deleteLater()


def paint_fitted(painter: QPainter, image: QImage, rect: QRect) -> QRect:
    """Draw `image` as large as it fits into the middle of `rect`, smoothly; returns where it went."""
    size = image.size().scaled(rect.size(), Qt.AspectRatioMode.KeepAspectRatio)
    target = QRect(QPoint(0, 0), size)
    target.moveCenter(rect.center())
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(target, image)
    return target


HEADING_HEIGHT = 34
"""Least height of a panel's top row in pixels, so that headings of neighbours stand level."""


class IconButton(QToolButton):
    """A button with an icon that follows the theme."""

    def __init__(self, icon: str, tip: str, clicked: Callable[[], Any] | None = None, *, text: str = "") -> None:
        super().__init__()
        self._icon, self._tint = icon, "text"
        self.setObjectName("flat")
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        if text:
            self.setText(text)
            self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        if clicked is not None:
            self.clicked.connect(lambda: clicked())
        theme.changed.connect(self._restyle)
        self._restyle()

    def set_icon(self, icon: str) -> None:
        """Show another icon."""
        self._icon = icon
        self._restyle()

    def _restyle(self) -> None:
        self.setIcon(theme.icon(self._icon, self._tint))
        self.setIconSize(QSize(theme.px(18), theme.px(18)))


class Panel(QFrame):
    """A raised area with an optional heading; add to `body`."""

    def __init__(self, heading: str = "", *, spacing: int = 10) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.body = QVBoxLayout(self)
        self.body.setContentsMargins(14, 8, 14, 12)
        self.body.setSpacing(spacing)
        self.top = QHBoxLayout()
        self.top.setSpacing(6)
        self.top.addStrut(HEADING_HEIGHT)
        if heading:
            self.top.addWidget(label(heading, "heading"))
            self.top.addStretch(1)
            self.body.addLayout(self.top)


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


class Overlay(QWidget):
    """Covers the window it belongs to; Esc or a click beside its content closes it."""

    closed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("overlay")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._before: QWidget | None = None
        parent.installEventFilter(self)
        self.hide()

    def open(self) -> None:
        """Show over the whole window and take the keyboard."""
        self._before = self.window().focusWidget()
        self.setGeometry(self.parentWidget().rect())
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
            self.setGeometry(self.parentWidget().rect())
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
        room = self.parentWidget().rect()
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


class ElidedComboBox(QComboBox):
    """A combo box that ends a text too long for it with an ellipsis."""

    def paintEvent(self, event: Any) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, room.width() - 6
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


class MessagePage(QWidget):
    """A centred message: an icon, a title and a sentence."""

    def __init__(self, icon: str, title: str, sentence: str, *, width: int = 520) -> None:
        super().__init__()
        self.setObjectName("page")
        self._icon, self._width = icon, width
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

    def add_buttons(self, buttons: Iterable[tuple[str, str, Any]], *, width: int = 120) -> None:
        """A row of buttons below the sentence: their text, tooltip and the signal that each emits."""
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addStretch(1)
        for text, tip, signal in buttons:
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setMinimumWidth(width)
            button.clicked.connect(lambda _=False, signal=signal: signal.emit())
            row.addWidget(button)
        row.addStretch(1)
        last = self.column.count() - 1
        self.column.insertSpacing(last, 4)
        self.column.insertLayout(last + 1, row)

    def _restyle(self) -> None:
        side = theme.px(56)
        self._picture.setPixmap(theme.icon(self._icon, "muted").pixmap(side, side))
        self._lead.setFixedWidth(theme.px(self._width))


class PathField(QWidget):
    """A path that can be typed, and a button that asks for it."""

    edited = Signal(str)

    def __init__(self, empty: str, tip: str) -> None:
        super().__init__()
        self._tip = tip
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(empty)
        self.edit.setAccessibleName(tip)
        self.button = IconButton("folder", tip)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.edit, 1)
        row.addWidget(self.button)
        self.edit.editingFinished.connect(lambda: self.edited.emit(self.edit.text().strip()))
        self.set_path(None)

    def set_path(self, path: Path | None) -> None:
        """Show a path."""
        self.edit.setText("" if path is None else str(path))
        self.edit.setToolTip(self._tip if path is None else f"{path}\n{self._tip}")


class Beside(QWidget):
    """Two rows beside each other, or below each other where there is no room for that."""

    def __init__(self, first: QHBoxLayout, second: QHBoxLayout) -> None:
        super().__init__()
        self._parts = (first, second)
        self._box = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.setSpacing(6)
        self._box.addLayout(first, 1)
        self._box.addLayout(second)

    def minimumSizeHint(self) -> QSize:
        widest = max(part.minimumSize().width() for part in self._parts)
        return QSize(widest, super().minimumSizeHint().height())

    def _fit(self) -> None:
        needed = sum(part.minimumSize().width() for part in self._parts) + self._box.spacing()
        way = QBoxLayout.Direction.LeftToRight if needed <= self.width() else QBoxLayout.Direction.TopToBottom
        if way != self._box.direction():
            self._box.setDirection(way)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return done


def bind(widget: QWidget, key: str, act: Callable[[], Any], *, alone: bool = False) -> None:
    """Have a key do something while a widget is on the screen, or while it has the keyboard `alone`."""
    shortcut = QShortcut(QKeySequence(key), widget)
    if alone:  # set here, as the context given beside a function to call is passed over
        shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
    shortcut.activated.connect(lambda: act())


def indent(box: QAbstractSpinBox) -> None:
    """Have the text stand as far from the edge as in other fields."""
    box.lineEdit().setTextMargins(theme.px(7), 0, 0, 0)

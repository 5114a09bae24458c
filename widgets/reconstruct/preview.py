"""What the middle of the tab shows while there is no mesh: an invitation, the picture, then each view as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QImage, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from widgets.kit.banner import MessagePage
from widgets.kit.images import paint_fitted
from widgets.kit.labels import label
from widgets.kit.theme import theme
from widgets.reconstruct.input_panel import ThumbnailStrip


class Invitation(MessagePage):
    """The empty tab: asks for a picture and offers the bundled ones."""

    open_pressed = Signal()
    paste_pressed = Signal()
    sample_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__(
            "oriel",
            "Drop a picture here",
            "One picture of a building, or of any single object, becomes a textured 3D mesh on this machine.",
            width=400,
        )
        buttons = QHBoxLayout()
        buttons.setSpacing(10)
        buttons.addStretch(1)
        for text, tip, signal in (
            ("Open…", "Open pictures (Ctrl+O)", self.open_pressed),
            ("Paste", "Paste a picture (Ctrl+V)", self.paste_pressed),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setMinimumWidth(110)
            button.clicked.connect(signal.emit)
            buttons.addWidget(button)
        buttons.addStretch(1)
        self._paths: list[Path] = []
        self._hint = label("or begin with a sample", "small")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._samples = ThumbnailStrip(92)
        self._samples.chosen.connect(lambda index: self.sample_chosen.emit(self._paths[index]))
        last = self.column.count() - 1
        self.column.insertSpacing(last, 4)
        self.column.insertLayout(last + 1, buttons)
        self.column.insertSpacing(last + 2, 14)
        self.column.insertWidget(last + 3, self._hint)
        self.column.insertWidget(last + 4, self._samples)
        self.set_samples([])

    def set_samples(self, samples: list[tuple[Path, QImage]]) -> None:
        """Offer the bundled pictures, each with a thumbnail."""
        self._paths = [path for path, _ in samples]
        self._samples.set_items([(image, f"Sample: {path.stem}") for path, image in samples])
        self._samples.setVisible(bool(samples))
        self._hint.setVisible(bool(samples))


class MaskPage(QWidget):
    """The picture as large as it fits, with the tools that correct what of it is the object."""

    left = Signal()
    """Back to what was there before."""

    def __init__(self, editor: QWidget) -> None:
        super().__init__()
        self.back = QPushButton("Back to the run")
        self.back.setToolTip("Leave the picture; what was drawn on it stays (Esc)")
        self.back.clicked.connect(lambda: self.left.emit())
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(label("Ready. Press Reconstruct, or Ctrl+Return.", "muted"))
        foot.addStretch(1)
        foot.addWidget(self.back)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(editor, 1)
        column.addLayout(foot)


class LivePreview(QWidget):
    """One picture as large as it fits, with a line below it."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._image = QImage()
        self.caption = ""
        theme.changed.connect(self.update)

    def show_image(self, image: QImage | None = None, caption: str | None = None) -> None:
        """Show another picture or another line; None leaves it."""
        if image is not None:
            self._image = image
        if caption is not None:
            self.caption = caption
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(420), theme.px(420))

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        foot = theme.px(44)
        room = self.rect().adjusted(theme.px(16), theme.px(16), -theme.px(16), -foot)
        if not self._image.isNull():
            size = self._image.size().scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatio)
            card = QRect(room.topLeft(), size)
            card.moveCenter(room.center())
            shape = QPainterPath()
            shape.addRoundedRect(card.toRectF(), theme.px(10), theme.px(10))
            painter.fillPath(shape, theme.color("picture"))
            painter.save()
            painter.setClipPath(shape)
            paint_fitted(painter, self._image, card)
            painter.restore()
        painter.setFont(theme.font(14))
        painter.setPen(theme.color("muted"))
        line = QRect(0, self.height() - foot, self.width(), foot)
        painter.drawText(line, Qt.AlignmentFlag.AlignCenter, self.caption)


class DropHint(QLabel):
    """A frame over the tab while a picture is dragged over it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._below = parent
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def show_over(self, on: bool) -> None:
        """Show over the whole parent, or hide."""
        if on and not self.isVisible():
            self.setGeometry(self._below.rect())
            self.raise_()
        self.setVisible(on)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), theme.color("veil"))
        frame: QRect = self.rect().adjusted(theme.px(18), theme.px(18), -theme.px(18), -theme.px(18))
        painter.setPen(QPen(theme.color("accent"), theme.px(2), Qt.PenStyle.DashLine))
        painter.drawRoundedRect(frame, theme.px(14), theme.px(14))
        painter.setFont(theme.font(24, bold=True))
        painter.setPen(theme.color("text"))
        painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, "Drop the picture")

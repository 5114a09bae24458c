"""One frame that Blender has rendered to try the settings: large, with what the whole run would take."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import QRect, Qt, QTimer, Signal
from PySide6.QtGui import QImage, QPainter, QPainterPath
from PySide6.QtWidgets import QVBoxLayout, QWidget

from widgets.kit.images import paint_fitted
from widgets.kit.labels import label
from widgets.kit.overlay import Overlay
from widgets.kit.theme import theme
from widgets.kit.words import count, duration
from widgets.render.words import pace


class TrialFrame(Overlay):
    """Opens when the rendering begins; Esc or a click closes it, and stops the rendering if it still goes on."""

    cancelled = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.image: QImage | None = None
        self._began: float | None = None
        self.caption = label("", "heading")
        self.estimate = label("", "muted", wrap=True)
        self.estimate.setTextFormat(Qt.TextFormat.PlainText)
        for part in (self.caption, self.estimate):
            part.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(28, 24, 28, 24)
        column.setSpacing(6)
        column.addStretch(1)
        column.addWidget(self.caption)
        column.addWidget(self.estimate)
        self._clock = QTimer(self, interval=500)
        self._clock.timeout.connect(self._tick)
        self.closed.connect(self._left)

    def begin(self, what: str) -> None:
        """A frame is being rendered."""
        self.image, self._began = None, time.monotonic()
        self._what = what
        self.estimate.setText("Blender starts, reads the model, and renders one frame. Esc stops it.")
        self._tick()
        self._clock.start()
        self.open()

    def finish(self, image: QImage, seconds: float, how: str, models: int, frames: int, workers: int) -> None:
        """The frame is there; `models` of so many frames are to be rendered by so many workers."""
        self._rest()
        self.image = image
        self.caption.setText(f"{self._what}: {pace(seconds)}")
        whole = duration(seconds * frames * models / max(workers, 1))
        at_once = count(max(workers, 1), "worker")
        self.estimate.setText(
            f"{how}.  At this pace {frames} frames of {count(models, 'model')} take {at_once} about {whole}."
        )
        self.update()

    def fail(self, text: str) -> None:
        """There is no frame, and why."""
        self._rest()
        self.caption.setText("The test frame could not be rendered")
        self.estimate.setText(text)
        self.update()

    @property
    def busy(self) -> bool:
        """Whether the frame is still being rendered."""
        return self._began is not None

    def _rest(self) -> None:
        self._clock.stop()
        self._began = None

    def _tick(self) -> None:
        if self._began is not None:
            self.caption.setText(f"{self._what}… {time.monotonic() - self._began:.0f} s")

    def _left(self) -> None:
        if self.busy:
            self._rest()
            self.cancelled.emit()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.color("veil"))
        room = self.rect().adjusted(theme.px(70), theme.px(30), -theme.px(70), -theme.px(100))
        side = min(room.width(), room.height())
        square = QRect(0, 0, side, side)
        square.moveCenter(room.center())
        shape = QPainterPath()
        shape.addRoundedRect(square.toRectF(), theme.px(10), theme.px(10))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillPath(shape, theme.color("picture" if self.image is not None else "surface"))
        if self.image is not None:
            painter.setClipPath(shape)
            paint_fitted(painter, self.image, square)

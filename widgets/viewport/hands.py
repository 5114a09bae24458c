"""What mouse and fingers do to a VTK canvas."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QObject, QPointF, Qt, QTimer, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QWidget


class Hands(QObject):
    """Turns the events of a canvas into what is meant by them. VTK's own keys (q quits, e exits) never reach it."""

    pressed = Signal()
    dragged = Signal(bool, float, float)
    """Whether to pan rather than to rotate; how far to the right and down, in heights of the canvas."""
    let_go = Signal()
    double_clicked = Signal()
    zoomed = Signal(float)
    """Factor by which to come nearer, by wheel or by pinch."""
    resized = Signal()
    """After the canvas has its new size."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._drag: tuple[Qt.MouseButton, QPointF] | None = None
        canvas.grabGesture(Qt.GestureType.PinchGesture)
        canvas.installEventFilter(self)

    @property
    def dragging(self) -> bool:
        """Whether a button is down."""
        return self._drag is not None

    def rest(self) -> None:
        """Take no notice any more."""
        self._canvas.removeEventFilter(self)
        self.blockSignals(True)

    def eventFilter(self, watched: QObject, event: Any) -> bool:
        kind = event.type()
        if kind == QEvent.Type.MouseButtonPress:
            self._drag = (event.button(), event.position())
            self.pressed.emit()
            return True
        if kind == QEvent.Type.MouseMove:
            self._move(event)
            return True
        if kind == QEvent.Type.MouseButtonRelease:
            self._drag = None
            self.let_go.emit()
            return True
        if kind == QEvent.Type.MouseButtonDblClick:
            self.double_clicked.emit()
            return True
        if kind == QEvent.Type.Wheel:
            self.zoomed.emit(1.0012 ** event.angleDelta().y())
            return True
        if kind == QEvent.Type.Gesture:
            pinch = event.gesture(Qt.GestureType.PinchGesture)
            if pinch is not None:
                self.zoomed.emit(pinch.scaleFactor())
            return True
        if kind == QEvent.Type.Resize:
            QTimer.singleShot(0, self, self.resized.emit)
        if kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            event.ignore()
            return True
        return False

    def _move(self, event: QMouseEvent) -> None:
        if self._drag is None:
            return
        button, before = self._drag
        moved = event.position() - before
        self._drag = (button, event.position())
        height = max(self._canvas.height(), 1)
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self.dragged.emit(button != Qt.MouseButton.LeftButton or shift, moved.x() / height, moved.y() / height)

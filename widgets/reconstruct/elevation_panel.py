"""The estimated elevation: the number, how sure it is, and the reprojection-error curve behind it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from widgets.kit.labels import label
from widgets.kit.theme import theme


class ElevationCurve(QWidget):
    """Reprojection error over elevation: coarse candidates as rings, fine ones as dots, the minimum as a line."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.coarse: list[tuple[float, float]] = []
        self.fine: list[tuple[float, float]] = []
        self.value: float | None = None
        self.empty_text = ""
        theme.changed.connect(self.update)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(300), theme.px(170))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(200), theme.px(110))

    def paintEvent(self, event: object) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        small = theme.font(11)
        metrics = QFontMetrics(small)
        painter.setFont(small)
        legend_height, axis_height = metrics.height() + theme.px(8), metrics.height() + theme.px(6)
        plot = QRectF(self.rect()).adjusted(theme.px(4), legend_height, -theme.px(4), -axis_height - theme.px(2))
        points = self.coarse + self.fine
        if not points:
            painter.setPen(theme.color("muted"))
            painter.setFont(theme.font(13))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect(), flags, self.empty_text)
            return
        angles, errors = [a for a, _ in points], [e for _, e in points]
        low, high = min(angles), max(angles)
        top, bottom = max(errors), min(errors)
        head = (top - bottom) * 0.08 or 1.0
        top, bottom = top + head, bottom - head

        def place(angle: float, error: float) -> QPointF:
            x = plot.left() + plot.width() * (angle - low) / max(high - low, 1e-6)
            return QPointF(x, plot.top() + plot.height() * (top - error) / max(top - bottom, 1e-9))

        painter.setPen(QPen(theme.color("border"), 1))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        ticks = [t for t in range(-80, 91, 20) if low <= t <= high]
        for tick in ticks:
            x = place(tick, bottom).x()
            painter.setPen(QPen(theme.color("border"), 1))
            painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
            text = f"{tick}°".replace("-", "−")
            width = metrics.horizontalAdvance(text)
            at = min(max(x - width / 2, 0), self.width() - width)
            painter.setPen(theme.color("muted"))
            painter.drawText(QPointF(at, self.height() - theme.px(5)), text)
        if self.value is not None:
            x = place(self.value, bottom).x()
            painter.setPen(QPen(theme.color("accent"), theme.px(1.5)))
            painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        painter.setPen(QPen(theme.color("muted"), theme.px(1.5)))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF([place(*p) for p in sorted(self.coarse)]))
        painter.setPen(QPen(theme.color("text"), theme.px(1.5)))
        painter.setBrush(theme.color("surface"))
        for p in self.coarse:
            painter.drawEllipse(place(*p), theme.px(3.4), theme.px(3.4))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color("accent"))
        for p in self.fine:
            painter.drawEllipse(place(*p), theme.px(2), theme.px(2))
        self._paint_legend(painter, metrics)

    def _paint_legend(self, painter: QPainter, metrics: QFontMetrics) -> None:
        x, y, r = float(theme.px(6)), metrics.height() / 2 + theme.px(1), theme.px(3)
        for text, kind in (("every 10°", "ring"), ("every 1°", "dot"), ("lowest error", "line")):
            if kind == "line":
                painter.setPen(QPen(theme.color("accent"), theme.px(1.5)))
                painter.drawLine(QPointF(x, y - r - 1), QPointF(x, y + r + 1))
            else:
                painter.setPen(QPen(theme.color("text"), theme.px(1.5)) if kind == "ring" else Qt.PenStyle.NoPen)
                painter.setBrush(theme.color("surface" if kind == "ring" else "accent"))
                painter.drawEllipse(QPointF(x, y), r if kind == "ring" else r - 1, r if kind == "ring" else r - 1)
            painter.setPen(theme.color("muted"))
            x += theme.px(9)
            painter.drawText(QPointF(x, y + metrics.ascent() / 2 - 1), text)
            x += metrics.horizontalAdvance(text) + theme.px(14)


class ElevationPanel(QWidget):
    """Number, confidence and curve of an `ElevationEstimate`, or the angle that was typed."""

    def __init__(self) -> None:
        super().__init__()
        self.figure = label("", "figure")
        self.confidence = label("", "muted")
        self.note = label("", "muted", wrap=True)
        self.curve = ElevationCurve()
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self.figure)
        row.addWidget(self.confidence, 1, Qt.AlignmentFlag.AlignBottom)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.note)
        column.addWidget(self.curve, 1)
        self.clear()

    def clear(self) -> None:
        """Nothing is known yet."""
        self.figure.setText("")
        self.figure.hide()
        self.confidence.setText("")
        self._set_note("", "muted")
        self.curve.coarse, self.curve.fine, self.curve.value = [], [], None
        self.curve.empty_text = "The camera's elevation and its error curve appear here."
        self.curve.update()

    def show_estimate(self, estimate: Any) -> None:
        """Show an `engine.elevation.ElevationEstimate`; one without a curve was typed."""
        if not estimate.is_fallback and not len(estimate.coarse[0]):
            self._show_typed(estimate.value)
            return
        self.figure.show()
        self.figure.setText(f"{estimate.value:.1f}°".replace("-", "−"))
        fallback = bool(estimate.is_fallback)
        self.confidence.setText("" if fallback else f"{estimate.confidence:.0%} confident")
        text = estimate.message
        if fallback and "fall" not in text.lower():
            text = f"This is a fallback, not measured from the views. {text}".strip()
        self._set_note(text, "warning" if fallback else "muted")
        self.curve.empty_text = "No error curve: too few matches."
        self.curve.coarse = _pairs(estimate.coarse)
        self.curve.fine = _pairs(estimate.fine)
        self.curve.value = None if fallback else float(estimate.value)
        self.curve.update()

    def _show_typed(self, elevation: float) -> None:
        self.clear()
        self.figure.show()
        self.figure.setText(f"{elevation:.1f}°".replace("-", "−"))
        self.curve.empty_text = ""
        self._set_note("Typed by you; nothing was estimated.", "muted")

    def _set_note(self, text: str, name: str) -> None:
        self.note.setText(text)
        self.note.setObjectName(name)
        self.note.setVisible(bool(text))
        self.note.style().unpolish(self.note)
        self.note.style().polish(self.note)


def _pairs(curve: Any) -> list[tuple[float, float]]:
    """Finite (angle, error) pairs of a curve given as two arrays."""
    angles, errors = curve
    pairs = ((float(a), float(e)) for a, e in zip(angles, errors, strict=True))
    return [(a, e) for a, e in pairs if e == e and abs(e) != float("inf")]

"""Curves over the steps of a run: raw points faint, a smoothed line over them, notes where something happened."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QAbstractButton, QSizePolicy, QToolButton, QWidget

from widgets.finetune.record import FloatArray, Note, Series
from widgets.kit.actions import bind
from widgets.kit.buttons import with_key
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import column, row
from widgets.kit.theme import theme

_WINDOWS = 25
"""The smoothed line is a mean over so many parts of the run."""
_WIDEST = 400
"""Points that it is a mean over at most."""
_DOTS = 0.25
"""Points a pixel up to which they are drawn one by one."""
_ENDS = (2.0, 98.0)
"""Percentiles of the raw points between which the axis reaches."""


@dataclass(frozen=True)
class Curve:
    """One that can be shown."""

    name: str
    label: str
    tip: str
    dark: str
    light: str
    unit: str = ""
    aside: bool = False
    """Whether it has an axis of its own, at the right."""

    @property
    def color(self) -> QColor:
        """In the look in force."""
        return QColor(self.dark if theme.dark else self.light)


LOSSES = (
    Curve("loss", "Total", "The sum of all terms, each with its weight", "#e9ebef", "#22262b"),
    Curve("rgb", "Colour", "L1 error of the colours", "#ef8e6b", "#c2502e"),
    Curve("mask", "Mask", "Error of the rays' weight against the binary mask", "#6fa8f5", "#2467c4"),
    Curve("eikonal", "Eikonal", "Deviation of the gradients from unit length", "#c792ea", "#8638b0"),
    Curve("sparsity", "Sparsity", "Surfaces in free space", "#9ccc65", "#4a7d12"),
    Curve("depth", "Depth", "L1 error of the depth", "#e3b25c", "#8a5d00"),
)
VALIDATIONS = (
    Curve("f_score", "F-score", "Of points on both surfaces within 5 % of the model's size", "#4db6ac", "#0f7f76"),
    Curve("mask_iou", "Mask IoU", "Overlap of the rendered silhouette with the true one", "#6fa8f5", "#2467c4"),
    Curve("psnr", "PSNR", "Of the rendered colours, in dB", "#ef8e6b", "#c2502e", " dB", aside=True),
)


@dataclass(frozen=True)
class _Axis:
    """Values to places: 0 at the bottom, 1 at the top."""

    low: float
    high: float
    log: bool

    def place(self, values: FloatArray) -> FloatArray:
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.where(values > 0, np.log10(np.where(values > 0, values, 1.0)), np.nan)
        return (values - self.low) / max(self.high - self.low, 1e-12)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Places and texts."""
        wide = self.high - self.low
        if not self.log:
            return [((v - self.low) / wide, _number(v)) for v in _round(self.low, self.high, most)]
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        steps = (1,) if wide > 2.2 else (1, 3) if wide > 1.2 else (1, 2, 5)
        found = [(math.log10(m) + d, m * 10.0**d) for d in decades for m in steps]
        inside = [(v, text) for v, text in found if self.low <= v <= self.high]
        if len(inside) < 2:  # less than an octave: round numbers as on a linear axis
            inside = [(math.log10(v), v) for v in _round(10**self.low, 10**self.high, most) if v > 0]
        return [((v - self.low) / wide, _number(value)) for v, value in inside]


class Chart(QWidget):
    """The curves of `shown`, on the screen. Left and right move a cursor over the steps, as the mouse does."""

    def __init__(self, curves: Sequence[Curve], empty: str) -> None:
        super().__init__()
        self.curves = tuple(curves)
        self.shown = {curve.name for curve in curves}
        self.log = self.smooth = False
        self.empty_text = empty
        self.at_step: float | None = None
        """Step that the values are shown of."""
        self._series: dict[str, Series] = {}
        self._smoothed: dict[str, FloatArray] = {}
        self._notes: list[Note] = []
        self._end = 0.0
        self._plot = QRectF()
        self._picture: QPixmap | None = None
        """All but the cursor, as it was painted last: the mouse moves more often than anything changes."""
        self._axes: tuple[_Axis, _Axis | None] = (_Axis(0.0, 1.0, False), None)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        theme.changed.connect(self.refresh)

    # -- content -----------------------------------------------------------------------------------------

    def set_data(self, series: dict[str, Series], notes: Sequence[Note], end: float) -> None:
        """Show these, over the steps 0 to `end`."""
        self._series = series
        self._smoothed = {name: _smoothed(found) for name, found in series.items()}
        self._notes, self._end = [note for note in notes if note.kind != "note"], end
        self.refresh()

    def refresh(self) -> None:
        """Paint everything anew."""
        self._picture = None
        self.update()

    @property
    def drawn(self) -> list[Curve]:
        """The curves that are shown and have values."""
        return [c for c in self.curves if c.name in self.shown and self._has(c.name)]

    def values_at(self, step: float) -> tuple[float, dict[str, float]] | None:
        """The nearest step that there are values of, and those of the curves that are shown."""
        known = []
        for curve in self.drawn:
            series = self._series[curve.name]
            there = np.isfinite(series.values)
            known.append((curve.name, series.steps[there], series.values[there]))
        if not known:
            return None
        steps = np.concatenate([at for _, at, _ in known])
        nearest = float(steps[np.abs(steps - step).argmin()])
        return nearest, {name: float(values[at == nearest][-1]) for name, at, values in known if nearest in at}

    def move_cursor(self, by: int) -> None:
        """Go to a neighbouring step with values; a page is a tenth of them."""
        drawn = self.drawn
        if not drawn:
            return
        steps = np.unique(np.concatenate([self._series[curve.name].steps for curve in drawn]))
        at = len(steps) - 1 if self.at_step is None else int(np.abs(steps - self.at_step).argmin()) + by
        self.at_step = float(steps[min(max(at, 0), len(steps) - 1)])
        self.update()

    # -- painting ----------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        return QSize(theme.px(420), theme.px(200))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(200), theme.px(96))

    def paintEvent(self, event: Any) -> None:
        if self._picture is None:
            ratio = self.devicePixelRatioF()
            self._picture = QPixmap(self.size() * ratio)
            self._picture.setDevicePixelRatio(ratio)
            self._picture.fill(Qt.GlobalColor.transparent)
            still = QPainter(self._picture)
            still.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_still(still)
            still.end()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.drawPixmap(0, 0, self._picture)
        painter.setFont(theme.font(11))
        if self.at_step is not None and (found := self.values_at(self.at_step)) is not None:
            self._paint_cursor(painter, QFontMetrics(theme.font(11)), *found)
        if self.hasFocus():
            painter.setPen(QPen(theme.color("accent"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)

    def _paint_still(self, painter: QPainter) -> None:
        drawn = self.drawn
        if not drawn:
            painter.setPen(theme.color("muted"))
            painter.setFont(theme.font(13))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            nothing = self.empty_text if not any(map(self._has, self._series)) else "No curve is chosen."
            painter.drawText(self.rect().adjusted(20, 0, -20, 0), flags, nothing)
            return
        small = theme.font(11)
        painter.setFont(small)
        metrics = QFontMetrics(small)
        aside = [curve for curve in drawn if curve.aside]
        main = [curve for curve in drawn if not curve.aside] or aside
        axis = self._axis(main)
        other = self._axis(aside) if aside and main is not aside else None
        self._axes = (axis, other)
        room = metrics.height()
        ticks = axis.ticks(max(2, self.height() // theme.px(34)))
        side = max((metrics.horizontalAdvance(text) for _, text in ticks), default=0) + theme.px(10)
        other_ticks = other.ticks(max(2, self.height() // theme.px(44))) if other is not None else []
        far = max((metrics.horizontalAdvance(text) for _, text in other_ticks), default=0)
        self._plot = plot = QRectF(self.rect()).adjusted(
            side, room / 2 + theme.px(2), -(far + theme.px(10) if far else theme.px(8)), -room - theme.px(8)
        )
        self._paint_grid(painter, metrics, ticks, other_ticks)
        painter.setClipRect(plot.adjusted(-theme.px(4), -theme.px(4), theme.px(4), theme.px(4)))
        self._paint_notes(painter)
        for raw in (True, False):  # all lines over all points
            for curve in drawn:
                own = other if curve.aside and other is not None else axis
                self._paint_curve(painter, curve, own, raw)

    def _paint_grid(self, painter: QPainter, metrics: QFontMetrics, ticks: Any, other: Any) -> None:
        plot = self._plot
        for share, text in ticks:
            y = plot.bottom() - share * plot.height()
            painter.setPen(QPen(theme.color("border"), 1))
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(theme.color("muted"))
            at = plot.left() - metrics.horizontalAdvance(text) - theme.px(6)
            painter.drawText(QPointF(at, y + metrics.ascent() / 2 - 1), text)
        aside = next((curve.color for curve in self.curves if curve.aside), theme.color("muted"))
        for share, text in other:
            y = plot.bottom() - share * plot.height()
            painter.setPen(aside)
            painter.drawText(QPointF(plot.right() + theme.px(6), y + metrics.ascent() / 2 - 1), text)
        last = -1e9
        for step in _round(0, self._end, max(2, int(plot.width() // theme.px(80)))) if self._end > 0 else [0.0]:
            if step != int(step):
                continue
            text = f"{step:,.0f}"
            wide = metrics.horizontalAdvance(text)
            x = min(max(self._x(step) - wide / 2, 0), self.width() - wide - 1)
            if x > last:
                painter.setPen(theme.color("muted"))
                painter.drawText(QPointF(x, self.height() - theme.px(4)), text)
                last = x + wide + theme.px(8)

    def _paint_notes(self, painter: QPainter) -> None:
        for note in self._notes:
            color = theme.color("warning" if note.kind == "rollback" else "error")
            painter.setPen(QPen(color, theme.px(1.2), Qt.PenStyle.DashLine))
            x = self._x(note.step)
            painter.drawLine(QPointF(x, self._plot.top()), QPointF(x, self._plot.bottom()))

    def _paint_curve(self, painter: QPainter, curve: Curve, axis: _Axis, raw: bool) -> None:
        series, color = self._series[curve.name], curve.color
        few = len(series.steps) <= max(8, _DOTS * self._plot.width())
        dense = len(series.steps) > 3 * self._plot.width() and not self.smooth  # where a line would be a band as well
        if raw and (self.smooth or few or dense):
            painter.setPen(Qt.PenStyle.NoPen)
            faint = QColor(color)
            faint.setAlphaF(0.45 if self.smooth else 1.0)
            radius = theme.px(1.6) if self.smooth else theme.px(2.4)
            xs, ys = self._places(series.steps, axis.place(series.values))
            if few:
                painter.setBrush(faint)
                for x, y in zip(xs, ys, strict=True):
                    painter.drawEllipse(QPointF(x, y), radius, radius)
            else:
                faint.setAlphaF(0.8 if dense else 0.3)
                self._paint_band(painter, xs, ys, faint)
        if not raw and not dense:
            values = self._smoothed[curve.name] if self.smooth else series.values
            painter.setPen(QPen(color, theme.px(1.7) if self.smooth or few else theme.px(1.2)))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            edges = [0, *series.breaks, len(series.steps)]
            for start, end in itertools.pairwise(edges):
                xs, ys = self._places(series.steps[start:end], axis.place(values[start:end]))
                thin = max(1, len(xs) // max(1, int(2 * self._plot.width())))
                if self.smooth and thin > 1:
                    xs, ys = xs[::thin], ys[::thin]
                painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in zip(xs, ys, strict=True)]))

    def _paint_band(self, painter: QPainter, xs: FloatArray, ys: FloatArray, color: QColor) -> None:
        """From the least to the greatest value in each column of pixels."""
        columns = xs.astype(int)
        order = np.argsort(columns, kind="stable")
        starts = np.flatnonzero(np.diff(columns[order], prepend=-(10**9)))
        low, high = np.minimum.reduceat(ys[order], starts), np.maximum.reduceat(ys[order], starts)
        painter.setPen(QPen(color, 1))
        ends = zip(columns[order][starts], low, high, strict=True)
        painter.drawLines([QLineF(x + 0.5, top - 0.5, x + 0.5, bottom + 0.5) for x, top, bottom in ends])

    def _paint_cursor(self, painter: QPainter, metrics: QFontMetrics, step: float, values: dict[str, float]) -> None:
        plot, x = self._plot, self._x(step)
        axis, other = self._axes
        painter.setPen(QPen(theme.color("strong_border"), 1))
        painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        lines = [(f"step {step:,.0f}", theme.color("text"))]
        for curve in self.curves:
            if curve.name in values:
                value = values[curve.name]
                own = other if curve.aside and other is not None else axis
                share = own.place(np.array([value]))[0]
                painter.setPen(QPen(theme.color("surface"), theme.px(1.5)))
                painter.setBrush(curve.color)
                if share == share:
                    y = plot.bottom() - share * plot.height()
                    painter.drawEllipse(QPointF(x, y), theme.px(3.6), theme.px(3.6))
                lines.append((f"{curve.label}  {value:.4g}{curve.unit}", curve.color))
        # What happened within a few pixels of the cursor.
        lines += [(note.message, theme.color("warning")) for note in self._notes if abs(self._x(note.step) - x) < 6]
        most = plot.width() * 0.72
        lines = [(metrics.elidedText(text, Qt.TextElideMode.ElideRight, int(most)), color) for text, color in lines]
        wide = max(metrics.horizontalAdvance(text) for text, _ in lines) + theme.px(16)
        high = len(lines) * (metrics.height() + 1) + theme.px(10)
        left = x + theme.px(10) if x + theme.px(14) + wide < self.width() else x - theme.px(10) - wide
        box = QRectF(max(left, 2.0), plot.top() + theme.px(4), wide, high)
        painter.setPen(QPen(theme.color("strong_border"), 1))
        back = theme.color("raised")
        back.setAlphaF(0.96)
        painter.setBrush(back)
        painter.drawRoundedRect(box, theme.px(5), theme.px(5))
        y = box.top() + theme.px(5) + metrics.ascent()
        for text, color in lines:
            painter.setPen(color)
            painter.drawText(QPointF(box.left() + theme.px(8), y), text)
            y += metrics.height() + 1

    # -- inside ------------------------------------------------------------------------------------------

    def _has(self, name: str) -> bool:
        series = self._series.get(name)
        return series is not None and bool(np.isfinite(series.values).any())

    def _x(self, step: float) -> float:
        return self._plot.left() + self._plot.width() * step / max(self._end, 1.0)

    def _places(self, steps: FloatArray, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Places in pixels of the points that there are."""
        there = np.isfinite(shares)
        xs = self._plot.left() + self._plot.width() * steps[there] / max(self._end, 1.0)
        ys = self._plot.bottom() - np.clip(shares[there], -0.2, 1.2) * self._plot.height()
        return xs, ys

    def _axis(self, curves: Sequence[Curve]) -> _Axis:
        lows, highs = [], []
        for curve in curves:
            values = self._series[curve.name].values
            values = values[np.isfinite(values) & ((values > 0) | (not self.log))]
            if len(values):
                ends = np.percentile(values, _ENDS) if len(values) > 50 else (values.min(), values.max())
                line = self._smoothed[curve.name]
                line = line[np.isfinite(line) & ((line > 0) | (not self.log))]
                lows.append(min(ends[0], line.min()) if len(line) else ends[0])
                highs.append(max(ends[1], line.max()) if len(line) else ends[1])
        if not lows:
            return _Axis(0.0, 1.0, False)
        low, high = float(min(lows)), float(max(highs))
        if self.log:
            low, high = math.log10(low), math.log10(high)
        margin = 0.06 * (high - low) or (0.1 if self.log else 0.05 * abs(high) or 0.5)
        return _Axis(low - margin, high + margin, self.log)

    # -- Qt ----------------------------------------------------------------------------------------------

    def mouseMoveEvent(self, event: Any) -> None:
        if self._plot.width() > 0:
            share = (event.position().x() - self._plot.left()) / self._plot.width()
            self.at_step = min(max(share, 0.0), 1.0) * self._end
            self.update()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.refresh()

    def leaveEvent(self, event: Any) -> None:
        self.at_step = None
        self.update()

    def focusOutEvent(self, event: Any) -> None:
        self.at_step = None
        super().focusOutEvent(event)  # paints it anew

    def keyPressEvent(self, event: Any) -> None:
        moves = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_PageUp: -10,
            Qt.Key.Key_PageDown: 10,
            Qt.Key.Key_Home: -(10**9),
            Qt.Key.Key_End: 10**9,
        }
        if event.key() in moves:
            self.move_cursor(moves[event.key()])
        else:
            super().keyPressEvent(event)


class ChartPanel(QWidget):
    """A chart below its heading and a button for each of its curves."""

    def __init__(
        self, heading: str, curves: Sequence[Curve], empty: str, *, first_key: int, switches: bool = False
    ) -> None:
        """`first_key`: number of the key (with Alt) that shows or hides the first curve; the next ones follow.

        `switches`: whether a logarithmic scale and a smoothed line can be chosen; both are on at first.
        """
        super().__init__()
        self.chart = Chart(curves, empty)
        self.chart.setAccessibleName(heading)
        self.summary = ElidedLabel("", "small")
        self.toggles: dict[str, LegendButton] = {}
        for number, curve in enumerate(curves, first_key):
            self.toggles[curve.name] = button = LegendButton(curve)
            button.setToolTip(with_key(f"{curve.tip}: show or hide", f"Alt+{number}"))
            button.toggled.connect(lambda on, name=curve.name: self._show(name, on))
            bind(self.chart, f"Alt+{number}", button.click, alone=False)
        self.log = self._switch("log", "Logarithmic scale", "G")
        self.smooth = self._switch("smooth", "A smoothed line over the raw points", "M")
        top = row(label(heading, "muted"), (self.summary, 1), self.log, self.smooth, spacing=12)
        column(top, row(*self.toggles.values(), None, spacing=2), (self.chart, 1), spacing=2, within=self)
        for switch in (self.log, self.smooth):
            switch.setChecked(switches)
            switch.setVisible(switches)

    def set_data(self, series: dict[str, Series], notes: Sequence[Note], end: float) -> None:
        """Show these; buttons of curves that have no values are hidden."""
        self.chart.set_data(series, notes, end)
        some = any(map(self.chart._has, series))
        for name, button in self.toggles.items():
            button.setVisible(self.chart._has(name) or not (some or name == "depth"))

    def _show(self, name: str, on: bool) -> None:
        (self.chart.shown.add if on else self.chart.shown.discard)(name)
        self.chart.refresh()

    def _switch(self, name: str, tip: str, key: str) -> QToolButton:
        """A button that turns something of the chart on and off."""

        def turn(on: bool) -> None:
            setattr(self.chart, name, on)
            self.chart.refresh()

        button = QToolButton()
        button.setText(name.capitalize())
        button.setCheckable(True)
        button.setObjectName("flat")
        button.setToolTip(with_key(tip, key))
        button.toggled.connect(turn)
        return button


class LegendButton(QAbstractButton):
    """A curve's colour and name; pressed it hides the curve, and shows it again."""

    def __init__(self, curve: Curve) -> None:
        super().__init__()
        self._curve = curve
        self.setText(curve.label)
        self.setCheckable(True)
        self.setChecked(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        theme.changed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        metrics = QFontMetrics(theme.font(12))
        return QSize(metrics.horizontalAdvance(self.text()) + theme.px(32), metrics.height() + theme.px(10))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        room, on = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), self.isChecked()
        if self.underMouse() or self.hasFocus():
            painter.setPen(QPen(theme.color("accent"), 1) if self.hasFocus() else Qt.PenStyle.NoPen)
            painter.setBrush(theme.color("raised"))
            painter.drawRoundedRect(room, theme.px(6), theme.px(6))
        color = self._curve.color if on else theme.color("strong_border")
        painter.setPen(QPen(color, theme.px(2.6), Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        middle = room.center().y()
        painter.drawLine(QPointF(theme.px(6), middle), QPointF(theme.px(18), middle))
        font = theme.font(12)
        font.setStrikeOut(not on)
        painter.setFont(font)
        painter.setPen(theme.color("text" if on else "muted"))
        left = room.adjusted(theme.px(24), 0, 0, 0)
        painter.drawText(left, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self.text())


def _smoothed(series: Series) -> FloatArray:
    """Running means, which do not reach over a break."""
    values = series.values
    wide = min(round(len(values) / _WINDOWS), _WIDEST)
    if wide < 2:
        return values
    out = np.full(len(values), np.nan)
    edges = [0, *series.breaks, len(values)]
    for start, end in itertools.pairwise(edges):
        part = values[start:end]
        there = np.flatnonzero(np.isfinite(part))
        if len(there):
            sums = np.concatenate([[0.0], np.cumsum(part[there])])
            at = np.arange(len(there))
            low, high = np.maximum(at - wide // 2, 0), np.minimum(at + wide // 2 + 1, len(there))
            out[start + there] = (sums[high] - sums[low]) / (high - low)
    return out


def _round(low: float, high: float, most: int) -> list[float]:
    """At most about so many round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / max(most, 1)
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    """A tick's text."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.4g}"

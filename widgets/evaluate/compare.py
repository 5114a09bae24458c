"""The chosen sample in 3D: two of its meshes side by side in the truth's frame, looked at together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QImage, QPainter, QPainterPath
from PySide6.QtWidgets import QComboBox, QSizePolicy, QStackedLayout, QToolBar, QWidget

from engine.evaluation.metrics import METRICS
from widgets.evaluate.contents import TRUTH, Sample
from widgets.evaluate.grid import Cell, Grid, Line
from widgets.evaluate.words import figure, gain, signed, title
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.images import paint_fitted
from widgets.kit.labels import ElidedLabel, hint, label, plain_text
from widgets.kit.panel import column, holder, row, scrolled, split
from widgets.kit.theme import theme
from widgets.viewport.icons import icon

if TYPE_CHECKING:
    from widgets.viewport import Link, Viewport

_TOOLS = ("wireframe", "home", "front", "side", "top")
"""What each view has buttons for; there is room for few."""
_STYLES = {
    "texture": ("Texture", "T"),
    "colors": ("One colour a vertex", "C"),
    "normals": ("Direction of the surface as colours", "N"),
    "plain": ("Shape alone, as clay", "P"),
}
_TRUTH = "Truth"


class Side(QWidget):
    """One of the two: which mesh, and the viewport once there is one."""

    picked = Signal()
    """The user wants to see another set's mesh."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.mesh_key: tuple[str, str] | None = None
        """Sample and set of the mesh that is shown."""
        self.viewport: Viewport | None = None
        self.choice = QComboBox()
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.choice.setMinimumContentsLength(8)
        self.choice.setToolTip(with_key(f"What stands on the {which}", f"Alt+{which.capitalize()}"))
        self.choice.setAccessibleName(f"What stands on the {which}")
        self.choice.activated.connect(lambda _: self.picked.emit())
        self.figure = label("", "muted")
        self.note = hint()
        self.head = holder(row((self.choice, 1), self.figure, spacing=8))
        self._stack = QStackedLayout()
        self._stack.addWidget(self.note)
        column(self.head, (self._stack, 1), spacing=4, within=self)
        self.setMinimumWidth(180)

    @property
    def label(self) -> str:
        """The chosen set; `TRUTH` for the true model."""
        return self.choice.currentData() or TRUTH

    def set_labels(self, labels: Sequence[str], chosen: str) -> None:
        """Offer the true model and these sets."""
        self.choice.clear()
        self.choice.addItem(_TRUTH, TRUTH)
        for name in labels:
            self.choice.addItem(name, name)
        self.pick(chosen)

    def pick(self, chosen: str) -> None:
        """Choose a set."""
        self.choice.setCurrentIndex(max(self.choice.findData(chosen), 0))

    def step(self) -> None:
        """Choose the next set."""
        if self.choice.count():
            self.choice.setCurrentIndex((self.choice.currentIndex() + 1) % self.choice.count())
            self.picked.emit()

    def say(self, text: str) -> None:
        """Say in the viewport's place why there is nothing to see."""
        self.mesh_key = None
        self.note.setText(text)
        self._stack.setCurrentWidget(self.note)

    def make(self) -> Viewport:
        """The viewport; VTK is loaded with the first."""
        if self.viewport is None:
            from widgets.viewport import Viewport

            self.viewport = Viewport(tools=_TOOLS)
            self.viewport.set_empty_text("")
            self._stack.addWidget(self.viewport)
        return self.viewport

    def show_mesh(self, key: tuple[str, str], mesh: Any, *, reset: bool) -> None:
        """Show a mesh in the viewport."""
        viewport = self.make()
        if self.mesh_key == key and viewport.mesh is mesh:
            return
        self.mesh_key = key
        viewport.show_mesh(mesh, reset_camera=False)
        self._stack.setCurrentWidget(viewport)
        if reset:
            QTimer.singleShot(0, viewport, viewport.reset)  # fits once the viewport has its size


class Picture(QWidget):
    """The input picture, or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.image: QImage | None = None
        self.setAccessibleName("Input picture")
        self.setToolTip("Input picture")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self._restyle)
        self._restyle()

    def set_image(self, image: QImage | None) -> None:
        """Show a picture."""
        self.image = image if image is not None and not image.isNull() else None
        self.setVisible(self.image is not None)
        self.update()

    def _restyle(self) -> None:
        self.setFixedSize(theme.px(132), theme.px(132))

    def paintEvent(self, event: Any) -> None:
        if self.image is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shape = QPainterPath()
        shape.addRoundedRect(self.rect().toRectF(), theme.px(8), theme.px(8))
        painter.fillPath(shape, theme.color("picture"))
        painter.setClipPath(shape)
        paint_fitted(painter, self.image, self.rect())


class ComparePanel(QWidget):
    """Two viewports above the input picture and the figures of what they show."""

    meshes_wanted = Signal()
    """What the two sides show has changed."""
    metric_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.sample: Sample | None = None
        self._labels: tuple[str, ...] = ()
        self._metrics: Sequence[str] = ()
        self._metric = ""
        self._link: Link | None = None
        self.name = ElidedLabel("", "heading")
        self.previous, self.next, self.linked = (
            IconButton(icon, "") for icon in ("chevron-up", "chevron-down", "chain")
        )
        self.linked.setCheckable(True)
        self.linked.setChecked(True)
        self.linked.toggled.connect(lambda _: self._tie())
        self.styles = QToolBar()
        self._style_actions = {}
        for style, (text, key) in _STYLES.items():
            action = self.styles.addAction(text, partial(self._set_style, style))
            action.setCheckable(True)
            action.setToolTip(with_key(f"{text}, in both views", key))
            self._style_actions[style] = action
        top = row((self.name, 1), self.styles, self.linked, self.previous, self.next, spacing=4)
        self.problem = plain_text(label("", "small", wrap=True))

        self.left, self.right = Side("left"), Side("right")
        sides = split((self.left, 0), (self.right, 0), sizes=(500, 500), beside=True)
        sides.setMinimumHeight(200)
        for side in (self.left, self.right):
            side.picked.connect(self._picked)

        self.picture = Picture()
        self.figures = Grid("Figures of both")
        self.figures.chosen.connect(self.metric_chosen)
        inside = column(self.figures, None, spacing=6)
        inside.setContentsMargins(0, 0, 4, 0)
        beside = row(self.picture, (scrolled(holder(inside)), 1), spacing=12)
        beside.setContentsMargins(0, 4, 0, 0)
        beside.setAlignment(self.picture, Qt.AlignmentFlag.AlignTop)
        lower = holder(beside)
        lower.setMinimumHeight(100)
        self.parts = split((sides, 3), (lower, 1), sizes=(420, 190))
        column(top, self.problem, (self.parts, 1), spacing=4, within=self)
        self._lower = lower
        self.picture.set_image(None)
        theme.changed.connect(self._restyle)
        self._restyle()
        self.set_sample(None)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def link(self) -> Link | None:
        """What ties the two viewports; None while they are on their own."""
        return self._link

    @property
    def sides(self) -> tuple[Side, Side]:
        """Left and right."""
        return self.left, self.right

    def set_labels(self, labels: Sequence[str], second: str) -> None:
        """The sets of predictions; at first the baseline is compared with `second`, or the truth with the only one."""
        if tuple(labels) == self._labels and labels:
            if second:
                self.right.pick(second)
            return
        self._labels = tuple(labels)
        chosen = (labels[0], second) if second else (TRUTH, labels[0] if labels else TRUTH)
        for side, name in zip(self.sides, chosen, strict=True):
            side.set_labels(labels, name)

    def set_metrics(self, metrics: Sequence[str], current: str) -> None:
        """The measures whose figures are shown, and the one that the table shows."""
        self._metrics, self._metric = metrics, current
        self._show_figures()

    def set_sample(self, sample: Sample | None) -> None:
        """Show another sample; its meshes come by `set_mesh`, its picture by `set_picture`."""
        same = sample is not None and self.sample is not None and sample.name == self.sample.name
        self.sample = sample
        self.name.setText(sample.name if sample is not None else "")
        self.name.detail = sample.path if sample is not None else ""
        for part in (
            self.styles,
            self.linked,
            self.previous,
            self.next,
            *(side.head for side in self.sides),
            self.right,
        ):
            part.setVisible(sample is not None)
        if not same:
            self.picture.set_image(None)
            if sample is None:
                for side in self.sides:
                    side.say("Choose a sample in the table to see its meshes.")
        told = sample.message if sample is not None else ""
        self.problem.setText(told)
        self.problem.setVisible(bool(told))
        failed = sample is not None and sample.state == "failed"
        self.problem.setStyleSheet(f"color: {theme.color('error' if failed else 'muted').name()};")
        self._show_figures()

    def set_picture(self, name: str, image: QImage) -> None:
        """The input picture of a sample."""
        if self.sample is not None and self.sample.name == name:
            self.picture.set_image(image)
            self._lower.setVisible(bool(self.figures.lines) or self.picture.image is not None)

    def set_mesh(self, side: Side, name: str, which: str, mesh: Any, note: str = "") -> None:
        """A mesh for a side, in the truth's frame; without one, why there is none. Passed over if it comes too late."""
        if self.sample is None or self.sample.name != name or side.label != which:
            return
        if mesh is None:
            side.say(note)
            return
        other = self.right if side is self.left else self.left
        # The view stays where it is from set to set and from sample to sample: all stand in frames of one size.
        first = side.viewport is None and other.viewport is None
        made = side.viewport is None
        side.show_mesh((name, which), mesh, reset=first)
        if made and side.viewport is not None:
            side.viewport.style_changed.connect(lambda _: self._mark_style())
        self._mark_style()
        if side.viewport is not None and other.viewport is not None and self._link is None:
            if not first and self.linked.isChecked():
                side.viewport.set_camera(other.viewport.camera)
            self._tie()

    def toggle_link(self) -> None:
        """Move both together, or each on its own."""
        self.linked.toggle()

    def close_down(self) -> None:
        """Free the viewports."""
        if self._link is not None:
            self._link.unlink()
            self._link = None
        for side in self.sides:
            if side.viewport is not None:
                side.viewport.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _tie(self) -> None:
        if self._link is not None:
            self._link.unlink()
            self._link = None
        first, second = self.left.viewport, self.right.viewport
        if self.linked.isChecked() and first is not None and second is not None:
            from widgets.viewport import link

            self._link = link(*((second, first) if second.hasFocus() else (first, second)))

    def _set_style(self, style: Any) -> None:
        for side in self.sides:
            if side.viewport is not None:
                side.viewport.set_style(style)
        self._mark_style()

    def _mark_style(self) -> None:
        shown = [side.viewport.style_shown for side in self.sides if side.viewport is not None]
        for style, action in self._style_actions.items():
            action.setChecked(style in shown)

    def _restyle(self) -> None:
        for style, action in self._style_actions.items():
            action.setIcon(icon(style, QGuiApplication.palette()))
        side = theme.px(17)
        self.styles.setIconSize(QSize(side, side))

    def _picked(self) -> None:
        self._show_figures()
        self.meshes_wanted.emit()

    def _show_figures(self) -> None:
        sample = self.sample
        left, right = self.left.label, self.right.label
        metric = METRICS.get(self._metric)
        for side in self.sides:
            value = sample.figure(side.label, self._metric) if sample is not None and side.label else None
            found = sample.predictions.get(side.label) if sample is not None else None
            loose = found is not None and found.path is not None and not found.settled
            side.figure.setText(figure(value, metric) if metric is not None and value is not None else "")
            if loose:
                side.figure.setText("not yet aligned")
            side.figure.setToolTip(metric.label if metric is not None else "")
        shown = [name for name in (left, right) if name]
        both = len(shown) == 2 and left != right
        lines = []
        for key in self._metrics:
            if sample is None:
                break
            one = METRICS[key]
            values = [sample.figure(name, key) for name in shown]
            cells = [Cell(figure(value, one)) for value in values]
            if both:
                difference = sample.difference(left, right, key)
                better = None if not difference else gain(difference, one) > 0
                color = "muted" if better is None else "good" if better else "error"
                cells.append(Cell(signed(difference, one), color=color))
            lines.append(Line(key, title(one), cells, one.meaning))
        self.figures.set_content([*shown, *(["Difference"] if both else [])] if lines else [], lines)
        self.figures.choose(self._metric)
        self._lower.setVisible(bool(lines) or self.picture.image is not None)

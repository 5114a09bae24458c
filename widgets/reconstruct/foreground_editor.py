"""The picture with its foreground, to be corrected with a box, points and strokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QImage, QKeySequence, QPainter, QPen, QPolygonF, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from widgets.kit.buttons import IconButton, with_key
from widgets.kit.images import to_qimage

ADD, REMOVE = 1, 2
COLORS = {ADD: QColor("#2fbf71"), REMOVE: QColor("#e5484d")}
BACKGROUND_SHARE = 0.2
"""How much of the picture shows through where it is not the object."""
HANDLE = 9
"""Side of the box's handles, in pixels of the screen."""
POINT_RADIUS = 7
"""Of a point's disc, in pixels of the screen."""
MAX_ZOOM = 16.0

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float, bool], ...]
"""x and y in pixels of the picture, and whether the object is there or not."""

_BOX_TIP = "Draw a box around the object"
_POINTS_TIP = (
    "Draw a box around the object, or click points on it; Shift or the right button: points that are not on it; "
    "a click on a point takes it away"
)
_HINT = "Click on the object, or draw a box"
"""Over the picture until there is a point or a box."""


@dataclass(frozen=True)
class BoxEdit:
    """The box was drawn, moved or removed."""

    box: Box | None


@dataclass(frozen=True)
class PointsEdit:
    """A point was set or taken away: all points as they are now."""

    points: Points


@dataclass(frozen=True)
class Stroke:
    """A line was painted: a label, a width and points, in pixels of the picture."""

    label: int
    width: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Reset:
    """Box, points and strokes were all taken away."""


Edit = BoxEdit | PointsEdit | Stroke | Reset


class Edits:
    """Everything the user did to one picture, in order; box and points follow from it. Undo has no limit."""

    def __init__(self, box: Box | None = None, points: Points = ()) -> None:
        self._first_box, self._first_points = box, points
        self._all: list[Edit] = []
        self._count = 0

    @property
    def done(self) -> list[Edit]:
        """The edits in force, oldest first."""
        return self._all[: self._count]

    @property
    def box(self) -> Box | None:
        """The box in force."""
        for edit in reversed(self.done):
            if isinstance(edit, Reset):
                return None
            if isinstance(edit, BoxEdit):
                return edit.box
        return self._first_box

    @property
    def points(self) -> Points:
        """The points in force."""
        for edit in reversed(self.done):
            if isinstance(edit, Reset):
                return ()
            if isinstance(edit, PointsEdit):
                return edit.points
        return self._first_points

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self._count > 0

    @property
    def can_redo(self) -> bool:
        """Whether an edit was taken back and nothing done since."""
        return self._count < len(self._all)

    def do(self, edit: Edit) -> None:
        """Add an edit; what was undone before is forgotten."""
        self._all[self._count :] = [edit]
        self._count += 1

    def step(self, by: int) -> None:
        """Undo (-1) or redo (+1)."""
        self._count = min(max(self._count + by, 0), len(self._all))


class ForegroundEditor(QWidget):
    """Shows a picture with everything but the object faded, and lets the user say what the object is.

    A box is dragged around the object; strokes paint what belongs to it (green) and what does not (red). Where points
    are allowed, clicks set some on the object (green) and off it (red). All is in pixels of the picture.
    """

    edited = Signal(object, object, object)
    """The user changed something: the box (x0, y0, x1, y1) or None, the strokes uint8 (H, W) or None, the points."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas = Canvas()
        self.canvas.edited.connect(lambda: self.edited.emit(self.box(), self.strokes(), self.points()))
        self.canvas.changed.connect(self._refresh)
        self.setFocusProxy(self.canvas)
        # The style sheet of the window knows no checked flat button.
        self.setStyleSheet(
            "QToolButton#flat:checked { background: palette(alternate-base); border: 1px solid palette(highlight); }"
        )

        tools = QHBoxLayout()
        tools.setContentsMargins(0, 0, 0, 0)
        tools.setSpacing(2)
        self.tool_buttons: dict[str, IconButton] = {}
        for tool, icon, text, key in (
            ("box", "select", _BOX_TIP, "B"),
            ("add", "brush-add", "Paint what belongs to the object; Shift or the right button: what does not", "A"),
            ("remove", "brush-remove", "Paint what does not belong to the object", "R"),
        ):
            button = self._button(icon, text, key, lambda tool=tool: self.set_tool(tool))
            button.setCheckable(True)
            self.tool_buttons[tool] = button
            tools.addWidget(button)
        tools.addStretch(1)
        undo, redo = QKeySequence.StandardKey.Undo, QKeySequence("Ctrl+Shift+Z")
        self.undo_button = self._button("undo", "Undo", undo, lambda: self.canvas.step(-1))
        self.redo_button = self._button("redo", "Redo", redo, lambda: self.canvas.step(+1))
        self.reset_button = self._button(
            "eraser", "Remove the box, all points and all strokes", "Ctrl+Backspace", self.canvas.reset
        )
        self.fit_button = self._button("fit", "Fit the picture", "0", self.canvas.fit)
        for button in (self.undo_button, self.redo_button, self.reset_button, self.fit_button):
            tools.addWidget(button)
        for keys, act in (
            ("Ctrl+Y", lambda: self.canvas.step(+1)),
            ("[", lambda: self.canvas.scale_brush(1 / 1.25)),
            ("]", lambda: self.canvas.scale_brush(1.25)),
            ("+", lambda: self.canvas.zoom(1.25)),
            ("-", lambda: self.canvas.zoom(1 / 1.25)),
            ("Del", self.canvas.remove_box),
        ):
            self._shortcut(keys, act)

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(tools)
        column.addWidget(self.canvas, 1)
        self.set_tool("box")

    def set_picture(self, picture: Any, box: Box | None = None, strokes: Any = None, points: Points = ()) -> None:
        """Show another picture, uint8 (H, W, 4), with what was drawn on it before, and forget all edits."""
        self.canvas.set_picture(picture, box, strokes, points)

    def set_mask(self, mask: Any) -> None:
        """Fade what is not the object: `mask` is float (H, W) in 0..1, None to fade nothing."""
        self.canvas.set_mask(mask)

    def allow_points(self, allowed: bool, *, hint: bool = True) -> None:
        """Let clicks of the box tool set points, and show those there are; else they are kept out of sight.

        With `hint` the picture says so until there is one.
        """
        self.canvas.allow_points(allowed, hint)
        tip = with_key(_POINTS_TIP if allowed else _BOX_TIP, "B")
        self.tool_buttons["box"].setToolTip(tip)
        self.tool_buttons["box"].setAccessibleName(tip)
        self._refresh()

    def set_tool(self, tool: str) -> None:
        """Draw with `box`, `add` or `remove`."""
        self.canvas.set_tool(tool)
        for name, button in self.tool_buttons.items():
            button.setChecked(name == tool)

    def box(self) -> tuple[int, int, int, int] | None:
        """The box (x0, y0, x1, y1) in pixels of the picture, None if there is none."""
        box = self.canvas.edits.box
        return None if box is None else (round(box[0]), round(box[1]), round(box[2]), round(box[3]))

    def points(self) -> Points:
        """The points (x, y, whether the object is there) in pixels of the picture, in the order they were set."""
        return self.canvas.edits.points

    def strokes(self) -> Any:
        """What was painted, uint8 (H, W): 0 nothing, 1 object, 2 background; None if nothing was."""
        return self.canvas.strokes()

    def _button(self, icon: str, text: str, key: Any, act: Any) -> IconButton:
        button = IconButton(icon, with_key(text, key), act)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._shortcut(key, button.click)
        return button

    def _shortcut(self, key: Any, act: Any) -> None:
        shortcut = QShortcut(QKeySequence(key), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(act)

    def _refresh(self) -> None:
        edits = self.canvas.edits
        self.undo_button.setEnabled(edits.can_undo)
        self.redo_button.setEnabled(edits.can_redo)
        self.reset_button.setEnabled(self.canvas.is_marked)


class Canvas(QWidget):
    """The drawing area of the editor."""

    edited = Signal()
    """Box, points or strokes are other than before; a drag counts when it ends."""
    changed = Signal()
    """As `edited`, and for a new picture."""

    def __init__(self) -> None:
        super().__init__()
        self.edits = Edits()
        self.has_strokes = False
        self.tool = "box"
        self.points_allowed = self._hint = False
        self._pixels: Any = None
        self._shown = QImage()
        self._reduced = QImage()
        self._painted = QImage()
        self._first_strokes, self._had_strokes = QImage(), False
        self._brush = 20.0
        self._scale, self._offset = 1.0, QPointF()
        self._fitted = True
        self._drag: tuple[Any, ...] | None = None
        self._space = False
        self._pointer: QPointF | None = None
        self._draft_box: Box | None = None
        self._draft_stroke: tuple[int, list[QPointF]] | None = None
        self._draft_point: tuple[QPointF, bool] | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 90)
        self.setAccessibleName("Foreground")
        self.setAccessibleDescription("The picture; draw a box around the object and paint what belongs to it")

    @property
    def is_marked(self) -> bool:
        """Whether there is anything that `reset` would take away."""
        return self.edits.box is not None or self.has_strokes or bool(self._shown_points)

    @property
    def _shown_points(self) -> Points:
        return self.edits.points if self.points_allowed else ()

    # -- content -----------------------------------------------------------------------------------------

    def set_picture(self, picture: Any, box: Box | None, strokes: Any, points: Points) -> None:
        """Show another picture and forget all edits."""
        self._pixels = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        self.edits = Edits(box, tuple((float(x), float(y), bool(add)) for x, y, add in points))
        self._first_strokes = QImage(width, height, QImage.Format.Format_ARGB32_Premultiplied)
        self._first_strokes.fill(Qt.GlobalColor.transparent)
        self._had_strokes = strokes is not None and bool(np.any(strokes))
        if self._had_strokes:
            rgba = np.zeros((height, width, 4), np.uint8)
            for label, color in COLORS.items():
                rgba[np.asarray(strokes) == label] = color.getRgb()
            self._first_strokes = to_qimage(rgba).convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)
        self._brush = max(2.0, 0.03 * max(width, height))
        self._stop_drag()
        self._repaint_strokes()
        self.set_mask(None)
        self.fit()
        self.changed.emit()

    def set_mask(self, mask: Any) -> None:
        """Fade the picture by a mask."""
        if self._pixels is None:
            return
        rgba = self._pixels
        if mask is not None and mask.shape == rgba.shape[:2]:
            share = np.asarray(mask * (255.0 * (1.0 - BACKGROUND_SHARE)) + (255.0 * BACKGROUND_SHARE + 0.5), np.uint8)
            rgba = rgba.copy()
            # The smaller of the two is their product wherever one of them is full.
            np.minimum(rgba[..., 3], share, out=rgba[..., 3])
        height, width = rgba.shape[:2]
        image = QImage(rgba.data, width, height, width * 4, QImage.Format.Format_RGBA8888)
        self._shown = image.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)
        self._reduced = QImage()
        self.update()

    def strokes(self) -> Any:
        """Labels of what was painted, or None."""
        if not self.has_strokes:
            return None
        image = self._painted.convertToFormat(QImage.Format.Format_RGBA8888)
        pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1, 4)[:, : image.width()]
        labels = np.where(pixels[..., 1] > pixels[..., 0], ADD, REMOVE)
        return np.where(pixels[..., 3] > 0, labels, 0).astype(np.uint8)

    # -- edits -------------------------------------------------------------------------------------------

    def set_tool(self, tool: str) -> None:
        """Draw with another tool."""
        self._stop_drag()
        self.tool = tool
        self._update_cursor()
        self.update()

    def allow_points(self, allowed: bool, hint: bool) -> None:
        """Set points by clicks of the box tool, and show them."""
        self.points_allowed, self._hint = allowed, hint
        self._update_cursor()
        self.update()

    def step(self, by: int) -> None:
        """Undo (-1) or redo (+1)."""
        if self._drag is None and (self.edits.can_undo if by < 0 else self.edits.can_redo):
            self.edits.step(by)
            self._repaint_strokes()
            self._tell()

    def reset(self) -> None:
        """Take box, points and strokes away; can be undone."""
        if self.is_marked:
            self._do(Reset())

    def remove_box(self) -> None:
        """Take the box away; can be undone."""
        if self.edits.box is not None:
            self._do(BoxEdit(None))

    def click_point(self, at: QPointF, belongs: bool) -> None:
        """Set a point at a place of the screen, or take away the one that is there."""
        points = self.edits.points
        hit = self._point_at(at)
        if hit is not None:
            self._do(PointsEdit(points[:hit] + points[hit + 1 :]))
            return
        place = self.to_picture(at)
        if 0 <= place.x() <= self._shown.width() and 0 <= place.y() <= self._shown.height():
            self._do(PointsEdit((*points, (round(place.x(), 1), round(place.y(), 1), belongs))))

    def scale_brush(self, factor: float) -> None:
        """Make the brush wider or narrower."""
        longest = max(self._shown.width(), self._shown.height(), 1)
        self._brush = min(max(self._brush * factor, 1.0), 0.5 * longest)
        self.update()

    def _do(self, edit: Edit) -> None:
        self.edits.do(edit)
        if isinstance(edit, Stroke):
            painter = QPainter(self._painted)
            _paint_stroke(painter, edit)
            painter.end()
            self.has_strokes = True
        elif isinstance(edit, Reset):
            self._repaint_strokes()
        self._tell()

    def _tell(self) -> None:
        self.update()
        self.changed.emit()
        self.edited.emit()

    def _repaint_strokes(self) -> None:
        self._painted = self._first_strokes.copy()
        self.has_strokes = self._had_strokes
        painter = QPainter(self._painted)
        for edit in self.edits.done:
            if isinstance(edit, Stroke):
                _paint_stroke(painter, edit)
                self.has_strokes = True
            elif isinstance(edit, Reset):
                painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
                painter.fillRect(self._painted.rect(), Qt.GlobalColor.transparent)
                painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)
                self.has_strokes = False
        painter.end()

    # -- view --------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Show the whole picture as large as it fits."""
        self._fitted = True
        if not self._shown.isNull():
            room = QRectF(self.rect()).adjusted(2, 2, -2, -2)
            width, height = self._shown.width(), self._shown.height()
            self._scale = max(min(room.width() / width, room.height() / height), 1e-3)
            self._offset = room.center() - QPointF(width, height) * self._scale / 2
        self.update()

    def zoom(self, factor: float, about: QPointF | None = None) -> None:
        """Enlarge by `factor` about a point of the screen (default: the middle)."""
        if self._shown.isNull():
            return
        about = about or QPointF(self.rect().center())
        whole = min(self.width() / self._shown.width(), self.height() / self._shown.height())
        scale = min(max(self._scale * factor, 0.5 * whole), max(MAX_ZOOM, whole))
        self._offset = about - (about - self._offset) * (scale / self._scale)
        self._scale = scale
        self._fitted = False
        self.update()

    def to_picture(self, point: QPointF) -> QPointF:
        """A point of the screen in pixels of the picture."""
        return (point - self._offset) / self._scale

    def to_screen(self, point: QPointF) -> QPointF:
        """A pixel of the picture on the screen."""
        return point * self._scale + self._offset

    def _screen_box(self, box: Box) -> QRectF:
        return QRectF(self.to_screen(QPointF(box[0], box[1])), self.to_screen(QPointF(box[2], box[3])))

    def _handles(self, box: Box) -> dict[tuple[int, int], QPointF]:
        """Screen positions of the handles by (x, y) side: -1 low, 0 middle, 1 high."""
        r = self._screen_box(box)
        xs, ys = (r.left(), r.center().x(), r.right()), (r.top(), r.center().y(), r.bottom())
        return {(i - 1, j - 1): QPointF(xs[i], ys[j]) for i in range(3) for j in range(3) if (i, j) != (1, 1)}

    def _grip(self, point: QPointF) -> tuple[int, int] | None:
        """Which handle is at a point of the screen; (0, 0) is the inside of the box."""
        box = self.edits.box
        if box is None:
            return None
        handles = self._handles(box)
        nearest = min(handles, key=lambda side: QLineF(handles[side], point).length())
        if QLineF(handles[nearest], point).length() <= HANDLE:
            return nearest
        return (0, 0) if self._screen_box(box).contains(point) else None

    def _point_at(self, spot: QPointF) -> int | None:
        """Which point is at a place of the screen, the last one of several."""
        distances = [QLineF(self.to_screen(QPointF(x, y)), spot).length() for x, y, _ in self._shown_points]
        return max((i for i, d in enumerate(distances) if d <= POINT_RADIUS + 1), default=None)

    def _update_cursor(self) -> None:
        shape = Qt.CursorShape.CrossCursor
        if self._drag is not None and self._drag[0] == "pan":
            shape = Qt.CursorShape.ClosedHandCursor
        elif self._space:
            shape = Qt.CursorShape.OpenHandCursor
        elif self._pixels is None:
            shape = Qt.CursorShape.ArrowCursor
        elif self.tool == "box" and self._pointer is not None:
            grip: Any = self._drag[1] if self._drag is not None else self._grip(self._pointer)
            shape = _GRIP_CURSORS.get(grip, shape)
            if self._drag is None and self._point_at(self._pointer) is not None:
                shape = Qt.CursorShape.PointingHandCursor
        self.setCursor(shape)

    # -- drags -------------------------------------------------------------------------------------------

    def _box_during(self, point: QPointF) -> Box | None:
        _, grip, start, before = self._drag or ("", None, point, None)
        size = (self._shown.width(), self._shown.height())
        now, first = self.to_picture(point), self.to_picture(start)
        if grip is None or before is None:
            x0, x1 = sorted((first.x(), now.x()))
            y0, y1 = sorted((first.y(), now.y()))
        elif grip == (0, 0):
            dx = min(max(now.x() - first.x(), -before[0]), size[0] - before[2])
            dy = min(max(now.y() - first.y(), -before[1]), size[1] - before[3])
            x0, y0, x1, y1 = before[0] + dx, before[1] + dy, before[2] + dx, before[3] + dy
        else:
            xs, ys = [before[0], before[2]], [before[1], before[3]]
            for values, side, moved in ((xs, grip[0], now.x() - first.x()), (ys, grip[1], now.y() - first.y())):
                if side:
                    values[(side + 1) // 2] += moved
            (x0, x1), (y0, y1) = sorted(xs), sorted(ys)
        box = max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1]))
        return box if box[2] - box[0] >= 2 and box[3] - box[1] >= 2 else None

    def _stop_drag(self) -> None:
        self._drag = self._draft_box = self._draft_stroke = self._draft_point = None
        self._update_cursor()
        self.update()

    # -- Qt ----------------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        return QSize(320, 240)

    def resizeEvent(self, event: Any) -> None:
        if self._fitted:
            self.fit()

    def mousePressEvent(self, event: Any) -> None:
        if self._pixels is None or self._drag is not None:
            return
        point, button = event.position(), event.button()
        left, right = button == Qt.MouseButton.LeftButton, button == Qt.MouseButton.RightButton
        other = right or bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if button == Qt.MouseButton.MiddleButton or (left and self._space):
            self._drag = ("pan", None, point, self._offset)
        elif self.tool == "box" and (left or (right and self.points_allowed)):
            grip = self._grip(point)
            self._drag = ("box", grip, point, self.edits.box) if left else ("point", None, point, None)
            # Until the pointer moves it may be a click; one on a handle is a drag that came to nothing.
            if self.points_allowed and (grip in (None, (0, 0)) or self._point_at(point) is not None):
                self._draft_point = (point, not other)
        elif self.tool != "box" and (left or right):
            label = ADD if (self.tool == "add") != other else REMOVE
            self._drag = ("stroke", None, point, None)
            self._draft_stroke = (label, [self.to_picture(point)])
        self._update_cursor()
        self.update()

    def mouseMoveEvent(self, event: Any) -> None:
        point = self._pointer = event.position()
        if self._drag is None:
            self._update_cursor()
        elif self._drag[0] == "pan":
            self._offset = self._drag[3] + point - self._drag[2]
            self._fitted = False
        elif self._drag[0] in ("box", "point"):
            moved = QLineF(self._drag[2], point).length() >= 3
            if moved:
                self._draft_point = None
            if self._drag[0] == "box":
                self._draft_box = self._box_during(point) if moved or self._draft_box is not None else None
        elif self._draft_stroke is not None:
            self._draft_stroke[1].append(self.to_picture(point))
        self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        drag, box, stroke, click = self._drag, self._draft_box, self._draft_stroke, self._draft_point
        if drag is None:
            return
        self._stop_drag()
        if click is not None:
            self.click_point(*click)
        elif box is not None and box != self.edits.box:
            self._do(BoxEdit(box))
        elif stroke is not None:
            points = tuple((p.x(), p.y()) for p in stroke[1])
            self._do(Stroke(stroke[0], self._brush, points))
        self._update_cursor()

    def wheelEvent(self, event: Any) -> None:
        turns = event.angleDelta().y() / 120.0
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.scale_brush(1.15**turns)
        else:
            self.zoom(1.2**turns, event.position())
        event.accept()

    def leaveEvent(self, event: Any) -> None:
        self._pointer = None
        self.update()

    def event(self, event: Any) -> bool:
        # Esc ends a drag before it is the window's to cancel a run with.
        if event.type() == QEvent.Type.ShortcutOverride and event.key() == Qt.Key.Key_Escape and self._drag is not None:
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: Any) -> None:
        if event.key() == Qt.Key.Key_Space:
            self._space = True
            self._update_cursor()
        elif event.key() == Qt.Key.Key_Escape and self._drag is not None:
            self._stop_drag()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: Any) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self._update_cursor()
        else:
            super().keyReleaseEvent(event)

    def focusOutEvent(self, event: Any) -> None:
        self._space = False
        self._update_cursor()
        super().focusOutEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    def paintEvent(self, event: Any) -> None:
        if self._shown.isNull():
            return
        painter = QPainter(self)
        target = QRectF(self._offset, QPointF(self._shown.width(), self._shown.height()) * self._scale + self._offset)
        visible = target.intersected(QRectF(self.rect()))
        self._paint_checks(painter, visible)
        self._paint_picture(painter, target, visible)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipRect(visible)
        self._paint_strokes(painter, target)
        painter.setClipping(False)
        box = self._draft_box or self.edits.box
        if box is not None:
            self._paint_box(painter, box)
        self._paint_points(painter)
        if self.points_allowed and self._hint and self.tool == "box" and box is None and not self._shown_points:
            self._paint_hint(painter)
        if self.tool != "box" and self._pointer is not None and not self._space:
            radius = self._brush * self._scale / 2
            for color, width in ((QColor(0, 0, 0, 150), 3.0), (QColor(255, 255, 255), 1.2)):
                painter.setPen(QPen(color, width))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawEllipse(self._pointer, radius, radius)

    def _paint_checks(self, painter: QPainter, area: QRectF) -> None:
        base = self.palette().base().color()
        other = base.lighter(135) if base.lightness() < 128 else base.darker(108)
        tile = QImage(16, 16, QImage.Format.Format_RGB32)
        tile.fill(base)
        tiles = QPainter(tile)
        tiles.fillRect(0, 0, 8, 8, other)
        tiles.fillRect(8, 8, 8, 8, other)
        tiles.end()
        painter.setBrushOrigin(self._offset)
        painter.fillRect(area, QBrush(tile))

    def _paint_picture(self, painter: QPainter, target: QRectF, visible: QRectF) -> None:
        ratio = self._scale * self.devicePixelRatioF()
        if ratio < 1.0:
            # Reduced once and kept: Qt's own reduction while painting samples too few pixels and costs every time.
            size = (target.size() * self.devicePixelRatioF()).toSize().expandedTo(QSize(1, 1))
            if self._reduced.size() != size:
                smooth = Qt.TransformationMode.SmoothTransformation
                self._reduced = self._shown.scaled(size, Qt.AspectRatioMode.IgnoreAspectRatio, smooth)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(target, self._reduced)
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self._scale < 3.0)
        painter.drawImage(
            visible, self._shown, QRectF(self.to_picture(visible.topLeft()), visible.size() / self._scale)
        )

    def _paint_strokes(self, painter: QPainter, target: QRectF) -> None:
        painter.setOpacity(0.55)
        if self.has_strokes:
            painter.drawImage(target, self._painted)
        if self._draft_stroke is not None:
            painter.save()
            painter.translate(self._offset)
            painter.scale(self._scale, self._scale)
            label, points = self._draft_stroke
            _paint_stroke(painter, Stroke(label, self._brush, tuple((p.x(), p.y()) for p in points)))
            painter.restore()
        painter.setOpacity(1.0)

    def _paint_box(self, painter: QPainter, box: Box) -> None:
        accent, rect = self.palette().highlight().color(), self._screen_box(box)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(0, 0, 0, 110), 3.5))
        painter.drawRect(rect)
        painter.setPen(QPen(accent, 1.8))
        painter.drawRect(rect)
        if self.tool == "box":
            painter.setPen(QPen(QColor(0, 0, 0, 140), 1.0))
            painter.setBrush(accent)
            for point in self._handles(box).values():
                painter.drawRoundedRect(QRectF(point.x() - HANDLE / 2, point.y() - HANDLE / 2, HANDLE, HANDLE), 2, 2)

    def _paint_points(self, painter: QPainter) -> None:
        arm = POINT_RADIUS * 0.5
        for x, y, belongs in self._shown_points:
            at = self.to_screen(QPointF(x, y))
            painter.setPen(QPen(QColor(0, 0, 0, 120), 4.0))
            painter.setBrush(COLORS[ADD if belongs else REMOVE])
            painter.drawEllipse(at, POINT_RADIUS, POINT_RADIUS)
            painter.setPen(QPen(QColor(255, 255, 255), 1.8))
            painter.drawEllipse(at, POINT_RADIUS, POINT_RADIUS)
            painter.drawLine(at - QPointF(arm, 0), at + QPointF(arm, 0))
            if belongs:
                painter.drawLine(at - QPointF(0, arm), at + QPointF(0, arm))

    def _paint_hint(self, painter: QPainter) -> None:
        metrics = self.fontMetrics()
        text = metrics.elidedText(_HINT, Qt.TextElideMode.ElideRight, self.width() - 32)
        pill = QRectF(0, 0, metrics.horizontalAdvance(text) + 20, metrics.height() + 8)
        pill.moveCenter(QPointF(self.width() / 2, self.height() - pill.height()))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(0, 0, 0, 170))
        painter.drawRoundedRect(pill, pill.height() / 2, pill.height() / 2)
        painter.setPen(QColor(255, 255, 255))
        painter.drawText(pill, Qt.AlignmentFlag.AlignCenter, text)


_GRIP_CURSORS = {
    (0, 0): Qt.CursorShape.SizeAllCursor,
    (-1, 0): Qt.CursorShape.SizeHorCursor,
    (1, 0): Qt.CursorShape.SizeHorCursor,
    (0, -1): Qt.CursorShape.SizeVerCursor,
    (0, 1): Qt.CursorShape.SizeVerCursor,
    (-1, -1): Qt.CursorShape.SizeFDiagCursor,
    (1, 1): Qt.CursorShape.SizeFDiagCursor,
    (-1, 1): Qt.CursorShape.SizeBDiagCursor,
    (1, -1): Qt.CursorShape.SizeBDiagCursor,
}


def _paint_stroke(painter: QPainter, stroke: Stroke) -> None:
    """Paint a stroke in pixels of the picture, without soft edges where the painter has none."""
    round_cap, round_join = Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin
    painter.setPen(QPen(QBrush(COLORS[stroke.label]), stroke.width, Qt.PenStyle.SolidLine, round_cap, round_join))
    if len(stroke.points) == 1:
        painter.drawPoint(QPointF(*stroke.points[0]))
    else:
        painter.drawPolyline(QPolygonF([QPointF(*point) for point in stroke.points]))

"""The 8 principal views with their 32 neighbours, in a grid that fills as they come, and one of them enlarged.

A method that needs no source views has the 8 alone.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QAction, QImage, QKeyEvent, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QHBoxLayout, QMenu, QPushButton, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from engine import cameras
from widgets.kit.buttons import IconButton
from widgets.kit.images import opaque, paint_fitted, to_qimage
from widgets.kit.labels import label
from widgets.kit.overlay import Overlay
from widgets.kit.theme import theme

ORDER = [
    name for i in range(8) for name in (cameras.principal_name(i), *(cameras.source_name(4 * i + j) for j in range(4)))
]
"""Names of all 40 views, each principal view followed by its neighbours."""
NEIGHBOUR_WORDS = ("10° above", "10° below", "10° clockwise", "10° counter-clockwise")


def principal_index(name: str) -> int:
    """Index 0..7 of the principal view that `name` is or belongs to."""
    return int(name.split("_")[1])


def describe(name: str, elevation: float) -> str:
    """A view in words: which one it is and from where it looks."""
    parts = name.split("_")
    i = int(parts[1])
    pose = cameras.principal_poses(elevation)[i]
    text = f"View {i + 1}"
    if len(parts) > 2:
        j = int(parts[2])
        pose = cameras.neighbour_poses(pose)[j]
        text += f", {NEIGHBOUR_WORDS[j]}"
    return f"{text}: elevation {pose.elevation:.0f}°, azimuth {pose.azimuth % 360:.0f}°"


class ViewsGrid(QWidget):
    """All 40 views. Arrows move, Return enlarges, R retries, the mouse does all of it too."""

    hovered = Signal(str)
    """The view under the mouse in words; empty when there is none."""
    enlarge_requested = Signal(str)
    retry_requested = Signal(int)
    """Index 0..7 of the principal view to draw again."""
    ACROSS: tuple[int, ...] = (2,)
    """Numbers of cards that may stand beside each other; the one with the largest pictures does."""
    HINT = "Click or Return: enlarge"

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Views of the object")
        self.images: dict[str, QImage] = {}
        self.elevation = 0.0
        self.can_retry = False
        self.neighbours = True
        """Whether the 32 neighbours are there to be shown, beside the principal views."""
        self.current = ORDER[0]
        """The view that the keyboard is at."""
        self._hovered = ""
        self._busy: int | None = None
        theme.changed.connect(self.update)

    def clear(self) -> None:
        """Empty all cells."""
        self.images.clear()
        self._busy = None
        self.update()

    def set_elevation(self, elevation: float) -> None:
        """Elevation of the input camera in degrees, from which the poses follow."""
        self.elevation = elevation
        self.update()

    def show_neighbours(self, on: bool) -> None:
        """Show all 40 views, or the principal ones alone and larger."""
        self.neighbours = on
        if not on:
            self.current = cameras.principal_name(principal_index(self.current))
        self.update()

    @property
    def names(self) -> list[str]:
        """Names of the views that have a cell."""
        return ORDER if self.neighbours else [cameras.principal_name(i) for i in range(8)]

    def set_view(self, name: str, picture: Any) -> None:
        """Fill the cell `name` (`view_0` or `view_0_2_10`) with an engine picture (H, W, 4) or a QImage."""
        if name in ORDER:
            self.images[name] = picture if isinstance(picture, QImage) else to_qimage(opaque(picture))
            if self._busy is not None and principal_index(name) == self._busy and len(name.split("_")) == 2:
                self._busy = None
            self.update()

    def set_busy(self, index: int | None) -> None:
        """Mark principal view `index` as being drawn again."""
        self._busy = index
        self.update()

    def cell(self, name: str) -> QRect:
        """Where the view `name` is painted."""
        i = principal_index(name)
        gap, inner, head = theme.px(10), theme.px(3), theme.px(20)
        # A card is a principal view (side s), and its neighbours two by two at its right (side s / 2).
        numbers = self.ACROSS if self.neighbours else (2, 4)
        across, side = max(((n, self._side(n)) for n in numbers), key=lambda found: found[1])
        half = (side - inner) // 2
        card_width = side + inner + 2 * half + inner if self.neighbours else side
        down = 8 // across
        left = (self.width() - across * card_width - (across - 1) * gap) // 2 + (i // down) * (card_width + gap)
        top = head + (i % down) * (side + gap)
        parts = name.split("_")
        if len(parts) == 2:
            return QRect(left, top, side, side)
        # Above, below, clockwise, counter-clockwise: two by two.
        j = int(parts[2])
        column, row = ((0, 0), (0, 1), (1, 0), (1, 1))[j]
        return QRect(left + side + inner + column * (half + inner), top + row * (half + inner), half, half)

    def _side(self, across: int) -> int:
        """Side of a principal view if so many cards stand beside each other."""
        gap, inner, head = theme.px(10), theme.px(3), theme.px(20)
        down = 8 // across
        wide = (self.width() - (across - 1) * gap) // across
        if self.neighbours:
            wide = (wide - inner) // 2
        return max(min(wide, (self.height() - head - (down - 1) * gap) // down), 24)

    def view_at(self, position: QPoint) -> str:
        """Name of the view at a position, or nothing."""
        return next((name for name in self.names if self.cell(name).contains(position)), "")

    def select(self, name: str) -> None:
        """Move the keyboard's frame to `name`."""
        self.current = name
        self.hovered.emit(describe(name, self.elevation))
        self.update()

    def retry(self, name: str) -> None:
        """Ask for another drawing of the principal view that `name` belongs to."""
        if self.can_retry:
            self.retry_requested.emit(principal_index(name))

    def heading(self, first: int) -> str:
        """What stands above the four cards from principal view `first` on."""
        if not self.images:
            return "Level" if first == 0 else "Tilted"
        return f"From {cameras.principal_poses(self.elevation)[first].elevation:.0f}°".replace("-", "−")

    def sizeHint(self) -> QSize:
        return QSize(theme.px(320), theme.px(370))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(240), theme.px(240))

    def paintEvent(self, event: object) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.font(12))
        painter.setPen(theme.color("muted"))
        lefts = [self.cell(cameras.principal_name(first)).left() for first in (0, 4)]
        for first, left in zip((0, 4), lefts, strict=True):
            room = QRect(left, 0, lefts[1] - lefts[0] - theme.px(4), theme.px(16))
            text = painter.fontMetrics().elidedText(self.heading(first), Qt.TextElideMode.ElideRight, room.width())
            painter.drawText(room, Qt.AlignmentFlag.AlignLeft, text)
        for name in self.names:
            self._paint_cell(painter, name)

    def _paint_cell(self, painter: QPainter, name: str) -> None:
        rect = self.cell(name)
        shape = QPainterPath()
        shape.addRoundedRect(rect.toRectF(), theme.px(4), theme.px(4))
        image = self.images.get(name)
        painter.fillPath(shape, theme.color("picture" if image else "raised"))
        if image:
            painter.save()
            painter.setClipPath(shape)
            paint_fitted(painter, image, rect)
            painter.restore()
        busy = self._busy is not None and principal_index(name) == self._busy
        if busy:
            veil = theme.color("surface")
            veil.setAlpha(190)
            painter.fillPath(shape, veil)
        if (not image or busy) and len(name.split("_")) == 2:
            painter.setPen(theme.color("text" if busy else "strong_border"))
            text = "drawing…" if busy else str(principal_index(name) + 1)
            painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, text)
        framed = name == self._hovered or (self.hasFocus() and name == self.current)
        painter.setPen(QPen(theme.color("accent" if framed else "border"), theme.px(2) if framed else 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(shape)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            name = self.view_at(event.pos())  # type: ignore[attr-defined]
            if name:
                text = describe(name, self.elevation)
                if name in self.images:
                    text += f"\n{self.HINT}"
                if self.can_retry:
                    text += "\nR: draw this view again"
                QToolTip.showText(event.globalPos(), text, self)  # type: ignore[attr-defined]
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def mouseMoveEvent(self, event: Any) -> None:
        name = self.view_at(event.position().toPoint())
        if name != self._hovered:
            self._hovered = name
            self.hovered.emit(describe(name, self.elevation) if name else "")
            self.setCursor(Qt.CursorShape.PointingHandCursor if name in self.images else Qt.CursorShape.ArrowCursor)
            self.update()

    def leaveEvent(self, event: object) -> None:
        self._hovered = ""
        self.hovered.emit("")
        self.update()

    def mousePressEvent(self, event: Any) -> None:
        name = self.view_at(event.position().toPoint())
        if name:
            self.current = name
            self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        name = self.view_at(event.position().toPoint())
        if event.button() == Qt.MouseButton.LeftButton and name in self.images and name == self.current:
            self.enlarge_requested.emit(name)

    def contextMenuEvent(self, event: Any) -> None:
        name = self.view_at(event.pos()) or self.current
        menu = QMenu(self)
        enlarge = QAction("Enlarge\tReturn", menu)
        enlarge.setEnabled(name in self.images)
        enlarge.triggered.connect(lambda: self.enlarge_requested.emit(name))
        retry = QAction(f"Retry view {principal_index(name) + 1} and rebuild\tR", menu)
        retry.setEnabled(self.can_retry)
        retry.triggered.connect(lambda: self.retry(name))
        menu.addActions([enlarge, retry])
        menu.exec(event.globalPos())
        menu.deleteLater()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        steps = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1)}
        if key in steps:
            self._move(*steps[Qt.Key(key)])
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and not event.modifiers():
            if self.current in self.images:
                self.enlarge_requested.emit(self.current)
        elif key == Qt.Key.Key_R and not event.modifiers():
            self.retry(self.current)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: object) -> None:
        self.update()

    def focusOutEvent(self, event: object) -> None:
        self.hovered.emit("")
        self.update()

    def _move(self, dx: int, dy: int) -> None:
        """Go to the nearest view that lies in a direction."""
        here, best = self.cell(self.current).center(), (1e9, self.current)
        for name in self.names:
            offset = self.cell(name).center() - here
            ahead, aside = offset.x() * dx + offset.y() * dy, abs(offset.x() * dy) + abs(offset.y() * dx)
            if ahead > 0 and aside <= ahead * 2:
                best = min(best, (ahead + 2 * aside, name))
        self.select(best[1])


class ViewOverlay(Overlay):
    """One view, as large as the window. Arrows go to the next, R retries, Esc closes."""

    def __init__(self, parent: QWidget, grid: ViewsGrid) -> None:
        super().__init__(parent)
        self._grid = grid
        self.closed.connect(lambda: grid.hovered.emit(""))
        self._name = ORDER[0]
        self._caption = label("", "heading")
        self._caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._retry = QPushButton("Retry this view")
        self._retry.setToolTip("Draw this view and its neighbours again, then rebuild the mesh (R)")
        self._retry.clicked.connect(self._retry_now)
        bar = QHBoxLayout()
        bar.addWidget(IconButton("left", "Previous view (Left)", lambda: self.step(-1)))
        bar.addStretch(1)
        bar.addWidget(self._caption)
        bar.addSpacing(18)
        bar.addWidget(self._retry)
        bar.addStretch(1)
        bar.addWidget(IconButton("right", "Next view (Right)", lambda: self.step(1)))
        column = QVBoxLayout(self)
        column.setContentsMargins(28, 24, 28, 22)
        column.addStretch(1)
        column.addLayout(bar)

    def show_view(self, name: str) -> None:
        """Open with the view `name`."""
        self._set(name)
        self.open()

    def step(self, by: int) -> None:
        """Go on to the next view there is, in the order of the grid."""
        there = [name for name in self._grid.names if name in self._grid.images]
        if there:
            at = there.index(self._name) if self._name in there else 0
            self._set(there[(at + by) % len(there)])

    @property
    def name(self) -> str:
        """The view shown."""
        return self._name

    def image(self) -> QImage | None:
        """What is shown of it."""
        return self._grid.images.get(self._name)

    def _set(self, name: str) -> None:
        self._name = name
        self._grid.select(name)
        self._caption.setText(describe(name, self._grid.elevation))
        self._retry.setVisible(self._grid.can_retry)
        self.update()

    def _retry_now(self) -> None:
        self.dismiss()
        self._grid.retry(self._name)

    def paintEvent(self, event: object) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.color("veil"))
        image = self.image()
        if image:
            room = self.rect().adjusted(theme.px(70), theme.px(30), -theme.px(70), -theme.px(80))
            side = min(room.width(), room.height())
            square = QRect(0, 0, side, side)
            square.moveCenter(room.center())
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            shape = QPainterPath()
            shape.addRoundedRect(square.toRectF(), theme.px(10), theme.px(10))
            painter.fillPath(shape, theme.color("picture"))
            painter.setClipPath(shape)
            paint_fitted(painter, image, square)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Up):
            self.step(-1)
        elif key in (Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Space):
            self.step(1)
        elif key == Qt.Key.Key_R and self._grid.can_retry:
            self._retry_now()
        else:
            super().keyPressEvent(event)

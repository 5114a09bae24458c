"""The contact sheet: the 8 + 32 pictures of a model as they come, their depth, and one of them enlarged."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QImage, QKeyEvent, QPainter, QPen
from PySide6.QtWidgets import QWidget

from engine import cameras
from engine.rendering.jobs import RenderSettings
from widgets.kit.theme import theme
from widgets.reconstruct.views_grid import ORDER, ViewOverlay, ViewsGrid, principal_index


class ContactSheet(ViewsGrid):
    """All 40 pictures, or the 8 depth maps. Arrows move, Return or a double click enlarges."""

    selected = Signal(str)
    """The view that the keyboard is at now."""
    large_wanted = Signal(str, bool)
    """The whole picture of a view is wanted, or its depth."""
    ACROSS = (2, 4)
    HINT = "Double click or Return: enlarge"

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Pictures of the model")
        self.show_depth = False
        self._pictures: dict[str, QImage] = {}
        self._depths: dict[str, QImage] = {}
        self._large: dict[tuple[str, bool], QImage] = {}
        self._previewed: set[str] = set()
        self.set_elevation(RenderSettings().elevation)

    # -- content -----------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Empty all cells."""
        for kept in (self._pictures, self._depths, self._large, self._previewed):
            kept.clear()
        super().clear()

    def add(self, pictures: dict[str, QImage], depths: dict[str, QImage]) -> None:
        """Show what has been rendered."""
        for name, image in pictures.items():
            self._pictures[name] = image
            self._previewed.discard(name)
            self._large.pop((name, False), None)
        self._depths |= depths
        self._show()

    def add_preview(self, name: str, image: QImage) -> None:
        """Show the fast preview of a view, unless it has been rendered."""
        if name not in self._pictures or name in self._previewed:
            self._pictures[name] = image
            self._previewed.add(name)
            self._show()

    def set_large(self, name: str, depth: bool, image: QImage) -> None:
        """The whole picture of a view."""
        self._large[name, depth] = image
        self.update()

    def large(self, name: str) -> QImage | None:
        """A view as large as it is there; asks for the whole one."""
        key = (name, self.show_depth)
        if key not in self._large and name in self.images and name not in self._previewed:
            self.large_wanted.emit(*key)
        return self._large.get(key) or self.images.get(name)

    def set_depth(self, on: bool) -> None:
        """Show the depth maps of the principal views in place of the pictures."""
        self.show_depth = on
        if on:
            self.current = cameras.principal_name(principal_index(self.current))
        self._show()

    @property
    def previewed(self) -> bool:
        """Whether fast previews are among what is shown."""
        return bool(self._previewed) and not self.show_depth

    @property
    def count(self) -> int:
        """Pictures that have been rendered."""
        return len(self._pictures) - len(self._previewed)

    # -- inside ------------------------------------------------------------------------------------------

    def _show(self) -> None:
        self.images = self._depths if self.show_depth else self._pictures
        self.update()

    def heading(self, first: int) -> str:
        pose = cameras.principal_poses(self.elevation)[first]
        return f"{'Depth, elevation' if self.show_depth else 'Elevation'} {pose.elevation:.0f}°".replace("-", "−")

    def cell(self, name: str) -> QRect:
        if not self.show_depth:
            return super().cell(name)
        if len(name.split("_")) > 2:
            return QRect()  # neighbours have no depth
        gap, head, i = theme.px(8), theme.px(20), principal_index(name)

        def side(across: int) -> int:
            down = 8 // across
            return min((self.width() + gap) // across - gap, (self.height() - head + gap) // down - gap)

        across = max((2, 4), key=side)
        length, down = max(side(across), 24), 8 // across
        left = (self.width() - across * (length + gap) + gap) // 2
        return QRect(left + i // down * (length + gap), head + i % down * (length + gap), length, length)

    def _paint_cell(self, painter: QPainter, name: str) -> None:
        rect = self.cell(name)
        if rect.isEmpty():
            return
        super()._paint_cell(painter, name)
        if name in self._previewed and not self.show_depth:
            pen = QPen(theme.color("accent"), 1, Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(rect, theme.px(4), theme.px(4))

    def sizeHint(self) -> QSize:
        return QSize(theme.px(360), theme.px(380))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(240), theme.px(200))

    def select(self, name: str) -> None:
        changed = name != self.current
        super().select(name)
        if changed:
            self.selected.emit(name)

    def mousePressEvent(self, event: Any) -> None:
        name = self.view_at(event.position().toPoint())
        if name:
            self.current = name
            self.selected.emit(name)
            self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        pass  # a single click chooses the view; it does not enlarge it

    def mouseDoubleClickEvent(self, event: Any) -> None:
        name = self.view_at(event.position().toPoint())
        if name in self.images:
            self.enlarge_requested.emit(name)

    def contextMenuEvent(self, event: Any) -> None:
        event.ignore()


class SheetOverlay(ViewOverlay):
    """One picture, as large as the window; D shows its depth."""

    depth_toggled = Signal()

    def __init__(self, parent: QWidget, sheet: ContactSheet) -> None:
        super().__init__(parent, sheet)
        self._sheet = sheet

    def image(self) -> QImage | None:
        return self._sheet.large(self.name)

    def refresh(self) -> None:
        """What is shown of the sheet has changed."""
        if self.isVisible():
            if self.name not in self._sheet.images and (there := [n for n in ORDER if n in self._sheet.images]):
                self._set(self._sheet.current if self._sheet.current in there else there[0])
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_D and not event.modifiers():
            self.depth_toggled.emit()
        else:
            super().keyPressEvent(event)

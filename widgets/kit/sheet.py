"""Sheets that open beside a button."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from widgets.kit.labels import label
from widgets.kit.theme import theme


class Sheet(QFrame):
    """A sheet beside the button that opens it; a click elsewhere closes it."""

    def __init__(self, parent: QWidget, heading: str, width: float) -> None:
        """`width` in pixels of the usual text size."""
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("sheet")
        self._width = width
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(18, 14, 18, 16)
        self.column.setSpacing(12)
        self.column.addWidget(label(heading, "heading"))

    def fit(self) -> None:
        """Be as high as what is shown in it."""
        layout, width = self.column, theme.px(self._width)
        layout.activate()
        # Without a wrapping text there is no height for a width.
        height = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else layout.totalSizeHint().height()
        self.setFixedSize(width, height)

    def show_at(self, button: QWidget, *, above: bool = False, right: bool = False) -> None:
        """Show below the button, or `above` it, and on its other side where there is no room.

        The left edges are one below the other, or the `right` ones.
        """
        self.fit()
        across = button.width() - self.width() if right else 0
        over, under = (button.mapToGlobal(QPoint(across, y)) for y in (-self.height() - 4, button.height() + 4))
        screen = button.screen().availableGeometry()
        if above:
            at = over if over.y() >= screen.top() else under
        else:
            at = under if under.y() + self.height() <= screen.bottom() else over
        at.setX(max(min(at.x(), screen.right() - self.width()), screen.left()))
        at.setY(max(at.y(), screen.top()))
        self.move(at)
        self.show()

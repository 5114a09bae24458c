"""A tool bar whose buttons that find no room are in a menu at its end."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QHBoxLayout, QMenu, QToolBar, QToolButton, QWidget


class ToolBar(QWidget):
    """Qt's own, but for the button of what finds no room, which is a dozen pixels wide there."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QToolBar()
        self.more = QToolButton(popupMode=QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setObjectName("flat")
        self.more.setToolTip("What finds no room here")
        self.more.setAccessibleName("More")
        menu = QMenu(self.more)
        menu.aboutToShow.connect(self._fill)
        self.more.setMenu(menu)
        self.more.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.more)

    def set_icons(self, side: int, more: QIcon) -> None:
        """Show icons of `side` pixels, and this one on the button of the menu."""
        self.more.setIcon(more)
        for part in (self.bar, self.more):
            part.setIconSize(QSize(side, side))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.more.setVisible(self.bar.sizeHint().width() > self.width())

    def _fill(self) -> None:
        hidden = [action for action in self.bar.actions() if not self.bar.widgetForAction(action).isVisible()]
        self.more.menu().clear()
        self.more.menu().addActions([action for action in hidden if not action.isSeparator()])

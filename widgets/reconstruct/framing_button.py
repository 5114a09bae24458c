"""How the object is put before the generator: a button with a menu."""

from __future__ import annotations

from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QToolButton

from engine.cameras import FRAME_FRACTION
from widgets.kit.buttons import IconButton

RATIOS = (0.5, 0.6, 0.7, FRAME_FRACTION, 0.8, 0.9, 1.0)


class FramingButton(IconButton):
    """A menu of whether photographs are turned straight, and how much of its frame the object takes."""

    def __init__(self) -> None:
        super().__init__("options", "Framing: turn photographs straight, size of the object in its frame")
        self._menu = menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.upright = menu.addAction("Turn photographs straight")
        self.upright.setCheckable(True)
        self.upright.setToolTip("By its lens and upright edges, as seen by a camera that looks at the object's middle")
        menu.addSection("Object's share of the frame")
        self._ratios = QActionGroup(self)
        for ratio in RATIOS:
            self._offer(ratio)
        self.setMenu(menu)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.choose(True, FRAME_FRACTION)

    def choose(self, upright: bool | None, foreground_ratio: float | None) -> None:
        """Choose for the next run, by the names of `Options`; None leaves it as it is."""
        if upright is not None:
            self.upright.setChecked(upright)
        if foreground_ratio is not None:
            offered = {action.data(): action for action in self._ratios.actions()}
            (offered.get(foreground_ratio) or self._offer(foreground_ratio)).setChecked(True)

    def values(self) -> dict[str, bool | float]:
        """What is chosen, by the names of `Options`."""
        chosen = self._ratios.checkedAction()
        return {"upright": self.upright.isChecked(), "foreground_ratio": chosen.data() if chosen else FRAME_FRACTION}

    def _offer(self, ratio: float) -> QAction:
        action = self._menu.addAction(f"{ratio:.0%}" + (" (usual)" if ratio == FRAME_FRACTION else ""))
        action.setCheckable(True)
        action.setData(ratio)
        self._ratios.addAction(action)
        return action

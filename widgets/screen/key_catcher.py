"""The keys of the Screen tab, whatever has the focus: `KeyCatcher`."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import shiboken6
from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QLineEdit, QPlainTextEdit

from widgets.kit.overlay import Overlay
from widgets.screen.keys import HELD

if TYPE_CHECKING:
    from widgets.screen.tab import ScreenTab


class KeyCatcher(QObject):
    """Sees the keys of the window and of the web page before anything else does.

    It watches the windows of the system below Qt's widgets: a filter on the whole application, in Python, sees objects
    of the web engine that are half gone, and takes the process with it.
    """

    def __init__(self, tab: ScreenTab) -> None:
        super().__init__(tab)
        self._tab = tab
        self._watched: list[QObject] = []

    def watch(self) -> None:
        """Watch the windows that there are now. To be called again when one is new."""
        if not shiboken6.isValid(self._tab):  # the window closed meanwhile
            return
        window = self._tab.window()
        web = (self._tab.web.target, self._tab.web.system_window)
        now = [found for found in (window, window.windowHandle(), *web) if found is not None]
        for found in self._watched:
            if shiboken6.isValid(found) and found not in now:
                found.removeEventFilter(self)
        for found in now:
            found.installEventFilter(self)  # once more does no harm
        self._watched = now

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        try:
            return self._filter(watched, event)
        except Exception:  # one that leaves a filter takes the process with it
            traceback.print_exc()
            return False

    def _filter(self, watched: QObject, event: QEvent) -> bool:
        kind, tab = event.type(), self._tab
        if kind == QEvent.Type.KeyPress:
            return self._pressed(event)  # type: ignore[arg-type]
        if kind == QEvent.Type.KeyRelease:
            if not event.isAutoRepeat():  # type: ignore[attr-defined]
                tab.release(tab.keymap.action(event) or "")  # type: ignore[arg-type]
        elif kind == QEvent.Type.ShortcutOverride:
            if self._action(event) is not None:  # type: ignore[arg-type]
                event.accept()
                return True
        elif kind == QEvent.Type.WinIdChange:
            QTimer.singleShot(0, self, self.watch)
        elif kind == QEvent.Type.WindowDeactivate:
            tab.release_keys()
        return False

    def _pressed(self, event: QKeyEvent) -> bool:
        """Do what a key is for; whether it is for something."""
        action, tab = self._action(event), self._tab
        if action is None:
            return False
        if event.isAutoRepeat():
            # A held key moves on through the list, and turns; it never decides.
            if action in ("back", "forward"):
                tab.act(action)
        elif action in HELD:
            tab.press(action)
        else:
            tab.act(action)
        return True

    def _action(self, event: QKeyEvent) -> str | None:
        """What a key is for now; None if it is not for the tab."""
        tab = self._tab
        if not tab.judging or not tab.isVisible():
            return None
        if QApplication.activeModalWidget() is not None or QApplication.activePopupWidget() is not None:
            return None
        if isinstance(tab.window().focusWidget(), QLineEdit | QPlainTextEdit):
            return None
        direct = Qt.FindChildOption.FindDirectChildrenOnly  # a window has thousands of widgets
        over = tab.window().centralWidget().findChildren(Overlay, options=direct)  # type: ignore[attr-defined]
        if any(overlay.isVisible() for overlay in over):
            return None
        action = tab.keymap.action(event)
        return action if action in tab.possible else None

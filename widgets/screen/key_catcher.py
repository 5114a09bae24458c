"""The keys of the Screen tab, whatever has the focus: `KeyCatcher`."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import shiboken6
from PySide6.QtCore import QEvent, QObject, QTimer

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
            return tab.takes_keys() and tab.key_pressed(event)  # type: ignore[arg-type]
        if kind == QEvent.Type.KeyRelease:
            tab.key_released(event)  # type: ignore[arg-type]
        elif kind == QEvent.Type.ShortcutOverride:
            if tab.takes_keys() and tab.keymap.action(event) is not None:  # type: ignore[arg-type]
                event.accept()
                return True
        elif kind == QEvent.Type.WinIdChange:
            QTimer.singleShot(0, self, self.watch)
        elif kind == QEvent.Type.WindowDeactivate:
            tab.release_keys()
        return False

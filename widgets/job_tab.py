"""What the tabs of long work share: a table of items at work, options beside it, and who waits for what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QButtonGroup, QLineEdit, QPushButton, QStackedWidget, QToolButton, QWidget

from widgets.kit.banner import Banner
from widgets.kit.buttons import with_key
from widgets.kit.panel import Panel
from widgets.kit.theme import theme
from widgets.kit.words import plain
from widgets.state_table import StateTable, StateView

NARROW = 1500
"""Width under which the options make room for the table while the work goes on."""


class JobTab(QWidget):
    """A page on which long work is started, watched, paused and stopped.

    The tab that is made of it builds the widgets named here, and says what `_refresh` and `_show_pace` show.
    """

    pause_requested = Signal()
    resume_requested = Signal()
    stop_requested = Signal()
    shown = Signal()
    """The tab came up."""
    status_changed = Signal(str)
    badge_changed = Signal(str)
    """What the tab's button says besides its name."""

    FILTERS: tuple[str, ...] = ()
    """States that the table can be narrowed to; the first is none."""

    setup: Any
    setup_panel: Panel
    model: StateTable
    table: StateView
    details: Any
    banner: Banner
    search: QLineEdit
    follow: QToolButton
    pause: QPushButton
    _filters: QButtonGroup
    _tables: QStackedWidget
    _search_delay: QTimer

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self.running = False
        self._state = ""
        self._free: int | None = None
        self._told = ""
        self._setup_hidden = False
        """Whether the options made room for the table, and come back by themselves."""
        self._setup_wanted = False
        """Whether the user wants to see them nevertheless."""
        self._following = ""

    # -- content -----------------------------------------------------------------------------------------

    def end(self, text: str, kind: str, actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """The work has ended: `text` says how, as `info`, `warning` or `error`."""
        self.running, self._state = False, ""
        self.setup.set_running(False)
        self.details.set_running(False)
        self._make_room()
        self._refresh()
        self.banner.show_message(plain(text), kind, actions)

    def set_state(self, state: str) -> None:
        """Say what was asked of the work before it has done it."""
        self._state = state
        self._refresh()

    def set_free(self, free: int | None) -> None:
        """Bytes that are free on the folder's disk."""
        self._free = free
        self._show_pace()

    def say(self, text: str, kind: str = "error", actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """Say something in place."""
        self.banner.show_message(plain(text), kind, actions)

    # -- what the user asks for --------------------------------------------------------------------------

    def request_start(self) -> None:
        """Start, or go on after a pause."""
        raise NotImplementedError

    def toggle_pause(self) -> None:
        """Pause, or go on."""
        if not self.running:
            self.request_start()
        elif self._state == "paused":
            self.resume_requested.emit()
        elif self.pause.isEnabled():
            self.pause_requested.emit()

    def request_stop(self) -> None:
        """Stop now."""
        if self.running and self._state != "stopping":
            self.stop_requested.emit()

    def show_filter(self, state: str) -> None:
        """Show the rows of a state; all for none."""
        self._filters.button(self.FILTERS.index(state)).setChecked(True)
        self._filter()

    def focus_search(self) -> None:
        """Let the user type what to look for."""
        self.search.setFocus()
        self.search.selectAll()

    def toggle_setup(self) -> None:
        """Show or hide the options."""
        self._setup_hidden = False
        self._setup_wanted = True
        self.show_setup(not self.setup_panel.isVisibleTo(self))

    def show_setup(self, on: bool) -> None:
        """Show or hide the options."""
        self.setup_panel.setVisible(on)
        self._refresh()

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        raise NotImplementedError

    def _show_pace(self) -> None:
        raise NotImplementedError

    def _filter(self) -> None:
        self._search_delay.stop()
        self.model.set_filter(self.FILTERS[self._filters.checkedId()], self.search.text())
        self._show_rows()

    def _show_rows(self) -> None:
        self._tables.setCurrentIndex(0 if self.model.rowCount() else 1)

    def _follow_toggled(self, on: bool) -> None:
        self._following = ""
        if on:
            self._follow(self.model.rows)

    def _follow(self, rows: Sequence[Any]) -> None:
        """Bring the row whose work began last into view."""
        if not self.follow.isChecked() or not self.running:
            return
        working = [self.model.key(row) for row in rows if row.state == "working"]
        if working and working[-1] != self._following:
            self._following = working[-1]
            self.table.bring_into_view(self._following)

    def _make_room(self) -> None:
        """Hide the options of work that goes on in a narrow window, and show them again."""
        narrow = self.running and self.width() < theme.px(NARROW) and not self._setup_wanted
        if narrow and self.setup_panel.isVisibleTo(self):
            self._setup_hidden = True
            self.show_setup(False)
        elif self._setup_hidden and not narrow:
            self._setup_hidden = False
            self.show_setup(True)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._make_room()

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self.model.rows:
            self.table.setFocus()
        self.shown.emit()


def action_button(text: str, tip: str, key: str) -> QPushButton:
    """A button whose tooltip names its key."""
    button = QPushButton(text)
    button.setToolTip(with_key(tip, key))
    return button

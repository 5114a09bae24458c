"""What the tabs of long work share: options at the left, work in the middle, details at the right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PySide6.QtCore import QMimeData, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QProgressBar, QSizePolicy, QStackedWidget, QWidget

from widgets.kit.actions import Action, Actions, bind
from widgets.kit.banner import Banner, MessagePage
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.details import SIDES, Segments
from widgets.kit.labels import ElidedLabel, hint, label
from widgets.kit.panel import Beside, Panel, column, holder, row, split
from widgets.kit.theme import theme
from widgets.state_table import StateTable, StateView

NARROW = 1500
"""Width under which the options make room for the table while the work goes on."""
SEARCH_DELAY_MS = 120


class JobPage(QWidget):
    """A page on which long work is started, watched, paused and stopped.

    A tab says in capitals what it is about and in `_actions` what can be done. It shows what it is given, and says by
    signals what the user wants; it does none of the work.
    """

    start_requested = Signal()
    pause_requested = Signal()
    resume_requested = Signal()
    stop_requested = Signal()
    reload_requested = Signal()
    """Read the folders anew."""
    shown = Signal()
    """The tab came up."""
    status_changed = Signal(str)
    badge_changed = Signal(str)
    """What the tab's button says besides its name."""

    NAME = ""
    SETUP = ""
    """What is at the left."""
    ITEM = ""
    """What a row of the table is."""
    STATES: Mapping[str, tuple[str, str]] = MappingProxyType({})
    """Words and colour of each state of a row."""
    FILTERS: tuple[str, ...] = ()
    """States that the table can be narrowed to; the first is none."""
    RARE: tuple[str, ...] = ()
    """Filters that are there only while there is something to show; `working` is there while the work goes on."""
    RUN_STATES: Mapping[str, str] = MappingProxyType({})
    """Words of each state of the work."""
    BUTTONS: tuple[str, ...] = ()
    """Actions with a button in the top row."""
    RUNNING: tuple[str, ...] = ("pause", "stop")
    """Those of them that are there only while the work goes on."""
    MENU: tuple[str, ...] = ()
    """Actions of the context menu; an empty one is a line."""
    INVITATION: tuple[Any, ...] = ()
    """The empty page: arguments of `MessagePage`."""
    INVITED: tuple[str, ...] = ()
    """Actions with a button on the empty page."""
    STRETCHES = (5, 4)
    """Of the middle and the right."""
    SIZES = (276, 576, 380)
    LEAST = (400, 330)
    """Widths that the middle and the right have at least."""

    def __init__(self, setup: Any, model: StateTable, table: StateView, details: Any) -> None:
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

        self.setup, self.model, self.table, self.details = setup, model, table, details
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find")
        self.search.setMinimumWidth(80)
        self.search.setClearButtonEnabled(True)
        self.acts = Actions(self._actions())
        self.buttons = {name: self.acts.button(name) for name in self.BUTTONS}
        self.start, self.stop = self.buttons["start"], self.buttons["stop"]
        self.pause = self.buttons.get("pause")
        self.options_button = self.acts.dress(IconButton("options", self.SETUP), "options")
        self.search.setToolTip(self.acts.tip("find"))
        if "follow" in self.acts:
            self.follow = IconButton("follow", "")
            self.follow.setCheckable(True)
            self.follow.setChecked(True)
            self.follow.toggled.connect(self._follow_toggled)
            self.acts.dress(self.follow, "follow")
            table.moved_by_hand.connect(lambda: self.follow.setChecked(False))
        self.acts.dress(setup.start, "start")
        self.acts.dress(setup.folder.button, "folder place")
        self.acts.dress(setup.source_field.button, "open")
        for at, name in enumerate(SIDES):
            self.acts.dress(details.segments.button(at), name)
        self._search_delay = QTimer(self, singleShot=True, interval=SEARCH_DELAY_MS)
        self._search_delay.timeout.connect(self._filter)
        self.search.textChanged.connect(lambda _: self._search_delay.start())
        self.search.returnPressed.connect(table.setFocus)

        self.setup_panel = Panel(self.SETUP, spacing=8)
        hide = with_key(f"Hide {self.SETUP[:1].lower()}{self.SETUP[1:]}", "Ctrl+I")
        self.setup_panel.top.addWidget(IconButton("left", hide, self.toggle_setup))
        self.setup_panel.body.addWidget(setup, 1)
        middle = self._build_middle()
        for part, least in zip((self.setup_panel, middle, details), (270, *self.LEAST), strict=True):
            part.setMinimumWidth(least)
        parts = zip((self.setup_panel, middle, details), (0, *self.STRETCHES), strict=True)
        self.columns = split(*parts, sizes=self.SIZES, handle=12, beside=True)
        box = QHBoxLayout(self)
        box.setContentsMargins(12, 12, 12, 12)
        box.addWidget(self.columns)

        table.chosen.connect(self._show_chosen)
        table.customContextMenuRequested.connect(self._menu)
        self.acts.bind(self, *self._own_widgets())

    def _build_middle(self) -> Panel:
        self.title = ElidedLabel(self.NAME, "heading")
        self.state = label("", "muted")
        self.bar = QProgressBar(textVisible=False)
        self.totals = ElidedLabel("")
        self.pace = label("", "muted")
        self.banner = Banner()
        self.invitation = MessagePage(*self.INVITATION)
        self.invitation.add_buttons(self.acts.button(name) for name in self.INVITED)
        self._pages = QStackedWidget()
        self._work = self._build_work()
        for page in (self.invitation, self._work):
            self._pages.addWidget(page)
        middle = Panel(spacing=8)
        middle.top.addWidget(self.options_button)
        middle.top.addWidget(self.title, 1)
        middle.top.addWidget(self.state)
        if not isinstance(next(iter(self.buttons.values())), IconButton):
            middle.top.addSpacing(4)
        for button in self.buttons.values():
            middle.top.addWidget(button)
        middle.body.addLayout(middle.top)
        middle.body.addWidget(self.bar)
        middle.body.addLayout(row((self.totals, 1), self.pace, spacing=14))
        middle.body.addWidget(self.banner)
        middle.body.addWidget(self._pages, 1)
        return middle

    # -- what a tab says ---------------------------------------------------------------------------------

    def _actions(self) -> Sequence[Action]:
        """Everything that can be done here, in the order of F1's sheet."""
        raise NotImplementedError

    def _own_widgets(self) -> tuple[QWidget, ...]:
        """Where keys of one letter work: the table, and others."""
        return (self.table,)

    def _build_work(self) -> QWidget:
        """What stands in the middle once there is something."""
        return self._build_table(self.search, self.follow)

    def _build_table(self, *find: QWidget) -> QWidget:
        """The table below its filters, and beside them what finds rows."""
        self._filters = Segments(self, len(self.FILTERS))
        for at, state in enumerate(self.FILTERS):
            button = self._filters.button(at)
            button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
            words = f"the {self.ITEM}s that are {self.STATES[state][0].lower()}" if state else f"all {self.ITEM}s"
            button.setToolTip(with_key(f"Show {words}", f"Alt+{at + 1}"))
            bind(self, f"Alt+{at + 1}", partial(self.show_filter, state))
        self._filters.idClicked.connect(lambda _: self._filter())
        self.model.counts_changed.connect(self._show_counts)
        self._no_match = hint(f"No {self.ITEM} fits the filter.", margin=0)
        self._tables = QStackedWidget()
        for page in (self.table, self._no_match):
            self._tables.addWidget(page)
        states = row(*self._filters.buttons(), None, spacing=0)
        found = row((find[0], 1), *find[1:], spacing=6)
        return holder(column(Beside(states, found), (self._tables, 1), spacing=8))

    def _progress(self) -> tuple[int, int, str]:
        """How much of how much is done, and that in words."""
        raise NotImplementedError

    def _pace_parts(self) -> list[str]:
        """How quickly it goes, and how long still."""
        raise NotImplementedError

    def _state_words(self) -> str:
        """The state of the work that goes on."""
        return self.RUN_STATES.get(self._state, "")

    def _message(self) -> str:
        """What the work says of itself in the line at the bottom."""
        return ""

    def _show_buttons(self) -> None:
        """Show and enable what depends on the state of the work."""

    # -- content -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The work begins."""
        self.running, self._state = True, "starting"
        self.banner.hide()
        self.setup.set_running(True)
        self.details.set_running(True)
        self._setup_wanted = False
        self._make_room()
        self.table.setFocus()
        self._refresh()

    def end(self, text: str, kind: str, actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """The work has ended: `text` says how, as `info`, `warning` or `error`."""
        self.running, self._state = False, ""
        self.setup.set_running(False)
        self.details.set_running(False)
        self._make_room()
        self._refresh()
        self.say(text, kind, actions)

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
        self.banner.show_message(text, kind, actions)

    def source_in(self, mime: QMimeData) -> Path | None:
        """What can be worked on in a drop or on the clipboard."""
        return None

    # -- what the user asks for --------------------------------------------------------------------------

    def take(self, mime: QMimeData) -> None:
        """Take what was dropped or pasted, or say why there is nothing to take."""
        raise NotImplementedError

    def paste(self) -> None:
        """Take what is on the clipboard."""
        self.take(QGuiApplication.clipboard().mimeData())

    def request_start(self) -> None:
        """Start, or go on after a pause."""
        if self.running:
            if self._state == "paused":
                self.resume_requested.emit()
        elif self._may_start():
            self.start_requested.emit()

    def _may_start(self) -> bool:
        """Whether there is enough to start with; else says what is missing."""
        raise NotImplementedError

    def toggle_pause(self) -> None:
        """Pause, or go on."""
        if not self.running:
            self.request_start()
        elif self._state == "paused":
            self.resume_requested.emit()
        elif self.pause is not None and self.pause.isEnabled():
            self.pause_requested.emit()

    def request_stop(self) -> None:
        """Stop now."""
        if self.running and self._state != "stopping":
            self.stop_requested.emit()

    def reload(self) -> None:
        """Read the folders anew, unless the work goes on."""
        if not self.running:
            self.reload_requested.emit()

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

    def escape(self) -> bool:
        """Leave the search field or close the message; whether there was something to do."""
        if self.search.hasFocus():
            self.search.clear()
            self.table.setFocus()
        elif self.banner.isVisible():
            self.banner.hide()
        else:
            return False
        return True

    def close_down(self) -> None:
        """The window closes: free what is shown in 3D."""
        self._search_delay.stop()
        self.details.close_down()

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Everything that depends on the state of the work."""
        running, state = self.running, self._state
        self.state.setText(self._state_words() if running else "")
        setup_shown = self.setup_panel.isVisibleTo(self)
        self.options_button.setVisible(not setup_shown)
        self.start.setVisible(not running and not setup_shown)
        self.start.setEnabled(self.setup.ready)
        for name in self.RUNNING:
            self.buttons[name].setVisible(running)
        self.stop.setEnabled(state != "stopping")
        if self.pause is not None:
            paused = running and state == "paused"
            self.pause.setText("Resume" if paused else "Pause")
            self.pause.setToolTip(self.acts.tip("pause", "Go on" if paused else ""))
            self.pause.setEnabled(state not in ("stopping", "finishing", "starting"))
        self._show_buttons()
        told = self._message() if running else ""
        if told != self._told:
            self._told = told
            self.status_changed.emit(told)
        self._show_counts()
        self._show_pace()

    def _show_content(self) -> None:
        """Show the work where there is some, else what invites to it."""
        there = self._has_content()
        self._pages.setCurrentWidget(self._work if there else self.invitation)
        for part in (self.bar, self.totals, self.pace):
            part.setVisible(there)
        self._show_rows()
        self._show_counts()

    def _has_content(self) -> bool:
        return bool(self.model.rows)

    def _show_counts(self) -> None:
        done, whole, text = self._progress()
        self.totals.setText(text)
        self.bar.setRange(0, max(whole, 1))
        self.bar.setValue(done)
        counts, total = self.model.counts, len(self.model.rows)
        for at, state in enumerate(self.FILTERS):
            button = self._filters.button(at)
            number = counts[state] if state else total
            button.setText(f"{self.STATES[state][0] if state else 'All'} {number:,}")
            there = self.running if state == "working" else state not in self.RARE or number > 0
            button.setVisible(there or button.isChecked())
        self._show_rows()
        self.badge_changed.emit(self._badge(done, max(whole, 1)) if self.running and total else "")

    def _badge(self, done: int, whole: int) -> str:
        return f"{100 * done // whole} %"

    def _show_pace(self) -> None:
        self.pace.setText("  ·  ".join(self._pace_parts()))

    def _filter(self) -> None:
        self._search_delay.stop()
        self.model.set_filter(self.FILTERS[self._filters.checkedId()], self.search.text())
        self._show_rows()

    def _show_rows(self) -> None:
        self._tables.setCurrentIndex(0 if self.model.rowCount() else 1)

    def _show_chosen(self, key: str) -> None:
        """Show the row of this key, or none, at the right."""
        raise NotImplementedError

    def _copy_text(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.status_changed.emit(f"Copied: {text}")

    def _menu(self, position: Any) -> None:
        index = self.table.indexAt(position)
        if index.isValid():
            self.table.setCurrentIndex(index)
            self._open_menu(position)

    def _open_menu(self, position: Any) -> None:
        menu = self.acts.menu(self, self.MENU, self.table.current)
        menu.exec(self.table.viewport().mapToGlobal(position))
        menu.deleteLater()

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

    def _wants_room(self) -> bool:
        """Whether the options are to make room in a narrow window."""
        return self.running

    def _make_room(self) -> None:
        """Hide the options of work that goes on in a narrow window, and show them again."""
        narrow = self._wants_room() and self.width() < theme.px(NARROW) and not self._setup_wanted
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

"""The Crawl tab: list and options at the left, the table of pages in the middle, the chosen page at the right.

The tab shows what it is given and says by signals what the user wants; it reads and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.crawling import PageState, Totals
from widgets.crawl.details import DetailsPanel
from widgets.crawl.incoming import addresses_in, folder_in, list_in
from widgets.crawl.setup_panel import SetupPanel
from widgets.crawl.table import PageTable, PageView
from widgets.crawl.words import CRAWL_STATES, STATES
from widgets.job_tab import JobTab, action_button
from widgets.kit.actions import bind
from widgets.kit.banner import Banner, MessagePage
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import Beside, Panel
from widgets.kit.words import amount, count, duration, plain

_SEARCH_DELAY_MS = 120


@dataclass(frozen=True)
class Opened:
    """A list and a folder as they were found on the disk."""

    list_path: Path | None = None
    folder: Path | None = None
    pages: list[PageState] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """Lines of the list that name no page, in words."""
    repeated: int = 0
    """Lines of the list that name a page again."""
    problem: str = ""
    """Why the list or the folder cannot be used."""


class CrawlTab(JobTab):
    """Everything of a crawl on one page."""

    list_chosen = Signal(object)
    folder_chosen = Signal(object)
    addresses_brought = Signal(str)
    """Lines with addresses to add to the list."""
    search_requested = Signal(object)
    search_cancelled = Signal()
    start_requested = Signal()
    retry_requested = Signal(str, list)
    """Try `failed` or `skipped` pages again: those of these keys."""
    finish_requested = Signal()
    """End once the pages at work are done."""
    show_browser_requested = Signal()
    reload_requested = Signal()
    details_wanted = Signal(str)
    credits_requested = Signal()
    page_requested = Signal(str)
    """Open this page in a browser."""
    file_requested = Signal(str)
    path_requested = Signal(object)
    log_wanted = Signal()
    options_changed = Signal()

    FILTERS = ("", "working", "waiting", "done", "skipped", "failed")

    def __init__(self) -> None:
        super().__init__()
        self._totals: Totals | None = None
        self._duplicates = 0
        self._attention = ""

        self.setup = SetupPanel()
        self.setup_panel = Panel("List and options", spacing=8)
        self.setup_panel.top.addWidget(
            IconButton("left", with_key("Hide list and options", "Ctrl+I"), self.toggle_setup)
        )
        self.setup_panel.body.addWidget(self.setup, 1)
        self.setup_panel.setMinimumWidth(270)

        self.model = PageTable()
        self.table = PageView(self.model)
        self.details = DetailsPanel()
        self.details.setMinimumWidth(300)
        middle = self._build_middle()
        middle.setMinimumWidth(460)

        self.columns = QSplitter()
        for at, (panel, stretch) in enumerate(((self.setup_panel, 0), (middle, 5), (self.details, 2))):
            self.columns.addWidget(panel)
            self.columns.setStretchFactor(at, stretch)
        self.columns.setChildrenCollapsible(False)
        self.columns.setHandleWidth(12)
        self.columns.setSizes([276, 640, 316])
        box = QHBoxLayout(self)
        box.setContentsMargins(12, 12, 12, 12)
        box.addWidget(self.columns)
        self._connect()
        self._bind_keys()
        self._show_pages()
        self._refresh()

    def _build_middle(self) -> Panel:
        middle = Panel(spacing=8)
        self.title = ElidedLabel("Crawl", "heading")
        self.state = label("", "muted")
        self.options_button = IconButton("options", with_key("List and options", "Ctrl+I"), self.toggle_setup)
        self.start = action_button(
            "Start", "Collect the models of the list; goes on where an earlier crawl ended", "Ctrl+R"
        )
        self.pause = action_button("Pause", "Begin no further page; those at work go on", "Space")
        self.finish = action_button("Stop after page", "Stop once the pages at work are done", "Shift+X")
        self.stop = action_button(
            "Stop", "Stop now; what has come of a file is kept, and the crawl goes on from it", "X"
        )
        self.retry = action_button("Retry failed", "Try all failed pages again", "F")
        self.credits = action_button(
            "Credits", "Write CREDITS.csv: title, author, licence and source of every model", "Ctrl+E"
        )
        middle.top.addWidget(self.options_button)
        middle.top.addWidget(self.title, 1)
        middle.top.addWidget(self.state)
        middle.top.addSpacing(4)
        for button in (self.start, self.pause, self.finish, self.stop, self.retry, self.credits):
            middle.top.addWidget(button)
        self.bar = QProgressBar(textVisible=False)
        self.totals = ElidedLabel("")
        self.pace = label("", "muted")
        line = QHBoxLayout()
        line.setSpacing(14)
        line.addWidget(self.totals, 1)
        line.addWidget(self.pace)
        self.banner = Banner()

        self._filters = QButtonGroup(self)
        states, find = QHBoxLayout(), QHBoxLayout()
        states.setSpacing(0)
        find.setSpacing(6)
        for at, state in enumerate(self.FILTERS):
            button = QToolButton()
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setChecked(at == 0)
            button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
            words = STATES[state][0].lower() if state else "all"
            tip = f"Show the pages that are {words}" if state else "Show all pages"
            button.setToolTip(with_key(tip, f"Alt+{at + 1}"))
            self._filters.addButton(button, at)
            states.addWidget(button)
        states.addStretch(1)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find")
        self.search.setToolTip(
            with_key("Show the pages in whose title, address or message these words occur", "Ctrl+F")
        )
        self.search.setMinimumWidth(80)
        self.search.setClearButtonEnabled(True)
        self.follow = IconButton("follow", with_key("Keep the pages at work in view", "L"))
        self.follow.setCheckable(True)
        self.follow.setChecked(True)
        find.addWidget(self.search, 1)
        find.addWidget(self.follow)

        self.invitation = Invitation()
        self._no_match = label("No page fits the filter.", "muted")
        self._no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._tables = QStackedWidget()
        self._tables.addWidget(self.table)
        self._tables.addWidget(self._no_match)
        self._work = QWidget()
        column = QVBoxLayout(self._work)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(Beside(states, find))
        column.addWidget(self._tables, 1)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.invitation)
        self._pages.addWidget(self._work)
        middle.body.addLayout(middle.top)
        middle.body.addWidget(self.bar)
        middle.body.addLayout(line)
        middle.body.addWidget(self.banner)
        middle.body.addWidget(self._pages, 1)
        self._search_delay = QTimer(self, singleShot=True, interval=_SEARCH_DELAY_MS)
        self._search_delay.timeout.connect(self._filter)
        return middle

    def _connect(self) -> None:
        setup, details = self.setup, self.details
        setup.list_chosen.connect(self.list_chosen)
        setup.folder_chosen.connect(self.folder_chosen)
        setup.paste_pressed.connect(self.paste)
        setup.search_requested.connect(self.search_requested)
        setup.search_cancelled.connect(self.search_cancelled)
        setup.start_requested.connect(self.request_start)
        setup.changed.connect(self.options_changed)
        self.invitation.open_pressed.connect(setup.open_list)
        self.invitation.paste_pressed.connect(self.paste)
        self.invitation.search_pressed.connect(lambda: (self.show_setup(True), setup.open_search()))
        for button, act in (
            (self.start, self.request_start),
            (self.pause, self.toggle_pause),
            (self.finish, self._request_finish),
            (self.stop, self.request_stop),
            (self.retry, self.retry_failed),
            (self.credits, self._request_credits),
        ):
            button.clicked.connect(lambda _=False, act=act: act())
        self._filters.idClicked.connect(lambda _: self._filter())
        self.search.textChanged.connect(lambda _: self._search_delay.start())
        self.search.returnPressed.connect(self.table.setFocus)
        self.model.counts_changed.connect(self._show_counts)
        self.table.chosen.connect(self._show_chosen)
        self.table.activated.connect(lambda _: self._open_page())
        self.table.customContextMenuRequested.connect(self._menu)
        self.table.moved_by_hand.connect(lambda: self.follow.setChecked(False))
        self.follow.toggled.connect(self._follow_toggled)
        details.open_page.connect(self.page_requested)
        details.show_file.connect(self.file_requested)
        details.copy_address.connect(lambda _: self._copy())
        details.retry_page.connect(self._retry_one)
        details.open_path.connect(self.path_requested)
        details.log_wanted.connect(self.log_wanted)

    def _bind_keys(self) -> None:
        keys: list[tuple[str, Callable[[], Any]]] = [
            ("Ctrl+R", self.request_start),
            ("Ctrl+Shift+O", self.setup.open_folder),
            ("Ctrl+D", lambda: self.details.show_side(0)),
            ("Ctrl+L", lambda: self.details.show_side(1)),
            ("F5", self._reload),
        ]
        keys += [(f"Alt+{at + 1}", lambda at=at: self.show_filter(self.FILTERS[at])) for at in range(len(self.FILTERS))]
        for key, act in keys:
            bind(self, key, act)
        # Keys of one letter are the table's: elsewhere they are typed, or belong to the viewport.
        for key, act in (
            ("Space", self.toggle_pause),
            ("X", self.request_stop),
            ("Shift+X", self._request_finish),
            ("F", self.retry_failed),
            ("S", self._show_file),
            ("L", self.follow.toggle),
            ("Ctrl+C", self._copy),
        ):
            bind(self.table, key, act, alone=True)

    # -- lists in ----------------------------------------------------------------------------------------

    def paste(self) -> None:
        """Take the addresses on the clipboard, or the list or folder that was copied in a file manager."""
        self.take(QGuiApplication.clipboard().mimeData())

    def take(self, mime: QMimeData) -> None:
        """Take a list, a folder or addresses that were dropped or pasted, or say why there is nothing to take."""
        if self.running:
            self.say("Stop the crawl first: what is added is not collected while it runs.", "warning")
        elif (path := list_in(mime)) is not None:
            self.list_chosen.emit(path)
        elif (path := folder_in(mime)) is not None:
            self.folder_chosen.emit(path)
        elif text := addresses_in(mime):
            self.addresses_brought.emit(text)
        else:
            self.say("There is no list and no address of a model in what was dropped or pasted.", "warning")

    def show_opened(self, opened: Opened) -> None:
        """Show a list and a folder with what an earlier crawl has left there."""
        self.setup.set_places(opened.list_path, opened.folder)
        parts = []
        if opened.list_path is not None and not opened.problem:
            parts.append(count(len(opened.pages), "page"))
            if opened.repeated:
                parts.append(f"{count(opened.repeated, 'line')} name a page again")
        self.setup.set_note(", ".join(parts))
        self._totals, self._state = None, ""
        self._attention, self._following, self._duplicates = "", "", 0
        self.title.setText(_heading(opened))
        self.title.detail = f"{opened.list_path or 'no list'}\n{opened.folder or 'no folder'}"
        self.model.set_rows(opened.pages)
        self.banner.hide()
        if opened.problem:
            self.say(opened.problem)
        elif opened.bad:
            more = f" and {count(len(opened.bad) - 3, 'more line')}" if len(opened.bad) > 3 else ""
            self.say(f"Not understood, and passed over: {'; '.join(opened.bad[:3])}{more}.", "warning")
        self._show_pages()
        self._refresh()
        if opened.pages and self.isVisible():
            self.table.setFocus()

    def set_facts(self, pages: list[PageState], duplicates: int) -> None:
        """Titles and sizes of models that were there already, and how many of these are duplicates."""
        self.model.update_rows(pages)
        self._duplicates += duplicates
        self._show_counts()

    # -- a crawl -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A crawl begins."""
        self.running, self._state = True, "starting"
        if self._totals is not None:
            self._duplicates += self._totals.duplicates
            self._totals = None
        self._attention = ""
        self.banner.hide()
        self.setup.set_running(True)
        self.details.set_running(True)
        self._setup_wanted = False
        self._make_room()
        self.table.setFocus()
        self._refresh()

    def take_progress(self, pages: list[PageState], totals: Totals | None) -> None:
        """Show what has changed of a crawl."""
        if pages:
            self.model.update_rows(pages)
            page = self.table.current
            if page is not None and page is not self.details.page:
                settled = self.details.page is not None and self.details.page.state != page.state
                self.details.update_page(page)
                if settled:
                    self.details_wanted.emit(page.page.key)
            self._follow(pages)
        if totals is not None:
            self._totals = totals
            self._state = totals.state
            self._show_attention(totals)
            self._refresh()

    def end(self, text: str, kind: str, actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """The crawl has ended: `text` says how, as `info`, `warning` or `error`."""
        self._attention = ""
        super().end(text, kind, actions)

    # -- what the user asks for --------------------------------------------------------------------------

    def request_start(self) -> None:
        """Start, or go on after a pause."""
        if self.running:
            if self._state == "paused":
                self.resume_requested.emit()
            return
        if self.setup.folder_path is None or not self.model.rows:
            self.show_setup(True)
            missing = "a list of pages" if not self.model.rows else "a folder for the models"
            self.say(f"Choose {missing} first.", "warning")
            return
        self.start_requested.emit()

    def retry_failed(self) -> None:
        """Try all failed pages again."""
        self._retry("failed")

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
        """The window closes: free the 3D viewport."""
        self._search_delay.stop()
        self.details.close_down()

    # -- inside ------------------------------------------------------------------------------------------

    def _request_finish(self) -> None:
        if self.running and self._state not in ("stopping", "finishing"):
            self.finish_requested.emit()

    def _request_credits(self) -> None:
        if self.setup.folder_path is not None:
            self.credits_requested.emit()

    def _reload(self) -> None:
        if not self.running:
            self.reload_requested.emit()

    def _retry(self, state: str) -> None:
        keys = [page.page.key for page in self.model.rows if page.state == state]
        if self.running:
            self.status_changed.emit("Pages are tried again once the crawl has stopped.")
        elif not keys:
            self.status_changed.emit(f"No page {'failed' if state == 'failed' else 'was skipped'}.")
        elif self.setup.folder_path is not None:
            self.retry_requested.emit(state, keys)

    def _retry_one(self, key: str) -> None:
        page = self.model.find(key)
        if page is not None and not self.running and page.state in ("failed", "skipped"):
            self.retry_requested.emit(page.state, [key])

    def _open_page(self) -> None:
        if (page := self.table.current) is not None:
            self.page_requested.emit(page.page.key)

    def _show_file(self) -> None:
        page = self.table.current
        if page is not None and page.state == "done":
            self.file_requested.emit(page.page.key)
        elif page is not None:
            self.status_changed.emit("There is no file of this page yet.")

    def _copy(self) -> None:
        if (page := self.table.current) is not None:
            QGuiApplication.clipboard().setText(page.page.url)
            self.status_changed.emit(f"Copied: {page.page.url}")

    def _menu(self, position: Any) -> None:
        index = self.table.indexAt(position)
        if not index.isValid():
            return
        self.table.setCurrentIndex(index)
        page = self.table.current
        assert page is not None
        menu = QMenu(self)
        menu.addAction("Open the page\tReturn", self._open_page)
        menu.addAction("Show the file\tS", self._show_file).setEnabled(page.state == "done")
        menu.addAction("Copy the address\tCtrl+C", self._copy)
        menu.addSeparator()
        again = menu.addAction("Try this page again", lambda: self._retry_one(page.page.key))
        again.setEnabled(not self.running and page.state in ("failed", "skipped"))
        menu.addAction("Try all failed pages again\tF", self.retry_failed).setEnabled(self.retry.isEnabled())
        skipped = menu.addAction("Look again at all skipped pages", lambda: self._retry("skipped"))
        skipped.setEnabled(not self.running and self.model.counts["skipped"] > 0)
        menu.exec(self.table.viewport().mapToGlobal(position))
        menu.deleteLater()

    def _show_chosen(self, key: str) -> None:
        self.details.set_page(self.model.find(key) if key else None)
        if key:
            self.details_wanted.emit(key)

    def _show_attention(self, totals: Totals) -> None:
        wanted = totals.attention
        if wanted == self._attention:
            return
        before, self._attention = self._attention, wanted
        if wanted:
            actions = (
                {} if self.setup.options().show_browser else {"Show the browser": self.show_browser_requested.emit}
            )
            self.say(f"The crawl waits for you: {wanted}", "warning", actions)
            QApplication.alert(self.window())
            QTimer.singleShot(
                0, self.table, lambda: self.table.bring_into_view(self._following)
            )  # the banner takes room
        elif before:
            self.banner.hide()

    def _show_pages(self) -> None:
        self._pages.setCurrentWidget(self._work if self.model.rows else self.invitation)
        for part in (self.bar, self.totals, self.pace):
            part.setVisible(bool(self.model.rows))
        self._show_rows()
        self._show_counts()

    def _show_counts(self) -> None:
        counts, total = self.model.counts, len(self.model.rows)
        settled = counts["done"] + counts["skipped"] + counts["failed"]
        parts = [f"{settled:,} of {count(total, 'page')}"] if total else []
        duplicates = self._duplicates + (self._totals.duplicates if self._totals is not None else 0)
        if duplicates:
            parts.append(count(duplicates, "duplicate"))
        self.totals.setText(", ".join(parts))
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(settled)
        for at, state in enumerate(self.FILTERS):
            words = STATES[state][0] if state else "All"
            button = self._filters.button(at)
            button.setText(f"{words} {counts[state] if state else total:,}")
            if state == "working":
                button.setVisible(self.running or button.isChecked())
        self.retry.setEnabled(not self.running and counts["failed"] > 0)
        self._show_rows()
        self.badge_changed.emit(self._badge(settled, total))

    def _badge(self, settled: int, total: int) -> str:
        if not self.running or not total:
            return ""
        return "needs you" if self._attention else f"{100 * settled // total} %"

    def _show_pace(self) -> None:
        parts, totals = [], self._totals
        if self.running and totals is not None:
            if totals.pages_per_hour:
                parts.append(f"{totals.pages_per_hour:,.0f} pages/h")
            if totals.rate:
                parts.append(f"{amount(totals.rate)}/s")
            if totals.seconds_left and totals.state not in ("stopping", "finishing"):
                parts.append(f"about {duration(totals.seconds_left)} left")
        if self._free is not None:
            parts.append(f"{amount(self._free)} free")
        self.pace.setText("  ·  ".join(parts))

    def _refresh(self) -> None:
        """Everything that depends on the state of the crawl."""
        running, state = self.running, self._state
        words = CRAWL_STATES.get(state, "") if running else ""
        if running and self._attention:
            words = "Waiting for you"
        self.state.setText(words)
        ending = state in ("stopping", "finishing", "starting")
        paused = running and state == "paused"
        setup_shown = self.setup_panel.isVisibleTo(self)
        self.options_button.setVisible(not setup_shown)
        self.start.setVisible(not running and not setup_shown)
        self.start.setEnabled(self.setup.folder_path is not None and bool(self.model.rows))
        for button in (self.pause, self.finish, self.stop):
            button.setVisible(running)
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setToolTip(with_key("Go on" if paused else "Begin no further page; those at work go on", "Space"))
        self.pause.setEnabled(not ending)
        self.finish.setEnabled(state not in ("stopping", "finishing"))
        self.stop.setEnabled(state != "stopping")
        self.retry.setVisible(not running and bool(self.model.rows))
        self.credits.setVisible(not running and bool(self.model.rows))
        self.credits.setEnabled(self.setup.folder_path is not None)
        self.table.show_columns("Speed", on=running)
        told = self._totals.message if running and self._totals is not None and not self._attention else ""
        if told != self._told:
            self._told = told
            self.status_changed.emit(plain(told))
        self._show_counts()
        self._show_pace()


class Invitation(MessagePage):
    """The empty tab: asks for a list."""

    open_pressed = Signal()
    paste_pressed = Signal()
    search_pressed = Signal()

    def __init__(self) -> None:
        super().__init__(
            "globe",
            "Collect models",
            "Drop a list of addresses here, one a line. Each model is downloaded with its licence and author; "
            "a crawl can be stopped at any time and goes on where it was.",
            width=400,
        )
        self.add_buttons(
            (
                ("Open a list…", with_key("Open a file with one address a line", "Ctrl+O"), self.open_pressed),
                ("Paste", with_key("Paste addresses", "Ctrl+V"), self.paste_pressed),
                ("Search…", "Make a list from a search on Sketchfab", self.search_pressed),
            ),
            width=100,
        )


def _heading(opened: Opened) -> str:
    if opened.list_path is not None:
        return opened.list_path.name
    return opened.folder.name if opened.folder is not None and opened.pages else "Crawl"

"""The Crawl tab: list and options at the left, the table of pages in the middle, the chosen page at the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QTimer, Signal
from PySide6.QtWidgets import QApplication

from engine.crawling import PageState, Totals
from widgets.crawl.details import DetailsPanel
from widgets.crawl.incoming import addresses_in, folder_in, list_in
from widgets.crawl.setup_panel import SetupPanel
from widgets.crawl.table import PageTable, PageView
from widgets.crawl.words import CRAWL_STATES, STATES
from widgets.kit.actions import ELSEWHERE, OWN, WINDOW, Action
from widgets.kit.details import SIDES
from widgets.kit.job_page import JobPage
from widgets.kit.words import amount, count, duration


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


class CrawlTab(JobPage):
    """Everything of a crawl on one page."""

    addresses_brought = Signal(str)
    """Lines with addresses to add to the list."""
    retry_requested = Signal(str, list)
    """Try `failed` or `skipped` pages again: those of these keys."""
    finish_requested = Signal()
    """End once the pages at work are done."""
    show_browser_requested = Signal()
    details_wanted = Signal(str)
    credits_requested = Signal()
    page_requested = Signal(str)
    """Open this page in a browser."""
    file_requested = Signal(str)

    NAME, SETUP, ITEM = "Crawl", "List and options", "page"
    STATES, RUN_STATES = STATES, CRAWL_STATES
    FILTERS = ("", "working", "waiting", "done", "skipped", "failed")
    BUTTONS = ("start", "pause", "finish", "stop", "retry", "export")
    RUNNING = ("pause", "finish", "stop")
    MENU = ("page", "file", "copy", "", "again", "retry", "skipped")
    INVITATION = (
        "globe",
        "Collect models",
        "Drop a list of addresses here, one a line. Each model is downloaded with its licence and author; "
        "a crawl can be stopped at any time and goes on where it was.",
        400,
        100,
    )
    INVITED = ("open", "paste", "search")
    STRETCHES, SIZES, LEAST = (5, 2), (276, 640, 316), (390, 270)

    _totals: Totals | None = None
    _duplicates = 0
    _attention = ""

    def __init__(self) -> None:
        model = PageTable()
        super().__init__(SetupPanel(), model, PageView(model), DetailsPanel())
        self.retry, self.credits = self.buttons["retry"], self.buttons["export"]
        details = self.details
        for button, name in (
            (details.link, "page"),
            (details.files, "file"),
            (details.copy, "copy"),
            (details.retry, "again"),
            (self.setup.paste, "paste"),
            (self.setup.search_button, "search"),
            (self.setup.token, "token"),
        ):
            self.acts.dress(button, name)
        self.table.activated.connect(lambda _: self._open_page())
        self._show_content()
        self._refresh()

    def _actions(self) -> Sequence[Action]:
        setup = self.setup

        def again(row: PageState) -> bool:
            return not self.running and row.state in ("failed", "skipped")

        return (
            Action("start", self.request_start, "Start",
                   "Collect the models of the list; goes on where an earlier crawl ended", "Ctrl+R", sheet="start"),
            Action("pause", self.toggle_pause, "Pause", "Begin no further page; those at work go on", "Space", OWN,
                   sheet=", pause and go on"),
            Action("stop", self.request_stop, "Stop",
                   "Stop now; what has come of a file is kept, and the crawl goes on from it", "X", OWN,
                   sheet="stop now"),
            Action("finish", self._request_finish, "Stop after page", "Stop once the pages at work are done", "Shift+X",
                   OWN, sheet=", stop after the pages at work"),
            Action("retry", self.retry_failed, "Retry failed", "Try all failed pages again", "F", OWN,
                   sheet="try all failed pages again", menu="Try all failed pages again",
                   fits=lambda _: self.retry.isEnabled()),
            Action("page", self._open_page, "Open the page", "Open the page in a browser", "Return", ELSEWHERE,
                   sheet="open the page"),
            Action("file", self._show_file, "Show the file", "Show the model in its folder", "S", OWN,
                   sheet=", show the file", fits=lambda row: row.state == "done"),
            Action("copy", self._copy, "Copy the address", "Copy the address", "Ctrl+C", OWN, sheet=", copy"),
            Action("filters", lambda: None, sheet="pages of one state", shown="Alt+1 … 6"),
            Action("find", self.focus_search, key="Ctrl+F", where=WINDOW, sheet="find pages",
                   tip="Show the pages in whose title, address or message these words occur"),
            Action("follow", lambda: self.follow.toggle(), tip="Keep the pages at work in view", key="L", where=OWN,
                   sheet=", follow those at work"),
            Action(SIDES[0], lambda: self.details.show_side(0), "Page", "The page that is chosen", "Ctrl+D",
                   sheet="the chosen page"),
            Action(SIDES[1], lambda: self.details.show_side(1), "Log", "What the crawl writes down", "Ctrl+L",
                   sheet=", the log"),
            Action("open", setup.open_list, "Open a list…", "Open a file with one address a line", "Ctrl+O", WINDOW,
                   sheet="open a list"),
            Action("paste", self.paste, "Paste", "Add the addresses on the clipboard to the list", "Ctrl+V", WINDOW,
                   sheet=", paste addresses"),
            Action("options", self.toggle_setup, tip=self.SETUP, key="Ctrl+I", where=WINDOW, sheet="list and options"),
            Action("export", self._request_credits, "Credits",
                   "Write CREDITS.csv: title, author, licence and source of every model", "Ctrl+E", WINDOW,
                   sheet=", write credits"),
            Action("reload", self.reload, key="F5", sheet="read the folder anew"),
            Action("again", self._retry_current, "Try it again", "Try this page once more", menu="Try this page again",
                   fits=again),
            Action("skipped", lambda: self._retry("skipped"), "Look again at all skipped pages",
                   fits=lambda _: not self.running and self.model.counts["skipped"] > 0),
            Action("folder place", setup.open_folder, tip="Choose the folder for the models", key="Ctrl+Shift+O"),
            Action("search", self._open_search, "Search…", "Make a list from a search on Sketchfab"),
            Action("token", self._open_token, "API token…", "Give or change the token of Sketchfab's API"),
        )  # fmt: skip

    # -- lists in ----------------------------------------------------------------------------------------

    def take(self, mime: QMimeData) -> None:
        """Take a list, a folder or addresses that were dropped or pasted, or say why there is nothing to take."""
        if self.running:
            self.say("Stop the crawl first: what is added is not collected while it runs.", "warning")
        elif (path := list_in(mime)) is not None:
            self.setup.list.chosen.emit(path)
        elif (path := folder_in(mime)) is not None:
            self.setup.folder.chosen.emit(path)
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
        self._show_content()
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
        if self._totals is not None:
            self._duplicates += self._totals.duplicates
            self._totals = None
        self._attention = ""
        super().begin()

    def take_progress(self, totals: Totals | None = None) -> None:
        """Show what has changed of a crawl."""
        if pages := self.model.refresh():
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

    def _may_start(self) -> bool:
        if self.setup.ready and self.model.rows:
            return True
        self.show_setup(True)
        missing = "a list of pages" if not self.model.rows else "a folder for the models"
        self.say(f"Choose {missing} first.", "warning")
        return False

    def retry_failed(self) -> None:
        """Try all failed pages again."""
        self._retry("failed")

    # -- inside ------------------------------------------------------------------------------------------

    def _request_finish(self) -> None:
        if self.running and self._state not in ("stopping", "finishing"):
            self.finish_requested.emit()

    def _request_credits(self) -> None:
        if self.setup.ready:
            self.credits_requested.emit()

    def _open_search(self) -> None:
        self.show_setup(True)
        self.setup.open_search()

    def _open_token(self) -> None:
        self.show_setup(True)
        self.setup.open_token()

    def _retry(self, state: str) -> None:
        keys = [page.page.key for page in self.model.rows if page.state == state]
        if self.running:
            self.status_changed.emit("Pages are tried again once the crawl has stopped.")
        elif not keys:
            self.status_changed.emit(f"No page {'failed' if state == 'failed' else 'was skipped'}.")
        elif self.setup.ready:
            self.retry_requested.emit(state, keys)

    def _retry_current(self) -> None:
        page = self.table.current
        if page is not None and not self.running and page.state in ("failed", "skipped"):
            self.retry_requested.emit(page.state, [page.page.key])

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
            self._copy_text(page.page.url)

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
            actions = {} if self.setup.source().show_browser else {"Show the browser": self.show_browser_requested.emit}
            self.say(f"The crawl waits for you: {wanted}", "warning", actions)
            QApplication.alert(self.window())
            QTimer.singleShot(
                0, self.table, lambda: self.table.bring_into_view(self._following)
            )  # the banner takes room
        elif before:
            self.banner.hide()

    def _progress(self) -> tuple[int, int, str]:
        counts, total = self.model.counts, len(self.model.rows)
        settled = counts["done"] + counts["skipped"] + counts["failed"]
        parts = [f"{settled:,} of {count(total, 'page')}"] if total else []
        duplicates = self._duplicates + (self._totals.duplicates if self._totals is not None else 0)
        if duplicates:
            parts.append(count(duplicates, "duplicate"))
        return settled, total, ", ".join(parts)

    def _badge(self, done: int, whole: int) -> str:
        return "needs you" if self._attention else super()._badge(done, whole)

    def _pace_parts(self) -> list[str]:
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
        return parts

    def _state_words(self) -> str:
        return "Waiting for you" if self._attention else super()._state_words()

    def _message(self) -> str:
        return self._totals.message if self._totals is not None and not self._attention else ""

    def _show_buttons(self) -> None:
        running, some = self.running, bool(self.model.rows)
        self.buttons["finish"].setEnabled(self._state not in ("stopping", "finishing"))
        self.retry.setVisible(not running and some)
        self.credits.setVisible(not running and some)
        self.credits.setEnabled(self.setup.ready)
        self.table.show_columns("Speed", on=running)

    def _show_counts(self) -> None:
        self.retry.setEnabled(not self.running and self.model.counts["failed"] > 0)
        super()._show_counts()


def _heading(opened: Opened) -> str:
    if opened.list_path is not None:
        return opened.list_path.name
    return opened.folder.name if opened.folder is not None and opened.pages else "Crawl"

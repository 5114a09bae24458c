"""What goes on between the Crawl tab and the engine: lists, crawls, searches, and what is kept of a page."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QImage

from app.crawling import new_list, profile_folder, suggested_folder
from app.engine_thread import EngineThread, load_viewer
from app.job_session import POLL, SETTLE, Job, JobSession, recalled
from app.model_previews import mesh_of
from app.settings import Settings
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress
from engine.crawling import LICENCES, Options, Policy, sources
from engine.crawling.lists import Added, add_addresses, search_to_list
from engine.crawling.sources import Source
from widgets.crawl import CrawlTab, Opened, PageDetails, SearchRequest
from widgets.kit.words import count

if TYPE_CHECKING:
    from engine.crawling import Crawl, Downloader, Page, PageState, Records, Totals

FACTS = 250
"""Files beside models that are read at a time."""
LOG_INTERVAL = 1.0
LOG_BYTES = 32_000


class CrawlSession(JobSession[CrawlTab, "Crawl"]):
    """Everything that the Crawl tab needs besides itself; searches have a thread of their own."""

    WORK = "crawl"

    def __init__(self, tab: CrawlTab, settings: Settings) -> None:
        self.searcher = EngineThread("oriel-search")
        super().__init__(tab, settings, "crawl", self.searcher)
        self._search: CancelToken | None = None
        self._again = False
        """Whether the crawl is to be started again, with the browser on the screen."""
        self._log_shown = 0.0
        tab.setup.list.chosen.connect(self.tasks.then(self.choose_list))
        tab.setup.folder.chosen.connect(self.tasks.then(self.choose_folder))
        tab.addresses_brought.connect(self.tasks.then(self.add))
        tab.setup.search_requested.connect(self.tasks.then(self.search))
        tab.setup.token_given.connect(self.tasks.then(self.keep_token))
        tab.setup.search_cancelled.connect(lambda: self._search and self._search.cancel())
        tab.start_requested.connect(self.tasks.then(self.crawl))
        tab.retry_requested.connect(self.tasks.then(self.retry))
        tab.pause_requested.connect(lambda: self.ask(lambda crawl: crawl.pause(), "paused"))
        tab.resume_requested.connect(lambda: self.ask(lambda crawl: crawl.resume(), "running"))
        tab.finish_requested.connect(lambda: self.ask(lambda crawl: crawl.finish_current(), "finishing"))
        tab.show_browser_requested.connect(self.show_browser)
        tab.details_wanted.connect(self.tasks.then(self.show_details))
        tab.credits_requested.connect(self.tasks.then(self.write_credits))
        tab.page_requested.connect(self._open_page)
        tab.file_requested.connect(lambda _: self._open_path(tab.setup.folder_path))
        tab.details.open_path.connect(self._open_path)
        tab.details.log_wanted.connect(self.tasks.then(self.show_log))

    # -- life --------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        policy = recalled(Policy, self.kept)
        if not set(policy.licences) <= LICENCES.keys():  # none of them would allow all
            policy = replace(policy, licences=Policy.licences)
        self.tab.setup.set_options(replace(recalled(Options, self.kept), policy=policy), recalled(Source, self.kept))

    def _places(self) -> dict[str, Any]:
        return {"list": self.tab.setup.list_path, "folder": self.tab.setup.folder_path}

    def _options(self) -> dict[str, Any]:
        form = self.tab.setup.form
        every = asdict(form.values()) | asdict(form.values().policy) | asdict(form.source_values())
        return {name: value for name, value in every.items() if name in form.fields}

    def _end_looks(self) -> None:
        if self._search is not None:
            self._search.cancel()

    # -- list and folder ---------------------------------------------------------------------------------

    async def choose_list(self, path: Path | None) -> None:
        """Take another list, and a folder for it unless there is one."""
        folder = self.tab.setup.folder_path
        if path is not None and folder is None:
            folder = suggested_folder(path)
        await self._open(path, folder)

    async def choose_folder(self, folder: Path | None) -> None:
        """Take another folder, and the list of its last crawl unless there is one."""
        await self._open(self.tab.setup.list_path, folder)

    async def add(self, text: str) -> None:
        """Add addresses to the list; to a new one if there is none."""
        path = self.tab.setup.list_path or new_list(time.strftime("pasted %Y-%m-%d"))
        try:
            added = await self.files.submit(add_addresses, path, text)
        except OrielError as error:
            self.tab.say(str(error), "warning")
            return
        await self._take_list(added)

    async def search(self, request: SearchRequest) -> None:
        """Make a list from a search."""
        if self._search is not None or self.tasks.closing:
            return
        self._search = cancel = CancelToken()
        filters, setup = request.filters, self.tab.setup
        path = new_list(request.words or " ".join((*filters.tags, *filters.categories)))
        seen = [0.0]

        def note(event: Progress) -> None:
            seen[0] = event.done

        setup.set_searching("Searching…")
        work = asyncio.ensure_future(self.searcher.submit(_search, path, request, cancel, note))
        added = None
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=POLL)
                setup.set_searching(f"Searching: {seen[0]:,.0f} found" if seen[0] else "Searching…")
            added = work.result()
        except Cancelled:
            added = Added(path, int(seen[0]), 0) if path.exists() and seen[0] else None
        except OrielError as error:
            self.tab.say(str(error))
        finally:
            self._search = None
            setup.set_searching(None)
        if added is not None and not self.tasks.closing:
            if self.job is None:
                await self._take_list(added)
            else:
                self.tab.status_changed.emit(f"The search is done: {count(added.found, 'model')} in {added.path}")

    async def _take_list(self, added: Added) -> None:
        if self.tasks.closing or self.job is not None:
            return
        await self._open(added.path, self.tab.setup.folder_path or suggested_folder(added.path))
        known = f", {added.found - added.added} were in it" if added.added < added.found and added.added else ""
        self.tab.status_changed.emit(f"{count(added.found, 'page')} in {added.path.name}{known}")

    async def _open(self, list_path: Path | None, folder: Path | None) -> None:
        """Show a list and a folder, then the titles of what is in it."""
        if (opened := await self._read(_open, list_path, folder)) is None:
            return
        mine = self._opened
        self.tab.show_opened(opened)
        self._remember()
        self.tasks.spawn(self._show_free())
        keys = [state.page.key for state in opened.pages if state.state == "done"]
        for at in range(0, len(keys), FACTS):
            assert opened.folder is not None
            facts = await self.files.submit(_facts, opened.folder, keys[at : at + FACTS])
            if mine != self._opened or self.tasks.closing:
                return
            states = [
                replace(state, title=title, size=size, received=size)
                for key, title, size, _ in facts
                if (state := self.tab.model.find(key)) is not None and state.state == "done"
            ]
            self.tab.set_facts(states, sum(twin for *_, twin in facts))

    # -- the crawl ---------------------------------------------------------------------------------------

    async def crawl(self, pages: list[Page] | None = None, retry: str = "") -> None:
        """Crawl the list, or these pages of it; `retry` is the state of those that are tried again."""
        setup = self.tab.setup
        folder = setup.folder_path
        if self.job is not None or self.tasks.closing or folder is None:
            return
        list_path, board, source = setup.list_path, self.tab.model.board, setup.source()
        how = replace(setup.options(), retry_failed=retry == "failed", retry_skipped=retry == "skipped")
        if pages is None:
            pages = [state.page for state in board.rows()]

        def make() -> Crawl:
            from engine.crawling import Crawl

            kept = how.policy.described() | {"list": str(list_path.absolute()) if list_path is not None else None}
            return Crawl(pages, folder, make_downloader(source, how), how, kept, board=board)

        self.job = job = Job(make, lambda event: event.preview if event.stage == "crawl" else None)
        self._again = False
        self.tab.begin()
        problem, stopped = await self._watch(job, self._take)
        self.job = None
        again = self._again
        self._show_end(problem, stopped=stopped and not again)
        await self.show_log()
        if again and not self.tasks.closing:
            self.tab.setup.show_browser.setChecked(True)
            await self.crawl(pages, retry)

    def _take(self, told: list[Totals]) -> None:
        self.tab.take_progress(told[-1] if told else None)
        if self.tab.details.log_shown and time.monotonic() - self._log_shown > LOG_INTERVAL:
            self._log_shown = time.monotonic()
            self.tasks.spawn(self.show_log())

    async def retry(self, state: str, keys: list[str]) -> None:
        """Try pages of a state again."""
        found = [self.tab.model.find(key) for key in keys]
        await self.crawl([page.page for page in found if page is not None], state)

    def show_browser(self) -> None:
        """Have the crawl go on with its browser on the screen."""
        if self.job is not None:
            self._again = True
            self.stop()

    def _show_end(self, problem: str, *, stopped: bool) -> None:
        counts = self.tab.model.counts
        left = counts["waiting"] + counts["working"]
        failed = counts["failed"]
        again = {"Retry failed": self.tab.retry_failed} if failed else {}
        if problem:
            self.tab.end(problem, "error", {"Try again": self.tab.request_start})
        elif left:
            to_go = f"{count(left, 'page')} to go"
            how = "Stopped" if stopped else "Stopped after the pages at work"
            self.tab.end(f"{how}; {to_go}. Start goes on from here.", "info")
        else:
            done = f"Finished: {count(counts['done'], 'model')} collected"
            extra = [
                f"{number:,} {word}" for word, number in (("skipped", counts["skipped"]), ("failed", failed)) if number
            ]
            self.tab.end(f"{', '.join([done, *extra])}.", "warning" if failed else "info", again)

    # -- a page ------------------------------------------------------------------------------------------

    async def show_details(self, key: str) -> None:
        """Show what is kept of a page, and its model, if it stays chosen for a moment."""
        await asyncio.sleep(SETTLE)
        folder = self.tab.setup.folder_path
        if folder is None or not self._chosen(key):
            return
        details = await self.files.submit(_details, folder, key)
        if not self._chosen(key):
            return
        self.tab.details.set_details(details)
        if details.file is None:
            return
        if not await load_viewer(self.files, lambda: self._chosen(key)):
            return
        show = self.tab.details.show_model
        loading = lambda: show(key, None, "Loading the model…")  # noqa: E731
        preview = await self._preview(details.file, lambda: self._chosen(key), loading)
        if preview is not None:
            show(key, *await self.files.submit(mesh_of, preview))

    def _chosen(self, key: str) -> bool:
        page = self.tab.details.page
        return not self.tasks.closing and page is not None and page.page.key == key

    async def show_log(self) -> None:
        """Show the end of the folder's log, if it is looked at."""
        folder = self.tab.setup.folder_path
        if folder is not None and self.tab.details.log_shown and not self.tasks.closing:
            self.tab.details.set_log(await self.files.submit(_log_end, folder))

    async def keep_token(self, secret: str | None) -> None:
        """Put the API token into the system's keyring, or take it out."""
        from engine.crawling.sketchfab import keep_token

        try:
            await self.files.submit(keep_token, secret)
        except OrielError as error:
            self.tab.say(str(error))
            return
        kept = "The system's keyring keeps the API token." if secret else "The keyring holds no API token any more."
        self.tab.say(kept, "info")

    async def write_credits(self) -> None:
        """Write CREDITS.csv into the folder."""
        from engine.crawling import write_credits

        folder = self.tab.setup.folder_path
        if folder is None:
            return
        try:
            number = await self.files.submit(write_credits, folder)
        except OrielError as error:
            self.tab.say(str(error))
            return
        path = folder / "CREDITS.csv"
        self.tab.say(f"{path} names {count(number, 'model')}.", "info", {"Open": lambda: self._open_path(path)})

    def _open_page(self, key: str) -> None:
        if (page := self.tab.model.find(key)) is not None:
            QDesktopServices.openUrl(QUrl(page.page.url))

    def _open_path(self, path: Path | None) -> None:
        if path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


# -- on the other threads ------------------------------------------------------------------------------------


def make_downloader(source: Source, options: Options) -> Downloader:
    """What brings the models."""
    return sources.make_downloader(source, options, profile_folder())


def _search(path: Path, request: SearchRequest, cancel: CancelToken, progress: Callable[[Progress], None]) -> Added:
    return search_to_list(path, request.words, request.filters, request.most, cancel, progress)


def _open(list_path: Path | None, folder: Path | None) -> Opened:
    from engine.crawling import Page, PageList, Records, read_list

    records, found, problem = None, PageList(), ""
    try:
        if folder is not None and folder.is_dir():
            records = Records.read(folder)
            if list_path is None and (named := records.settings().get("list")) and Path(named).is_file():
                list_path = Path(named)
        if list_path is not None:
            found = read_list(list_path)
    except (OrielError, OSError) as error:
        problem = str(error)
    pages = found.pages
    if list_path is None and records is not None:
        pages = [Page(url, key) for key, url in records.downloaded.items()]
        pages += [skip.page for skip in records.skipped.values()]
        pages += [failure.page for failure in records.failed.values()]
    return Opened(
        list_path=list_path,
        folder=folder,
        pages=[_state(page, records) for page in pages],
        bad=[str(bad) for bad in found.bad],
        repeated=found.duplicates,
        problem=problem,
    )


def _state(page: Page, records: Records | None) -> PageState:
    from engine.crawling import PageState

    state = "waiting" if records is None else records.state(page)
    if records is None or state == "waiting":
        return PageState(page, "waiting")
    failure, skip = records.failed.get(page.key), records.skipped.get(page.key)
    if state == "failed" and failure is not None:
        return PageState(page, state, failure.reason, attempts=failure.attempts, earlier=True, kind=failure.kind)
    if state == "skipped" and skip is not None:
        return PageState(page, state, skip.reason, earlier=True, kind=skip.kind)
    return PageState(page, state, earlier=True)


def _facts(folder: Path, keys: list[str]) -> list[tuple[str, str, int, bool]]:
    """Key, title, bytes and whether it is a duplicate, of the models whose rights are known."""
    from engine.crawling import read_rights

    facts = []
    for key in keys:
        found = read_rights(folder / f"{key}.json")
        if found is not None:
            size = found.get("bytes")
            facts.append(
                (
                    key,
                    str(found.get("title") or ""),
                    size if isinstance(size, int) else 0,
                    bool(found.get("duplicate_of")),
                )
            )
    return facts


def _details(folder: Path, key: str) -> PageDetails:
    from engine.crawling import read_rights

    model = folder / f"{key}.glb"
    saved, screenshot = (folder / "failures" / f"{key}{suffix}" for suffix in (".html", ".png"))
    picture = QImage(str(screenshot)) if screenshot.is_file() else QImage()
    return PageDetails(
        key=key,
        file=model if model.is_file() else None,
        rights=read_rights(folder / f"{key}.json") or {},
        saved_page=saved if saved.is_file() else None,
        screenshot=screenshot if screenshot.is_file() else None,
        picture=picture,
    )


def _log_end(folder: Path) -> str:
    try:
        with (folder / "crawl.log").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = text if size <= LOG_BYTES else text.partition("\n")[2]
    text = re.sub(r"^\d{4}-([\d-]+ [\d:]+),\d+ (INFO )?", r"\1  ", text, flags=re.MULTILINE)
    return re.sub(r"https?://\S*/(?:([^\s/]+)-[0-9a-f]{32}(?!\S)|([^\s/]+))", r"\1\2", text)  # the panel is narrow

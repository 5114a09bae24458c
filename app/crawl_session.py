"""What goes on between the Crawl tab and the engine: lists, crawls, searches, and what is kept of a page."""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QImage

from app.crawling import new_list, profile_folder, suggested_folder
from app.engine_thread import EngineThread
from app.job_session import POLL, SETTLE, JobSession
from app.model_previews import VIEWER_MODULES, make_cache, mesh_of
from app.settings import Settings
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress
from engine.crawling.lists import Added, add_addresses, search_to_list
from widgets.crawl import CrawlOptions, CrawlTab, Opened, PageDetails, SearchRequest
from widgets.crawl.setup_panel import recalled, remembered
from widgets.kit.words import count

if TYPE_CHECKING:
    from engine.crawling import Crawl, Downloader, Options, Page, PageState, Records, Totals
    from engine.screening import PreviewCache

PORTION = 1500
"""Pages that are shown at a time: ten thousand at once would hold the window up."""
FACTS = 250
"""Files beside models that are read at a time."""
LOG_INTERVAL = 1.0
LOG_BYTES = 32_000


class CrawlSession(JobSession[CrawlTab, "Job"]):
    """Everything that the Crawl tab needs besides itself; searches have a thread of their own."""

    WORK = "crawl"

    def __init__(self, tab: CrawlTab, settings: Settings) -> None:
        self.searcher = EngineThread("oriel-search")
        super().__init__(tab, settings, "crawl", self.searcher)
        self._search: CancelToken | None = None
        self._previews: PreviewCache | None = None
        tab.setup.list.chosen.connect(self.tasks.then(self.choose_list))
        tab.setup.folder.chosen.connect(self.tasks.then(self.choose_folder))
        tab.addresses_brought.connect(self.tasks.then(self.add))
        tab.setup.search_requested.connect(self.tasks.then(self.search))
        tab.setup.search_cancelled.connect(lambda: self._search and self._search.cancel())
        tab.start_requested.connect(self.tasks.then(self.crawl))
        tab.retry_requested.connect(self.tasks.then(self.retry))
        tab.pause_requested.connect(lambda: self._ask("paused", "pause"))
        tab.resume_requested.connect(lambda: self._ask("running", "resume"))
        tab.finish_requested.connect(lambda: self._ask("finishing", "finish_current"))
        tab.show_browser_requested.connect(self.show_browser)
        tab.reload_requested.connect(self.tasks.then(self.reload))
        tab.details_wanted.connect(self.tasks.then(self.show_details))
        tab.credits_requested.connect(self.tasks.then(self.write_credits))
        tab.page_requested.connect(self._open_page)
        tab.file_requested.connect(lambda _: self._open_path(self.tab.setup.folder_path))
        tab.details.open_path.connect(self._open_path)
        tab.details.log_wanted.connect(self.tasks.then(self.show_log))
        tab.setup.changed.connect(self._remember)

    # -- life --------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        self.tab.setup.set_options(recalled(self.settings.crawl))

    def _end_looks(self) -> None:
        if self._search is not None:
            self._search.cancel()

    async def _put_away(self) -> None:
        if self._previews is not None:
            await self.files.submit(self._previews.close)

    def _shown(self) -> None:
        kept = self.settings.crawl
        if not self._restored or self._opened or self.tasks.closing:
            return
        list_path, folder = (Path(kept[name]) if kept.get(name) else None for name in ("list", "folder"))
        if list_path or folder:
            self.tasks.spawn(self._open(list_path, folder))

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

    async def reload(self) -> None:
        """Read list and folder anew."""
        await self._open(self.tab.setup.list_path, self.tab.setup.folder_path)

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
        path, setup = new_list(request.words), self.tab.setup
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
        if self.job is not None or self.tasks.closing:
            return
        self._opened += 1
        mine = self._opened
        opened = await self.files.submit(_open, list_path, folder)
        if mine != self._opened or self.job is not None or self.tasks.closing:
            return
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

    def _remember(self) -> None:
        setup, kept = self.tab.setup, self.settings.crawl
        if self._opened:  # else the places of the last time still wait to be opened
            places = {"list": setup.list_path, "folder": setup.folder_path}
            kept = {name: str(path) for name, path in places.items() if path is not None}
        self.settings.crawl = kept | remembered(setup.options())

    # -- the crawl ---------------------------------------------------------------------------------------

    async def crawl(self, pages: list[Page] | None = None, retry: str = "") -> None:
        """Crawl the list, or these pages of it; `retry` is the state of those that are tried again."""
        setup = self.tab.setup
        folder = setup.folder_path
        if self.job is not None or self.tasks.closing or folder is None:
            return
        options = setup.options()
        if pages is None:
            pages = [state.page for state in self.tab.model.rows]
        self.job = job = Job(pages, folder, setup.list_path, options, retry)
        self.tab.begin()
        log = 0.0

        def take() -> None:
            nonlocal log
            self.tab.take_progress(*job.take(PORTION))
            if self.tab.details.log_shown and time.monotonic() - log > LOG_INTERVAL:
                log = time.monotonic()
                self.tasks.spawn(self.show_log())

        problem, stopped = await self._watch(job, take)
        self.job = None
        again = job.again
        self._show_end(problem, stopped=stopped and not again)
        await self.show_log()
        if again and not self.tasks.closing:
            self.tab.setup.show_browser.setChecked(True)
            await self.crawl(pages, retry)

    async def retry(self, state: str, keys: list[str]) -> None:
        """Try pages of a state again."""
        found = [self.tab.model.find(key) for key in keys]
        await self.crawl([page.page for page in found if page is not None], state)

    def show_browser(self) -> None:
        """Have the crawl go on with its browser on the screen."""
        if self.job is not None:
            self.job.again = True
            self.stop()

    def _ask(self, state: str, what: str) -> None:
        if self.job is not None and self.job.crawl is not None:
            getattr(self.job.crawl, what)()
            self.tab.set_state(state)

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
        for name in VIEWER_MODULES:
            await self.files.submit(importlib.import_module, name)
            if not self._chosen(key):
                return
        cache = await self.files.submit(self._want, details.file)
        while self._chosen(key):
            preview = cache.get(details.file)
            if preview is not None:
                mesh, note = await self.files.submit(mesh_of, preview)
                self.tab.details.show_model(key, mesh, note)
                return
            self.tab.details.show_model(key, None, "Loading the model…")
            await asyncio.sleep(POLL / 2)

    def _want(self, path: Path) -> PreviewCache:
        """Have the preview of a model made next; on the thread for files."""
        if self._previews is None:
            self._previews = make_cache()
        self._previews.want([path])
        return self._previews

    def _chosen(self, key: str) -> bool:
        page = self.tab.details.page
        return not self.tasks.closing and page is not None and page.page.key == key

    async def show_log(self) -> None:
        """Show the end of the folder's log, if it is looked at."""
        folder = self.tab.setup.folder_path
        if folder is not None and self.tab.details.log_shown and not self.tasks.closing:
            self.tab.details.set_log(await self.files.submit(_log_end, folder))

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


class Job:
    """One crawl, between the thread that it runs on and the window, which takes what is new at its own pace."""

    def __init__(
        self, pages: list[Page], folder: Path, list_path: Path | None, options: CrawlOptions, retry: str
    ) -> None:
        self.cancel = CancelToken()
        self.crawl: Crawl | None = None
        """None until the downloader is there."""
        self.again = False
        """Whether it is to be started again, with the browser on the screen."""
        self._pages, self._folder, self._list = pages, folder, list_path
        self._options, self._retry = options, retry
        self._lock = threading.Lock()
        self._changed: dict[str, PageState] = {}
        self._totals: Totals | None = None

    def work(self) -> None:
        """Make the downloader and crawl; see `Crawl.run`."""
        from engine.crawling import Crawl

        self.cancel.check()
        options = engine_options(self._options, self._retry)
        downloader = make_downloader(self._options, options)
        settings = {
            "list": str(self._list.absolute()) if self._list is not None else None,
            "licences": ",".join(options.policy.licences) or "any",
        }
        self.crawl = Crawl(self._pages, self._folder, downloader, options, settings)
        self.crawl.run(self._note, self.cancel)

    def take(self, most: int) -> tuple[list[PageState], Totals | None]:
        """What is new, of at most so many pages; the latest of each page and of the totals."""
        with self._lock:
            keys = list(self._changed)[:most]
            states = [self._changed.pop(key) for key in keys]
            totals, self._totals = self._totals, None
        return states, totals

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._changed) or self._totals is not None

    def _note(self, event: Progress) -> None:
        with self._lock:
            if event.stage == "crawl":
                self._totals = event.preview
            else:
                self._changed[event.preview.page.key] = event.preview


# -- on the other threads ------------------------------------------------------------------------------------


def engine_options(options: CrawlOptions, retry: str = "") -> Options:
    """The engine's options; `retry` is the state of pages that are tried again."""
    from engine.crawling import Options, Policy

    return Options(
        policy=Policy(options.licences),
        parallel=options.parallel,
        pause=options.pause,
        attempts=options.attempts,
        keep_free=int(options.keep_free_gb * 1e9),
        retry_failed=retry == "failed",
        retry_skipped=retry == "skipped",
    )


def make_downloader(options: CrawlOptions, engine: Options) -> Downloader:
    """What brings the models."""
    from engine.crawling import sources

    return sources.make_downloader(
        options.source, profile_folder(), show_browser=options.show_browser, policy=engine.policy
    )


def _search(path: Path, request: SearchRequest, cancel: CancelToken, progress: Callable[[Progress], None]) -> Added:
    from engine.crawling.sketchfab import Filters

    filters = Filters(request.licences, request.min_faces, request.max_faces)
    return search_to_list(path, request.words, filters, request.most, cancel, progress)


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
        pages += [entry.page for entry in (*records.skipped.values(), *records.failed.values())]
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
        return PageState(page, state, failure.reason, attempts=failure.attempts, earlier=True)
    return PageState(page, state, skip.reason if state == "skipped" and skip is not None else "", earlier=True)


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

"""A crawl: page after page, one to four at once, politely, for days, with nothing lost.

`Crawl.run` does the work on threads of its own and reports on the calling one. What is done is on the disk before
the next page begins, so a crawl that ended in whatever way goes on with `run` over the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import heapq
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from engine.core.errors import Cancelled, InputError, OutputError
from engine.core.files import sync
from engine.core.options import Option
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.crawling.downloader import (
    AccessDenied,
    CrawlStopped,
    Download,
    Downloader,
    PageFailed,
    PageTrouble,
)
from engine.crawling.lists import Page
from engine.crawling.packing import GlbFacts, check_glb, pack
from engine.crawling.records import Records
from engine.crawling.refusals import DENIALS, LONGEST_WAIT, Refusals, Turn, until
from engine.crawling.rights import Policy, Rights, Skipped, collected, read_rights, write_rights
from engine.jobs import Board, Pace, log_to, seconds_for

log = logging.getLogger("engine.crawling")
MOST_AT_ONCE = 4
TEXTURES = (0, 512, 1024, 2048, 4096, 8192)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What no further page can go well with; other errors of the system may be those of a connection."""
_STATES = ("waiting", "working", "done", "skipped", "failed")


@dataclass(frozen=True)
class Options:
    """How a crawl goes about it."""

    policy: Policy = field(default_factory=Policy)
    """Which models are collected."""
    parallel: int = 1
    """Pages at once, 1 to 4."""
    pause: Annotated[float, Option(0, metavar="S")] = 2.0
    """Seconds that a worker rests between pages."""
    attempts: Annotated[int, Option(1)] = 3
    """Attempts at a page that fails for no fault of its own."""
    backoff: Annotated[float, Option(0, metavar="S")] = 5.0
    """Seconds after the first refusal or failed attempt; each further one doubles them."""
    longest_backoff: float = 600.0
    """Seconds that a wait grows to; a site that asks for more gets more."""
    refusals: int = 100
    """Refusals in a row, of whatever pages, that end the crawl: with waits that have grown, more than half a day."""
    keep_free: Annotated[int, Option(0, metavar="GB", scale=1e9)] = 2_000_000_000
    """Disk to leave free."""
    most_bytes: int = 0xFFFFFFFF
    """Unpacked size of one model."""
    texture: Annotated[int, Option(choices=TEXTURES)] = 0
    """Pixels of a side of the textures at most, where the site offers a model with several sizes; 0 takes the largest.
    """
    retry_failed: bool = False
    """Whether pages recorded as failed are tried again."""
    retry_skipped: bool = False
    """Whether pages recorded as skipped are looked at again, as with other licences."""


@dataclass(frozen=True)
class PageState:
    """One page of a crawl, as it is now."""

    page: Page
    state: str
    """`waiting`, `working`, `done`, `skipped` or `failed`."""
    message: str = ""
    """What is going on, or the reason."""
    title: str = ""
    received: int = 0
    size: int = 0
    """In bytes, as `received`; 0 while unknown."""
    rate: float = 0.0
    """Bytes a second."""
    attempts: int = 0
    earlier: bool = False
    """Whether an earlier run has settled it."""
    kind: str = ""
    """That of the reason: of `PageFailed` or of `Skip`."""


@dataclass(frozen=True)
class Totals:
    """A whole crawl, as it is now."""

    state: str
    """`running`, `waiting` (the site asks to), `paused`, `finishing`, `stopping` or `finished`."""
    total: int
    done: int
    skipped: int
    failed: int
    working: int
    received: int = 0
    """Bytes received by this run."""
    rate: float = 0.0
    """Bytes a second, lately."""
    pages_per_hour: float = 0.0
    seconds_left: float | None = None
    duplicates: int = 0
    """Models of this run that have the same content as another."""
    message: str = ""
    attention: str = ""
    """What the user is asked to do (a captcha, a code), while a page waits for it."""

    @property
    def finished(self) -> int:
        """Pages with which nothing is left to do."""
        return self.done + self.skipped + self.failed


class _Item:
    """What the crawl keeps of a page that is left to do, besides what is on the board; the one worker that has it
    writes the fields."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.attention = self.notice = ""
        self.counted: int | None = None
        self.attempts = 0
        self.rate = 0.0
        self.turn = Turn()
        self.sample = (0.0, 0)

    def measure(self, received: int) -> None:
        """Reckon the rate anew, now and then; the first bytes may be an earlier attempt's."""
        now, (since, before) = time.monotonic(), self.sample
        if before == 0 or now - since > 2:
            self.rate = 0.0 if before == 0 else (received - before) / (now - since)
            self.sample = (now, received)


@dataclass(frozen=True)
class _Verdict:
    """How an attempt at a page went, and what follows from it."""

    state: str
    """That the page comes to; one that is to wait is tried again."""
    message: str = ""
    answered: bool = False
    """Whether the site has answered: what it refused before counts no more."""
    kind: str = ""
    """Kind of the reason that a page is skipped for, or failed."""
    attempts: int = 0
    """Those that are recorded of a page that failed."""
    clear: bool = False
    """Whether what has come of it is of no use any more."""
    again: float = 0.0
    """Seconds until it may be tried again."""
    stop: Exception | None = None
    """Why no further page can go well."""


class Crawl:
    """Collects the models of pages into a folder: `<key>.glb` with `<key>.json` beside it, and the records.

    For one `run`; a further one over the same folder goes on where it ended.
    """

    def __init__(
        self,
        pages: Sequence[Page],
        folder: Path,
        downloader: Downloader,
        options: Options | None = None,
        settings: dict[str, Any] | None = None,
        *,
        board: Board[PageState] | None = None,
    ) -> None:
        """`settings` are kept in the folder. `board` is one that somebody looks at, with these pages and perhaps others
        on it, and with what is known of them."""
        self.folder = folder
        self.options = options or Options()
        if not 1 <= self.options.parallel <= MOST_AT_ONCE:
            raise InputError(f"{self.options.parallel} pages at once were asked for: choose 1 to {MOST_AT_ONCE}.")
        self._pages = {page.key: page for page in pages}
        if board is None:
            board = Board((PageState(p, "waiting") for p in self._pages.values()), lambda state: state.page.key)
        self.board = board
        """The pages as they are now, in the order of the list."""
        self._seen = board.version
        self._downloader = downloader
        self._settings = settings
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._token = CancelToken()
        self._fresh: deque[_Item] = deque()
        self._delayed: list[tuple[float, int, _Item]] = []
        self._refused: list[tuple[float, int, _Item]] = []
        """Those that the site has turned away; others are asked for before."""
        self._working: list[_Item] = []
        self._numbers = 0
        self._paused = self._finishing = self._over = False
        self._fatal: Exception | None = None
        self._refusals = Refusals(self.options.backoff, self.options.longest_backoff)
        self._contents: dict[str, str] = {}
        self._received = self._duplicates = 0
        self._pace = Pace(100)
        self._flow: deque[tuple[float, int]] = deque(maxlen=60)

    # -- control, from any thread ----------------------------------------------------------------------------

    def pause(self) -> None:
        """Begin no further page; those at work go on."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._pace.interrupt()
        self._paused = False

    def finish_current(self) -> None:
        """End once the pages at work are done."""
        self._finishing = True

    # -- the run ---------------------------------------------------------------------------------------------

    def run(self, progress: ProgressCallback = ignore_progress, cancel: CancelToken | None = None) -> Totals:
        """Collect all pages that are not done; returns the totals.

        Reports `Progress("page", bytes, bytes in all, message, PageState)` for each page that has changed, and
        `Progress("crawl", finished, pages, message, Totals)`, a few times a second. Raises `Cancelled` after
        `cancel` (pages at work go on from their bytes next time), CrawlStopped when no page can go well any more, and
        OutputError when the folder cannot be written.
        """
        cancel = cancel or CancelToken()
        try:
            with Records.open(self.folder, self._pages) as records, log_to(self.folder / "crawl.log", log):
                self._run(records, progress, cancel)
        finally:
            self._downloader.close()
        self._over = True
        self._emit(progress)
        if self._fatal is not None:
            raise self._fatal
        if cancel.cancelled:
            raise Cancelled
        return self.totals()

    def _run(self, records: Records, progress: ProgressCallback, cancel: CancelToken) -> None:
        """Have workers do the work, and end them in any case."""
        workers: list[threading.Thread] = []
        try:
            if self._settings is not None:
                records.write_settings(self._settings)
            self._begin(records)
            log.info("begin: %d pages, %d waiting", len(self._pages), len(self._fresh))
            for number in range(min(self.options.parallel, max(1, len(self._fresh)))):
                worker = threading.Thread(target=self._work, args=(records,), name=f"crawl-{number}", daemon=True)
                worker.start()
                workers.append(worker)
            self._watch(workers, progress, cancel)
        finally:
            self._token.cancel()
            with self._changed:
                self._changed.notify_all()
            for worker in workers:
                worker.join()
            counts = self.board.counts
            log.info("end: %s", ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state]))

    def _begin(self, records: Records) -> None:
        """Find out what is left to do, and clear away what is not needed any more."""
        for key, page in self._pages.items():
            state = records.state(page)
            again = {"failed": self.options.retry_failed, "skipped": self.options.retry_skipped}.get(state, False)
            if state != "waiting" and not again:
                reason = records.failed.get(key) or records.skipped.get(key)
                message, kind = (reason.reason, reason.kind) if reason else ("", "")
                self.board.update(key, state=state, message=message, kind=kind, earlier=True)
                continue
            self._fresh.append(_Item(page))
            if self.board[key].state != "waiting":  # as it stood when somebody looked last
                self.board.update(
                    key, state="waiting", message="", kind="", attempts=0, received=0, size=0, earlier=False
                )
        for path, found in collected(self.folder):
            if isinstance(found.get("sha256"), str):
                self._contents.setdefault(found["sha256"], path.stem)
        for torn in self.folder.glob(".*.tmp"):
            torn.unlink(missing_ok=True)
        for left in (self.folder / ".partial").glob("*"):
            if left.name in records.downloaded or left.name in records.skipped:
                shutil.rmtree(left, ignore_errors=True)

    def _watch(self, workers: list[threading.Thread], progress: ProgressCallback, cancel: CancelToken) -> None:
        checked = 0.0
        while any(worker.is_alive() for worker in workers):
            if cancel.cancelled:
                self._token.cancel()
            elif time.monotonic() - checked > 1:
                checked = time.monotonic()
                self._guard_disk()
            self._emit(progress)
            with self._changed:
                self._changed.wait(0.1)

    def _guard_disk(self) -> None:
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            self._stop(_unusable(self.folder, error))
            return
        if free < self.options.keep_free:
            self._stop(self._full(free))

    def _full(self, free: int) -> CrawlStopped:
        return CrawlStopped(
            f"The crawl was stopped, as the disk of {self.folder} has only {free / 1e9:.1f} GB left and "
            f"{self.options.keep_free / 1e9:.1f} GB shall stay free.",
            advice="Make room, or choose less{}, and run it again; nothing is lost.",
            options=[" (--keep-free)"],
        )

    def _stop(self, error: Exception) -> None:
        with self._changed:
            self._fatal = self._fatal or error
            self._token.cancel()
            self._changed.notify_all()

    # -- workers ---------------------------------------------------------------------------------------------

    def _work(self, records: Records) -> None:
        try:
            while (item := self._next()) is not None:
                asked = self._settle(item, records)
                if asked:
                    self._sleep(self.options.pause)
        except Exception as error:  # a record that cannot be written
            self._stop(error)

    def _next(self) -> _Item | None:
        """The next page that is due, as soon as the site may be asked; None if there is nothing more to do."""
        with self._changed:
            while not (self._token.cancelled or self._finishing):
                now = time.monotonic()
                if not self._paused and now >= self._refusals.hold_until:
                    if self._delayed and self._delayed[0][0] <= now:
                        return self._take(heapq.heappop(self._delayed)[2])
                    if self._fresh:
                        return self._take(self._fresh.popleft())
                    if self._refused and self._refused[0][0] <= now:
                        return self._take(heapq.heappop(self._refused)[2])
                if not self._left():
                    break
                self._changed.wait(0.1)
            self._changed.notify_all()
            return None

    def _left(self) -> int:
        """Pages that are not settled yet."""
        return len(self._fresh) + len(self._delayed) + len(self._refused) + len(self._working)

    def _take(self, item: _Item) -> _Item:
        item.counted = None
        self._refusals.begin(item.turn, alone=not self._working)
        item.sample = (item.turn.began, 0)
        item.rate = 0.0
        self._working.append(item)
        values = {"received": 0, "size": 0, "rate": 0.0, "attempts": item.attempts, "earlier": False}
        self.board.update(item.page.key, state="working", message="", **values)
        return item

    def _settle(self, item: _Item, records: Records) -> bool:
        """Collect a page and record how it went; returns whether the site was asked."""
        asked, page = True, item.page
        try:
            asked = not self._adopt(item, records)
            verdict = self._collect(item, records) if asked else _Verdict("done")
        except Exception as error:
            verdict = self._judge(item, error)
        if verdict.state == "skipped":
            records.add_skipped(page, verdict.kind, verdict.message)
        elif verdict.state == "failed":
            records.add_failed(page, verdict.message, verdict.attempts, verdict.kind)
        if verdict.clear:
            self._clear(page)
        if verdict.stop is not None:
            self._stop(verdict.stop)
        self._finish(item, verdict)
        return asked

    def _judge(self, item: _Item, error: Exception) -> _Verdict:
        """What follows from what went wrong with a page; called where it is caught."""
        text = str(error)
        match error:
            case Cancelled():
                return _Verdict("waiting", "stopped; goes on from here")
            case Skipped():
                return _Verdict("skipped", text, answered=True, kind=error.kind, clear=True)
            case PageTrouble():
                return self._trouble(item, error)
            case AccessDenied():
                stop = self._count_refusal(item, error)
                return _Verdict("failed", text, kind=error.kind, attempts=item.attempts + 1, stop=stop)
            case PageFailed():
                attempts = item.attempts + 1
                return _Verdict("failed", text, answered=True, kind=error.kind, attempts=attempts, clear=True)
            case CrawlStopped() | OutputError():
                return _Verdict("waiting", text, stop=error)
            case OSError() if error.errno in _DISK_ERRORS or not self.folder.is_dir():
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                unusable = _unusable(error.filename or self.folder, error)
                return _Verdict("waiting", text, stop=self._full(0) if full else unusable)
            case OSError():
                return self._trouble(item, PageTrouble(f"{error.strerror or error}."))
            case _:  # a fault of the program must not cost a night's work
                log.exception("unexpected: %s", item.page.url)
                return self._trouble(item, PageTrouble(f"Unexpected: {type(error).__name__}: {error}"))

    def _trouble(self, item: _Item, trouble: PageTrouble) -> _Verdict:
        """Whether a page is tried again, and when."""
        text, attempts = str(trouble), self.options.attempts
        if trouble.refused:
            with self._changed:
                own = self._refusals.is_own(item.turn)
                others = any(not other.turn.refused for other in self._working if other is not item)
                untried = bool(others or self._fresh or self._delayed)
                hopeless = not untried and self._refusals.is_hopeless(
                    item.page.key, left=self._left(), attempts=attempts
                )
            if hopeless:
                text += " There is no other page left to ask; try it again later."
                return _Verdict("failed", text, kind=trouble.kind, attempts=self._refusals.row.count(item.page.key) + 1)
            if not own and (untried or trouble.busy):
                return _Verdict("waiting", f"{text} Tried again.", stop=self._count_refusal(item, trouble))
            if own:
                text += " Other pages were answered."
        item.attempts += 1
        wait = max(self._refusals.grown(item.attempts), trouble.retry_after or 0.0)
        if item.attempts >= attempts or wait > LONGEST_WAIT:
            return _Verdict("failed", text, not trouble.refused, trouble.kind, item.attempts)
        return _Verdict("waiting", f"{text} Tried again.", not trouble.refused, again=wait)

    def _adopt(self, item: _Item, records: Records) -> bool:
        """Record a model that was put in its place just before a kill."""
        key = item.page.key
        target = self.folder / f"{key}.glb"
        found = read_rights(target.with_suffix(".json"))
        if found is None or "sha256" not in found or not target.is_file():
            return False
        if target.stat().st_size != found.get("bytes"):
            return False
        records.add_downloaded(item.page)
        self._clear(item.page)
        self.board.update(key, title=str(found.get("title", "")), size=int(found["bytes"]))
        return True

    def _collect(self, item: _Item, records: Records) -> _Verdict:
        key, work = item.page.key, self._workplace(item.page)
        work.mkdir(parents=True, exist_ok=True)

        def report(event: Progress) -> None:
            with self._changed:
                done = int(event.done)
                if item.counted is not None:
                    self._received += max(0, done - item.counted)
                # What an earlier attempt has left is the first that is told of, and was not received now.
                item.counted = done if done or event.total else None
                item.attention = event.message if event.stage == "attention" else ""
                item.measure(done)
            values: dict[str, Any] = {"received": done, "size": int(event.total), "message": event.message}
            if isinstance(event.preview, Rights):
                values["title"] = event.preview.title
            self.board.update(key, rate=item.rate, **values)

        download = self._downloader.fetch(item.page, work, report, self._token)
        self.options.policy.check(download.rights)
        self.board.update(key, title=download.rights.title, message="checking")
        try:
            path = pack(download.path, work / "packed.glb", most=self.options.most_bytes, cancel=self._token.check)
            facts = check_glb(path)
        except PageFailed:
            self._clear(item.page)  # a further download is not to go on from a damaged one
            raise
        twin = self._publish(item.page, path, download, facts)
        records.add_downloaded(item.page)
        self._clear(item.page)
        with self._changed:
            self._duplicates += twin is not None
        self.board.update(key, received=facts.bytes, size=facts.bytes)
        return _Verdict("done", f"same content as {twin}" if twin else "", answered=True)

    def _publish(self, page: Page, path: Path, download: Download, facts: GlbFacts) -> str | None:
        """Put a checked model in its place, its rights first; returns the key of one with the same content."""
        checksum = _sha256(path, self._token.check)
        target = self.folder / f"{page.key}.glb"
        with self._publishing:
            twin = self._contents.get(checksum)
            if twin is not None and twin != page.key:
                linked = path.with_name("linked.glb")
                linked.unlink(missing_ok=True)
                try:
                    linked.hardlink_to(self.folder / f"{twin}.glb")
                    path = linked
                except OSError:
                    # Deleted since, or a system without links: this copy stands for itself.
                    twin = twin if (self.folder / f"{twin}.glb").exists() else None
            else:
                twin = None
            rights = replace(download.rights, source_url=download.rights.source_url or page.url)
            write_rights(
                target.with_suffix(".json"),
                rights,
                {
                    "url": page.url,
                    "collected": datetime.now(UTC).isoformat(timespec="seconds"),
                    "collected_by": self._downloader.name,
                    "file": target.name,
                    "bytes": facts.bytes,
                    "sha256": checksum,
                    "triangles": facts.triangles,
                    "meshes": facts.meshes,
                    "textures": facts.textures,
                    "duplicate_of": twin,
                },
            )
            sync(path)
            path.replace(target)
            with contextlib.suppress(PermissionError):  # not every system opens folders
                sync(self.folder)
            if twin is None:
                self._contents[checksum] = page.key
        return twin

    # -- refusals and repetition -----------------------------------------------------------------------------

    def _count_refusal(self, item: _Item, refusal: PageFailed) -> CrawlStopped | None:
        """Make all pages wait, longer each time; returns what ends the crawl where that has not helped."""
        with self._changed:
            wait = self._refusals.count(item.page.key, item.turn, refusal)
            count, denied = len(self._refusals.row), self._refusals.denied
        log.warning("refused %d times in a row: %s", count, refusal)
        if count < self.options.refusals and denied < DENIALS and wait <= LONGEST_WAIT:
            return None
        return CrawlStopped(
            f"The crawl was stopped, as the site has refused {count} time{'s' * (count > 1)} in a row. "
            f"The last time: {refusal}",
            advice="Nothing is lost; run it again later, slower{} or with fewer pages at once{}.",
            options=[" (--pause)", " (--parallel)"],
        )

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while (left := end - time.monotonic()) > 0 and not (self._token.cancelled or self._finishing):
                self._changed.wait(min(left, 0.2))

    # -- states ----------------------------------------------------------------------------------------------

    def _finish(self, item: _Item, verdict: _Verdict) -> None:
        with self._changed:
            item.attention = ""
            self._working.remove(item)
            self._refusals.end(item.turn, answered=verdict.answered)
            if verdict.state == "waiting":
                self._numbers += 1
                queue = self._refused if item.turn.refused else self._delayed
                item.notice = f"{verdict.message} {until(verdict.again)}" if verdict.again > 1 else ""
                heapq.heappush(queue, (time.monotonic() + verdict.again, self._numbers, item))
            elif verdict.answered or verdict.state == "failed":
                self._pace.tick()
            values = {"state": verdict.state, "message": verdict.message, "kind": verdict.kind}
            self.board.update(item.page.key, attempts=item.attempts, rate=0.0, **values)
            self._changed.notify_all()
        if verdict.state != "waiting":
            log.info("%s %s %s", verdict.state, item.page.url, verdict.message)

    def _emit(self, progress: ProgressCallback) -> None:
        changed, self._seen = self.board.since(self._seen)
        for state in changed.values():
            progress(Progress("page", state.received, state.size, state.message, state))
        totals = self.totals()
        progress(Progress("crawl", totals.finished, totals.total, totals.message, totals))

    def totals(self) -> Totals:
        """The whole crawl as it is now; from any thread."""
        with self._changed:
            return self._totals()

    def _totals(self) -> Totals:
        now, counts = time.monotonic(), self.board.counts
        self._flow.append((now, self._received))
        since, before = self._flow[0]
        pace = self._pace.rate(now)
        attention = next((item.attention for item in self._working if item.attention), "")
        notice = ""
        if self._over:
            state = "finished"
        elif self._token.cancelled:
            state = "stopping"
        elif self._finishing:
            state = "finishing"
        elif self._paused:
            state = "paused"
        else:
            notice = self._waited_for(now)
            state = "waiting" if notice else "running"
        return Totals(
            state=state,
            total=len(self.board),
            done=counts["done"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            working=counts["working"],
            received=self._received,
            rate=(self._received - before) / (now - since) if now - since > 0.5 else 0.0,
            pages_per_hour=pace * 3600,
            seconds_left=seconds_for(self._left(), pace),
            duplicates=self._duplicates,
            message=attention or notice,
            attention=attention,
        )

    def _waited_for(self, now: float) -> str:
        """Why nothing is asked of the site for a while, and until when; empty while something is."""
        if now < self._refusals.hold_until:
            return self._refusals.notice
        queues = [queue[0] for queue in (self._delayed, self._refused) if queue]
        return min(queues)[2].notice if queues and not (self._fresh or self._working) else ""

    def _workplace(self, page: Page) -> Path:
        return self.folder / ".partial" / page.key

    def _clear(self, page: Page) -> None:
        shutil.rmtree(self._workplace(page), ignore_errors=True)


def _sha256(path: Path, check: Callable[[], None]) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            check()
            total.update(block)
    return total.hexdigest()


def _unusable(path: object, error: OSError) -> OutputError:
    text = f"{path} cannot be used: {error.strerror or error}. Check its rights and the disk, then run the crawl again."
    return OutputError(text)

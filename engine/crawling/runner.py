"""A crawl: page after page, one to four at once, politely, for days, with nothing lost.

`Crawl.run` does the work on threads of its own and reports on the calling one. What is done is on the disk before
the next page begins, so a crawl that ended in whatever way goes on with `run` over the same folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import heapq
import logging
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from engine.core.errors import Cancelled, InputError, OutputError
from engine.core.files import sync, writing
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
from engine.crawling.rights import Policy, Rights, Skipped, collected, read_rights, write_rights

log = logging.getLogger("engine.crawling")
_LONGEST_WAIT = 24 * 3600.0
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What no further page can go well with; other errors of the system may be those of a connection."""
_FINAL = ("done", "skipped", "failed")


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
    refusals: int = 12
    """Refusals in a row that end the crawl."""
    keep_free: Annotated[int, Option(0, metavar="GB", scale=1e9)] = 2_000_000_000
    """Disk to leave free."""
    most_bytes: int = 0xFFFFFFFF
    """Unpacked size of one model."""
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
    """A page at work; its fields are written under the crawl's lock or by the one worker that has it."""

    def __init__(self, page: Page, state: str) -> None:
        self.page = page
        self.state = state
        self.message = self.title = self.attention = ""
        self.received = self.size = 0
        self.counted: int | None = None
        self.attempts = self.refused = 0
        self.began = 0.0
        self.rate = 0.0
        self.sample = (0.0, 0)
        self.changed = self.earlier = False

    def shown(self) -> PageState:
        return PageState(
            page=self.page,
            state=self.state,
            message=self.message,
            title=self.title,
            received=self.received,
            size=self.size,
            rate=self.rate,
            attempts=self.attempts,
            earlier=self.earlier,
        )


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
    ) -> None:
        self.folder = folder
        self.options = options or Options()
        if not 1 <= self.options.parallel <= 4:
            raise InputError(f"{self.options.parallel} pages at once were asked for: choose 1 to 4.")
        self._pages = list(pages)
        self._downloader = downloader
        self._settings = settings
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._token = CancelToken()
        self._items: dict[str, _Item] = {p.key: _Item(p, "waiting") for p in self._pages}
        self._fresh: deque[_Item] = deque()
        self._delayed: list[tuple[float, int, _Item]] = []
        self._numbers = 0
        self._counts = {"waiting": len(self._items), "working": 0, "done": 0, "skipped": 0, "failed": 0}
        self._paused = self._finishing = False
        self._fatal: Exception | None = None
        self._hold_until = self._last_refusal = 0.0
        self._refused: list[str] = []
        self._notice = ""
        self._contents: dict[str, str] = {}
        self._received = self._duplicates = 0
        self._finishes: deque[float] = deque(maxlen=100)
        self._flow: deque[tuple[float, int]] = deque(maxlen=60)

    # -- control, from any thread ----------------------------------------------------------------------------

    def pause(self) -> None:
        """Begin no further page; those at work go on."""
        self._set(paused=True)

    def resume(self) -> None:
        """Go on after `pause`."""
        with self._changed:
            self._finishes.clear()  # the pause is not to count as the crawl's pace
        self._set(paused=False)

    def finish_current(self) -> None:
        """End once the pages at work are done."""
        self._set(finishing=True)

    def states(self) -> list[PageState]:
        """All pages as they are now, in the order of the list."""
        with self._changed:
            return [item.shown() for item in self._items.values()]

    def totals(self) -> Totals:
        """The whole crawl as it is now."""
        with self._changed:
            return self._totals()

    def _set(self, paused: bool | None = None, finishing: bool | None = None) -> None:
        with self._changed:
            self._paused = self._paused if paused is None else paused
            self._finishing = self._finishing if finishing is None else finishing
            self._changed.notify_all()

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
            with Records.open(self.folder, self._items) as records:
                self._run(records, progress, cancel)
        finally:
            self._downloader.close()
        self._emit(progress, finished=True)
        if self._fatal is not None:
            raise self._fatal
        if cancel.cancelled:
            raise Cancelled
        return self.totals()

    def _run(self, records: Records, progress: ProgressCallback, cancel: CancelToken) -> None:
        """Have workers do the work, and end them in any case."""
        handler = _log_to(self.folder / "crawl.log")
        workers: list[threading.Thread] = []
        try:
            if self._settings is not None:
                records.write_settings(self._settings)
            self._begin(records)
            log.info("begin: %d pages, %d waiting", len(self._items), self._counts["waiting"])
            for number in range(min(self.options.parallel, max(1, self._counts["waiting"]))):
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
            counted = (f"{count} {state}" for state, count in self._counts.items() if count)
            log.info("end: %s", ", ".join(counted))
            log.removeHandler(handler)
            handler.close()

    def _begin(self, records: Records) -> None:
        """Find out what is left to do, and clear away what is not needed any more."""
        for item in self._items.values():
            state = records.state(item.page)
            again = {"failed": self.options.retry_failed, "skipped": self.options.retry_skipped}.get(state, False)
            if state != "waiting" and not again:
                reason = records.failed.get(item.page.key) or records.skipped.get(item.page.key)
                item.message, item.earlier = reason.reason if reason else "", True
                self._move(item, state)
            else:
                self._fresh.append(item)
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
            self._stop(_full(self.folder, free, self.options.keep_free))

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
                if not self._paused and now >= self._hold_until:
                    if self._delayed and self._delayed[0][0] <= now:
                        return self._take(heapq.heappop(self._delayed)[2])
                    if self._fresh:
                        return self._take(self._fresh.popleft())
                if not (self._fresh or self._delayed or self._counts["working"]):
                    break
                self._changed.wait(0.1)
            self._changed.notify_all()
            return None

    def _take(self, item: _Item) -> _Item:
        self._move(item, "working")
        item.message, item.received, item.size, item.rate = "", 0, 0, 0.0
        item.counted = None
        item.began = time.monotonic()
        item.sample = (item.began, 0)
        return item

    def _settle(self, item: _Item, records: Records) -> bool:
        """Collect a page and record how it went; returns whether the site was asked."""
        page = item.page
        try:
            if self._adopt(item, records):
                return False
            self._collect(item, records)
        except Cancelled:
            self._finish(item, "waiting", "stopped; goes on from here")
        except Skipped as skip:
            records.add_skipped(page, skip.kind, str(skip))
            self._clear(page)
            self._finish(item, "skipped", str(skip), answered=True)
        except AccessDenied as denied:
            records.add_failed(page, str(denied), item.attempts + 1)
            self._finish(item, "failed", str(denied))
            self._count_refusal(item, denied, None)
        except PageTrouble as trouble:
            self._after_trouble(item, trouble, records)
        except PageFailed as failure:
            records.add_failed(page, str(failure), item.attempts + 1)
            self._clear(page)
            self._finish(item, "failed", str(failure), answered=True)
        except (CrawlStopped, OutputError) as error:
            self._finish(item, "waiting", str(error))
            self._stop(error)
        except OSError as error:
            if error.errno not in _DISK_ERRORS and self.folder.is_dir():
                self._after_trouble(item, PageTrouble(f"{error.strerror or error}."), records)
                return True
            self._finish(item, "waiting", str(error))
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._stop(_full(self.folder, 0, self.options.keep_free))
            else:
                self._stop(_unusable(error.filename or self.folder, error))
        except Exception as error:  # a fault of the program must not cost a night's work
            log.exception("unexpected: %s", page.url)
            self._after_trouble(item, PageTrouble(f"Unexpected: {type(error).__name__}: {error}"), records)
        return True

    def _adopt(self, item: _Item, records: Records) -> bool:
        """Record a model that was put in its place just before a kill."""
        target = self.folder / f"{item.page.key}.glb"
        found = read_rights(target.with_suffix(".json"))
        if found is None or "sha256" not in found or not target.is_file():
            return False
        if target.stat().st_size != found.get("bytes"):
            return False
        records.add_downloaded(item.page)
        self._clear(item.page)
        item.title, item.size = str(found.get("title", "")), int(found["bytes"])
        self._finish(item, "done", "")
        return True

    def _collect(self, item: _Item, records: Records) -> None:
        work = self._workplace(item.page)
        work.mkdir(parents=True, exist_ok=True)

        def report(event: Progress) -> None:
            with self._changed:
                done = int(event.done)
                if item.counted is not None:
                    self._received += max(0, done - item.counted)
                # What an earlier attempt has left is the first that is told of, and was not received now.
                item.counted = done if done or event.total else None
                item.received, item.size = int(event.done), int(event.total)
                item.message, item.changed = event.message, True
                if isinstance(event.preview, Rights):
                    item.title = event.preview.title
                item.attention = event.message if event.stage == "attention" else ""
                self._measure(item)

        download = self._downloader.fetch(item.page, work, report, self._token)
        self.options.policy.check(download.rights)
        item.title, item.message, item.changed = download.rights.title, "checking", True
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
            item.received = item.size = facts.bytes
        self._finish(item, "done", f"same content as {twin}" if twin else "", answered=True)

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
            rights = download.rights if download.rights.source_url else _with_source(download.rights, page.url)
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

    def _after_trouble(self, item: _Item, trouble: PageTrouble, records: Records) -> None:
        if trouble.busy:
            item.refused += 1
        else:
            item.attempts += 1
        if item.attempts >= self.options.attempts or item.refused >= 2 * self.options.refusals:
            records.add_failed(item.page, str(trouble), item.attempts + item.refused)
            self._finish(item, "failed", str(trouble), answered=not trouble.refused)
        else:
            wait = self._grown(item.attempts)
            with self._changed:
                self._numbers += 1
                heapq.heappush(self._delayed, (time.monotonic() + wait, self._numbers, item))
            self._finish(item, "waiting", f"{trouble} Tried again.", answered=not trouble.refused)
        if trouble.refused:
            self._count_refusal(item, trouble, trouble.retry_after)

    def _count_refusal(self, item: _Item, trouble: PageFailed, retry_after: float | None) -> None:
        """Make all pages wait, longer each time, and give up when it does not help."""
        with self._changed:
            now = time.monotonic()
            # Pages at once that are refused together are one refusal.
            if item.began >= self._last_refusal or isinstance(trouble, AccessDenied):
                self._refused.append(item.page.key)
                self._last_refusal = now
            count = len(self._refused)
            # What the site asks for is the least; where it did not help before, the wait grows all the same.
            wait = self._grown(count) if retry_after is None else max(retry_after, self._grown(count - 1) * (count > 1))
            self._hold_until = max(self._hold_until, now + wait)
            self._notice = f"{trouble} Waiting {wait:.0f} s."
            alone = self._counts["waiting"] < 3
            broad = getattr(trouble, "busy", False) or alone or len(set(self._refused)) >= 3
        log.warning("refused %d times in a row: %s", count, trouble)
        if (count >= self.options.refusals and broad) or wait > _LONGEST_WAIT:
            self._stop(
                CrawlStopped(
                    f"The crawl was stopped, as the site has refused {count} time{'s' * (count > 1)} in a row. "
                    f"The last time: {trouble} Nothing is lost; run it again later, slower (--pause) or with fewer "
                    "pages at once (--parallel)."
                )
            )

    def _grown(self, times: int) -> float:
        """Seconds to wait after so many failures, with some chance so that crawls do not come in step."""
        wait = min(self.options.backoff * 2 ** max(0, times - 1), self.options.longest_backoff)
        return wait * random.uniform(1.0, 1.25)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while (left := end - time.monotonic()) > 0 and not (self._token.cancelled or self._finishing):
                self._changed.wait(min(left, 0.2))

    # -- states ----------------------------------------------------------------------------------------------

    def _finish(self, item: _Item, state: str, message: str, answered: bool = False) -> None:
        with self._changed:
            item.message, item.attention = message, ""
            item.rate = 0.0
            self._move(item, state)
            if state in _FINAL and (answered or state == "failed"):
                self._finishes.append(time.monotonic())
            if answered:
                self._refused.clear()
                self._notice = ""
            self._changed.notify_all()
        if state in _FINAL:
            log.info("%s %s %s", state, item.page.url, message)

    def _move(self, item: _Item, state: str) -> None:
        self._counts[item.state] -= 1
        self._counts[state] += 1
        item.state, item.changed = state, True

    def _measure(self, item: _Item) -> None:
        now, (since, before) = time.monotonic(), item.sample
        if before == 0 or now - since > 2:
            item.rate = 0.0 if before == 0 else (item.received - before) / (now - since)
            item.sample = (now, item.received)

    def _emit(self, progress: ProgressCallback, finished: bool = False) -> None:
        with self._changed:
            changed = [item for item in self._items.values() if item.changed]
            for item in changed:
                item.changed = False
            states = [item.shown() for item in changed]
            totals = self._totals(finished)
        for state in states:
            progress(Progress("page", state.received, state.size, state.message, state))
        progress(Progress("crawl", totals.finished, totals.total, totals.message, totals))

    def _totals(self, finished: bool = False) -> Totals:
        now, counts = time.monotonic(), self._counts
        self._flow.append((now, self._received))
        since, before = self._flow[0]
        pace = 0.0
        if len(self._finishes) > 1:
            pace = (len(self._finishes) - 1) / max(now - self._finishes[0], 1e-3)
        left = counts["waiting"] + counts["working"]
        attention = next((item.attention for item in self._items.values() if item.attention), "")
        if finished:
            state = "finished"
        elif self._token.cancelled:
            state = "stopping"
        elif self._finishing:
            state = "finishing"
        elif self._paused:
            state = "paused"
        else:
            state = "waiting" if now < self._hold_until else "running"
        return Totals(
            state=state,
            total=len(self._items),
            done=counts["done"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            working=counts["working"],
            received=self._received,
            rate=(self._received - before) / (now - since) if now - since > 0.5 else 0.0,
            pages_per_hour=pace * 3600,
            seconds_left=left / pace if pace > 0 else (0.0 if left == 0 else None),
            duplicates=self._duplicates,
            message=attention or self._notice,
            attention=attention,
        )

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


def _with_source(rights: Rights, url: str) -> Rights:
    return dataclasses.replace(rights, source_url=url)


def _unusable(path: object, error: OSError) -> OutputError:
    text = f"{path} cannot be used: {error.strerror or error}. Check its rights and the disk, then run the crawl again."
    return OutputError(text)


def _full(folder: Path, free: int, keep: int) -> CrawlStopped:
    return CrawlStopped(
        f"The crawl was stopped, as the disk of {folder} has only {free / 1e9:.1f} GB left and {keep / 1e9:.1f} GB "
        "shall stay free. Make room, or choose less (--keep-free), and run it again; nothing is lost."
    )


def _log_to(path: Path) -> logging.Handler:
    with writing(path, "Check its rights."):
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return handler

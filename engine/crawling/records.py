"""What a crawl has done, on disk: plain files in the folder of the models that survive a kill at any instant.

    downloaded_urls.txt   one address a line, as the original script wrote it
    failed_urls.tsv       address, reason, attempts, time, kind; the last line of an address counts
    skipped_urls.tsv      address, kind, reason, time
    crawl.json            the list and the options of the last crawl

Each line is written whole and flushed to the disk before the next page begins. A line that a power cut or a kill
tore is mended when the folder is next opened.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.core import ledger
from engine.core.errors import InputError
from engine.core.files import locked_folder, read_object, write_whole, writing
from engine.crawling.lists import Page, parse_page

DOWNLOADED, FAILED, SKIPPED = "downloaded_urls.txt", "failed_urls.tsv", "skipped_urls.tsv"
_FAILED_HEAD = "# url\treason\tattempts\ttime\tkind\n"
_SKIPPED_HEAD = "# url\tkind\treason\ttime\n"


@dataclass(frozen=True)
class Failure:
    """A page that could not be collected."""

    page: Page
    reason: str
    attempts: int = 1
    time: str = ""
    kind: str = ""
    """That of the reason, as of `PageFailed`; none in records from before there were any."""


@dataclass(frozen=True)
class Skip:
    """A page that was left out on purpose."""

    page: Page
    kind: str
    """`noai`, `not-downloadable` or `licence`."""
    reason: str
    time: str = ""


class Records:
    """The records of one folder, by the pages' keys; `open` them to write, `read` them to look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloaded: dict[str, str] = {}
        """Addresses by key."""
        self.failed: dict[str, Failure] = {}
        self.skipped: dict[str, Skip] = {}
        self._writing = threading.Lock()

    # -- opening ---------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, folder: Path) -> Records:
        """The records as they are now, also while a crawl writes them."""
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Name the folder that the models are in.")
        records = cls(folder)
        records._load()
        return records

    @classmethod
    @contextmanager
    def open(cls, folder: Path, known: Collection[str] = ()) -> Iterator[Records]:
        """Lock the folder, which is made if needed, mend what a kill tore and read the records.

        `known` are keys of pages: a last line without an end that names one of them is whole.
        """
        busy = f"Another crawl is at work in {folder}. Wait for it, stop it, or choose another folder."
        with locked_folder(folder, ".crawl.lock", busy):
            records = cls(folder)
            with writing(folder):
                ledger.mend(folder / DOWNLOADED, lambda line: _is_address(line, known))
                for name in (FAILED, SKIPPED):
                    ledger.mend(folder / name)
                records._load()
            yield records

    # -- writing ---------------------------------------------------------------------------------------------

    def add_downloaded(self, page: Page) -> None:
        """Record a page as done, once."""
        with self._writing:
            if page.key not in self.downloaded:
                self._append(DOWNLOADED, "", page.url)
                self.downloaded[page.key] = page.url
            self.failed.pop(page.key, None)
            self.skipped.pop(page.key, None)

    def add_failed(self, page: Page, reason: str, attempts: int, kind: str = "") -> None:
        """Record a page that was given up; `attempts` are those of this crawl."""
        with self._writing:
            before = self.failed.get(page.key)
            attempts += before.attempts if before else 0
            failure = Failure(page, _plain(reason), attempts, _now(), kind)
            self._append(FAILED, _FAILED_HEAD, page.url, failure.reason, str(attempts), failure.time, kind)
            self.failed[page.key] = failure
            self.skipped.pop(page.key, None)

    def add_skipped(self, page: Page, kind: str, reason: str) -> None:
        """Record a page that was left out, with the reason."""
        with self._writing:
            skip = Skip(page, kind, _plain(reason), _now())
            self._append(SKIPPED, _SKIPPED_HEAD, page.url, kind, skip.reason, skip.time)
            self.skipped[page.key] = skip
            self.failed.pop(page.key, None)

    def _append(self, name: str, head: str, *cells: str) -> None:
        path = self.folder / name
        with writing(path):
            ledger.append(path, "\t".join(cells).encode() + b"\n", head.encode())

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Keep the list and the options, for `status` and `retry`."""
        write_whole(self.folder / "crawl.json", json.dumps(settings, indent=1).encode())

    # -- reading ---------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """The list and the options of the last crawl; empty if unknown."""
        return read_object(self.folder / "crawl.json") or {}

    def state(self, page: Page) -> str:
        """`done`, `skipped`, `failed` or `waiting`."""
        if page.key in self.downloaded:
            return "done"
        if page.key in self.skipped:
            return "skipped"
        return "failed" if page.key in self.failed else "waiting"

    def _load(self) -> None:
        for cells in _rows(self.folder / DOWNLOADED):
            page = parse_page(cells[0])
            if isinstance(page, Page):
                self.downloaded.setdefault(page.key, page.url)
        for cells in _rows(self.folder / SKIPPED):
            page = parse_page(cells[0])
            if isinstance(page, Page):
                self.skipped[page.key] = Skip(page, *(cells[1:] + [""] * 3)[:3])
        for cells in _rows(self.folder / FAILED):
            page = parse_page(cells[0])
            if isinstance(page, Page):
                reason, attempts, time, kind = (cells[1:] + [""] * 4)[:4]
                tried = int(attempts) if attempts.isdecimal() else 1
                self.failed[page.key] = Failure(page, reason, tried, time, kind)
        for key in self.downloaded:
            self.failed.pop(key, None)
            self.skipped.pop(key, None)
        for key in self.failed.keys() & self.skipped.keys():  # tried again since: the later counts
            (self.skipped if self.failed[key].time >= self.skipped[key].time else self.failed).pop(key)


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except FileNotFoundError:
        return []
    # What stands after the last end of a line may still be being written; addresses without an end are kept,
    # as the original script's file may lack the last one.
    lines = (line.strip() for line in text.split("\n"))
    return [line.split("\t") for line in lines if line and not line.startswith("#") and "\0" not in line]


def _is_address(line: bytes, known: Collection[str]) -> bool:
    """Whether a last line without an end is whole: an address that ends in the model's id cannot be a piece of one."""
    text = line.decode("utf-8", "replace").strip()
    page = parse_page(text.split("\t")[0]) if text and "\0" not in text else None
    return isinstance(page, Page) and (page.key in page.url.lower() or page.key in known)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

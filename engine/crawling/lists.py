"""Lists of pages: `urls.txt`, one address a line, as people write, copy and export them; and what adds to them."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from engine.core.errors import InputError
from engine.core.files import writing
from engine.core.progress import CancelToken, ProgressCallback, ignore_progress

if TYPE_CHECKING:
    from engine.crawling.filters import Filters

_UID = re.compile(r"/(?:3d-)?models/(?:[^/]*-)?([0-9a-f]{32})(?=$|[/?#])", re.IGNORECASE)
_BARE_UID = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_TRACKING = re.compile(r"utm_.*|fbclid|gclid|dclid|msclkid|mc_[ce]id|igshid|yclid|ref|ref_src|_ga|_gl", re.IGNORECASE)
_SKETCHFAB = re.compile(r"(?:www\.)?sketchfab\.com", re.IGNORECASE)


@dataclass(frozen=True)
class Page:
    """One page to collect a model from."""

    url: str
    """Address without tracking parameters and fragment."""
    key: str
    """What tells it from other pages, however the address is written: the model's id if the address holds one.
    Also the name of the model's files."""


@dataclass(frozen=True)
class BadLine:
    """A line of a list that names no page."""

    number: int
    text: str
    reason: str

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 80 else f"{self.text[:77]}..."
        return f"line {self.number}: {shown!r} {self.reason}"


@dataclass
class PageList:
    """What a list holds: each page once, in the order of the list."""

    pages: list[Page] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    duplicates: int = 0


def read_list(path: Path) -> PageList:
    """Read a list; InputError if there is no such file or no page in it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"The list {path} cannot be read: {error.strerror or error}. Check the path.") from error
    utf16 = text.startswith((b"\xff\xfe", b"\xfe\xff"))
    found = parse_list(text.decode("utf-16" if utf16 else "utf-8-sig", "replace").splitlines())
    if not found.pages:
        first = f" The first bad line: {found.bad[0]}." if found.bad else ""
        raise InputError(f"The list {path} names no page.{first} Write one address a line.")
    return found


def parse_list(lines: Iterable[str]) -> PageList:
    """Read lines: blank ones and what follows a `#` after a blank are passed over, bad ones named.

    >>> found = parse_list(["# churches", "https://example.org/models/chapel.glb?utm_source=mail", "a chapel"])
    >>> [page.url for page in found.pages]
    ['https://example.org/models/chapel.glb']
    >>> print(found.bad[0])
    line 3: 'a chapel' is not one address: it holds blanks
    """
    found = PageList()
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        text = uncommented(line)
        if not text:
            continue
        page = parse_page(text)
        if isinstance(page, str):
            found.bad.append(BadLine(number, text, page))
        elif page.key in seen:
            found.duplicates += 1
        else:
            seen.add(page.key)
            found.pages.append(page)
    return found


def uncommented(line: str) -> str:
    """What a line says, without a comment and the marks that copying leaves around an address."""
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().strip("\"',;<>").strip()


def parse_page(text: str) -> Page | str:
    """The page that an address names, or what is wrong with the address. A model's bare id is taken as well."""
    if _BARE_UID.fullmatch(text):
        return Page(f"https://sketchfab.com/3d-models/{text.lower()}", text.lower())
    if re.search(r"[\s\x00-\x1f]", text):
        return "is not one address: it holds blanks"
    if "://" not in text and re.match(r"[\w.-]+\.[a-z]{2,}/", text, re.IGNORECASE):
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not an address"
    if parts.scheme.lower() not in ("http", "https") or not host:
        return "is not an address that begins with https://"
    uid = _UID.search(parts.path)
    if uid is None and _SKETCHFAB.fullmatch(host):
        return "is not the page of a model: its address would end in the model's id, 32 letters and digits"
    if uid is None and host == "skfb.ly":
        return "is a short link: open it and take the address of the page"
    asked = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(pair[0])]
    place = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/")
    url = urlunsplit((parts.scheme.lower(), place, path, urlencode(asked), ""))
    if uid is not None:
        return Page(url, uid[1].lower())
    name = re.sub(r"[^a-z0-9]+", "-", path.rpartition("/")[2].lower()).strip("-")[:40] or "page"
    told = f"{place.removeprefix('www.')}{path}?{urlencode(sorted(asked))}"
    return Page(url, f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}")


# -- lists that are added to -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Added:
    """What came of an addition to a list."""

    path: Path
    found: int
    """Pages that were pasted or found."""
    added: int
    """Those of them that were not in the list before."""


def add_addresses(path: Path, text: str) -> Added:
    """Add the addresses in `text`, one a line or apart by blanks, to a list; makes the list if there is none.

    InputError if there is no address of a page in it.
    """
    pieces = [piece for line in text.splitlines() for piece in _addresses(line)]
    found = parse_list(pieces)
    if not found.pages:
        why = f": {found.bad[0].text!r} {found.bad[0].reason}" if found.bad else ""
        raise InputError(f"There is no address of a model's page in what was pasted{why}.")
    with _appending(path) as (known, write):
        fresh = [page for page in found.pages if page.key not in known]
        for page in fresh:
            write(page.url)
    return Added(path, len(found.pages), len(fresh))


def search_to_list(
    path: Path,
    query: str,
    filters: Filters,
    most: int,
    cancel: CancelToken,
    progress: ProgressCallback = ignore_progress,
    *,
    pause: float = 1.0,
) -> Added:
    """Add what a search on Sketchfab finds to a list, each line as it is found. InputError if nothing is found."""
    from engine.crawling.sketchfab import SketchfabApi, find_token

    found = added = 0
    api = SketchfabApi(find_token())
    try:
        with _appending(path, f"search: {' '.join(query.split())}, {','.join(filters.licences) or 'any'}") as (
            known,
            write,
        ):
            for model in api.search(query, filters, most, cancel, progress, pause=pause):
                found += 1
                if model.page.key in known:
                    continue
                added += 1
                rights, faces = model.rights, "?" if model.faces is None else model.faces
                about = f"{rights.title}, by {rights.author}, {rights.licence}, {faces} faces"
                write(f"{model.page.url}  # {' '.join(about.split())}")
    finally:
        api.http.close()
    if not found:
        raise InputError(f"Nothing was found for {query!r}. Try other words, or wider filters.")
    return Added(path, found, added)


@contextlib.contextmanager
def _appending(path: Path, head: str = "") -> Iterator[tuple[set[str], Callable[[str], None]]]:
    """The keys of a list's pages, and what writes a further line to it; a list that got no line is not made."""
    with writing(path, "Check the path."):
        before = path.read_text("utf-8-sig", "replace") if path.exists() else ""
        known = {page.key for page in parse_list(before.splitlines()).pages}
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = False

        def write(line: str) -> None:
            nonlocal begun
            with path.open("a", encoding="utf-8") as out:
                if not begun:
                    out.write("" if not before or before.endswith("\n") else "\n")
                    out.write(f"# {head}, {datetime.now(UTC).date()}\n" if head else "")
                    begun = True
                out.write(f"{line}\n")

        yield known, write


def _addresses(line: str) -> list[str]:
    """The addresses in a line of prose; the line itself if it holds none."""
    found = re.findall(r"https?://[^\s\"'<>|]+", line)
    return [address.rstrip(").,;]") for address in found] or [line]

"""Lists that the program makes for the user: from addresses that were pasted, or from a search."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import home
from engine.core.errors import InputError
from engine.core.files import writing
from engine.core.progress import CancelToken, ProgressCallback, ignore_progress

if TYPE_CHECKING:
    from engine.crawling.sketchfab import Filters


@dataclass(frozen=True)
class Added:
    """What came of an addition to a list."""

    path: Path
    found: int
    """Pages that were pasted or found."""
    added: int
    """Those of them that were not in the list before."""


def new_list(words: str) -> Path:
    """Where a list of this name is kept."""
    name = re.sub(r"[^\w]+", "-", words.lower()).strip("-")[:60] or "list"
    return home() / "lists" / f"{name}.txt"


def add_addresses(path: Path, text: str) -> Added:
    """Add the addresses in `text`, one a line or apart by blanks, to a list; makes the list if there is none.

    InputError if there is no address of a page in it.
    """
    from engine.crawling import parse_list

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
    from engine.crawling import parse_list

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


def suggested_folder(list_path: Path) -> Path:
    """Where the models of a list go, unless the user says otherwise."""
    if list_path.parent == home() / "lists":
        return home() / "models" / list_path.stem
    return list_path.absolute().parent / "models"

"""`oriel crawl search | run | status | retry | credits | token | login`: collect models from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from app.crawling import profile_folder
from app.options import Fields, option
from app.reporting import Reporter, complain, duration, say_json, working
from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import Progress
from engine.crawling import (
    DEFAULT_LICENCES,
    Crawl,
    Options,
    Page,
    Policy,
    Records,
    Totals,
    parse_licences,
    read_list,
    tally,
    write_credits,
)
from engine.crawling.filters import Filters
from engine.crawling.lists import search_to_list
from engine.crawling.sources import Source, make_downloader

_LICENCES = ",".join(DEFAULT_LICENCES)

Models = Annotated[Path, option("folder with the models", metavar="FOLDER")]
Licences = Annotated[str, option("licences, or any", metavar="NAMES")]
From = Annotated[dict[str, Any], Fields(Source)]
ByAI = Annotated[dict[str, Any], Fields(Policy, only=("created_with_ai",))]
Pace = Annotated[
    dict[str, Any], Fields(Options, only=("parallel", "pause", "attempts", "backoff", "keep_free", "texture"))
]
Remove = Annotated[bool, option("take it out again")]


def search(
    query: Annotated[str, option('what to look for, as "gothic church"')],
    /,
    *,
    output: Annotated[Path, option("list to write, or to add to", "-o", metavar="LIST")],
    max: Annotated[int, option("models at most", low=1)] = 1000,
    license: Licences = _LICENCES,
    filters: Annotated[
        dict[str, Any],
        Fields(
            Filters,
            only=(
                "min_faces",
                "max_faces",
                "max_bytes",
                "categories",
                "tags",
                "sort",
                "days",
                "created_with_ai",
            ),
        ),
    ],
    pause: Annotated[float, option("seconds between requests", metavar="S")] = 1.0,
) -> None:
    """Make a list of models from a search on Sketchfab."""
    wanted = Filters(parse_licences(license), **filters)
    with working(query, "{desc} |{bar}| {n_fmt} models {elapsed}") as (report, cancel):

        def show(event: Progress) -> None:
            report.show(event.done, event.total, f"{query}: {event.message}"[:60])

        done = search_to_list(output, query, wanted, max, cancel, show, pause=pause)
    print(f"{output}: {done.added} models added, {done.found - done.added} were in it")


def run(
    list: Annotated[Path, option("file with one address a line", metavar="LIST")],
    /,
    *,
    output: Annotated[Path, option("folder for the models", "-o", metavar="FOLDER")],
    license: Licences = _LICENCES,
    by_ai: ByAI,
    source: From,
    pace: Pace,
) -> None:
    """Collect the models of a list; goes on where an earlier run of the folder ended, and past failures."""
    found = read_list(list)
    for bad in found.bad[:20]:
        complain(f"{list}: {bad}")
    if len(found.bad) > 20:
        complain(f"{list}: {len(found.bad) - 20} more bad lines")
    if found.duplicates:
        complain(f"{list}: {found.duplicates} lines name a page again")
    options = Options(Policy(parse_licences(license), **by_ai), **pace)
    _crawl(found.pages, output, options, Source(**source), str(list.resolve()))


def retry(
    folder: Models,
    /,
    *,
    skipped: Annotated[bool, option("look again at the pages that were skipped as well")] = False,
    license: Annotated[str | None, option("licences, or any (default: as in the last run)", metavar="NAMES")] = None,
    by_ai: ByAI,
    source: From,
    pace: Pace,
) -> None:
    """Try again the pages that failed."""
    records = Records.read(folder)
    settings = records.settings()
    pages = [failure.page for failure in records.failed.values()]
    if skipped:
        pages += [skip.page for skip in records.skipped.values()]
    if not pages:
        print(f"{folder}: no page failed")
        return
    by_ai = {"created_with_ai": bool(settings.get("created_with_ai"))} | by_ai
    policy = Policy(parse_licences(license or settings.get("licences") or _LICENCES), **by_ai)
    options = Options(policy, **pace, retry_failed=True, retry_skipped=skipped)
    _crawl(pages, folder, options, Source(**source), settings.get("list"))


def status(folder: Models, /, *, json: Annotated[bool, option("print JSON")] = False) -> None:
    """Say how far the crawl of a folder is; also while it runs."""
    records = Records.read(folder)
    settings = records.settings()
    pages: list[Page] | None = None
    if settings.get("list"):
        try:
            pages = read_list(Path(settings["list"])).pages
        except OrielError:
            pages = None  # the list has gone since
    kinds: dict[str, int] = {}
    for skip in records.skipped.values():
        kinds[skip.kind] = kinds.get(skip.kind, 0) + 1
    models = list(folder.glob("*.glb"))
    waiting = None if pages is None else sum(records.state(page) == "waiting" for page in pages)
    found = {
        "folder": str(folder),
        "list": settings.get("list"),
        "pages": None if pages is None else len(pages),
        "done": len(records.downloaded),
        "waiting": waiting,
        "failed": len(records.failed),
        "skipped": kinds,
        "models": len(models),
        "bytes": sum(path.stat().st_size for path in models),
        "licences": tally(folder),
        "failures": [
            {"url": f.page.url, "reason": f.reason, "attempts": f.attempts, "time": f.time}
            for f in records.failed.values()
        ],
    }
    if json:
        return say_json(found)
    print(f"done       {found['done']}" + ("" if pages is None else f" of {len(pages)}"))
    if waiting is not None:
        print(f"waiting    {waiting}")
    skipped = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    print(f"skipped    {len(records.skipped)}" + (f" ({skipped})" if skipped else ""))
    print(f"failed     {len(records.failed)}")
    print(f"models     {len(models)}, {sum(path.stat().st_size for path in models) / 1e6:.1f} MB")
    print("licences   " + (", ".join(f"{name or 'none'} {count}" for name, count in tally(folder).items()) or "-"))
    for failure in records.failed.values():
        print(f"  {failure.page.url}\n    {failure.reason} ({failure.attempts} attempts)")


def credits(
    folder: Models,
    /,
    *,
    output: Annotated[Path | None, option("default: CREDITS.csv in the folder", "-o", metavar="FILE")] = None,
) -> None:
    """Write CREDITS.csv: title, author, licence and source of every model."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Name the folder that the models are in.")
    target = output or folder / "CREDITS.csv"
    count = write_credits(folder, target)
    print(f"{target}: {count} models")


def token(*, remove: Remove = False) -> None:
    """Put the API token of Sketchfab into the system's keyring; it is asked for unseen."""
    from getpass import getpass

    from engine.crawling.sketchfab import keep_token

    if remove:
        keep_token(None)
        print("the keyring holds no token of Sketchfab any more")
        return
    secret = getpass("API token of Sketchfab (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()
    if not secret.strip():
        raise InputError("No token was given. It stands on Sketchfab's site under Settings, Password & API.")
    keep_token(secret)
    print("kept in the system's keyring")


def login(*, remove: Annotated[bool, option("take them out again")] = False) -> None:
    """Put the user name and password of Sketchfab into the system's keyring, for the browser; asked for unseen."""
    from getpass import getpass

    from engine.crawling.browser import Account, store_account

    if remove:
        store_account(None)
        print("the keyring holds no login of Sketchfab any more")
        return
    if sys.stdin.isatty():
        user, password = input("User name or email at Sketchfab: "), getpass("Password (not shown): ")
    else:
        user, password = (sys.stdin.readline().rstrip("\r\n") for _ in range(2))
    if not user.strip() or not password:
        raise InputError("Both a user name and a password are needed. Nothing was stored.")
    store_account(Account(user.strip(), password))
    print("kept in the system's keyring")


COMMANDS = (search, run, retry, status, credits, token, login)

# -- the crawl -----------------------------------------------------------------------------------------------


def _crawl(pages: list[Page], folder: Path, options: Options, source: Source, given: str | None) -> None:
    downloader = make_downloader(source, options, profile_folder())
    crawl = Crawl(pages, folder, downloader, options, options.policy.described() | {"list": given})
    try:
        form = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"
        with working("crawl", form, rows=options.parallel, scaled=True) as (report, cancel):
            totals = crawl.run(lambda event: _show(report, event), cancel)
    except (Cancelled, OrielError):
        print(_summary(crawl.totals(), folder), flush=True)
        raise
    print(_summary(totals, folder))
    if totals.failed:
        complain(f"{totals.failed} pages failed; `oriel crawl status {folder}` names them.")


def _summary(totals: Totals, folder: Path) -> str:
    parts = [f"{totals.done} done", f"{totals.skipped} skipped", f"{totals.failed} failed"]
    if totals.total > totals.finished:
        parts.append(f"{totals.total - totals.finished} to go")
    if totals.duplicates:
        parts.append(f"{totals.duplicates} of the same content")
    return f"{folder}: {', '.join(parts)}"


def _show(report: Reporter, event: Progress) -> None:
    """Bars over the list and the pages at work; what was skipped or has failed as a line, on a file all."""
    state = event.preview
    if event.stage == "crawl":
        left = "" if state.seconds_left is None else f", {duration(state.seconds_left)} left"
        after = f"{state.rate / 1e6:.1f} MB/s, {state.failed} failed{left} {state.message}"
        report.show(state.finished, state.total, after=after.rstrip())
        report.notice(state.message)
    elif state.state == "working":
        text = f"{(state.title or state.page.key)[:28]:<28} {state.message[:12]:<12}"
        report.row(state.page.key, state.received, state.size, text)
    else:
        report.drop(state.page.key)
        if not state.earlier and (state.state in ("skipped", "failed") or (report.quiet and state.state == "done")):
            report.line(f"{state.state} {state.page.url}" + (f": {state.message}" if state.message else ""))

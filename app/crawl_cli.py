"""`oriel crawl search | run | status | retry | credits | token | login`: collect models from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.crawling import SOURCES, make_downloader
from app.terminal import interruptible
from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken, Progress

if TYPE_CHECKING:
    from engine.crawling import Crawl, Options, Page, Totals

_LICENCES = "cc0,by,by-sa"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(crawl_run=function)
        return sub

    sub = action("search", _search, "make a list of models from a search on Sketchfab")
    sub.add_argument("query", help='what to look for, as "gothic church"')
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="LIST", help="list to write, or to add to")
    sub.add_argument("--max", type=int, default=1000, metavar="N", help="models at most (default %(default)s)")
    sub.add_argument("--license", default=_LICENCES, metavar="NAMES", help="licences, or any (default %(default)s)")
    sub.add_argument("--min-faces", type=int, metavar="N", help="faces at least")
    sub.add_argument("--max-faces", type=int, metavar="N", help="faces at most")
    sub.add_argument("--max-mb", type=float, metavar="MB", help="size of the download at most")
    sub.add_argument("--pause", type=float, default=1.0, metavar="S", help="seconds between requests (default 1)")

    sub = action(
        "run", _run, "collect the models of a list; goes on where an earlier run of the folder ended, and past failures"
    )
    sub.add_argument("list", type=Path, metavar="LIST", help="file with one address a line")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the models")
    sub.add_argument("--license", default=_LICENCES, metavar="NAMES", help="licences, or any (default %(default)s)")
    _add_pace(sub)

    sub = action("retry", _retry, "try again the pages that failed")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="folder with the models")
    sub.add_argument("--skipped", action="store_true", help="look again at the pages that were skipped as well")
    sub.add_argument("--license", metavar="NAMES", help="licences, or any (default: as in the last run)")
    _add_pace(sub)

    sub = action("status", _status, "say how far the crawl of a folder is; also while it runs")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="folder with the models")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = action("credits", _credits, "write CREDITS.csv: title, author, licence and source of every model")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="folder with the models")
    sub.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: CREDITS.csv in the folder")

    sub = action("token", _token, "put the API token of Sketchfab into the system's keyring; it is asked for unseen")
    sub.add_argument("--remove", action="store_true", help="take it out again")

    text = "put the user name and password of Sketchfab into the system's keyring, for the browser; asked for unseen"
    sub = action("login", _login, text)
    sub.add_argument("--remove", action="store_true", help="take them out again")


def _add_pace(parser: argparse.ArgumentParser) -> None:
    from engine.crawling import Options

    usual = Options()
    text = "where models come from: auto takes the API where a token is set, else the browser (default auto)"
    parser.add_argument("--source", choices=SOURCES, default="auto", help=text)
    parser.add_argument("--show-browser", action="store_true", help="show the browser's window, as to log in by hand")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="pages at once, 1 to 4 (default 1)")
    text = f"seconds between pages (default {usual.pause:g})"
    parser.add_argument("--pause", type=float, default=usual.pause, metavar="S", help=text)
    text = f"attempts at a page (default {usual.attempts})"
    parser.add_argument("--attempts", type=int, default=usual.attempts, metavar="N", help=text)
    text = f"first wait when the site refuses, in seconds; doubles (default {usual.backoff:g})"
    parser.add_argument("--backoff", type=float, default=usual.backoff, metavar="S", help=text)
    text = f"disk to leave free, in GB (default {usual.keep_free / 1e9:g})"
    parser.add_argument("--keep-free", type=float, default=usual.keep_free / 1e9, metavar="GB", help=text)


def run(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit status."""
    return int(args.crawl_run(args))


# -- commands ------------------------------------------------------------------------------------------------


def _search(args: argparse.Namespace) -> int:
    from app.crawl_lists import search_to_list
    from engine.crawling import parse_licences
    from engine.crawling.sketchfab import Filters

    if args.max < 1:
        raise InputError(f"--max is {args.max}: give a number of models of at least 1.")
    size = None if args.max_mb is None else int(args.max_mb * 1e6)
    filters = Filters(parse_licences(args.license), args.min_faces, args.max_faces, size)
    cancel = CancelToken()
    with _bar(args.query, "models") as show, interruptible(cancel):
        done = search_to_list(args.output, args.query, filters, args.max, cancel, show, pause=args.pause)
    print(f"{args.output}: {done.added} models added, {done.found - done.added} were in it")
    return 0


def _run(args: argparse.Namespace) -> int:
    from engine.crawling import parse_licences, read_list

    found = read_list(args.list)
    for bad in found.bad[:20]:
        print(f"oriel: {args.list}: {bad}", file=sys.stderr)
    if len(found.bad) > 20:
        print(f"oriel: {args.list}: {len(found.bad) - 20} more bad lines", file=sys.stderr)
    if found.duplicates:
        print(f"oriel: {args.list}: {found.duplicates} lines name a page again", file=sys.stderr)
    options = _options(args, parse_licences(args.license))
    return _crawl(found.pages, args.output, args, options, str(args.list.resolve()))


def _retry(args: argparse.Namespace) -> int:
    from engine.crawling import Records, parse_licences

    records = Records.read(args.folder)
    settings = records.settings()
    pages = [failure.page for failure in records.failed.values()]
    if args.skipped:
        pages += [skip.page for skip in records.skipped.values()]
    if not pages:
        print(f"{args.folder}: no page failed")
        return 0
    named = args.license or settings.get("licences") or _LICENCES
    options = replace(_options(args, parse_licences(named)), retry_failed=True, retry_skipped=args.skipped)
    return _crawl(pages, args.folder, args, options, settings.get("list"))


def _status(args: argparse.Namespace) -> int:
    from engine.crawling import Records, read_list, tally

    records = Records.read(args.folder)
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
    models = list(args.folder.glob("*.glb"))
    waiting = None if pages is None else sum(records.state(page) == "waiting" for page in pages)
    status = {
        "folder": str(args.folder),
        "list": settings.get("list"),
        "pages": None if pages is None else len(pages),
        "done": len(records.downloaded),
        "waiting": waiting,
        "failed": len(records.failed),
        "skipped": kinds,
        "models": len(models),
        "bytes": sum(path.stat().st_size for path in models),
        "licences": tally(args.folder),
        "failures": [
            {"url": f.page.url, "reason": f.reason, "attempts": f.attempts, "time": f.time}
            for f in records.failed.values()
        ],
    }
    if args.json:
        print(json.dumps(status))
        return 0
    print(f"done       {status['done']}" + ("" if pages is None else f" of {len(pages)}"))
    if waiting is not None:
        print(f"waiting    {waiting}")
    skipped = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    print(f"skipped    {len(records.skipped)}" + (f" ({skipped})" if skipped else ""))
    print(f"failed     {len(records.failed)}")
    print(f"models     {len(models)}, {sum(path.stat().st_size for path in models) / 1e6:.1f} MB")
    print("licences   " + (", ".join(f"{name or 'none'} {count}" for name, count in tally(args.folder).items()) or "-"))
    for failure in records.failed.values():
        print(f"  {failure.page.url}\n    {failure.reason} ({failure.attempts} attempts)")
    return 0


def _credits(args: argparse.Namespace) -> int:
    from engine.crawling import write_credits

    if not args.folder.is_dir():
        raise InputError(f"There is no folder {args.folder}. Name the folder that the models are in.")
    target = args.output or args.folder / "CREDITS.csv"
    count = write_credits(args.folder, target)
    print(f"{target}: {count} models")
    return 0


def _token(args: argparse.Namespace) -> int:
    from getpass import getpass

    from engine.crawling.sketchfab import keep_token

    if args.remove:
        keep_token(None)
        print("the keyring holds no token of Sketchfab any more")
        return 0
    secret = getpass("API token of Sketchfab (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()
    if not secret.strip():
        raise InputError("No token was given. It stands on Sketchfab's site under Settings, Password & API.")
    keep_token(secret)
    print("kept in the system's keyring")
    return 0


def _login(args: argparse.Namespace) -> int:
    from getpass import getpass

    from engine.crawling.browser import Account, store_account

    if args.remove:
        store_account(None)
        print("the keyring holds no login of Sketchfab any more")
        return 0
    if sys.stdin.isatty():
        user, password = input("User name or email at Sketchfab: "), getpass("Password (not shown): ")
    else:
        user, password = (sys.stdin.readline().rstrip("\r\n") for _ in range(2))
    if not user.strip() or not password:
        raise InputError("Both a user name and a password are needed. Nothing was stored.")
    store_account(Account(user.strip(), password))
    print("kept in the system's keyring")
    return 0


# -- the crawl -----------------------------------------------------------------------------------------------


def _options(args: argparse.Namespace, licences: tuple[str, ...]) -> Options:
    from engine.crawling import Options, Policy

    for name, least in (("pause", 0), ("attempts", 1), ("keep_free", 0), ("backoff", 0)):
        if getattr(args, name) < least:
            given = getattr(args, name)
            raise InputError(f"--{name.replace('_', '-')} is {given:g}: it must be at least {least}.")
    return Options(
        policy=Policy(licences),
        parallel=args.parallel,
        pause=args.pause,
        attempts=args.attempts,
        backoff=args.backoff,
        keep_free=int(args.keep_free * 1e9),
    )


def _crawl(pages: list[Page], folder: Path, args: argparse.Namespace, options: Options, source: str | None) -> int:
    from engine.crawling import Crawl

    downloader = make_downloader(args.source, show_browser=args.show_browser, policy=options.policy)
    settings = {"list": source, "licences": ",".join(options.policy.licences) or "any"}
    crawl = Crawl(pages, folder, downloader, options, settings)
    cancel = CancelToken()
    try:
        with _bars(crawl) as show, interruptible(cancel):
            totals = crawl.run(show, cancel)
    except (Cancelled, OrielError):
        print(_summary(crawl.totals(), folder), flush=True)
        raise
    print(_summary(totals, folder))
    if totals.failed:
        print(f"oriel: {totals.failed} pages failed; `oriel crawl status {folder}` names them.", file=sys.stderr)
    return 0


def _summary(totals: Totals, folder: Path) -> str:
    parts = [f"{totals.done} done", f"{totals.skipped} skipped", f"{totals.failed} failed"]
    if totals.total > totals.finished:
        parts.append(f"{totals.total - totals.finished} to go")
    if totals.duplicates:
        parts.append(f"{totals.duplicates} of the same content")
    return f"{folder}: {', '.join(parts)}"


@contextmanager
def _bars(crawl: Crawl) -> Iterator[Callable[[Progress], None]]:
    """A bar over the list, and one for each page at work; where standard error is a file, a line for each page."""
    from tqdm import tqdm

    whole_form = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"
    page_form = "  {desc} |{bar}| {n_fmt}/{total_fmt}"
    quiet = not sys.stderr.isatty()
    total = len(crawl.states())
    whole = tqdm(total=total, desc="crawl", bar_format=whole_form, disable=quiet, leave=False, position=0)
    rows = [
        tqdm(total=0, bar_format=page_form, unit_scale=True, disable=quiet, leave=False, position=number + 1)
        for number in range(crawl.options.parallel)
    ]
    places: dict[str, Any] = {}
    told = [""]

    def show(event: Progress) -> None:
        state = event.preview
        if event.stage == "crawl":
            whole.n = state.finished
            left = "" if state.seconds_left is None else f", {_duration(state.seconds_left)} left"
            said = f" {state.message}" if state.message else ""
            if state.message not in ("", told[0]):
                # A bar has no room for what the user is asked to do.
                tqdm.write(state.message, file=sys.stderr)
            told[0] = state.message
            whole.set_postfix_str(f"{state.rate / 1e6:.1f} MB/s, {state.failed} failed{left}{said}"[:110])
            return
        key = state.page.key
        if state.state == "working":
            row = places.get(key)
            if row is None:
                row = next((r for r in rows if r not in places.values()), None)
                if row is None:
                    return
                places[key] = row
            row.total, row.n = state.size or None, state.received
            row.set_description_str(f"{(state.title or key)[:28]:<28} {state.message[:12]:<12}")
            return
        row = places.pop(key, None)
        if row is not None:
            row.total, row.n = None, 0
            row.set_description_str("")
        if state.earlier:
            return
        if state.state in ("skipped", "failed") or (quiet and state.state == "done"):
            text = f"{state.state} {state.page.url}" + (f": {state.message}" if state.message else "")
            tqdm.write(text, file=sys.stderr)

    try:
        yield show
    finally:
        for row in [*rows, whole]:
            row.close()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds / 60 + 0.5), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


@contextmanager
def _bar(label: str, unit: str) -> Iterator[Callable[[Progress], None]]:
    from tqdm import tqdm

    form = "{desc} |{bar}| {n_fmt} " + unit + " {elapsed}"
    with tqdm(desc=label, bar_format=form, leave=False, disable=None) as bar:

        def show(event: Progress) -> None:
            bar.total, bar.n = event.total, event.done
            bar.set_description_str(f"{label}: {event.message}"[:60])

        yield show

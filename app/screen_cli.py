"""`oriel screen split | merge | conflicts | stats | list`: the work of many annotators from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import InputError
from engine.core.files import writing

if TYPE_CHECKING:
    from engine.screening import Merged, Throughput

DECISIONS = ("select", "reject", "skip")
# Said here again, as importing the engine for the help would make it slow; a test compares it.
IDLE = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(screen_run=function)
        return sub

    sub = action("split", _split, "split a list into one part for each annotator, in random order")
    _add_list(sub)
    sub.add_argument("-n", "--parts", type=int, required=True, metavar="N", help="number of parts")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the parts")
    sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same parts (default 0)")
    text = "share of the items that two annotators judge each, 0 to 1 (default 0)"
    sub.add_argument("--overlap", type=float, default=0.0, metavar="SHARE", help=text)

    sub = action("merge", _merge, "put the annotators' results together, in the order of the list")
    _add_list(sub)
    _add_results(sub)
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the result")

    sub = action("conflicts", _conflicts, "list what annotators decided differently, and how well they agree")
    _add_list(sub)
    _add_results(sub)
    sub.add_argument("--csv", type=Path, metavar="FILE", help="write the conflicts as a table")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = action("stats", _stats, "say how much each person screened a day, and how fast")
    sub.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folders with decisions")
    text = "seconds from which on a pause is a break (default %(default)g)"
    sub.add_argument("--idle", type=float, default=IDLE, metavar="S", help=text)
    sub.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = action("list", _list, "write the result as a list for rendering: files where they are known, else pages")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="folder with decisions")
    sub.add_argument("--decision", choices=DECISIONS, default="select", help="which items (default select)")
    sub.add_argument("-o", "--output", type=Path, metavar="LIST", help="default: print it")


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", type=Path, metavar="LIST", help="list of pages or files, or a folder of models")


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", metavar="FOLDER", help="each annotator's folder")
    text = "folder of a conflict round, whose decisions win; repeat for several"
    parser.add_argument("--round", dest="rounds", type=Path, action="append", default=[], metavar="FOLDER", help=text)


def run(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit status."""
    return int(args.screen_run(args))


# -- commands ------------------------------------------------------------------------------------------------


def _split(args: argparse.Namespace) -> int:
    from engine.screening import read_items, split

    paths = split(args.list, args.output, args.parts, args.seed, args.overlap)
    sizes = [len(read_items(path).items) for path in paths]
    print(f"{args.output}: {len(paths)} parts of {_span(sizes)} items, {paths[0].name} to {paths[-1].name}")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from engine.screening import merge, write_merged

    merged = merge(args.list, args.results, args.rounds)
    write_merged(merged, args.list, args.output)
    counts = ", ".join(f"{len(merged.chosen(name))} {word}" for name, word in zip(DECISIONS, _WORDS, strict=True))
    print(f"{args.output}: {counts}, {len(merged.conflicts)} in conflict, {len(merged.unjudged)} not judged")
    _say_of(merged)
    if merged.conflicts:
        print(f"oriel: screen {args.output / 'conflicts.txt'}, then merge again with --round.", file=sys.stderr)
    return 0


def _conflicts(args: argparse.Namespace) -> int:
    from engine.screening import conflict_table, merge

    merged = merge(args.list, args.results, args.rounds)
    if args.csv is not None:
        _write(args.csv, conflict_table(merged.conflicts))
    if args.json:
        conflicts = [
            {
                "item": c.item.line,
                "opinions": {n: {"decision": e.action, "note": e.note} for n, e in c.opinions.items()},
            }
            for c in merged.conflicts
        ]
        agreements = [dataclasses.asdict(found) for found in merged.agreements]
        print(json.dumps({"conflicts": conflicts, "settled": merged.settled, "agreement": agreements}))
        return 0
    for conflict in merged.conflicts:
        said = ", ".join(f"{name} {entry.action}" for name, entry in conflict.opinions.items())
        print(f"{conflict.item.line}  # {said}")
    for pair in merged.agreements:
        kappa = "not defined" if pair.kappa is None else f"{pair.kappa:.2f}"
        both = f"{pair.first} and {pair.second}"
        print(f"{both}: {pair.agreed} of {pair.items} the same, Cohen's kappa {kappa}", file=sys.stderr)
    if not merged.conflicts:
        print("no conflicts", file=sys.stderr)
    _say_of(merged)
    return 0


def _stats(args: argparse.Namespace) -> int:
    from engine.screening import measure, to_csv

    if not args.idle > 0:
        raise InputError(f"--idle is {args.idle:g}: it must be more than 0 seconds.")
    rows = measure(args.folders, args.idle)
    if args.csv is not None:
        _write(args.csv, to_csv(rows))
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        return 0
    heads = ("who", "day", "decided", "selected", "hours", "an hour", "s an item")
    table = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(heads))]
    for line in table:
        aligned = (c.ljust(w) if n < 2 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
        print("  ".join(aligned).rstrip())
    return 0


def _list(args: argparse.Namespace) -> int:
    from engine.screening import chosen_items

    items, notices = chosen_items(args.folder, args.decision)
    for notice in notices:
        print(f"oriel: {notice}", file=sys.stderr)
    lines = []
    for item in items:
        there = item.path is not None and item.path.exists()
        if item.path is not None and not there:
            print(f"oriel: {item.path} is missing", file=sys.stderr)
        lines.append(str(item.path.resolve()) if item.path is not None and there else item.url or item.line)
    content = "".join(f"{line}\n" for line in lines)
    if args.output is None:
        print(content, end="")
        return 0
    _write(args.output, content.encode("utf-8", "surrogateescape"))
    print(f"{args.output}: {len(lines)} items")
    return 0


# -- helpers -------------------------------------------------------------------------------------------------

_WORDS = ("selected", "rejected", "skipped")


def _say_of(merged: Merged) -> None:
    if merged.strangers:
        print(f"oriel: {merged.strangers} decisions are on items that the list does not have", file=sys.stderr)


def _cells(row: Throughput) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        row.who or "(not known)",
        row.day or "all",
        str(row.decisions),
        shown(row.selected_share, ".0%"),
        f"{row.seconds / 3600:.1f}",
        shown(row.per_hour, ".0f"),
        shown(row.median_seconds, ".1f"),
    )


def _span(numbers: list[int]) -> str:
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _write(path: Path, content: bytes) -> None:
    with writing(path, "Check the path."):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

"""`oriel screen split | merge | conflicts | stats | list | export | hints`: many annotators, from the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from app.options import option
from app.reporting import complain, say_json, write
from engine.core.errors import InputError
from engine.screening import (
    IDLE,
    STATES,
    TEXTS,
    Merged,
    Throughput,
    Thumbnails,
    Wanted,
    alike,
    chosen_items,
    conflict_table,
    decision_table,
    default_folder,
    hint_table,
    measure,
    merge,
    opinions_in,
    read_gold,
    read_items,
    rows_of,
    split,
    to_csv,
    write_merged,
)

List = Annotated[Path, option("list of pages or files, or a folder of models", metavar="LIST")]
Results = Annotated[list[Path], option("each annotator's folder", metavar="FOLDER")]
Rounds = Annotated[
    tuple[Path, ...],
    option(
        "folder of a conflict round, whose decisions win; repeat for several", "--round", metavar="FOLDER", repeat=True
    ),
]
Json = Annotated[bool, option("print JSON")]
Gold = Annotated[
    Path | None,
    option("gold set: a CSV with the columns item and decision, or a folder with decisions", metavar="FILE"),
]
_OF_DECISIONS = tuple(state for state in STATES if state != "undecided")


def split_(
    list: List,
    /,
    *,
    parts: Annotated[int, option("number of parts", "-n")],
    output: Annotated[Path, option("folder for the parts", "-o", metavar="FOLDER")],
    seed: Annotated[int, option("the same seed gives the same parts")] = 0,
    overlap: Annotated[
        float, option("share of the items that two annotators judge each, 0 to 1", metavar="SHARE")
    ] = 0.0,
    gold: Gold = None,
) -> None:
    """Split a list into one part for each annotator, in random order; a gold set is mixed into each."""
    paths = split(list, output, parts, seed, overlap, gold)
    sizes = [len(read_items(path).items) for path in paths]
    print(f"{output}: {len(paths)} parts of {_span(sizes)} items, {paths[0].name} to {paths[-1].name}")


def merge_(
    list: List,
    results: Results,
    /,
    *,
    rounds: Rounds = (),
    output: Annotated[Path, option("folder for the result", "-o", metavar="FOLDER")],
) -> None:
    """Put the annotators' results together, in the order of the list."""
    merged = merge(list, results, rounds)
    write_merged(merged, list, output)
    counts = ", ".join(f"{len(merged.chosen(name))} {word}" for name, word in zip(TEXTS, _WORDS, strict=True))
    print(f"{output}: {counts}, {len(merged.conflicts)} in conflict, {len(merged.unjudged)} not judged")
    _say_of(merged)
    if merged.conflicts:
        complain(f"screen {output / 'conflicts.txt'}, then merge again with --round.")


def conflicts(
    list: List,
    results: Results,
    /,
    *,
    rounds: Rounds = (),
    csv: Annotated[Path | None, option("write the conflicts as a table", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """List what annotators decided differently, and how well they agree."""
    merged = merge(list, results, rounds)
    if csv is not None:
        write(csv, conflict_table(merged.conflicts))
    if json:
        found = [
            {
                "item": c.item.line,
                "opinions": {n: {"decision": e.action, "note": e.note} for n, e in c.opinions.items()},
            }
            for c in merged.conflicts
        ]
        agreements = [dataclasses.asdict(found) for found in merged.agreements]
        return say_json({"conflicts": found, "settled": merged.settled, "agreement": agreements})
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


def stats(
    folders: Annotated[list[Path], option("folders with decisions", metavar="FOLDER")],
    /,
    *,
    idle: Annotated[float, option("seconds from which on a pause is a break", metavar="S")] = IDLE,
    gold: Gold = None,
    csv: Annotated[Path | None, option("write the table as CSV", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Say how much each person screened a day, how fast, and how well it agrees with a gold set."""
    if not idle > 0:
        raise InputError(f"--idle is {idle:g}: it must be more than 0 seconds.")
    rows = measure(folders, idle, None if gold is None else read_gold(gold))
    if csv is not None:
        write(csv, to_csv(rows))
    if json:
        return say_json([dataclasses.asdict(row) for row in rows])
    heads = ("who", "day", "decided", "selected", "unseen", "hours", "an hour", "s an item", "gold", "agreed", "kappa")
    table = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(heads))]
    for line in table:
        aligned = (c.ljust(w) if n < 2 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
        print("  ".join(aligned).rstrip())


def list_(
    folder: Annotated[Path, option("folder with decisions", metavar="FOLDER")],
    /,
    *,
    decision: Annotated[str, option("which items", choices=tuple(TEXTS))] = "select",
    output: Annotated[Path | None, option("default: print it", "-o", metavar="LIST")] = None,
) -> None:
    """Write the result as a list for rendering: files where they are known, else pages."""
    items, notices = chosen_items(folder, decision)
    for notice in notices:
        complain(notice)
    lines = []
    for item in items:
        there = item.path is not None and item.path.exists()
        if item.path is not None and not there:
            complain(f"{item.path} is missing")
        lines.append(str(item.path.resolve()) if item.path is not None and there else item.url or item.line)
    content = "".join(f"{line}\n" for line in lines)
    if output is None:
        print(content, end="")
        return
    write(output, content.encode("utf-8", "surrogateescape"))
    print(f"{output}: {len(lines)} items")


def export(
    folders: Results,
    /,
    *,
    state: Annotated[str | None, option("only those that are so", "--only", choices=_OF_DECISIONS)] = None,
    reason: Annotated[str, option("only those decided for this reason", metavar="TEXT")] = "",
    who: Annotated[str, option("only what this person decided", metavar="NAME")] = "",
    output: Annotated[Path | None, option("CSV; default: print it", "-o", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Write all decisions as a table, one a row: who, when, how long, why, and whether the model was seen."""
    wanted = Wanted(state or "", reason, who)
    chosen = [opinion for told in opinions_in(folders).values() for opinion in wanted.chosen(told)]
    if json:
        return say_json(rows_of(chosen))
    table = decision_table(chosen)
    if output is None:
        print(table.decode("utf-8-sig"), end="")
        return
    write(output, table)
    print(f"{output}: {len(chosen)} decisions")


def hints(
    list: List,
    /,
    *,
    output: Annotated[Path | None, option("CSV; default: print it", "-o", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Say what the models' shapes hint at: flat, inside out, with a ground or strays, alike. It decides nothing."""
    found = read_items(list).items
    folder = default_folder(list.absolute())
    with contextlib.ExitStack() as stack:
        kept = folder if folder.is_dir() else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        thumbnails = Thumbnails(kept)
        stack.callback(thumbnails.close)
        thumbnails.want([item.path for item in found if item.path is not None])
        thumbnails.wait()
        made = {item.line: thumbnails.get(item.path) for item in found if item.path is not None}
    shapes = {line: one.hints for line, one in made.items() if one is not None and one.hints is not None}
    problems = {
        line: one.problem if one else "It could not be drawn." for line, one in made.items() if line not in shapes
    }
    if json:
        near = alike(shapes)
        said = {line: {"hints": hint.words, "alike": near.get(line, ())} for line, hint in shapes.items()}
        return say_json({line: said.get(line) or {"problem": problems[line]} for line in made})
    table = hint_table(shapes, problems)
    if output is None:
        print(table.decode("utf-8-sig"), end="")
        return
    write(output, table)
    print(f"{output}: {len(made)} models")


COMMANDS = (split_, merge_, conflicts, stats, list_, export, hints)

# -- helpers -------------------------------------------------------------------------------------------------

_WORDS = ("selected", "rejected", "skipped")


def _say_of(merged: Merged) -> None:
    if merged.strangers:
        complain(f"{merged.strangers} decisions are on items that the list does not have")


def _cells(row: Throughput) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        row.who or "(not known)",
        row.day or "all",
        str(row.decisions),
        shown(row.selected_share, ".0%"),
        str(row.unseen),
        f"{row.seconds / 3600:.1f}",
        shown(row.per_hour, ".0f"),
        shown(row.median_seconds, ".1f"),
        str(row.gold_items or "-"),
        shown(row.gold_share, ".0%"),
        shown(row.gold_kappa, ".2f"),
    )


def _span(numbers: list[int]) -> str:
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"

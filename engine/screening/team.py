"""Many annotators on one list: parts for each, their results put together, how well they agree."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.core.errors import InputError
from engine.core.files import write_whole
from engine.core.tables import csv_bytes
from engine.screening.gold import cohen_kappa, read_gold
from engine.screening.items import Item, ItemList, anywhere, encode, read_items
from engine.screening.records import LOG, TEXTS, Entry, History, make_folder
from engine.screening.review import opinions_in
from engine.screening.session import SETTINGS, settings_of

CONFLICTS, CONFLICT_TABLE, UNJUDGED = "conflicts.txt", "conflicts.csv", "unjudged.txt"


@dataclass(frozen=True)
class Conflict:
    """An item that annotators decided differently."""

    item: Item
    opinions: dict[str, Entry]
    """The decision of each annotator, also of those who skipped it."""


@dataclass(frozen=True)
class Agreement:
    """How well two annotators agree on the items that both selected or rejected."""

    first: str
    second: str
    items: int
    agreed: int
    kappa: float | None
    """Cohen's kappa; None where it is not defined."""


@dataclass
class Merged:
    """The results of all annotators, put together."""

    items: list[Item]
    """The list, in its order."""
    decided: dict[str, Entry] = field(default_factory=dict)
    """The decision on each item that has an undisputed one, by key."""
    conflicts: list[Conflict] = field(default_factory=list)
    """Those that no conflict round has settled, in the list's order."""
    agreements: list[Agreement] = field(default_factory=list)
    """For each pair of annotators who judged an item both."""
    settled: int = 0
    """Conflicts that a round has settled."""
    strangers: int = 0
    """Decisions on items that the list does not have; they are left out."""
    models: Path | None = None

    def chosen(self, decision: str) -> list[Item]:
        """The items with a decision, in the list's order."""
        return [item for item in self.items if (e := self.decided.get(item.key)) is not None and e.action == decision]

    @property
    def unjudged(self) -> list[Item]:
        """The items that nobody has decided yet."""
        disputed = {conflict.item.key for conflict in self.conflicts}
        return [item for item in self.items if item.key not in self.decided and item.key not in disputed]


# -- splitting -----------------------------------------------------------------------------------------------


def split(
    source: Path, folder: Path, parts: int, seed: int = 0, overlap: float = 0.0, gold: Path | None = None
) -> list[Path]:
    """Write a list (or a folder's models) as `part-01.txt`, ... in random order; returns their paths.

    The share `overlap` of the items, 0 to 1, goes to two annotators each, evenly over all pairs, so that their
    agreement can be measured. Every item is in one part at least; parts differ by one item at most, or a few with
    an overlap. The items of a gold set (see `read_gold`) are mixed into each part. The same seed gives the same parts.
    InputError if other parts are in the folder.
    """
    source = source.absolute()
    found = read_items(source)
    if not 1 <= parts <= len(found.items):
        raise InputError(f"{parts} parts were asked for: choose 1 to {len(found.items)}, the number of items.")
    if not 0 <= overlap <= 1 or (overlap > 0 and parts == 1):
        raise InputError(f"An overlap of {overlap:g} was asked for: choose 0 to 1, and two parts at least.")
    known = {} if gold is None else {item.key: item for item in read_gold(gold).items}
    listed = {item.key for item in found.items}
    mixed_in = [item if key in listed else anywhere(item) for key, item in known.items()]
    chance = random.Random(seed)
    rest = [item for item in found.items if item.key not in known]
    order = chance.sample(rest, len(rest))
    shared = round(overlap * len(order))
    dealt: list[list[Item]] = [[] for _ in range(parts)]
    pairs = list(itertools.combinations(range(parts), 2))
    chance.shuffle(pairs)
    for item, pair in zip(order[:shared], itertools.cycle(pairs), strict=False):
        for part in pair:
            dealt[part].append(item)
    for item in order[shared:]:
        min(dealt, key=len).append(item)
    width = max(2, len(str(parts)))
    texts: dict[Path, bytes] = {}
    for number, items in enumerate(dealt, 1):
        items += mixed_in
        chance.shuffle(items)
        head = f"# part {number} of {parts} of {source.name}, seed {seed}, overlap {overlap:g}\n"
        texts[folder / f"part-{number:0{width}}.txt"] = encode(head) + _list_of(items, found, source, folder)
    others = [path for path in folder.glob("part-*.txt") if path.read_bytes() != texts.get(path)]
    if others:
        raise InputError(
            f"{folder} has other parts already, as {others[0].name}. Choose another folder for the new ones."
        )
    make_folder(folder)
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)


# -- merging -------------------------------------------------------------------------------------------------


def merge(source: Path, results: Sequence[Path], rounds: Sequence[Path] = ()) -> Merged:
    """Put the decisions in the folders `results` together; those of conflict rounds win, later rounds over earlier.

    An item that one annotator selected and another rejected is a conflict, until a round settles it. Who skipped an
    item has no say where somebody else decided it.
    """
    found = read_items(source.absolute())
    merged = Merged(found.items, models=found.models)
    keys = {item.key for item in found.items}
    opinions: dict[str, dict[str, Entry]] = {}
    strangers = set()
    for key, told_of in opinions_in(results, keys).items():
        if key in keys:
            opinions[key] = {opinion.who: replace(opinion.entry, key=key) for opinion in told_of}
        else:
            strangers.add(key)
    final: dict[str, Entry] = {}
    for folder in rounds:
        final |= {key: e for key, e in History.read(folder, keys).decided.items() if e.action != "skip"}
    for item in found.items:
        told = opinions.get(item.key, {})
        firm = {entry.action for entry in told.values()} - {"skip"}
        conflict = len(firm) > 1
        if item.key in final:
            merged.decided[item.key] = final[item.key]
            merged.settled += conflict
        elif conflict:
            merged.conflicts.append(Conflict(item, told))
        elif told:
            action = next(iter(firm), "skip")
            merged.decided[item.key] = next(entry for entry in told.values() if entry.action == action)
    merged.strangers = len(strangers)
    merged.agreements = _agreements(opinions.values())
    return merged


def write_merged(merged: Merged, source: Path, folder: Path) -> None:
    """Write selected.txt, rejected.txt, skipped.txt, unjudged.txt, conflicts.txt (a list for a conflict round) and
    conflicts.csv, all in the list's order, and decisions.jsonl, so that the folder opens as a session too.

    InputError if the folder has decisions that no merge has written.
    """
    before = History.read(folder) if folder.is_dir() else History()
    if any(not entry.origin.startswith("merge") for entry in before.entries):
        raise InputError(f"{folder} holds decisions of an annotator. Choose another folder for the merged ones.")
    make_folder(folder)
    found = ItemList(merged.items, models=merged.models)
    entries = [
        replace(merged.decided[item.key], key=item.key, line=item.line, origin="merge")
        for item in merged.items
        if item.key in merged.decided
    ]
    write_whole(folder / LOG, b"".join(entry.to_line() for entry in entries))
    for decision, name in TEXTS.items():
        write_whole(folder / name, encode("".join(f"{item.line}\n" for item in merged.chosen(decision))))
    disputed = [conflict.item for conflict in merged.conflicts]
    write_whole(folder / UNJUDGED, _list_of(merged.unjudged, found, source, folder))
    write_whole(folder / CONFLICTS, _list_of(disputed, found, source, folder))
    write_whole(folder / CONFLICT_TABLE, conflict_table(merged.conflicts))
    write_whole(folder / SETTINGS, json.dumps(settings_of(folder, source.absolute(), found)).encode())


def conflict_table(conflicts: Sequence[Conflict]) -> bytes:
    """A CSV table: the item, and what each annotator decided; UTF-8 with its mark."""
    names = sorted({name for conflict in conflicts for name in conflict.opinions})
    rows = ([conflict.item.line, *(_said(conflict.opinions.get(name)) for name in names)] for conflict in conflicts)
    return csv_bytes([["item", *names], *rows])


# -- inside --------------------------------------------------------------------------------------------------


def _agreements(opinions: Iterable[dict[str, Entry]]) -> list[Agreement]:
    answers: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for told in opinions:
        firm = sorted((name, entry.action) for name, entry in told.items() if entry.action != "skip")
        for (first, a), (second, b) in itertools.combinations(firm, 2):
            both = answers.setdefault((first, second), ([], []))
            both[0].append(a)
            both[1].append(b)
    return [
        Agreement(first, second, len(a), sum(x == y for x, y in zip(a, b, strict=True)), cohen_kappa(a, b))
        for (first, second), (a, b) in sorted(answers.items())
    ]


def _list_of(items: Sequence[Item], found: ItemList, source: Path, folder: Path) -> bytes:
    """Lines of a list that is to lie in another folder than the one that its relative paths count from."""
    models = found.models or (source.parent if any(item.path is not None for item in items) else None)
    head = "" if models is None else f"# models: {_seen_from(folder, models)}\n"
    return encode(head + "".join(f"{item.line}\n" for item in items))


def _seen_from(folder: Path, models: Path) -> str:
    """A path that stays right if both folders are moved together, where there is one."""
    try:
        return Path(os.path.relpath(models.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(models.resolve())


def _said(entry: Entry | None) -> str:
    if entry is None:
        return ""
    words = "; ".join((*entry.reasons, *(["unseen"] if entry.unseen else []), *([entry.note] if entry.note else [])))
    return f"{entry.action}: {words}" if words else entry.action

"""A gold set: items whose right decision is known, to see how well annotators agree with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import InputError
from engine.core.files import write_whole
from engine.core.tables import cell
from engine.screening.items import Item, decode, encode, parse_items
from engine.screening.records import Entry, History

GOLD_FILE = "gold.csv"
"""Beside the list or in the annotator's folder it is found by itself."""
_FIRM = ("select", "reject")
_WORDS = {"select": "select", "selected": "select", "yes": "select", "y": "select", "1": "select", "true": "select"}
_WORDS |= {"reject": "reject", "rejected": "reject", "no": "reject", "n": "reject", "0": "reject", "false": "reject"}


@dataclass(frozen=True)
class GoldSet:
    """Items and the right decision on each."""

    items: tuple[Item, ...]
    decisions: Mapping[str, str]
    """`select` or `reject`, by the key of the item; files also by their full path."""


@dataclass(frozen=True)
class WithGold:
    """How well one annotator agrees with a gold set."""

    items: int
    """Of the gold set, those that the annotator selected or rejected."""
    agreed: int
    kappa: float | None
    """Cohen's kappa; None where it is not defined."""

    @property
    def share(self) -> float | None:
        """Of the items, those decided as the gold set says, 0 to 1; None where there is no item."""
        return self.agreed / self.items if self.items else None


def read_gold(path: Path) -> GoldSet:
    """Read a gold set: a table (CSV) with the columns `item` and `decision`, or a folder with decisions.

    A decision is select or reject, yes or no, 1 or 0; rows with another, such as a skip, are passed over. Relative
    paths count from the table's folder. InputError if it cannot be read or has no such row.
    """
    if path.is_dir():
        entries = History.read(path).decided.values()
        rows = [(entry.line, entry.action) for entry in entries]
        folder = path
    else:
        rows, folder = _rows(path), path.parent
    told = {line: _WORDS[word.strip().lower()] for line, word in rows if word.strip().lower() in _WORDS}
    items = [item for line in told for item in parse_items([line], folder).items]
    if not items:
        raise InputError(f"{path} has no item with a decision. Give it the columns item and decision (select, reject).")
    decisions = {}
    for item in items:
        decisions[item.key] = told[item.line]
        if item.path is not None:
            decisions[item.path.resolve().as_posix()] = told[item.line]
    return GoldSet(tuple(items), decisions)


def write_gold(path: Path, decisions: Mapping[str, str]) -> None:
    """Write a table that `read_gold` reads: the decision on each item, by its line of a list."""
    text = io.StringIO()
    csv.writer(text).writerows([("item", "decision"), *((cell(line), said) for line, said in decisions.items())])
    write_whole(path, encode(text.getvalue()))


def agreement(gold: GoldSet, decided: Iterable[tuple[str, Entry]]) -> WithGold:
    """How well decisions, each with the key of its item, agree with a gold set."""
    pairs = [
        (gold.decisions[key], entry.action) for key, entry in decided if entry.action in _FIRM and key in gold.decisions
    ]
    right, said = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return WithGold(len(pairs), sum(a == b for a, b in pairs), cohen_kappa(right, said))


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Agreement of two annotators beyond chance: 1 is full, 0 what chance gives; None if it is not defined.

    kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of the items on which both say the same and p_e the
    share expected if each drew answers at random with their own frequencies (Cohen, "A Coefficient of Agreement for
    Nominal Scales", Educational and Psychological Measurement 20, 1960, pp. 37-46). It is not defined without
    items, and where both give one and the same answer throughout (p_e = 1).
    """
    count = len(first)
    if count != len(second):
        raise ValueError(f"{count} answers cannot be compared with {len(second)}")
    # Counted in whole numbers, so that p_e = 1 is exact.
    agreed = count * sum(a == b for a, b in zip(first, second, strict=True))
    chance = sum(first.count(answer) * second.count(answer) for answer in set(first))
    return (agreed - chance) / (count * count - chance) if chance < count * count else None


def _rows(path: Path) -> list[tuple[str, str]]:
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"The gold set {path} cannot be read: {error.strerror or error}. Check the path.") from error
    table = csv.DictReader(io.StringIO(text))
    names = {name.strip().lower(): name for name in table.fieldnames or ()}
    if not {"item", "decision"} <= names.keys():
        raise InputError(f"{path} has no columns item and decision. Name them so in its first line.")
    return [((row[names["item"]] or "").strip().removeprefix("'"), row[names["decision"]] or "") for row in table]

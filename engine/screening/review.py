"""Looking again at what was decided, by oneself or by others: which items, and all decisions as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import InputError
from engine.core.tables import cell, csv_bytes
from engine.screening.records import TEXTS, Entry, History

UNDECIDED, UNSEEN, FLAGGED, DISPUTED = "undecided", "unseen", "flagged", "disputed"
STATES = (*TEXTS, UNDECIDED, UNSEEN, FLAGGED, DISPUTED)
"""What an item may be looked for by. `unseen` was decided without having been on the screen; over `disputed` ones
annotators disagree: one has selected, another rejected it."""


@dataclass(frozen=True)
class Opinion:
    """What one annotator decided of an item."""

    who: str
    entry: Entry
    """A select, a reject or a skip."""
    flag: str | None = None
    """The note of a flag; None without a flag."""


@dataclass(frozen=True)
class Wanted:
    """Which items to look at again; empty fields want all."""

    state: str = ""
    """One of `STATES`."""
    reason: str = ""
    who: str = ""

    def __post_init__(self) -> None:
        if self.state and self.state not in STATES:
            raise InputError(f"Items cannot be {self.state!r}. Choose one of {', '.join(STATES)}.")

    def chosen(self, opinions: Iterable[Opinion]) -> list[Opinion]:
        """Of what was decided of one item, that which is wanted."""
        opinions = list(opinions)
        if self.state == DISPUTED and not disputed(opinions):
            return []
        return [opinion for opinion in opinions if self._is(opinion)]

    def matches(self, opinions: Sequence[Opinion]) -> bool:
        """Whether an item is wanted, of which this was decided."""
        if self.state == UNDECIDED or (self == Wanted() and not opinions):
            return not opinions
        return bool(self.chosen(opinions))

    def _is(self, opinion: Opinion) -> bool:
        entry = opinion.entry
        state = {UNSEEN: entry.unseen, FLAGGED: opinion.flag is not None, DISPUTED: True}.get(
            self.state, self.state in ("", entry.action)
        )
        return state and self.reason in ("", *entry.reasons) and self.who in ("", opinion.who)


def disputed(opinions: Iterable[Opinion]) -> bool:
    """Whether one annotator has selected and another rejected an item."""
    return {"select", "reject"} <= {opinion.entry.action for opinion in opinions}


def opinions_in(folders: Sequence[Path], known: Collection[str] = ()) -> dict[str, list[Opinion]]:
    """What stands in annotators' folders, by key, in the order of the decisions.

    People of one name in several folders are told apart by the names of the folders. `known` are the keys of the list,
    as for `History.read`.
    """
    if not folders:
        raise InputError("No folder with results was named. Name each annotator's folder.")
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError("A folder with results was named twice. Name each annotator's folder once.")
    histories = [History.read(folder, known) for folder in folders]
    shorts = [folder.name for folder in places]
    at: dict[str, set[int]] = {}
    for number, history in enumerate(histories):
        for entry in history.decided.values():
            at.setdefault(entry.who, set()).add(number)
    found: dict[str, list[Opinion]] = {}
    for number, history in enumerate(histories):
        short = shorts[number] if shorts.count(shorts[number]) == 1 else str(places[number])
        for key in history.newest():
            entry = history.decided[key]
            alone = len(at[entry.who]) == 1
            who = (entry.who if alone else f"{entry.who} ({short})") if entry.who else short
            found.setdefault(key, []).append(Opinion(who, entry, history.flagged.get(key)))
    return found


COLUMNS = ("item", "decision", "who", "when", "seconds", "unseen", "reasons", "flag")


def rows_of(opinions: Iterable[Opinion]) -> list[dict[str, object]]:
    """Decisions by the names of `COLUMNS`."""
    return [
        {
            "item": opinion.entry.line,
            "decision": opinion.entry.action,
            "who": opinion.who,
            "when": opinion.entry.when,
            "seconds": opinion.entry.seconds,
            "unseen": opinion.entry.unseen,
            "reasons": list(opinion.entry.reasons),
            "flag": opinion.flag,
        }
        for opinion in opinions
    ]


def decision_table(opinions: Iterable[Opinion]) -> bytes:
    """Decisions as CSV that spreadsheets open, one a row; several reasons are parted by `; `. UTF-8 with its mark."""
    table: list[Iterable[object]] = [COLUMNS]
    for row in rows_of(opinions):
        row |= {"unseen": "yes" if row["unseen"] else "", "reasons": "; ".join(row["reasons"])}  # type: ignore[arg-type]
        table.append([cell(value) if isinstance(value, str) else value for value in row.values()])
    return csv_bytes(table)

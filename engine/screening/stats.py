"""How much was screened, by whom and how fast."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from pathlib import Path

from engine.core.tables import cell, csv_bytes
from engine.screening.gold import GoldSet, agreement
from engine.screening.records import TEXTS, Entry, History

IDLE = 120.0
"""Seconds between two entries from which on the annotator was away."""


@dataclass(frozen=True)
class Throughput:
    """What one person did, on one day or altogether."""

    who: str
    day: str
    """Date in the zone of this machine, as 2026-01-31; empty for all days together."""
    decisions: int
    """Decisions that stand: neither undone nor changed since."""
    selected: int
    rejected: int
    skipped: int
    seconds: float
    """Time at work, breaks left out."""
    per_hour: float | None
    """Decisions an hour at work."""
    median_seconds: float | None
    """For one item, those with a break left out."""
    selected_share: float | None
    """Selected ones among those selected and rejected, 0 to 1."""
    unseen: int
    """Decisions on models that were not on the screen."""
    gold_items: int = 0
    """Items of the gold set that were selected or rejected; counted for all days together."""
    gold_share: float | None = None
    """Of those, decided as the gold set says, 0 to 1."""
    gold_kappa: float | None = None
    """Cohen's kappa with the gold set."""


def measure(folders: Iterable[Path], idle: float = IDLE, gold: GoldSet | None = None) -> list[Throughput]:
    """The throughput of each person by day, then of all days, from the folders' records.

    Gaps and items of more than `idle` seconds count as breaks. Decisions whose time is unknown, as those of the
    original's files, stand under the empty name and without a day. With a gold set, the rows of all days say how well
    each person agrees with it.
    """
    done: dict[str, list[tuple[Entry, bool]]] = {}
    stood: dict[str, list[tuple[str, Entry]]] = {}
    for folder in folders:
        history = History.read(folder)
        for number, entry in enumerate(history.entries):
            if entry.action != "moved":
                done.setdefault(entry.who, []).append((entry, history.stands(number)))
        for key, entry in history.decided.items():
            stood.setdefault(entry.who, []).append((key, entry))
    rows = []
    for who in sorted(done):
        own = sorted(done[who], key=lambda pair: pair[0].when)
        days: dict[str, list[int]] = {}
        for number, (entry, _) in enumerate(own):
            if (moment := moment_of(entry)) is not None:
                days.setdefault(moment.astimezone().date().isoformat(), []).append(number)
        spent = _spent([entry for entry, _ in own], idle)
        for day, numbers in (*sorted(days.items()), ("", range(len(own)))):
            stand = [own[n][0] for n in numbers if own[n][1]]
            rows.append(_row(who, day, stand, sum(spent[n] for n in numbers), idle))
        if gold is not None:
            found = agreement(gold, stood.get(who, ()))
            known = {"gold_items": found.items, "gold_share": found.share, "gold_kappa": found.kappa}
            rows[-1] = replace(rows[-1], **known)  # type: ignore[arg-type]
    return rows


def seconds_at_work(entries: Sequence[Entry], idle: float = IDLE) -> float:
    """Seconds that one person was at work on entries that follow each other, breaks left out."""
    return sum(_spent(entries, idle))


def moment_of(entry: Entry) -> datetime | None:
    """When it was done; None if unknown."""
    try:
        moment = datetime.fromisoformat(entry.when)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def to_csv(rows: Iterable[Throughput]) -> bytes:
    """The table as CSV that spreadsheets open, UTF-8 with its mark."""
    table: list[Iterable[object]] = [[field.name for field in fields(Throughput)]]
    for row in rows:
        cells = [
            "" if value is None else round(value, 3) if isinstance(value, float) else value for value in astuple(row)
        ]
        table.append([cell(cells[0]), *cells[1:]])
    return csv_bytes(table)


def _spent(entries: Sequence[Entry], idle: float) -> list[float]:
    """Seconds at work for each entry: since the one before, or those stated where a break came between."""
    spent = []
    before: datetime | None = None
    for entry in entries:
        moment = moment_of(entry)
        gap = (moment - before).total_seconds() if moment is not None and before is not None else None
        if gap is not None and 0 <= gap <= idle:
            spent.append(gap)
        else:
            spent.append(entry.seconds if entry.seconds is not None and entry.seconds <= idle else 0.0)
        before = moment or before
    return spent


def _row(who: str, day: str, stand: list[Entry], seconds: float, idle: float) -> Throughput:
    counts = {decision: sum(entry.action == decision for entry in stand) for decision in TEXTS}
    times = [entry.seconds for entry in stand if entry.seconds is not None and entry.seconds <= idle]
    judged = counts["select"] + counts["reject"]
    return Throughput(
        who=who,
        day=day,
        decisions=len(stand),
        selected=counts["select"],
        rejected=counts["reject"],
        skipped=counts["skip"],
        seconds=seconds,
        per_hour=3600 * len(stand) / seconds if seconds > 0 else None,
        median_seconds=statistics.median(times) if times else None,
        selected_share=counts["select"] / judged if judged else None,
        unseen=sum(entry.unseen for entry in stand),
    )

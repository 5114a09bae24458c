"""The board of a long job, and its pace."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from engine.jobs import Board, Pace, seconds_for


@dataclass(frozen=True)
class Row:
    name: str
    state: str = "waiting"
    message: str = ""


def board(number: int) -> Board[Row]:
    return Board((Row(f"row-{at}") for at in range(number)), lambda row: row.name)


def test_whoever_looks_is_told_what_has_changed_since_and_nothing_twice() -> None:
    rows = board(5)
    assert rows.since(0) == ({}, 0) and rows.counts == {"waiting": 5}
    rows.update("row-3", state="working")
    rows.update("row-1", state="done")
    rows.put(Row("row-3", "failed", "It broke."))
    changed, seen = rows.since(0)
    assert list(changed.items()) == [(1, Row("row-1", "done")), (3, Row("row-3", "failed", "It broke."))]
    assert seen == rows.version and rows.since(seen) == ({}, seen)
    assert {state: count for state, count in rows.counts.items() if count} == {"waiting": 3, "done": 1, "failed": 1}
    rows.update("row-1", state="done")  # as it is
    rows.put(Row("another"))
    assert rows.since(seen) == ({}, seen) and len(rows) == 5
    assert rows["row-1"] == rows.at(1) == rows.get("row-1") and rows.get("another") is None
    assert [row.name for row in rows.rows()] == [f"row-{at}" for at in range(5)]


def test_many_threads_write_and_nothing_is_lost() -> None:
    rows, known, seen = board(200), {}, 0

    def work(number: int) -> None:
        for at in range(number, 200, 4):
            rows.update(f"row-{at}", state="working")
            rows.update(f"row-{at}", state="done")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or seen < rows.version:
        changed, seen = rows.since(seen)
        known |= changed
    assert [known[at] for at in range(200)] == rows.rows() and rows.counts["done"] == 200


def test_a_pause_is_not_counted_as_pace() -> None:
    pace = Pace(10)
    assert pace.rate() == 0 and seconds_for(3, 0.0) is None and seconds_for(0, 0.0) == 0
    now = time.monotonic()
    pace.tick()
    pace.tick()
    assert pace.rate(now + 10) == pytest.approx(0.1, rel=0.1)
    pace.interrupt()
    pace.tick()
    assert pace.rate() == 0
    quick = Pace(10, seconds=1)
    quick.tick()
    quick.tick()
    assert quick.rate(time.monotonic() + 2) == 0  # too long ago

"""Throughput of annotators."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.screening import measure, to_csv


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write_log(folder: Path, *rows: tuple[str, str, str, str, float | None]) -> Path:
    folder.mkdir()
    keys = ("item", "decision", "who", "when", "seconds")
    with (folder / "decisions.jsonl").open("w") as log:
        for item, decision, who, when, seconds in rows:
            values = (f"https://models.example/{item}", decision, who, f"2026-{when}+00:00" if when else "", seconds)
            log.write(json.dumps(dict(zip(keys, values, strict=True))) + "\n")
    return folder


def test_people_and_days_are_told_apart(tmp_path: Path) -> None:
    one = write_log(
        tmp_path / "one",
        ("a", "select", "Ada", "03-01T10:00:00", 4),
        ("b", "reject", "Ada", "03-01T10:00:06", 5),
        ("c", "reject", "Ada", "03-01T10:00:16", 9),
        # a long lunch, during which an item stood open
        ("d", "select", "Ada", "03-01T12:00:16", 7200),
        ("d", "undo", "Ada", "03-01T12:00:18", None),
        ("d", "skip", "Ada", "03-01T12:00:20", 2),
        ("e", "select", "Ada", "03-02T00:00:20", 3),
        ("a", "reject", "Ada", "03-02T00:00:25", 3),
    )
    two = write_log(tmp_path / "two", ("a", "select", "Bob", "03-01T10:00:00", 8))
    (two / "rejected.txt").write_text("https://models.example/z\n")
    rows = {(row.who, row.day): row for row in measure([one, two])}
    assert list(rows) == [
        ("", ""),
        ("Ada", "2026-03-01"),
        ("Ada", "2026-03-02"),
        ("Ada", ""),
        ("Bob", "2026-03-01"),
        ("Bob", ""),
    ]
    first = rows["Ada", "2026-03-01"]
    assert (first.decisions, first.selected, first.rejected, first.skipped) == (3, 0, 2, 1), "a was changed later"
    assert first.seconds == 4 + 6 + 10 + 0 + 2 + 2
    assert first.per_hour == pytest.approx(3600 * 3 / 24)
    assert first.median_seconds == 5
    whole = rows["Ada", ""]
    assert (whole.decisions, whole.selected_share, whole.seconds) == (5, 0.25, 24 + 3 + 5)
    assert rows["Bob", ""].median_seconds == 8
    unknown = rows["", ""]
    assert (unknown.decisions, unknown.per_hour, unknown.median_seconds, unknown.selected_share) == (1, None, None, 0)


def test_the_limit_of_a_break_can_be_set(tmp_path: Path) -> None:
    folder = write_log(
        tmp_path / "one",
        ("a", "select", "Ada", "03-01T10:00:00", 10),
        ("b", "select", "Ada", "03-01T10:05:00", 300),
    )
    assert [row.seconds for row in measure([folder])] == [10, 10]
    (_, whole) = measure([folder], idle=400)
    assert (whole.seconds, whole.median_seconds) == (310, 155)


def test_csv_opens_in_spreadsheets(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "one", ("a", "select", "=Jörg", "03-01T10:00:00", 1.23456))
    content = to_csv(measure([folder]))
    rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert [row["day"] for row in rows] == ["2026-03-01", ""]
    assert rows[0]["who"] == "'=Jörg" and rows[0]["median_seconds"] == "1.235" and rows[0]["selected_share"] == "1.0"

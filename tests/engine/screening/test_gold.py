"""Agreement with items whose right decision is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.errors import InputError
from engine.screening import ScreeningSession, cohen_kappa, measure, read_gold, read_items, split
from tests.benchmarks.screening import write_list

ANSWERS = ["select", "reject", "select", "reject", "select", "skip"]


def write_gold(path: Path, lines: list[str], decisions: list[str]) -> Path:
    rows = [f"{line},{decision},x" for line, decision in zip(lines, decisions, strict=False)]
    path.write_text("Item,Decision,note\n" + "".join(f"{row}\n" for row in rows))
    return path


def screened(urls: Path, folder: Path, who: str, gold: Path | None = None) -> None:
    with ScreeningSession.open(urls, folder, who) as session:
        if gold is not None:
            session.use_gold(gold)
        for answer in ANSWERS:
            session.decide(answer)


def test_share_and_kappa_are_told_by_person(tmp_path: Path) -> None:
    lines = write_list(tmp_path / "urls.txt", 6)
    right = ["yes", "reject", "Rejected", "no", "select", "reject"]
    gold = write_gold(tmp_path / "known.csv", lines, right)
    screened(tmp_path / "urls.txt", tmp_path / "ada", "Ada", gold)
    (row,) = [row for row in measure([tmp_path / "ada"], gold=read_gold(gold)) if not row.day]
    assert (row.gold_items, row.gold_share) == (5, 0.8)  # what was skipped is no answer
    first, second = ["y", "n", "n", "n", "y"], ["y", "n", "y", "n", "y"]
    assert row.gold_kappa == cohen_kappa(first, second) == pytest.approx(8 / 13)
    assert all(row.gold_share is None for row in measure([tmp_path / "ada"]))
    with ScreeningSession.open(tmp_path / "urls.txt", tmp_path / "ada") as again:  # it is kept
        found = again.gold
        assert found is not None and (found.items, found.agreed) == (5, 4)
        again.go(2)
        again.decide("reject")
        assert again.gold is not None and again.gold.share == 1 and again.gold.kappa == 1
    with ScreeningSession.open(tmp_path / "urls.txt", tmp_path / "bob") as other:
        assert other.gold is None


def test_one_beside_the_list_is_found_and_a_bad_one_is_said(tmp_path: Path) -> None:
    lines = write_list(tmp_path / "urls.txt", 6)
    write_gold(tmp_path / "gold.csv", lines[:2], ["select", "reject"])
    with ScreeningSession.open(tmp_path / "urls.txt", tmp_path / "ada") as session:
        assert session.gold is not None and session.gold.share is None
        session.decide("select")
        assert session.gold.share == 1 and session.gold.kappa is None
    (tmp_path / "gold.csv").write_text("model,answer\na,b\n")
    with ScreeningSession.open(tmp_path / "urls.txt", tmp_path / "bob") as session:
        assert session.gold is None and "no columns item and decision" in session.notices[0]
    for content, words in (("item,decision\na.glb,maybe\n", "no item with a decision"), (None, "cannot be read")):
        path = tmp_path / "bad.csv"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=words):
            read_gold(path)


def test_it_is_mixed_into_each_part_and_found_again(tmp_path: Path) -> None:
    """Models with known answers, in a folder of their own, among those that are dealt out."""
    models, known = tmp_path / "models", tmp_path / "known"
    for folder, count in ((models, 6), (known, 2)):
        folder.mkdir()
        for number in range(count):
            (folder / f"{folder.name}_{number}.glb").write_bytes(b"glTF")
    gold = write_gold(known / "gold.csv", ["known_0.glb", "known_1.glb"], ["select", "reject"])
    parts = split(models, tmp_path / "parts", 2, gold=gold)
    for part in parts:
        items = read_items(part).items
        assert len(items) == 5 and all(item.path is not None and item.path.is_file() for item in items)
        assert sum("known_" in item.key for item in items) == 2
        with ScreeningSession.open(part, tmp_path / part.stem, part.stem) as session:
            session.use_gold(gold)
            for _ in items:
                session.decide("reject" if "known_" in session.current.key else "select")
            assert session.gold is not None and (session.gold.items, session.gold.agreed) == (2, 1)
    rows = [row for row in measure([tmp_path / part.stem for part in parts], gold=read_gold(gold)) if not row.day]
    assert [row.gold_share for row in rows] == [0.5, 0.5]
    with ScreeningSession.open(parts[0], tmp_path / parts[0].stem) as session:
        assert session.gold is not None and session.gold.items == 2


def test_decisions_of_a_trusted_person_serve_as_well(tmp_path: Path) -> None:
    write_list(tmp_path / "urls.txt", 6)
    screened(tmp_path / "urls.txt", tmp_path / "expert", "Eve")
    screened(tmp_path / "urls.txt", tmp_path / "ada", "Ada")
    for gold in (tmp_path / "expert", tmp_path / "expert" / "decisions.csv"):
        (row,) = [row for row in measure([tmp_path / "ada"], gold=read_gold(gold)) if not row.day]
        assert row.gold_items == 5 and row.gold_share == 1

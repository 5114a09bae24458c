"""Splitting a list, and putting the results together."""

from __future__ import annotations

import csv
from itertools import chain, combinations
from pathlib import Path

import pytest

from engine.core.errors import InputError
from engine.screening import ScreeningSession, cohen_kappa, merge, read_items, split, write_merged
from tests.benchmarks.screening import write_list


def screen(part: Path, folder: Path, who: str, answers: dict[str, str]) -> Path:
    """An annotator who answers by the list of answers, or else as the item's number says."""
    with ScreeningSession.open(part, folder, who) as session:
        for item in session.items:
            session.go(item)
            session.decide(answers.get(item.line) or ("select", "reject", "reject", "skip")[int(item.key[-2:], 16) % 4])
    return folder


def test_thirteen_parts_give_the_list_back_exactly(tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    lines = write_list(urls, 500)
    parts = split(urls, tmp_path / "parts", 13)
    assert [path.name for path in parts] == [f"part-{n:02}.txt" for n in range(1, 14)]
    items = [[item.line for item in read_items(path).items] for path in parts]
    assert sorted(chain(*items)) == sorted(lines), "each item once"
    assert {len(part) for part in items} == {38, 39}
    assert items[0] != sorted(items[0]), "in random order"
    folders = [screen(path, tmp_path / "work" / path.stem, f"person {n}", {}) for n, path in enumerate(parts)]
    merged = merge(urls, folders)
    write_merged(merged, urls, tmp_path / "merged")
    assert (merged.conflicts, merged.unjudged, merged.agreements) == ([], [], [])
    names = ("selected.txt", "rejected.txt", "skipped.txt")
    kept = {name: (tmp_path / "merged" / name).read_text().splitlines() for name in names}
    assert [len(found) for found in kept.values()] == [125, 250, 125]
    # Each file in the list's order; taken together line by line they are the list.
    for found in kept.values():
        assert found == [line for line in lines if line in set(found)]
    assert sorted(chain(*kept.values())) == sorted(lines)
    with ScreeningSession.open(None, tmp_path / "merged", "lead") as session:
        assert [item.line for item in session.items] == lines and session.progress().left == 0
        assert session.decision(session.items[7]).who.startswith("person")
        assert session.undo() is None


def test_the_same_seed_gives_the_same_parts_and_others_are_not_overwritten(tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    write_list(urls, 30)
    first = [path.read_bytes() for path in split(urls, tmp_path / "a", 3, seed=1)]
    assert [path.read_bytes() for path in split(urls, tmp_path / "a", 3, seed=1)] == first
    with pytest.raises(InputError, match="other parts"):
        split(urls, tmp_path / "a", 3, seed=2)
    with pytest.raises(InputError, match="other parts"):
        split(urls, tmp_path / "a", 2, seed=1)
    assert [path.read_bytes() for path in sorted((tmp_path / "a").iterdir())] == first
    for parts, overlap in ((0, 0), (31, 0), (3, 1.5), (1, 0.5), (3, -0.1)):
        with pytest.raises(InputError, match="choose"):
            split(urls, tmp_path / "b", parts, overlap=overlap)


def test_an_overlap_is_shared_by_all_pairs(tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    lines = write_list(urls, 100)
    parts = split(urls, tmp_path / "parts", 4, overlap=0.3)
    sets = [{item.line for item in read_items(path).items} for path in parts]
    shared = [len(a & b) for a, b in combinations(sets, 2)]
    assert set.union(*sets) == set(lines) and sum(shared) == 30 and set(shared) == {5}
    assert max(map(len, sets)) - min(map(len, sets)) <= 1


def test_conflicts_are_listed_and_settled_by_a_round(tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    lines = write_list(urls, 12)
    ada = screen(urls, tmp_path / "ada", "Ada", dict.fromkeys(lines, "select"))
    answers = dict.fromkeys(lines, "select") | dict.fromkeys(lines[2:5], "reject") | {lines[6]: "skip"}
    bob = screen(urls, tmp_path / "bob", "Bob", answers)
    merged = merge(urls, [ada, bob])
    assert [conflict.item.line for conflict in merged.conflicts] == lines[2:5]
    opinions = merged.conflicts[0].opinions
    assert {name: entry.action for name, entry in opinions.items()} == {"Ada": "select", "Bob": "reject"}
    assert len(merged.chosen("select")) == 9, "who skips has no say"
    (pair,) = merged.agreements
    assert (pair.first, pair.second, pair.items, pair.agreed, pair.kappa) == ("Ada", "Bob", 11, 8, 0)
    out = tmp_path / "merged"
    write_merged(merged, urls, out)
    rows = list(csv.DictReader((out / "conflicts.csv").read_text("utf-8-sig").splitlines()))
    assert rows[1] == {"item": lines[3], "Ada": "select", "Bob": "reject"}

    conflicts = out / "conflicts.txt"
    assert [item.line for item in read_items(conflicts).items] == lines[2:5]
    third = screen(conflicts, tmp_path / "round", "Eve", {lines[2]: "reject", lines[3]: "select", lines[4]: "skip"})
    settled = merge(urls, [ada, bob], [third])
    assert (settled.settled, [c.item.line for c in settled.conflicts]) == (2, [lines[4]])
    assert [item.line for item in settled.chosen("reject")] == [lines[2]]
    write_merged(settled, urls, out)
    assert (out / "rejected.txt").read_text() == f"{lines[2]}\n"
    with ScreeningSession.open(None, out, "Eve") as session:
        session.decide("select")
    with pytest.raises(InputError, match="decisions of an annotator"):
        write_merged(settled, urls, out)


def test_results_of_all_kinds_go_together(tmp_path: Path) -> None:
    """The original's files, people of one name, decisions on other lists, nothing yet."""
    urls = tmp_path / "urls.txt"
    lines = write_list(urls, 6)
    other = tmp_path / "other.txt"
    other.write_text("https://models.example/barn\n" + lines[1] + "\n")
    original = tmp_path / "original"
    original.mkdir()
    (original / "selected.txt").write_text(f"{lines[0]}\n{lines[1]}\n")
    with ScreeningSession.open(other, tmp_path / "one", "user") as session:
        session.decide("select")
        session.decide("reject")
    with ScreeningSession.open(urls, tmp_path / "two", "user") as session:
        session.decide("select")
        session.decide("select")
    (tmp_path / "empty").mkdir()
    merged = merge(urls, [original, tmp_path / "one", tmp_path / "two", tmp_path / "empty"])
    (conflict,) = merged.conflicts
    assert set(conflict.opinions) == {"original", "user (one)", "user (two)"}
    assert merged.strangers == 1 and [item.line for item in merged.chosen("select")] == lines[:1]
    assert [item.line for item in merged.unjudged] == lines[2:]
    assert not (original / "decisions.jsonl").exists(), "looking changes nothing"
    for wrong in ([], [original, original], [tmp_path / "none"]):
        with pytest.raises(InputError):
            merge(urls, wrong)


def test_parts_of_a_folder_of_models_find_their_files(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "sub").mkdir(parents=True)
    for name in ("a.glb", "sub/b.glb", f"{7:032x}.glb"):
        (models / name).write_bytes(b"glTF")
    (models / f"{7:032x}.json").write_text(f'{{"source_url": "https://sketchfab.com/3d-models/x-{7:032x}"}}')
    parts = split(models, tmp_path / "parts", 2)
    found = [item for path in parts for item in read_items(path).items]
    assert sorted(item.path.resolve() for item in found) == sorted(models.rglob("*.glb"))
    assert {item.key for item in found} == {item.key for item in read_items(models).items}
    moved = tmp_path / "shared"
    moved.mkdir()
    models.rename(moved / "models")
    (tmp_path / "parts").rename(moved / "parts")
    assert all(item.path.exists() for item in read_items(moved / "parts" / "part-01.txt").items)


def test_kappa_is_cohens() -> None:
    # Textbook case: 20 times both yes, 15 both no, 5 and 10 apart: p_o 0.7, p_e 0.5, kappa 0.4.
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(second, first) == pytest.approx(0.4)
    assert cohen_kappa(first, first) == 1
    assert cohen_kappa(["y", "n"], ["n", "y"]) == -1
    assert cohen_kappa(["y"] * 3, ["y"] * 3) is None
    assert cohen_kappa([], []) is None
    with pytest.raises(ValueError, match="3 answers"):
        cohen_kappa(["y"] * 3, ["n"])

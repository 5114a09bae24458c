"""`oriel screen`, as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from app import cli
from engine.screening import ScreeningSession
from tests.benchmarks.screening import write_list
from tests.screening_models import write_house


def screen(*arguments: object) -> int:
    return cli.main(["screen", *map(str, arguments)])


def annotate(part: Path, folder: Path, who: str, selected: set[str]) -> None:
    with ScreeningSession.open(part, folder, who) as session:
        for item in session.items:
            session.go(item)
            session.decide("select" if item.line in selected else "reject", 2.0)


def test_split_merge_conflicts_stats_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls, parts, out = tmp_path / "urls.txt", tmp_path / "parts", tmp_path / "merged"
    lines = write_list(urls, 20)
    assert screen("split", urls, "-n", 2, "-o", parts, "--overlap", 0.5, "--seed", 3) == 0
    assert "2 parts of 15 items, part-01.txt to part-02.txt" in capsys.readouterr().out
    folders = [tmp_path / "ada", tmp_path / "bob"]
    annotate(parts / "part-01.txt", folders[0], "Ada", set(lines[:10]))
    annotate(parts / "part-02.txt", folders[1], "Bob", set(lines[:12]))

    assert screen("conflicts", urls, *folders, "--csv", tmp_path / "conflicts.csv") == 0
    shown, err = capsys.readouterr()
    assert "Ada and Bob" in err and "Cohen's kappa" in err
    disputed = [line.split()[0] for line in shown.splitlines()]
    assert disputed and set(disputed) <= set(lines[10:12]) and "# Ada reject, Bob select" in shown
    with (tmp_path / "conflicts.csv").open(encoding="utf-8-sig") as file:
        assert [row["item"] for row in csv.DictReader(file)] == disputed
    assert screen("conflicts", urls, *folders, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agreement"][0]["items"] == 10 and found["agreement"][0]["kappa"] < 1
    assert found["conflicts"][0]["opinions"]["Bob"] == {"decision": "select", "note": ""}

    assert screen("merge", urls, *folders, "-o", out) == 0
    shown, err = capsys.readouterr()
    assert f"{len(disputed)} in conflict, 0 not judged" in shown and "--round" in err
    annotate(out / "conflicts.txt", tmp_path / "round", "Eve", set(lines))
    assert screen("merge", urls, *folders, "-o", out, "--round", tmp_path / "round") == 0
    assert "0 in conflict" in capsys.readouterr().out

    assert screen("stats", *folders, "--csv", tmp_path / "stats.csv") == 0
    shown = capsys.readouterr().out
    assert "Ada" in shown and " 15 " in shown and "2.0" in shown
    with (tmp_path / "stats.csv").open(encoding="utf-8-sig") as file:
        assert [row["decisions"] for row in csv.DictReader(file) if not row["day"]] == ["15", "15"]
    assert screen("stats", folders[0], "--json") == 0
    assert json.loads(capsys.readouterr().out)[-1]["median_seconds"] == 2

    assert screen("list", out, "-o", tmp_path / "list.txt") == 0
    listed = (tmp_path / "list.txt").read_text().splitlines()
    assert set(listed) >= {*lines[:10], *disputed} and listed == [line for line in lines if line in set(listed)]


def test_the_list_names_files_where_they_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    models.mkdir()
    names = ["a.glb", "b.glb", f"{1:032x}.glb", f"{2:032x}.glb"]
    for number, name in enumerate(names):
        (models / name).write_bytes(bytes(number + 1))
    page = f"https://sketchfab.com/3d-models/x-{2:032x}"
    (models / f"{2:032x}.json").write_text(json.dumps({"source_url": page}))
    with ScreeningSession.open(models, models, "Ada") as session:
        for _ in names:
            session.decide("select")
        (models / f"{2:032x}.glb").unlink()
        (models / "b.glb").unlink()
        assert screen("list", models) == 0, "also while somebody screens"
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(models / f"{1:032x}.glb"), str(models / "a.glb"), page, "b.glb"]
    assert "does not have" not in err
    assert screen("list", models, "--decision", "reject") == 0
    assert capsys.readouterr().out == ""


def test_the_originals_files_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = write_list(tmp_path / "urls.txt", 4)
    (tmp_path / "selected.txt").write_text(f"{lines[2]}\n{lines[0]}\n")
    (tmp_path / "rejected.txt").write_text(f"{lines[1]}\n")
    assert screen("list", tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [lines[2], lines[0]]
    assert screen("merge", tmp_path / "urls.txt", tmp_path, "-o", tmp_path / "merged") == 0
    assert "2 selected, 1 rejected, 0 skipped, 0 in conflict, 1 not judged" in capsys.readouterr().out
    assert (tmp_path / "merged" / "selected.txt").read_text() == f"{lines[0]}\n{lines[2]}\n"
    assert screen("stats", tmp_path) == 0
    assert "(not known)" in capsys.readouterr().out


def test_what_cannot_go_well_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls = tmp_path / "urls.txt"
    write_list(urls, 4)
    for arguments, text in (
        (("split", tmp_path / "none.txt", "-n", 2, "-o", tmp_path / "p"), "cannot be read"),
        (("split", urls, "-n", 9, "-o", tmp_path / "p"), "choose 1 to 4"),
        (("split", urls, "-n", 2, "-o", urls), "cannot be written"),
        (("merge", urls, tmp_path / "none", "-o", tmp_path / "m"), "There is no folder"),
        (("stats", tmp_path / "none"), "There is no folder"),
        (("stats", tmp_path, "--idle", 0), "--idle is 0"),
        (("list", tmp_path / "none"), "There is no folder"),
        (("list", tmp_path), "no decisions"),
    ):
        assert screen(*arguments) == 2, arguments
        assert text in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "screen" in capsys.readouterr().out


def test_decisions_are_exported_with_reasons_and_by_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = write_list(tmp_path / "urls.txt", 3)
    folders = [tmp_path / "ada", tmp_path / "bob"]
    for folder, answers in zip(folders, (("select", "reject"), ("reject", "reject")), strict=True):
        with ScreeningSession.open(tmp_path / "urls.txt", folder, folder.name) as session:
            for answer in answers:
                session.decide(answer, 2.0, reasons=["interior", "flat front"] if answer == "reject" else ())
            session.decide("skip", unseen=True)
    assert screen("export", *folders, "-o", tmp_path / "all.csv") == 0
    assert "6 decisions" in capsys.readouterr().out
    rows = (tmp_path / "all.csv").read_text("utf-8-sig").splitlines()
    assert rows[0] == "item,decision,who,when,seconds,unseen,reasons,flag" and len(rows) == 7
    assert screen("export", *folders, "--only", "disputed", "--who", "bob", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["item"] == lines[0] and row["reasons"] == ["interior", "flat front"]
    assert screen("export", *folders, "--only", "unseen") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert screen("export", *folders, "--reason", "interior", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert screen("stats", *folders) == 0
    assert "unseen" in capsys.readouterr().out


def test_stats_say_how_well_people_agree_with_a_gold_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = write_list(tmp_path / "urls.txt", 4)
    with ScreeningSession.open(tmp_path / "urls.txt", tmp_path / "ada", "Ada") as session:
        for answer in ("select", "reject", "select", "reject"):
            session.decide(answer)
    gold = tmp_path / "known.csv"
    gold.write_text("item,decision\n" + "".join(f"{line},{word}\n" for line, word in zip(lines, "yyyn", strict=True)))
    assert screen("stats", tmp_path / "ada", "--gold", gold) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-3:] == ["4", "75%", "0.50"]
    assert screen("stats", tmp_path / "ada", "--gold", gold, "--json") == 0
    assert json.loads(capsys.readouterr().out)[-1]["gold_kappa"] == 0.5
    assert screen("stats", tmp_path / "ada", "--gold", tmp_path / "none.csv") == 2
    assert "none.csv cannot be read" in capsys.readouterr().err
    assert screen("split", tmp_path / "urls.txt", "-n", 1, "-o", tmp_path / "p", "--gold", gold) == 0


def test_hints_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_house(tmp_path / "a.glb")
    write_house(tmp_path / "b.glb", rows=7)
    (tmp_path / "c.glb").write_bytes(b"")
    assert screen("hints", tmp_path, "-o", tmp_path / "hints.csv") == 0
    assert "3 models" in capsys.readouterr().out
    rows = (tmp_path / "hints.csv").read_text("utf-8-sig").splitlines()
    assert rows[0] == "item,depth,inward,hints,alike,problem"
    assert rows[1].endswith(",b.glb,") and rows[2].endswith(",a.glb,") and "empty" in rows[3]
    assert screen("hints", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["a.glb"] == {"hints": [], "alike": ["b.glb"]}

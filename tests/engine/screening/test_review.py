"""Reasons, decisions on what nobody saw, and looking again at what was decided."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from engine.core.errors import InputError
from engine.screening import REASONS, Opinion, ScreeningSession, Wanted, decision_table, merge, opinions_in
from tests.benchmarks.screening import write_list


@pytest.fixture
def urls(tmp_path: Path) -> Path:
    write_list(tmp_path / "urls.txt", 6)
    return tmp_path / "urls.txt"


def open_(urls: Path, folder: str = "ada", who: str = "Ada") -> ScreeningSession:
    return ScreeningSession.open(urls, urls.parent / folder, who)


def decide(session: ScreeningSession, answers: str) -> None:
    """`y`, `n` and `s`, one an item."""
    for answer in answers:
        session.decide({"y": "select", "n": "reject", "s": "skip"}[answer])


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def test_reasons_and_what_nobody_saw_are_recorded_and_taken_back(urls: Path) -> None:
    folder = urls.parent / "ada"
    with open_(urls) as session:
        assert session.reasons == list(REASONS)
        first = session.current
        session.decide("reject", reasons=("interior", "poor model"))
        session.decide("reject", unseen=True)
        session.decide("select")
        assert [entry.get("reasons") for entry in records(folder)] == [["interior", "poor model"], None, None]
        assert [entry.get("unseen") for entry in records(folder)] == [None, True, None]
        session.give_reasons(first, ("flat front",))
        assert session.current is session.items[3]
        assert session.decision(first).reasons == ("flat front",)  # type: ignore[union-attr]
        assert session.progress().rejected == 2
        assert session.undo() is first
        assert session.decision(first).reasons == ("interior", "poor model")  # type: ignore[union-attr]
    with (folder / "decisions.csv").open(encoding="utf-8-sig") as file:
        rows = {row["item"]: row for row in csv.DictReader(file)}
    assert [row["reasons"] for row in rows.values()] == ["interior; poor model", "", ""]
    assert [row["unseen"] for row in rows.values()] == ["", "yes", ""]
    again = open_(urls)
    assert again.decision(first).reasons == ("interior", "poor model")  # type: ignore[union-attr]
    again.close()


def test_reasons_are_the_projects_and_may_be_edited(urls: Path) -> None:
    (urls.parent / "reasons.txt").write_text("no roof\n\n no   walls\nno roof\n")
    with open_(urls) as session:
        assert session.reasons == ["no roof", "no walls"]
        session.save_reasons("\n".join(f"reason {n}" for n in range(12)))
    with open_(urls) as session:
        assert session.reasons == [f"reason {n}" for n in range(9)]
    with open_(urls, "bob", "Bob") as session:
        assert session.reasons == ["no roof", "no walls"]


def test_the_end_of_the_list_is_known_until_one_moves(urls: Path) -> None:
    with open_(urls) as session:
        decide(session, "yynny")
        assert not session.at_end
        decide(session, "y")
        assert session.at_end
        session.back()
        assert not session.at_end
    with open_(urls) as session:
        assert session.at_end  # nothing is left: what is on the screen is not there to be judged again
        session.undo()
        assert not session.at_end
        decide(session, "n")
        assert session.at_end


def test_a_review_goes_through_what_is_wanted_and_its_changes_are_decisions(urls: Path) -> None:
    with open_(urls) as session:
        decide(session, "ynyns")
        session.give_reasons(session.items[3], ("interior",))
        session.flag(session.items[0], "again")
        for wanted, places in (
            (Wanted("select"), [0, 2]),
            (Wanted("reject"), [1, 3]),
            (Wanted("skip"), [4]),
            (Wanted("undecided"), [5]),
            (Wanted("flagged"), [0]),
            (Wanted(reason="interior"), [3]),
            (Wanted("select", reason="interior"), []),
            (Wanted(who="Ada"), [0, 1, 2, 3, 4]),
            (Wanted(who="Bob"), []),
            (Wanted(), [0, 1, 2, 3, 4, 5]),
        ):
            before = session.index
            assert session.review(wanted) == len(places), wanted
            assert session.index == (places[0] if places else before)
        assert session.review(Wanted("reject")) == 2 and session.place_in_review == (1, 2)
        assert session.upcoming(5) == [session.items[3]]
        decide(session, "y")  # of the wrong ones, the first
        assert session.index == 3 and session.place_in_review == (2, 2)
        session.back()
        assert session.index == 1  # it stays in the review though it is selected now
        assert session.undo() is session.items[1] and session.decision(session.items[1]).action == "reject"  # type: ignore[union-attr]
        session.forward()
        decide(session, "n")
        assert session.at_end and session.index == 3
        session.review(None)
        assert session.index == 5 and session.wanted is None


def test_others_decisions_and_disagreements_are_looked_at(urls: Path) -> None:
    with open_(urls, "bob", "Bob") as session:
        decide(session, "ynny")
        session.give_reasons(session.items[1], ("no building",))
    bob = urls.parent / "bob"
    with open_(urls) as session:
        decide(session, "yyn")
        assert session.review(Wanted("disputed"), [bob]) == 1 and session.index == 1
        assert {(o.who, o.entry.action) for o in session.opinions(session.current)} == {
            ("Ada", "select"),
            ("Bob", "reject"),
        }
        assert session.people() == ["Ada", "Bob"]
        decide(session, "n")
        assert session.decision(session.items[1]).who == "Ada"  # type: ignore[union-attr]
        assert session.review(Wanted(who="Bob"), [bob]) == 4
        assert session.review(Wanted("reject", "no building", "Bob"), [bob]) == 1
        assert session.review(Wanted("disputed"), [bob]) == 0
        with pytest.raises(InputError, match="There is no folder"):
            session.review(Wanted(), [urls.parent / "nobody"])
    assert len(records(bob)) == 5, "others' folders are only read"


def test_tables_and_merged_folders_keep_reasons(urls: Path) -> None:
    with open_(urls) as session:
        session.decide("reject", reasons=("=1+1", "interior"), unseen=True)
    with open_(urls, "bob", "Bob") as session:
        session.decide("select")
    told = opinions_in([urls.parent / "ada", urls.parent / "bob"])
    ((key, opinions),) = told.items()
    assert [opinion.who for opinion in opinions] == ["Ada", "Bob"]
    rows = list(csv.DictReader(io.StringIO(decision_table(opinions).decode("utf-8-sig"))))
    assert rows[0]["reasons"] == "'=1+1; interior" and rows[0]["unseen"] == "yes" and rows[1]["unseen"] == ""
    merged = merge(urls, [urls.parent / "ada"])
    assert merged.decided[key].reasons == ("=1+1", "interior") and merged.decided[key].unseen


def test_states_that_there_are_not(urls: Path) -> None:
    with pytest.raises(InputError, match="Choose one of select"):
        Wanted("good")
    assert Wanted("undecided").matches([]) and not Wanted("unseen").matches([])
    assert not Wanted("undecided").matches([Opinion("Ada", None)])  # type: ignore[arg-type]

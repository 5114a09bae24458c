"""A screening session: what it shows, what it keeps, and what kills and edits may do to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.core.errors import InputError, OutputError
from engine.screening import CRITERION, TEXTS, History, ScreeningSession, default_folder, read_items
from tests.benchmarks.screening import killed_session, write_list

LINES = [f"https://sketchfab.com/3d-models/church-{n:032x}" for n in range(8)]


@pytest.fixture
def urls(tmp_path: Path) -> Path:
    path = tmp_path / "urls.txt"
    write_list(path, len(LINES))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "decisions"


def texts(folder: Path) -> dict[str, list[str]]:
    """The lines of the text files, by decision."""
    files = {decision: folder / name for decision, name in TEXTS.items()}
    return {decision: path.read_text().splitlines() for decision, path in files.items() if path.exists()}


def make_models(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"glTF" + bytes(number))


# -- deciding and moving -------------------------------------------------------------------------------------


def test_decisions_are_on_the_disk_when_the_next_item_shows(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada  Lovelace") as session:
        assert session.current.url == LINES[0]
        assert session.decide("select", 2.5, "fine\ntower").line == LINES[1]
        record = json.loads((folder / "decisions.jsonl").read_text())
        assert record["when"].endswith("+00:00")
        del record["when"]
        assert record == {
            "item": LINES[0],
            "decision": "select",
            "who": "Ada Lovelace",
            "seconds": 2.5,
            "note": "fine\ntower",
            "key": f"{0:032x}",
        }
        session.decide("reject", 1)
        session.decide("skip", 1)
        assert texts(folder) == {"select": [LINES[0]], "reject": [LINES[1]], "skip": [LINES[2]]}
        assert session.notices == []
        with pytest.raises(InputError, match="'maybe'"):
            session.decide("maybe")
    with pytest.raises(OutputError, match="closed"):
        session.decide("select")


def test_a_changed_decision_moves_the_line(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        for _ in range(3):
            session.decide("select")
        session.go(1)
        assert session.decide("reject").line == LINES[3], "it goes on where the work is"
        assert texts(folder) == {"select": [LINES[0], LINES[2]], "reject": [LINES[1]]}
        session.go(1)
        session.decide("reject", note="sure")
        assert texts(folder)["reject"] == [LINES[1]]
        assert (entry := session.decision(session.items[1])) is not None and entry.note == "sure"


def test_undo_goes_back_to_the_first_decision_of_all_days(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.decide("select")
        session.decide("reject")
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.go(0)
        session.decide("skip")
        session.flag(session.items[5], "odd \n roof")
        assert (undone := session.undo()) is not None and undone.line == LINES[5]
        assert session.flags() == []
        assert (undone := session.undo()) is not None and undone.line == LINES[0] and session.index == 0
        assert texts(folder) == {"select": [LINES[0]], "reject": [LINES[1]], "skip": []}, "as it was before"
    with ScreeningSession.open(urls, folder, "Ada") as session:
        for line in (LINES[1], LINES[0]):
            assert (undone := session.undo()) is not None and undone.line == line
            assert session.current == undone
        assert session.undo() is None
        assert texts(folder) == {"select": [], "reject": [], "skip": []}
        session.decide("reject")
        assert session.current.line == LINES[1]


def test_moving_about_decides_nothing(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        assert session.back().line == LINES[0]
        assert session.forward().line == LINES[1]
        assert session.go(99).line == LINES[-1]
        assert session.forward().line == LINES[-1]
        assert session.go(session.items[4]).line == LINES[4]
        assert session.progress().done == 0 and texts(folder) == {}
        session.decide("select")
        session.decide("skip")
        assert [item.line for item in session.upcoming(3)] == [LINES[7], LINES[0], LINES[1]]
        session.go(7)
        assert (found := session.next_unjudged()) is not None and found.line == LINES[0], "past the end"
        assert (found := session.next_skipped()) is not None and found.line == LINES[5]
        assert [(judged.index, judged.entry.action) for judged in session.recent(9)] == [(5, "skip"), (4, "select")]
        assert [judged.index for judged in session.recent(1)] == [5]


def test_the_next_start_is_where_the_work_is(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.decide("select")
        session.go(4)
        session.decide("select")
    with ScreeningSession.open(None, folder, "Ada") as session:
        assert session.source == urls and session.current.line == LINES[5]
        for _ in range(6):
            session.decide("reject")
        assert session.progress().left == 0 and session.next_unjudged() is None
        last = session.current
        assert session.decide("select") == last, "nothing is left to go to"
    with ScreeningSession.open(None, folder, "Ada") as session:
        assert session.progress().done == 8


def test_progress_counts_and_foretells(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        empty = session.progress()
        assert (empty.total, empty.left, empty.rate, empty.seconds_left, empty.share) == (8, 8, None, None, None)
    # A minute a decision, and a night between the third and the fourth.
    whens = ["2026-01-01T10:00", "2026-01-01T10:01", "2026-01-01T10:02", "2026-01-02T09:00", "2026-01-02T09:01"]
    with (folder / "decisions.jsonl").open("w") as log:
        for line, when in zip(LINES, whens, strict=False):
            decision = "select" if line != LINES[1] else "reject"
            record = {"item": line, "decision": decision, "who": "Ada", "when": f"{when}:00+00:00", "seconds": 60}
            log.write(f"{json.dumps(record)}\n")
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.flag(session.items[7])
        progress = session.progress()
    assert (progress.done, progress.left, progress.selected, progress.rejected) == (5, 3, 4, 1)
    assert (progress.flagged, progress.share) == (1, 0.8)
    assert progress.rate == pytest.approx(60) and progress.seconds_left == pytest.approx(180)


def test_flags_and_the_criterion_are_kept(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        assert session.criterion == CRITERION and "outside of a building" in CRITERION
        session.save_criterion("Only churches.\n")
        session.flag(session.items[2], "a boat?")
        session.flag(session.items[3])
        session.unflag(session.items[3])
        session.unflag(session.items[4])
    with ScreeningSession.open(urls, folder, "Bob") as session:
        assert session.criterion == "Only churches.\n"
        assert session.flags() == [(session.items[2], "a boat?")]
        assert session.note(session.items[2]) == "a boat?" and session.note(session.items[3]) is None
    (urls.parent / "criterion.txt").write_text("For all parts.")
    with ScreeningSession.open(urls, folder.parent / "other", "Bob") as session:
        assert session.criterion == "For all parts."


# -- what there is to screen ---------------------------------------------------------------------------------


def test_lists_name_pages_and_files(tmp_path: Path) -> None:
    make_models(tmp_path, "a.glb", "sub/b #2.GLB", "store/c.gltf", f"store/{5:032x}.glb")
    listing = tmp_path / "list.txt"
    listing.write_text(
        "# mixed\n# models: store\n\na.glb  # a house\nsub/b #2.GLB\nc.gltf\nnone.obj\n"
        f"{LINES[5]}?utm_source=x\n{LINES[6]}\n{LINES[6]}#top\nhttps://sketchfab.com/\nnonsense\n"
    )
    found = read_items(listing)
    paths = [item.path.relative_to(tmp_path).as_posix() if item.path else None for item in found.items]
    assert paths == ["a.glb", "sub/b #2.GLB", "store/c.gltf", "none.obj", f"store/{5:032x}.glb", None]
    assert [item.url for item in found.items[4:]] == [LINES[5], LINES[6]]
    assert (found.duplicates, [bad.number for bad in found.bad]) == (1, [11, 12])
    with ScreeningSession.open(listing, tmp_path / "decisions", "Ada") as session:
        said = " ".join(session.notices)
        assert "line 11" in said and "1 more" in said and "1 items again" in said and "none.obj" in said
        session.decide("select")
        session.decide("select")
        assert texts(session.folder)["select"] == ["a.glb", "sub/b #2.GLB"]


def test_folders_and_crawls_open_as_they_are(tmp_path: Path) -> None:
    models = tmp_path / "models"
    make_models(models, "hall.obj", "old/hall.obj", ".partial/x.glb", f"{3:032x}.glb", "readme.md")
    (models / f"{3:032x}.json").write_text(json.dumps({"source_url": LINES[3], "title": "Church"}))
    with ScreeningSession.open(models, models, "Ada") as session:
        assert [item.line for item in session.items] == [LINES[3], "hall.obj", "old/hall.obj"]
        assert session.items[0].path == models / f"{3:032x}.glb" and session.items[0].url == LINES[3]
        for decision in ("select", "reject", "select"):
            session.decide(decision)
        assert texts(models) == {"select": [LINES[3], "old/hall.obj"], "reject": ["hall.obj"]}
    moved = models.rename(tmp_path / "elsewhere")
    with ScreeningSession.open(None, moved, "Ada") as session:
        assert session.source == moved and session.progress().done == 3


@pytest.mark.parametrize("content", [None, "", "# nothing\n", "nonsense\n"])
def test_nothing_to_screen_is_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "urls.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"urls\.txt"):
        ScreeningSession.open(path, tmp_path / "decisions", "Ada")
    with pytest.raises(InputError, match="no model"):
        ScreeningSession.open(tmp_path, tmp_path / "decisions", "Ada")
    with pytest.raises(InputError, match="which list"):
        ScreeningSession.open(None, tmp_path / "decisions", "Ada")


# -- files of the original script, and edits -----------------------------------------------------------------


def test_files_of_the_original_script_are_read_as_they_are(urls: Path, tmp_path: Path) -> None:
    selected = f"{LINES[0]}?utm_source=x\r\n\r\n{LINES[2]}\r\n"
    (tmp_path / "selected.txt").write_bytes(selected.encode())
    (tmp_path / "rejected.txt").write_text(f"{LINES[1]}\nhttps://sketchfab.com/3d-models/gone-{99:032x}")
    assert default_folder(urls) == tmp_path
    with ScreeningSession.open(urls, tmp_path, "Ada") as session:
        assert session.current.line == LINES[3], "recorded ones are skipped"
        assert (session.progress().selected, session.progress().rejected) == (2, 1)
        assert any("4 decisions were taken over" in notice for notice in session.notices)
        assert any("1 decisions are on items that the list does not have" in notice for notice in session.notices)
        session.decide("reject")
        assert session.undo() is not None and session.undo() is None, "undo ends where this program began"
        session.decide("reject")
    assert (tmp_path / "selected.txt").read_bytes() == selected.encode(), "no line was touched"
    rejected = (tmp_path / "rejected.txt").read_text().splitlines()
    assert rejected == [LINES[1], f"https://sketchfab.com/3d-models/gone-{99:032x}", LINES[3]]
    assert History.read(tmp_path).entries[0].who == ""


def test_an_item_in_both_original_files_waits_with_a_flag(urls: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "selected.txt").write_text(f"{LINES[0]}\n{LINES[1]}\n")
    (folder / "rejected.txt").write_text(f"{LINES[1]}\n")
    with ScreeningSession.open(urls, folder, "Ada") as session:
        assert session.current.line == LINES[1]
        assert session.flags() == [(session.items[1], "stood in selected.txt and rejected.txt")]
        session.decide("select")
    assert texts(folder) == {"select": [LINES[0], LINES[1]], "reject": []}


def test_text_files_edited_by_hand_are_met(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        for _ in range(3):
            session.decide("select")
        with (folder / "selected.txt").open("a") as file:  # as the original script would, meanwhile
            file.write(f"{LINES[6]}\n")
        session.go(1)
        session.decide("reject")
        assert session.decision(session.items[6]) is not None
        assert any("taken over from selected.txt" in notice for notice in session.notices)
        assert texts(folder) == {"select": [LINES[0], LINES[2], LINES[6]], "reject": [LINES[1]]}
    (folder / "selected.txt").write_text(f"{LINES[0]}\n{LINES[7]}\n")
    with ScreeningSession.open(urls, folder, "Ada") as session:
        assert any("did not agree" in notice and "2 missing" in notice for notice in session.notices)
        assert {item.line for item in session.selected()} == {LINES[0], LINES[2], LINES[6], LINES[7]}
    assert set(texts(folder)["select"]) == {LINES[0], LINES[2], LINES[6], LINES[7]}


def test_a_log_that_goes_while_the_session_runs_is_written_again(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.decide("select")
        (folder / "decisions.jsonl").unlink()
        session.decide("reject")
        assert any("was written again" in notice for notice in session.notices)
    assert len(History.read(folder).decided) == 2


def test_a_list_edited_meanwhile_is_read_again(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.decide("select")
        session.decide("reject")
        before = session.current
        urls.write_text("".join(f"{line}\n" for line in ["https://models.example/new", *LINES[1:]]))
        session.reload()
        assert session.current == before and session.items[0].url == "https://models.example/new"
        said = " ".join(session.notices)
        assert "1 items are new, 1 are gone" in said and "1 decisions are on items" in said
        assert session.progress().done == 1
        urls.write_text("# empty\n")
        with pytest.raises(InputError):
            session.reload()
        assert session.current == before
        assert session.undo() is not None
        assert session.undo() is None and "not in the list any more" in session.notices[-1]
    assert texts(folder)["select"] == []
    urls.unlink()
    with ScreeningSession.open(None, folder, "Ada") as session:
        assert "cannot be read" in session.notices[0] and len(session.items) == 8


def test_decisions_follow_files_that_were_moved(tmp_path: Path, folder: Path) -> None:
    models = tmp_path / "models"
    make_models(models, "one.glb", "two.glb", "three.glb")
    with ScreeningSession.open(models, folder, "Ada") as session:
        session.decide("select")
        session.decide("reject")
        session.decide("skip")
    (models / "later").mkdir()
    (models / "one.glb").rename(models / "later" / "one.glb")
    (models / "two.glb").write_bytes(b"another model")
    (models / "three.glb").unlink()
    with ScreeningSession.open(models, folder, "Ada") as session:
        assert any("1 files have moved" in notice for notice in session.notices)
        place = next(item for item in session.items if item.line == "later/one.glb")
        assert (entry := session.decision(place)) is not None and entry.action == "select"
        assert texts(folder)["select"] == ["later/one.glb"]
    with ScreeningSession.open(models, folder, "Ada") as session:
        assert not any("moved" in notice for notice in session.notices)
        undone = [session.undo() for _ in range(3)]
        assert [item and item.line for item in undone] == ["two.glb", None, "later/one.glb"]
        assert session.progress().done == 0


def test_files_gone_while_the_session_runs_can_still_be_decided(tmp_path: Path, folder: Path) -> None:
    make_models(tmp_path / "models", "one.glb", "two.glb")
    with ScreeningSession.open(tmp_path / "models", folder, "Ada") as session:
        assert session.current.path is not None
        session.current.path.unlink()
        session.decide("skip", note="gone")
        assert texts(folder)["skip"] == ["one.glb"]


# -- kills and failures --------------------------------------------------------------------------------------


def test_every_cut_of_the_last_line_is_mended(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.decide("select")
        session.decide("reject")
    log = folder / "decisions.jsonl"
    whole = log.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in (first, first + 1, first + 40, len(whole) - 2, len(whole) - 1, len(whole)):
        for tail in (b"", b"\0" * 20):
            log.write_bytes(whole[:cut] + tail)
            (folder / "rejected.txt").unlink(missing_ok=True)  # it comes after the log
            complete = cut >= len(whole) - 1
            with ScreeningSession.open(urls, folder, "Ada") as session:
                assert session.progress().done == (2 if complete else 1)
                assert texts(folder).get("reject", []) == ([LINES[1]] if complete else [])
                session.go(5)
                session.decide("skip")
            assert len(History.read(folder).entries) == (3 if complete else 2)
            assert log.read_bytes().endswith(b"\n") and b"\0" not in log.read_bytes()
            (folder / "skipped.txt").unlink()


def test_damaged_lines_cost_only_themselves(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        for _ in range(3):
            session.decide("select")
    log = folder / "decisions.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], lines[1][:30], "[1]", lines[2], ""]))
    (folder / "selected.txt").unlink()
    with ScreeningSession.open(urls, folder, "Ada") as session:
        assert any("2 damaged lines" in notice for notice in session.notices)
        assert texts(folder)["select"] == [LINES[0], LINES[2]]


def test_a_second_process_on_the_folder_is_refused(urls: Path, folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from engine.screening import ScreeningSession\n"
        "with ScreeningSession.open(Path(sys.argv[1]), Path(sys.argv[2]), 'Bob'): print('open')"
    )
    command = [sys.executable, "-c", script, str(urls), str(folder)]
    root = Path(__file__).resolve().parents[3]
    with ScreeningSession.open(urls, folder, "Ada"):
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60)
        assert "InputError" in done.stderr and "Somebody is screening" in done.stderr
        with pytest.raises(InputError, match="Close that window"):
            ScreeningSession.open(urls, folder, "Bob")
        History.read(folder)
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60)
    assert done.stdout == "open\n", done.stderr


def test_a_full_disk_changes_nothing(urls: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        session.decide("select")
        before = (folder / "decisions.jsonl").read_bytes()
        with monkeypatch.context() as broken:

            def full(handle: int) -> None:
                raise OSError(28, "No space left on device")

            broken.setattr(os, "fsync", full)
            with pytest.raises(OutputError, match="No space left"):
                session.decide("reject")
        assert session.current.line == LINES[1] and session.decision(session.current) is None
        assert (folder / "decisions.jsonl").read_bytes() == before
        session.decide("reject")
    assert texts(folder) == {"select": [LINES[0]], "reject": [LINES[1]]}


def test_a_text_file_that_cannot_be_written_is_said_and_written_later(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        (folder / "selected.txt").mkdir()
        session.decide("select")
        assert len(session.notices) == 1 and "safe in decisions.jsonl" in session.notices[0]
        (folder / "selected.txt").rmdir()
        session.decide("reject")
        assert texts(folder) == {"select": [LINES[0]], "reject": [LINES[1]]}


def die_at(step: int, after: bool, urls: Path, folder: Path) -> bool:
    """Screen in a process that ends without a word at a step that reaches the disk; returns whether it got there."""
    if (child := os.fork()) == 0:
        steps = 0

        def deadly(function: object) -> object:
            def call(*arguments: object, **options: object) -> object:
                nonlocal steps
                steps += 1
                own = steps
                if own == step and not after:
                    os._exit(9)
                try:
                    return function(*arguments, **options)  # type: ignore[operator]
                finally:
                    if own == step:
                        os._exit(9)

            return call

        try:
            os.fsync = deadly(os.fsync)  # type: ignore[assignment]
            for name in ("replace", "write_bytes", "open", "touch"):
                setattr(Path, name, deadly(getattr(Path, name)))
            script(urls, folder)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def script(urls: Path, folder: Path) -> None:
    with ScreeningSession.open(urls, folder, "Ada") as session:
        said = folder.with_suffix(".said")

        def note() -> None:
            with open(said, "a") as file:  # noqa: PTH123 - not one of the deadly steps
                file.write("done\n")

        for decision in ("select", "reject", "select", "skip"):
            session.decide(decision)
            note()
        session.go(0)
        session.decide("reject")
        note()
        session.undo()
        note()
        session.undo()
        note()


STATES = [
    {"select": [], "reject": [], "skip": []},
    {"select": [0], "reject": [], "skip": []},
    {"select": [0], "reject": [1], "skip": []},
    {"select": [0, 2], "reject": [1], "skip": []},
    {"select": [0, 2], "reject": [1], "skip": [3]},
    {"select": [2], "reject": [1, 0], "skip": [3]},
    {"select": [0, 2], "reject": [1], "skip": [3]},
    {"select": [0, 2], "reject": [1], "skip": []},
]


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_any_step_costs_the_decision_at_work(urls: Path, tmp_path: Path, after: bool) -> None:
    for step in range(1, 200):
        folder = tmp_path / f"{step}"
        died = die_at(step, after, urls, folder)
        said = folder.with_suffix(".said")
        acknowledged = len(said.read_text().split()) if said.exists() else 0
        with ScreeningSession.open(urls, folder, "Ada"):
            logged = len(History.read(folder).entries)
        assert acknowledged <= logged <= acknowledged + 1
        found = {"select": [], "reject": [], "skip": []} | texts(folder)
        wanted = {decision: sorted(LINES[n] for n in numbers) for decision, numbers in STATES[logged].items()}
        assert {decision: sorted(lines) for decision, lines in found.items()} == wanted, f"step {step}"
        if not died:
            break
    assert step > 25 and acknowledged == 7


def test_a_session_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    report = killed_session(tmp_path, actions=240, kills=3, items=120, seed=5)
    assert report.problems == []
    assert report.kills == 3

"""The Screen tab in the real window: keys, files, pages, and what a restart finds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.settings import Settings
from app.window import Session
from engine.screening import Preview
from tests.gui.driving import Drive, until
from tests.gui.screening import Key, begin, do, hold, let_go, lines, press, seen
from tests.site import ModelSite, SiteModel


def test_a_decision_is_in_its_file_before_the_next_model_shows(drive: Drive, models: Path) -> None:
    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        assert tab.title.text() == "model_0.glb" and tab.place.text() == "1 of 5"
        assert tab.view is not None and tab.stage.currentWidget() is tab.view
        before = tab.scene
        press(session, Key.Key_Y)
        await until(lambda: tab.scene is not before)
        assert lines(models, "selected") == ["model_0.glb"]
        assert tab.title.text() == "model_1.glb"
        await do(session, Key.Key_N)
        await do(session, Key.Key_S)
        assert lines(models, "rejected") == ["model_1.glb"] and lines(models, "skipped") == ["model_2.glb"]
        log = [json.loads(line) for line in (models / "decisions.jsonl").read_text().splitlines()]
        assert [entry["decision"] for entry in log] == ["select", "reject", "skip"]
        assert all(entry["who"] == "Ada" and 0 <= entry["seconds"] < 120 for entry in log)
        assert tab.side.figure.text() == "3"
        card = tab.side.cards[0]
        assert card.action == "skip" and card._picture is not None
        card.click()  # back to it, to think again
        await until(lambda: tab.title.text() == "model_2.glb" and seen(tab))
        assert tab.badge.text() == "Skipped"
        await do(session, Key.Key_Y)
        assert lines(models, "skipped") == [] and lines(models, "selected") == ["model_0.glb", "model_2.glb"]

    drive(scenario)


def test_undo_moving_and_the_next_one_without_a_decision(drive: Drive, models: Path) -> None:
    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        await do(session, Key.Key_Y)
        await do(session, Key.Key_N)
        await do(session, Key.Key_U)
        assert tab.title.text() == "model_1.glb" and lines(models, "rejected") == []
        await do(session, Key.Key_Backspace)
        assert tab.title.text() == "model_0.glb" and lines(models, "selected") == []
        await do(session, Key.Key_U)
        assert "nothing left" in tab.banner.text.text()
        await do(session, Key.Key_PageDown)
        await do(session, Key.Key_Right, Qt.KeyboardModifier.ControlModifier)
        assert tab.title.text() == "model_2.glb"
        await do(session, Key.Key_Y)
        await do(session, Key.Key_PageUp)
        await do(session, Key.Key_Left, Qt.KeyboardModifier.ControlModifier)
        assert tab.title.text() == "model_1.glb"
        await do(session, Key.Key_PageDown)
        await do(session, Key.Key_G)
        assert tab.title.text() == "model_3.glb"
        assert lines(models, "selected") == ["model_2.glb"]
        for _ in range(4):
            await do(session, Key.Key_N)
        assert "All 5 items are judged" in tab.banner.text.text()

    drive(scenario)


def test_a_flag_with_a_note_whose_letters_decide_nothing(drive: Drive, models: Path) -> None:
    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        press(session, Key.Key_F)
        assert tab.note.isVisible()
        QTest.keyClicks(tab.note, "yn, why so flat?")
        QTest.keyClick(tab.note, Key.Key_Escape)
        assert not tab.note.isVisible() and tab.scene.note is None
        press(session, Key.Key_F)
        QTest.keyClicks(tab.note, "any roof?")
        before = tab.scene
        QTest.keyClick(tab.note, Key.Key_Return)
        await until(lambda: tab.scene is not before)
        assert tab.scene.note == "any roof?" and tab.flagged.isVisible()
        assert tab.title.text() == "model_0.glb" and lines(models, "selected") == []
        await do(session, Key.Key_Y)
        assert not tab.flagged.isVisible()

    drive(scenario)


def test_what_cannot_be_shown_says_why_and_is_judged_all_the_same(drive: Drive, models: Path) -> None:
    (models / "model_0.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing")
    (models / "model_1.glb").write_bytes(b"")

    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        assert tab.stage.currentWidget() is tab.curtain
        assert "model_0.glb is" in tab.curtain.problem
        tab.show_preview(Preview(models / "model_0.glb", problem="It is torn.", decision="Reject it."))
        assert tab.curtain.problem == "It is torn. Reject it."
        await do(session, Key.Key_N)
        assert "model_1.glb" in tab.curtain.problem
        await do(session, Key.Key_S)
        assert tab.stage.currentWidget() is tab.view
        assert lines(models, "rejected") == ["model_0.glb"] and lines(models, "skipped") == ["model_1.glb"]

    drive(scenario)


def test_keys_work_whatever_has_the_focus_and_never_by_repetition(drive: Drive, models: Path) -> None:
    async def scenario(session: Session) -> None:
        window = session.window
        tab = await begin(session, models)
        window._theme_button.setFocus()
        await do(session, Key.Key_Y)
        repeated = QKeyEvent(QEvent.Type.KeyPress, Key.Key_Y, Qt.KeyboardModifier.NoModifier, "y", True)
        QApplication.sendEvent(window.windowHandle(), repeated)
        # Two at once: the second is for a model that nobody has seen yet.
        before = tab.scene
        press(session, Key.Key_Y)
        press(session, Key.Key_Y)
        await until(lambda: tab.scene is not before and seen(tab))
        await asyncio.sleep(0)
        assert lines(models, "selected") == ["model_0.glb", "model_1.glb"]
        window.toggle_sheet()  # keys are for the page of keys while that is open
        press(session, Key.Key_N)
        window.toggle_sheet()
        window.show_tab(0)
        press(session, Key.Key_N)
        window.show_tab(2)
        await do(session, Key.Key_S)
        assert lines(models, "rejected") == [] and lines(models, "skipped") == ["model_2.glb"]

    drive(scenario)


def test_other_keys_are_remembered_and_taken_ones_refused(drive: Drive, models: Path) -> None:
    async def change(session: Session) -> None:
        tab = await begin(session, models)
        press(session, Key.Key_H)
        sheet = tab.sheet
        assert sheet.isVisible()
        sheet.buttons["select"].click()
        QTest.keyClick(sheet, Key.Key_N)
        assert "for “reject”" in sheet.note.text()
        QTest.keyClick(sheet, Key.Key_J)
        assert sheet.buttons["select"].text() == "J"
        QTest.keyClick(sheet, Key.Key_H)
        assert not sheet.isVisible()
        assert tab.buttons["select"].text().endswith("J")
        press(session, Key.Key_Y)  # means nothing now
        await do(session, Key.Key_J)
        assert lines(models, "selected") == ["model_0.glb"]

    async def again(session: Session) -> None:
        tab = await begin(session, models)
        assert tab.title.text() == "model_1.glb"
        await do(session, Key.Key_J)
        assert lines(models, "selected") == ["model_0.glb", "model_1.glb"]

    drive(change)
    assert Settings.load().screen["keys"] == {"select": "J"}
    drive(again)


def test_a_restart_goes_on_where_it_was(drive: Drive, models: Path, tmp_path: Path) -> None:
    kept = tmp_path / "decisions"

    async def first(session: Session) -> None:
        tab = await begin(session, models, kept)
        tab.leave()
        tab.start.criterion.setPlainText("Only boxes.")
        await until(lambda: tab.start.ready)
        tab.start.request()
        await until(lambda: tab.scene is not None and seen(tab))
        assert tab.side.criterion.text() == "Only boxes."
        await do(session, Key.Key_Y)
        press(session, Key.Key_T)

    async def second(session: Session) -> None:
        tab = session.window.screen_tab
        session.window.show_tab(2)
        await until(lambda: "decided" in tab.start.note.text())
        assert tab.start.start.text() == "Go on" and tab.start.annotator.text() == "Ada"
        tab.start.start.click()
        await until(lambda: tab.scene is not None and seen(tab))
        assert tab.title.text() == "model_1.glb" and tab.side.criterion.text() == "Only boxes."
        assert tab.turning
        await do(session, Key.Key_U)
        assert tab.title.text() == "model_0.glb" and lines(kept, "selected") == []

    drive(first)
    assert lines(kept, "selected") == ["model_0.glb"] and not (models / "selected.txt").exists()
    drive(second)


def test_arrows_turn_while_held_and_the_inside_is_walked(drive: Drive, models: Path) -> None:
    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        view = tab.view
        azimuth, elevation, distance = view.azimuth, view.elevation, view.distance
        hold(session, Key.Key_Right)
        await until(lambda: (view.azimuth - azimuth) % 360 > 40)
        let_go(session, Key.Key_Right)
        press(session, Key.Key_Up)
        await until(lambda: view.elevation > elevation + 3)
        press(session, Key.Key_Plus)
        await until(lambda: view.distance < distance)
        press(session, Key.Key_Home)
        assert (view.azimuth, view.elevation) == (azimuth, elevation)
        QTest.mousePress(view.canvas, Qt.MouseButton.LeftButton, pos=QPoint(200, 200))
        QTest.mouseMove(view.canvas, QPoint(260, 200))
        QTest.mouseRelease(view.canvas, Qt.MouseButton.LeftButton, pos=QPoint(260, 200))
        assert view.azimuth != azimuth
        press(session, Key.Key_I)
        assert view.inside and tab.buttons["inside"].isChecked() and view.distance < 0.5
        heading = view.azimuth
        press(session, Key.Key_Left)
        await until(lambda: view.azimuth != heading)
        press(session, Key.Key_W)
        await until(lambda: view.distance > 0.02)
        await do(session, Key.Key_N)
        assert not view.inside
        press(session, Key.Key_T)
        azimuth = view.azimuth
        await until(lambda: view.azimuth != azimuth)
        press(session, Key.Key_Space)
        assert not tab.turning

    drive(scenario)


def test_a_page_is_judged_by_the_same_keys_and_turned_by_drags(drive: Drive, tmp_path: Path) -> None:
    async def ask(page: Any, script: str) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        page.runJavaScript(script, 0, lambda value: answer.done() or answer.set_result(value))
        return await asyncio.wait_for(answer, 60)

    listening = """window.seen = [];
        for (const kind of ["mousedown", "mousemove", "mouseup", "wheel", "keydown"])
          addEventListener(kind, e => seen.push([kind, e.clientX, e.clientY, e.buttons]), true); 1"""

    async def scenario(session: Session, site: ModelSite) -> None:
        urls = tmp_path / "urls.txt"
        urls.write_text("".join(f"{site.page(model)}\n" for model in site.models))
        session.window.show_tab(2)
        tab = session.window.screen_tab
        loads: list[bool] = []
        tab.web.loaded.connect(loads.append)
        await begin(session, urls, tmp_path / "decisions")
        assert tab.stage.currentWidget() is tab.web and tab.view is None
        await until(lambda: loads)
        assert loads == [True] and not tab.web.problem
        assert "Building 0" in await ask(tab.web.page, "document.title + document.body.innerText")
        await ask(tab.web.page, listening)
        QTest.keyPress(tab.web.target, Key.Key_Right)
        found: list[Any] = []
        while len([entry for entry in found if entry[0] == "mousemove" and entry[3]]) < 3:
            await asyncio.sleep(0.05)
            found = json.loads(await ask(tab.web.page, "JSON.stringify(seen)"))
        QTest.keyRelease(tab.web.target, Key.Key_Right)
        drags = [entry[1] for entry in found if entry[0] == "mousemove" and entry[3]]
        assert drags[-1] < drags[0]  # to the right side of the model: the mouse goes to the left
        windows = len(QApplication.topLevelWidgets())
        await ask(tab.web.page, "window.open('about:blank'); alert('stay'); location.href = '/login'; 1")
        assert "Building 0" in await ask(tab.web.page, "document.title")
        assert len(QApplication.topLevelWidgets()) == windows
        loads.clear()
        await do(session, Key.Key_N)
        await until(lambda: loads)
        QTest.keyClick(tab.web.target, Key.Key_Y)  # the page has the keyboard
        await until(lambda: tab.scene.index == 2)
        assert lines(tmp_path / "decisions", "rejected") == [site.page(site.models[0])]
        assert lines(tmp_path / "decisions", "selected") == [site.page(site.models[1])]
        assert not [entry for entry in found if entry[0] == "keydown"]

    with ModelSite([SiteModel(number) for number in range(3)]) as site:
        drive(lambda session: scenario(session, site))


def test_a_page_without_a_browser_is_judged_too(drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from widgets.screen import web_view

    def missing() -> None:
        raise ImportError("libnss3.so: cannot open shared object file")

    monkeypatch.setattr(web_view, "_prepare", missing)
    urls = tmp_path / "urls.txt"
    urls.write_text("https://example.org/one\nhttps://example.org/two\n")

    async def scenario(session: Session) -> None:
        tab = await begin(session, urls)
        assert "libnss3.so" in tab.web.problem and tab.web._open.isVisible()
        await do(session, Key.Key_Y)
        assert lines(tmp_path / "urls-screened", "selected") == ["https://example.org/one"]

    drive(scenario)


def test_a_folder_in_use_or_empty_is_said_at_the_start(drive: Drive, models: Path, tmp_path: Path) -> None:
    from engine.screening import ScreeningSession

    async def scenario(session: Session) -> None:
        tab = session.window.screen_tab
        session.window.show_tab(2)
        tab.start.request()
        assert "Choose a list" in tab.start.banner.text.text()
        (tmp_path / "empty").mkdir()
        tab.start.choose(tmp_path / "empty")
        await until(lambda: "no model" in tab.start.banner.text.text())
        with ScreeningSession.open(models, models, "Bob"):
            tab.start.choose(models)
            await until(lambda: tab.start.ready)
            assert tab.start.note.text() == "5 items"
            tab.start.request()
            await until(lambda: tab.start.banner.isVisible())
            assert not tab.judging
        tab.start.request()
        await until(lambda: tab.scene is not None and seen(tab))

    drive(scenario)


def test_leaving_and_closing_end_the_processes(drive: Drive, models: Path) -> None:
    def workers() -> list[psutil.Process]:
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # just ended
                if "engine.core.processes" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        assert workers()
        tab.leave()
        await until(lambda: not workers())
        await until(lambda: tab.start.ready)
        tab.start.request()
        await until(lambda: tab.judging and tab.scene is not None and seen(tab))

    drive(scenario)
    assert not workers()


def test_a_window_killed_while_judging_loses_nothing(tmp_path: Path) -> None:
    from tests.benchmarks.screening_window import killed_window

    report = killed_window(tmp_path, actions=50, kills=2, items=30)
    assert report.kills == 2 and not report.problems, report.problems

"""The Screen tab: what is shown and what is not, reasons, reviews, thumbnails, four sides, a gold set."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.window import Session
from tests.gui.driving import Drive, busy, until
from tests.gui.screening import Key, begin, do, lines, log, press, seen
from tests.screening_models import Gltf, box, write_slow


def write_box(path: Path, *, faces: slice | list[int] = slice(None), flip: bool = False, far: float = 0.0) -> None:
    """A grey box of 20 m whose faces have one side, with a triangle far off."""
    gltf = Gltf()
    points, triangles, _ = box((20, 12, 15))
    triangles = triangles[faces]
    gltf.node(mesh=gltf.mesh(points, triangles[:, ::-1] if flip else triangles))
    if far:
        gltf.node(mesh=gltf.mesh(np.eye(3) * 0.1 + (far, 0, 0), np.arange(3).reshape(1, 3)))
    path.write_bytes(gltf.glb())


def drawn_share(view: Any) -> float:
    """Of the picture that the model covers."""
    view.canvas.ren_win.Render()
    picture = view.canvas.screenshot(None, return_img=True).astype(int)
    return float((np.abs(picture - picture[:, :1]).max(2) > 12).mean())


def middle_distance(view: Any) -> float:
    """From the camera to what is seen in the middle of the picture."""
    view.canvas.ren_win.Render()
    depth = -view.canvas.get_image_depth()
    return float(depth[depth.shape[0] // 2, depth.shape[1] // 2])


def test_a_stray_triangle_makes_no_speck_and_is_named(drive: Drive, tmp_path: Path) -> None:
    for number, far in enumerate((0.0, 1000.0, 20_000.0)):
        write_box(tmp_path / f"box_{number}.glb", far=far)

    async def scenario(session: Session) -> None:
        tab = await begin(session, tmp_path, tmp_path / "decisions")
        whole = drawn_share(tab.view)
        assert whole > 0.2 and not tab.warning.isVisible() and not tab.buttons["everything"].isVisible()
        for _ in range(2):
            await do(session, Key.Key_N)
            assert drawn_share(tab.view) == pytest.approx(whole, abs=0.02)
            assert "1 triangle is left out" in tab.warning.text() and tab.warning.text().endswith("E shows everything.")
        press(session, Key.Key_E)
        assert tab.buttons["everything"].isChecked()
        assert drawn_share(tab.view) < 0.02
        press(session, Key.Key_E)
        assert drawn_share(tab.view) == pytest.approx(whole, abs=0.02)

    drive(scenario)


def test_faces_with_one_side_are_not_seen_from_behind(drive: Drive, tmp_path: Path) -> None:
    write_box(tmp_path / "1_building.glb")
    write_box(tmp_path / "2_room.glb", flip=True)
    write_box(tmp_path / "3_front.glb", faces=[10, 11])

    async def scenario(session: Session) -> None:
        tab = await begin(session, tmp_path, tmp_path / "decisions")
        closed = middle_distance(tab.view)
        await do(session, Key.Key_N)
        assert middle_distance(tab.view) > closed + 0.5  # open: its near walls are not there
        press(session, Key.Key_I)
        assert drawn_share(tab.view) > 0.4
        await do(session, Key.Key_N)
        shares = []
        for azimuth in (80.0, 260.0):
            tab.view._orbit.azimuth = azimuth
            tab.view._redraw()
            shares.append(drawn_share(tab.view))
        assert min(shares) < 0.01 and max(shares) > 0.1

    drive(scenario)


def test_nothing_is_decided_that_was_not_to_be_seen_and_after_the_end(drive: Drive, tmp_path: Path) -> None:
    write_slow(tmp_path / "a_slow.glb")
    (tmp_path / "b_torn.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing")
    write_box(tmp_path / "c_box.glb")

    async def scenario(session: Session) -> None:
        tab = session.window.screen_tab
        session.window.show_tab(2)
        tab.start.choose(tmp_path, None)
        await until(lambda: tab.start.ready)
        tab.start.request()
        await until(lambda: tab.scene is not None and tab.seen and tab.loading)
        said: list[str] = []
        tab.status_changed.connect(said.append)
        for key in (Key.Key_Y, Key.Key_N):
            press(session, key)
        await asyncio.sleep(0.7)
        assert len(said) == 2 and "Nothing is to be seen" in said[0] and tab.title.text() == "a_slow.glb"
        assert lines(tmp_path, "selected") == lines(tmp_path, "rejected") == []
        before = tab.scene
        press(session, Key.Key_S)
        await until(lambda: tab.scene is not before and seen(tab))
        await do(session, Key.Key_N)
        assert tab.stage.currentWidget() is tab.view
        before = tab.scene
        press(session, Key.Key_Y)
        await until(lambda: tab.scene is not before)
        assert [(entry["decision"], entry.get("unseen")) for entry in log(tmp_path)] == [
            ("skip", True),
            ("reject", True),
            ("select", None),
        ]
        assert tab.scene.at_end and "All 3 items are judged" in tab.banner.text.text()
        for key in (Key.Key_N, Key.Key_Y, Key.Key_S):
            press(session, key)
        assert "Every item has a decision" in said[-1]
        before = tab.scene
        press(session, Key.Key_PageUp)
        await until(lambda: tab.scene is not before)
        assert tab.badge.text() == "Rejected unseen" and len(log(tmp_path)) == 3
        await do(session, Key.Key_PageDown)
        await do(session, Key.Key_N)  # now it is meant
        assert log(tmp_path)[-1]["decision"] == "reject"

    drive(scenario)
    rows = (tmp_path / "decisions.csv").read_text("utf-8-sig").splitlines()
    assert [row.split(",")[5] for row in rows] == ["unseen", "yes", "yes", ""]


def test_a_typed_path_counts_without_return(drive: Drive, models: Path, tmp_path: Path) -> None:
    async def scenario(session: Session) -> None:
        tab = session.window.screen_tab
        session.window.show_tab(2)
        await until(lambda: tab.start.criterion.toPlainText())
        tab.start.source.setFocus()
        QTest.keyClicks(tab.start.source, str(models))
        tab.start.request()  # as the button and its key do
        await until(lambda: tab.scene is not None and seen(tab))
        assert tab.title.text() == "model_0.glb"
        tab.leave()
        await until(lambda: tab.start.ready)
        tab.start.source.setText(str(tmp_path / "nothing"))
        tab.start.request()
        await until(lambda: tab.start.banner.isVisible())
        assert not tab.judging
        tab.start.source.setText(str(models))
        tab.start.folder.setText(str(tmp_path / "elsewhere"))
        tab.start.start.click()
        await until(lambda: tab.scene is not None and seen(tab))

    drive(scenario)


def test_number_keys_give_reasons_that_are_recorded(drive: Drive, models: Path) -> None:
    async def scenario(session: Session) -> None:
        tab = session.window.screen_tab
        session.window.show_tab(2)
        await until(lambda: tab.start.reasons.toPlainText())
        tab.start.reasons.setPlainText("no roof\nround & tall\n\nno roof\nonly half")
        await begin(session, models)
        assert [chip.text() for chip in tab.reasons.chips] == ["1  no roof", "2  round && tall", "3  only half"]
        for key in (Key.Key_1, Key.Key_2, Key.Key_3, Key.Key_2, Key.Key_4):
            press(session, key)
        assert tab.reasons.given == ("no roof", "only half")
        press(session, Key.Key_H)
        assert tab.sheet.words["reason_2"].text() == "round & tall" and not tab.sheet.buttons["reason_4"].isVisible()
        press(session, Key.Key_H) if not tab.sheet.isVisible() else tab.sheet.dismiss()
        await do(session, Key.Key_N)
        assert log(models)[-1]["reasons"] == ["no roof", "only half"] and tab.reasons.given == ()
        await do(session, Key.Key_Y)
        await do(session, Key.Key_PageUp)
        await do(session, Key.Key_PageUp)
        assert tab.title.text() == "model_0.glb" and tab.reasons.given == ("no roof", "only half")
        before = tab.scene
        press(session, Key.Key_1)  # of what is decided, it is recorded at once
        await until(lambda: tab.scene is not before)
        assert tab.title.text() == "model_0.glb" and log(models)[-1]["reasons"] == ["only half"]
        await do(session, Key.Key_U)
        assert tab.reasons.given == ("no roof", "only half")

    drive(scenario)
    assert (models / "reasons.txt").read_text() == "no roof\nround & tall\nonly half\n"


def test_decisions_are_looked_at_again_by_what_they_are(drive: Drive, models: Path, tmp_path: Path) -> None:
    from engine.screening import ScreeningSession

    with ScreeningSession.open(models, tmp_path / "bob", "Bob") as other:
        for decision in ("reject", "select"):
            other.decide(decision, reasons=["interior"])

    async def scenario(session: Session) -> None:
        tab = await begin(session, models, tmp_path / "ada")
        bar = tab.review_bar

        async def choose(box: Any, value: str) -> None:
            before = tab.scene
            box.setCurrentIndex(box.findData(value))
            box.activated.emit(box.currentIndex())
            await until(lambda: tab.scene is not before and seen(tab))

        for key in (Key.Key_Y, Key.Key_N, Key.Key_Y):
            await do(session, key)
        await do(session, Key.Key_R)
        assert bar.isVisible() and bar.count.text() == "1 of 5" and tab.title.text() == "model_0.glb"
        await choose(bar.state, "select")
        assert bar.count.text() == "1 of 2" and "Ada: selected" in bar.said.text()
        await do(session, Key.Key_PageDown)
        assert tab.title.text() == "model_2.glb" and bar.count.text() == "2 of 2"
        await do(session, Key.Key_N)
        assert tab.scene.at_end and "end of the review" in tab.banner.text.text()
        await do(session, Key.Key_U)
        assert tab.badge.text() == "Selected" and len(lines(tmp_path / "ada", "selected")) == 2
        before = tab.scene
        bar.add_folder(tmp_path / "bob")
        await until(lambda: tab.scene is not before and seen(tab))
        await choose(bar.state, "disputed")
        assert bar.count.text() == "1 of 2" and "Bob: rejected (interior)" in bar.said.text()
        await do(session, Key.Key_N)  # Bob is right
        assert tab.title.text() == "model_1.glb" and lines(tmp_path / "ada", "rejected")[-1] == "model_0.glb"
        await choose(bar.who, "Bob")
        await choose(bar.state, "skip")
        assert "There is no such item" in tab.banner.text.text()
        await do(session, Key.Key_R)
        assert not bar.isVisible() and tab.title.text() == "model_3.glb"

    drive(scenario)


def test_hundreds_are_swept_as_thumbnails(drive: Drive, models: Path) -> None:
    write_box(models / "model_5.glb", flip=True)
    (models / "model_6.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing")

    async def scenario(session: Session) -> None:
        tab = await begin(session, models)
        grid, view = tab.grid, tab.grid.view

        async def after(action: Any) -> None:
            before = tab.scene
            action()
            await until(lambda: tab.scene is not before)

        await after(lambda: press(session, Key.Key_V))
        assert tab.stage.currentWidget() is grid and grid.chosen == [0]
        await until(lambda: all(grid.drawn(place) for place in range(7)))
        assert grid.cells.pixmap(models / "model_3.glb").width() == 192
        assert "point inwards" in grid.cells.said(5) and grid.cells.pixmap(models / "model_6.glb") is None
        QTest.keyClick(view, Key.Key_Right)
        QTest.keyClick(view, Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
        assert sorted(grid.chosen) == [1, 2]
        await after(lambda: press(session, Key.Key_N))
        assert lines(models, "rejected") == ["model_1.glb", "model_2.glb"] and grid.chosen == [3]
        view.selectAll()
        press(session, Key.Key_1)
        await after(lambda: press(session, Key.Key_Y))
        assert len(lines(models, "selected")) == 7 and lines(models, "rejected") == []
        assert [entry["unseen"] for entry in log(models) if entry.get("unseen")] == [True]  # the torn one
        assert log(models)[-1]["reasons"] == ["interior"]
        await after(lambda: press(session, Key.Key_U))
        assert lines(models, "selected") == [] and lines(models, "rejected") == ["model_1.glb", "model_2.glb"]
        await after(lambda: press(session, Key.Key_U))
        assert lines(models, "rejected") == []
        grid.order.setCurrentIndex(grid.order.findData("inward"))
        grid.order.activated.emit(0)
        await until(lambda: grid.cells.order[0] == 5)
        grid.order.setCurrentIndex(grid.order.findData("alike"))
        grid.order.activated.emit(0)
        await until(lambda: grid.cells.order[0] != 5)
        view.setCurrentIndex(grid.cells.index(grid.cells.order.index(4)))
        await after(lambda: QTest.keyClick(view, Key.Key_Return))
        await until(lambda: seen(tab))
        assert tab.title.text() == "model_4.glb" and tab.stage.currentWidget() is tab.view
        await do(session, Key.Key_Y)
        assert lines(models, "selected") == ["model_4.glb"]

    async def again(session: Session) -> None:
        tab = await begin(session, models)
        press(session, Key.Key_V)
        await until(lambda: tab.scene.sweep is not None)
        assert len(tab.grid.cells.thumbnails) == 7  # they were kept

    drive(scenario)
    drive(again)


def test_a_thousand_thumbnails_scroll_smoothly(qapp: Any, tmp_path: Path) -> None:
    from engine.screening import Thumbnail, read_items
    from engine.screening.thumbnails import make_thumbnail
    from widgets.screen.contents import Sweep
    from widgets.screen.grid import Grid

    write_box(tmp_path / "box.glb")
    (tmp_path / "list.txt").write_text("".join(f"model_{number}.glb\n" for number in range(1000)))
    items = read_items(tmp_path / "list.txt").items
    made = make_thumbnail(tmp_path / "box.glb")
    grid = Grid()
    grid.resize(900, 700)
    wanted: list[list[Path]] = []
    grid.wanted.connect(wanted.append)
    grid.show()
    begun = time.perf_counter()
    grid.show_sweep(Sweep(items, {}, {item.path: made for item in items[::2]}), 0)
    QTest.qWait(200)
    assert time.perf_counter() - begun < 2 * busy()
    assert wanted[-1][:2] == [items[1].path, items[3].path]
    bar, longest = grid.view.verticalScrollBar(), 0.0
    for step in range(40):
        begun = time.perf_counter()
        bar.setValue(bar.maximum() * step // 40)
        grid.view.viewport().repaint()
        longest = max(longest, time.perf_counter() - begun)
    assert longest < 0.15 * busy()
    QTest.qWait(200)
    first = int(wanted[-1][0].stem.split("_")[1])
    assert first > 700 and len(wanted[-1]) == 500, "what is on the screen comes first"
    grid.cells.add(items[1].path, Thumbnail(b"", "torn"))
    grid.close()
    grid.deleteLater()


def test_four_sides_are_seen_at_once_from_model_to_model(drive: Drive, tmp_path: Path) -> None:
    write_box(tmp_path / "1_box.glb")
    write_box(tmp_path / "2_front.glb", faces=[10, 11])

    def covered(view: Any) -> list[float]:
        """Of each quarter: front, right, back, top."""
        view.canvas.ren_win.Render()
        picture = view.canvas.screenshot(None, return_img=True).astype(int)
        rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
        quarters = [picture[i * rows :, j * columns :][:rows, :columns] for i in (0, 1) for j in (0, 1)]
        return [float((np.abs(q - q[:, :1]).max(2) > 12).mean()) for q in quarters]

    async def scenario(session: Session) -> None:
        tab = await begin(session, tmp_path, tmp_path / "decisions")
        press(session, Key.Key_Q)
        assert tab.buttons["four"].isChecked()
        assert min(covered(tab.view)) > 0.1
        await do(session, Key.Key_N)
        front, right, back, top = covered(tab.view)
        assert front > 0.1 and max(right, back, top) < 0.02  # there is nothing behind it
        press(session, Key.Key_I)
        press(session, Key.Key_I)
        press(session, Key.Key_Q)
        assert not tab.view.four and drawn_share(tab.view) > 0.05

    drive(scenario)


def test_agreement_with_a_gold_set_is_shown(drive: Drive, models: Path, tmp_path: Path) -> None:
    gold = tmp_path / "known.csv"
    gold.write_text("item,decision\nmodel_0.glb,select\nmodel_1.glb,select\nmodel_2.glb,reject\nmodel_3.glb,reject\n")

    async def scenario(session: Session) -> None:
        tab = session.window.screen_tab
        tab.start.take_gold(gold)
        await begin(session, models, tmp_path / "decisions")
        assert tab.side.gold.text() == "Gold set: none decided yet"
        for key in (Key.Key_Y, Key.Key_N, Key.Key_N, Key.Key_N):
            await do(session, key)
        assert tab.side.gold.text() == "Gold set: 3 of 4 (75 %), κ 0.50"

    drive(scenario)

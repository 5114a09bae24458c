"""The Evaluate tab: its parts with values made by hand, and whole evaluations in the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QHBoxLayout, QPushButton, QToolButton, QWidget

from app.evaluate_session import engine_options
from app.settings import Settings
from app.window import Session
from engine.core.progress import Progress
from engine.evaluation.metrics import METRICS
from engine.evaluation.pairs import find_pairs
from engine.evaluation.report import write_report
from engine.evaluation.study import Begun
from engine.meshes.mesh import Mesh
from tests.engine.evaluation.models import write_study
from tests.gui import driving
from tests.gui.driving import activate
from widgets.evaluate import TRUTH, Choice, EvaluateTab, Found, Opened, Pace, Sample
from widgets.evaluate.grid import Cell, Grid, Line
from widgets.evaluate.words import verdict
from widgets.main_window import MainWindow
from widgets.viewport import Viewport, link

QUICK = Choice(without=tuple(k for k in METRICS if k not in ("f_score", "chamfer", "elevation_error")), workers=1)


@pytest.fixture
def window(window: MainWindow) -> MainWindow:
    window.show_tab(5)
    return window


async def until(condition: Callable[[], Any], seconds: float = 240) -> None:
    await driving.until(condition, seconds)


def said(tab: EvaluateTab) -> str:
    return tab.banner.text.text() if tab.banner.isVisible() else ""


def names(tab: EvaluateTab) -> list[str]:
    return [tab.model.at(row).name for row in range(tab.model.rowCount())]


def box() -> Mesh:
    found = trimesh.creation.box((0.5, 0.8, 0.6))
    return Mesh(found.vertices.astype("float32"), found.faces.astype("int32"))


def place(viewport: Viewport) -> list[float]:
    camera = viewport.camera
    return [camera.azimuth, camera.elevation, camera.distance, *camera.target]


def apart(first: Mesh, second: Mesh) -> float:
    """How far the boxes of two meshes are from each other."""
    return float(np.abs(first.bounds - second.bounds).max())


FIGURES = {"a": (0.5, 0.9), "b": (0.6, 0.5), "c": (0.7, 0.8)}
"""F-scores before and after."""


def results(figures: dict[str, tuple[float, float]] = FIGURES) -> dict[str, Any]:
    """What `write_report` gives for these F-scores, and PSNR to make two measures."""
    from engine.evaluation.statistics import compare, mean_of

    data: dict[str, Any] = {"labels": ["zero", "tuned"], "metrics": ["f_score", "chamfer"], "unavailable": {}}
    columns = dict(zip(data["labels"], zip(*figures.values(), strict=True), strict=True))
    summary = {label: vars(mean_of(values)) for label, values in columns.items()}
    paired = {}
    for key in data["metrics"]:
        found = compare(columns["zero"], columns["tuned"], higher_is_better=METRICS[key].higher_is_better)
        paired[key] = vars(found) | {"difference": vars(found.difference)}
    data["summary"] = {label: {"f_score": mean, "chamfer": mean} for label, mean in summary.items()}
    return data | {"paired": {"tuned": paired}, "made": "2026-01-01T00:00:00+00:00"}


def opened(tab: EvaluateTab, done: bool = True) -> None:
    def found(name: str, at: int) -> Found:
        value = FIGURES[name][at]
        return Found(f"/{at}/{name}.ply", {"f_score": value, "chamfer": value}, np.eye(4).tolist() if done else None)

    rows = [Sample(name, f"/models/{name}.ply", {"zero": found(name, 0), "tuned": found(name, 1)}) for name in FIGURES]
    rows.append(Sample("d", "/models/d.ply", {"zero": Found("/0/d.ply", problem="It is torn."), "tuned": Found()}))
    sets = [Path("/zero"), Path("/tuned")]
    tab.show_opened(
        Opened(Path("/models"), sets, Path("/out"), ("zero", "tuned"), rows, results=results() if done else None)
    )


# -- two viewports -------------------------------------------------------------------------------------------


def test_linked_viewports_show_the_same_from_the_same_side(qtbot) -> None:
    both = QWidget()
    qtbot.addWidget(both)
    row = QHBoxLayout(both)
    first, second = Viewport(tools=("home", "plain")), Viewport()
    for viewport in (first, second):
        row.addWidget(viewport)
        viewport.show_mesh(box())
    both.resize(800, 400)
    both.show()
    qtbot.waitExposed(both)
    both.activateWindow()
    qtbot.waitUntil(both.isActiveWindow)
    try:
        first.look_from(80, 10)
        second.set_wireframe(True)
        tie = link(first, second)
        assert place(second) == place(first) and not second.wireframe
        canvas, middle = second._canvas, QPoint(100, 100)
        before = place(first)
        for button, moved in ((Qt.MouseButton.LeftButton, slice(0, 2)), (Qt.MouseButton.RightButton, slice(3, 6))):
            QTest.mousePress(canvas, button, pos=middle)
            QTest.mouseMove(canvas, middle + QPoint(40, 30))
            QTest.mouseRelease(canvas, button, pos=middle + QPoint(40, 30))
            assert place(first) == place(second) and place(first)[moved] != before[moved]
        none = Qt.MouseButton.NoButton
        wheel = QWheelEvent(
            QPointF(middle), QPointF(middle), QPoint(), QPoint(0, 240), none, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(canvas, wheel)
        assert place(first) == place(second) and place(first)[2] < before[2]
        for key, azimuth, elevation in (("1", 0, 0), ("3", 90, 0), ("7", 0, 90), ("R", 30, 20)):
            first.setFocus()
            qtbot.keyClick(first, key)
            assert place(second) == place(first) and place(first)[:2] == [azimuth, elevation]
        qtbot.keyClick(first, Qt.Key.Key_N)
        qtbot.keyClick(first, Qt.Key.Key_W)
        qtbot.keyClick(first, Qt.Key.Key_G)
        assert second.style_shown == "normals" and second.wireframe and second.grid
        second.set_style("plain")
        assert first.chosen_style == "plain" and place(first) == place(second)
        tie.unlink()
        second.look_top()
        second.set_style("normals")
        assert place(first) != place(second) and first.chosen_style == "plain"
    finally:
        first.close()
        second.close()


# -- words, table, overview ----------------------------------------------------------------------------------


def test_what_came_out_is_said_in_plain_words() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.4, 0.6, 98)

    def told(gain: float, count: int = 98, key: str = "f_score") -> str:
        after = before + gain + rng.normal(0, 0.05, 98)
        made = results({str(i): (a, b) for i, (a, b) in enumerate(zip(before[:count], after[:count], strict=True))})
        return verdict(made, key, "tuned")

    clear = told(0.05)
    assert clear.startswith("tuned is better than zero in F-score on ") and "of 98 models, by 0.04" in clear
    assert "95 % confidence of the difference +0.03" in clear and clear.endswith("; p = 5.0e−12).")
    assert told(0.05, key="chamfer").startswith("tuned is worse than zero in Chamfer distance on ")
    assert told(0.0).startswith("No clear difference: ")
    few = told(0.2, 3)
    assert few.endswith("on average. Too few models for an interval or a test.") and "p " not in few


def test_the_table_sorts_searches_and_walks_to_the_extremes(window, qtbot) -> None:
    tab = window.evaluate
    opened(tab)
    assert names(tab) == ["a", "b", "c", "d"] and "tuned lacks 1: d" in tab.setup.note.text()
    assert [tab.model.cell(tab.model.find("a"), at) for at in range(2, 5)] == ["0.5000", "0.9000", "+0.4000"]
    assert tab.model.cell(tab.model.find("d"), 2) == "failed" and tab.model.cell(tab.model.find("d"), 3) == "missing"
    header = tab.table.horizontalHeader()
    for expected in (["a", "c", "b", "d"], ["b", "c", "a", "d"]):
        at = QPoint(header.sectionViewportPosition(4) + 5, header.height() // 2)
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)
        assert names(tab) == expected
    tab.model.sort_by(1, descending=False)
    alt = Qt.KeyboardModifier.AltModifier
    walks = ((Qt.Key.Key_I, "a"), (Qt.Key.Key_I, "c"), (Qt.Key.Key_D, "b"), (Qt.Key.Key_B, "a"), (Qt.Key.Key_W, "b"))
    for key, name in walks:
        qtbot.keyClick(window, key, alt)
        assert tab.table.current.name == name == tab.compare.name.text()
    qtbot.keyClick(window, Qt.Key.Key_PageDown, alt)  # of the Chamfer distance less is better
    assert tab.measure == "chamfer" and tab.overview.current == "chamfer"
    qtbot.keyClick(window, Qt.Key.Key_B, alt)
    assert tab.table.current.name == "b"
    qtbot.keyClick(window, Qt.Key.Key_Down, alt)
    assert tab.table.current.name == "c"
    qtbot.keyClick(window, Qt.Key.Key_4, alt)
    assert names(tab) == ["d"] and tab._filters.button(3).text() == "Failed 1"
    tab.table.choose("d")
    assert "zero: It is torn." in tab.compare.problem.text()
    qtbot.keyClick(window, Qt.Key.Key_1, alt)
    qtbot.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClicks(tab.search, "torn")
    qtbot.waitUntil(lambda: names(tab) == ["d"])
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not tab.search.text()


def test_the_overview_has_means_intervals_and_tests(window, qtbot) -> None:
    tab = window.evaluate
    opened(tab)
    assert list(tab.overview.headings) == ["zero", "tuned", "Difference", "Better", "p"]
    line = tab.overview.lines[0]
    assert [cell.text for cell in line.cells] == ["0.6000", "0.7333", "+0.1333", "2 of 3", "too few"]
    assert line.cells[0].small == "too few" and line.cells[1].bold and "Too few" in tab.verdict.text()
    tab.overview.setFocus()
    qtbot.keyClick(tab.overview, Qt.Key.Key_Down)
    assert tab.measure == "chamfer" and tab.overview.lines[1].cells[0].bold and "worse" in tab.verdict.text()
    assert [cell.text for cell in tab.compare.figures.lines[0].cells] == ["0.5000", "0.9000", "+0.4000"]
    qtbot.keyClick(window, Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier)
    assert tab.compare.left.label == "tuned"
    opened(tab, done=False)
    assert (
        not tab.overview.isVisible() and tab.totals.text() == "0 of 7 predictions measured, 4 models, 2 sets, 1 failed"
    )


def test_many_sets_leave_room_for_the_names_of_the_measures(qtbot) -> None:
    grid = Grid("Means")
    qtbot.addWidget(grid)
    sets = ["zero-shot", "fine-tuned", "control", "with-depth", "Difference"]
    cells = [Cell("0.8318", "0.810 … 0.854", bold=True) for _ in sets]
    grid.set_content(sets, [Line("f", "F-score ↑", cells)])
    grid.resize(1200, 100)
    assert grid._columns()[1]
    grid.resize(460, 100)
    columns, intervals = grid._columns()
    assert columns[0].left() > 80 and not intervals
    assert not grid.grab().isNull()


def test_the_empty_tab_says_what_to_do(window, qtbot, tmp_path) -> None:
    tab, asked = window.evaluate, []
    tab.start_requested.connect(lambda: asked.append("start"))
    tab.setup.places_changed.connect(lambda *places: asked.append(places))
    assert tab.invitation.isVisible() and not tab.setup.start.isEnabled()
    qtbot.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert not asked and "Choose the folder of the true models" in said(tab)
    silent = [b for b in tab.findChildren(QToolButton) + tab.findChildren(QPushButton) if not b.toolTip()]
    assert not [b for b in silent if b.isVisible() and b.parent() is not tab.banner]
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir()
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(one)), QUrl.fromLocalFile(str(two))])
    tab.take(mime)
    assert asked.pop() == (one, [two], None)
    tab.setup.show_places(one, [two], None)
    mime.setUrls([QUrl.fromLocalFile(str(three))])
    tab.take(mime)
    assert asked.pop() == (one, [two, three], None)
    tab.setup.predictions.setFocus()
    tab.setup.predictions.setCurrentRow(1)
    qtbot.keyClick(tab.setup.predictions, Qt.Key.Key_Up, Qt.KeyboardModifier.ControlModifier)
    assert asked.pop() == (one, [three, two], None) and tab.setup.predictions.currentRow() == 0
    qtbot.keyClick(tab.setup.predictions, Qt.Key.Key_Delete)
    assert asked.pop() == (one, [two], None)
    assert tab.minimumSizeHint().width() <= 1280 and tab.minimumSizeHint().height() <= 700


def test_progress_says_how_long_it_takes_and_makes_room(window, qtbot) -> None:
    tab = window.evaluate
    window.resize(1280, 800)
    opened(tab, done=False)
    tab.begin()
    assert not tab.setup_panel.isVisible() and tab.stop.isVisible()
    tab.take_progress([("zero", "a", Found("/0/a.ply", {"f_score": 0.25}, [[1]]))], Pace("measure", 3, 7, "a", 130.0))
    assert tab.pace.text() == "about 2 min left" and tab.model.cell(tab.model.find("a"), 2) == "0.2500"
    assert "42 %" in window.tabs.button(5).text() and tab.totals.text().startswith("2 of 7 predictions")
    tab.end("Stopped.", "info")
    assert tab.setup_panel.isVisible() and window.tabs.button(5).text() == "Evaluate"


def test_missing_weights_lead_to_the_page_of_models(drive) -> None:
    async def scenario(session: Session) -> None:
        session.window.show_tab(5)
        setup = session.window.evaluate.setup
        await until(lambda: setup.get["clip"].isVisible())
        assert not setup.metrics["clip"].isEnabled() and "CLIP" in setup.metrics["clip"].toolTip()
        asked: list[str] = []
        session.window.evaluate.models_requested.connect(asked.append)
        setup.get["clip"].click()
        assert asked == ["clip-vit-b-32"]
        setup.clip.set_path(Path("/weights/clip.bin"))
        setup.clip.edited.emit("/weights/clip.bin")
        assert setup.metrics["clip"].isEnabled() and setup.choice().clip == "/weights/clip.bin"

    drive(scenario)


# -- for real ------------------------------------------------------------------------------------------------


def test_an_evaluation_is_stopped_and_goes_on(drive, tmp_path, monkeypatch) -> None:
    models, worse, better = write_study(tmp_path, 3)
    for folder in (worse, better):
        (folder / "house 2.ply").unlink()
    Image.new("RGB", (64, 64), (200, 60, 40)).save(models / "house 0.png")
    out = tmp_path / "models-evaluation"
    looked_at: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: looked_at.append(url.toLocalFile()))
    copy = tmp_path / "copy.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(copy), ""))

    async def begin(session: Session) -> None:
        await until(session.window.isVisible)
        session.window.show_tab(5)
        tab = session.window.evaluate
        compare = tab.compare
        tab.setup.set_choice(QUICK)
        tab.setup.places_changed.emit(models, [worse, better], None)
        await until(lambda: len(tab.model.rows) == 3)
        assert "better lacks 1: house 2" in tab.setup.note.text() and tab.setup.folder_path == out
        tab.table.choose("house 0")
        await until(lambda: [side.mesh_key for side in compare.sides] == [("house 0", "worse"), ("house 0", "better")])
        assert compare.left.figure.text() == "not yet aligned"
        compare.left.pick(TRUTH)
        compare.left.picked.emit()
        await until(lambda: compare.left.mesh_key == ("house 0", TRUTH))
        assert not compare.left.figure.text()
        compare.left.pick("worse")
        compare.left.picked.emit()
        tab.setup.start.click()
        await until(lambda: any(found.settled for row in tab.model.rows for found in row.predictions.values()))
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_X)
        await until(lambda: session.evaluate.job is None)
        assert "to go. Evaluate goes on from here." in said(tab) and not (out / "results.json").exists()
        heard: list[Progress] = []
        await activate(session)
        QTest.keyClick(session.window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
        taken = tab.take_progress
        monkeypatch.setattr(tab, "take_progress", lambda found, pace: (heard.append(pace), taken(found, pace)))
        await until(lambda: session.evaluate.job is not None)
        await until(lambda: session.evaluate.job is None)
        assert next(pace for pace in heard if pace is not None).done > 0
        assert "Finished: 4 predictions measured" in said(tab) and tab.results["metrics"] == ["f_score", "chamfer"]
        assert tab.overview.isVisible() and "better is better than worse in F-score on 2 of 2" in tab.verdict.text()
        # The two meshes of the chosen sample, where they lie on the truth, seen from one side.
        await until(lambda: [side.mesh_key for side in compare.sides] == [("house 0", "worse"), ("house 0", "better")])
        await until(lambda: compare.picture.image is not None)
        left, right = (side.viewport for side in compare.sides)
        await until(lambda: not compare.left.figure.text().startswith("not") and len(session.evaluate._meshes) >= 5)
        truth = session.evaluate._meshes[str(models / "house 0.ply"), ""]
        for viewport, most in ((right, 0.06), (left, 0.2)):
            await until(lambda viewport=viewport, most=most: apart(viewport.mesh, truth) < most)
        left.look_side()
        assert place(left) == place(right)
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_L)
        right.look_top()
        assert place(left) != place(right) and compare.link is None
        QTest.keyClick(tab.table, Qt.Key.Key_L)
        before = place(left)
        assert place(right) == before
        QTest.keyClick(session.window, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
        await until(lambda: [side.mesh_key[0] for side in compare.sides if side.mesh_key] == ["house 1"] * 2)
        assert place(left) == place(right) == before  # to see what differs, not where it stands
        QTest.keyClick(session.window, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
        await until(lambda: "has no prediction of house 2" in compare.right.note.text())
        tab.export_csv()
        await until(lambda: copy.exists() and str(copy) in said(tab))
        assert copy.read_bytes() == (out / "results.csv").read_bytes()
        tab.open_browser()
        tab.show_folder()
        await until(lambda: looked_at == [str(out / "report.html"), str(out)])

    drive(begin)
    assert Settings.load().evaluate["predictions"] == [str(worse), str(better)]


def test_an_earlier_evaluation_is_opened_with_its_report(drive, tmp_path) -> None:
    models, worse, better = write_study(tmp_path, 2)
    out = tmp_path / "models-evaluation"
    out.mkdir()
    pairs, rows = find_pairs(models, [worse, better]), {}
    for (label, name), _ in pairs.predictions.items():
        figures = {"f_score": 0.9 if label == "better" else 0.6}
        alignment = {"matrix": np.eye(4).tolist(), "scale": 1.0, "inliers": 0.9}
        rows[label, name] = {"figures": figures, "alignment": alignment, "problem": None, "notes": []}
    write_report(out, pairs, ["f_score"], {}, rows, out / "pictures")
    Begun(models, (worse, better), engine_options(QUICK)).write(out)

    async def again(session: Session) -> None:
        await until(session.window.isVisible)
        session.window.show_tab(5)
        tab = session.window.evaluate
        tab.setup.folder.chosen.emit(out)
        await until(lambda: tab.results is not None)
        assert tab.setup.models_path == models and tab.setup.choice() == replace(QUICK, workers=0)
        assert tab.overview.lines[0].cells[-2].text == "2 of 2"
        # The report stands in the window.
        tab.show_side(1)
        await until(lambda: tab.report.isVisible() and tab.report.page is not None)
        await until(lambda: tab.report.page.title() == "Evaluation: worse against better")
        tab.show_side(0)
        # Other sets make other pairs, in another folder; the folder of the first brings it back.
        tab.setup.places_changed.emit(models, [better], out)
        await until(lambda: tab.setup.folder_path == tmp_path / "models-evaluation-2")
        assert tab.results is None and not tab.overview.isVisible() and tab.table.isColumnHidden(4)
        tab.setup.folder.chosen.emit(out)
        await until(lambda: tab.results is not None and tab.setup.prediction_paths == [worse, better])

    drive(again)


def test_what_goes_wrong_is_said_with_what_to_do(drive, tmp_path) -> None:
    models, worse, _ = write_study(tmp_path, 1)
    empty = tmp_path / "empty"
    empty.mkdir()

    async def scenario(session: Session) -> None:
        await until(session.window.isVisible)
        session.window.show_tab(5)
        tab = session.window.evaluate
        for places, text in (
            ((tmp_path / "nowhere", [worse], None), "There is no folder"),
            ((empty, [worse], None), "holds no models"),
            ((models, [empty], None), "None of the predictions has the name of a model"),
        ):
            tab.setup.places_changed.emit(*places)
            await until(lambda text=text: text in said(tab))
            assert tab.invitation.isVisible()
        tab.setup.set_choice(Choice(scheduler="tcp://127.0.0.1:1"))
        tab.setup.places_changed.emit(models, [worse], tmp_path / "out")
        await until(lambda: len(tab.model.rows) == 1)
        tab.request_start()
        await until(lambda: session.evaluate.job is None and "No scheduler answers" in said(tab))
        assert [b.text() for b in tab.banner.findChildren(QPushButton)] == ["Try again"]
        tab.setup.set_choice(QUICK)
        (tmp_path / "file").write_text("")
        tab.setup.places_changed.emit(models, [worse], tmp_path / "file" / "out")
        await until(lambda: not said(tab))
        tab.request_start()
        await until(lambda: "cannot be written" in said(tab))
        tab.setup.set_choice(Choice(without=tuple(METRICS)))
        tab.request_start()
        await until(lambda: "No measure was chosen" in said(tab))
        (worse / "house 0.ply").unlink()
        tab.request_start()
        await until(lambda: "None of the predictions" in said(tab) or "No measure" in said(tab))

    drive(scenario)

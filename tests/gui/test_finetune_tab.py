"""The Fine-tune tab: its parts with values made by hand, and whole small runs in the window."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QDragEnterEvent, QDropEvent, QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QToolButton

from app.settings import Settings
from app.window import Session
from engine.core.errors import InputError
from engine.core.progress import Progress
from engine.surface import load_surface, reconstruct
from engine.training import FineTuneOptions, RunState
from tests.engine.training.tiny_run import TINY, small
from tests.gui import driving
from tests.gui.driving import activate
from widgets.finetune import FineTuneTab, Holding, Look, Opened
from widgets.finetune.record import Pace, Record
from widgets.main_window import MainWindow

CTRL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier
DRAW = "import sys; from pathlib import Path; from tests.rendered_models import write_renders; "
DRAW += "write_renders(Path(sys.argv[1]), [0, 3, 6, 9], size=40)"


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models for training and one for validation; drawn by another process, as two kinds of OpenGL do not go
    together in one."""
    folder = tmp_path_factory.mktemp("renders") / "houses"
    subprocess.run([sys.executable, "-c", DRAW, str(folder)], check=True, cwd=Path(__file__).parents[2])
    return folder


@pytest.fixture
def own_renders(renders: Path, tmp_path: Path) -> Path:
    """A copy to be changed, or to have runs beside it."""
    return Path(shutil.copytree(renders, tmp_path / "houses"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reconstruct.CONFIGS, TINY.name, TINY)


@pytest.fixture
def window(window: MainWindow) -> MainWindow:
    window.show_tab(4)
    return window


async def until(condition: Callable[[], Any], seconds: float = 240) -> None:
    await driving.until(condition, seconds)


async def press(session: Session, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    await activate(session)
    tab = session.window.finetune
    QTest.keyClick(tab.losses.chart if modifier == Qt.KeyboardModifier.NoModifier else session.window, key, modifier)


def said(tab: FineTuneTab) -> str:
    return tab.banner.text.text() if tab.banner.isVisible() else ""


def action(tab: FineTuneTab, name: str) -> QPushButton:
    """A button of the message in place; one that has just come is shown a moment later."""
    old = Qt.WidgetAttribute.WA_WState_ExplicitShowHide
    found = [b for b in tab.banner.findChildren(QPushButton) if b.isVisible() or not b.testAttribute(old)]
    return next(b for b in found if b.text() == name)


def step(tab: FineTuneTab) -> int:
    return int(tab.record.last_step)


def rows(steps: range, **values: float) -> list[dict[str, Any]]:
    return [{"kind": "train", "step": at, "epoch": at / 100, "loss": 1 / (1 + at), **values} for at in steps]


def validation(at: int, f_score: float) -> dict[str, Any]:
    return {"kind": "validate", "step": at, "f_score": f_score, "mask_iou": 0.8, "psnr": 20.0, "score": f_score}


def opened(tab: FineTuneTab, tmp_path: Path, **more: Any) -> None:
    usual = {"holding": Holding(8, 2, 256, True), "run": RunState()}
    tab.show_opened(Opened(tmp_path / "houses", tmp_path / "run", **usual | more))


def hover(widget: Any, share: float) -> None:
    at = QPointF(widget.width() * share, widget.height() / 2)
    none, keys = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    moved = QMouseEvent(QMouseEvent.Type.MouseMove, at, widget.mapToGlobal(at), none, none, keys)
    QApplication.sendEvent(widget, moved)


# -- what is shown -------------------------------------------------------------------------------------------


def test_the_empty_tab_says_what_to_do_and_starts_nothing(window, qtbot) -> None:
    tab, asked = window.finetune, []
    tab.start_requested.connect(lambda: asked.append("start"))
    assert tab.invitation.isVisible() and not tab.setup.start.isEnabled()
    qtbot.keyClick(window, Qt.Key.Key_R, CTRL)
    qtbot.keyClick(window, Qt.Key.Key_Return, CTRL)
    assert not asked and "Choose a folder of rendered models first" in said(tab)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not said(tab)
    silent = [b for b in tab.findChildren(QToolButton) + tab.findChildren(QPushButton) if not b.toolTip()]
    assert not [b for b in silent if b.isVisible()]
    assert tab.minimumSizeHint().width() <= 1280 and tab.minimumSizeHint().height() <= 700


def test_folders_of_renders_and_of_runs_are_dropped_here(window, tmp_path) -> None:
    tab, taken = window.finetune, []
    tab.setup.source.chosen.connect(lambda path: taken.append(("renders", path)))
    tab.setup.folder.chosen.connect(lambda path: taken.append(("run", path)))
    run = tmp_path / "run"
    run.mkdir()
    (run / "finetune.json").write_text("{}")
    for path in (tmp_path, run):
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path))])
        where, act = QPoint(400, 400), Qt.DropAction.CopyAction
        button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(window, QDragEnterEvent(where, act, mime, button, keys))
        QApplication.sendEvent(window, QDropEvent(QPointF(where), act, mime, button, keys))
    assert taken == [("renders", tmp_path), ("run", run)] and window.pages.currentWidget() is tab
    mime.setText(str(tmp_path))
    assert tab.source_in(mime) is not None
    opened(tab, tmp_path)
    tab.begin(0)
    tab.take(mime)
    assert len(taken) == 2 and "Stop the run first" in said(tab)


def test_every_option_is_in_the_form_with_its_meaning_and_the_studys_value(window, qtbot) -> None:
    tab, form = window.finetune, window.finetune.setup.form
    assert form.values() == FineTuneOptions() and not form.reset.isVisible()
    assert {f.name for f in fields(FineTuneOptions)} - {"weights", "config"} == form.fields.keys()
    assert "Rays of a batch" in form.fields["rays"].toolTip() and "In the study 512." in form.fields["rays"].toolTip()
    assert all(field.toolTip() for field in form.fields.values())
    assert form.fields["rate"].text() == "0.0002" and form.fields["steps"].text() == "No limit"
    assert form.fields["rays"].isVisible() and not form.fields["eikonal"].isVisible()
    form.more.click()
    assert form.fields["eikonal"].isVisible()
    changed: list[bool] = []
    tab.setup.changed.connect(lambda: changed.append(True))
    rate = form.fields["rate"]
    rate.setFocus()
    rate.lineEdit().selectAll()
    qtbot.keyClicks(rate, "5e-5")
    qtbot.keyClick(rate, Qt.Key.Key_Return)
    form.fields["steps"].setValue(700)
    assert form.values() == FineTuneOptions(rate=5e-5, steps=700) and form.differing == ["steps", "rate"] and changed
    form.more.click()
    form.fields["halve_at"].setText("5000 9000")
    form.fields["halve_at"].editingFinished.emit()
    assert form.values().halve_at == (5000, 9000) and "1 changed" in form.more.text()
    form.reset.click()
    assert form.values() == FineTuneOptions()
    for exact in (
        FineTuneOptions(rate=1.23456e-4, seed=2**32 - 1, sharpness=64.0, cache=Path("/cache"), watch=False),
        FineTuneOptions(weights="/weights/own.safetensors", generator="/weights/views.safetensors"),
        FineTuneOptions(config="published", predicted_share=0.3, depth=0.25, mask_loss="l1", precision="bf16"),
    ):
        form.set_values(exact)
        assert form.values() == exact
    assert form.start.currentText() == "Nothing: published configuration"
    form.start.setCurrentIndex(form.start.findData("file"))
    form.file.set_path(None)
    with pytest.raises(InputError, match="No file of weights is chosen"):
        form.values()


def test_what_the_folder_holds_and_lacks_stands_beside_it(window, tmp_path) -> None:
    tab, asked = window.finetune, []
    tab.start_requested.connect(lambda: asked.append("start"))
    problems = tuple(f"models/house-{n}/view_3.png is missing" for n in range(6))
    opened(tab, tmp_path, holding=Holding(8, 2, 256, True, problems))
    assert tab.setup.note.text() == "8 models for training, 2 for validation, 256 px"
    assert "house-0/view_3.png is missing" in tab.setup.problems.text() and "2 more" in tab.setup.problems.text()
    tab.request_start()
    assert not asked and "leave them out" in said(tab)
    action(tab, "Leave them out").click()
    assert asked == ["start"] and tab.setup.form.values().skip_faulty
    assert "left out" in tab.setup.problems.text()
    lacking = InputError("There are no models in /houses.", advice="Give one{}.", options=[" with --skip-faulty"])
    opened(tab, tmp_path, holding=Holding(error=lacking.plain))
    assert "There are no models" in said(tab) and "--" not in said(tab)
    tab.request_start()
    assert asked == ["start"]
    opened(tab, tmp_path, holding=Holding(3, 0, 64))
    assert "None is held out" in tab.setup.note.text()


def test_a_run_of_the_past_shows_its_curves_notes_and_meshes(window, qtbot, tmp_path) -> None:
    tab, wanted = window.finetune, []
    tab.look_wanted.connect(wanted.append)
    log = [validation(0, 0.3), *rows(range(10, 101, 10), rgb=0.2), validation(100, 0.6)]
    log.append({"kind": "rollback", "step": 130, "message": "At step 130 it broke. Back to step 100."})
    log += [*rows(range(110, 201, 10), rgb=0.1), validation(200, 0.5)]
    looks = [Look("models/a", 200, {"f_score": 0.55, "psnr": 21.2}), Look("models/b", 200, {"f_score": 0.45})]
    state = RunState(200, 400, True, tmp_path / "surface.safetensors")
    opened(tab, tmp_path, run=state, options=FineTuneOptions(rays=64), rows=log, looks=looks)
    assert tab.setup.form.values().rays == 64 and not tab.setup.form.fields["rays"].isEnabled()
    assert tab.setup.form.fields["steps"].isEnabled() and tab.setup.start.text() == "Go on"
    assert tab.totals.text() == "200 of 400 steps done" and tab.use.isVisible()
    assert [curve.name for curve in tab.losses.chart.drawn] == ["loss", "rgb"]
    assert not tab.losses.toggles["depth"].isVisible() and tab.losses.toggles["rgb"].isVisible()
    assert tab.validations.summary.text() == "F-score 0.500, Mask IoU 0.800, PSNR 20.0 dB; best 0.600 at step 100"
    assert [row.model for row in wanted] == ["models/a"] and tab.details.caption.text().startswith("a, step 200")
    assert tab.model.cell(looks[0], 5) == "21.2" and tab.model.cell(looks[1], 5) == ""
    assert "it broke" in tab.details.log.toPlainText()
    # Values under the mouse, and by keys.
    chart = tab.losses.chart
    chart.grab()
    hover(chart, 0.98)
    assert chart.values_at(chart.at_step) == (200, {"loss": pytest.approx(1 / 201), "rgb": 0.1})
    chart.setFocus()
    qtbot.keyClick(chart, Qt.Key.Key_Left)
    assert chart.at_step == 190
    qtbot.keyClick(window, Qt.Key.Key_2, ALT)
    assert [curve.name for curve in chart.drawn] == ["loss"]
    qtbot.keyClick(chart, Qt.Key.Key_G)
    qtbot.keyClick(chart, Qt.Key.Key_M)
    assert not chart.log and not chart.smooth
    window.grab()
    qtbot.keyClick(window, Qt.Key.Key_L, CTRL)
    assert tab.details.log.isVisible()


def test_the_record_follows_rollbacks_and_runs_that_go_on() -> None:
    record = Record()
    record.extend([validation(0, 0.2), *rows(range(1, 31)), validation(20, 0.7)])
    record.extend(rows(range(21, 26)))  # gone on with, from the checkpoint of step 20
    assert list(record.series("loss").steps) == [*range(1, 21), *range(21, 26)]
    assert record.best_step == 20 and record.figures()["f_score"] == 0.7
    record.add({"kind": "rollback", "step": 25, "message": "Back to step 10."})
    record.extend(rows(range(11, 16)))
    assert record.series("loss").breaks == (25,) and len(record.series("loss").steps) == 30
    assert [note.kind for note in record.notes] == ["rollback"]


def test_the_time_that_is_left_is_said_only_when_it_is_known() -> None:
    pace, now = Pace(validate_every=50), 100.0

    def take(stage: str, done: int, total: int, seconds: float) -> str:
        nonlocal now
        now += seconds
        pace.take(now, Progress(stage, done, total))
        return pace.words()

    assert take("predict", 0, 10, 1) == ""
    assert take("predict", 1, 10, 20) == "about 3 min for the views, then the training"
    take("train", 1, 100, 5)
    assert take("train", 2, 100, 2) == ""
    for done in range(3, 50):
        words = take("train", done, 100, 2)
    assert words == "about 2 min left, without validation"
    take("train", 50, 100, 2)
    take("validate", 1, 2, 30)
    take("validate", 2, 2, 30)
    assert take("validate", 2, 2, 0) == "about 3 min left"  # 50 steps of 2 s and the last validation
    pace.interrupt()
    take("train", 51, 100, 5000)
    assert take("train", 52, 100, 2) == "about 3 min left"  # a pause is no pace
    assert take("train", 100, 100, 2) == ""


def test_trouble_is_said_in_place_and_the_end_says_what_to_do(window, qtbot, tmp_path) -> None:
    tab, asked = window.finetune, []
    for name in ("pause", "resume", "stop", "use", "folder", "start"):
        getattr(tab, f"{name}_requested").connect(lambda *args, name=name: asked.append(name))
    opened(tab, tmp_path)
    tab.begin(10)
    assert "Starting" in tab.state.text() and not tab.setup.form.fields["rays"].isEnabled()
    row = {**rows(range(7, 8))[0]}
    tab.take_events([(1.0, Progress("train", 7, 20, "", row))])
    assert tab.totals.text().startswith("Training: step 7 of 20") and "35 %" in window.tabs.button(4).text()
    chart = tab.losses.chart
    for key in (Qt.Key.Key_Space, Qt.Key.Key_U):
        qtbot.keyClick(chart, key)
    tab.set_state("paused")
    qtbot.keyClick(chart, Qt.Key.Key_Space)
    tab.set_state("running")
    qtbot.keyClick(chart, Qt.Key.Key_X)
    qtbot.keyClick(chart, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert asked == ["pause", "resume", "stop", "folder"]
    text = "At step 8 the loss is not a number any more. Back to step 5, with half the rate."
    tab.take_events([(2.0, Progress("train", 5, 20, text, {"kind": "rollback", "step": 8, "message": text}))])
    assert "half the rate" in said(tab) and [note.step for note in tab.record.notes] == [8]
    window.grab()
    tab.end("It is given up. Try a lower rate.", "error", {"Go on": tab.request_start})
    assert "lower rate" in said(tab) and window.tabs.button(4).text() == "Fine-tune"
    action(tab, "Go on").click()
    assert asked[-1] == "start"


# -- for real ------------------------------------------------------------------------------------------------


def test_a_run_is_paused_stopped_used_and_gone_on_with_by_the_next_window(
    drive, own_renders, tiny, tmp_path, monkeypatch
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: looked_at.append(url.toLocalFile()))
    folder = tmp_path / "houses-finetune"
    reached = []

    async def begin(session: Session) -> None:
        session.settings.render = {"folder": str(own_renders)}
        session.window.show_tab(4)
        tab = session.window.finetune
        await until(tab.setup.rendered.isVisible)
        tab.setup.rendered.click()
        await until(lambda: tab.holding is not None)
        assert tab.setup.note.text() == "3 models for training, 1 for validation, 40 px"
        assert tab.setup.folder_path == folder
        tab.setup.form.set_values(
            small(steps=None, epochs=1000.0, validate_models=1, validate_every=12, checkpoint_every=5)
        )
        await press(session, Qt.Key.Key_R, CTRL)
        await until(lambda: step(tab) >= 3 and len(tab.losses.chart.drawn) == 5)
        assert tab.state.text() == "Running" and "Training: step" in tab.totals.text()
        await until(lambda: tab.details.ours.mesh is not None and tab.details.true.mesh is not None)
        assert len(tab.details.true.mesh.faces) > 500
        gap = abs(tab.details.true.mesh.bounds.mean(0)).max()
        assert gap < 0.1  # it stands where the network's stands, about the origin
        await press(session, Qt.Key.Key_Space)
        await until(lambda: tab.state.text() == "Paused" and not session.finetune.job.told)
        held = step(tab)
        await asyncio.sleep(0.5)
        assert step(tab) <= held + 1  # the step that was in work
        await press(session, Qt.Key.Key_Space)
        await until(lambda: step(tab) > max(held, 12) and tab.use.isVisible())
        await until(lambda: tab.details.look.step >= 12 and "left" in tab.pace.text())  # the newest is followed
        assert {"best", "earlier"} <= {row.state for row in tab.model.rows}
        await press(session, Qt.Key.Key_X)
        await until(lambda: said(tab).startswith("Stopped at step"))
        assert tab.setup.start.text() == "Go on"
        action(tab, "Use for reconstruction").click()
        weights = str(folder / "surface.safetensors")
        await until(lambda: session.reconstruct.tab.input.models.value("surface") == weights)
        assert load_surface(weights).config.name == "tiny"
        tab.show_folder()
        await until(lambda: looked_at == [str(folder)])
        reached.append(tab.run.step)

    async def finish(session: Session) -> None:
        await until(session.window.isVisible)
        assert session.reconstruct.tab.input.models.value("surface") == str(folder / "surface.safetensors")
        session.window.show_tab(4)
        tab = session.window.finetune
        await until(lambda: tab.run.resumable and tab.details.ours.mesh is not None)
        assert tab.run.step == reached[0] and tab.model.rows[0].figures["mask_iou"] >= 0
        assert "validation: F-score" in tab.details.log.toPlainText()
        assert tab.setup.form.values().config == "tiny" and not tab.setup.form.fields["rays"].isEnabled()
        tab.setup.form.fields["steps"].setValue(reached[0] + 4)
        tab.request_start()
        await until(lambda: said(tab).startswith(f"Finished: {reached[0] + 4} steps"))
        assert step(tab) == reached[0] + 4
        tab.new_run()
        await until(lambda: tab.setup.folder_path == tmp_path / "houses-finetune-2")
        assert tab.setup.start.text() == "Start" and tab.setup.form.fields["rays"].isEnabled()

    drive(begin)
    assert Settings.load().finetune["folder"] == str(folder)
    drive(finish)


def test_a_window_that_is_closed_stops_at_a_checkpoint(drive, own_renders, tiny, tmp_path) -> None:
    async def scenario(session: Session) -> None:
        session.window.show_tab(4)
        tab = session.window.finetune
        tab.setup.form.set_values(small(steps=None, epochs=1000.0, checkpoint_every=100_000))
        tab.setup.source.chosen.emit(own_renders)
        await until(lambda: tab.holding is not None)
        tab.request_start()
        await until(lambda: step(tab) >= 2)

    drive(scenario)
    folder = tmp_path / "houses-finetune"
    assert len(list(folder.glob("checkpoints/step-*.ckpt"))) == 2  # of the beginning and of the end
    assert load_surface(folder / "surface.safetensors").config.name == "tiny"


def test_faulty_renders_are_named_and_a_run_of_other_options_is_refused(drive, own_renders, tiny, tmp_path) -> None:
    models = sorted((own_renders / "zero12345_narrow" / "models").iterdir())
    (models[0] / "view_2.png").unlink()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "finetune.json").write_text(json.dumps({"options": {"rays": -1}, "data": str(own_renders)}))

    async def scenario(session: Session) -> None:
        session.window.show_tab(4)
        tab = session.window.finetune
        tab.setup.source.chosen.emit(tmp_path / "nowhere")
        await until(lambda: "There is no folder" in said(tab))
        tab.setup.form.set_values(small())
        tab.setup.source.chosen.emit(own_renders)
        await until(lambda: f"{models[0].name}/view_2.png is missing" in tab.setup.problems.text())
        assert tab.setup.note.text().startswith("2 models for training")
        # Depth maps are wanted only by a loss that needs them.
        (models[1] / "view_0_depth_mm.png").unlink()
        tab.setup.form.fields["depth"].setValue(0.5)
        await until(lambda: "view_0_depth_mm.png is missing" in tab.setup.problems.text())
        tab.setup.form.fields["depth"].setValue(0.0)
        await until(lambda: "depth_mm" not in tab.setup.problems.text())
        tab.request_start()
        assert session.finetune.job is None and "cannot be used" in said(tab)
        action(tab, "Leave them out").click()
        await until(lambda: said(tab).startswith("Finished: 6 steps"))
        tab.setup.folder.chosen.emit(tmp_path / "old")
        await until(lambda: "cannot be read" in said(tab))

    drive(scenario)

"""The Models page and the choice of models: alone, and in the whole window with a hub on loopback."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest
from huggingface_hub.utils import close_session
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog, QPushButton

from app.settings import Settings
from app.window import Session
from engine import weights
from engine.core.progress import Progress
from tests import tiny_models
from tests.app.test_published_models import _another_model, _no_weights, _spoilt, _truncated, _with_code
from tests.gui.driving import banner, bring, busy, until
from tests.hub_server import HubServer
from widgets.main_window import MainWindow
from widgets.models import ModelEntry, ModelsPage, bytes_text
from widgets.reconstruct.request import Choice

SURFACE = "one-2-3-45-surface"
ENTRIES = [
    ModelEntry(
        "views", "Built-in", "Draws.", "MIT", "", 13_000_000, state="built in", path=Path("/o"), source="built in"
    ),
    ModelEntry("zero123-xl", "Zero123-XL", "Draws.", "MIT", "One-2-3-45/code", 15_500_000_000),
    ModelEntry("loftr", "LoFTR", "Matches.", "Apache-2.0", "kornia/loftr", None, state="partly"),
    ModelEntry(
        "sam-vit-b",
        "SAM",
        "Finds.",
        "Apache-2.0",
        "facebook/sam",
        4,
        state="present",
        path=Path("/mine"),
        source="settings",
    ),
    ModelEntry(
        "sam2",
        "SAM 2",
        "Finds.",
        "Apache-2.0",
        "facebook/sam2",
        4e8,
        state="damaged",
        path=Path("/h"),
        source="hub cache",
    ),
]


@pytest.fixture
def window(window: MainWindow) -> MainWindow:
    window.models.set_entries(ENTRIES)
    return window


def state_text(page: ModelsPage, key: str) -> str:
    """What the table says of a model's state."""
    row = [entry.key for entry in page.model.entries].index(key)
    return str(page.model.index(row, 1).data())


# -- the page ------------------------------------------------------------------------------------------------


def test_a_key_goes_to_the_page_and_back(window, qtbot) -> None:
    window.show_tab(2)
    control = Qt.KeyboardModifier.ControlModifier
    qtbot.keyClick(window, Qt.Key.Key_M, control)
    assert window.pages.currentWidget() is window.models
    assert window.models.table.hasFocus()
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert window.pages.currentIndex() == 2 and window.tabs.button(2).isChecked()
    qtbot.keyClick(window, Qt.Key.Key_M, control)
    qtbot.keyClick(window, Qt.Key.Key_M, control)
    assert window.pages.currentIndex() == 2


def test_each_state_offers_what_can_be_done(window) -> None:
    window.show_models()
    page = window.models
    offered = {}
    for entry in ENTRIES:
        page.choose(entry.key)
        buttons = (page.fetch, page.use_file, page.check, page.folder, page.remove)
        offered[entry.key] = [b.text() for b in buttons if b.isVisible() and b.isEnabled()]
    assert offered == {
        "views": ["Check", "Show"],
        "zero123-xl": ["Fetch  16 GB", "Use a file…"],
        "loftr": ["Go on fetching", "Use a file…", "Remove"],
        "sam-vit-b": ["Use a file…", "Check", "Show", "Forget"],
        "sam2": ["Fetch again  400 MB", "Use a file…", "Check", "Show", "Remove"],
    }
    silent = [b.text() for b in page.findChildren(QPushButton) if b.isVisible() and not b.toolTip()]
    assert not silent


def test_the_keyboard_walks_fetches_and_cancels(window, qtbot) -> None:
    page, asked = window.models, []
    page.fetch_requested.connect(lambda key: asked.append(("fetch", key)))
    page.cancel_requested.connect(lambda key: asked.append(("cancel", key)))
    window.show_models()
    qtbot.keyClick(page.table, Qt.Key.Key_Down)
    qtbot.keyClick(page.table, Qt.Key.Key_F)
    page.set_work("zero123-xl", "Fetching")
    page.take_progress("zero123-xl", "Fetching", Progress("weights", 6.2e9, 15.5e9, "zero123-xl.ckpt"))
    assert state_text(page, "zero123-xl") == "Fetching, 40 %"
    assert "6.2 GB of 16 GB" in page._progress.text()
    qtbot.keyClick(page.table, Qt.Key.Key_Escape)
    assert asked == [("fetch", "zero123-xl"), ("cancel", "zero123-xl")]
    assert window.pages.currentWidget() is page
    qtbot.keyClick(page.table, Qt.Key.Key_Escape)  # it stops already: now Esc leaves
    assert window.pages.currentWidget() is not page


def test_deleting_asks_in_place_and_forgetting_does_not(window) -> None:
    page, asked = window.models, []
    page.remove_requested.connect(asked.append)
    window.show_models("sam-vit-b")
    page.remove.click()
    assert asked == ["sam-vit-b"]
    page.choose("sam2")
    page.remove.click()
    assert asked == ["sam-vit-b"] and "400 MB are deleted" in page.banner.text.text()
    next(b for b in page.banner.findChildren(QPushButton) if b.text() == "Delete").click()
    assert asked == ["sam-vit-b", "sam2"]


def test_a_note_stays_with_its_model(window) -> None:
    page = window.models
    window.show_models("zero123-xl")
    page.show_note("zero123-xl", "The disk is full.", "error")
    assert page.banner.isVisible()
    page.choose("loftr")
    assert not page.banner.isVisible()
    page.choose("zero123-xl")
    assert page.banner.text.text() == "The disk is full."
    page.set_work("zero123-xl", "Fetching")
    assert not page.banner.isVisible()


def test_bytes_are_written_as_people_do() -> None:
    assert [bytes_text(n) for n in (512e3, 3.4e6, 42e6, 2.56e9, 15.5e9)] == [
        "512 kB",
        "3.4 MB",
        "42 MB",
        "2.6 GB",
        "16 GB",
    ]


# -- the choice ----------------------------------------------------------------------------------------------

GENERATORS = [Choice("built-in", "Built-in (trained)"), Choice("zero123-xl", "Zero123-XL (published)", present=False)]


def offer(window: MainWindow, *, here: bool) -> None:
    generators = [GENERATORS[0], Choice("zero123-xl", "Zero123-XL (published)", present=here)]
    foreground = [Choice("sam", "Segment Anything", present=here)]
    preferred = {"generator": "zero123-xl" if here else "built-in"}
    window.reconstruct.input.set_choices({"generator": generators, "foreground": foreground}, preferred)


def test_what_is_missing_is_listed_but_cannot_be_picked(window) -> None:
    offer(window, here=False)
    models = window.reconstruct.input.models
    box = models.boxes["generator"]
    assert [box.itemText(i) for i in range(2)] == ["Built-in (trained)", "Zero123-XL, missing"]
    assert not box.model().item(1).isEnabled()
    assert "Models page" in box.itemData(1, Qt.ItemDataRole.ToolTipRole)
    assert models.value("generator") == "built-in" and "Built-in" in models.accessibleName()
    assert not models.boxes["sampler"].isEnabled()
    mode = window.reconstruct.input.mode
    assert not mode.model().item(mode.findData("sam")).isEnabled()
    offer(window, here=True)
    assert mode.model().item(mode.findData("sam")).isEnabled()


def test_what_is_here_is_preselected_until_the_user_picks(window) -> None:
    models, picked = window.reconstruct.input.models, []
    models.picked.connect(lambda part, value: picked.append((part, value)))
    offer(window, here=True)
    assert models.value("generator") == "zero123-xl" and models.boxes["sampler"].isEnabled()
    models.boxes["generator"].setCurrentIndex(0)
    models.boxes["generator"].activated.emit(0)
    offer(window, here=True)
    assert models.value("generator") == "built-in" and picked == [("generator", "built-in")]
    models.remember({"generator": "built-in"})
    models.choose(generator="zero123-xl", memory_gb=9.0, surface="/old/surface.pth")
    assert (models.value("generator"), models.value("memory_gb")) == ("zero123-xl", 9.0)
    assert "surface.pth, missing" in models.boxes["surface"].currentText()


def test_a_method_that_the_generator_cannot_do_is_greyed_with_the_reason(window) -> None:
    models = window.reconstruct.input.models
    box, at = models.method, models.method.findData("field")
    models.choose(method="field")
    assert models.value("method") == "field" and not models.boxes["surface"].isEnabled()
    assert not models.boxes["silhouette"].isEnabled() and models.values()["silhouette"] == "auto"
    offer(window, here=True)
    assert models.value("generator") == "zero123-xl" and models.value("method") == "views"
    assert not box.model().item(at).isEnabled() and "no solid of its own" in box.itemData(
        at, Qt.ItemDataRole.ToolTipRole
    )
    assert "no solid of its own" in box.toolTip() and models.boxes["surface"].isEnabled()
    models.choose(generator="built-in")
    assert box.model().item(at).isEnabled() and models.value("method") == "field", "what was picked is back"
    models.choose(surface="/networks/own.safetensors")
    assert models.value("method") == "views", "a network that was chosen is used"
    assert models.boxes["silhouette"].isEnabled()
    models.choose(silhouette="free")
    assert window.reconstruct.input.models.values()["silhouette"] == "free"


def test_the_choice_opens_with_a_key_and_leads_to_the_page(window, qtbot) -> None:
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(window, Qt.Key.Key_M, both)
    sheet = window.reconstruct.input.models.sheet
    assert sheet.isVisible()
    assert sheet.screen().geometry().contains(sheet.frameGeometry())
    assert all(box.isVisible() and box.height() > 20 for box in window.reconstruct.input.models.boxes.values())
    assert sheet.height() > 6 * 20
    next(b for b in sheet.findChildren(QPushButton) if "All models" in b.text()).click()
    assert not sheet.isVisible() and window.pages.currentWidget() is window.models


# -- the whole window ----------------------------------------------------------------------------------------


@pytest.fixture
def surface_bytes(tmp_path: Path) -> bytes:
    return tiny_models.write_tiny_one2345_surface(tmp_path / "made.pth").read_bytes()


def note(session: Session) -> str:
    page = session.window.models
    return page.banner.text.text() if page.banner.isVisible() else ""


async def shown(session: Session, key: str) -> None:
    """The page, with `key` chosen."""
    await until(lambda: session.window.models.model.entries)
    session.window.show_models(key)


def test_a_model_is_fetched_cancelled_gone_on_with_and_removed(drive, surface_bytes, monkeypatch) -> None:
    model = weights.MODELS[SURFACE]
    with HubServer({f"{model.origin}/{model.files[0].name}": surface_bytes}, chunk=2000, pause=0.02) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)

        async def scenario(session: Session) -> None:
            page = session.window.models
            await shown(session, SURFACE)
            assert server.asked == []
            page.fetch.click()
            await until(lambda: "%" in state_text(page, SURFACE))
            page.escape()
            await until(lambda: "Stopped" in note(session))
            await until(lambda: state_text(page, SURFACE) == "Partly fetched")
            server.pause = 0.0
            page.fetch.click()
            await until(lambda: state_text(page, SURFACE) == "Found")
            assert "Fetched" in note(session)
            assert server.ranges_asked, "the second fetch went on from where the first one stopped"
            surface = session.reconstruct.tab.input.models.boxes["surface"]
            assert surface.currentData() == "one-2-3-45", "it is taken for the next run at once"
            page.check.click()
            await until(lambda: "whole" in note(session))
            page.remove_requested.emit(SURFACE)
            await until(lambda: state_text(page, SURFACE) == "Missing")
            assert surface.currentData() == "built-in"

        drive(scenario)
        close_session()  # else the server's threads stay with the connections of the hub's library


def test_a_fetch_has_ended_when_the_table_knows_of_it(drive, surface_bytes, monkeypatch) -> None:
    model, released = weights.MODELS[SURFACE], threading.Event()
    with HubServer({f"{model.origin}/{model.files[0].name}": surface_bytes}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)

        async def scenario(session: Session) -> None:
            page = session.window.models
            await shown(session, SURFACE)
            held = asyncio.ensure_future(session.files.submit(released.wait, 60))
            page.fetch.click()
            await until(lambda: weights.locate(SURFACE) is not None)
            await asyncio.sleep(0.2)
            assert page.cancel.isVisible() and state_text(page, SURFACE) != "Missing", "it is not said to have failed"
            released.set()
            await until(lambda: state_text(page, SURFACE) == "Found")
            assert "Fetched" in note(session)
            await held

        drive(scenario)
        close_session()  # as above


def test_without_a_network_it_is_said_in_place(drive, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    async def scenario(session: Session) -> None:
        await shown(session, SURFACE)
        session.window.models.fetch.click()
        await until(lambda: "127.0.0.1:9 cannot be reached" in note(session))
        assert state_text(session.window.models, SURFACE) == "Missing"

    drive(scenario)


def test_a_file_of_the_users_is_used_remembered_and_forgotten(drive, published_models, monkeypatch) -> None:
    path = published_models / "loftr.ckpt"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))

    async def use(session: Session) -> None:
        await shown(session, "loftr")
        session.window.models.use_file.click()
        await until(lambda: "used from now on" in note(session))
        assert state_text(session.window.models, "loftr") == "Found"
        assert Settings.load().model_paths == {"loftr": str(path)}
        assert session.reconstruct.tab.input.models.value("matcher") == "loftr"

    async def forget(session: Session) -> None:
        await shown(session, "loftr")
        assert session.reconstruct.tab.input.models.value("matcher") == "loftr"
        session.window.models.remove.click()
        await until(lambda: state_text(session.window.models, "loftr") == "Missing")
        assert session.reconstruct.tab.input.models.value("matcher") == "dense-flow"

    drive(use)
    drive(forget)
    assert path.exists() and Settings.load().model_paths == {}


def _missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_truncated, "cut short"),
        (_with_code, "code"),
        (_another_model, "is not LoFTR"),
        (_no_weights, "a web page"),
        (_missing, "nothing at"),
    ],
)
def test_a_bad_file_is_refused_in_plain_words(drive, spoil, words, published_models, tmp_path) -> None:
    path = Path(shutil.copy(published_models / "loftr.ckpt", tmp_path))
    spoil(path)

    async def scenario(session: Session) -> None:
        await shown(session, "loftr")
        session.window.models.use_requested.emit("loftr", path)
        await until(lambda: words in note(session))
        assert str(path) in note(session)
        assert state_text(session.window.models, "loftr") == "Missing"

    drive(scenario)


def test_the_check_finds_damage(drive, published_models, tmp_path) -> None:
    path = Path(shutil.copy(published_models / "loftr.ckpt", tmp_path))
    Settings(model_paths={"loftr": str(path)}).save()
    _spoilt(path)

    async def scenario(session: Session) -> None:
        await shown(session, "loftr")
        session.window.models.check.click()
        await until(lambda: state_text(session.window.models, "loftr") == "Damaged")
        assert str(path) in note(session)

    drive(scenario)


def test_a_run_without_its_weights_leads_to_the_page(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        session.reconstruct.tab.input.set_options(generator="zero123-xl")
        session.reconstruct.tab.input.request()
        await until(lambda: "not on this machine" in banner(session))
        next(b for b in session.reconstruct.tab.banner.findChildren(QPushButton) if b.text() == "Models").click()
        assert session.window.pages.currentWidget() is session.window.models

    drive(scenario)


def test_published_models_reconstruct_from_the_window(
    drive, house_picture, published_models, tiny_draft, monkeypatch
) -> None:
    monkeypatch.setenv("ORIEL_WEIGHTS", str(published_models))

    async def scenario(session: Session) -> None:
        tab = session.reconstruct.tab
        await until(lambda: session.window.models.model.entries)
        assert "Zero123-XL, LoFTR, One-2-3-45" in tab.input.models.accessibleName()
        bring(session, house_picture)
        tab.input.set_options(mode="sam", quality="draft")
        await until(lambda: "Segment Anything" in tab.input.note.text())
        canvas = tab.input.editor.canvas
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=canvas.rect().center())
        tab.input.request()
        await until(lambda: session.reconstruct.current is not None, 30)
        await until(lambda: session.reconstruct.current is None, 250 * busy())
        assert banner(session) == ""
        assert len(tab.views.images) == 40 and tab.viewport.mesh.texture is not None
        for words in ("Object: Segment Anything", "Views: Zero123-XL", "Elevation: LoFTR", "Surface: One-2-3-45"):
            assert words in tab.used.text()
        assert str(published_models / "zero123-xl.ckpt") in tab.used.detail
        run = session.reconstruct.history.runs()[0]
        assert (len(run.options.points), run.report["used"]["foreground"]["name"]) == (1, "sam")

    drive(scenario)

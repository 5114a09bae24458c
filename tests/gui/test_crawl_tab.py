"""The Crawl tab: driven in the whole window against a site of models on loopback, and its table alone."""

from __future__ import annotations

import asyncio
import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trimesh
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QDragEnterEvent, QDropEvent, QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QToolButton

from app import crawl_session
from app.settings import Settings, home
from app.window import Session
from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.crawling import Download, Options, Page, PageState, Policy, Records, Rights, Totals
from engine.crawling.filters import Filters
from engine.crawling.sources import Source
from engine.screening import PreviewLimits, load_preview
from tests.gui import driving
from tests.gui.driving import activate, busy
from tests.loop_gaps import LoopGapProbe
from tests.site import ModelSite, SiteModel, uid_of
from widgets.crawl import CrawlTab, Opened, PageDetails, SearchRequest
from widgets.crawl.words import advice
from widgets.kit.words import duration
from widgets.main_window import MainWindow

MAIN = Path(__file__).resolve().parents[2] / "main.py"


@pytest.fixture
def window(window: MainWindow) -> MainWindow:
    window.show_tab(1)
    return window


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelSite]:
    """Seven models: 1 is missing, 2 forbids this use, 3 is of another licence, 4 comes broken the first time."""
    models = [SiteModel(number) for number in range(7)]
    models[1].fault, models[2].tags, models[3].licence = "missing", ("NoAI",), "by-nc"
    models[4].fault, models[4].times = "html", 1
    with ModelSite(models) as running:
        monkeypatch.setenv("ORIEL_SKETCHFAB_API", running.api)
        monkeypatch.setenv("ORIEL_SKETCHFAB_TOKEN", running.token)
        yield running


def write_list(site: ModelSite, folder: Path) -> Path:
    path = folder / "urls.txt"
    path.write_text("".join(f"{site.page(model)}?utm_source=x\n" for model in site.models))
    return path


async def opened(session: Session, path: Path, source: str = "auto", **options: Any) -> CrawlTab:
    """The tab with a list, quick and with no pause."""
    session.window.show_tab(1)
    await activate(session)
    tab = session.window.crawl
    quick = {"pause": 0.0, "keep_free": 0, "backoff": 0.02}
    tab.setup.set_options(Options(**(quick | options)), Source(source))
    tab.setup.list.chosen.emit(path)
    await until(lambda: tab.model.rows)
    return tab


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    await driving.until(condition, seconds)


async def ended(session: Session) -> None:
    await until(lambda: session.crawl.job is not None, 20)
    await until(lambda: session.crawl.job is None)


def said(tab: CrawlTab) -> str:
    return tab.banner.text.text() if tab.banner.isVisible() else ""


def press(tab: CrawlTab, name: str) -> None:
    next(b for b in tab.banner.findChildren(QPushButton) if b.text() == name and b.isVisible()).click()


def counts(tab: CrawlTab) -> dict[str, int]:
    return {state: number for state, number in tab.model.counts.items() if number}


def pages(number: int) -> list[PageState]:
    def state(at: int) -> PageState:
        page = Page(f"https://sketchfab.com/3d-models/house-{at}-{uid_of(at)}", uid_of(at))
        return PageState(page, ("done", "waiting", "failed")[at % 3], "broke" if at % 3 == 2 else "", f"House {at}")

    return [state(at) for at in range(number)]


def drop(window: MainWindow, paths: list[Path], text: str = "") -> None:
    mime = QMimeData()
    if paths:
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    if text:
        mime.setText(text)
    where, action = QPoint(400, 400), Qt.DropAction.CopyAction
    button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(window, QDragEnterEvent(where, action, mime, button, keys))
    QApplication.sendEvent(window, QDropEvent(QPointF(where), action, mime, button, keys))


# -- lists in ------------------------------------------------------------------------------------------------


def test_the_empty_tab_says_what_to_do_and_starts_nothing(window, qtbot) -> None:
    tab, asked = window.crawl, []
    tab.start_requested.connect(lambda: asked.append("start"))
    assert tab.invitation.isVisible() and not tab.table.isVisible() and not tab.setup.start.isEnabled()
    qtbot.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert not asked and "Choose a list" in said(tab)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not said(tab)
    silent = [b for b in tab.findChildren(QToolButton) + tab.findChildren(QPushButton) if not b.toolTip()]
    assert not [b for b in silent if b.isVisible()]


def test_a_list_dropped_anywhere_comes_here_and_a_picture_does_not(window, tmp_path) -> None:
    lists, added = [], []
    window.crawl.setup.list.chosen.connect(lists.append)
    window.crawl.addresses_brought.connect(added.append)
    window.show_tab(0)
    drop(window, [tmp_path / "urls.txt"])
    assert lists == [tmp_path / "urls.txt"] and window.pages.currentWidget() is window.crawl
    drop(window, [], "see https://sketchfab.com/3d-models/x-" + uid_of(1))
    assert len(added) == 1
    drop(window, [], "only words")
    assert "no list and no address" in said(window.crawl)
    drop(window, [tmp_path / "house.png"])
    assert window.pages.currentIndex() == 0


def test_keys_of_one_letter_are_typed_where_one_types(window, qtbot) -> None:
    tab, asked = window.crawl, []
    tab.retry_requested.connect(lambda state, keys: asked.append((state, len(keys))))
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), pages(9)))
    tab.search.setFocus()
    qtbot.keyClicks(tab.search, "f x")
    assert tab.search.text() == "f x" and not asked
    qtbot.keyClick(tab.search, Qt.Key.Key_Escape)
    assert tab.search.text() == "" and tab.table.hasFocus()
    qtbot.keyClick(tab.table, Qt.Key.Key_F)
    assert asked == [("failed", 3)]


def test_pasted_addresses_become_a_list_and_grow(drive, site) -> None:
    async def scenario(session: Session) -> None:
        session.window.show_tab(1)
        tab = session.window.crawl
        first = f"Look: {site.page(site.models[0])}, and\n{site.page(site.models[1])}"
        QGuiApplication.clipboard().setText(first)
        tab.setup.paste.click()
        await until(lambda: len(tab.model.rows) == 2)
        path = tab.setup.list_path
        assert path is not None and path.parent == home() / "lists"
        assert tab.setup.folder_path == home() / "models" / path.stem
        QGuiApplication.clipboard().setText(f"{site.models[1].uid}\n{site.models[2].uid}")
        tab.paste()
        await until(lambda: len(tab.model.rows) == 3)

    drive(scenario)


def test_bad_lines_and_missing_lists_are_named(drive, site, tmp_path) -> None:
    path = tmp_path / "urls.txt"
    path.write_text(f"not a page\n{site.page(site.models[0])}\n{site.page(site.models[0])}\n")

    async def scenario(session: Session) -> None:
        tab = await opened(session, path)
        assert "line 1: 'not a page'" in said(tab)
        assert "1 page" in tab.setup.note.text() and "1 line name a page again" in tab.setup.note.text()
        tab.setup.list.chosen.emit(tmp_path / "none.txt")
        await until(lambda: "cannot be read" in said(tab))
        assert tab.invitation.isVisible()

    drive(scenario)


def test_a_search_becomes_a_list(drive, site) -> None:
    async def scenario(session: Session) -> None:
        session.window.show_tab(1)
        setup = session.window.crawl.setup
        setup.open_search()
        setup.sheet.words.setText("gothic church")
        setup.sheet.most.setValue(3)
        setup.sheet.button.click()
        await until(lambda: len(session.window.crawl.model.rows) == 3)
        assert setup.list_path == home() / "lists" / "gothic-church.txt"
        for number in (0, 4, 5):
            site.models[number].category, site.models[number].tags = "places-travel", ("tower", "stone")
        fields = setup.sheet.form.fields
        fields["categories"].boxes["places-travel"].setChecked(True)
        fields["tags"].setText("tower, stone")
        fields["sort"].setCurrentIndex(fields["sort"].findData("likes"))
        fields["days"].setValue(90)
        setup.sheet.words.clear()
        setup.sheet.button.click()
        await until(lambda: setup.list_path == home() / "lists" / "tower-stone-places-travel.txt")
        assert [row.page.key for row in session.window.crawl.model.rows] == [site.models[n].uid for n in (5, 4, 0)]
        assert site.queries[-1]["date"] == "90"
        setup.search_requested.emit(SearchRequest("tower", 3, Filters(("cc0",), min_faces=10**8)))
        await until(lambda: "Nothing was found for 'tower'" in said(session.window.crawl))
        assert setup.search_button.isEnabled()

    drive(scenario)


# -- a crawl -------------------------------------------------------------------------------------------------


def test_a_whole_crawl_with_failures_skips_and_a_preview(drive, site, tmp_path, monkeypatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: looked_at.append(url.toString()))

    async def scenario(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path), parallel=2)
        folder = tmp_path / "models"
        tab.setup.start.click()
        await ended(session)
        assert counts(tab) == {"done": 4, "skipped": 2, "failed": 1}
        assert "4 models collected, 2 skipped, 1 failed" in said(tab)
        assert "7 of 7 pages" in tab.totals.text()
        await until(lambda: "free" in tab.pace.text())
        assert len(list(folder.glob("*.glb"))) == 4
        # a model
        key = site.models[4].uid
        tab.table.choose(key)
        details = tab.details
        await until(lambda: details.viewport is not None and details.viewport.mesh is not None)
        assert details.viewport.mesh.texture is not None
        assert details.title.text() == "Building 4" and "2 attempts" in details.state.text()
        assert "CC Attribution" in details._facts["Licence"][1].text()
        assert "12 triangles" in details._facts["File"][1].text()
        await activate(session)
        tab.table.setFocus()
        QTest.keyClick(tab.table, Qt.Key.Key_Return)
        QTest.keyClick(tab.table, Qt.Key.Key_S)
        assert looked_at == [site.page(site.models[4]), QUrl.fromLocalFile(str(folder)).toString()]
        QTest.keyClick(tab.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QGuiApplication.clipboard().text() == site.page(site.models[4])
        # a failure
        (folder / "failures").mkdir()
        (folder / "failures" / f"{site.models[1].uid}.html").write_text("<html></html>")
        tab.table.choose(site.models[1].uid)
        assert "does not exist" in details.reason.text() and "take its line out" in details.advice.text()
        await until(lambda: details.saved.isVisible())
        tab.table.choose(site.models[2].uid)
        assert "NoAI" in details.reason.text() and "no option changes that" in details.advice.text()
        # the rest
        tab.credits.click()
        await until(lambda: "CREDITS.csv names 4 models" in said(tab))
        with (folder / "CREDITS.csv").open(encoding="utf-8-sig", newline="") as file:
            assert len(list(csv.DictReader(file))) == 4
        details.show_side(1)
        await until(lambda: "end: 4 done" in details.log.toPlainText())

    drive(scenario)


def test_pause_holds_and_resume_goes_on(drive, site, tmp_path) -> None:
    for model in site.models:
        model.fault, model.tags, model.licence, model.size = "", (), "by", 60_000
    site.pause = 0.02

    async def scenario(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path))
        tab.request_start()
        await until(lambda: tab.model.counts["done"] >= 1)
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_Space)
        await until(lambda: tab.state.text() == "Paused" and not tab.model.counts["working"])
        assert tab.pause.text() == "Resume"
        asked = site.count("download")
        assert asked < 7
        await asyncio.sleep(0.3)
        assert site.count("download") == asked
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_Space)
        await until(lambda: session.crawl.job is None)
        assert counts(tab) == {"done": 7}

    drive(scenario)


def test_stopped_now_and_after_the_page_at_work_it_goes_on(drive, site, tmp_path) -> None:
    site.models[0].size, site.pause = 400_000, 0.02
    first = site.models[0].uid

    async def scenario(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path))
        tab.request_start()
        await until(lambda: (tab.model.find(first) or pages(1)[0]).received > 30_000)
        await activate(session)
        began = time.monotonic()
        QTest.keyClick(tab.table, Qt.Key.Key_X)
        await until(lambda: session.crawl.job is None)
        assert time.monotonic() - began < 3 * busy()
        assert "7 pages to go" in said(tab) and not list((tmp_path / "models").glob("*.glb"))
        tab.request_start()
        await until(lambda: tab.model.counts["working"] and tab.state.text() == "Running")
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_X, Qt.KeyboardModifier.ShiftModifier)
        await until(lambda: session.crawl.job is None)
        assert counts(tab) == {"done": 1, "waiting": 6} and "after the pages at work" in said(tab)
        ranges = [part for kind, uid, part in site.asked if (kind, uid) == ("file", first)]
        assert ranges[0] == "" and ranges[1].startswith("bytes=")

    drive(scenario)


def test_failed_pages_are_tried_again_and_skipped_ones_with_other_licences(drive, site, tmp_path) -> None:
    async def scenario(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path))
        tab.request_start()
        await ended(session)
        site.models[1].fault = ""
        press(tab, "Retry failed")
        await ended(session)
        assert counts(tab) == {"done": 5, "skipped": 2}
        assert "7 of 7" in tab.totals.text()
        tab.setup.licences.any.setChecked(True)
        tab.table.choose(site.models[3].uid)
        tab.details.retry.click()
        await ended(session)
        assert counts(tab) == {"done": 6, "skipped": 1}

    drive(scenario)


def test_the_options_are_those_of_the_engine_and_the_token_is_kept(drive, site, tmp_path, monkeypatch) -> None:
    kept: list[str | None] = []
    monkeypatch.setattr("engine.crawling.sketchfab.keep_token", kept.append)
    site.models[0].tags, site.models[5].textures = ("CreatedWithAI",), (1024, 4096, 2048)

    async def scenario(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path))
        form = tab.setup.form
        assert tab.setup.options() == Options(pause=0.0, keep_free=0, backoff=0.02)
        assert form.differing == ["pause", "keep_free"]
        form.fields["texture"].setCurrentIndex(form.fields["texture"].findData(2048))
        form.fields["keep_free"].setValue(0.5)
        tab.setup.licences.boxes["by-nc"].setChecked(True)
        assert tab.setup.options().keep_free == 500_000_000
        assert tab.setup.options().policy == Policy(("cc0", "by", "by-sa", "by-nc"))
        tab.request_start()
        await ended(session)
        assert counts(tab) == {"done": 4, "skipped": 2, "failed": 1}
        file = tmp_path / "models" / f"{site.models[5].uid}.glb"
        assert file.read_bytes() == site.models[5].file("glb", 2048)
        tab.table.choose(site.models[0].uid)
        assert (
            "made with generative AI" in tab.details.reason.text()
            and "allow models made with AI" in tab.details.advice.text()
        )
        form.fields["created_with_ai"].setChecked(True)
        tab.details.retry.click()
        await ended(session)
        assert counts(tab)["done"] == 5
        tab.setup.token.click()
        sheet = tab.setup.token_sheet
        sheet.secret.setText(" of-the-user ")
        sheet.keep.click()
        await until(lambda: "keeps the API token" in said(tab))
        assert kept == ["of-the-user"] and not sheet.secret.text()
        tab.setup.open_token()
        sheet.forget.click()
        await until(lambda: kept[1:] == [None])

    drive(scenario)
    crawl = Settings.load().crawl
    assert crawl["texture"] == 2048 and crawl["created_with_ai"] and "by-nc" in crawl["licences"]
    assert "of-the-user" not in str(crawl)


def test_a_page_that_is_always_refused_costs_nothing_but_itself(drive, site, tmp_path) -> None:
    site.models[0].fault, site.models[0].retry_after = "busy", "1"

    async def scenario(session: Session) -> None:
        tab, told = await opened(session, write_list(site, tmp_path)), set[str]()
        tab.request_start()
        await until(lambda: session.crawl.job is not None)
        while session.crawl.job is not None:
            told.add(tab._message())
            await asyncio.sleep(0.005)
        assert counts(tab) == {"done": 3, "skipped": 2, "failed": 2}
        assert any("(429)" in text and "until" in text for text in told)

    drive(scenario)


def test_what_stops_a_crawl_is_said_in_place(drive, site, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ORIEL_SKETCHFAB_TOKEN", "of-somebody-else")

    async def scenario(session: Session) -> None:
        path = write_list(site, tmp_path)
        tab = await opened(session, path, source="api")
        tab.request_start()
        await until(lambda: "does not accept the API token" in said(tab))
        assert "of-somebody-else" not in said(tab)
        monkeypatch.setenv("ORIEL_SKETCHFAB_TOKEN", site.token)
        with Records.open(tmp_path / "models"):
            tab.request_start()
            await until(lambda: "Another crawl is at work" in said(tab))
        site.models[0].size, site.pause = 4_000_000, 0.02
        press(tab, "Try again")
        await until(lambda: site.sent)
        command = [sys.executable, str(MAIN), "crawl", "run", str(path), "-o", str(tmp_path / "models")]
        ran = await session.crawl.files.submit(subprocess.run, command, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 2 and "Another crawl is at work" in ran.stderr
        tab.request_stop()
        await until(lambda: session.crawl.job is None)

    drive(scenario)


class Asking:
    """A downloader whose site asks whether a person is there, until the browser is shown."""

    name = "a browser"

    def __init__(self, shown: bool) -> None:
        self.shown = shown

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        if not self.shown:
            progress(Progress("attention", 0, 0, "Tick the box in the browser's window."))
            while True:
                cancel.check()
                time.sleep(0.02)
        (folder / "model.glb").write_bytes(SiteModel(int(page.key, 16) % 97).file("glb"))
        return Download(folder / "model.glb", Rights(title="A house", author="Anna", licence="by", source_url=page.url))

    def close(self) -> None:
        pass


def test_a_captcha_asks_for_the_user_and_the_browser_is_shown(drive, site, tmp_path, monkeypatch) -> None:
    made: Callable[..., Any] = lambda source, options: Asking(source.show_browser)  # noqa: E731
    monkeypatch.setattr(crawl_session, "make_downloader", made)

    async def scenario(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path))
        tab.request_start()
        await until(lambda: "Tick the box" in said(tab))
        assert tab.state.text() == "Waiting for you" and tab.banner.property("kind") == "warning"
        assert "needs you" in session.window.tabs.button(1).text()
        press(tab, "Show the browser")
        await until(lambda: counts(tab) == {"done": 7})
        await until(lambda: session.crawl.job is None)
        assert "7 models collected" in said(tab) and session.window.tabs.button(1).text() == "Crawl"

    drive(scenario)


# -- days of it ----------------------------------------------------------------------------------------------


def test_closing_in_mid_crawl_leaves_nothing_behind_and_the_next_start_shows_it(drive, site, tmp_path) -> None:
    site.models[5].size, site.pause = 900_000, 0.02

    async def crawl(session: Session) -> None:
        tab = await opened(session, write_list(site, tmp_path), parallel=2, attempts=2)
        tab.request_start()
        await until(lambda: counts(tab).get("done", 0) >= 2 and counts(tab).get("skipped", 0) == 2)
        tab.setup.form.fields["parallel"].setValue(3)
        began = time.monotonic()
        session.window.close()
        await until(lambda: not session.crawl.alive)
        assert time.monotonic() - began < 5 * busy()

    async def look(session: Session) -> None:
        session.window.show_tab(1)
        tab = session.window.crawl
        await until(lambda: len(tab.model.rows) == 7)
        assert counts(tab)["skipped"] == 2 and counts(tab)["waiting"] >= 1 and not site.asked[before:]
        await until(lambda: (tab.model.find(site.models[0].uid) or pages(1)[0]).title == "Building 0")
        assert tab.setup.options().parallel == 3 and tab.setup.options().attempts == 2
        tab.table.choose(site.models[1].uid)
        assert "does not exist" in tab.details.reason.text()

    drive(crawl)
    assert Settings.load().crawl["folder"] == str(tmp_path / "models")
    before = len(site.asked)
    drive(look)


def test_a_folder_alone_shows_its_records(drive, site, tmp_path) -> None:
    page = Page(site.page(site.models[1]), site.models[1].uid)
    with Records.open(tmp_path / "old") as records:
        records.add_downloaded(Page(site.page(site.models[0]), site.models[0].uid))
        records.add_failed(page, "it broke", 3)

    async def scenario(session: Session) -> None:
        session.window.show_tab(1)
        tab = session.window.crawl
        tab.setup.folder.chosen.emit(tmp_path / "old")
        await until(lambda: counts(tab) == {"done": 1, "failed": 1})
        assert tab.model.find(page.key).attempts == 3
        tab.retry_failed()
        await ended(session)
        assert counts(tab) == {"done": 1, "failed": 1} and "does not exist" in tab.model.find(page.key).message
        tab.reload()
        await until(lambda: tab.model.find(page.key).earlier)
        tab.table.choose(page.key)
        assert "take its line out" in tab.details.advice.text()

    drive(scenario)


def test_ten_thousand_pages_do_not_hold_the_window_up(drive, site, tmp_path) -> None:
    number = 10_000
    lines = [f"{site.url}/3d-models/building-{at}-{uid_of(at)}" for at in range(number)]
    (tmp_path / "urls.txt").write_text("\n".join(lines))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "downloaded_urls.txt").write_text("\n".join(lines[7:]) + "\n")

    async def scenario(session: Session) -> None:
        await until(lambda: session.reconstruct.tab.viewport is not None)  # the libraries are loaded
        probe = LoopGapProbe()
        probe.start()
        tab = await opened(session, tmp_path / "urls.txt")
        assert len(tab.model.rows) == number
        tab.request_start()
        await ended(session)
        assert counts(tab) == {"done": number - 3, "skipped": 2, "failed": 1}
        for state in ("done", "failed", ""):
            tab.show_filter(state)
            await asyncio.sleep(0)
        tab.search.setText("building-99")
        await until(lambda: tab.model.rowCount() == 111)
        for _ in range(20):
            QTest.keyClick(tab.table, Qt.Key.Key_PageDown)
            await asyncio.sleep(0)
        # What a person would call stuck; on two idle cores it is about 0.1 s.
        assert probe.stop() < busy(), probe.gaps

    drive(scenario)


# -- the table and the words ---------------------------------------------------------------------------------


def test_the_filter_keeps_the_chosen_page_and_counts_all(window, qtbot) -> None:
    tab = window.crawl
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), pages(300)))
    tab.table.choose(uid_of(150))
    tab.show_filter("done")
    assert tab.model.rowCount() == 100 and tab.table.current.page.key == uid_of(150)
    assert tab._filters.button(3).text() == "Done 100" and tab._filters.button(0).text() == "All 300"
    qtbot.keyClicks(tab.search, "house-15")
    qtbot.waitUntil(lambda: tab.model.rowCount() == 5)  # 15, 150, 153, 156, 159
    assert tab.table.current.page.key == uid_of(150)
    qtbot.keyClicks(tab.search, "x")
    qtbot.waitUntil(lambda: tab._no_match.isVisible())
    assert tab.details.page is None


def test_pages_come_and_go_from_a_filter_as_they_change(window) -> None:
    tab = window.crawl
    every = pages(300)
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), every))
    tab.show_filter("waiting")
    tab.table.choose(uid_of(4))
    tab.model.update_rows([replace(every[1], state="working"), replace(every[3], state="waiting")])
    assert [tab.model.at(row).page.key for row in (0, 1)] == [uid_of(3), uid_of(4)]
    assert tab.table.current.page.key == uid_of(4) and tab.model.counts["working"] == 1
    tab.model.update_rows([replace(page, state="waiting") for page in every if page.state == "done"])
    assert tab.model.rowCount() == 199 and tab.table.current.page.key == uid_of(4)
    tab.model.update_rows([replace(every[4], state="done")])
    assert tab.table.current is None or tab.table.current.page.key != uid_of(4)


def test_totals_say_how_long_it_takes(window) -> None:
    tab = window.crawl
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), pages(6)))
    tab.begin()
    totals = Totals("running", 6, 2, 0, 2, 0, rate=2.5e6, pages_per_hour=240.0, seconds_left=11_000, duplicates=1)
    tab.take_progress(totals)
    tab.set_free(120_000_000_000)
    assert tab.pace.text() == "240 pages/h  ·  2.5 MB/s  ·  about 3 h 03 min left  ·  120 GB free"
    assert tab.totals.text() == "4 of 6 pages, 1 duplicate"
    tab.take_progress(replace(totals, state="waiting", message="Too many requests (429). Waiting 40 s."))
    assert tab.state.text() == "Waiting, as the site asks"
    assert "Waiting 40 s" in window._message.text() and not said(tab)
    tab.end("Stopped.", "info")
    assert window.tabs.button(1).text() == "Crawl"


def test_options_make_room_while_it_runs_in_a_small_window(window, qtbot) -> None:
    tab = window.crawl
    window.resize(1280, 800)
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), pages(6)))
    tab.begin()
    assert not tab.setup_panel.isVisible() and tab.options_button.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_I, Qt.KeyboardModifier.ControlModifier)
    assert tab.setup_panel.isVisible() and not tab.setup.list.isEnabled()
    tab.end("Stopped.", "info")
    assert tab.setup_panel.isVisible() and tab.setup.list.isEnabled()
    assert tab.minimumSizeHint().width() <= 1280 and tab.minimumSizeHint().height() <= 700


def test_a_failure_without_a_picture_does_not_show_that_of_an_earlier_one(window) -> None:
    tab, picture = window.crawl, QImage(40, 30, QImage.Format.Format_RGB32)
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), pages(6)))
    tab.table.choose(uid_of(2))
    tab.details.set_details(PageDetails(uid_of(2), picture=picture))
    assert tab.details.screenshot.isVisible()
    tab.details.set_details(PageDetails(uid_of(2)))
    assert not tab.details.screenshot.isVisible()


def test_a_small_window_has_room_for_the_names(window) -> None:
    tab = window.crawl
    window.resize(1000, 640)
    tab.show_opened(Opened(Path("urls.txt"), Path("models"), pages(6)))
    QApplication.processEvents()
    assert tab.table.columnWidth(1) > 80 and tab.table.isColumnHidden(2)
    assert tab.setup.form.fields["pause"].height() > 20
    assert tab.details.mapTo(window, QPoint(tab.details.width(), 0)).x() <= 1000
    window.resize(1400, 800)
    QApplication.processEvents()
    assert not tab.table.isColumnHidden(2)


def test_a_model_that_cannot_be_shown_says_why(window, tmp_path) -> None:
    tab = window.crawl
    (tmp_path / "m.glb").write_bytes(b"glTF" + bytes(40))
    mesh, note = crawl_session.mesh_of(load_preview(tmp_path / "m.glb"))
    assert mesh is None and "Show the file" in note and "Reject" not in note
    tab.show_opened(Opened(None, tmp_path, pages(1)))
    tab.table.choose(uid_of(0))
    tab.details.set_details(PageDetails(uid_of(0), tmp_path / "m.glb"))
    tab.details.show_model(uid_of(0), mesh, note)
    assert tab.details.note.isVisible() and "Show the file" in tab.details.note.text()


def test_a_large_model_is_shown_reduced_and_one_of_many_parts_in_colours(tmp_path) -> None:
    sphere = trimesh.creation.icosphere(5)  # 20480 triangles
    sphere.export(tmp_path / "m.glb")
    mesh, note = crawl_session.mesh_of(load_preview(tmp_path / "m.glb", PreviewLimits(triangles=5000)))
    assert mesh is not None and 500 < len(mesh.faces) <= 5000 and "of 20,480 triangles" in note
    assert abs(mesh.bounds).max() <= 0.51
    parts = []
    for color in ((255, 0, 0), (0, 0, 255)):
        box = trimesh.creation.box()
        box.apply_translation([len(parts) * 2, 0, 0])
        material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*color, 255])
        box.visual = trimesh.visual.TextureVisuals(material=material)
        parts.append(box)
    trimesh.Scene(parts).export(tmp_path / "parts.glb")
    mesh, note = crawl_session.mesh_of(load_preview(tmp_path / "parts.glb"))
    assert mesh is not None and not note and mesh.faces.max() < len(mesh.vertices) == len(mesh.colors)
    assert {tuple(color) for color in mesh.colors.tolist()} == {(255, 0, 0), (0, 0, 255)}


def test_words() -> None:
    assert [duration(seconds) for seconds in (0.2, 40, 700, 11_000, 400_000)] == [
        "1 s",
        "40 s",
        "12 min",
        "3 h 03 min",
        "4 d 15 h",
    ]
    assert not advice("done", "") and advice("failed", "whatever") == advice("failed", "")

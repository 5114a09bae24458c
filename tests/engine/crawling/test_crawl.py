"""Whole crawls of the test site, with its faults."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from engine.core.errors import Cancelled, InputError, OutputError
from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.crawling import (
    Crawl,
    CrawlStopped,
    Download,
    Options,
    Page,
    PageState,
    Policy,
    Records,
    Rights,
    Totals,
    parse_page,
)
from engine.crawling.http import Limits
from engine.crawling.packing import check_glb
from engine.jobs import Board
from tests.engine.crawling.conftest import QUICK, MakeCrawl, page_of
from tests.site import ModelSite, SiteModel, make_glb
from tests.site.models import join_glb


class Shelf:
    """A downloader without a network."""

    name = "shelf"

    def __init__(self, seconds: float = 0.0, wrong: str = "") -> None:
        self.seconds, self.wrong = seconds, wrong
        self.asked: list[str] = []
        self.at_once = self.most = 0
        self.closed = False
        self._lock = threading.Lock()

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        with self._lock:
            self.asked.append(page.key)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            time.sleep(self.seconds)
            cancel.check()
            if self.wrong and page.key.endswith(self.wrong):
                raise RuntimeError("stale element")
            path = folder / "model.glb"
            path.write_bytes(make_glb(int(page.key, 16)))
            return Download(path, Rights(title="Shelved", licence="by"))
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self.closed = True


def pages(count: int) -> list[Page]:
    return [Page(f"https://sketchfab.com/3d-models/{n:032x}", f"{n:032x}") for n in range(count)]


def test_every_fault_ends_as_the_right_record_and_the_crawl_goes_on(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    no_mesh = join_glb({"asset": {"version": "2.0"}}, b"")
    cases = [
        ({}, "done", ""),
        ({"fault": "missing"}, "failed", "does not exist"),
        ({"fault": "busy", "times": 2, "retry_after": "0"}, "done", ""),
        ({"fault": "error", "times": 1}, "done", ""),
        ({"fault": "error"}, "failed", "is in trouble (500)"),
        ({"fault": "forbidden"}, "failed", "does not let this account have the model (403)"),
        ({"fault": "no_data"}, "failed", "answers with something else than data"),
        ({"fault": "throttled", "size": 40_000}, "done", ""),
        ({"fault": "broken", "times": 1}, "done", ""),
        ({"fault": "truncated", "times": 1}, "done", ""),
        ({"fault": "truncated"}, "failed", "came incomplete"),
        ({"fault": "expired", "times": 1}, "done", ""),
        ({"fault": "expired"}, "failed", "addresses that Sketchfab gives"),
        ({"fault": "html"}, "failed", "a web page in place of the model"),
        ({"fault": "empty"}, "failed", "is empty"),
        ({"fault": "file_error", "times": 1}, "done", ""),
        ({"fault": "silent", "times": 1}, "done", ""),
        ({"content": no_mesh}, "failed", "holds no mesh"),
        ({"content": b"Kaydara FBX Binary" * 50}, "failed", "no model: neither GLB, glTF nor zip"),
        ({"formats": ("gltf",)}, "done", ""),
        ({"formats": ("usdz",)}, "failed", "only as usdz"),
        ({"tags": ("church", "NoAI")}, "skipped", "forbids the use for generative AI"),
        ({"downloadable": False}, "skipped", "does not offer it for download"),
        ({"licence": "by-nc"}, "skipped", "CC Attribution-NonCommercial"),
        ({"licence": None}, "skipped", "no stated licence"),
        ({}, "done", ""),
    ]
    models = [SiteModel(n, **case) for n, (case, _, _) in enumerate(cases)]  # type: ignore[arg-type]
    with ModelSite(models) as site:
        crawl = make_crawl(site, parallel=4)
        totals = crawl.run()
        states = crawl.board.rows()
        assert not site.foreign_token
    for (case, state, text), shown in zip(cases, states, strict=True):
        assert (shown.state, case) == (state, case), shown
        assert text in shown.message, shown
    folder = tmp_path / "models"
    records = Records.read(folder)
    by_state = {"done": records.downloaded, "failed": records.failed, "skipped": records.skipped}
    for state, recorded in by_state.items():
        assert set(recorded) == {s.page.key for s in states if s.state == state}
    assert all(failure.reason and failure.time for failure in records.failed.values())
    assert {skip.kind for skip in records.skipped.values()} == {"noai", "not-downloadable", "licence"}
    assert {path.stem for path in folder.glob("*.glb")} == set(records.downloaded)
    assert (totals.done, totals.failed, totals.skipped) == tuple(len(by_state[s]) for s in by_state)
    for model in models:
        path = folder / f"{model.uid}.glb"
        if path.exists() and model.formats == ("glb",):
            assert path.read_bytes() == model.file("glb")
        elif path.exists():
            assert check_glb(path).triangles == 12


def test_what_the_page_itself_forbids_counts_with_the_api_too(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    models = [
        SiteModel(0, no_ai=True),
        SiteModel(1, tags=("tower", "CreatedWithAI")),
        SiteModel(2, fault="withheld"),
        SiteModel(3),
        SiteModel(4, fault="page_missing"),
    ]
    with ModelSite(models) as site:
        crawl = make_crawl(site)
        assert crawl.run().done == 2
        states = crawl.board.rows()
        assert [row.kind for row in states[:3]] == ["noai", "created-with-ai", "not-downloadable"]
        assert "(400: This model is not downloadable)" in states[2].message
        assert site.count("page", models[1]) == site.count("page", models[2]) - 1 == 0
        assert site.count("download", models[0]) == 0 and not site.foreign_token
        taken = make_crawl(site, policy=Policy(created_with_ai=True), retry_skipped=True)
        assert taken.run().done == 3
    kept = [json.loads((tmp_path / "models" / f"{models[n].uid}.json").read_text()) for n in (1, 3, 4)]
    assert [found["created_with_ai"] for found in kept] == [True, False, False]
    assert [found["extra"]["page_seen"] for found in kept] == [True, True, False]


def test_a_header_of_the_page_forbids_as_well(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(0), SiteModel(1)], page_header="noai, noimageai") as site:
        assert make_crawl(site).run().skipped == 2


@pytest.mark.parametrize(("texture", "size"), [(0, 4096), (2048, 2048), (1500, 1024), (512, 1024)])
def test_the_size_of_the_textures_is_chosen(make_crawl: MakeCrawl, tmp_path: Path, texture: int, size: int) -> None:
    model = SiteModel(1, textures=(2048, 4096, 1024))
    with ModelSite([model, SiteModel(2)]) as site:
        assert make_crawl(site, texture=texture).run().done == 2
    assert (tmp_path / "models" / f"{model.uid}.glb").read_bytes() == model.file("glb", size)


def test_rights_stand_beside_the_model(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    with ModelSite([SiteModel(1, licence="by-sa", tags=("gothic", "church"))]) as site:
        make_crawl(site).run()
        source = site.page(site.models[0])
    found = json.loads((tmp_path / "models" / f"{SiteModel(1).uid}.json").read_text())
    assert found["licence"] == "by-sa" and found["licence_name"] == "CC Attribution-ShareAlike"
    assert (found["title"], found["author"]) == ("Building 1", "Anna Mason")
    assert found["tags"] == ["gothic", "church"] and found["source_url"] == source == found["url"]
    assert found["published"].startswith("2026-01-02") and found["collected"]
    assert found["triangles"] == 12 and len(found["sha256"]) == 64 and found["duplicate_of"] is None


def test_a_second_run_asks_for_nothing_that_is_settled(make_crawl: MakeCrawl) -> None:
    models = [SiteModel(0), SiteModel(1, fault="missing"), SiteModel(2, tags=("noai",))]
    with ModelSite(models) as site:
        make_crawl(site).run()
        asked = len(site.asked)
        events: list[Progress] = []
        totals = make_crawl(site).run(events.append)
        assert len(site.asked) == asked
        assert (totals.done, totals.failed, totals.skipped) == (1, 1, 1)
        assert all(e.preview.earlier for e in events if e.stage == "page")
        models[1].fault = ""
        models[2].tags = ()
        assert make_crawl(site, retry_failed=True).run().done == 2
        assert make_crawl(site, retry_skipped=True).run().done == 3


def test_a_model_put_in_its_place_just_before_a_kill_is_not_fetched_again(
    make_crawl: MakeCrawl, tmp_path: Path
) -> None:
    with ModelSite([SiteModel(0), SiteModel(1)]) as site:
        make_crawl(site).run()
        record = tmp_path / "models" / "downloaded_urls.txt"
        record.write_text("")
        (tmp_path / "models" / ".x.json.tmp").write_text("{torn")
        asked = len(site.asked)
        assert make_crawl(site).run().done == 2
        assert len(site.asked) == asked
        assert len(record.read_text().splitlines()) == 2
        assert not list((tmp_path / "models").glob(".*.tmp"))


def test_duplicates_by_content_are_linked_and_recorded(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    same = make_glb(7)
    with ModelSite([SiteModel(n, content=same) for n in range(3)]) as site:
        assert make_crawl(site).run().duplicates == 2
        folder = tmp_path / "models"
        first, second, third = (folder / f"{model.uid}.glb" for model in site.models)
        assert first.stat().st_ino == second.stat().st_ino == third.stat().st_ino
        assert json.loads(third.with_suffix(".json").read_text())["duplicate_of"] == first.stem
        # The first one deleted since, the others stay whole; a new one links to what is there after a new start.
        first.unlink()
        assert third.read_bytes() == same
        site.models.append(model := SiteModel(9, content=same))
        site._by_uid[model.uid] = model
        assert make_crawl(site).run().duplicates == 1


def test_a_broken_download_goes_on_from_its_bytes(make_crawl: MakeCrawl) -> None:
    model = SiteModel(1, size=60_000, fault="broken", break_after=9000)
    with ModelSite([model]) as site:
        assert make_crawl(site).run().done == 1
        size = len(model.file("glb"))
        assert site.sent[model.uid] == size
        assert site.count("file") == -(-size // 9000)


@pytest.mark.parametrize("trait", ["ranges", "marks"])
def test_a_site_that_cannot_resume_is_asked_for_the_whole_again(make_crawl: MakeCrawl, trait: str) -> None:
    model = SiteModel(1, size=30_000, fault="broken", break_after=9000, times=1)
    with ModelSite([model], **{trait: False}) as site:  # type: ignore[arg-type]
        assert make_crawl(site).run().done == 1
        assert site.sent[model.uid] == len(model.file("glb")) + 9000
    with ModelSite([SiteModel(2, size=30_000, fault="broken")], **{trait: False}) as site:  # type: ignore[arg-type]
        crawl = make_crawl(site)
        assert crawl.run().failed == 1
        assert "broke" in crawl.board.rows()[0].message


def test_a_file_that_has_changed_is_not_joined_to_the_old_one(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    model = SiteModel(1, size=40_000, fault="broken", break_after=9000)
    with ModelSite([model], ranges=False) as site:
        make_crawl(site).run()  # leaves a part
        site.ranges, model.fault, model.content = True, "", make_glb(5, 40_000)
        crawl = make_crawl(site, retry_failed=True)
        assert crawl.run().done == 1
        assert (tmp_path / "models" / f"{model.uid}.glb").read_bytes() == model.content


def test_stop_now_keeps_the_bytes_for_the_next_run(make_crawl: MakeCrawl) -> None:
    model = SiteModel(1, size=300_000)
    with ModelSite([model, SiteModel(2)], pause=0.05) as site:
        cancel, began = CancelToken(), list[float]()

        def watch(event: Progress) -> None:
            if event.stage == "page" and event.preview.received > 20_000 and not cancel.cancelled:
                began.append(time.monotonic())
                cancel.cancel()

        with pytest.raises(Cancelled):
            make_crawl(site).run(watch, cancel)
        assert time.monotonic() - began[0] < 1
        site.pause = 0
        assert make_crawl(site).run().done == 2
        parts = [part for kind, uid, part in site.asked if (kind, uid) == ("file", model.uid)]
        assert len(parts) == 2 and int(parts[1].removeprefix("bytes=").rstrip("-")) > 8192


def test_a_silent_site_is_left_at_once_and_given_up_after_its_limit(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(1, fault="silent")]) as site:
        cancel = CancelToken()
        threading.Timer(0.3, cancel.cancel).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            make_crawl(site, limits=Limits(stall=30)).run(cancel=cancel)
        assert time.monotonic() - began < 1.3
        crawl = make_crawl(site, limits=Limits(connect=0.1, stall=0.2), attempts=1)
        assert crawl.run().failed == 1
        assert "sent nothing for" in crawl.board.rows()[0].message


def test_a_download_that_trickles_ends_with_its_time(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(1, size=500_000, fault="throttled")], chunk=500) as site:
        crawl = make_crawl(site, limits=Limits(stall=5, total=0.4), attempts=1)
        assert crawl.run().failed == 1
        assert "took longer than" in crawl.board.rows()[0].message


def test_retry_after_is_honoured_by_all_pages(make_crawl: MakeCrawl) -> None:
    models = [SiteModel(0, fault="busy", times=1, retry_after="1"), SiteModel(1), SiteModel(2)]
    with ModelSite(models) as site:
        crawl = make_crawl(site)
        waits: list[float] = []

        def watch(event: Progress) -> None:
            if event.stage == "crawl" and event.preview.state == "waiting":
                waits.append(time.monotonic())
                assert "429" in event.message and "Waiting 1 s" in event.message
                assert len(site.asked) == 1

        assert crawl.run(watch).done == 3
        assert waits[-1] - waits[0] > 0.7


def test_waits_double_while_the_site_refuses(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(0, fault="busy", times=4)]) as site:
        began = time.monotonic()
        assert make_crawl(site, backoff=0.05, longest_backoff=0.3).run().done == 1
        assert 0.05 + 0.1 + 0.2 + 0.3 < time.monotonic() - began < 3
        assert site.count("model") == 5


def test_repeated_refusal_stops_the_crawl_and_loses_nothing(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    models = [SiteModel(0), *(SiteModel(n, fault="busy") for n in range(1, 6))]
    with ModelSite(models) as site:
        with pytest.raises(CrawlStopped, match="refused 4 times in a row") as stopped:
            make_crawl(site, refusals=4).run()
        assert "Nothing is lost; run it again later, slower (--pause)" in str(stopped.value)
        assert stopped.value.plain.endswith("later, slower or with fewer pages at once.")
        assert site.count("model") == 5
        records = Records.read(tmp_path / "models")
        assert len(records.downloaded) == 1 and not records.failed
        for model in models:
            model.fault = ""
        assert make_crawl(site).run().done == 6


def test_a_broken_page_does_not_look_like_a_refusing_site(make_crawl: MakeCrawl) -> None:
    models = [SiteModel(n, fault="error" if n in (3, 4) else "") for n in range(8)]
    with ModelSite(models) as site:
        totals = make_crawl(site, refusals=3).run()
        assert (totals.done, totals.failed) == (6, 2)


def test_denials_in_a_row_stop_the_crawl(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(n, fault="forbidden") for n in range(8)]) as site:
        with pytest.raises(CrawlStopped, match="403"):
            make_crawl(site, refusals=4).run()
        assert site.count("download") == 4


def test_a_site_out_of_reach_fails_no_page(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    with ModelSite([SiteModel(n) for n in range(4)]) as site:
        crawl = make_crawl(site, refusals=3)
    with pytest.raises(CrawlStopped, match="cannot be reached"):
        crawl.run()
    assert not Records.read(tmp_path / "models").failed


def test_a_token_that_is_not_accepted_stops_the_crawl(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(0), SiteModel(1)]) as site:
        crawl = make_crawl(site)
        site.token = "another"
        with pytest.raises(CrawlStopped, match="does not accept the API token"):
            crawl.run()
        assert crawl.totals().failed == 0


def test_a_page_of_another_site_is_named(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    with ModelSite([]) as site:
        crawl = make_crawl(site)
        other = parse_page("https://models.example/town-hall")
        assert isinstance(other, Page)
        crawl = Crawl([other], tmp_path / "models", crawl._downloader, QUICK)
        assert crawl.run().failed == 1
        assert "no model's id" in crawl.board.rows()[0].message and not site.asked


def test_the_token_is_written_nowhere(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    with ModelSite([SiteModel(0), SiteModel(1, fault="error"), SiteModel(2, fault="broken", times=1)]) as site:
        make_crawl(site).run()
        secret = site.token.encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 6
    assert not [path for path in files if secret in path.read_bytes()]


def test_a_full_disk_stops_the_crawl(make_crawl: MakeCrawl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    with ModelSite([SiteModel(0, size=300_000)], pause=0.05) as site:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1_000_000))
        with pytest.raises(CrawlStopped, match=r"has only 0\.0 GB left.* choose less \(--keep-free\), and") as stopped:
            make_crawl(site, keep_free=2_000_000_000).run()
        monkeypatch.undo()
        assert "choose less, and run it again" in stopped.value.plain
        assert not Records.read(tmp_path / "models").failed


def test_a_disk_that_fills_up_in_a_download_stops_the_crawl(tmp_path: Path) -> None:
    class Full(Shelf):
        def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
            raise OSError(28, "No space left on device")

    with pytest.raises(CrawlStopped, match="Make room"):
        Crawl(pages(3), tmp_path, Full(), QUICK).run()
    assert not Records.read(tmp_path).failed


def test_a_connection_that_breaks_in_the_downloader_costs_attempts_only(tmp_path: Path) -> None:
    class Breaking(Shelf):
        def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
            if len(self.asked) < 2:
                self.asked.append(page.key)
                raise ConnectionResetError(104, "Connection reset by peer")
            return super().fetch(page, folder, progress, cancel)

    assert Crawl(pages(3), tmp_path, Breaking(), QUICK).run().done == 3


def test_a_folder_that_is_taken_away_stops_the_crawl(tmp_path: Path) -> None:
    class Taking(Shelf):
        def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
            shutil.rmtree(tmp_path / "models")
            return super().fetch(page, folder, progress, cancel)

    with pytest.raises(OutputError, match="cannot be used"):
        Crawl(pages(3), tmp_path / "models", Taking(), QUICK).run()


def test_records_that_cannot_be_written_stop_the_crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(records: Records, page: Page) -> None:
        raise OutputError("downloaded_urls.txt cannot be written: Read-only file system.")

    monkeypatch.setattr(Records, "add_downloaded", refuse)
    with pytest.raises(OutputError, match="Read-only"):
        Crawl(pages(3), tmp_path, Shelf(), QUICK).run()


def test_a_fault_of_the_downloader_costs_one_page(tmp_path: Path) -> None:
    shelf = Shelf(wrong="3")
    crawl = Crawl(pages(6), tmp_path, shelf, QUICK)
    totals = crawl.run()
    assert (totals.done, totals.failed) == (5, 1)
    assert "Unexpected: RuntimeError: stale element" in crawl.board.rows()[3].message
    assert shelf.asked.count(pages(4)[3].key) == QUICK.attempts
    assert shelf.closed
    assert "Traceback" in (tmp_path / "crawl.log").read_text()


@pytest.mark.parametrize("parallel", [1, 4])
def test_so_many_pages_at_once(tmp_path: Path, parallel: int) -> None:
    shelf = Shelf(seconds=0.05)
    options = Options(pause=0.0, parallel=parallel, keep_free=0)
    totals = Crawl(pages(12), tmp_path, shelf, options).run()
    assert totals.done == 12 and len(shelf.asked) == 12
    assert shelf.most == parallel
    with pytest.raises(InputError, match="choose 1 to 4"):
        Crawl(pages(1), tmp_path, shelf, Options(parallel=5))


def test_the_pause_between_pages(tmp_path: Path) -> None:
    began = time.monotonic()
    Crawl(pages(3), tmp_path, Shelf(), Options(pause=0.25, keep_free=0)).run()
    assert time.monotonic() - began > 0.5


def test_pause_resume_and_stop_after_this_one(tmp_path: Path) -> None:
    shelf = Shelf(seconds=0.02)
    crawl = Crawl(pages(40), tmp_path, shelf, QUICK)
    seen: list[str] = []

    def watch(event: Progress) -> None:
        if event.stage != "crawl":
            return
        totals: Totals = event.preview
        seen.append(totals.state)
        if totals.done >= 3 and "paused" not in seen and totals.state == "running":
            crawl.pause()
            threading.Timer(0.5, crawl.resume).start()
        if totals.done >= 12:
            crawl.finish_current()

    totals = crawl.run(watch)
    assert "paused" in seen and seen[-1] == "finished"
    assert 12 <= totals.done < 40 and totals.failed == 0
    assert Crawl(pages(40), tmp_path, shelf, QUICK).run().done == 40
    assert len(shelf.asked) == 40  # each page once


def test_a_board_that_somebody_looks_at_keeps_what_it_knew(tmp_path: Path) -> None:
    every = pages(6)
    shelf = Shelf(wrong="3")
    Crawl(every, tmp_path, shelf, QUICK).run()
    told = {"title": "House", "size": 5000, "received": 5000, "attempts": 2}
    states = [PageState(page, "waiting") for page in every]
    states[0] = PageState(every[0], "done", **told)  # type: ignore[arg-type]
    states[1] = PageState(every[1], "failed", "as it stood once")
    board = Board(states, lambda state: state.page.key)
    shelf.wrong, again = "", Options(pause=0.0, keep_free=0, retry_failed=True)
    # Of the pages on the board only some are collected, as when those that failed are tried again.
    totals = Crawl(every[:4], tmp_path, shelf, again, board=board).run()
    assert board.at(0) == PageState(every[0], "done", earlier=True, **told)  # type: ignore[arg-type]
    assert [state.state for state in board.rows()] == ["done"] * 4 + ["waiting"] * 2
    assert not board.at(1).message and board.at(3).title == "Shelved" and not board.at(3).earlier
    assert (totals.total, totals.done, totals.seconds_left) == (6, 4, 0.0)


def test_progress_comes_on_the_calling_thread(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(n, size=80_000) for n in range(6)], pause=0.02) as site:
        events: list[Progress] = []
        threads: set[str] = set()

        def watch(event: Progress) -> None:
            threads.add(threading.current_thread().name)
            events.append(event)

        make_crawl(site, parallel=2).run(watch)
        size = sum(len(model.file("glb")) for model in site.models)
    assert threads == {threading.current_thread().name}
    totals = [event.preview for event in events if event.stage == "crawl"]
    assert [t.finished for t in totals] == sorted(t.finished for t in totals)
    assert totals[-1].finished == totals[-1].total == 6
    assert any(t.seconds_left and t.rate > 0 and t.pages_per_hour > 0 for t in totals)
    assert 0.8 * size < totals[-1].received <= size
    shown = [event.preview for event in events if event.stage == "page"]
    assert all(isinstance(state, PageState) for state in shown)
    assert any(0 < state.received < state.size for state in shown)
    assert {state.title for state in shown if state.state == "done"} == {m.title for m in site.models}


def test_what_asks_for_the_user_is_passed_on(tmp_path: Path) -> None:
    class Asking(Shelf):
        def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
            progress(Progress("attention", 0, 0, "Solve the captcha in the browser's window."))
            time.sleep(0.3)
            return super().fetch(page, folder, progress, cancel)

    shown: list[Totals] = []
    Crawl(pages(1), tmp_path, Asking(), QUICK).run(lambda e: shown.append(e.preview) if e.stage == "crawl" else None)
    asked = "Solve the captcha in the browser's window."
    assert any(totals.attention == totals.message == asked for totals in shown)
    assert shown[-1].attention == shown[-1].message == ""


def test_other_licences_let_other_models_in(make_crawl: MakeCrawl) -> None:
    with ModelSite([SiteModel(0, licence="by-nc"), SiteModel(1, licence=None)]) as site:
        assert make_crawl(site, policy=Policy(("by-nc",))).run().done == 1
        assert make_crawl(site, policy=Policy(()), retry_skipped=True).run().done == 2
        assert page_of(site, site.models[0]).key == site.models[0].uid

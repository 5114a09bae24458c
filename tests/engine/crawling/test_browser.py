"""The browser downloader: real Chromium on the pages of the test site."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from engine.core.errors import Cancelled
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.crawling import Crawl, CrawlStopped, Download, PageFailed, PageTrouble, Records
from engine.crawling.browser import Account, BrowserDownloader, BrowserLimits
from engine.crawling.browser.driver import Browser, end_orphans
from engine.crawling.packing import check_glb
from engine.crawling.rights import Skipped
from tests.engine.crawling.conftest import QUICK, page_of
from tests.site import ModelSite, SiteModel

LIMITS = BrowserLimits(load=20, element=15, login=15, start=15, stall=5, call=20, by_itself=0.3, unseen=30, recheck=0.3)


class Shared:
    """A downloader that several crawls use one after the other."""

    name = "browser"

    def __init__(self, downloader: BrowserDownloader) -> None:
        self.fetch = downloader.fetch

    def close(self) -> None:
        pass


@dataclass
class Bench:
    """A site and a browser for it, which tests share: starting a browser takes a second."""

    site: ModelSite
    downloader: BrowserDownloader
    profile: Path
    used: int = 0

    def model(self, **settings: object) -> SiteModel:
        """A model that no test has asked for yet."""
        model = self.site.models[self.used]
        self.used += 1
        for name, value in settings.items():
            setattr(model, name, value)
        return model

    def fetch(
        self,
        model: SiteModel,
        folder: Path,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **limits: float,
    ) -> Download:
        """One page, as a crawl asks for it."""
        page = page_of(self.site, model)
        work = folder / ".partial" / page.key
        work.mkdir(parents=True, exist_ok=True)
        self.downloader.limits = replace(LIMITS, **limits)  # type: ignore[arg-type]
        try:
            return self.downloader.fetch(page, work, progress, cancel or CancelToken())
        finally:
            self.downloader.limits = LIMITS


@contextlib.contextmanager
def opened(folder: Path, **settings: object) -> Iterator[Bench]:
    with ModelSite([SiteModel(n) for n in range(90)]) as site:
        for name, value in settings.items():
            setattr(site, name, value)
        downloader = make(site, folder / "profile")
        try:
            yield Bench(site, downloader, folder / "profile")
        finally:
            downloader.close()
    assert browsers_of(folder / "profile") == []


def make(site: ModelSite, profile: Path, password: str | None = None, **settings: object) -> BrowserDownloader:
    account = Account(site.user, password or site.password, site.url)
    return BrowserDownloader(profile, **({"account": account, "limits": LIMITS} | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path_factory.mktemp("browser")) as bench:
        patch.delenv("DISPLAY", raising=False)
        patch.delenv("WAYLAND_DISPLAY", raising=False)
        yield bench


@pytest.fixture
def bench(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in (("design", "classic"), ("banner", False), ("lazy", 0.0), ("login", False), ("pause", 0.0)):
        monkeypatch.setattr(shared.site, name, value)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return shared


def browsers_of(profile: Path, name: str = "") -> list[psutil.Process]:
    """All processes that were started for a profile and live."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = str(profile) in " ".join(process.cmdline()) and name in process.name()
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def drivers_of(profile: Path) -> list[psutil.Process]:
    return browsers_of(profile, "chromedriver")


def wait_for(ready: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["classic", "modern"])
def test_a_model_comes_past_all_that_a_page_puts_in_the_way(bench: Bench, tmp_path: Path, design: str) -> None:
    site, told = bench.site, []
    site.design, site.banner, site.lazy, site.login = design, True, 0.2, True
    before = site.logins
    site.expire_sessions()
    model = bench.model(formats=("fbx", "gltf", "glb"), size=300_000, fault="alert", tags=("church", "stone"))
    found = bench.fetch(model, tmp_path, told.append)
    assert found.path.read_bytes() == model.file("glb")
    assert site.logins == before + 1 and site.wrong_logins == 0
    rights = found.rights
    assert (rights.title, rights.author, rights.licence) == (model.title, "Anna Mason", "by")
    assert rights.tags == ("church", "stone") and rights.published == "2026-01-02T03:04:05"
    assert rights.author_url.endswith("/mason") and "creativecommons.org/licenses/by/" in rights.licence_url
    assert rights.source_url.endswith(model.uid)
    assert max(event.done for event in told) == len(found.path.read_bytes())
    assert any(event.preview == rights for event in told)
    second = bench.model(formats=("fbx", "gltf"))
    assert bench.fetch(second, tmp_path).path.read_bytes() == second.file("gltf")
    assert site.logins == before + 1


def test_every_fault_ends_as_the_right_record_and_the_crawl_goes_on(bench: Bench, tmp_path: Path) -> None:
    cases = [
        ("classic", {"fault": "page_missing"}, "failed", "does not exist, or no longer (404)"),
        ("modern", {"fault": "removed"}, "failed", "was removed"),
        ("classic", {"fault": "page_busy", "times": 1, "retry_after": "0"}, "done", ""),
        ("modern", {"fault": "page_error", "times": 1}, "done", ""),
        ("classic", {"fault": "crash_tab", "times": 1}, "done", ""),
        ("classic", {"fault": "truncated", "times": 1}, "done", ""),
        ("modern", {"fault": "expired", "times": 1}, "done", ""),
        ("classic", {"fault": "html", "times": 3}, "failed", "a web page in place of the model"),
        ("classic", {"fault": "empty", "times": 3}, "failed", "is empty"),
        ("modern", {"fault": "file_error", "times": 1}, "done", ""),
        ("classic", {"fault": "broken", "times": 20, "size": 60_000}, "failed", "broke off"),
        ("modern", {"fault": "forbidden"}, "failed", "does not let this account have the model (403)"),
        ("classic", {"fault": "forbidden"}, "failed", "does not let this account have the model (403)"),
        ("classic", {"fault": "busy", "times": 1}, "done", ""),
        ("modern", {"formats": ("fbx", "usdz")}, "failed", "only as fbx, usdz"),
        ("classic", {"tags": ("church", "NoAI")}, "skipped", "forbids the use for generative AI"),
        ("modern", {"no_ai": True}, "skipped", "forbids the use for generative AI"),
        ("classic", {"made_with_ai": True}, "skipped", "made with generative AI"),
        ("modern", {"made_with_ai": True}, "skipped", "made with generative AI"),
        ("modern", {"tags": ("tower", "createdwithai")}, "skipped", "made with generative AI"),
        ("classic", {"downloadable": False}, "skipped", "does not offer it for download"),
        ("modern", {"downloadable": False}, "skipped", "does not offer it for download"),
        ("classic", {"licence": "by-nc"}, "skipped", "CC Attribution-NonCommercial"),
        ("modern", {"licence": "st"}, "skipped", "Standard"),
        ("modern", {"licence": None}, "skipped", "no stated licence"),
    ]
    bench.site.marks = False  # so that a broken download begins anew, and breaks again
    shown = {}
    for design in ("classic", "modern"):
        bench.site.design = design
        models = {bench.model(**case).uid: text for d, case, _, text in cases if d == design}
        pages = [page_of(bench.site, m) for m in bench.site.models if m.uid in models]
        crawl = Crawl(pages, tmp_path / "models", Shared(bench.downloader), replace(QUICK, parallel=2, attempts=2))
        crawl.run()
        shown[design] = iter(crawl.board.rows())
    for design, case, state, text in cases:
        found = next(shown[design])
        assert (found.state, case) == (state, case), found
        assert text in found.message, found
    records = Records.read(tmp_path / "models")
    kinds = {skip.kind for skip in records.skipped.values()}
    assert kinds == {"noai", "created-with-ai", "not-downloadable", "licence"}
    assert {path.stem for path in (tmp_path / "models").glob("*.glb")} == set(records.downloaded)
    for path in (tmp_path / "models").glob("*.glb"):
        check_glb(path)
    assert bench.site.count("file") < 60


@pytest.mark.parametrize(("design", "fault"), [("classic", "page_busy"), ("modern", "busy")])
def test_a_page_that_is_always_refused_costs_nothing_but_itself(
    bench: Bench, tmp_path: Path, design: str, fault: str
) -> None:
    bench.site.design = design
    pages = [page_of(bench.site, bench.model(**case)) for case in ({"fault": fault}, {}, {})]
    crawl = Crawl(pages, tmp_path / "models", Shared(bench.downloader), QUICK)
    crawl.run()
    assert [row.state for row in crawl.board.rows()] == ["failed", "done", "done"]
    assert "(429)" in crawl.board.at(0).message


@pytest.mark.parametrize("design", ["classic", "modern"])
def test_the_size_of_the_textures_is_chosen(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, design: str
) -> None:
    bench.site.design = design
    for most, size in ((0, 4096), (2048, 2048), (512, 1024)):
        monkeypatch.setattr(bench.downloader, "texture", most)
        model = bench.model(textures=(2048, 4096, 1024), formats=("fbx", "gltf", "glb"))
        assert bench.fetch(model, tmp_path).path.read_bytes() == model.file("glb", size)


def test_what_is_skipped_is_not_downloaded(bench: Bench, tmp_path: Path) -> None:
    model = bench.model(licence="by-nc")
    with pytest.raises(Skipped):
        bench.fetch(model, tmp_path)
    assert bench.site.count("download", model) == 0


def test_a_page_of_unknown_looks_is_kept_beside_the_failure(bench: Bench, tmp_path: Path) -> None:
    model = bench.model(fault="no_button", times=1)
    with pytest.raises(PageFailed, match="looked like the button") as failed:
        bench.fetch(model, tmp_path, element=1)
    page, picture = (tmp_path / "failures" / f"{model.uid}{kind}" for kind in (".html", ".png"))
    assert str(page) in str(failed.value) and str(picture) in str(failed.value)
    assert model.title in page.read_text() and picture.read_bytes().startswith(b"\x89PNG")
    bench.fetch(model, tmp_path)
    assert not page.exists()


def test_a_redesigned_site_does_not_burn_the_list(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.crawling.browser.visit._STRANGE", 3)
    bench.site.design = "modern"
    with pytest.raises(CrawlStopped, match="redesigned"):
        for _ in range(4):
            with contextlib.suppress(PageFailed):
                bench.fetch(bench.model(fault="no_button", times=1), tmp_path, element=0)


def test_what_never_ends_is_given_up(bench: Bench, tmp_path: Path) -> None:
    model = bench.model(fault="hang", times=1)
    with pytest.raises(PageTrouble, match="did not load within 2 s"):
        bench.fetch(model, tmp_path, load=2)
    bench.fetch(model, tmp_path)
    model = bench.model(fault="silent", times=1)
    with pytest.raises(PageTrouble, match="did not begin within 1 s"):
        bench.fetch(model, tmp_path, start=1)
    bench.fetch(model, tmp_path)
    model = bench.model(size=400_000)
    bench.site.pause = 5
    with pytest.raises(PageTrouble, match="stood still for 1 s"):
        bench.fetch(model, tmp_path, stall=1)
    bench.site.pause = 0.1
    with pytest.raises(PageTrouble, match="took longer than"):
        bench.fetch(model, tmp_path, total=1)
    bench.site.pause = 0
    assert bench.fetch(model, tmp_path).path.read_bytes() == model.file("glb")


# -- the user ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["classic", "modern"])
def test_a_captcha_is_waited_for(bench: Bench, tmp_path: Path, design: str) -> None:
    bench.site.design = design
    model = bench.model(fault="captcha")
    told: list[Progress] = []

    def progress(event: Progress) -> None:
        told.append(event)
        if event.stage == "attention":
            bench.site.cleared.add(model.uid)  # as a person does

    assert bench.fetch(model, tmp_path, progress).path.read_bytes() == model.file("glb")
    said = next(event.message for event in told if event.stage == "attention")
    assert "captcha" in said and "--show-browser" in said


def test_a_captcha_that_nobody_solves_ends_the_crawl_with_a_plain_text(bench: Bench, tmp_path: Path) -> None:
    model = bench.model(fault="captcha")
    with pytest.raises(CrawlStopped, match=r"captcha, and there is no screen.*--show-browser.*Nothing is lost"):
        bench.fetch(model, tmp_path, unseen=0.5)
    assert bench.fetch(bench.model(), tmp_path)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_a_second_factor_is_entered_in_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x_display: str
) -> None:
    monkeypatch.setenv("DISPLAY", x_display)
    with opened(tmp_path, login=True, second_factor=True) as bench:
        asked = threading.Event()

        def progress(event: Progress) -> None:
            if event.stage == "attention":
                assert "enter the code in the window" in event.message
                asked.set()

        with ThreadPoolExecutor(1) as pool:
            model = bench.model()
            work = pool.submit(bench.fetch, model, tmp_path, progress)
            wait_for(lambda: asked.is_set() or work.done())
            type_into(bench.profile / "profile-0", "input[autocomplete='one-time-code']", f"{bench.site.code}\n")
            assert work.result(60).path.read_bytes() == model.file("glb")
        assert bench.site.logins == 1


def type_into(profile: Path, field: str, text: str) -> None:
    """Type into the browser of a profile, through a second driver."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    from engine.crawling.browser import find_browser

    options = Options()
    port = (profile / "DevToolsActivePort").read_text().split()[0]
    options.debugger_address = f"127.0.0.1:{port}"
    service = Service(str(find_browser().driver))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.implicitly_wait(20)
        driver.find_element("css selector", field).send_keys(text)
    finally:
        service.stop()  # not quit(): the browser is another's


@pytest.fixture(scope="module")
def x_display() -> Iterator[str]:
    """A screen that nobody sees."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1200x24"],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as said:
            yield f":{said.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def test_a_wrong_password_ends_the_crawl_at_once(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = bench.site
    site.login = True
    site.expire_sessions()
    secret, before = "wrong but secret", site.wrong_logins
    pages = [page_of(site, bench.model()) for _ in range(2)]
    downloader = make(site, tmp_path / "profile", secret)
    with pytest.raises(CrawlStopped, match=r"does not accept the login.*oriel crawl login") as stopped:
        Crawl(pages, tmp_path / "models", downloader, replace(QUICK, parallel=2)).run()
    assert site.wrong_logins == before + 1  # a further one might lock the account
    assert secret not in str(stopped.value)
    site.design = "modern"
    monkeypatch.setattr(bench.downloader, "account", Account(site.user, secret, site.url))
    monkeypatch.setattr(bench.downloader, "refused", "")
    for _ in range(2):
        with pytest.raises(CrawlStopped, match="Wrong username or password"):
            bench.fetch(bench.model(), tmp_path)
    assert site.wrong_logins == before + 2
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert secret.encode() not in path.read_bytes(), path


def test_without_an_account_it_says_how_to_give_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = bench.site
    site.login, before = True, site.wrong_logins
    site.expire_sessions()
    for account, text in (
        (None, "oriel crawl login"),
        (Account("a", "b", "https://sketchfab.com"), "has no account here.*--show-browser.*--source api"),
    ):
        monkeypatch.setattr(bench.downloader, "account", account)
        with pytest.raises(CrawlStopped, match=text):
            bench.fetch(bench.model(), tmp_path)
    assert site.wrong_logins == before


@pytest.mark.parametrize(
    ("design", "sign_in"),
    [("classic", "whole"), ("modern", "steps"), ("classic", "bare"), ("modern", "button")],
)
def test_a_login_with_another_company_stops_the_crawl_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, design: str, sign_in: str
) -> None:
    site = bench.site
    monkeypatch.setattr(site, "sign_in", sign_in)
    site.design, site.login = design, True
    site.expire_sessions()
    monkeypatch.setattr(bench.downloader, "limits", replace(LIMITS, element=2))
    models = [bench.model() for _ in range(4)]
    crawl = Crawl([page_of(site, m) for m in models], tmp_path / "models", Shared(bench.downloader), QUICK)
    with pytest.raises(CrawlStopped, match=r"asks for a login.*Nothing is lost") as stopped:
        crawl.run()
    assert sign_in == "button" or "localhost" in str(stopped.value)
    assert {row.state for row in crawl.board.rows()} == {"waiting"}
    records = Records.read(tmp_path / "models")
    assert not records.failed and not records.skipped and site.foreign_logins == 0
    assert sum(site.count("page", model) for model in models) <= 2


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_a_login_with_another_company_is_waited_for_in_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x_display: str
) -> None:
    monkeypatch.setenv("DISPLAY", x_display)
    with opened(tmp_path, login=True, sign_in="whole") as bench:
        site, told = bench.site, list[str]()

        def progress(event: Progress) -> None:
            if event.stage == "crawl" and event.preview.attention:
                told.append(event.message)

        pages = [page_of(site, bench.model()) for _ in range(3)]
        crawl = Crawl(pages, tmp_path / "models", Shared(bench.downloader), QUICK)
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(crawl.run, progress)
            wait_for(lambda: told or work.done())
            assert "asks for a login at localhost" in told[0] and "in the window of the browser" in told[0]
            type_into(bench.profile / "profile-0", "input[type='email']", site.user)
            type_into(bench.profile / "profile-0", "input[type='password']", f"{site.password}\n")
            assert work.result(60).done == 3
        assert site.foreign_logins == site.logins == 1


def test_logins_that_lead_nowhere_do_not_burn_the_list(bench: Bench, tmp_path: Path) -> None:
    """As with a site that takes name and password and asks for them again."""
    site = bench.site
    site.login, site.session_pages = True, 0
    site.expire_sessions()
    try:
        crawl = Crawl(
            [page_of(site, bench.model()) for _ in range(4)], tmp_path / "models", Shared(bench.downloader), QUICK
        )
        with pytest.raises(CrawlStopped, match="3 logins in a row led nowhere"):
            crawl.run()
    finally:
        site.session_pages = None
    assert not Records.read(tmp_path / "models").failed


def test_a_login_is_shared_by_workers_lasts_and_is_renewed_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, start = [], Browser.start

    def counted(browser: Browser, headless: bool) -> None:
        started.append(browser)
        start(browser, headless)

    monkeypatch.setattr(Browser, "start", counted)
    with opened(tmp_path, login=True) as bench:
        site = bench.site

        def crawl(name: str, parallel: int, **limits: int) -> None:
            downloader = make(site, bench.profile, limits=replace(LIMITS, **limits))  # type: ignore[arg-type]
            pages = [page_of(site, bench.model()) for _ in range(5)]
            assert Crawl(pages, tmp_path / name, downloader, replace(QUICK, parallel=parallel)).run().done == 5

        crawl("first", 2, pages=2)  # each browser is started afresh after two pages, and ended with the crawl
        assert len(started) >= 3 and site.logins == 1
        site.session_pages = 3
        crawl("second", 1)
        assert 2 <= site.logins <= 4 and site.wrong_logins == 0


# -- processes -----------------------------------------------------------------------------------------------


def test_a_browser_that_dies_or_hangs_is_replaced(bench: Bench, tmp_path: Path) -> None:
    bench.fetch(bench.model(), tmp_path)
    first = drivers_of(bench.profile)
    model = bench.model(size=400_000)
    bench.site.pause = 0.1
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(bench.fetch, model, tmp_path)
        wait_for(lambda: bench.site.sent.get(model.uid))
        for driver in first:
            driver.children()[0].kill()
        with pytest.raises(PageTrouble, match="started afresh"):
            work.result(30)
    bench.site.pause = 0
    bench.fetch(model, tmp_path)
    second = drivers_of(bench.profile)
    assert not set(first) <= set(second)

    for browser in bench.downloader._browsers:
        browser.limits = replace(LIMITS, call=1.5)
    for driver in second:
        os.kill(driver.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(PageTrouble, match=r"did not answer for 1\.5 s"):
        bench.fetch(bench.model(), tmp_path)
    assert time.monotonic() - began < 10
    for browser in bench.downloader._browsers:
        browser.limits = LIMITS
    bench.fetch(bench.model(), tmp_path)
    assert not set(second) <= set(drivers_of(bench.profile))
    for driver in second:
        with contextlib.suppress(psutil.Error):
            driver.kill()


def test_cancel_takes_effect_within_a_second(bench: Bench, tmp_path: Path) -> None:
    bench.fetch(bench.model(), tmp_path)
    bench.site.pause = 0.1
    for model in (bench.model(size=800_000), bench.model(fault="hang"), bench.model(fault="silent", times=1)):
        cancel, cancelled = CancelToken(), 0.0
        kind = "page" if model.fault == "hang" else "file"
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(bench.fetch, model, tmp_path, ignore_progress, cancel)
            wait_for(lambda kind=kind, model=model: bench.site.count(kind, model))
            time.sleep(0.3)
            cancel.cancel()
            cancelled = time.monotonic()
            with pytest.raises(Cancelled):
                work.result(30)
        assert time.monotonic() - cancelled < 3  # with room for a machine under load
    bench.site.pause = 0
    bench.fetch(bench.model(), tmp_path)


def test_what_a_killed_crawl_left_is_ended_and_other_crawls_are_let_be(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        other = make(bench.site, bench.profile)
        try:
            bench.fetch(bench.model(), tmp_path)
            mine = drivers_of(bench.profile)
            # As after a kill: the lock is free, and the processes live.
            bench.downloader._browsers[0].slot.release()
            bench.downloader, kept = other, bench.downloader
            bench.fetch(bench.model(), tmp_path)
            assert len(mine) == 1 and mine[0] not in drivers_of(bench.profile)
            theirs = drivers_of(bench.profile)
            assert end_orphans(bench.profile) == 0  # the other's are not
            assert drivers_of(bench.profile) == theirs and len(theirs) == 1
            bench.downloader = kept
        finally:
            other.close()

"""`oriel crawl`, as a user types it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from app import cli
from engine.crawling.browser import find_account
from tests.site import ModelSite, SiteModel

MAIN = Path(__file__).resolve().parents[2] / "main.py"
QUICK = ("--pause", 0, "--backoff", 0.02, "--keep-free", 0)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelSite]:
    models = [SiteModel(n) for n in range(6)]
    models[1].fault, models[2].tags, models[3].licence = "missing", ("NoAI",), "by-nc"
    models[4].licence = "cc0"
    with ModelSite(models) as running:
        monkeypatch.setenv("ORIEL_SKETCHFAB_API", running.api)
        monkeypatch.setenv("ORIEL_SKETCHFAB_TOKEN", running.token)
        yield running


def crawl(*arguments: object) -> int:
    return cli.main(["crawl", *map(str, arguments)])


def write_list(site: ModelSite, tmp_path: Path) -> Path:
    path = tmp_path / "urls.txt"
    path.write_text("# models\n" + "".join(f"{site.page(model)}?utm_source=x\n" for model in site.models))
    return path


def test_search_run_status_retry_credits(site: ModelSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls, folder = tmp_path / "lists" / "urls.txt", tmp_path / "models"
    assert crawl("search", "gothic church", "--max", 2, "--license", "cc0,by", "-o", urls, "--pause", 0) == 0
    assert "2 models added" in capsys.readouterr().out
    assert crawl("search", "gothic church", "--license", "any", "-o", urls, "--pause", 0) == 0
    assert "3 models added, 2 were in it" in capsys.readouterr().out
    assert len([line for line in urls.read_text().splitlines() if line.startswith("http")]) == 5

    assert crawl("run", urls, "-o", folder, *QUICK) == 0
    out, err = capsys.readouterr()
    assert "3 done, 1 skipped, 1 failed" in out
    assert "does not exist" in err and "1 pages failed" in err
    assert crawl("run", urls, "-o", folder, *QUICK) == 0
    assert "does not exist" not in capsys.readouterr().err

    assert crawl("status", folder) == 0
    shown = capsys.readouterr().out
    assert "done       3 of 5" in shown and "(licence 1)" in shown and "by 2, cc0 1" in shown
    site.models[1].fault = ""
    assert crawl("retry", folder, *QUICK) == 0
    assert crawl("retry", folder, "--skipped", "--license", "any", *QUICK) == 0
    assert crawl("retry", folder, *QUICK) == 0
    assert "no page failed" in capsys.readouterr().out
    assert crawl("status", folder, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["done"], status["failed"], status["skipped"], status["waiting"]) == (5, 0, {}, 0)
    assert status["models"] == 5 and status["bytes"] > 15_000

    assert crawl("credits", folder) == 0
    with (folder / "CREDITS.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 5


def test_bad_lines_are_named_and_the_rest_goes_on(
    site: ModelSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text(f"not a page\n{site.page(site.models[0])}\n{site.page(site.models[0])}\n")
    assert crawl("run", urls, "-o", tmp_path / "models", *QUICK) == 0
    out, err = capsys.readouterr()
    assert "line 1: 'not a page'" in err and "1 lines name a page again" in err
    assert "1 done" in out


def test_what_cannot_go_well_is_said_at_once(
    site: ModelSite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls, folder = write_list(site, tmp_path), tmp_path / "models"
    for arguments, text in (
        (("run", tmp_path / "none.txt", "-o", folder), "cannot be read"),
        (("run", urls, "-o", folder, "--license", "gpl"), "gpl is not known"),
        (("run", urls, "-o", folder, "--parallel", 9), "choose 1 to 4"),
        (("run", urls, "-o", folder, "--pause", -1), "--pause is -1"),
        (("status", folder), "There is no folder"),
        (("credits", folder), "There is no folder"),
        (("search", "x", "-o", urls, "--max", 0), "at least 1"),
        (("search", "x", "-o", tmp_path), "cannot be written"),
        (("search", "x", "-o", tmp_path / "l.txt", "--min-faces", 10**9), "Nothing was found"),
    ):
        assert crawl(*arguments) == 2
        assert text in capsys.readouterr().err
    monkeypatch.delenv("ORIEL_SKETCHFAB_TOKEN")
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert crawl("run", urls, "-o", folder, "--source", "api") == 2
    assert "ORIEL_SKETCHFAB_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("ORIEL_SKETCHFAB_TOKEN", "wrong-secret")
    assert crawl("run", urls, "-o", folder, *QUICK) == 2
    err = capsys.readouterr().err
    assert "does not accept the API token" in err and "wrong-secret" not in err
    assert site.count("file") == 0


def test_a_page_that_is_always_refused_is_named_and_what_is_waited_for_said(
    site: ModelSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.models[0].fault = "busy"
    assert crawl("run", write_list(site, tmp_path), "-o", tmp_path / "models", *QUICK) == 0
    out, err = capsys.readouterr()
    assert "2 done, 2 skipped, 2 failed" in out
    assert re.search(r"too many requests \(429\)\. Waiting \d+ s, until \d\d:\d\d:\d\d", err)
    assert re.search(rf"failed {site.page(site.models[0])}: .*Other pages were answered", err)


def test_a_search_is_narrowed_and_what_ai_has_made_is_left_out(
    site: ModelSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls, folder = tmp_path / "urls.txt", tmp_path / "models"
    site.models[0].tags, site.models[4].textures = ("tower", "CreatedWithAI"), (4096, 1024)
    for number in (4, 5):
        site.models[number].tags, site.models[number].category = ("tower", "stone"), "places-travel"
    narrow = ("--tag", "tower", "--tag", "stone", "--category", "places-travel", "--sort", "likes", "--days", 90)
    assert crawl("search", "", *narrow, "-o", urls, "--pause", 0) == 0
    found = [line.split()[0] for line in urls.read_text().splitlines() if line.startswith("http")]
    assert found == [site.page(site.models[5]), site.page(site.models[4])]
    assert site.queries[0]["sort_by"] == "-likeCount" and site.queries[0]["date"] == "90"
    assert crawl("search", "", "--tag", "tower", "--created-with-ai", "-o", urls, "--pause", 0) == 0
    assert "1 models added, 2 were in it" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        crawl("search", "", "--category", "castles", "-o", urls)
    assert "places-travel" in capsys.readouterr().err

    assert crawl("run", urls, "-o", folder, *QUICK, "--texture", 2048) == 0
    assert "2 done, 1 skipped" in capsys.readouterr().out
    assert (folder / f"{site.models[4].uid}.glb").read_bytes() == site.models[4].file("glb", 1024)
    assert crawl("status", folder) == 0 and "created-with-ai 1" in capsys.readouterr().out
    assert crawl("retry", folder, "--skipped", "--created-with-ai", *QUICK) == 0
    assert "1 done" in capsys.readouterr().out
    assert json.loads((folder / f"{site.models[0].uid}.json").read_text())["created_with_ai"] is True


def test_ctrl_c_ends_in_good_order_and_the_crawl_goes_on(site: ModelSite, tmp_path: Path) -> None:
    site.models[0].size, site.pause = 400_000, 0.03
    urls, folder = write_list(site, tmp_path), tmp_path / "models"
    command = [sys.executable, str(MAIN), "crawl", "run", str(urls), "-o", str(folder), *map(str, QUICK)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    while not site.sent and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 5
    assert "to go" in out and "interrupted" in err and "Traceback" not in err
    site.pause = 0
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 0 and "3 done, 2 skipped, 1 failed" in done.stdout
    parts = [part for kind, uid, part in site.asked if (kind, uid) == ("file", site.models[0].uid)]
    assert parts[0] == "" and parts[1].startswith("bytes=")


def test_the_help_names_the_crawl(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["crawl", "run", "--help"])
    assert "--parallel" in capsys.readouterr().out


# -- the browser ---------------------------------------------------------------------------------------------


def browsers(home: Path, name: str = "") -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = str(home) in " ".join(process.cmdline()) and name in process.name()
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_a_crawl_by_browser_survives_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, oriel_home: Path) -> None:
    models = [SiteModel(n, size=30_000) for n in range(9)]
    with ModelSite(models, login=True, banner=True, pause=0.02) as site:
        for name, value in (("USER", site.user), ("PASSWORD", site.password), ("SITE", site.url)):
            monkeypatch.setenv(f"ORIEL_SKETCHFAB_{name}", value)
        monkeypatch.delenv("ORIEL_SKETCHFAB_TOKEN", raising=False)
        urls, folder = write_list(site, tmp_path), tmp_path / "models"
        arguments = ["crawl", "run", str(urls), "-o", str(folder), "--source", "browser", *map(str, QUICK)]
        command = [sys.executable, str(MAIN), *arguments]

        def done() -> list[str]:
            record = folder / "downloaded_urls.txt"
            return record.read_text().splitlines() if record.exists() else []

        for goal in (2, 5):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 90
            while len(done()) < goal and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
            process.wait()
            assert goal <= len(done()) < 9
            assert len(browsers(oriel_home, "chromedriver")) == 1  # those of the run before were ended
        last = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert last.returncode == 0 and "9 done" in last.stdout, last.stderr
        assert browsers(oriel_home) == []
        assert len(set(done())) == len(done()) == 9
        for model in models:
            assert (folder / f"{model.uid}.glb").read_bytes() == model.file("glb")
        assert site.password not in last.stdout + last.stderr + (folder / "crawl.log").read_text()
        assert site.count("file") <= 9 + 2


def test_the_browser_says_what_it_lacks(
    site: ModelSite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = write_list(site, tmp_path)
    run = ("run", urls, "-o", tmp_path / "models", "--source", "browser")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "ORIEL_SKETCHFAB_USER", "ORIEL_SKETCHFAB_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    if sys.platform.startswith("linux"):
        assert crawl(*run, "--show-browser") == 2
        assert "there is no screen" in capsys.readouterr().err
    monkeypatch.setenv("ORIEL_SKETCHFAB_USER", "mason")
    assert crawl(*run) == 2
    assert "ORIEL_SKETCHFAB_PASSWORD is not set" in capsys.readouterr().err
    monkeypatch.delenv("ORIEL_SKETCHFAB_USER")
    monkeypatch.setenv("ORIEL_BROWSER", "/nowhere/chrome")
    assert crawl(*run) == 2
    assert "ORIEL_BROWSER is /nowhere/chrome" in capsys.readouterr().err
    monkeypatch.delenv("ORIEL_BROWSER")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("engine.crawling.browser.driver._usual_browsers", list)
    assert crawl(*run) == 2
    assert "No Chrome or Chromium was found. Install one" in capsys.readouterr().err
    monkeypatch.delenv("ORIEL_SKETCHFAB_TOKEN")
    assert crawl(*run[:-2]) == 2
    err = capsys.readouterr().err
    assert "No Chrome or Chromium was found" in err and "Or use Sketchfab's API: set ORIEL_SKETCHFAB_TOKEN" in err


def test_login_keeps_the_account_in_the_keyring(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[tuple[str, str], str] = {}
    ring = SimpleNamespace(
        get_password=lambda *key: kept.get(key),
        set_password=lambda service, name, secret: kept.update({(service, name): secret}),
        delete_password=lambda *key: kept.pop(key),
        errors=SimpleNamespace(PasswordDeleteError=KeyError),
    )
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", ring.errors)
    for name in ("USER", "PASSWORD", "SITE"):
        monkeypatch.delenv(f"ORIEL_SKETCHFAB_{name}", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("mason@example.org\n built on rock \n"))
    assert crawl("login") == 0
    out, err = capsys.readouterr()
    assert "keyring" in out and "rock" not in out + err
    found = find_account()
    assert found is not None and (found.user, found.password) == ("mason@example.org", " built on rock ")
    assert "rock" not in repr(found) and "mason" not in repr(found)
    assert crawl("login", "--remove") == 0 and crawl("login", "--remove") == 0
    assert find_account() is None
    monkeypatch.setattr(sys, "stdin", io.StringIO("mason\n\n"))
    assert crawl("login") == 2 and kept == {}

"""`python -m tests.benchmarks.crawl [api | browser | script]`: crawls that are killed, long, or in a hurry.

api: a crawl that is killed at random instants, and a long one. browser: a long one with Chromium, whose memory, files
and processes are to stay flat. script: the way of the script that this program has grown out of, against ours on the
same pages. The site is on loopback, the crawl is the program itself in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engine.crawling import Records
from engine.crawling.packing import check_glb
from tests.site import ModelSite, SiteModel

MAIN = Path(__file__).resolve().parents[2] / "main.py"


@dataclass
class KilledCrawl:
    """How a crawl came through its kills; `problems` says what it broke."""

    models: int
    kills: int = 0
    seconds: float = 0.0
    valid: int = 0
    refetched: int = 0
    """Models that were in work at a kill and asked for again afterwards."""
    resumed: int = 0
    """Downloads that went on from the bytes that a kill had left."""
    overhead: float = 0.0
    """Bytes sent by the site over the bytes of the models, less 1."""
    problems: list[str] = field(default_factory=list)


def start(
    site: ModelSite, urls: Path, folder: Path, parallel: int, source: str = "api", pause: float = 0.0
) -> subprocess.Popen[bytes]:
    """The crawl as a process of its own; its browsers keep their profile beside the models."""
    environment = os.environ | {
        "ORIEL_SKETCHFAB_API": site.api,
        "ORIEL_SKETCHFAB_TOKEN": site.token,
        "ORIEL_SKETCHFAB_SITE": site.url,
        "ORIEL_SKETCHFAB_USER": site.user,
        "ORIEL_SKETCHFAB_PASSWORD": site.password,
        "ORIEL_HOME": str(folder.parent / "home"),
    }
    command = [sys.executable, str(MAIN), "crawl", "run", str(urls), "-o", str(folder), "--source", source]
    options = ["--parallel", str(parallel), "--pause", str(pause), "--keep-free", "0"]
    return subprocess.Popen(
        command + options, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def killed_crawl(
    folder: Path,
    models: int = 200,
    kills: int = 10,
    parallel: int = 3,
    size: int = 150_000,
    pause: float = 0.012,
    seed: int = 0,
) -> KilledCrawl:
    """Crawl models while killing the process, then look at every file, record and request."""
    rng = random.Random(seed)
    kinds = [SiteModel(n, size=size, formats=("gltf",) if n % 10 == 3 else ("glb",)) for n in range(models)]
    report = KilledCrawl(models)
    urls, target = folder / "urls.txt", folder / "models"
    began = time.monotonic()
    with ModelSite(kinds, pause=pause) as site:
        urls.write_text("".join(f"{site.page(model)}\n" for model in kinds))
        recorded: list[tuple[int, set[str]]] = []
        for number in range(kills):
            process = start(site, urls, target, parallel)
            # Spread over the list, every fourth one anywhere, also while it starts.
            goal = models * (number + rng.random()) / (kills + 1) if number % 4 else 0
            while process.poll() is None and len(_done(target)) < goal:
                time.sleep(0.02)
            time.sleep(rng.uniform(0.0, 0.4) if number % 4 else rng.uniform(0.0, 1.5))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                report.kills += 1
            process.wait()
            recorded.append((len(site.asked), _done(target)))
            report.problems += _half_files(target)
        process = start(site, urls, target, parallel)
        if process.wait(600) != 0:
            report.problems.append(f"the last run ended with {process.returncode}")
        _judge(report, site, target, recorded)
    report.seconds = time.monotonic() - began
    return report


def _done(folder: Path) -> set[str]:
    return set(Records.read(folder).downloaded) if folder.is_dir() else set()


def _half_files(folder: Path) -> list[str]:
    problems = []
    for path in folder.glob("*.glb"):
        try:
            check_glb(path)
        except Exception as error:
            problems.append(f"{path.name} after a kill: {error}")
    return problems


def _judge(report: KilledCrawl, site: ModelSite, folder: Path, recorded: list[tuple[int, set[str]]]) -> None:
    report.problems += _half_files(folder)
    for model in site.models:
        path = folder / f"{model.uid}.glb"
        facts = json.loads(path.with_suffix(".json").read_text()) if path.exists() else {}
        content = path.read_bytes() if path.exists() else b""
        right = facts.get("sha256") == hashlib.sha256(content).hexdigest()
        if right and (model.formats == ("gltf",) or content == model.file("glb")):
            report.valid += 1
        else:
            report.problems.append(f"{model.title} is missing or wrong")
    lines = (folder / "downloaded_urls.txt").read_text().splitlines()
    if len(lines) != len(set(lines)) or len(lines) != report.models:
        report.problems.append(f"{len(lines)} lines, {len(set(lines))} different ones, for {report.models} models")
    again = set()
    for position, done in recorded:
        later = {uid for _, uid, _ in site.asked[position:]}
        report.problems += [f"{uid} was fetched again after it was done" for uid in done & later]
        begun = {uid for kind, uid, _ in site.asked[:position] if kind == "file"}
        again |= (begun - done) & {uid for kind, uid, _ in site.asked[position:] if kind == "file"}
    report.refetched = len(again)
    report.resumed = sum(kind == "file" and part != "" for kind, _, part in site.asked)
    whole = sum(len(model.file(model.formats[0])) for model in site.models)
    report.overhead = sum(site.sent.values()) / whole - 1
    if left := list((folder / ".partial").glob("*")):
        report.problems.append(f"{len(left)} partial downloads are left")


def long_crawl(folder: Path, models: int = 1000, parallel: int = 3) -> list[tuple[int, float, int, int]]:
    """Pages done, memory in MB, open files and threads of a crawl, over its length."""
    kinds = [SiteModel(n, size=20_000) for n in range(models)]
    urls, target = folder / "urls.txt", folder / "models"
    found: list[tuple[int, float, int, int]] = []
    with ModelSite(kinds) as site:
        urls.write_text("".join(f"{site.page(model)}\n" for model in kinds))
        process = start(site, urls, target, parallel)
        watched = psutil.Process(process.pid)
        record, step = target / "downloaded_urls.txt", max(1, models // 10)
        while process.poll() is None:
            done = record.read_bytes().count(b"\n") if record.exists() else 0
            if done >= step * (len(found) + 1):
                try:
                    found.append((done, watched.memory_info().rss / 2**20, watched.num_fds(), watched.num_threads()))
                except psutil.Error:
                    break
            time.sleep(0.02)
        process.wait()
    return found


# -- with a browser ------------------------------------------------------------------------------------------


def long_browser_crawl(folder: Path, models: int = 1000, parallel: int = 2) -> list[tuple[int, float, int, float, int]]:
    """Pages done; memory in MB and open files of the crawl; memory in MB and number of its browsers' processes."""
    kinds = [SiteModel(n, size=20_000) for n in range(models)]
    urls, target = folder / "urls.txt", folder / "models"
    found: list[tuple[int, float, int, float, int]] = []
    with ModelSite(kinds, login=True, banner=True) as site:
        urls.write_text("".join(f"{site.page(model)}\n" for model in kinds))
        process = start(site, urls, target, parallel, "browser")
        watched = psutil.Process(process.pid)
        record, step = target / "downloaded_urls.txt", max(1, models // 15)
        while process.poll() is None:
            done = record.read_bytes().count(b"\n") if record.exists() else 0
            if done >= step * (len(found) + 1):
                memory, count = 0, 0
                for browser in watched.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        memory += browser.memory_full_info().uss  # what it shares would be counted many times
                        count += 1
                with contextlib.suppress(psutil.Error):
                    own = watched.memory_info().rss
                    found.append((done, own / 2**20, watched.num_fds(), memory / 2**20, count))
            time.sleep(0.05)
        process.wait()
        if left := [
            p.pid for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])
        ]:
            raise AssertionError(f"processes are left: {left}")
    return found


@dataclass(frozen=True)
class Script:
    """Seconds that the original script sleeps, whatever the page does: half a minute for a page, with its download."""

    page: float = 10.0
    """After a page was opened."""
    dialog: float = 5.0
    """After the button for the download was pressed."""
    begin: float = 5.0
    """After a format was asked for."""
    poll: float = 5.0
    """Between looks for `.crdownload` files."""


def run_script(site: ModelSite, folder: Path, scale: float) -> float:
    """Seconds that the pages take in the original script's way: one browser, one page after the other, fixed sleeps.

    It logs in once, opens each page, sleeps, presses "Download 3D Model", sleeps, takes GLB, sleeps, and looks every
    few seconds until no `.crdownload` file is left. All sleeps are multiplied by `scale`.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    from engine.crawling.browser import find_browser

    sleeps, paths, options = Script(), find_browser(), Options()
    options.binary_location = str(paths.binary)
    for flag in ("--headless=new", "--window-size=1400,1000", f"--user-data-dir={folder / 'script-profile'}"):
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    downloads = folder / "script"
    downloads.mkdir()
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    began = time.monotonic()
    driver = webdriver.Chrome(options=options, service=Service(str(paths.driver)))
    try:
        driver.get(f"{site.url}/login")
        time.sleep(sleeps.page * scale)
        driver.find_element("id", "email").send_keys(site.user)
        driver.find_element("id", "password").send_keys(f"{site.password}\n")
        time.sleep(sleeps.page * scale)
        for model in site.models:
            driver.get(site.page(model))
            time.sleep(sleeps.page * scale)
            driver.find_element("css selector", "[data-selenium='open-download-popup']").click()
            time.sleep(sleeps.dialog * scale)
            row = "//*[contains(text(), '(glb)')]/ancestor::div[button][1]/button"
            driver.find_element("xpath", row).click()
            time.sleep(sleeps.begin * scale)
            while list(downloads.glob("*.crdownload")):
                time.sleep(sleeps.poll * scale)
    finally:
        driver.quit()
    seconds = time.monotonic() - began
    count = sum(path.suffix == ".glb" for path in downloads.iterdir())
    if count != len(site.models):
        raise AssertionError(f"the script got {count} of {len(site.models)} models")
    return seconds


def against_script(folder: Path, models: int = 50, scale: float = 0.1) -> dict[str, float]:
    """Seconds for the same pages: the script, and ours with 1 and 3 at once, its pause of 2 s scaled alike.

    A download takes 5 s, times `scale`. What a browser itself needs is not scaled, and so weighs more than in earnest.
    """
    size = 160_000
    kinds = [SiteModel(n, size=size, formats=("fbx", "glb")) for n in range(models)]
    found = {}
    with ModelSite(kinds, login=True, pause=5.0 * scale / (size / 8192)) as site:
        found["script"] = run_script(site, folder, scale)
        urls = folder / "urls.txt"
        urls.write_text("".join(f"{site.page(model)}\n" for model in kinds))
        for parallel in (1, 3):
            target = folder / f"at-once-{parallel}" / "models"
            began = time.monotonic()
            if start(site, urls, target, parallel, "browser", 2.0 * scale).wait(3600) != 0:
                raise AssertionError("the crawl failed")
            found[f"ours, {parallel} at once"] = time.monotonic() - began
            if len(_done(target)) != models:
                raise AssertionError(f"the crawl got {len(_done(target))} of {models} models")
    return found


def main() -> int:
    """Returns 0 if the killed crawl lost nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crawl", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("api", "browser", "script"), default="api")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--long", type=int, default=1000, help="models of the long crawl; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pages", type=int, default=50, help="pages of the script")
    parser.add_argument("--scale", type=float, default=0.1, help="of the script's sleeps (default 0.1)")
    arguments = parser.parse_args()
    if arguments.what == "api":
        return _print_api(arguments)
    with tempfile.TemporaryDirectory(prefix="oriel-crawl-") as scratch:
        if arguments.what == "browser":
            print(f"{'done':>6} {'memory MB':>10} {'files':>6} {'browsers MB':>12} {'processes':>10}")
            for done, own, files, memory, count in long_browser_crawl(Path(scratch), arguments.long, 2):
                print(f"{done:>6} {own:>10.1f} {files:>6} {memory:>12.0f} {count:>10}")
        else:
            found = against_script(Path(scratch), arguments.pages, arguments.scale)
            print(f"{arguments.pages} pages, sleeps and downloads at {arguments.scale:g} of their length")
            for name, seconds in found.items():
                ratio = f"{found['script'] / seconds:.1f} times as fast"
                print(f"  {name:<16} {seconds:7.1f} s, {seconds / arguments.pages:5.2f} s a page, {ratio}")
    return 0


def _print_api(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="oriel-crawl-") as scratch:
        report = killed_crawl(Path(scratch), arguments.models, arguments.kills, arguments.parallel, seed=arguments.seed)
    print(f"{report.models} models, {arguments.parallel} at once, killed {report.kills} times: {report.seconds:.0f} s")
    print(f"  {report.valid} valid models; {report.refetched} in work at a kill were asked for again, ", end="")
    print(f"{report.resumed} downloads went on from their bytes, {100 * report.overhead:.1f} % sent twice")
    print("  " + ("\n  ".join(report.problems) or "no duplicate line, no half file, none done was fetched again"))
    if arguments.long:
        with tempfile.TemporaryDirectory(prefix="oriel-crawl-") as scratch:
            print(f"{'done':>6} {'memory MB':>10} {'files':>6} {'threads':>8}")
            for done, memory, files, threads in long_crawl(Path(scratch), arguments.long, arguments.parallel):
                print(f"{done:>6} {memory:>10.1f} {files:>6} {threads:>8}")
    return 1 if report.problems or report.kills < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks.crawl`: a crawl that is killed at random instants, and one that is long.

The site is on loopback, the crawl is the program itself in a process of its own.
"""

from __future__ import annotations

import argparse
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
from engine.crawling.glb import check_glb
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


def start(site: ModelSite, urls: Path, folder: Path, parallel: int) -> subprocess.Popen[bytes]:
    """The crawl as a process of its own."""
    environment = os.environ | {"ORIEL_SKETCHFAB_API": site.api, "ORIEL_SKETCHFAB_TOKEN": site.token}
    command = [sys.executable, str(MAIN), "crawl", "run", str(urls), "-o", str(folder)]
    options = ["--parallel", str(parallel), "--pause", "0", "--keep-free", "0"]
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


def main() -> int:
    """Returns 0 if the killed crawl lost nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crawl", description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--long", type=int, default=1000, help="models of the long crawl; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
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

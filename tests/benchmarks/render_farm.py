"""`python -m tests.benchmarks.render_farm [killed | machines]`: renders that are killed, and renders on two machines.

killed: a run of the program in a process of its own, killed (-9) at random instants. machines: a scheduler and two
workers as processes with folders of their own, over TCP, one of them killed midway. Both look at every file afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engine.core.files import read_object
from engine.data.objects import make_object, split_seeds
from engine.rendering import layout
from engine.rendering.jobs import ModelFile, RenderSettings
from tests.rendered_models import read_split

MAIN = Path(__file__).resolve().parents[2] / "main.py"
PATIENCE = 300.0
"""Seconds after which something that is waited for is taken not to come."""


@dataclass
class FarmReport:
    """How a farm came through; `problems` says what it broke."""

    models: int
    kills: int = 0
    seconds: float = 0.0
    finished: int = 0
    again: int = 0
    """Models that were in work at a kill and begun anew afterwards."""
    longest_afterlife: float = 0.0
    """Seconds until the last process was gone after a kill."""
    problems: list[str] = field(default_factory=list)


def write_models(folder: Path, count: int, family: str | None = None) -> list[ModelFile]:
    """Procedural models as GLB files."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in map(int, split_seeds("heldout")[:count]):
        obj = make_object(seed, family)
        (folder / f"{obj.family}_{seed}.glb").write_bytes(obj.to_scene().export(file_type="glb"))
    return layout.find_models(folder)


def start(models: Path, out: Path, settings: RenderSettings, *options: object) -> subprocess.Popen[bytes]:
    """A run as a process of its own."""
    given = ["--size", settings.size, "--samples", settings.samples, "--keep-free", 0, *options]
    given += ["--denoise" if settings.denoise else "--no-denoise"]
    command = [sys.executable, str(MAIN), "render", "run", str(models), "-o", str(out), *map(str, given)]
    environment = os.environ | {"ORIEL_HOME": str(out.parent / "home")}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def kill(process: subprocess.Popen[bytes], home: Path) -> tuple[float, list[str]]:
    """Kill one process, not its children; returns the seconds until these were gone too, and what lives on.

    They are known by the home that they were given, as some may just be starting.
    """
    process.kill()
    began = time.monotonic()
    process.wait()
    while (left := _of_home(home)) and time.monotonic() - began < 15:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    names = []
    for one in left:
        with contextlib.suppress(psutil.Error):
            names.append(f"{one.pid} {' '.join(one.cmdline())[:80]}")
            one.kill()
    return seconds, names


def _of_home(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("ORIEL_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def finished(out: Path) -> dict[str, int]:
    """The models that are in their place, with the time at which they were put there."""
    found = {}
    for path in layout.folder_of(out, "x").parent.glob(f"*/{layout.METADATA}"):
        with contextlib.suppress(OSError):
            found[path.parent.name] = path.stat().st_mtime_ns
    return found


def judge(report: FarmReport, models: list[ModelFile], out: Path, settings: RenderSettings) -> None:
    """Look at every file of a run that is over."""
    wanted = {*layout.expected_files(settings), layout.METADATA}
    for model in models:
        folder = layout.folder_of(out, model.key)
        if not layout.is_finished(out, model, settings, thorough=True):
            report.problems.append(f"{model.key} is not finished")
        elif {path.name for path in folder.iterdir()} != wanted:
            report.problems.append(f"{model.key} has other files than it should")
        else:
            report.finished += 1
    if (out / ".work").exists():
        report.problems.append("something is left in .work")
    train, held = read_split(out)
    if sorted(train + held) != sorted(model.key for model in models):
        report.problems.append("the split does not name all models")


def killed_run(
    folder: Path, models: list[ModelFile], settings: RenderSettings, kills: int = 10, seed: int = 0
) -> FarmReport:
    """Render models while killing the process, then look at every file."""
    rng = random.Random(seed)
    report = FarmReport(len(models))
    source, out = models[0].path.parent, folder / "renders"
    began = time.monotonic()
    before: dict[str, int] = {}
    for number in range(kills):
        process = start(source, out, settings)
        # Spread over the models, every third one anywhere, also while all of it starts.
        goal = len(models) * (number + rng.random()) / (kills + 1) if number % 3 else 0
        while process.poll() is None and len(finished(out)) < goal:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1) if number % 3 else rng.uniform(0, 12))
        if process.poll() is None:
            report.kills += 1
        seconds, left = kill(process, folder / "home")
        report.longest_afterlife = max(report.longest_afterlife, seconds)
        report.problems += [f"kill {number}: {name} lives on" for name in left]
        now = finished(out)
        report.problems += [f"{key} was rendered again" for key in before if now.get(key) != before[key]]
        before = now
    process = start(source, out, settings)
    if process.wait(PATIENCE * max(1, len(models) // 10)) != 0:
        report.problems.append(f"the last run ended with {process.returncode}")
    now = finished(out)
    report.problems += [f"{key} was rendered again" for key in before if now.get(key) != before[key]]
    judge(report, models, out, settings)
    process = start(source, out, settings)
    if process.wait(PATIENCE) != 0 or finished(out) != now:
        report.problems.append("a run after all was done was not without effect")
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def machines(folder: Path, count: int = 2) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers, each a process in a folder of its own; gives the address and the workers."""
    contact = folder / "scheduler.json"
    running: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *command: object) -> None:
        home = folder / name
        home.mkdir(parents=True)
        with (home / "said.txt").open("wb") as said:
            words = [sys.executable, *map(str, command)]
            environment = os.environ | {"ORIEL_HOME": str(home), "TMPDIR": str(home)}
            process = subprocess.Popen(words, cwd=home, env=environment, stdout=said, stderr=said)
        running.append(process)

    try:
        begin("head", "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard",
              "--dashboard-address", "127.0.0.1:0", "--scheduler-file", contact)  # fmt: skip
        wait_for(lambda: read_object(contact))
        address = json.loads(contact.read_text())["address"]
        for number in range(count):
            begin(f"machine-{number}", MAIN, "render", "worker", address, "--workers", 1)
        yield address, running[1:]
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def wait_for(condition: object, seconds: float = PATIENCE) -> None:
    """Until `condition()` is true."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError("what was waited for has not come")
        time.sleep(0.05)


def two_machines(folder: Path, models: list[ModelFile], settings: RenderSettings) -> FarmReport:
    """Render on two machines and kill one midway."""
    report = FarmReport(len(models))
    source, out = models[0].path.parent, folder / "renders"
    began = time.monotonic()
    with machines(folder) as (address, workers):
        process = start(source, out, settings, "--scheduler", address)
        wait_for(lambda: len(finished(out)) >= len(models) // 3 or process.poll() is not None)
        seconds, left = kill(workers[0], folder / "machine-0")
        report.kills, report.longest_afterlife = 1, seconds
        report.problems += [f"{name} lives on" for name in left]
        if process.wait(PATIENCE * max(1, len(models) // 10)) != 0:
            report.problems.append(f"the run ended with {process.returncode}")
    judge(report, models, out, settings)
    report.seconds = time.monotonic() - began
    return report


def main() -> int:
    """Returns 0, or 1 where something was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.render_farm", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["killed", "machines"], metavar="PART", help="killed, machines")
    parser.add_argument("--models", type=int, default=50, help="how many (default 50)")
    parser.add_argument("--kills", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--size", type=int, default=24, help="of the pictures, in px (default 24)")
    parser.add_argument("--samples", type=int, default=32, help="a pixel (default 32)")
    arguments = parser.parse_args()
    settings = RenderSettings(size=arguments.size, samples=arguments.samples)
    broken = False
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as scratch:
        models = write_models(Path(scratch) / "models", arguments.models)
        for part in arguments.parts:
            folder = Path(scratch) / part
            folder.mkdir()
            if part == "killed":
                report = killed_run(folder, models, settings, arguments.kills)
            else:
                report = two_machines(folder, models, settings)
            print(
                f"{part}: {report.finished} of {report.models} models finished, {report.kills} kills, "
                f"{report.seconds:.0f} s; all processes gone after {report.longest_afterlife:.2f} s at most"
            )
            print("\n".join(f"  {problem}" for problem in report.problems) or "  no problems")
            broken |= bool(report.problems)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())

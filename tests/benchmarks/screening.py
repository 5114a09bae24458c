"""`python -m tests.benchmarks.screening --stage session`: a scripted annotator whose process is killed at random.

It is a process of its own that says each decision when it has been made; what it said is compared with the files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.screening import TEXTS, History, ScreeningSession

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class KilledSession:
    """How a session came through its kills; `problems` says what it broke."""

    items: int
    actions: int
    """Decisions, changes, undos and flags."""
    kills: int = 0
    in_work: int = 0
    """Actions that were on the disk at a kill before they could be acknowledged."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass
class Speed:
    """Milliseconds, over a list of `items`."""

    items: int
    open: float = 0.0
    reopen: float = 0.0
    """With every item decided."""
    decide: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    undo: list[float] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)


def write_list(path: Path, count: int) -> list[str]:
    """A list of addresses as Sketchfab's; returns its lines."""
    lines = [f"https://sketchfab.com/3d-models/church-{number:032x}" for number in range(count)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return lines


# -- killed --------------------------------------------------------------------------------------------------


def annotate(urls: Path, folder: Path, actions: int, seed: int) -> None:
    """The scripted annotator: goes on until the folder has `actions` entries, saying each one on standard output."""
    with ScreeningSession.open(urls, folder, "Ada") as session:
        done = len(History.read(folder).entries)
        while done < actions:
            rng = random.Random(f"{seed} {done}")
            for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
                rng.choice((session.back, session.back, session.forward))()
            if rng.random() < 0.5:
                session.next_unjudged()
            action = rng.choices(("select", "reject", "skip", "flag", "undo"), (45, 32, 8, 4, 11))[0]
            item = session.current
            if action == "undo":
                found = session.undo()
                if found is None:
                    continue
                item = found
            elif action == "flag":
                session.flag(item, "look again")
            else:
                session.decide(action, seconds=round(rng.uniform(0.5, 4), 2))
            done += 1
            print(json.dumps([done, action, item.key, item.line]), flush=True)


class Expected:
    """What the files must hold, by a bookkeeping of its own."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: dict[str, str] = {}
        self.stack: list[tuple[str, str]] = []

    def apply(self, action: str, key: str, line: str) -> bool:
        """Take in an action; whether it was possible."""
        self.count += 1
        self.lines[key] = line
        if action != "undo":
            self.stack.append((action, key))
            return True
        return bool(self.stack) and self.stack.pop()[1] == key

    def texts(self) -> dict[str, set[str]]:
        last = {key: action for action, key in self.stack if action in TEXTS}
        return {name: {self.lines[k] for k, a in last.items() if a == decision} for decision, name in TEXTS.items()}

    def flagged(self) -> set[str]:
        return {key for action, key in self.stack if action == "flag"}


def killed_session(
    folder: Path, actions: int = 1000, kills: int = 10, items: int = 600, seed: int = 0
) -> KilledSession:
    """Screen while killing the process, then look at every file."""
    rng = random.Random(seed)
    report = KilledSession(items, actions)
    urls, target = folder / "urls.txt", folder / "decisions"
    write_list(urls, items)
    expected = Expected()
    began = time.monotonic()
    for number in range(kills):
        process = _start(urls, target, actions, seed)
        # Spread over the script, every fourth one anywhere, also while it starts.
        goal = int(actions * (number + rng.random()) / (kills + 1)) if number % 4 else 0
        _listen(process, expected, report, goal)
        _listen(process, expected, report, actions, rng.uniform(0.0, 0.02) if number % 4 else rng.uniform(0.0, 0.8))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            report.kills += 1
        _listen(process, expected, report, actions + 1)
        process.wait()
        _compare(report, expected, urls, target)
    process = _start(urls, target, actions, seed)
    _listen(process, expected, report, actions + 1)
    if process.wait(60) != 0:
        report.problems.append(f"the last run ended with {process.returncode}")
    _compare(report, expected, urls, target)
    if expected.count != actions:
        report.problems.append(f"{expected.count} actions of {actions} were made")
    report.seconds = time.monotonic() - began
    return report


def _start(urls: Path, folder: Path, actions: int, seed: int) -> subprocess.Popen[bytes]:
    script = "import sys; from pathlib import Path; from tests.benchmarks.screening import annotate; "
    script += "annotate(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))"
    command = [sys.executable, "-c", script, str(urls), str(folder), str(actions), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT)


def _listen(
    process: subprocess.Popen[bytes], expected: Expected, report: KilledSession, goal: int, seconds: float = 60.0
) -> None:
    """Take in what the annotator says, until it has said `goal` actions, the time is over, or it has ended."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    while expected.count < goal:
        if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return
        # Unbuffered: what is in the pipe is all there is to wait for. A line is one write, so it comes whole.
        line = process.stdout.readline()
        if not line:
            return
        number, action, key, text = json.loads(line)
        if number != expected.count + 1 or not expected.apply(action, key, text):
            report.problems.append(f"action {number} ({action}) does not fit the {expected.count} before it")


def _compare(report: KilledSession, expected: Expected, urls: Path, folder: Path) -> None:
    log = folder / "decisions.jsonl"
    entries = History.read(folder).entries if log.exists() else []
    extra = entries[expected.count :]
    if len(entries) < expected.count or len(extra) > 1:
        report.problems.append(f"{len(entries)} entries are on the disk after {expected.count} acknowledged actions")
    for entry in extra:
        expected.apply(entry.action, entry.key, entry.line)
        report.in_work += 1
    with ScreeningSession.open(urls, folder, "Bob") as session:
        flagged = {item.key for item, _ in session.flags()}
    for name, lines in expected.texts().items():
        content = (folder / name).read_text() if (folder / name).exists() else ""
        found = content.splitlines()
        if sorted(found) != sorted(lines) or (content and not content.endswith("\n")):
            report.problems.append(f"{name} has {len(found)} lines, not the {len(lines)} decided, or other ones")
    if flagged != expected.flagged():
        report.problems.append("the flags are others than those set")


# -- speed ---------------------------------------------------------------------------------------------------


def measure_speed(folder: Path, items: int = 10_000) -> Speed:
    """Time each action on a long list."""
    speed, rng = Speed(items), random.Random(0)
    urls = folder / "urls.txt"
    lines = write_list(urls, items)
    # Most of the list is decided already, as after weeks of work.
    target = folder / "decisions"
    target.mkdir()
    cut = items - 400
    (target / "selected.txt").write_text("".join(f"{line}\n" for line in lines[: cut // 3]))
    (target / "rejected.txt").write_text("".join(f"{line}\n" for line in lines[cut // 3 : cut]))
    began = time.perf_counter()
    session = ScreeningSession.open(urls, target, "Ada")
    speed.open = 1000 * (time.perf_counter() - began)

    def timed(found: list[float], call: object, *arguments: object) -> None:
        start = time.perf_counter()
        call(*arguments)  # type: ignore[operator]
        found.append(1000 * (time.perf_counter() - start))

    with session:
        for _ in range(400):
            timed(speed.decide, session.decide, rng.choice(("select", "reject")), 1.0)
            timed(speed.progress, session.progress)
        for place in rng.sample(range(cut, items), 50):
            other = (
                "reject" if (entry := session.decision(session.go(place))) and entry.action == "select" else "select"
            )
            timed(speed.change, session.decide, other, 1.0)
        for _ in range(100):
            timed(speed.undo, session.undo)
    began = time.perf_counter()
    ScreeningSession.open(urls, target, "Ada").close()
    speed.reopen = 1000 * (time.perf_counter() - began)
    return speed


def main() -> int:
    """Returns 0 if the killed session lost nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.screening", description=__doc__)
    parser.add_argument("--stage", choices=("session",), default="session")
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--items", type=int, default=10_000, help="of the list whose speed is measured")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oriel-screen-") as scratch:
        report = killed_session(Path(scratch), arguments.actions, arguments.kills, seed=arguments.seed)
    print(f"{report.actions} actions on {report.items} items, killed {report.kills} times: {report.seconds:.1f} s")
    print("  " + ("\n  ".join(report.problems) or "the files agree exactly with the actions made"), end="")
    print(f"; {report.in_work} more were on the disk before they were acknowledged")
    with tempfile.TemporaryDirectory(prefix="oriel-screen-") as scratch:
        speed = measure_speed(Path(scratch), arguments.items)
    print(f"a list of {speed.items}: opened in {speed.open:.0f} ms, again with its decisions in {speed.reopen:.0f} ms")
    for name in ("decide", "change", "undo", "progress"):
        times = sorted(getattr(speed, name))
        late = times[int(0.95 * len(times))]
        print(f"  {name:<9} median {statistics.median(times):6.2f} ms, 95th percentile {late:6.2f} ms")
    return 1 if report.problems or report.kills < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks.screening_window`: the Screen tab in its window, by keys.

`--stage speed` makes one decision a second on large models, with and without previews made ahead, and measures the time
from the key to the next model on the screen. `--stage killed` is a scripted annotator whose process is killed at
random; what the window acknowledged is compared with the files. Both need a display (xvfb-run).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from engine.screening import History
from tests.benchmarks.screening import Expected, KilledSession, _compare, _listen
from tests.benchmarks.screening_preview import make_models
from tests.benchmarks.table import Table

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


@dataclass
class Latency:
    """Milliseconds from the key to the next model on the screen, and memory in MB."""

    waits: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    """Processor time of the window's process meanwhile: drawing in software, above all."""
    late: int = 0
    """Models that were not ready when their turn came."""
    peak: float = 0.0
    """Of the window's process and its workers together, shared pages counted once (PSS)."""


# -- in the window's process ---------------------------------------------------------------------------------


def in_window(scenario: Callable[[Any], Coroutine[Any, Any, None]], size: tuple[int, int] = (1280, 800)) -> None:
    """Run a scenario in an open window with everything behind it."""
    from widgets.screen import share_contexts

    share_contexts()
    import qasync
    from PySide6.QtWidgets import QApplication

    app = QApplication([])
    app.setQuitOnLastWindowClosed(False)

    async def serve() -> None:
        from app.settings import Settings
        from app.window import Session
        from widgets.kit.theme import theme
        from widgets.main_window import MainWindow

        theme.set_mode("dark")
        window = MainWindow()
        window.resize(*size)
        window.show_tab(2)
        session = Session(window, Settings())
        serving = asyncio.ensure_future(session.run())
        try:
            await scenario(session)
        finally:
            window.close()
            await serving

    with qasync.QEventLoop(app) as loop:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Let the window live until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the window did not come to the state that was waited for")
        await asyncio.sleep(0.002)


async def begin(session: Any, source: Path, folder: Path) -> Any:
    """Start to screen; returns the tab once the first item is on the screen."""
    tab = session.window.screen_tab
    tab.start.choose(source, folder)
    await until(lambda: tab.start.ready)
    tab.start.request()
    await until(lambda: tab.scene is not None and tab.seen and not tab.loading)
    return tab


def press(session: Any, name: str) -> None:
    """Press and let go a key, as the system brings it to the window."""
    from PySide6.QtCore import QEvent, Qt
    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QApplication

    key, none = getattr(Qt.Key, f"Key_{name}"), Qt.KeyboardModifier.NoModifier
    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        QApplication.sendEvent(session.window.windowHandle(), QKeyEvent(kind, key, none))


def measure(source: Path, folder: Path, decisions: int, ahead: bool, out: Path) -> None:
    """Make a decision a second, and write what was measured."""
    latency = Latency()
    drawn: list[float] = []

    async def scenario(session: Any) -> None:
        if not ahead:
            session.screen.ahead = 0
        tab = await begin(session, source, folder)
        # What the window does for its first half minute, importing libraries, is not the annotator's everyday life.
        await until(lambda: session.reconstruct.tab.viewport is not None)
        tab.view.drawn.connect(lambda _: drawn.append(_completed(tab.view)))
        await asyncio.sleep(3)
        for number in range(decisions):
            before, begun, work = tab.scene, time.perf_counter(), time.process_time()
            drawn.clear()
            press(session, "YN"[number % 2])
            await until(lambda before=before: tab.scene is not before)
            latency.late += tab.loading
            await until(lambda: drawn)
            latency.waits.append(1000 * (drawn[-1] - begun))
            latency.work.append(1000 * (time.process_time() - work))
            latency.peak = max(latency.peak, _memory())
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - begun)))

    in_window(scenario)
    out.write_text(json.dumps(latency.__dict__))


def _completed(view: Any) -> float:
    """The time once all drawing that was asked for is done."""
    view.canvas.ren_win.WaitForCompletion()
    return time.perf_counter()


def _memory() -> float:
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def annotate(source: Path, folder: Path, actions: int, seed: int) -> None:
    """The scripted annotator: goes on until `actions` entries are made, saying each that the window acknowledges."""
    from app import window

    # What only a reconstruction needs takes seconds to import each time.
    window.ENGINE_MODULES, window._has_gpu = (), lambda: False

    async def scenario(session: Any) -> None:
        tab = await begin(session, source, folder)
        done = len(History.read(folder).entries) if folder.is_dir() else 0

        async def key(name: str, note: str = "") -> Any:
            await until(lambda: tab.seen and not tab.loading)  # before that nothing is decided
            before = tab.scene
            press(session, name)
            if note:
                tab.note.setText(note)
                tab.note.returnPressed.emit()
            await until(lambda: tab.scene is not before)
            return tab.scene.done

        while done < actions:
            rng = random.Random(f"{seed} {done}")
            for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
                await key(rng.choice(("PageUp", "PageUp", "PageDown")))
            if rng.random() < 0.5:
                await key("G")
            action = rng.choices(("select", "reject", "skip", "flag", "undo"), (45, 32, 8, 4, 11))[0]
            keys = {"select": "Y", "reject": "N", "skip": "S", "flag": "F", "undo": "U"}
            if tab.scene.at_end and keys[action] in "YNS":
                await key("PageUp")  # at the end they are for nothing
            made = await key(keys[action], "look again" if action == "flag" else "")
            if made is None:
                continue  # nothing to take back
            done += 1
            print(json.dumps([done, *made]), flush=True)

    in_window(scenario, (1000, 640))


# -- from outside --------------------------------------------------------------------------------------------


def make_boxes(folder: Path, count: int) -> Path:
    """A folder of small models, one in ten damaged."""
    import trimesh

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"model_{number:04d}.glb"
        trimesh.creation.box((1, 1 + number % 7 / 4, 1 + number % 5 / 3)).export(path)
        if number % 10 == 7:
            path.write_bytes(path.read_bytes()[:100])
    return folder


def killed_window(folder: Path, actions: int, kills: int, items: int = 120, seed: int = 0) -> KilledSession:
    """Screen by keys while killing the window's process, then look at every file."""
    rng = random.Random(seed)
    report, expected = KilledSession(items, actions), Expected()
    source, target = make_boxes(folder / "models", items), folder / "decisions"
    began = time.monotonic()
    for number in range(kills):
        process = _start("annotate", folder, source, target, actions, seed)
        goal = max(expected.count + 1, int(actions * (number + rng.random()) / (kills + 1)))
        _listen(process, expected, report, min(goal, actions), PATIENCE)
        _listen(process, expected, report, actions, rng.uniform(0.0, 0.2))  # and somewhere in the next action
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            report.kills += 1
        _listen(process, expected, report, actions + 1)
        process.wait()
        _compare(report, expected, source, target)
    process = _start("annotate", folder, source, target, actions, seed)
    _listen(process, expected, report, actions, PATIENCE + actions)
    if process.wait(PATIENCE) != 0:
        report.problems.append(f"the last window ended with {process.returncode}")
    _compare(report, expected, source, target)
    if expected.count != actions:
        report.problems.append(f"{expected.count} actions of {actions} were made")
    report.seconds = time.monotonic() - began
    return report


def _start(what: str, home: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.benchmarks.screening_window", "--child", what, *map(str, arguments)]
    environment = os.environ | {"ORIEL_HOME": str(home / "home")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT, env=environment)


def measure_latency(folder: Path, models: Path, count: int, decisions: int, table: Table) -> None:
    """With previews made ahead and without, in one run."""
    make_models(models, count)
    for ahead in (True, False):
        out, target = folder / f"latency-{ahead}.json", folder / f"decisions-{ahead}"
        with _start("measure", folder, models, target, min(decisions, count - 1), int(ahead), out) as process:
            if process.wait() != 0:
                raise RuntimeError("the window ended with an error")
        found = json.loads(out.read_text())
        group = f"{len(found['waits'])} decisions, previews {'made ahead' if ahead else 'made when wanted'}"
        table.add(group, "key to next model, median", float(np.median(found["waits"])), "ms", "target <= 120 ms")
        late = float(np.percentile(found["waits"], 95))
        table.add(group, "key to next model, 95th percentile", late, "ms", "target <= 300 ms")
        table.add(group, "key to next model, longest", max(found["waits"]), "ms")
        table.add(group, "processor time of the window meanwhile, median", float(np.median(found["work"])), "ms")
        table.add(group, "models that were not ready", found["late"], "")
        table.add(group, "memory of all processes", found["peak"], "MB", "target < 3000 MB")


def main() -> int:
    """Returns 0 if nothing was lost."""
    if sys.argv[1:2] == ["--child"]:
        what, source, folder, *rest = sys.argv[2:]
        if what == "annotate":
            annotate(Path(source), Path(folder), int(rest[0]), int(rest[1]))
        else:
            measure(Path(source), Path(folder), int(rest[0]), rest[1] == "1", Path(rest[2]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.screening_window", description=__doc__)
    parser.add_argument("--stage", choices=("speed", "killed"), help="only this part")
    parser.add_argument("--models", type=int, default=100, help="large models whose drawing is timed")
    parser.add_argument("--folder", type=Path, help="of these models; kept, and made if they are not there")
    parser.add_argument("--decisions", type=int, default=100, help="that are timed")
    parser.add_argument("--actions", type=int, default=1000, help="of the scripted annotator")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table, lost = Table(), False
    with tempfile.TemporaryDirectory(prefix="oriel-screen-") as scratch:
        if arguments.stage in (None, "speed"):
            models = arguments.folder or Path(scratch) / "large"
            measure_latency(Path(scratch), models, arguments.models, arguments.decisions, table)
            print(f"load {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores\n{table.text()}")
        if arguments.stage in (None, "killed"):
            report = killed_window(Path(scratch), arguments.actions, arguments.kills, seed=arguments.seed)
            print(f"{report.actions} actions by keys, killed {report.kills} times: {report.seconds:.1f} s")
            print("  " + ("\n  ".join(report.problems) or "the files agree exactly with the actions made"), end="")
            print(f"; {report.in_work} more were on the disk before they were acknowledged")
            lost = bool(report.problems) or report.kills < arguments.kills
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())

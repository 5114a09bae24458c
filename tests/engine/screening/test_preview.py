"""Previews made ahead by real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.core.errors import InputError
from engine.screening import Preview, PreviewCache, PreviewLimits, load_preview
from tests.screening_models import BAD, write_bad, write_house, write_slow

PATIENCE = 90.0


def until(true: Callable[[], object], what: str = "it") -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.01)


def ready(cache: PreviewCache, path: Path) -> Preview:
    """The preview of a wanted file, waited for."""
    until(lambda: cache.get(path) is not None, path.name)
    found = cache.get(path)
    assert found is not None
    return found


def workers() -> list[psutil.Process]:
    """The worker processes of this process."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "engine.core.processes" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@contextmanager
def opened(limits: PreviewLimits | None = None, count: int = 1) -> Iterator[PreviewCache]:
    """A cache that must leave nothing behind."""
    processes, threads, files = workers(), set(threading.enumerate()), psutil.Process().num_fds()
    cache = PreviewCache(limits, workers=count)
    try:
        yield cache
    finally:
        cache.close()
    assert psutil.Process().num_fds() == files
    assert {p.pid for p in workers()} == {p.pid for p in processes}
    assert set(threading.enumerate()) == threads
    assert cache.nbytes == 0


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("houses")
    return [write_house(folder / f"house_{i}.glb", rows=4 + i) for i in range(6)]


def test_previews_arrive_as_they_are_loaded_and_bad_ones_say_why(houses: list[Path], tmp_path: Path) -> None:
    bad = [write_bad(tmp_path, name) for name in sorted(BAD)]
    told: list[tuple[Path, str]] = []
    with opened(PreviewLimits(triangles=1000), count=2) as cache:
        cache.on_ready(lambda path: told.append((path, threading.current_thread().name)))
        begun = time.monotonic()
        cache.want([*houses, *bad, tmp_path / "gone.glb"])
        assert cache.get(houses[0]) is None and time.monotonic() - begun < 0.5
        for path in houses:
            preview, here = ready(cache, path), load_preview(path, PreviewLimits(triangles=1000))
            assert preview.problem is None and preview.facts.triangles == here.facts.triangles
            for part, same in zip(preview.parts, here.parts, strict=True):
                for name, array in same.arrays().items():
                    assert np.array_equal(part.arrays()[name], array)
                    assert part.arrays()[name].dtype == array.dtype and not part.arrays()[name].flags.writeable
        for path in bad:
            assert BAD[path.name][1] in str(ready(cache, path).problem)
        gone = ready(cache, tmp_path / "gone.glb")
        assert "no file" in str(gone.problem) and gone.decision == "Skip it, or put it back."
        until(lambda: len(told) == len(houses) + len(bad) + 1)
        assert {thread for _, thread in told} != {threading.current_thread().name}
        assert 0 < cache.nbytes < 50e6
        assert all(process.nice() > psutil.Process().nice() for process in workers() if os.name == "posix")


def test_what_is_urgent_comes_first_also_when_that_changes(houses: list[Path], tmp_path: Path) -> None:
    order: list[str] = []
    gate = threading.Event()
    with opened() as cache:
        cache.want(houses[:1])
        ready(cache, houses[0])

        def note(path: Path) -> None:
            order.append(path.name)
            gate.wait(PATIENCE)  # the cache's thread waits here, so the wishes change while nothing moves

        cache.on_ready(note)
        cache.want(houses[1:])
        until(lambda: order)
        cache.want([houses[5], houses[4]])
        gate.set()
        until(lambda: cache.get(houses[4]))
        assert order == ["house_1.glb", "house_5.glb", "house_4.glb"]
        assert cache.get(houses[2]) is None and cache.get(houses[1]) is not None


def test_a_model_that_takes_too_long_does_not_hold_up_the_others(houses: list[Path], tmp_path: Path) -> None:
    slow = write_slow(tmp_path / "slow.glb")
    with opened(PreviewLimits(seconds=1.5), count=2) as cache:
        cache.want([slow, *houses])
        for path in houses:
            assert ready(cache, path).problem is None
        assert "did not load within 2 seconds" in str(ready(cache, slow).problem)
        until(lambda: len(workers()) == 2)
        # one whose worker is ended by force
        crash = write_slow(tmp_path / "crash.glb")
        cache.want([crash])
        before = {p.pid: p.cpu_times().user for p in workers()}
        until(lambda: any(p.cpu_times().user > before.get(p.pid, 0) + 0.1 for p in workers()), "work on crash.glb")
        for process in workers():
            process.send_signal(signal.SIGSEGV)
        assert "crash" in str(ready(cache, crash).problem)
        cache.want([slow, houses[0]])
        assert ready(cache, houses[0]).problem is None


def test_a_model_that_takes_too_much_memory(houses: list[Path], tmp_path: Path) -> None:
    path = write_house(tmp_path / "large.glb", rows=300)
    with opened(PreviewLimits(worker_bytes=40 << 20)) as cache:
        cache.want([path, houses[0]])
        assert "too large" in str(ready(cache, path).problem)
        assert ready(cache, houses[0]).problem is None


def test_changed_files_are_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "model.glb"
    with opened() as cache:
        cache.want([path])
        assert "no file" in str(ready(cache, path).problem)
        write_house(path)
        cache.want([path])
        until(lambda: (found := cache.get(path)) is not None and found.problem is None)
        assert ready(cache, path).facts.triangles == 192
        write_house(path, rows=5)
        cache.want([path])
        until(lambda: (found := cache.get(path)) is not None and found.facts.triangles == 300)


def test_the_budget_keeps_what_is_wanted_and_what_was_seen_last(houses: list[Path], tmp_path: Path) -> None:
    paths = [write_house(tmp_path / f"{i}.glb", rows=10, side=256) for i in range(12)]
    size = load_preview(paths[0]).nbytes
    limits = PreviewLimits(triangles=1300, texture_bytes=256 * 256 * 3, cache_bytes=8 * size)
    assert size < limits.largest < 2 * size
    with opened(limits) as cache:
        for at in range(len(paths)):
            cache.want(paths[at:])
            assert ready(cache, paths[at]).problem is None
            assert cache.nbytes <= limits.cache_bytes
        # nothing is made for which there is no room, and going back finds what was seen last
        assert [path for path in paths if cache.get(path)] == paths[-len([p for p in paths if cache.get(p)]) :]
        assert cache.get(paths[-2]) is not None and cache.get(paths[-3]) is not None
        cache.want([paths[-3], paths[-2]])
        assert cache.get(paths[-3]) is not None


def test_workers_are_replaced_after_some_models(houses: list[Path]) -> None:
    with opened(PreviewLimits(worker_jobs=2)) as cache:
        seen = set()
        for path in houses[:4]:
            cache.want([path])
            ready(cache, path)
            seen |= {process.pid for process in workers()}
        until(lambda: workers())
        seen |= {process.pid for process in workers()}
        assert len(seen) >= 2


def test_a_worker_that_ends_while_it_is_idle_is_replaced(houses: list[Path]) -> None:
    with opened() as cache:
        cache.want(houses[:1])
        ready(cache, houses[0])
        [idle] = workers()
        idle.kill()
        os.waitid(os.P_PID, idle.pid, os.WEXITED | os.WNOWAIT)  # a zombie may have threads that still end
        cache.want(houses[1:2])
        assert ready(cache, houses[1]).problem is None


def test_closing_in_the_middle_of_work_is_quick(tmp_path: Path) -> None:
    slow = write_slow(tmp_path / "slow.glb")
    with opened(count=2) as cache:
        cache.want([slow])
        until(lambda: len(workers()) == 2 and any(p.cpu_times().user > 1 for p in workers()), "work")
        begun = time.monotonic()
        cache.close()
        assert time.monotonic() - begun < 10
        cache.close()
    with opened():
        pass  # closed before its worker is ready


def test_nothing_is_left_where_the_owner_is_killed(tmp_path: Path) -> None:
    slow = write_slow(tmp_path / "slow.glb")
    script = tmp_path / "owner.py"
    script.write_text(
        "import time\nfrom pathlib import Path\nfrom engine.screening import PreviewCache\n"
        "if __name__ == '__main__':\n"
        f"    cache = PreviewCache(workers=2)\n    cache.want([Path({str(slow)!r})])\n    time.sleep(600)\n"
    )
    (folder := tmp_path / "temporary").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "TMPDIR": str(folder)}
    owner = subprocess.Popen([sys.executable, script], env=environment)
    try:
        process = psutil.Process(owner.pid)
        until(lambda: any(child.cpu_times().user > 1.5 for child in process.children()), "the work")
        children = process.children(recursive=True)
    finally:
        owner.kill()
        owner.wait()
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children), "their end")
    assert list(folder.iterdir()) == []


def test_limits_that_make_no_sense_are_refused() -> None:
    for make in (lambda: PreviewLimits(triangles=0), lambda: PreviewLimits(seconds=0), lambda: PreviewCache(workers=0)):
        with pytest.raises(InputError):
            make()

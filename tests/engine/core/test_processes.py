"""Functions in processes of their own, and what becomes of them when things go wrong."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine.core.errors import Cancelled, InputError
from engine.core.processes import Channel, Child, ChildEnded, ChildFault, process_lives, process_started
from engine.core.progress import CancelToken

PATIENCE = 60.0


def echo(channel: Channel, first: Any) -> None:
    channel.send(first)
    while True:
        channel.send(channel.receive())


def wait_for_nothing(channel: Channel) -> None:
    channel.send(os.getpid())
    time.sleep(1000)


def count_for_long(channel: Channel) -> None:
    end = time.process_time() + 1000
    channel.send(os.getpid())
    while time.process_time() < end:
        pass


def start_another(channel: Channel) -> None:
    channel.send(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid)
    time.sleep(1000)


def fail(channel: Channel, error: Exception) -> None:
    raise error


def complain_and_crash(channel: Channel) -> None:
    print("printed")
    sys.stdout.flush()
    print("one line\nno memory is left", file=sys.stderr, flush=True)
    ctypes.string_at(0)


@contextmanager
def child(work: Callable[..., None], *args: Any, **options: Any) -> Iterator[Child]:
    """A child that must leave nothing behind."""
    before = psutil.Process().num_fds(), {process.pid for process in psutil.Process().children()}
    with closing(Child(work, *args, **options)) as started:
        yield started
    started.close()
    assert (psutil.Process().num_fds(), {process.pid for process in psutil.Process().children()}) == before


def test_values_and_arrays_go_to_and_fro() -> None:
    rng = np.random.default_rng(0)
    values = {"odd": rng.random((7, 3)), "large": rng.integers(0, 255, (3000, 1000, 3), np.uint8), "text": "α"}
    values |= {"empty": np.zeros((0, 3), np.float32), "across": np.asfortranarray(rng.random((5, 4)))}
    with child(echo, values, niceness=3) as started:
        for sent in (values, [values["odd"]] * 2, None):
            if sent is not values:
                started.send(sent)
            found = started.answer(PATIENCE)
            if sent is values:
                assert found["text"] == "α" and not found["large"].flags.writeable
                for name in ("odd", "large", "empty", "across"):
                    assert found[name].dtype == values[name].dtype and np.array_equal(found[name], values[name])
            elif sent is not None:
                assert all(np.array_equal(array, values["odd"]) for array in found)
            else:
                assert found is None


def test_what_the_work_raises_is_raised() -> None:
    with child(fail, InputError("Give another.")) as started, pytest.raises(InputError, match=r"Give another\."):
        started.answer(PATIENCE)
    with child(fail, ValueError("seven")) as started, pytest.raises(ChildFault, match="ValueError: seven"):
        started.answer(PATIENCE)


def test_a_crash_is_told_with_what_was_said_last() -> None:
    with child(complain_and_crash, hushed=True) as started:
        with pytest.raises(ChildEnded) as caught:
            started.answer(PATIENCE)
        assert caught.value.code == -signal.SIGSEGV and caught.value.said == "no memory is left"
        started.send("anybody there?")
        with pytest.raises(ChildEnded):
            started.answer(PATIENCE)


def test_one_that_does_not_answer_is_given_up() -> None:
    with child(wait_for_nothing) as started:
        started.answer(PATIENCE)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            started.answer(0.3, starved=100.0)  # it sleeps, so nobody keeps a processor from it
        assert 0.3 <= time.monotonic() - begun < 5
        token = CancelToken()
        timer = threading.Timer(0.2, token.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            started.answer(PATIENCE, token)
        timer.join()


def test_one_that_lacks_a_processor_gets_more_time() -> None:
    """Two at work on one processor."""
    processor = {min(psutil.Process().cpu_affinity())}
    with child(count_for_long) as rival, child(count_for_long) as started:
        for process in (rival, started):
            psutil.Process(process.answer(PATIENCE)).cpu_affinity(list(processor))
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            started.answer(1.0, starved=10.0)
        assert 1.3 < time.monotonic() - begun < 20


def test_what_a_child_has_started_ends_with_it() -> None:
    with child(start_another) as started:
        other = psutil.Process(started.answer(PATIENCE))
        assert started.resident > 1 << 20
    psutil.wait_procs([other], PATIENCE)
    assert not other.is_running() or other.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("work", ["wait_for_nothing", "count_for_long"])
def test_a_child_does_not_outlive_the_one_that_started_it(work: str, tmp_path: Path) -> None:
    script = f"""
from engine.core.processes import Child
from tests.engine.core import test_processes
child = Child(test_processes.{work})
print(child.answer({PATIENCE}), flush=True)
child.answer(1000)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as owner:
        assert owner.stdout is not None
        process = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.05)


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    started = process_started(os.getpid())
    assert started is not None and process_lives(os.getpid(), started)
    assert not process_lives(os.getpid(), started - 100)
    if (child := os.fork()) == 0:
        os._exit(0)
    deadline = time.monotonic() + 10
    while process_started(child) is not None:  # it waits to be collected
        assert time.monotonic() < deadline
    os.waitpid(child, 0)
    assert not process_lives(child, started)

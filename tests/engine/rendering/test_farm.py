"""The farm: real Blenders under real Dask workers."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from engine.errors import Cancelled, InputError, OrielError, OutputError
from engine.progress import CancelToken, Progress
from engine.rendering import layout
from engine.rendering.farm import FarmOptions, RenderRun, read_status, render_frame
from engine.rendering.jobs import FrameDone, ModelFile, ModelState, RenderSettings, RenderTotals, frames
from engine.rendering.records import Records, log_path, read_progress
from tests.benchmarks.render_farm import killed_run, machines, wait_for, write_models

SMALL = RenderSettings(size=16)
QUICK = RenderSettings(size=16, samples=1, denoise=False)
OPTIONS = FarmOptions(workers=2, keep_free=0)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ModelFile]:
    """Small procedural buildings."""
    return write_models(tmp_path_factory.mktemp("models"), 6, "skyscraper")


class Watcher:
    """Remembers what a run reports, and waits for it from another thread."""

    def __init__(self) -> None:
        self.states: dict[str, list[ModelState]] = defaultdict(list)
        self.frames: dict[str, dict[str, FrameDone]] = defaultdict(dict)
        self.totals: list[RenderTotals] = []

    def __call__(self, event: Progress) -> None:
        if isinstance(event.preview, ModelState):
            self.states[event.preview.model.key].append(event.preview)
        elif isinstance(event.preview, FrameDone):
            self.frames[event.preview.key][event.preview.name] = event.preview
        else:
            self.totals.append(event.preview)

    def now(self, key: str) -> str:
        """State of a model."""
        return self.states[key][-1].state if self.states[key] else "waiting"

    def working(self) -> list[str]:
        """Keys of the models that are being rendered and have frames."""
        now = {key: states[-1] for key, states in list(self.states.items()) if states}
        return [key for key, state in now.items() if state.state == "working" and state.frames]


@contextmanager
def running(run: RenderRun, watcher: Watcher) -> Iterator[tuple[CancelToken, list[RenderTotals]]]:
    """A run on a thread of its own; it is waited for at the end, and what it raises is raised."""
    cancel, totals = CancelToken(), []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: totals.append(run.run(watcher, cancel)))
        try:
            yield cancel, totals
        except BaseException:
            cancel.cancel()
            raise
        future.result()


def children() -> set[int]:
    """Processes below this one that render, or would."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline()):
                found.add(process.pid)
        except psutil.Error:
            pass
    return found


def dask_workers() -> list[psutil.Process]:
    found = [process for process in psutil.Process().children() if "spawn_main" in " ".join(process.cmdline())]
    return sorted(found, key=lambda process: process.pid)


def test_models_are_rendered_and_a_second_run_renders_nothing(models: list[ModelFile], tmp_path: Path) -> None:
    out, watcher = tmp_path / "renders", Watcher()
    threads, before, variables = set(threading.enumerate()), children(), dict(os.environ)
    run = RenderRun(models, out, SMALL, OPTIONS, source=models[0].path.parent)
    with running(run, watcher):
        wait_for(watcher.working)
        totals, states = read_status(out)
        assert totals.state in ("starting", "running") and len(states) == len(models)
        with pytest.raises(InputError, match="Another run renders into"):
            RenderRun(models, out, SMALL, OPTIONS).run()
    totals = run.totals()
    assert (totals.state, totals.done, totals.failed, totals.working) == ("finished", len(models), 0, 0)
    assert totals.frames == totals.frames_total == 40 * len(models) and totals.frames_per_hour > 0
    assert max(t.workers for t in watcher.totals) == 2
    assert watcher.totals[-1] == totals and totals.seconds_left == 0
    assert totals.disk == sum(path.stat().st_size for path in (out / "zero12345_narrow").rglob("*.*"))
    for model in models:
        assert layout.is_finished(out, model, SMALL, thorough=True)
        assert watcher.states[model.key][-1].state == "done"
        shown = watcher.frames[model.key]
        assert shown.keys() == {frame.name for frame in frames(SMALL)}
        assert sum(frame.depth is not None for frame in shown.values()) == 8
        picture = np.asarray(Image.open(BytesIO(shown["view_0"].picture)))
        assert picture.shape == (16, 16, 4) and 0 < (picture[..., 3] > 0).mean() < 1
        depth = np.asarray(Image.open(BytesIO(shown["view_0"].depth or b"")))
        assert depth[0, 0] == 0 and depth[8, 8] > 0
    train, held = layout.read_split(out)
    assert sorted(train + held) == sorted(model.key for model in models) and len(held) == 1
    assert {path.name for path in out.iterdir() if path.name != "logs"} == {
        *("zero12345_narrow", "One2345_training_pose.json", "lvis_split_cc_by.json", "render.json", "render.jsonl"),
        *("progress.json", "models.json", "render.log", ".render.lock"),
    }
    assert children() == before and os.environ == variables
    assert set(threading.enumerate()) == threads

    when = {path: path.stat().st_mtime_ns for path in out.rglob("view_*")}
    began, again = time.monotonic(), Watcher()
    assert RenderRun(models, out, SMALL, OPTIONS).run(again).done == len(models)
    assert not again.frames and time.monotonic() - began < totals.frames_total  # no cluster: at once
    assert all(states[-1].earlier for states in again.states.values())
    assert when == {path: path.stat().st_mtime_ns for path in out.rglob("view_*")}
    assert read_status(out)[0].state == "finished"
    with pytest.raises(InputError, match="samples"):
        RenderRun(models, out, QUICK, OPTIONS).run()


def test_a_run_is_steered_and_survives_its_workers(models: list[ModelFile], tmp_path: Path) -> None:
    out, watcher = tmp_path / "renders", Watcher()
    first, second, third, fourth, fifth, last = (model.key for model in models)
    settings = RenderSettings(size=256, samples=1, denoise=False)
    run = RenderRun(models, out, settings, OPTIONS)
    run.prioritise([last, fifth])
    run.cancel_models([first])
    with running(run, watcher):
        wait_for(lambda: len(watcher.working()) == 2)
        assert set(watcher.working()) == {last, fifth}
        run.pause()
        dask_workers()[0].kill()
        wait_for(lambda: watcher.totals[-1].state == "paused" and watcher.totals[-1].working == 0)
        assert watcher.now(first) == "cancelled"
        done = [key for key in (last, fifth) if watcher.now(key) == "done"]
        lost = ({last, fifth} - {*done}).pop()
        assert len(done) == 1 and "lost" in watcher.states[lost][-1].message
        run.cancel_models([second])
        wait_for(lambda: watcher.now(second) == "cancelled")
        run.retry([first])
        run.prioritise([third])
        run.resume()
        wait_for(lambda: third in watcher.working())
        run.cancel_models([third])
        wait_for(lambda: watcher.now(third) == "cancelled")
    final = {state.model.key: state for state in run.states()}
    assert {key for key, state in final.items() if state.state == "cancelled"} == {second, third}
    assert [final[key].state for key in (first, fourth, fifth, last)] == ["done"] * 4
    assert all(state.attempts == 0 for state in final.values())
    # What was taken out stays out, until it is wanted again.
    assert RenderRun(models, out, settings, OPTIONS).run().cancelled == 2
    read = {state.model.key: state.state for state in read_status(out)[1]}
    assert read == {key: state.state for key, state in final.items()}


def test_cancelling_stops_every_blender_and_keeps_what_is_done(models: list[ModelFile], tmp_path: Path) -> None:
    out, watcher = tmp_path / "renders", Watcher()
    run = RenderRun(models, out, RenderSettings(size=512), OPTIONS)
    before = children()
    with pytest.raises(Cancelled), running(run, watcher) as (cancel, _):
        wait_for(watcher.working)
        cancel.cancel()
    assert children() == before
    totals, states = read_status(out)
    assert totals.state == "stopped" and totals.done < len(models)
    assert {state.state for state in states} <= {"waiting", "done"}
    assert not (out / ".work").exists()
    # Also while it starts.
    begun = Watcher()
    with (
        pytest.raises(Cancelled),
        running(run_again := RenderRun(models, out, RenderSettings(size=512), OPTIONS), begun) as (
            cancel,
            _,
        ),
    ):
        wait_for(lambda: any("starting" in t.message for t in begun.totals))
        cancel.cancel()
    assert run_again.totals().working == 0 and children() == before


def test_a_killed_run_goes_on_where_it_was(models: list[ModelFile], tmp_path: Path) -> None:
    report = killed_run(tmp_path, models, QUICK, kills=3, seed=3)
    assert report.problems == []
    assert report.finished == len(models)


def test_two_machines_without_a_common_folder(
    models: list[ModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models' path means something else to the workers, so that content travels; one worker dies midway."""
    monkeypatch.chdir(models[0].path.parent)
    here = [ModelFile(model.key, Path("/proc/self/cwd") / model.path.name) for model in models]
    assert here[0].path.is_file()
    out, watcher = tmp_path / "renders", Watcher()
    with machines(tmp_path) as (address, workers):
        run = RenderRun(here, out, QUICK, FarmOptions(scheduler=address, keep_free=0))
        with running(run, watcher):
            wait_for(lambda: sum(s[-1].state == "done" for s in watcher.states.values() if s) >= 2)
            wait_for(lambda: watcher.working() or watcher.totals[-1].state == "finished")
            workers[0].kill()
    assert run.totals().done == len(models)
    assert all(layout.is_finished(out, model, QUICK, thorough=True) for model in models)
    assert len({states[-1].worker for states in watcher.states.values()}) == 2


def test_what_cannot_go_well_is_said_at_once(
    models: list[ModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="There is no Blender at"):
        RenderRun(models, tmp_path / "a", QUICK, FarmOptions(blender="/no/blender", keep_free=0)).run()
    with pytest.raises(InputError, match="No scheduler answers at"):
        RenderRun(models, tmp_path / "b", QUICK, FarmOptions(scheduler="tcp://127.0.0.1:9", keep_free=0)).run()
    with pytest.raises(OutputError, match="GB left"):
        RenderRun(models, tmp_path / "c", QUICK, FarmOptions(keep_free=1 << 60)).run()
    with pytest.raises(InputError, match="workers is 0"):
        FarmOptions(workers=0)
    with pytest.raises(InputError, match="same key"):
        RenderRun([models[0], models[0]], tmp_path / "d", QUICK)
    with pytest.raises(InputError, match="There is no folder"):
        read_status(tmp_path / "none")
    with pytest.raises(InputError, match="Nothing has been rendered"):
        read_status(tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        render_frame(tmp_path / "x.glb", QUICK, frames(QUICK)[0])
    assert issubclass(OutputError, OrielError)


def test_one_frame(models: list[ModelFile]) -> None:
    before = children()
    picture = Image.open(BytesIO(render_frame(models[0].path, QUICK, frames(QUICK)[3])))
    assert picture.size == (16, 16) and picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 255)
    assert children() == before


def test_records_survive_a_torn_line(tmp_path: Path) -> None:
    with Records.open(tmp_path) as records:
        records.add("a", "failed", "first", worker="w")
        records.add("a", "aside", "second\nline", worker="w", sha256="1")
        records.add("b", "failed", "once")
        records.add("c", "failed", "once")
        records.add("c", "done", seconds_per_frame=0.5)
        records.add("d", "cancelled")
        records.add("a", "again")
        records.add("a", "failed", "third")
        with pytest.raises(InputError, match="Another run"):
            Records.open(tmp_path)
    path = tmp_path / "render.jsonl"
    whole = path.read_bytes()
    for size in range(1, len(whole.splitlines(keepends=True)[-1])):
        path.write_bytes(whole[:-size])
        assert "a" in Records.read(tmp_path).settled
        with Records.open(tmp_path) as records:
            assert records.settled["a"].event == "again"
            records.add("a", "failed", "third")
        assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == list("aabccdaa")
    found = Records.read(tmp_path).settled
    assert (found["a"].event, found["a"].attempts, found["a"].message) == ("failed", 1, "third")
    assert (found["b"].attempts, found["c"].event, found["c"].attempts) == (1, "done", 0)
    assert found["c"].seconds_per_frame == 0.5 and found["d"].event == "cancelled"
    records = Records.read(tmp_path)
    records.write_log("a", "said")
    assert log_path(tmp_path, "a").read_text() == "said"
    records.drop_log("a")
    records.drop_log("a")
    assert not log_path(tmp_path, "a").exists()


def test_progress_tells_whether_its_process_lives(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    records = Records(tmp_path)
    records.write_progress(RenderTotals("running", 3, done=1), [{"key": "a"}])
    totals, working, alive = read_progress(tmp_path) or pytest.fail("nothing was said")
    assert (totals.done, working, alive) == (1, [{"key": "a"}], True)
    path = tmp_path / "progress.json"
    told = json.loads(path.read_text())
    for change in ({"process": 2**22 + 1}, {"began": told["began"] - 100}):
        path.write_text(json.dumps(told | change))
        assert (read_progress(tmp_path) or pytest.fail("nothing was said"))[2] is False
    path.write_text(json.dumps(told | {"host": "elsewhere"}))
    assert (read_progress(tmp_path) or pytest.fail("nothing was said"))[2] is True
    os.utime(path, (0, 0))
    assert (read_progress(tmp_path) or pytest.fail("nothing was said"))[2] is False
    path.write_text("{")
    assert read_progress(tmp_path) is None
    assert Counter([1, 1])[1] == 2

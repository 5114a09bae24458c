"""The farm: real Blenders under real Dask workers."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import Client
from PIL import Image

from engine.core.errors import Cancelled, InputError, OutputError
from engine.core.progress import CancelToken, Progress
from engine.jobs import Board
from engine.rendering import layout
from engine.rendering.farm import FarmOptions, RenderRun, read_status, render_frame
from engine.rendering.jobs import FrameDone, ModelFile, ModelState, RenderSettings, RenderTotals, frames
from engine.rendering.records import Records, log_path, read_progress
from tests.benchmarks.render_farm import killed_run, machines, wait_for, write_models
from tests.render_models import BAD, ODD, write_gltf
from tests.rendered_models import read_split

SMALL = RenderSettings(size=16)
QUICK = RenderSettings(size=16, samples=1, denoise=False)
OPTIONS = FarmOptions(workers=2, keep_free=0)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ModelFile]:
    """Small procedural buildings."""
    return write_models(tmp_path_factory.mktemp("models"), 6, "skyscraper")


class Watcher:
    """Remembers what a run reports; `on_frame` is called with a model's key at its first frame, on the run's thread."""

    def __init__(self, on_frame: Callable[[str], None] = lambda key: None) -> None:
        self.on_frame = on_frame
        self.states: dict[str, list[ModelState]] = defaultdict(list)
        self.frames: dict[str, dict[str, FrameDone]] = defaultdict(dict)
        self.totals: list[RenderTotals] = []
        self.over = False

    def wait(self, condition: Callable[[], object]) -> None:
        """Until a condition holds, or the run is over."""
        wait_for(lambda: condition() or self.over)
        assert condition()

    def __call__(self, event: Progress) -> None:
        if isinstance(event.preview, ModelState):
            self.states[event.preview.model.key].append(event.preview)
        elif isinstance(event.preview, FrameDone):
            first = event.preview.key not in self.frames
            self.frames[event.preview.key][event.preview.name] = event.preview
            if first:
                self.on_frame(event.preview.key)
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
def running(run: RenderRun, watcher: Watcher) -> Iterator[CancelToken]:
    """A run on a thread of its own; it is waited for at the end, and what it raises is raised."""
    cancel = CancelToken()

    def work() -> None:
        try:
            run.run(watcher, cancel)
        finally:
            watcher.over = True

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            yield cancel
        except AssertionError:
            cancel.cancel()
            future.result()  # what the run has raised says more
            raise
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
        watcher.wait(watcher.working)
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
    train, held = read_split(out)
    assert sorted(train + held) == sorted(model.key for model in models) and len(held) == 1
    assert {path.name for path in out.iterdir() if path.name != "logs"} == {
        *("zero12345_narrow", "One2345_training_pose.json", "lvis_split_cc_by.json", "render.json", "render.jsonl"),
        *("progress.json", "models.json", "render.log", ".render.lock"),
    }
    assert children() == before and os.environ == variables
    assert set(threading.enumerate()) == threads

    when = {path: path.stat().st_mtime_ns for path in out.rglob("view_*")}
    board = Board(read_status(out)[1], lambda state: state.model.key)  # as a window shows it before the next run
    board.update(models[0].key, state="waiting", frames=0)
    RenderRun(models, out, SMALL, OPTIONS, board=board).run()
    assert all(row.state == "done" and row.worker and row.seconds_per_frame and row.earlier for row in board.rows())
    began, again = time.monotonic(), Watcher()
    assert RenderRun(models, out, SMALL, OPTIONS).run(again).done == len(models)
    assert not again.frames and time.monotonic() - began < totals.frames_total  # no cluster: at once
    assert all(states[-1].earlier for states in again.states.values())
    assert when == {path: path.stat().st_mtime_ns for path in out.rglob("view_*")}
    assert read_status(out)[0].state == "finished"
    with pytest.raises(InputError, match="samples"):
        RenderRun(models, out, QUICK, OPTIONS).run()


def test_a_run_is_steered_and_survives_its_workers(models: list[ModelFile], tmp_path: Path) -> None:
    out = tmp_path / "renders"
    first, second, third, fourth, fifth, last = (model.key for model in models)
    settings = RenderSettings(size=192, samples=1, denoise=False)
    run = RenderRun(models, out, settings, OPTIONS)

    def on_frame(key: str) -> None:
        if key == last:
            run.pause()
            for worker in dask_workers():
                worker.kill()
        elif key == third:
            run.cancel_models([key])

    watcher = Watcher(on_frame)
    run.prioritise([last, fifth])
    run.cancel_models([first])
    with running(run, watcher):
        wait_for(
            lambda: watcher.totals[-1:] and watcher.totals[-1].state == "paused" and not watcher.totals[-1].working
        )
        assert watcher.now(first) == "cancelled"
        assert watcher.now(last) == "waiting" and "lost" in watcher.states[last][-1].message
        assert {watcher.now(key) for key in (second, third, fourth)} == {"waiting"}
        run.cancel_models([second])
        watcher.wait(lambda: watcher.now(second) == "cancelled")
        run.retry([first])
        run.prioritise([third])
        run.resume()
    final = {state.model.key: state for state in run.board.rows()}
    assert {key for key, state in final.items() if state.state == "cancelled"} == {second, third}
    assert [final[key].state for key in (first, fourth, fifth, last)] == ["done"] * 4
    assert all(state.attempts == 0 for state in final.values())
    # What was taken out stays out, until it is wanted again.
    assert RenderRun(models, out, settings, OPTIONS).run().cancelled == 2
    read = {state.model.key: state.state for state in read_status(out)[1]}
    assert read == {key: state.state for key, state in final.items()}


def test_cancelling_stops_every_blender_and_keeps_what_is_done(models: list[ModelFile], tmp_path: Path) -> None:
    out, before, settings = tmp_path / "renders", children(), RenderSettings(size=192)
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        RenderRun(models, out, settings, OPTIONS).run(Watcher(lambda key: cancel.cancel()), cancel)
    assert children() == before
    totals, states = read_status(out)
    assert totals.state == "stopped" and totals.done < len(models)
    assert {state.state for state in states} <= {"waiting", "done"}
    assert not (out / ".work").exists()
    # Also while it starts.
    begun = Watcher()
    run = RenderRun(models, out, settings, OPTIONS)
    with pytest.raises(Cancelled), running(run, begun) as cancel:
        begun.wait(lambda: any("starting" in totals.message for totals in begun.totals))
        cancel.cancel()
    assert run.totals().working == 0 and children() == before


def test_odd_models_get_the_right_record_and_the_rest_goes_on(models: list[ModelFile], tmp_path: Path) -> None:
    source, out = tmp_path / "models", tmp_path / "renders"
    source.mkdir()
    good = {"several_roots.glb", "animated.glb", "enormous.glb", "no_texture.glb", "draco.glb"}
    bad = {"flat.glb", "no_scene.glb", "noise.glb", "empty.glb"}
    for name in good:
        ODD[name](source / name)
    for name in bad:
        BAD[name][0](source / name)
    # Blender waits for ever for the points of this one.
    hanging = write_gltf(source / "hanging.gltf")
    hanging.with_suffix(".bin").unlink()
    os.mkfifo(hanging.with_suffix(".bin"))
    found = {model.path.name: model for model in layout.find_models(source)}
    found["gone.glb"] = ModelFile("gone", source / "gone.glb")
    settings = replace(QUICK, frame_seconds=12.0)
    run = RenderRun(list(found.values()), out, settings, FarmOptions(workers=2, keep_free=0, attempts=1))
    run.prioritise([found["hanging.gltf"].key])
    totals = run.run()
    states = {state.model.path.name: state for state in run.board.rows()}
    assert {name for name, state in states.items() if state.state == "done"} == good
    assert totals.failed == len(bad) + 2
    for name in bad:
        assert BAD[name][1] in states[name].message
        assert states[name].message in log_path(out, found[name].key).read_text()
    assert "Blender was ended after 12 s" in states["hanging.gltf"].message
    assert "cannot be read" in states["gone.glb"].message
    assert (layout.metadata(out, "no_texture") or {})["repairs"]
    # A further run leaves those alone that have not been mended.
    ODD["draco.glb"](source / "flat.glb")
    again = RenderRun(list(found.values()), out, settings, FarmOptions(workers=1, keep_free=0, attempts=1))
    totals = again.run()
    assert (totals.done, totals.failed) == (len(good) + 1, len(bad) + 1)
    after = {state.model.path.name: state for state in again.board.rows()}
    assert after["flat.glb"].state == "done" and not log_path(out, "flat").exists()
    assert after["noise.glb"].earlier and after["noise.glb"].message == states["noise.glb"].message


@pytest.mark.timeout(900)
def test_fifty_models_killed_ten_times_end_with_all_their_files(tmp_path: Path) -> None:
    report = killed_run(tmp_path, write_models(tmp_path / "models", 50), SMALL, kills=10, seed=3)
    assert report.problems == []
    assert report.finished == 50


def test_two_machines_without_a_common_folder(
    models: list[ModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models' path means something else to the workers, so that content travels; one worker dies midway."""
    monkeypatch.chdir(models[0].path.parent)
    here = [ModelFile(model.key, Path("/proc/self/cwd") / model.path.name) for model in models]
    assert here[0].path.is_file()
    out, watcher = tmp_path / "renders", Watcher()
    with machines(tmp_path) as (address, workers):
        with Client(address) as client:
            client.wait_for_workers(2, timeout=120)
        run = RenderRun(here, out, QUICK, FarmOptions(scheduler=address, keep_free=0))
        with running(run, watcher):
            watcher.wait(lambda: sum(s[-1].state == "done" for s in watcher.states.values() if s) >= 2)
            watcher.wait(lambda: watcher.working() or watcher.totals[-1].state == "finished")
            workers[0].kill()
    assert run.totals().done == len(models)
    assert all(layout.is_finished(out, model, QUICK, thorough=True) for model in models)
    # Both had models; those of the worker that died, the other has rendered again.
    assert len({state.worker for states in watcher.states.values() for state in states if state.worker}) == 2


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
        with pytest.raises(InputError, match="Another run"), Records.open(tmp_path):
            pass
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

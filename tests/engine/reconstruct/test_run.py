"""The pipeline on the built-in weights: what a run leaves, how it is resumed, cancelled and fails."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from engine import cameras
from engine.core.errors import Cancelled, InputError, OutputError, WeightsError
from engine.core.progress import CancelToken, Progress
from engine.reconstruct.options import QUALITIES, STAGES, Options
from engine.reconstruct.run import Run

VIEW_NAMES = {cameras.principal_name(i) for i in range(8)} | {cameras.source_name(i) for i in range(32)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, house_image: Image.Image) -> tuple[Path, list[Progress]]:
    """Folder of a finished draft run through 32 views, and the events it sent. Copy it before changing it."""
    return finish(tmp_path_factory.mktemp("finished"), house_image, "views")


@pytest.fixture(scope="module")
def finished_solid(tmp_path_factory: pytest.TempPathFactory, house_image: Image.Image) -> tuple[Path, list[Progress]]:
    """The same by the generator's own solid."""
    return finish(tmp_path_factory.mktemp("solid"), house_image, "field")


def finish(root: Path, picture: Image.Image, method: str) -> tuple[Path, list[Progress]]:
    picture.save(root / "house.png")
    run = Run.create(root / "house.png", root / "run", Options(quality="draft", method=method))
    events: list[Progress] = []
    run.execute(events.append)
    return run.folder, events


@pytest.fixture
def run(finished: tuple[Path, list[Progress]], tmp_path: Path) -> Run:
    """A finished run that a test may change."""
    shutil.copytree(finished[0], tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture
def quick_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the stages after the views of a draft as small as they can be."""
    tiny = dataclasses.replace(QUALITIES["draft"], resolution=48, solid_resolution=48, faces=400, texture_size=64)
    monkeypatch.setitem(QUALITIES, "draft", tiny)


def test_a_run_leaves_all_its_results_in_its_folder(finished):
    folder, _ = finished
    run = Run.open(folder)
    assert (run.status, run.error, run.stages_done) == ("done", None, STAGES)
    assert run.name == "house"
    assert {p.stem for p in (folder / "views").iterdir()} == VIEW_NAMES
    assert len(json.loads((folder / "pose.json").read_text())["c2ws"]) == 40
    assert run.picture().shape == (200, 200, 4)
    assert run.mask().shape == (200, 200)
    assert run.framed().shape == (256, 256, 4)
    size = QUALITIES["draft"].view_size
    assert run.principal_views().shape == (8, size, size, 4)
    assert run.source_views().shape == (32, size, size, 4)
    estimate = run.elevation()
    assert -20 <= estimate.value <= 80
    assert estimate.message
    mesh = run.mesh()
    assert mesh.texture.shape == (512, 512, 3)
    assert len(mesh.uv) == len(mesh.vertices)
    assert mesh.faces.max() < len(mesh.vertices)
    assert np.abs(mesh.vertices).max() <= cameras.VOLUME_EXTENT + 1e-3
    assert (folder / "mesh.glb").read_bytes()[:4] == b"glTF"
    assert not list(folder.glob(".*")), "temporary files are left"


def test_the_report_gives_seconds_and_memory_by_stage(finished):
    run = Run.open(finished[0])
    assert tuple(run.report["stages"]) == STAGES
    for cost in run.report["stages"].values():
        assert cost["seconds"] > 0
        assert 50 < cost["peak_mb"] < 4096
    assert run.report["seconds"] == pytest.approx(sum(s["seconds"] for s in run.report["stages"].values()), abs=0.01)


def test_the_report_says_what_did_each_part(finished):
    used = Run.open(finished[0]).report["used"]
    assert {part: what["name"] for part, what in used.items()} == {
        "method": "views",
        "foreground": "alpha",
        "generator": "built-in",
        "matcher": "dense-flow",
        "surface": "built-in",
    }
    assert "trained by Oriel" in used["generator"]["label"]
    assert used["surface"]["path"].endswith("surface.safetensors")
    assert (used["surface"]["source"], used["matcher"]["path"]) == ("built in", None)


def test_progress_tells_every_stage_and_shows_every_result(finished):
    _, events = finished
    first = list(dict.fromkeys(e.stage for e in events))
    assert first == list(STAGES)
    assert all(0 <= e.fraction <= 1 for e in events)
    for stage in STAGES:
        assert [e for e in events if e.stage == stage][-1].fraction == 1
    kinds = [e.preview[0] for e in events if e.preview is not None]
    assert {"mask", "framed", "view", "elevation", "mesh"} == set(kinds)
    views = [e.preview for e in events if e.preview is not None and e.preview[0] == "view"]
    assert {name for _, name, _ in views} == VIEW_NAMES
    assert all(picture.shape[2] == 4 for _, _, picture in views)


@pytest.mark.parametrize("made", ["finished", "finished_solid"])
def test_the_mesh_covers_the_input_from_its_camera(made, request):
    from engine.views.raster import render_mesh

    run = Run.open(request.getfixturevalue(made)[0])
    pose = cameras.Pose(run.elevation().value, 0.0)
    drawn, _ = render_mesh(run.mesh(), pose.matrix()[None], cameras.intrinsics(256), 256)
    mine, given = drawn[0, ..., 3] > 0.5, run.framed()[..., 3] > 0.5
    assert (mine & given).sum() / (mine | given).sum() > 0.85


def test_the_own_solid_is_the_surface_and_no_source_views_are_drawn(finished_solid):
    folder, events = finished_solid
    run = Run.open(folder)
    assert (run.status, run.stages_done, run.options.method) == ("done", STAGES, "field")
    assert len(run.principal_views()) == 8
    assert run.source_views() is None
    mesh = run.mesh()
    assert mesh.texture.shape == (512, 512, 3)
    assert 1000 < len(mesh.faces) <= QUALITIES["draft"].faces
    used = run.report["used"]
    assert {part: what["name"] for part, what in used.items()} == {
        "method": "field",
        "foreground": "alpha",
        "generator": "built-in",
        "matcher": "dense-flow",
    }
    meshes = [e for e in events if e.preview is not None and e.preview[0] == "mesh"]
    assert [e.stage for e in meshes] == ["views", "surface", "surface", "texture"], "there is a mesh before the views"
    assert meshes[0].preview[1].colors is not None
    assert all([e for e in events if e.stage == stage][-1].fraction == 1 for stage in STAGES)
    with pytest.raises(InputError, match="pictures of one solid"):
        run.retry_view(3)
    assert run.status == "done"


@pytest.mark.usefixtures("quick_surface")
def test_a_run_by_the_own_solid_goes_on_and_changes_as_any_other(finished_solid, tmp_path):
    shutil.copytree(finished_solid[0], tmp_path / "run")
    run = Run.open(tmp_path / "run")
    estimated = run.elevation().value
    # The neighbours that the estimate rests on outlast a typed elevation.
    for elevation in (35.0, None):
        assert run.change(elevation=elevation) == "elevation"
        stop_before("surface", run)
        assert run.stages_done == ("foreground", "views", "elevation")
    assert run.elevation().value == pytest.approx(estimated)
    stages: list[str] = []
    Run.open(run.folder).execute(lambda e: stages.append(e.stage), start="texture")
    assert set(stages) == {"surface", "texture"}
    assert Run.open(run.folder).status == "done"


def stop_before(stage: str, run: Run) -> None:
    """Execute a run up to a stage."""
    token = CancelToken()
    with pytest.raises(Cancelled):
        run.execute(lambda e: token.cancel() if e.stage == stage else None, token, start="texture")


@pytest.mark.usefixtures("quick_surface")
def test_another_method_makes_the_views_and_what_follows_anew(run):
    assert run.change(method="views") is None
    assert run.change(method="field") == "views"
    assert (run.status, run.stages_done) == ("unfinished", ("foreground",))
    run.execute(start="views")
    assert run.source_views() is None
    assert (run.status, run.report["used"]["method"]["name"]) == ("done", "field")
    assert "surface" not in run.report["used"]
    assert run.change(method="views") == "views"
    stop_before("surface", run)
    assert len(run.source_views()) == 32


def test_a_generator_without_a_solid_draws_views(house_picture, tmp_path):
    assert Options(generator="zero123").method == "views"
    assert Options(surface="one-2-3-45").method == "views", "a network that was chosen is used"
    with pytest.raises(InputError, match=r"no solid of its own.*built-in.*'views'"):
        Run.create(house_picture, tmp_path / "run", Options(generator="zero123", method="field"))
    run = Run.create(house_picture, tmp_path / "run", Options(method="field"))
    with pytest.raises(InputError, match="no solid of its own"):
        run.change(generator="zero123")
    assert run.options.generator == "built-in"


@pytest.mark.usefixtures("quick_surface")
def test_a_typed_elevation_is_used_as_it_is(run):
    before = run.source_views()
    start = run.change(elevation=35.0)
    assert start == "elevation"
    run.execute(start=start)
    assert run.status == "done"
    assert run.elevation().value == 35.0
    assert not run.elevation().is_fallback
    c2w = json.loads((run.folder / "pose.json").read_text())["c2ws"]["view_0"]
    assert np.allclose(c2w, cameras.camera_to_world(35.0, 0.0), atol=1e-5)
    assert not np.array_equal(before, run.source_views())


def test_other_formats_need_the_last_stage_only(run):
    surface = (run.folder / "surface.npz").stat().st_mtime_ns
    assert run.change(formats=("glb",)) is None
    start = run.change(formats=("obj", "stl"), up="Y", height_m=12.0)
    assert start == "texture"
    assert (run.status, run.stages_done) == ("unfinished", STAGES[:4])
    run.execute(start=start)
    assert {p.name for p in run.folder.glob("mesh.*")} >= {"mesh.glb", "mesh.obj", "mesh.mtl", "mesh.stl"}
    assert (run.folder / "surface.npz").stat().st_mtime_ns == surface
    # The file is as high as asked for; the mesh that is shown stays in the frame of the cameras.
    from tests.meshes import load_mesh

    assert np.ptp(load_mesh(run.folder / "mesh.stl").vertices[:, 1]) == pytest.approx(12.0, rel=0.01)
    assert np.ptp(run.mesh().vertices[:, 2]) < 2


@pytest.mark.usefixtures("quick_surface")
def test_a_view_can_be_drawn_again(run):
    before = run.source_views()
    run.retry_view(3)
    assert run.status == "unfinished"
    after = run.source_views()
    changed = [i for i in range(32) if not np.array_equal(before[i], after[i])]
    assert changed
    assert set(changed) <= {12, 13, 14, 15}
    run.execute(start="surface")
    assert run.status == "done"
    with pytest.raises(InputError, match="0 to 7"):
        run.retry_view(8)


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_at_any_stage_is_quick_and_loses_nothing(run, stage):
    token = CancelToken()
    when: list[float] = []

    def watch(event: Progress) -> None:
        if event.stage == stage and not when:
            when.append(time.perf_counter())
            token.cancel()

    files = {p.relative_to(run.folder) for p in run.folder.rglob("*")}
    with pytest.raises(Cancelled):
        run.execute(watch, token, start=stage)
    assert time.perf_counter() - when[0] < 2
    assert Run.open(run.folder).status == "cancelled"
    assert set(run.stages_done) <= set(STAGES[: STAGES.index(stage)])
    assert {p.relative_to(run.folder) for p in run.folder.rglob("*")} - {Path("mesh.npz")} == files - {Path("mesh.npz")}


@pytest.mark.usefixtures("quick_surface")
def test_a_cancelled_run_goes_on_where_it_stopped(run):
    token = CancelToken()
    with pytest.raises(Cancelled):
        run.execute(lambda e: token.cancel() if e.stage == "texture" else None, token, start="surface")
    again = Run.open(run.folder)
    assert again.stages_done == ("foreground", "views", "elevation", "surface")
    stages: list[str] = []
    again.execute(lambda e: stages.append(e.stage), start="texture")
    assert set(stages) == {"texture"}
    assert again.status == "done"


def test_a_token_cancelled_beforehand_starts_nothing(run):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        run.execute(lambda e: pytest.fail(f"{e}"), token)
    assert run.status == "cancelled"


def test_a_run_whose_process_is_gone_is_unfinished(run):
    record = json.loads((run.folder / "run.json").read_text())

    def status(pid: int, started: float) -> str:
        changed = record | {"status": "running", "pid": pid, "process_started": started}
        (run.folder / "run.json").write_text(json.dumps(changed))
        return Run.open(run.folder).status

    mine = psutil.Process().create_time()
    assert status(os.getpid(), mine) == "running"
    assert status(os.getpid(), mine - 1000) == "unfinished"  # the number was given to another process
    assert status(2**22 - 3, mine) == "unfinished"


def test_a_run_is_worked_on_once_at_a_time(run):
    def again(event: Progress) -> None:
        with pytest.raises(InputError, match="worked on already"):
            Run.open(run.folder).execute()

    run.execute(again, start="texture")
    assert run.status == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on file sizes that tell like a full disk")
def test_a_full_disk_fails_the_run_and_keeps_what_there_was(run):
    mesh = (run.folder / "mesh.glb").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="disk is full"):
            run.execute(start="surface")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = Run.open(run.folder)
    assert again.status == "failed"
    assert "disk is full" in again.error
    assert again.stages_done == ("foreground", "views", "elevation")
    assert (run.folder / "mesh.glb").read_bytes() == mesh
    assert not list(run.folder.glob(".*")), "temporary files are left"
    again.execute(start="surface")
    assert again.status == "done"
    assert again.error is None


def test_the_same_seed_gives_the_same_mesh(run, finished):
    run.execute(start="views")
    first, second = Run.open(finished[0]).mesh(), run.mesh()
    assert np.array_equal(first.faces, second.faces)
    assert np.allclose(first.vertices, second.vertices, atol=1e-5)


def test_options_survive_being_written(house_picture, tmp_path):
    strokes = np.zeros((200, 200), np.uint8)
    strokes[10:20, 10:20] = 2
    options = Options(
        mode="sam",
        box=(5, 6, 190, 180),
        points=((20.5, 30.0, True), (3.0, 4.0, False)),
        strokes=strokes,
        elevation=12.5,
        generator="zero123-xl",
        sampler="published",
        matcher="loftr",
        surface="one-2-3-45",
        memory_gb=8.0,
        formats=("ply", "glb"),
    )
    run = Run.create(house_picture, tmp_path / "run", options)
    back = Run.open(run.folder).options
    assert dataclasses.replace(back, strokes=None) == dataclasses.replace(options, strokes=None)
    assert np.array_equal(np.asarray(Image.open(back.strokes)), strokes)
    assert run.change(strokes=strokes.copy(), box=(5, 6, 190, 180)) is None
    assert run.change(memory_gb=6.0) is None, "what was made with more memory is as good"
    assert Run.open(run.folder).options.memory_gb == 6
    assert run.change(surface="built-in") == "surface"
    assert run.change(matcher="sift", surface="one-2-3-45") == "elevation"
    assert run.change(sampler="fast", matcher="loftr") == "views"
    assert run.change(points=(), sampler="published") == "foreground"
    assert run.change(strokes=None) == "foreground"
    assert Run.open(run.folder).options.strokes is None


def test_a_run_from_before_there_was_a_choice_of_models_opens(house_picture, tmp_path):
    run = Run.create(house_picture, tmp_path / "run", Options(quality="fine"))
    path = run.folder / "run.json"
    record = json.loads(path.read_text())
    for name in ("points", "sampler", "matcher", "memory_gb", "method"):
        del record["options"][name]
    path.write_text(json.dumps(record))
    (run.folder / "report.json").write_text(json.dumps({"stages": {}, "generator": "Built-in"}))
    assert Run.open(run.folder).options == Options(quality="fine", method="views"), "there was no other method"


def test_missing_weights_are_said_before_any_work(house_picture, tmp_path):
    for number, wanted in enumerate(({"generator": "zero123"}, {"matcher": "loftr"}, {"mode": "sam"})):
        run = Run.create(house_picture, tmp_path / f"run{number}", Options(**wanted))
        with pytest.raises(WeightsError, match="Models page"):
            run.execute(lambda event: pytest.fail(f"{event}"))
        assert (run.status, run.error_kind) == ("failed", "WeightsError")
    # Nothing has to be matched where the elevation is known.
    run = Run.create(house_picture, tmp_path / "typed", Options(matcher="loftr", elevation=20.0))
    token = CancelToken()
    with pytest.raises(Cancelled):
        run.execute(lambda event: token.cancel(), token)


def test_a_given_mask_is_used(house_picture, tmp_path):
    mask = np.zeros((200, 200), np.uint8)
    mask[60:150, 50:160] = 255
    run = Run.create(house_picture, tmp_path / "run", Options(mask=mask))
    token = CancelToken()
    with pytest.raises(Cancelled):
        run.execute(lambda e: token.cancel() if e.stage == "views" else None, token)
    assert np.array_equal(run.mask() > 0.5, mask > 0)
    small = Run.create(house_picture, tmp_path / "small", Options(mask=mask[:50]))
    with pytest.raises(InputError, match="does not fit the picture"):
        small.execute()
    assert small.status == "failed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": "best"},
        {"mode": "magic"},
        {"formats": ("fbx",)},
        {"elevation": 100.0},
        {"height_m": -1.0},
        {"sampler": "slow"},
        {"method": "magic"},
        {"memory_gb": 0.5},
        {"up": "X"},
        {"box": (10, 10, 5, 20)},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(wrong):
    with pytest.raises(InputError):
        Options(**wrong)


def test_a_picture_that_cannot_be_used_leaves_no_folder(tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"note\.png"):
        Run.create(tmp_path / "note.png", tmp_path / "out" / "run")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_not_overwritten(house_picture, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        Run.create(house_picture, tmp_path / "full")
    with pytest.raises(OutputError):
        Run.create(house_picture, house_picture / "run")  # a file in place of the folder
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["precious.txt"]


def test_bytes_are_as_good_as_a_file(house_picture, tmp_path):
    run = Run.create(house_picture.read_bytes(), tmp_path / "run", name="pasted")
    assert (run.folder / "input.png").read_bytes() == house_picture.read_bytes()
    assert (run.name, run.source, run.status) == ("pasted", None, "unfinished")


def test_opening_what_is_no_run_says_so(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="holds no run"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"created": "yesterday"}, "missing or damaged"),
        ({"options": None}, "missing or damaged"),
        ({"options": {"quality": "ultra"}}, "another version.*ultra"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_when_it_is_opened(house_picture, tmp_path, change, text):
    path = Run.create(house_picture, tmp_path / "run").folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=text):
        Run.open(path.parent)


def test_damaged_results_are_named(run):
    (run.folder / "mesh.npz").write_bytes(b"PK" + bytes(40))
    with pytest.raises(InputError, match=r"mesh\.npz is damaged"):
        run.mesh()
    (run.folder / "elevation.json").write_text('{"value": ')
    with pytest.raises(InputError, match=r"elevation\.json is damaged"):
        run.elevation()


def test_a_finished_run_stays_one_when_its_models_are_gone(run):
    path = run.folder / "run.json"
    record = json.loads(path.read_text())
    record["options"]["generator"] = "zero123"
    path.write_text(json.dumps(record))
    again = Run.open(run.folder)
    for work in (lambda: again.execute(start="views"), lambda: again.retry_view(2)):
        with pytest.raises(WeightsError, match="Models page"):
            work()
        assert (again.status, again.stages_done) == ("done", STAGES)
    again.change(quality="fine")
    with pytest.raises(WeightsError):
        again.execute()
    assert (again.status, again.stages_done) == ("failed", ("foreground",))


def test_views_drawn_for_a_typed_elevation_do_not_serve_an_estimate(house_picture, tmp_path):
    run = Run.create(house_picture, tmp_path / "run", Options(elevation=30.0))
    assert run.change(elevation=31.0) == "elevation"
    assert run.change(elevation=None) == "views"


def test_what_a_killed_process_left_is_removed(run):
    (run.folder / ".views.12345.tmp").mkdir()
    (run.folder / ".mesh.glb.12345.67.tmp").write_bytes(b"half")
    run.execute(start="texture")
    assert not list(run.folder.glob(".*"))

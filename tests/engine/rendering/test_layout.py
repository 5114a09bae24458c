"""Rendered models on disk: as the published loader reads them, whole or not at all, found again by content."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engine import cameras
from engine.core.errors import EmptyResultError, InputError, OrielError, OutputError
from engine.meshes.companions import companions
from engine.rendering import layout
from engine.rendering.blender import Rendered
from engine.rendering.jobs import ModelFile, RenderSettings, frames
from engine.screening import ScreeningSession
from tests.rendered_models import check_depths, meet_depths, read_depth, read_split
from tests.screening_models import write_house

SETTINGS = RenderSettings(size=48, elevation=20.0)
RENDERED = Rendered({"triangles": 24}, ["A texture is missing."], "5.0.1", {"total": 1.5}, 300.0)
BOXES = (
    ((-0.5, -0.3, -0.3), (0.3, 0.1, 0.0)),
    ((-0.1, -0.1, -0.3), (0.1, 0.1, 0.3)),
    ((0.2, 0.1, -0.3), (0.5, 0.3, -0.2)),
)
"""Lower and upper corners of boxes that look different from each side."""


def see(pose, k, size):
    """Depth (S, S) of the boxes along the viewing axis, inf where nothing is."""
    origin, directions = cameras.pixel_rays(pose.matrix(), k, cameras.pixel_grid(size))
    depth = np.full(len(directions), np.inf)
    for low, high in BOXES:
        with np.errstate(divide="ignore"):
            first, second = (np.asarray(low) - origin) / directions, (np.asarray(high) - origin) / directions
        enter, leave = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
        depth = np.minimum(depth, np.where(enter < leave, enter, np.inf))
    return depth.reshape(size, size).astype(np.float32)


def write_raw(folder, settings=SETTINGS, opaque=255):
    """What Blender leaves of the boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames(settings):
        depth = see(frame.pose, settings.intrinsics, settings.size)
        rgba = np.full((settings.size, settings.size, 4), (200, 120, 40, opaque), np.uint8)
        rgba[~np.isfinite(depth)] = 0
        Image.fromarray(rgba).save(folder / f"{frame.name}.png")
        if frame.depth:
            np.save(folder / f"{frame.name}_depth.npy", depth)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "raw"
    write_raw(folder)
    return folder


@pytest.fixture
def model(tmp_path):
    return ModelFile("house", write_house(tmp_path / "house.glb"))


@pytest.fixture
def out(tmp_path, raw, model):
    """An output folder with one finished model."""
    made = tmp_path / "out"
    layout.prepare(made, SETTINGS, model.path)
    finish_into(made, raw, model)
    return made


def finish_into(out, raw, model, settings=SETTINGS):
    work = layout.new_work(out, model.key)
    shutil.copytree(raw, work, dirs_exist_ok=True)
    layout.finish(work, model, layout.sha256_of(model.path), settings, RENDERED)
    layout.place(work, out, model.key)


# -- the published layout ------------------------------------------------------------------------------------


def test_the_published_loader_finds_pictures_depth_and_cameras(out):
    """Reads the files as `BlenderPerView` of One-2-3-45 does, and lifts a view's depth into the world."""
    layout.write_split(out, ["house"])
    entry = json.loads((out / "lvis_split_cc_by.json").read_text())["train"][0]
    folder = out / "zero12345_narrow" / entry["folder_id"] / entry["uid"]
    meta = json.loads((out / "One2345_training_pose.json").read_text())
    poses = np.array(list(meta["c2ws"].values())) @ np.diag([1, -1, -1, 1])  # OpenCV's axes
    k, (near, far) = np.array(meta["intrinsics"]), meta["near_far"]
    assert poses.shape == (40, 4, 4)

    for view in range(8):
        depth = cv2.imread(str(folder / f"view_{view}_depth_mm.png"), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16 and depth.shape == (48, 48)
        row, column = np.nonzero(depth)
        z = depth[row, column] / 1000.0
        assert near < z.min() and z.max() < far
        rays = np.stack([(column + 0.5 - k[0, 2]) / k[0, 0], (row + 0.5 - k[1, 2]) / k[1, 1], np.ones(len(z))], -1)
        points = (rays * z[:, None]) @ poses[view][:3, :3].T + poses[view][:3, 3]
        assert np.abs(points).max() < 0.5 + 0.002

        source = 8 + 4 * view + 2
        picture = np.asarray(Image.open(folder / f"view_{(source - 8) // 4}_{source % 4}_10.png"))
        assert picture.shape == (48, 48, 4) and picture.dtype == np.uint8
        seen = np.linalg.inv(poses[source])
        pixels = (points @ seen[:3, :3].T + seen[:3, 3]) @ k.T
        x, y = (pixels[:, :2] / pixels[:, 2:]).T
        inside = (x >= 1) & (x < 47) & (y >= 1) & (y < 47)
        assert inside.mean() > 0.5
        hit = cv2.dilate(picture[..., 3], np.ones((3, 3)))[y[inside].astype(int), x[inside].astype(int)] > 0
        assert hit.mean() > 0.99


def test_a_finished_model_holds_its_pictures_and_nothing_else(out):
    folder = layout.folder_of(out, "house")
    names = {f"view_{i}.png" for i in range(8)} | {f"view_{i}_{j}_10.png" for i in range(8) for j in range(4)}
    names |= {f"view_{i}_depth{more}.png" for i in range(8) for more in ("", "_mm")}
    assert {path.name for path in folder.iterdir()} == names | {"metadata.json"}
    known = layout.metadata(out, "house")
    assert known["blender"] == "5.0.1" and known["statistics"] == {"triangles": 24}
    assert known["settings"]["size"] == 48 and known["repairs"] == ["A texture is missing."]
    assert known["files"] == {name: (folder / name).stat().st_size for name in names}
    assert not list((out / ".work").iterdir())


def test_depth_covers_what_the_picture_shows_and_is_bright_where_near(out):
    folder = layout.folder_of(out, "house")
    for i in range(8):
        alpha = np.asarray(Image.open(folder / f"view_{i}.png"))[..., 3]
        depth = read_depth(folder / f"view_{i}_depth_mm.png")
        shown = Image.open(folder / f"view_{i}_depth.png")
        grey = np.asarray(shown)
        assert shown.mode == "L"
        assert np.array_equal(depth > 0, alpha > 0)
        assert np.array_equal(grey > 0, alpha > 0)
        near, far = depth == depth[depth > 0].min(), depth == depth.max()
        assert grey[near].min() > grey[far].max() > 0


def test_depth_is_kept_to_the_millimetre_and_not_where_the_picture_is_empty(tmp_path, raw, model):
    shutil.copytree(raw, tmp_path / "work")
    depth = np.full((48, 48), np.inf, np.float32)
    depth[10:20, 10:20], depth[0, 0], depth[30, 30] = 1.23456, 1.0, 1e10
    np.save(tmp_path / "work" / "view_0_depth.npy", depth)
    rgba = np.zeros((48, 48, 4), np.uint8)
    rgba[10:20, 10:20] = rgba[30, 30] = 255
    Image.fromarray(rgba).save(tmp_path / "work" / "view_0.png")
    layout.finish(tmp_path / "work", model, "0", SETTINGS, RENDERED)
    found = cv2.imread(str(tmp_path / "work" / "view_0_depth_mm.png"), cv2.IMREAD_UNCHANGED)
    assert (found[10:20, 10:20] == 1235).all()
    assert np.count_nonzero(found) == 100


def test_lifted_depth_meets_the_other_views_and_wrong_cameras_are_noticed(out):
    folder = layout.folder_of(out, "house")
    right = check_depths(folder, SETTINGS)
    assert right.points > 5000 and right.met > 0.4 and right.contradicted < 0.002
    wrong = check_depths(folder, replace(SETTINGS, elevation=26.0))
    assert wrong.contradicted > 10 * right.contradicted + 0.02
    view, other = (frame for frame in frames(SETTINGS) if frame.name in ("view_0", "view_4"))
    depth, second = (read_depth(folder / f"{f.name}_depth_mm.png") for f in (view, other))
    assert meet_depths(depth[:, ::-1], view.pose, second, other.pose, SETTINGS.intrinsics).contradicted > 0.05
    assert meet_depths(0 * depth, view.pose, second, other.pose, SETTINGS.intrinsics).points == 0


# -- what cannot be finished ---------------------------------------------------------------------------------


def test_a_model_that_no_view_shows_is_an_error(tmp_path, raw, model):
    shutil.copytree(raw, tmp_path / "work")
    for frame in frames(SETTINGS):
        Image.new("RGBA", (48, 48)).save(tmp_path / "work" / f"{frame.name}.png")
    with pytest.raises(EmptyResultError, match=r"Nothing is to be seen of house\.glb"):
        layout.finish(tmp_path / "work", model, "0", SETTINGS, RENDERED)
    assert not (tmp_path / "work" / "metadata.json").exists()


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _small(path):
    Image.new("RGBA", (32, 32), "red").save(path)


def _no_alpha(path):
    Image.new("RGB", (48, 48), "red").save(path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("view_3.png", Path.unlink),
        ("view_3_1_10.png", _cut),
        ("view_3_1_10.png", _small),
        ("view_3_1_10.png", _no_alpha),
        ("view_3_depth.npy", Path.unlink),
        ("view_3_depth.npy", _cut),
        ("view_3_depth.npy", lambda path: np.save(path, np.zeros((9, 9), np.float32))),
        ("view_3_depth.npy", lambda path: np.save(path, np.full((48, 48), 70.0, np.float32))),
    ],
)
def test_a_missing_or_damaged_picture_is_named(tmp_path, raw, model, name, damage):
    shutil.copytree(raw, tmp_path / "work")
    damage(tmp_path / "work" / name)
    with pytest.raises(OrielError, match=r"house\.glb") as caught:
        layout.finish(tmp_path / "work", model, "0", SETTINGS, RENDERED)
    assert name in str(caught.value) or "70.0 world units" in str(caught.value)
    assert not (tmp_path / "work" / "metadata.json").exists()


def test_a_full_disk_is_said_and_leaves_what_was_there(out, raw, model, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            finish_into(out, raw, model)
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(OutputError, match="No space left"):
            layout.new_work(out, "house")
        with pytest.raises(OutputError, match="No space left"):
            layout.prepare(out, SETTINGS, None)
    assert layout.is_finished(out, model, SETTINGS, thorough=True)


# -- found again ---------------------------------------------------------------------------------------------


def test_a_finished_model_is_known_by_its_content(out, model):
    assert layout.is_finished(out, model, SETTINGS)
    assert layout.is_finished(out, model, replace(SETTINGS, device="auto", frame_seconds=9.0, model_seconds=99.0))
    assert not layout.is_finished(out, model, replace(SETTINGS, samples=33))
    os.utime(model.path, ns=(1, 1))
    assert layout.is_finished(out, model, SETTINGS), "its time is another, its content is not"
    content = model.path.read_bytes()
    model.path.write_bytes(content[:-1] + b"\1")
    assert not layout.is_finished(out, model, SETTINGS)
    model.path.unlink()
    assert layout.is_finished(out, model, SETTINGS), "what cannot be rendered again stands"
    assert not layout.is_finished(out, ModelFile("barn", model.path), SETTINGS)


def test_a_model_whose_pictures_are_not_right_is_rendered_again(out, model):
    for name in ("view_0.png", "view_7_3_10.png", "view_2_depth_mm.png", "view_2_depth.png"):
        path = layout.folder_of(out, "house") / name
        content = path.read_bytes()
        for damage in (Path.unlink, _cut, _small):
            damage(path)
            assert not layout.is_finished(out, model, SETTINGS), (name, damage)
            path.write_bytes(content)
    assert layout.is_finished(out, model, SETTINGS)


def test_damage_inside_a_picture_is_found_by_a_thorough_look(out, model):
    path = layout.folder_of(out, "house") / "view_1_1_10.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert layout.is_finished(out, model, SETTINGS)
    assert not layout.is_finished(out, model, SETTINGS, thorough=True)


def test_damaged_metadata_is_no_finished_model(out, model):
    known, path = layout.metadata(out, "house"), layout.folder_of(out, "house") / "metadata.json"
    changes = (
        {"files": 3},
        {"files": {}},
        {"files": known["files"] | {"view_0.png": "x"}},
        {"sha256": None, "stamp": 4},
    )
    for content in (b"", b"{", b"[]", b"{}", *(json.dumps(known | change).encode() for change in changes)):
        path.write_bytes(content)
        assert not layout.is_finished(out, model, SETTINGS), content[:80]


def test_a_model_is_put_over_an_outdated_one_or_whatever_is_there(out, raw, model):
    folder = layout.folder_of(out, "house")
    (folder / "old").mkdir()
    finish_into(out, raw, model)
    assert not (folder / "old").exists() and layout.is_finished(out, model, SETTINGS)
    shutil.rmtree(folder)
    folder.write_text("a file")
    finish_into(out, raw, model)
    shutil.move(folder, out / "elsewhere")
    folder.symlink_to(out / "elsewhere")
    finish_into(out, raw, model)
    assert not folder.is_symlink() and layout.is_finished(out, model, SETTINGS)
    assert (out / "elsewhere" / "view_0.png").is_file(), "what a link leads to is not ours"


_FINISHER = """
import shutil, sys
from pathlib import Path
from engine.rendering import layout
from engine.rendering.blender import Rendered
from engine.rendering.jobs import ModelFile, RenderSettings
out, raw, model = (Path(a) for a in sys.argv[1:])
model, settings = ModelFile("house", model), RenderSettings(size=48, elevation=20.0)
print("ready", flush=True)
while True:
    work = layout.new_work(out, "house")
    shutil.copytree(raw, work, dirs_exist_ok=True)
    layout.finish(work, model, layout.sha256_of(model.path), settings, Rendered({}))
    layout.place(work, out, "house")
    print("placed", flush=True)
"""


def test_a_kill_at_any_instant_leaves_a_whole_model_or_none(tmp_path, raw, model):
    out = tmp_path / "out"
    layout.prepare(out, SETTINGS, None)
    rng = np.random.default_rng(int(time.time()))
    for _ in range(3):
        command = [sys.executable, "-c", _FINISHER, str(out), str(raw), str(model.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(int(rng.integers(1, 4))):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.2))  # any instant will do
            process.send_signal(signal.SIGKILL)
        there = layout.folder_of(out, "house").exists()
        assert layout.is_finished(out, model, SETTINGS, thorough=True) == there
        assert {path.name for path in (out / "zero12345_narrow" / "models").iterdir()} <= {"house"}
    layout.sweep(out)
    assert not (out / ".work").exists()


def test_a_thumbnail_is_small_and_keeps_its_alpha(tmp_path):
    rgba = np.zeros((400, 400, 4), np.uint8)
    rgba[:, :201] = (250, 100, 50, 255)
    Image.fromarray(rgba).save(tmp_path / "picture.png")
    small = Image.open(io.BytesIO(layout.thumbnail(tmp_path / "picture.png", 100)))
    assert small.size == (100, 100) and small.mode == "RGBA"
    edge = np.asarray(small)[50, 50]
    assert 0 < edge[3] < 128 and np.abs(edge[:3].astype(int) - (250, 100, 50)).max() < 8, "no dark fringe"
    Image.new("L", (400, 300), 9).save(tmp_path / "depth.png")
    assert Image.open(io.BytesIO(layout.thumbnail(tmp_path / "depth.png"))).size == (160, 120)
    with pytest.raises(InputError, match="cannot be read"):
        layout.thumbnail(tmp_path / "none.png")


# -- the output folder ---------------------------------------------------------------------------------------


def test_a_folder_is_for_one_kind_of_settings(tmp_path):
    out = tmp_path / "a" / "b"
    layout.prepare(out, SETTINGS, tmp_path)
    layout.prepare(out, replace(SETTINGS, device="auto", model_seconds=5.0), tmp_path / "more")
    assert json.loads((out / "render.json").read_text())["source"] == str(tmp_path / "more")
    with pytest.raises(InputError, match="size is 48 there and 512 here") as caught:
        layout.prepare(out, RenderSettings(elevation=20.0), tmp_path)
    assert "elevation" not in str(caught.value)
    assert json.loads((out / "One2345_training_pose.json").read_text())["intrinsics"][0][0] == 48 * 35 / 32


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        layout.prepare(tmp_path / "file" / "out", SETTINGS, None)


@pytest.mark.parametrize("key", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "nul", "a" * 81, "a.", "a\n", "ü"])
def test_a_key_cannot_leave_the_folder(tmp_path, key):
    for use in (layout.folder_of, layout.metadata, layout.new_work):
        with pytest.raises(InputError, match="is not the key of a model"):
            use(tmp_path, key)
    assert not list(tmp_path.iterdir())


# -- training and validation ---------------------------------------------------------------------------------


def test_validation_models_are_a_tenth_at_most_50_and_stay(tmp_path):
    keys = [f"m{i:04}" for i in range(700)]
    held = set()
    for count, expected in ((1, 0), (2, 1), (9, 1), (40, 4), (499, 49), (500, 50), (700, 50)):
        layout.write_split(tmp_path, keys[:count])
        train, val = read_split(tmp_path)
        assert len(val) == expected and sorted(train + val) == keys[:count]
        assert held <= set(val)
        held = set(val)


def test_a_validation_model_that_was_away_comes_back_as_one(tmp_path):
    keys = [f"m{i:04}" for i in range(100)]
    layout.write_split(tmp_path, keys, seed=3)
    train, val = read_split(tmp_path)
    layout.write_split(tmp_path, train, seed=3)
    assert read_split(tmp_path) == (train, []), "models for training never change sides"
    layout.write_split(tmp_path, keys, seed=3)
    assert read_split(tmp_path) == (train, val)


def test_the_split_depends_on_the_seed_and_not_on_the_order(tmp_path):
    keys = [f"m{i:04}" for i in range(100)]
    found = []
    for number, (order, seed) in enumerate(((keys, 0), (keys[::-1], 0), (keys, 1))):
        (tmp_path / str(number)).mkdir()
        layout.write_split(tmp_path / str(number), order, seed)
        found.append(read_split(tmp_path / str(number))[1])
    assert found[0] == found[1] != found[2]


# -- models --------------------------------------------------------------------------------------------------


def test_models_of_a_folder_are_found_wherever_they_lie(tmp_path):
    source = tmp_path / "models"
    names = [
        "b.glb",
        "a.GLB",
        "c/d/e.gltf",
        "x.obj",
        "x.fbx",
        "x.ply",
        "x.stl",
        "x.usda",
        "y.usdz",
        "a b ü.glb",
        "x.glb",
    ]
    others = [
        ".partial/p.glb",
        ".h.glb",
        "a.json",
        "x.mtl",
        "x.png",
        "scene.bin",
        "failed_urls.tsv",
        "notes.txt",
        "d.dae",
    ]
    for name in names + others:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"x")
    (source / "folder.glb").mkdir()
    (source / "loop").symlink_to(source)
    (source / "copy.glb").symlink_to(source / "b.glb")
    (source / "gone.glb").symlink_to(source / "nowhere.glb")
    os.mkfifo(source / "pipe.glb")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.glb").write_bytes(b"x")
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    found = layout.find_models(source)
    assert {str(m.path.relative_to(source)) for m in found} == {*names, "linked/z.glb"}
    keys = [m.key for m in found]
    assert len({key.casefold() for key in keys}) == len(keys) and all(layout.is_key(key) for key in keys)
    assert found == layout.find_models(source)
    assert {"b", "a", "x"} < set(keys), "plain names stay"


def test_keys_stay_when_models_are_added(tmp_path):
    first = [
        "a/b.glb",
        "a-b.glb",
        "a/b.obj",
        "A/b.glb",
        "日本/城.glb",
        "日本/塔.glb",
        "con.glb",
        f"{'n' * 200}.glb",
        "-f.glb",
    ]
    for name in first:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    before = {m.path: m.key for m in layout.find_models(tmp_path)}
    assert len(before) == len({k.casefold() for k in before.values()}) == len(first)
    for name in ("0.glb", "a/0.glb", "b.glb", "zz/b.glb", "a/b.stl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    after = {m.path: m.key for m in layout.find_models(tmp_path)}
    assert len(after) == len(first) + 5 and before.items() <= after.items()


def test_a_single_model_and_what_is_none(tmp_path):
    house = write_house(tmp_path / "house.glb")
    assert layout.find_models(house) == [ModelFile("house", house)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no model in the folder"):
        layout.find_models(tmp_path / "empty")
    with pytest.raises(InputError, match=r"no file .*none\.glb"):
        layout.find_models(tmp_path / "none.glb")
    with pytest.raises(InputError, match="cannot be read"):
        layout.find_models(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="names no model"):
        layout.find_models(tmp_path / "empty.txt")


def test_models_of_a_list_are_sought_beside_it_and_where_one_says(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    uid = "0123456789abcdef0123456789abcdef"
    for name in (f"{uid}.glb", "a.usdz", "b.obj"):
        (models / name).write_bytes(b"x")
    page = f"https://sketchfab.com/3d-models/castle-{uid}"
    (tmp_path / "list.txt").write_text(f"{page}\nmodels/a.usdz\nb.obj\nlost.glb\n# no\n")
    found = layout.find_models(tmp_path / "list.txt", models)
    assert [m.path for m in found] == [
        models / f"{uid}.glb",
        models / "b.obj",
        tmp_path / "lost.glb",
        models / "a.usdz",
    ]
    assert found[0].key == uid
    with pytest.raises(InputError, match="--models"):
        (tmp_path / "pages.txt").write_text(f"{page}\n")
        layout.find_models(tmp_path / "pages.txt")


def test_of_a_screened_folder_the_selected_models_are_taken(tmp_path):
    for name in "abc":
        write_house(tmp_path / f"{name}.glb")
    with ScreeningSession.open(tmp_path, tmp_path, "ann") as session:
        assert [m.key for m in layout.find_models(tmp_path)] == ["a", "b", "c"], "nothing is decided yet"
        for decision in ("select", "reject", "select"):
            session.decide(decision)
    assert [m.key for m in layout.find_models(tmp_path)] == ["a", "c"]
    assert [m.key for m in layout.find_models(tmp_path / "selected.txt")] == ["a", "c"]
    assert {m.path for m in layout.find_models(tmp_path)} == {tmp_path / "a.glb", tmp_path / "c.glb"}


# -- content -------------------------------------------------------------------------------------------------


def test_the_content_of_a_model_is_that_of_the_files_beside_it_as_well(tmp_path):
    (tmp_path / "wood.png").write_bytes(b"1")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.mtl").write_text("newmtl a\nmap_Kd -s 1 1 1 ../wood.png\n")
    obj, gltf = tmp_path / "x.obj", tmp_path / "x y.gltf"
    obj.write_text("# by hand\nmtllib m/x.mtl\nv 0 0 0\n")
    (tmp_path / "a b.bin").write_bytes(b"1")
    uris = {"buffers": [{"uri": "a%20b.bin"}, {"uri": "data:,x"}], "images": [{"uri": "wood.png"}, {"bufferView": 0}]}
    gltf.write_text(
        json.dumps(uris | {"images": [*uris["images"], {"uri": "http://x.org/y.png"}, {"uri": "/dev/zero"}]})
    )
    assert set(companions(obj)) == {"m/x.mtl", "m/../wood.png"}
    assert set(companions(gltf)) == {"a b.bin", "wood.png"}
    for changed, affected in (("wood.png", (obj, gltf)), ("m/x.mtl", (obj,)), ("a b.bin", (gltf,)), ("x.obj", (obj,))):
        before = {path: layout.sha256_of(path) for path in (obj, gltf)}
        with (tmp_path / changed).open("a") as file:
            file.write("\n# more")
        for path in (obj, gltf):
            assert (layout.sha256_of(path) != before[path]) == (path in affected)
    before = layout.sha256_of(gltf)
    (tmp_path / "wood.png").unlink()
    assert layout.sha256_of(gltf) != before, "a texture is missing now"


@pytest.mark.parametrize(
    "content", [b"", b"glTF", b"glTF" + b"\xff" * 16, b"[]", b"null", b'{"images": [3]}', b"[" * 9999]
)
def test_a_damaged_model_has_its_content_too(tmp_path, content):
    for name in ("x.gltf", "x.glb", "x.obj"):
        (tmp_path / name).write_bytes(content)
        assert len(layout.sha256_of(tmp_path / name)) == 64
    with pytest.raises(InputError, match="cannot be read"):
        layout.sha256_of(tmp_path / "none.glb")

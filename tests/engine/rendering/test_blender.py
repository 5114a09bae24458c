"""Blender as a process: what it makes of good, odd and bad models, and what becomes of it when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from engine import cameras
from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken
from engine.meshes.colors import to_linear, to_srgb
from engine.rendering.blender import Blender, BlenderEvent, BlenderProcess, Rendered, RenderFailed, find_blender
from engine.rendering.jobs import Frame, RenderSettings, frames
from tests import render_models
from tests.mesh_files import (
    NAMES,
    ORANGE,
    PLY,
    TEXTURED,
    rgb,
    write_block_obj,
    write_block_ply,
    write_obj,
    write_ply,
    write_skins,
)
from tests.render_models import SIDES
from tests.screening_models import (
    CLEAR,
    COLORED,
    COORDINATES,
    Gltf,
    box,
    checker,
    write_clear,
    write_colored,
    write_coordinates,
    write_scenes,
)

SETTINGS = RenderSettings(size=32, samples=2, denoise=False)
LEVEL = Frame("view_0", cameras.Pose(0.0, 0.0), True)
SIDE = Frame("view_1", cameras.Pose(0.0, 90.0), False)
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def blender() -> Blender:
    try:
        return find_blender()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def process(blender: Blender) -> Iterator[BlenderProcess]:
    with BlenderProcess(blender, recycle_models=1000, threads=2) as process:
        yield process


Render = Callable[..., tuple[Rendered, dict[str, Any]]]


@pytest.fixture
def render(process: BlenderProcess, tmp_path: Path) -> Render:
    """Render a model; returns what is said of it, and its pictures (size, size, 4) and depths by name."""

    def render(
        model: Path, shots: Sequence[Frame] = (LEVEL,), settings: RenderSettings = SETTINGS, **more: Any
    ) -> tuple[Rendered, dict[str, Any]]:
        output = tmp_path / f"out {len(list(tmp_path.glob('out *')))}"
        output.mkdir()
        rendered = process.render(model, output, settings, shots, **more)
        found: dict[str, Any] = {path.stem: np.asarray(Image.open(path)).astype(int) for path in output.glob("*.png")}
        found |= {path.stem: np.load(path) for path in output.glob("*.npy")}
        assert sorted(p.name for p in output.iterdir()) == sorted(
            f"{name}.{'npy' if name.endswith('depth') else 'png'}" for name in found
        )
        return rendered, found

    return render


def spread(picture: Any) -> tuple[int, int]:
    """Width and height of what is not transparent."""
    rows, columns = np.nonzero(picture[..., 3] > 127)
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def colour(picture: Any) -> Any:
    """Mean colour of what is opaque."""
    return picture[picture[..., 3] == 255][:, :3].mean(0)


# -- models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", render_models.FORMATS)
def test_each_format_stands_upright_and_fills_the_unit_cube(name: str, render: Render, tmp_path: Path) -> None:
    rendered, found = render(render_models.FORMATS[name](tmp_path / name), (LEVEL, SIDE))
    statistics = rendered.statistics
    assert statistics["triangles"] == 12 and statistics["objects"] == 1
    assert np.ptp(statistics["bounds"], axis=0) == pytest.approx(SIDES, rel=1e-4)
    assert statistics["scale"] == pytest.approx(0.5, rel=1e-4)
    # Seen along X the tower is 0.3 wide, along Y 0.5; its nearer side is higher than its middle.
    focal = SETTINGS.intrinsics[0, 0]
    for shot, width, near in ((LEVEL, 0.3, 0.25), (SIDE, 0.5, 0.15)):
        expected = focal / (1.5 - near)
        assert spread(found[shot.name]) == pytest.approx((width * expected, expected), abs=2)
    if statistics["textures"]:
        picture = found["view_1"]
        top, bottom = (np.median(picture[rows, 14:18, :3].reshape(-1, 3), 0) for rows in (slice(6, 10), slice(22, 26)))
        assert {int(top.argmax()), int(bottom.argmax())} == {0, 2}, "the texture's red and blue are not there"


@pytest.mark.parametrize("name", [name for name in render_models.ODD if name != "sheared.glb"])
def test_odd_models_are_towers_like_any_other(name: str, render: Render, tmp_path: Path) -> None:
    rendered, found = render(render_models.ODD[name](tmp_path / name))
    picture = found["view_0"]
    assert spread(picture)[1] == pytest.approx(SETTINGS.intrinsics[0, 0] / 1.25, abs=2)
    assert rendered.repairs == [] or "no_texture" in name
    if name == "see_through.glb":
        inside = picture[12:20, 14:18, 3]
        assert 0 < inside.mean() < 255, "half transparent"
    elif name not in ("oriel.obj", "draco.glb", "no_texture.obj"):
        assert colour(picture).argmax() == 0 and colour(picture)[1:].max() < 0.6 * colour(picture)[0], "it is red"
    if "no_texture" in name:
        assert len(rendered.repairs) == 1 and ".png is missing" in rendered.repairs[0]
        red, green, blue = colour(picture)
        assert not (red > 1.5 * green and blue > 1.5 * green), "magenta"


def test_what_is_sheared_and_mirrored_has_its_form(render: Render, tmp_path: Path) -> None:
    rendered, found = render(render_models.ODD["sheared.glb"](tmp_path / "sheared.glb"), (SIDE,))
    width, _, height = np.ptp(rendered.statistics["bounds"], axis=0) * rendered.statistics["scale"]
    focal = SETTINGS.intrinsics[0, 0]
    assert spread(found["view_1"]) == pytest.approx((width * focal / 1.5, height * focal / 1.5), abs=3)


def test_bad_models_are_refused_one_after_the_other_by_the_same_blender(
    process: BlenderProcess, tmp_path: Path
) -> None:
    seen = set()
    for name, (write, words) in render_models.BAD.items():
        (output := tmp_path / f"out {name}").mkdir()
        with pytest.raises(RenderFailed) as caught:
            process.render(write(tmp_path / name), output, SETTINGS, (LEVEL,))
        assert words in str(caught.value) and name in str(caught.value) and not caught.value.hung
        assert list(output.iterdir()) == []
        seen.add(process.process_id)
    with pytest.raises(RenderFailed, match="is not there"):
        process.render(tmp_path / "nowhere.glb", output, SETTINGS, (LEVEL,))
    assert len(seen) == 1 and None not in seen


@pytest.mark.parametrize(
    ("scene", "lists", "sides"),
    [
        (0, [[0], [1]], (1, 1, 1)),
        (1, [[0], [1]], (1, 1, 3)),
        (0, [[0]], (1, 1, 1)),
        (None, [[0], [1]], (6, 1, 3)),
        (9, [[0], [1]], (6, 1, 3)),
        (None, None, (6, 1, 3)),
    ],
)
def test_the_scene_that_a_file_names_is_rendered(
    scene: int | None, lists: list[list[int]] | None, sides: tuple[float, float, float], render: Render, tmp_path: Path
) -> None:
    """As it is shown by screening: see the test of the same cases there."""
    rendered, _ = render(write_scenes(tmp_path / "scenes.glb", scene, lists), (SIDE,))
    assert np.ptp(rendered.statistics["bounds"], axis=0) == pytest.approx(sides, abs=1e-4)


# -- what other programs write: the same as screening and evaluation show -----------------------------------------


def hue(picture: Any) -> Any:
    """Mean colour of what is opaque, as bright as `ORANGE`; shading and what is mirrored make a little difference."""
    seen = to_linear(picture[picture[..., 3] == 255][:, :3] / 255).mean(0)
    return to_srgb(seen * to_linear(np.float64(ORANGE[0] / 255)) / max(float(seen[0]), 1e-6)).astype(int)


def is_orange(picture: Any) -> bool:
    return bool(np.abs(hue(picture) - ORANGE).max() < 30)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_an_obj_are_found_however_they_are_named(name: str, render: Render, tmp_path: Path) -> None:
    rendered, found = render(write_obj(tmp_path, NAMES[name]))
    assert is_orange(found["view_0"]) and rendered.repairs == [] and rendered.statistics["textures"] == 1


def test_a_missing_picture_or_library_is_told_once(render: Render, tmp_path: Path) -> None:
    rendered, found = render(write_obj(tmp_path, "Kd 0.9 0.47 0.12\nmap_Kd -bm 1 C:\\x\\gone away.png"))
    assert (
        is_orange(found["view_0"]) and len(rendered.repairs) == 1 and "gone away.png is missing" in rendered.repairs[0]
    )
    (tmp_path / "m.mtl").unlink()
    rendered, _ = render(tmp_path / "model.obj")
    assert len(rendered.repairs) == 1 and "m.mtl is missing" in rendered.repairs[0]


@pytest.mark.parametrize("name", PLY)
def test_a_ply_has_its_colours(name: str, render: Render, tmp_path: Path) -> None:
    corner, face = PLY[name]
    rendered, found = render(write_ply(tmp_path / "model.ply", corner, face, write_skins(tmp_path, face)))
    assert is_orange(found["view_0"]) and rendered.repairs == []
    assert np.ptp(rendered.statistics["bounds"], axis=0) == pytest.approx((1, 1, 1), abs=1e-5)


def test_a_ply_without_its_texture_says_so(render: Render, tmp_path: Path) -> None:
    rendered, found = render(write_ply(tmp_path / "model.ply", rgb(), TEXTURED, ("TextureFile gone.png",)))
    assert is_orange(found["view_0"]) and len(rendered.repairs) == 1 and "gone.png is missing" in rendered.repairs[0]


@pytest.mark.parametrize("first", [0, 3])
def test_faces_that_are_not_convex_are_whole(first: int, render: Render, tmp_path: Path) -> None:
    above = Frame("view_0", cameras.Pose(80.0, 0.0), True)
    for model in (write_block_obj(tmp_path / "l.obj", first), write_block_ply(tmp_path / "l.ply", first)):
        rendered, found = render(model, (above,))
        assert np.ptp(rendered.statistics["bounds"], axis=0) == pytest.approx((4, 3, 2), abs=1e-4)
        seen = found["view_0"][..., 3] > 127
        assert 0.45 < seen[np.ix_(seen.any(1), seen.any(0))].mean() < 0.65, "half of its box"


@pytest.mark.parametrize("name", COLORED)
def test_colours_of_corners_are_shown(name: str, render: Render, tmp_path: Path) -> None:
    _, found = render(write_colored(tmp_path / "model.glb", name))
    assert is_orange(found["view_0"])


@pytest.mark.parametrize("name", COORDINATES)
def test_the_part_of_a_picture_that_coordinates_mean_is_shown(name: str, render: Render, tmp_path: Path) -> None:
    _, found = render(write_coordinates(tmp_path / "model.glb", name))
    assert is_orange(found["view_0"])


def test_a_picture_that_cannot_be_read_leaves_the_rest(render: Render, tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, uv = box((1, 2, 1))
    texture = gltf.texture(b"\xabKTX 20\xbb" + bytes(80), "KTX2")
    gltf.document["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": texture}}}]
    gltf.document["extensionsUsed"] = gltf.document["extensionsRequired"] = ["KHR_texture_basisu"]
    look = {"baseColorTexture": {"index": 0}, "baseColorFactor": [1, 0.05, 0.05, 1]}
    material = gltf.add("materials", {"pbrMetallicRoughness": look})
    gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv))
    (tmp_path / "ktx.glb").write_bytes(gltf.glb())
    rendered, found = render(tmp_path / "ktx.glb")
    assert "KTX2" in rendered.repairs[0] and colour(found["view_0"]).argmax() == 0


@pytest.mark.parametrize("name", CLEAR)
def test_what_is_wholly_clear_by_mistake_is_shown_opaque(name: str, render: Render, tmp_path: Path) -> None:
    rendered, found = render(write_clear(tmp_path / name, name))
    assert is_orange(found["view_0"]) and spread(found["view_0"])[1] > 15
    assert ["transparent" in line for line in rendered.repairs] == [True] * CLEAR[name]


def test_what_is_clear_beside_what_is_not_is_not_seen(render: Render, tmp_path: Path) -> None:
    rendered, found = render(write_clear(tmp_path / "two.glb", "one of two.glb"))
    assert rendered.repairs == [] and colour(found["view_0"]).argmax() == 2
    assert np.ptp(rendered.statistics["bounds"], axis=0) == pytest.approx((1, 1, 1), abs=1e-4)


def test_avif_and_meshopt_are_unpacked(render: Render, tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, uv = box((1, 2, 1))
    texture = gltf.texture(checker(), "AVIF")
    gltf.document["textures"] = [{"extensions": {"EXT_texture_avif": {"source": texture}}}]
    gltf.document["extensionsUsed"] = gltf.document["extensionsRequired"] = ["EXT_texture_avif"]
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    gltf.node(mesh=gltf.mesh(points, triangles, gltf.add("materials", look), TEXCOORD_0=uv))
    (tmp_path / "avif.glb").write_bytes(gltf.glb())
    rendered, found = render(tmp_path / "avif.glb", (SIDE,))
    assert rendered.statistics["textures"] == 1 and np.ptp(colour(found["view_1"])) > 20
    rendered, _ = render(Path(__file__).parents[1] / "meshes" / "files" / "meshopt.glb", (SIDE,))
    assert rendered.statistics["triangles"] == 576


def test_traces_without_an_area_do_not_count(render: Render, tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, _ = box()
    points = np.concatenate([points, [(40, 0, 0), (40, 0, 0), (40, 0, 1e-6)]])
    gltf.node(mesh=gltf.mesh(points, np.concatenate([triangles, [[24, 25, 26]]])))
    (tmp_path / "trace.glb").write_bytes(gltf.glb())
    rendered, _ = render(tmp_path / "trace.glb")
    assert np.ptp(rendered.statistics["bounds"], axis=0) == pytest.approx((1, 1, 1), abs=1e-4)


# -- pictures ------------------------------------------------------------------------------------------------


def test_depth_lies_along_the_viewing_axis(render: Render, tmp_path: Path) -> None:
    _, found = render(render_models.write_stl(tmp_path / "tower.stl"))
    depth, alpha = found["view_0_depth"], found["view_0"][..., 3]
    assert depth.dtype == np.float32 and depth.shape == (32, 32)
    assert (np.isfinite(depth) == (alpha > 0)).all(), "nothing where there is nothing"
    assert depth[np.isfinite(depth)] == pytest.approx(1.5 - 0.25, abs=1e-4), "one distance all over the flat side"


def test_depth_of_any_view_lies_on_the_model(render: Render, tmp_path: Path) -> None:
    shots = [f for f in frames(SETTINGS) if f.name in ("view_1", "view_6")]
    _, found = render(render_models.write_stl(tmp_path / "tower.stl"), shots)
    half = np.array(SIDES) / 4
    for shot in shots:
        depth = found[f"{shot.name}_depth"].ravel()
        seen = np.isfinite(depth)
        start, rays = cameras.pixel_rays(shot.pose.matrix(), SETTINGS.intrinsics, cameras.pixel_grid(SETTINGS.size))
        points = np.abs(start + depth[seen, None] * rays[seen])
        assert seen.sum() > 100 and np.abs((points - half).max(1)).max() < 1e-3


def test_light_shows_all_sides_and_colours_as_they_are(render: Render, tmp_path: Path) -> None:
    model = render_models.write_white(tmp_path / "white.glb")
    shots = [Frame(f"view_{i}", cameras.Pose(e, a), False) for i, (e, a) in enumerate(SIDES_SEEN)]
    _, found = render(model, shots)
    seen = [colour(found[shot.name]) for shot in shots]
    assert min(side.min() for side in seen) > 140, "no side is dark"
    assert max(side.max() for side in seen) < 250, "none is burnt out"
    assert max(np.ptp(side) for side in seen) < 8, "white has no tint"
    assert len({round(side.mean() / 4) for side in seen}) > 2, "and sides differ, so that edges show"
    _, found = render(model, shots[:1], RenderSettings(size=32, samples=2, denoise=False, light=0.25))
    assert colour(found["view_0"]).mean() < 0.7 * seen[0].mean()


SIDES_SEEN = [(0.0, 0.0), (0.0, 90.0), (0.0, 180.0), (0.0, 270.0), (80.0, 0.0), (-60.0, 0.0)]


def test_what_can_be_seen_through_is_denoised_too(render: Render, tmp_path: Path) -> None:
    _, found = render(render_models.ODD["see_through.glb"](tmp_path / "t.glb"), settings=RenderSettings(size=64))
    inside = found["view_0"][20:44, 27:37]
    assert 120 < inside[..., 3].mean() < 240, "two sides of half each"
    assert inside[..., 0].std() < 15


def test_settings_are_seen_in_the_picture(render: Render, tmp_path: Path) -> None:
    model = render_models.write_glb(tmp_path / "tower.glb")
    wide = RenderSettings(size=48, samples=1, denoise=True, lens=24, radius=2.0)
    rendered, found = render(model, (Frame("view_0", cameras.Pose(0, 0, 2.0), True),), wide)
    assert found["view_0"].shape == (48, 48, 4)
    assert found["view_0_depth"].min() == pytest.approx(1.75, abs=1e-4)
    assert spread(found["view_0"])[1] == pytest.approx(48 * 24 / 32 / 1.75, abs=2)
    assert rendered.statistics["device"] == "CPU" and rendered.blender.count(".") == 2
    assert set(rendered.seconds) >= {"load", "frames", "depth", "total"} and rendered.megabytes > 50


def test_settings_reach_cycles(blender: Blender, tmp_path: Path) -> None:
    """As read back by a worker of the test's own."""
    worker, source = tmp_path / "worker.py", Path(blender.command[-1]).read_text()
    line = '    say("loaded", seconds=loaded)\n'
    assert source.count(line) == 1
    names = (
        "samples use_denoising filter_width diffuse_bounces glossy_bounces transmission_bounces transparent_max_bounces"
    )
    more = f"    statistics = {{name: getattr(scene.cycles, name) for name in {names.split()}}}\n"
    more += "    statistics |= {n: getattr(scene.render, n) for n in ('engine', 'film_transparent', 'threads')}\n"
    more += "    statistics['view'] = scene.view_settings.view_transform\n"
    worker.write_text(source.replace(line, line + more))
    settings = RenderSettings(
        size=16, samples=3, filter_width=0.5, diffuse_bounces=2, glossy_bounces=4, transmission_bounces=5
    )
    model = render_models.write_stl(tmp_path / "t.stl")
    with BlenderProcess(Blender((*blender.command[:-1], str(worker)), blender.version), threads=1) as process:
        applied = process.render(model, tmp_path, settings, ()).statistics
    assert applied.pop("filter_width") == pytest.approx(0.5)
    assert applied == {
        "samples": 3,
        "use_denoising": True,
        "diffuse_bounces": 2,
        "glossy_bounces": 4,
        "transmission_bounces": 5,
        "transparent_max_bounces": 3,
        "engine": "CYCLES",
        "film_transparent": True,
        "threads": 1,
        "view": "Standard",
    }


def test_a_device_that_is_not_there(process: BlenderProcess, render: Render, tmp_path: Path) -> None:
    model = render_models.write_stl(tmp_path / "tower.stl")
    with pytest.raises(RenderFailed, match="no metal device"):
        render(model, settings=RenderSettings(size=16, samples=1, denoise=False, device="metal"))
    rendered, _ = render(model, settings=RenderSettings(size=16, samples=1, denoise=False, device="auto"))
    assert rendered.statistics["device"]


# -- the process ---------------------------------------------------------------------------------------------


def test_events_tell_how_a_model_goes_on(blender: Blender, tmp_path: Path) -> None:
    events: list[BlenderEvent] = []
    with BlenderProcess(blender) as process:
        process.render(
            render_models.write_stl(tmp_path / "t.stl"), tmp_path, SETTINGS, (LEVEL, SIDE), on_event=events.append
        )
        running = process.process_id
    assert [e.kind for e in events] == ["starting", "loading", "loaded", "frame", "frame"]
    assert [(e.name, e.index, e.total) for e in events[3:]] == [("view_0", 1, 2), ("view_1", 2, 2)]
    assert running is not None and not psutil.pid_exists(running)


def test_nothing_of_a_model_stays_and_blender_is_recycled(blender: Blender, tmp_path: Path) -> None:
    """The census is taken by a worker of the test's own, which counts after each model."""
    census = tmp_path / "census.py"
    source = Path(blender.command[-1]).read_text()
    counted = "sum(len(v) for v in (getattr(bpy.data, n) for n in dir(bpy.data)) if type(v).__name__ == {!r})"
    counted = counted.format("bpy_prop_collection")
    assert source.count("megabytes=resident())") == 3
    census.write_text(source.replace("megabytes=resident())", f"megabytes={counted})", 1))
    counts, ids = [], []
    models = [render_models.ODD[n](tmp_path / n) for n in ("skinned.glb", "draco.glb", "no_texture.glb", "draco.glb")]
    with BlenderProcess(Blender((*blender.command[:-1], str(census)), blender.version), recycle_models=3) as process:
        for number, model in enumerate(models):
            (output := tmp_path / str(number)).mkdir()
            counts.append(
                process.render(
                    model,
                    output,
                    RenderSettings(size=16, samples=1, denoise=False),
                    (LEVEL,),
                    on_event=lambda event: ids.append(process.process_id) if event.kind == "loaded" else None,
                ).megabytes
            )
    assert len(set(counts)) == 1, "data blocks grow"
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_too_much_memory_means_a_fresh_blender(blender: Blender, tmp_path: Path) -> None:
    with BlenderProcess(blender, recycle_bytes=1) as process:
        process.render(render_models.write_stl(tmp_path / "t.stl"), tmp_path, SETTINGS, (SIDE,))
        assert process.process_id is None


def test_a_model_that_hangs_is_ended_and_the_next_one_rendered(process: BlenderProcess, tmp_path: Path) -> None:
    model = render_models.write_hanging(tmp_path / "waits.obj")
    sound = render_models.write_stl(tmp_path / "t.stl")
    process.render(sound, tmp_path, SETTINGS, (SIDE,))
    before = process.process_id
    with pytest.raises(RenderFailed, match=r"loading of waits\.obj") as caught:
        process.render(model, tmp_path, RenderSettings(size=16, samples=1, frame_seconds=1), (LEVEL,))
    assert caught.value.hung and before is not None and not psutil.pid_exists(before)
    process.render(sound, tmp_path, SETTINGS, (LEVEL,))
    assert process.process_id not in (None, before)


def test_a_frame_that_hangs_is_named(process: BlenderProcess, tmp_path: Path) -> None:
    def stop(event: BlenderEvent) -> None:
        if event.kind == "loaded" and process.process_id:
            os.kill(process.process_id, signal.SIGSTOP)

    model = render_models.write_stl(tmp_path / "t.stl")
    settings = RenderSettings(size=512, samples=64, frame_seconds=2)
    with pytest.raises(RenderFailed, match=r"at view_[01] of t\.stl") as caught:
        process.render(model, tmp_path, settings, (LEVEL, SIDE), on_event=stop)
    assert caught.value.hung


def test_a_crash_is_told_with_the_log(process: BlenderProcess, tmp_path: Path) -> None:
    def crash(event: BlenderEvent) -> None:
        if event.kind == "loaded" and process.process_id:
            os.kill(process.process_id, signal.SIGKILL)

    model = render_models.write_glb(tmp_path / "t.glb")
    with pytest.raises(RenderFailed, match=r"t\.glb \(signal SIGKILL\)") as caught:
        process.render(model, tmp_path, RenderSettings(size=512, samples=64), [LEVEL] * 20, on_event=crash)
    assert not caught.value.hung and "glTF import finished" in caught.value.log
    process.render(model, tmp_path, SETTINGS, (LEVEL,))


def test_cancelling_ends_blender_in_the_middle_of_a_frame(process: BlenderProcess, tmp_path: Path) -> None:
    token, ids = CancelToken(), []

    def cancel(event: BlenderEvent) -> None:
        if event.kind == "loaded":
            ids.append(process.process_id)
            token.cancel()

    model = render_models.write_glb(tmp_path / "t.glb")
    with pytest.raises(Cancelled):
        process.render(
            model, tmp_path, RenderSettings(size=2048, samples=4096), (LEVEL,), on_event=cancel, cancel=token
        )
    assert not psutil.pid_exists(ids[0]) and not list(tmp_path.glob("view*"))


def test_blender_does_not_outlive_its_parent(blender: Blender, tmp_path: Path) -> None:
    """Neither while it waits for a reader that never comes (and so cannot see that its input has closed)."""
    model = render_models.write_hanging(tmp_path / "waits.obj")
    script = f"""
from pathlib import Path
from engine.rendering.blender import BlenderProcess, find_blender
from engine.rendering.jobs import RenderSettings
process = BlenderProcess(find_blender())
def tell(event):
    if event.kind == "loading":
        print(process.process_id, flush=True)
process.render(Path({str(model)!r}), Path({str(tmp_path)!r}), RenderSettings(), [], on_event=tell)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + PATIENCE
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "Blender goes on without its parent"
        time.sleep(0.05)


# -- finding it ----------------------------------------------------------------------------------------------


def test_blender_is_found_by_executable_python_or_folder(
    blender: Blender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = tmp_path / "blender"
    executable.write_text("#!/bin/sh\necho 'Blender 4.5.3 LTS'\n")
    executable.chmod(0o755)
    found = find_blender(executable)
    assert found.version == "4.5.3" and found.command[0] == str(executable) and "--background" in found.command
    assert find_blender(tmp_path) == found
    monkeypatch.setenv("ORIEL_BLENDER", str(executable))
    assert find_blender() == found
    if blender.command[0].endswith("python"):
        assert find_blender(Path(blender.command[0]).parents[1]) == blender


@pytest.mark.parametrize(
    ("says", "words"),
    [("echo 'Blender 2.93.0'", "or newer is needed"), ("echo hello; exit 3", "not a Blender that works")],
)
def test_what_is_no_blender_is_refused(says: str, words: str, tmp_path: Path) -> None:
    executable = tmp_path / "blender"
    executable.write_text(f"#!/bin/sh\n{says}\n")
    executable.chmod(0o755)
    with pytest.raises(InputError, match=words):
        find_blender(executable)
    with pytest.raises(InputError, match="There is no Blender at"):
        find_blender(tmp_path / "nowhere")
    with pytest.raises(InputError, match="without the bpy module"):
        find_blender(sys.executable)


def test_a_blender_that_ends_at_once_is_told(tmp_path: Path) -> None:
    executable = tmp_path / "blender"
    executable.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'Blender 4.5.3' || { echo no display >&2; exit 7; }\n")
    executable.chmod(0o755)
    with BlenderProcess(find_blender(executable)) as process, pytest.raises(RenderFailed, match="code 7") as caught:
        process.render(tmp_path / "t.stl", tmp_path, SETTINGS, (LEVEL,))
    assert "no display" in caught.value.log

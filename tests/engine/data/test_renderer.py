from dataclasses import replace

import numpy as np
import pytest

from engine import cameras
from engine.data import LAYERS, make_object, texture_library
from engine.data.ground import on_ground
from engine.data.renderer import Light, Renderer, frame_object
from tests.engine.data.boxes import Boxes, table


@pytest.fixture(scope="module")
def renderer():
    return Renderer(128)


def test_depth_lifts_onto_the_surface(renderer):
    obj = make_object(5)
    c2w, k = cameras.camera_to_world(25.0, 40.0, 2.2), cameras.intrinsics(128)
    rgba, depth = renderer.render(obj, c2w, k)
    rows, columns = np.nonzero(depth[0])
    origin, rays = cameras.pixel_rays(c2w, k, np.stack([columns + 0.5, rows + 0.5], -1))
    z = depth[0][rows, columns][:, None]
    before, behind = origin + rays * (z - 0.01), origin + rays * (z + 0.004)
    assert obj.contains(before).mean() < 0.03
    assert obj.contains(behind).mean() > 0.9
    assert (rgba[0, ..., 3][depth[0] > 0] > 0).mean() > 0.99


def test_background_is_white_and_clear(renderer):
    rgba, depth = renderer.render(make_object(1), cameras.camera_to_world(20.0, 0.0, 3.0), cameras.intrinsics(128))
    assert (rgba[0, 0, 0] == [255, 255, 255, 0]).all()
    assert depth[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("elevation", "azimuth", "focal"), [(0.0, 0.0, 280.0), (50.0, 130.0, 280.0), (20.0, 250.0, 400.0)]
)
def test_framed_object_fills_three_quarters_and_is_centred(renderer, elevation, azimuth, focal):
    framed = frame_object(make_object(11), elevation, azimuth, focal=focal)
    rgba, _ = renderer.render(
        framed.obj,
        cameras.camera_to_world(elevation, 0.0),
        cameras.intrinsics(128, focal / 2),
        model=framed.model,
    )
    rows, columns = np.nonzero(rgba[0, ..., 3] > 127)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(96, abs=2)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(63.5, abs=1.5)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(63.5, abs=1.5)


def test_framing_turns_the_object_as_moving_the_camera_would(renderer):
    obj = make_object(3)
    framed = frame_object(obj, 15.0, 70.0)
    world = framed.to_world(obj.vertices)
    pixels, _ = cameras.project(world, cameras.camera_to_world(15.0, 0.0), cameras.intrinsics(256))
    still, _ = cameras.project(obj.vertices, cameras.camera_to_world(15.0, 70.0, 2.0), cameras.intrinsics(256))
    # the same order of points from left to right, up to perspective
    assert np.corrcoef(pixels[:, 0], still[:, 0])[0, 1] > 0.95
    points, normals = framed.sample_surface(500, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
    assert framed.contains(points - 0.01 * normals).mean() > 0.8


def test_light_changes_the_picture_but_not_its_mask(renderer):
    obj, c2w, k = make_object(2), cameras.camera_to_world(30.0, 10.0, 2.0), cameras.intrinsics(128)
    one, _ = renderer.render(obj, c2w, k, light=Light.random(np.random.default_rng(1)), depth=False)
    two, _ = renderer.render(obj, c2w, k, light=Light.random(np.random.default_rng(2)), depth=False)
    assert (one[..., 3] == two[..., 3]).all()
    assert np.abs(one.astype(int) - two)[..., :3].mean() > 1


def floor_of_table(renderer, shaded):
    """Mean brightness of the table's floor under the slab and in the open, seen from the side."""
    obj = table()
    c2w, k = cameras.camera_to_world(12.0, 0.0, 2.2), cameras.intrinsics(128)
    light = Light(to_light=(0.0, 0.0, 1.0), specular=0.0)
    shading = Renderer.shade(obj, light) if shaded else None
    rgba, _ = renderer.render(obj, c2w, k, light=light, depth=False, shading=shading)
    spots = np.array([(x, y, -0.25) for x in (-0.1, 0.1, 0.2) for y in (-0.3, -0.2, 0.2, 0.3)], np.float32)
    pixels, _ = cameras.project(spots, c2w, k)
    columns, rows = pixels.astype(int).T
    grey = rgba[0, rows, columns, :3].mean(1)
    return grey[spots[:, 1] < 0].mean(), grey[spots[:, 1] > 0].mean()


def test_it_is_dark_under_an_overhang(renderer):
    under, out = floor_of_table(renderer, shaded=False)
    assert under == pytest.approx(out, abs=2)
    under_shaded, out_shaded = floor_of_table(renderer, shaded=True)
    assert under_shaded < 0.6 * under
    assert out_shaded > 0.9 * out


@pytest.mark.parametrize("height", [0.15, 1.0])
def test_a_box_casts_no_shadow_on_itself(renderer, height):
    """However low the sun and soft the shadow: no stripes on a face in the light."""
    obj, light = Boxes((-0.5, -0.4, -0.3), (0.5, 0.4, 0.3)), Light(to_light=(0.5, 0.4, height), specular=0.0)
    c2w, k = cameras.camera_to_world(30.0, 20.0, 2.2), cameras.intrinsics(128)
    soft = Renderer.shade(obj, light, 2.0)
    plain, shaded = (renderer.render(obj, c2w, k, light=light, shading=s, depth=False)[0][0] for s in (None, soft))
    assert np.abs(plain.astype(int) - shaded)[plain[..., 3] == 255].max() <= 1


def test_shadows_turn_with_the_object(renderer):
    """A solid placed and turned by a model matrix has its shadows where they were."""
    obj, light = table(), Light(to_light=(0.3, 0.5, 0.8))
    shading = Renderer.shade(obj, light)
    turn = np.radians(50.0)
    c, s = np.cos(turn), np.sin(turn)
    model = np.diag([0.9, 0.9, 0.9, 1.0])
    model[:3, :3] = 0.9 * np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    x, y, z = light.to_light
    turned = replace(light, to_light=(c * x - s * y, s * x + c * y, z))
    k = cameras.intrinsics(128)
    still, _ = renderer.render(obj, cameras.camera_to_world(30.0, 20.0, 2.0), k, light=light, shading=shading)
    moved, _ = renderer.render(
        obj, cameras.camera_to_world(30.0, 70.0, 1.8), k, light=turned, shading=shading, model=model
    )
    assert np.abs(still.astype(int) - moved).mean() < 0.5


def test_shadows_leave_outline_and_depth_alone(renderer):
    obj, c2w, k = make_object(8), cameras.camera_to_world(20.0, 30.0, 2.0), cameras.intrinsics(128)
    plain, shaded = (renderer.render(obj, c2w, k, shading=s) for s in (None, Renderer.shade(obj, Light())))
    assert (plain[0][..., 3] == shaded[0][..., 3]).all()
    assert (plain[1] == shaded[1]).all()


@pytest.mark.parametrize("shaded", [False, True])
def test_a_solids_own_picture_covers_it(renderer, shaded):
    """Row 0 of the picture is at the bottom (v = 0), column 0 at the left; finishes of the library work beside it."""
    picture = np.zeros((2, 64, 64, 3), np.uint8)
    picture[1, :32] = 220, 20, 20
    picture[1, 32:, :32] = 20, 220, 20
    picture[1, 32:, 32:] = 20, 20, 220
    finishes = len(texture_library())
    obj = Boxes((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5), textures=picture, layer_of_all=finishes + 1)
    obj.layer[obj.normals[:, 2] > 0.5] = LAYERS["plain"]
    c2w, k = cameras.camera_to_world(25.0, 0.0, 2.4), cameras.intrinsics(128)
    light = Light(to_light=(1.0, 0.0, 0.6), specular=0.0)
    shading = Renderer.shade(obj, light) if shaded else None
    rgba, _ = renderer.render(obj, c2w, k, light=light, shading=shading)
    where = np.array([(0.5, -0.25, -0.25), (0.5, 0.25, -0.25), (0.5, -0.25, 0.25), (0.5, 0.25, 0.25), (0, 0, 0.5)])
    pixels, _ = cameras.project(where, c2w, k)
    columns, rows = pixels.astype(int).T
    seen = rgba[0, rows, columns, :3].astype(int)
    assert (seen[:4].argmax(1) == [0, 0, 1, 2]).all()
    assert (np.sort(seen[:4], 1)[:, 2] > 3 * np.sort(seen[:4], 1)[:, 1]).all()
    assert np.ptp(seen[4]) < 30  # the grey finish on top


def test_ground_lies_under_the_object_and_takes_its_shadow(renderer):
    obj = Boxes((-0.2, -0.2, -0.5), (0.2, 0.2, 0.5))
    light = Light(to_light=(0.0, 0.6, 0.8), specular=0.0)
    c2w, k = cameras.camera_to_world(35.0, 0.0, 2.2), cameras.intrinsics(128)
    shading = Renderer.shade(obj, light)
    alone, _ = renderer.render(obj, c2w, k, light=light, shading=shading)
    spots = np.array([(x, y, -0.503) for y in (-0.24, 0.24) for x in (0.1, 0.15, 0.2)], np.float32)
    columns, rows = cameras.project(spots, c2w, k)[0].astype(int).T
    compared = 0
    for seed in range(12):
        grounded = on_ground(obj, np.random.default_rng(seed))
        shaded, plain = (renderer.render(grounded, c2w, k, light=light, shading=s)[0][0] for s in (shading, None))
        whole = alone[0, ..., 3] == 255
        assert np.abs(shaded[whole].astype(int) - alone[0][whole]).max() <= 1
        added = (shaded[..., 3] > 0) & (alone[0, ..., 3] == 0)
        assert 0.01 < added.sum() / whole.sum() < 1.0
        if shaded[rows, columns, 3].min() == 255:  # ground on both sides of it
            kept = shaded[rows, columns, :3].mean(1) / plain[rows, columns, :3].mean(1)
            assert kept[:3].max() < 0.8 * kept[3:].min()
            compared += 1
    assert compared > 2


def test_a_wide_lens_frames_what_comes_near_it():
    """Whole steps of framing swing to and fro there; halves settle."""
    focal = 24 / 36 * 256
    for seed in (3, 11, 17, 42):
        obj = make_object(seed)
        framed = frame_object(obj, 50.0, 30.0, focal=focal, step=0.5)
        assert framed.depth_reach < 1.1
        pixels, _ = cameras.project(
            framed.to_world(obj.vertices), cameras.camera_to_world(50.0, 0.0), cameras.intrinsics(256, focal)
        )
        low, high = pixels.min(0), pixels.max(0)
        assert (high - low).max() == pytest.approx(192, abs=1.5)
        assert (low + high) / 2 == pytest.approx(128, abs=1.0)

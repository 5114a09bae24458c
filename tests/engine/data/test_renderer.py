import numpy as np
import pytest

from engine import cameras
from engine.data import make_object
from engine.data.renderer import Light, Renderer, frame_object


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

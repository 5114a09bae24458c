"""Cameras: where they stand, what they see, and how the 32 views lie."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine import cameras


def test_azimuth_0_stands_on_x_and_90_on_y():
    assert np.allclose(cameras.camera_to_world(0, 0, 2)[:3, 3], (2, 0, 0), atol=1e-6)
    assert np.allclose(cameras.camera_to_world(0, 90, 2)[:3, 3], (0, 2, 0), atol=1e-6)
    assert np.allclose(cameras.camera_to_world(90, 0, 2)[:3, 3], (0, 0, 2), atol=1e-6)


@pytest.mark.parametrize("elevation", [-40.0, 0.0, 35.0, 89.0])
def test_every_camera_looks_at_the_origin_with_a_level_horizon(elevation):
    for c2w in cameras.camera_to_world(elevation, np.arange(0, 360, 45)):
        rotation = c2w[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
        assert rotation[2, 0] == pytest.approx(0, abs=1e-6)  # the right axis is horizontal
        pixel, depth = cameras.project(np.zeros((1, 3)), c2w, cameras.intrinsics())
        assert np.allclose(pixel, 128, atol=1e-3)
        assert depth[0] == pytest.approx(cameras.INPUT_RADIUS, abs=1e-5)


def test_up_in_the_world_is_up_in_the_picture_and_left_is_left():
    c2w = cameras.camera_to_world(20, 0)
    above, _ = cameras.project([[0, 0, 0.3]], c2w, cameras.intrinsics())
    assert above[0, 1] < 128
    # From +X, the +Y axis points to the right of the picture.
    right, _ = cameras.project([[0, 0.3, 0]], c2w, cameras.intrinsics())
    assert right[0, 0] > 128


def test_spherical_undoes_camera_to_world():
    elevation, azimuth, radius = cameras.spherical(cameras.camera_to_world([10, -30, 70], [350, 20, 180], [1, 2, 3]))
    assert np.allclose(elevation, [10, -30, 70], atol=1e-4)
    assert np.allclose(azimuth, [350, 20, 180], atol=1e-4)
    assert np.allclose(radius, [1, 2, 3], atol=1e-5)


def test_rays_pass_through_the_points_that_project_to_their_pixels():
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    c2w, k = cameras.camera_to_world(25, 70), cameras.intrinsics(128)
    pixels, depth = cameras.project(points, c2w, k)
    origin, directions = cameras.pixel_rays(c2w, k, pixels)
    assert np.allclose(origin + directions * depth[:, None], points, atol=1e-4)


def test_focal_length_scales_with_the_picture():
    assert cameras.intrinsics(256)[0, 0] == 280
    assert cameras.intrinsics(128)[0, 0] == 140
    assert cameras.intrinsics(128)[0, 2] == 64


def test_world_to_camera_is_the_inverse():
    c2w = cameras.camera_to_world([5, 50], [10, 200])
    assert np.allclose(cameras.world_to_camera(c2w) @ c2w, np.eye(4), atol=1e-5)
    assert np.allclose(cameras.opengl_to_opencv(cameras.opengl_to_opencv(c2w)), c2w)


@pytest.mark.parametrize(("elevation", "second"), [(30.0, 0.0), (15.0, -15.0), (14.0, 44.0), (-10.0, 20.0)])
def test_the_second_ring_goes_down_from_a_high_camera_and_up_from_a_low_one(elevation, second):
    poses = cameras.principal_poses(elevation)
    assert [p.azimuth for p in poses] == [0, 90, 180, 270, 30, 120, 210, 300]
    assert [p.elevation for p in poses] == [elevation] * 4 + [second] * 4


def test_32_source_views_lie_10_degrees_from_their_principal_view():
    principal, source = cameras.principal_poses(20), cameras.source_poses(20)
    assert len(source) == 32
    for i, pose in enumerate(source):
        centre = principal[i // 4]
        away = (pose.elevation - centre.elevation, pose.azimuth - centre.azimuth)
        assert away == cameras.NEIGHBOUR_OFFSETS[i % 4]
    assert cameras.source_name(0) == "view_0_0_10"
    assert cameras.source_name(31) == "view_7_3_10"


def test_offsets_are_relative_to_the_input():
    poses = cameras.source_poses(20)[:4]
    expected = [(10, 0, 0), (-10, 0, 0), (0, -10, 0), (0, 10, 0)]
    assert np.allclose(cameras.offsets(poses, cameras.Pose(20, 0)), expected)


def test_the_pose_file_is_json_with_all_40_cameras():
    content = json.loads(json.dumps(cameras.pose_file(12.5)))
    assert len(content["c2ws"]) == 40
    assert np.allclose(content["c2ws"]["view_1"], cameras.camera_to_world(12.5, 90))
    near, far = content["near_far"]
    assert 0 < near < cameras.INPUT_RADIUS < far


def test_the_pose_file_of_a_training_set_has_its_own_lens_and_distance():
    k = cameras.intrinsics(64, 70.0)
    content = cameras.pose_file(30.0, radius=2.0, k=k, reach=0.5)
    names = [cameras.principal_name(i) for i in range(8)] + [cameras.source_name(i) for i in range(32)]
    assert list(content["c2ws"]) == names, "readers go by the order"
    assert content["intrinsics"] == k.tolist() and content["near_far"] == [1.5, 2.5]
    assert np.allclose(content["c2ws"]["view_4"], cameras.camera_to_world(0, 30, 2.0), atol=1e-6)
    assert np.allclose(content["c2ws"]["view_4_0_10"], cameras.camera_to_world(10, 30, 2.0), atol=1e-6)

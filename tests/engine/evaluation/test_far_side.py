"""The side that the input's camera does not see: which points those are, and what is made of them."""

import numpy as np
import pytest
import trimesh

from engine.cameras import Pose
from engine.evaluation.geometry import sample_mesh, surface_figures
from engine.evaluation.pictures import hidden_points, shape_of
from engine.meshes.mesh import Mesh
from tests.benchmarks.testsets import rear_poses

FRONT = Pose(30.0, 0.0)


def mesh_of(*shapes):
    joined = trimesh.util.concatenate(shapes)
    return Mesh(np.asarray(joined.vertices, np.float32), np.asarray(joined.faces, np.int32))


def box(size, offset=(0, 0, 0)):
    return trimesh.creation.box(size).apply_translation(offset)


def seen_of(mesh, pose=FRONT):
    surface = sample_mesh(mesh, 8000, np.random.default_rng(0))
    return surface, hidden_points(shape_of(mesh), *surface, pose)


def test_a_box_shows_its_front_and_top():
    mesh = mesh_of(box((0.6, 0.6, 0.6)))
    (points, normals), hidden = seen_of(mesh)
    shown = (normals[:, 0] > 0.9) | (normals[:, 2] > 0.9)
    assert (hidden == ~shown).mean() > 0.99
    by_depth = hidden_points(shape_of(mesh), points, None, FRONT)
    assert (by_depth == ~shown).mean() > 0.95, "also where normals are not to be trusted"


def test_what_stands_behind_something_is_hidden_though_it_faces_the_camera():
    (points, normals), hidden = seen_of(
        mesh_of(box((0.1, 0.8, 0.8), (0.4, 0, 0)), box((0.1, 0.4, 0.3), (-0.4, 0, -0.2)))
    )
    behind = (points[:, 0] < -0.2) & (normals[:, 0] > 0.9)
    assert behind.sum() > 100 and hidden[behind].mean() > 0.99
    front = (points[:, 0] > 0.2) & (normals[:, 0] > 0.9)
    assert hidden[front].mean() < 0.01


def figures(prediction, truth):
    (p, p_hidden), (t, t_hidden) = seen_of(prediction), seen_of(truth)
    return surface_figures(p, t, hidden=(p_hidden, t_hidden))


def test_a_wrong_back_costs_the_far_side_most():
    truth = mesh_of(box((0.8, 0.6, 0.6)))
    same = figures(truth, truth)
    assert same["f_score"] == same["far_f_score"] == 1 and same["normal_consistency"] > 0.97
    shallow = figures(mesh_of(box((0.4, 0.6, 0.6), (0.2, 0, 0))), truth)  # the same front, half as deep
    assert shallow["far_f_score"] < shallow["f_score"] - 0.05
    assert same["chamfer"] < 0.02 < shallow["chamfer"]


def test_normals_at_random_are_half_consistent():
    rng = np.random.default_rng(0)
    points = rng.random((5000, 3)).astype(np.float32)
    normals = [rng.normal(size=(5000, 3)) for _ in range(2)]
    unit = [(n / np.linalg.norm(n, axis=1, keepdims=True)).astype(np.float32) for n in normals]
    found = surface_figures((points, unit[0]), (points, unit[1]))
    assert found["normal_consistency"] == pytest.approx(0.5, abs=0.02)
    assert "far_f_score" not in found
    flipped = surface_figures((points, unit[0]), (points, -unit[0]))
    assert flipped["normal_consistency"] == pytest.approx(1), "a mesh may be inside out"


def test_rear_cameras_stand_behind_at_both_heights_of_the_principal_views():
    poses = rear_poses(20.0)
    assert {pose.elevation for pose in poses} == {20.0, -10.0}
    assert sorted({pose.azimuth for pose in poses}) == [120, 150, 180, 210, 240]

"""Measures on spheres and a box whose answers are known in closed form, with trimesh's samples as a second judge."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from engine.evaluation.geometry import MeshSolid, volume_iou
from engine.meshes.mesh import Mesh
from tests.benchmarks.measures import chamfer_distance, f_score, surface_distances


def sphere(radius=0.5, centre=(0, 0, 0)):
    return trimesh.creation.icosphere(4, radius).apply_translation(centre)


def mesh(shape):
    return Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces, np.int32))


def lens(shift, radius=0.5):
    """Volume of the intersection of two spheres `shift` apart."""
    return np.pi * (2 * radius - shift) ** 2 * (shift**2 + 4 * shift * radius) / (12 * shift)


@pytest.mark.parametrize("shift", [0.05, 0.2])
def test_shifted_spheres(shift):
    truth, moved = sphere(), sphere(centre=(shift, 0, 0))
    both = lens(shift)
    assert volume_iou(mesh(moved), MeshSolid(mesh(truth))) == pytest.approx(both / (np.pi / 3 - both), abs=0.015)
    # The distance from a point p of one sphere to the other is | |p - c| - r |.
    points, _ = trimesh.sample.sample_surface(moved, 20_000, seed=1)
    exact = np.abs(np.linalg.norm(points, axis=1) - 0.5)
    to_truth, _ = surface_distances(mesh(moved), MeshSolid(mesh(truth)))
    # A nearest sample is up to the samples' spacing farther than the surface itself.
    assert to_truth.mean() == pytest.approx(exact.mean(), abs=0.004)
    assert chamfer_distance(mesh(moved), MeshSolid(mesh(truth))) == pytest.approx(exact.mean(), abs=0.004)
    share = (exact < 0.05).mean()
    assert f_score(mesh(moved), MeshSolid(mesh(truth))) == pytest.approx(share, abs=0.02)


def test_scaled_spheres():
    truth, grown = mesh(sphere()), mesh(sphere(0.54))
    assert volume_iou(grown, MeshSolid(truth)) == pytest.approx((0.5 / 0.54) ** 3, abs=0.015)
    assert chamfer_distance(grown, MeshSolid(truth)) == pytest.approx(0.04, abs=0.003)
    assert f_score(grown, MeshSolid(truth)) == pytest.approx(1)
    assert f_score(grown, MeshSolid(truth), threshold=0.03) == 0


def test_rotation_changes_nothing_of_a_sphere_and_a_known_part_of_a_box():
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (20, 50, 70), True).as_matrix()
    truth = MeshSolid(mesh(sphere()))
    turned = mesh(sphere().apply_transform(turn))
    assert volume_iou(turned, truth) > 0.97 and f_score(turned, truth) == pytest.approx(1)
    # A square turned by 45 degrees shares with itself a regular octagon of area 2 (sqrt 2 - 1).
    turn[:3, :3] = Rotation.from_euler("z", 45, True).as_matrix()
    cube, octagon = trimesh.creation.box((1, 1, 1)), 2 * (np.sqrt(2) - 1)
    found = volume_iou(mesh(cube.copy().apply_transform(turn)), MeshSolid(mesh(cube)))
    assert found == pytest.approx(octagon / (2 - octagon), abs=0.02)

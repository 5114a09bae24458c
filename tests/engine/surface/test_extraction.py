import threading
import time

import numpy as np
import pytest
import torch
import trimesh
from surface_scenes import house

from engine.core.errors import Cancelled
from engine.core.progress import CancelToken
from engine.surface.extraction import extract_mesh, march, refined_grid
from tests.dense import dense_grid


def sphere(points):
    return points.norm(dim=-1) - 0.5


def thin_ring(points):
    radius = points[:, :2].norm(dim=-1) - 0.45
    return (radius**2 + points[:, 2] ** 2).sqrt() - 0.02


def two_far_parts(points):
    left = (points - points.new_tensor([-0.6, 0.0, 0.0])).norm(dim=-1) - 0.1
    return torch.minimum(left, (points - points.new_tensor([0.6, 0.3, 0.2])).norm(dim=-1) - 0.03)


@pytest.mark.parametrize("field", [sphere, thin_ring, two_far_parts, house])
@pytest.mark.parametrize("resolution", [64, 90])
def test_refined_extraction_equals_a_dense_one(field, resolution):
    vertices, faces = extract_mesh(field, resolution)
    expected, expected_faces = march(dense_grid(field, resolution))
    assert np.array_equal(faces, expected_faces)
    assert np.abs(vertices - expected).max() < 1e-3


def test_refined_extraction_asks_for_few_points_at_256():
    asked = 0

    def counted(points):
        nonlocal asked
        asked += len(points)
        return house(points)

    refined_grid(counted, 256)
    assert asked < 256**3 / 8


def test_mesh_is_closed_and_faces_outwards():
    vertices, faces = extract_mesh(sphere, 128)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.01)
    assert np.allclose(np.linalg.norm(vertices, axis=1), 0.5, atol=2e-3)


def test_object_that_leaves_the_volume_is_closed_at_its_border():
    vertices, faces = extract_mesh(lambda p: p[:, 2], 64)
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
    assert np.abs(vertices).max() < 0.83


def test_field_without_surface_gives_an_empty_mesh():
    vertices, faces = extract_mesh(lambda p: torch.ones(len(p)), 32)
    assert vertices.shape == (0, 3)
    assert faces.shape == (0, 3)


def test_cancel_stops_an_extraction_quickly():
    token = CancelToken()

    def slow(points):
        time.sleep(0.05)
        return sphere(points)

    threading.Timer(0.1, token.cancel).start()
    start = time.perf_counter()
    with pytest.raises(Cancelled):
        extract_mesh(slow, 256, cancel=token)
    assert time.perf_counter() - start < 5

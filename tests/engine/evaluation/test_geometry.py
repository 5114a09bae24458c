import time

import numpy as np
import pytest
import trimesh

from engine.evaluation.geometry import MeshSolid, sample_mesh, volume_iou, voxelise
from engine.meshes.mesh import Mesh
from tests.benchmarks.measures import chamfer_distance, f_score


def mesh_of(*shapes):
    joined = trimesh.util.concatenate(shapes)
    return Mesh(np.asarray(joined.vertices, np.float32), np.asarray(joined.faces, np.int32))


def box(size, offset=(0, 0, 0)):
    return trimesh.creation.box(size).apply_translation(offset)


class BoxSolid:
    """A box with exact answers."""

    def __init__(self, size, offset=(0, 0, 0)):
        self.half, self.offset = np.asarray(size) / 2, np.asarray(offset)

    def contains(self, points):
        return (np.abs(points - self.offset) < self.half).all(1)

    def sample_surface(self, n, rng):
        return sample_mesh(mesh_of(box(self.half * 2, self.offset)), n, rng)


def test_a_solid_against_itself_is_perfect():
    prediction, truth = mesh_of(box((1, 0.6, 0.8))), BoxSolid((1, 0.6, 0.8))
    assert volume_iou(prediction, truth) > 0.97
    assert chamfer_distance(prediction, truth) < 0.01
    assert f_score(prediction, truth) == pytest.approx(1)


def test_iou_of_shifted_boxes_is_the_known_ratio():
    prediction, truth = mesh_of(box((1, 1, 1), (0.25, 0, 0))), BoxSolid((1, 1, 1))
    assert volume_iou(prediction, truth) == pytest.approx(0.75 / 1.25, abs=0.02)


def test_figures_do_not_depend_on_the_size_of_the_world():
    small = chamfer_distance(mesh_of(box((0.1, 0.1, 0.14))), BoxSolid((0.1, 0.1, 0.1)))
    large = chamfer_distance(mesh_of(box((10, 10, 14))), BoxSolid((10, 10, 10)))
    assert small == pytest.approx(large, rel=0.02)


def test_chamfer_of_parallel_shells_is_their_gap():
    inner, outer = trimesh.creation.icosphere(4, 1.0), trimesh.creation.icosphere(4, 1.2)
    truth = MeshSolid(mesh_of(inner))
    assert chamfer_distance(mesh_of(outer), truth) == pytest.approx(0.1, abs=0.01)
    assert f_score(mesh_of(outer), truth) == 0
    assert f_score(mesh_of(outer), truth, threshold=0.15) == pytest.approx(1)


def test_an_empty_prediction_is_the_worst_not_an_error():
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    truth = BoxSolid((1, 1, 1))
    assert volume_iou(empty, truth) == 0 and f_score(empty, truth) == 0
    assert chamfer_distance(empty, truth) == np.inf


GRID = (np.full(3, -1.0), 2 / 64, (64, 64, 64))


def volume(occupancy):
    return occupancy.sum() * GRID[1] ** 3


def test_voxels_fill_a_sphere_and_are_where_it_is():
    sphere = trimesh.creation.icosphere(4, 0.5).apply_translation((0.3, -0.1, 0.2))
    occupancy = voxelise(mesh_of(sphere), *GRID)
    assert volume(occupancy) == pytest.approx(sphere.volume, rel=0.02)
    centre = (np.argwhere(occupancy).mean(0) + 0.5) * GRID[1] - 1
    assert centre == pytest.approx((0.3, -0.1, 0.2), abs=0.01)


def test_edges_on_the_grid_overlaps_and_cavities():
    on_grid = mesh_of(box((1, 1, 1), (1 / 64, 1 / 64, 1 / 64)))
    assert volume(voxelise(on_grid, *GRID)) == pytest.approx(1, rel=0.05)
    overlapping = mesh_of(box((1, 1, 1)), box((1, 0.5, 0.5), (0.4, 0, 0)))
    assert volume(voxelise(overlapping, *GRID)) == pytest.approx(1 + 0.4 * 0.25, rel=0.05)
    cavity = box((0.5, 0.5, 0.5))
    cavity.invert()
    assert volume(voxelise(mesh_of(box((1, 1, 1)), cavity), *GRID)) == pytest.approx(1 - 0.125, rel=0.05)


def test_a_hole_in_the_mesh_does_not_leak():
    sphere = trimesh.creation.icosphere(3, 0.6)
    torn = Mesh(np.asarray(sphere.vertices, np.float32), np.asarray(sphere.faces, np.int32)[25:])
    assert volume(voxelise(torn, *GRID)) == pytest.approx(sphere.volume, rel=0.05)


def test_fifty_thousand_faces_are_quick():
    sphere = mesh_of(trimesh.creation.icosphere(6, 0.7))
    assert len(sphere.faces) > 50_000
    start = time.process_time()
    voxelise(sphere, np.full(3, -1.0), 2 / 128, (128, 128, 128))
    assert time.process_time() - start < 1.5

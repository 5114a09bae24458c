"""Solids carved out of meshes: closed, open, two-sided and thin ones."""

import numpy as np
import pytest
import trimesh

from engine.core.errors import InputError
from engine.data.carving import carve
from engine.evaluation.geometry import enclose
from engine.meshes.mesh import Mesh


def merged(*meshes):
    mesh = trimesh.util.concatenate(meshes)
    return mesh.vertices, mesh.faces


def block(low, high):
    low, high = np.asarray(low, float), np.asarray(high, float)
    mesh = trimesh.creation.box(high - low)
    mesh.apply_translation((low + high) / 2)
    return mesh


@pytest.mark.parametrize("shape", ["box", "sphere", "turned"])
def test_a_closed_mesh_fills_its_volume(shape):
    mesh = trimesh.creation.icosphere(4) if shape == "sphere" else trimesh.creation.box((1, 0.6, 0.4))
    if shape == "turned":
        mesh.apply_transform(trimesh.transformations.rotation_matrix(0.7, (1, 2, 3)))
    solid = carve(mesh.vertices * 3000, mesh.faces)  # the unit does not matter
    truth = enclose(
        Mesh(np.float32(mesh.vertices * 3000), np.int32(mesh.faces)), solid.low, solid.step, (solid.resolution,) * 3
    ).occupancy
    assert (solid.occupancy & truth).sum() / (solid.occupancy | truth).sum() > 0.98
    assert solid.share == pytest.approx(solid.occupancy.mean(), abs=1e-3)


def test_a_house_without_floor_wound_at_random_is_solid_and_open_under_its_eaves():
    walls = block((-0.4, -0.3, 0), (0.4, 0.3, 0.5))
    walls.update_faces(walls.triangles_center[:, 2] > 0.01)  # no floor
    roof = block((-0.6, -0.5, 0.5), (0.6, 0.5, 0.6))
    vertices, faces = merged(walls, roof)
    flip = np.random.default_rng(0).random(len(faces)) < 0.5
    faces = np.where(flip[:, None], faces[:, ::-1], faces)
    solid = carve(vertices, np.concatenate([faces, faces[:, ::-1]]))  # two-sided as well
    assert solid.contains([(0, 0, 0.01), (0.38, 0.28, 0.01), (0.3, 0.2, 0.3), (0.55, 0, 0.55)]).all()
    assert not solid.contains([(0.5, 0, 0.3), (-0.5, 0.4, 0.2), (0, 0.4, 0.4), (0, 0, 0.7), (9, 9, 9)]).any()
    points, normals = solid.sample_surface(2000, np.random.default_rng(0))
    assert solid.contains(points + 0.02 * normals).mean() < 0.003
    assert solid.contains(points - 0.02 * normals).mean() > 0.97
    under = (normals[:, 2] < -0.9) & (points[:, 2] > 0.4)
    assert under.any(), "the eaves are seen from below"


def test_a_passage_stays_open_and_a_cup_hollow():
    arch = merged(
        block((-0.5, -0.2, 0), (-0.3, 0.2, 0.6)),
        block((0.3, -0.2, 0), (0.5, 0.2, 0.6)),
        block((-0.5, -0.2, 0.6), (0.5, 0.2, 0.8)),
    )
    solid = carve(*arch)
    assert not solid.contains([(0, 0, 0.1), (0, 0, 0.5), (0.2, 0.1, 0.3)]).any()
    assert solid.contains([(-0.4, 0, 0.3), (0.4, 0, 0.3), (0, 0, 0.7)]).all()
    cup = trimesh.creation.annulus(0.4, 0.5, 0.5)
    cup = merged(cup, block((-0.3, -0.3, -0.25), (0.3, 0.3, -0.2)))
    solid = carve(*cup)
    assert not solid.contains([(0, 0, 0.1), (0.2, 0, 0)]).any() and solid.contains([(0.45, 0, 0)]).all()


def test_a_sheet_is_one_voxel_thick_and_counts_as_nothing():
    vertices = np.array([(-0.5, 0, 0), (0.5, 0, 0), (0.5, 0, 0.7), (-0.5, 0, 0.7)])
    solid = carve(vertices, [(0, 1, 2), (0, 2, 3)])
    assert solid.share < 0.004
    assert 0.5 < solid.occupancy.mean() * 128 < 1.5
    points, normals = solid.sample_surface(500, np.random.default_rng(0))
    assert 0.3 < (normals[:, 1] > 0).mean() < 0.7, "both sides are seen"
    assert np.abs(points[:, 1]).max() < 1e-6


def test_what_encloses_nothing_is_refused():
    box = trimesh.creation.box()
    for vertices, faces in (
        (box.vertices, np.zeros((0, 3), int)),
        (box.vertices * 0, box.faces),
        (box.vertices * np.nan, box.faces),
    ):
        with pytest.raises(InputError):
            carve(vertices, faces)

"""Procedural objects: truth, determinism, splits, export."""

import io

import numpy as np
import pytest
import trimesh

from engine.core.errors import InputError
from engine.data import FAMILIES, LAYERS, family_of, make_object, split_seeds, texture_library

SEEDS = (3, 2_000_000_007)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_valid_meshes(family):
    for seed in SEEDS:
        obj = make_object(seed, family)
        for array in (obj.vertices, obj.normals, obj.uv, obj.color_a, obj.color_b):
            assert array.dtype == np.float32 and array.flags.c_contiguous and np.isfinite(array).all()
        assert obj.faces.dtype == np.int32 and obj.faces.min() == 0 and obj.faces.max() == len(obj.vertices) - 1
        size = obj.vertices.max(0) - obj.vertices.min(0)
        assert size.max() == pytest.approx(1.0, abs=1e-4)
        assert np.allclose(obj.vertices.max(0) + obj.vertices.min(0), 0, atol=1e-4)
        assert np.allclose(np.linalg.norm(obj.normals, axis=1), 1, atol=1e-3)
        assert obj.color_a.min() >= 0 and obj.color_a.max() <= 1
        assert obj.layer.min() >= 0 and obj.layer.max() < len(texture_library())
        corner = obj.vertices[obj.faces].astype(np.float64)
        cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        assert np.linalg.norm(cross, axis=1).min() > 0
        # shading normals face the way the facets do
        facing = (cross * obj.normals[obj.faces].mean(1)).sum(1) > 0
        assert facing.mean() > 0.995
        # every part is wound outwards: its signed volume is positive
        part = obj._assembly.instance[obj.faces[:, 0]]
        volume = np.bincount(part, (corner[:, 0] * np.cross(corner[:, 1], corner[:, 2])).sum(1) / 6)
        assert volume.min() > -1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_inside_agrees_with_the_mesh(family):
    obj = make_object(5, family)
    points, normals = obj.sample_surface(3000, np.random.default_rng(0))
    # a bent mesh is a chord of the bent solid; its facets stand off by some thousandths
    step = 5e-4 if family != "generic" else 4e-3
    assert obj.contains(points - step * normals).mean() >= (0.98 if family != "generic" else 0.95)
    assert obj.contains(points + step * normals).mean() <= 0.02


def test_undeformed_objects_agree_with_ray_parity():
    obj = make_object(11, "church")
    rng = np.random.default_rng(1)
    points = rng.uniform(obj.vertices.min(0), obj.vertices.max(0), (150, 3))
    # winding number: the solid angles of all facets, summed; overlapping parts add up
    a, b, c = (obj.vertices[obj.faces[:, i]].astype(np.float64)[None] - points[:, None] for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=2) for v in (a, b, c))
    top = (a * np.cross(b, c)).sum(2)
    below = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    winding = np.arctan2(top, below).sum(1) / (2 * np.pi)
    assert ((winding > 0.5) == obj.contains(points)).mean() >= 0.995


def test_objects_are_deterministic_and_differ_by_seed():
    for family in ("castle", "generic"):
        first, again, other = make_object(7, family), make_object(7, family), make_object(8, family)
        assert np.array_equal(first.vertices, again.vertices) and np.array_equal(first.color_a, again.color_a)
        assert first.vertices.shape != other.vertices.shape or not np.allclose(first.vertices, other.vertices)


def test_samples_lie_on_the_outer_surface_and_repeat():
    obj = make_object(2, "gabled_house")
    points, normals = obj.sample_surface(1000, np.random.default_rng(4))
    again, _ = obj.sample_surface(1000, np.random.default_rng(4))
    assert points.shape == normals.shape == (1000, 3) and points.dtype == np.float32
    assert np.array_equal(points, again)
    assert not obj.contains(points + 2e-4 * normals).mean() > 0.02


def test_splits_are_disjoint_balanced_and_stable():
    train, validation, heldout = (split_seeds(name) for name in ("train", "validation", "heldout"))
    assert len(validation) == 100 and len(heldout) == 200 and len(train) > 10**9
    assert not set(validation) & set(heldout) and train[-1] < min(validation[0], heldout[0])
    counts = [sum(family_of(seed) == family for seed in heldout) for family in FAMILIES]
    assert max(counts) - min(counts) <= 1
    drawn = [family_of(seed) for seed in range(400)]
    assert 0.2 < drawn.count("generic") / 400 < 0.5 and len(set(drawn)) == len(FAMILIES)
    assert make_object(heldout[3]).family == family_of(heldout[3])


def test_unknown_names_are_refused_plainly():
    with pytest.raises(InputError, match="castel"):
        make_object(0, "castel")
    with pytest.raises(InputError, match="trian"):
        split_seeds("trian")


def test_glb_loads_back_textured():
    obj = make_object(1, "terrace")
    data = obj.to_scene().export(file_type="glb")
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    meshes = list(scene.geometry.values())
    assert sum(len(mesh.faces) for mesh in meshes) == len(obj.faces)
    assert all(mesh.visual.material.baseColorTexture.size == (128, 128) for mesh in meshes)
    # Y up in the file
    assert np.allclose(scene.extents, np.ptp(obj.vertices, axis=0)[[0, 2, 1]], atol=1e-4)


def test_textures_tile_without_seams():
    library = texture_library()
    assert library.dtype == np.uint8 and library.shape[1:] == (128, 128, 2) and len(library) >= 40
    for name in ("plaster", "noise", "marble", "rubble", "granite"):
        layer = library[LAYERS[name]].astype(float)
        for axis in (0, 1):
            inner = np.abs(np.diff(layer, axis=axis)).mean()
            seam = np.abs(np.take(layer, 0, axis) - np.take(layer, -1, axis)).mean()
            assert seam < 2.5 * inner + 4

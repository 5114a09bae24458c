import time

import numpy as np
import pytest
import trimesh

from engine.evaluation.geometry import MeshSolid, enclose, overlap, sample_mesh, volume_iou
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
    occupancy = enclose(mesh_of(sphere), *GRID).occupancy
    assert volume(occupancy) == pytest.approx(sphere.volume, rel=0.02)
    centre = (np.argwhere(occupancy).mean(0) + 0.5) * GRID[1] - 1
    assert centre == pytest.approx((0.3, -0.1, 0.2), abs=0.01)


def test_edges_on_the_grid_overlaps_and_cavities():
    on_grid = mesh_of(box((1, 1, 1), (1 / 64, 1 / 64, 1 / 64)))
    assert volume(enclose(on_grid, *GRID).occupancy) == pytest.approx(1, rel=0.05)
    overlapping = mesh_of(box((1, 1, 1)), box((1, 0.5, 0.5), (0.4, 0, 0)))
    assert volume(enclose(overlapping, *GRID).occupancy) == pytest.approx(1 + 0.4 * 0.25, rel=0.05)
    cavity = box((0.5, 0.5, 0.5))
    cavity.invert()
    assert volume(enclose(mesh_of(box((1, 1, 1)), cavity), *GRID).occupancy) == pytest.approx(1 - 0.125, rel=0.05)


def test_a_hole_in_the_mesh_does_not_leak():
    sphere = trimesh.creation.icosphere(3, 0.6)
    torn = Mesh(np.asarray(sphere.vertices, np.float32), np.asarray(sphere.faces, np.int32)[25:])
    assert volume(enclose(torn, *GRID).occupancy) == pytest.approx(sphere.volume, rel=0.05)


def test_fifty_thousand_faces_are_quick():
    sphere = mesh_of(trimesh.creation.icosphere(6, 0.7))
    assert len(sphere.faces) > 50_000
    start = time.process_time()
    enclose(sphere, np.full(3, -1.0), 2 / 128, (128, 128, 128))
    assert time.process_time() - start < 1.5


def house():
    """A tower, a porch and a shed, in one file as artists leave them: they touch."""
    return [box((4, 3, 2), (2, 1.5, 1)), box((2, 1.5, 1), (5, 1.25, 0.5)), box((1, 1, 3), (0.5, 0.5, 3.5))]


def changed(change):
    mesh = mesh_of(*house())
    vertices, faces = change(mesh.vertices, mesh.faces)
    return Mesh(np.asarray(vertices, np.float32), np.asarray(faces, np.int32))


def turned_round(faces, which):
    faces = faces.copy()
    faces[which] = faces[which][:, ::-1]
    return faces


def without_floor(v, f):
    return v, f[~(v[f][:, :, 2] < 1e-6).all(1)]


ODD = {
    "two-sided": lambda v, f: (v, np.concatenate([f, f[:, ::-1]])),
    "doubled": lambda v, f: (v, np.concatenate([f, f])),
    "inside out": lambda v, f: (v, f[:, ::-1]),
    "one face turned": lambda v, f: (v, turned_round(f, [5])),
    "every other face turned": lambda v, f: (v, turned_round(f, slice(None, None, 2))),
    "one part turned": lambda v, f: (v, turned_round(f, slice(0, 12))),
    "no shared corners": lambda v, f: (v[f].reshape(-1, 3), np.arange(f.size).reshape(-1, 3)),
    "no floor": without_floor,
    "no floor, two-sided": lambda v, f: (v, np.concatenate([without_floor(v, f)[1], without_floor(v, f)[1][:, ::-1]])),
    "no floor, turned at random": lambda v, f: (v, turned_round(without_floor(v, f)[1], slice(None, None, 2))),
    "with a fence of sheets": lambda v, f: (
        np.concatenate([v, [(0, -0.5, 0), (6, -0.5, 0), (6, -0.5, 0.5), (0, -0.5, 0.5)]]),
        np.concatenate([f, [(24, 25, 26), (24, 26, 27)]]),
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_the_solid_of_a_house_is_found_however_its_faces_are(name):
    odd, right = changed(ODD[name]), mesh_of(*house())
    iou, found, truth = overlap(odd, MeshSolid(right))
    assert iou > 0.97 and truth.how == "" and not found.empty
    assert volume_iou(right, MeshSolid(odd)) > 0.97
    if name in ("doubled", "inside out", "no shared corners"):
        assert found.how == ""
    if name.startswith(("two-sided", "every other", "no floor")):
        assert found.how != ""


def test_a_cavity_is_one_only_where_its_faces_say_so():
    inner = box((1, 1, 1))
    whole = MeshSolid(mesh_of(box((2, 2, 2))))
    assert volume_iou(mesh_of(box((2, 2, 2)), inner), whole) > 0.99
    inner.invert()
    assert volume_iou(mesh_of(box((2, 2, 2)), inner), whole) == pytest.approx(7 / 8, abs=0.02)


def test_a_yard_a_passage_and_a_room_with_a_door():
    """Of walls without any floor: the yard is open to the sky, the passage to both sides, the room to one."""
    walls = [box((6, 0.2, 2), (0, y, 1)) for y in (-3, -1, 1, 3)] + [box((0.2, 6, 2), (x, 0, 1)) for x in (-3, 3)]
    room = box((2, 2, 2), (0, 0, 1))
    faces = np.asarray(room.faces)[~(np.asarray(room.vertices)[room.faces][:, :, 2] < 1e-6).all(1)]
    open_room = trimesh.Trimesh(room.vertices, faces[1:], process=False)  # a triangle of a wall or the roof is missing
    found = enclose(mesh_of(open_room), np.full(3, -2.0), 4 / 64, (64, 64, 64))
    assert found.occupancy.sum() * (4 / 64) ** 3 == pytest.approx(8, rel=0.3)
    yard = enclose(mesh_of(*walls), np.full(3, -4.0), 8 / 64, (64, 64, 64)).occupancy
    assert not yard[32, 32, 40] and not yard[32, 48, 40], "between walls the sky is free"


def test_sheets_enclose_nothing():
    sheets = [np.array([(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0)], float)]
    sheets.append(sheets[0] @ np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]))
    faces = np.concatenate([np.array([(0, 1, 2), (0, 2, 3)]) + 4 * i for i in range(2)])
    mesh = Mesh(np.concatenate(sheets).astype(np.float32), faces.astype(np.int32))
    _, found, _ = overlap(mesh, MeshSolid(mesh_of(box((2, 2, 2), (1, 1, 1)))))
    assert found.empty and not found.occupancy.any()

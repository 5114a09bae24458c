"""Polygons cut into triangles."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.meshes.polygons import triangulate

ARROW = [(0, 0), (4, 0), (1, 1), (0, 4)]
ELL = [(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3)]
COMB = [(0, 0), *((i, 10 if i % 2 else 1) for i in range(40)), (39, 0)]
RING = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]  # a hole, and the way to it
SPIRAL = [(r * np.cos(a), r * np.sin(a)) for a in np.linspace(0, 12, 200) for r in (a + 1,)]
SPIRAL += [(1.2 * x, 1.2 * y) for x, y in reversed(SPIRAL)]


def area_of(outline):
    x, y = np.array(outline, float).T
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


@pytest.mark.parametrize("outline", [ARROW, ELL, COMB, RING, SPIRAL], ids=["arrow", "L", "comb", "ring", "spiral"])
def test_a_polygon_that_is_not_convex_is_covered_once_in_any_plane_from_any_corner(outline):
    rng = np.random.default_rng(0)
    for turn in range(min(len(outline), 12)):
        for way in (1, -1):
            flat = np.roll(np.array(outline, float), turn * max(len(outline) // 12, 1), 0)[::way]
            placed = Rotation.random(random_state=turn).apply(np.pad(flat, ((0, 0), (0, 1))))
            placed = (placed + rng.normal(size=3) * 50) * 10.0 ** rng.integers(-3, 4)
            scale = np.linalg.norm(placed[1] - placed[0]) / np.linalg.norm(flat[1] - flat[0])
            triangles, of = triangulate(placed, np.array([len(flat)]))
            a, b, c = (placed[triangles[:, i]] for i in range(3))
            normals = np.cross(b - a, c - a)
            assert len(triangles) == len(flat) - 2 and not of.any()
            assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(area_of(outline) * scale**2, rel=1e-6)
            assert np.linalg.norm(normals.sum(0)) / 2 == pytest.approx(area_of(outline) * scale**2, rel=1e-6), "one way"


def test_faces_of_all_sizes_keep_their_order():
    corners = np.array([*ELL, *ARROW, (0, 0), (1, 0), (0, 1), (5, 5), (6, 6), (0, 0), (1, 0), (1, 1), (0, 1)], float)
    triangles, of = triangulate(np.pad(corners, ((0, 0), (0, 1))), np.array([6, 4, 3, 2, 4]))
    assert of.tolist() == [0, 0, 0, 0, 1, 1, 2, 4, 4]
    assert triangles[6].tolist() == [10, 11, 12] and set(triangles[4:6].ravel()) == {6, 7, 8, 9}


def test_an_outline_that_crosses_itself_still_ends():
    corners = np.array([(0, 0, 0), (2, 2, 0), (2, 0, 0), (0, 2, 0), (1, 5, 0), (1, 5, 0), (-3, 0, 0)], float)
    assert len(triangulate(corners, np.array([7]))[0]) == 5
    assert len(triangulate(np.zeros((6, 3)), np.array([6]))[0]) == 4

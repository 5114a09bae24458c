"""Shapes for an evaluation: what is read, what counts as outside, how it is drawn."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.core.errors import EmptyResultError, InputError
from engine.evaluation.pictures import POSES, draw_shape, outer_points, read_shape, shape_of
from engine.meshes.mesh import Mesh


def plain(*parts):
    joined = trimesh.util.concatenate(parts)
    return shape_of(Mesh(np.asarray(joined.vertices, np.float32), np.asarray(joined.faces, np.int32)))


def test_every_material_of_a_file_is_drawn_and_stands_upright(tmp_path):
    scene = trimesh.Scene()
    for i, color in enumerate(((255, 0, 0), (0, 0, 255))):
        box = trimesh.creation.box((0.4, 0.4, 0.4)).apply_translation((0, 0.5 * i, 0))  # Y up in the file
        picture = Image.new("RGB", (4, 4), color)
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, metallicFactor=0.0)
        box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(box.vertices), 2)), material=material)
        scene.add_geometry(box)
    scene.export(tmp_path / "two.glb")
    shape = read_shape(tmp_path / "two.glb")
    unit = shape.moved(shape.to_unit())
    assert unit.mesh.bounds[:, 2] == pytest.approx([-0.5, 0.5], abs=1e-5)
    at = np.linalg.inv(unit.frame) @ [0, 0, 0.5, 1]
    assert at[:3] == pytest.approx([0, 0, 0.7], abs=1e-4), "back in the file's coordinates, Z up"
    picture = draw_shape(unit, POSES[:1], 128, lit=False)[0]
    covered = picture[..., 3] > 0.99
    rows = np.nonzero(covered)[0]
    assert picture[covered][rows.argmin()][:3] == pytest.approx([0, 0, 1]), "the upper box"
    assert picture[covered][rows.argmax()][:3] == pytest.approx([1, 0, 0])
    assert picture[0, 0] == pytest.approx([1, 1, 1, 0])
    lit = draw_shape(unit, POSES[:1], 128)[0][covered][:, :3]
    assert lit.max(1).min() < 0.95, "a lamp lets the form be seen"


def test_only_what_can_be_seen_from_outside_counts():
    outer, inner = trimesh.creation.box((1, 0.8, 0.9)), trimesh.creation.box((0.6, 0.5, 0.5))
    points, normals = outer_points(plain(outer, inner), 5000)
    assert points.shape == normals.shape == (5000, 3)
    assert (np.abs(points) / (0.5, 0.4, 0.45)).max(1) == pytest.approx(1, abs=1e-4), "none of the inner box"
    share = (normals[:, 2] > 0.9).mean()
    assert share == pytest.approx(0.8 / (2 * (0.8 + 0.9 + 0.72)), abs=0.03), "even over the faces"


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb"])
def test_files_that_hold_nothing_to_measure(tmp_path, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.[^.]*\. Make or export it again\.$"):
        read_shape(path)


def test_vertices_that_are_no_numbers_and_meshes_without_faces(tmp_path):
    box = trimesh.creation.box((1, 1, 1))
    vertices = np.asarray(box.vertices).copy()
    vertices[3] = np.nan
    trimesh.Trimesh(vertices, box.faces, process=False).export(tmp_path / "nan.ply")
    with pytest.raises(InputError, match=r"nan\.ply has vertices that are no numbers"):
        read_shape(tmp_path / "nan.ply")
    with pytest.raises(InputError, match="no numbers"):
        shape_of(Mesh(vertices.astype(np.float32), np.asarray(box.faces, np.int32)))
    trimesh.PointCloud(np.zeros((4, 3))).export(tmp_path / "points.ply")
    with pytest.raises(InputError, match=r"points\.ply holds"):
        read_shape(tmp_path / "points.ply")
    with pytest.raises(EmptyResultError, match="no faces"):
        shape_of(Mesh(np.zeros((4, 3), np.float32), np.zeros((0, 3), np.int32)))
    with pytest.raises(EmptyResultError, match="one place"):
        shape_of(Mesh(np.ones((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)))

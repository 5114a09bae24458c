import numpy as np
import pytest
import torch
import trimesh
from surface_scenes import ELEVATION, SIZE, house, trace

from engine import cameras
from engine.core.errors import EmptyResultError
from engine.meshes.export import export_mesh
from engine.meshes.mesh import Mesh
from engine.surface import clean_mesh
from engine.surface.extraction import extract_mesh, march
from engine.surface.hull import SilhouetteField, TrustedSilhouettes, mask_distance, project_points
from tests.benchmarks.baselines import visual_hull


def test_projection_agrees_with_the_cameras_module(scene):
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 3)).astype(np.float32)
    w2c = torch.from_numpy(cameras.world_to_camera(scene.c2ws))
    pixels, depth = project_points(torch.from_numpy(points), w2c, torch.from_numpy(scene.k))
    for i in range(32):
        expected, expected_depth = cameras.project(points, scene.c2ws[i], scene.k)
        assert np.allclose(pixels[i], expected, atol=1e-2)
        assert np.allclose(depth[i], expected_depth, atol=1e-4)


def test_mask_distance_is_zero_on_the_contour():
    x = np.arange(64) + 0.5
    mask = np.tile(np.clip(20.3 - x + 0.5, 0, 1), (64, 1))
    distance = mask_distance(mask)
    assert np.allclose(distance[32, 10:30], (x - 20.3)[10:30], atol=0.51)
    assert abs(distance[32, 20] - (x[20] - 20.3)) < 0.05


def test_hull_contains_the_object(scene):
    mesh = visual_hull(scene.views, scene.c2ws, scene.k, resolution=96)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, (20000, 3)).astype(np.float32))
    hull = SilhouetteField.build(scene.views[..., 3], scene.c2ws, scene.k).largest(points, 1)[:, 0]
    assert (hull[house(points) < -0.015] < 0).float().mean() > 0.999
    inside, hulled = house(points) < 0, hull < 0
    assert (inside & hulled).sum() / (inside | hulled).sum() > 0.85


def test_hull_of_contradicting_silhouettes_says_so(scene):
    views = scene.views.copy()
    views[0, ..., 3] = 0
    with pytest.raises(EmptyResultError, match="no common volume"):
        visual_hull(views, scene.c2ws, scene.k, resolution=48)


def _silhouette_iou(field, mask, c2w, k):
    vertices, faces = extract_mesh(field, 128)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    origin, directions = cameras.pixel_rays(c2w, k, cameras.pixel_grid(SIZE)[::2])
    depths = torch.linspace(0.7, 2.3, 400)
    points = torch.from_numpy(origin) + torch.from_numpy(directions)[:, None] * depths[:, None]
    hit = (field(points.reshape(-1, 3)).view(len(directions), -1) < 0).any(1).numpy()
    wanted = mask.reshape(-1)[::2] > 0.5
    assert mesh.is_watertight
    return (hit & wanted).sum() / (hit | wanted).sum()


def test_trusted_silhouette_carves_and_fills():
    c2w, k = cameras.camera_to_world(ELEVATION, 0.0), cameras.intrinsics(SIZE)
    mask = trace(c2w, k, SIZE)[..., 3]
    mask[8:40, 44:50] = 1  # a mast that the field lacks
    mask[:, :36] = 0  # a wing that it has too much
    trusted = TrustedSilhouettes.build([(mask, c2w, k)], house, extent=0.8, margin=0.0126)
    assert _silhouette_iou(house, mask, c2w, k) < 0.88

    def bent(points):
        return trusted.bend(points, house(points))

    assert _silhouette_iou(bent, mask, c2w, k) > 0.93


def test_trusted_silhouette_leaves_a_fitting_field_alone():
    c2w, k = cameras.camera_to_world(ELEVATION, 0.0), cameras.intrinsics(SIZE)
    trusted = TrustedSilhouettes.build([(trace(c2w, k, SIZE)[..., 3], c2w, k)], house, extent=0.8, margin=0.0126)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, (20000, 3)).astype(np.float32))
    changed = (trusted.bend(points, house(points)) < 0) != (house(points) < 0)
    assert changed.float().mean() < 0.01


def _mesh_of(*parts: trimesh.Trimesh) -> Mesh:
    mesh = trimesh.util.concatenate(parts)
    return Mesh(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32))


def test_floaters_and_cavities_go_and_real_parts_stay():
    body, tower = trimesh.creation.icosphere(3, 0.4), trimesh.creation.icosphere(2, 0.15).apply_translation([0.7, 0, 0])
    speck = trimesh.creation.icosphere(1, 0.02).apply_translation([0, 0.7, 0])
    cavity = trimesh.creation.icosphere(2, 0.2)
    cavity.invert()
    mesh = clean_mesh(_mesh_of(speck, body, cavity, tower))
    assert len(mesh.faces) == len(body.faces) + len(tower.faces)
    assert len(mesh.vertices) == len(body.vertices) + len(tower.vertices)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight


def test_decimation_keeps_shape_and_colours():
    mesh = _mesh_of(trimesh.creation.icosphere(5, 0.4))
    mesh.colors = ((mesh.vertices + 0.5) * 255).astype(np.uint8)
    small = clean_mesh(mesh, target_faces=2000)
    assert len(small.faces) <= 2000
    assert np.allclose(np.linalg.norm(small.vertices, axis=1), 0.4, atol=0.02)
    assert np.abs(small.colors / 255 - (small.vertices + 0.5)).max() < 0.08


@pytest.mark.parametrize("faces", [200, 400, 800])
def test_a_closed_mesh_with_thin_tips_stays_closed_in_files_as_well(faces, tmp_path):
    x = np.linspace(-1, 1, 40)
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij"), -1)
    field = np.linalg.norm(grid, axis=-1) - 0.5
    for tip in np.random.default_rng(3).normal(0, 1, (16, 3)):
        along = grid @ (tip / np.linalg.norm(tip))
        beside = np.sqrt(np.maximum((grid**2).sum(-1) - along**2, 0))
        field = np.minimum(field, np.where(along > 0, np.maximum(beside - 0.12 * (0.9 - along), along - 0.9), 1))
    vertices, triangles = march(field.astype(np.float32), 1.0)
    colors = ((vertices + 1) * 127).astype(np.uint8)
    mesh = clean_mesh(Mesh(vertices, triangles, colors), target_faces=faces)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.volume == pytest.approx(trimesh.Trimesh(vertices, triangles, process=False).volume, rel=0.05)
    assert np.abs(mesh.colors / 127 - (mesh.vertices + 1)).max() < 0.15
    export_mesh(mesh, tmp_path / "tips.stl")
    read = trimesh.load_mesh(tmp_path / "tips.stl")
    assert read.is_watertight and read.is_winding_consistent


def test_an_empty_mesh_is_reported():
    with pytest.raises(EmptyResultError):
        clean_mesh(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)))

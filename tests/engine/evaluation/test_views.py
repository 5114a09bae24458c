import numpy as np
import pytest
import trimesh

from engine.cameras import camera_to_world, intrinsics
from engine.evaluation.views import mask_iou, psnr, ssim
from engine.meshes.mesh import Mesh
from tests.benchmarks.measures import draw, silhouette, silhouette_iou

SIZE = 128
FRONT = camera_to_world(0, 0)


def cube(side=0.4, offset=(0, 0, 0), **extra):
    shape = trimesh.creation.box((side,) * 3).apply_translation(offset)
    return Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces, np.int32), **extra)


def test_psnr_of_a_known_error():
    assert psnr(np.full((8, 8, 4), 0.5), np.full((8, 8, 4), 0.4)) == pytest.approx(20)
    assert psnr(np.ones((8, 8, 4)), np.ones((8, 8, 3))) == 100


def test_ssim_is_the_usual_one():
    import torch
    from kornia.metrics import ssim as judge

    rng = np.random.default_rng(0)
    truth = rng.random((64, 48, 4))
    prediction = np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1)
    a, b = (torch.from_numpy(x[None, ..., :3]).permute(0, 3, 1, 2) for x in (prediction, truth))
    assert ssim(prediction, truth) == pytest.approx(float(judge(a, b, 11).mean()), abs=1e-4)
    assert ssim(truth, truth) == pytest.approx(1) and ssim(prediction, truth) < 0.98


def test_mask_iou():
    a, b = np.zeros((8, 8)), np.zeros((8, 8))
    assert mask_iou(a, b) == 1
    a[:, :4], b[:, 2:6] = 1, 1
    assert mask_iou(a, b) == pytest.approx(2 / 6)


def test_silhouette_of_a_cube_is_its_front_square():
    mask = silhouette(cube(), FRONT, intrinsics(SIZE), SIZE)
    rows, columns = np.nonzero(mask)
    side = 0.4 * 140 / (1.5 - 0.2)
    assert np.ptp(rows) + 1 == pytest.approx(side, abs=1.5) and np.ptp(columns) + 1 == pytest.approx(side, abs=1.5)
    assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert silhouette_iou(cube(), mask, FRONT, intrinsics(SIZE)) == 1


def test_silhouette_moves_as_the_camera_contract_says():
    rows, columns = np.nonzero(silhouette(cube(0.2, (0, 0.3, 0.2)), FRONT, intrinsics(SIZE), SIZE))
    assert columns.mean() > SIZE / 2, "+Y is to the right of the camera on +X"
    assert rows.mean() < SIZE / 2, "+Z is up"


def test_nearest_face_and_its_colour_win():
    near, far = cube(0.2, (0.4, 0, 0)), cube(0.5, (-0.4, 0, 0))
    mesh = Mesh(
        np.concatenate([far.vertices, near.vertices]),
        np.concatenate([far.faces, near.faces + len(far.vertices)]),
        colors=np.repeat(np.array([[255, 0, 0], [0, 0, 255]], np.uint8), len(far.vertices), 0),
    )
    picture = draw(mesh, FRONT, intrinsics(SIZE), SIZE)
    assert picture[SIZE // 2, SIZE // 2] == pytest.approx([0, 0, 1, 1])
    assert picture[0, 0] == pytest.approx([1, 1, 1, 0])
    assert draw(mesh, camera_to_world(0, 180), intrinsics(SIZE), SIZE)[64, 64] == pytest.approx([1, 0, 0, 1])


def test_texture_rows_run_from_the_top():
    vertices = np.array([[0, -0.3, -0.3], [0, 0.3, -0.3], [0, 0.3, 0.3], [0, -0.3, 0.3]], np.float32)
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0] = (0, 255, 0)
    mesh = Mesh(
        vertices,
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
        texture=texture,
    )
    picture = draw(mesh, FRONT, intrinsics(SIZE), SIZE)
    assert picture[50, 64, :3] == pytest.approx([0, 1, 0]) and picture[80, 64, :3] == pytest.approx([0, 0, 0])


def test_an_empty_mesh_and_one_behind_the_camera_draw_nothing():
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    assert not silhouette(empty, FRONT, intrinsics(SIZE), SIZE).any()
    assert not silhouette(cube(0.2, (3, 0, 0)), FRONT, intrinsics(SIZE), SIZE).any()

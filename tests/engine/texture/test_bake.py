import errno
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trimesh

from engine import cameras
from engine.core.errors import Cancelled, EmptyResultError, OutputError
from engine.core.progress import CancelToken, Progress
from engine.meshes.export import export_mesh, sample_texture
from engine.meshes.mesh import Mesh
from engine.meshes.rasteriser import rasterize
from engine.texture.atlas import Atlas, depth_map, surface_texels, unwrap
from engine.texture.bake import bake_texture
from tests.meshes import load_mesh

COLORS = np.array([[220, 40, 40], [40, 190, 60], [50, 70, 220], [220, 200, 50], [60, 60, 60], [190, 110, 220]]) / 255
SIZE = 128
K = cameras.intrinsics(SIZE)


def six_colors(points: np.ndarray) -> np.ndarray:
    """A colour for each of the six sides of a box or ball around the origin."""
    axis = np.abs(points).argmax(1)
    return COLORS[2 * axis + (points[np.arange(len(points)), axis] > 0)]


def plain(color: list[float]):
    return lambda points: np.full((len(points), 3), color)


def render(mesh: Mesh, pose: cameras.Pose, color=six_colors) -> np.ndarray:
    """(SIZE, SIZE, 4) picture over white of a mesh whose colour is a function of the place, 2 x 2 samples a pixel."""
    fine, k = 2 * SIZE, cameras.intrinsics(2 * SIZE)
    depth = depth_map(mesh.vertices, mesh.faces, pose.matrix(), k, fine, fine).ravel()
    origin, rays = cameras.pixel_rays(pose.matrix(), k, cameras.pixel_grid(fine))
    hit = np.isfinite(depth)
    picture = np.ones((fine * fine, 4), np.float32)
    picture[~hit, 3] = 0
    picture[hit, :3] = color(origin + rays[hit] * depth[hit, None])
    return picture.reshape(SIZE, 2, SIZE, 2, 4).mean((1, 3))


def views(mesh: Mesh, poses: list[cameras.Pose], color=six_colors) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([render(mesh, p, color) for p in poses]), np.stack([p.matrix() for p in poses])


def around(*elevations: float) -> list[cameras.Pose]:
    return [cameras.Pose(e, a) for e in elevations for a in range(0, 360, 60)]


def cube(subdivisions: int = 0) -> Mesh:
    solid = trimesh.creation.box((0.6, 0.6, 0.6))
    for _ in range(subdivisions):
        solid = solid.subdivide()
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32))


def ball(subdivisions: int = 4, radius: float = 0.45, center: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    solid = trimesh.creation.icosphere(subdivisions, radius)
    return Mesh((solid.vertices + center).astype(np.float32), solid.faces.astype(np.int32))


def face_colors(mesh: Mesh) -> np.ndarray:
    """(F, 3) colours 0..1 of the texture at the middles of faces."""
    return sample_texture(mesh.texture, mesh.uv[mesh.faces].mean(1)) / 255


def clear_of_borders(points: np.ndarray, margin: float) -> np.ndarray:
    """Whether points lie clearly in one of the six colours rather than at a border of two."""
    ordered = np.sort(np.abs(points), axis=1)
    return ordered[:, 2] - ordered[:, 1] > margin


@pytest.mark.parametrize("shape", [cube(), cube(4), ball()], ids=["plain cube", "fine cube", "ball"])
def test_colours_match_where_views_see(shape: Mesh) -> None:
    images, c2ws = views(shape, around(-40, 40))
    baked = bake_texture(shape, images, c2ws, K, size=512)
    assert baked.texture.shape == (512, 512, 3)
    np.testing.assert_allclose(baked.vertices[baked.faces], shape.vertices[shape.faces])
    texels = surface_texels(Atlas(baked.vertices, baked.faces, baked.uv), 512)
    error = np.abs(baked.texture.reshape(-1, 3)[texels.index] / 255 - six_colors(texels.positions)).max(1)
    clear = clear_of_borders(texels.positions, 0.03)
    assert clear.mean() > 0.6
    assert np.percentile(error[clear], 99) < 0.02
    clear = clear_of_borders(baked.vertices, 0.05)
    error = np.abs(baked.colors / 255 - six_colors(baked.vertices)).max(1)[clear]
    assert len(error) == 0 or np.percentile(error, 99) < 0.03


def test_the_white_background_does_not_reach_the_texture() -> None:
    shape = ball()
    images, c2ws = views(shape, around(-40, 40), plain([0.1] * 3))
    assert bake_texture(shape, images, c2ws, K, size=256).texture.max() <= 27


def test_what_no_view_sees_takes_the_nearest_colour_and_leaves_no_hole() -> None:
    shape = ball()
    images, c2ws = views(shape, [cameras.Pose(0, 0)])
    baked = bake_texture(shape, images, c2ws, K, size=256)
    assert (baked.texture.max(-1) > 0).all()
    color = face_colors(baked)
    behind = shape.vertices[shape.faces].mean(1)[:, 0] < 0
    # each point behind the rim continues the side beside it, or blends two of them
    side = six_colors(shape.vertices[shape.faces].mean(1) * [0, 1, 1])
    clear = clear_of_borders(shape.vertices[shape.faces].mean(1) * [0, 1, 1], 0.15)
    assert np.median(np.abs(color - side).max(1)[behind & clear]) < 0.1


def test_hidden_surfaces_are_not_painted_by_what_hides_them() -> None:
    front, rear = ball(3, 0.2, (0.5, 0, 0)), ball(3, 0.35, (-0.3, 0, 0))
    both = Mesh(
        np.concatenate([front.vertices, rear.vertices]), np.concatenate([front.faces, rear.faces + len(front.vertices)])
    )
    red, blue = np.array([0.9, 0.1, 0.1]), np.array([0.1, 0.1, 0.9])
    images, c2ws = views(both, around(20, -20), lambda p: np.where(p[:, :1] > 0.2, red, blue))
    color = face_colors(bake_texture(both, images, c2ws, K, size=512))
    is_front = np.arange(len(both.faces)) < len(front.faces)
    assert (color[is_front, 0] > 0.6).mean() > 0.99
    assert (color[~is_front, 2] > 0.6).mean() > 0.99


def test_the_input_picture_wins_where_it_sees_and_gives_way_smoothly() -> None:
    shape = ball()
    images, c2ws = views(shape, [cameras.Pose(0, 0), *around(-30, 0, 30)], plain([0.3, 0.6, 0.3]))
    images[0, ..., :3] = np.where(images[0, ..., 3:] > 0.5, [0.5, 0.4, 0.3], 1)
    baked = bake_texture(shape, images, c2ws, K, weights=[100.0] + [1.0] * 18, size=256)
    middles = shape.vertices[shape.faces].mean(1)
    normals = middles / np.linalg.norm(middles, axis=1, keepdims=True)
    to_eye = c2ws[0, :3, 3] - middles
    cosine = (normals * to_eye).sum(1) / np.linalg.norm(to_eye, axis=1)
    color = face_colors(baked)
    assert np.abs(color[cosine > 0.85] - [0.5, 0.4, 0.3]).max() < 0.05
    order = np.argsort(cosine)
    bands = [color[part].mean(0) for part in np.array_split(order[cosine[order] > -0.2], 24)]
    assert max(np.abs(b - a).max() for a, b in pairwise(bands)) < 0.08


def test_other_views_are_matched_to_the_colours_of_the_input() -> None:
    shape = ball()
    images, c2ws = views(shape, [cameras.Pose(0, 0), *around(-30, 0, 30)], plain([0.5, 0.6, 0.4]))
    alpha = images[1:, ..., 3:]
    images[1:, ..., :3] = (images[1:, ..., :3] - (1 - alpha)) * [0.9, 1.1, 1.0] + (1 - alpha)
    baked = bake_texture(shape, images, c2ws, K, weights=[100.0] + [1.0] * 18, size=256)
    behind = shape.vertices[shape.faces].mean(1)[:, 0] < -0.2
    assert np.abs(face_colors(baked)[behind] - [0.5, 0.6, 0.4]).max() < 0.03


def test_seams_stay_clean_at_the_smaller_sizes_that_viewers_sample() -> None:
    shape = ball()
    images, c2ws = views(shape, around(-40, 40))
    baked = bake_texture(shape, images, c2ws, K, size=512)
    clear = clear_of_borders(baked.vertices, 0.1)
    assert clear.sum() > len(np.unique(baked.vertices[clear], axis=0)) + 100  # many of them on seams
    for factor in (2, 4):
        smaller = baked.texture.reshape(512 // factor, factor, 512 // factor, factor, 3).mean((1, 3)).astype(np.uint8)
        error = np.abs(sample_texture(smaller, baked.uv) / 255 - six_colors(baked.vertices)).max(1)[clear]
        assert error.max() < 0.05


def test_without_any_view_the_mesh_keeps_its_own_colour() -> None:
    shape = cube()
    shape.colors = np.full((8, 3), [10, 120, 200], np.uint8)
    blank = np.ones((1, SIZE, SIZE, 4), np.float32)
    blank[..., 3] = 0
    baked = bake_texture(shape, blank, cameras.Pose(0, 0).matrix()[None], K, size=128)
    assert (baked.texture == [10, 120, 200]).all()


def test_progress_rises_and_cancel_stops() -> None:
    shape = ball(3)
    images, c2ws = views(shape, around(0))
    events: list[Progress] = []
    bake_texture(shape, images, c2ws, K, size=128, progress=events.append)
    fractions = [e.fraction for e in events]
    assert {e.stage for e in events} == {"texture"} and fractions == sorted(fractions) and fractions[-1] == 1
    token = CancelToken()

    def stop(event: Progress) -> None:
        if event.done == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        bake_texture(shape, images, c2ws, K, size=128, progress=stop, cancel=token)


def test_cancel_stops_even_the_unwrapping() -> None:
    rough = ball(5)
    rough.vertices += np.random.default_rng(0).normal(0, 0.004, rough.vertices.shape).astype(np.float32)
    token = CancelToken()
    timer = threading.Timer(0.15, token.cancel)
    timer.start()
    start = time.perf_counter()
    with pytest.raises(Cancelled):
        unwrap(rough.vertices, rough.faces, 1024, token)
    assert time.perf_counter() - start < 1
    timer.join()


def test_a_crash_while_unwrapping_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.texture.atlas.sys.executable", "/bin/false")
    with pytest.raises(EmptyResultError, match="could not be unwrapped"):
        unwrap(cube().vertices, cube().faces, 128)


def test_a_full_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine.core.processes.TemporaryFile", full)
    with pytest.raises(OutputError, match="no space left on device"):
        unwrap(cube().vertices, cube().faces, 128)


def test_an_empty_mesh_is_refused() -> None:
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    with pytest.raises(EmptyResultError):
        bake_texture(empty, np.ones((1, 8, 8, 4)), np.eye(4)[None], cameras.intrinsics(8))


def test_depth_and_rasteriser_agree_with_geometry() -> None:
    shape, pose = cube(), cameras.Pose(0, 0)
    depth = depth_map(shape.vertices, shape.faces, pose.matrix(), K, SIZE, SIZE)
    assert depth[SIZE // 2, SIZE // 2] == pytest.approx(1.2, abs=1e-4)
    assert not np.isfinite(depth[0, 0])
    half = K[0, 0] * 0.3 / 1.2  # the near side's half width in pixels
    assert np.isfinite(depth).sum() == pytest.approx((2 * half) ** 2, rel=0.05)
    triangle = np.array([[[1.0, 1.0], [9.0, 1.0], [1.0, 9.0]]], np.float32)
    ((face, pixel, bary),) = rasterize(triangle, 16, 16)
    assert len(face) == 36 and (bary >= -1e-4).all()
    centres = np.stack([pixel % 16, pixel // 16], -1) + 0.5
    np.testing.assert_allclose(bary @ triangle[0], centres, atol=1e-4)


@pytest.fixture
def baked_ball() -> Mesh:
    shape = ball(3)
    images, c2ws = views(shape, around(-40, 40))
    return bake_texture(shape, images, c2ws, K, size=256)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_baked_mesh_survives_export(tmp_path: Path, baked_ball: Mesh, suffix: str) -> None:
    export_mesh(baked_ball, tmp_path / f"ball{suffix}", on_floor=False)
    back = load_mesh(tmp_path / f"ball{suffix}")
    middles = back.vertices[back.faces].mean(1)
    clear = clear_of_borders(middles, 0.05)
    assert np.abs(face_colors(back) - six_colors(middles))[clear].max() < 0.03


def test_a_baked_glb_passes_the_khronos_validator(tmp_path: Path, baked_ball: Mesh, validate_glb) -> None:
    export_mesh(baked_ball, tmp_path / "ball.glb", height_m=8)
    assert "0 errors, 0 warnings" in validate_glb(tmp_path / "ball.glb").stdout

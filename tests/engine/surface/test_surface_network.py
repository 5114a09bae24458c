import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from surface_scenes import house

from engine import cameras, weights
from engine.core.errors import Cancelled, InputError, WeightsError
from engine.core.progress import CancelToken
from engine.surface import (
    BUILT_IN,
    PUBLISHED,
    PublishedNetwork,
    SurfaceNetwork,
    build_surface,
    load_surface,
    reconstruct_surface,
)
from engine.surface.extraction import extract_mesh, march
from engine.surface.hull import SilhouetteField
from engine.surface.published import COMPACT
from engine.surface.reconstruct import MODEL
from engine.surface.rendering import eikonal_loss, gradient, neus_weights, render_rays, sample_depths
from tests.dense import dense_grid

SMALL = replace(BUILT_IN, volume_resolution=32, image_size=64)
SMALL_PUBLISHED = replace(PUBLISHED, volume_resolution=32, image_size=64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SurfaceNetwork(SMALL).eval()


@pytest.fixture(scope="module")
def encoded(network, scene):
    with torch.no_grad():
        return network.encode(scene.views, scene.c2ws, scene.k)


def test_what_is_nearly_white_around_the_object_is_white(scene):
    """A diffusion model's background is not quite white, which the network has never seen."""
    torch.manual_seed(0)
    network = SurfaceNetwork(BUILT_IN).eval()
    off_white = scene.views.copy()
    off_white[..., :3][off_white[..., 3] == 0] = 0.96
    with torch.no_grad():
        a, b = (network.encode(views, scene.c2ws, scene.k) for views in (scene.views, off_white))
    assert float((a.features - b.features).abs().mean()) < 1e-3 * float(a.features.abs().mean())
    assert (b.pictures[:, :3].permute(0, 2, 3, 1)[b.pictures[:, 3] == 0] == 1).all()


def test_published_layout_has_the_published_sizes():
    network = PublishedNetwork(PUBLISHED)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes["compress.conv.weight"] == (16, 56, 3, 3)
    assert shapes["unet.conv0.conv.weight"] == (16, 32, 3, 3, 3)
    assert shapes["sdf_network.lins.0.parametrizations.weight.original1"] == (128, 3 + 36)
    assert shapes["sdf_network.lins.1.parametrizations.weight.original1"] == (128, 128 + 16)
    assert shapes["sdf_network.lins.2.parametrizations.weight.original1"] == (128, 128 + 16)
    assert "sdf_network.lins.3.bias" not in shapes
    assert shapes["blend.base_fc.0.weight"] == (64, 3 * 59 + 16)


def test_untrained_built_in_network_is_the_visual_hull(network, encoded):
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.8, 0.8, (2000, 3)).astype(np.float32))
    with torch.no_grad():
        assert torch.allclose(network.sdf(encoded, points), encoded.hull.largest(points, 1)[:, 0], atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, SMALL_PUBLISHED], ids=["built-in", "published"])
def test_refined_extraction_of_a_network_equals_a_dense_one(config, scene):
    torch.manual_seed(1)
    network = build_surface(config).eval()
    if isinstance(network, SurfaceNetwork):  # a correction that is not nothing
        torch.nn.init.normal_(network.sdf_network.lins[-1].weight, 0.0, 0.02)
    with torch.no_grad():
        encoded = network.encode(scene.views, scene.c2ws, scene.k)
        vertices, faces = extract_mesh(lambda p: network.sdf(encoded, p), 48, config.extent)
        expected, expected_faces = march(
            dense_grid(lambda p: network.sdf(encoded, p), 48, config.extent), config.extent
        )
    assert len(faces) > 100
    assert np.array_equal(faces, expected_faces)
    assert np.abs(vertices - expected).max() < 1e-3


def test_voxels_outside_the_hull_take_no_part(encoded):
    assert -0.8 < float(encoded.low[1]) < -0.2
    n = encoded.volume.shape[2:]
    axes = [torch.linspace(float(encoded.low[i]), float(encoded.high[i]), n[2 - i]) for i in range(3)]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    far = house(torch.stack([x, y, z], -1).reshape(-1, 3)).view(n) > 0.3
    assert far.any()
    assert (encoded.volume[0][:, far] == 0).all()


def test_reconstruction_has_shape_and_colours_of_the_object(network, scene):
    stages = []
    mesh = reconstruct_surface(
        network, scene.views, scene.c2ws, scene.k, resolution=96, progress=lambda e: stages.append(e.stage)
    )
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    points = torch.from_numpy(mesh.vertices)
    assert house(points).abs().median() < 0.02
    near = house(points).abs().numpy() < 0.01
    assert np.abs(mesh.colors / 255 - (mesh.vertices + 0.5).clip(0, 1))[near].mean() < 0.04
    assert set(stages) == {"surface"}


def test_more_pixels_than_the_network_wants_are_fine(network, scene):
    large = scene.views.repeat(2, 1).repeat(2, 2)
    k = scene.k.copy()
    k[:2] *= 2
    with torch.no_grad():
        one = network.encode(large, scene.c2ws, k)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.3, 0.3, (500, 3)).astype(np.float32))
    assert house(points)[one.hull.largest(points, 1)[:, 0] < -0.02].max() < 0.1


def test_views_without_cameras_are_refused(network, scene):
    with pytest.raises(InputError, match="one camera each"):
        network.encode(scene.views, scene.c2ws[:5], scene.k)


def test_a_cancelled_reconstruction_stops(network, scene):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        reconstruct_surface(network, scene.views, scene.c2ws, scene.k, resolution=64, cancel=token)


def _write(path, network, **card):
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    weights.save(path, tensors, {"model": MODEL, "config": "built-in", **card})


@pytest.mark.parametrize("config", [BUILT_IN, COMPACT, PUBLISHED], ids=lambda config: config.name)
def test_weights_come_back_as_they_were_saved(tmp_path, config):
    torch.manual_seed(2)
    network = build_surface(config)
    assert isinstance(network, SurfaceNetwork if config == BUILT_IN else PublishedNetwork)
    _write(tmp_path / "surface.safetensors", network, config=config.name)
    loaded = load_surface(tmp_path / "surface.safetensors")
    assert loaded.config == config
    assert torch.allclose(loaded.compress.conv.weight, network.compress.conv.weight, atol=1e-3)


def test_damaged_missing_and_foreign_weights_are_told_apart(tmp_path):
    path = tmp_path / "surface.safetensors"
    with pytest.raises(WeightsError):
        load_surface(path)
    _write(path, SurfaceNetwork(BUILT_IN))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="damaged"):
        load_surface(path)
    _write(path, SurfaceNetwork(SMALL), config="published")
    with pytest.raises(WeightsError, match="do not fit"):
        load_surface(path)
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"config": "unheard of"}))
    with pytest.raises(WeightsError, match="no known"):
        load_surface(path)


def test_neus_weights_sum_to_one_at_most_and_peak_at_the_crossing():
    depths = torch.linspace(0, 2, 200)
    sdf = torch.stack([1.0 - depths, 1.2 - depths, 0.3 + 0 * depths])
    for sharpness in (20.0, 200.0):
        w = neus_weights(sdf, sharpness)
        assert (w >= 0).all()
        assert (w.sum(1) <= 1 + 1e-4).all()
        assert w[0].sum() > 0.99
        assert w[2].sum() < 1e-3
        middle = (depths[1:] + depths[:-1]) / 2
        assert abs(float(middle[w[0].argmax()]) - 1.0) < 0.03
        assert abs(float(middle[w[1].argmax()]) - 1.2) < 0.03


def test_rendering_finds_depth_and_colour_of_a_surface():
    origins = torch.tensor([[1.5, 0.0, -0.1], [1.5, 0.0, 0.7]])
    directions = torch.tensor([[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    depths = sample_depths(house, origins, directions, 0.5, 2.5, generator=torch.Generator().manual_seed(0))
    assert (depths.diff(dim=1) >= 0).all()
    seen = render_rays(house, lambda p, d: (p + 0.5).clamp(0, 1), origins, directions, depths, torch.tensor(300.0))
    assert seen.opacity[0] > 0.99
    assert seen.opacity[1] < 0.01
    assert float(seen.depth[0]) == pytest.approx(1.2, abs=0.03)
    assert torch.allclose(seen.color[0], torch.tensor([0.8, 0.5, 0.4]), atol=0.05)
    assert torch.allclose(seen.color[1], torch.ones(3), atol=0.05)


def test_rays_see_a_thin_wall_and_nothing_beside_it():
    """A wall thinner than the even samples' spacing: what rays miss, a network would learn to swell for."""

    def wall(points):
        q = points.abs() - torch.tensor([0.015, 0.3, 0.3])
        return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)

    pixels = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1).reshape(-1, 2) + 0.5
    origin, directions = cameras.pixel_rays(cameras.camera_to_world(20.0, 30.0), cameras.intrinsics(64), pixels)
    d = torch.from_numpy(directions)
    o = torch.from_numpy(origin).expand_as(d)
    dense = torch.linspace(0.7, 2.3, 800)[:, None]
    hits = torch.stack([(wall(a + b * dense) < 0).any() for a, b in zip(o, d, strict=True)])
    depths = sample_depths(wall, o, d, 0.7, 2.3, generator=torch.Generator().manual_seed(0))
    opacity = neus_weights(wall(o[:, None] + d[:, None] * depths[..., None]), 500.0).sum(1)
    assert opacity[hits].mean() > 0.95
    assert opacity[~hits].mean() < 0.01


def test_numerical_gradient_of_a_distance_has_unit_length():
    points = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (100, 3)).astype(np.float32))
    gradients = gradient(lambda p: p.norm(dim=-1) - 0.5, points, 0.01)
    assert torch.allclose(gradients, torch.nn.functional.normalize(points, dim=-1), atol=0.02)
    assert eikonal_loss(gradients) < 1e-3


def test_hull_distance_bounds_the_true_distance(scene):
    field = SilhouetteField.build(scene.views[..., 3], scene.c2ws, scene.k)
    points = torch.from_numpy(np.random.default_rng(3).uniform(-0.6, 0.6, (3000, 3)).astype(np.float32))
    # Measured across the picture, a cone's distance is at most 1 / cos(half the view's diagonal) too long.
    assert (field.largest(points, 1)[:, 0] <= house(points).clamp(min=0) * 1.2 + 0.03).all()

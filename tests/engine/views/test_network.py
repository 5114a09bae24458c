from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from engine import cameras
from engine.views.network import FieldConfig, FieldNetwork, enlarge, sample_map, to_camera, to_frustum

TINY = FieldConfig(input_size=64, width=8, layers=1, bins=16, hidden=32)


def test_to_camera_is_the_house_camera():
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (50, 3)).astype(np.float32)
    w2c = cameras.world_to_camera(cameras.camera_to_world(33.0, 0.0))
    expected = points @ w2c[:3, :3].T + w2c[:3, 3]
    found = to_camera(torch.from_numpy(points)[None], torch.tensor([33.0]))[0]
    assert np.allclose(found, expected, atol=1e-5)


def test_volume_channel_zero_answers_where_its_pixel_looks():
    """A bump in the frustum volume at one pixel and depth is found at the world point that projects there."""
    network = FieldNetwork(TINY).eval()
    with torch.no_grad():
        code = network.encode(torch.rand(1, 4, 64, 64))
        code.volume.zero_()
        code.volume[0, 0, 8, 20, 11] = 10.0
    side, elevation = 32, 25.0
    c2w, k = cameras.camera_to_world(elevation, 0.0), cameras.intrinsics(side)
    origin, ray = cameras.pixel_rays(c2w, k, [[11.5, 20.5]])
    depth = cameras.INPUT_RADIUS + ((8 + 0.5) / 16 * 2 - 1) * cameras.VOLUME_EXTENT
    point = torch.from_numpy(origin + ray * depth)[None].float()
    _, own, _ = network.decode(code, point, torch.tensor([elevation]))
    assert own.item() > 9.9


def test_colours_are_colours():
    network = FieldNetwork(TINY).eval()
    code = network.encode(torch.rand(2, 4, 64, 64))
    _, _, rgb = network.decode(code, torch.rand(2, 9, 3) - 0.5, torch.tensor([0.0, 40.0]))
    assert rgb.shape == (2, 9, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_sampling_and_enlarging_are_torchs_own():
    plane = torch.rand(2, 5, 16, 16)
    where = torch.rand(2, 40, 3) * 2.6 - 1.3
    expected = F.grid_sample(plane, where[:, :, None, :2], padding_mode="border", align_corners=False)
    assert torch.allclose(sample_map(plane, where), expected[..., 0].transpose(1, 2), atol=1e-5)
    for side in (32, 64):
        expected = F.interpolate(plane, (side, side), mode="bilinear", align_corners=False)
        assert torch.allclose(enlarge(plane, side), expected, atol=1e-5)


def test_a_network_grows_without_forgetting():
    """Fine layers added to a trained network leave its answers as they were until they are trained themselves."""
    picture, points = torch.rand(2, 4, 64, 64), torch.rand(2, 9, 3) - 0.5
    small, large = FieldNetwork(TINY).eval(), FieldNetwork(replace(TINY, fine_layers=2, fine_width=64)).eval()
    large.load_state_dict(small.state_dict(), strict=False)

    def answer(network: FieldNetwork) -> torch.Tensor:
        code = network.encode(picture)
        logit, _, rgb = network.decode(code, points, torch.tensor([0.0, 40.0]))
        return torch.cat([logit.flatten(), rgb.flatten(), code.elevation])

    before = answer(large)
    assert torch.allclose(before, answer(small), atol=1e-5)
    before.square().sum().backward()
    assert large.fine.leave.weight.grad.abs().max() > 0 and large.fine.leave_code.weight.grad.abs().max() > 0


def test_a_network_trains_after_it_was_asked():
    """In one process: what is kept of the first answer must not be in the way of gradients."""
    network = FieldNetwork(TINY)
    with torch.inference_mode():
        network.encode(torch.rand(2, 4, 48, 48))
    network.encode(torch.rand(2, 4, 48, 48)).volume.square().mean().backward()
    assert network.to_volume.weight.grad.abs().max() > 0


def test_looking_a_volume_up_has_the_gradient_of_the_plain_way():
    network = FieldNetwork(TINY).eval()
    points, elevation = torch.rand(2, 30, 3) - 0.5, torch.tensor([10.0, 40.0])
    volume = torch.randn(2, 3, 16, 32, 32, requires_grad=True)
    code = network.encode(torch.rand(2, 4, 64, 64))
    code.volume = volume
    values, rays = network.look_up(code, points, elevation)
    weight = torch.randn_like(values)
    (values * weight).sum().add(rays.square().sum()).backward()
    found, volume.grad = volume.grad, None
    where = to_frustum(points, elevation, torch.ones(len(points)))[:, :, None, None]
    plain = F.grid_sample(volume, where, padding_mode="border", align_corners=False)[..., 0, 0].transpose(1, 2)
    (plain * weight).sum().add(volume[:, 0].amax(1).square().sum()).backward()
    assert torch.allclose(values, plain, atol=1e-5)
    assert torch.allclose(found, volume.grad, atol=1e-4)

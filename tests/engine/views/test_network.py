import numpy as np
import torch

from engine import cameras
from engine.views.network import FieldConfig, FieldNetwork, to_camera

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

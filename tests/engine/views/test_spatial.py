import math
from dataclasses import replace

import pytest
import torch

from engine.views.network import FieldConfig
from engine.views.spatial import AZIMUTHS, SpatialConfig, SpatialNetwork, azimuth_of

TINY = SpatialConfig(
    field=FieldConfig(input_size=32, width=8, layers=1, bins=16, hidden=32),
    cells=16,
    width=64,
    layers=1,
    picture_tokens=20,
    space_tokens=24,
    channels=4,
    hidden=32,
)


def object_picture(count: int = 2) -> torch.Tensor:
    picture = torch.ones(count, 4, 64, 64)
    picture[:, 3] = 0
    picture[:, :, 16:48, 20:40] = torch.rand(count, 4, 32, 20)
    picture[:, 3, 16:48, 20:40] = 1
    return picture


def test_it_starts_with_the_mean_of_the_fields_and_the_volumes_answers():
    network = SpatialNetwork(TINY).eval()
    picture, points, elevation = object_picture(), torch.rand(2, 9, 3) - 0.5, torch.tensor([0.0, 40.0])
    code = network.encode(picture)
    logit, _, rgb, cell = network.decode_parts(code, points, elevation)
    half = network.field.encode(torch.nn.functional.avg_pool2d(picture, 2))
    expected, _, colours = network.field.decode(half, points, elevation)
    assert torch.allclose(logit, (expected + cell) / 2, atol=1e-5)
    assert torch.allclose(rgb, colours, atol=0.02)
    assert torch.allclose(code.elevation, half.elevation, atol=1e-4)
    (logit.sum() + rgb.sum()).backward()
    assert network.answer.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in network.features.parameters())


@pytest.mark.parametrize("azimuth", [0.0, -30.0])
def test_a_cell_is_where_its_pillar_looks_in_the_objects_own_frame(azimuth):
    """What the tokens say of a place comes back when a point there is asked about, whatever the axis."""
    network = SpatialNetwork(replace(TINY, space_tokens=10_000)).eval()
    code = network.encode(object_picture(1))
    code.azimuth = torch.tensor([azimuth])
    elevation = torch.tensor([20.0])
    with torch.no_grad():
        network.to_cells.weight.zero_()
        volume = network.place(code, elevation)
        cells = network.to_cells.bias.view(network.config.channels, network.config.cells, 2, 2)
    # the bias fills every pillar alike: a cell's value is that of its place within the pillar
    for z, y, x in ((0, 0, 0), (3, 2, 1), (13, 6, 11)):
        assert volume[0, :, z, y, x] == pytest.approx(cells[:, z, y % 2, x % 2].detach(), abs=1e-5)
    x, y, z = network.places.view(16, 16, 16, 3)[13, 6, 11].tolist()
    turn = math.radians(azimuth)
    place = (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn), z)
    at = network.decode_parts(code, torch.tensor([[place]]), elevation)[3]
    assert at.item() == pytest.approx(volume[0, 0, 13, 6, 11].item(), abs=1e-4)


def test_the_pretrained_features_stay_as_they_are_while_the_rest_is_trained():
    network = SpatialNetwork(TINY).train()
    before = [b.clone() for b in network.features.buffers()]
    network.encode(object_picture())
    assert all(torch.equal(a, b) for a, b in zip(before, network.features.buffers(), strict=True))


@pytest.mark.parametrize("azimuth", [-44.0, -10.0, 0.0, 31.3, 44.9])
def test_azimuths_are_read_off_their_candidates(azimuth):
    turn = (AZIMUTHS - azimuth + 45) % 90 - 45
    assert azimuth_of(-0.5 * (turn[None] / 2) ** 2).item() == pytest.approx(azimuth, abs=0.3)


def test_space_is_placed_anew_for_another_elevation():
    network = SpatialNetwork(TINY).eval()
    code = network.encode(object_picture())
    first = network.place(code, torch.tensor([0.0, 0.0]))
    assert network.place(code, torch.tensor([0.0, 0.0])) is first
    assert not torch.equal(network.place(code, torch.tensor([0.0, 30.0]))[1], first[1])


def test_its_sizes_come_back_from_a_card():
    assert SpatialConfig.from_json(TINY.to_json()) == TINY

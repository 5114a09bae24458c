from dataclasses import replace

import pytest
import torch

from engine.views.network import FieldConfig
from engine.views.spatial import SpatialConfig, SpatialNetwork

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


@pytest.mark.parametrize("tokens", ["pillars", "blocks"])
def test_it_starts_with_the_answers_of_the_field(tokens):
    network = SpatialNetwork(replace(TINY, tokens=tokens)).eval()
    picture, points, elevation = object_picture(), torch.rand(2, 9, 3) - 0.5, torch.tensor([0.0, 40.0])
    code = network.encode(picture)
    logit, _, rgb = network.decode(code, points, elevation)
    half = network.field.encode(torch.nn.functional.avg_pool2d(picture, 2))
    expected, _, colours = network.field.decode(half, points, elevation)
    assert torch.allclose(logit, expected, atol=1e-5)
    assert torch.allclose(rgb, colours, atol=0.02)
    assert torch.allclose(code.elevation, half.elevation, atol=1e-4)
    (logit.sum() + rgb.sum()).backward()
    assert network.to_answer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("tokens", ["pillars", "blocks"])
def test_a_cell_of_the_feature_volume_is_where_its_token_looks(tokens):
    """What the tokens say of a place comes back when a point there is asked about, whatever the axis."""
    network = SpatialNetwork(replace(TINY, tokens=tokens, space_tokens=10_000)).eval()
    seen = {}
    network.space_token.register_forward_hook(lambda _, inputs, output: seen.update(given=inputs[0]))
    code = network.encode(object_picture(1))
    elevation = torch.tensor([20.0])
    with torch.no_grad():
        network.to_cells.weight.zero_()
        volume = network.place(code, elevation)
        cells = network.to_cells.bias.view(network.config.channels, *network.patch)
    # the bias fills every patch alike: a cell's value is that of its place within the patch
    for z, y, x in ((0, 0, 0), (3, 2, 1), (13, 6, 11)):
        within = tuple(i % p for i, p in zip((z, y, x), network.patch, strict=True))
        assert volume[0, :, z, y, x] == pytest.approx(cells[(slice(None), *within)].detach(), abs=1e-5)
    place = network.places.view(16, 16, 16, 3)[13, 6, 11]
    at = network.decode_parts(code, place.view(1, 1, 3), elevation)[3]
    assert at.item() == pytest.approx(volume[0, 0, 13, 6, 11].item(), abs=1e-4)


def test_space_is_placed_anew_for_another_elevation():
    network = SpatialNetwork(TINY).eval()
    code = network.encode(object_picture())
    first = network.place(code, torch.tensor([0.0, 0.0]))
    assert network.place(code, torch.tensor([0.0, 0.0])) is first
    assert not torch.equal(network.place(code, torch.tensor([0.0, 30.0]))[1], first[1])


def test_its_sizes_come_back_from_a_card():
    assert SpatialConfig.from_json(TINY.to_json()) == TINY

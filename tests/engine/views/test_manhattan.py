import numpy as np
import pytest
import torch

from engine import cameras
from engine.data import make_object
from engine.data.renderer import Light, Renderer, frame_object
from engine.views.manhattan import AZIMUTHS, CANDIDATES, VOTES, edge_votes, mirrored


@pytest.fixture(scope="module")
def renderer():
    return Renderer(128)


def photograph(renderer, obj, elevation, azimuth):
    truth = frame_object(obj, elevation, azimuth)
    rgba, _ = renderer.render(
        truth.obj,
        cameras.camera_to_world(elevation, [0.0], cameras.INPUT_RADIUS),
        cameras.intrinsics(128),
        light=Light.random(np.random.default_rng(1)),
        model=truth.model,
        depth=False,
    )
    return torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("elevation", [10.0, 30.0, 50.0])
def test_edges_of_buildings_vote_for_the_true_elevation(renderer, elevation):
    errors = []
    for seed in range(8):
        picture = photograph(renderer, make_object(seed, family="gabled_house"), elevation, 35.0 + 7 * seed)
        votes = edge_votes(picture)
        assert votes.shape == (1, VOTES, len(CANDIDATES)) and float(votes.min()) >= 0 and float(votes.max()) <= 1 + 1e-5
        errors.append(abs(float(CANDIDATES[votes[0, 1].argmax()]) - elevation))
    assert np.median(errors) <= 5


def test_a_mirrored_picture_votes_the_same(renderer):
    picture = photograph(renderer, make_object(3, family="gabled_house"), 25.0, 40.0)
    assert torch.allclose(mirrored(edge_votes(picture)), edge_votes(picture.flip(-1)), atol=0.05)


def test_edges_of_buildings_vote_for_the_azimuth_of_their_walls(renderer):
    errors = []
    for seed in range(12):
        azimuth = 35.0 + 7 * seed
        picture = photograph(renderer, make_object(seed, family="gabled_house"), 25.0, azimuth)
        votes = edge_votes(picture)[0, 2:, (CANDIDATES - 25.0).abs().argmin()]
        errors.append(abs((float(AZIMUTHS[votes.argmax()]) + azimuth + 45) % 90 - 45))
    assert np.median(errors) <= 7.5


def test_a_blank_picture_votes_without_numbers_breaking():
    assert torch.isfinite(edge_votes(torch.ones(2, 4, 64, 64))).all()

import json

import numpy as np
import pytest

from engine.cameras import NEIGHBOUR_OFFSETS, REFERENCE_SIZE, camera_to_world, intrinsics, project
from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken
from engine.elevation import DEFAULT_ELEVATION, ElevationEstimate, estimate_elevation


class KnownPoints:
    """A matcher that knows where points of a solid lie in each neighbour of a view at `elevation`."""

    name = "known"

    def __init__(self, elevation, *, count=300, noise=0.0, wrong=0.0, size=REFERENCE_SIZE, seed=0):
        rng = np.random.default_rng(seed)
        points = rng.uniform(-0.35, 0.35, (count, 3))
        self.pixels = []
        for up, left in NEIGHBOUR_OFFSETS:
            pixels = project(points, camera_to_world(elevation + up, left), intrinsics(size))[0]
            pixels += rng.normal(0, noise, pixels.shape)
            lost = rng.random(count) < wrong
            pixels[lost] = rng.uniform(0, size, (lost.sum(), 2))
            self.pixels.append(pixels.astype(np.float32))

    def match(self, a, b):
        return tuple(self.pixels[int(p[0, 0, 0])] for p in (a, b))


def numbered(size=REFERENCE_SIZE):
    """Four pictures that tell `KnownPoints` which one they are."""
    pictures = np.zeros((4, size, size, 4), np.float32)
    pictures[..., 0] = np.arange(4)[:, None, None]
    pictures[:, size // 8 : -size // 8, size // 8 : -size // 8, 3] = 1
    return pictures


@pytest.mark.parametrize("elevation", [-57.5, -35.2, -25.0, -12.3, 0.0, 17.6, 38.4, 55.0, 74.8, 86.0])
def test_finds_the_elevation_between_whole_degrees(elevation):
    estimate = estimate_elevation(numbered(), matcher=KnownPoints(elevation, noise=0.2))
    assert not estimate.is_fallback
    assert abs(estimate.value - elevation) < 0.3


def test_survives_wrong_matches():
    estimate = estimate_elevation(numbered(), matcher=KnownPoints(24.0, noise=0.3, wrong=0.1))
    assert abs(estimate.value - 24.0) < 0.5


def test_is_the_same_for_pictures_of_another_size():
    estimate = estimate_elevation(numbered(128), matcher=KnownPoints(31.0, noise=0.1, size=128))
    assert abs(estimate.value - 31.0) < 0.5


def test_curve_covers_the_candidates_and_its_minimum_is_the_value():
    estimate = estimate_elevation(numbered(), matcher=KnownPoints(42.0, noise=0.3))
    angles, errors = estimate.coarse
    assert (angles[0], angles[-1], angles[1] - angles[0]) == (-60, 80, 10) and len(errors) == len(angles)
    angles, errors = estimate.fine
    assert angles[1] - angles[0] == 1
    assert abs(angles[int(np.argmin(errors))] - estimate.value) <= 0.5


def test_confidence_falls_with_noise():
    clean, noisy = (estimate_elevation(numbered(), matcher=KnownPoints(20.0, noise=n)).confidence for n in (0.1, 2.5))
    assert 0 <= noisy < clean <= 1
    assert clean > 0.6


def test_blank_pictures_fall_back_and_say_so():
    blank = np.ones((4, 64, 64, 4), np.float32)
    given = estimate_elevation(blank, fallback=22.5)
    assert (given.value, given.is_fallback, given.confidence) == (22.5, True, 0.0)
    assert "Fallback" in given.message and "22.5" in given.message
    assert estimate_elevation(blank).value == DEFAULT_ELEVATION


def test_no_minimum_among_the_candidates_falls_back():
    estimate = estimate_elevation(numbered(), matcher=KnownPoints(-60.0), fallback=5.0)
    assert estimate.is_fallback and estimate.value == 5.0
    assert len(estimate.coarse[0]) > 5, "the curve is still there to look at"


def test_json_round_trip():
    estimate = estimate_elevation(numbered(), matcher=KnownPoints(10.0, noise=0.2))
    assert ElevationEstimate.from_json(json.loads(json.dumps(estimate.to_json()))) == estimate
    with pytest.raises(InputError, match="elevation"):
        ElevationEstimate.from_json({"value": 3})


def test_wrong_shape_is_named():
    with pytest.raises(InputError, match=r"\(3, 8, 8, 4\)"):
        estimate_elevation(np.zeros((3, 8, 8, 4)))


def test_can_be_cancelled():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        estimate_elevation(numbered(), matcher=KnownPoints(10.0), cancel=token)

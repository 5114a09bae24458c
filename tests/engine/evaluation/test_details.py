"""The failure analysis: planted failures show in the rows where they belong."""

import cv2
import numpy as np
import pytest

from engine.evaluation.details import BANDS, SATURATIONS, color_sums, color_table, frequency_sums, frequency_table


def on_white(rgb):
    """Pictures (N, S, S, 4) of a disc of these colours."""
    size = rgb.shape[1]
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    mask = (np.hypot(x, y) < 0.4 * size).astype(np.float32)[None, ..., None]
    return np.concatenate([rgb * mask + 1 - mask, np.broadcast_to(mask, (*rgb.shape[:3], 1))], 3).astype(np.float32)


def noise(seed=0):
    return np.random.default_rng(seed).random((2, 256, 256, 3)).astype(np.float32)


def test_lost_detail_shows_in_the_fine_bands():
    sharp = noise()
    soft = np.stack([cv2.GaussianBlur(x, (0, 0), 3) for x in sharp])
    table = frequency_table(frequency_sums(on_white(soft), on_white(sharp)))
    assert len(table["error"]) == len(BANDS)
    assert table["error"][-1] > 0.9 and table["kept"][-1] < 0.1 and table["error"][1] < 0.35
    assert table["error"] == sorted(table["error"])
    assert sum(table["contrast"]) == pytest.approx(1)


def test_the_same_is_no_error_and_another_texture_is_uncorrelated():
    same = frequency_table(frequency_sums(on_white(noise()), on_white(noise())))
    assert max(same["error"]) < 1e-4 and same["correlation"] == pytest.approx([1] * len(BANDS))
    other = frequency_table(frequency_sums(on_white(noise(1)), on_white(noise())))
    assert np.abs(other["correlation"][2:]).max() < 0.2 and other["error"][-1] == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_wrong_mean_colour_is_an_error_of_the_coarsest_band():
    sharp = noise() * 0.8
    table = frequency_table(frequency_sums(on_white(sharp + 0.2), on_white(sharp)))
    assert table["error"][0] > 1 and max(table["error"][1:]) < 1e-3


def test_pale_predictions_show_in_the_saturated_rows():
    grey, red, dark = (np.full((1, 64, 64, 3), color, np.float32) for color in (0.5, (0.9, 0.1, 0.1), 0.2))
    truth = np.concatenate([on_white(x) for x in (grey, red, dark)])
    prediction = np.concatenate([on_white(x) for x in (grey, 0.5 * red + 0.25, dark + 0.1)])
    table = color_table(color_sums(prediction, truth))
    assert table["share"][: len(SATURATIONS)] == pytest.approx([2 / 3, 0, 0, 1 / 3], abs=0.01)
    assert table["more_colourful"][0] == pytest.approx(0, abs=0.1) and table["more_colourful"][3] < -20
    assert table["difference"][1] is None and table["difference"][3] > 20
    darkest = len(SATURATIONS)
    lab = [cv2.cvtColor(np.full((1, 1, 3), v, np.float32), cv2.COLOR_RGB2LAB)[0, 0, 0] for v in (0.3, 0.2)]
    assert table["lighter"][darkest] == pytest.approx(float(lab[0] - lab[1]), abs=0.01)


def test_nothing_in_common():
    a, b = on_white(noise()[:1]), np.ones((1, 256, 256, 4), np.float32)
    b[..., 3] = 0
    assert not frequency_sums(b, a).any() and not color_sums(b, a).any()
    assert color_table(color_sums(b, a))["difference"][0] is None

"""sRGB and linear light."""

from __future__ import annotations

import numpy as np

from engine.meshes.colors import to_linear, to_srgb


def test_every_byte_comes_back_from_linear_light() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_srgb(to_linear(every / 255)), every)
    assert to_linear(every.astype(np.float32) / 255).dtype == np.float32


def test_known_values() -> None:
    assert np.allclose(to_linear(np.array([0.0, 0.04, 0.5, 1.0])), [0, 0.04 / 12.92, 0.21404, 1], atol=1e-5)
    assert to_srgb(np.array([-1, 0, 0.21586, 1, 2, np.nan])).tolist() == [0, 0, 128, 255, 255, 0]

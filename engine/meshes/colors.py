"""sRGB, in which pictures and colours are kept, and linear light, in which they multiply (IEC 61966-2-1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.meshes.mesh import ByteArray


def to_srgb(linear: npt.NDArray[Any]) -> ByteArray:
    """Linear light 0..1 as sRGB bytes."""
    linear = np.clip(np.nan_to_num(linear), 0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def to_linear(srgb: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """sRGB 0..1 as linear light of the same precision."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)

"""A piece of the ground that an object stands on, for pictures whose mask has kept some of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.renderer import Drawable
from engine.data.textures import LAYERS

FloatArray = npt.NDArray[np.float32]

_CORNERS = 40
_KINDS: dict[str, tuple[tuple[str, ...], tuple[float, float, float], tuple[float, float, float]]] = {
    "grass": (("noise_fine", "noise", "granite"), (0.22, 0.36, 0.12), (0.42, 0.5, 0.2)),
    "asphalt": (("granite", "plain_grain", "noise_fine"), (0.3, 0.3, 0.32), (0.45, 0.45, 0.46)),
    "paving": (("blocks", "ashlar", "brick_small"), (0.6, 0.57, 0.53), (0.4, 0.38, 0.36)),
    "snow": (("plain_grain", "plaster"), (0.9, 0.92, 0.96), (0.8, 0.84, 0.9)),
    "sand": (("noise_fine", "plain_grain", "granite"), (0.76, 0.66, 0.48), (0.62, 0.52, 0.36)),
    "soil": (("noise", "granite"), (0.36, 0.27, 0.2), (0.5, 0.4, 0.3)),
}


@dataclass(frozen=True)
class Grounded:
    """A solid's arrays with a patch of ground added; see `Drawable`."""

    vertices: FloatArray
    faces: npt.NDArray[np.int32]
    normals: FloatArray
    uv: FloatArray
    layer: npt.NDArray[np.int32]
    color_a: FloatArray
    color_b: FloatArray
    textures: npt.NDArray[np.uint8] | None


def on_ground(solid: Drawable, rng: np.random.Generator) -> Grounded:
    """`solid` on a flat patch of grass, asphalt, paving, snow, sand or soil, around its foot or on one side of it."""
    low = float(solid.vertices[:, 2].min())
    foot = solid.vertices[solid.vertices[:, 2] < low + 0.08, :2]
    middle = (foot.min(0) + foot.max(0)) / 2
    angle = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
    out = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    # the foot's own outline, so that a narrow patch follows it: how far it reaches along each direction
    far = (foot - middle)[np.argmax((foot - middle) @ out.T, 0)]
    margin = rng.uniform(0.02, 0.14) * (1 + 0.35 * _wave(angle, rng))
    if rng.random() < 0.4:  # one side alone
        margin = margin * np.clip(0.5 + 1.5 * np.cos(angle - rng.uniform(0, 2 * np.pi)), 0, 1)
    rim = middle + far + out * margin[:, None]
    points = np.concatenate([[middle], rim])
    flat = np.concatenate([points, np.full((len(points), 1), low - 0.003)], 1).astype(np.float32)
    names, one, two = _KINDS[str(rng.choice(list(_KINDS)))]
    shade = rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3)
    count = len(flat)
    corner = np.arange(_CORNERS)
    fan = np.stack([np.zeros_like(corner), corner + 1, (corner + 1) % _CORNERS + 1], 1) + len(solid.vertices)

    def added(values: npt.NDArray[np.float32], value: npt.ArrayLike) -> FloatArray:
        return np.concatenate([values, np.broadcast_to(np.asarray(value, np.float32), (count, values.shape[1]))])

    return Grounded(
        np.concatenate([solid.vertices, flat]),
        np.concatenate([solid.faces, fan.astype(np.int32)]),
        added(solid.normals, (0, 0, 1)),
        np.concatenate([solid.uv, (points * rng.uniform(2, 8)).astype(np.float32)]),
        np.concatenate([solid.layer, np.full(count, LAYERS[str(rng.choice(names))], solid.layer.dtype)]),
        added(solid.color_a, np.clip(one * shade, 0, 1)),
        added(solid.color_b, np.clip(two * shade, 0, 1)),
        solid.textures,
    )


def _wave(angle: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """An uneven rim: -1..1 around the circle."""
    parts = [np.sin(n * angle + rng.uniform(0, 2 * np.pi)) / n for n in (1, 2, 3, 5)]
    return np.asarray(np.sum(parts, 0) / 2)

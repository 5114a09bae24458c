"""Many solids out of one model: stacked, cut, set beside others, mirrored, stretched and painted anew.

Mesh, occupancy and surface samples always change together, so that labels stay exact.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.data.model_solids import BUILDING, ModelSolid, joined
from engine.data.textures import LAYERS, texture_library

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

_WALLS = (
    "brick",
    "brick_small",
    "brick_old",
    "ashlar",
    "ashlar_large",
    "ashlar_rough",
    "blocks",
    "rubble",
    "plaster",
    "plaster_stained",
    "plaster_streaked",
    "concrete",
    "timber_frame",
    "siding",
    "planks",
    "plain_grain",
)
_FACADES = ("facade_grid", "facade_grid", "facade_bands", "facade_curtain", "facade_slots", "facade_small")
_ROOFS = ("tiles_flat", "tiles_pan", "tiles_scale", "slate", "shingles", "thatch", "seams", "corrugated")
_DECKS = ("plain_grain", "concrete", "noise_fine", "plaster")
_COATS = (
    "plain",
    "plain_grain",
    "plaster",
    "planks",
    "marble",
    "granite",
    "noise",
    "noise_fine",
    "spots",
    "stripes_level",
    "stripes_upright",
    "checker",
    "dots",
    "cells",
    "waves",
    "rust",
)
_WALL_COLORS = np.array(
    [
        (0.93, 0.90, 0.82), (0.86, 0.78, 0.62), (0.72, 0.42, 0.32), (0.60, 0.33, 0.25), (0.78, 0.76, 0.72),
        (0.88, 0.80, 0.70), (0.80, 0.62, 0.48), (0.90, 0.85, 0.55), (0.65, 0.70, 0.74), (0.75, 0.82, 0.75),
    ]
)  # fmt: skip
_ROOF_COLORS = np.array(
    [
        (0.62, 0.30, 0.20), (0.50, 0.26, 0.20), (0.32, 0.33, 0.36), (0.45, 0.42, 0.40), (0.36, 0.28, 0.24),
        (0.55, 0.55, 0.55), (0.42, 0.50, 0.45),
    ]
)  # fmt: skip
_GLASS_COLORS = np.array([(0.25, 0.32, 0.40), (0.15, 0.18, 0.22), (0.45, 0.52, 0.56)])
_STEEP, _LEVEL = 0.35, 0.97
"""Upright share of a facet's normal below which it is a wall, and above which it is a deck."""


def varied(solid: ModelSolid, seed: int, another: Callable[[np.random.Generator], ModelSolid]) -> ModelSolid:
    """A solid like `solid`, but not the same; `another` draws a companion for a scene of several.

    The contract stays: longest side 1, box centred, `contains` and `sample_surface` of the changed solid.
    """
    rng = np.random.default_rng(seed)
    solid = _one(solid, rng)
    if rng.random() < 0.08:
        for _ in range(int(rng.integers(1, 3))):
            with suppress(InputError):  # where a companion cannot be used, the scene is smaller
                solid = _beside(solid, _one(another(rng), rng), rng)
    return replace(solid.unit(), seed=seed)


def _one(solid: ModelSolid, rng: np.random.Generator) -> ModelSolid:
    """One model changed in shape and paint, of any size."""
    if solid.kind == BUILDING and rng.random() < 0.25:
        solid = _stacked(solid, rng)
    elif rng.random() < 0.12:
        solid = _cut(solid, rng)
    stretch = np.exp(rng.normal(0, (0.1, 0.1, 0.18))).clip(0.65, 1.6) if rng.random() < 0.7 else np.ones(3)
    if rng.random() < 0.5:
        stretch[0] *= -1
    solid = solid.moved(np.diag([*stretch, 1.0])).unit()
    return _tinted(finished(solid, rng), rng)


# -- shape ---------------------------------------------------------------------------------------------------


def _stacked(solid: ModelSolid, rng: np.random.Generator) -> ModelSolid:
    """A building with its middle repeated one to four times; as it was where no two heights have the same plan."""
    low, high = solid.bounds[:, 2].astype(np.float64)
    heights = low + (high - low) * np.linspace(0.08, 0.85, 25)
    plans = [solid.cross_section(2, z) for z in heights]
    pairs = []
    for i in range(len(heights)):
        for j in range(i + 3, min(i + 14, len(heights))):
            both, either = int((plans[i] & plans[j]).sum()), int((plans[i] | plans[j]).sum())
            if either and both > 0.97 * either:
                pairs.append((heights[i], heights[j]))
    if not pairs:
        return solid
    bottom, top = pairs[int(rng.integers(len(pairs)))]
    copies = int(rng.integers(1, 5))
    copies = max(1, min(copies, int((2.0 - (high - low)) / (top - bottom))))
    middle = solid.clipped(2, bottom, above=True, cap=False).clipped(2, top, above=False, cap=False)
    parts = [solid.clipped(2, top, above=False, cap=False)]
    parts += [_shifted(middle, 2, (top - bottom) * (i + 1)) for i in range(copies)]
    parts.append(_shifted(solid.clipped(2, top, above=True, cap=False), 2, (top - bottom) * copies))
    return joined([part for part in parts if len(part.faces)]).unit()


def _cut(solid: ModelSolid, rng: np.random.Generator) -> ModelSolid:
    """The solid without what lies beyond an upright or a level plane; as it was where too little would be left."""
    axis = int(rng.choice(3, p=(0.35, 0.35, 0.3)))
    low, high = solid.bounds[:, axis].astype(np.float64)
    above = axis != 2 and bool(rng.random() < 0.5)
    share = rng.uniform(0.45, 0.85)
    at = high - share * (high - low) if above else low + share * (high - low)
    part = solid.clipped(axis, at, above=above, cap=True)
    if len(part.outer) < 0.2 * len(solid.outer) or np.ptp(part.bounds, axis=0).min() < 0.08:
        return solid
    return part.unit()


def _beside(solid: ModelSolid, other: ModelSolid, rng: np.random.Generator) -> ModelSolid:
    """Two on one ground: side by side, touching, or a little into each other."""
    turn = rng.uniform(0, 360) if rng.random() < 0.3 else float(rng.integers(4)) * 90
    a = np.radians(turn)
    scale = float(np.exp(rng.normal(0, 0.25))) * (1.0 if other.kind == BUILDING else rng.uniform(0.5, 1.0))
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    matrix[:3] *= scale
    other = other.moved(matrix)
    here, there = solid.bounds.astype(np.float64), other.bounds.astype(np.float64)
    axis = int(rng.integers(2))
    shift = here.mean(0) - there.mean(0)
    shift[1 - axis] += rng.normal(0, 0.15)
    shift[2] = here[0, 2] - there[0, 2]
    shift[axis] = here[1, axis] - there[0, axis] + rng.choice([0.0, rng.uniform(0, 0.2), -rng.uniform(0, 0.1)])
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return joined([solid, other.moved(matrix)])


def _shifted(solid: ModelSolid, axis: int, by: float) -> ModelSolid:
    matrix = np.eye(4)
    matrix[axis, 3] = by
    return solid.moved(matrix)


# -- paint ---------------------------------------------------------------------------------------------------


def finished(solid: ModelSolid, rng: np.random.Generator) -> ModelSolid:
    """The solid with finishes of the texture library where its facets have one plain colour.

    Walls, roofs and decks go by how a facet leans; windows stand in rows. A model that is grey all over always gets
    them, with colours; of one with colours of its own, some do, and the colours stay.
    """
    library = len(texture_library())
    plain = np.asarray((solid.layer[solid.faces] < library).all(axis=1))
    if not plain.any():
        return solid
    colors = solid.color_a[solid.faces[plain].reshape(-1)]
    grey = bool(plain.all() and np.ptp(colors, axis=0).max() < 0.1 and np.ptp(colors.mean(0)) < 0.12)
    if not grey and rng.random() > (0.35 if solid.kind == BUILDING else 0.15):
        return solid
    # every facet has corners of its own from here on
    corner = solid.faces.reshape(-1)
    solid = replace(
        solid,
        vertices=solid.vertices[corner],
        faces=np.arange(len(corner), dtype=np.int32).reshape(-1, 3),
        normals=solid.normals[corner],
        uv=solid.uv[corner].copy(),
        layer=solid.layer[corner].copy(),
        color_a=solid.color_a[corner].copy(),
        color_b=solid.color_b[corner].copy(),
    )
    paint = _house if solid.kind == BUILDING else _coat
    paint(solid, plain, grey, rng)
    return solid


def _house(solid: ModelSolid, plain: npt.NDArray[np.bool_], grey: bool, rng: np.random.Generator) -> None:
    """Walls, roofs and decks on the `plain` (F,) facets of a solid whose facets share no corners, in place."""
    points = solid.vertices.reshape(-1, 3, 3).astype(np.float64)
    normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    lean = normal[:, 2]
    wall: npt.NDArray[np.bool_] = np.abs(lean) < _STEEP
    deck: npt.NDArray[np.bool_] = np.abs(lean) > _LEVEL
    roof = ~wall & ~deck
    along = np.stack([-normal[:, 1], normal[:, 0], np.zeros(len(normal))], 1)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-20)
    along[deck] = 1, 0, 0
    up = np.cross(normal, along)
    u, v = (points * along[:, None]).sum(2), (points * up[:, None]).sum(2)
    low, high = solid.bounds[:, 2]
    height = float(high - low)
    storeys = int(rng.integers(1, 4) if height < 0.5 else rng.integers(2, 9))

    wall_color, roof_color = _color(rng, _WALL_COLORS), _color(rng, _ROOF_COLORS)
    finish = {"wall": str(rng.choice(_WALLS)), "roof": str(rng.choice(_ROOFS)), "deck": str(rng.choice(_DECKS))}
    dense = rng.uniform(3, 9)

    def lay(chosen: Array, name: str, first: FloatArray, second: FloatArray, uv: Array) -> None:
        at = np.repeat(chosen & plain, 3)
        solid.layer[at] = LAYERS[name]
        solid.uv[at] = uv.reshape(-1, 2)[at]
        if grey:
            solid.color_a[at], solid.color_b[at] = first, second
        else:
            solid.color_b[at] = (solid.color_a[at] * second).clip(0, 1)

    tiles = np.stack([u, v], 2) * dense
    shade = np.float32(rng.uniform(0.55, 1.25))
    own = (1.0, 1.0, 1.0) if grey else None
    for name, chosen, color in (("wall", wall, wall_color), ("roof", roof, roof_color), ("deck", deck, roof_color)):
        second = np.full(3, shade, np.float32) if own is None else (color * shade).clip(0, 1)
        lay(chosen, finish[name], color, second, tiles)
    if rng.random() < (0.85 if grey else 0.25):
        columns, rows = 4, storeys / (4 * height)
        name = str(rng.choice(_FACADES))
        glass = _color(rng, _GLASS_COLORS)
        wide, left = _walls(points, normal, u)
        count = np.maximum(np.rint(wide * rows * columns * rng.uniform(0.7, 1.3)), 1)
        windows = np.stack(
            [(u - left[:, None]) / np.maximum(wide, 1e-6)[:, None] * (count / columns)[:, None], (v - low) * rows], 2
        )
        bare = wide * rows * columns < 0.6  # narrower than a window
        lay(wall & ~bare, name, wall_color, glass if grey else np.full(3, 0.45, np.float32), windows)


def _walls(points: Array, normal: Array, u: Array) -> tuple[Array, Array]:
    """Of each facet (F,), the width and the left end of the wall in whose plane it lies."""
    offset = (points.mean(1) * normal).sum(1)
    plane = np.rint(np.concatenate([normal * 20, offset[:, None] * 100], 1)).astype(np.int64)
    _, of = np.unique(plane, axis=0, return_inverse=True)
    of = of.reshape(-1)
    left, right = np.full(of.max() + 1, np.inf), np.full(of.max() + 1, -np.inf)
    np.minimum.at(left, of, u.min(1))
    np.maximum.at(right, of, u.max(1))
    return (right - left)[of], left[of]


def _coat(solid: ModelSolid, plain: npt.NDArray[np.bool_], grey: bool, rng: np.random.Generator) -> None:
    """One finish all over the `plain` (F,) facets of a solid whose facets share no corners, in place."""
    at = np.repeat(plain, 3)
    normal = np.abs(solid.normals[at])
    main = normal.argmax(1)
    points = solid.vertices[at] * np.float32(rng.uniform(1, 4))
    sides = np.array([[1, 2], [0, 2], [0, 1]])[main]
    solid.uv[at] = np.take_along_axis(points, sides, 1)
    name = str(rng.choice(_COATS))
    solid.layer[at] = LAYERS[name]
    if grey:
        hue, strength, value = rng.random(), rng.uniform(0, 0.7), rng.uniform(0.3, 0.95)
        solid.color_a[at] = _hsv(hue, strength, value)
        solid.color_b[at] = _hsv((hue + rng.normal(0, 0.2)) % 1, rng.uniform(0, 0.7), rng.uniform(0.2, 0.95))
    else:
        solid.color_b[at] = (solid.color_a[at] * np.float32(rng.uniform(0.5, 1.3))).clip(0, 1)


def _color(rng: np.random.Generator, colors: Array) -> FloatArray:
    """One of the colours (N, 3), changed a little."""
    color = colors[int(rng.integers(len(colors)))] * np.exp(rng.normal(0, 0.12)) + rng.normal(0, 0.03, 3)
    return color.clip(0.03, 1).astype(np.float32)


def _hsv(hue: float, strength: float, value: float) -> FloatArray:
    wheel = np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return (value * (1 - strength + strength * wheel.clip(0, 1))).astype(np.float32)


def _tinted(solid: ModelSolid, rng: np.random.Generator) -> ModelSolid:
    """The solid with its hues turned, mostly a little, its colours stronger or paler, and all lighter or darker."""
    if rng.random() < 0.3:
        return solid
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else rng.normal(0, 0.15)
    strength, value = rng.uniform(0.6, 1.3), np.exp(rng.normal(0, 0.12))
    # a turn about the grey axis that keeps the luma (Rec. 601), by way of YIQ
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cos, sin = np.cos(angle) * strength, np.sin(angle) * strength
    matrix = value * np.linalg.inv(to_yiq) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ to_yiq
    m = matrix.astype(np.float32)
    own = (solid.layer >= len(texture_library()))[:, None]
    textures = solid.textures
    if textures is not None:
        flat = textures.reshape(-1, textures.shape[2], 3)
        textures = np.asarray(cv2.transform(flat, m), np.uint8).reshape(textures.shape)
    return replace(
        solid,
        textures=textures,
        color_a=np.where(own, solid.color_a, (solid.color_a @ m.T).clip(0, 1)).astype(np.float32),
        color_b=np.where(own, solid.color_b, (solid.color_b @ m.T).clip(0, 1)).astype(np.float32),
    )

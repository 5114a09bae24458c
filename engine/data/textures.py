"""A library of seamless procedural textures: what a wall, a roof or a wild thing is covered with.

A texel holds two numbers: r, the mix between a surface's two colours, and g, its brightness (128 leaves it as it is).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
SIZE = 128
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64) / SIZE


def _noise(rng: np.random.Generator, scale: float, anisotropy: float = 1.0) -> Array:
    """Tileable Gaussian noise in 0..1 with features about `scale` of the tile, stretched along u by `anisotropy`."""
    fy, fx = np.fft.fftfreq(SIZE, 1 / SIZE)[:, None], np.fft.fftfreq(SIZE, 1 / SIZE)[None]
    spectrum = np.exp(-0.5 * ((fx * anisotropy) ** 2 + fy**2) * (2.2 * scale) ** 2)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * spectrum).real
    return np.clip(0.5 + field / (4.0 * field.std()), 0.0, 1.0)


def _fractal(rng: np.random.Generator, scale: float, octaves: int = 4) -> Array:
    total = sum(_noise(rng, scale / 2**i) * 0.6**i for i in range(octaves))
    low, high = np.quantile(total, [0.01, 0.99])
    return np.clip((total - low) / (high - low), 0.0, 1.0)


def _courses(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    offset: float,
    joint: float,
    roughness: float,
    uneven: float = 0.0,
) -> tuple[Array, Array]:
    """Bricks, ashlar, planks, tiles: staggered cells; r is the cell's own shade (joints 1), g its brightness."""
    wobble = uneven * (_noise(rng, 0.15) - 0.5)
    v = (_Y + wobble / rows) % 1.0 * rows
    row = np.floor(v).astype(int)
    u = (_X + wobble / columns) % 1.0 * columns + offset * (row % 2)
    shifts = np.cumsum(rng.uniform(0, uneven, rows)) if uneven else np.zeros(rows)
    u = u + shifts[row]
    column = np.floor(u).astype(int) % columns
    shade = rng.random((rows, columns))[row, column]
    du, dv = np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)
    in_joint = (du > 0.5 - joint * columns / (columns + rows)) | (dv > 0.5 - joint)
    grain = _noise(rng, 0.02)
    r = np.where(in_joint, 1.0, 0.55 * roughness * shade)
    g = np.where(in_joint, 0.42, 0.5 + roughness * (0.35 * (shade - 0.5) + 0.15 * (grain - 0.5)))
    return r, g


def _roof(rng: np.random.Generator, rows: int, columns: int, curve: float, contrast: float) -> tuple[Array, Array]:
    """Overlapping tiles: each course darkens towards its lower edge; curve bends the edge (pantiles, fish scales)."""
    row0 = np.floor(_Y * rows).astype(int)
    u0 = _X * columns + 0.5 * (row0 % 2)
    v = _Y * rows + curve * (np.abs(u0 % 1 - 0.5) * 2) ** 2
    row = np.floor(v).astype(int) % rows
    u = _X * columns + 0.5 * (row % 2)
    shade = rng.random((rows, columns))[row, np.floor(u).astype(int) % columns]
    gap = np.abs(u % 1 - 0.5) > 0.44
    fall = v % 1
    g = 0.5 + contrast * (0.5 * (fall - 0.45)) + 0.22 * (shade - 0.5) - 0.12 * gap
    return 0.6 * shade + 0.3 * gap, g


def _panes(columns: int, rows: int, bar: float, frame: float) -> tuple[Array, Array]:
    """A window stretched over a facet: colour a glass, colour b frame and bars; the sky brightens its upper part."""
    du, dv = np.abs((_X * columns) % 1 - 0.5), np.abs((_Y * rows) % 1 - 0.5)
    bars = (du > 0.5 - bar * columns / 2) | (dv > 0.5 - bar * rows / 2)
    edge = (np.minimum(_X, 1 - _X) < frame) | (np.minimum(_Y, 1 - _Y) < frame)
    frames = bars | edge
    return frames.astype(float), np.where(frames, 0.5, 0.38 + 0.22 * _Y + 0.12 * ((_X * 2 + _Y) % 1 > 0.7))


def _facade(
    rng: np.random.Generator, columns: int, rows: int, width: float, height: float, lit: float
) -> tuple[Array, Array]:
    """A field of windows that repeats: colour a wall, colour b glass."""
    u, v = (_X * columns) % 1, (_Y * rows) % 1
    glass = (np.abs(u - 0.5) < width / 2) & (np.abs(v - 0.5) < height / 2)
    cell = rng.random((rows, columns))[np.floor(_Y * rows).astype(int), np.floor(_X * columns).astype(int)]
    sill = (np.abs(u - 0.5) < width / 2 + 0.05) & (np.abs(v - (0.5 - height / 2 - 0.05)) < 0.05)
    g = np.where(glass, 0.4 + 0.25 * cell + lit * (cell > 0.85), np.where(sill, 0.62, 0.5))
    return glass.astype(float), g


def _voronoi(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Tileable cells: distance to the nearest and second nearest centre, index of the cell."""
    points = rng.random((count, 2))
    delta = np.abs(np.stack([_X, _Y], -1)[:, :, None] - points)
    delta = np.minimum(delta, 1 - delta)
    distance = np.sqrt((delta**2).sum(-1))
    order = np.argpartition(distance, 1, axis=2)[..., :2]
    near = np.take_along_axis(distance, order, 2)
    swap = near[..., 0] > near[..., 1]
    index = np.where(swap, order[..., 1], order[..., 0])
    return near.min(-1), near.max(-1), index


def _rubble(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    first, second, index = _voronoi(rng, count)
    joint = second - first < 0.018
    shade = rng.random(count)[index]
    return np.where(joint, 1.0, 0.7 * shade), np.where(joint, 0.35, 0.5 + 0.3 * (shade - 0.5) + 0.2 * (0.08 - first))


def _cells(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    first, second, _ = _voronoi(rng, count)
    return np.clip(first * np.sqrt(count) * 1.4, 0, 1), 0.5 + 0.2 * np.clip(second - first, 0, 0.3)


def _stripes(count: int, duty: float, across: bool, soft: float = 0.0) -> tuple[Array, Array]:
    t = (_X if across else _Y) * count % 1
    r = (t < duty).astype(float) if soft == 0 else 0.5 + 0.5 * np.sin(2 * np.pi * t)
    return r, np.full_like(r, 0.5)


def _corrugated(count: int, across: bool, depth: float) -> tuple[Array, Array]:
    t = (_X if across else _Y) * count
    wave = np.sin(2 * np.pi * t)
    return 0.25 + 0.25 * wave, 0.5 + depth * wave


def _seams(count: int) -> tuple[Array, Array]:
    t = (_X * count) % 1
    seam = np.abs(t - 0.5) > 0.42
    return seam * 0.6, np.where(seam, 0.62, 0.5) - 0.12 * (np.abs(t - 0.5) > 0.47)


def _checker(count: int, soft: bool = False) -> tuple[Array, Array]:
    if soft:
        wave = np.sin(2 * np.pi * _X * count) * np.sin(2 * np.pi * _Y * count)
        return 0.5 + 0.5 * wave, np.full_like(_X, 0.5)
    return (np.floor(_X * 2 * count) + np.floor(_Y * 2 * count)) % 2, np.full_like(_X, 0.5)


def _marble(rng: np.random.Generator, veins: int, strength: float) -> tuple[Array, Array]:
    t = _X * veins + _Y * veins + strength * _fractal(rng, 0.25)
    r = np.abs(np.sin(np.pi * t)) ** 4
    return r, 0.5 + 0.08 * (_noise(rng, 0.1) - 0.5)


def _wood(rng: np.random.Generator, planks: int, grain: float) -> tuple[Array, Array]:
    row = np.floor(_Y * planks).astype(int)
    shade = rng.random(planks)[row]
    fibre = _noise(rng, 0.015, 8.0)
    joint = np.abs(_Y * planks % 1 - 0.5) > 0.46
    r = np.clip(0.5 * shade + grain * (fibre - 0.3), 0, 1)
    return r, np.where(joint, 0.2, 0.5 + 0.25 * (shade - 0.5) + 0.15 * (fibre - 0.5))


def _plaster(rng: np.random.Generator, stain: float, streak: float) -> tuple[Array, Array]:
    patches = _fractal(rng, 0.3)
    streaks = _noise(rng, 0.25, 0.12)
    r = np.clip(stain * np.clip(patches - 0.45, 0, 1) * 2 + streak * np.clip(streaks - 0.5, 0, 1), 0, 1)
    return r, 0.5 + 0.12 * (_noise(rng, 0.03) - 0.5) - 0.15 * stain * np.clip(patches - 0.5, 0, 1)


def _dots(rng: np.random.Generator, count: int, radius: float, jitter: float) -> tuple[Array, Array]:
    row, col = np.floor(_Y * count).astype(int), np.floor(_X * count).astype(int)
    shift = jitter * (rng.random((2, count, count)) - 0.5)
    du, dv = (_X * count) % 1 - 0.5 - shift[0][row, col], (_Y * count) % 1 - 0.5 - shift[1][row, col]
    size = radius * (1 - 0.5 * jitter * rng.random((count, count))[row, col])
    return (np.hypot(du, dv) < size).astype(float), np.full_like(_X, 0.5)


def _timber(rng: np.random.Generator, bays: int, diagonal: bool) -> tuple[Array, Array]:
    """Half-timbering: colour a plaster, colour b beams."""
    u, v = (_X * bays) % 1, (_Y * bays) % 1
    beam = (np.abs(u - 0.5) > 0.43) | (np.abs(v - 0.5) > 0.43)
    if diagonal:
        flip = (np.floor(_X * bays) + np.floor(_Y * bays)) % 2 == 0
        beam |= np.abs(np.where(flip, u - v, u + v - 1)) < 0.09
    return beam.astype(float), 0.5 + 0.12 * (_noise(rng, 0.03) - 0.5)


def _waves(rng: np.random.Generator, count: int, strength: float) -> tuple[Array, Array]:
    t = _Y * count + strength * np.sin(2 * np.pi * _X * rng.integers(1, 4))
    return 0.5 + 0.5 * np.sin(2 * np.pi * t), np.full_like(_X, 0.5)


def _spots(rng: np.random.Generator, scale: float, level: float) -> tuple[Array, Array]:
    field = _fractal(rng, scale)
    return np.clip((field - level) * 8 + 0.5, 0, 1), 0.5 + 0.15 * (field - 0.5)


def _rings() -> tuple[Array, Array]:
    radius = np.hypot(_X - 0.5, _Y - 0.5)
    return (np.floor(radius * 10) % 2).astype(float), np.full_like(_X, 0.5)


_Recipe = Callable[[np.random.Generator], tuple[Array, Array]]

# name -> recipe; a layer's index is its place here, so only append
_RECIPES: dict[str, _Recipe] = {
    "plain": lambda r: (np.zeros_like(_X), np.full_like(_X, 0.5)),
    "plain_grain": lambda r: (0.15 * _noise(r, 0.05), 0.5 + 0.15 * (_noise(r, 0.02) - 0.5)),
    "brick": lambda r: _courses(r, 8, 4, 0.5, 0.09, 0.8),
    "brick_small": lambda r: _courses(r, 12, 6, 0.5, 0.1, 0.7),
    "brick_old": lambda r: _courses(r, 8, 4, 0.5, 0.11, 1.2, 0.35),
    "ashlar": lambda r: _courses(r, 6, 3, 0.5, 0.05, 0.6),
    "ashlar_large": lambda r: _courses(r, 4, 2, 0.5, 0.04, 0.5),
    "ashlar_rough": lambda r: _courses(r, 6, 3, 0.5, 0.07, 1.2, 0.3),
    "blocks": lambda r: _courses(r, 4, 4, 0.0, 0.05, 0.5),
    "rubble": lambda r: _rubble(r, 40),
    "rubble_large": lambda r: _rubble(r, 18),
    "plaster": lambda r: _plaster(r, 0.25, 0.2),
    "plaster_stained": lambda r: _plaster(r, 0.8, 0.5),
    "plaster_streaked": lambda r: _plaster(r, 0.3, 1.0),
    "concrete": lambda r: _plaster(r, 0.4, 0.6),
    "timber_frame": lambda r: _timber(r, 2, False),
    "timber_braced": lambda r: _timber(r, 2, True),
    "planks": lambda r: _wood(r, 8, 0.7),
    "planks_wide": lambda r: _wood(r, 5, 0.5),
    "siding": lambda r: (np.zeros_like(_X), 0.36 + 0.22 * ((_Y * 8) % 1)),
    "tiles_flat": lambda r: _roof(r, 8, 8, 0.0, 0.6),
    "tiles_pan": lambda r: _roof(r, 6, 8, 0.35, 0.8),
    "tiles_scale": lambda r: _roof(r, 7, 7, 0.6, 0.8),
    "slate": lambda r: _roof(r, 8, 6, 0.0, 0.35),
    "shingles": lambda r: _roof(r, 7, 5, 0.08, 0.9),
    "thatch": lambda r: (_noise(r, 0.02, 0.08), 0.5 + 0.4 * (_noise(r, 0.015, 0.1) - 0.5)),
    "seams": lambda r: _seams(6),
    "corrugated": lambda r: _corrugated(8, True, 0.2),
    "corrugated_level": lambda r: _corrugated(8, False, 0.18),
    "panes_cross": lambda r: _panes(2, 2, 0.05, 0.09),
    "panes_six": lambda r: _panes(2, 3, 0.05, 0.08),
    "panes_single": lambda r: _panes(1, 1, 0.0, 0.1),
    "panes_lattice": lambda r: _panes(3, 4, 0.04, 0.07),
    "panes_double": lambda r: _panes(2, 1, 0.07, 0.08),
    "door_panels": lambda r: _panes(2, 3, 0.16, 0.1),
    "door_planks": lambda r: (0.7 * _stripes(5, 0.12, True)[0], 0.5 + 0.2 * (_noise(r, 0.03, 0.1) - 0.5)),
    "facade_grid": lambda r: _facade(r, 4, 4, 0.55, 0.6, 0.2),
    "facade_bands": lambda r: _facade(r, 4, 4, 1.1, 0.5, 0.1),
    "facade_curtain": lambda r: _facade(r, 5, 4, 0.88, 0.84, 0.1),
    "facade_slots": lambda r: _facade(r, 6, 2, 0.45, 0.9, 0.1),
    "facade_small": lambda r: _facade(r, 4, 4, 0.35, 0.42, 0.3),
    "marble": lambda r: _marble(r, 1, 3.0),
    "marble_fine": lambda r: _marble(r, 2, 5.0),
    "granite": lambda r: (_noise(r, 0.015), 0.5 + 0.3 * (_noise(r, 0.012) - 0.5)),
    "stripes_level": lambda r: _stripes(4, 0.5, False),
    "stripes_level_thin": lambda r: _stripes(6, 0.2, False),
    "stripes_upright": lambda r: _stripes(4, 0.5, True),
    "stripes_upright_thin": lambda r: _stripes(8, 0.25, True),
    "gradient_waves": lambda r: _stripes(2, 0.5, False, 1.0),
    "checker": lambda r: _checker(2),
    "checker_fine": lambda r: _checker(4),
    "checker_soft": lambda r: _checker(2, True),
    "dots": lambda r: _dots(r, 4, 0.32, 0.0),
    "dots_scattered": lambda r: _dots(r, 6, 0.4, 0.6),
    "cells": lambda r: _cells(r, 24),
    "noise": lambda r: (_fractal(r, 0.2), np.full_like(_X, 0.5)),
    "noise_coarse": lambda r: (_fractal(r, 0.5), 0.5 + 0.25 * (_noise(r, 0.2) - 0.5)),
    "noise_fine": lambda r: (_noise(r, 0.03), 0.5 + 0.3 * (_noise(r, 0.03) - 0.5)),
    "spots": lambda r: _spots(r, 0.2, 0.55),
    "rust": lambda r: _spots(r, 0.35, 0.45),
    "waves": lambda r: _waves(r, 4, 0.25),
    "waves_strong": lambda r: _waves(r, 6, 0.6),
    "rings": lambda r: _rings(),
    "hatched": lambda r: (((_X * 6 + _Y * 6) % 1 < 0.4).astype(float), np.full_like(_X, 0.5)),
}

LAYERS: dict[str, int] = {name: index for index, name in enumerate(_RECIPES)}


@lru_cache(maxsize=1)
def texture_library() -> npt.NDArray[np.uint8]:
    """All layers, uint8 (L, 128, 128, 2), row 0 at v = 0; made once a process, the same in every process."""
    layers = np.empty((len(_RECIPES), SIZE, SIZE, 2), np.uint8)
    for index, recipe in enumerate(_RECIPES.values()):
        r, g = recipe(np.random.default_rng([20261121, index]))
        layers[index] = np.rint(np.clip(np.stack([r, g], -1), 0.0, 1.0) * 255).astype(np.uint8)
    layers.setflags(write=False)
    return layers

"""What architects share: palettes, materials, windows, doors, roofs, columns, stairs."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.data import solids
from engine.data.solids import Builder, Material, Shape
from engine.data.textures import LAYERS

Array = npt.NDArray[Any]
Color = tuple[float, float, float]
T = TypeVar("T")

_STONE = ("d8cdb4", "c9b99a", "b8ad9c", "a39b8d", "e4dccb", "9a948c", "c4a484", "b59f86", "8d8577", "d9d4cb", "c8a98a")
_BRICK = ("a4553d", "8e4632", "b56a4a", "7a3b2e", "c08261", "9c5c48", "d0a070", "c9b48a", "6e3a32")
_PLASTER = (
    "f0e9dc",
    "e8d9b5",
    "e3c48d",
    "d9a877",
    "f4f1ea",
    "d8b6a4",
    "b9c7c9",
    "c6cfb2",
    "e5b9a0",
    "a9b8c4",
    "d98e6c",
    "eacb7a",
    "c7d8dc",
    "f2d7c9",
    "b5654a",
    "8fa58b",
)
_ROOF = (
    "9c4a35",
    "b35c3f",
    "7d3b2d",
    "5b5a5e",
    "44474d",
    "6f4a3a",
    "a66a4c",
    "55504a",
    "7b6f64",
    "3f4a52",
    "8a5a44",
    "4d6a5d",
)
_WOOD = ("6b4a2f", "8a6240", "a87c4f", "4a3323", "c19a6b", "5d5148", "7c3f2a", "2f4a3a", "34506b", "e6e0d4")
_METAL = ("8fa9a0", "6fa38f", "55606a", "8b8f94", "b59a4a", "d0b25a", "3d444a", "9aa4ad", "7a5a43")
_GLASS = ("2b3a4a", "3d5266", "526b7d", "1f2a33", "40525a", "6c8796", "2a3038", "4a6a7a")
_FRAME = ("f2efe8", "e6e2d8", "3b342d", "6b4a2f", "7b2f2a", "2f4a3a", "9a958c", "c9c2b2")
_WALLS = ("ashlar", "ashlar_large", "ashlar_rough", "blocks", "rubble", "rubble_large")


def _rgb(code: str) -> Color:
    return int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255


def rotation_matrix(rng: np.random.Generator, yaw_only: bool = False) -> Array:
    """A uniformly random rotation (3, 3), or one about z."""
    if yaw_only:
        a = rng.uniform(0, 2 * np.pi)
        return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@lru_cache(maxsize=32)
def gable_shell(thickness: float) -> Shape:
    """The two slopes of a gabled roof as one slab; thickness as a share of the height."""
    upper = np.array([thickness, 1.0, thickness])
    return solids.profile(np.array([-0.5, 0.0, 0.5]), upper - thickness, upper)


@lru_cache(maxsize=8)
def moulded_column(kind: str) -> Shape:
    """A classical shaft with base and capital; diameter 1 at its widest."""
    profiles = {
        "plain": ([0.5, 0.5, 0.4, 0.4, 0.36, 0.36, 0.5, 0.5], [0, 0.04, 0.05, 0.5, 0.9, 0.92, 0.95, 1]),
        "doric": ([0.44, 0.43, 0.34, 0.34, 0.5, 0.5], [0, 0.4, 0.9, 0.92, 0.96, 1]),
        "tuscan": ([0.5, 0.5, 0.42, 0.4, 0.35, 0.42, 0.42, 0.5, 0.5], [0, 0.05, 0.07, 0.4, 0.9, 0.9, 0.93, 0.95, 1]),
        "baluster": ([0.35, 0.35, 0.2, 0.5, 0.45, 0.2, 0.35, 0.35], [0, 0.1, 0.15, 0.35, 0.5, 0.8, 0.88, 1]),
    }
    radius, height = profiles[kind]
    return solids.lathe(np.array(radius), np.array(height), 12)


@dataclass(frozen=True)
class WindowStyle:
    """How the windows of one building look."""

    glass: Material
    frame: Material | None
    sill: Material | None
    shutter: Material | None
    shape: Shape
    head: Shape | None
    """A small gable or slab above each window."""


class Kit:
    """Random choices of one building, and the parts built with them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.unreal = bool(rng.random() < 0.15)
        self.tiles = float(rng.uniform(2.2, 5.0))
        self._metal_roof = bool(rng.random() < 0.15)

    # choices
    def u(self, low: float, high: float) -> float:
        """Uniform."""
        return float(self.rng.uniform(low, high))

    def n(self, low: int, high: int) -> int:
        """Integer, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.rng.integers(len(options)))]

    # colours and materials
    def color(self, palette: Sequence[str]) -> Color:
        """A colour near one of the palette's, or any colour when the building is unreal."""
        if self.unreal:
            return self.any_color()
        base = np.array(_rgb(self.pick(palette)))
        shade = base * self.rng.normal(1.0, 0.08) + self.rng.normal(0, 0.02, 3)
        r, g, b = np.clip(shade, 0.03, 0.92)
        return float(r), float(g), float(b)

    def any_color(self) -> Color:
        """Any colour, greys included."""
        return colorsys.hsv_to_rgb(self.u(0, 1), self.rng.beta(1.3, 1.3), 0.12 + 0.88 * self.rng.beta(2.0, 1.0))

    def shade(self, color: Color, low: float, high: float) -> Color:
        """The colour made darker or lighter by a factor between low and high."""
        f = self.u(low, high)
        return min(color[0] * f, 1.0), min(color[1] * f, 1.0), min(color[2] * f, 1.0)

    def plain(self, color: Color) -> Material:
        """One flat colour."""
        return Material(LAYERS["plain"], color, color)

    def textured(self, name: str, a: Color, b: Color, tiles: float = 1.0) -> Material:
        """A library texture between two colours; `tiles` relative to the building's usual density."""
        return Material(LAYERS[name], a, b, self.tiles * tiles)

    def stone(self) -> Material:
        """Stone courses, rubble or marble."""
        a = self.color(_STONE)
        if self.chance(0.15):
            return self.textured(self.pick(("marble", "granite", "plain_grain")), a, self.shade(a, 0.7, 1.1))
        return self.textured(self.pick(_WALLS), a, self.shade(a, 0.55, 0.95))

    def wall(self) -> Material:
        """Any wall of a house: brick, plaster, stone, timber, siding."""
        draw = self.rng.random()
        if draw < 0.3:
            a = self.color(_BRICK)
            joint = self.color(_STONE) if self.chance(0.6) else self.shade(a, 0.5, 0.8)
            return self.textured(self.pick(("brick", "brick", "brick_small", "brick_old")), a, joint)
        if draw < 0.65:
            a = self.color(_PLASTER)
            name = self.pick(("plaster", "plaster", "plaster_stained", "plaster_streaked", "concrete", "plain"))
            return self.textured(name, a, self.shade(a, 0.6, 0.9), 0.5)
        if draw < 0.82:
            return self.stone()
        if draw < 0.9:
            return self.textured(
                self.pick(("timber_frame", "timber_braced")), self.color(_PLASTER), self.color(_WOOD[:6])
            )
        a = self.color(_WOOD) if self.chance(0.5) else self.color(_PLASTER)
        return self.textured(self.pick(("siding", "planks", "planks_wide")), a, self.shade(a, 0.6, 0.9))

    def roof(self) -> Material:
        """Tiles, slates, shingles, thatch or metal."""
        a = self.color(_ROOF)
        if self._metal_roof:
            a = self.color(_METAL)
            return self.textured(self.pick(("seams", "corrugated", "plain_grain")), a, self.shade(a, 0.7, 1.2))
        if self.chance(0.05):
            a = self.color(("9a8250", "8a7448", "6d5c3c"))
            return self.textured("thatch", a, self.shade(a, 0.6, 0.8))
        name = self.pick(("tiles_flat", "tiles_pan", "tiles_scale", "slate", "shingles"))
        return self.textured(name, a, self.shade(a, 0.65, 1.15))

    def wood(self) -> Material:
        """Planks."""
        a = self.color(_WOOD)
        return self.textured(self.pick(("planks", "planks_wide")), a, self.shade(a, 0.6, 0.9))

    def metal(self) -> Material:
        """Copper, lead, gilt, iron."""
        a = self.color(_METAL)
        return self.textured(
            self.pick(("plain", "plain_grain", "rust", "plaster_streaked")), a, self.shade(a, 0.6, 1.0)
        )

    def trim(self) -> Material:
        """Cornices, frames, quoins: quiet and light more often than not."""
        a = self.color(_STONE) if self.chance(0.6) else self.color(_FRAME)
        return self.textured(self.pick(("plain", "plain_grain")), a, self.shade(a, 0.7, 1.0))

    def glass(self, name: str | None = None) -> Material:
        """A pane, fitted once over its facet."""
        names = ("panes_cross", "panes_six", "panes_single", "panes_lattice", "panes_double")
        return Material(LAYERS[name or self.pick(names)], self.color(_GLASS), self.color(_FRAME), fit=True)

    def door_leaf(self) -> Material:
        """A door, fitted."""
        a = self.color(_WOOD)
        return Material(LAYERS[self.pick(("door_panels", "door_planks"))], a, self.shade(a, 0.6, 1.4), fit=True)

    def wild(self) -> Material:
        """Any texture between any two colours."""
        names = list(LAYERS)
        a = self.any_color()
        b = self.any_color() if self.chance(0.7) else self.shade(a, 0.3, 1.0)
        if self.chance(0.35):
            return self.textured(
                self.pick(("plain", "plain_grain", "noise_fine", "plaster")), a, self.shade(a, 0.7, 1.0)
            )
        return Material(LAYERS[self.pick(names)], a, b, self.u(1.0, 5.0))

    # parts
    def window_style(self, arched: float = 0.25) -> WindowStyle:
        """One style for a whole building."""
        if self.chance(arched):
            shape = solids.barrel(6, round(self.u(0.5, 0.75), 1), self.pick([0.0, 0.0, 1.0]))
        else:
            shape = solids.box()
        head = None
        if shape.inside is None and self.chance(0.3):
            head = solids.gable() if self.chance(0.5) else solids.box()
        trim = self.trim()
        return WindowStyle(
            self.glass(),
            trim if self.chance(0.65) else None,
            trim if self.chance(0.5) else None,
            self.wood() if shape.inside is None and self.chance(0.15) else None,
            shape,
            head,
        )

    def around(self, width: float, depth: float, nx: int, ny: int, margin: float = 0.0) -> tuple[Array, Array]:
        """Places on the four walls of a rectangle about the origin: (K, 2) positions and (K,) yaws; nx on the long
        x walls, ny on the y walls."""

        def spread(length: float, count: int) -> Array:
            span = length - 2 * margin
            return (np.arange(count) + 0.5) / max(count, 1) * span - span / 2

        x, y = spread(width, nx), spread(depth, ny)
        position = np.concatenate(
            [
                np.stack([x, np.full(nx, -depth / 2)], 1),
                np.stack([x, np.full(nx, depth / 2)], 1),
                np.stack([np.full(ny, width / 2), y], 1),
                np.stack([np.full(ny, -width / 2), y], 1),
            ]
        )
        return position, np.repeat([0.0, 180.0, 90.0, -90.0], [nx, nx, ny, ny])

    def ring(self, radius: float, count: int, start: float = 0.0) -> tuple[Array, Array]:
        """Places on a circle, facing outwards: (K, 2) and (K,)."""
        angle = start + np.arange(count) * 360.0 / count
        a = np.radians(angle)
        return np.stack([radius * np.cos(a), radius * np.sin(a)], 1), angle + 90.0

    def windows(
        self,
        b: Builder,
        style: WindowStyle,
        places: tuple[Array, Array],
        heights: Any,
        w: float,
        h: float,
        keep: float = 1.0,
    ) -> None:
        """A window at every place and height (base of the pane); `keep` < 1 leaves some out."""
        position, yaw = places
        z = np.atleast_1d(np.asarray(heights, float))
        base = np.concatenate([np.repeat(position, len(z), 0), np.tile(z, len(position))[:, None]], 1)
        yaw = np.repeat(yaw, len(z))
        if keep < 1:
            chosen = self.rng.random(len(base)) < keep
            base, yaw = base[chosen], yaw[chosen]
        if len(base) == 0:
            return
        t = 0.12 * min(w, h)
        b.add(style.shape, base, (w, 2 * t, h), style.glass, yaw)
        angle = np.radians(yaw)
        out = np.stack([np.sin(angle), -np.cos(angle), np.zeros(len(yaw))], 1)
        along = np.stack([np.cos(angle), np.sin(angle), np.zeros(len(yaw))], 1)
        if style.frame is not None:
            b.add(style.shape, base - [0, 0, 0.07 * h], (1.22 * w, 1.4 * t, 1.14 * h), style.frame, yaw)
        if style.sill is not None:
            b.box(base - [0, 0, 0.1 * h], (1.4 * w, 5 * t, 0.1 * h), style.sill, yaw)
        if style.shutter is not None:
            both = np.concatenate([base - along * 0.8 * w, base + along * 0.8 * w])
            b.box(both, (0.5 * w, 2 * t, h), style.shutter, np.tile(yaw, 2))
        if style.head is not None:
            b.add(
                style.head,
                base + out * t + [0, 0, 1.08 * h],
                (1.5 * w, 3 * t, 0.22 * h),
                style.frame or style.glass,
                yaw,
            )

    def door(self, b: Builder, x: float, y: float, yaw: float, w: float, h: float, steps: bool = True) -> None:
        """A door with its surround, perhaps a canopy, a pediment, a flight of steps; base at z = 0."""
        trim = self.trim()
        with b.frame(x, y, 0, yaw):
            arched = self.chance(0.35)
            shape = solids.barrel(6, 0.65, 0.0) if arched else solids.box()
            t = 0.12 * w
            b.add(shape, (0, 0, 0), (w, 2.2 * t, h), self.door_leaf())
            b.add(shape, (0, 0, 0), (1.35 * w, 1.4 * t, 1.12 * h), trim)
            draw = self.rng.random()
            if draw < 0.2:
                b.box((0, -0.4 * w, 1.15 * h), (2.0 * w, 0.9 * w, 0.08 * h), trim)
            elif draw < 0.4:
                b.add(solids.gable(), (0, -0.2 * w, 1.12 * h), (1.9 * w, 0.6 * w, 0.35 * h), trim)
            elif draw < 0.55:
                depth = 0.9 * w
                b.add(solids.gable(), (0, -depth / 2, 1.15 * h), (2.4 * w, depth, 0.45 * h), trim)
                b.add(
                    moulded_column("plain"),
                    [(-w, -depth + 0.15 * w, 0), (w, -depth + 0.15 * w, 0)],
                    (0.25 * w, 0.25 * w, 1.15 * h),
                    trim,
                )
            if steps and self.chance(0.4):
                self.stairs(b, 0.0, 0.0, 1.8 * w, 0.9 * w, 0.12 * h, self.n(2, 4), trim)

    def stairs(
        self, b: Builder, x: float, y: float, width: float, depth: float, height: float, count: int, material: Material
    ) -> None:
        """Steps rising towards +y from (x, y - depth) to (x, y); they reach `height`."""
        i = np.arange(count)
        run = depth * (count - i) / count
        base = np.stack([np.full(count, x), y - run / 2, np.zeros(count)], 1)
        size = np.stack([np.full(count, width), run, height * (i + 1) / count], 1)
        b.box(base, size, material)

    def gable_roof(
        self, b: Builder, w: float, d: float, z: float, rise: float, roof: Material, wall: Material, over: float = 0.4
    ) -> None:
        """A roof over the rectangle w x d about the origin, its ridge along x."""
        b.add(solids.gable(), (0, 0, z), (d, w, rise), wall, 90.0)
        slope = 2 * rise / d
        thickness = max(0.18, 0.07 * rise)
        total = rise + slope * over + thickness
        sunk = z - slope * over - 0.4 * thickness  # into the gable, so that no gap opens between the two
        b.add(gable_shell(round(thickness / total, 2)), (0, 0, sunk), (d + 2 * over, w + 2 * over, total), roof, 90.0)

    def hip_roof(
        self, b: Builder, w: float, d: float, z: float, rise: float, roof: Material, over: float = 0.4
    ) -> None:
        """A hipped roof over w x d, ridge along the longer side, with an eaves board."""
        w, d = w + 2 * over, d + 2 * over
        long, short, yaw = (w, d, 0.0) if w >= d else (d, w, 90.0)
        b.add(
            solids.hip(round(max(1 - short / long * self.u(0.85, 1.0), 0.0), 1)),
            (0, 0, z),
            (long, short, rise),
            roof,
            yaw,
        )

    def chimneys(self, b: Builder, w: float, z: float, height: float, count: int, y: float = 0.0) -> None:
        """Stacks with caps and pots along a ridge."""
        material, cap = self.wall(), self.trim()
        x = self.rng.uniform(-0.42, 0.42, count) * w
        side = self.u(0.6, 1.1)
        base = np.stack([x, y + self.rng.normal(0, 0.5, count), np.full(count, z)], 1)
        b.box(base, (side, side * self.u(0.7, 1.6), height), material)
        b.box(base + np.array([0, 0, height]), (side * 1.25, side * 1.6, 0.18), cap)
        b.add(solids.frustum(0.8, 12), base + np.array([0, 0, height]), (0.4 * side, 0.4 * side, 0.6), cap)

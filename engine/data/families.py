"""Families of buildings. Each function adds one building to a `Builder`, in metres, front towards -y."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data import solids
from engine.data.kit import Kit, WindowStyle, moulded_column, rotation_matrix
from engine.data.solids import Builder, Material

Array = npt.NDArray[Any]

_CLADDING = ("d8d4c8", "b8b2a6", "8b8f94", "c8a98a", "55606a", "e4e2dc", "7a5a43")
_GLAZING = ("2b3a4a", "3d5266", "6c8796", "9fb8c6", "1f2a33")


def _plinth(k: Kit, b: Builder, w: float, d: float, chance: float = 0.15) -> None:
    """Now and then a slab under everything, below z = 0."""
    if k.chance(chance):
        h = k.u(0.02, 0.08) * max(w, d)
        b.box((0, 0, -h), (w * k.u(1.1, 1.4), d * k.u(1.1, 1.4), h), k.stone())


def _storeys(k: Kit, count: int, height: float, first: float = 0.9) -> Array:
    return first + height * np.arange(count)


def _wing(
    k: Kit,
    b: Builder,
    w: float,
    d: float,
    floors: int,
    storey: float,
    wall: Material,
    roof: Material,
    style: WindowStyle,
    hipped: bool,
    pitch: float,
    base: bool = True,
) -> float:
    """A plain block of a house about the origin with its roof; returns the height of the ridge."""
    h = floors * storey
    b.box((0, 0, 0), (w, d, h), wall)
    rise = pitch * min(w, d) / 2
    over = k.u(0.1, 0.6)
    if hipped:
        k.hip_roof(b, w, d, h, rise, roof, over)
    elif w >= d:
        k.gable_roof(b, w, d, h, rise, roof, wall, over)
    else:
        with b.frame(yaw=90):
            k.gable_roof(b, d, w, h, rise, roof, wall, over)
    nx, ny = max(1, int(w / k.u(2.0, 3.2))), max(1, int(d / k.u(2.2, 3.6)))
    ww, wh = k.u(0.8, 1.2), storey * k.u(0.4, 0.55)
    k.windows(b, style, k.around(w, d, nx, ny, 0.3), _storeys(k, floors, storey), ww, wh, k.u(0.75, 1.0))
    if base and k.chance(0.4):
        b.box((0, 0, 0), (w + 0.2, d + 0.2, k.u(0.3, 0.8)), k.stone())
    if floors > 1 and k.chance(0.3):
        b.box((0, 0, storey), (w + 0.16, d + 0.16, 0.2), k.trim())
    return h + rise


def _house(k: Kit, b: Builder, hipped: bool) -> None:
    w, d = k.u(7, 15), k.u(6, 10)
    floors, storey = int(k.pick([1, 1, 2, 2, 2, 3])), k.u(2.6, 3.3)
    wall, roof, style = k.wall(), k.roof(), k.window_style()
    pitch = k.u(0.35, 0.8) if hipped else k.u(0.45, 1.5)
    top = _wing(k, b, w, d, floors, storey, wall, roof, style, hipped, pitch)
    h = floors * storey
    k.door(b, k.u(-0.3, 0.3) * w, -d / 2, 0, k.u(1.0, 1.4), k.u(2.0, 2.3))
    plan = k.rng.random()
    if plan < 0.55:  # an L or T: a wing across the main block
        ww, wd = k.u(3.5, 6), k.u(3, 7)
        side = k.pick([-1, 1])
        x = k.pick([0.0, side * (w - ww) / 2, side * (w - ww) / 2])
        other = wall if k.chance(0.7) else k.wall()
        low = int(k.pick([floors, floors, max(1, floors - 1)]))
        with b.frame(x, -d / 2 * k.pick([1, -1]) + 0.0, 0, 0):
            _wing(k, b, ww, wd, low, storey * 0.98, other, roof, style, hipped, pitch, False)
    if k.chance(0.4):  # a lower annex or garage beside it
        aw, ad = k.u(3, 5), d * k.u(0.5, 0.9)
        side = k.pick([-1, 1])
        with b.frame(side * (w + aw) / 2 * 0.97, k.u(-0.2, 0.2) * (d - ad)):
            if k.chance(0.5):
                _wing(k, b, aw, ad, 1, storey * 0.9, k.wall(), k.roof(), style, hipped, pitch, False)
            else:
                lean = solids.profile(np.array([-0.5, 0.5]), np.zeros(2), np.array([1.0, 0.65]))
                b.add(lean, (0, 0, 0), (aw, ad, storey), wall, 0.0 if side > 0 else 180.0)
                k.windows(b, style, k.around(aw, ad, 1, 0), [0.8], 1.4, 1.1)
    if k.chance(0.7):
        k.chimneys(b, w, h, top - h + k.u(0.5, 1.2), k.n(1, 2))
    if not hipped and k.chance(0.45):  # dormers on both slopes
        n = k.n(1, 3)
        along = (np.arange(n) + 0.5) / n * w * 0.8 - 0.4 * w
        sides = [-1.0, 1.0] if k.chance(0.5) else [-1.0]
        rise = top - h
        dw, dh = k.u(1.1, 1.7), min(1.4, 0.5 * rise)
        for slope in sides:
            z = h + rise * 0.3
            yaw = 0.0 if slope < 0 else 180.0
            base = np.stack([along, np.full(n, slope * d * 0.3), np.full(n, z)], 1)
            b.box(base, (dw, d * 0.28, dh), wall)
            b.add(solids.gable(), base + np.array([0, 0, dh]), (dw * 1.3, d * 0.32, dw * 0.5), roof)
            k.windows(
                b,
                style,
                (base[:, :2] + np.array([0, slope * d * 0.14]), np.full(n, yaw)),
                [z + 0.2],
                dw * 0.65,
                dh * 0.7,
            )
    if k.chance(0.3):  # a veranda or a balcony on posts
        side = k.pick([-1, 1])
        vw, vd, vh = w * k.u(0.4, 1.0), k.u(1.2, 2.2), storey
        trim = k.wood()
        n = k.n(2, 5)
        posts = np.linspace(-vw / 2 + 0.15, vw / 2 - 0.15, n)
        y = side * (d / 2 + vd - 0.2)
        b.box((0, side * (d + vd) / 2, vh - 0.2), (vw, vd, 0.2), trim)
        b.box(np.stack([posts, np.full(n, y), np.zeros(n)], 1), (0.22, 0.22, vh), trim)
        if k.chance(0.5):
            b.box((0, y, vh), (vw, 0.12, 0.9), trim)
    _plinth(k, b, w, d)


def gabled_house(b: Builder, rng: np.random.Generator) -> None:
    """Detached house under a gabled roof."""
    _house(Kit(rng), b, False)


def hipped_house(b: Builder, rng: np.random.Generator) -> None:
    """Villa or farmhouse under a hipped or mansard roof."""
    _house(Kit(rng), b, True)


def terrace(b: Builder, rng: np.random.Generator) -> None:
    """Two to six row houses, each its own width, height, colour and gable."""
    k = Kit(rng)
    n = k.n(2, 6)
    d = k.u(7, 11)
    widths = rng.uniform(4, 7, n)
    x = np.cumsum(widths) - widths / 2 - widths.sum() / 2
    storey = k.u(2.8, 3.4)
    alike = k.chance(0.35)
    wall, roof, style = k.wall(), k.roof(), k.window_style()
    floors, kind, pitch = k.n(2, 4), k.n(0, 3), k.u(0.7, 1.6)
    for i in range(n):
        if not alike:
            wall, style, kind, pitch = k.wall(), k.window_style(), k.n(0, 3), k.u(0.7, 1.6)
            roof = k.roof() if k.chance(0.4) else roof
            floors = int(np.clip(floors + k.n(-1, 1), 2, 5))
        w, h, depth = float(widths[i]), floors * storey, d * (1.0 if alike else k.u(0.85, 1.05))
        with b.frame(float(x[i]), (d - depth) / 2):
            b.box((0, 0, 0), (w, depth, h), wall)
            rise = pitch * w / 2
            if kind == 0:  # gable to the street
                with b.frame(yaw=90):
                    k.gable_roof(b, depth, w, h, rise, roof, wall, 0.0)
            elif kind == 1:  # ridge along the street
                k.gable_roof(b, w, depth, h, min(rise, 0.6 * depth), roof, wall, 0.0)
            elif kind == 2:  # stepped gable
                with b.frame(yaw=90):
                    k.gable_roof(b, depth - 0.5, w, h, rise, roof, wall, 0.0)
                m = 5
                sizes = w * (1 - np.arange(m) / m)
                step = 1.15 * rise / m
                for face in (-depth / 2 + 0.25, depth / 2 - 0.25):
                    base = np.stack([np.zeros(m), np.full(m, face), h + step * np.arange(m)], 1)
                    b.box(base, np.stack([sizes, np.full(m, 0.5), np.full(m, step)], 1), wall)
            else:  # flat with a cornice
                b.box((0, 0, h), (w, depth + 0.5, 0.4), k.trim())
            nx = k.n(2, 3)
            faces = k.around(w, depth, nx, 0, 0.3)
            ww = w / nx * k.u(0.4, 0.6)
            k.windows(b, style, faces, _storeys(k, floors, storey)[1:], ww, storey * 0.55)
            door_side = k.pick([-1, 1])
            k.door(b, door_side * w * 0.25, -depth / 2, 0, 1.1, 2.2)
            b.add(style.shape, (-door_side * w * 0.2, -depth / 2, 0.8), (ww * 1.2, 0.2, storey * 0.5), style.glass)
            if k.chance(0.3):  # an oriel over the street
                b.box((door_side * w * 0.2, -depth / 2 - 0.35, storey), (w * 0.45, 0.9, storey * (floors - 1.2)), wall)
            if k.chance(0.5):
                k.chimneys(b, w * 0.6, h, rise + 0.8, 1)
    if n < 6 and k.chance(0.3):  # the end house turns the corner
        last = float(widths[-1])
        with b.frame(float(x[-1]), d * 0.8, 0, 90):
            _wing(k, b, d, last, floors, storey, wall, roof, style, False, pitch, False)
    ends = np.array([[widths.sum() / 2, 0.0], [-widths.sum() / 2, 0.0]])
    k.windows(b, style, (ends, np.array([90.0, -90.0])), [storey * 1.3], 1.0, 1.4, 0.7)


def _spire(k: Kit, b: Builder, w: float, z: float, roof: Material, round_: bool = False) -> float:
    """Something pointed, domed or flat on top of a tower of width w; returns its height."""
    kind = k.n(0, 6)
    sides = 18 if round_ else int(k.pick([4, 8]))
    over = k.u(1.0, 1.2)
    if kind <= 2:
        h = w * k.u(0.6, 3.0)
        b.add(solids.frustum(0.0, sides), (0, 0, z), (w * over, w * over, h), roof)
    elif kind == 3:
        h = w * k.u(0.5, 0.8)
        b.add(solids.dome(18), (0, 0, z), (w, w, h), roof)
        b.add(solids.frustum(1.0, 8), (0, 0, z + h * 0.9), (w * 0.3, w * 0.3, h * 0.6), roof)
        b.add(solids.frustum(0.0, 8), (0, 0, z + h * 1.5), (w * 0.36, w * 0.36, h * 0.7), roof)
        h *= 2.2
    elif kind == 4:
        h = w * k.u(0.9, 1.5)
        b.add(solids.dome(18, 10, 1.0), (0, 0, z), (w * 1.1, w * 1.1, h), k.metal())
    elif kind == 5:
        h = w * 0.3
        b.box((0, 0, z), (w * 1.15, w * 1.15, h * 0.5), roof)
        battlements(k, b, w * 1.15, w * 1.15, z + h * 0.5, h * 0.6, roof)
    else:  # a broach: low pyramid, then a needle
        h = w * k.u(1.6, 3.2)
        b.add(solids.hip(0.0), (0, 0, z), (w * over, w * over, w * 0.7), roof)
        b.add(solids.frustum(0.0, 8), (0, 0, z), (w * 0.8, w * 0.8, h), roof)
    if k.chance(0.5):
        t = 0.05 * w
        m = k.metal()
        b.box((0, 0, z + h * 0.96), (t, t, 0.5 * w), m)
        if k.chance(0.5):
            b.box((0, 0, z + h * 0.96 + 0.3 * w), (0.25 * w, t, t), m)
        else:
            b.add(solids.ellipsoid(), (0, 0, z + h * 0.96), (0.16 * w, 0.16 * w, 0.16 * w), m)
    return h


def battlements(k: Kit, b: Builder, w: float, d: float, z: float, h: float, material: Material) -> None:
    """Merlons around a rectangle."""
    pitch = h * k.u(1.6, 2.4)
    nx, ny = max(2, round(w / pitch)), max(2, round(d / pitch))
    x, y = np.linspace(-0.5, 0.5, nx) * (w - h), np.linspace(-0.5, 0.5, ny)[1:-1] * (d - h)
    base = np.concatenate(
        [np.stack([x, np.full(nx, s * (d - h) / 2)], 1) for s in (-1, 1)]
        + [np.stack([np.full(len(y), s * (w - h) / 2), y], 1) for s in (-1, 1)]
    )
    b.box(np.concatenate([base, np.full((len(base), 1), z)], 1), (h, h, h), material)


def tower(b: Builder, rng: np.random.Generator) -> None:
    """Bell, clock, water, light or watch tower in stages, square or round."""
    k = Kit(rng)
    round_ = k.chance(0.4)
    sides = int(k.pick([6, 8, 18, 18])) if round_ else 4
    w = k.u(4, 7)
    stages = k.n(1, 4)
    wall, roof, style = k.wall(), k.roof(), k.window_style(0.5)
    z, width = 0.0, w
    for _ in range(stages):
        face, at_z = width, z
        h = w * k.u(0.8, 2.6) / (1 + 0.3 * (stages - 1))
        taper = k.u(0.8, 1.0) if round_ else 1.0
        material = wall if k.chance(0.7) else k.wall()
        b.add(solids.frustum(round(taper, 1), sides), (0, 0, z), (width, width, h), material)
        rows = max(1, int(h / k.u(2.5, 5)))
        heights = z + h * (np.arange(rows) + 0.3) / rows
        size = (width * k.u(0.12, 0.22), min(h / rows * 0.5, width * 0.45))
        if sides == 4:
            count = k.n(1, 3)
            k.windows(b, style, k.around(width, width, count, count, 0.1 * width), heights, *size, k.u(0.6, 1))
        else:
            for height in heights:
                reach = width / 2 * (1 - (1 - round(taper, 1)) * (height - z) / h) * 0.985
                k.windows(b, style, k.ring(reach, min(sides, 8), 0.0), [height], *size, 0.8)
        z += h
        width *= round(taper, 1)
        over = k.u(1.05, 1.3)
        b.add(solids.frustum(1.0, sides), (0, 0, z - 0.02 * w), (width * over, width * over, 0.06 * w), k.trim())
        if k.chance(0.3):  # a gallery on brackets
            b.add(solids.frustum(1.0, sides), (0, 0, z), (width * 1.35, width * 1.35, 0.08 * w), wall)
            at, yaw = k.ring(width * 0.62, 16) if round_ else k.around(width * 1.25, width * 1.25, 5, 5)
            b.box(
                np.concatenate([at, np.full((len(at), 1), z + 0.08 * w)], 1),
                (0.05 * w, 0.05 * w, 0.25 * w),
                k.trim(),
                yaw,
            )
            z += 0.08 * w
        width *= k.u(0.75, 1.0)
    if k.chance(0.4) and not round_:  # clock faces on the top stage
        dial = k.plain(k.color(("f4f1ea", "2b2b30")))
        at, yaw = k.around(face, face, 1, 1)
        drum = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        for (x, y), a in zip(at, yaw, strict=True):
            with b.frame(float(x), float(y), at_z + h * 0.72, float(a)):
                b.add(
                    solids.frustum(1.0, 18), (0, 0.04 * w, 0), (0.5 * face, 0.5 * face, 0.08 * w), dial, rotation=drum
                )
    if k.chance(0.35):  # an open belfry
        h = width * k.u(0.7, 1.1)
        at, yaw = k.around(width * 0.9, width * 0.9, 2, 2, 0) if sides == 4 else k.ring(width * 0.45, 8)
        b.box(np.concatenate([at, np.full((len(at), 1), z)], 1), (0.14 * width, 0.14 * width, h), wall, yaw)
        b.box((0, 0, z), (width * 0.3, width * 0.3, h), k.metal())
        b.add(solids.frustum(1.0, sides), (0, 0, z + h), (width * 1.08, width * 1.08, 0.1 * width), k.trim())
        z += h + 0.1 * width
    _spire(k, b, width, z, roof, round_)
    k.door(b, 0, -w / 2 * 0.99, 0, w * k.u(0.2, 0.32), w * k.u(0.45, 0.6))
    if k.chance(0.45):  # a lodge, a stair turret or a buttressed foot
        if k.chance(0.5):
            with b.frame(k.pick([-1, 1]) * w * 0.8, k.u(-0.3, 0.3) * w):
                _wing(k, b, w * k.u(0.8, 1.6), w * k.u(0.7, 1.0), 1, w * k.u(0.5, 0.8), wall, roof, style, False, 1.0)
        else:
            t = w * k.u(0.3, 0.4)
            x, y = k.pick([-1, 1]) * w * 0.5, k.pick([-1, 1]) * w * 0.5
            b.add(solids.frustum(1.0, 12), (x, y, 0), (t, t, z * 0.8), wall)
            b.add(solids.frustum(0.0, 12), (x, y, z * 0.8), (t * 1.2, t * 1.2, t * k.u(1, 2)), roof)
    _plinth(k, b, w, w, 0.3)


def church(b: Builder, rng: np.random.Generator) -> None:
    """Nave, aisles, transept, apse and one or two towers."""
    k = Kit(rng)
    length, w, h = k.u(14, 26), k.u(6, 9), k.u(6, 11)
    wall, roof, style = (k.stone() if k.chance(0.6) else k.wall()), k.roof(), k.window_style(0.85)
    pitch = k.u(0.9, 2.0)
    rise = pitch * w / 2
    b.box((0, 0, 0), (length, w, h), wall)
    k.gable_roof(b, length, w, h, rise, roof, wall, 0.25)
    bays = max(3, int(length / k.u(2.8, 4)))
    wh = h * k.u(0.4, 0.6)
    aisles = k.chance(0.45)
    side_w = w
    if aisles:
        aw, ah = w * k.u(0.35, 0.5), h * k.u(0.45, 0.6)
        lean = solids.profile(np.array([-0.5, 0.5]), np.zeros(2), np.array([1.0, 0.62]))
        for s, yaw in ((1, 90.0), (-1, -90.0)):
            b.add(lean, (0, s * (w + aw) / 2, 0), (aw, length * 0.94, ah), wall, yaw)
        side_w = w + 2 * aw
        k.windows(b, style, k.around(length, side_w, bays, 0, 1.0), [ah * 0.12], length / bays * 0.3, ah * 0.42)
        k.windows(b, style, k.around(length, w, bays, 0, 1.0), [h * 0.68], length / bays * 0.25, h * 0.22)
    else:
        k.windows(b, style, k.around(length, w, bays, 0, 1.0), [h * 0.25], length / bays * 0.3, wh)
    if k.chance(0.55):  # buttresses between the bays
        x = np.linspace(-0.5, 0.5, bays + 1) * (length - 0.6)
        y = side_w / 2 + 0.3
        base = np.array([(xi, s * y, 0) for xi in x for s in (-1, 1)])
        b.box(base, (0.5, 0.9, h * (0.5 if aisles else 0.85)), wall)
    if k.chance(0.5):
        tl, tx = w * k.u(1.6, 2.3), length * k.u(0.1, 0.3)
        tw = w * k.u(0.7, 1.0)
        with b.frame(tx, 0, 0, 90):
            b.box((0, 0, 0), (tl, tw, h * 0.97), wall)
            k.gable_roof(b, tl, tw, h * 0.97, rise * tw / w, roof, wall, 0.2)
            k.windows(b, style, k.around(tl, tw, 0, 1), [h * 0.3], tw * 0.35, h * 0.5)
        if k.chance(0.5):
            with b.frame(tx, 0):
                cw = w * k.u(0.4, 0.75)
                top = h + rise * 1.1
                b.add(
                    solids.frustum(1.0, int(k.pick([4, 8]))), (0, 0, h * 0.8), (cw, cw, top - h * 0.8 + cw * 0.4), wall
                )
                _spire(k, b, cw, top + cw * 0.4, roof)
    if k.chance(0.7):  # apse
        aw, ah = w * k.u(0.6, 0.95), h * k.u(0.6, 0.95)
        sides = int(k.pick([8, 18]))
        b.add(solids.frustum(1.0, sides), (length / 2, 0, 0), (aw, aw, ah), wall)
        b.add(
            solids.frustum(0.0, sides) if k.chance(0.6) else solids.dome(18),
            (length / 2, 0, ah),
            (aw * 1.06, aw * 1.06, aw * 0.45),
            roof,
        )
        around_apse, yaws = k.ring(aw / 2, 5, -90)
        outer = around_apse[:, 0] > 0
        k.windows(
            b, style, (around_apse[outer] + np.array([length / 2, 0]), yaws[outer]), [ah * 0.3], aw * 0.13, ah * 0.4
        )
    towers = int(k.pick([0, 1, 1, 1, 1, 2, 2]))
    tw, th = w * k.u(0.45, 0.8), (h + rise) * k.u(0.8, 1.5)
    if towers == 2:
        tw = w * k.u(0.4, 0.55)
    offsets: list[float] = {0: [], 1: [k.pick([0.0, 0.0, w * 0.5])], 2: [-w * 0.5, w * 0.5]}[towers]
    state = k.rng.bit_generator.state
    for y in offsets:
        if k.chance(0.85):
            k.rng.bit_generator.state = state  # twin towers are twins, mostly
        with b.frame(-length / 2 - tw * 0.2, y):
            b.box((0, 0, 0), (tw, tw, th), wall)
            stages = k.n(1, 3)
            for i in range(stages):
                b.box((0, 0, th * (i + 1) / stages - 0.2), (tw * 1.08, tw * 1.08, 0.3), k.trim())
            k.windows(
                b,
                style,
                k.around(tw, tw, 1, 1),
                th * (np.arange(stages) + 0.55) / stages,
                tw * 0.3,
                min(th * 0.2, tw * 0.6),
            )
            if k.chance(0.3):
                at = np.array([(sx * tw * 0.45, sy * tw * 0.45, th) for sx in (-1, 1) for sy in (-1, 1)])
                b.add(solids.frustum(0.0, 4), at, (tw * 0.16, tw * 0.16, tw * 0.5), roof)
            _spire(k, b, tw, th, roof)
    front = -length / 2 - (tw * 0.7 if towers == 1 and offsets[0] == 0 else 0)
    k.door(b, front, 0, -90, w * 0.22, h * 0.35)
    if towers != 1 and k.chance(0.7):  # a rose window
        disc = np.array([[0.0, 0, -1], [0, 1.0, 0], [1.0, 0, 0]])
        size = w * k.u(0.3, 0.45)
        b.add(solids.frustum(1.0, 18), (-length / 2 + 0.1, 0, h * 0.75), (size, size, 0.4), style.glass, rotation=disc)
        b.add(
            solids.torus(0.15),
            (-length / 2 + 0.1, 0, h * 0.75),
            (size * 1.15, size * 1.15, 0.5),
            k.trim(),
            rotation=disc,
        )
    if k.chance(0.3):
        with b.frame(k.u(-0.2, 0.2) * length, k.pick([-1, 1]) * side_w * 0.65):
            _wing(k, b, w * 0.6, w * 0.5, 1, h * 0.4, wall, roof, style, False, 1.2, False)


def temple(b: Builder, rng: np.random.Generator) -> None:
    """Columns around a cella on a stepped base; or a portico before a plain block, or a round temple."""
    k = Kit(rng)
    stone = k.stone() if k.chance(0.4) else k.trim()
    roof = k.roof() if k.chance(0.5) else stone
    kind = k.rng.random()
    column = moulded_column(k.pick(["plain", "doric", "tuscan"]))
    if kind < 0.2:
        r, h, n = k.u(4, 7), k.u(5, 9), k.n(6, 16)
        for i in range(3):
            b.add(solids.frustum(1.0, 20), (0, 0, 0.3 * i), ((r + 1.4 - 0.4 * i) * 2,) * 2 + (0.3,), stone)
        at, _ = k.ring(r, n, k.u(0, 90))
        dc = h * k.u(0.09, 0.14)
        b.add(column, np.concatenate([at, np.full((n, 1), 0.9)], 1), (dc, dc, h), stone)
        b.add(solids.frustum(1.0, 20), (0, 0, 0.9 + h), ((r + 0.6) * 2, (r + 0.6) * 2, h * 0.15), stone)
        if k.chance(0.75):
            b.add(solids.frustum(1.0, 20), (0, 0, 0.9), (r * 1.3, r * 1.3, h), k.wall())
        top = 0.9 + h * 1.15
        if k.chance(0.6):
            b.add(solids.dome(20), (0, 0, top), (r * 2, r * 2, r * k.u(0.5, 1.0)), k.metal())
        else:
            b.add(solids.frustum(0.0, 20), (0, 0, top), (r * 2.3, r * 2.3, r * k.u(0.3, 0.7)), roof)
        return
    nx, ny = k.n(4, 8), k.n(5, 12)
    pitch, h = k.u(1.9, 2.6), k.u(5, 8.5)
    w, d = (nx - 1) * pitch, (ny - 1) * pitch  # front along x
    steps, rise = k.n(1, 6), k.u(0.25, 0.5)
    tread = np.arange(steps)
    grow = 2 * 0.45 * (steps - tread) + 1.2
    b.box(
        np.stack([0 * tread, 0 * tread, rise * tread], 1),
        np.stack([w + grow, d + grow, np.full(steps, rise)], 1),
        stone,
    )
    z = steps * rise
    dc = h * k.u(0.1, 0.15)
    x, y = np.linspace(-w / 2, w / 2, nx), np.linspace(-d / 2, d / 2, ny)
    portico = kind > 0.6
    if portico:  # columns only in front
        at = np.concatenate([np.stack([x, np.full(nx, -d / 2)], 1), np.stack([x[[0, -1]], np.full(2, y[1])], 1)])
        body = (0, pitch, d - 2 * pitch)
    else:
        at = np.concatenate(
            [np.stack([x, np.full(nx, s * d / 2)], 1) for s in (-1, 1)]
            + [np.stack([np.full(ny - 2, s * w / 2), y[1:-1]], 1) for s in (-1, 1)]
        )
        body = (0, 0, d - 2.2 * pitch)
    if not portico and k.chance(0.15):  # a ruin
        at = at[k.rng.random(len(at)) < 0.7]
        heights = np.where(k.rng.random(len(at)) < 0.3, k.rng.uniform(0.3, 0.9, len(at)), 1.0) * h
        b.add(
            column,
            np.concatenate([at, np.full((len(at), 1), z)], 1),
            np.stack([np.full(len(at), dc)] * 2 + [heights], 1),
            stone,
        )
        b.box((0, -d / 2, z + h), (w + dc, dc * 1.1, h * 0.15), stone)
        b.box((0, d * 0.1, z), (w - 2.4 * pitch, d * 0.5, h * k.u(0.3, 0.8)), stone)
        return
    b.add(column, np.concatenate([at, np.full((len(at), 1), z)], 1), (dc, dc, h), stone)
    cella = k.wall() if k.chance(0.5) else stone
    cw = w + dc if portico else w - 2.2 * pitch
    b.box((0, body[1] if portico else 0, z), (cw, body[2], h), cella)
    if portico and k.chance(0.7):
        style = k.window_style()
        with b.frame(0, body[1]):
            k.windows(
                b, style, k.around(cw, body[2], 0, ny - 3, 0.5), z + h * np.array([0.15, 0.6]), pitch * 0.45, h * 0.25
            )
    with b.frame(0, (body[1] - body[2] / 2) if portico else -body[2] / 2, z):
        k.door(b, 0, 0, 0, pitch * 0.8, h * 0.55, False)
    e = h * k.u(0.12, 0.2)
    b.box((0, 0, z + h), (w + 1.15 * dc, d + 1.15 * dc, e), stone)
    b.box((0, 0, z + h + e), (w + 2.2 * dc, d + 2.2 * dc, 0.35 * e), stone)
    with b.frame(0, 0, z + h + 1.35 * e, 90):
        k.gable_roof(
            b, d + dc, w + dc, 0, (w + dc) * k.u(0.13, 0.22), roof, k.trim() if k.chance(0.3) else stone, dc * 0.5
        )
    if portico and k.chance(0.4):
        dome_w = min(cw, body[2]) * 0.7
        top = z + h + 1.35 * e
        b.add(solids.frustum(1.0, 20), (0, body[1], top), (dome_w, dome_w, dome_w * 0.35), cella)
        b.add(solids.dome(20), (0, body[1], top + dome_w * 0.35), (dome_w, dome_w, dome_w * 0.5), k.metal())


def domed_hall(b: Builder, rng: np.random.Generator) -> None:
    """A block or a cross under a great dome: mosque, basilica, capitol, observatory, mausoleum."""
    k = Kit(rng)
    w, d, h = k.u(12, 18), k.u(10, 16), k.u(5, 9)
    wall, metal, style = (k.stone() if k.chance(0.5) else k.wall()), k.metal(), k.window_style(0.7)
    if k.chance(0.2):
        b.add(solids.frustum(1.0, int(k.pick([6, 8, 20]))), (0, 0, 0), (w, w, h), wall)
        at, yaw = k.ring(w * 0.5, 8)
        k.windows(b, style, (at, yaw), [h * 0.25], w * 0.1, h * 0.5)
        d = w
    else:
        b.box((0, 0, 0), (w, d, h), wall)
        rows = k.n(1, 2)
        k.windows(
            b,
            style,
            k.around(w, d, k.n(3, 6), k.n(2, 5), 0.5),
            h * (np.arange(rows) + 0.25) / rows,
            1.1,
            h / rows * 0.5,
        )
        b.box((0, 0, h - 0.1), (w + 0.8, d + 0.8, 0.5), k.trim())
    if k.chance(0.45):  # arms of a cross, or wings
        for s in (-1, 1):
            ww, wd, wh = k.u(0.4, 0.9) * w, d * k.u(0.45, 0.8), h * k.u(0.6, 0.95)
            if k.chance(0.85):
                with b.frame(s * (w + ww) / 2 * 0.99, 0):
                    b.box((0, 0, 0), (ww, wd, wh), wall)
                    b.box((0, 0, wh), (ww + 0.4, wd + 0.4, 0.4), k.trim())
                    k.windows(b, style, k.around(ww, wd, 3, 2, 0.4), [wh * 0.25], ww * 0.14, wh * 0.45)
    r = min(w, d) * k.u(0.55, 0.95)
    dh = r * k.u(0.1, 0.5)
    sides = int(k.pick([8, 20, 20]))
    b.add(solids.frustum(1.0, sides), (0, 0, h), (r, r, dh), wall)
    at, yaw = k.ring(r / 2, 8, 22.5 if sides == 20 else 0.0)
    if dh > 0.2 * r:
        k.windows(b, style, (at, yaw), [h + dh * 0.25], r * 0.1, dh * 0.55)
        if k.chance(0.4):
            n = 16
            ring, _ = k.ring(r * 0.55, n)
            b.add(
                moulded_column("plain"),
                np.concatenate([ring, np.full((n, 1), h)], 1),
                (r * 0.06, r * 0.06, dh),
                k.trim(),
            )
            b.add(solids.frustum(1.0, 20), (0, 0, h + dh), (r * 1.2, r * 1.2, r * 0.05), k.trim())
    onion = k.chance(0.25)
    top = r * (k.u(0.8, 1.1) if onion else k.u(0.35, 0.7))
    b.add(solids.dome(20, 10, 1.0) if onion else solids.dome(20, 7), (0, 0, h + dh), (r * 1.02, r * 1.02, top), metal)
    z = h + dh + top * 0.97
    if k.chance(0.6):  # lantern
        lw = r * 0.16
        b.add(solids.frustum(1.0, 8), (0, 0, z - 0.05 * top), (lw, lw, lw * 1.3), wall)
        b.add(solids.frustum(0.0, 8), (0, 0, z - 0.05 * top + lw * 1.3), (lw * 1.3, lw * 1.3, lw * 1.2), metal)
    else:
        b.add(solids.frustum(0.2, 8), (0, 0, z - 0.03 * top), (r * 0.04, r * 0.04, r * 0.25), metal)
    if k.chance(0.4):  # four small domes
        small = r * k.u(0.2, 0.35)
        at3 = np.array([(sx * (w - small) / 2, sy * (d - small) / 2, h) for sx in (-1, 1) for sy in (-1, 1)])
        b.add(solids.frustum(1.0, 12), at3, (small, small, small * 0.6), wall)
        b.add(
            solids.dome(20, 10, 1.0) if onion else solids.dome(20, 7),
            at3 + np.array([0, 0, small * 0.6]),
            (small * 1.05, small * 1.05, small * 0.7),
            metal,
        )
    if k.chance(0.35):  # minarets
        n = int(k.pick([1, 2, 4]))
        at3 = np.array([(sx * w * 0.6, sy * d * 0.6, 0) for sy in (-1, 1) for sx in (-1, 1)], float)[:n]
        mw, mh = k.u(1.0, 1.6), (h + dh + top) * k.u(0.9, 1.5)
        b.add(solids.frustum(0.8, 12), at3, (mw, mw, mh), wall)
        b.add(solids.frustum(1.3, 12), at3 + np.array([0, 0, mh * 0.7]), (mw * 1.2, mw * 1.2, mh * 0.05), k.trim())
        b.add(solids.frustum(0.0, 12), at3 + np.array([0, 0, mh]), (mw, mw, mw * 2), metal)
    if k.chance(0.5):  # portico
        n, pd = k.n(4, 6), k.u(1.8, 3)
        pw, ph = w * k.u(0.35, 0.6), h * k.u(0.7, 0.95)
        trim = k.trim()
        with b.frame(k.pick([0, 0, 0.2]) * w, -d / 2):
            x = np.linspace(-pw / 2, pw / 2, n)
            b.add(
                moulded_column("tuscan"),
                np.stack([x, np.full(n, -pd), np.zeros(n)], 1),
                (ph * 0.13, ph * 0.13, ph),
                trim,
            )
            b.box((0, -pd / 2, ph), (pw + ph * 0.2, pd + ph * 0.2, ph * 0.14), trim)
            b.add(solids.gable(), (0, -pd / 2, ph * 1.14), (pw + ph * 0.3, pd + ph * 0.3, pw * 0.2), trim)
            k.stairs(b, 0, -pd, pw + ph * 0.3, pd * 0.6, h * 0.1, 3, trim)
    k.door(b, 0, -d / 2, 0, w * 0.12, h * 0.5)
    _plinth(k, b, w, d, 0.3)


def pagoda(b: Builder, rng: np.random.Generator) -> None:
    """Storeys under sweeping roofs, square or many-sided, or a wide single-storey hall."""
    k = Kit(rng)
    hall = k.chance(0.3)
    sides = 4 if hall else int(k.pick([4, 4, 4, 6, 8]))
    stretch = k.u(1.3, 2.2) if hall else 1.0
    w, tiers = k.u(6, 10), (k.n(1, 2) if hall else k.n(2, 7))
    shrink, storey = k.u(0.76, 0.95), k.u(2.0, 4.0)
    wall, roof, trim = k.wall(), k.roof(), k.wood()
    style = k.window_style(0.1)
    flare = k.u(1.3, 2.0)
    sag = k.u(0.35, 0.6)
    rise = k.u(0.5, 1.1)
    # a concave roof: the profile sags between eave and ridge
    top = 0.45
    curve = solids.lathe(
        np.array([0.48, 0.5, 0.5 - (0.5 - 0.5 * top) * sag * 1.4, 0.5 * top, 0.5 * top * 0.8]),
        np.array([0.0, 0.12, 0.38, 0.85, 1.0]),
        sides,
        False,
    )
    z = 0.0
    if k.chance(0.7):
        base = k.stone()
        b.add(solids.frustum(0.95, sides), (0, 0, 0), (w * 1.4 * stretch, w * 1.4, 0.8), base)
        k.stairs(b, 0, -w * 0.68, w * 0.4, 1.0, 0.8, 3, base)
        z = 0.8
    for i in range(tiers):
        s = w * shrink**i
        h = storey * (1.3 if i == 0 else k.u(0.7, 0.9)) * (1 - 0.04 * i)
        b.add(solids.frustum(1.0, sides), (0, 0, z), (s * stretch, s, h), wall)
        if sides == 4:
            count = k.n(2, 4)
            places = k.around(s * stretch, s, int(count * stretch), count, 0.1 * s)
            k.windows(b, style, places, [z + 0.2 * h], s / count * 0.4, 0.55 * h)
            corners = np.array([(sx * s * stretch * 0.5, sy * s * 0.5, z) for sx in (-1, 1) for sy in (-1, 1)])
            b.add(solids.frustum(1.0, 10), corners, (0.09 * s, 0.09 * s, h), trim)
            if i == 0 and k.chance(0.6):  # a gallery of posts under the eaves
                at, _ = k.around(s * stretch * 1.25, s * 1.25, int(4 * stretch), 4)
                b.add(
                    solids.frustum(1.0, 10),
                    np.concatenate([at, np.full((len(at), 1), z)], 1),
                    (0.07 * s, 0.07 * s, h),
                    trim,
                )
        else:
            k.windows(b, style, k.ring(s / 2, sides), [z + 0.2 * h], s * 0.14, 0.55 * h)
        z += h
        eave = s * (1 + (flare - 1) * (0.7 if i else 1.0))
        rh = rise * s * 0.32
        last = i == tiers - 1
        if last and hall:
            b.add(curve, (0, 0, z - 0.1 * h), (s * stretch + eave - s, eave, rh * 1.3), roof)
            ridge = (s * stretch + eave - s) * top
            k.gable_roof(b, ridge * 1.05, eave * top * 1.05, z + rh, rh * 1.0, roof, wall, 0.3)
            z += rh * 2
        elif last:
            cone = solids.lathe(
                np.array([0.48, 0.5, 0.28, 0.08, 0.0]), np.array([0, 0.08, 0.3, 0.75, 1.0]), sides, False
            )
            b.add(cone, (0, 0, z - 0.1 * h), (eave * stretch, eave, rh * 2), roof)
            z += rh * 1.9
        else:
            b.add(curve, (0, 0, z - 0.1 * h), (s * stretch + eave - s, eave, rh), roof)
            z += rh * 0.75
            if k.chance(0.5):
                b.add(solids.frustum(1.0, sides), (0, 0, z), (s * stretch * 0.95, s * 0.95, 0.25), trim)
    if not hall:
        m = k.metal()
        h = w * k.u(0.3, 1.0)
        b.add(solids.frustum(0.4, 8), (0, 0, z - 0.3), (0.06 * w, 0.06 * w, h), m)
        discs = np.arange(k.n(0, 5))
        if len(discs):
            size = 0.2 * w * (1 - 0.12 * discs)
            b.add(
                solids.frustum(0.9, 12),
                np.stack([0 * discs, 0 * discs, z + h * (0.1 + 0.7 * discs / 5)], 1),
                np.stack([size, size, np.full(len(discs), 0.05 * h)], 1),
                m,
            )
    k.door(b, 0, -w / 2, 0, w * 0.2, storey * 0.9, False)


def castle(b: Builder, rng: np.random.Generator) -> None:
    """Curtain walls, corner towers, a gatehouse and a keep."""
    k = Kit(rng)
    wall, roof, style = k.stone(), k.roof(), k.window_style(0.6)
    w, d, h = k.u(18, 28), k.u(14, 26), k.u(5, 9)
    t = k.u(1.2, 2.0)
    merlon = k.u(0.7, 1.1)
    walled = k.chance(0.75)
    if walled:
        for x, y, sx, sy in ((0, -d / 2, w, t), (0, d / 2, w, t), (-w / 2, 0, t, d), (w / 2, 0, t, d)):
            height = h * k.pick([1.0, 1.0, 1.0, 0.75])
            b.box((x, y, 0), (sx, sy, height), wall)
            n = max(3, int(max(sx, sy) / (2.1 * merlon)))
            along = np.linspace(-0.5, 0.5, n) * max(sx, sy)
            at = np.stack([x + along * (sx > sy), y + along * (sy > sx), np.full(n, height)], 1)
            b.box(at, (merlon if sx > sy else t, merlon if sy > sx else t, merlon), wall)
    corners = [(-w / 2, -d / 2), (w / 2, -d / 2), (w / 2, d / 2), (-w / 2, d / 2)]
    round_ = k.chance(0.65)
    capped = k.chance(0.5)
    for x, y in corners:
        if not walled or k.chance(0.1):
            continue
        tw, th = k.u(3.2, 5.5), h * k.u(1.2, 2.0)
        sides = 16 if round_ else 4
        with b.frame(x, y):
            b.add(solids.frustum(k.pick([0.9, 1.0]), sides), (0, 0, 0), (tw, tw, th), wall)
            b.add(solids.frustum(1.0, sides), (0, 0, th - 0.2), (tw * 1.2, tw * 1.2, 0.9), wall)
            if capped:
                b.add(solids.frustum(0.0, sides), (0, 0, th + 0.7), (tw * 1.25, tw * 1.25, tw * k.u(0.8, 1.8)), roof)
            elif round_:
                at, yaw = k.ring(tw * 0.53, 9)
                b.box(np.concatenate([at, np.full((9, 1), th + 0.7)], 1), (merlon, merlon * 0.7, merlon), wall, yaw)
            else:
                battlements(k, b, tw * 1.2, tw * 1.2, th + 0.7, merlon, wall)
            k.windows(b, style, k.ring(tw * 0.48, 4, 0), th * np.array([0.4, 0.75]), tw * 0.1, tw * 0.3)
    if walled:
        gw, gh = k.u(5, 7), h * k.u(1.1, 1.6)
        with b.frame(k.u(-0.2, 0.2) * w, -d / 2):
            b.box((0, 0, 0), (gw, t * 2.4, gh), wall)
            battlements(k, b, gw, t * 2.4, gh, merlon, wall)
            b.add(solids.barrel(8, 0.55), (0, -t * 1.2, 0), (gw * 0.4, 0.3, h * 0.6), k.door_leaf())
            if k.chance(0.6):
                b.add(
                    solids.frustum(1.0, 14),
                    [(-gw * 0.5, -t, 0), (gw * 0.5, -t, 0)],
                    (gw * 0.4, gw * 0.4, gh * 1.2),
                    wall,
                )
                b.add(
                    solids.frustum(0.0, 14),
                    [(-gw * 0.5, -t, gh * 1.2), (gw * 0.5, -t, gh * 1.2)],
                    (gw * 0.46, gw * 0.46, gw * 0.5),
                    roof,
                )
    # the keep
    kw, kd, kh = w * k.u(0.28, 0.5), d * k.u(0.28, 0.5), h * k.u(1.5, 3.0)
    with b.frame(k.u(-0.15, 0.15) * w, k.u(-0.1, 0.25) * d):
        b.box((0, 0, 0), (kw, kd, kh), wall)
        rows = k.n(2, 4)
        k.windows(
            b,
            style,
            k.around(kw, kd, k.n(2, 4), k.n(2, 4), 0.5),
            kh * (np.arange(rows) + 0.4) / rows,
            0.8,
            min(kh / rows * 0.45, 2.2),
        )
        if k.chance(0.5):
            k.hip_roof(b, kw, kd, kh, min(kw, kd) * k.u(0.4, 1.0), roof, 0.2)
        else:
            b.box((0, 0, kh), (kw * 1.06, kd * 1.06, 0.6), wall)
            battlements(k, b, kw * 1.06, kd * 1.06, kh + 0.6, merlon, wall)
        turrets = k.n(0, 4)
        for sx, sy in [(-1, -1), (1, 1), (1, -1), (-1, 1)][:turrets]:
            tw, th = kw * k.u(0.18, 0.35), kh * k.u(1.05, 1.5)
            with b.frame(sx * kw / 2, sy * kd / 2):
                b.add(solids.frustum(1.0, 14), (0, 0, 0), (tw, tw, th), wall)
                b.add(solids.frustum(0.0, 14), (0, 0, th), (tw * 1.2, tw * 1.2, tw * k.u(1.0, 2.5)), roof)
                k.windows(b, style, k.ring(tw * 0.48, 4, 45), [th * 0.8], tw * 0.2, tw * 0.5)
    if k.chance(0.5):
        with b.frame(k.pick([-1, 1]) * w * 0.3, d * 0.3, 0, k.pick([0, 90])):
            _wing(k, b, w * 0.35, d * 0.22, 2, h * 0.5, k.wall(), roof, style, False, 1.3, False)
    if k.chance(0.2):
        b.add(
            solids.frustum(0.85, 20),
            (0, 0, -h * 0.5),
            (w * 1.6, d * 1.6, h * 0.5),
            k.textured("rubble_large", (0.45, 0.42, 0.36), (0.3, 0.33, 0.22)),
        )


def arch_bridge(b: Builder, rng: np.random.Generator) -> None:
    """A bridge, viaduct, aqueduct or triumphal arch."""
    k = Kit(rng)
    wall = k.stone() if k.chance(0.8) else k.wall()
    trim = k.trim()
    kind = k.rng.random()
    if kind < 0.3:  # triumphal arch
        w, d, h = k.u(8, 14), k.u(3, 6), k.u(8, 13)
        n = int(k.pick([1, 1, 3]))
        pier = k.u(0.3, 0.6) * (0.8 if n == 3 else 1)
        b.add(
            solids.arcade(n, round(pier, 2), round(k.u(0.45, 0.6), 2), round(k.u(0.75, 0.85), 2)),
            (0, 0, 0),
            (w, d, h),
            wall,
        )
        b.box((0, 0, h), (w * 1.06, d * 1.15, h * 0.05), trim)
        attic = h * k.u(0.15, 0.35)
        b.box((0, 0, h * 1.05), (w * 0.98, d * 0.98, attic), wall)
        b.box((0, 0, h * 1.05 + attic), (w * 1.03, d * 1.08, h * 0.04), trim)
        if k.chance(0.6):
            bay = w / (n + pier)
            x = -w / 2 + bay * (np.arange(n + 1) + pier / 2)
            at = np.array([(xi, s * (d / 2 + 0.15), 0) for xi in x for s in (-1, 1)])
            b.add(moulded_column("tuscan"), at, (0.5 * pier * bay, 0.5 * pier * bay, h), trim)
        if k.chance(0.4):
            _figure(k, b, h * 1.09 + attic, h * 0.35, k.metal())
        return
    n = k.n(1, 7)
    span, d = k.u(4, 9), k.u(2, 5)
    length, h = n * span * 1.15, k.u(0.35, 1.3) * span * (1.0 if n < 4 else 1.3)
    h, d = max(h, 0.13 * length), max(d, 0.07 * length)
    rise = k.u(0.1, 0.35) if k.chance(0.4) else 0.0
    pier = round(k.u(0.12, 0.35), 2)
    crown = round(k.u(0.75, 0.92), 2)
    shape = solids.arcade(n, pier, round(k.u(0.0, 0.6), 2), crown, round(rise, 2), k.chance(0.2))
    b.add(shape, (0, 0, 0), (length, d, h), wall)
    z = h
    if rise == 0:
        b.box((0, 0, h), (length * 1.01, d * 1.12, h * 0.04), trim)
        z = h * 1.04
        if k.chance(0.3):  # a second storey of arches
            m = n * int(k.pick([1, 2, 3]))
            h2 = h * k.u(0.35, 0.8)
            b.add(solids.arcade(m, 0.3, 0.4, 0.85), (0, 0, z), (length, d * 0.7, h2), wall)
            b.box((0, 0, z + h2), (length * 1.01, d * 0.85, h * 0.05), trim)
            z += h2 + h * 0.05
        style = k.rng.random()
        for y in (-d * 0.47, d * 0.47):
            if style < 0.5:
                b.box((0, y, h), (length, 0.08 * d, h * 0.16), trim)
            else:
                m = min(max(4, int(length / 1.4)), 24)
                x = np.linspace(-length / 2 + 0.1, length / 2 - 0.1, m)
                b.box(np.stack([x, np.full(m, y), np.full(m, h)], 1), (0.12, 0.12, h * 0.2), trim)
                b.box((0, y, h * 1.2), (length, 0.2, h * 0.04), trim)
    else:
        t = np.linspace(-0.5, 0.5, 17)
        top = 1 - 4 * rise * t**2
        rail = solids.profile(t, (top - 0.5 * rise - 0.02) / 1.0, top + 0.0)
        for y in (-d * 0.47, d * 0.47):
            b.add(rail, (0, y, h * 0.12), (length, 0.08 * d, h), trim)
    bay = 1.0 / (n + pier)
    if k.chance(0.5) and n > 1:  # cutwaters
        x = (-0.5 + bay * (np.arange(1, n) + pier / 2)) * length
        at = np.array([(xi, s * d / 2, 0) for xi in x for s in (-1, 1)])
        b.add(
            solids.frustum(1.0, int(k.pick([4, 12]))),
            at,
            (pier * bay * length, pier * bay * length, h * k.u(0.4, 0.8)),
            wall,
            45.0,
        )
    if k.chance(0.4):  # gate towers
        tw = d * k.u(0.9, 1.3)
        for end in [-length / 2, length / 2] if k.chance(0.5) else [k.pick([-0.5, 0.5]) * length]:
            with b.frame(end, 0):
                b.box((0, 0, 0), (tw, tw, h * 1.9), wall)
                _spire(k, b, tw, h * 1.9, k.roof())
                b.add(solids.barrel(8, 0.6), (0, 0, h), (tw * 0.5, tw * 1.05, h * 0.55), k.plain((0.1, 0.1, 0.1)), 90.0)
    if k.chance(0.25) and rise == 0:  # lamps
        m = k.n(2, 5)
        at = np.array([(x, s * d * 0.47, h) for x in np.linspace(-0.4, 0.4, m) * length for s in (-1, 1)])
        b.add(solids.frustum(1.0, 6), at, (0.12, 0.12, h * 0.5), k.metal())
        b.add(solids.ellipsoid(), at + np.array([0, 0, h * 0.5]), (0.4, 0.4, 0.5), k.plain((0.9, 0.88, 0.75)))


def skyscraper(b: Builder, rng: np.random.Generator) -> None:
    """High-rises: slab, setbacks, cylinder, cluster; curtain walls, bands or punched windows."""
    k = Kit(rng)
    names = ("facade_grid", "facade_bands", "facade_curtain", "facade_slots", "facade_small")

    def facade() -> Material:
        return k.textured(k.pick(names), k.color(_CLADDING), k.color(_GLAZING), k.u(0.8, 1.6))

    main, trim = facade(), k.trim()
    w, d, h = k.u(14, 26), k.u(12, 24), k.u(35, 95)
    kind = k.n(0, 5)
    z = 0.0
    top_w, top_d = w, d
    if k.chance(0.5):
        ph = h * k.u(0.05, 0.15)
        px, py = w * k.u(1.1, 1.7), d * k.u(1.1, 1.7)
        b.box((k.u(-0.2, 0.2) * w, k.u(-0.2, 0.2) * d, 0), (px, py, ph), facade() if k.chance(0.5) else main)
    if kind in (0, 1):  # setbacks
        steps = k.n(1, 5)
        for i in range(steps):
            hi = h / steps * k.u(0.6, 1.3)
            b.box((0, 0, z), (top_w, top_d, hi), main)
            if k.chance(0.5):
                b.box((0, 0, z + hi - 0.2), (top_w * 1.03, top_d * 1.03, 0.8), trim)
            z += hi
            if i < steps - 1:
                top_w, top_d = top_w * k.u(0.65, 0.92), top_d * k.u(0.65, 0.92)
    elif kind == 2:  # round, polygonal or tapering
        sides, taper = int(k.pick([3, 6, 8, 20, 20])), k.pick([1.0, 0.8, 0.6, 0.4])
        b.add(solids.frustum(taper, sides), (0, 0, 0), (w, w * k.pick([1.0, 1.0, 0.7]), h), main)
        z, top_w, top_d = h, w * taper, w * taper * 0.7
    elif kind == 3:  # a cluster of shafts
        n = k.n(2, 4)
        for _ in range(n):
            sx, sy, hi = w * k.u(0.4, 0.8), d * k.u(0.4, 0.8), h * k.u(0.5, 1.0)
            b.box((k.u(-0.3, 0.3) * w, k.u(-0.3, 0.3) * d, 0), (sx, sy, hi), main if k.chance(0.6) else facade())
        b.box((0, 0, 0), (w * 0.6, d * 0.6, h), main)
        z, top_w, top_d = h, w * 0.6, d * 0.6
    elif kind == 4:  # slab with a free outline
        n = k.n(5, 9)
        radii = k.rng.uniform(0.36, 0.5, n) if k.chance(0.5) else np.full(n, 0.5)
        b.add(solids.star(radii), (0, 0, 0), (w, d, h), main, k.u(0, 90))
        z, top_w, top_d = h, w * 0.5, d * 0.5
    else:  # stacked, turned floors
        n = k.n(4, 8)
        level = np.arange(n)
        f = 1 - level * k.u(0.0, 0.06)
        base = np.stack([0 * level, 0 * level, h / n * level], 1)
        b.box(base, np.stack([w * f, d * f, np.full(n, h / n)], 1), main, level * k.u(3, 14))
        z, top_w, top_d = h, w * float(f[-1]) * 0.7, d * float(f[-1]) * 0.7
    if kind < 2 and k.chance(0.5):  # ribs up the shaft, or balconies
        if k.chance(0.5):
            at, yaws = k.around(w, d, k.n(3, 6), k.n(3, 6))
            b.box(
                np.concatenate([at, np.zeros((len(at), 1))], 1),
                (0.03 * w, 0.05 * w, h / max(1, steps) * 0.6),
                trim,
                yaws,
            )
        else:
            levels: Array = np.arange(3, int(h / 3.5 / max(1, steps) * 0.6))[:14] * 3.5
            at, yaws = k.around(w, d, k.n(1, 3), k.n(0, 2))
            base = np.concatenate([np.repeat(at, len(levels), 0), np.tile(levels, len(at))[:, None]], 1)
            if len(base):
                b.box(base, (w * 0.16, w * 0.14, 1.0), trim, np.repeat(yaws, len(levels)))
    if kind in (0, 1, 3) and k.chance(0.4):  # ledges between the storeys, standing out of the shaft
        levels = np.arange(1, k.n(6, 16))
        base = np.stack([0 * levels, 0 * levels, z * levels / len(levels) * 0.97], 1)
        out = k.u(1.03, 1.12)
        b.box(base, (top_w * out, top_d * out, z * 0.3 / len(levels)), trim if k.chance(0.5) else facade())
    if kind == 2 and top_w == w and k.chance(0.5):  # fins or balconies around a straight shaft
        at, yaws = k.ring(w * 0.48, k.n(8, 18))
        levels = np.arange(1, k.n(2, 10)) if k.chance(0.5) else np.zeros(1)
        fin = (0.05 * w, 0.12 * w, h) if len(levels) == 1 else (0.14 * w, 0.14 * w, 0.04 * h)
        base = np.concatenate([np.repeat(at, len(levels), 0), np.tile(levels * h * 0.1, len(at))[:, None]], 1)
        if sides == 20:
            b.box(base, fin, trim, np.repeat(yaws, len(levels)))
    crown = k.n(0, 5)
    size = min(top_w, top_d)
    if crown == 0:
        b.add(solids.hip(0.0), (0, 0, z), (top_w, top_d, size * k.u(0.4, 1.5)), k.roof())
    elif crown == 1:
        b.box(
            (k.u(-0.15, 0.15) * top_w, k.u(-0.15, 0.15) * top_d, z),
            (top_w * 0.5, top_d * 0.5, size * k.u(0.15, 0.4)),
            trim,
        )
        n = k.n(1, 5)
        spots = k.rng.uniform(-0.35, 0.35, (n, 2)) * [top_w, top_d]
        b.box(np.concatenate([spots, np.full((n, 1), z)], 1), (size * 0.12, size * 0.15, size * 0.1), k.metal())
    elif crown == 2:
        b.add(solids.dome(18), (0, 0, z), (size * 0.8, size * 0.8, size * 0.4), k.metal())
    elif crown == 3:
        lean = solids.profile(np.array([-0.5, 0.5]), np.zeros(2), np.array([1.0, 0.1]))
        b.add(lean, (0, 0, z), (top_w, top_d, size * k.u(0.3, 0.8)), main)
    if k.chance(0.4):
        b.add(solids.frustum(0.2, 8), (0, 0, z), (size * 0.08, size * 0.08, h * k.u(0.12, 0.35)), k.metal())
    if k.chance(0.25):  # a lower neighbour built on
        b.box((w * 0.7, k.u(-0.2, 0.2) * d, 0), (w * 0.8, d * 0.7, h * k.u(0.15, 0.45)), facade())


def stepped_pyramid(b: Builder, rng: np.random.Generator) -> None:
    """Ziggurats and temple pyramids with stairways and a shrine on top."""
    k = Kit(rng)
    wall = k.stone() if k.chance(0.8) else k.wall()
    other = k.stone() if k.chance(0.3) else wall
    w, d = k.u(18, 26), k.u(16, 26)
    n, slope = k.n(2, 9), k.u(0.5, 1.4)
    top = k.u(0.15, 0.45)
    h = slope * (1 - top) * w / 2
    i = np.arange(n)
    share = 1 - (1 - top) * i / max(n - 1, 1)
    if k.chance(0.3):
        heights = k.rng.uniform(0.6, 1.5, n)
        heights *= h / heights.sum()
    else:
        heights = np.full(n, h / n)
    base = np.concatenate([[0.0], np.cumsum(heights)[:-1]])
    batter = k.pick([1.0, 1.0, 0.93])
    shape = solids.box() if batter == 1.0 else solids.frustum(batter, 4)
    if k.chance(0.15):
        shape = solids.frustum(batter, int(k.pick([8, 20])))
    even = slice(0, None, 2)
    size = np.stack([w * share, d * share, heights], 1)
    at = np.stack([0 * i, 0 * i, base], 1)
    b.add(shape, at[even], size[even], wall)
    if n > 1:
        b.add(shape, at[1::2], size[1::2], other)
    if k.chance(0.4):
        lip = size * [1.02, 1.02, 0.15]
        b.add(shape, at + np.array([0, 0, 0.9]) * heights[:, None], lip, k.trim())
    stair = solids.profile(np.array([-0.5, 0.5]), np.zeros(2), np.array([0.02, 1.0]))
    sides = [[0.0], [0.0, 180.0], [0.0, 90.0, 180.0, 270.0]][k.n(0, 2)]
    sw = w * k.u(0.12, 0.28)
    for yaw in sides:
        reach, depth = (d, (1 - top) * d / 2) if yaw in (0.0, 180.0) else (w, (1 - top) * w / 2)
        with b.frame(yaw=yaw):
            out = k.u(1.02, 1.15)
            m = k.n(8, 16)
            j = np.arange(m)
            length = depth * out * (1 - j / m)
            y = -reach * top / 2 - length / 2
            b.box(np.stack([0 * j, y, h / m * j], 1), np.stack([np.full(m, sw), length, np.full(m, h / m)], 1), other)
            if k.chance(0.6):
                for s in (-1, 1):
                    b.add(
                        stair,
                        (s * sw * 0.56, -reach * top / 2 - depth * out / 2, 0),
                        (depth * out, sw * 0.14, h * 1.04),
                        wall,
                        90.0,
                    )
    sw, sd, sh = w * top * k.u(0.5, 0.8), d * top * k.u(0.5, 0.8), h * k.u(0.12, 0.35)
    kind = k.n(0, 4)
    with b.frame(0, 0, h):
        if kind < 3:
            b.box((0, 0, 0), (sw, sd, sh), wall)
            b.box((0, 0, sh), (sw * 1.1, sd * 1.1, sh * 0.15), other)
            k.door(b, 0, -sd / 2, 0, sw * 0.2, sh * 0.6, False)
            if kind == 1:
                b.add(solids.hip(0.0), (0, 0, sh * 1.15), (sw, sd, sh * 0.8), wall)
            elif kind == 2:
                b.box((0, 0, sh * 1.15), (sw * 0.8, sd * 0.25, sh * k.u(0.5, 1.2)), other)
        elif kind == 3:
            b.add(solids.dome(18), (0, 0, 0), (sw, sw, sw * 0.6), k.metal())
    if k.chance(0.25) and shape.inside is None:
        at3 = np.array([(sx * w * 0.5, sy * d * 0.5, 0) for sx in (-1, 1) for sy in (-1, 1)])
        b.add(solids.frustum(0.7, 4), at3, (w * 0.1, w * 0.1, h * 0.3), wall)


def _figure(k: Kit, b: Builder, z: float, h: float, skin: Material) -> None:
    """A standing or seated human-like figure, sometimes on a horse, sometimes with a staff."""
    ball, limb = solids.ellipsoid(), solids.frustum(0.75, 12)
    with b.frame(0, 0, z, k.u(-30, 30)):
        if k.chance(0.2):  # rider
            ho = 0.45 * h
            b.add(ball, (0, 0, 0.55 * ho), (1.5 * ho, 0.5 * ho, 0.55 * ho), skin)
            feet = np.array([(sx * 0.45 * ho, sy * 0.13 * ho, 0) for sx in (-1, 1) for sy in (-1, 1)])
            b.add(solids.frustum(1.5, 10), feet, (0.14 * ho, 0.14 * ho, 0.75 * ho), skin)
            tilt = np.radians(40)
            turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
            b.add(limb, (0.6 * ho, 0, 0.8 * ho), (0.35 * ho, 0.25 * ho, 0.6 * ho), skin, rotation=turn)
            b.add(ball, (1.08 * ho, 0, 1.15 * ho), (0.5 * ho, 0.2 * ho, 0.24 * ho), skin)
            z0, h = 0.95 * ho, 0.62 * h
        else:
            z0 = 0.0
        robe = k.chance(0.4)
        if robe:
            b.add(solids.frustum(0.55, 14), (0, 0, z0), (0.36 * h, 0.3 * h, 0.55 * h), skin)
        else:
            gap = k.u(0.06, 0.1) * h
            feet2 = np.array([(k.u(-0.05, 0.05) * h, s * gap, z0) for s in (-1, 1)])
            b.add(solids.frustum(1.4, 12), feet2, (0.1 * h, 0.1 * h, 0.52 * h), skin)
        b.add(ball, (0, 0, z0 + 0.42 * h), (0.19 * h, 0.3 * h, 0.42 * h), skin)
        b.add(limb, (0, 0, z0 + 0.76 * h), (0.09 * h, 0.09 * h, 0.1 * h), skin)
        b.add(ball, (0.01 * h, 0, z0 + 0.82 * h), (0.15 * h, 0.13 * h, 0.18 * h), skin)
        for s in (-1, 1):
            pitch, roll = np.radians(k.u(20, 175)), np.radians(k.u(8, 45)) * s
            swing = np.array([[1, 0, 0], [0, np.cos(roll), np.sin(roll)], [0, -np.sin(roll), np.cos(roll)]])
            raise_ = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
            down = swing @ raise_
            shoulder = np.array([0, s * 0.14 * h, z0 + 0.73 * h])
            b.add(limb, shoulder, (0.08 * h, 0.08 * h, 0.24 * h), skin, rotation=down)
            elbow = shoulder + down @ np.array([0, 0, 0.23 * h])
            bend = np.radians(k.u(-40, 20))
            fore = down @ np.array([[np.cos(bend), 0, np.sin(bend)], [0, 1, 0], [-np.sin(bend), 0, np.cos(bend)]])
            b.add(limb, elbow, (0.065 * h, 0.065 * h, 0.22 * h), skin, rotation=fore)
            if s > 0 and k.chance(0.35):
                hand = elbow + fore @ np.array([0, 0, 0.22 * h])
                b.box((hand[0], hand[1], z0), (0.03 * h, 0.03 * h, hand[2] - z0 + 0.3 * h), skin)
        if k.chance(0.2):  # wings or a cape
            b.add(
                solids.gable(0.25),
                [(-0.08 * h, -0.2 * h, z0 + 0.35 * h), (-0.08 * h, 0.2 * h, z0 + 0.35 * h)],
                (0.3 * h, 0.05 * h, 0.6 * h),
                skin,
                [80.0, 100.0],
            )


def monument(b: Builder, rng: np.random.Generator) -> None:
    """A figure on a pedestal, an obelisk, a triumphal column, a fountain, an urn, an abstract block."""
    k = Kit(rng)
    stone, metal = k.stone(), k.metal()
    if k.chance(0.4):
        stone = k.trim()
    w = k.u(2.5, 4)
    steps = k.n(0, 4)
    sides = int(k.pick([4, 4, 4, 8, 20]))
    z = 0.0
    if steps:
        i = np.arange(steps)
        size = w * (1 + 0.28 * (steps - i))
        b.add(
            solids.frustum(1.0, sides),
            np.stack([0 * i, 0 * i, 0.3 * i], 1),
            np.stack([size, size, np.full(steps, 0.3)], 1),
            stone,
        )
        z = 0.3 * steps
    ph = w * k.u(0.4, 1.8)
    pw = w * k.u(0.7, 1.0)
    b.add(
        solids.frustum(k.pick([1.0, 0.9]), sides),
        (0, 0, z),
        (pw, pw * k.pick([1.0, 1.0, 1.5]) if sides == 4 else pw, ph),
        stone,
    )
    b.add(solids.frustum(1.0, sides), (0, 0, z), (pw * 1.2, pw * 1.2, ph * 0.12), stone)
    b.add(solids.frustum(1.0, sides), (0, 0, z + ph * 0.93), (pw * 1.18, pw * 1.18, ph * 0.1), stone)
    if k.chance(0.5):
        at, yaw = k.around(pw, pw, 1, 1)
        b.box(np.concatenate([at, np.full((4, 1), z + 0.3 * ph)], 1), (pw * 0.6, 0.1 * pw, ph * 0.4), metal, yaw)
    z += ph * 1.03
    kind = k.rng.random()
    if kind < 0.5:
        _figure(k, b, z, w * k.u(1.0, 2.2), metal if k.chance(0.6) else stone)
    elif kind < 0.62:  # obelisk
        h, t = w * k.u(2, 5), pw * k.u(0.5, 0.8)
        b.add(solids.frustum(0.6, 4), (0, 0, z), (t, t, h), stone)
        b.add(solids.hip(0.0), (0, 0, z + h), (0.6 * t, 0.6 * t, 0.5 * t), stone)
    elif kind < 0.78:  # column with a figure
        h, t = w * k.u(2, 5), pw * k.u(0.4, 0.7)
        b.add(moulded_column(k.pick(["doric", "tuscan", "plain"])), (0, 0, z), (t, t, h), stone)
        b.box((0, 0, z + h), (t * 1.3, t * 1.3, 0.15 * t), stone)
        if k.chance(0.7):
            _figure(k, b, z + h + 0.15 * t, w * k.u(0.8, 1.2), metal)
        else:
            b.add(solids.ellipsoid(), (0, 0, z + h), (t, t, t), metal)
    elif kind < 0.88:  # urn or fountain bowls
        n = k.n(1, 3)
        bowl = solids.lathe(
            np.array([0.16, 0.1, 0.1, 0.35, 0.5, 0.5, 0.1]), np.array([0, 0.1, 0.5, 0.7, 0.9, 1.0, 1.0]), 18
        )
        bowl_w = w * k.u(0.9, 2.0)
        for _ in range(n):
            b.add(bowl, (0, 0, z), (bowl_w, bowl_w, w * 0.6), stone)
            z += w * 0.6
            bowl_w *= 0.6
        _figure(k, b, z, w * 0.5, metal) if k.chance(0.4) else b.add(
            solids.ellipsoid(), (0, 0, z - 0.1), (0.3, 0.3, 0.4), metal
        )
    else:  # abstract
        n = k.n(1, 4)
        for _ in range(n):
            size = w * np.exp(k.rng.normal(-0.4, 0.4, 3))
            shape = k.pick(
                [solids.box(), solids.torus(0.25), solids.ellipsoid(), solids.gable(), solids.frustum(0.0, 3)]
            )
            b.add(shape, (k.u(-0.2, 0.2) * w, k.u(-0.2, 0.2) * w, z), size, metal, rotation=rotation_matrix(k.rng))
    if k.chance(0.3):  # a railing of posts
        r = w * (1 + 0.14 * steps) * 1.5
        at, yaw = k.around(r, r, 5, 5)
        at3 = np.concatenate([at, np.zeros((len(at), 1))], 1)
        b.add(moulded_column("baluster"), at3, (0.25, 0.25, w * 0.3), stone)
        for x, y, sx, sy in ((0, -r / 2, r, 0.15), (0, r / 2, r, 0.15), (r / 2, 0, 0.15, r), (-r / 2, 0, 0.15, r)):
            b.box((x, y, w * 0.3), (sx, sy, 0.12), stone)


BUILDERS: dict[str, Callable[[Builder, np.random.Generator], None]] = {
    builder.__name__: builder
    for builder in (
        gabled_house,
        hipped_house,
        terrace,
        tower,
        church,
        temple,
        domed_hall,
        pagoda,
        castle,
        arch_bridge,
        skyscraper,
        stepped_pyramid,
        monument,
    )
}
ARCHITECTURE: tuple[str, ...] = tuple(BUILDERS)

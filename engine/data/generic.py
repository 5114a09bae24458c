"""Anything that is not a building: random primitives, lathes and extrusions, joined, mirrored, bent and bumped.

The mixture follows the idea of Zeroverse (LRM-Zero, 2024): shapes need not mean anything to teach reconstruction,
they need variety. A third of the objects take a plan from everyday things: legs, handles, bodies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data import solids
from engine.data.kit import Kit, rotation_matrix
from engine.data.solids import Assembly, Builder, Shape

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Step:
    """One invertible map of space, acting along `axes` (a permutation: main axis last)."""

    kind: str
    axes: tuple[int, int, int]
    amount: float
    frequency: float = 0.0
    phase: float = 0.0

    def apply(self, p: Array, invert: bool) -> Array:
        out = p.copy()
        i, j, k = self.axes
        x, y, z = p[:, i], p[:, j], p[:, k]
        if self.kind == "twist":
            t = (-self.amount if invert else self.amount) * z
            c, s = np.cos(t), np.sin(t)
            out[:, i], out[:, j] = c * x - s * y, s * x + c * y
        elif self.kind == "taper":
            f = np.clip(1 + self.amount * z, 0.25, 4.0)
            f = 1 / f if invert else f
            out[:, i], out[:, j] = x * f, y * f
        elif self.kind == "bump":
            wave = self.amount * np.sin(self.frequency * z + self.phase)
            out[:, i] = x - wave if invert else x + wave
        elif self.kind == "bend":
            # the z axis becomes an arc of curvature `amount` in the x-z plane
            r = 1.0 / self.amount
            if invert:
                angle = np.arctan2(z * np.sign(r), (r - x) * np.sign(r))
                out[:, i], out[:, k] = r - np.sign(r) * np.hypot(r - x, z), angle * r
            else:
                angle = z / r
                out[:, i], out[:, k] = r - (r - x) * np.cos(angle), (r - x) * np.sin(angle)
        return out


@dataclass(frozen=True)
class Deformation:
    """A chain of invertible maps about `centre`, in units of `extent`."""

    centre: Array
    extent: float
    steps: tuple[_Step, ...]

    def _forward(self, points: Array) -> Array:
        p = (points - self.centre) / self.extent
        for step in self.steps:
            p = step.apply(p, False)
        return p * self.extent + self.centre

    def forward(self, points: Array, normals: Array) -> tuple[Array, Array]:
        """Moved points (N, 3) and their normals, which follow two tangents moved along."""
        axis = np.eye(3)[np.argmin(np.abs(normals), 1)]
        first = np.cross(normals, axis)
        first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
        second = np.cross(normals, first)
        step = 1e-4 * self.extent
        count = len(points)
        moved = self._forward(np.concatenate([points, points + step * first, points + step * second]))
        base = moved[:count]
        turned = np.cross(moved[count : 2 * count] - base, moved[2 * count :] - base)
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-20)
        return base, turned

    def inverse(self, points: Array) -> Array:
        """Back to the undeformed object, points (N, 3)."""
        p = (points - self.centre) / self.extent
        for step in reversed(self.steps):
            p = step.apply(p, True)
        return p * self.extent + self.centre


def _deformation(rng: np.random.Generator, low: Array, high: Array) -> Deformation | None:
    steps = []
    # the bend comes first: it is one-to-one only near its axis, the others everywhere
    for kind, probability in (("bend", 0.25), ("taper", 0.3), ("bump", 0.3), ("twist", 0.25)):
        if rng.random() > probability:
            continue
        order = rng.permutation(3)
        axes = (int(order[0]), int(order[1]), int(order[2]))
        sign = 1.0 if rng.random() < 0.5 else -1.0
        amount = {"taper": rng.uniform(0.3, 1.1), "twist": rng.uniform(0.5, 2.2), "bend": rng.uniform(0.4, 1.2)}
        if kind == "bump":
            steps.append(_Step(kind, axes, rng.uniform(0.01, 0.06), rng.uniform(4, 14), rng.uniform(0, 6.3)))
        else:
            steps.append(_Step(kind, axes, sign * float(amount[kind])))
    if not steps:
        return None
    return Deformation((low + high) / 2, float((high - low).max()), tuple(steps))


def _random_shape(k: Kit) -> Shape:
    rng = k.rng
    kind = int(rng.choice(10, p=[0.2, 0.13, 0.07, 0.13, 0.08, 0.05, 0.05, 0.14, 0.09, 0.06]))
    if kind == 0:
        return solids.box()
    if kind == 1:
        return solids.frustum(1.0, 20)
    if kind == 2:
        return solids.frustum(float(rng.choice([0.0, 0.3, 0.6])), int(rng.choice([3, 4, 6, 20])))
    if kind == 3:
        return solids.ellipsoid()
    if kind == 4:
        return solids.torus(float(rng.choice([0.08, 0.15, 0.25, 0.35])))
    if kind == 5:
        return solids.dome()
    if kind == 6:
        return solids.gable(float(rng.choice([0.0, 0.25, 0.5])))
    if kind == 7:
        return vessel(rng)
    if kind == 8:
        count = int(rng.integers(5, 13))
        radii = (
            rng.uniform(0.25, 0.5, count) if k.chance(0.5) else np.where(np.arange(2 * count) % 2, 0.5, k.u(0.2, 0.45))
        )
        return solids.star(radii)
    x = np.linspace(-0.5, 0.5, int(rng.integers(4, 9)))
    lower = np.clip(rng.uniform(0, 0.4, len(x)), 0, 1) * k.chance(0.6)
    return solids.profile(x, lower, np.clip(lower + rng.uniform(0.15, 0.6, len(x)), 0, 1))


def vessel(rng: np.random.Generator) -> Shape:
    """A random turned body: vase, bottle, pawn, lamp."""
    count = int(rng.integers(4, 8))
    knots = np.linspace(0, 1, count)
    radii = rng.uniform(0.12, 0.5, count)
    height = np.linspace(0, 1, 13)
    if rng.random() < 0.7:
        from scipy.interpolate import PchipInterpolator

        radius = PchipInterpolator(knots, radii)(height)
    else:
        radius = np.interp(height, knots, radii)
    radius *= 0.5 / radius.max()
    return solids.lathe(radius, height, 18)


def _random_pieces(k: Kit, b: Builder) -> None:
    """2 to 9 shapes grown from one another, freely turned."""
    rng = k.rng
    count = int(rng.integers(2, 10))
    mirrored = k.chance(0.45)
    upright = k.chance(0.4)
    anchors = [np.zeros(3)]
    materials = [k.wild() for _ in range(int(rng.integers(1, 5)))]
    for index in range(count):
        size = np.exp(rng.normal(-0.4, 0.55, 3)) * (1.0 if index == 0 else k.u(0.35, 0.9))
        if k.chance(0.25):
            size[rng.integers(3)] *= k.u(0.1, 0.3)
        if k.chance(0.15):
            size[rng.permutation(3)[:2]] *= k.u(0.08, 0.25)
        turn = rotation_matrix(rng) if not upright or k.chance(0.2) else rotation_matrix(rng, yaw_only=True)
        anchor = anchors[int(rng.integers(len(anchors)))]
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        reach = 0.0 if index == 0 else k.u(0.15, 0.45)
        centre = anchor + direction * reach * (0.5 + size.mean())
        anchors.append(centre)
        base = centre - turn @ np.array([0, 0, 0.5 * size[2]])
        shape, material = _random_shape(k), materials[int(rng.integers(len(materials)))]
        if mirrored and index > 0 and k.chance(0.7):
            flip = np.diag([1.0, -1.0, 1.0])
            b.add(shape, np.stack([base, flip @ base]), size, material, rotation=np.stack([turn, flip @ turn]))
        else:
            b.add(shape, base, size, material, rotation=turn)


def _legged(k: Kit, b: Builder) -> None:
    """Tables, chairs, benches, cupboards: a top on thin legs, perhaps a back, arms, shelves."""
    w, d, h = k.u(0.6, 2.0), k.u(0.6, 1.2), k.u(0.4, 1.2)
    t, leg = k.u(0.03, 0.12), k.u(0.03, 0.12)
    top, legs = k.wild(), k.wild()
    round_top = k.chance(0.25)
    shape = solids.frustum(1.0, 20) if round_top else solids.box()
    b.add(shape, (0, 0, h), (w, d, t), top)
    inset = 0.3 if round_top else 0.5
    x, y = inset * w - leg, inset * d - leg
    b.add(
        solids.frustum(k.pick([1.0, 1.0, 1.6]), int(k.pick([4, 12]))),
        [(sx * x, sy * y, 0) for sx in (-1, 1) for sy in (-1, 1)],
        (leg, leg, h + 0.5 * t),
        legs,
    )
    if k.chance(0.6):
        back = k.u(0.4, 1.3)
        if k.chance(0.5):
            b.box((0, d / 2 - t / 2, h), (w, t, back), top)
        else:
            n = int(k.rng.integers(3, 8))
            xs = np.linspace(-w / 2 + leg / 2, w / 2 - leg / 2, n)
            b.box(np.stack([xs, np.full(n, d / 2 - leg / 2), np.full(n, h)], 1), (leg, leg, back), legs)
            b.box((0, d / 2 - leg / 2, h + back - leg), (w, leg * 1.2, leg * 2), top)
        if k.chance(0.4):
            arm = k.u(0.2, 0.4)
            b.box([(-w / 2, 0, h + arm), (w / 2, 0, h + arm)], (leg * 1.5, d, leg), legs)
            b.box([(-w / 2, -d / 2 + leg, h), (w / 2, -d / 2 + leg, h)], (leg, leg, arm), legs)
    if k.chance(0.35):
        b.box((0, 0, h * k.u(0.2, 0.5)), (2 * x, 2 * y, t), legs)
    if k.chance(0.3):
        b.add(vessel(k.rng), (k.u(-0.2, 0.2) * w, 0, h + t), (0.3, 0.3, k.u(0.2, 0.6)), k.wild())


def _vessel_with_handle(k: Kit, b: Builder) -> None:
    """Jugs, teapots, cups, lamps, bottles."""
    h, w = k.u(0.6, 1.6), k.u(0.7, 1.2)
    body = k.wild()
    b.add(solids.ellipsoid() if k.chance(0.3) else vessel(k.rng), (0, 0, 0), (w, w, h), body)
    if k.chance(0.6):
        ring = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
        size = k.u(0.4, 0.8) * h
        x = -w * k.u(0.4, 0.6)
        b.add(solids.torus(0.15), (x, -0.04, h * 0.5), (size, size, 0.1), body, rotation=ring)
    if k.chance(0.4):
        tilt = np.radians(k.u(30, 65))
        turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        b.add(solids.frustum(k.u(0.4, 0.9)), (w * 0.25, 0, h * 0.35), (0.2, 0.2, k.u(0.5, 0.9)), body, rotation=turn)
    if k.chance(0.5):
        b.add(solids.dome(), (0, 0, h * 0.97), (w * 0.5, w * 0.5, 0.15 * h), k.wild())
        b.add(solids.ellipsoid(), (0, 0, h * 1.08), (0.12, 0.12, 0.12), k.wild())


def _creature(k: Kit, b: Builder) -> None:
    """A body on four legs with neck, head, tail, or a two-legged figure."""
    skin = k.wild()
    length, h = k.u(0.9, 1.6), k.u(0.4, 1.0)
    thick, leg = k.u(0.35, 0.7), k.u(0.08, 0.2)
    ball = solids.ellipsoid()
    b.add(ball, (0, 0, h - 0.1 * thick), (length, thick, thick * k.u(0.8, 1.2)), skin)
    x, y = 0.32 * length, 0.25 * thick
    feet = np.array([(sx * x, sy * y, 0.0) for sx in (-1, 1) for sy in (-1, 1)])
    feet[:, 0] += k.rng.normal(0, 0.05, 4)
    b.add(solids.frustum(1.5, 12), feet, (leg, leg, h + 0.3 * thick), skin)
    tilt = np.radians(k.u(10, 60))
    turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    neck = k.u(0.2, 0.8)
    root = np.array([0.38 * length, 0, h + 0.4 * thick])
    b.add(solids.frustum(0.7, 14), root, (0.5 * thick, 0.4 * thick, neck), skin, rotation=turn)
    head = root + turn @ np.array([0, 0, neck])
    size = k.u(0.25, 0.45)
    b.add(ball, head - [-0.1, 0, 0.5 * size], (size * 1.6, size, size), skin)
    ears = solids.frustum(0.0, 8)
    b.add(ears, head + np.array([[-0.1, 0.1, 0.1], [-0.1, -0.1, 0.1]]), (0.1, 0.08, k.u(0.1, 0.4)), k.wild())
    if k.chance(0.7):
        back = np.radians(k.u(-130, -30))
        turn = np.array([[np.cos(back), 0, np.sin(back)], [0, 1, 0], [-np.sin(back), 0, np.cos(back)]])
        b.add(
            solids.frustum(0.4, 8), (-0.45 * length, 0, h + 0.3 * thick), (0.1, 0.1, k.u(0.3, 0.8)), skin, rotation=turn
        )


def _vehicle(k: Kit, b: Builder) -> None:
    """A body and a cabin on wheels."""
    paint, tyre = k.wild(), k.plain((0.12, 0.12, 0.13))
    length, w, h = k.u(1.4, 2.6), k.u(0.7, 1.0), k.u(0.3, 0.6)
    wheel = k.u(0.3, 0.5)
    b.box((0, 0, wheel * 0.5), (length, w, h), paint)
    n = 5
    x = np.array([-0.5, -0.5 + k.u(0.02, 0.25), 0.0, 0.5 - k.u(0.02, 0.3), 0.5])
    cabin = solids.profile(x, np.zeros(n), np.array([0, 1.0, 1.0, 1.0, 0]))
    b.add(
        cabin,
        (k.u(-0.15, 0.15) * length, 0, wheel * 0.5 + h),
        (length * k.u(0.4, 0.9), w * 0.92, k.u(0.3, 0.7)),
        k.glass(),
    )
    axles = int(k.rng.integers(2, 4))
    xs = np.linspace(-0.36, 0.36, axles) * length
    base = np.array([(x, s * (w / 2 - 0.04) + 0.06, wheel / 2) for x in xs for s in (-1.0, 1.0)])
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    b.add(solids.frustum(1.0, 18), base, (wheel, wheel, 0.14), tyre, rotation=turn)
    if k.chance(0.5):
        b.box((k.u(-0.3, 0.3) * length, 0, wheel * 0.5 + h), (k.u(0.2, 0.5) * length, w, k.u(0.2, 0.6)), k.wild())


def _plant(k: Kit, b: Builder) -> None:
    """A trunk with branches and crowns, or a potted bush."""
    bark, leaf = k.wild(), k.wild()
    h = k.u(0.8, 2.0)
    b.add(solids.frustum(0.6, 10), (0, 0, 0), (k.u(0.1, 0.3),) * 2 + (h,), bark)
    n = k.n(2, 8)
    z = k.rng.uniform(0.45, 1.0, n) * h
    yaw, tilt = k.rng.uniform(0, 2 * np.pi, n), k.rng.uniform(0.3, 1.3, n)
    axis = np.stack([np.sin(tilt) * np.cos(yaw), np.sin(tilt) * np.sin(yaw), np.cos(tilt)], 1)
    side = np.stack([-np.sin(yaw), np.cos(yaw), 0 * yaw], 1)
    turn = np.stack([np.cross(side, axis), side, axis], 2)
    reach = k.rng.uniform(0.3, 0.8, n) * h * 0.7
    root = np.stack([0 * z, 0 * z, z], 1)
    b.add(solids.frustum(0.6, 8), root, np.stack([0.1 + 0 * z, 0.1 + 0 * z, reach], 1), bark, rotation=turn)
    size = k.rng.uniform(0.25, 0.8, (n, 1)) * h * k.rng.uniform(0.7, 1.1, (n, 3))
    tip = root + axis * reach[:, None]
    tip[:, 2] -= size[:, 2] / 2
    crown = solids.ellipsoid(12, 7) if k.chance(0.7) else solids.frustum(0.0, 10)
    b.add(crown, tip, size, leaf)
    if k.chance(0.3):
        b.add(solids.frustum(1.4, 14), (0, 0, -0.3), (0.5, 0.5, 0.35), k.wild())


def _framework(k: Kit, b: Builder) -> None:
    """Thin members: a wheel with spokes, a lattice of rods, a ladder-like frame."""
    steel, other = k.wild(), k.wild()
    t = k.u(0.03, 0.09)
    kind = k.rng.random()
    bar = solids.box() if k.chance(0.5) else solids.frustum(1.0, 10)
    if kind < 0.4:
        n = k.n(3, 12)
        upright = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
        b.add(solids.torus(float(k.pick([0.08, 0.15]))), (-t, 0, 0), (1.0, 1.0, 2 * t), steel, rotation=upright)
        a = np.arange(n) * np.pi / n
        zero = 0 * a
        axis = np.stack([zero, np.cos(a), np.sin(a)], 1)
        across = np.stack([zero, -np.sin(a), np.cos(a)], 1)
        turn = np.stack([np.broadcast_to([1.0, 0, 0], (n, 3)), -across, axis], 2)
        turn[:, :, 1] = np.cross(axis, turn[:, :, 0])
        b.add(bar, -0.47 * axis, (t, t, 0.94), other, rotation=turn)
        b.add(solids.frustum(1.0, 14), (-2 * t, 0, 0), (0.2, 0.2, 4 * t), steel, rotation=upright)
        if k.chance(0.6):
            b.box([(s * 2 * t, 0.0, -0.75) for s in (-1, 1)], (t, 2 * t, 0.78), other)
            b.box((0, 0, -0.8), (8 * t, 0.6, 0.06), other)
    else:
        nx, ny, nz = k.n(2, 5), k.n(1, 3), k.n(2, 6)
        w, d, h = k.u(0.5, 1.5), k.u(0.3, 1.0), k.u(0.6, 2.0)
        x, y = np.linspace(-w / 2, w / 2, nx), np.linspace(-d / 2, d / 2, ny) if ny > 1 else np.zeros(1)
        z = np.linspace(0.0, h - t, nz)
        b.add(bar, [(i, j, 0.0) for i in x for j in y], (t, t, h), steel)
        b.box([(0.0, j, level) for j in y for level in z], (w + t, t, t), other)
        if ny > 1:
            b.box([(i, 0.0, level) for i in x for level in z], (t, d + t, t), other)
            if k.chance(0.5):
                b.box((0, 0, z[k.n(0, nz - 1)]), (w, d, 0.6 * t), k.wild())
        if k.chance(0.4):
            b.add(_random_shape(k), (k.u(-0.3, 0.3) * w, 0, h - t), (0.5 * w, max(d, 0.3), k.u(0.2, 0.7)), k.wild())


def build_generic(rng: np.random.Generator) -> tuple[Assembly, Deformation | None]:
    """One object in its own units, and the deformation still to be applied to it."""
    k = Kit(rng)
    b = Builder()
    plan = rng.random()
    if plan < 0.58:
        _random_pieces(k, b)
    elif plan < 0.7:
        _legged(k, b)
    elif plan < 0.79:
        _vessel_with_handle(k, b)
    elif plan < 0.86:
        _creature(k, b)
    elif plan < 0.91:
        _vehicle(k, b)
    elif plan < 0.95:
        _plant(k, b)
    else:
        _framework(k, b)
    strong = plan < 0.58 or rng.random() < 0.3
    low, high = b.bounds()
    deformation = _deformation(rng, low, high) if strong else None
    return b.build(0.09 * float((high - low).max()) if deformation is not None else None), deformation

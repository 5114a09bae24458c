"""Solids with an exact inside, and the builder that assembles them into one object.

An object is a union of instances: a `Shape` in its unit box (x, y in -0.5..0.5, z in 0..1, base on z = 0) placed
by an affine map. Every shape's test `inside` describes the very polyhedron it triangulates, so that the mesh and
the occupancy agree by construction. Instances of one shape are handled together: no loop runs over windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CREASE = np.cos(np.radians(38.0))  # neighbouring facets flatter than this share their normals

# corners 0 1 2 and edge middles 3 4 5 of the triangles that replace one with so many split edges
_SPLITS = {
    1: ((0, 3, 2), (3, 1, 2)),
    2: ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    3: ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
}


@dataclass(frozen=True, eq=False)
class Shape:
    """A polyhedron in unit coordinates.

    vertices, normals: (V, 3); faces: (F, 3), outward counter-clockwise; uv: (V, 2) in 0..1 over each side;
    wraps: whether u runs around the z axis (else textures are projected along each facet);
    inside: test of local points (N, 3), called only for points in the bounding box `low`..`high`, None for a box.
    """

    vertices: Array
    faces: Array
    normals: Array
    uv: Array
    wraps: bool
    inside: Callable[[Array], Array] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", self.vertices.min(0))
        object.__setattr__(self, "high", self.vertices.max(0))

    low: Array = None  # type: ignore[assignment]
    high: Array = None  # type: ignore[assignment]

    def subdivided(self, size: Array, longest: float) -> Shape:
        """The same surface with every edge halved until none is longer than `longest` once the unit box is stretched
        to `size` (3,): what is bent later needs vertices to bend. Neighbours agree on each edge, so nothing cracks."""
        packed, faces = np.concatenate([self.vertices, self.normals, self.uv], 1), self.faces
        for _ in range(6):
            corner = packed[faces, :3] * size
            split = np.linalg.norm(np.roll(corner, -1, 1) - corner, axis=2) > longest  # edge i runs from i to i + 1
            count = split.sum(1)
            if not count.any():
                break
            # turn each triangle so that a lone split edge comes first, a lone whole edge last
            turn = np.where(count == 1, split.argmax(1), np.where(count == 2, ((~split).argmax(1) + 1) % 3, 0))
            faces = np.take_along_axis(faces, (turn[:, None] + np.arange(3)) % 3, 1)
            pieces, made, base = [faces[count == 0]], [packed], len(packed)
            for edges, pattern in _SPLITS.items():
                chosen = faces[count == edges]
                if len(chosen) == 0:
                    continue
                made += [(packed[chosen[:, i]] + packed[chosen[:, (i + 1) % 3]]) / 2 for i in range(edges)]
                index = [*chosen.T, *(base + i * len(chosen) + np.arange(len(chosen)) for i in range(edges))]
                base += edges * len(chosen)
                pieces += [np.stack([index[i] for i in corners], 1) for corners in pattern]
            packed, faces = np.concatenate(made), np.concatenate(pieces)
        return Shape(packed[:, :3], faces, packed[:, 3:6], packed[:, 6:], self.wraps, self.inside)


def _from_quads(quads: Array, normals: Array, uv: Array, wraps: bool, inside: Callable[[Array], Array] | None) -> Shape:
    """quads (Q, 4, 3) counter-clockwise from outside; normals, uv alike. Degenerate triangles are dropped."""
    base = 4 * np.arange(len(quads))[:, None]
    faces = np.concatenate([base + np.array([0, 1, 2]), base + np.array([0, 2, 3])])
    v = quads.reshape(-1, 3).astype(np.float64)
    a, b, c = v[faces[:, 0]], v[faces[:, 1]], v[faces[:, 2]]
    faces = faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9]
    used = np.zeros(len(v), bool)
    used[faces] = True
    index = np.cumsum(used) - 1
    return Shape(v[used], index[faces], normals.reshape(-1, 3)[used], uv.reshape(-1, 2)[used], wraps, inside)


def _polyhedron(points: Array, quads: Sequence[tuple[int, ...]]) -> Shape:
    """A convex polyhedron from its corners and its quads (a triangle repeats a corner)."""
    corners = points[np.array([(*q, q[-1]) if len(q) == 3 else q for q in quads])]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    offset = (normal * corners[:, 0]).sum(1)
    uv = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64), (len(quads), 1, 1))
    return _from_quads(
        corners,
        np.repeat(normal[:, None], 4, 1),
        uv,
        False,
        lambda p: (p @ normal.T <= offset + 1e-9).all(1),
    )


@lru_cache(maxsize=1)
def box() -> Shape:
    """The unit box."""
    corners = np.array([[x, y, z] for z in (0.0, 1.0) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    quads = [(0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6), (4, 5, 7, 6), (2, 3, 1, 0)]
    shape = _polyhedron(corners, quads)
    return Shape(shape.vertices, shape.faces, shape.normals, shape.uv, False, None)


@lru_cache(maxsize=64)
def hip(ridge: float = 0.0, overhang: float = 0.0) -> Shape:
    """A hipped roof whose ridge runs along x over the share `ridge` of the length (0: a pyramid); `overhang` is the
    width of the flat top as a share of the depth (a mansard's lower part, a truncated pyramid)."""
    r, w = ridge / 2, overhang / 2
    base = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    if w == 0:
        if r == 0:
            points = np.concatenate([base, [[0.0, 0.0, 1.0]]])
            return _polyhedron(points, [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (3, 2, 1, 0)])
        points = np.concatenate([base, [[-r, 0.0, 1.0], [r, 0.0, 1.0]]])
        return _polyhedron(points, [(0, 1, 5, 4), (1, 2, 5), (2, 3, 4, 5), (3, 0, 4), (3, 2, 1, 0)])
    points = np.concatenate([base, [[-r, -w, 1], [r, -w, 1], [r, w, 1], [-r, w, 1]]])
    return _polyhedron(points, [(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7), (3, 2, 1, 0)])


def _polyline_normals(normal: Array) -> tuple[Array, Array]:
    """Normals (S, 2) of S consecutive segments -> normals at the start and the end of each, smooth over flat joints."""
    start, end = normal.copy(), normal.copy()
    flat = (normal[1:] * normal[:-1]).sum(1) > CREASE
    joint = normal[1:] + normal[:-1]
    joint /= np.maximum(np.linalg.norm(joint, axis=1, keepdims=True), 1e-9)
    start[1:][flat] = joint[flat]
    end[:-1][flat] = joint[flat]
    return start, end


def lathe(radius: Array, height: Array, sides: int = 16, smooth: bool | None = None) -> Shape:
    """A solid of revolution with `sides` facets around z.

    radius (P,), height (P,): the profile, height non-decreasing in 0..1 (equal heights make a step), radius in 0..0.5,
    measured to the middle of a facet (so that four sides make the square of a box).
    """
    radius, height = np.asarray(radius, np.float64), np.asarray(height, np.float64)
    smooth = sides > 8 if smooth is None else smooth
    step = 2 * np.pi / sides
    angle = (np.arange(sides + 1) - 0.5) * step
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    rings = radius[:, None, None] / np.cos(step / 2) * around  # (P, sides + 1, 2)
    rings = np.concatenate([rings, np.broadcast_to(height[:, None, None], (*rings.shape[:2], 1))], 2)
    delta = np.stack([np.diff(radius), np.diff(height)], 1)
    length = np.linalg.norm(delta, axis=1)
    keep = length > 1e-9
    segment = np.stack([delta[:, 1], -delta[:, 0]], 1) / np.maximum(length, 1e-9)[:, None]
    lower, upper = rings[:-1][keep], rings[1:][keep]
    quads = np.stack([lower[:, :-1], lower[:, 1:], upper[:, 1:], upper[:, :-1]], 2).reshape(-1, 4, 3)
    start, end = _polyline_normals(segment[keep])
    if not smooth:
        start = end = segment[keep]
    middle = np.arange(sides) * step
    facing = np.stack([np.cos(middle), np.sin(middle)], 1)
    columns = (around[:-1], around[1:]) if smooth else (facing, facing)

    def normals_of(profile: Array, column: Array) -> Array:
        spread = profile[:, None, :1] * column[None]
        return np.concatenate([spread, np.broadcast_to(profile[:, None, 1:], (*spread.shape[:2], 1))], 2)

    normals = np.stack(
        [
            normals_of(start, columns[0]),
            normals_of(start, columns[1]),
            normals_of(end, columns[1]),
            normals_of(end, columns[0]),
        ],
        2,
    ).reshape(-1, 4, 3)
    v = np.concatenate([[0.0], np.cumsum(length)]) / max(length.sum(), 1e-9)
    u = np.arange(sides + 1) / sides
    v0, v1 = np.repeat(v[:-1][keep], sides), np.repeat(v[1:][keep], sides)
    u0, u1 = np.tile(u[:-1], int(keep.sum())), np.tile(u[1:], int(keep.sum()))
    uv = np.stack([np.stack([u0, v0], 1), np.stack([u1, v0], 1), np.stack([u1, v1], 1), np.stack([u0, v1], 1)], 1)
    parts = [(quads, normals, uv)]
    for ring, z, sign in ((rings[0], height[0], -1.0), (rings[-1], height[-1], 1.0)):
        centre = np.broadcast_to(np.array([0.0, 0.0, z]), (sides, 3))
        a, b = (ring[1:], ring[:-1]) if sign < 0 else (ring[:-1], ring[1:])
        cap = np.stack([centre, a, b, b], 1)
        parts.append((cap, np.broadcast_to([0.0, 0.0, sign], cap.shape), cap[..., :2] * 0.5 + 0.25))
    top = float(height[-1])

    def inside(p: Array) -> Array:
        theta = np.arctan2(p[:, 1], p[:, 0])
        theta -= step * np.round(theta / step)
        reach = np.sqrt(p[:, 0] ** 2 + p[:, 1] ** 2) * np.cos(theta)
        return (reach <= np.interp(p[:, 2], height, radius) + 1e-9) & (p[:, 2] <= top)

    joined = [np.concatenate([part[i] for part in parts]) for i in range(3)]
    return _from_quads(joined[0], joined[1], joined[2], smooth, inside)


@lru_cache(maxsize=256)
def frustum(top: float = 1.0, sides: int = 16) -> Shape:
    """A cylinder (top 1), cone (top 0) or frustum of unit diameter at the base; `top` is relative to the base."""
    return lathe(np.array([0.5, 0.5 * top]), np.array([0.0, 1.0]), sides)


@lru_cache(maxsize=16)
def dome(sides: int = 20, rings: int = 6, onion: float = 0.0) -> Shape:
    """A hemisphere, or with `onion` > 0 a bulging dome that ends in a point."""
    t = np.linspace(0.0, 1.0, rings + 1)
    if onion == 0.0:
        return lathe(0.5 * np.cos(t * np.pi / 2), np.sin(t * np.pi / 2), sides)
    radius = (0.5 - 0.5 * onion * 0.4) * (1 - t**2.2) + onion * 0.45 * np.sin(np.pi * np.minimum(1.6 * t, 1.0)) * (
        1 - t
    )
    return lathe(radius / max(float(radius.max()), 1e-6) * 0.5, t, sides)


@lru_cache(maxsize=8)
def ellipsoid(sides: int = 18, rings: int = 10) -> Shape:
    """A sphere of unit diameter resting on z = 0."""
    t = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    radius = 0.5 * np.cos(t)
    radius[[0, -1]] = 0.0
    return lathe(radius, 0.5 + 0.5 * np.sin(t), sides)


@lru_cache(maxsize=64)
def torus(thickness: float = 0.25, sides: int = 20, around: int = 10) -> Shape:
    """A ring about z of outer diameter 1 and tube diameter `thickness`, scaled to unit height."""
    tube = thickness / 2
    ring = 0.5 - tube
    step, turn = 2 * np.pi / sides, 2 * np.pi / around
    a = (np.arange(sides + 1) - 0.5) * step
    b = (np.arange(around + 1) - 0.5) * turn
    radius = (ring + tube / np.cos(turn / 2) * np.cos(b)) / np.cos(step / 2)  # (around + 1,)
    z = 0.5 + 0.5 * np.sin(b) / np.cos(turn / 2)
    point = np.stack(
        [
            radius[:, None] * np.cos(a)[None],
            radius[:, None] * np.sin(a)[None],
            np.broadcast_to(z[:, None], (around + 1, sides + 1)),
        ],
        2,
    )
    normal = np.stack(
        [
            np.cos(b)[:, None] * np.cos(a)[None],
            np.cos(b)[:, None] * np.sin(a)[None],
            np.broadcast_to((np.sin(b) * thickness)[:, None], (around + 1, sides + 1)),
        ],
        2,
    )
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    grid = np.stack(
        np.broadcast_arrays(np.arange(sides + 1)[None] / sides, np.arange(around + 1)[:, None] / around), 2
    ).astype(np.float64)

    def cells(values: Array) -> Array:
        return np.stack([values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]], 2).reshape(
            -1, 4, values.shape[2]
        )

    def inside(p: Array) -> Array:
        theta = np.arctan2(p[:, 1], p[:, 0])
        theta -= step * np.round(theta / step)
        x = np.sqrt(p[:, 0] ** 2 + p[:, 1] ** 2) * np.cos(theta) - ring
        y = (p[:, 2] - 0.5) * thickness
        phi = np.arctan2(y, x)
        phi -= turn * np.round(phi / turn)
        return np.asarray(np.sqrt(x**2 + y**2) * np.cos(phi) <= tube + 1e-9)

    return _from_quads(cells(point), cells(normal), cells(grid), True, inside)


def profile(x: Array, lower: Array, upper: Array, plan: bool = False) -> Shape:
    """The region lower(x) <= z <= upper(x), extruded along y (`plan`: the region lies in the x-y plane and is extruded
    along z; then lower and upper are y in -0.5..0.5).

    x (P,) non-decreasing in -0.5..0.5 (equal values make a vertical edge), lower, upper (P,), lower <= upper.
    """
    x, lower, upper = (np.asarray(a, np.float64) for a in (x, lower, upper))

    def place(a: Array, b: Array, depth: float) -> Array:
        d = np.full_like(a, depth)
        # (x, z, y) would be left-handed: in the plan view the depth runs the other way
        return np.stack([a, b, 0.5 - d], -1) if plan else np.stack([a, d, b], -1)

    def flat(n: Array) -> Array:
        zero = np.zeros(len(n))
        return np.stack([n[:, 0], n[:, 1], zero], 1) if plan else np.stack([n[:, 0], zero, n[:, 1]], 1)

    front, back = -0.5, 0.5
    quads, normals = [], []
    width = np.diff(x) > 1e-9
    for depth, sign in ((front, -1.0), (back, 1.0)):
        a, b = place(x, lower, depth), place(x, upper, depth)
        cap = [a[:-1], a[1:], b[1:], b[:-1]]
        quad = np.stack(cap if sign < 0 else cap[::-1], 1)[width]
        quads.append(quad)
        direction = [0.0, 0.0, -sign] if plan else [0.0, sign, 0.0]
        normals.append(np.broadcast_to(np.array(direction), quad.shape))
    for edge, side in ((lower, 1.0), (upper, -1.0)):
        d = np.stack([np.diff(x), np.diff(edge)], 1)
        size = np.linalg.norm(d, axis=1)
        keep = size > 1e-9
        if not keep.any():
            continue
        n = side * np.stack([d[:, 1], -d[:, 0]], 1)[keep] / size[keep, None]
        start, end = _polyline_normals(n)
        a, b = place(x, edge, front), place(x, edge, back)
        rim = [a[:-1][keep], b[:-1][keep], b[1:][keep], a[1:][keep]]
        rim_normals = [flat(start), flat(start), flat(end), flat(end)]
        quads.append(np.stack(rim if side > 0 else rim[::-1], 1))
        normals.append(np.stack(rim_normals if side > 0 else rim_normals[::-1], 1))
    for end_, sign in ((0, -1.0), (-1, 1.0)):
        if upper[end_] - lower[end_] > 1e-9:
            at = x[end_ : end_ + 1] if end_ == 0 else x[-1:]
            lo, hi = np.array([lower[end_]]), np.array([upper[end_]])
            side_quad = [place(at, lo, back), place(at, lo, front), place(at, hi, front), place(at, hi, back)]
            quads.append(np.stack(side_quad if sign < 0 else side_quad[::-1], 1))
            normals.append(np.broadcast_to(np.array([sign, 0.0, 0.0]), quads[-1].shape))
    corners = np.concatenate(quads)
    across = corners[..., :2] if plan else corners[..., [0, 2]]
    uv = across + ([0.5, 0.5] if plan else [0.5, 0.0])
    other = 1 if plan else 2

    def inside(p: Array) -> Array:
        return np.asarray(
            (p[:, other] >= np.interp(p[:, 0], x, lower) - 1e-9) & (p[:, other] <= np.interp(p[:, 0], x, upper) + 1e-9)
        )

    return _from_quads(corners, np.concatenate(normals), uv, False, inside)


@lru_cache(maxsize=16)
def gable(ridge: float = 0.0) -> Shape:
    """A triangular prism: gable along x, ridge along y; `ridge` shifts the ridge sideways (-0.5..0.5)."""
    return profile(np.array([-0.5, ridge, 0.5]), np.zeros(3), np.array([0.0, 1.0, 0.0]))


@lru_cache(maxsize=16)
def barrel(segments: int = 10, spring: float = 0.0, pointed: float = 0.0) -> Shape:
    """A round-topped slab: the share `spring` of the height is straight, the rest arched (pointed 0..1: Gothic)."""
    t = np.linspace(-1.0, 1.0, segments + 1)
    top = (1 - pointed) * np.sqrt(np.maximum(1 - t**2, 0.0)) + pointed * (1 - np.abs(t) ** 1.35)
    return profile(t / 2, np.zeros(segments + 1), spring + (1 - spring) * top)


@lru_cache(maxsize=64)
def arcade(openings: int, pier: float, spring: float, crown: float, rise: float = 0.0, pointed: bool = False) -> Shape:
    """A wall with arched openings: `pier` is a pier's width as a share of a bay; the arches spring at `spring` and
    end at `crown` (shares of the height); `rise` lifts the middle of the deck (0 flat .. 0.5)."""
    bay = 1.0 / (openings + pier)
    xs, lower = [-0.5], [0.0]
    t = np.linspace(-1.0, 1.0, 9)
    arch = np.sqrt(np.maximum(1 - t**2, 0.0)) if not pointed else 1 - np.abs(t) ** 1.5
    for i in range(openings):
        left = -0.5 + bay * (i + pier)
        right = -0.5 + bay * (i + 1)
        xs += [left, *((left + right) / 2 + t * (right - left) / 2), right]
        lower += [0.0, *(spring + (crown - spring) * arch), 0.0]
    x, low = np.array([*xs, 0.5]), np.array([*lower, 0.0])
    low *= 1 - rise * (2 * x) ** 2
    return profile(x, low, 1.0 - rise * (2 * x) ** 2)


def star(radii: Array) -> Shape:
    """A plan with one corner a direction, seen from the centre: radii (P,) in 0..0.5, extruded along z."""
    count = len(radii)
    angle = np.arange(count) * 2 * np.pi / count
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * np.asarray(radii)[:, None]
    after = np.roll(ring, -1, 0)
    edge = after - ring
    normal = np.stack([edge[:, 1], -edge[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    zeros, ones = np.zeros((count, 1)), np.ones((count, 1))
    a0, a1 = np.concatenate([ring, zeros], 1), np.concatenate([ring, ones], 1)
    b0, b1 = np.concatenate([after, zeros], 1), np.concatenate([after, ones], 1)
    c0, c1 = np.zeros((count, 3)), np.tile([0.0, 0.0, 1.0], (count, 1))
    quads = np.concatenate(
        [np.stack([a0, b0, b1, a1], 1), np.stack([c1, a1, b1, b1], 1), np.stack([c0, b0, a0, a0], 1)]
    )
    flat = np.concatenate([normal, zeros], 1)
    normals = np.repeat(np.concatenate([flat, c1, -c1])[:, None], 4, 1)
    uv = np.concatenate([np.tile([[[0.0, 0], [1, 0], [1, 1], [0, 1]]], (count, 1, 1)), quads[count:, :, :2] + 0.5])
    step = 2 * np.pi / count

    def inside(p: Array) -> Array:
        sector = np.floor(np.mod(np.arctan2(p[:, 1], p[:, 0]), 2 * np.pi) / step).astype(np.int64) % count
        return ((p[:, :2] - ring[sector]) * normal[sector]).sum(1) <= 1e-9

    return _from_quads(quads, normals, uv, False, inside)


@dataclass(frozen=True)
class Material:
    """A texture layer between two colours.

    tiles: texture repeats along the object's longest side; fit: the texture is stretched once over each facet instead.
    """

    layer: int
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    tiles: float = 4.0
    fit: bool = False


@dataclass
class Assembly:
    """What a builder made: the mesh in its own units, and the instances for the inside test."""

    vertices: Array
    faces: Array
    normals: Array
    uv: Array
    layer: Array
    color_a: Array
    color_b: Array
    shapes: list[Shape]
    shape_of: Array  # (M,) index into shapes
    to_local: Array  # (M, 3, 4) affine map from object units to the shape's unit box
    low: Array  # (M, 3) bounding boxes of the instances
    high: Array
    instance: Array  # (V,) instance of each vertex


class Builder:
    """Collects instances of shapes; positions are base centres, sizes full extents, in any unit of length."""

    def __init__(self) -> None:
        self._groups: dict[int, list[tuple[Array, Array, int]]] = {}
        self._shapes: dict[int, Shape] = {}
        self._materials: list[Material] = []
        self._frame = np.eye(4)

    @contextmanager
    def frame(
        self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0
    ) -> Iterator[None]:
        """Everything added within is moved by this frame (yaw in degrees, then the shift)."""
        outer = self._frame
        c, s = np.cos(np.radians(yaw)) * scale, np.sin(np.radians(yaw)) * scale
        self._frame = outer @ np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, scale, z], [0, 0, 0, 1.0]])
        try:
            yield
        finally:
            self._frame = outer

    def add(self, shape: Shape, base: Any, size: Any, material: Material, yaw: Any = 0.0, rotation: Any = None) -> None:
        """Add K instances: base (K, 3) or (3,), size (K, 3) or (3,), yaw (K,) in degrees about the base centre, or
        rotation (K, 3, 3) instead."""
        base, size, yaw = (
            np.atleast_2d(np.asarray(base, float)),
            np.atleast_2d(np.asarray(size, float)),
            np.atleast_1d(yaw),
        )
        count = max(len(base), len(size), len(yaw), 1 if rotation is None or np.ndim(rotation) == 2 else len(rotation))
        linear = np.zeros((count, 3, 3))
        if rotation is None:
            angle = np.radians(yaw)
            c, s = np.cos(angle), np.sin(angle)
            linear[:, 0, 0], linear[:, 0, 1] = c * size[:, 0], -s * size[:, 1]
            linear[:, 1, 0], linear[:, 1, 1] = s * size[:, 0], c * size[:, 1]
            linear[:, 2, 2] = size[:, 2]
        else:
            linear[:] = np.asarray(rotation) * size[:, None, :]
        shift = np.broadcast_to(base, (count, 3))
        key = id(shape)
        self._shapes[key] = shape
        linear = self._frame[:3, :3] @ linear
        shift = shift @ self._frame[:3, :3].T + self._frame[:3, 3]
        self._groups.setdefault(key, []).append((linear, shift, len(self._materials)))
        self._materials.append(material)

    def box(self, base: Any, size: Any, material: Material, yaw: Any = 0.0) -> None:
        """Boxes by base centre and size."""
        self.add(box(), base, size, material, yaw)

    def bounds(self) -> tuple[Array, Array]:
        """Corners of a box that holds everything added so far."""
        lows, highs = [], []
        corners = box().vertices
        for entries in self._groups.values():
            for linear, shift, _ in entries:
                points = corners @ linear.transpose(0, 2, 1) + shift[:, None]
                lows.append(points.min((0, 1)))
                highs.append(points.max((0, 1)))
        return np.min(lows, 0), np.max(highs, 0)

    def build(self, longest_edge: float | None = None) -> Assembly:
        """Triangulate everything. With `longest_edge` (in the builder's unit) shapes are subdivided, to be bent."""
        shapes: list[Shape] = []
        shape_of, linears, shifts, materials = [], [], [], []
        v_parts, f_parts, n_parts, local_uv, counts, wraps = [], [], [], [], [], []
        offset = 0
        for key, entries in self._groups.items():
            shape = self._shapes[key]
            linear = np.concatenate([e[0] for e in entries])
            if longest_edge is not None:
                shape = shape.subdivided(np.linalg.norm(linear, axis=1).max(0), longest_edge)
            shift = np.concatenate([e[1] for e in entries])
            material = np.concatenate([np.full(len(e[0]), e[2]) for e in entries])
            k, v = len(linear), len(shape.vertices)
            vertices = (shape.vertices @ linear.transpose(0, 2, 1) + shift[:, None]).astype(np.float32)
            normals = (shape.normals @ np.linalg.inv(linear)).astype(np.float32)
            faces = shape.faces[None] + (offset + v * np.arange(k))[:, None, None]
            mirrored = np.linalg.det(linear) < 0
            if mirrored.any():
                faces[mirrored] = faces[mirrored][:, :, ::-1]
            offset += k * v
            shape_of.append(np.full(k, len(shapes)))
            shapes.append(shape)
            linears.append(linear)
            shifts.append(shift)
            materials.append(material)
            v_parts.append(vertices.reshape(-1, 3))
            n_parts.append(normals.reshape(-1, 3))
            f_parts.append(faces.reshape(-1, 3))
            local_uv.append(np.broadcast_to(shape.uv, (k, v, 2)).reshape(-1, 2))
            counts.append(np.full(k, v))
            wraps.append(np.full(k, shape.wraps))
        vertices = np.concatenate(v_parts)
        normals = np.concatenate(n_parts)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        count = np.concatenate(counts)
        instance = np.repeat(np.arange(len(count)), count)
        starts = np.concatenate([[0], np.cumsum(count)[:-1]])
        low, high = np.minimum.reduceat(vertices, starts), np.maximum.reduceat(vertices, starts)
        linear, shift = np.concatenate(linears), np.concatenate(shifts)
        inverse = np.linalg.inv(linear)
        to_local = np.concatenate([inverse, -(inverse @ shift[:, :, None])], 2)
        material = np.concatenate(materials)
        extent = float((high.max(0) - low.min(0)).max())
        uv = self._texture_coordinates(
            vertices, normals, np.concatenate(local_uv), np.concatenate(wraps), linear, material, instance, extent
        )
        per_vertex = material[instance]
        layers = np.array([m.layer for m in self._materials], np.int32)
        colors = np.array([(*m.a, *m.b) for m in self._materials], np.float32)[per_vertex]
        return Assembly(
            vertices,
            np.concatenate(f_parts).astype(np.int32),
            normals,
            uv,
            layers[per_vertex],
            np.ascontiguousarray(colors[:, :3]),
            np.ascontiguousarray(colors[:, 3:]),
            shapes,
            np.concatenate(shape_of),
            to_local,
            low,
            high,
            instance,
        )

    def _texture_coordinates(
        self,
        vertices: Array,
        normals: Array,
        local: Array,
        wraps: Array,
        linear: Array,
        material: Array,
        instance: Array,
        extent: float,
    ) -> Array:
        """Facets are textured along their own horizontal and slope; round sides around their axis, a whole number of
        times; fitted ones once."""
        density = np.array([m.tiles for m in self._materials])[material] / extent
        fit = np.array([m.fit for m in self._materials])[material]
        size = np.linalg.norm(linear, axis=1)  # (M, 3) lengths of the instance's axes
        turns = np.maximum(np.round(np.pi * (size[:, 0] + size[:, 1]) / 2 * density), 1.0)
        rise = np.maximum(size[:, 2], (size[:, 0] + size[:, 1]) / 4) * density
        scale = np.where(fit[:, None], 1.0, np.stack([turns, rise], 1))
        around = local * scale[instance]
        flat = np.hypot(normals[:, 0], normals[:, 1])
        level = flat < 0.05
        flat[level] = 1.0
        tx, ty = -normals[:, 1] / flat, normals[:, 0] / flat
        tx[level], ty[level] = 1.0, 0.0
        # bitangent = normal x tangent, the tangent being horizontal
        nx, ny, nz = normals.T
        bx, by, bz = -nz * ty, nz * tx, nx * ty - ny * tx
        along = (
            np.stack(
                [
                    vertices[:, 0] * tx + vertices[:, 1] * ty,
                    vertices[:, 0] * bx + vertices[:, 1] * by + vertices[:, 2] * bz,
                ],
                1,
            )
            * density[instance][:, None]
        )
        return np.where((wraps | fit)[instance][:, None], around, along)

"""What of a model belongs in the picture, and what would make it a speck: `set_apart`.

Left out are a ground much wider than what stands on it, a shell around everything such as a sky, and what lies far
off. What is large beside the rest, or not far enough off to make it small, stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.meshes.mesh import facet_normals
from engine.meshes.model import Model, Piece

Array = npt.NDArray[Any]

_GROUND, _SHELL, _FAR = 1, 2, 3
_CELLS = 64
"""Of the grid in which parts are told apart, along each axis."""
_ROUNDS = 8
"""Times that what is left is looked at again: a far piece hides a near one."""
_WIDER = 4.0
"""A ground is so many times wider than what stands on it."""
_FULL = 0.005
"""The least share of the square around it that a ground fills; a road does."""
_LEVEL = 0.985
"""Cosine of the steepest slope of a ground."""
_ROUND, _BOXED = 3.0, 8.0
"""A shell is so many times larger than what is in it: a round one, and any other, which might be a room."""
_TINY, _SPECK = 0.05, 8.0
"""What is small beside the body is left out where it lies farther off than the body is large; what is not, only where
the two together are so many times larger."""
_SAMPLES = 4_000_000
_AT_ONCE = 1_000_000


@dataclass
class _Facets:
    """Triangles, by the boxes around them."""

    low: Array
    """(T, 3) float32; also `high`."""
    high: Array
    area: Array
    """(T,) float32."""
    level: Array
    """(T,) whether they lie flat."""
    corners: Array
    """(L, 3, 3) of those that are too large to be taken for points; `large` (L,) says which."""
    large: Array

    def __len__(self) -> int:
        return len(self.low)

    def only(self, kept: Array) -> _Facets:
        """Those of a mask (T,)."""
        place = np.cumsum(kept) - 1
        still = kept[self.large]
        return _Facets(
            self.low[kept],
            self.high[kept],
            self.area[kept],
            self.level[kept],
            self.corners[still],
            place[self.large[still]],
        )


@dataclass
class _Box:
    low: Array
    high: Array

    @property
    def extent(self) -> float:
        """The longest side."""
        return max(float((self.high - self.low).max()), 1e-30)

    def with_(self, other: _Box) -> _Box:
        """Around both."""
        return _Box(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


def set_apart(model: Model) -> tuple[Model, Model | None, list[str]]:
    """The model without what would make it a speck, that (None if there is nothing), and sentences that name it.

    Points that no triangle uses are dropped where they lie outside of it. The pieces of `model` are not changed.
    """
    facets = _facets(model.pieces)
    kind = np.zeros(len(facets), np.uint8)
    inside, rows = facets, np.arange(len(facets))
    for _ in range(_ROUNDS):
        if len(inside) == 0 or not (found := _cut(inside)).any():
            break
        kind[rows[found > 0]] = found[found > 0]
        rows = rows[found == 0]
        inside = inside.only(found == 0)
    if not kind.any():
        return replace(model, pieces=[_used(piece) for piece in model.pieces]), None, []
    starts = np.cumsum([0, *(len(piece.triangles) for piece in model.pieces)])
    masks = [kind[a:b] == 0 for a, b in pairwise(starts)]
    body = [piece.only(mask) for piece, mask in zip(model.pieces, masks, strict=True) if mask.any()]
    rest = [piece.only(~mask) for piece, mask in zip(model.pieces, masks, strict=True) if not mask.all()]
    notes = _notes(facets, kind)
    return replace(model, pieces=body), replace(model, pieces=rest, warnings=[]), notes


# -- the triangles -------------------------------------------------------------------------------------------


def _facets(pieces: list[Piece]) -> _Facets:
    """All triangles whose corners are numbers; the others count as points in the middle."""
    boxes: list[tuple[Array, Array, Array, Array]] = []
    for piece in pieces:
        points = np.nan_to_num(piece.points, posinf=0, neginf=0)
        for start in range(0, len(piece.triangles), _AT_ONCE):
            triangles = piece.triangles[start : start + _AT_ONCE]
            a, b, c = (points[triangles[:, i]] for i in range(3))
            normals = facet_normals(points, triangles, np.float64)
            length = np.linalg.norm(normals, axis=1)
            level = (length > 0) & (np.abs(normals[:, 2]) >= _LEVEL * length)
            low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
            boxes.append((low, high, (length / 2).astype(np.float32), level))
    low, high, area, level = (np.concatenate([box[i] for box in boxes]) for i in range(4))
    # Those that span a cell of the coarsest grid are looked at more closely; in a finer one there are more of them.
    span = (high - low).max(1)
    most = np.sort(span)[max(len(span) - 200_000, 0)]
    large = np.flatnonzero(span >= max(float(most), 1e-30))[:200_000]
    starts = np.cumsum([0, *(len(piece.triangles) for piece in pieces)])
    corners = np.empty((len(large), 3, 3), np.float32)
    for piece, (start, end) in zip(pieces, pairwise(starts), strict=True):
        here = (large >= start) & (large < end)
        corners[here] = np.nan_to_num(piece.points[piece.triangles[large[here] - start]], posinf=0, neginf=0)
    return _Facets(low, high, area, level, corners, large)


def _used(piece: Piece) -> Piece:
    """The piece, without points that no triangle uses if any of them lies outside of what is drawn."""
    used = np.zeros(len(piece.points), bool)
    used[piece.triangles] = True
    if used.all():
        return piece
    drawn = piece.points[used]
    if ((piece.points >= drawn.min(0)) & (piece.points <= drawn.max(0))).all():
        return piece
    return piece.only(np.ones(len(piece.triangles), bool))


# -- telling apart -------------------------------------------------------------------------------------------


def _cut(facets: _Facets) -> Array:
    """(T,) 0 for what stays, else why it goes: the ground, a shell, or too far off."""
    none = np.zeros(len(facets), np.uint8)
    ground = _ground(facets)
    if ground.any() and not ground.all():
        others = ~ground
        found = _apart(facets.only(others))
        kind = none.copy()
        kind[others] = found
        body = _box(facets, kind + ground == 0)
        flat = ground & facets.level
        wide = _box(facets, flat).extent
        if wide >= _WIDER * body.extent and facets.area[flat].sum(dtype=np.float64) >= _FULL * wide**2:
            # What lies flat within the body, such as its floors and roofs, is no ground.
            margin = 0.15 * body.extent
            beside = (facets.low[:, :2] < body.low[:2] - margin) | (facets.high[:, :2] > body.high[:2] + margin)
            kind[ground & beside.any(1)] = _GROUND
            return kind
    return _apart(facets)


def _ground(facets: _Facets) -> Array:
    """(T,) what may be a ground: it lies flat at the height of most of what lies flat."""
    none = np.zeros(len(facets), bool)
    area = facets.area * facets.level
    total = float(area.sum(dtype=np.float64))
    if total <= 0.05 * float(facets.area.sum(dtype=np.float64)):
        return none
    level = np.flatnonzero(facets.level)
    height = (facets.low[level, 2] + facets.high[level, 2]) / 2
    order = np.argsort(height)
    share = np.cumsum(area[level][order], dtype=np.float64) / total
    median = height[order[np.searchsorted(share, 0.5)]]
    near = np.abs(height - median) <= 0.02 * _box(facets, facets.level).extent
    ground = none
    ground[level[near]] = True
    # The rims of a slab stand upright; where most of the ground begins and ends says how thick it is.
    order = order[near[order]]
    share = np.cumsum(area[level][order], dtype=np.float64)
    ends = height[order[np.searchsorted(share, np.array([0.05, 0.95]) * share[-1])]]
    slack = 0.02 * (ends[1] - ends[0])
    ground |= (facets.low[:, 2] >= ends[0] - slack) & (facets.high[:, 2] <= ends[1] + slack)
    return ground


def _apart(facets: _Facets) -> Array:
    """(T,) 0 for what stays, `_SHELL` and `_FAR` for what goes."""
    kind = np.zeros(len(facets), np.uint8)
    if len(facets) == 0:
        return kind
    label, count = _labels(facets)
    if count == 1:
        return kind
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for axis in range(3):
        np.minimum.at(low[:, axis], label, facets.low[:, axis])
        np.maximum.at(high[:, axis], label, facets.high[:, axis])
    area = np.bincount(label, facets.area, count)
    extent = (high - low).max(1)
    shell = _shell(facets, label, low, high, area)
    others = np.array([at for at in range(count) if at != shell])
    body = others[np.argmax(area[others])]
    around, mine = _Box(low[body], high[body]), {int(body)}
    while True:  # what lies no farther off than the body is large belongs to it
        gap = np.maximum(np.maximum(low - around.high, around.low - high), 0).max(1)
        near = [int(at) for at in others if int(at) not in mine and gap[at] <= around.extent]
        if not near:
            break
        mine |= set(near)
        around = around.with_(_Box(low[near].min(0), high[near].max(0)))
    far = [int(at) for at in others if int(at) not in mine]
    gone = [
        at
        for at in far
        if extent[at] <= _TINY * around.extent or around.with_(_Box(low[at], high[at])).extent >= _SPECK * around.extent
    ]
    if area[gone].sum() > 0.5 * area[list(mine)].sum():
        gone = []
    kinds = np.zeros(count, np.uint8)
    kinds[gone] = _FAR
    if shell is not None:
        kinds[shell] = _SHELL
    return kinds[label]


def _shell(facets: _Facets, label: Array, low: Array, high: Array, area: Array) -> int | None:
    """The part that is a shell around what is shown, if there is one."""
    shell = int(np.argmax((high - low).max(1)))
    inner = np.flatnonzero((low > low[shell]).all(1) & (high < high[shell]).all(1))
    if len(inner) == 0:
        # A dome stands on the ground, and so does what is in it.
        inner = np.flatnonzero((low[:, :2] > low[shell, :2]).all(1) & (high < high[shell]).all(1))
    inner = inner[inner != shell]
    if len(inner) == 0:
        return None
    body = inner[np.argmax(area[inner])]
    ratio = float((high[shell] - low[shell]).max()) / max(float((high[body] - low[body]).max()), 1e-30)
    if ratio < _ROUND:
        return None
    middle = (low[shell] + high[shell]) / 2
    if low[body, 2] < low[shell, 2] + 0.1 * (high[shell, 2] - low[shell, 2]):
        middle[2] = low[shell, 2]
    half = np.maximum(high[shell] - middle, 1e-30)
    corners = facets.corners[label[facets.large] == shell]
    points = np.concatenate([np.zeros((0, 3)), *_sampled(corners, float((high - low).max()) / 32)])
    points = (points - middle) / half
    # It is all around: in each quarter of the sky there is some of it.
    over = points[points[:, 2] > 0.05]
    if len(np.unique((over[:, 0] > 0) * 2 + (over[:, 1] > 0))) < 4:
        return None
    reach = np.linalg.norm(points, axis=1)
    return shell if ratio >= (_ROUND if reach.std() < 0.07 * reach.mean() else _BOXED) else None


def _labels(facets: _Facets) -> tuple[Array, int]:
    """(T,) a number for each part that touches no other, as far as a grid tells, and how many there are."""
    from scipy.ndimage import label

    box = _box(facets, slice(None))
    cell = box.extent / (_CELLS - 1)

    def cells(points: Array) -> Array:
        at = ((points - box.low) * (1 / cell)).astype(np.int32)
        return np.clip(at, 0, _CELLS - 1)

    at = cells((facets.low + facets.high) / 2)
    taken = np.zeros((_CELLS,) * 3, bool)
    taken[tuple(at.T)] = True
    span = (facets.high[facets.large] - facets.low[facets.large]).max(1)
    for points in _sampled(facets.corners[span > cell], cell):
        taken[tuple(cells(points).T)] = True
    numbers, count = label(taken, np.ones((3, 3, 3)))
    found = numbers[tuple(at.T)] - 1
    return found, count


def _sampled(corners: Array, cell: float) -> list[Array]:
    """Points (N, 3) on triangles (L, 3, 3), no farther from each other than a cell."""
    if len(corners) == 0:
        return []
    sides = np.linalg.norm(corners - np.roll(corners, -1, 1), axis=2)
    turn = (np.arange(3) + sides.argmax(1)[:, None]) % 3  # the longest side first
    a, b, c = np.moveaxis(np.take_along_axis(corners, turn[:, :, None], 1), 1, 0)
    longest = sides.max(1)
    high = np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(longest, 1e-30)
    along, across = (np.exp2(np.ceil(np.log2(np.maximum(s / cell, 1)))).astype(int) for s in (longest, high))
    made, left = [], _SAMPLES
    for i, j in np.unique(np.stack([along, across], 1), axis=0).tolist():
        rows = np.flatnonzero((along == i) & (across == j))[: max(left // ((i + 1) * (j + 1)), 0)]
        s, t = (g.ravel()[:, None] for g in np.meshgrid(np.linspace(0, 1, i + 1), np.linspace(0, 1, j + 1)))
        base = a[rows, None] * (1 - s) + b[rows, None] * s
        made.append((base * (1 - t) + c[rows, None] * t).reshape(-1, 3))
        left -= len(made[-1])
    return made


def _box(facets: _Facets, chosen: Array | slice) -> _Box:
    low, high = facets.low[chosen], facets.high[chosen]
    if len(low) == 0:
        return _Box(np.zeros(3), np.zeros(3))
    return _Box(low.min(0), high.max(0))


# -- words ---------------------------------------------------------------------------------------------------


def _notes(facets: _Facets, kind: Array) -> list[str]:
    body = _box(facets, kind == 0)
    notes = []
    if (kind == _GROUND).any():
        wide = _box(facets, kind == _GROUND).extent / body.extent
        notes.append(f"A ground {_times(wide)} as wide as the model is left out.")
    if (kind == _SHELL).any():
        large = _box(facets, kind == _SHELL).extent / body.extent
        notes.append(f"A shell around the model, {_times(large)} as large, is left out.")
    if (far := kind == _FAR).any():
        low, high = facets.low[far], facets.high[far]
        gap = np.maximum(np.maximum(low - body.high, body.low - high), 0).max(1) / body.extent
        many = int(far.sum())
        what = "1 triangle is left out, which lies" if many == 1 else f"{many:,} triangles are left out, which lie"
        notes.append(f"{what} up to {_times(float(gap.max()))} the model's size away.")
    return notes


def _times(factor: float) -> str:
    return f"{float(f'{factor:.2g}'):,.0f} times"

"""What a model's shape hints at, computed ahead of the annotator: never a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.core.tables import cell, csv_bytes
from engine.meshes.mesh import facet_normals
from engine.meshes.reducing import PreviewPart

_FLAT = 0.15
_INWARD = 0.5
_ALIKE = 0.06
"""Share of the distances in a shape that may differ between two that are called alike."""
_SPREADS = 0.02
_PAIRS, _BINS = 20_000, 32


@dataclass(frozen=True)
class Hints:
    """Figures of a shape."""

    depth: float
    """Its least width, seen from above, over its longest side; 0 for a flat front."""
    inward: float
    """How far its faces with one side face its middle: -1 outwards, 1 inwards; 0 where most have two."""
    left_out: tuple[str, ...] = ()
    """What is left out of the picture: a ground, a shell, far pieces; whole sentences."""
    shape: tuple[float, ...] = ()
    """Its spreads along its principal axes over the largest, then the shares of the distances between its points, short
    to long; the same for the same shape however it stands and however large it is."""

    @property
    def words(self) -> tuple[str, ...]:
        """What the annotator is told."""
        found = []
        if self.depth < _FLAT:
            found.append(f"Flat: its depth is {100 * self.depth:.0f} % of its size.")
        if self.inward > _INWARD:
            found.append("Its faces point inwards: it is a room, or inside out.")
        return (*found, *self.left_out)


def hints_of(parts: Sequence[PreviewPart], left_out: Sequence[str]) -> Hints:
    """The hints of a preview's parts."""
    points = np.concatenate([part.points[part.triangles] for part in parts]).astype(np.float64)
    flat = points.reshape(-1, 3)
    extent = max(float(np.ptp(flat, axis=0).max()), 1e-12)
    around = np.radians(np.arange(0, 180, 5))
    widths = np.ptp(flat[:, :2] @ np.stack([np.cos(around), np.sin(around)]), axis=0)
    return Hints(
        depth=float(widths.min()) / extent,
        inward=_inward(parts),
        left_out=tuple(left_out),
        shape=_shape(points),
    )


def alike(shapes: Mapping[str, Hints]) -> dict[str, list[str]]:
    """For each model, by its key, the others whose shape is almost the same; those without any are left out."""
    keys = [key for key, hints in shapes.items() if hints.shape]
    if len(keys) < 2:
        return {}
    values = np.array([shapes[key].shape for key in keys], np.float32)
    found = {}
    for at, key in enumerate(keys):
        apart = np.abs(values - values[at])
        near = (apart[:, :3].max(1) <= _SPREADS) & (apart[:, 3:].sum(1) / 2 <= _ALIKE)
        near[at] = False
        if near.any():
            found[key] = [keys[other] for other in np.flatnonzero(near)]
    return found


def _inward(parts: Sequence[PreviewPart]) -> float:
    middle = np.mean([part.points.mean(0) for part in parts], axis=0)
    total = single = outward = weighed = 0.0
    for part in parts:
        normals = facet_normals(part.points, part.triangles, np.float64)
        area = float(np.linalg.norm(normals, axis=1).sum())
        total += area
        if not part.double_sided:
            single += area
            facing = (normals * (part.points[part.triangles].mean(1) - middle)).sum(1)
            outward += float(facing.sum())
            weighed += float(np.abs(facing).sum())
    return -outward / weighed if weighed > 0 and single > 0.5 * total else 0.0


def _shape(corners: npt.NDArray[Any]) -> tuple[float, ...]:
    """What tells the shape of triangles (T, 3, 3) from others: principal spreads, and Osada et al.'s D2 ("Shape
    Distributions", ACM Transactions on Graphics 21, 2002). Nothing where they have no area."""
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not areas.sum() > 0:
        return ()
    chance = np.random.default_rng(0)
    ends, places = np.cumsum(areas) / areas.sum(), (np.arange(2 * _PAIRS) + 0.5) / (2 * _PAIRS)
    chosen = corners[np.minimum(np.searchsorted(ends, places), len(corners) - 1)]
    a, b = chance.random((2, 2 * _PAIRS, 1))
    a = np.sqrt(a)
    points = chosen[:, 0] * (1 - a) + chosen[:, 1] * a * (1 - b) + chosen[:, 2] * a * b
    spreads = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 0))
    points = points[chance.permutation(len(points))]
    apart = np.linalg.norm(points[:_PAIRS] - points[_PAIRS:], axis=1)
    counts, _ = np.histogram(apart / max(float(apart.mean()), 1e-12), _BINS, (0, 3))
    return (*np.round(spreads / max(spreads[-1], 1e-12), 3).tolist(), *np.round(counts / _PAIRS, 4).tolist())


def hint_table(hints: Mapping[str, Hints], problems: Mapping[str, str]) -> bytes:
    """Hints as CSV that spreadsheets open, one model a row; UTF-8 with its mark."""
    near = alike(hints)
    rows: list[tuple[Any, ...]] = [("item", "depth", "inward", "hints", "alike", "problem")]
    for key in (*hints, *problems):
        hint = hints.get(key)
        figures = ("", "", "") if hint is None else (round(hint.depth, 3), round(hint.inward, 3), " ".join(hint.words))
        rows.append((cell(key), *figures, "; ".join(near.get(key, ())), cell(problems.get(key, ""))))
    return csv_bytes(rows)

"""One procedural object: textured mesh, exact inside test, surface samples, export; and the fixed splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.data.families import ARCHITECTURE, BUILDERS
from engine.data.generic import Deformation, build_generic
from engine.data.solids import Assembly, Builder
from engine.data.textures import texture_library

if TYPE_CHECKING:
    import trimesh

Array = npt.NDArray[Any]

FAMILIES: tuple[str, ...] = (*ARCHITECTURE, "generic")
Split = Literal["train", "validation", "heldout"]
_GENERIC_SHARE = 0.35
_SPLITS: dict[str, range] = {
    "train": range(0, 2_000_000_000),
    "validation": range(2_000_000_000, 2_000_000_100),
    "heldout": range(3_000_000_000, 3_000_000_200),
}
_GRID = 16


def split_seeds(split: str) -> Sequence[int]:
    """The seeds of a split; disjoint. Held-out: 200 objects and validation: 100, balanced over the families when the
    family is left to the seed; train: two thousand million."""
    if split not in _SPLITS:
        raise InputError(f"There is no split named {split!r}; choose one of {', '.join(_SPLITS)}.")
    return _SPLITS[split]


def family_of(seed: int) -> str:
    """The family that a seed stands for: in turn for validation and held-out seeds, drawn for training seeds."""
    if seed >= _SPLITS["validation"].start:
        return FAMILIES[seed % len(FAMILIES)]
    rng = np.random.default_rng(seed)
    if rng.random() < _GENERIC_SHARE:
        return "generic"
    return ARCHITECTURE[int(rng.integers(len(ARCHITECTURE)))]


@dataclass
class ProceduralObject:
    """A textured object with exact occupancy. Z up, longest side of the bounding box 1, box centred at the origin.

    A surface point's colour is mix(color_a, color_b, texel.r) * (0.5 + texel.g), clamped, sRGB.
    """

    seed: int
    family: str
    vertices: npt.NDArray[np.float32]
    """(V, 3)."""
    faces: npt.NDArray[np.int32]
    """(F, 3), outward counter-clockwise. Parts overlap: inner faces lie hidden inside other parts."""
    normals: npt.NDArray[np.float32]
    """(V, 3), unit length."""
    uv: npt.NDArray[np.float32]
    """(V, 2) in texture tiles; textures repeat."""
    layer: npt.NDArray[np.int32]
    """(V,) index into `texture_library()`."""
    color_a: npt.NDArray[np.float32]
    """(V, 3) in 0..1."""
    color_b: npt.NDArray[np.float32]
    """(V, 3) in 0..1."""
    _assembly: Assembly = field(repr=False)
    _deformation: Deformation | None = field(repr=False)
    _scale: float = 1.0
    _shift: Array = field(default_factory=lambda: np.zeros(3), repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)
    textures: None = None
    """No pictures of its own: every finish is of `texture_library()`."""

    def contains(self, points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each of the points (N, 3) lies inside the object."""
        a = self._assembly
        p = (np.asarray(points, np.float64).reshape(-1, 3) - self._shift) / self._scale
        if self._deformation is not None:
            p = self._deformation.inverse(p)
        low, cell, start, items = self._grid()
        ijk = np.floor((p - low) / cell).astype(np.int64)
        near = np.flatnonzero(((ijk >= 0) & (ijk < _GRID)).all(1))
        inside = np.zeros(len(p), bool)
        if len(near) == 0:
            return inside
        at = (ijk[near, 0] * _GRID + ijk[near, 1]) * _GRID + ijk[near, 2]
        count = start[at + 1] - start[at]
        point = np.repeat(near, count)
        if len(point) == 0:
            return inside
        run = np.arange(len(point)) - np.repeat(np.cumsum(count) - count, count)
        instance = items[np.repeat(start[at], count) + run]
        q = p[point]
        hit = ((q >= a.low[instance]) & (q <= a.high[instance])).all(1)
        point, instance, q = point[hit], instance[hit], q[hit]
        to_local = a.to_local[instance]
        local = (to_local[:, :, :3] @ q[:, :, None])[:, :, 0] + to_local[:, :, 3]
        kind = a.shape_of[instance]
        lows, highs = self._cache["lows"], self._cache["highs"]
        hit = ((local >= lows[kind]) & (local <= highs[kind])).all(1)
        for index, shape in enumerate(a.shapes):
            if shape.inside is not None:
                chosen = np.flatnonzero(hit & (kind == index))
                if len(chosen):
                    hit[chosen] = shape.inside(local[chosen])
        inside[point[hit]] = True
        return inside

    def _grid(self) -> tuple[Array, Array, Array, Array]:
        """A coarse grid over the undeformed object: for each cell, the instances whose boxes touch it."""
        if "grid" not in self._cache:
            a = self._assembly
            low, high = a.low.min(0) - 1e-6, a.high.max(0) + 1e-6
            cell = (high - low) / _GRID
            first = np.floor((a.low - low) / cell).astype(np.int64)
            last = np.floor((a.high - low) / cell).astype(np.int64)
            span = np.minimum(last, _GRID - 1) - first + 1  # (M, 3) cells touched along each axis
            count = span.prod(1)
            owner = np.repeat(np.arange(len(count)), count)
            run = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
            across, deep = span[owner, 1] * span[owner, 2], span[owner, 2]
            ijk = first[owner] + np.stack([run // across, run % across // deep, run % deep], 1)
            where = (ijk[:, 0] * _GRID + ijk[:, 1]) * _GRID + ijk[:, 2]
            order = np.argsort(where, kind="stable")
            start = np.concatenate([[0], np.cumsum(np.bincount(where, minlength=_GRID**3))])
            self._cache["lows"] = np.stack([s.low for s in a.shapes]) - 1e-9
            self._cache["highs"] = np.stack([s.high for s in a.shapes]) + 1e-9
            self._cache["grid"] = low, cell, start, owner[order]
        return self._cache["grid"]

    def sample_surface(
        self, count: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """`count` points (N, 3) spread evenly over the outer surface, and the facets' outward normals (N, 3)."""
        if "areas" not in self._cache:
            a, b, c = (self.vertices[self.faces[:, i]].T for i in range(3))
            (ux, uy, uz), (vx, vy, vz) = b - a, c - a
            cross = np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], 1)
            area = np.sqrt((cross**2).sum(1))
            total = np.cumsum(area, dtype=np.float64)
            self._cache["areas"] = total / total[-1], cross / np.maximum(area, 1e-20)[:, None]
            pilot = self._outer_points(256, np.random.default_rng(0))[0]
            self._cache["visible"] = max(len(pilot) / 256, 0.1)
        points, normals, found = [], [], 0
        while found < count:
            batch = self._outer_points(int(1.1 * (count - found) / self._cache["visible"]) + 16, rng)
            points.append(batch[0])
            normals.append(batch[1])
            found += len(batch[0])
        return (
            np.concatenate(points)[:count].astype(np.float32),
            np.concatenate(normals)[:count].astype(np.float32),
        )

    def _outer_points(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Those of `count` points on the facets that no other part hides, and their normals."""
        share, normal = self._cache["areas"]
        face = np.minimum(np.searchsorted(share, rng.random(count)), len(share) - 1)
        u, v = rng.random((2, count), np.float32)
        fold = u + v > 1
        u[fold], v[fold] = 1 - u[fold], 1 - v[fold]
        a, b, c = (self.vertices[self.faces[face, i]] for i in range(3))
        p = a + u[:, None] * (b - a) + v[:, None] * (c - a)
        n = normal[face]
        # a bent facet is a chord of the bent solid and may lie just inside it
        step = 1e-3 if self._deformation is not None else 1e-4
        seen = ~self.contains(p + n * step * self._extent)
        return p[seen], n[seen]

    @property
    def _extent(self) -> float:
        """Longest side of the bounding box."""
        if "extent" not in self._cache:
            self._cache["extent"] = float((self.vertices.max(0) - self.vertices.min(0)).max())
        return self._cache["extent"]

    def to_scene(self) -> trimesh.Scene:
        """A scene with one textured mesh for each surface finish, Z up turned to glTF's Y up."""
        import trimesh
        from PIL import Image

        finish = np.concatenate([self.layer[:, None], np.rint(self.color_a * 255), np.rint(self.color_b * 255)], 1)
        kinds, group = np.unique(finish.astype(np.int64), axis=0, return_inverse=True)
        group = group.reshape(-1)[self.faces[:, 0]]
        library = texture_library()
        turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        scene = trimesh.Scene()
        for index, kind in enumerate(kinds):
            faces = self.faces[group == index]
            if len(faces) == 0:
                continue
            used, local = np.unique(faces, return_inverse=True)
            texel = library[kind[0]].astype(np.float64) / 255
            color = kind[1:4] + (kind[4:7] - kind[1:4]) * texel[..., :1]
            picture = np.clip(color * (0.5 + texel[..., 1:]), 0, 255).astype(np.uint8)
            material = trimesh.visual.material.PBRMaterial(
                name=f"finish_{index}",
                baseColorTexture=Image.fromarray(picture[::-1]),
                metallicFactor=0.0,
                roughnessFactor=0.9,
            )
            scene.add_geometry(
                trimesh.Trimesh(
                    self.vertices[used] @ turn.T,
                    local.reshape(-1, 3),
                    vertex_normals=self.normals[used] @ turn.T,
                    visual=trimesh.visual.TextureVisuals(uv=self.uv[used], material=material),
                    process=False,
                ),
                geom_name=f"{self.family}_{index}",
            )
        return scene


def make_object(seed: int, family: str | None = None) -> ProceduralObject:
    """The object of a seed, the same on every machine. `family` None: the seed decides."""
    family = family_of(seed) if family is None else family
    if family not in FAMILIES:
        raise InputError(f"There is no family of objects named {family!r}; choose one of {', '.join(FAMILIES)}.")
    rng = np.random.default_rng([FAMILIES.index(family), seed])
    deformation: Deformation | None = None
    if family == "generic":
        assembly, deformation = build_generic(rng)
    else:
        builder = Builder()
        BUILDERS[family](builder, rng)
        assembly = builder.build()
    vertices, normals = assembly.vertices, assembly.normals
    if deformation is not None:
        vertices, normals = deformation.forward(vertices, normals)
    low, high = vertices.min(0), vertices.max(0)
    scale = 1.0 / float((high - low).max())
    shift = -scale * (low + high) / 2
    return ProceduralObject(
        seed,
        family,
        (vertices * scale + shift).astype(np.float32),
        assembly.faces,
        normals.astype(np.float32),
        assembly.uv.astype(np.float32),
        assembly.layer,
        assembly.color_a,
        assembly.color_b,
        assembly,
        deformation,
        scale,
        shift,
    )

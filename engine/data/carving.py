"""Solids carved out of meshes of any kind: open, two-sided, doubled, with faces wound either way.

Space carving from orthographic depth pictures: a voxel is outside where a few of many views see past it. No view comes
from far below or through the ground, so that houses without a floor are solid, while the space under eaves, arches and
tables stays open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.core.errors import InputError
from engine.meshes import gl
from engine.meshes.mesh import FloatArray, facet_normals

BoolArray = npt.NDArray[np.bool_]

VIEWS = 60
_LOWEST = -12.0
"""Elevation of the lowest views, degrees: what is open only from below counts as closed."""
_NEEDED = 3
"""Views that have to see past a voxel: one alone may look through a gap that is none, or graze a slanted wall."""
_PICTURE, _COLUMNS = 256, 8
_MARGIN = 1.04
"""Side of the cube over the longest side of the bounding box."""
_SHEET_SAMPLES = (1.0, 30_000), (8.0, 400_000)
"""Samples for each voxel that a facet runs through, and the most of all: at first, and of facets that are sheets."""
_ASIDE = 1.5
"""Voxels from a facet to where air is looked for: a little more than the diagonal of one."""

_DEPTH_VERTEX = """
#version 330
uniform mat4 clip;
in vec3 position;
void main() { gl_Position = clip * vec4(position, 1.0); }
"""
_DEPTH_FRAGMENT = """
#version 330
void main() {}
"""
_CARVE_VERTEX = """
#version 330
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }
"""
_CARVE_FRAGMENT = """
#version 330
uniform sampler2D depths; uniform mat4 views[VIEWS]; uniform vec3 box; uniform int side; uniform int first;
out float solid;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec3 p = (vec3(first + at.y / side, at.y % side, at.x) + 0.5) * 2.0 / side - 1.0;
  int past = any(greaterThan(abs(p), box)) ? NEEDED : 0;
  for (int i = 0; i < VIEWS && past < NEEDED; ++i) {
    vec4 q = vec4(p, 1.0) * views[i];
    past += int(texelFetch(depths, ivec2(q.xy), 0).r > q.z);
  }
  solid = past < NEEDED ? 1.0 : 0.0;
}
"""


@dataclass
class CarvedSolid:
    """Voxels that are inside of a mesh, and the mesh's outer surface."""

    packed: npt.NDArray[np.uint8]
    """`np.packbits` of the occupancy (R, R, R), indexed x, y, z."""
    resolution: int
    low: FloatArray
    """(3,) corner of the cube."""
    step: float
    """Side of a voxel."""
    share: float
    """Share of the cube that was carved solid; sheets without thickness do not count."""
    vertices: FloatArray = field(repr=False)
    """(V, 3) of the mesh."""
    faces: npt.NDArray[np.int32] = field(repr=False)
    """(F, 3) of the mesh."""

    @property
    def occupancy(self) -> BoolArray:
        """(R, R, R), whether each voxel is solid."""
        if not hasattr(self, "_occupancy"):
            self._occupancy = unpack(self.packed, self.resolution)
        return self._occupancy

    def contains(self, points: npt.ArrayLike) -> BoolArray:
        """Whether the voxels that points (N, 3) lie in are solid."""
        return look_up(self.occupancy, (np.asarray(points, np.float32).reshape(-1, 3) - self.low) / self.step)

    def sample_surface(self, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """`count` points (N, 3) spread evenly over the facets with air beside them, and normals (N, 3) into that air.

        Raises `InputError` where no facet has air beside it or none has an area.
        """
        corners = self.vertices[self.faces]
        cross = facet_normals(self.vertices, self.faces)
        area = np.linalg.norm(cross, axis=1)
        if not area.sum() > 0:
            raise InputError("The model's triangles have no area, so it has no surface. Leave it out.")
        normal = cross / np.maximum(area, 1e-30)[:, None]
        points, normals, found, tried = [], [], 0, 0
        while found < count:
            if tried > 400 * count:
                raise InputError("No surface of the model can be seen from outside. Leave it out.")
            face = rng.permutation(_drawn(area, 2 * count, rng))
            p = _inside(corners, face, rng)
            n = normal[face]
            aside = n * np.float32(_ASIDE * self.step)
            front, back = ~self.contains(p + aside), ~self.contains(p - aside)
            # a sheet has air on both sides; which of them a sample shows is left to chance
            turn = np.where(front & back, rng.random(len(p)) < 0.5, back)
            seen = front | back
            points.append(p[seen])
            normals.append(np.where(turn[:, None], -n, n)[seen])
            found, tried = found + int(seen.sum()), tried + len(p)
        return np.concatenate(points)[:count], np.concatenate(normals)[:count]


def unpack(packed: npt.NDArray[np.uint8], resolution: int) -> BoolArray:
    """The occupancy (R, R, R) of packed bits."""
    return np.unpackbits(packed, count=resolution**3).view(np.bool_).reshape((resolution,) * 3)


def look_up(occupancy: BoolArray, cells: npt.NDArray[Any]) -> BoolArray:
    """Occupancy (R, R, R) at fractional cells (N, 3); false outside of the cube."""
    side = occupancy.shape[0]
    x, y, z = np.ascontiguousarray(cells, np.float32).T
    within = (x >= 0) & (y >= 0) & (z >= 0) & (x < side) & (y < side) & (z < side)
    with np.errstate(invalid="ignore"):
        at = (x.astype(np.int32) * side + y.astype(np.int32)) * side + z.astype(np.int32)
    at[~within] = 0
    return occupancy.reshape(-1)[at] & within


def carve(vertices: npt.ArrayLike, faces: npt.ArrayLike, resolution: int = 128) -> CarvedSolid:
    """The solid that triangles enclose: `vertices` (V, 3), Z up, any unit, `faces` (F, 3), `resolution` voxels a side.

    Facets that enclose nothing (flags, fences, leaves) come out one voxel thick. Raises `InputError` for a mesh without
    triangles, without extent or with coordinates that are no numbers.
    """
    points = np.ascontiguousarray(vertices, np.float32).reshape(-1, 3)
    triangles = np.ascontiguousarray(faces, np.int32).reshape(-1, 3)
    if not len(triangles):
        raise InputError("The model has no triangles, so it encloses nothing. Leave it out.")
    used = points[triangles.reshape(-1)]
    low, high = used.min(0), used.max(0)
    extent = float((high - low).max())
    if not (np.isfinite(extent) and extent > 0):
        raise InputError("The model has no extent, or coordinates that are no numbers. Leave it out.")
    center = (low + high) / 2
    unit = (points - center) * np.float32(2 / (extent * _MARGIN))  # the cube is [-1, 1]^3
    unit[~np.isfinite(unit).all(1)] = 0
    solid = _carved(unit, triangles, resolution)
    share = float(solid.mean())
    step = 2 / resolution
    _thicken_sheets(solid, unit, triangles, step)
    scale = extent * _MARGIN / 2
    return CarvedSolid(
        np.packbits(solid), resolution, (center - scale).astype(np.float32), step * scale, share, points, triangles
    )


@lru_cache(maxsize=1)
def _directions() -> npt.NDArray[np.float64]:
    """(VIEWS, 3) unit vectors towards the views, evenly over the sphere above the lowest elevation.

    A Fibonacci lattice, in an order in which any first few of them look from all sides.
    """
    i = np.arange(VIEWS)
    z = 1 - (1 - np.sin(np.radians(_LOWEST))) * (i + 0.5) / VIEWS
    around = i * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(around), flat * np.sin(around), z], 1)[i * 37 % VIEWS]


def _projections(radius: float) -> FloatArray:
    """(VIEWS, 4, 4) orthographic, of a ball of `radius` about the origin into clip space."""
    matrices = np.zeros((VIEWS, 4, 4))
    for matrix, direction in zip(matrices, _directions(), strict=True):
        right = np.cross((0.0, 0.0, 1.0) if direction[2] < 0.99 else (0.0, 1.0, 0.0), direction)
        right /= np.linalg.norm(right)
        matrix[:3, :3] = np.stack([right, np.cross(direction, right), -direction]) / radius
        matrix[3, 3] = 1
    return matrices.astype(np.float32)


@gl.context()
def _carved(points: FloatArray, triangles: npt.NDArray[np.int32], resolution: int) -> BoolArray:
    """Occupancy (R, R, R) of [-1, 1]^3."""
    box = np.abs(points[triangles.reshape(-1)]).max(0)
    views = _projections(1.01 * float(np.linalg.norm(box)))
    corners = np.stack([np.arange(VIEWS) % _COLUMNS, np.arange(VIEWS) // _COLUMNS], 1) * _PICTURE
    ctx = gl.current()
    depth, draw, look = gl.cached("carving", _setup)
    ctx.enable_only(ctx.DEPTH_TEST)
    depth.use()
    depth.viewport = (0, 0, *depth.size)
    depth.clear(depth=1.0)
    index = ctx.buffer(triangles.tobytes())
    vao = ctx.vertex_array(draw, [(ctx.buffer(points.tobytes()), "3f", "position")], index)
    # the ground that it stands on: a house without a floor must not be looked into from below
    ground = box * np.array([(-1, -1, -1), (1, -1, -1), (-1, 1, -1), (1, 1, -1)], np.float32)
    floor = ctx.vertex_array(draw, [(ctx.buffer(ground.tobytes()), "3f", "position")])
    for view, corner in zip(views, corners.tolist(), strict=True):
        depth.viewport = (*corner, _PICTURE, _PICTURE)
        draw["clip"].write(np.ascontiguousarray(view.T).tobytes())
        # a pixel's depth holds for all of it: where the facet slants, the nearest point within it
        ctx.polygon_offset = -1.0, 0.0
        vao.render(ctx.TRIANGLES)
        ctx.polygon_offset = 0.0, 0.0
        floor.render(ctx.TRIANGLE_STRIP)
    ctx.enable_only(ctx.NOTHING)
    depth.depth_attachment.use(0)
    to_picture = np.tile(np.diag((_PICTURE / 2, _PICTURE / 2, 0.5, 1.0)), (VIEWS, 1, 1))
    to_picture[:, :3, 3] = 0.5
    to_picture[:, :2, 3] = corners + _PICTURE / 2
    look["views"].write((to_picture @ views).astype(np.float32).tobytes())  # row by row: multiplied from the left
    look["box"], look["side"] = tuple(box.tolist()), resolution
    quad = ctx.vertex_array(
        look, [(ctx.buffer(np.array([-1, -1, 3, -1, -1, 3], np.float32).tobytes()), "2f", "corner")]
    )
    slices = max(1, min(resolution, 8192 // resolution))  # planes of voxels that fit one picture
    target = ctx.framebuffer(ctx.renderbuffer((resolution, resolution * slices), 1, dtype="f1"))
    target.use()
    solid = np.empty((resolution,) * 3, np.bool_)
    for first in range(0, resolution, slices):
        look["first"] = first
        quad.render(ctx.TRIANGLES)
        plane = np.frombuffer(target.read(components=1), np.uint8).reshape(slices, resolution, resolution)
        solid[first : first + slices] = plane[: resolution - first] > 0
    return solid


def _setup(ctx: Any) -> tuple[Any, Any, Any]:
    """Where depth pictures are drawn, what draws them, and what looks at them."""
    rows = -(-VIEWS // _COLUMNS)
    pictures = ctx.depth_texture((_COLUMNS * _PICTURE, rows * _PICTURE))
    pictures.compare_func = ""  # read as numbers
    fragment = _CARVE_FRAGMENT
    for name, value in (("VIEWS", VIEWS), ("NEEDED", _NEEDED)):
        fragment = fragment.replace(name, str(value))
    return (
        ctx.framebuffer(depth_attachment=pictures),
        gl.program(_DEPTH_VERTEX, _DEPTH_FRAGMENT),
        gl.program(_CARVE_VERTEX, fragment),
    )


def _thicken_sheets(solid: BoolArray, points: FloatArray, triangles: npt.NDArray[np.int32], step: float) -> None:
    """Set the voxels that facets run through where the solid is thin or none: half of them have their middle in air."""
    near = ndimage.maximum_filter(ndimage.minimum_filter(solid, 3), 7)  # what is three voxels thick, and around it
    corners = points[triangles]
    area = np.linalg.norm(facet_normals(points, triangles), axis=1) / 2
    rng = np.random.default_rng(0)
    chosen = np.arange(len(corners))
    for density, most in _SHEET_SAMPLES:  # few samples tell which facets run through such voxels, many find them all
        count = min(int(density * float(area[chosen].sum()) / step**2), most)
        if count:
            face = chosen[_drawn(area[chosen], count, rng)]
            cells = ((_inside(corners, face, rng) + 1) / step).astype(np.int32).clip(0, len(solid) - 1)
            alone = ~near[tuple(cells.T)]
            solid[tuple(cells[alone].T)] = True
            chosen = np.unique(face[alone])


def _drawn(area: npt.NDArray[Any], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` facets at random, in order, by their areas (F,), not all of which are 0."""
    share = np.cumsum(area, dtype=np.float64)
    return np.minimum(np.searchsorted(share / share[-1], np.sort(rng.random(count))), len(area) - 1)


def _inside(corners: FloatArray, face: npt.NDArray[Any], rng: np.random.Generator) -> FloatArray:
    """A point (N, 3) at random within each of the triangles `face` (N,) of `corners` (F, 3, 3)."""
    u, v = rng.random((2, len(face), 1), np.float32)
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    a, b, c = corners[face].transpose(1, 0, 2)
    return np.asarray(a + u * (b - a) + v * (c - a), np.float32)

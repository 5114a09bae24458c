"""The triangle mesh that is handed from stage to stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
ByteArray = npt.NDArray[np.uint8]


@dataclass
class Mesh:
    """A triangle mesh in the world frame (Z up, input camera at azimuth 0).

    Faces are counter-clockwise seen from outside. A textured mesh has `uv` and `texture`; vertices are
    then split along the seams of the atlas.

    >>> corners = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0]], np.float32)
    >>> triangle = Mesh(corners, np.array([[0, 1, 2]], np.int32))
    >>> triangle.bounds.tolist()
    [[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]]
    """

    vertices: FloatArray
    """(V, 3) positions in world units."""
    faces: IntArray
    """(F, 3) vertex indices."""
    colors: ByteArray | None = None
    """(V, 3) sRGB vertex colours, 0..255."""
    uv: FloatArray | None = None
    """(V, 2) texture coordinates, 0..1, origin at the lower left (OpenGL, OBJ)."""
    texture: ByteArray | None = None
    """(H, W, 3) sRGB texture, first row at the top."""

    @property
    def bounds(self) -> FloatArray:
        """(2, 3) smallest and largest corner."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])


def facet_normals(vertices: npt.NDArray[Any], faces: npt.NDArray[Any], kind: Any = None) -> npt.NDArray[Any]:
    """Normals (F, 3) of faces (F, 3), as long as twice their areas.

    Reckoned in the precision `kind`, or that of the vertices (V, 3): where facets are slivers, float32 tells little.
    """
    a, b, c = (vertices[faces[:, i]].astype(kind or vertices.dtype, copy=False) for i in range(3))
    return np.cross(b - a, c - a)


def summed_at_corners(values: npt.NDArray[Any], corners: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    """Sums (count, 3) of the values (F, 3) of all faces at each of their corners (F, 3)."""
    return np.stack([np.bincount(corners.ravel(), np.repeat(values[:, i], 3), count) for i in range(3)], -1)


def vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Area-weighted unit normals (V, 3) of vertices (V, 3) and faces (F, 3); 0 where no face has an area."""
    normals = summed_at_corners(facet_normals(vertices, faces), faces, len(vertices)).astype(vertices.dtype)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def smooth_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """As `vertex_normals`, but the same for all vertices of one position, so that a texture's seams do not show.

    Up where no face has an area.
    """
    _, group = weld(vertices)
    sums = summed_at_corners(facet_normals(vertices, faces, np.float64), group[faces], int(group.max()) + 1)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    normals = np.where(length > 1e-20, sums / np.maximum(length, 1e-20), [0.0, 0.0, 1.0])
    return normals[group].astype(np.float32)


def weld(vertices: FloatArray) -> tuple[IntArray, IntArray]:
    """Vertices at the same position taken together.

    Returns `first` (U,), the index of one vertex of each of U positions in order of appearance, and
    `group` (V,), the position 0..U-1 of each vertex.
    """
    keys = (
        np.ascontiguousarray(vertices + np.float32(0))
        .view(np.dtype((np.void, vertices.dtype.itemsize * 3)))
        .reshape(-1)
    )
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int32), rank[group.reshape(-1)].astype(np.int32)


def mean_colors(colors: ByteArray, group: IntArray) -> ByteArray:
    """Mean colours (U, 3) of the vertices (V, 3) at each of U positions, which `group` (V,) tells, as of `weld`."""
    count = np.bincount(group)
    return np.rint(np.stack([np.bincount(group, colors[:, i]) / count for i in range(3)], -1)).astype(np.uint8)

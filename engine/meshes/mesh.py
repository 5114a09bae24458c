"""The triangle mesh that is handed from stage to stage."""

from __future__ import annotations

from dataclasses import dataclass

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


def vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Area-weighted unit normals (V, 3) of vertices (V, 3) and faces (F, 3)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for axis in range(3):
        weights = np.repeat(cross[:, axis], 3)
        normals[:, axis] = np.bincount(faces.ravel(), weights, len(vertices))
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)

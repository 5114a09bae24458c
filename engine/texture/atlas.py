"""UV atlases, and the depth of views, of the same rasteriser as the atlas's texels."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from dataclasses import dataclass
from tempfile import gettempdir

import numpy as np
import numpy.typing as npt

from engine import cameras
from engine.core.errors import EmptyResultError, OutputError
from engine.core.processes import Child, ChildEnded
from engine.core.progress import CancelToken
from engine.meshes.mesh import FloatArray, IntArray, facet_normals, smooth_normals
from engine.meshes.rasteriser import rasterize
from engine.texture.unwrap import cut, serve_cut

CREASE = 0.7
"""Cosine of the angle between a face and a vertex normal from which on the face's own normal is taken."""
_NEAR = 0.02
"""Faces that come closer to a camera than this, in world units, are not drawn."""


@dataclass
class Atlas:
    """A mesh whose vertices are split along the seams of its charts."""

    vertices: FloatArray
    """(V, 3) positions."""
    faces: IntArray
    """(F, 3) vertex indices, in the order of the faces that were unwrapped."""
    uv: FloatArray
    """(V, 2) texture coordinates in a square, origin at the lower left."""


@dataclass
class Texels:
    """The texels of an atlas that lie on the surface."""

    index: npt.NDArray[np.int64]
    """(T,) row * size + column in a texture whose first row is the top."""
    positions: FloatArray
    """(T, 3) points on the surface."""
    normals: FloatArray
    """(T, 3) unit normals."""

    def __post_init__(self) -> None:
        self.offsets = np.einsum("ij,ij->i", self.normals, self.positions)
        """(T,) distance of each texel's tangent plane from the origin, along the normal."""


def unwrap(vertices: FloatArray, faces: IntArray, size: int, cancel: CancelToken | None = None) -> Atlas:
    """Cut a mesh into charts and pack them into a square texture of `size` texels.

    Raises EmptyResultError if the mesh cannot be unwrapped, OutputError if the temporary folder is full, Cancelled.
    """
    if getattr(sys, "frozen", False):  # a frozen application has no interpreter to start
        source, cut_faces, uv = cut(vertices, faces, size)
        return Atlas(vertices[source], cut_faces, uv)
    try:
        with closing(Child(serve_cut, vertices, faces, size, hushed=True)) as child:
            source, cut_faces, uv = child.answer(math.inf, cancel)
    except OSError as error:
        raise OutputError(
            f"The temporary files of the texture could not be written to {gettempdir()} "
            f"({(error.strerror or str(error)).lower()}). Free some space there or set TMPDIR to another folder."
        ) from error
    except ChildEnded as ended:
        raise EmptyResultError(
            f"The surface of {len(faces):,} faces could not be unwrapped for a texture "
            f"({ended.said or f'xatlas stopped with {ended.code}'}). "
            "Run again from the surface stage, or with another quality."
        ) from ended
    return Atlas(vertices[source], cut_faces, uv)


def surface_texels(atlas: Atlas, size: int, cancel: CancelToken | None = None) -> Texels:
    """Position and normal of the texels of a `size` x `size` texture that charts cover.

    A texel belongs to the face its centre lies in; a sliver that holds no centre gets the free texels it touches,
    or it would show what lies beside it in the texture.
    """
    triangles = np.stack([atlas.uv[:, 0] * size, (1 - atlas.uv[:, 1]) * size], -1)[atlas.faces]
    face_of = np.full(size * size, -1, np.int64)
    weights = np.zeros((size * size, 3), np.float32)
    for face, pixel, bary in rasterize(triangles, size, size, cancel):
        face_of[pixel], weights[pixel] = face, bary
    missed = np.ones(len(triangles), bool)
    missed[face_of[face_of >= 0]] = False
    face, pixel, bary = _edge_pixels(triangles, np.flatnonzero(missed), size)
    free = face_of[pixel] < 0
    face_of[pixel[free]], weights[pixel[free]] = face[free], bary[free]
    index = np.flatnonzero(face_of >= 0)
    owner, weight = face_of[index], weights[index]
    corners = atlas.vertices[atlas.faces]
    normals = _corner_normals(atlas)
    position, normal = np.zeros((len(index), 3), np.float32), np.zeros((len(index), 3), np.float32)
    for i in range(3):
        position += weight[:, i, None] * corners[owner, i]
        normal += weight[:, i, None] * normals[owner, i]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-8)
    return Texels(index, position, normal)


def depth_map(
    vertices: FloatArray, faces: IntArray, c2w: FloatArray, k: FloatArray, height: int, width: int
) -> FloatArray:
    """(height, width) distance along the viewing axis of the nearest surface; infinite where there is none."""
    pixels, depth = cameras.project(vertices, c2w, k)
    corner_depth = depth[faces]
    drawn = np.flatnonzero(corner_depth.min(1) > _NEAR)
    inverse = 1 / corner_depth[drawn]  # 1 / depth is linear on the screen
    nearest = np.zeros(height * width, np.float32)
    for face, pixel, bary in rasterize(pixels[faces[drawn]], width, height):
        np.maximum.at(nearest, pixel, np.einsum("ij,ij->i", inverse[face], bary))
    with np.errstate(divide="ignore"):
        return np.reciprocal(nearest).reshape(height, width)


def _edge_pixels(
    triangles: FloatArray, faces: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Pixels along the edges of some of the triangles (F, 3, 2): face numbers, pixels, barycentric weights."""
    ends = np.roll(triangles[faces], -1, axis=1)
    length = np.abs(ends - triangles[faces]).max(-1).max(1)
    steps = np.ceil(2 * length).astype(np.int64) + 1
    local = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    along = local / np.repeat(np.maximum(steps - 1, 1), steps)
    face = np.tile(np.repeat(faces, steps), 3)
    bary = np.concatenate([np.roll(np.stack([1 - along, along, 0 * along], -1), i, axis=1) for i in range(3)])
    point = (triangles[face] * bary[..., None]).sum(1)
    column, row = np.clip(point, 0, size - 1).astype(np.int64).T
    return face, row * size + column, bary.astype(np.float32)


def _corner_normals(atlas: Atlas) -> FloatArray:
    """(F, 3, 3) normals of each face's corners: smooth over gentle bends, the face's own across a crease."""
    flat = facet_normals(atlas.vertices, atlas.faces)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    smooth = smooth_normals(atlas.vertices, atlas.faces)[atlas.faces]
    gentle = (smooth * flat[:, None]).sum(-1, keepdims=True) > CREASE
    return np.where(gentle, smooth, flat[:, None])

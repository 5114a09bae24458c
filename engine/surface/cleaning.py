"""Clean-up of an extracted mesh."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from engine.errors import EmptyResultError
from engine.mesh import Mesh

FLOATER_SHARE = 0.01
"""A part with less of the largest part's volume than this is a floater."""


def clean_mesh(mesh: Mesh, *, target_faces: int | None = None) -> Mesh:
    """Mesh without floaters, hidden cavities and unused vertices; at most `target_faces` faces when given.

    A closed mesh stays closed. Colours follow their vertices (after decimation: the nearest old vertex).
    Raises `EmptyResultError` for a mesh without faces.
    """
    if not len(mesh.faces):
        raise EmptyResultError(
            "The surface is empty: nothing of the object was found. Check the foreground and the views."
        )
    vertices, faces, colors = mesh.vertices, mesh.faces, mesh.colors
    part = _parts(len(vertices), faces)[faces[:, 0]]
    volume = np.bincount(part, weights=_tetrahedra(vertices, faces))
    # Cavities are inside out: their volume is negative. An open or inverted mesh has no such clue: keep by size alone.
    if volume.max() <= 0:
        volume = np.bincount(part).astype(np.float64)
    vertices, faces, colors = _compact(vertices, faces[(volume >= FLOATER_SHARE * volume.max())[part]], colors)
    if target_faces is not None and len(faces) > target_faces:
        import fast_simplification
        from scipy.spatial import cKDTree

        old, old_colors = vertices, colors
        vertices, faces = fast_simplification.simplify(vertices, faces, target_count=int(target_faces))
        colors = None if old_colors is None else old_colors[cKDTree(old).query(vertices)[1]]
        vertices, faces, colors = _compact(np.asarray(vertices, np.float32), _without_folds(faces), colors)
    return Mesh(vertices, faces, colors)


def _parts(count: int, faces: npt.NDArray) -> npt.NDArray:
    """Number of the connected part of each of `count` vertices."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = sparse.coo_matrix((np.ones(len(edges), bool), edges.T), shape=(count, count))
    return csgraph.connected_components(graph, directed=False)[1]


def _tetrahedra(vertices: npt.NDArray, faces: npt.NDArray) -> npt.NDArray:
    """Signed volume (F,) between each face and the origin."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6


def _without_folds(faces: npt.NDArray) -> npt.NDArray:
    """Drop the faces that lie back to back on the same three vertices: decimation leaves such pairs of thin tips."""
    _, which, count = np.unique(np.sort(faces, 1), axis=0, return_inverse=True, return_counts=True)
    return faces[count[which.ravel()] == 1]


def _compact(
    vertices: npt.NDArray, faces: npt.NDArray, colors: npt.NDArray | None
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray | None]:
    """Drop the vertices that no face uses."""
    used, inverse = np.unique(faces, return_inverse=True)
    faces = inverse.reshape(faces.shape).astype(np.int32)
    return vertices[used], faces, None if colors is None else colors[used]

"""Clean-up of an extracted mesh."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from engine.core.errors import EmptyResultError
from engine.meshes.mesh import Mesh, vertex_normals

FLOATER_SHARE = 0.01
"""A part with less of the largest part's volume than this is a floater."""
_APART = 1e-4
"""Share of the mesh's longest side by which sheets that met are drawn back into their own solid."""


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
        vertices, faces, colors = _separated(vertices, faces, colors)
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


def _separated(
    vertices: npt.NDArray, faces: npt.NDArray, colors: npt.NDArray | None
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray | None]:
    """Give sheets that decimation has brought together at an edge vertices of their own, a little apart.

    Of the faces at such an edge those belong together that have solid between them, so that a closed mesh has two
    faces at every edge again; apart, so that it has them as well in a file that holds one vertex for each position.
    """
    # A corner of a face is also the half-edge that leaves it.
    start, end = faces.ravel().astype(np.int64), np.roll(faces, -1, 1).ravel().astype(np.int64)
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.lexsort((high, low))
    begin = np.flatnonzero(np.r_[True, (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)])
    count = np.diff(np.r_[begin, len(order)])
    if count.max() <= 2:
        return vertices, faces, colors
    two = begin[count == 2]
    pairs = [np.stack([order[two], order[two + 1]], 1)]
    for at, n in zip(begin[count > 2], count[count > 2], strict=True):
        crowd = order[at : at + n]
        a, b = low[crowd[0]], high[crowd[0]]
        origin = vertices[a].astype(np.float64)
        along = (vertices[b] - origin) / max(float(np.linalg.norm(vertices[b] - origin)), 1e-12)
        across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        across /= np.linalg.norm(across)
        spokes = vertices[faces[crowd // 3].sum(1) - a - b] - origin
        angle = np.arctan2(spokes @ np.cross(along, across), spokes @ across)
        # Solid lies on the clockwise side of a face that runs along the edge, up to the next that runs against it.
        with_it = start[crowd] == a
        turn = (angle[with_it, None] - angle[None, ~with_it]) % (2 * np.pi)
        if turn.size:
            pairs.append(np.stack([crowd[with_it], crowd[~with_it][turn.argmin(1)]], 1))
    one, other = np.concatenate(pairs).T
    after_one, after_other = (h - h % 3 + (h + 1) % 3 for h in (one, other))
    same_way = start[one] == start[other]
    joined = (
        np.concatenate([one, after_one]),
        np.concatenate([np.where(same_way, other, after_other), np.where(same_way, after_other, other)]),
    )
    graph = sparse.coo_matrix((np.ones(len(joined[0]), bool), joined), shape=(len(start), len(start)))
    _, first, corner = np.unique(
        csgraph.connected_components(graph, directed=False)[1], return_index=True, return_inverse=True
    )
    kept, faces = start[first], corner.reshape(faces.shape).astype(np.int32)
    colors = None if colors is None else colors[kept]
    double = np.bincount(kept)[kept] > 1
    apart = _APART * np.ptp(vertices, axis=0).max() * vertex_normals(vertices[kept], faces)
    return (vertices[kept] - apart * double[:, None]).astype(np.float32), faces, colors


def _compact(
    vertices: npt.NDArray, faces: npt.NDArray, colors: npt.NDArray | None
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray | None]:
    """Drop the vertices that no face uses."""
    used, inverse = np.unique(faces, return_inverse=True)
    faces = inverse.reshape(faces.shape).astype(np.int32)
    return vertices[used], faces, None if colors is None else colors[used]

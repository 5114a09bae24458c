"""STL files as plain pieces, read by trimesh."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from engine.meshes.model import GREY, Model, Piece, Surface, Unreadable


def read_stl(path: Path) -> Model:
    """The triangles of an STL file, Z up. Raises Unreadable."""
    import trimesh

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(path, process=False)
        meshes = [m for m in scene.dump() if isinstance(m, trimesh.Trimesh) and len(m.faces)]
    except MemoryError:
        raise
    except Exception as error:  # trimesh's readers raise kinds of their own
        raise Unreadable(
            f"{path.name} cannot be read as STL ({error or type(error).__name__}).",
            advice="Download it again, or reject it.",
        ) from error
    if not meshes:
        raise Unreadable(f"{path.name} holds no triangles, so there is nothing to see.", advice="Reject or skip it.")
    origin = np.nan_to_num(np.asarray(meshes[0].vertices[0], np.float64))
    pieces = []
    for mesh in meshes:
        piece = Piece(
            (np.asarray(mesh.vertices, np.float64) - origin).astype(np.float32),
            np.asarray(mesh.faces, np.int32),
            Surface(color=GREY),
        )
        visual: Any = mesh.visual
        if visual.kind in ("vertex", "face"):
            piece.colors = np.asarray(visual.vertex_colors, np.uint8)
            piece.surface.color = (1.0, 1.0, 1.0, 1.0)
        pieces.append(piece)
    return Model(pieces, origin)

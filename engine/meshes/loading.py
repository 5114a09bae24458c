"""Model files of every kind that can be shown, read into plain pieces.

What is damaged in part is left out with a warning, so that the rest can still be judged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.meshes import gltf_scene, obj, ply, stl
from engine.meshes.mesh import FloatArray, facet_normals
from engine.meshes.model import CLEAR, Model, Piece, Unreadable
from engine.meshes.reducing import greatest_alpha

FORMATS = (".glb", ".gltf", ".obj", ".ply", ".stl")
"""Suffixes of the files that can be shown."""

_NO_AREA = 1e-12
"""Of the largest triangle's area: so small a one is nothing but a trace of the program that made it."""
_CHUNK = 1 << 17


def read_model(path: Path) -> Model:
    """The triangles of a model file, at rest. Raises Unreadable with a text for the annotator.

    >>> _ = (folder / "roof.obj").write_text("v 0 0 0\\nv 1 0 0\\nv 0 1 0\\nf 1 2 3\\n")
    >>> model = read_model(folder / "roof.obj")
    >>> [len(piece.triangles) for piece in model.pieces]
    [1]
    """
    model = _read(path)
    areas = [_doubled_areas(piece) for piece in model.pieces]
    least = _NO_AREA * max((float(area.max()) for area in areas), default=0.0)
    for at, area in enumerate(areas):  # corners that no triangle has may lie anywhere
        model.pieces[at] = model.pieces[at].only(~(area <= least) if least > 0 else np.ones(len(area), bool))
    model.pieces = [piece for piece in model.pieces if len(piece.triangles)]
    _settle_clear(model)
    return model


def _settle_clear(model: Model) -> None:
    """Leave out what is wholly clear; a model that is so altogether is shown opaque, as that is a mistake."""
    if all(piece.surface.alpha != "opaque" for piece in model.pieces) and all(map(_is_clear, model.pieces)):
        for piece in model.pieces:
            look = piece.surface
            look.color, look.alpha = (*look.color[:3], 1.0), "opaque"
        model.warnings.append("All materials were fully transparent: they are shown as opaque.")
    else:
        model.pieces = [piece for piece in model.pieces if piece.surface.color[3] >= _least(piece)]


def _is_clear(piece: Piece) -> bool:
    """Whether nothing of a piece is to be seen, for its material's, its corners' or its picture's sake."""
    alpha = piece.surface.color[3]
    if piece.colors is not None:
        alpha *= float(piece.colors[:, 3].max()) / 255
    if alpha >= _least(piece) and piece.surface.picture is not None:
        alpha *= greatest_alpha(piece.surface.picture)
    return alpha < _least(piece)


def _least(piece: Piece) -> float:
    """Alpha below which nothing of a piece is to be seen."""
    return {"opaque": 0.0, "mask": piece.surface.cutoff, "blend": CLEAR}[piece.surface.alpha]


def _doubled_areas(piece: Piece) -> FloatArray:
    """Twice the area of each triangle (T,)."""
    found = np.empty(len(piece.triangles), np.float32)
    with np.errstate(all="ignore"):
        for at in range(0, len(found), _CHUNK):
            normals = facet_normals(piece.points, piece.triangles[at : at + _CHUNK])
            found[at : at + _CHUNK] = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    return found


def _read(path: Path) -> Model:
    if not path.is_file():
        what = f"There is no file {path.name} in {path.parent}."
        raise Unreadable(what, advice="Was it moved?", decision="Skip it, or put it back.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        what = f"{path.name} cannot be opened ({error.strerror})."
        raise Unreadable(what, advice="Check its rights and the disk.") from error
    suffix = path.suffix.lower()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        raise Unreadable(f"{path.name} is empty: 0 bytes.", advice="Download it again, or reject it.")
    if head[:4] == b"glTF":
        return gltf_scene.read_gltf(path)
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        what = f"{path.name} is a web page, not a model."
        raise Unreadable(what, advice="Download the model again, or reject it.")
    if text.startswith(b"version https://git-lfs"):
        what = f"{path.name} only points to a file in Git LFS."
        raise Unreadable(what, advice="Fetch the file itself with git lfs pull.")
    if head[:2] == b"PK":
        raise Unreadable(f"{path.name} is a zip archive.", advice="Unpack it and screen the model inside.")
    if suffix == ".glb":
        what = f"{path.name} is damaged: it does not begin as a GLB."
        raise Unreadable(what, advice="Download it again, or reject it.")
    if suffix == ".gltf" or (suffix not in FORMATS and text.startswith(b"{")):
        return gltf_scene.read_gltf(path)
    if suffix in FORMATS:
        return {".obj": obj.read_obj, ".ply": ply.read_ply, ".stl": stl.read_stl}[suffix](path)
    what = f"{path.name} is of a kind that cannot be shown."
    raise Unreadable(what, advice=f"Shown are {', '.join(FORMATS)} files.")

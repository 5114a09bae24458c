"""OBJ, PLY and STL files as plain pieces, read by trimesh."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from engine.meshes.colors import to_linear
from engine.meshes.model import GREY, Y_TO_Z, Model, Picture, Piece, Surface, Unreadable


def read_other(path: Path) -> Model:
    """OBJ, PLY and STL. OBJ files stand Y up but for some of Oriel's, which say so; the others Z up."""
    import trimesh

    kind = path.suffix[1:].upper()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(path, process=False)
        meshes = [m for m in scene.dump() if isinstance(m, trimesh.Trimesh) and len(m.faces)]
    except MemoryError:
        raise
    except Exception as error:  # each of trimesh's readers raises kinds of its own
        raise Unreadable(
            f"{path.name} cannot be read as {kind} ({error or type(error).__name__}).",
            advice="Download it again, or reject it.",
        ) from error
    if not meshes:
        what = "only points, no triangles" if scene.geometry else "no triangles"
        raise Unreadable(f"{path.name} holds {what}, so there is nothing to see.", advice="Reject or skip it.")
    found: list[str] = []
    turn = np.eye(3)
    if kind == "OBJ":
        with path.open("rb") as file:
            first = file.readline(80)
        if not first.startswith(b"# Oriel") or b"Y up" in first:
            turn = Y_TO_Z[:3, :3]
        found = _missing_beside(path)
    origin = np.nan_to_num(np.asarray(meshes[0].vertices[0], np.float64) @ turn.T)
    pieces = []
    for mesh in meshes:
        points = (np.asarray(mesh.vertices, np.float64) @ turn.T - origin).astype(np.float32)
        piece = Piece(points, np.asarray(mesh.faces, np.int32), Surface(color=GREY))
        if not 0 <= piece.triangles.min() <= piece.triangles.max() < len(points):
            what = f"{path.name} is damaged: its mesh uses corners that it does not have."
            raise Unreadable(what, advice="Download it again.")
        visual: Any = mesh.visual
        if visual.kind == "texture":
            _textured(piece, visual)
        elif visual.kind in ("vertex", "face"):
            piece.colors = np.asarray(visual.vertex_colors, np.uint8)
            piece.surface.color = (1.0, 1.0, 1.0, 1.0)
        pieces.append(piece)
    return Model(pieces, origin, found)


def _textured(piece: Piece, visual: Any) -> None:
    image = getattr(visual.material, "image", None) or getattr(visual.material, "baseColorTexture", None)
    color = getattr(visual.material, "main_color", None)
    if image is None or visual.uv is None or len(visual.uv) != len(piece.points):
        if color is not None:
            red, green, blue = to_linear(np.asarray(color, np.float64)[:3] / 255).tolist()
            piece.surface.color = (red, green, blue, 1.0)
        return

    def read() -> bytes:
        raw = io.BytesIO()
        image.convert("RGBA" if "A" in image.getbands() else "RGB").save(raw, "BMP")
        return raw.getvalue()

    piece.uv = np.asarray(visual.uv, np.float32)[:, :2]
    piece.surface = Surface(Picture("texture", read))


def _missing_beside(path: Path) -> list[str]:
    """Warnings for the material files and textures that an OBJ names and that are not there."""
    found: dict[str, None] = {}
    with path.open("rb") as file:
        head = file.read(1 << 16).decode("utf-8", "replace")
    for name in re.findall(r"^mtllib\s+(.+?)\s*$", head, re.MULTILINE):
        library = path.parent / name
        if not library.is_file():
            found[f"Its materials are not shown: the file {name} is missing beside it."] = None
            continue
        for texture in re.findall(r"^\s*map_Kd\s+(.+?)\s*$", library.read_text("utf-8", "replace"), re.MULTILINE):
            if not (library.parent / texture.split()[-1].replace("\\", "/")).is_file():
                found[f"A texture is not shown: the file {texture} is missing beside it."] = None
    return list(found)

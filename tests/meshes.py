"""Exported meshes, read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh

from engine.meshes.export import sample_texture
from engine.meshes.mesh import ByteArray, Mesh

_Z_TO_Y = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)


def load_mesh(path: Path, *, up: str | None = None) -> Mesh:
    """Read a GLB, OBJ, PLY or STL file (also one from elsewhere) into the Z-up world frame.

    `up` is the file's up axis; None takes the format's custom, as in `export_mesh`. Of a textured file, colours
    are read from the texture.
    """
    suffix = path.suffix.lower()
    scene = trimesh.load_scene(path, process=False)
    loaded = scene.to_mesh()
    vertices = np.asarray(loaded.vertices, np.float64)
    if (up or ("Y" if suffix in (".glb", ".obj") else "Z")) == "Y":
        vertices = vertices @ _Z_TO_Y
    mesh = Mesh(vertices.astype(np.float32), np.asarray(loaded.faces, np.int32))
    if suffix == ".stl":  # STL repeats each corner in each triangle
        unique, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
        return Mesh(unique, index.reshape(-1)[mesh.faces].astype(np.int32))
    visual: Any = loaded.visual
    if visual.kind == "texture":
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is not None and visual.uv is not None:
            mesh.uv = np.asarray(visual.uv, np.float32)
            mesh.texture = np.asarray(image.convert("RGB"), np.uint8)
            mesh.colors = sample_texture(mesh.texture, mesh.uv)
        else:
            mesh.colors = _glb_vertex_colors(scene, len(vertices))
    elif visual.kind in ("vertex", "face"):
        rgb = np.asarray(visual.vertex_colors, np.uint8)[:, :3]
        mesh.colors = _linear_to_srgb(rgb / 255) if suffix == ".glb" else rgb.copy()
    return mesh


def _glb_vertex_colors(scene: trimesh.Scene, vertices: int) -> ByteArray | None:
    """COLOR_0 of a file with a material and no texture; trimesh loses it when it joins geometries."""
    light = [getattr(g.visual, "vertex_attributes", {}).get("color") for g in scene.geometry.values()]
    if len(light) != 1 or light[0] is None or len(light[0]) != vertices:
        return None
    full = np.iinfo(light[0].dtype).max if light[0].dtype.kind == "u" else 1
    return _linear_to_srgb(np.asarray(light[0], np.float64)[:, :3] / full)


def _linear_to_srgb(light: npt.NDArray[np.floating]) -> ByteArray:
    c = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * c).astype(np.uint8)

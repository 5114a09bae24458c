"""Meshes to files: GLB, OBJ, PLY and STL.

GLB and OBJ are written here rather than by trimesh: trimesh gives vertex-coloured GLBs no material (the
glTF default is metal) and its OBJ names every texture `material_0.png`, so that two exports into one
folder overwrite each other. PLY and STL are trimesh's.
"""

from __future__ import annotations

import contextlib
import errno
import re
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import trimesh
from scipy.ndimage import map_coordinates

from engine.core.errors import EmptyResultError, InputError, OutputError
from engine.core.files import sync, whole_file
from engine.meshes import gltf
from engine.meshes.colors import to_linear
from engine.meshes.mesh import ByteArray, FloatArray, Mesh, mean_colors, smooth_normals, weld

UpAxis = Literal["Y", "Z"]

FORMATS = (".glb", ".obj", ".ply", ".stl")
"""Suffixes that `export_mesh` writes."""
ROUGHNESS = 0.9
"""Roughness of the exported material; colours come from pictures with their light in, so nothing shines."""

_Z_TO_Y = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
"""Rotation that takes Z up to Y up: x stays, z becomes y, y becomes -z."""


def export_mesh(
    mesh: Mesh,
    path: str | Path,
    *,
    up: UpAxis | None = None,
    height_m: float | None = None,
    on_floor: bool = True,
) -> None:
    """Write a mesh to `path`; the suffix chooses the format.

    `.glb`: one textured primitive with normals and an embedded PNG. `.obj`: beside it go `<stem>.mtl` and
    `<stem>.png`. `.ply`: binary, with vertex colours and normals. `.stl`: binary, shape alone. PLY, STL and
    OBJ hold one vertex for each position; GLB keeps the vertices split along the atlas's seams.

    Args:
        up: axis that points up in the file; None takes the format's custom, Y for GLB and Z for the others.
        height_m: vertical extent in the file in metres; None leaves world units.
        on_floor: put the lowest point at height 0 and the bounding box's centre on the vertical axis; False
            leaves the origin where the reconstruction has it.

    Files appear whole or not at all. Raises InputError for an unknown suffix or a height that is not positive,
    EmptyResultError for a mesh without faces, OutputError where the file cannot be written.

    >>> corners = np.array([[0, 0, 0], [2, 0, 0], [0, 0, 1]], np.float32)
    >>> export_mesh(Mesh(corners, np.array([[0, 1, 2]], np.int32)), folder / "wall.glb", height_m=3)
    >>> trimesh.load_mesh(folder / "wall.glb").extents.tolist()  # Y is up in GLB
    [6.0, 3.0, 0.0]
    """
    path = Path(path)
    suffix = _known_suffix(path)
    if up not in (None, "Y", "Z"):
        raise InputError(f"The up axis must be Y or Z, not {up!r}.")
    if height_m is not None and not (np.isfinite(height_m) and height_m > 0):
        raise InputError(f"The height must be a number of metres above 0, not {height_m}.")
    if len(mesh.faces) == 0:
        raise EmptyResultError(
            f"There is nothing to write to {path.name}: the mesh has no faces. Run the surface stage again."
        )
    placed = _placed(mesh, up or _default_up(suffix), height_m, on_floor)
    if suffix == ".glb":
        files = {path: _glb(placed)}
    elif suffix == ".obj":
        files = _obj(placed, path, up or _default_up(suffix))
    else:
        exported = _welded(placed).export(file_type=suffix[1:], **_EXPORT_OPTIONS[suffix])
        assert isinstance(exported, bytes)
        files = {path: exported}
    _write_whole(files)


def sample_texture(texture: ByteArray, uv: FloatArray) -> ByteArray:
    """Colours (N, 3) of a texture (H, W, 3), bilinear, at coordinates (N, 2) with the origin at the lower left."""
    height, width = texture.shape[:2]
    at = (1 - uv[:, 1]) * height - 0.5, uv[:, 0] * width - 0.5
    channels = [map_coordinates(texture[..., i], at, np.float64, order=1, mode="nearest") for i in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


_EXPORT_OPTIONS: dict[str, dict[str, Any]] = {".ply": {"encoding": "binary", "vertex_normal": True}, ".stl": {}}


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path.name}: unknown format {suffix or '(no suffix)'!r}. Use one of {', '.join(FORMATS)}.")
    return suffix


def _default_up(suffix: str) -> UpAxis:
    return "Y" if suffix in (".glb", ".obj") else "Z"


def _placed(mesh: Mesh, up: UpAxis, height_m: float | None, on_floor: bool) -> Mesh:
    """The mesh in the file's frame, units and place."""
    used = np.unique(mesh.faces)
    vertices = mesh.vertices.astype(np.float64)
    low, high = vertices[used].min(0), vertices[used].max(0)
    if on_floor:
        vertices = vertices - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    if height_m is not None:
        extent = high[2] - low[2]
        if extent < 1e-9:
            raise InputError(f"A flat mesh cannot be given a height of {height_m:g} m. Export it without a height.")
        vertices = vertices * (height_m / extent)
    if up == "Y":
        vertices = vertices @ _Z_TO_Y.T
    return Mesh(vertices.astype(np.float32), mesh.faces, mesh.colors, mesh.uv, mesh.texture)


def _vertex_colors(mesh: Mesh) -> ByteArray | None:
    if mesh.colors is None and mesh.uv is not None and mesh.texture is not None:
        return sample_texture(mesh.texture, mesh.uv)
    return mesh.colors


def _welded(mesh: Mesh) -> trimesh.Trimesh:
    """One vertex for each position, as 3D printing and geometry tools expect, with colours averaged."""
    first, group = weld(mesh.vertices)
    colors = _vertex_colors(mesh)
    if colors is not None:
        colors = mean_colors(colors, group)
    vertices, faces = mesh.vertices[first], group[mesh.faces]
    normals = smooth_normals(vertices, faces)
    return trimesh.Trimesh(vertices, faces, vertex_normals=normals, vertex_colors=colors, process=False)


def _glb(mesh: Mesh) -> bytes:
    """Binary glTF 2.0: one node, one primitive, one material."""
    glb, array_buffer, element_buffer = gltf.GlbWriter(), 34962, 34963
    low, high = mesh.vertices.min(0).tolist(), mesh.vertices.max(0).tolist()
    attributes = {
        "POSITION": glb.accessor(mesh.vertices, array_buffer, min=low, max=high),
        "NORMAL": glb.accessor(smooth_normals(mesh.vertices, mesh.faces), array_buffer),
    }
    material: dict[str, Any] = {
        "name": "surface",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS},
    }
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Oriel"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "materials": [material],
    }
    if mesh.uv is not None and mesh.texture is not None:
        # glTF counts v from the top
        uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1).astype(np.float32)
        attributes["TEXCOORD_0"] = glb.accessor(uv, array_buffer)
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        linear, mipmapped, clamp = 9729, 9987, 33071
        document["samplers"] = [{"magFilter": linear, "minFilter": mipmapped, "wrapS": clamp, "wrapT": clamp}]
        document["images"] = [{"bufferView": glb.view(_png(mesh.texture)), "mimeType": "image/png", "name": "texture"}]
        document["textures"] = [{"sampler": 0, "source": 0}]
    elif mesh.colors is not None:
        # COLOR_0 is linear light; 16 bits keep the dark tones apart. Four channels keep rows 4-byte aligned.
        rgba = np.full((len(mesh.colors), 4), 65535, np.uint16)
        rgba[:, :3] = np.rint(to_linear(mesh.colors.astype(np.float32) / 255) * 65535)
        attributes["COLOR_0"] = glb.accessor(rgba, array_buffer, normalized=True)
    indices = glb.accessor(mesh.faces.astype(np.uint32).ravel(), element_buffer)
    document["meshes"] = [
        {"name": "object", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}
    ]
    return glb.content(document)


def _obj(mesh: Mesh, path: Path, up: UpAxis) -> dict[Path, bytes]:
    """Wavefront OBJ, with its material and texture where there is one; the OBJ itself comes last."""
    first, group = weld(mesh.vertices)
    vertices, faces = mesh.vertices[first], group[mesh.faces] + 1
    normals = smooth_normals(mesh.vertices, mesh.faces)[first]
    files: dict[Path, bytes] = {}
    lines = [f"# Oriel, {up} up"]
    textured = mesh.uv is not None and mesh.texture is not None
    if textured or mesh.colors is None:
        lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices.tolist()]
    else:
        assert mesh.colors is not None
        rows = np.concatenate([vertices, mesh.colors[first] / 255.0], 1).tolist()
        lines += [f"v {x:.7g} {y:.7g} {z:.7g} {r:.4f} {g:.4f} {b:.4f}" for x, y, z, r, g, b in rows]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in normals.tolist()]
    if textured:
        assert mesh.uv is not None and mesh.texture is not None
        # many readers end a file name in `mtllib` and `map_Kd` at the first blank
        stem = re.sub(r"\s+", "_", path.stem)
        png, mtl = path.with_name(f"{stem}.png"), path.with_name(f"{stem}.mtl")
        files[png] = _png(mesh.texture)
        files[mtl] = (
            f"newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nNs 10\nd 1\nillum 1\nmap_Kd {png.name}\n"
        ).encode()
        lines.insert(1, f"mtllib {mtl.name}")
        lines += [f"vt {u:.7f} {v:.7f}" for u, v in mesh.uv.tolist()]
        lines.append("usemtl surface")
        corners = np.concatenate([faces, mesh.faces + 1], 1).tolist()
        lines += [f"f {a}/{ta}/{a} {b}/{tb}/{b} {c}/{tc}/{c}" for a, b, c, ta, tb, tc in corners]
    else:
        lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in faces.tolist()]
    files[path] = ("\n".join(lines) + "\n").encode()
    return files


def _png(texture: ByteArray) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(texture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    return data.tobytes()


def _write_whole(files: dict[Path, bytes]) -> None:
    """Write every file beside its place, then rename them all, so that a reader never meets half a file."""
    target = next(iter(files))
    try:
        with contextlib.ExitStack() as stack:
            for target, data in files.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = stack.enter_context(whole_file(target, durable=False))
                partial.write_bytes(data)
                sync(partial)
    except OSError as error:
        raise OutputError(_plain_words(error, Path(error.filename2 or target))) from error


def _plain_words(error: OSError, path: Path) -> str:
    start = f"{path.name} was not written"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{start}: the disk that holds {path.parent} is full. Free some space or choose another folder."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{start}: you may not write in {path.parent}. Choose another folder or change its permissions."
    reason = (error.strerror or str(error)).lower()
    return f"{start} to {path.parent} ({reason}). Choose another folder or file name."

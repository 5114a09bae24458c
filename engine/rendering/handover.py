"""What Blender is given in place of a file that it cannot read, or would show unlike the rest of the program does.

OBJ files get a material file that says plainly what the many ways of writing one mean, PLY files become GLB, as Blender
knows of no textures in them, and of GLB what is packed by meshopt or AVIF is unpacked,
and KTX2, which nothing here reads, left out.
"""

from __future__ import annotations

import io
import mmap
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.core.processes import Channel
from engine.meshes import gltf
from engine.meshes.colors import to_linear
from engine.meshes.gltf_scene import open_gltf
from engine.meshes.loading import read_model
from engine.meshes.materials import Material, logical_lines
from engine.meshes.model import Y_TO_Z, Piece
from engine.meshes.obj import materials_of

_SIGNS = (*gltf.MESHOPT, "EXT_texture_avif", gltf.KTX2)
_WORDS = ("map_Kd", "map_Ks", "map_Ns", "map_Ke", "map_Bump", "map_Pr", "map_Pm", "Ns", "Ni", "Ks", "Ke", "Pr", "Pm")
_SPELT = {word.lower(): word for word in _WORDS}


def wants_another(model: Path) -> bool:
    """Whether Blender is to be given something else than this file."""
    suffix = model.suffix.lower()
    if not model.is_file() or not model.stat().st_size:
        return False
    if suffix == ".ply":
        return True
    signs = [b"mtllib"] if suffix == ".obj" else [sign.encode() for sign in _SIGNS]
    if suffix not in (".obj", ".glb", ".gltf"):
        return False
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = len(content)
        if content[:4] == gltf.MAGIC:
            end = 20 + int.from_bytes(content[12:16], "little")  # its description comes first
        return any(content.find(sign, 0, end) >= 0 for sign in signs)


def serve_another(channel: Channel, model: Path, folder: Path) -> None:
    """Write what Blender is given into a folder; send its path and, as whole sentences, what is missing in it.

    The work of a `Child` (engine/core/processes.py).
    """
    suffix = model.suffix.lower()
    write = {".obj": _write_obj, ".ply": _write_ply}.get(suffix, _write_gltf)
    channel.send(write(model, folder))


def _write_obj(model: Path, folder: Path) -> tuple[Path, list[str]]:
    text = logical_lines(model.read_bytes())
    told: dict[str, None] = {}
    materials = materials_of(model, text, told)
    numbers = {name: index for index, name in enumerate(materials)}
    lines: list[str] = []
    for name, index in numbers.items():
        lines += [f"newmtl m{index}", *_statements(materials[name], folder, index)]
    (folder / "model.mtl").write_text("\n".join(lines) + "\n")

    def numbered(match: re.Match[bytes]) -> bytes:
        name = match[1].strip().decode("utf-8", "surrogateescape")
        return b"usemtl m%d" % numbers[name] if name in numbers else b"usemtl other"

    text = re.sub(rb"(?m)^[ \t]*mtllib[ \t].*$", b"", text)
    text = re.sub(rb"(?m)^[ \t]*usemtl[ \t]+(.*)$", numbered, text)
    first, _, rest = text[1:].partition(b"\n")  # Oriel says there which axis is up
    (folder / "model.obj").write_bytes(first + b"\nmtllib model.mtl\n" + rest)
    return folder / "model.obj", list(told)


def _statements(material: Material, folder: Path, index: int) -> list[str]:
    """The lines of a material, its pictures copied into a folder."""
    found = []
    if material.color is not None:  # sRGB; Blender takes it for linear light
        found.append("Kd " + " ".join(f"{c:.6f}" for c in to_linear(np.clip(material.color, 0, 1)).tolist()))
    if material.opacity < 1:
        found.append(f"d {max(material.opacity, 0):.6f}")
    for word, numbers in material.others.items():
        if word in _SPELT:
            found.append(" ".join([_SPELT[word], *(f"{number:g}" for number in numbers)]))
    for word, picture in material.maps.items():
        if picture.file is None or (word == "map_d" and "map_kd" not in material.maps):
            continue
        copy = f"{index}_{word}_{re.sub(r'[^A-Za-z0-9._-]', '_', picture.file.name)}"
        shutil.copyfile(picture.file, folder / copy)
        options = [" ".join((name, *given)) for name, given in picture.options.items() if name in ("-s", "-o", "-bm")]
        found.append(" ".join([_SPELT.get(word, word), *options, copy]))
    return found


def _write_ply(model: Path, folder: Path) -> tuple[Path, list[str]]:
    read = read_model(model)
    document: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}]}
    place = (read.origin @ Y_TO_Z[:3, :3]).tolist()
    document |= {"nodes": [{"mesh": 0, "translation": place}]}
    primitives: list[dict[str, Any]] = []
    glb = gltf.GlbWriter()
    for piece in read.pieces:
        primitives.append(_primitive(piece, document, glb))
    document["meshes"] = [{"primitives": primitives}]
    (folder / "model.glb").write_bytes(glb.content(document))
    return folder / "model.glb", read.warnings


def _primitive(piece: Piece, document: dict[str, Any], glb: gltf.GlbWriter) -> dict[str, Any]:
    points = piece.points @ Y_TO_Z[:3, :3].astype(np.float32)
    attributes = {"POSITION": glb.accessor(points, min=points.min(0).tolist(), max=points.max(0).tolist())}
    if piece.normals is not None:
        attributes["NORMAL"] = glb.accessor(piece.normals @ Y_TO_Z[:3, :3].astype(np.float32))
    look: dict[str, Any] = {"metallicFactor": 0.0}
    if piece.colors is not None:
        linear = to_linear(piece.colors.astype(np.float32) / 255)
        linear[:, 3] = 1
        attributes["COLOR_0"] = glb.accessor(linear.astype(np.float32))
    primitive = {"attributes": attributes, "indices": glb.accessor(piece.triangles.astype(np.uint32).reshape(-1))}
    if piece.surface.picture is not None and piece.uv is not None:
        attributes["TEXCOORD_0"] = glb.accessor(np.stack([piece.uv[:, 0], 1 - piece.uv[:, 1]], 1).astype(np.float32))
        content, kind = _readable(piece.surface.picture.read())
        image = {"bufferView": glb.view(content), "mimeType": kind, "name": piece.surface.picture.name}
        document.setdefault("images", []).append(image)
        document.setdefault("textures", []).append({"source": len(document["images"]) - 1})
        look["baseColorTexture"] = {"index": len(document["textures"]) - 1}
    if len(look) > 1 or piece.colors is not None:
        document.setdefault("materials", []).append({"pbrMetallicRoughness": look})
        primitive["material"] = len(document["materials"]) - 1
    return primitive


def _write_gltf(model: Path, folder: Path) -> tuple[Path, list[str]]:
    reader = open_gltf(model)
    document = reader.document
    glb = gltf.GlbWriter()
    views = [reader.view(index) for index in range(len(reader.items("bufferViews")))]
    old = reader.items("bufferViews")
    for (content, stride), view in zip(views, old, strict=True):
        kept = {key: view[key] for key in ("target",) if key in view}
        glb.view(content.tobytes(), **kept | ({"byteStride": stride} if stride else {}))
    for image in reader.items("images"):
        try:
            found = reader.picture(image) if "uri" in image else views[image["bufferView"]][0].tobytes()
        except gltf.Missing:
            continue  # Blender says so
        picture, kind = _readable(found)
        image.pop("uri", None)
        image |= {"bufferView": glb.view(picture), "mimeType": kind}
    told: dict[str, None] = {}
    for texture in reader.items("textures"):
        extensions = texture.get("extensions") or {}
        packed = extensions.pop("EXT_texture_avif", None)
        if packed is not None:
            texture["source"] = packed.get("source", texture.get("source"))
        if extensions.pop(gltf.KTX2, None) is not None and "source" not in texture and not extensions:
            told[gltf.KTX2_WORDS] = None
    for name in ("extensionsUsed", "extensionsRequired"):
        document[name] = [extension for extension in document.get(name, []) if extension not in _SIGNS]
        if not document[name]:
            del document[name]
    (folder / "model.glb").write_bytes(glb.content(document))
    return folder / "model.glb", list(told)


def _readable(content: bytes) -> tuple[bytes, str]:
    """A picture in a format of glTF's own, and its media type; one that cannot be read as it is."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format in ("PNG", "JPEG", "WEBP"):
                return content, f"image/{image.format.lower()}"
            raw = io.BytesIO()
            image.convert("RGBA" if image.has_transparency_data else "RGB").save(raw, "PNG", compress_level=1)
    except (OSError, ValueError):
        return content, "image/png"
    return raw.getvalue(), "image/png"

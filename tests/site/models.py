"""Small models as files, made without a library of meshes."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from typing import Any

_CORNERS = [(x, y, z) for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)]
_FACES = [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3]


def make_gltf(seed: int, size: int = 0) -> tuple[dict[str, Any], bytes, bytes]:
    """A box of its own proportions with a picture on it: document, data, PNG. The picture brings it to about `size`
    bytes."""
    rng = random.Random(seed)
    scale = [rng.uniform(0.5, 2) for _ in range(3)]
    positions = b"".join(
        struct.pack("<3f", *(c * s for c, s in zip(corner, scale, strict=True))) for corner in _CORNERS
    )
    indices = struct.pack(f"<{len(_FACES)}H", *_FACES)
    uv = b"".join(struct.pack("<2f", x, (y + z) / 2) for x, y, z in _CORNERS)
    data = positions + indices + uv
    document = {
        "asset": {"version": "2.0", "generator": f"test site {seed}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 2}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "textures/wall%20a.png", "mimeType": "image/png"}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 8,
                "type": "VEC3",
                "min": [0.0, 0.0, 0.0],
                "max": list(struct.unpack("<3f", positions[-12:])),
            },
            {"bufferView": 1, "componentType": 5123, "count": len(_FACES), "type": "SCALAR"},
            {"bufferView": 2, "componentType": 5126, "count": 8, "type": "VEC2"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices)},
            {"buffer": 0, "byteOffset": len(positions) + len(indices), "byteLength": len(uv)},
        ],
        "buffers": [{"uri": "scene.bin", "byteLength": len(data)}],
    }
    return document, data, _png(rng, max(4, int((max(size - 2000, 0) / 3) ** 0.5)))


def make_glb(seed: int, size: int = 0) -> bytes:
    """The same model as one GLB."""
    document, data, picture = make_gltf(seed, size)
    document["images"] = [{"bufferView": 3, "mimeType": "image/png"}]
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(data), "byteLength": len(picture)})
    return join_glb(document, data + picture)


def join_glb(document: dict[str, Any], data: bytes) -> bytes:
    """A GLB of a document and its data."""
    data += b"\0" * (-len(data) % 4)
    if data:
        document = document | {"buffers": [{"byteLength": len(data)}]}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(data), 0x004E4942) + data if data else b""
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def make_archive(seed: int, size: int = 0, extra: dict[str, bytes] | None = None) -> bytes:
    """The same model as an archive, in the layout of Sketchfab's."""
    document, data, picture = make_gltf(seed, size)
    files = {
        "license.txt": b"CC BY",
        "scene.gltf": json.dumps(document).encode(),
        "scene.bin": data,
        "textures/wall a.png": picture,
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files | (extra or {})).items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def _png(rng: random.Random, side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + rng.randbytes(3 * side) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")

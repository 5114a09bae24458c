"""The files beside a model file that it uses."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from engine.core.errors import InputError
from engine.meshes import gltf
from engine.meshes.beside import find_beside
from engine.meshes.materials import find_libraries, read_materials
from engine.meshes.ply import texture_names

_LONGEST = 4096
"""Bytes of a line that names a file."""
_HEADER = 1 << 16
"""Bytes in which a PLY file's header ends."""


def companions(path: Path) -> dict[str, Path]:
    """The files beside a glTF, GLB, OBJ or PLY that it uses (geometry, materials, pictures), by their names relative
    to it.

    Some may be missing. Of other formats, and of absolute names that lead elsewhere, nothing is known.
    """
    try:
        names = list(dict.fromkeys(_uses(path)))
    except OSError:
        names = []
    found = {}
    for name in names:
        name = name.replace("\\", "/")
        if name and "\0" not in name and not name.startswith("/") and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
            found[name] = path.parent / name
    return found


def read_files(path: Path) -> dict[str, bytes]:
    """A model's files by names below one folder, its own first."""
    beside = companions(path)
    # Some use files above their own folder.
    depth = max((Path(os.path.normpath(name)).parts.count("..") for name in beside), default=0)
    below = "/".join(["up"] * depth)
    try:
        found = {os.path.normpath(f"{below}/{path.name}" if below else path.name): path.read_bytes()}
        for name, file in beside.items():
            if file.is_file():
                found[os.path.normpath(f"{below}/{name}" if below else name)] = file.read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}. Check that it is there.") from error
    return found


def _uses(path: Path) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix in (".gltf", ".glb"):
        yield from _gltf_uses(path)
    elif suffix == ".obj":
        for line in _after(path, b"mtllib"):
            libraries, missing = find_libraries(path.parent, line)
            yield from missing
            for library in libraries:
                yield _relative(library, path)
                for material in read_materials([library]).values():
                    for picture in material.maps.values():
                        file = picture.file or library.parent / picture.name.replace("\\", "/")
                        yield _relative(file, path)
    elif suffix == ".ply" and path.is_file():
        with path.open("rb") as content:
            names = texture_names(content.read(_HEADER))
        for name in names:
            texture = find_beside(path.parent, name)
            yield name if texture is None else _relative(texture, path)


def _relative(file: Path, path: Path) -> str:
    """A file by its name relative to a model's folder; as it is where it lies elsewhere."""
    return str(file.relative_to(path.parent) if file.is_relative_to(path.parent) else file)


def _gltf_uses(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            binary = content[:4] == gltf.MAGIC
            text = gltf.glb_parts(content, gltf.glb_header(content)[1])[0] if binary else content[:]
        document = gltf.parse(text)
        entries = [entry for part in ("buffers", "images") for entry in document.get(part, [])]
        yield from (unquote(entry["uri"]) for entry in entries if not entry.get("uri", "data:").startswith("data:"))
    except gltf.MALFORMED:
        return  # damaged: Blender will say so


def _after(path: Path, word: bytes) -> Iterator[str]:
    """What the lines of a text file go on with that begin with a word; quick in large files."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(word)
        while at >= 0:
            start, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
            end = len(content) if end < 0 else end
            line = content[start : min(end, start + _LONGEST)]
            if line.lstrip().startswith(word) and len(parts := line.split(None, 1)) == 2:
                yield os.fsdecode(parts[1].strip())
            at = content.find(word, end)

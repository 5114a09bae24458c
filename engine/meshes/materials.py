"""Materials of OBJ files (MTL), as lenient as the programs that write them are free."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.meshes.beside import find_beside

_ARGUMENTS = {"-o": 3, "-s": 3, "-t": 3, "-mm": 2}
"""Most arguments of the options of a picture that have several; all others have one."""
_PICTURES = ("map_", "bump", "disp", "decal", "refl", "norm")
"""How the words begin that name pictures."""
_COLORS = ("ka", "kd", "ks", "ke", "tf")


@dataclass
class Map:
    """A picture that a material names."""

    name: str
    """As it stands there, without options."""
    file: Path | None
    """None where it is missing."""
    options: dict[str, list[str]] = field(default_factory=dict)
    """Arguments by option: `-s`, `-clamp`."""

    def numbers(self, option: str, default: float) -> tuple[float, float]:
        """The first two numbers of an option."""
        found = [value for value in map(_number, self.options.get(option, [])) if value is not None][:2]
        return (found[0], found[-1] if len(found) > 1 else default) if found else (default, default)


@dataclass
class Material:
    """What one `newmtl` says."""

    color: tuple[float, float, float] | None = None
    """`Kd`, sRGB."""
    opacity: float = 1.0
    """`d`, or 1 less `Tr`."""
    maps: dict[str, Map] = field(default_factory=dict)
    """By word, in lower case: `map_kd`, `map_d`, `map_bump`."""
    others: dict[str, list[float]] = field(default_factory=dict)
    """Other numbers by word, in lower case: `ns`, `ke`, `illum`."""


def logical_lines(content: bytes) -> bytes:
    """The text of an OBJ or MTL file, a line feed before every line, with what is continued joined."""
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return b"\n" + content.replace(b"\\\n", b" ")


def find_libraries(folder: Path, value: str) -> tuple[list[Path], list[str]]:
    """The files that a line `mtllib` names, and the names of those that are missing."""
    if whole := find_beside(folder, value):
        return [whole], []
    found = {name: find_beside(folder, name) for name in value.split()}
    if any(found.values()):
        return [file for file in found.values() if file], [name for name, file in found.items() if file is None]
    return [], [value]


def read_materials(files: Iterable[Path]) -> dict[str, Material]:
    """The materials of libraries, by name. Raises OSError for a file that cannot be read."""
    materials: dict[str, Material] = {}
    for file in files:
        material = Material()
        for line in logical_lines(file.read_bytes()).split(b"\n"):
            key, _, value = os.fsdecode(line.strip().replace(b"\t", b" ")).partition(" ")
            key, value = key.lower(), value.strip()
            if key == "newmtl":
                material = materials.setdefault(value, Material())
            elif key.startswith(_PICTURES) and value:
                material.maps[key] = _map(file.parent, value)
            elif key and not key.startswith("#"):
                _read_numbers(material, key, value)
    return materials


def _read_numbers(material: Material, key: str, value: str) -> None:
    numbers = [number for number in map(_number, value.split()) if number is not None]
    if not numbers or value.startswith(("spectral", "xyz")):
        return
    if key in _COLORS:
        numbers = (numbers if len(numbers) >= 3 else numbers[:1] * 3)[:3]
    if key == "kd":
        material.color = (numbers[0], numbers[1], numbers[2])
    elif key == "d":
        material.opacity = numbers[-1]  # after -halo
    elif key == "tr":
        material.opacity = 1 - numbers[-1]
    else:
        material.others[key] = numbers


def _map(folder: Path, value: str) -> Map:
    """The picture of a line. What is option and what is name is not always plain: a name that is there is right."""
    read = _readings(value)
    for name, options in read:
        if file := find_beside(folder, name):
            return Map(name, file, options)
    name, options = read[0]
    return Map(name.strip("\"'"), None, options)


def _readings(value: str) -> list[tuple[str, dict[str, list[str]]]]:
    """Names and options that a line may mean, the one with most arguments of options first."""
    options: dict[str, list[str]] = {}
    read = []
    while value.startswith("-") and " " in value:
        option, _, value = value.partition(" ")
        option, value = option.lower(), value.strip()
        options[option] = []
        for _ in range(_ARGUMENTS.get(option, 1)):
            argument, _, after = value.partition(" ")
            if not after.strip() or (option in _ARGUMENTS and _number(argument) is None):
                break
            if options[option]:
                read.append((value, {name: list(given) for name, given in options.items()}))
            options[option].append(argument)
            value = after.strip()
    return [(value, options), *reversed(read)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

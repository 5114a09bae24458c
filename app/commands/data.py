"""`oriel data sheet | export`: contact sheets and exports of procedural objects."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

from PIL import Image

from app.options import option
from app.reporting import write
from engine.core.errors import InputError
from engine.data.objects import FAMILIES, make_object, split_seeds
from engine.data.sheet import contact_sheet

Split = Annotated[str, option("which objects", choices=("train", "validation", "heldout"))]
Family = Annotated[str | None, option("only this family", choices=tuple(FAMILIES))]
Count = Annotated[int, option("how many objects", low=1)]


def sheet(
    *,
    output: Annotated[Path, option("PNG file to write", "-o")],
    split: Split = "heldout",
    family: Family = None,
    count: Count = 48,
) -> None:
    """Draw many objects into one picture."""
    seeds, raw = _seeds(split, count), io.BytesIO()
    Image.fromarray(contact_sheet(seeds, family)).save(raw, format="PNG")
    write(output, raw.getvalue())
    print(f"{output}: {len(seeds)} objects")


def export(
    *,
    output: Annotated[Path, option("folder to write into", "-o")],
    split: Split = "heldout",
    family: Family = None,
    count: Count = 10,
) -> None:
    """Write objects as textured GLB files."""
    for seed in _seeds(split, count):
        made = make_object(seed, family)
        path = output / f"{made.family}_{seed}.glb"
        write(path, made.to_scene().export(file_type="glb"))
        print(path)


COMMANDS = (sheet, export)


def _seeds(split: str, count: int) -> list[int]:
    seeds = split_seeds(split)
    if count > len(seeds):
        raise InputError(f"The {split} split has {len(seeds)} objects; {count} were asked for.")
    return [int(seed) for seed in seeds[:count]]

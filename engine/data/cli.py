"""`oriel data`: contact sheets and exports of procedural objects."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.core.errors import InputError
from engine.core.files import writing
from engine.data.objects import FAMILIES, make_object, split_seeds
from engine.data.renderer import Light, Renderer, frame_object

_TILE = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands `sheet` and `export`."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    sheet = commands.add_parser("sheet", help="draw many objects into one picture")
    sheet.add_argument("-o", "--output", type=Path, required=True, help="PNG file to write")
    export = commands.add_parser("export", help="write objects as textured GLB files")
    export.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    for command, count in ((sheet, 48), (export, 10)):
        command.add_argument("--split", choices=("train", "validation", "heldout"), default="heldout")
        command.add_argument("--family", choices=FAMILIES, help="only this family")
        command.add_argument("--count", type=int, default=count, help="how many objects (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit status."""
    if args.count < 1:
        raise InputError(f"--count is {args.count}: give a number of objects of at least 1.")
    seeds = split_seeds(args.split)
    if args.count > len(seeds):
        raise InputError(f"The {args.split} split has {len(seeds)} objects; {args.count} were asked for.")
    chosen = [int(seed) for seed in seeds[: args.count]]
    if args.data_command == "sheet":
        picture = Image.fromarray(contact_sheet(chosen, args.family))
        _write(args.output, lambda path: picture.save(path, format="PNG"))
        print(f"{args.output}: {len(chosen)} objects")
    else:
        for seed in chosen:
            obj = make_object(seed, args.family)
            path = args.output / f"{obj.family}_{seed}.glb"
            _write(path, partial(Path.write_bytes, data=obj.to_scene().export(file_type="glb")))
            print(path)
    return 0


def _write(path: Path, save: Callable[[Path], object]) -> None:
    with writing(path, "Choose another place with -o."):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path)


def contact_sheet(seeds: list[int], family: str | None = None) -> npt.NDArray[np.uint8]:
    """The objects of these seeds in a near-square grid, RGB uint8 (H, W, 3), each from its own side and light."""
    columns = int(np.ceil(np.sqrt(len(seeds) * 1.3)))
    rows = -(-len(seeds) // columns)
    sheet = np.full((rows * _TILE, columns * _TILE, 3), 255, np.uint8)
    renderer = Renderer(_TILE)
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        framed = frame_object(make_object(seed, family), float(rng.uniform(0, 50)), float(rng.uniform(0, 360)))
        pose = cameras.camera_to_world(framed.elevation, 0.0)
        picture, _ = renderer.render(
            framed.obj, pose, cameras.intrinsics(_TILE), light=Light.random(rng), model=framed.model, depth=False
        )
        row, column = divmod(index, columns)
        sheet[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE] = picture[0, ..., :3]
    return sheet

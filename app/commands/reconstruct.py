"""`oriel reconstruct`: a mesh from each picture."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, get_args

from app.commands.runs import execute, history, tell
from app.history import free_folder, safe_name
from app.options import option
from app.reporting import BAD_INPUT, complain
from app.settings import Settings
from engine import choices
from engine.cameras import FRAME_FRACTION
from engine.core.errors import Cancelled, OrielError
from engine.reconstruct.options import (
    FORMATS,
    MODES,
    PICTURE_SUFFIXES,
    QUALITIES,
    SAMPLERS,
    SILHOUETTES,
    TEXTURE_SIZES,
    Options,
    UpAxis,
)
from engine.reconstruct.run import Run

_BEST = "(default: published weights if they are here, else what is built in; `oriel weights list`)"

Quality = Annotated[str, option("what it may cost", choices=tuple(QUALITIES))]
Method = Annotated[
    str | None,
    option(
        "how the surface comes about: the view generator's own solid, or a surface network that reads 32 views "
        "(default: what suits --generator and --surface)",
        choices=tuple(choices.METHODS),
    ),
]


def reconstruct(
    pictures: Annotated[list[Path], option("picture files, or folders of them", metavar="PICTURES")],
    /,
    *,
    output: Annotated[Path | None, option("folder for the runs (default: the history)", "-o", metavar="OUT")] = None,
    quality: Quality = "standard",
    faces: Annotated[int | None, option("triangles of the mesh (default: by the quality)")] = None,
    texture_size: Annotated[
        int | None, option("side of the texture in pixels (default: by the quality)", choices=TEXTURE_SIZES)
    ] = None,
    smooth: Annotated[int, option("passes of smoothing, 0 to 50; the volume stays")] = 0,
    method: Method = None,
    formats: Annotated[
        tuple[str, ...], option("repeat for several (default glb)", "--format", choices=FORMATS, repeat=True)
    ] = (),
    elevation: Annotated[float | None, option("known elevation of the camera", metavar="DEG")] = None,
    generator: Annotated[str | None, option(f"what draws the views: built-in, zero123-xl, zero123 {_BEST}")] = None,
    matcher: Annotated[str | None, option(f"for the elevation: dense-flow, sift, loftr {_BEST}")] = None,
    surface: Annotated[str | None, option(f"built-in, one-2-3-45, or a file of weights {_BEST}")] = None,
    sampler: Annotated[str, option("how a diffusion model draws the views", choices=SAMPLERS)] = "fast",
    silhouette: Annotated[
        str,
        option(
            "whether the surface network's surface is bent to the picture's silhouette (auto: unless its weights are "
            "published ones)",
            choices=SILHOUETTES,
        ),
    ] = "auto",
    memory: Annotated[float | None, option("memory of the GPU to fill (default: what is free)", metavar="GB")] = None,
    seed: Annotated[int, option("seed of what is drawn by chance")] = 0,
    mode: Annotated[str, option("how the object is found", "--foreground", choices=MODES)] = "auto",
    box: Annotated[
        tuple[int, int, int, int] | None, option("box around it, in pixels", nargs=4, metavar=("X0", "Y0", "X1", "Y1"))
    ] = None,
    point: Annotated[
        tuple[tuple[float, float], ...],
        option(
            "a pixel on the object, to choose it among several; repeatable",
            nargs=2,
            repeat=True,
            metavar=("X", "Y"),
        ),
    ] = (),
    remove_point: Annotated[
        tuple[tuple[float, float], ...],
        option("a pixel on what is not meant; repeatable", nargs=2, repeat=True, metavar=("X", "Y")),
    ] = (),
    mask: Annotated[Path | None, option("finished mask, white where the object is", metavar="FILE")] = None,
    upright: Annotated[
        bool, option("turn a photograph straight towards its object, by its lens and the object's upright edges")
    ] = True,
    foreground_ratio: Annotated[
        float, option("share of the frame that the object's longer side takes, 0.5 to 1", metavar="X")
    ] = FRAME_FRACTION,
    up: Annotated[
        UpAxis | None, option("up axis of the files (default: Y in GLB and OBJ, else Z)", choices=get_args(UpAxis))
    ] = None,
    height_m: Annotated[float | None, option("height of the object in metres", metavar="M")] = None,
    json: Annotated[bool, option("print one JSON object for each picture")] = False,
) -> int:
    """Reconstruct a mesh from each picture."""
    points = [(*at, True) for at in point] + [(*at, False) for at in remove_point]
    options = Options(
        mode=mode,
        mask=mask,
        upright=upright,
        foreground_ratio=foreground_ratio,
        elevation=elevation,
        method=method or "",
        generator=generator or choices.preferred("generator", method or ""),
        sampler=sampler,
        silhouette=silhouette,
        matcher=matcher or choices.preferred("matcher"),
        surface=surface or choices.preferred("surface"),
        memory_gb=Settings.load().memory_gb if memory is None else memory,
        quality=quality,
        faces=faces,
        texture_size=texture_size,
        smooth=smooth,
        seed=seed,
        formats=tuple(formats or ("glb",)),
        up=up,
        height_m=height_m,
    )
    found, failures = _collect(pictures)
    for path, text in failures:
        tell(json, path, None, text)
    for number, path in enumerate(found, 1):
        run = None
        try:
            chosen = _with_prompts(options, path, box, points)
            if output is None:
                run = history().create(path, chosen)
            else:
                run = Run.create(path, free_folder(output / safe_name(path.stem)), chosen)
            execute(run, f"{number}/{len(found)} {path.name}" if len(found) > 1 else path.name)
        except OrielError as error:
            failures.append((path, str(error)))
            tell(json, path, run, str(error))
        except (Cancelled, KeyboardInterrupt):
            tell(json, path, run, "interrupted")
            raise
        except Exception as error:  # of our own making; the other pictures can do nothing about it
            traceback.print_exc()
            failures.append((path, f"Unexpected {type(error).__name__}: {error}"))
            tell(json, path, run, failures[-1][1])
        else:
            tell(json, path, run, None)
    total = len(found) + len([f for f in failures if f[0] not in found])
    if failures and total > 1:
        complain(f"{len(failures)} of {total} failed: {', '.join(str(path) for path, _ in failures)}")
    return BAD_INPUT if failures else 0


COMMANDS = reconstruct


def _collect(given: list[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures named, or in the folders named, and what could not be used with the reason."""
    pictures: list[Path] = []
    failures: list[tuple[Path, str]] = []
    for path in given:
        try:
            if path.is_dir():
                inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
                pictures += inside
                if not inside:
                    failures.append((path, f"The folder {path} holds no pictures."))
            elif path.is_file():
                pictures.append(path)
            else:
                failures.append((path, f"There is no file {path}. Check the path."))
        except OSError as error:
            failures.append((path, f"{path} cannot be read: {(error.strerror or str(error)).lower()}."))
    return list(dict.fromkeys(pictures)), failures


def _with_prompts(
    options: Options, path: Path, box: tuple[int, int, int, int] | None, points: list[tuple[float, float, bool]]
) -> Options:
    """Options with box and points, given in the file's pixels, in those of the picture as it is loaded."""
    import dataclasses

    if not box and not points:
        return options
    from PIL import Image

    from engine.imaging import load_picture

    height, width = load_picture(path).shape[:2]
    with Image.open(path) as image:
        scale = max(height, width) / max(image.size)
    if box:
        x0, y0, x1, y1 = (round(value * scale) for value in box)
        box = x0, y0, x1, y1
    scaled = tuple((x * scale, y * scale, add) for x, y, add in points)
    return dataclasses.replace(options, box=box or None, points=scaled)

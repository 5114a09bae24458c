"""Photographs of held-out buildings in a scene, each with the true mask and camera."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from engine.cameras import REFERENCE_FOCAL, Pose
from engine.core.errors import InputError
from engine.data import make_object, split_seeds
from engine.data.objects import family_of
from engine.evaluation.pictures import draw_shape, shape_of
from engine.evaluation.views import mask_iou
from engine.imaging import extract_foreground, frame, load_picture
from engine.imaging.aim import FILM_DIAGONAL, aim_at
from engine.rendering.blender import find_blender
from engine.views import load_generator
from tests.benchmarks.table import Table

_FAMILIES = (
    *("castle", "church", "gabled_house", "hipped_house", "terrace", "tower", "temple", "domed_hall", "pagoda"),
    *("skyscraper", "monument", "stepped_pyramid"),
)
_STREET = ("castle", "church", "gabled_house", "terrace", "tower", "skyscraper")
_WORKER = Path(__file__).with_name("scene_worker.py")


@dataclass(frozen=True)
class Photo:
    """One picture of a set."""

    path: Path

    @cached_property
    def camera(self) -> dict[str, float]:
        """Degrees of `elevation` to the building's middle and of the camera's `tilt`, `lens` in mm of a 36 mm film."""
        return json.loads(self.path.with_suffix(".json").read_text())

    @cached_property
    def mask(self) -> npt.NDArray[np.float32]:
        """(H, W) the building's true share of each pixel."""
        with Image.open(self.path.with_name(f"{self.path.stem}-mask.png")) as image:
            return np.asarray(image.getchannel("A"), np.float32) / 255


def photos(folder: Path, kind: str, families: tuple[str, ...] = _FAMILIES) -> list[Photo]:
    """The pictures of a kind, one a family; "castle" from -3 to 25 degrees at 28 to 60 mm, "street" from eye height.

    Those that `folder` lacks are rendered by Blender, a minute each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for at, family in enumerate(families):
        rng = np.random.default_rng([at, len(kind)])
        seeds = [seed for seed in split_seeds("heldout") if family_of(seed) == family]
        seed = seeds[(kind == "street") % len(seeds)]
        out = folder / f"{kind}-{family}"
        job: dict[str, Any] = {"out": str(out), "seed": at, "azimuth": float(-90 + rng.uniform(-55, 55))}
        job |= {"lens": 24 + 11 * rng.random(), "eye": 1.7} if kind == "street" else {"lens": 28 + 32 * rng.random()}
        if kind != "street":
            job |= {"elevation": float(rng.uniform(-3, 25)), "room": float(rng.uniform(0.9, 1.4))}
        if not out.with_suffix(".json").exists():
            model = out.with_suffix(".glb")
            make_object(seed).to_scene().export(model)
            jobs.append(job | {"model": str(model)})
    if jobs:
        listed = folder / f"{kind}.jobs"
        listed.write_text(json.dumps(jobs))
        start = find_blender().command[:-1]  # the last is the worker of the farm
        subprocess.run([*start, str(_WORKER), "--", str(listed)], check=True, capture_output=True)
    return [Photo(folder / f"{kind}-{family}.jpg") for family in families]


def measure_photos(table: Table, folder: Path) -> None:
    """What is found in photographs without a click, against GrabCut's guess, and the elevation that the generator sees.

    The elevation and the silhouette of the generator's solid are measured with the true mask, apart for pictures from
    above and from the street: as they are, and turned straight by their lens and by a usual one.
    """
    generator = load_generator("built-in")
    for kind, families in (("castle", _FAMILIES), ("street", _STREET)):
        taken = photos(folder, kind, families)
        pictures = [load_picture(photo.path) for photo in taken]
        for mode in ("auto", "grabcut"):
            found = [mask_iou(_mask(picture, mode), photo.mask) for picture, photo in zip(pictures, taken, strict=True)]
            for figure, value in (("median", np.median(found)), ("least", min(found))):
                table.add(f"{len(taken)} {kind} photographs", f"mask IoU, {mode}, {figure}", float(value))
        for how in ("as they are", "straight, lens assumed", "straight, lens told"):
            errors, outlines = [], []
            for picture, photo in zip(pictures, taken, strict=True):
                framed, lens = _framed(picture, photo, how)
                elevation = generator.estimate_elevation(framed, lens)
                errors.append(abs(elevation - photo.camera["elevation"]))
                solid = shape_of(generator.mesh(framed, elevation))
                outlines.append(mask_iou(draw_shape(solid, [Pose(elevation, 0.0)])[0, ..., 3], framed[..., 3]))
            group = f"{len(taken)} {kind} photographs, {how}"
            table.add(group, "elevation error, median", float(np.median(errors)), "degrees")
            table.add(group, "elevation error, mean", float(np.mean(errors)), "degrees")
            table.add(group, "silhouette IoU, mean", float(np.mean(outlines)))


def _framed(picture: npt.NDArray[np.uint8], photo: Photo, how: str) -> tuple[npt.NDArray[np.float32], float]:
    """The picture as the generator sees it, and its lens, the reference's being 1."""
    if how == "as they are":
        return frame(picture, photo.mask).image, 1.0
    exif = Image.Exif()
    if how == "straight, lens told":
        of_film = photo.camera["lens"] / 36 * picture.shape[1] / np.hypot(*picture.shape[:2]) * FILM_DIAGONAL
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = round(float(of_film))
    buffer = io.BytesIO()
    Image.fromarray(picture[..., :3]).save(buffer, "JPEG", exif=exif)
    aim = aim_at(picture, photo.mask, "salient", buffer.getvalue())
    assert aim is not None
    framed = frame(*aim.turned(picture, photo.mask))
    return framed.image, aim.focal * float(framed.transform[0, 0]) / REFERENCE_FOCAL


def _mask(picture: npt.NDArray[np.uint8], mode: str) -> npt.NDArray[np.float32]:
    try:
        return extract_foreground(picture, mode=mode).mask
    except InputError:
        return np.zeros(picture.shape[:2], np.float32)

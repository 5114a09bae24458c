"""What a user may choose for a reconstruction, and what each choice may be. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine import choices
from engine.cameras import FRAME_FRACTION
from engine.core.device import MemoryBudget
from engine.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UpAxis = Literal["Y", "Z"]

STAGES = ("foreground", "views", "elevation", "surface", "texture")
"""The work as people see it: see `engine.reconstruct.run` for its steps."""
MODES = ("auto", "alpha", "plain", "salient", "grabcut", "sam", "whole")
FORMATS = ("glb", "obj", "ply", "stl")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".heic", ".heif", ".webp", ".bmp", ".tif", ".tiff", ".avif")
"""Endings of files that are taken for pictures in a folder or a file dialog."""
SAMPLERS = ("fast", "published")
"""Few steps of a multistep solver, or the steps and noise of the published code."""
SILHOUETTES = ("auto", "fitted", "free")
"""Whether a surface is bent to the picture's silhouette; `auto`: unless the network's weights are published ones."""
ELEVATION_RANGE = (-60.0, 89.0)
"""Degrees that a typed elevation may take."""
FACES = (100, 1_000_000)
"""Range of the triangles that may be asked for."""
SMOOTHING = (0, 50)
"""Range of the passes of smoothing."""
TEXTURE_SIZES = (256, 512, 1024, 2048, 4096)
"""Sides of a texture in pixels."""
FOREGROUND_RATIOS = (0.5, 1.0)
"""Range of the object's share of the square that a generator sees."""


@dataclass(frozen=True)
class Quality:
    """What a quality level costs."""

    view_size: int
    """Side of the generated views in pixels."""
    resolution: int
    """Voxels along a side of the grid that the surface network's surface is extracted from."""
    solid_resolution: int
    """The same of the generator's own solid, which is smoother and slower to ask."""
    faces: int
    """Triangles that the surface is reduced to: unwrapping a texture takes time by the triangle."""
    texture_size: int
    """Side of the texture in pixels."""
    input_size: int
    """Side of the framed input picture, as the texture is baked from it."""


QUALITIES = {
    "draft": Quality(
        view_size=128, resolution=128, solid_resolution=112, faces=12_000, texture_size=512, input_size=256
    ),
    "standard": Quality(
        view_size=256, resolution=256, solid_resolution=192, faces=24_000, texture_size=1024, input_size=512
    ),
    "fine": Quality(
        view_size=256, resolution=320, solid_resolution=256, faces=60_000, texture_size=2048, input_size=768
    ),
}


@dataclass(frozen=True)
class Options:
    """What a user may choose for a run.

    >>> Options(quality="draft", formats=("glb", "obj")).generator
    'built-in'
    >>> Options(elevation=120)
    Traceback (most recent call last):
    engine.core.errors.InputError: Elevation is 120 degrees, but has to lie between -60 and 89.
    """

    mode: str = "auto"
    """How the foreground is found: one of `MODES`."""
    box: tuple[int, int, int, int] | None = None
    """x0, y0, x1, y1 around the object, in pixels of the picture as `load_picture` returns it."""
    points: tuple[tuple[float, float, bool], ...] = ()
    """x, y in the same pixels, and whether the object (True) or something else (False) is there: they choose among
    several objects, and prompt the mode `sam`."""
    strokes: npt.NDArray[np.uint8] | Path | None = None
    """(H, W) corrections to the foreground, 0 none, 1 add, 2 remove: an array, or a PNG that holds it."""
    mask: npt.NDArray[np.uint8] | Path | None = None
    """(H, W) finished mask, 0 or 255, used instead of finding one: an array, or a picture file."""
    upright: bool = True
    """Whether a photograph is turned straight towards its object, by its lens and the object's upright edges."""
    foreground_ratio: float = FRAME_FRACTION
    """Share of the side of the square that a generator sees which the object's longer side takes."""
    elevation: float | None = None
    """Known elevation of the camera in degrees, instead of an estimate."""
    method: str = ""
    """How the surface comes about: a name in `engine.choices.METHODS`; by default what suits generator and surface."""
    generator: str = "built-in"
    """What draws the views: a name in `engine.views.GENERATORS`."""
    sampler: str = "fast"
    """How a diffusion model draws: one of `SAMPLERS`. The others have no choice."""
    matcher: str = "dense-flow"
    """What finds the same points in two views: a name in `engine.elevation.MATCHERS`."""
    surface: str = "built-in"
    """Reconstruction networks: a name in `engine.choices.SURFACES`, or a file with weights of one of them.

    Of use to methods with source views only.
    """
    silhouette: str = "auto"
    """One of `SILHOUETTES`: published networks have never been bent, those of this program always.

    Of use to methods with source views only.
    """
    memory_gb: float | None = None
    """Memory of the GPU that the models may fill, in GB; None for what is free."""
    quality: str = "standard"
    """One of `QUALITIES`."""
    faces: int | None = None
    """Triangles that the surface is reduced to; None for what the quality says, as below."""
    texture_size: int | None = None
    """Side of the texture in pixels: one of `TEXTURE_SIZES`."""
    smooth: int = 0
    """Passes of smoothing that take ripples off the surface and leave its volume (Taubin, 1995)."""
    seed: int = 0
    formats: tuple[str, ...] = ("glb",)
    """Files to write: of `FORMATS`. The GLB is always written."""
    up: UpAxis | None = None
    """Up axis of the files, `Y` or `Z`; by default Y in GLB and OBJ, Z elsewhere."""
    height_m: float | None = None
    """Height of the object in metres in the files; by default one world unit is a metre."""

    def __post_init__(self) -> None:
        def one_of(what: str, value: object, allowed: Sequence[object]) -> None:
            if value not in allowed:
                raise InputError(f"{what} is {value!r}, but has to be one of {', '.join(map(str, allowed))}.")

        def within(what: str, value: float | None, limits: tuple[float, float], unit: str = "") -> None:
            low, high = limits
            if value is not None and not low <= value <= high:
                said = [str(number) if isinstance(number, int) else f"{number:g}" for number in (value, low, high)]
                raise InputError(f"{what} is {said[0]}{unit}, but has to lie between {said[1]} and {said[2]}.")

        if not self.method:
            object.__setattr__(self, "method", choices.preferred_method(self.generator, self.surface))
        one_of("Method", self.method, tuple(choices.METHODS))
        one_of("Foreground mode", self.mode, MODES)
        one_of("Quality", self.quality, tuple(QUALITIES))
        one_of("Sampler", self.sampler, SAMPLERS)
        one_of("Silhouette", self.silhouette, SILHOUETTES)
        for f in self.formats:
            one_of("Format", f, FORMATS)
        if self.up is not None:
            one_of("Up axis", self.up, ("Y", "Z"))
        within("Elevation", self.elevation, ELEVATION_RANGE, " degrees")
        within("Foreground ratio", self.foreground_ratio, FOREGROUND_RATIOS)
        within("Number of triangles", self.faces, FACES)
        within("Smoothing", self.smooth, SMOOTHING)
        if self.texture_size is not None:
            one_of("Texture size", self.texture_size, TEXTURE_SIZES)
        if self.height_m is not None and not 0 < self.height_m < 1e6:
            raise InputError(f"Height is {self.height_m:g} metres, but has to be above 0 and below a million.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"Seed is {self.seed}, but has to be a whole number from 0 to {2**32 - 1}.")
        MemoryBudget(self.memory_gb)
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise InputError(f"Box {self.box} is empty: give left, top, right, bottom in pixels.")

    @property
    def detail(self) -> Quality:
        """What the quality costs, but for what is chosen apart."""
        usual = QUALITIES[self.quality]
        size = self.texture_size or usual.texture_size
        # A picture smaller than half the texture would leave it blurred.
        return replace(
            usual,
            faces=self.faces or usual.faces,
            texture_size=size,
            input_size=usual.input_size if size == usual.texture_size else min(max(size // 2, 256), 1024),
        )

    def check_choices(self) -> None:
        """InputError if there is no such generator, matcher or surface network, or the generator cannot do the method.

        Not a part of making options: those of an old run may name what is no longer there.
        """
        for part in ("generator", "matcher", "surface"):
            choices.check(part, getattr(self, part))
        if (reason := choices.refusal(self.method, self.generator)) is not None:
            raise InputError(reason)

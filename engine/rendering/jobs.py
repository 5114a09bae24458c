"""What rendering is about: the settings, the frames of a model, and where each model stands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from engine import cameras
from engine.core.errors import InputError
from engine.core.options import Option, check, limits_of

ENGINES = ("cycles", "eevee")
DEVICES = ("cpu", "auto", "cuda", "optix", "hip", "oneapi", "metal")
STATES = ("waiting", "working", "done", "failed", "cancelled")


@dataclass(frozen=True)
class RenderSettings:
    """How models are rendered. The defaults are those of the study that fine-tuned One-2-3-45 on buildings."""

    engine: Annotated[str, Option(choices=ENGINES)] = "cycles"
    """What draws the pictures."""
    device: Annotated[str, Option(choices=DEVICES)] = "cpu"
    """What it draws on; `auto` takes the best that Blender finds."""
    size: Annotated[int, Option(16, 4096)] = 512
    """Side of the square pictures in pixels."""
    samples: Annotated[int, Option(1, 65536)] = 32
    """Samples a pixel."""
    denoise: bool = True
    """Whether the pictures are denoised."""
    filter_width: Annotated[float, Option(0.01, 10)] = 0.01
    """Width of the pixel filter in pixels: as good as none, so that edges stay hard."""
    diffuse_bounces: Annotated[int, Option(0, 1024)] = 1
    """Diffuse light bounces."""
    glossy_bounces: Annotated[int, Option(0, 1024)] = 1
    """Glossy light bounces."""
    transparent_bounces: Annotated[int, Option(0, 1024)] = 3
    """Surfaces that may be seen through one another."""
    transmission_bounces: Annotated[int, Option(0, 1024)] = 3
    """Bounces through glass."""
    lens: Annotated[float, Option(1, 1000)] = 35.0
    """Focal length in mm."""
    sensor: Annotated[float, Option(1, 1000)] = 32.0
    """Width of the sensor in mm; with the default lens the field of view is Zero123's, 49.13 degrees."""
    # Up to 64, depth in mm fits into 16 bits.
    radius: Annotated[float, Option(0.1, 64)] = cameras.INPUT_RADIUS
    """Distance of the cameras from the centre; the longest side of the model is 1. At 1.5, Zero123's, the corners of a
    bulky model leave the picture; from 2 on every model is seen whole."""
    elevation: Annotated[float, Option(-60, 80)] = 30.0
    """Degrees above the horizon of the first four principal viewpoints; the other four lie 30 degrees lower."""
    light: Annotated[float, Option(0, 1000)] = 1.0
    """Strength of the lights that are added, relative to the usual."""
    frame_seconds: Annotated[float, Option(1, 86400)] = 300.0
    """Longest time for one frame before Blender is taken to hang."""
    model_seconds: Annotated[float, Option(1, 864000)] = 3600.0
    """Longest time for one model."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def intrinsics(self) -> cameras.FloatArray:
        """3x3 in pixels."""
        return cameras.intrinsics(self.size, self.size * self.lens / self.sensor)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RenderSettings:
        """From what `dataclasses.asdict` made; raises `InputError` for an unknown name or a value of another kind."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        taken: dict[str, Any] = {}
        for name, value in values.items():
            kind = kinds.get(name)
            if kind is None:
                raise InputError(f"There is no render setting {name!r}. There are: {', '.join(kinds)}.")
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                raise InputError(f"The render setting {name} is {value!r}: it is to be a {kind.__name__}.")
            taken[name] = value
        return cls(**taken)


LIMITS = limits_of(RenderSettings)
"""Least and greatest value of each number among the settings."""


@dataclass(frozen=True)
class FarmOptions:
    """How a run goes about it."""

    workers: Annotated[int | None, Option(1)] = None
    """Blenders at once (default: by this machine's cores and memory)."""
    scheduler: Annotated[str | None, Option(metavar="ADDRESS")] = None
    """Dask scheduler (`tcp://HOST:8786`) whose workers render, in place of this machine."""
    attempts: Annotated[int, Option(1)] = 2
    """Failures of a model after which it is set aside."""
    blender: Annotated[str | None, Option(metavar="PATH")] = None
    """A blender executable, or a Python with bpy (default: ORIEL_BLENDER, that of make setup, or the PATH)."""
    keep_free: Annotated[int, Option(0, metavar="GB", scale=1e9)] = 1_000_000_000
    """Disk to leave free."""

    def __post_init__(self) -> None:
        check(self)
        if self.scheduler is not None and (self.workers is not None or self.blender is not None):
            raise InputError(
                "Workers and their Blender are those of the scheduler's machines: choose them there, with "
                "`oriel render worker`, and not here."
            )


@dataclass(frozen=True)
class Frame:
    """One picture of a model."""

    name: str
    """File stem: `view_3` or `view_3_1_10`."""
    pose: cameras.Pose
    depth: bool
    """Whether its depth is written as well: of the 8 principal views."""


def frames(settings: RenderSettings) -> list[Frame]:
    """The 8 principal views and their 32 neighbours, each principal one followed by its four neighbours."""
    found = []
    for i, principal in enumerate(cameras.principal_poses(settings.elevation)):
        pose = cameras.Pose(principal.elevation, principal.azimuth, settings.radius)
        found.append(Frame(cameras.principal_name(i), pose, True))
        for j, neighbour in enumerate(cameras.neighbour_poses(pose)):
            found.append(Frame(cameras.source_name(4 * i + j), neighbour, False))
    return found


@dataclass(frozen=True)
class ModelFile:
    """A model to render."""

    key: str
    """Its name in the output, unique in a run: safe as the name of a folder."""
    path: Path


@dataclass(frozen=True)
class ModelState:
    """One model of a run, as it is now."""

    model: ModelFile
    state: str
    """One of `STATES`."""
    message: str = ""
    """What is going on, or the reason."""
    frames: int = 0
    """Frames that are there, of `total`."""
    total: int = 40
    seconds_per_frame: float | None = None
    worker: str = ""
    """Which worker has it, or had it last."""
    attempts: int = 0
    earlier: bool = False
    """Whether an earlier run has settled it."""


@dataclass(frozen=True)
class FrameDone:
    """A frame that has just been rendered."""

    key: str
    name: str
    """File stem, see `Frame`."""
    picture: bytes
    """PNG, RGBA, at most 160 px."""
    depth: bytes | None = None
    """PNG, grey, near is bright, background black; of principal views only."""


@dataclass(frozen=True)
class RenderTotals:
    """A whole run, as it is now."""

    state: str
    """`starting`, `running`, `paused`, `stopping`, `stopped` (with models left) or `finished`."""
    total: int
    """Models."""
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    working: int = 0
    frames: int = 0
    """Frames that are there, of all models."""
    frames_total: int = 0
    frames_per_hour: float = 0.0
    seconds_left: float | None = None
    disk: int = 0
    """Bytes that the output takes."""
    free: int = 0
    """Bytes that are free on the output's disk."""
    workers: int = 0
    message: str = ""

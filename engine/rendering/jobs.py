"""What rendering is about: the settings, the frames of a model, and where each model stands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from engine import cameras
from engine.core.errors import InputError

ENGINES = ("cycles", "eevee")
DEVICES = ("cpu", "auto", "cuda", "optix", "hip", "oneapi", "metal")
STATES = ("waiting", "working", "done", "failed", "cancelled")


@dataclass(frozen=True)
class RenderSettings:
    """How models are rendered. The defaults are those of the study that fine-tuned One-2-3-45 on buildings."""

    engine: str = "cycles"
    """One of `ENGINES`."""
    device: str = "cpu"
    """One of `DEVICES`; `auto` takes the best that Blender finds."""
    size: int = 512
    """Side of the square pictures in pixels."""
    samples: int = 32
    """Samples a pixel."""
    denoise: bool = True
    """Whether the pictures are denoised."""
    filter_width: float = 0.01
    """Width of the pixel filter in pixels: as good as none, so that edges stay hard."""
    diffuse_bounces: int = 1
    """Diffuse light bounces."""
    glossy_bounces: int = 1
    """Glossy light bounces."""
    transparent_bounces: int = 3
    """Surfaces that may be seen through one another."""
    transmission_bounces: int = 3
    """Bounces through glass."""
    lens: float = 35.0
    """Focal length in mm."""
    sensor: float = 32.0
    """Width of the sensor in mm; with the default lens the field of view is Zero123's, 49.13 degrees."""
    radius: float = cameras.INPUT_RADIUS
    """Distance of the cameras from the centre; the longest side of the model is 1. At 1.5, Zero123's, the corners of a
    bulky model leave the picture; from 2 on every model is seen whole."""
    elevation: float = 30.0
    """Degrees above the horizon of the first four principal viewpoints; the other four lie 30 degrees lower."""
    light: float = 1.0
    """Strength of the lights that are added, relative to the usual."""
    frame_seconds: float = 300.0
    """Longest time for one frame before Blender is taken to hang."""
    model_seconds: float = 3600.0
    """Longest time for one model."""

    def __post_init__(self) -> None:
        for name, choices in (("engine", ENGINES), ("device", DEVICES)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}.")
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # also false for NaN
                raise InputError(f"{name.replace('_', ' ')} is {value}: give a value from {low:g} to {high:g}.")

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


LIMITS: dict[str, tuple[float, float]] = {
    "size": (16, 4096),
    "samples": (1, 65536),
    "filter_width": (0.01, 10),
    "diffuse_bounces": (0, 1024),
    "glossy_bounces": (0, 1024),
    "transparent_bounces": (0, 1024),
    "transmission_bounces": (0, 1024),
    "lens": (1, 1000),
    "sensor": (1, 1000),
    "radius": (0.1, 64),
    "elevation": (-60, 80),
    "light": (0, 1000),
    "frame_seconds": (1, 86400),
    "model_seconds": (1, 864000),
}
"""Least and greatest value of each number among the settings. Up to that radius depth in mm fits into 16 bits."""


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

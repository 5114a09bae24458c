"""Draws the bundled sample pictures from held-out procedural objects: `make samples`.

Each is an object that no training has seen. Some are cut out, some stand on a plain wall of colour,
some before a sky on textured ground, as photographs do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.data import family_of, make_object, split_seeds
from engine.data.renderer import Light, Renderer, frame_object

FOLDER = Path(__file__).resolve().parent.parent / "resources" / "samples"
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """How one sample is drawn."""

    name: str
    family: str
    index: int
    """Which of the held-out objects of its family."""
    elevation: float
    azimuth: float
    background: str
    """`cut out` (RGBA PNG), `plain` or `landscape` (JPEG)."""
    size: int = 640


SAMPLES = (
    Sample("church", "church", 5, 18, 35, "cut out", 1024),
    Sample("house", "gabled_house", 1, 24, 40, "plain"),
    Sample("hall", "domed_hall", 3, 15, 30, "landscape", 768),
    Sample("tower", "tower", 1, 8, 35, "landscape"),
    Sample("pagoda", "pagoda", 6, 12, 20, "plain"),
    Sample("terrace", "terrace", 7, 28, 35, "cut out"),
)


def draw(sample: Sample) -> Image.Image:
    """The finished picture, RGBA if it is cut out, else RGB."""
    seed = [seed for seed in split_seeds("heldout") if family_of(seed) == sample.family][sample.index]
    framed = frame_object(make_object(seed), sample.elevation, sample.azimuth, fraction=0.72)
    pose = cameras.Pose(sample.elevation, 0.0)
    light = Light(to_light=(0.55, 0.6, 0.75))
    rgba, _ = Renderer(sample.size).render(
        framed.obj, pose.matrix()[None], cameras.intrinsics(sample.size), light=light, model=framed.model, depth=False
    )
    picture = rgba[0].astype(np.float32) / 255
    alpha = picture[..., 3:]
    # The renderer's colours lie over white; cutting out and other backgrounds need them alone.
    colour = np.where(alpha > 0, (picture[..., :3] - (1 - alpha)) / np.maximum(alpha, 1e-3), 0).clip(0, 1)
    if sample.background == "cut out":
        return Image.fromarray((np.concatenate([colour, alpha], 2) * 255 + 0.5).astype(np.uint8), "RGBA")
    rng = np.random.default_rng(seed)
    behind = _plain(sample.size) if sample.background == "plain" else _landscape(sample, rng)
    mixed = colour * alpha + behind * (1 - alpha)
    mixed += rng.normal(0, 0.006, mixed.shape)  # a sensor's noise
    return Image.fromarray((mixed.clip(0, 1) * 255 + 0.5).astype(np.uint8), "RGB")


def _plain(size: int) -> FloatArray:
    """A studio backdrop: one colour, a little darker towards the edges."""
    x = np.linspace(-1, 1, size, dtype=np.float32)
    fall = 1 - 0.06 * (x[None] ** 2 + x[:, None] ** 2)
    return np.array([0.78, 0.82, 0.86], np.float32) * fall[..., None]


def _landscape(sample: Sample, rng: np.random.Generator) -> FloatArray:
    """Sky that pales towards the horizon, and rough ground with a soft shadow."""
    size = sample.size
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    sky = np.array([0.36, 0.58, 0.86], np.float32) * (1 - rows) + np.array([0.9, 0.94, 0.97], np.float32) * rows
    grain = sum(
        cv2.resize(rng.normal(0, 1, (n, n)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC) * w
        for n, w in ((8, 0.02), (40, 0.02), (160, 0.025))
    )
    ground = np.array([0.36, 0.46, 0.26], np.float32) + np.asarray(grain)[..., None] * np.array([1.0, 1.1, 0.7])
    horizon = 0.62
    blend = 1 / (1 + np.exp(-(rows - horizon) * 90))
    scene = sky * (1 - blend) + ground * blend
    x = np.linspace(-1, 1, size, dtype=np.float32)
    shadow = np.exp(-(((x[None] - 0.05) / 0.6) ** 2 + ((x[:, None] - 0.72) / 0.14) ** 2) * 1.5)
    return np.asarray(scene * (1 - 0.4 * shadow[..., None] * blend), np.float32)


def main() -> None:
    """Draw all samples into `resources/samples`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        picture = draw(sample)
        path = FOLDER / f"{sample.name}.{'png' if picture.mode == 'RGBA' else 'jpg'}"
        picture.save(path, **({"optimize": True} if picture.mode == "RGBA" else {"quality": 92}))
        print(f"{path}  {picture.width} x {picture.height}, {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()

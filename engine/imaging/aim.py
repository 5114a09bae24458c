"""A photograph as a camera at the same place would take it that looks straight at the object, and stands upright.

Where the lens is known, turning the camera only moves pixels about (Hartley and Zisserman, "Multiple View Geometry",
2004, section 8.4.2). A view of the object off the middle of a photograph looks as from another height, and its
verticals lean or converge otherwise than those of an object in the middle, as which it is framed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags

from engine.imaging.foreground import Foreground
from engine.imaging.pictures import open_picture
from engine.imaging.verticals import upright_segments, vertical_support

Array = npt.NDArray[np.float64]

FILM_DIAGONAL = float(np.hypot(36, 24))
"""Millimetres of the film that focal lengths are told for."""
USUAL_LENS = 35.0
"""Millimetres of a lens where a photograph tells none: of phones, and of cameras as they are sold."""
_ELEVATIONS, _ROLLS = np.arange(-35.0, 50.1, 0.5), np.arange(-8.0, 8.01, 0.5)
_UPRIGHT = 1.0
"""Length of upright edges, in sides of the object, that tells something: by so much those of a turned head must exceed
a level one's."""
_CROPPED = 0.02
"""Difference of the sides' ratio to that of the picture as it was taken, from which on it counts as cropped."""
_LENSES = (8.0, 2000.0)
"""Millimetres that a focal length may have."""


@dataclass(frozen=True)
class Aim:
    """How a picture's camera is turned towards the object."""

    matrix: Array
    """3x3: pixels of the picture (first centre at 0.5) to those of the turned camera's, homogeneous."""
    size: tuple[int, int]
    """Width and height of the turned camera's picture, which holds the object."""
    focal: float
    """Focal length in pixels, of both."""
    aside: float
    """Degrees between where the camera looked and the object's middle."""
    roll: float
    """Degrees by which the camera's head was to its right; 0 where nothing tells."""
    told: bool
    """Whether the picture tells its lens, rather than that it is assumed."""

    @property
    def note(self) -> str:
        """What was done, in a sentence; empty where it is next to nothing."""
        done = []
        if self.aside >= 2:
            done.append(f"turned by {self.aside:.0f}\N{DEGREE SIGN} towards the object")
        if self.roll:
            done.append(f"set upright by {abs(self.roll):.1f}\N{DEGREE SIGN}")
        lens = "its lens" if self.told else "a usual lens"
        return f"The photograph is {' and '.join(done)}, by {lens}." if done else ""

    def turned(
        self, picture: npt.NDArray[np.uint8], mask: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Picture (H, W, 4) and mask (H, W) of the turned camera."""
        to_pixels = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])  # OpenCV's first centre is 0
        matrix = to_pixels @ self.matrix @ np.linalg.inv(to_pixels)
        # Colours are drawn out beyond the border, so that none of outside's shines in; what is there is no object.
        moved = cv2.warpPerspective(picture, matrix, self.size, borderMode=cv2.BORDER_REPLICATE)
        alone = cv2.warpPerspective(np.asarray(mask, np.float32), matrix, self.size)
        return np.asarray(moved, np.uint8), np.asarray(alone, np.float32)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`."""
        return {
            "matrix": self.matrix.tolist(),
            "size": list(self.size),
            "focal": self.focal,
            "aside": self.aside,
            "roll": self.roll,
            "told": self.told,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Aim:
        """The inverse of `to_json`."""
        width, height = data["size"]
        return cls(np.array(data["matrix"]), (width, height), data["focal"], data["aside"], data["roll"], data["told"])


def focal_length(source: Path | bytes) -> float | None:
    """Focal length that a photograph's EXIF tells, in millimetres of 35 mm film; None where it tells none.

    None as well of a picture that was cropped to other proportions since it was taken: its middle is not the camera's.
    """
    try:
        with open_picture(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
            shape = sorted(image.size)
    except Exception:  # damaged EXIF comes as many kinds of error, and a file that is no picture is told elsewhere
        return None

    def number(tag: int) -> float:
        try:
            return float(exif.get(tag, 0))
        except (TypeError, ValueError, ZeroDivisionError):
            return 0.0

    tags = ExifTags.Base
    taken = sorted((number(tags.ExifImageWidth), number(tags.ExifImageHeight)))
    if taken[0] > 0 and abs(taken[0] / taken[1] - shape[0] / shape[1]) > _CROPPED:
        return None
    told = number(tags.FocalLengthIn35mmFilm)
    if told <= 0 and (density := number(tags.FocalPlaneXResolution)) > 0:
        width = taken[1] / density * (10.0 if number(tags.FocalPlaneResolutionUnit) == 3 else 25.4)
        told = 36.0 * number(tags.FocalLength) / width if width > 0 else 0.0
    return told if _LENSES[0] <= told <= _LENSES[1] else None


def aim_at(
    picture: npt.NDArray[np.uint8], mask: npt.NDArray[Any], method: str, source: Path | bytes | None
) -> Aim | None:
    """Turn the camera of a picture (H, W, 4), as it was loaded from `source`, towards the object in it.

    The object is the `mask` (H, W), of which the middle of the bounds counts, found by a `method` of
    `engine.imaging.Foreground`. The turned camera stands upright by the object's vertical edges, where they are enough
    to tell. None for what is no photograph, and for the whole picture: nothing tells a lens, and what was cut out,
    or drawn on a plain ground, has an object in its middle.
    """
    told = None if source is None or method == "whole" else focal_length(source)
    if told is None and (method in ("alpha", "plain", "whole") or picture[..., 3].min() < 255):
        return None
    solid = (np.asarray(mask) >= 0.5).astype(np.uint8)
    if not solid.any():
        return None
    lens = told or USUAL_LENS
    height, width = mask.shape
    focal = lens / FILM_DIAGONAL * float(np.hypot(width, height))
    k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    outline = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    hull = cv2.convexHull(np.concatenate(outline)).astype(np.float64) + 0.5
    edges = upright_segments(picture, mask)
    side = max(cv2.boundingRect(solid)[2:])
    up, roll = _up(vertical_support(edges, focal, (width / 2, height / 2), _ELEVATIONS, _ROLLS) / side)
    turn = np.eye(3)
    for _ in range(5):  # until the camera looks at the middle of the bounds of what it then sees
        seen = cv2.perspectiveTransform(hull, k @ turn @ np.linalg.inv(k))[:, 0]
        low, high = seen.min(0), seen.max(0)
        ahead = turn.T @ np.linalg.inv(k) @ (*(low + high) / 2, 1.0)
        right = np.cross(ahead, up)
        axes = np.stack([right, np.cross(ahead, right), ahead])
        turn = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    room = 0.05 * (high - low).max()
    shift = np.eye(3)
    shift[:2, 2] = room - low
    across, down = np.ceil(high - low + 2 * room).astype(int)
    aside = float(np.degrees(np.arccos(np.clip(turn[2, 2], -1, 1))))
    return Aim(shift @ k @ turn @ np.linalg.inv(k), (int(across), int(down)), focal, aside, roll, told is not None)


def aim_at_object(
    picture: npt.NDArray[np.uint8], found: Foreground, source: Path | bytes | None
) -> tuple[Foreground, Aim | None]:
    """`aim_at` the object that was found, which has a note then of what was done."""
    aim = aim_at(picture, found.mask, found.method, source)
    return found if aim is None or not aim.note else replace(found, notes=(*found.notes, aim.note)), aim


def _up(support: Array) -> tuple[Array, float]:
    """Which way is up for a camera, x to its right, y down, z ahead, and its roll in degrees.

    `support` (R, E) is how long the upright edges are, in sides of the object, for `_ROLLS` and `_ELEVATIONS`. A head
    is held level, and the camera as well, unless they are a clear case.
    """
    level = support[len(_ROLLS) // 2]
    at = np.unravel_index(support.argmax(), support.shape)
    roll = float(_ROLLS[at[0]]) if support[at] > level.max() + _UPRIGHT else 0.0
    chosen = support[at[0]] if roll else level
    e, r = np.radians([float(_ELEVATIONS[chosen.argmax()]) if chosen.max() > _UPRIGHT else 0.0, roll])
    return np.array([-np.sin(r) * np.cos(e), -np.cos(r) * np.cos(e), -np.sin(e)]), roll

"""Framing as Zero123 expects it: a white square, the object centred, its longer side a part of the picture's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.cameras import FRAME_FRACTION, REFERENCE_SIZE
from engine.core.errors import InputError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Framed:
    """An object cut out, centred and scaled."""

    image: FloatArray
    """(size, size, 4) in 0..1: RGB composited over white, alpha the object's mask."""
    transform: FloatArray
    """3x3: source pixels (x right, y down, first pixel's centre at 0.5) to framed pixels, homogeneous."""


def frame(
    picture: npt.NDArray[np.uint8],
    mask: npt.NDArray[Any],
    size: int = REFERENCE_SIZE,
    *,
    fraction: float = FRAME_FRACTION,
) -> Framed:
    """Cut `mask` (H, W) in 0..1 out of the straight RGBA `picture` (H, W, 4) and frame it in `size` x `size` pixels.

    The bounding box of the mask (at 0.5) is centred and its longer side scaled to `fraction` of `size`.
    Colours are averaged premultiplied, so that nothing of the background shines around the object.
    Raises `InputError` for an empty mask.

    >>> picture, mask = np.zeros((100, 200, 4), np.uint8), np.zeros((100, 200))
    >>> mask[20:60, 50:130] = 1  # 80 x 40 pixels
    >>> framed = frame(picture, mask, size=64)
    >>> framed.image.shape, (framed.image[..., 3] > 0.5).sum(axis=1).max()  # 0.75 of 64
    ((64, 64, 4), np.int64(48))
    """
    alpha = np.clip(np.asarray(mask, np.float32), 0.0, 1.0)
    if alpha.shape != picture.shape[:2]:
        raise InputError(f"The mask is {alpha.shape[1]} x {alpha.shape[0]} pixels, not the picture's size.")
    solid = alpha >= 0.5
    columns, rows = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
    if columns.size == 0:
        raise InputError(
            "The mask is empty: there is no object to frame. Draw a box around it or keep the whole picture."
        )
    x0, x1, y0, y1 = float(columns[0]), float(columns[-1] + 1), float(rows[0]), float(rows[-1] + 1)
    scale = fraction * size / max(x1 - x0, y1 - y0)
    left, top = (x0 + x1) / 2 - size / 2 / scale, (y0 + y1) / 2 - size / 2 / scale

    # Only the part of the source that the frame shows.
    height, width = alpha.shape
    cx0, cx1 = max(int(np.floor(left)), 0), min(int(np.ceil(left + size / scale)), width)
    cy0, cy1 = max(int(np.floor(top)), 0), min(int(np.ceil(top + size / scale)), height)
    crop = (slice(cy0, cy1), slice(cx0, cx1))
    part = alpha[crop]
    premultiplied = np.dstack([_object_colours(picture[crop], part) * part[..., None], part])
    across = _resampling_matrix(size, scale, left - cx0, cx1 - cx0)
    down = _resampling_matrix(size, scale, top - cy0, cy1 - cy0)
    image = np.einsum(
        "yh,hkc->ykc", down, np.einsum("hwc,xw->hxc", premultiplied, across, optimize=True), optimize=True
    )
    image = np.clip(image, 0.0, 1.0)
    image[..., :3] = np.clip(image[..., :3] + (1.0 - image[..., 3:]), 0.0, 1.0)
    transform = np.array([[scale, 0, -left * scale], [0, scale, -top * scale], [0, 0, 1]], np.float32)
    return Framed(np.ascontiguousarray(image, np.float32), transform)


def _object_colours(picture: npt.NDArray[np.uint8], alpha: FloatArray) -> FloatArray:
    """Colours (H, W, 3) of the object alone, 0..1.

    In an opaque picture the pixels of a soft edge are a blend with the background: they take the colour of the
    nearest pixel that is the object's alone. Where the mask keeps more than the picture's own alpha, the picture
    lies on white.
    """
    colours = picture[..., :3].astype(np.float32) / 255.0
    own_alpha = picture[..., 3].astype(np.float32) / 255.0
    uncovered = alpha > own_alpha + 0.02
    if uncovered.any():
        over_white = colours * own_alpha[..., None] + (1.0 - own_alpha[..., None])
        colours = np.where(uncovered[..., None], over_white, colours)
    pure = alpha >= 0.98
    blended = (alpha > 0.0) & ~pure & (own_alpha > 0.98)
    if blended.any() and pure.any():
        _, labels = cv2.distanceTransformWithLabels(
            (~pure).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        colour_of_label = np.zeros((int(labels.max()) + 1, 3), np.float32)
        colour_of_label[labels[pure]] = colours[pure]
        colours[blended] = colour_of_label[labels[blended]]
    return colours


def _resampling_matrix(size: int, scale: float, offset: float, count: int) -> FloatArray:
    """(size, count) weights of `count` source pixels in each of `size` pixels that start at `offset` in the source.

    Exact area averages when reducing, linear interpolation when enlarging; what lies outside weighs nothing.
    """
    # An enlarged pixel covers less than a source pixel: a box as wide as one source pixel is then linear interpolation.
    width = max(1.0 / scale, 1.0)
    centres = offset + (np.arange(size) + 0.5) / scale
    start, end = centres[:, None] - width / 2, centres[:, None] + width / 2
    pixels = np.arange(count)[None, :]
    overlap = np.clip(np.minimum(end, pixels + 1) - np.maximum(start, pixels), 0.0, None)
    return (overlap / width).astype(np.float32)

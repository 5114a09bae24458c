"""What may spoil a reconstruction and can be seen in a picture beforehand."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_CUT = 0.03
"""Share of a side of the picture that the object has to touch to count as cut off there."""
_SMALL = 100
"""Longer side of the object in pixels below which little of it can be seen."""
_TINY = 0.03
"""Share of the picture below which the object is said to be little of it."""
_SOFT = 0.33
"""Of the contrast next to each pixel, the share that a sharp picture keeps; less is blurred."""


def inspect_picture(picture: npt.NDArray[np.uint8], mask: npt.NDArray[Any]) -> tuple[str, ...]:
    """What is doubtful about the object `mask` (H, W) in 0..1 of a picture (H, W, 4): sentences that say what to do.

    The object is cut off by the picture's border, there are several, it is see-through, small, or blurred.
    """
    solid = np.asarray(mask) >= 0.5
    if not solid.any():
        return ()
    side = max(cv2.boundingRect(solid.astype(np.uint8))[2:])
    notes = []
    rims = {"left": solid[:, 0], "right": solid[:, -1], "upper": solid[0], "lower": solid[-1]}
    cut = [name for name, rim in rims.items() if rim.mean() > _CUT]
    if len(cut) == 4 and solid.mean() > 0.98:
        notes.append("The whole picture is taken for the object. Draw a box around the object if there is one.")
    elif cut:
        notes.append(
            f"The object is cut off by the {' and '.join(cut)} border: what lies outside is guessed. A picture with "
            "room around it does better."
        )
    count = int(object_labels(np.asarray(mask, np.float32)).max())
    if count > 1:
        notes.append(f"{count} objects were found. Click the one that is meant, or all become one mesh.")
    inner = cv2.erode(solid.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0  # without a feathered edge
    if inner.any() and float((picture[..., 3][inner] < 230).mean()) > 0.05:
        notes.append("The object is see-through in places. It is taken as solid.")
    if side < _SMALL:
        notes.append(f"The object is only {side} pixels large, so that little can be seen of it. Use a larger picture.")
    elif solid.mean() < _TINY:
        notes.append(f"Only {100 * solid.mean():.1f} % of the picture is the object. See that it is the one meant.")
    if side >= _SMALL and sharpness(picture, solid) < _SOFT:
        notes.append("The object is blurred: the mesh's texture will be too. Use a sharper picture.")
    return tuple(notes)


def sharpness(picture: npt.NDArray[np.uint8], solid: npt.NDArray[np.bool_]) -> float:
    """How much detail of the size of a pixel there is inside an object, 0 (none) to about 1, as seen at 384 pixels.

    The strongest hundredth of the differences to a picture that was blurred by two pixels, against the differences
    to one that was blurred by six: a soft picture loses nothing by a little more blur.
    """
    x, y, width, height = cv2.boundingRect(solid.astype(np.uint8))
    part = np.s_[y : y + height, x : x + width]
    scale = min(1.0, 384 / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey: npt.NDArray[Any] = cv2.cvtColor(np.ascontiguousarray(picture[part][..., :3]), cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    reduced = cv2.resize(solid[part].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inside = cv2.erode(reduced, np.ones((9, 9), np.uint8)) > 0
    if inside.sum() < 100:
        return 1.0
    fine, coarse = (np.abs(grey - cv2.GaussianBlur(grey, (0, 0), sigma))[inside] for sigma in (2.0, 6.0))
    return float(np.percentile(fine, 99) / max(float(np.percentile(coarse, 99)), 4.0))


def object_labels(mask: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """(H, W) which object each pixel of a mask in 0..1 belongs to, from 1; 0 for none.

    Parts that nearly touch are one object; of what is smaller than a fortieth of the largest nothing is made.
    """
    solid = (mask >= 0.5).astype(np.uint8)
    reach = max(3, round(0.01 * max(mask.shape))) | 1
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    large = area >= max(area.max() / 40, 1)
    number = np.zeros(len(area), np.int32)
    number[large] = np.arange(1, large.sum() + 1)
    return np.asarray(number[labels] * (solid > 0), np.int32)

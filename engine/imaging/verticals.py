"""Where the camera stands by upright edges: most of a building's are vertical, and meet where the vertical vanishes.

An edge seen in a picture lies in a plane through the camera, and supports every direction in that plane (as in
`engine.views.manhattan`, which votes by gradients of a small picture). Line segments at the picture's full resolution
(LSD, Grompone von Gioi et al., 2010) tell the vertical to a fraction of a degree, where there are enough of them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_STEEPEST = 50.0  # degrees from upright in the picture, for what may be a vertical edge
_SHORTEST = 0.03  # of the picture's longer side
_TOLERANCE = np.radians(1.0)  # a segment's support has fallen to 0 at this angle, and at that of a pixel at its end
_FINE = 512  # pixels of the longer side that smaller pictures are enlarged to: segments are found to a pixel


def upright_segments(picture: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Array:
    """Line segments (N, 4), x and y of both ends in pixels, of the object `mask` (H, W) that may be vertical edges.

    The picture is (H, W, 3 or 4), uint8 or 0..1.
    """
    given = np.ascontiguousarray(picture[..., :3])
    rgb: Any = given if given.dtype == np.uint8 else (np.clip(given, 0, 1) * 255).astype(np.uint8)
    solid: Any = (np.asarray(mask) >= 0.5).astype(np.uint8)
    scale = max(1.0, _FINE / max(solid.shape))
    if scale > 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        solid = cv2.resize(solid, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    found = cv2.createLineSegmentDetector().detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))[0]
    ends = np.zeros((0, 4)) if found is None else np.asarray(found, np.float64).reshape(-1, 4)
    x, y = np.rint((ends[:, :2] + ends[:, 2:]) / 2).astype(int).T
    height, width = solid.shape
    near = cv2.dilate(solid, np.ones((9, 9), np.uint8)) > 0
    away = ends[:, 2:] - ends[:, :2]
    keep = near[y.clip(0, height - 1), x.clip(0, width - 1)]
    keep &= np.abs(away[:, 0]) < np.tan(np.radians(_STEEPEST)) * np.abs(away[:, 1])
    keep &= np.hypot(*away.T) > _SHORTEST * max(solid.shape)
    return np.asarray((ends[keep] + 0.5) / scale)


def vertical_support(
    segments: Array, focal: float, centre: tuple[float, float], elevations: Array, rolls: Array | None = None
) -> Array:
    """How long the segments (N, 4) are that point along the vertical, in pixels: (R, E).

    For each elevation (E,) of a camera above the horizon and its roll (R,), the head to its right, in degrees; without
    rolls it is level. `focal` and the `centre` that the camera looks at are in pixels. A segment's support falls with
    the angle to the vertical by Tukey's biweight.
    """
    e = np.radians(elevations)[None]
    r = np.radians(np.zeros(1) if rolls is None else rolls)[:, None]
    up = np.stack(np.broadcast_arrays(-np.sin(r) * np.cos(e), np.cos(r) * np.cos(e), np.sin(e)), -1)
    (ax, ay, bx, by), depth = segments.T, np.full(len(segments), -focal)
    a = np.stack([ax - centre[0], centre[1] - ay, depth], 1)
    b = np.stack([bx - centre[0], centre[1] - by, depth], 1)
    normals, rays, length = np.cross(a, b), a + b, np.linalg.norm(a - b, axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    directions = up.reshape(-1, 3).T
    # About the segment's own ray: close to the vanishing point every plane contains the vertical, which proves nothing.
    apart = np.sqrt(np.maximum(1 - (rays @ directions) ** 2, 1e-3))
    angle = np.arcsin(np.clip(np.abs(normals @ directions) / apart, 0, 1))
    tolerance = np.hypot(_TOLERANCE, 0.5 / np.maximum(length, 1e-9))[:, None]
    support = length[:, None] * np.clip(1 - (angle / tolerance) ** 2, 0, None) ** 2
    return np.asarray(support.sum(0).reshape(up.shape[:2]))

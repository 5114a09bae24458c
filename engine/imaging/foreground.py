"""Which pixels are the object: by alpha, a plain background, what stands out, or by GrabCut or Segment Anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.core.progress import CancelToken
from engine.imaging.inspection import inspect_picture, object_labels

if TYPE_CHECKING:
    from engine.imaging.sam import SamSegmenter

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

MODES = ("auto", "alpha", "plain", "salient", "grabcut", "sam", "whole")

_NOTHING_FOUND = "No object was found in the picture. Draw a box around it or keep the whole picture."
_MIN_SHARE = 0.002
"""Smallest share of the picture that counts as an object."""
_KEY_SIDE = 1024
"""Longer side in pixels at which a plain background is keyed."""
_GRABCUT_SIDE = 400
"""Longer side at which GrabCut runs: one iteration stays near 100 ms."""
_GRABCUT_ITERATIONS = 6
_SEE_THROUGH = 0.08
"""Alpha above which a pixel may belong to a see-through object; below are traces of glow and rounding."""
_PLAIN_NOISE = 2.0
"""Noise of a background in Lab up to which it is plain beyond doubt."""
_AGREE = 0.6
"""IoU with what stands out above which a keyed background is believed nevertheless: its edge is sharper."""
_UNSURE = 6.0
"""Pixels at that size within which the edge of a salient object may still move."""


@dataclass(frozen=True)
class Foreground:
    """The object's mask and how it was found."""

    mask: FloatArray
    """(H, W) in 0..1, soft at the edge."""
    method: str
    """"alpha", "plain", "salient", "grabcut", "sam" or "whole"; "mask" where it was given."""
    weights: Path | None = None
    """Whence the model came, if there was one."""
    device: str = "cpu"
    """Where it was found."""
    notes: tuple[str, ...] = ()
    """What is doubtful about it: sentences that say what to do."""


def extract_foreground(
    picture: ByteArray,
    *,
    mode: str = "auto",
    box: Box | None = None,
    strokes: npt.NDArray[Any] | None = None,
    points: npt.ArrayLike | None = None,
    model: str | Path | None = None,
    cancel: CancelToken | None = None,
) -> Foreground:
    """Find the object in a straight RGBA picture, uint8 (H, W, 4).

    "auto" takes the alpha channel where there is one that says something, else keys a plain or smoothly graded
    background, else asks a network for the salient object, as "salient" does, else, where none of them is installed,
    runs GrabCut (Rother et al. 2004). `box` (x0, y0, x1, y1) in pixels holds the whole object. `strokes` (H, W): 1
    belongs to the object, 2 does not, 0 is open. On an alpha channel strokes paint; elsewhere they are hard labels
    from which GrabCut corrects the rest. "whole" keeps every pixel. `points` (N, 3) of x and y in pixels and 1
    (belongs to the object) or 0 (does not) choose among several objects that were found.

    "sam" asks Segment Anything, which is never taken unasked: it needs weights. Box and points prompt it, strokes
    paint over its answer; without a box and a point it looks in the middle. `model` is for "salient" and "sam": one
    of `salient.KEYS` or `sam.KEYS`, or a path of weights, else what is there.

    Raises `InputError` when nothing (or next to nothing) is found or the options do not fit the picture,
    `WeightsError` for weights of Segment Anything that are missing or damaged, and `Cancelled`.
    """
    found = _extract(picture, mode, box, strokes, points, model, cancel or CancelToken())
    return found if found.method == "whole" else replace(found, notes=inspect_picture(picture, found.mask))


def _extract(
    picture: ByteArray,
    mode: str,
    box: Box | None,
    strokes: npt.NDArray[Any] | None,
    points: npt.ArrayLike | None,
    model: str | Path | None,
    cancel: CancelToken,
) -> Foreground:
    if mode not in MODES:
        raise InputError(f"Unknown way to find the foreground: '{mode}'. Use one of {', '.join(MODES)}.")
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        raise InputError(f"An RGBA picture of 8 bits (H, W, 4) was expected, not {picture.shape} {picture.dtype}.")
    shape = picture.shape[:2]
    box = _checked_box(box, shape)
    strokes = _checked_strokes(strokes, shape)
    marks = _checked_points(points, shape)
    cancel.check()

    if mode == "whole":
        return Foreground(np.ones(shape, np.float32), "whole")
    if mode == "alpha" and picture[..., 3].min() == 255:
        raise InputError(
            "This picture has no transparent part that would say where the object is. Choose another way to find it, "
            "or keep the whole picture."
        )
    if mode == "alpha" or (mode == "auto" and _alpha_is_meaningful(picture)):
        mask = _solid_alpha(picture)
        return _checked(_painted(_chosen(mask, marks), box, strokes), "alpha")

    rgb = _over_white(picture)
    if mode == "sam":
        from engine.imaging import sam

        segmenter = sam.shared(model)
        mask = _segmented(rgb, box, marks, strokes, segmenter, cancel)
        return replace(_checked(mask, "sam"), weights=segmenter.path, device=str(segmenter.device))
    from engine.imaging import salient

    start: FloatArray | None = None
    method, path = "grabcut", None
    if mode in ("auto", "plain") and (keyed := _key_plain(rgb, cancel, demanding=mode == "auto")) is not None:
        start, noise = keyed
        method = "plain"
        if box is not None:
            start = _inside(start, box)
            start = None if mode == "auto" and start.mean() < _MIN_SHARE else start
    if start is None and mode == "plain":
        raise InputError(
            "The background is not plain enough to key out. Draw a box around the object or keep the whole picture."
        )
    doubtful = start is None or noise > _PLAIN_NOISE
    if mode == "salient" or (mode == "auto" and doubtful and salient.available()):
        stands_out, path = _salient(rgb, box, model, cancel)
        # A lawn or a sky may be smooth enough to be keyed, which leaves all else: so the two have to agree.
        if start is None or mode == "salient" or _overlap(start, stands_out) < _AGREE:
            method, start = "salient", stands_out if len(marks) else _without_scenery(stands_out)
        else:
            path = None
    if start is None:
        return _checked(_chosen(_grabcut(rgb, None, box, strokes, cancel), marks), "grabcut")
    start = _chosen(start, marks)
    if method == "salient" or strokes is not None:
        start = _grabcut(rgb, start, box, strokes, cancel, sure=strokes is None)
    return replace(_checked(start, method), weights=path)


# Options


def _checked_box(box: Box | None, shape: tuple[int, int]) -> Box | None:
    if box is None:
        return None
    x0, x1 = (float(np.clip(x, 0, shape[1])) for x in sorted((box[0], box[2])))
    y0, y1 = (float(np.clip(y, 0, shape[0])) for y in sorted((box[1], box[3])))
    if x1 - x0 < 4 or y1 - y0 < 4:
        raise InputError("The box is empty or outside the picture. Draw it around the object.")
    return x0, y0, x1, y1


def _checked_strokes(strokes: npt.NDArray[Any] | None, shape: tuple[int, int]) -> ByteArray | None:
    if strokes is None:
        return None
    strokes = np.asarray(strokes)
    if strokes.shape != shape:
        raise InputError(f"The strokes have the shape {strokes.shape}, the picture {shape}. They must be the same.")
    return strokes.astype(np.uint8) if strokes.any() else None


def _checked_points(points: npt.ArrayLike | None, shape: tuple[int, int]) -> FloatArray:
    """Points (N, 3), N = 0 for none."""
    marks = np.zeros((0, 3), np.float32) if points is None else np.asarray(points, np.float32)
    if marks.size == 0:
        return np.zeros((0, 3), np.float32)
    if marks.ndim != 2 or marks.shape[1] != 3 or not np.isin(marks[:, 2], (0, 1)).all():
        raise InputError("Points are three numbers each: x and y in pixels, and 1 to add or 0 to remove.")
    outside = ~((marks[:, :2] >= 0) & (marks[:, :2] <= shape[::-1])).all(axis=1)
    if outside.any():
        x, y = marks[outside][0, :2]
        raise InputError(
            f"The point ({x:g}, {y:g}) lies outside the picture of {shape[1]} x {shape[0]} pixels. Choose it inside."
        )
    return marks


def _chosen(mask: FloatArray, points: FloatArray) -> FloatArray:
    """The mask without the objects that no point chose, or that a point refused; InputError for a point on nothing."""
    if not len(points):
        return mask
    labels = object_labels(mask)
    columns, rows = (np.minimum(points[:, i].astype(int), mask.shape[1 - i] - 1) for i in (0, 1))
    at = labels[rows, columns]
    wanted, refused = at[points[:, 2] == 1], at[points[:, 2] == 0]
    if (wanted == 0).any():
        x, y = points[points[:, 2] == 1][wanted == 0][0, :2]
        raise InputError(f"No object was found at the point ({x:g}, {y:g}). Draw a box around it, or paint it.")
    kept = np.ones(int(labels.max()) + 1, bool)
    if len(wanted):
        kept[:] = False
        kept[wanted] = True
    kept[refused] = False
    # The soft edge belongs to the object that is nearest.
    near = cv2.dilate(kept[labels].astype(np.uint8) * (labels > 0), np.ones((7, 7), np.uint8)) > 0
    return np.where(near & ((labels == 0) | kept[labels]), mask, 0.0).astype(np.float32)


def _checked(mask: FloatArray, method: str) -> Foreground:
    if float(mask.mean()) < _MIN_SHARE:
        if method == "alpha":
            raise InputError("The picture is transparent nearly everywhere. Choose another or keep the whole picture.")
        if method == "sam":
            raise InputError(
                "Segment Anything found no object there. Draw a box around the object, or click a point on it."
            )
        raise InputError(_NOTHING_FOUND)
    return Foreground(np.ascontiguousarray(np.clip(mask, 0.0, 1.0), np.float32), method)


def _painted(mask: FloatArray, box: Box | None, strokes: ByteArray | None) -> FloatArray:
    if box is not None:
        mask = _inside(mask, box)
    if strokes is not None:
        mask = np.where(strokes == 1, 1.0, np.where(strokes == 2, 0.0, mask)).astype(np.float32)
    return mask


def _inside(mask: FloatArray, box: Box) -> FloatArray:
    x0, y0, x1, y1 = (round(value) for value in box)
    kept = np.zeros_like(mask)
    kept[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    return kept


def _alpha_is_meaningful(picture: ByteArray) -> bool:
    """Whether the alpha channel cuts something out; the rounded corners of a screenshot do not count."""
    low, high = int(picture[..., 3].min()), int(picture[..., 3].max())
    return float((picture[..., 3] < 128).mean()) > 0.01 and (high > low or high == 0)


def _solid_alpha(picture: ByteArray) -> FloatArray:
    """The alpha channel (H, W) as a mask: what is see-through is as much the object as what is not, a shadow is none.

    A see-through part is even and has a colour; at its edge the mask is the share of what is within.
    """
    alpha = picture[..., 3].astype(np.float32) / 255.0
    shadow = (picture[..., :3].max(axis=2) < 48) & (alpha < 0.9)
    near = np.ones((5, 5), np.uint8)
    even = cv2.dilate(alpha, near) - cv2.erode(alpha, near) < 0.06  # a feathered edge is steeper
    thin = (alpha > _SEE_THROUGH) & (alpha < 0.9) & even & ~shadow
    if thin.sum() < 0.02 * (alpha > _SEE_THROUGH).sum() or not thin.any():
        return alpha
    there = cv2.dilate(thin.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    inside = cv2.erode(((alpha > _SEE_THROUGH) & ~shadow).astype(np.uint8), near) > 0
    most = cv2.dilate(np.where(shadow, 0.0, alpha).astype(np.float32), near)
    solid = np.where(inside, 1.0, np.where(shadow, alpha, alpha / np.maximum(most, 0.05)))
    return np.where(there, solid, alpha).clip(0, 1).astype(np.float32)


def _over_white(picture: ByteArray) -> ByteArray:
    rgb = picture[..., :3]
    if picture[..., 3].min() == 255:
        return np.ascontiguousarray(rgb)
    alpha = picture[..., 3:].astype(np.float32) / 255.0
    return (rgb * alpha + 255.0 * (1.0 - alpha) + 0.5).astype(np.uint8)


# Plain backgrounds


def _key_plain(rgb: ByteArray, cancel: CancelToken, *, demanding: bool) -> tuple[FloatArray, float] | None:
    """Mask of what differs from a plain or smoothly graded background, and the background's noise (standard deviation
    in Lab); None if the border is not one.

    The background is a low-order polynomial in Lab fitted to the border, then refitted to all that it explains. Only
    what is connected to the border is background: windows and white walls inside the object stay.
    """
    small = _reduced(rgb, _KEY_SIDE)
    lab = _blurred_lab(small, 1.2)
    height, width = lab.shape[:2]
    ring = np.ones((height, width), bool)
    thick = max(2, round(0.015 * min(height, width)))
    ring[thick:-thick, thick:-thick] = False
    cancel.check()

    fit = _fit_background(lab, ring)
    if fit is None:
        return None
    for refit in range(3):
        model, sigma = fit
        tolerance = float(np.clip(3.0 * sigma + 3.0, 5.0, 12.0))
        background = _connected_to_border(np.linalg.norm(lab - model, axis=2) < tolerance, thick)
        cancel.check()
        if refit == 2:
            break
        # All that the border's fit explains corrects the fit in the middle of the picture.
        again = _fit_background(lab, background, order=3)
        cancel.check()
        if again is None:
            break
        fit = again

    sides = _side_shares(background, thick)
    # An object may be cut off by one side of the picture (usually the lower one), not by more.
    if demanding and (sorted(sides)[1] < 0.6 or sum(sides) < 2.6):
        return None
    object_mask = ~background
    if demanding and not _MIN_SHARE < object_mask.mean() < 0.92:
        return None
    object_mask = _main_components(_without_soft_shadow(object_mask, background, small, model, thick), 0.03)
    alpha = _edge_alpha(object_mask, small, model, tolerance)
    cancel.check()
    return np.asarray(cv2.resize(alpha, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32), sigma


def _without_soft_shadow(
    object_mask: npt.NDArray[np.bool_],
    background: npt.NDArray[np.bool_],
    rgb: ByteArray,
    model: FloatArray,
    thick: int,
) -> npt.NDArray[np.bool_]:
    """The object without the shadow it casts: darker than the background, of its hue, and reached without an edge."""
    difference = _blurred_lab(rgb, 0.8) - model
    lightness = np.ascontiguousarray(difference[..., 0])
    slope = np.hypot(
        cv2.Sobel(lightness, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(lightness, cv2.CV_32F, 0, 1, scale=1 / 8)
    )
    # An edge is as steep at any size; a shadow is the less steep the larger the picture.
    gentle = slope < 2.0 * min(1.0, 480.0 / max(object_mask.shape))
    shade = (lightness < 0.0) & (lightness > -45.0) & (np.hypot(difference[..., 1], difference[..., 2]) < 6.0)
    without = object_mask & ~_connected_to_border(background | (shade & gentle), thick)
    # What would lose much of its area is a pale or grey object, not a shadow.
    return without if without.sum() > 0.6 * object_mask.sum() else object_mask


def _edge_alpha(
    object_mask: npt.NDArray[np.bool_], rgb: ByteArray, background: FloatArray, tolerance: float
) -> FloatArray:
    """The keyed mask with its edge matted: how far each pixel has gone from the background to the object's colour.

    The key alone is a pixel too wide, because a trace of the object in a blended pixel is over the tolerance.
    """
    distance = np.linalg.norm(_blurred_lab(rgb, 0.0) - background, axis=2)
    object_distance = cv2.dilate(np.where(object_mask, distance, 0.0).astype(np.float32), np.ones((5, 5), np.uint8))
    floor = tolerance / 2
    share = np.clip((distance - floor) / np.maximum(0.9 * object_distance - floor, 1e-3), 0.0, 1.0)
    band = cv2.dilate((~object_mask).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    # Where the object is as good as the background's colour the share is noise.
    band &= object_distance > 3.0 * tolerance
    return np.where(object_mask & band, share, object_mask).astype(np.float32)


def _fit_background(
    lab: FloatArray, where: npt.NDArray[np.bool_], order: int | None = None
) -> tuple[FloatArray, float] | None:
    """(robust polynomial fit (H, W, 3) of `lab` over `where`, standard deviation of what it explains), or None.

    Without `order`, the lowest of 0, 1, 2 that explains the border nearly as well as the best does.
    """
    height, width = lab.shape[:2]
    ys, xs = np.nonzero(where)
    if ys.size < 50:
        return None
    step = max(1, ys.size // 6000)
    ys, xs = ys[::step], xs[::step]
    values = lab[ys, xs].astype(np.float64)
    x, y = xs / width * 2.0 - 1.0, ys / height * 2.0 - 1.0

    def robust(degree: int) -> tuple[Any, float, float]:
        terms = _polynomial_terms(x, y, degree)
        inliers = np.linalg.norm(values - np.median(values, axis=0), axis=1) < 30.0
        for limit_floor in (12.0, 8.0, 6.0, 6.0, 6.0):
            if inliers.sum() < 4 * terms.shape[1]:
                return None, 0.0, np.inf
            solution = np.linalg.lstsq(terms[inliers], values[inliers], rcond=None)[0]
            residual = np.linalg.norm(values - terms @ solution, axis=1)
            spread = float(np.sqrt(np.mean(residual[inliers] ** 2)))
            inliers = residual < max(limit_floor, min(2.5 * spread, 12.0))
        return solution, float(inliers.mean()), float(np.sqrt(np.mean(residual[inliers] ** 2)))

    fits = {degree: robust(degree) for degree in ((0, 1, 2) if order is None else (order,))}
    best = max(share - 0.03 * sigma for _, share, sigma in fits.values())
    degree = next(d for d, (_, share, sigma) in fits.items() if share - 0.03 * sigma >= best - 0.03)
    solution, share, sigma = fits[degree]
    if solution is None or share < 0.5 or sigma > 4.5:
        return None
    # Over the whole grid the polynomial is two small matrix products.
    table = np.zeros((degree + 1, degree + 1, 3))
    for (i, j), coefficients in zip(_exponents(degree), solution, strict=True):
        table[i, j] = coefficients
    powers_x = np.vander(np.arange(width) / width * 2.0 - 1.0, degree + 1, increasing=True).astype(np.float32)
    powers_y = np.vander(np.arange(height) / height * 2.0 - 1.0, degree + 1, increasing=True).astype(np.float32)
    planes = [powers_y @ table[..., c].T.astype(np.float32) @ powers_x.T for c in range(3)]
    return np.dstack(planes), sigma


def _exponents(degree: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def _polynomial_terms(x: npt.NDArray[Any], y: npt.NDArray[Any], degree: int) -> npt.NDArray[np.float64]:
    return np.stack([x**i * y**j for i, j in _exponents(degree)], axis=1)


def _connected_to_border(candidate: npt.NDArray[np.bool_], thick: int) -> npt.NDArray[np.bool_]:
    """The part of `candidate` that reaches the border of the picture by a way at least 3 pixels wide."""
    # Opened first: a leak of one pixel through a weak edge must not empty a white wall behind it.
    opened = cv2.erode(candidate.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    count, labels = cv2.connectedComponents(opened, connectivity=4)
    edge = np.concatenate(
        [labels[:thick].ravel(), labels[-thick:].ravel(), labels[:, :thick].ravel(), labels[:, -thick:].ravel()]
    )
    reached = np.zeros(count, bool)
    reached[np.unique(edge)] = True
    reached[0] = False
    # Some steps back into the corners that the erosion closed; a leak gets no further than these.
    grown = reached[labels]
    for _ in range(5):
        grown = (cv2.dilate(grown.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & candidate
    return grown


def _side_shares(background: npt.NDArray[np.bool_], thick: int) -> list[float]:
    sides = (background[:thick], background[-thick:], background[:, :thick], background[:, -thick:])
    return [float(side.mean()) for side in sides]


# GrabCut


def _grabcut(
    rgb: ByteArray,
    start: FloatArray | None,
    box: Box | None,
    strokes: ByteArray | None,
    cancel: CancelToken,
    *,
    sure: bool = False,
) -> FloatArray:
    """GrabCut at a reduced size, refined along the picture's own edges.

    `start` is where it begins, in 0..1; `sure`: where that is decided and not near its edge, it stands.
    """
    small = _reduced(rgb, _GRABCUT_SIDE)
    height, width = small.shape[:2]
    scale_x, scale_y = width / rgb.shape[1], height / rgb.shape[0]

    labels = np.full((height, width), cv2.GC_PR_FGD, np.uint8)
    if start is not None:
        probable = cv2.resize(start, (width, height), interpolation=cv2.INTER_AREA) > 0.5
        labels = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        if sure:
            small_start = cv2.resize(start, (width, height), interpolation=cv2.INTER_AREA)
            for hard, side, decided in (
                (cv2.GC_FGD, probable, small_start > 0.8),
                (cv2.GC_BGD, ~probable, small_start < 0.2),
            ):
                deep = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3) > _UNSURE
                labels[deep & decided] = hard
    elif box is None:
        labels = _salient_labels(small)
        cancel.check()
    if box is not None:
        x0, x1 = int(box[0] * scale_x), int(np.ceil(box[2] * scale_x))
        y0, y1 = int(box[1] * scale_y), int(np.ceil(box[3] * scale_y))
        outside = np.ones((height, width), bool)
        outside[y0:y1, x0:x1] = False
        labels[outside] = cv2.GC_BGD
    added = removed = np.zeros((height, width), bool)
    if strokes is not None:
        # By area, so that a thin stroke survives the reduction.
        share = [
            cv2.resize((strokes == k).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) for k in (1, 2)
        ]
        added = (share[0] > 0.05) & (share[0] >= share[1])
        removed = (share[1] > 0.05) & (share[1] > share[0])
        labels[added], labels[removed] = cv2.GC_FGD, cv2.GC_BGD

    is_object = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if is_object.all():
        # A box around the whole picture says nothing; its rim is the likeliest background.
        labels[:2], labels[-2:], labels[:, :2], labels[:, -2:] = (cv2.GC_PR_BGD,) * 4
    elif not is_object.any():
        if strokes is None:
            raise InputError(_NOTHING_FOUND)
        raise InputError("Nothing is left of the object. Undo the last strokes, or draw a box around the object.")

    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    small_bgr = np.ascontiguousarray(small[..., ::-1])
    flags = cv2.GC_INIT_WITH_MASK
    for _ in range(_GRABCUT_ITERATIONS):
        cancel.check()
        before = labels.copy()
        try:
            cv2.grabCut(small_bgr, labels, (0, 0, 0, 0), background, foreground, 1, flags)
        except cv2.error as error:
            raise InputError(
                "The object cannot be told from the background. Draw a box or keep the whole picture."
            ) from error
        flags = cv2.GC_EVAL
        inside = (labels & 1) == 1  # GC_FGD = 1, GC_PR_FGD = 3
        if not inside.any() or inside.all() or np.count_nonzero(inside != ((before & 1) == 1)) < 1e-3 * inside.size:
            break
    cancel.check()
    solid = _fill_small_holes(_main_components((labels & 1) == 1, 0.15, keep=added), removed)
    soft = _refined(solid, rgb, cancel)
    return _painted(soft, None, strokes)


def _salient_labels(small: ByteArray) -> ByteArray:
    """A guess without a box: what is unlike the border of the picture and near its middle is probably the object."""
    height, width = small.shape[:2]
    lab = _blurred_lab(small, 1.5)
    inset_x, inset_y = max(2, round(0.05 * width)), max(2, round(0.05 * height))
    rim = np.ones((height, width), bool)
    rim[inset_y:-inset_y, inset_x:-inset_x] = False
    cv2.setRNGSeed(0)
    samples = np.ascontiguousarray(lab[rim][:: max(1, int(rim.sum()) // 4000)])
    clusters = min(8, len(samples))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.5)
    member = np.zeros((len(samples), 1), np.int32)
    _, _, centres = cv2.kmeans(samples, clusters, member, criteria, 1, cv2.KMEANS_PP_CENTERS)
    # A rare colour of the rim may be the object's own, cut off there.
    common = np.bincount(member.ravel(), minlength=clusters) >= 0.03 * len(samples)
    distance = np.min([np.linalg.norm(lab - centre, axis=2) for centre in centres[common]], axis=0)
    ys, xs = np.mgrid[0:height, 0:width]
    middle = np.exp(-2.0 * (((xs + 0.5) / width - 0.5) ** 2 + ((ys + 0.5) / height - 0.5) ** 2) / 0.18)
    salience = _blurred((distance / (distance.mean() + 1e-6) * middle).astype(np.float32), 0.012 * width + 1.0)
    scaled = np.clip(salience / max(float(np.quantile(salience, 0.98)), 1e-6) * 255.0, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    labels = np.where(scaled > 0.8 * threshold, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[rim] = cv2.GC_BGD
    # Objects usually stand on the lower edge's side of the picture and may be cut off there.
    labels[-inset_y:, inset_x:-inset_x] = cv2.GC_PR_BGD
    return labels


# Networks


def _overlap(mask: FloatArray, other: FloatArray) -> float:
    """Intersection over union at 0.5."""
    return float(((mask > 0.5) & (other > 0.5)).sum() / max(((mask > 0.5) | (other > 0.5)).sum(), 1))


def _without_path(mask: FloatArray) -> FloatArray:
    """The mask without a way that leads from the lower border to the object's foot, wider the nearer it comes.

    A strip is one if it is narrower than the object above it, by far the smaller part, and widens downwards, which no
    upright stem does.
    """
    solid = mask > 0.5
    height = len(solid)
    runs: list[tuple[int, int]] = []  # of each row from the lowest: first column, and the one after the last
    widths: list[int] = []
    top = 0  # rows from the lowest to the narrowest
    for row in solid[::-1]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.view(np.int8), [0]])))
        pairs = edges.reshape(-1, 2)
        if runs:
            pairs = pairs[(pairs[:, 0] < runs[-1][1]) & (pairs[:, 1] > runs[-1][0])]
        if not len(pairs):
            return mask
        first, last = pairs[np.argmax(pairs[:, 1] - pairs[:, 0])]
        runs.append((int(first), int(last)))
        widths.append(int(last - first))
        if widths[-1] < widths[top]:
            top = len(widths) - 1
        if top > 0 and widths[-1] > 1.25 * widths[top]:
            break
    else:
        return mask
    above = solid[: height - top]
    is_path = (
        top > 0.03 * height
        and widths[0] > 1.12 * widths[top]
        and widths[top] < 0.7 * np.ptp(np.flatnonzero(above.any(axis=0)))
        and above.sum() > 0.6 * solid.sum()
        and runs[0][0] > 0
        and runs[0][1] < solid.shape[1]
    )
    if not is_path:
        return mask
    mask = mask.copy()
    mask[height - top :] = 0.0
    return mask


def _without_scenery(mask: FloatArray) -> FloatArray:
    """The mask without smaller things that the picture's sides or upper border cut off, unless the largest is too."""
    labels = object_labels(mask)
    if labels.max() < 2:
        return mask
    rim = np.concatenate([labels[0], labels[:, 0], labels[:, -1]])
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    dropped = [label for label in np.unique(rim[rim > 0]) if label != largest] if largest not in rim else []
    near = cv2.dilate(np.isin(labels, dropped).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    return np.where(near, 0.0, mask).astype(np.float32)


def _salient(rgb: ByteArray, box: Box | None, model: str | Path | None, cancel: CancelToken) -> tuple[FloatArray, Path]:
    """How much each pixel belongs to the salient object, and the weights.

    A small object is looked at once more, closer, and both looks count alike. A box is looked into alone.
    """
    from engine.imaging.salient import find_salient

    first: FloatArray | None = None
    bounds = box
    if bounds is None:
        first, path = find_salient(rgb, model)
        cancel.check()
        if not (first > 0.5).any():
            return first, path
        first = _without_path(first)
        x, y, width, height = cv2.boundingRect(_main_components(first > 0.5, 0.15).astype(np.uint8))
        if max(width / rgb.shape[1], height / rgb.shape[0]) > 0.6:
            return first, path
        bounds = x, y, x + width, y + height
    margin = 0.15 * max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    x0, y0 = (max(round(low - margin), 0) for low in bounds[:2])
    x1, y1 = round(bounds[2] + margin), round(bounds[3] + margin)
    closer, path = find_salient(rgb[y0:y1, x0:x1], model)
    cancel.check()
    mask = np.zeros(rgb.shape[:2], np.float32)
    mask[y0:y1, x0:x1] = _without_path(closer)
    if first is None:
        return _inside(mask, bounds), path
    # It adds detail, no other things.
    reach = round(margin / 4) | 1
    mask[cv2.dilate((first > 0.2).astype(np.uint8), np.ones((reach, reach), np.uint8)) == 0] = 0.0
    mask = (mask + first) / np.float32(2)
    return (mask if (mask > 0.5).sum() > 0.6 * (first > 0.5).sum() else first), path


def _segmented(
    rgb: ByteArray,
    box: Box | None,
    points: FloatArray,
    strokes: ByteArray | None,
    segmenter: SamSegmenter,
    cancel: CancelToken,
) -> FloatArray:
    """The model's mask, refined along the picture's own edges."""
    cancel.check()
    found = segmenter.segment(rgb, box, points[:, :2], points[:, 2], cancel)
    cancel.check()
    height, width = _reduced(rgb, _GRABCUT_SIDE).shape[:2]
    mask = np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA), np.float32) > 0.5
    added = np.zeros_like(mask)
    for x, y, _ in points[points[:, 2] == 1] * (width / rgb.shape[1], height / rgb.shape[0], 1):
        added[min(int(y), height - 1), min(int(x), width - 1)] = True
    mask = _main_components(mask, 0.01, keep=added & mask)
    return _painted(_refined(mask, rgb, cancel), None, strokes)


# Shared steps; OpenCV's annotations know neither shape nor type, hence the wrappers


def _blurred(values: npt.NDArray[Any], sigma: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _blurred_lab(rgb: ByteArray, sigma: float) -> FloatArray:
    unit = (_blurred(rgb, sigma) if sigma > 0 else rgb.astype(np.float32)) / 255.0
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2Lab), np.float32)


def _reduced(rgb: ByteArray, side: int) -> ByteArray:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1.0:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _main_components(
    mask: npt.NDArray[np.bool_], share: float, keep: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    """The largest component, all of at least `share` of its area, and those that `keep` touches."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    area[0] = 0.0
    kept = area >= share * area.max()
    if keep is not None:
        kept[np.unique(labels[keep])] = True
    kept[0] = False
    return kept[labels]


def _fill_small_holes(mask: npt.NDArray[np.bool_], removed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill holes under 0.5 % of the object that no stroke removed: dark windows and highlights, as a rule."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] < 0.005 * mask.sum()
    fill[0] = False
    fill[np.unique(labels[removed])] = False
    return mask | fill[labels] if count > 1 else mask


def _refined(mask: npt.NDArray[np.bool_], rgb: ByteArray, cancel: CancelToken) -> FloatArray:
    """The mask enlarged to the picture, its edge softened along the picture's edges (guided filter, He et al. 2010)."""
    height, width = rgb.shape[:2]
    factor = width / mask.shape[1]
    enlarged = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    coarse = np.asarray(enlarged, np.float32)
    if not mask.any() or mask.all():
        return coarse
    radius = max(2, round(2.0 * factor))
    window = (2 * radius + 1, 2 * radius + 1)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    outer = ~cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    guide = _discriminant(rgb, inner, outer)
    cancel.check()

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(cv2.boxFilter(values, -1, window, borderType=cv2.BORDER_REFLECT), np.float32)

    mean_guide, mean_mask = mean(guide), mean(coarse)
    variance = mean(guide * guide) - mean_guide**2
    cancel.check()
    slope = (mean(guide * coarse) - mean_guide * mean_mask) / (variance + 0.02)
    offset = mean_mask - slope * mean_guide
    cancel.check()
    soft = mean(slope) * guide + mean(offset)
    # The filter blurs where the guide says nothing; steeper about 0.5 brings the edge back to a pixel or two.
    soft = np.clip((soft - 0.5) * 2.0 + 0.5, 0.0, 1.0)
    # Away from the coarse edge the decision stands.
    near = cv2.blur(coarse, (4 * radius + 1, 4 * radius + 1))
    return np.where(near > 0.999, 1.0, np.where(near < 0.001, 0.0, soft)).astype(np.float32)


def _discriminant(rgb: ByteArray, inner: npt.NDArray[np.bool_], outer: npt.NDArray[np.bool_]) -> FloatArray:
    """The picture as one channel (H, W): Fisher's linear discriminant of object and background next to the edge.

    It tells them apart where grey would not (a red wall before green trees). Scaled to unit distance of the means.
    """
    small = cv2.resize(rgb, (inner.shape[1], inner.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float64) / 255.0
    near = cv2.dilate((~inner & ~outer).astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool)
    sides = [small[region & near] if (region & near).any() else small[~inner & ~outer] for region in (inner, outer)]
    within = sum((np.cov(side.T) if len(side) > 3 else np.zeros((3, 3))) for side in sides) + 1e-3 * np.eye(3)
    direction = np.linalg.solve(within, sides[0].mean(axis=0) - sides[1].mean(axis=0))
    separation = float(direction @ (sides[0].mean(axis=0) - sides[1].mean(axis=0)))
    direction = direction / separation if separation > 1e-6 else np.full(3, 1 / 3)
    return rgb.astype(np.float32) @ (direction / 255.0).astype(np.float32)

"""Where the colours of a mesh go wrong: by the fineness of the texture, and by how deep its colours are.

Both are sums over the pixels that the mesh and the truth share, in pictures without light, so that samples can be
pooled and resampled: a `Sums` is an array that is added up, and turned into a table at the end.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engine.cameras import REFERENCE_FOCAL, REFERENCE_SIZE
from engine.evaluation.pictures import RADIUS

Sums = npt.NDArray[np.float64]

_SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Gaussians whose differences are the bands, in pixels."""
_PIXELS_A_SIDE = REFERENCE_FOCAL / RADIUS
"""Pixels that the truth's longest side takes in a picture of the reference size."""
BANDS = tuple(
    [f"under {0.077 / _SIGMAS[-1] * _PIXELS_A_SIDE:.0f}"]
    + [f"about {0.153 / sigma * _PIXELS_A_SIDE:.0f}" for sigma in _SIGMAS[-2::-1]]
    + [f"over {0.23 / _SIGMAS[0] * _PIXELS_A_SIDE:.0f}"]
)
"""Bands of spatial frequency, coarse to fine, in cycles along the object's longest side."""
SATURATIONS = ("0 to 0.2", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 1")
_SATURATION_EDGES = (0.2, 0.4, 0.6)
DARKNESSES = ("0 to 0.25 (dark)", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1 (light)")
_VALUE_EDGES = (0.25, 0.5, 0.75)
_LEAST_VALUE = 0.15
"""Value (HSV) below which saturation means nothing."""


def frequency_sums(prediction: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> Sums:
    """Sums (`BANDS`, 4) over shared pixels of t^2, p^2, (p - t)^2 and p t of each band of pictures (N, S, S, 4).

    Bands are differences of Gaussians within the shared pixels; of the coarsest one the mean colour of the truth is
    taken off, so that a wrong mean colour counts as its error.
    """
    found = np.zeros((len(BANDS), 4))
    scale = truth.shape[1] / REFERENCE_SIZE
    for p, t in zip(prediction, truth, strict=True):
        mask = ((p[..., 3] > 0.99) & (t[..., 3] > 0.99)).astype(np.float32)
        if mask.sum() < 16:
            continue
        rows, columns = np.nonzero(mask)
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        mask = np.ascontiguousarray(mask[box])
        both = np.concatenate([t[box][..., :3], p[box][..., :3]], 2)
        both = both - both[mask > 0][:, :3].mean(0).tolist() * 2
        inside = mask > 0
        finer = both
        for band, sigma in zip(range(len(BANDS) - 1, 0, -1), _SIGMAS, strict=True):
            blurred = _blur(both, mask, sigma * scale)
            found[band] += _moments((finer - blurred)[inside])
            finer = blurred
        found[0] += _moments(finer[inside])
    return found


def _blur(pictures: npt.NDArray[np.float32], mask: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """A Gaussian blur that only pixels of the mask take part in."""

    def blur(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        blurred = cv2.GaussianBlur(np.ascontiguousarray(x), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(blurred, np.float32)

    weight, halves = blur(mask), [blur(pictures[..., i : i + 3] * mask[..., None]) for i in (0, 3)]
    return np.asarray(np.concatenate(halves, 2) / np.maximum(weight, 1e-6)[..., None], np.float32)


def _moments(band: npt.NDArray[np.float32]) -> Sums:
    t, p = band[:, :3].astype(np.float64), band[:, 3:].astype(np.float64)
    return np.array([(t * t).sum(), (p * p).sum(), ((p - t) ** 2).sum(), (p * t).sum()])


def frequency_table(sums: Sums) -> dict[str, list[float]]:
    """By band: `contrast` of the truth (share of all), `error` (relative), `kept` contrast, and `correlation`."""
    tt, pp, ee, both = sums.T
    safe = np.maximum(tt, 1e-12)
    return {
        "contrast": (tt / max(tt.sum(), 1e-12)).tolist(),
        "error": np.sqrt(ee / safe).tolist(),
        "kept": np.sqrt(pp / safe).tolist(),
        "correlation": (both / np.maximum(np.sqrt(tt * pp), 1e-12)).tolist(),
    }


def color_sums(prediction: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> Sums:
    """Sums (`SATURATIONS` then `DARKNESSES`, 4) over shared pixels of pictures (N, S, S, 4).

    Of each class of the true colour: pixels, colour difference (CIE 1976), and by how much the prediction is lighter
    (L*) and more colourful (C*).
    """
    found = np.zeros((len(SATURATIONS) + len(DARKNESSES), 4))
    shared = (prediction[..., 3] > 0.99) & (truth[..., 3] > 0.99)
    if not shared.any():
        return found
    p, t = prediction[shared][:, :3], truth[shared][:, :3]
    lab_p, lab_t = (cv2.cvtColor(x[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0].astype(np.float64) for x in (p, t))
    value, least = t.max(1), t.min(1)
    saturation = np.where(value > 0, (value - least) / np.maximum(value, 1e-6), 0)
    difference = np.linalg.norm(lab_p - lab_t, axis=1)
    chroma = np.linalg.norm(lab_p[:, 1:], axis=1) - np.linalg.norm(lab_t[:, 1:], axis=1)
    columns = (np.ones(len(p)), difference, lab_p[:, 0] - lab_t[:, 0], chroma)
    by_saturation = np.digitize(saturation, _SATURATION_EDGES)
    by_value = len(SATURATIONS) + np.digitize(value, _VALUE_EDGES)
    bright = value >= _LEAST_VALUE
    for i, column in enumerate(columns):
        found[:, i] += np.bincount(by_saturation[bright], column[bright], len(found))
        found[:, i] += np.bincount(by_value, column, len(found))
    return found


def color_table(sums: Sums) -> dict[str, list[float | None]]:
    """By class: `share` of its pixels, `difference`, `lighter` and `more_colourful`; None where there are no pixels."""
    parts = [slice(0, len(SATURATIONS)), slice(len(SATURATIONS), None)]
    share = np.concatenate([sums[part, 0] / max(sums[part, 0].sum(), 1) for part in parts])
    means = [
        [float(total / n) if n else None for total, n in zip(sums[:, i], sums[:, 0], strict=True)] for i in (1, 2, 3)
    ]
    return {"share": share.tolist(), "difference": means[0], "lighter": means[1], "more_colourful": means[2]}

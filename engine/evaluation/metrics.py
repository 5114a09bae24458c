"""The measures of an evaluation: what they are called, which way is better, and how tests of them are put."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST = 5
"""Samples that an interval or a test needs; of fewer it would say nothing that is to be relied on."""


@dataclass(frozen=True)
class Metric:
    """One measure."""

    key: str
    label: str
    higher_is_better: bool
    decimals: int
    meaning: str
    """One sentence with the equation, in plain text."""
    unit: str = ""


_ALL = (
    Metric(
        "clip",
        "CLIP similarity",
        True,
        4,
        "Mean over 32 cameras c of cos(f(R(P, c)), f(R(T, c))): f is CLIP's image encoder, R(P, c) and R(T, c) "
        "pictures of the aligned prediction and of the true model.",
    ),
    Metric(
        "f_score",
        "F-score",
        True,
        4,
        "2 P R / (P + R); P is the share of the prediction's surface within 0.05 of the true one, R the other way "
        "round, in units of the true model's longest side.",
    ),
    Metric(
        "far_f_score",
        "Far-side F-score",
        True,
        4,
        "F-score of what the input's camera does not see: P over such points of the prediction, R over such of the "
        "true model, each against the whole other surface. Of run folders alone, whose camera is known.",
    ),
    Metric(
        "chamfer",
        "Chamfer distance",
        False,
        4,
        "Half the sum of the mean distances from each surface to the other, in units of the true model's longest side.",
    ),
    Metric(
        "normal_consistency",
        "Normal consistency",
        True,
        4,
        "Mean |cos| between the normals at each point and at the nearest one of the other surface, both ways; 0.5 for "
        "normals at random.",
    ),
    Metric("volume_iou", "Volume IoU", True, 4, "|P and T| / |P or T| over the voxels of a grid of 96."),
    Metric("psnr", "PSNR", True, 2, "-10 log10 of the mean squared difference of RGB over white, 32 pictures.", "dB"),
    Metric("ssim", "SSIM", True, 4, "Structural similarity of RGB over white, Gaussian window of 1.5 px, 32 pictures."),
    Metric("lpips", "LPIPS", False, 4, "Distance of AlexNet's features, weighted as learnt (v0.1), 32 pictures."),
    Metric(
        "likeness",
        "Likeness",
        True,
        4,
        "Mean over 32 cameras of the cosine of EfficientNet-Lite0's pooled features, as learnt from ImageNet, of both "
        "pictures.",
    ),
    Metric("mask_iou", "Mask IoU", True, 4, "|P and T| / |P or T| over the pixels of the silhouettes, 32 pictures."),
    Metric(
        "elevation_error",
        "Elevation error",
        False,
        2,
        "|estimated - true elevation| of the input camera, where both are known.",
        "deg",
    ),
)
METRICS = {metric.key: metric for metric in _ALL}
"""Every measure by its key, the most telling first."""


def probability(p: float | None, count: int) -> str:
    """The p of a test of `count` pairs in words: `0.0312`, `1.6e−8`, that there are too few, or a dash for none."""
    if p is None:
        return "too few" if count < FEWEST else "–"
    if p >= 0.001 or p == 0:
        return f"{p:.4f}"
    digits, exponent = f"{p:.1e}".split("e")
    return f"{digits}e−{abs(int(exponent))}"

"""How close pictures are: PSNR, SSIM and mask IoU."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def psnr(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """PSNR = -10 log10(mean((p - t)^2)) in dB of RGB over white, 0..1, whole picture; 100 at most.

    Pictures are (..., H, W, 3 or 4); alpha is not compared.

    >>> truth = np.full((32, 32, 3), 0.5)
    >>> round(psnr(truth + 0.1, truth), 3)
    20.0
    """
    difference = np.asarray(prediction, np.float64)[..., :3] - np.asarray(truth, np.float64)[..., :3]
    return float(-10 * np.log10(max(float((difference**2).mean()), 1e-10)))


def ssim(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """SSIM (Wang et al. 2004) of two pictures (H, W, 3 or 4), RGB over white, 0..1; 1 for the same picture.

    Mean over pixels and channels of (2 m_p m_t + c1)(2 s_pt + c2) / ((m_p^2 + m_t^2 + c1)(s_p^2 + s_t^2 + c2)): means,
    variances and covariance under a Gaussian of 1.5 px in 11 x 11; c1 = 0.01^2, c2 = 0.03^2. Alpha is not compared.

    >>> truth = np.random.default_rng(0).random((32, 32, 3))
    >>> ssim(truth, truth), ssim(1 - truth, truth) < 0
    (1.0, True)
    """
    p, t = (np.ascontiguousarray(np.asarray(x, np.float64)[..., :3]) for x in (prediction, truth))

    def blur(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT_101))

    mean_p, mean_t = blur(p), blur(t)
    var_p, var_t, both = blur(p * p) - mean_p**2, blur(t * t) - mean_t**2, blur(p * t) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_p * mean_t + c1) * (2 * both + c2) / ((mean_p**2 + mean_t**2 + c1) * (var_p + var_t + c2))
    return float(found.mean())


def mask_iou(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """IoU = |P and T| / |P or T| of two masks (H, W), inside where > 0.5; 1 when both are empty.

    >>> mask_iou([[1, 1, 0]], [[0, 1, 1]])
    0.3333333333333333
    """
    p, t = np.asarray(prediction) > 0.5, np.asarray(truth) > 0.5
    union = int((p | t).sum())
    return float((p & t).sum() / union) if union else 1.0

"""What happens to a picture after the lens: tones, focus, noise, compression, and a mask that is not quite right."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

CLEAN = 1 / 3
"""Share of pictures that stay as they are."""


def photograph(rgba: ByteArray, colors: ByteArray, rng: np.random.Generator) -> tuple[ByteArray, ByteArray]:
    """A drawn picture as a user's would be: taken by some camera, saved, cut out by hand or by a network.

    `rgba` (S, S, 4) is RGB over white and alpha the object's coverage; so is the result. The picture is put before
    some background, developed, and cut out again with a mask that may be a few pixels off, so that the old background
    shows where it is too large. `colors` (N, 3) of the object get the same tones.
    """
    if rng.random() < CLEAN:
        return rgba, colors
    side = len(rgba)
    alpha = rgba[..., 3:].astype(np.float32) / np.float32(255)
    photo: FloatArray = rgba[..., :3].astype(np.float32) / np.float32(255) + (1 - alpha) * (_background(side, rng) - 1)
    mask: FloatArray = alpha[..., 0]
    tones = _Tones(rng)
    photo = tones(photo)
    colors = _bytes(tones(colors.astype(np.float32) / np.float32(255)))
    photo = _compressed(_noisy(_focused(photo, rng), rng), rng)
    if rng.random() < 0.65:
        mask = _cut_out(mask, rng)
    photo = photo * mask[..., None] + (1 - mask[..., None])
    return _bytes(np.concatenate([photo, mask[..., None]], 2)), colors


def _bytes(values: FloatArray) -> ByteArray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _background(side: int, rng: np.random.Generator) -> FloatArray:
    """A studio's paper, sky above ground, or a blur of things: RGB that broadcasts to (S, S, 3)."""
    kind = rng.random()
    if kind < 0.35:
        return np.full((1, 1, 3), rng.uniform(0.6, 1.0), np.float32)
    if kind < 0.7:
        sky = np.array([0.6, 0.75, 0.95]) * rng.uniform(0.6, 1.05) + rng.normal(0, 0.05, 3)
        ground = np.array([0.45, 0.45, 0.35]) * rng.uniform(0.5, 1.4) + rng.normal(0, 0.06, 3)
        above = 1 / (1 + np.exp((np.arange(side) / side - rng.uniform(0.4, 0.9)) * 40))[:, None, None]
        return np.asarray(sky * above + ground * (1 - above), np.float32)
    coarse = rng.uniform(0.15, 0.85) + rng.normal(0, 0.06, 3) + rng.normal(0, 0.15, (5, 5, 1))
    coarse = np.clip(coarse + rng.normal(0, 0.06, (5, 5, 3)), 0, 1)
    return np.asarray(cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


class _Tones:
    """White balance, exposure, saturation and haze of one picture, for colours (..., 3) in 0..1."""

    def __init__(self, rng: np.random.Generator) -> None:
        warm, tint = rng.normal(0, 0.05), rng.normal(0, 0.02)
        self.gain = np.array([1 + warm, 1 + tint, 1 - warm], np.float32) * np.exp(rng.normal(0, 0.08))
        self.gamma = float(np.exp(rng.normal(0, 0.15)))
        self.saturation = float(rng.uniform(0.6, 1.25)) if rng.random() < 0.5 else 1.0
        self.haze = float(rng.uniform(0.05, 0.25)) if rng.random() < 0.15 else 0.0
        self.air = rng.uniform(0.7, 0.9) + np.array([-0.03, 0.0, 0.04], np.float32)

    def __call__(self, colors: FloatArray) -> FloatArray:
        out = np.clip(colors * self.gain, 0, 1) ** self.gamma
        grey = out @ np.array([0.299, 0.587, 0.114], np.float32)
        out = grey[..., None] + (out - grey[..., None]) * self.saturation
        return np.asarray(np.clip(out * (1 - self.haze) + self.air * self.haze, 0, 1), np.float32)


def _focused(photo: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Too few pixels, a soft lens, sharpening and dark corners, each now and then."""
    side = len(photo)
    out: Any = photo
    if rng.random() < 0.3:
        small = max(8, round(side * rng.uniform(0.35, 0.9)))
        kind = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        out = cv2.resize(
            cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (side, side), interpolation=kind
        )
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.1)) * side / 128)
    elif rng.random() < 0.2:
        out = out + rng.uniform(0.3, 1.0) * (out - cv2.GaussianBlur(out, (0, 0), 1.0 * side / 128))
    if rng.random() < 0.2:
        across = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1 + rng.uniform(-0.2, 0.2)
        out = out * (1 - rng.uniform(0.05, 0.25) * (across[:, None] ** 2 + across**2)[..., None] / 2)
    return np.asarray(out, np.float32)


def _noisy(photo: FloatArray, rng: np.random.Generator) -> FloatArray:
    if rng.random() < 0.5:
        return photo
    grain = rng.standard_normal((*photo.shape[:2], 1), np.float32)
    if rng.random() < 0.3:
        grain = grain + 0.7 * rng.standard_normal(photo.shape, np.float32)
    return np.asarray(photo + grain * rng.uniform(0.004, 0.028), np.float32)


def _compressed(photo: FloatArray, rng: np.random.Generator) -> FloatArray:
    if rng.random() < 0.4:
        return photo
    quality = int(rng.integers(40, 96))
    _, coded = cv2.imencode(".jpg", _bytes(photo)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return np.asarray(decoded[..., ::-1], np.float32) / np.float32(255)


def _cut_out(mask: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A mask (S, S) in 0..1 with the errors that people and networks make, a few pixels large at 128 px."""
    pixel = len(mask) / 128
    kind = rng.random()
    if kind < 0.5:  # larger or smaller all around, with corners rounder the further
        away = _signed_distance(mask) + np.float32(np.clip(rng.normal(0, 1.2), -2.5, 3.0) * pixel)
        out: Any = np.clip(away + 0.5, 0, 1)
    elif kind < 0.8:  # smooth corners; what is thin goes
        soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(1.0, 2.5)) * pixel)
        out = np.clip((soft - 0.5) * 3 + 0.5, 0, 1)
    elif kind < 0.9:  # soft all around
        out = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.6, 1.5)) * pixel)
    else:  # hard
        out = (mask > 0.5).astype(np.float32)
    if rng.random() < 0.12:
        out = out * _blob(mask, 0, rng)  # a bite out of the edge
    if rng.random() < 0.08:
        out = out * _blob(mask, round(6 * pixel), rng)  # a hole
    if out.sum() < 0.6 * mask.sum():  # a fence or a mast may be lost altogether: nobody would take that mask
        return mask
    return np.asarray(out, np.float32)


def _signed_distance(mask: FloatArray) -> FloatArray:
    """Pixels to the edge of a mask, positive inside."""
    solid = (mask > 0.5).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (solid, 1 - solid))
    return np.asarray(np.where(solid, inside - 0.5, 0.5 - outside), np.float32)


def _blob(mask: FloatArray, depth: int, rng: np.random.Generator) -> FloatArray:
    """0 in a round spot about a pixel on the mask's edge, or at least `depth` pixels inside; 1 elsewhere."""
    side = len(mask)
    distance = _signed_distance(mask)
    rows, columns = np.nonzero(distance > depth if depth else np.abs(distance) < 1.5)
    if len(rows) == 0:
        return np.ones_like(mask)
    at = rng.integers(len(rows))
    y, x = np.ogrid[:side, :side]
    angle = np.arctan2(y - rows[at], x - columns[at])
    radius = rng.uniform(0.02, 0.06) * side * (1 + 0.25 * np.sin(rng.integers(2, 5) * angle + rng.uniform(0, 6)))
    return np.asarray(np.clip(np.hypot(y - rows[at], x - columns[at]) - radius + 0.5, 0, 1), np.float32)

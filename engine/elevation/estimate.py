"""Elevation of the input camera from the four neighbours of its view (One-2-3-45, appendix 6.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine.cameras import NEIGHBOUR_OFFSETS, REFERENCE_SIZE, camera_to_world, intrinsics
from engine.core.errors import InputError
from engine.core.progress import CancelToken
from engine.elevation.matchers import DenseFlowMatcher, Matcher

FloatArray = npt.NDArray[np.float32]
Curve = tuple[list[float], list[float]]

LOWEST, HIGHEST = -60.0, 89.0
"""Candidate elevations in degrees: down to where the published ones (polar angles 30..149) end, up to the pole."""
DEFAULT_ELEVATION = 15.0
"""Degrees, when there are too few matches and no other estimate: where people usually hold a camera."""
MIN_TRACKS = 24
"""Points seen in three pictures below which no estimate is made."""

_COARSE_STEP, _FINE_STEP, _FINE_REACH = 10.0, 1.0, 10.0
_MAX_TRACKS = 3000
_JOIN = 1.0  # px at 256 px: two matches start at the same point
_LOOP_REACH, _LOOP_ERROR = 2.0, 1.5  # px at 256 px: neighbourhood and disagreement of the third pair of a triplet
_ERROR_CAP = 3.0  # px at 256 px


@dataclass(frozen=True)
class ElevationEstimate:
    """The input camera's elevation and all that is needed to judge it."""

    value: float
    """Degrees above the horizon."""
    confidence: float
    """0..1; 0 for a fallback."""
    coarse: Curve
    """Candidate elevations every 10 degrees, and the reprojection error of each in px of a 256 px picture."""
    fine: Curve
    """Candidate elevations every degree around the best coarse one, and their errors in px."""
    matches: int
    """Points found in three pictures, summed over the four triplets."""
    is_fallback: bool
    """Whether `value` does not come from matches."""
    message: str
    """One plain sentence for the user."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ElevationEstimate:
        """The inverse of `to_json`. Raises `InputError` when fields are missing."""
        try:
            curves = {
                name: ([float(v) for v in data[name][0]], [float(v) for v in data[name][1]])
                for name in ("coarse", "fine")
            }
            return cls(
                value=float(data["value"]),
                confidence=float(data["confidence"]),
                matches=int(data["matches"]),
                is_fallback=bool(data["is_fallback"]),
                message=str(data["message"]),
                **curves,
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"The elevation record cannot be read ({error!r}). Run the elevation stage again."
            ) from error


@dataclass(frozen=True)
class Tracks:
    """Points seen in three of the four neighbours."""

    pixels: FloatArray
    """(T, 3, 2) pixels, first centre at (0.5, 0.5)."""
    pictures: npt.NDArray[np.int64]
    """(T, 3) which neighbour each pixel lies in, 0..3."""

    def __len__(self) -> int:
        return len(self.pixels)


def estimate_elevation(
    neighbours: FloatArray,
    *,
    matcher: Matcher | None = None,
    fallback: float | None = None,
    cancel: CancelToken | None = None,
) -> ElevationEstimate:
    """Elevation of the view whose four neighbours are given (One-2-3-45, appendix 6.4).

    The neighbours were drawn relative to a camera of unknown elevation. Points are matched over the six
    pairs and joined over the four triplets. For each candidate elevation the four cameras are set, each
    point is triangulated from two of its pictures and reprojected into the third; the candidate of the
    smallest error wins, between whole degrees by a parabola.

    Args:
        neighbours: (4, H, H, 4) float32 in 0..1, RGB over white and mask, in the order of
            `cameras.NEIGHBOUR_OFFSETS`, with the reference field of view.
        matcher: finds the matches; `DenseFlowMatcher` unless given.
        fallback: degrees, used when there are too few matches or no clear minimum; `DEFAULT_ELEVATION`
            when there is no fallback either.
        cancel: checked between pairs.

    Raises `InputError` for pictures of another shape and `Cancelled`.
    """
    pictures = np.asarray(neighbours, np.float32)
    if pictures.ndim != 4 or len(pictures) != 4 or pictures.shape[1] != pictures.shape[2] or pictures.shape[3] != 4:
        raise InputError(
            f"The elevation needs four square RGBA neighbour views (4, H, H, 4); it got {tuple(pictures.shape)}."
        )
    size = pictures.shape[1]
    tracks = find_tracks(pictures, matcher or DenseFlowMatcher(), cancel)
    if len(tracks) < MIN_TRACKS:
        return _fall_back(fallback, len(tracks), f"only {len(tracks)} points matched, {MIN_TRACKS} are needed", None)
    coarse_angles = np.arange(LOWEST, HIGHEST + 1e-6, _COARSE_STEP)
    coarse = reprojection_errors(tracks, coarse_angles, size, cancel)
    centre = coarse_angles[coarse.argmin()]
    fine_angles = np.arange(max(centre - _FINE_REACH, LOWEST), min(centre + _FINE_REACH, HIGHEST) + 1e-6, _FINE_STEP)
    fine = reprojection_errors(tracks, fine_angles, size, cancel)
    curves: tuple[Curve, Curve] = ((coarse_angles.tolist(), coarse.tolist()), (fine_angles.tolist(), fine.tolist()))
    best = int(fine.argmin())
    if best in (0, len(fine) - 1):
        return _fall_back(fallback, len(tracks), "the reprojection error has no minimum among the candidates", curves)
    value = fine_angles[best] + _FINE_STEP * _parabola(*fine[best - 1 : best + 2])
    confidence = _confidence(fine, best, tracks, pictures)
    certainty = "clear" if confidence >= 0.5 else "weak"
    return ElevationEstimate(
        value=float(value),
        confidence=confidence,
        coarse=curves[0],
        fine=curves[1],
        matches=len(tracks),
        is_fallback=False,
        message=f"Elevation {value:.1f} degrees from {len(tracks)} matched points, a {certainty} minimum.",
    )


def _fall_back(
    fallback: float | None, matches: int, reason: str, curves: tuple[Curve, Curve] | None
) -> ElevationEstimate:
    value = DEFAULT_ELEVATION if fallback is None else float(fallback)
    source = "a common value" if fallback is None else "the view generator's own estimate"
    coarse, fine = curves or (([], []), ([], []))
    message = f"Fallback: {reason}; using {source}, {value:.1f} degrees. Type the elevation if you know it."
    return ElevationEstimate(value, 0.0, coarse, fine, matches, True, message)


def find_tracks(pictures: FloatArray, matcher: Matcher, cancel: CancelToken | None = None) -> Tracks:
    """Points seen in each triplet of the four pictures (4, H, W, 4), from matches of the six pairs."""
    scale = pictures.shape[1] / REFERENCE_SIZE
    pairs: dict[tuple[int, int], tuple[FloatArray, FloatArray]] = {}
    for a, b in combinations(range(4), 2):
        if cancel is not None:
            cancel.check()
        pairs[a, b] = matcher.match(pictures[a], pictures[b])
    pixels, members = [], []
    for a, b, c in combinations(range(4), 3):
        chain = _chain(pairs[a, b], pairs[a, c], pairs[b, c], scale)
        pixels.append(chain)
        members.append(np.broadcast_to([a, b, c], (len(chain), 3)))
    return Tracks(np.concatenate(pixels), np.concatenate(members))


def _chain(
    ab: tuple[FloatArray, FloatArray],
    ac: tuple[FloatArray, FloatArray],
    bc: tuple[FloatArray, FloatArray],
    scale: float,
) -> FloatArray:
    """Join a-b and a-c at their points in a, drop what b-c contradicts. Returns (T, 3, 2)."""
    if not len(ab[0]) or not len(ac[0]):
        return np.zeros((0, 3, 2), np.float32)
    distance, nearest = cKDTree(ac[0]).query(ab[0], distance_upper_bound=_JOIN * scale)
    joined = np.isfinite(distance)
    chain = np.stack([ab[0][joined], ab[1][joined], ac[1][nearest[joined]]], 1)
    if len(bc[0]) and len(chain):
        distance, nearest = cKDTree(bc[0]).query(chain[:, 1], distance_upper_bound=_LOOP_REACH * scale)
        near = np.isfinite(distance)
        expected = (bc[1] - bc[0])[nearest[near]]
        error = np.linalg.norm(chain[near, 2] - chain[near, 1] - expected, axis=1)
        keep = np.ones(len(chain), bool)
        keep[near] = error < _LOOP_ERROR * scale
        chain = chain[keep]
    return chain.astype(np.float32)


def reprojection_errors(
    tracks: Tracks, elevations: Sequence[float] | npt.NDArray, size: int, cancel: CancelToken | None = None
) -> npt.NDArray[np.float64]:
    """Mean reprojection error of each candidate elevation (degrees), in px of a 256 px picture.

    Each track is triangulated from two of its pictures (midpoint of the two rays) and reprojected into the third, in
    all three ways. Errors are capped, so that wrong matches weigh little. `size`: side of the pictures in px.
    """
    pixels, members = tracks.pixels, tracks.pictures
    if len(pixels) > _MAX_TRACKS:
        pick = np.linspace(0, len(pixels) - 1, _MAX_TRACKS).astype(int)
        pixels, members = pixels[pick], members[pick]
    order = np.array([[0, 1, 2], [0, 2, 1], [1, 2, 0]])
    pixels = pixels[:, order].reshape(-1, 3, 2).transpose(1, 0, 2)
    members = members[:, order].reshape(-1, 3).T
    k = intrinsics(size)
    focal, middle = float(k[0, 0]), float(k[0, 2])
    plane = (pixels - middle) / focal
    rays = np.stack([plane[..., 0], -plane[..., 1], -np.ones_like(plane[..., 0])], -1)
    offsets = np.asarray(NEIGHBOUR_OFFSETS)
    cap = _ERROR_CAP * size / REFERENCE_SIZE
    errors = []
    for elevation in elevations:
        if cancel is not None:
            cancel.check()
        c2w = camera_to_world(elevation + offsets[:, 0], offsets[:, 1])
        rotation, centre = c2w[:, :3, :3], c2w[:, :3, 3]
        first, second = (np.einsum("nij,nj->ni", rotation[members[i]], rays[i]) for i in (0, 1))
        points = _midpoints(centre[members[0]], first, centre[members[1]], second)
        third = members[2]
        seen = np.einsum("nji,nj->ni", rotation[third], points - centre[third])
        depth = np.maximum(-seen[:, 2], 1e-3)
        dx = focal * seen[:, 0] / depth - focal * plane[2, :, 0]
        dy = -focal * seen[:, 1] / depth - focal * plane[2, :, 1]
        errors.append(float(np.minimum(np.hypot(dx, dy), cap).mean()) * REFERENCE_SIZE / size)
    return np.asarray(errors)


def _midpoints(a: FloatArray, u: FloatArray, b: FloatArray, v: FloatArray) -> FloatArray:
    """Midpoints (N, 3) of the shortest segments between the rays a + s u and b + t v, each (N, 3)."""
    w = b - a
    uu, vv, uv = (u * u).sum(1), (v * v).sum(1), (u * v).sum(1)
    uw, vw = (u * w).sum(1), (v * w).sum(1)
    determinant = np.maximum(uu * vv - uv * uv, 1e-9)
    s = (vv * uw - uv * vw) / determinant
    t = (uv * uw - uu * vw) / determinant
    return 0.5 * (a + s[:, None] * u + b + t[:, None] * v)


def _parabola(left: float, middle: float, right: float) -> float:
    """Offset in -0.5..0.5 steps of the minimum of the parabola through three neighbours."""
    curvature = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature > 1e-12 else 0.0


def _confidence(fine: npt.NDArray, best: int, tracks: Tracks, pictures: FloatArray) -> float:
    """0..1: product of the minimum's sharpness, the number of matches and their spread over the object."""
    reach = 5
    sides = [fine[i] for i in (best - reach, best + reach) if 0 <= i < len(fine)]
    rise = (min(sides) if sides else fine.max()) - fine[best]
    sharpness = rise / (rise + 0.5 * fine[best] + 0.05)
    number = len(tracks) / (len(tracks) + 60.0)
    rows, columns = np.nonzero(pictures[..., 3].max(0) > 0.5)
    extent = np.array([np.ptp(columns), np.ptp(rows)]) + 1.0
    covered = np.ptp(np.quantile(tracks.pixels.reshape(-1, 2), (0.05, 0.95), axis=0), axis=0) / extent
    spread = float(np.sqrt(np.clip(covered / 0.6, 0, 1).mean()))
    return float(np.clip(sharpness * number * spread, 0, 1))

"""Every camera convention of the project, in one place.

World frame: right-handed, Z up. A position on the viewing sphere is azimuth (degrees, counter-clockwise
seen from above; azimuth 0 is on the +X axis), elevation (degrees above the horizon) and radius (world
units). Cameras look at the origin; their axes are OpenGL's (x right, y up, z backwards), and
`camera_to_world` is 4x4 float32. Pixels run x right, y down, with the first pixel's centre at (0.5, 0.5).

The reference camera is Zero123's: 256 px, focal length 280 px. In a reconstruction the input camera
stands at azimuth 0 and `INPUT_RADIUS`, and the framed object fills `FRAME_FRACTION` of the picture's side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

REFERENCE_SIZE = 256
"""Side of the reference picture in pixels."""
REFERENCE_FOCAL = 280.0
"""Focal length in pixels of the reference picture (field of view 49.13 degrees)."""
REFERENCE_TANGENT = REFERENCE_SIZE / 2 / REFERENCE_FOCAL
"""Tangent of half its field of view."""
INPUT_RADIUS = 1.5
"""Distance of the input camera from the origin, in world units."""
FRAME_FRACTION = 0.75
"""Share of the picture's side that the longer side of the framed silhouette takes."""
VOLUME_EXTENT = 0.8
"""Half side of the cube around the origin that a framed object is searched in, in world units."""
NEIGHBOUR_STEP = 10.0
"""Degrees between a principal view and each of its four neighbours."""
NEIGHBOUR_OFFSETS: tuple[tuple[float, float], ...] = (
    (NEIGHBOUR_STEP, 0.0),
    (-NEIGHBOUR_STEP, 0.0),
    (0.0, -NEIGHBOUR_STEP),
    (0.0, NEIGHBOUR_STEP),
)
"""(elevation, azimuth) of the neighbours `view_{i}_{j}_10`, j = 0..3: above, below, clockwise, counter-clockwise."""


@dataclass(frozen=True)
class Pose:
    """A camera on the viewing sphere, looking at the origin."""

    elevation: float
    """Degrees above the horizon."""
    azimuth: float
    """Degrees counter-clockwise seen from above."""
    radius: float = INPUT_RADIUS
    """Distance from the origin in world units."""

    @property
    def polar(self) -> float:
        """Angle from the vertical in degrees, as published systems count."""
        return 90.0 - self.elevation

    def matrix(self) -> FloatArray:
        """`camera_to_world`, 4x4, OpenGL axes."""
        return camera_to_world(self.elevation, self.azimuth, self.radius)


def camera_to_world(
    elevation: npt.ArrayLike, azimuth: npt.ArrayLike, radius: npt.ArrayLike = INPUT_RADIUS
) -> FloatArray:
    """Cameras that look at the origin with the horizon level.

    Args are degrees, degrees and world units, broadcast to a common shape (...). Returns (..., 4, 4)
    float32, OpenGL axes. Past the poles (elevation beyond +-90) the camera goes on over the top, upside down.

    >>> c2w = camera_to_world(elevation=30, azimuth=90, radius=2)
    >>> c2w[:3, 3].round(3).tolist()  # where it stands: sideways of the input, one unit up
    [0.0, 1.7319999933242798, 1.0]
    """
    el, az, r = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (elevation, azimuth, radius)))
    el, az = np.radians(el), np.radians(az)
    zero = np.zeros_like(el)
    back = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1)
    right = np.stack([-np.sin(az), np.cos(az), zero], -1)
    up = np.cross(back, right)
    c2w = np.zeros((*el.shape, 4, 4))
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2] = right, up, back
    c2w[..., :3, 3] = back * r[..., None]
    c2w[..., 3, 3] = 1.0
    return c2w.astype(np.float32)


def spherical(c2w: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(elevation, azimuth in [0, 360), radius) of cameras (..., 4, 4); the inverse of `camera_to_world`."""
    position = np.asarray(c2w, np.float64)[..., :3, 3]
    radius = np.linalg.norm(position, axis=-1)
    elevation = np.degrees(np.arcsin(np.clip(position[..., 2] / np.maximum(radius, 1e-12), -1, 1)))
    azimuth = np.degrees(np.arctan2(position[..., 1], position[..., 0])) % 360.0
    return elevation, azimuth, radius


def intrinsics(size: int = REFERENCE_SIZE, focal: float | None = None) -> FloatArray:
    """3x3 matrix of a square picture of `size` px; `focal` in px defaults to the reference field of view."""
    f = REFERENCE_FOCAL * size / REFERENCE_SIZE if focal is None else focal
    return np.array([[f, 0, size / 2], [0, f, size / 2], [0, 0, 1]], np.float32)


def world_to_camera(c2w: npt.ArrayLike) -> FloatArray:
    """Inverse of rigid transforms (..., 4, 4)."""
    m = np.asarray(c2w, np.float32)
    rotation = np.swapaxes(m[..., :3, :3], -1, -2)
    out = np.zeros_like(m)
    out[..., :3, :3] = rotation
    out[..., :3, 3] = -(rotation @ m[..., :3, 3:4])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def project(points: npt.ArrayLike, c2w: npt.ArrayLike, k: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """World points (N, 3) in one camera (4x4, OpenGL axes) with intrinsics 3x3.

    Returns pixels (N, 2) and depth (N,) along the viewing axis, positive in front of the camera. Points
    behind the camera get a pixel too: test the depth.

    >>> pixels, depth = project([[0, 0, 0], [0, 0, 0.5]], camera_to_world(0, 0, 1.5), intrinsics(256))
    >>> pixels.round().tolist(), depth.tolist()  # the origin in the middle; what is higher, further up
    ([[128.0, 128.0], [128.0, 35.0]], [1.5, 1.5])
    """
    w2c, kk = world_to_camera(c2w), np.asarray(k, np.float32)
    cam = np.asarray(points, np.float32) @ w2c[:3, :3].T + w2c[:3, 3]
    depth = -cam[:, 2]
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    x = kk[0, 0] * cam[:, 0] / safe + kk[0, 2]
    y = -kk[1, 1] * cam[:, 1] / safe + kk[1, 2]
    return np.stack([x, y], -1), depth


def pixel_rays(c2w: npt.ArrayLike, k: npt.ArrayLike, pixels: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Origin (3,) and directions (N, 3) in the world through pixels (N, 2) of one camera.

    Directions have unit length along the viewing axis, so that origin + depth * direction lies at that depth.
    """
    m, kk, px = np.asarray(c2w, np.float32), np.asarray(k, np.float32), np.asarray(pixels, np.float32)
    cam = np.stack(
        [(px[:, 0] - kk[0, 2]) / kk[0, 0], -(px[:, 1] - kk[1, 2]) / kk[1, 1], -np.ones(len(px), np.float32)], -1
    )
    return m[:3, 3].copy(), cam @ m[:3, :3].T


def pixel_grid(size: int) -> FloatArray:
    """(size * size, 2) pixel centres, row by row."""
    c = np.arange(size, dtype=np.float32) + 0.5
    x, y = np.meshgrid(c, c)
    return np.stack([x.ravel(), y.ravel()], -1)


def opengl_to_opencv(c2w: npt.ArrayLike) -> FloatArray:
    """Flip camera axes between OpenGL (y up, z backwards) and OpenCV (y down, z forwards); its own inverse."""
    return np.asarray(c2w, np.float32) @ np.diag([1, -1, -1, 1]).astype(np.float32)


def principal_poses(elevation: float) -> list[Pose]:
    """The 8 principal poses of One-2-3-45 for an input at `elevation` degrees.

    Four at the input's elevation (azimuths 0, 90, 180, 270), four at azimuths 30, 120, 210, 300: 30 degrees
    lower when the input's polar angle is at most 75 degrees, else 30 degrees higher.

    >>> [(pose.elevation, pose.azimuth) for pose in principal_poses(20)[3:5]]
    [(20, 270.0), (-10.0, 30.0)]
    """
    second = elevation - 30.0 if 90.0 - elevation <= 75.0 else elevation + 30.0
    first = [Pose(elevation, az) for az in (0.0, 90.0, 180.0, 270.0)]
    return first + [Pose(second, az) for az in (30.0, 120.0, 210.0, 300.0)]


def neighbour_poses(pose: Pose) -> list[Pose]:
    """The four neighbours of a pose, in the order of `NEIGHBOUR_OFFSETS`."""
    return [Pose(pose.elevation + de, pose.azimuth + da, pose.radius) for de, da in NEIGHBOUR_OFFSETS]


def source_poses(elevation: float) -> list[Pose]:
    """The 32 source views: four neighbours of each principal pose, view by view."""
    return [n for p in principal_poses(elevation) for n in neighbour_poses(p)]


def principal_name(i: int) -> str:
    """File stem of principal view i = 0..7 in One-2-3-45's layout."""
    return f"view_{i}"


def source_name(i: int) -> str:
    """File stem of source view i = 0..31 in One-2-3-45's layout."""
    return f"view_{i // 4}_{i % 4}_10"


def offsets(poses: list[Pose], origin: Pose) -> FloatArray:
    """(N, 3) offsets (elevation, azimuth, radius) of poses relative to `origin`, as Zero123 takes them."""
    rows = [(p.elevation - origin.elevation, p.azimuth - origin.azimuth, p.radius - origin.radius) for p in poses]
    return np.asarray(rows, np.float32).reshape(-1, 3)


def pose_file(
    elevation: float,
    *,
    radius: float = INPUT_RADIUS,
    k: npt.ArrayLike | None = None,
    reach: float = VOLUME_EXTENT * 3**0.5,
) -> dict[str, object]:
    """Content of One-2-3-45's pose files for the 8 + 32 views of an input at `elevation` degrees.

    `intrinsics` is `k`, 3x3 in pixels (by default at 256 px), `near_far` in world units around objects that reach
    `reach` from the origin, `c2ws` a 4x4 matrix by file stem. Readers go by the order of the views: the 8 come
    first. The axes are OpenGL's, as ours: readers flip them to OpenCV's.
    """
    principal = [Pose(p.elevation, p.azimuth, radius) for p in principal_poses(elevation)]
    source = [n for p in principal for n in neighbour_poses(p)]
    c2ws = {principal_name(i): p.matrix().tolist() for i, p in enumerate(principal)}
    c2ws |= {source_name(i): p.matrix().tolist() for i, p in enumerate(source)}
    near_far = [round(max(radius - reach, min(0.1, radius / 2)), 4), round(radius + reach, 4)]
    matrix = intrinsics() if k is None else np.asarray(k, np.float32)
    return {"intrinsics": matrix.tolist(), "near_far": near_far, "c2ws": c2ws}

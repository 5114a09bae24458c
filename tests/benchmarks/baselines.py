"""What costs nothing: meshes of the truth's bounds, or of the views' silhouettes, that any method has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from engine import cameras
from engine.core.errors import EmptyResultError
from engine.evaluation.geometry import Solid
from engine.meshes.mesh import Mesh
from engine.surface.cleaning import clean_mesh
from engine.surface.extraction import extract_mesh
from engine.surface.hull import SilhouetteField

FloatArray = npt.NDArray[np.float32]

_SAMPLES = 20_000
_RESOLUTION = 112
_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def bounding_box(truth: Solid, frame: npt.ArrayLike | None = None) -> Mesh:
    """The box of the truth's true bounds, without colours.

    Along the axes of the reconstruction's frame; or along those of `frame`, a similarity (4x4) into it, as
    `FramedObject.model`: then the box knows not only the object's bounds but also how it is turned.
    """
    matrix = np.eye(4) if frame is None else np.asarray(frame, np.float64)
    points, _ = truth.sample_surface(_SAMPLES, np.random.default_rng(0))
    own = (points - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    corners = own.min(0) + _CORNERS * np.ptp(own, axis=0)
    faces = [[side[0], side[i], side[i + 1]] for side in _SIDES for i in (1, 2)]
    return Mesh((corners @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32), np.asarray(faces, np.int32))


def input_hull(truth: Solid, image: npt.ArrayLike, elevation: float) -> Mesh:
    """The visual hull of one picture: its silhouette drawn out along the viewing rays, in the picture's colours.

    It is cut off before and behind at the truth's true range of depths along the camera's axis, as the box has the
    truth's true bounds. `image` (S, S, 4), RGB over white and mask, is the framed input, its camera at azimuth 0 and
    `elevation` degrees. Each vertex has the colour of the pixel that it lies on, so that the back mirrors the front.
    """
    picture = np.asarray(image, np.float32)
    c2w, k = cameras.camera_to_world(elevation, 0.0), cameras.intrinsics(len(picture))
    points, _ = truth.sample_surface(_SAMPLES, np.random.default_rng(0))
    depth = (c2w[:3, 3] - points) @ c2w[:3, 2]
    middle, half = float(depth.max() + depth.min()) / 2, float(np.ptp(depth)) / 2
    silhouette = SilhouetteField.build(picture[None, ..., 3], c2w[None], k)
    eye, back = torch.from_numpy(c2w[:3, 3].copy()), torch.from_numpy(c2w[:3, 2].copy())

    def field(at: torch.Tensor) -> torch.Tensor:
        slab = ((eye - at) @ back - middle).abs() - half
        return torch.maximum(silhouette.distances(at)[0], slab)

    vertices, faces = extract_mesh(field, _RESOLUTION)
    # Pixels at the edge are mixed with white: they take the colour of the nearest one that is not.
    nearest = ndimage.distance_transform_edt(picture[..., 3] < 0.99, return_distances=False, return_indices=True)
    pixels, _ = cameras.project(vertices, c2w, k)
    column, row = np.clip(pixels.astype(np.int64), 0, len(picture) - 1).T
    colors = picture[..., :3][tuple(nearest[:, row, column])]
    return Mesh(vertices, faces, colors=np.rint(colors * 255).astype(np.uint8))


def visual_hull(
    views: npt.NDArray,
    c2ws: npt.NDArray,
    k: npt.NDArray,
    resolution: int = 128,
) -> Mesh:
    """Visual hull of views (V, H, W, 4) whose alpha is the mask, as a closed mesh without colours.

    Raises `EmptyResultError` when the silhouettes have no point in common.
    """
    field = SilhouetteField.build(views[..., 3], c2ws, k)
    vertices, faces = extract_mesh(lambda p: field.largest(p, 1)[:, 0], resolution)
    if not len(faces):
        raise EmptyResultError("The silhouettes of the views have no common volume. Check the masks of the views.")
    return clean_mesh(Mesh(vertices, faces))

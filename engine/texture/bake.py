"""Baking pictures of an object into the texture of its mesh."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine import cameras
from engine.core.errors import EmptyResultError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.meshes.export import sample_texture
from engine.meshes.mesh import ByteArray, FloatArray, Mesh, mean_colors, weld
from engine.texture.atlas import Atlas, Texels, depth_map, surface_texels, unwrap

SHARPNESS = 6.0
"""Power of (cosine x distance from silhouettes) in a view's weight: high keeps detail sharp, low hides joins."""
GRAZING = 0.1
"""Cosine between normal and line of sight below which a view counts as not seeing a point."""
OPAQUE = 0.9
"""Alpha from which on a pixel's colour is the object's own, free of the white background."""
FEATHER = 4.0
"""Distance from silhouettes and depth edges over which a view's weight rises to full, in pixels of a 256 px picture."""
SPILL = 2.0
"""Distance outside the silhouette up to which the nearest colour inside is lent, in pixels of a 256 px picture."""


def bake_texture(
    mesh: Mesh,
    images: npt.ArrayLike,
    c2ws: npt.ArrayLike,
    k: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    size: int = 1024,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Mesh:
    """Unwrap a mesh and paint its texture from pictures.

    Each texel takes a mean of the pictures that see it, weighted by `weights` and, to a high power, by the angle
    it is seen at and the distance from silhouettes. If one view has the largest weight (the input picture), the
    others are brought to its colours by one gain a channel. Texels that no picture sees take the colours of the
    nearest seen points with a like normal; the space between charts is filled from the charts' borders.

    Args:
        mesh: in the world frame of the cameras. Its own colours are used only if no picture sees it at all.
        images: (N, H, W, 4) in 0..1, RGB composited over white, alpha the object's mask.
        c2ws: (N, 4, 4), OpenGL axes.
        k: (3, 3) intrinsics for W x H.
        weights: (N,) above 0; None takes all views alike. A view of weight 100 among ones of weight 1 wins
            where it sees the surface within some 50 degrees of the normal, one of 1000 within some 65.
        size: side of the texture in texels.
        progress: told of stage `texture`.

    Returns a mesh with uv, texture (size, size, 3) and vertex colours; its faces are in the order of `mesh`, its
    vertices split along the atlas's seams. Raises EmptyResultError for a mesh without faces or one that cannot be
    unwrapped, Cancelled.
    """
    pictures = np.asarray(images, np.float32)
    poses, intrinsics = np.asarray(c2ws, np.float32), np.asarray(k, np.float32)
    count = len(pictures)
    priority = np.ones(count, np.float32) if weights is None else np.asarray(weights, np.float32)
    if pictures.ndim != 4 or pictures.shape[3] != 4 or poses.shape != (count, 4, 4) or priority.shape != (count,):
        raise ValueError(
            "need images (N, H, W, 4), c2ws (N, 4, 4) and weights (N,); "
            f"got {pictures.shape}, {poses.shape} and {priority.shape}"
        )
    if len(mesh.faces) == 0:
        raise EmptyResultError("The surface is empty, so there is nothing to texture. Check the mask and run again.")
    report, cancel = progress or ignore_progress, cancel or CancelToken()
    steps = count + 3

    report(Progress("texture", 0, steps, "Unwrapping"))
    cancel.check()
    first, group = weld(mesh.vertices)
    vertices, faces = np.ascontiguousarray(mesh.vertices[first]), group[mesh.faces]
    atlas = unwrap(vertices, faces, size, cancel)
    texels = surface_texels(atlas, size, cancel)

    blend = _Blend(texels)
    order = np.argsort(priority, kind="stable")  # the leading view last: the others are matched to it
    leads = count > 1 and priority[order[-1]] > priority[order[-2]]
    for done, i in enumerate(order):
        cancel.check()
        report(Progress("texture", 1 + done, steps, f"Painting view {done + 1} of {count}"))
        depth = depth_map(vertices, faces, poses[i], intrinsics, *pictures.shape[1:3])
        seen, weight, color = _look(texels, pictures[i], depth, poses[i], intrinsics)
        weight *= priority[i]
        if leads and done == count - 1:
            blend.match(seen, weight, color)
        blend.add(seen, weight, color)

    cancel.check()
    report(Progress("texture", count + 1, steps, "Filling what no view sees"))
    colors = blend.result()
    unseen = blend.total <= 0
    if unseen.all():
        colors[:] = 0.5 if mesh.colors is None else mesh.colors.mean(0) / 255
    elif unseen.any():
        colors[unseen] = _fill(texels, colors, unseen, cancel)
    texture = _paint(texels, colors, size)
    cancel.check()
    report(Progress("texture", steps, steps, "Texture done"))
    return Mesh(atlas.vertices, atlas.faces, _vertex_colors(atlas, texture), atlas.uv, texture)


class _Blend:
    """Weighted sums of the colours that views give to texels."""

    def __init__(self, texels: Texels) -> None:
        self.total = np.zeros(len(texels.index), np.float32)
        self._sum = np.zeros((len(texels.index), 3), np.float32)

    def add(self, seen: npt.NDArray[np.int64], weight: FloatArray, color: FloatArray) -> None:
        self.total[seen] += weight
        self._sum[seen] += weight[:, None] * color

    def match(self, seen: npt.NDArray[np.int64], weight: FloatArray, color: FloatArray) -> None:
        """Scale what was added so far, channel by channel, so that it agrees on average with this view."""
        total = self.total[seen]
        both = np.flatnonzero((weight > 0.2 * weight.max(initial=0)) & (total > 0.05 * total.max(initial=0)))
        if len(both) < 100:
            return
        mine = self._sum[seen[both]] / total[both, None]
        gain = color[both].mean(0) / np.maximum(mine.mean(0), 1e-3)
        self._sum *= np.clip(gain, 0.8, 1.25)

    def result(self) -> FloatArray:
        """(T, 3) mean colours; 0 where no view saw the texel."""
        return np.clip(self._sum / np.maximum(self.total, 1e-30)[:, None], 0, 1)


def _look(
    texels: Texels, picture: FloatArray, depth: FloatArray, c2w: FloatArray, k: FloatArray
) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """What one view sees: texel numbers (M,), weights (M,) in 0..1 and colours (M, 3)."""
    height, width = depth.shape
    eye = c2w[:3, 3]
    toward = texels.normals @ eye - texels.offsets
    seen = np.flatnonzero(toward > 0)
    ray = texels.positions[seen] - eye
    cosine = toward[seen] / np.sqrt(np.maximum(np.einsum("ij,ij->i", ray, ray), 1e-16))
    facing = cosine > GRAZING
    seen, cosine = seen[facing], cosine[facing]
    pixels, z = cameras.project(texels.positions[seen], c2w, k)
    x, y = pixels[:, 0], pixels[:, 1]
    inside = (z > 0) & (x > 0) & (y > 0) & (x < width) & (y < height)
    column, row = np.clip(x, 0, width - 1).astype(np.int32), np.clip(y, 0, height - 1).astype(np.int32)
    # a pixel's footprint on a slanted surface spans a range of depths
    slant = np.minimum(np.sqrt(np.maximum(1 - cosine**2, 0)) / cosine, 6.0)
    tolerance = z / k[0, 0] * (1 + slant) + 0.004
    kept = np.flatnonzero(inside & (z < depth[row, column] + tolerance))
    seen, cosine, pixels = seen[kept], cosine[kept], pixels[kept]
    sampled = _sample(_safe_colors(picture, depth), pixels)
    quality = np.clip(sampled[:, 3], 0, 1) * cosine
    kept = np.flatnonzero(quality > 1e-3)
    return seen[kept], quality[kept] ** SHARPNESS, sampled[kept, :3]


def _safe_colors(picture: FloatArray, depth: FloatArray) -> FloatArray:
    """(H, W, 4): colours free of the background, and confidence 0..1 by the distance from edges.

    Pixels mixed with the background take the colour of the nearest clean one, so that bilinear sampling never
    meets white.
    """
    scale = max(picture.shape[:2]) / cameras.REFERENCE_SIZE
    opaque = picture[..., 3] > OPAQUE
    if not opaque.any():
        return np.zeros((*opaque.shape, 4), np.float32)
    outside, labels = cv2.distanceTransformWithLabels(
        (~opaque).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(labels.max() + 1, np.int64)
    source[labels[opaque]] = np.flatnonzero(opaque)
    colors = picture[..., :3].reshape(-1, 3)[source[labels]]
    # beyond a depth edge either side may carry the other's colour where mesh and picture disagree a little
    far = np.where(np.isfinite(depth), depth, 1e3).astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(far, square) - cv2.erode(far, square) > 0.04
    clean = np.pad(opaque & ~edge, 1)
    inward = cv2.distanceTransform(clean.astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    confidence = np.clip(inward / (FEATHER * scale), 0.1, 1)
    confidence[outside > SPILL * scale] = 0
    return np.concatenate([colors, confidence[..., None]], -1).astype(np.float32)


def _sample(image: FloatArray, pixels: FloatArray) -> FloatArray:
    """Bilinear samples (N, C) of an image at pixels (N, 2); remap takes sides below 32768, hence the rows."""
    columns = 1024
    rows = -(-len(pixels) // columns)
    flat = np.zeros((rows * columns, 2), np.float32)
    flat[: len(pixels)] = pixels - 0.5
    grid = flat.reshape(rows, columns, 2)
    if rows == 0:
        return np.zeros((0, image.shape[2]), np.float32)
    blocks = [
        cv2.remap(image, grid[i : i + 4096], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        for i in range(0, rows, 4096)
    ]
    return np.concatenate(blocks).reshape(-1, image.shape[2])[: len(pixels)]


def _fill(texels: Texels, colors: FloatArray, unseen: npt.NDArray[np.bool_], cancel: CancelToken) -> FloatArray:
    """Colours of unseen texels: inverse-distance means of seen ones near in place and normal."""
    extent = float(np.ptp(texels.positions, axis=0).max())
    seen = np.flatnonzero(~unseen)
    seen = seen[:: max(len(seen) // 30_000, 1)]
    features = np.concatenate([texels.positions / max(extent, 1e-9), texels.normals * 0.15], 1)
    tree = cKDTree(features[seen])
    wanted = features[unseen]
    out = np.empty((len(wanted), 3), np.float32)
    for start in range(0, len(wanted), 20_000):
        cancel.check()
        part = slice(start, start + 20_000)
        distance, near = tree.query(wanted[part], k=min(8, len(seen)), workers=-1)
        distance, near = distance.reshape(len(distance), -1), near.reshape(len(near), -1)
        weight = 1 / (distance**2 + 1e-6)
        out[part] = (colors[seen[near]] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    return out


def _paint(texels: Texels, colors: FloatArray, size: int) -> ByteArray:
    """The texture, with everything between charts filled from the nearest texel of a chart."""
    texture = np.zeros((size * size, 3), np.uint8)
    texture[texels.index] = np.rint(colors * 255)
    empty = np.ones(size * size, np.uint8)
    empty[texels.index] = 0
    _, labels = cv2.distanceTransformWithLabels(
        empty.reshape(size, size), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(labels.max() + 1, np.int64)
    source[labels.reshape(-1)[texels.index]] = texels.index
    return texture[source[labels]]


def _vertex_colors(atlas: Atlas, texture: ByteArray) -> ByteArray:
    """(V, 3), the same for all vertices of one position."""
    colors = sample_texture(texture, atlas.uv)
    _, group = weld(atlas.vertices)
    return mean_colors(colors, group)[group]

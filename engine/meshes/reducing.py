"""A model made small enough to turn smoothly: few triangles, few parts, small textures, inside the unit sphere.

Triangles of all parts are reduced together, so that parts stay joined: first, of very large models, by merging the
corners in each cell of a fine grid (numpy, about a second for ten million triangles), then by quadric errors. Texture
coordinates and colours are taken from the nearest original corner of the same chart, so that seams stay where they are.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.meshes.colors import to_linear, to_srgb
from engine.meshes.mesh import ByteArray, FloatArray, IntArray, facet_normals, summed_at_corners, vertex_normals
from engine.meshes.model import Alpha, Model, Picture, Piece, Surface, Unreadable

Array = npt.NDArray[Any]

_GRID_SHARE = 4
"""Triangles that the grid leaves for the quadrics, over those wanted: with fewer, thin walls melt together."""
_LARGEST_PICTURE = 20_000 * 20_000
_CREASE = 0.75
"""Cosine of the angle between a facet and its smooth normal above which the edge is drawn hard."""


@dataclass
class PreviewPart:
    """Triangles that are drawn alike. Z up; all parts of a preview together fill the unit sphere."""

    points: FloatArray
    """(N, 3)."""
    triangles: IntArray
    """(M, 3), counter-clockwise from outside, as far as the file is right."""
    normals: FloatArray
    """(N, 3), unit length; split along hard edges."""
    uv: FloatArray | None = None
    """(N, 2), origin at the lower left; only with a texture."""
    texture: ByteArray | None = None
    """(H, W, 3) or, for masked and blended parts, (H, W, 4) sRGB; first row at the top."""
    colors: ByteArray | None = None
    """(N, 3) or, for masked and blended parts, (N, 4) sRGB. Where there is a texture as well, they multiply."""
    double_sided: bool = False
    alpha: Alpha = "opaque"
    cutoff: float = 0.5
    """Of masked parts: where alpha is less, nothing is drawn."""
    repeat: bool = True
    """Whether the texture repeats outside of 0..1, or its border goes on."""

    def arrays(self) -> dict[str, Array]:
        """Every array that is there, by the name of its field."""
        names = ("points", "triangles", "normals", "uv", "texture", "colors")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class Reduced:
    """A reduced model, and what was found on the way."""

    parts: list[PreviewPart]
    triangles: int
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    """Of what was read, in the file's units."""
    materials: int
    textures: int
    frame: tuple[Array, float]
    """The point (3,) in the file's units, less the model's origin, that is the middle now, and the scale."""
    warnings: list[str] = field(default_factory=list)


def reduce_model(model: Model, *, triangles: int, parts: int, side: int, texture_bytes: int, name: str) -> Reduced:
    """Cut a model down to limits. Raises Unreadable where no triangle with an area is left."""
    warnings = list(model.warnings)
    pieces = [piece for piece in (_whole(piece, warnings) for piece in model.pieces) if piece is not None]
    if not pieces:
        what = f"{name} is damaged: the positions of its mesh are no numbers."
        raise Unreadable(what, decision="Reject it, or load it again.")
    total = sum(len(piece.triangles) for piece in pieces)
    low = np.min([piece.points.min(0) for piece in pieces], 0).astype(np.float64)
    high = np.max([piece.points.max(0) for piece in pieces], 0).astype(np.float64)
    extent = float((high - low).max())
    if not extent > max(1e-12 * float(np.abs(model.origin).max()), 1e-30):
        raise Unreadable(f"{name} has no extent: all its points lie in one place.", advice="Reject or skip it.")
    bounds = tuple((low + model.origin).tolist()), tuple((high + model.origin).tolist())
    materials = len({id(piece.surface) for piece in pieces})
    groups = _group(pieces, parts, warnings)
    merged = _merge(groups, (low + high) / 2, 2 / extent)
    model.pieces.clear()  # their memory is worth having back before the triangles are reduced
    del pieces
    fixed = merged.normals is not None and len(merged.triangles) <= triangles
    if len(merged.triangles) > triangles:
        merged.normals = None
        merged = _reduce(merged, triangles)
        if len(merged.triangles) == 0:
            raise Unreadable(f"{name} has no surface: its triangles have no area.", advice="Reject or skip it.")
    radius = float(np.sqrt((merged.points.astype(np.float64) ** 2).sum(1).max()))
    merged.points *= np.float32(1 / radius)
    frame = (low + high) / 2, 2 / extent / radius
    pictures = _decode([g.surface.picture for g in groups if g.surface.picture], side, texture_bytes, warnings)
    made = []
    for index, group in enumerate(groups):
        part = _part(merged, index, group.surface, pictures, fixed)
        if part is not None:
            made.append(part)
    textures = len({id(g.surface.picture) for g in groups if g.surface.picture})
    return Reduced(made, total, bounds, materials, textures, frame, list(dict.fromkeys(warnings)))


def _whole(piece: Piece, warnings: list[str]) -> Piece | None:
    """The piece without triangles whose corners are no numbers or absurdly far away."""
    # a sum tells at once; only if it does not come out are the points looked at one by one
    if np.isfinite(np.sum(piece.points, dtype=np.float64)) and np.abs(piece.points).max() < 1e30:
        return piece
    good = np.all(np.isfinite(piece.points) & (np.abs(piece.points) < 1e30), axis=1)
    kept = piece.triangles[good[piece.triangles].all(1)]
    warnings.append("Some positions of its mesh are no numbers; their triangles are left out.")
    if len(kept) == 0:
        return None
    piece.triangles = kept
    piece.points = np.where(good[:, None], piece.points, piece.points[kept[0, 0]])
    return piece


# -- parts ---------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    surface: Surface
    pieces: list[Piece]


def _group(pieces: list[Piece], most: int, warnings: list[str]) -> list[_Group]:
    """Pieces that can be drawn together: one group a texture, the untextured ones by how they are drawn.

    Of more than `most` groups, those with the smallest areas get the mean colour of their texture instead.
    """
    groups: dict[tuple[Any, ...], _Group] = {}
    for piece in pieces:
        surface = piece.surface
        if surface.picture is None or piece.uv is None:
            surface = _plain(surface, piece.colors)
            key: tuple[Any, ...] = (surface.alpha, surface.double_sided)
        else:
            key = (id(surface.picture), surface.color, surface.alpha, surface.double_sided, surface.repeat)
        groups.setdefault(key, _Group(surface, [])).pieces.append(piece)
    plain = [g for g in groups.values() if g.surface.picture is None]
    textured = [g for g in groups.values() if g.surface.picture is not None]
    if len(groups) <= most:
        return plain + textured
    textured.sort(key=lambda group: -sum(_area(piece) for piece in group.pieces))
    room = max(most - len(plain) - (2 if most > 2 else 0), 0)  # two more groups may come of what is made plain
    warnings.append(f"Of its {len(textured)} textured materials, {room} are shown; the others have their mean colour.")
    means: dict[int, tuple[float, float, float]] = {}
    for group in textured[room:]:
        picture = group.surface.picture
        assert picture is not None
        if id(picture) not in means:
            means[id(picture)] = _mean(picture)
        red, green, blue = (m * f for m, f in zip(means[id(picture)], group.surface.color, strict=False))
        for piece in group.pieces:
            piece.surface = Surface(
                color=(red, green, blue, group.surface.color[3]), double_sided=group.surface.double_sided
            )
            surface = _plain(piece.surface, piece.colors)
            key = (surface.alpha, surface.double_sided)
            if key not in groups:
                groups[key] = _Group(surface, [])
                plain.append(groups[key])
            groups[key].pieces.append(piece)
    return plain + textured[:room]


def _plain(surface: Surface, colors: ByteArray | None) -> Surface:
    """How untextured triangles are drawn; their colour is in their corners."""
    clear = surface.color[3] < 0.98 or (colors is not None and colors[:, 3].min() < 250)
    alpha: Alpha = "blend" if surface.alpha != "opaque" and clear else "opaque"
    return Surface(alpha=alpha, double_sided=surface.double_sided)


def _area(piece: Piece) -> float:
    """The area of a piece, judged by some thousands of its triangles."""
    step = max(len(piece.triangles) // 5000, 1)
    return float(_areas(piece.points, piece.triangles[::step]).sum()) * step


def _areas(points: Array, triangles: Array) -> Array:
    return np.linalg.norm(facet_normals(points, triangles, np.float64), axis=1) / 2


@dataclass
class _Soup:
    """All triangles together; a corner belongs to one group."""

    points: FloatArray
    triangles: IntArray
    group: npt.NDArray[np.int16]
    """(V,) of each point."""
    uv: FloatArray | None
    colors: ByteArray | None
    """(V, 4)."""
    normals: FloatArray | None = None


def _merge(groups: Sequence[_Group], center: Array, scale: float) -> _Soup:
    """One list of points within the unit cube, and what belongs to each of them."""
    pieces = [(index, piece) for index, group in enumerate(groups) for piece in group.pieces]
    sizes = [len(piece.points) for _, piece in pieces]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    total = int(starts[-1])
    points = np.empty((total, 3), np.float32)
    triangles = np.empty((sum(len(piece.triangles) for _, piece in pieces), 3), np.int32)
    of = np.empty(total, np.int16)
    textured = any(group.surface.picture is not None for group in groups)
    uv = np.zeros((total, 2), np.float32) if textured else None
    colored = any(
        piece.colors is not None or group.surface.picture is None for group in groups for piece in group.pieces
    )
    colors = np.full((total, 4), 255, np.uint8) if colored else None
    normals = np.zeros((total, 3), np.float32) if all(piece.normals is not None for _, piece in pieces) else None
    at = 0
    for (index, piece), start in zip(pieces, starts.tolist(), strict=False):
        here = slice(start, start + len(piece.points))
        np.subtract(piece.points, center.astype(np.float32), out=points[here])
        points[here] *= np.float32(scale)
        np.add(piece.triangles, start, out=triangles[at : at + len(piece.triangles)])
        at += len(piece.triangles)
        of[here] = index
        if uv is not None and piece.uv is not None and groups[index].surface.picture is not None:
            finite = np.isfinite(np.sum(piece.uv, dtype=np.float64))
            uv[here] = piece.uv if finite else np.nan_to_num(piece.uv, posinf=0, neginf=0)
        if colors is not None:
            if piece.colors is not None:
                colors[here] = piece.colors
            if groups[index].surface.picture is None:
                colors[here] = _tinted(colors[here], piece.surface.color)
        if normals is not None and piece.normals is not None:
            normals[here] = np.nan_to_num(piece.normals)
    return _Soup(points, triangles, of, uv, colors, normals)


def _tinted(colors: ByteArray, factor: tuple[float, float, float, float]) -> ByteArray:
    """sRGB colours (..., 3 or 4) times a factor of linear light."""
    if factor == (1.0, 1.0, 1.0, 1.0):
        return colors
    out = np.empty_like(colors)
    for channel in range(colors.shape[-1]):
        out[..., channel] = _table(factor[channel], channel < 3)[colors[..., channel]]
    return out


@lru_cache(256)
def _table(factor: float, light: bool) -> ByteArray:
    """(256,) bytes times a factor: of colours in linear light, of alpha as it is."""
    values = np.arange(256) / 255
    if not light:
        return np.rint(values * factor * 255).astype(np.uint8)
    return to_srgb(to_linear(values) * factor)


def _part(soup: _Soup, index: int, surface: Surface, pictures: dict[int, ByteArray], fixed: bool) -> PreviewPart | None:
    """The triangles of one group with all that is needed to draw them."""
    chosen = soup.triangles[soup.group[soup.triangles[:, 0]] == index]
    if len(chosen) == 0:
        return None
    used = np.zeros(len(soup.points), bool)
    used[chosen] = True
    local = np.cumsum(used, dtype=np.int32) - 1
    triangles = local[chosen]
    points = soup.points[used]
    if fixed and soup.normals is not None:
        normals, source = soup.normals[used], None
    else:
        triangles, normals, source = _shaded(points, triangles)
        points = points[source]
    normals[np.abs(normals).max(1) < 0.1] = 0, 0, 1  # of triangles without an area
    part = PreviewPart(points, triangles, normals, double_sided=surface.double_sided, repeat=surface.repeat)
    if surface.picture is not None:
        texture = pictures.get(id(surface.picture))
        if texture is None:
            part.colors = np.full((len(points), 3), 160, np.uint8)
        else:
            assert soup.uv is not None
            part.uv = soup.uv[used] if source is None else soup.uv[used][source]
            texture = _tinted(texture, surface.color)
            part.alpha = surface.alpha
            if surface.alpha == "opaque" or texture.shape[2] == 3 or texture[..., 3].min() > 250:
                part.alpha, texture = "opaque", texture[..., :3]
            if part.alpha == "mask":
                part.cutoff = surface.cutoff
            part.texture = np.ascontiguousarray(texture)
    if soup.colors is not None and part.colors is None:
        colors = soup.colors[used] if source is None else soup.colors[used][source]
        if surface.picture is None or colors.min() < 255:
            if surface.picture is None:
                part.alpha = surface.alpha
            part.colors = np.ascontiguousarray(colors if part.alpha != "opaque" else colors[:, :3])
    return part


def _shaded(points: FloatArray, triangles: IntArray) -> tuple[IntArray, FloatArray, IntArray]:
    """Triangles, normals (N, 3) and the old point (N,) of each new one; hard edges get several."""
    facets = facet_normals(points, triangles)
    _, welded = np.unique(_cells(points), return_inverse=True)
    joined = welded[triangles]
    smooth = summed_at_corners(facets, joined, int(welded.max()) + 1)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-30)
    unit = facets / np.maximum(np.linalg.norm(facets, axis=1, keepdims=True), 1e-30)
    hard = (smooth[joined] * unit[:, None]).sum(2) < _CREASE
    # the corners of a point that lie on a hard edge go by the side that their facet faces
    key = triangles.astype(np.int64) * 8 + np.where(hard, _facing(unit)[:, None] + 1, 0)
    kept, index = np.unique(key, return_inverse=True)
    triangles = index.reshape(-1, 3).astype(np.int32)
    source = (kept >> 3).astype(np.int32)
    points = points[source]
    normals = smooth[welded[source]].astype(np.float32)
    split = (kept & 7) > 0
    if split.any():
        normals[split] = vertex_normals(points, triangles)[split]
    return triangles, normals, source


# -- textures ------------------------------------------------------------------------------------------------


def _decode(found: list[Picture], side: int, most: int, warnings: list[str]) -> dict[int, ByteArray]:
    """Pictures by their `id`, each no longer than `side` and all of them together no more than `most` bytes."""
    opened: dict[int, Image.Image] = {}
    for picture in found:
        if id(picture) in opened:
            continue
        try:
            image: Image.Image = Image.open(io.BytesIO(picture.read()))
            if image.width * image.height > _LARGEST_PICTURE:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            opened[id(picture)] = image
        except Exception as error:  # decoders raise kinds of their own
            warnings.append(_no_texture(picture, error))
    while side > 64 and sum(_bytes(image, side) for image in opened.values()) > most:
        side = side * 3 // 4
    names = {id(picture): picture for picture in found}
    decoded: dict[int, ByteArray] = {}
    for key, image in opened.items():
        try:
            decoded[key] = _small(image, side)
        except Exception as error:
            warnings.append(_no_texture(names[key], error))
    return decoded


def _no_texture(picture: Picture, error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"The texture {picture.name[:80]} is not shown: it takes too much memory."
    reason = "its kind is unknown" if "cannot identify" in str(error) else str(error) or type(error).__name__
    return f"The texture {picture.name[:80]} is not shown: {reason}."


def _bytes(image: Image.Image, side: int) -> int:
    scale = min(side / max(image.size), 1.0)
    return int(image.width * scale) * int(image.height * scale) * (4 if "A" in image.getbands() else 3)


def _small(image: Image.Image, side: int) -> ByteArray:
    """RGB or RGBA, (H, W, 3 or 4), no longer than `side`; JPEG is not even decoded at its full size."""
    if image.format == "JPEG":
        image.draft("RGB", (side, side))
    if image.mode == "P" or image.mode == "LA" or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=1.5)
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGB")
    return np.array(image)


def greatest_alpha(picture: Picture) -> float:
    """That of any pixel of a picture, 0..1; 1 where it cannot be read."""
    try:
        with Image.open(io.BytesIO(picture.read())) as image:
            if not image.has_transparency_data:
                return 1.0
            return float(np.asarray(image.convert("RGBA"))[..., 3].max()) / 255
    except Exception:  # decoders raise kinds of their own
        return 1.0


def _mean(picture: Picture) -> tuple[float, float, float]:
    """The mean colour of a picture, linear light; grey where it cannot be read."""
    try:
        mean = _small(Image.open(io.BytesIO(picture.read())), 64)[..., :3].reshape(-1, 3).mean(0) / 255
    except Exception:  # decoders raise kinds of their own
        return 0.4, 0.4, 0.4
    red, green, blue = to_linear(mean).tolist()
    return red, green, blue


# -- triangles -----------------------------------------------------------------------------------------------


def _reduce(soup: _Soup, target: int) -> _Soup:
    """At most about `target` triangles."""
    if len(soup.triangles) > _GRID_SHARE * target:
        coarse, welded = _clustered(soup, _GRID_SHARE * target)
        if len(coarse.triangles) < target:  # uneven triangles, or thin walls whose two sides fell together
            finer = min(2 * target / max(len(coarse.triangles), 1), 4)
            coarse, welded = _clustered(soup, int(_GRID_SHARE * target * finer))
        soup = coarse
    else:
        _, inverse = np.unique(_cells(soup.points), return_inverse=True)
        welded = inverse.astype(np.int32)
    if len(soup.triangles) > target:
        soup = _quadric(soup, welded, target)
    tries = 0
    while len(soup.triangles) > 1.3 * target and tries < 4:  # loose triangles: edges that quadrics will not touch
        soup, _ = _clustered(soup, target >> tries)
        tries += 1
    return soup


def _cells(points: FloatArray) -> npt.NDArray[np.int64]:
    """A number for each place in the cube around the points, the same for points that are as good as equal."""
    low = points.min(0)
    size = max(float((points.max(0) - low).max()), 1e-30)
    grid = ((points - low) * np.float32((1 << 20) / size) + np.float32(0.5)).astype(np.int64)
    return (grid[:, 0] << 42) | (grid[:, 1] << 21) | grid[:, 2]


def _clustered(soup: _Soup, target: int) -> tuple[_Soup, IntArray]:
    """About `target` triangles between the mean points of grid cells; and the cell of each point of the result."""
    points, triangles = soup.points, soup.triangles
    step = max(len(triangles) // 100_000, 1)
    area = float(_areas(points, triangles[::step]).sum()) * step
    low = points.min(0)
    span = np.maximum(points.max(0) - low, 1e-6)
    # a surface of this area crosses about 1.5 cells for each square of a cell's side, with two triangles in each
    size = max(np.sqrt(3 * area / target), float(np.cbrt(span.prod() / 40_000_000)), float(span.max()) / 2000)
    shape = (span / size).astype(np.int64) + 1
    x, y, z = (((points[:, i] - low[i]) * np.float32(1 / size)).astype(np.int32) for i in range(3))
    key = (x * np.int32(shape[1]) + y) * np.int32(shape[2]) + z
    del x, y, z
    taken = np.zeros(int(shape.prod()), bool)
    taken[key] = True
    number = np.cumsum(taken, dtype=np.int32) - 1
    cell = number[key]
    cells = int(number[-1]) + 1
    del key, number, taken
    joined = cell[triangles]
    rows = np.flatnonzero(
        (joined[:, 0] != joined[:, 1]) & (joined[:, 1] != joined[:, 2]) & (joined[:, 0] != joined[:, 2])
    )
    joined = joined[rows]
    # of triangles between the same cells, one is enough
    ordered = np.sort(joined, 1).astype(np.uint64)
    mixed = ordered[:, 0] * np.uint64(0x9E3779B97F4A7C15) + ordered[:, 1]
    mixed = mixed * np.uint64(0xC2B2AE3D27D4EB4F) + ordered[:, 2]
    rows = rows[np.unique(mixed, return_index=True)[1]]
    del ordered, mixed, joined
    triangles = triangles[rows]
    # within a cell, corners of different groups, of distant places in the texture or that face elsewhere stay apart
    used = np.zeros(len(points), bool)
    used[triangles] = True
    chosen = np.flatnonzero(used)
    local = np.cumsum(used, dtype=np.int32) - 1
    label = (cell[chosen].astype(np.int64) << 8) | soup.group[chosen]
    if soup.uv is not None:
        where = np.floor(soup.uv[chosen] * 8).astype(np.int64) & 1023
        label = (label << 20) | (where[:, 0] << 10) | where[:, 1]
        around = np.zeros(len(points), np.int32)
        for column in range(3):
            around[triangles[:, column]] = np.arange(len(triangles), dtype=np.int32)
        label = (label << 3) | _facing(facet_normals(points, triangles))[around[chosen]]
    kept, inverse = np.unique(label, return_inverse=True)
    count = np.bincount(inverse, minlength=len(kept))
    first = np.empty(len(kept), np.int64)
    first[inverse] = chosen

    def mean(values: Array, of: Array, counts: Array) -> Array:
        sums = [np.bincount(of, values[:, i], len(counts)) for i in range(values.shape[1])]
        return np.stack(sums, 1) / np.maximum(counts, 1)[:, None]

    welded = cell[first]
    middle = mean(points, cell, np.bincount(cell, minlength=cells)).astype(np.float32)[welded]
    triangles = inverse[local[triangles]].astype(np.int32)
    uv = None
    if soup.uv is not None:
        own = mean(points[chosen], inverse, count).astype(np.float32)
        uv = _slid(
            own, mean(soup.uv[chosen], inverse, count).astype(np.float32), triangles, np.arange(len(own)), middle
        )
    colors = None if soup.colors is None else np.rint(mean(soup.colors[chosen], inverse, count)).astype(np.uint8)
    return _Soup(middle, triangles, soup.group[first], uv, colors), welded


def _facing(normals: Array) -> npt.NDArray[np.int64]:
    """Which side of a cube each normal (N, 3) points through: 0 to 5."""
    axis = np.abs(normals).argmax(1)
    return axis * 2 + (np.take_along_axis(normals, axis[:, None], 1)[:, 0] < 0)


def _quadric(soup: _Soup, welded: IntArray, target: int) -> _Soup:
    """About `target` triangles by quadric errors; `welded` (V,) numbers the places that points share."""
    import fast_simplification
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    places = int(welded.max()) + 1
    somewhere = np.zeros(places, np.int32)
    somewhere[welded] = np.arange(len(welded), dtype=np.int32)
    joined = welded[soup.triangles]
    solid = (joined[:, 0] != joined[:, 1]) & (joined[:, 1] != joined[:, 2]) & (joined[:, 0] != joined[:, 2])
    triangles, joined = soup.triangles[solid], joined[solid]
    if len(joined) <= target:
        soup.triangles = triangles
        return soup
    points, faces, collapses = fast_simplification.simplify(
        soup.points[somewhere], joined, target_count=target, return_collapses=True
    )
    # where each place went: it follows the place that it was joined to
    root = np.arange(places, dtype=np.int32)
    root[collapses[:, 1]] = collapses[:, 0]
    while not np.array_equal(further := root[root], root):
        root = further
    left = root[joined]
    rows = (left[:, 0] != left[:, 1]) & (left[:, 1] != left[:, 2]) & (left[:, 0] != left[:, 2])
    if int(rows.sum()) != len(faces):
        raise RuntimeError("the reduced triangles cannot be told apart")
    moved = np.zeros((places, 3), np.float32)
    moved[left[rows]] = points[faces]
    # where charts of the texture meet, a place keeps a corner for each: those that are joined within the place. It
    # takes over what the nearest of them has
    corners = len(soup.points)
    home = root[welded]
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    ends = ends[home[ends[:, 0]] == home[ends[:, 1]]]
    graph = coo_matrix((np.ones(len(ends), np.bool_), (ends[:, 0], ends[:, 1])), (corners, corners))
    charts, chart = connected_components(graph, directed=False)
    distance = ((soup.points - moved[home]) ** 2).sum(1)
    order = np.lexsort((distance, chart))
    first = np.searchsorted(chart[order], np.arange(charts))
    best = order[first]
    return _Soup(
        moved[home[best]],
        chart[triangles[rows]],
        soup.group[best],
        None if soup.uv is None else _slid(soup.points, soup.uv, triangles, best, moved[home[best]]),
        None if soup.colors is None else soup.colors[best],
    )


def _slid(points: FloatArray, uv: FloatArray, triangles: IntArray, corners: Array, to: FloatArray) -> FloatArray:
    """Texture coordinates (N, 2) of corners (N,) that have moved a little, along one of the triangles at each."""
    at = np.zeros(len(points), np.int32)
    for column in range(3):
        at[triangles[:, column]] = np.arange(len(triangles), dtype=np.int32)
    around = triangles[at[corners]]
    a, b, c = (points[around[:, i]].astype(np.float64) for i in range(3))
    u, v, step = b - a, c - a, to - a
    uu, uv_, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    su, sv = (step * u).sum(1), (step * v).sum(1)
    whole = uu * vv - uv_ * uv_
    with np.errstate(all="ignore"):
        second, third = (vv * su - uv_ * sv) / whole, (uu * sv - uv_ * su) / whole
        shares = np.stack([1 - second - third, second, third], 1)
    good = (whole > 1e-4 * uu * vv) & (np.abs(shares) < 3).all(1) & (around == corners[:, None]).any(1)
    shares[~good] = 0
    slid = np.einsum("nk,nkd->nd", shares, uv[around].astype(np.float64))
    return np.where(good[:, None], slid, uv[corners]).astype(np.float32)

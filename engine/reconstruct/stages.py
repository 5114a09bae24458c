"""The steps of a reconstruction: each a function of values, with the models that it takes, and of nothing on a disk.

The estimate of the elevation rests on four views, and the other views depend on it, so the work goes: foreground,
neighbours, elevation, views, surface, texture. With a method that needs no source views, only the neighbours and the
principal views are drawn. Pictures are float32 in 0..1, RGB over white and the object's mask. What is reported bears
the name of one of `STAGES`, in which the neighbours are a part of the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras, choices
from engine.core.errors import InputError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.meshes.mesh import Mesh
from engine.reconstruct.folder import NEIGHBOURS, PRINCIPAL, SOURCES, as_pixels
from engine.reconstruct.options import QUALITIES, Options

if TYPE_CHECKING:
    from engine.elevation import ElevationEstimate, Matcher
    from engine.imaging import Foreground, Framed
    from engine.imaging.aim import Aim
    from engine.surface.network import SurfaceModel
    from engine.views.generator import SolidGenerator, ViewGenerator

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
Views = dict[str, FloatArray]
"""Views (S, S, 4) by name."""

FRAMED_SIZE = cameras.REFERENCE_SIZE
SAME_ELEVATION = 0.25
"""Degrees within which views drawn for one elevation are kept for another."""


@dataclass
class Work:
    """Who watches the work, and may stop it."""

    progress: ProgressCallback = ignore_progress
    cancel: CancelToken = field(default_factory=CancelToken)

    def report(self, stage: str, done: float, total: float, message: str = "", preview: Any = None) -> None:
        """Say how far a stage is. Raises `Cancelled`."""
        self.cancel.check()
        self.progress(Progress(stage, done, total, message, preview))

    def within(self, stage: str) -> ProgressCallback:
        """Passes on what a lower layer reports under the stage's name, without its previews."""
        return lambda event: self.progress(Progress(stage, event.fraction, 1.0, event.message))


@dataclass(frozen=True)
class Neighbours:
    """The four neighbours of the input, by which its elevation is estimated."""

    views: Views
    """None of them where the elevation is known."""
    guess: float | None
    """Elevation in degrees that they were drawn for: the generator's own guess, None if it has none."""


@dataclass(frozen=True)
class Framing:
    """A picture as the generator sees it."""

    image: FloatArray
    """(256, 256, 4)."""
    aim: Aim | None
    """How its camera was turned to the object, if it was."""
    lens: float
    """Its focal length, the reference's being 1; 1 where nothing tells."""


def find_object(
    picture: ByteArray, options: Options, work: Work, source: Path | None = None
) -> tuple[Foreground, Framing]:
    """The object in a picture (H, W, 4), straight RGBA, that was loaded from `source`, and the picture framed."""
    from engine.imaging import Foreground, extract_foreground
    from engine.imaging.aim import aim_at_object
    from engine.imaging.inspection import inspect_picture

    work.report("foreground", 0, 3, "Finding the object")
    if options.mask is not None:
        mask = _given_mask(options.mask, picture.shape[:2])
        found = Foreground(mask, "mask", notes=inspect_picture(picture, mask))
    else:
        found = extract_foreground(
            picture,
            mode=options.mode,
            box=options.box,
            points=options.points,
            strokes=None if options.strokes is None else as_pixels(options.strokes),
            cancel=work.cancel,
        )
    work.report("foreground", 1, 3, "Framing", ("mask", found.mask))
    aim = None
    if options.upright:
        found, aim = aim_at_object(picture, found, source)
    framed = _frame(picture, found.mask, FRAMED_SIZE, options, aim)
    lens = 1.0 if aim is None else aim.focal * float(framed.transform[0, 0]) / cameras.REFERENCE_FOCAL
    work.report("foreground", 2, 3, "Framing", ("framed", framed.image))
    work.report("foreground", 3, 3, "Object found")
    return found, Framing(framed.image, aim, lens)


def draw_neighbours(
    generator: ViewGenerator, framed: FloatArray, options: Options, work: Work, lens: float = 1.0
) -> Neighbours:
    """The generator's guess of the elevation and the four neighbours, unless the elevation is known.

    A generator with a solid of its own shows it first. `lens` is that of the framed picture: see `Framing`.
    """
    guess = generator.estimate_elevation(framed, lens) if options.elevation is None else options.elevation
    work.cancel.check()
    source_views = choices.METHODS[options.method].source_views
    if not source_views:
        # The one that the views are pictures of, so that it is not made for this alone.
        solid = cast("SolidGenerator", generator).mesh(framed, guess, seed=options.seed, cancel=work.cancel)
        work.report("views", 0, 1, "Drawing views", ("mesh", solid))
    if options.elevation is not None:
        return Neighbours({}, None)
    poses = dict(zip(NEIGHBOURS, cameras.neighbour_poses(cameras.Pose(guess or 0.0, 0.0)), strict=True))
    total = len(PRINCIPAL) + len(SOURCES if source_views else NEIGHBOURS)
    return Neighbours(_draw(generator, framed, poses, guess, options, work, total=total), guess)


def find_elevation(neighbours: FloatArray, matcher: Matcher, guess: float | None, work: Work) -> ElevationEstimate:
    """The elevation by the neighbours (4, S, S, 4), or the generator's guess where they do not tell."""
    from engine.elevation import estimate_elevation

    return tell_elevation(estimate_elevation(neighbours, matcher=matcher, fallback=guess, cancel=work.cancel), work)


def take_elevation(degrees: float, work: Work) -> ElevationEstimate:
    """A known elevation in the place of an estimate."""
    from engine.elevation import ElevationEstimate

    estimate = ElevationEstimate(
        value=float(degrees),
        confidence=1.0,
        coarse=([], []),
        fine=([], []),
        matches=0,
        is_fallback=False,
        message="Typed by the user.",
    )
    return tell_elevation(estimate, work)


def draw_views(
    generator: ViewGenerator, framed: FloatArray, neighbours: Neighbours, elevation: float, options: Options, work: Work
) -> Views:
    """The principal views and, where the method needs them, the source views."""
    poses = dict(zip(PRINCIPAL, cameras.principal_poses(elevation), strict=True))
    views = {PRINCIPAL[0]: _resize(framed, QUALITIES[options.quality].view_size)}
    shown = len(neighbours.views)
    if choices.METHODS[options.method].source_views:
        poses |= dict(zip(SOURCES, cameras.source_poses(elevation), strict=True))
        # Neighbours are kept if they were drawn for (nearly) the elevation that came out, or by a generator that takes
        # no elevation.
        guess = neighbours.guess
        if options.elevation is None and (guess is None or abs(guess - elevation) <= SAME_ELEVATION):
            views |= neighbours.views
        else:
            shown = 0
    poses = {name: pose for name, pose in poses.items() if name not in views}
    total = shown + 1 + len(poses)
    work.report("views", shown + 1, total, "Drawing views", ("view", PRINCIPAL[0], views[PRINCIPAL[0]]))
    views |= _draw(generator, framed, poses, elevation, options, work, done=shown + 1, total=total)
    work.report("views", total, total, "Views drawn")
    return views


def redraw_view(
    generator: ViewGenerator, framed: FloatArray, index: int, elevation: float, options: Options, seed: int, work: Work
) -> Views:
    """Principal view `index` and its neighbours with another seed; view 0 is the input itself, and stays."""
    pose = cameras.principal_poses(elevation)[index]
    poses = {PRINCIPAL[index]: pose} if index > 0 else {}
    poses |= dict(zip(SOURCES[4 * index :], cameras.neighbour_poses(pose), strict=False))
    return _draw(generator, framed, poses, elevation, options, work, seed=seed, total=len(poses))


def fits_silhouette(network: SurfaceModel, options: Options) -> bool:
    """Whether the surface that a network builds is bent to the picture's silhouette."""
    return options.silhouette == "fitted" or (options.silhouette == "auto" and not network.released)


def build_surface(
    network: SurfaceModel, sources: FloatArray, framed: FloatArray, elevation: float, options: Options, work: Work
) -> Mesh:
    """The surface that a network reads off the source views (32, S, S, 4); without faces if it finds none."""
    from engine.surface import reconstruct_surface

    quality = options.detail
    silhouette = framed[..., 3], cameras.Pose(elevation, 0.0).matrix(), cameras.intrinsics(FRAMED_SIZE)
    mesh = reconstruct_surface(
        network,
        sources,
        np.stack([p.matrix() for p in cameras.source_poses(elevation)]),
        cameras.intrinsics(sources.shape[1]),
        resolution=quality.resolution,
        target_faces=quality.faces,
        silhouettes=[silhouette] if fits_silhouette(network, options) else None,
        progress=work.within("surface"),
        cancel=work.cancel,
    )
    return _surface(_smoothed(mesh, options), work)


def take_solid(generator: SolidGenerator, framed: FloatArray, elevation: float, options: Options, work: Work) -> Mesh:
    """The generator's own solid as the surface."""
    from engine.surface.cleaning import clean_mesh

    work.report("surface", 0, 3, "Extracting the surface")
    quality = options.detail
    mesh = generator.mesh(framed, elevation, resolution=quality.solid_resolution, seed=options.seed, cancel=work.cancel)
    work.report("surface", 2, 3, "Cleaning the mesh", ("mesh", mesh))
    return _surface(_smoothed(clean_mesh(mesh, target_faces=quality.faces), options), work)


def bake(
    surface: Mesh,
    picture: ByteArray,
    mask: FloatArray,
    views: Sequence[FloatArray],
    elevation: float,
    options: Options,
    work: Work,
    aim: Aim | None = None,
) -> Mesh:
    """The surface with a texture of the picture (H, W, 4), which counts most, and the views.

    `views` are the principal ones, of which the first is the picture, and the source views if there are any. `aim` is
    how the picture was turned before it was framed.
    """
    from engine.texture.bake import bake_texture

    work.report("texture", 0, 1, "Baking the texture")
    quality = options.detail
    poses = [*cameras.principal_poses(elevation), *cameras.source_poses(elevation)][: len(views)]
    own = _frame(picture, mask, quality.input_size, options, aim).image
    pictures = [own, *(_resize(view, quality.input_size) for view in views[1:])]
    return bake_texture(
        surface,
        np.stack(pictures),
        np.stack([p.matrix() for p in poses]),
        cameras.intrinsics(quality.input_size),
        weights=np.array([100.0] + [2.0] * 7 + [1.0] * (len(views) - 8), np.float32),
        size=quality.texture_size,
        progress=work.within("texture"),
        cancel=work.cancel,
    )


# -- what they share -----------------------------------------------------------------------------------------


def tell_elevation(estimate: ElevationEstimate, work: Work) -> ElevationEstimate:
    work.report("elevation", 1, 1, f"Elevation {estimate.value:.1f} degrees", ("elevation", estimate))
    return estimate


def _surface(mesh: Mesh, work: Work) -> Mesh:
    if len(mesh.faces):
        work.report("surface", 1, 1, f"{len(mesh.faces):,} triangles", ("mesh", mesh))
    return mesh


def _smoothed(mesh: Mesh, options: Options) -> Mesh:
    if options.smooth == 0 or not len(mesh.faces):
        return mesh
    import trimesh

    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    trimesh.smoothing.filter_taubin(shape, lamb=0.5, nu=0.53, iterations=2 * options.smooth)
    return replace(mesh, vertices=np.asarray(shape.vertices, np.float32))


def _given_mask(given: ByteArray | Path, shape: tuple[int, ...]) -> FloatArray:
    from engine.imaging import load_mask

    mask, (height, width) = load_mask(given), shape
    if abs(mask.shape[1] / mask.shape[0] - width / height) > 0.02 * width / height:
        name = f" {given.name}" if isinstance(given, Path) else ""
        raise InputError(
            f"The mask{name} is {mask.shape[1]} x {mask.shape[0]} pixels, which does not fit the picture "
            f"({width} x {height}). Give a mask of the same size."
        )
    if mask.shape != shape:
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))
    return mask


def _frame(picture: ByteArray, mask: FloatArray, size: int, options: Options, aim: Aim | None) -> Framed:
    from engine.imaging import frame

    if aim is not None:
        picture, mask = aim.turned(picture, mask)
    return frame(picture, mask, size, fraction=options.foreground_ratio)


def _resize(picture: FloatArray, size: int) -> FloatArray:
    """(H, W, 4) to (size, size, 4)."""
    import cv2

    if picture.shape[0] == size:
        return picture
    method = cv2.INTER_AREA if size < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.float32)


def _draw(
    generator: ViewGenerator,
    framed: FloatArray,
    poses: dict[str, cameras.Pose],
    elevation: float | None,
    options: Options,
    work: Work,
    *,
    seed: int | None = None,
    done: int = 0,
    total: int,
) -> Views:
    """Views by name from cameras by name. Each is reported once, as soon as the generator has it."""
    names = list(poses)
    shown: set[int] = set()
    reached = float(done)

    def report(at: float, message: str, preview: Any = None) -> None:
        nonlocal reached
        reached = max(reached, at)  # a generator may work at many views before it finishes the first
        work.report("views", reached, total, message, preview)

    def show(index: int, picture: FloatArray) -> None:
        if index not in shown:
            shown.add(index)
            report(done + len(shown), f"Drawing {names[index]}", ("view", names[index], picture))

    def on_progress(event: Progress) -> None:
        if event.preview is not None:
            show(*event.preview)
        else:
            report(done + event.fraction * len(names), event.message)

    pictures = generator.generate(
        framed,
        cameras.offsets(list(poses.values()), cameras.Pose(elevation or 0.0, 0.0)),
        elevation=elevation,
        size=QUALITIES[options.quality].view_size,
        seed=options.seed if seed is None else seed,
        progress=on_progress,
        cancel=work.cancel,
    )
    for index, picture in enumerate(pictures):
        show(index, picture)
    return dict(zip(names, pictures, strict=True))

"""From posed views to a coloured mesh with trained weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine import choices, weights
from engine.core.device import free
from engine.core.errors import EmptyResultError, WeightsError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.meshes.mesh import Mesh, vertex_normals
from engine.surface.cleaning import clean_mesh
from engine.surface.extraction import extract_mesh
from engine.surface.hull import TrustedSilhouettes, project_points, sample_pictures
from engine.surface.network import BUILT_IN, HullScene, SurfaceConfig, SurfaceModel, SurfaceNetwork, SurfaceScene
from engine.surface.published import COMPACT, PUBLISHED, PublishedNetwork, PublishedScene, is_published, load_published

MODEL = "oriel-surface"
"""The kind of network that a card names."""
COLOR_CHUNK = 8192
"""Vertices coloured at a time from the views that see them."""
BLEND_CHUNK = 1024
"""Vertices coloured at a time from all views: what is computed of them stays in the processor's cache."""
CONFIGS: dict[str, SurfaceConfig] = {c.name: c for c in (PUBLISHED, COMPACT, BUILT_IN)}

Silhouette = tuple[npt.NDArray, npt.NDArray, npt.NDArray]
"""A trusted mask (S, S) in 0..1, its camera_to_world (4, 4) and its intrinsics (3, 3)."""


def build_surface(config: SurfaceConfig) -> SurfaceModel:
    """Untrained network of a configuration: the released one for `PUBLISHED`, `COMPACT` and what has their names."""
    return PublishedNetwork(config) if config.name in (PUBLISHED.name, COMPACT.name) else SurfaceNetwork(config)


def load_surface(name_or_path: str | Path = "built-in", device: torch.device | str = "cpu") -> SurfaceModel:
    """Network with trained weights.

    Args:
        name_or_path: "built-in"; "one-2-3-45", the published checkpoint wherever `engine.weights` finds it; or a file,
            either the project's own safetensors with its card (.json) beside it, or the published checkpoint (.pth).

    Raises `WeightsError` when the weights are missing, damaged, or those of another model.
    """
    keys = choices.models("surface", str(name_or_path))
    path = weights.require(keys[0]) if keys else Path(name_or_path)
    own = path.suffix == ".safetensors" and not (path.is_file() and is_published(weights.read_header(path)))
    network = _load_own(weights.find(path)) if own else load_published(weights.read_checkpoint(path), path)
    return network.to(device).eval()


def _load_own(found: weights.Weights) -> SurfaceModel:
    """Network from the project's own weights and their card."""
    tensors = found.load(MODEL)
    advice = "Copy the file and its card again, or train new weights with `oriel train surface`."
    config = CONFIGS.get(str(found.card.get("config")))
    if config is None:
        raise WeightsError(f"The card of the weights {found.path} names no known reconstruction network. {advice}")
    network = build_surface(config)
    try:
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError:
        raise WeightsError(f"The weights {found.path} do not fit the network {config.name!r}. {advice}") from None
    return network


def reconstruct_surface(
    network: SurfaceModel,
    views: npt.NDArray,
    c2ws: npt.NDArray,
    k: npt.NDArray,
    *,
    resolution: int = 256,
    silhouettes: Sequence[Silhouette] | None = None,
    target_faces: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Mesh:
    """Mesh with vertex colours from views (V, H, W, 4) in 0..1 (RGB over white, alpha the mask).

    `c2ws` (V, 4, 4), `k` (3, 3) for side H. `resolution` is the side of the extraction grid over the network's
    box. `silhouettes` are masks known for certain (the input's): the mesh is carved by their background and
    reaches into all of their foreground. `target_faces` decimates. Raises `EmptyResultError` when nothing is found.
    """
    report = progress or ignore_progress
    with torch.no_grad():
        report(Progress("surface", 0, 5, "Reading the views"))
        scene = network.encode(views, c2ws, k, cancel=cancel or CancelToken())
        extent, in_world = network.box(scene)
        if network.device.type != "cpu":
            free()

        def plain(points: Tensor) -> Tensor:
            return network.sdf(scene, points.to(network.device)).cpu()

        field = plain
        if silhouettes:
            report(Progress("surface", 1, 5, "Fitting the picture's silhouette"))
            margin = 2 * extent / (resolution - 1)
            trusted = TrustedSilhouettes.build(
                silhouettes, plain, extent=network.config.extent, margin=margin, cancel=cancel
            )

            def bent(points: Tensor) -> Tensor:
                return trusted.bend(points, plain(points))

            field = bent
        report(Progress("surface", 2, 5, "Extracting the surface"))
        vertices, faces = extract_mesh(lambda points: field(in_world(points)), resolution, extent, cancel=cancel)
        if not len(faces):
            raise EmptyResultError("No surface was found in the views. Check the foreground, or retry single views.")
        vertices = in_world(torch.from_numpy(vertices)).numpy()
        report(Progress("surface", 3, 5, "Cleaning the mesh"))
        mesh = clean_mesh(Mesh(vertices, faces), target_faces=target_faces)
        report(Progress("surface", 4, 5, "Colouring the mesh"))
        mesh.colors = color_vertices(network, scene, mesh, cancel=cancel)
    report(Progress("surface", 5, 5, "Surface done", preview=("mesh", mesh)))
    return mesh


def color_vertices(
    network: SurfaceModel, scene: Any, mesh: Mesh, *, cancel: CancelToken | None = None
) -> npt.NDArray[np.uint8]:
    """Colours (V, 3) of a mesh's vertices, each seen straight on; `scene` is what the network made of the views.

    The built-in network takes them from the views that see a vertex, the published one, as released, from all.
    """
    vertices = torch.from_numpy(mesh.vertices).to(network.device)
    if isinstance(network, PublishedNetwork):
        paint, chunk = _released_painter(network, scene, vertices), BLEND_CHUNK
    else:
        assert isinstance(network, SurfaceNetwork)
        paint, chunk = _painter(network, scene, vertices, mesh), COLOR_CHUNK
    out = []
    with torch.no_grad():
        for start in range(0, len(vertices), chunk):
            if cancel:
                cancel.check()
            colors = paint(slice(start, start + chunk))
            out.append((colors.clamp(0, 1) * 255).round().byte().cpu())
    return torch.cat(out).numpy()


def _painter(network: SurfaceNetwork, scene: HullScene, vertices: Tensor, mesh: Mesh) -> Callable[[slice], Tensor]:
    """Colours of a part of the vertices, from the views that see them, the less the more askance."""
    normals = torch.from_numpy(vertex_normals(mesh.vertices, mesh.faces)).to(network.device)
    depth_maps = splat_depth(vertices, scene)

    def paint(part: slice) -> Tensor:
        points, normal = vertices[part], normals[part]
        pixels, depth = project_points(points, scene.w2c, scene.k)
        front = sample_pictures(depth_maps[:, None], pixels)[..., 0]
        hidden = (depth - front) / network.config.voxel
        visible = torch.sigmoid(4 * (2 - hidden))
        to_camera = torch.nn.functional.normalize(scene.positions[:, None] - points[None], dim=-1)
        facing = (to_camera * normal[None]).sum(-1).clamp(min=0.02)
        return network.colors(scene, points, -normal, visibility=visible * facing**2)

    return paint


def _released_painter(network: PublishedNetwork, scene: PublishedScene, vertices: Tensor) -> Callable[[slice], Tensor]:
    """Colours of a part of the vertices as the released code has them: from all views, whether they see it or not."""

    def paint(part: slice) -> Tensor:
        points = vertices[part]
        return network.colors(scene, points, -network.normals(scene, points))

    return paint


def splat_depth(vertices: Tensor, scene: SurfaceScene) -> Tensor:
    """(V, S, S) depth of the nearest vertex (N, 3) in each pixel of each view; far where there is none.

    Vertices of an extraction grid lie denser than pixels, so points serve in place of triangles.
    """
    size = scene.pictures.shape[-1]
    views = len(scene.w2c)
    maps = torch.full((views, size * size), 1e3, device=vertices.device)
    for i in range(views):
        pixels, depth = project_points(vertices, scene.w2c[i : i + 1], scene.k)
        index = pixels[0].floor().long().clamp(0, size - 1)
        maps[i].scatter_reduce_(0, index[:, 1] * size + index[:, 0], depth[0], "amin")
    maps = maps.view(views, size, size)
    # Close pinholes: a pixel takes the nearest depth around it, never a farther one.
    return -torch.nn.functional.max_pool2d(-maps[:, None], 3, 1, 1)[:, 0]

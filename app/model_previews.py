"""Models as a tab's small viewport shows them: loaded in a process of their own, reduced, as one mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.meshes.mesh import Mesh
    from engine.screening import Preview, PreviewCache, PreviewPart

PREVIEW_TRIANGLES = 80_000
"""What the viewport takes without holding the window up."""


def make_cache() -> PreviewCache:
    """What loads models: in a process of its own, so that whatever is in a file from the web, the window goes on."""
    from engine.screening import PreviewCache, PreviewLimits

    return PreviewCache(PreviewLimits(triangles=PREVIEW_TRIANGLES, cache_bytes=128 << 20), workers=1)


def mesh_of(preview: Preview) -> tuple[Mesh | None, str]:
    """What the viewport shows of a preview, and what there is to say to it; None and why if there is nothing to see."""
    if not preview.parts:
        return None, f"{preview.problem or 'There is nothing to see.'} Show the file (S), to open it elsewhere."
    parts = preview.parts
    shown = sum(len(part.triangles) for part in parts)
    notes = (
        [f"Shown with {shown:,} of {preview.facts.triangles:,} triangles."] if shown < preview.facts.triangles else []
    )
    left_out = preview.facts.hints.left_out if preview.facts.hints is not None else ()
    note = " ".join([*notes, *left_out, *preview.facts.warnings])
    mesh = mesh_of_parts(parts)
    mesh.vertices /= 2
    return mesh, note


def mesh_of_parts(parts: Sequence[PreviewPart]) -> Mesh:
    """Parts as the one mesh that a viewport shows, where they are.

    Of several textures, as of one that is coloured besides, it shows the colour at each vertex.
    """
    import numpy as np

    from engine.meshes.mesh import Mesh

    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    points = np.concatenate([part.points for part in parts])
    faces = np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)], dtype=np.int32)
    first = parts[0]
    if len(parts) == 1 and first.texture is not None and first.colors is None:
        return Mesh(points, faces, uv=first.uv, texture=np.ascontiguousarray(first.texture[..., :3]))
    return Mesh(points, faces, colors=np.concatenate([_colors(part) for part in parts]))


def _colors(part: PreviewPart) -> Any:
    """(N, 3) uint8: the colour of each vertex, from the texture and the vertex itself."""
    import numpy as np

    colors = np.full((len(part.points), 3), 255, np.uint8) if part.colors is None else part.colors[:, :3]
    if part.texture is None or part.uv is None:
        return colors if part.colors is not None else colors // 255 * np.array([196, 190, 181], np.uint8)
    height, width = part.texture.shape[:2]
    uv = part.uv % 1.0 if part.repeat else np.clip(part.uv, 0.0, 1.0)
    columns = np.minimum((uv[:, 0] * width).astype(int), width - 1)
    rows = np.minimum(((1.0 - uv[:, 1]) * height).astype(int), height - 1)
    return (part.texture[rows, columns, :3].astype(np.uint16) * colors // 255).astype(np.uint8)

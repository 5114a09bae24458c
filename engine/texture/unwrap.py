"""The call into xatlas, for a process of its own, which imports little to start quickly.

xatlas holds Python's interpreter lock for a second or two on a rough mesh, which would freeze a window, cannot
be interrupted, and takes its process along if it crashes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xatlas

from engine.core.processes import Channel

CHART_SHARE = 1 / 40
"""Largest share of the surface in one chart. xatlas's time grows steeply with the size of a chart on a rough mesh."""
PADDING = 4
"""Texels between charts."""


def cut(
    vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], size: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Cut a mesh (V, 3), (F, 3) into charts and pack them into a square texture of about `size` texels.

    Returns the original vertex (W,) of each new vertex, faces (F, 3) of new vertices in the order given, and
    coordinates (W, 2) in 0..1.
    """
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces.astype(np.uint32))
    chart, pack = xatlas.ChartOptions(), xatlas.PackOptions()
    chart.max_chart_area = area * CHART_SHARE
    pack.resolution, pack.padding = size, PADDING
    atlas.generate(chart, pack)
    source, indices, uv = atlas.get_mesh(0)
    # xatlas gives coordinates in 0..1 of an oblong sheet: keep texels square
    uv = uv * (np.array([atlas.width, atlas.height]) / max(atlas.width, atlas.height))
    return source.astype(np.int32), indices.reshape(-1, 3).astype(np.int32), uv.astype(np.float32)


def serve_cut(channel: Channel, vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int32], size: int) -> None:
    """Answer with what `cut` returns: the work of a `Child`."""
    channel.send(cut(vertices, faces, size))

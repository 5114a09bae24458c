"""Contact sheets of procedural objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine import cameras
from engine.data.objects import make_object
from engine.data.renderer import Light, Renderer, frame_object

_TILE = 160


def contact_sheet(seeds: list[int], family: str | None = None) -> npt.NDArray[np.uint8]:
    """The objects of these seeds in a near-square grid, RGB uint8 (H, W, 3), each from its own side and light."""
    columns = int(np.ceil(np.sqrt(len(seeds) * 1.3)))
    rows = -(-len(seeds) // columns)
    sheet = np.full((rows * _TILE, columns * _TILE, 3), 255, np.uint8)
    renderer = Renderer(_TILE)
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        framed = frame_object(make_object(seed, family), float(rng.uniform(0, 50)), float(rng.uniform(0, 360)))
        pose = cameras.camera_to_world(framed.elevation, 0.0)
        picture, _ = renderer.render(
            framed.obj, pose, cameras.intrinsics(_TILE), light=Light.random(rng), model=framed.model, depth=False
        )
        row, column = divmod(index, columns)
        sheet[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE] = picture[0, ..., :3]
    return sheet

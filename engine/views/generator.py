"""The protocol that every generator of novel views follows."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.core.progress import CancelToken, ProgressCallback
from engine.meshes.mesh import Mesh

FloatArray = npt.NDArray[np.float32]


@runtime_checkable
class ViewGenerator(Protocol):
    """Draws a framed object from other sides.

    Pictures are (H, W, 4) float32 in 0..1: RGB already composited over white, alpha the object's mask. A diffusion
    model's white is what it has drawn, nearly white.
    """

    name: str
    """Short name for the command line, e.g. `built-in`."""
    label: str
    """Name shown to people, saying plainly what it is."""

    def estimate_elevation(self, image: FloatArray, lens: float = 1.0) -> float | None:
        """The generator's own guess of the input camera's elevation in degrees, or None if it has none.

        `lens`: the focal length of the picture (S, S, 4), the reference's being 1.
        """

    def generate(
        self,
        image: FloatArray,
        offsets: FloatArray,
        *,
        elevation: float | None = None,
        size: int = 256,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> FloatArray:
        """Draw `image` (S, S, 4) from cameras at `offsets` (N, 3) relative to it.

        Offsets are (elevation deg, azimuth deg, radius) as in Zero123; `elevation` is the input camera's
        elevation where it is known, else the generator uses its own. Returns (N, size, size, 4). Each
        `Progress` of stage `views` carries `preview=(index, picture)` of a finished view.
        """


class SolidGenerator(ViewGenerator, Protocol):
    """A generator that has a solid of its own, of which its views are pictures."""

    def mesh(
        self,
        image: FloatArray,
        elevation: float | None = None,
        *,
        resolution: int = 112,
        seed: int = 0,
        cancel: CancelToken | None = None,
    ) -> Mesh:
        """Its solid of `image` (S, S, 4), with vertex colours. `EmptyResultError` when nothing is solid."""

"""A model as it was in its file: pieces of one surface each, their pictures not yet decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.meshes.mesh import ByteArray, FloatArray, IntArray

Alpha = Literal["opaque", "mask", "blend"]

Y_TO_Z = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""What stands a model upright (4, 4) whose file has Y up."""
GREY = (0.6, 0.6, 0.6, 1.0)
"""Colour of a surface of which nothing is known."""
CLEAR = 0.02
"""Alpha below which nothing is to be seen of what is blended."""


class Unreadable(InputError):
    """A model file of which nothing can be shown; the text says why and what may be done.

    `plain` is without the `decision`, which is for whoever screens models.
    """

    def __init__(self, what: str, *, advice: str = "", decision: str = "") -> None:
        super().__init__(what, advice=f"{advice} {decision}".strip())
        self.plain = f"{what} {advice}".strip()
        self.decision = decision


@dataclass
class Picture:
    """A texture that has not been decoded yet."""

    name: str
    read: Callable[[], bytes]


@dataclass
class Surface:
    """How the triangles of a piece look."""

    picture: Picture | None = None
    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Multiplied with the texture and the vertex colours; linear light, alpha last."""
    alpha: Alpha = "opaque"
    cutoff: float = 0.5
    double_sided: bool = True
    """Whether it is seen from behind as well; glTF alone says that it is not."""
    repeat: bool = True


@dataclass
class Piece:
    """Triangles of one surface in the file's units, Z up."""

    points: FloatArray
    """(V, 3)."""
    triangles: IntArray
    """(T, 3)."""
    surface: Surface
    uv: FloatArray | None = None
    """(V, 2), origin at the lower left."""
    colors: ByteArray | None = None
    """(V, 4) sRGB and alpha."""
    normals: FloatArray | None = None
    """(V, 3)."""

    def only(self, kept: npt.NDArray[np.bool_]) -> Piece:
        """The triangles of a mask (T,), with the points that they use alone; this piece where that is all."""
        triangles = self.triangles if kept.all() else self.triangles[kept]
        used = np.zeros(len(self.points), bool)
        used[triangles] = True
        if used.all():
            return self if triangles is self.triangles else replace(self, triangles=triangles)
        number = np.cumsum(used, dtype=np.int32) - 1
        left: dict[str, Any] = {
            name: values[used]
            for name in ("points", "uv", "colors", "normals")
            if (values := getattr(self, name)) is not None
        }
        return replace(self, triangles=number[triangles], **left)


@dataclass
class Model:
    """All that a preview needs of a file."""

    pieces: list[Piece]
    origin: npt.NDArray[Any]
    """(3,) to be added to every point: taken off so that far-away models keep their precision."""
    warnings: list[str] = field(default_factory=list)
    animated: bool = False
    compressed: str = ""
    """Draco, meshopt or nothing."""

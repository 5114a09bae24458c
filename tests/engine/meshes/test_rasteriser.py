"""Triangles over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.errors import Cancelled
from engine.core.progress import CancelToken
from engine.meshes.rasteriser import rasterize

SQUARE = np.array([[[0, 0], [4, 0], [4, 4]], [[4, 4], [0, 4], [0, 0]]], np.float64) + 0.25


def test_two_triangles_cover_a_square_whichever_way_round() -> None:
    for triangles in (SQUARE, SQUARE[:, ::-1]):
        ((face, pixel, weights),) = rasterize(triangles, 8, 6, slack=0.0)
        row, column = np.divmod(pixel, 8)
        assert set(zip(row.tolist(), column.tolist(), strict=True)) == {(r, c) for r in range(4) for c in range(4)}
        assert len(pixel) == 16 + 4  # those on the diagonal belong to both
        assert weights.dtype == np.float64 and (weights >= 0).all()
        np.testing.assert_allclose(np.einsum("pk,pkd->pd", weights, triangles[face]), np.stack([column, row], 1) + 0.5)


def test_what_lies_outside_or_has_no_area_gives_one_empty_chunk() -> None:
    for triangles in (SQUARE + 100, SQUARE[:, [0, 0, 0]], SQUARE[:0]):
        ((face, pixel, weights),) = rasterize(triangles.astype(np.float32), 8, 6)
        assert len(face) == len(pixel) == 0 and weights.shape == (0, 3) and weights.dtype == np.float32


def test_cancel_stops_it() -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        list(rasterize(SQUARE, 8, 6, cancel))

"""Filters of EXT_meshopt_compression, on data packed here as the specification says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from engine.meshes.meshopt import decode


def packed(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Rows of bytes (N, stride) as compressed attributes, each group of differences at its full width."""
    count, stride = rows.shape
    block = min((8192 // stride) & ~15, 256)
    out, before = bytearray(b"\xa0"), rows[0].astype(np.int64)
    for first in range(0, count, block):
        part = rows[first : first + block].astype(np.int64)
        steps = np.diff(np.concatenate([before[None], part]), axis=0).astype(np.uint8).view(np.int8).astype(np.int64)
        zigzag = ((steps << 1) ^ (steps >> 7)).astype(np.uint8)
        groups = -(-len(part) // 16)
        for column in range(stride):
            out += b"\xff" * (-(-groups // 4))
            out += zigzag[:, column].tobytes() + bytes(groups * 16 - len(part))
        before = part[-1]
    return np.frombuffer(bytes(out) + bytes(max(32 - stride, 0)) + rows[0].tobytes(), np.uint8)


def unpacked(values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    raw = decode(packed(rows), count=len(rows), stride=rows.shape[1], mode="ATTRIBUTES", filter=name)
    return raw.view(values.dtype).reshape(values.shape)


@pytest.mark.parametrize("kind", ["i1", "<i2"])
def test_normals_on_an_octahedron(kind: str) -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(1000, 3))
    normals[:6] = np.concatenate([np.eye(3), -np.eye(3)])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    flat = normals / np.abs(normals).sum(1, keepdims=True)
    folded = (1 - np.abs(flat[:, [1, 0]])) * np.where(flat[:, :2] >= 0, 1, -1)
    place = np.where(flat[:, 2:] < 0, folded, flat[:, :2])
    one = np.iinfo(kind).max
    fourth = rng.integers(-100, 100, 1000)
    values = np.stack([*np.rint(place.T * one), np.full(1000, one), fourth], 1).astype(kind)
    found = unpacked(values, "OCTAHEDRAL")
    assert (found[:, 3] == fourth).all()
    assert np.linalg.norm(found[:, :3] / one, axis=1) == pytest.approx(1, abs=0.02 if kind == "i1" else 1e-4)
    assert np.abs(found[:, :3] / one - normals).max() < (0.03 if kind == "i1" else 2e-4)


def test_rotations_by_their_smaller_components() -> None:
    turns = Rotation.random(500, random_state=0).as_quat()
    largest = np.abs(turns).argmax(1)
    turns *= np.sign(np.take_along_axis(turns, largest[:, None], 1))
    smaller = np.take_along_axis(turns, (largest[:, None] + [1, 2, 3]) % 4, 1)
    one = 32767 & ~3
    values = np.concatenate([np.rint(smaller * np.sqrt(2) * one), (one | largest)[:, None]], 1).astype("<i2")
    assert np.abs(unpacked(values, "QUATERNION") / 32767 - turns).max() < 2e-4


def test_numbers_with_an_exponent() -> None:
    numbers = np.random.default_rng(0).normal(size=(100, 3)) * 1000
    exponent = np.ceil(np.log2(np.abs(numbers))).astype(np.int64) - 23
    values = ((exponent << 24) | (np.rint(numbers / 2.0**exponent).astype(np.int64) & 0xFFFFFF)).astype("<u4")
    found = unpacked(values.view("<i4"), "EXPONENTIAL").view("<f4")
    assert found == pytest.approx(numbers, rel=1e-6)


def test_a_filter_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="COLOR"):
        unpacked(np.zeros((20, 4), np.uint8), "COLOR")
    with pytest.raises(ValueError, match="width"):
        unpacked(np.zeros((20, 12), np.uint8), "OCTAHEDRAL")

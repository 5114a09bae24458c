"""Unpacking of EXT_meshopt_compression, after the format's published specification.

Attributes are unpacked with numpy a block at a time; triangle lists one triangle at a time, about a million a second
and a half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def decode(data: Bytes, *, count: int, stride: int, mode: str, filter: str) -> Bytes:
    """The bytes (count * stride,) of a compressed buffer view. Raises ValueError for what cannot be unpacked."""
    if not 0 < stride <= 256 or not 0 <= count <= 1 << 28:
        raise ValueError("its compressed data have no size")
    raw = data.tobytes()
    try:
        if mode == "ATTRIBUTES":
            unpacked = _attributes(raw, count, stride)
            if filter in _FILTERS:
                unpacked = _FILTERS[filter](unpacked)
            elif filter != "NONE":
                raise ValueError(f"the filter {filter} is not read")
            return unpacked.reshape(-1)
        if mode == "TRIANGLES":
            indices = _triangles(raw, count)
        elif mode == "INDICES":
            indices = _sequence(raw, count)
        else:
            raise ValueError(f"the compression {mode} is not known")
    except IndexError as error:
        raise ValueError("its compressed data end too early") from error
    kind = {2: np.uint16, 4: np.uint32}[stride]
    return np.asarray(indices, np.int64).astype(kind).view(np.uint8)


_SENTINELS_2 = [sum((b >> s & 3) == 3 for s in (0, 2, 4, 6)) for b in range(256)]
_SENTINELS_4 = [(b & 15 == 15) + (b >> 4 == 15) for b in range(256)]


def _attributes(raw: bytes, count: int, stride: int) -> Bytes:
    """(count, stride) bytes: blocks of elements, in them byte after byte in groups of 16 differences."""
    if stride % 4 or raw[0] != 0xA0:
        raise ValueError("its compressed attributes are of an unknown version")
    data = np.frombuffer(raw, np.uint8)
    block = min((8192 // stride) & ~15, 256)
    starts, widths = _groups(raw, count, stride, block)
    deltas = np.zeros((len(starts), 16), np.uint8)
    whole = widths == 3
    deltas[whole] = data[starts[whole, None] + np.arange(16)]
    for kind, size, bits in ((1, 4, 2), (2, 8, 4)):
        chosen = np.flatnonzero(widths == kind)
        packed = data[starts[chosen, None] + np.arange(size)]
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        small = ((packed[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1, 16)
        escaped = small == (1 << bits) - 1
        behind = starts[chosen, None] + size + np.cumsum(escaped, 1) - 1
        small[escaped] = data[behind[escaped]]
        deltas[chosen] = small
    deltas = np.bitwise_xor(deltas >> np.uint8(1), np.negative(deltas & np.uint8(1)))
    full, left = divmod(count, block)
    split = full * stride * (block // 16)
    body = deltas[:split].reshape(full, stride, block).transpose(0, 2, 1).reshape(-1, stride)
    rest = deltas[split:].reshape(stride, -1)[:, :left].T
    first = data[None, len(raw) - stride :]
    return np.add.accumulate(np.concatenate([first, body, rest]), 0, dtype=np.uint8)[1:]


def _groups(raw: bytes, count: int, stride: int, block: int) -> tuple[Array, Array]:
    """Where every group of differences begins and how wide it is: this alone has to go one by one."""
    two, four = _SENTINELS_2, _SENTINELS_4
    starts: list[int] = []
    widths: list[int] = []
    at = 1
    for first in range(0, count, block):
        groups = (min(block, count - first) + 15) // 16
        header = (groups + 3) // 4
        for _ in range(stride):
            body = at + header
            for group in range(groups):
                width = raw[at + (group >> 2)] >> ((group & 3) * 2) & 3
                starts.append(body)
                widths.append(width)
                if width == 1:
                    body += 4 + two[raw[body]] + two[raw[body + 1]] + two[raw[body + 2]] + two[raw[body + 3]]
                elif width == 2:
                    body += 8 + sum(four[b] for b in raw[body : body + 8])
                elif width == 3:
                    body += 16
            at = body
    if at + max(stride, 32) > len(raw):
        raise IndexError
    return np.array(starts, np.int64), np.array(widths, np.int8)


def _exponential(unpacked: Bytes) -> Bytes:
    """Floats kept as a mantissa of 24 and an exponent of 8 bits."""
    values = np.ascontiguousarray(unpacked).view("<i4")
    mantissa, exponent = (values << 8) >> 8, values >> 24
    return np.ldexp(mantissa.astype(np.float32), exponent).astype("<f4").view(np.uint8)


def _octahedral(unpacked: Bytes) -> Bytes:
    """Unit vectors kept as a place on an octahedron that is folded open; of 8 or 16 bits, with what comes fourth."""
    if unpacked.shape[1] not in (4, 8):
        raise ValueError("its octahedral normals are of an unknown width")
    packed = np.ascontiguousarray(unpacked).view(np.int8 if unpacked.shape[1] == 4 else np.dtype("<i2"))
    x, y, one = packed[:, :3].T.astype(np.float64)
    z = one - np.abs(x) - np.abs(y)
    fold = np.minimum(z, 0)
    x, y = x + np.where(x >= 0, fold, -fold), y + np.where(y >= 0, fold, -fold)
    scale = (127 if unpacked.shape[1] == 4 else 32767) / np.maximum(np.sqrt(x * x + y * y + z * z), 1e-30)
    out = packed.copy()
    out[:, :3] = _rounded(np.stack([x, y, z], 1) * scale[:, None])
    return out.view(np.uint8)


def _quaternion(unpacked: Bytes) -> Bytes:
    """Rotations kept as their three smaller components, 16 bits, and which is the largest."""
    if unpacked.shape[1] != 8:
        raise ValueError("its rotations are of an unknown width")
    packed = np.ascontiguousarray(unpacked).view("<i2").astype(np.int32)
    largest, one = packed[:, 3] & 3, packed[:, 3] | 3
    small = packed[:, :3] / one[:, None] * np.sqrt(0.5)
    rest = np.sqrt(np.maximum(1 - (small**2).sum(1, keepdims=True), 0))
    out = np.empty((len(packed), 4), "<i2")
    places = (largest[:, None] + np.array([1, 2, 3, 0])) % 4
    np.put_along_axis(out, places, _rounded(np.concatenate([small, rest], 1) * 32767).astype("<i2"), 1)
    return out.view(np.uint8)


def _rounded(values: Array) -> Array:
    """Halves away from zero, as C does."""
    return np.trunc(values + np.copysign(0.5, values))


_FILTERS = {"EXPONENTIAL": _exponential, "OCTAHEDRAL": _octahedral, "QUATERNION": _quaternion}


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where the next one begins."""
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 28:
            raise ValueError("a compressed number is too long")


def _sequence(raw: bytes, count: int) -> list[int]:
    """Indices as differences to one of two running values."""
    if raw[0] != 0xD1:
        raise ValueError("its compressed indices are of an unknown version")
    last, at, out = [0, 0], 1, []
    for _ in range(count):
        value, at = _number(raw, at)
        which = value & 1
        last[which] += (value >> 2) ^ -(value >> 1 & 1)
        out.append(last[which] & 0xFFFFFFFF)
    return out


def _triangles(raw: bytes, count: int) -> list[int]:
    """Triangles told by an edge or vertices that were used a short while ago."""
    if raw[0] not in (0xE0, 0xE1) or count % 3:
        raise ValueError("its compressed triangles are of an unknown version")
    near = 13 if raw[0] == 0xE1 else 15
    end, at = 1 + count // 3, 1 + count // 3
    table = raw[len(raw) - 16 :]
    if len(raw) < end + 16:
        raise IndexError
    edges: list[tuple[int, int]] = [(0, 0)] * 16
    vertices = [0] * 16
    edge = vertex = upcoming = last = 0
    out: list[int] = []

    def free() -> int:
        nonlocal at, last
        value, at = _number(raw, at)
        last = (last + ((value >> 1) ^ -(value & 1))) & 0xFFFFFFFF
        return last

    for code in raw[1:end]:
        if code < 0xF0:
            a, b = edges[(edge - 1 - (code >> 4)) & 15]
            kind = code & 15
            if kind == 0:
                c = upcoming
                upcoming += 1
            elif kind < near:
                c = vertices[(vertex - 1 - kind) & 15]
            elif kind != 15:
                last += 1 if kind == 14 else -1
                c = last
            else:
                c = free()
            if kind == 0 or kind >= near:
                vertices[vertex & 15] = c
                vertex += 1
            edges[edge & 15] = (c, b)
            edges[(edge + 1) & 15] = (a, c)
            edge += 2
        else:
            if code < 0xFE:
                first, more = 0, table[code & 15]
            else:
                first, more, at = 0 if code == 0xFE else 15, raw[at], at + 1
                if more == 0:
                    upcoming = 0
            corners: list[int] = []
            fresh: list[int] = []
            for kind in (first, more >> 4, more & 15):
                if 0 < kind < 15 or (kind and code < 0xFE):
                    corners.append(vertices[(vertex - kind) & 15])
                    continue
                if kind == 0:
                    corner, upcoming = upcoming, upcoming + 1
                else:
                    corner = free()
                corners.append(corner)
                fresh.append(corner)
            a, b, c = corners
            for corner in fresh:
                vertices[vertex & 15] = corner
                vertex += 1
            edges[edge & 15] = (b, a)
            edges[(edge + 1) & 15] = (c, b)
            edges[(edge + 2) & 15] = (a, c)
            edge += 3
        out += (a, b, c)
    if at + 16 > len(raw):
        raise IndexError
    return out

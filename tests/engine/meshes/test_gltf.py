"""The glTF format: chunks, and the numbers that a description points to."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.meshes import gltf


def test_a_glb_gives_back_what_was_put_into_it() -> None:
    document = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 8}]}
    content: Any = gltf.glb_head(document, 8) + b"12345678"
    version, length = gltf.glb_header(content)
    text, begin, room = gltf.glb_parts(content, length)
    assert version == 2 and length == len(content) and len(text) % 4 == 0
    assert gltf.parse(text) == document and content[begin : begin + room] == b"12345678"
    bare: Any = gltf.glb_head({"asset": {}}, 0)
    assert gltf.glb_parts(bare, len(bare))[2] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"glTF" + struct.pack("<II", 2, 12), "description is missing"),
        (b"glTF" + struct.pack("<IIII", 2, 99, 50, 0x4E4F534A) + b"{}", "longer than the file"),
    ],
)
def test_a_broken_glb_says_what_is_wrong(content: Any, words: str) -> None:
    with pytest.raises(gltf.Damaged, match=words):
        gltf.glb_parts(content, gltf.glb_header(content)[1])


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"[" * 100_000])
def test_a_description_that_is_none(text: bytes) -> None:
    with pytest.raises(gltf.Damaged, match="description cannot be read"):
        gltf.parse(text)


def accessor(**fields: Any) -> dict[str, Any]:
    return {"bufferView": 0, "componentType": 5123, "count": 3, "type": "VEC2"} | fields


def reader(folder: Path, entry: dict[str, Any], view: dict[str, Any], buffer: dict[str, Any]) -> gltf.Reader:
    document = {"accessors": [entry], "bufferViews": [view | {"buffer": 0}], "buffers": [buffer]}
    return gltf.Reader(document, folder, np.arange(12, dtype=np.uint16).view(np.uint8))


def test_numbers_side_by_side_and_apart(tmp_path: Path) -> None:
    close, normalized = reader(tmp_path, accessor(), {"byteLength": 24}, {}).accessor(0)
    assert close.tolist() == [[0, 1], [2, 3], [4, 5]] and not normalized
    apart, normalized = reader(
        tmp_path, accessor(byteOffset=2, normalized=True), {"byteLength": 24, "byteStride": 8}, {}
    ).accessor(0)
    assert apart.tolist() == [[1, 2], [5, 6], [9, 10]] and normalized
    (tmp_path / "the data.bin").write_bytes(np.arange(100, 106, dtype=np.uint16).tobytes())
    beside = reader(tmp_path, accessor(), {"byteLength": 12}, {"uri": "the%20data.bin"})
    assert beside.accessor(0)[0].tolist() == [[100, 101], [102, 103], [104, 105]]


@pytest.mark.parametrize(
    ("entry", "view", "buffer", "words"),
    [
        ({"count": 7}, {"byteLength": 24}, {}, "outside of its data"),
        ({"byteOffset": -2}, {"byteLength": 24}, {}, "outside of its data"),
        ({}, {"byteLength": 24, "byteStride": 2}, {}, "outside of its data"),
        ({}, {"byteLength": 25}, {}, "outside of the file"),
        ({"bufferView": -1}, {"byteLength": 24}, {}, "leads nowhere"),
        ({}, {"byteLength": 12}, {"uri": "../x.bin"}, "is missing beside it"),
        ({}, {"byteLength": 12}, {"uri": "https://x.example/x.bin"}, "from the network"),
        ({}, {"byteLength": 12}, {"uri": "data:;base64,@"}, "outside of the file"),
    ],
)
def test_numbers_that_are_not_there(
    tmp_path: Path, entry: dict[str, Any], view: dict[str, Any], buffer: dict[str, Any], words: str
) -> None:
    with pytest.raises(gltf.Damaged, match=words):
        reader(tmp_path, accessor(**entry), view, buffer).accessor(0)

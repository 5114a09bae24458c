"""Completeness of GLB files, and packing."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.crawling import PageFailed, PageTrouble
from engine.crawling.packing import check_glb, pack, sniff
from tests.site.models import join_glb, make_archive, make_glb, make_gltf


def written(tmp_path: Path, content: bytes, name: str = "model.glb") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def test_a_whole_model(tmp_path: Path) -> None:
    content = make_glb(1, 5000)
    facts = check_glb(written(tmp_path, content))
    assert (facts.bytes, facts.meshes, facts.triangles, facts.textures) == (len(content), 1, 12, 1)


def test_every_shortened_file_is_found_out(tmp_path: Path) -> None:
    content = make_glb(1)
    for size in {*range(0, 40), *range(40, len(content), 37), len(content) - 1}:
        with pytest.raises(PageTrouble, match=r"incomplete|empty|damaged"):
            check_glb(written(tmp_path, content[:size]))


def test_damage_is_found_out(tmp_path: Path) -> None:
    document, data, _ = make_gltf(1)
    document["images"] = []

    def changed(**parts: Any) -> bytes:
        return join_glb(json.loads(json.dumps(document | parts)), data)

    views, accessors = document["bufferViews"], document["accessors"]
    beyond = changed(bufferViews=[views[0], views[1] | {"byteLength": 10_000}, views[2]])
    outside = changed(accessors=[accessors[0] | {"count": 9}, *accessors[1:]])
    missing = changed(accessors=accessors[:1])
    kind = changed(accessors=[accessors[0] | {"type": "VEC9"}, *accessors[1:]])
    corners = join_glb(document, data[:96] + struct.pack("<H", 8) + data[98:])
    number = join_glb(document, struct.pack("<f", float("nan")) + data[4:])
    long = make_glb(1) + b"more"
    no_json = make_glb(1).replace(b'{"asset"', b'{{asset"')
    for content in (beyond, outside, missing, kind, corners, number, long, no_json):
        with pytest.raises(PageTrouble, match="damaged"):
            check_glb(written(tmp_path, content))


def test_models_without_a_mesh_are_named(tmp_path: Path) -> None:
    document, data, _ = make_gltf(1)
    document["images"] = []
    with pytest.raises(PageFailed, match="no mesh"):
        check_glb(written(tmp_path, join_glb({"asset": {"version": "2.0"}}, b"")))
    document["meshes"][0]["primitives"][0]["mode"] = 1
    with pytest.raises(PageFailed, match="only points and lines"):
        check_glb(written(tmp_path, join_glb(document, data)))
    with pytest.raises(PageFailed, match="version 1"):
        check_glb(written(tmp_path, b"glTF" + struct.pack("<II", 1, 12)))


def test_a_model_that_needs_other_files_is_named(tmp_path: Path) -> None:
    document, data, _ = make_gltf(1)
    with pytest.raises(PageFailed, match="pictures that did not come"):
        check_glb(written(tmp_path, join_glb(document, data)))


def test_an_archive_becomes_a_model(tmp_path: Path) -> None:
    path = written(tmp_path, make_archive(3, 9000), "model.zip")
    assert sniff(path) == "zip"
    target = pack(path, tmp_path / "packed.glb")
    facts = check_glb(target)
    assert (facts.triangles, facts.textures) == (12, 1)
    # What another program makes of it.
    (box,) = trimesh.load_scene(target, process=False).geometry.values()
    _, data, picture = make_gltf(3, 9000)
    assert box.vertices.astype(np.float32).tobytes() == data[:96]
    drawn = Image.open(io.BytesIO(picture)).convert("RGB")
    assert box.visual.material.baseColorTexture.convert("RGB").tobytes() == drawn.tobytes()
    first = target.read_bytes()
    assert pack(path, target).read_bytes() == first  # the same bytes each time, so that duplicates are seen


def test_a_gltf_with_its_files_becomes_a_model(tmp_path: Path) -> None:
    document, data, picture = make_gltf(4)
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "wall a.png").write_bytes(picture)
    path = written(tmp_path, json.dumps(document).encode(), "scene.gltf")
    assert check_glb(pack(path, tmp_path / "packed.glb")).triangles == 12


def test_an_archive_with_a_glb_in_a_folder(tmp_path: Path) -> None:
    content = make_glb(5)
    path = written(tmp_path, archive({"readme.txt": b"hello", "source/Model.GLB": content}), "model.zip")
    assert pack(path, tmp_path / "packed.glb").read_bytes() == content


@pytest.mark.parametrize("uri", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "..%2Fsecret.bin"])
def test_nothing_outside_is_read_or_written(tmp_path: Path, uri: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    inner = tmp_path / "work"
    inner.mkdir()
    document, data, _ = make_gltf(1)
    document["buffers"][0]["uri"] = uri
    (inner / "scene.gltf").write_text(json.dumps(document))
    with pytest.raises(PageFailed, match="is missing"):
        pack(inner / "scene.gltf", inner / "packed.glb")
    evil = archive({"../secret.bin": data, "/etc/passwd": data, "scene.gltf": json.dumps(document).encode()})
    with pytest.raises(PageFailed, match="is missing"):
        pack(written(inner, evil, "model.zip"), inner / "packed.glb")
    assert (tmp_path / "secret.bin").read_bytes() == bytes(10_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.bin", "work"]


def test_archives_that_cannot_be_packed_say_why(tmp_path: Path) -> None:
    document, data, picture = make_gltf(1)
    text = json.dumps(document).encode()
    whole = {"scene.gltf": text, "scene.bin": data, "textures/wall a.png": picture}
    target = tmp_path / "packed.glb"
    for content, kind, reason in (
        (archive({"a.fbx": b"x"}), PageFailed, "neither a .gltf nor a .glb"),
        (archive({"scene.gltf": text, "scene.bin": data}), PageFailed, "wall a.png is missing"),
        (archive(whole | {"scene.bin": data[:50]}), PageFailed, "shorter than it should be"),
        (archive(whole | {"scene.gltf": b"{nonsense"}), PageFailed, "cannot be read"),
        (archive(whole)[:200], PageTrouble, "damaged or incomplete"),
        (b"<html>log in</html>", PageTrouble, "a web page"),
        (b"", PageTrouble, "empty"),
        (b"Kaydara FBX Binary", PageFailed, "no model"),
    ):
        with pytest.raises(kind, match=reason):
            pack(written(tmp_path, content, "model"), target)
    remote = text.replace(b"scene.bin", b"https://x.example/scene.bin")
    with pytest.raises(PageFailed, match="refers to the address"):
        pack(written(tmp_path, archive(whole | {"scene.gltf": remote}), "model"), target)


def test_an_archive_that_unpacks_to_too_much_is_left(tmp_path: Path) -> None:
    document, _, picture = make_gltf(1)
    files = {"scene.gltf": json.dumps(document).encode(), "scene.bin": bytes(5_000_000), "textures/wall a.png": picture}
    path = written(tmp_path, archive(files), "model.zip")
    assert path.stat().st_size < 20_000
    with pytest.raises(PageFailed, match="too large"):
        pack(path, tmp_path / "packed.glb", most=1_000_000)
    assert not (tmp_path / "packed.glb").exists()

"""What the annotator sees of model files of all kinds, loaded in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.evaluation.pictures import draw_shape, read_shape
from engine.screening import Preview, PreviewLimits, load_preview
from tests.screening_models import (
    BAD,
    CLEAR,
    COLORED,
    COORDINATES,
    ORANGE,
    Gltf,
    box,
    checker,
    write_bad,
    write_clear,
    write_colored,
    write_coordinates,
    write_draco,
    write_house,
    write_scenes,
)

FILES = Path(__file__).parent / "files"
LIMITS = PreviewLimits(triangles=2000, texture_side=32)


def extent(preview: Preview) -> np.ndarray:
    """(3,) sides of the box around a preview."""
    points = np.concatenate([part.points for part in preview.parts])
    return points.max(0) - points.min(0)


def check(preview: Preview, limits: PreviewLimits = LIMITS) -> None:
    """Whether a preview keeps all that is promised of every preview."""
    assert preview.problem is None, preview.problem
    points = np.concatenate([part.points for part in preview.parts])
    assert np.isfinite(points).all()
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-4)
    assert 0 < sum(len(part.triangles) for part in preview.parts) <= 1.3 * limits.triangles
    assert len(preview.parts) <= limits.parts
    for part in preview.parts:
        count = len(part.points)
        assert part.points.dtype == part.normals.dtype == np.float32 and part.triangles.dtype == np.int32
        assert part.triangles.min() >= 0 and part.triangles.max() < count
        assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-3)
        assert (part.texture is None) == (part.uv is None)
        assert part.texture is not None or part.colors is not None
        for array in (part.uv, part.colors, part.normals):
            assert array is None or len(array) == count
        if part.texture is not None:
            assert max(part.texture.shape[:2]) <= limits.texture_side and part.texture.dtype == np.uint8


def sampled(preview: Preview, part: int = 0) -> np.ndarray:
    """(T, 3) colours of the texture in the middle of each triangle."""
    found = preview.parts[part]
    assert found.uv is not None and found.texture is not None
    uv = found.uv[found.triangles].mean(1)
    height, width = found.texture.shape[:2]
    x = np.clip(uv[:, 0] * width, 0, width - 1).astype(int)
    y = np.clip((1 - uv[:, 1]) * height, 0, height - 1).astype(int)
    return found.texture[y, x, :3]


def test_a_textured_model_stands_upright_in_the_unit_sphere(tmp_path: Path) -> None:
    preview = load_preview(write_house(tmp_path / "house.glb"), LIMITS)
    check(preview)
    assert extent(preview)[2] == pytest.approx(2 * extent(preview)[0], rel=1e-4)
    assert preview.facts.triangles == 192 and preview.facts.textures == 1 and preview.facts.materials == 1
    assert np.allclose(preview.facts.bounds, ((-0.5, -0.5, -1), (0.5, 0.5, 1)))
    assert preview.facts.bytes == (tmp_path / "house.glb").stat().st_size
    assert preview.facts.warnings == ()


@pytest.mark.parametrize("rows", [20, 130], ids=["quadrics", "grid first"])
def test_a_fine_model_is_reduced_and_keeps_shape_and_texture(tmp_path: Path, rows: int) -> None:
    preview = load_preview(write_house(tmp_path / "house.glb", rows=rows, side=128), LIMITS)
    check(preview)
    assert preview.facts.triangles == 12 * rows**2
    assert extent(preview) == pytest.approx(np.array([1, 1, 2]) / np.sqrt(6) * 2, rel=0.02)
    part = preview.parts[0]
    # glTF's texture begins at the top: a face's colour goes with its place on the face
    middle = part.uv[part.triangles].mean(1)  # type: ignore[index]
    colours = sampled(preview).astype(int)
    away = np.abs(middle[:, 1] - 0.5) > 0.1
    red, blue = colours[:, 0] > colours[:, 2] + 60, colours[:, 2] > colours[:, 0] + 60
    assert (~red | (middle[:, 1] > 0.5))[away].all() and (~blue | (middle[:, 1] < 0.5))[away].all()
    # no triangle is smeared across a seam, and no edge of the box is rounded away
    lengths = np.linalg.norm(part.points[part.triangles] - part.points[np.roll(part.triangles, 1, 1)], axis=2).max(1)
    across = np.abs(part.uv[part.triangles] - part.uv[np.roll(part.triangles, 1, 1)]).max((1, 2))  # type: ignore[index]
    assert (across < 2 * lengths + 0.1).mean() > 0.995
    facing = np.abs(part.normals).max(1)
    assert (facing > 0.95).mean() > 0.75


def test_draco_and_meshopt_compressed_models_are_shown(tmp_path: Path) -> None:
    draco = load_preview(write_draco(tmp_path / "draco.glb"), LIMITS)
    check(draco)
    assert draco.facts.compressed == "Draco" and draco.parts[0].texture is not None
    assert extent(draco)[2] == pytest.approx(2 * extent(draco)[0], rel=0.01)

    packed = load_preview(FILES / "meshopt.glb", LIMITS)
    check(packed)
    assert packed.facts.compressed == "meshopt" and packed.facts.triangles == 576
    # a bumpy ball of radius 1.1 and a quarter of it 2.5 in front, as the file was made
    assert np.allclose(packed.facts.bounds, ((-1, -2.7584, -1.1), (1, 1.0335, 1.0342)), atol=1e-3)


def test_damaged_compressed_data_are_a_problem_not_a_crash(tmp_path: Path) -> None:
    for whole in (FILES / "meshopt.glb", write_draco(tmp_path / "draco.glb")):
        content = bytearray(whole.read_bytes())
        start = content.index(b"BIN\0")
        for at in range(start + 8, len(content), 7):
            content[at] ^= 0x5A
        path = tmp_path / f"damaged_{whole.name}"
        path.write_bytes(content)
        preview = load_preview(path, LIMITS)
        assert preview.problem is None or "damaged" in preview.problem or "no " in preview.problem


@pytest.mark.parametrize("name", sorted(BAD))
def test_each_bad_file_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    preview = load_preview(write_bad(tmp_path, name), LIMITS)
    assert preview.parts == () and preview.problem is not None
    assert name in preview.problem and BAD[name][1] in preview.problem
    assert "Traceback" not in preview.problem and preview.problem.endswith(".")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "There is no file gone.glb" in str(load_preview(tmp_path / "gone.glb").problem)


def test_a_gltf_with_files_beside_it_and_missing_ones(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, uv = box()
    for name in ("there.png", "gone.png", "../outside.png", "https://example.org/x.png"):
        image = gltf.add("images", {"uri": name})
        texture = gltf.add("textures", {"source": image})
        material = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
        gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv), translation=[len(gltf.data) / 900, 0, 0])
    gltf.document["buffers"] = [{"uri": "the%20data.bin", "byteLength": len(gltf.data)}]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "scene.gltf").write_text(json.dumps(gltf.document))
    (folder / "the data.bin").write_bytes(gltf.data)
    checker().save(folder / "there.png")
    checker().save(tmp_path / "outside.png")
    preview = load_preview(folder / "scene.gltf", LIMITS)
    check(preview)
    assert sum(part.texture is not None for part in preview.parts) == 1
    told = " ".join(preview.facts.warnings)
    assert "gone.png is missing" in told and "outside.png is missing" in told and "network" in told


def test_scenes_nodes_and_loops(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, _ = box()
    cube = gltf.mesh(points, triangles)
    gltf.document["nodes"] = [
        {"mesh": cube, "children": [1]},
        {"mesh": cube, "translation": [3, 0, 0], "children": [0]},
        {"mesh": cube, "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 5, 0, 1]},
        {"mesh": 77},
    ]
    gltf.document["scenes"] = [{"nodes": [0]}, {"nodes": [2, 3, 99]}]
    (tmp_path / "scenes.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "scenes.glb", LIMITS)
    check(preview)
    assert preview.facts.triangles == 36
    assert np.allclose(preview.facts.bounds, ((-0.5, -0.5, -0.5), (3.5, 0.5, 5.5)))
    assert "loop" in " ".join(preview.facts.warnings)
    # all boxes face outwards, the mirrored one too
    part = preview.parts[0]
    for box_of in (part.points[:, 2] > 0.1, part.points[:, 0] > 0.1):
        middle = part.points[box_of].mean(0)
        faces = part.triangles[box_of[part.triangles].all(1)]
        a, b, c = (part.points[faces[:, i]] for i in range(3))
        assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a - middle) > 0).all()


def test_a_skinned_model_is_at_rest(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, _ = box()
    joints = np.zeros((len(points), 4), np.uint8)
    joints[points[:, 1] > 0, 0] = 1
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (len(points), 1))
    mesh = gltf.mesh(points, triangles, JOINTS_0=joints, WEIGHTS_0=weights)
    low = gltf.node(scale=[2, 2, 2])
    high = gltf.node(translation=[0, 4, 0])
    bind = gltf.accessor(np.tile(np.eye(4, dtype=np.float32), (2, 1, 1)))
    gltf.add("skins", {"joints": [low, high], "inverseBindMatrices": bind})
    gltf.node(mesh=mesh, skin=0, translation=[100, 0, 0])  # a skinned mesh does not stand where its node does
    gltf.document["animations"] = [{"channels": [], "samplers": []}]
    (tmp_path / "skinned.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "skinned.glb", LIMITS)
    check(preview)
    assert preview.facts.animated
    assert np.allclose(preview.facts.bounds, ((-1, -1, -1), (1, 1, 4.5)))


def test_colours_factors_alpha_and_texture_transforms(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, uv = box()
    plain = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0.2140, 1]}, "doubleSided": True})
    glass = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0.4]}, "alphaMode": "BLEND"})
    leaf = Image.fromarray(np.dstack([np.full((8, 8, 3), 200, np.uint8), np.eye(8, dtype=np.uint8) * 255]))
    change = {"KHR_texture_transform": {"scale": [2, 2], "offset": [0.5, 0]}}
    textured = {"baseColorTexture": {"index": gltf.texture(leaf), "extensions": change}}
    masked = gltf.add(
        "materials", {"pbrMetallicRoughness": textured, "alphaMode": "MASK", "alphaCutoff": 0.25, "doubleSided": True}
    )
    shiny = gltf.add(
        "materials", {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [0, 1, 0, 1]}}}
    )
    grey = np.full((len(points), 4), 0.2140, np.float32)
    gltf.node(mesh=gltf.mesh(points, triangles, plain))
    gltf.node(mesh=gltf.mesh(points, triangles, glass), translation=[2, 0, 0])
    gltf.node(mesh=gltf.mesh(points, triangles, masked, TEXCOORD_0=uv), translation=[4, 0, 0])
    gltf.node(mesh=gltf.mesh(points, triangles, shiny), translation=[6, 0, 0])
    gltf.node(mesh=gltf.mesh(points, triangles, shiny, COLOR_0=grey), translation=[8, 0, 0])
    (tmp_path / "materials.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "materials.glb", LIMITS)
    check(preview)
    red = next(part for part in preview.parts if part.double_sided and part.texture is None)
    assert (red.colors == (255, 0, 127)).all() or np.abs(red.colors.astype(int) - (255, 0, 127)).max() <= 1  # type: ignore[union-attr]
    blend = next(part for part in preview.parts if part.alpha == "blend")
    assert blend.colors is not None and blend.colors.shape[1] == 4 and (blend.colors[:, 3] == 102).all()
    mask = next(part for part in preview.parts if part.alpha == "mask")
    assert mask.cutoff == 0.25 and mask.double_sided and mask.texture is not None and mask.texture.shape == (8, 8, 4)
    assert mask.uv is not None and np.allclose([mask.uv.min(0), mask.uv.max(0)], [[0.5, -1], [2.5, 1]])
    green = next(p for p in preview.parts if p.alpha == "opaque" and p.texture is None and not p.double_sided)
    assert green.colors is not None and {tuple(c) for c in green.colors.tolist()} == {(0, 255, 0), (0, 127, 0)}


@pytest.mark.parametrize(("kind", "words"), [("JPEG", ""), ("WEBP", ""), ("KTX2", "KTX2"), ("broken", "not shown")])
def test_kinds_of_textures(tmp_path: Path, kind: str, words: str) -> None:
    gltf = Gltf()
    points, triangles, uv = box()
    if kind in ("JPEG", "WEBP"):
        texture = gltf.texture(checker(256), kind)
    else:
        texture = gltf.texture(b"\xabKTX 20\xbb" + bytes(80), "PNG")
    if kind in ("WEBP", "KTX2"):
        name = {"WEBP": "EXT_texture_webp", "KTX2": "KHR_texture_basisu"}[kind]
        gltf.document["textures"] = [{"extensions": {name: {"source": 0}}}]
    material = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv))
    (tmp_path / "model.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "model.glb", LIMITS)
    check(preview)
    if words:
        assert preview.parts[0].texture is None and words in " ".join(preview.facts.warnings)
    else:
        assert preview.parts[0].texture is not None and preview.parts[0].texture.shape == (32, 32, 3)
        assert not preview.facts.warnings


def test_many_materials_become_few_parts_within_the_bytes(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, uv = box()
    for index in range(12):
        texture = gltf.texture(checker(128))
        material = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
        mesh = gltf.mesh(points * (1 + index / 12), triangles, material, TEXCOORD_0=uv)
        gltf.node(mesh=mesh, translation=[3 * index, 0, 0])
    (tmp_path / "many.glb").write_bytes(gltf.glb())
    limits = PreviewLimits(parts=8, texture_side=128, texture_bytes=128 * 128 * 3 * 2)
    preview = load_preview(tmp_path / "many.glb", limits)
    check(preview, limits)
    assert sum(part.texture.nbytes for part in preview.parts if part.texture is not None) <= limits.texture_bytes
    assert sum(len(part.triangles) for part in preview.parts) == 12 * 12
    # the rest has the textures' mean colour, and is said to
    rest = next(part for part in preview.parts if part.colors is not None)
    assert rest.colors is not None and rest.colors.std(0).max() < 2 and rest.colors.min() > 60
    assert "mean colour" in " ".join(preview.facts.warnings)


def test_some_bad_points_and_a_far_away_place(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, _ = box((1, 1, 1), 3)
    points[5] = np.nan
    gltf.node(mesh=gltf.mesh(points, triangles), translation=[5_000_000, 0, 0])
    (tmp_path / "far.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "far.glb", LIMITS)
    check(preview)
    assert 90 < preview.facts.triangles < 108 and "no numbers" in " ".join(preview.facts.warnings)
    assert extent(preview) == pytest.approx(2 / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    points, triangles, _ = box((1, 2, 4), 20)
    colors = np.full((len(points), 4), (200, 30, 30, 255), np.uint8)
    mesh = trimesh.Trimesh(points, triangles, process=False, vertex_colors=colors if suffix == ".ply" else None)
    mesh.export(tmp_path / f"model{suffix}")
    preview = load_preview(tmp_path / f"model{suffix}", LIMITS)
    check(preview)
    assert preview.facts.triangles == 4800
    tall = 1 if suffix == ".obj" else 2  # an OBJ from elsewhere stands Y up
    assert extent(preview).argmax() == tall
    if suffix == ".ply":
        assert preview.parts[0].colors is not None and (preview.parts[0].colors == (200, 30, 30)).all()


def test_an_obj_with_a_texture_and_without_it(tmp_path: Path) -> None:
    points, triangles, uv = box()
    material = trimesh.visual.material.SimpleMaterial(image=checker())
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    trimesh.Trimesh(points, triangles, process=False, visual=visual).export(tmp_path / "model.obj")
    preview = load_preview(tmp_path / "model.obj", LIMITS)
    check(preview)
    assert preview.parts[0].texture is not None and not preview.facts.warnings
    picture = next(path for path in tmp_path.iterdir() if path.suffix == ".png")
    picture.unlink()
    preview = load_preview(tmp_path / "model.obj", LIMITS)
    check(preview)
    assert preview.parts[0].texture is None and f"{picture.name} is missing" in " ".join(preview.facts.warnings)


def test_the_file_can_be_replaced_while_its_preview_is_kept(tmp_path: Path) -> None:
    path = write_house(tmp_path / "house.glb")
    preview = load_preview(path, LIMITS)
    before = preview.parts[0].points.copy()
    path.write_bytes(b"")
    shutil.rmtree(tmp_path)
    assert np.array_equal(preview.parts[0].points, before)


@pytest.mark.parametrize(
    ("scene", "lists", "expected"),
    [
        (0, [[0], [1]], (1, 1, 1)),
        (1, [[0], [1]], (1, 1, 3)),
        (1, [[], [1]], (1, 1, 3)),
        (0, [[0]], (1, 1, 1)),  # the pillar is in no scene
        (None, [[0], [1]], (6, 1, 3)),
        (9, [[0], [1]], (6, 1, 3)),
        (None, None, (6, 1, 3)),
    ],
)
def test_what_a_file_shows_is_the_scene_that_it_names(
    tmp_path: Path, scene: int | None, lists: list[list[int]] | None, expected: tuple[float, float, float]
) -> None:
    preview = load_preview(write_scenes(tmp_path / "scenes.glb", scene, lists), LIMITS)
    check(preview)
    assert preview.facts.bounds is not None and preview.facts.warnings == ()
    assert np.ptp(preview.facts.bounds, axis=0) == pytest.approx(expected)


def shown(path: Path) -> tuple[int, ...]:
    """The colour of a model, unlit, as evaluation draws it."""
    shape = read_shape(path)
    drawn = draw_shape(shape.moved(shape.to_unit()), lit=False)
    return tuple(np.rint(np.median(drawn[drawn[..., 3] > 0.99][:, :3], 0) * 255).astype(int).tolist())


@pytest.mark.parametrize("name", COLORED)
def test_colours_of_corners_are_shown(tmp_path: Path, name: str) -> None:
    path = write_colored(tmp_path / "model.glb", name)
    assert np.abs(np.subtract(shown(path), ORANGE)).max() <= 9  # 8 bits of linear light are few
    part = load_preview(path).parts[0]
    color = (255, 255, 255) if part.colors is None else part.colors[0]
    texture = (255, 255, 255) if part.texture is None else part.texture[0, 0]
    assert np.abs(np.multiply(color, texture, dtype=float) / 255 - ORANGE).max() <= 9


@pytest.mark.parametrize("name", CLEAR)
def test_what_is_wholly_clear_by_mistake_is_shown_opaque(tmp_path: Path, name: str) -> None:
    path = write_clear(tmp_path / name, name)
    preview = load_preview(path)
    assert [part.alpha for part in preview.parts] == ["opaque"]
    assert np.abs(np.subtract(shown(path), ORANGE)).max() <= 9
    assert ["transparent" in line for line in preview.facts.warnings] == [True] * CLEAR[name]


def test_what_is_clear_beside_what_is_not_is_not_shown(tmp_path: Path) -> None:
    path = write_clear(tmp_path / "two.glb", "one of two.glb")
    preview = load_preview(path)
    assert preview.facts.warnings == () and np.ptp(preview.facts.bounds, axis=0) == pytest.approx((1, 1, 1))
    assert shown(path) == (0, 0, 255)


def test_corners_that_are_partly_clear_are_blended(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, _ = box()
    colors = np.tile(np.array([1, 0, 0, 0.4], np.float32), (len(points), 1))
    gltf.node(mesh=gltf.mesh(points, triangles, gltf.add("materials", {"alphaMode": "BLEND"}), COLOR_0=colors))
    (tmp_path / "glass.glb").write_bytes(gltf.glb())
    [part] = load_preview(tmp_path / "glass.glb").parts
    assert part.alpha == "blend" and part.colors is not None and (part.colors == (255, 0, 0, 102)).all()


def test_avif_pictures_are_shown(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, uv = box()
    texture = gltf.texture(Image.new("RGB", (64, 64), ORANGE), "AVIF")
    gltf.document["textures"] = [{"extensions": {"EXT_texture_avif": {"source": texture}}}]
    gltf.document["extensionsUsed"] = gltf.document["extensionsRequired"] = ["EXT_texture_avif"]
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    gltf.node(mesh=gltf.mesh(points, triangles, gltf.add("materials", look), TEXCOORD_0=uv))
    (tmp_path / "avif.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "avif.glb")
    assert preview.facts.warnings == () and np.abs(np.subtract(shown(tmp_path / "avif.glb"), ORANGE)).max() <= 3


def test_traces_and_corners_that_are_not_used_do_not_count(tmp_path: Path) -> None:
    gltf = Gltf()
    points, triangles, _ = box()
    points = np.concatenate([points, [(40, 0, 0), (40, 0, 0), (40, 0, 1e-6), (500, 500, 500)]])
    gltf.node(mesh=gltf.mesh(points, np.concatenate([triangles, [[24, 25, 26]]])))
    (tmp_path / "trace.glb").write_bytes(gltf.glb())
    preview = load_preview(tmp_path / "trace.glb")
    assert preview.facts.triangles == 12 and np.ptp(preview.facts.bounds, axis=0) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("name", COORDINATES)
def test_the_part_of_a_picture_that_coordinates_mean_is_shown(tmp_path: Path, name: str) -> None:
    assert np.abs(np.subtract(shown(write_coordinates(tmp_path / "model.glb", name)), ORANGE)).max() <= 1

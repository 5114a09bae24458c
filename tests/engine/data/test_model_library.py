"""Folders of real models: what is used, what is left out and why, and the solids made of them."""

import csv
import pickle

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine import cameras
from engine.core.errors import InputError
from engine.data.model_solids import BUILDING, THING, joined
from engine.data.models import ModelLibrary, write_attribution
from engine.data.renderer import Renderer
from engine.data.textures import texture_library
from engine.data.variation import finished, varied


def block(size, at=(0.0, 0, 0), color=None):
    """A box, Y up as in glTF."""
    mesh = trimesh.creation.box(size)
    mesh.apply_translation(at)
    if color is not None:
        material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*color, 255], metallicFactor=0.0)
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
    return mesh


def house(width=1.0, color=None):
    return trimesh.util.concatenate(
        [block((width, 0.6, 0.7), (0, 0.3, 0), color), block((0.4 * width, 0.5, 0.3), (0.2, 0.85, 0), color)]
    )


def pictured():
    """A box whose upper half is red and whose lower half is blue, by one picture."""
    mesh = trimesh.creation.box((0.6, 1, 0.6))
    mesh.unmerge_vertices()
    uv = np.stack([mesh.vertices[:, 0] + 0.5, mesh.vertices[:, 1] + 0.5], 1)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32], picture[32:] = (200, 20, 20), (20, 20, 200)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture), metallicFactor=0.0)
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return mesh


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good and bad models."""
    root = tmp_path_factory.mktemp("models")
    (root / "buildings").mkdir()
    (root / "things").mkdir()
    house(color=(180, 60, 50)).export(root / "buildings" / "house.glb")
    house(1.4).export(root / "buildings" / "grey.glb")
    wide = house(1.2, (90, 120, 60))
    wide.apply_scale(3000)
    wide.export(root / "buildings" / "wide.glb")
    trimesh.util.concatenate([house(1.1, (200, 180, 90)), block((6, 0.01, 6), (0, -0.005, 0), (90, 160, 90))]).export(
        root / "buildings" / "on_ground.glb"
    )
    (root / "buildings" / "copy.glb").write_bytes((root / "buildings" / "house.glb").read_bytes())
    house(color=(20, 60, 150)).apply_scale(2).export(root / "buildings" / "repainted.glb")
    pictured().export(root / "things" / "pictured.glb")
    ball = trimesh.creation.icosphere(3)
    ball.visual.vertex_colors = [40, 160, 60, 255]
    ball.export(root / "things" / "ball.ply")
    (root / "things" / "stool.obj").write_text(
        "mtllib gone.mtl\n" + trimesh.exchange.obj.export_obj(block((0.5, 0.4, 0.45)), include_texture=False)
    )
    (root / "empty.glb").write_bytes(b"")
    (root / "page.glb").write_text("<!doctype html><html></html>")
    (root / "cut.glb").write_bytes((root / "buildings" / "house.glb").read_bytes()[:900])
    trimesh.PointCloud(np.random.default_rng(0).random((50, 3))).export(root / "points.ply")
    block((1, 0.01, 0.8)).export(root / "plate.glb")
    nowhere = block((1, 1, 1))
    nowhere.vertices[:] = np.nan
    nowhere.export(root / "nowhere.ply")
    (root / "notes.txt").write_text("not a model at all")
    return root


@pytest.fixture(scope="module")
def library(folder, tmp_path_factory):
    library = ModelLibrary.scan([folder], tmp_path_factory.mktemp("cache"))
    library.prepare()
    return library


def solid_of(library, name):
    return library.solid([e.name for e in library.entries].index(name))


def check(solid):
    """The contract of training solids."""
    low, high = solid.vertices.min(0), solid.vertices.max(0)
    assert (high - low).max() == pytest.approx(1, abs=1e-4) and np.allclose(low + high, 0, atol=1e-4)
    assert solid.faces.min() >= 0 and solid.faces.max() < len(solid.vertices)
    assert np.allclose(np.linalg.norm(solid.normals, axis=1), 1, atol=1e-2)
    own = 0 if solid.textures is None else len(solid.textures)
    assert solid.layer.min() >= 0 and solid.layer.max() < len(texture_library()) + own
    for color in (solid.color_a, solid.color_b):
        assert color.dtype == np.float32 and color.min() >= 0 and color.max() <= 1
    points, normals = solid.sample_surface(3000, np.random.default_rng(0))
    assert points.shape == normals.shape == (3000, 3)
    aside = 2.5 * solid.voxel
    assert solid.contains(points - aside * normals).mean() > 0.93
    assert solid.contains(points + aside * normals).mean() < 0.04
    assert (points >= low - 1e-3).all() and (points <= high + 1e-3).all()


def test_every_file_is_used_or_left_out_with_a_reason(library):
    report = {line["file"]: line for line in library.report()}
    assert "notes.txt" not in report and len(report) == 15
    used = {name for name, line in report.items() if line["state"] == "used"}
    assert used == {
        "buildings/copy.glb",  # the first of two that are the same
        "buildings/grey.glb",
        "buildings/wide.glb",
        "buildings/on_ground.glb",
        "things/pictured.glb",
        "things/ball.ply",
        "things/stool.obj",
    }
    for name, words in (
        ("buildings/house.glb", "the same as buildings/copy.glb"),
        ("buildings/repainted.glb", "the same shape"),
        ("empty.glb", "0 bytes"),
        ("page.glb", "web page"),
        ("cut.glb", "cut off"),
        ("points.ply", "no triangles"),
        ("plate.glb", "too thin"),
        ("nowhere.ply", "no numbers"),
    ):
        assert report[name]["state"] == "left out" and words in report[name]["why"], report[name]
    assert "ground" in report["buildings/on_ground.glb"]["why"]
    assert "gone.mtl" in report["things/stool.obj"]["why"]
    with library.write_report().open(newline="") as file:
        assert list(csv.DictReader(file)) == library.report()
    with pytest.raises(InputError, match="too thin"):
        solid_of(library, "plate.glb")


def test_solids_keep_the_contract_and_stand_upright(library):
    for name in ("buildings/copy.glb", "buildings/wide.glb", "buildings/on_ground.glb", "things/pictured.glb"):
        check(solid_of(library, name))
    solid = solid_of(library, "buildings/on_ground.glb")
    assert solid.kind == BUILDING and solid_of(library, "things/ball.ply").kind == THING
    assert np.ptp(solid.vertices, axis=0)[2] > 0.9, "as high as wide, without the ground"
    low = solid.vertices[:, 2].min()
    assert solid.contains([(0, 0, low + 0.1), (-0.4, 0, low + 0.3)]).all()
    assert not solid.contains([(-0.4, 0, 0.4)]).any(), "nothing stands on that side of the roof"


def test_pictures_and_colors_show(library):
    solid = solid_of(library, "things/pictured.glb")
    assert solid.textures is not None and solid.textures.shape[1:] == (64, 64, 3)
    rgba, _ = Renderer(64).render(solid, cameras.camera_to_world(0.0, [20.0], 2.2), cameras.intrinsics(64), depth=False)
    seen = rgba[0, 20:44, 28:36, :3].astype(int)
    assert (seen[:8, :, 0] > seen[:8, :, 2] + 60).all() and (seen[-8:, :, 2] > seen[-8:, :, 0] + 60).all()
    ball = solid_of(library, "things/ball.ply")
    assert ball.textures is None and np.allclose(ball.color_a * 255, (40, 160, 60), atol=1)
    facets = solid_of(library, "things/stool.obj")
    assert np.allclose(np.abs(facets.normals).max(1), 1, atol=1e-2), "without normals, facets are flat"


def test_grey_buildings_get_walls_roofs_and_windows(library):
    grey = solid_of(library, "buildings/grey.glb")
    assert len(np.unique(grey.layer)) == 1
    layers = set()
    for seed in range(8):
        solid = finished(grey, np.random.default_rng(seed))
        assert np.ptp(solid.color_a, axis=0).max() > 0.05 or len(np.unique(solid.layer)) > 1
        layers |= set(np.unique(solid.layer).tolist())
        check(solid)
    assert len(layers) > 6
    assert len(np.unique(grey.layer)) == 1, "the model itself stays as it is"


def test_varied_solids_keep_the_contract_and_differ(library):
    solids = [solid_of(library, n) for n in ("buildings/copy.glb", "things/pictured.glb", "things/ball.ply")]
    shapes = set()
    for seed in range(24):
        solid = varied(solids[seed % 3], seed, lambda rng: solids[int(rng.integers(3))])
        check(solid)
        assert solid.seed == seed
        shapes.add(np.ptp(solid.vertices, axis=0).round(2).tobytes())
        again = varied(solids[seed % 3], seed, lambda rng: solids[int(rng.integers(3))])
        assert np.array_equal(again.vertices, solid.vertices) and np.array_equal(again.color_a, solid.color_a)
    assert len(shapes) > 12


def test_a_cut_is_closed_and_exact(library):
    solid = solid_of(library, "buildings/copy.glb")
    half = solid.clipped(0, 0.1, above=False, cap=True)
    assert half.vertices[:, 0].max() == pytest.approx(0.1, abs=1e-5)
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (5000, 3)).astype(np.float32)
    assert np.array_equal(half.contains(points), solid.contains(points) & (points[:, 0] < 0.1))
    section = half.outer_normals[:, 0] > 0.99
    on_cut = section & (np.abs(half.outer[:, 0] - 0.1) < 1e-4)
    assert on_cut.any() and not half.contains(half.outer[on_cut] + (0.02, 0, 0)).any()
    check(half.unit())


def test_two_in_one_scene_hide_what_is_between_them(library):
    solid = solid_of(library, "things/pictured.glb")
    move = np.eye(4)
    move[0, 3] = 0.3
    scene = joined([solid, solid.moved(move)])
    assert scene.textures is not None and len(scene.textures) == len(solid.textures), "the same picture once"
    check(scene.unit())
    assert not (np.abs(scene.outer[:, 0] - 0.3) < 0.02)[np.abs(scene.outer_normals[:, 0]) > 0.9].any()


def test_draws_are_repeatable_weighed_and_shared(library):
    names = []
    for seed in range(12):
        solid = library.draw(np.random.default_rng(seed), buildings=1.0)
        again = pickle.loads(pickle.dumps(library)).draw(np.random.default_rng(seed), buildings=1.0)
        assert solid.kind == BUILDING and np.array_equal(solid.vertices, again.vertices)
        names.append(solid.family)
    assert len(set(names)) > 1
    fresh = ModelLibrary.scan([library.entries[0].path.parent.parent], library.cache)
    assert [e.key for e in fresh.entries] == [e.key for e in library.entries]


def test_a_table_names_split_category_and_licence(folder, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("copy.glb", "grey.glb"):
        (tmp_path / "a" / name).write_bytes((folder / "buildings" / name).read_bytes())
    (tmp_path / "models.csv").write_text(
        "file,split,category,author,licence,attribution_text,source_repo\n"
        'a/copy.glb,validation,town house,Ann,CC-BY-4.0,"""One"" by Ann, CC BY 4.0",ann/models\n'
        "a/grey.glb,train,toy,Bob,CC0-1.0,,bob/models\n"
        "a/gone.glb,train,toy,Bob,CC0-1.0,,bob/models\n"
    )
    library = ModelLibrary.scan([tmp_path], tmp_path / "cache")
    assert [(e.split, e.kind) for e in library.entries] == [
        ("validation", BUILDING),
        ("train", THING),
        ("train", THING),
    ]
    assert "missing" in library.report()[1]["why"]
    assert library.draw(np.random.default_rng(0), "validation").family == "a/copy.glb"
    assert library.draw(np.random.default_rng(0)).family == "a/grey.glb", "what cannot be used is drawn past"
    write_attribution(library, tmp_path / "authors.md")
    text = (tmp_path / "authors.md").read_text()
    assert '| Ann | CC-BY-4.0 | ann/models | 1 | "One" by Ann, CC BY 4.0 |' in text and "| Bob | CC0-1.0" in text
    assert "2 models" in text


def test_folders_without_models_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=str(path)):
            ModelLibrary.scan([path], tmp_path / "cache")

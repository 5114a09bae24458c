"""Test sets and baselines on a small folder of models: read, framed, carved once, and measured."""

import numpy as np
import pytest
import trimesh

from engine.cameras import FRAME_FRACTION, Pose
from engine.core.errors import InputError
from engine.evaluation.pictures import draw_shape
from engine.evaluation.views import mask_iou
from engine.meshes.mesh import Mesh
from tests.benchmarks import testsets
from tests.benchmarks.baselines import bounding_box, input_hull
from tests.benchmarks.testsets import TEST_SETS
from tests.engine.evaluation.models import building


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for i in range(2):
        building(i).export(folder / f"house {i}.ply")
    shell = trimesh.creation.box((1, 0.7, 0.5))
    shell.update_faces(shell.face_normals[:, 2] > -0.5)  # without a floor
    shell.export(folder / "shell.ply")
    (folder / "notes.txt").write_text("no model")
    return folder


def truth_of(obj):
    return Mesh(obj.shape.mesh.vertices, obj.shape.mesh.faces)


def test_a_folder_of_models_is_a_set_of_framed_inputs(models):
    names = TEST_SETS["artists"].names(models)
    assert names == ["house 0.ply", "house 1.ply", "shell.ply"]
    obj, again = (TEST_SETS["artists"].load(names[0], models) for _ in range(2))
    assert obj.elevation == again.elevation and (obj.image == again.image).all(), "fixed by the name"
    assert 5 <= obj.elevation <= 40 and TEST_SETS["gso"].load(names[0], models).elevation == 30
    rows, columns = np.nonzero(obj.image[..., 3] > 0.5)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(256 * FRAME_FRACTION, abs=4)
    with pytest.raises(InputError, match="no folder"):
        TEST_SETS["gso"].names(models / "nowhere")
    (models / "empty").mkdir(exist_ok=True)
    with pytest.raises(InputError, match="holds no models"):
        TEST_SETS["gso"].names(models / "empty")


def test_solids_are_carved_once_and_again_where_the_kept_one_is_torn(models, tmp_path, monkeypatch):
    carved, original = [], testsets.carve
    monkeypatch.setattr(testsets, "carve", lambda *a: carved.append(1) or original(*a))
    load = TEST_SETS["artists"].load
    first, second = (load("shell.ply", models, tmp_path) for _ in range(2))
    assert len(carved) == 1
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3)).astype(np.float32)
    assert (first.truth.contains(points) == second.truth.contains(points)).all() and first.truth.contains(points).any()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    load("shell.ply", models, tmp_path)
    assert len(carved) == 2


def test_the_truth_is_measured_as_the_best_and_nothing_as_the_worst(models):
    obj = TEST_SETS["artists"].load("shell.ply", models)
    best = obj.measure(bounding_box(obj.truth, obj.truth.model), obj.elevation, {})  # the box that the shell was
    assert best["f_score"] > 0.99 and best["far_f_score"] > 0.99, "the missing floor is filled in"
    assert best["volume_iou"] > 0.95
    assert best["rear_mask_iou"] > 0.99 and best["silhouette_iou"] > 0.99 and best["normal_consistency"] > 0.9
    worst = obj.measure(None, obj.elevation, {})
    assert worst.keys() == best.keys()
    assert worst["f_score"] == worst["far_f_score"] == worst["rear_mask_iou"] == 0 and worst["chamfer"] == np.inf
    assert worst["rear_ssim"] < best["rear_ssim"]


def test_procedural_objects_are_drawn_as_their_own_renderer_draws_them():
    obj = TEST_SETS["heldout"].load(TEST_SETS["heldout"].names(None)[6], None)
    drawn = draw_shape(obj.shape, [Pose(obj.elevation, 0.0)], lit=False)[0]
    assert mask_iou(drawn[..., 3], obj.image[..., 3]) > 0.98
    both = (drawn[..., 3] > 0.99) & (obj.image[..., 3] > 0.99)
    assert np.corrcoef(drawn[both].ravel(), obj.image[both].ravel())[0, 1] > 0.6, "colours but for the light"


def test_baselines_know_the_bounds_and_the_silhouette(models):
    obj = TEST_SETS["artists"].load("shell.ply", models)
    own, box = bounding_box(obj.truth, obj.truth.model), bounding_box(obj.truth)
    assert np.abs(box.bounds - truth_of(obj).bounds).max() < 0.02
    assert np.abs(own.bounds - truth_of(obj).bounds).max() < 0.02
    assert obj.measure(box, obj.elevation, {})["volume_iou"] < obj.measure(own, obj.elevation, {})["volume_iou"] - 0.1
    hull = input_hull(obj.truth, obj.image, obj.elevation)
    assert obj.measure(hull, obj.elevation, {})["silhouette_iou"] > 0.97
    assert hull.colors is not None and hull.colors.max() < 250, "no white of the background"

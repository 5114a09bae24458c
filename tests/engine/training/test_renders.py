import json

import numpy as np
import pytest
from PIL import Image

from engine import cameras
from engine.core.errors import InputError
from engine.training.data import PRINCIPAL, Examples, Renders, draw_split, pick_pixels


def test_a_whole_folder_is_read_and_its_pictures_fit_its_cameras(renders):
    found = Renders.open(renders)
    assert [m.key for m in found.train] == ["models/model_00000", "models/model_00003", "models/model_00006"]
    assert [m.key for m in found.validation] == ["models/model_00009"]
    assert found.size == 40
    points = found.surface_points(found.train[0], 500, np.random.default_rng(0))
    # What one view's depth says lies within the silhouette that another view's picture shows.
    for name in PRINCIPAL[1:]:
        pixels, _ = cameras.project(points, found.c2ws[name], found.intrinsics(40))
        x, y = np.clip(np.floor(pixels).astype(int), 0, 39).T
        assert (found.target(found.train[0], name).mask[y, x]).mean() > 0.85
    assert found.elevation("view_0") == pytest.approx(30, abs=1e-3)


@pytest.mark.parametrize("fault", ["missing", "size", "cut", "depth"])
def test_a_faulty_model_is_named_with_what_is_wrong(own_renders, model_file, fault):
    path = model_file(own_renders, 1, "view_5_depth_mm.png" if fault == "depth" else "view_3.png")
    if fault == "missing":
        path.unlink()
    elif fault == "size":
        Image.new("RGBA", (32, 32)).save(path)
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        Image.new("L", (40, 40)).save(path)
    said = {"missing": "is missing", "size": "32 x 32 pixels, not 40 x 40", "cut": "cut short", "depth": "8 bits"}
    with pytest.raises(InputError, match=f"models/model_00003/{path.name}.*{said[fault]}.*--skip-faulty"):
        Renders.open(own_renders, depth=True)
    left = Renders.open(own_renders, depth=True, skip_faulty=True)
    assert [m.key for m in left.train] == ["models/model_00000", "models/model_00006"]
    assert len(left.problems) == 1


def test_neighbours_are_looked_for_only_where_they_are_needed(own_renders, model_file):
    model_file(own_renders, 0, "view_2_1_10.png").unlink()
    assert len(Renders.open(own_renders, neighbours=False).train) == 3
    with pytest.raises(InputError, match=r"view_2_1_10.png is missing"):
        Renders.open(own_renders)


def test_folders_without_models_poses_or_sense_are_refused(own_renders, tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        Renders.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="where the cameras stood"):
        Renders.open(tmp_path / "empty")
    poses = own_renders / "One2345_training_pose.json"
    (tmp_path / "empty" / poses.name).write_bytes(poses.read_bytes())
    with pytest.raises(InputError, match="no models"):
        Renders.open(tmp_path / "empty")
    content = json.loads(poses.read_text())
    del content["c2ws"]["view_4"]
    poses.write_text(json.dumps(content))
    with pytest.raises(InputError, match="it lacks view_4"):
        Renders.open(own_renders)


def test_a_missing_split_is_drawn_and_one_that_names_strangers_is_refused(own_renders):
    path = own_renders / "lvis_split_cc_by.json"
    path.write_text(json.dumps({"train": [{"folder_id": "models", "uid": "gone"}], "val": []}))
    with pytest.raises(InputError, match="models/gone is in the split but not there"):
        Renders.open(own_renders)
    path.unlink()
    drawn = Renders.open(own_renders)
    assert len(drawn.train) == 3
    assert len(drawn.validation) == 1
    assert Renders.open(own_renders).train == drawn.train
    train, held = draw_split([f"models/{i}" for i in range(600)], 0)
    assert len(held) == 50
    assert not set(train) & set(held)


def test_a_published_folder_with_cameras_by_order_is_read(own_renders):
    poses = own_renders / "One2345_training_pose.json"
    content = json.loads(poses.read_text())
    names = list(content["c2ws"])
    content["c2ws"] = {f"image_{i}": content["c2ws"][name] for i, name in enumerate(names)}
    before = Renders.open(own_renders)
    poses.write_text(json.dumps(content))
    after = Renders.open(own_renders)
    assert all(np.array_equal(after.c2ws[name], before.c2ws[name]) for name in names)


def test_importance_sampling_prefers_the_object_and_its_rim(renders):
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:44] = True  # 3 % of the picture
    near = np.zeros_like(mask)
    near[8:22, 28:46] = True
    for share, least, most in ((0.75, 0.73, 0.82), (0.0, 0.0, 0.12), (1.0, 1.0, 1.0)):
        pixels, _ = pick_pixels(mask, 2000, share, np.random.default_rng(0))
        assert least <= near[pixels[:, 1], pixels[:, 0]].mean() <= most
    pixels, importance = pick_pixels(mask, 20000, 0.75, np.random.default_rng(1))
    assert importance.mean() == pytest.approx(1, abs=1e-4)
    # Weighed so, the rays say of the whole picture what evenly spread ones would.
    assert np.mean(importance * mask[pixels[:, 1], pixels[:, 0]]) == pytest.approx(mask.mean(), rel=0.1)
    assert pick_pixels(np.zeros_like(mask), 16, 0.75, np.random.default_rng(0))[0].shape == (16, 2)
    found = Renders.open(renders)
    examples = Examples(found, found.train, 32, 256, 0.9, 32, 0.0)
    share = np.mean([examples.at(i).mask.mean() for i in range(6)])
    whole = np.mean([found.target(m, n).mask.mean() for m in found.train for n in PRINCIPAL])
    assert share > whole + 0.2


def test_an_epoch_sees_every_view_once_and_an_example_depends_on_its_place_alone(renders):
    found = Renders.open(renders)
    examples = Examples(found, found.train, 32, 16, 0.75, 12, 0.0)
    assert examples.per_epoch == 24
    first = [examples.at(i) for i in range(24)]
    seen = {(e.key, float(e.c2ws[0, 0, 3])) for e in first}
    assert len(seen) == 24
    assert all(len(e.sources) == 12 and (np.diff(e.sources) > 0).all() for e in first)
    again = Examples(found, found.train, 32, 16, 0.75, 12, 0.0).at(7)
    assert np.array_equal(again.views, first[7].views)
    assert np.array_equal(again.pixels, first[7].pixels)
    assert not np.array_equal(examples.at(7, attempt=1).pixels, first[7].pixels)
    assert [e.key for e in first] != [examples.at(24 + i).key for i in range(24)]


def test_a_picture_that_breaks_later_is_named(own_renders, model_file):
    found = Renders.open(own_renders)
    path = model_file(own_renders, 0, "view_0.png")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"view_0.png cannot be read"):
        found.target(found.train[0], "view_0")

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from safetensors.torch import load_file

from engine import cameras
from engine.core.errors import Cancelled, InputError, OutputError, WeightsError
from engine.core.progress import CancelToken
from engine.evaluation.views import mask_iou
from engine.meshes.mesh import Mesh
from engine.views import load_generator
from engine.views.builtin import BuiltInGenerator
from engine.views.network import FieldConfig
from engine.views.raster import render_mesh
from engine.views.spatial import SpatialConfig
from engine.views.train import ViewsOptions, train

FIELD = FieldConfig(input_size=32, width=8, layers=1, fine_layers=1, fine_width=64, bins=16, hidden=32)
TINY = SpatialConfig(FIELD, cells=16, width=64, layers=1, picture_tokens=24, space_tokens=24, channels=4, hidden=32)


def options(out: Path, **changes) -> ViewsOptions:
    sizes = {
        "device": "cpu",
        "batch": 4,
        "points": 128,
        "colors": 32,
        "slots": 24,
        "workers": 1,
        "validation": 4,
        "network": TINY,
    }
    return ViewsOptions(out, **sizes | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of a few steps, stopped once and resumed."""
    out = tmp_path_factory.mktemp("views")
    train(options(out, steps=3))
    return train(options(out, steps=6, resume=True))


def test_training_resumes_and_writes_weights_with_a_card(trained):
    rows = [json.loads(line) for line in (trained.parent / "log.jsonl").read_text().splitlines()]
    resumed = [r for r in rows if r["event"] == "resumed"]
    assert resumed and resumed[0]["step"] == 3
    assert rows[-1]["event"] == "validation" and rows[-1]["step"] == 6
    assert {"procedural_point_iou", "procedural_elevation", "procedural_ray_iou"} <= rows[-1].keys()
    card = json.loads(trained.with_suffix(".json").read_text())
    assert card["network"]["field"]["width"] == 8
    assert "oriel train views --steps 6" in card["command"] or "--steps 3" in card["command"]


def test_a_checkpoint_of_other_sizes_names_the_way_on(trained):
    network = replace(TINY, hidden=2 * TINY.hidden)
    with pytest.raises(InputError, match=r"other sizes.*--start"):
        train(options(trained.parent, steps=7, resume=True, network=network))


def test_training_learns_from_a_folder_of_models(tmp_path):
    """Real models, some of them bad, beside the procedural objects; a stopped run goes on, and its weights work."""
    folder = tmp_path / "models" / "houses"
    folder.mkdir(parents=True)
    for i in range(16):
        sides = (1.0, 0.5 + 0.03 * i, 0.4 + 0.02 * i)
        trimesh.creation.box(extents=sides).export(folder / f"house {i}.glb")
    (folder / "empty.glb").touch()
    (folder / "not a model.obj").write_text("hello")
    given = {"models": [folder.parent], "share": 1.0}
    with pytest.raises(InputError, match="holds a run already"):
        for _ in range(2):
            train(options(tmp_path / "out", steps=2, **given))
    path = train(options(tmp_path / "out", steps=4, resume=True, **given))
    last = json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 4 and "building_point_iou" in last
    report = (tmp_path / "out" / "models" / "models-report.csv").read_text()
    assert "houses/empty.glb,left out" in report and "houses/not a model.obj,left out" in report
    assert load_generator("built-in", path).estimate_elevation(np.ones((64, 64, 4), np.float32)) is not None


def test_training_can_start_from_the_mean_of_two_runs(trained, tmp_path):
    """And with no steps at all the mean is what comes out, as ready for use as any weights."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    other = train(replace(options(tmp_path / "one", steps=2), seed=1, start=[trained]))
    mean = train(options(tmp_path / "two", steps=0, start=[trained, other]))
    first, second, found = (load_file(path) for path in (trained, other, mean))
    assert found.keys() == first.keys()
    for name, value in found.items():
        assert torch.allclose(value.float(), (first[name].float() + second[name].float()) / 2, atol=2e-3, rtol=1e-3), (
            name
        )
    assert (first["from_point.weight"] != second["from_point.weight"]).any()
    assert load_generator("built-in", mean).estimate_elevation(np.ones((64, 64, 4), np.float32)) is not None


@pytest.mark.parametrize("steps", [0, 9])
def test_a_folder_that_holds_a_run_is_left_alone(trained, steps):
    """Even where the run would start from that folder's own weights, or only write their mean."""
    last = trained.with_name("last.pt")
    before = last.read_bytes()
    with pytest.raises(InputError, match=r"holds a run already.*--resume.*--out"):
        train(options(trained.parent, steps=steps, start=[trained]))
    assert last.read_bytes() == before


def test_a_folder_that_holds_only_weights_can_be_trained_in(trained, tmp_path):
    given = shutil.copy(trained, tmp_path)
    shutil.copy(trained.with_suffix(".json"), tmp_path)
    assert train(options(tmp_path, steps=0, start=[Path(given)])) == Path(given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rays": 65}, "--rays is 65, but has to be 1 to 64."),
        ({"points": 2049}, "--points is 2049, but has to be 1 to 2048."),
        ({"workers": 0}, "--workers is 0, but has to be at least 1."),
        ({"batch": 19}, "--batch is 19, but has to be 1 to 18, three quarters of --slots."),
        ({"share": 1.5}, "--share is 1.5, but has to be 0 to 1."),
        ({"models": [Path("nowhere")]}, "nowhere"),
        ({"device": "cuda"}, "no cuda device"),
    ],
)
def test_options_that_do_not_work_are_named(tmp_path, monkeypatch, changes, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=re.escape(said)):
        train(options(tmp_path / "out", steps=1, **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.* cannot be written"):
        train(options(tmp_path / "file" / "out", steps=1))


def test_training_says_which_start_is_missing(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights at .*one\.safetensors"):
        train(options(tmp_path, steps=1, start=[tmp_path / "one.safetensors"]))


def test_generator_draws_offsets_and_keeps_the_inputs_colours(trained):
    generator = BuiltInGenerator.load(trained)
    image = np.ones((256, 256, 4), np.float32)
    image[..., 3] = 0
    image[64:192, 96:160] = (0.8, 0.1, 0.1, 1.0)
    views = generator.generate(image, np.array([[0, 0, 0], [10, 0, 0], [0, 180, 0]]), elevation=10.0, size=128)
    assert views.shape == (3, 128, 128, 4)
    mask = views[0, ..., 3] > 0.5
    truth = image[::2, ::2, 3] > 0.5
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9  # the input's silhouette is met by construction
    assert np.abs(views[0][mask & truth][:, :3] - [0.8, 0.1, 0.1]).mean() < 0.1
    again = generator.generate(image, np.array([[0, 90, 0]]), elevation=10.0, size=64, seed=0)
    other = generator.generate(image, np.array([[0, 90, 0]]), elevation=10.0, size=64, seed=5)
    assert np.abs(again - other).max() > 0.01


def test_a_corrected_elevation_turns_the_solid_with_its_camera(trained):
    """The input's own view stays as it is; what is level is level for the corrected camera."""
    generator = BuiltInGenerator.load(trained)
    image = np.ones((128, 128, 4), np.float32)
    image[..., 3] = 0
    image[30:100, 40:90] = (0.2, 0.3, 0.8, 1.0)
    guess = generator.generate(image, np.zeros((1, 3)), elevation=20.0, size=128)[0]
    better = generator.generate(image, np.zeros((1, 3)), elevation=22.0, size=128)[0]
    assert np.abs(guess - better).mean() < 0.005
    far = generator.generate(image, np.array([[40.0, 0, 0]]), elevation=22.0, size=64)
    again = BuiltInGenerator.load(trained).generate(image, np.array([[40.0, 0, 0]]), elevation=22.0, size=64)
    assert mask_iou(far[0, ..., 3], again[0, ..., 3]) > 0.8


def test_generator_stops_when_cancelled(trained):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        BuiltInGenerator.load(trained).generate(np.ones((64, 64, 4), np.float32), np.zeros((1, 3)), cancel=token)


def test_damaged_weights_are_named(trained, tmp_path):
    broken = tmp_path / "views.safetensors"
    broken.write_bytes(trained.read_bytes()[:-100])
    broken.with_suffix(".json").write_text(trained.with_suffix(".json").read_text())
    with pytest.raises(WeightsError, match="damaged"):
        load_generator("built-in", broken)


def test_built_in_weights_read_elevation():
    from tests.benchmarks.heldout import heldout_case

    generator = load_generator()
    with torch.inference_mode():
        errors = [abs(generator.estimate_elevation(c.image) - c.elevation) for c in map(heldout_case, range(12))]
    assert np.median(errors) < 2  # by upright edges; 5 without


def test_render_mesh_projects_the_source_onto_what_it_sees():
    """A white cube with a red picture projected from the front is red in front and white behind."""
    import trimesh

    box = trimesh.creation.box(extents=(0.8, 0.8, 0.8))
    mesh = Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int32))
    picture = np.zeros((64, 64, 4), np.float32)
    picture[...] = (1, 0, 0, 1)
    front = cameras.camera_to_world(0.0, 0.0)
    poses = cameras.camera_to_world(0.0, [0.0, 180.0])
    source = (picture, front, cameras.intrinsics(64))
    views, depth = render_mesh(mesh, poses, cameras.intrinsics(64), 64, source=source)
    assert views[0, 32, 32, :3] == pytest.approx([1, 0, 0], abs=0.05)
    assert views[1, 32, 32, :3] == pytest.approx([1, 1, 1], abs=0.05)
    assert depth[0, 32, 32] == pytest.approx(1.1, abs=0.01)

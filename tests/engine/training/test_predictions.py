import itertools
import json

import numpy as np
import pytest
from PIL import Image

from engine import cameras
from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken
from engine.training.data import PRINCIPAL, SOURCES, Renders
from engine.training.predictions import REFERENCES, SIZE, Predictions
from tests.rendered_models import write_renders


def disc(size):
    x, y = cameras.pixel_grid(size).T
    return (np.hypot(x - size / 2, y - size / 2) < 0.3 * size).reshape(size, size)


class DiscGenerator:
    """Draws the same disc from everywhere."""

    name = "disc"
    calls = 0

    def generate(self, image, offsets, *, elevation=None, size=256, seed=0, progress=None, cancel=None):
        self.calls += 1
        assert image.shape == (256, 256, 4)
        assert elevation is not None
        picture = np.ones((size, size, 4), np.float32)
        picture[..., 3] = disc(size)
        return np.stack([picture] * len(offsets))


class KnowingGenerator:
    """Draws the true solid, framed as a reconstruction frames it."""

    name = "built-in"

    def __init__(self, seed, references=range(8), error=None):
        from engine.data import make_object
        from engine.data.renderer import Renderer

        self.solid, self.renderer = make_object(seed), Renderer(SIZE, supersample=1)
        self.error = np.eye(4) if error is None else error
        self.azimuths = [cameras.principal_poses(30)[i].azimuth for i in references]

    def generate(self, image, offsets, *, elevation=None, size=256, seed=0, progress=None, cancel=None):
        from engine.data.renderer import frame_object

        framed = frame_object(self.solid, elevation, self.azimuths.pop(0))
        up, around, away = offsets.T
        c2ws = cameras.camera_to_world(elevation + up, around, cameras.INPUT_RADIUS + away)
        model = (self.error @ framed.model).astype(np.float32)
        drawn, _ = self.renderer.render(framed.obj, c2ws, cameras.intrinsics(size), model=model, depth=False)
        return drawn.astype(np.float32) / 255


@pytest.fixture
def discs(tmp_path):
    """Two models that look like a disc, 96 px."""
    for key in ("a", "b"):
        folder = tmp_path / "zero12345_narrow" / "models" / key
        folder.mkdir(parents=True)
        for name in PRINCIPAL:
            picture = np.zeros((96, 96, 4), np.uint8)
            picture[disc(96)] = (255, 0, 0, 255)
            Image.fromarray(picture).save(folder / f"{name}.png")
    (tmp_path / "One2345_training_pose.json").write_text(json.dumps(cameras.pose_file(30)))
    return Renders.open(tmp_path, neighbours=False)


def predictions_of(renders):
    return Predictions(renders, "built-in", renders.folder / "predicted", DiscGenerator())


@pytest.mark.parametrize("whole", [False, True])
def test_views_come_back_in_the_rendering_s_cameras(tmp_path, whole):
    found = Renders.open(write_renders(tmp_path / "data", [2], size=128, validation=0))
    (model,) = found.train
    generator = KnowingGenerator(2, REFERENCES if whole else range(8))
    made = Predictions(found, "built-in", tmp_path / "predicted", generator, whole)
    made.make([model])
    same = []
    for reference, name in itertools.product({made.reference(i) for i in range(8)} if whole else [0], SOURCES):
        view, true = made.view(model, name, 128, reference), found.view(model, name, 128)
        inside, seen = true[..., 3] > 0.5, view[..., 3] > 0.5
        same.append((inside & seen).sum() / (inside | seen).sum())
        assert np.abs(view - true)[inside & seen].mean() < 0.25  # the light stands otherwise
        assert view[~seen & ~inside].mean(0) == pytest.approx([1, 1, 1, 0], abs=0.03)
    assert min(same) > 0.95
    assert np.mean(same) > 0.97


def test_a_solid_too_small_and_out_of_place_is_brought_to_the_true_one_s(tmp_path):
    found = Renders.open(write_renders(tmp_path / "data", [2], size=128, validation=0))
    (model,) = found.train
    error = np.diag([0.88, 0.88, 0.88, 1])
    error[:3, 3] = 0.05, -0.03, 0.04
    made = Predictions(found, "built-in", tmp_path / "predicted", KnowingGenerator(2, REFERENCES, error), True)
    made.make([model])
    for reference, name in itertools.product(REFERENCES, SOURCES[::3]):
        view, true = made.view(model, name, 128, reference), found.view(model, name, 128)
        inside, seen = true[..., 3] > 0.5, view[..., 3] > 0.5
        assert (inside & seen).sum() / (inside | seen).sum() > 0.9
        assert seen.sum() == pytest.approx(inside.sum(), rel=0.06)


def test_views_are_made_once_and_again_only_for_new_pictures(discs):
    made = predictions_of(discs)
    models = [*discs.train, *discs.validation]
    events = []
    assert made.make(models, events.append) == 2
    assert made._loaded.calls == 16
    assert [e.done for e in events] == [0, 1, 2]
    again = predictions_of(discs)
    assert again.make(models) == 0
    path = models[1].folder / "view_0.png"
    Image.fromarray(np.roll(np.asarray(Image.open(path)), 9, 0)).save(path, compress_level=0)
    assert again.make(models) == 1
    assert again._loaded.calls == 8


def test_a_cancelled_prediction_leaves_whole_models_only(discs):
    made = predictions_of(discs)
    token = CancelToken()
    made._loaded.generate = lambda *args, inner=made._loaded.generate, **more: (token.cancel(), inner(*args, **more))[1]
    with pytest.raises(Cancelled):
        made.make(discs.train, cancel=token)
    assert not made.has(discs.train[0])
    assert not list((made.folder / "models").iterdir())


def test_an_empty_view_is_named(discs):
    Image.new("RGBA", (96, 96)).save(discs.train[0].folder / "view_6.png")
    with pytest.raises(InputError, match=r"view_6.png shows nothing"):
        predictions_of(discs).make(discs.train)


def test_the_built_in_generator_s_views_look_like_the_true_ones(renders):
    found = Renders.open(renders)
    made = Predictions.of(found, "built-in", None, renders)
    assert made.folder.parent == renders
    model = found.train[0]
    for j, view in enumerate(made.predict(model, 0, SOURCES[:4])):
        true, seen = found.view(model, SOURCES[j], SIZE)[..., 3] > 0.5, view[..., 3] > 0.5
        assert (true & seen).sum() / (true | seen).sum() > 0.8

import json

import numpy as np
import pytest
from PIL import Image

from engine import cameras
from engine.errors import Cancelled, InputError
from engine.progress import CancelToken
from engine.training.data import PRINCIPAL, SOURCES, Renders
from engine.training.predictions import SIZE, Predictions

MIDDLE, RADIUS = np.array([0.11, -0.08, 0.13]), 0.28


def ball(c2w, size):
    """(size, size) which pixels see a ball that is not at the origin."""
    origin, rays = cameras.pixel_rays(c2w, cameras.intrinsics(size), cameras.pixel_grid(size))
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    to = MIDDLE - origin
    along = rays @ to
    return (to @ to - along**2 < RADIUS**2).reshape(size, size)


class BallGenerator:
    """Knows that it is a ball: from everywhere the same framed disc."""

    calls = 0

    def generate(self, image, offsets, *, elevation=None, size=256, seed=0, progress=None, cancel=None):
        self.calls += 1
        assert image.shape == (256, 256, 4)
        assert elevation is not None
        x, y = cameras.pixel_grid(size).T
        disc = np.hypot(x - size / 2, y - size / 2) < cameras.FRAME_FRACTION * size / 2
        picture = np.ones((size, size, 4), np.float32)
        picture[..., 1:3] -= disc.reshape(size, size, 1)
        picture[..., 3] = disc.reshape(size, size)
        return np.stack([picture] * len(offsets))


@pytest.fixture
def balls(tmp_path):
    """Two rendered balls, 96 px."""
    poses = cameras.principal_poses(30)
    for key in ("a", "b"):
        folder = tmp_path / "zero12345_narrow" / "models" / key
        folder.mkdir(parents=True)
        for name, pose in zip(PRINCIPAL, poses, strict=True):
            picture = np.zeros((96, 96, 4), np.uint8)
            picture[ball(pose.matrix(), 96)] = (255, 0, 0, 255)
            Image.fromarray(picture).save(folder / f"{name}.png")
    (tmp_path / "One2345_training_pose.json").write_text(json.dumps(cameras.pose_file(30)))
    return Renders.open(tmp_path, neighbours=False)


def predictions_of(renders):
    return Predictions(renders, "built-in", renders.folder / "predicted", BallGenerator())


def test_views_come_back_in_the_rendering_s_cameras(balls):
    made = predictions_of(balls)
    model = balls.train[0]
    made.make([model])
    for name in SOURCES:
        view = made.view(model, name, SIZE)
        true, seen = ball(balls.c2ws[name], SIZE), view[..., 3] > 0.5
        assert (true & seen).sum() / (true | seen).sum() > 0.94, name
        assert view[true & seen].mean(0) == pytest.approx([1, 0, 0, 1], abs=0.03)
        assert view[~seen & ~true].mean(0) == pytest.approx([1, 1, 1, 0], abs=0.03)


def test_views_are_made_once_and_again_only_for_new_pictures(balls):
    made = predictions_of(balls)
    models = [*balls.train, *balls.validation]
    events = []
    assert made.make(models, events.append) == 2
    assert made._loaded.calls == 16
    assert [e.done for e in events] == [0, 1, 2]
    again = predictions_of(balls)
    assert again.make(models) == 0
    path = models[1].folder / "view_0.png"
    Image.fromarray(np.roll(np.asarray(Image.open(path)), 9, 0)).save(path, compress_level=0)
    assert again.make(models) == 1
    assert again._loaded.calls == 8


def test_a_cancelled_prediction_leaves_whole_models_only(balls):
    made = predictions_of(balls)
    token = CancelToken()
    made._loaded.generate = lambda *args, inner=made._loaded.generate, **more: (token.cancel(), inner(*args, **more))[1]
    with pytest.raises(Cancelled):
        made.make(balls.train, cancel=token)
    assert not made.has(balls.train[0])
    assert not list((made.folder / "models").iterdir())


def test_an_empty_view_is_named(balls):
    Image.new("RGBA", (96, 96)).save(balls.train[0].folder / "view_6.png")
    with pytest.raises(InputError, match=r"view_6.png shows nothing"):
        predictions_of(balls).make(balls.train)


def test_the_built_in_generator_s_views_look_like_the_true_ones(renders):
    found = Renders.open(renders)
    made = Predictions.of(found, "built-in", None, renders)
    assert made.folder.parent == renders
    model = found.train[0]
    for j, view in enumerate(made.predict(model, 0)):
        true, seen = found.view(model, SOURCES[j], SIZE)[..., 3] > 0.5, view[..., 3] > 0.5
        assert (true & seen).sum() / (true | seen).sum() > 0.8

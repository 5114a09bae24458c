"""Likeness by ImageNet's features."""

import numpy as np
import pytest
from PIL import Image

from app.demo import samples
from engine.evaluation.clip import mean_cosine
from engine.evaluation.likeness import Likeness


@pytest.fixture(scope="module")
def eye():
    return Likeness(device="cpu")


def read(path, turn=0):
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
    square = Image.new("RGBA", rgba.size, "white")
    square.alpha_composite(rgba.rotate(turn))
    return np.asarray(square.convert("RGB").resize((256, 256)), np.float32) / 255


def test_the_same_thing_is_more_like_itself_than_like_another(eye):
    first, second, *_ = samples()
    f = eye.embed([read(first), read(first, 4), read(second)])
    assert f.shape == (3, 1280) and np.allclose(np.linalg.norm(f, axis=1), 1, atol=1e-5)
    assert mean_cosine(f[:1], f[:1]) == pytest.approx(1)
    assert mean_cosine(f[:1], f[1:2]) > mean_cosine(f[:1], f[2:]) + 0.1
    assert eye.embed([]).shape == (0, 1280)


def test_the_weights_are_those_learnt_from_imagenet(eye):
    """A building's picture is taken for one: the names of the layers were matched by their order."""
    import torch

    hall = next(path for path in samples() if path.stem == "hall")
    with torch.inference_mode():
        logits = eye._model(torch.from_numpy(read(hall)).permute(2, 0, 1)[None] * 2 - 1)
    assert int(logits.argmax()) in (538, 663, 668, 832), "a dome, monastery, mosque or stupa"

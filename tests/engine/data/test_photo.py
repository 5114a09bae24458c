import numpy as np
import pytest

from engine import cameras
from engine.data import make_object
from engine.data.photo import photograph
from engine.data.renderer import Renderer
from engine.evaluation.views import mask_iou

COLORS = np.full((5, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def drawn():
    """A clean picture of a house (128, 128, 4)."""
    return Renderer(128).render(make_object(13), cameras.camera_to_world(20.0, 40.0, 1.7), cameras.intrinsics(128))[0][
        0
    ]


def test_a_third_of_all_pictures_stay_clean(drawn):
    same = [(photograph(drawn, COLORS, np.random.default_rng(seed))[0] == drawn).all() for seed in range(200)]
    assert 0.25 < np.mean(same) < 0.42


def test_what_is_cut_out_lies_on_white(drawn):
    for seed in range(40):
        picture, _ = photograph(drawn, COLORS, np.random.default_rng(seed))
        assert picture.shape == drawn.shape and picture.dtype == np.uint8
        assert (picture[picture[..., 3] == 0][:, :3] == 255).all()


def test_masks_are_a_few_pixels_wrong_and_no_more(drawn):
    truth = drawn[..., 3] > 127
    found = [photograph(drawn, COLORS, np.random.default_rng(seed))[0][..., 3] > 127 for seed in range(120)]
    ious = np.array([mask_iou(np.float32(mask), np.float32(truth)) for mask in found])
    assert ious.min() > 0.7
    assert 0.2 < (ious < 0.99).mean() < 0.6
    assert any((mask & ~truth).sum() > 100 for mask in found)  # the old background shows
    assert any((truth & ~mask).sum() > 100 for mask in found)


def test_surface_colours_get_the_pictures_tones():
    """The network is to answer in the colours of its picture, however that was developed."""
    rgba = np.full((64, 64, 4), 255, np.uint8)
    rgba[..., 3] = 0
    rgba[16:48, 16:48] = 150, 110, 70, 255
    colors = np.tile(np.uint8([150, 110, 70]), (4, 1))
    changes = []
    for seed in range(60):
        picture, toned = photograph(rgba, colors, np.random.default_rng(seed))
        inner = picture[24:40, 24:40]
        whole = inner[..., 3] == 255
        if whole.mean() > 0.9:  # else a hole was cut
            assert np.abs(inner[whole][:, :3].mean(0) - toned[0]).max() < 16
        changes.append(np.abs(toned[0].astype(int) - colors[0]).max())
    assert np.mean(np.array(changes) > 8) > 0.3


def test_the_same_draw_gives_the_same_picture(drawn):
    one, two = (photograph(drawn, COLORS, np.random.default_rng(5)) for _ in range(2))
    assert (one[0] == two[0]).all() and (one[1] == two[1]).all()

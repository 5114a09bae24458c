"""Framing centres the object, keeps its shape and lets nothing of the background shine through."""

import numpy as np
import pytest

from engine.core.errors import InputError
from engine.imaging import frame


def _disc(height, width, centre, radius, soft=1.0):
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.clip((radius - np.hypot(x - centre[0], y - centre[1])) / soft + 0.5, 0, 1).astype(np.float32)


def _opaque(rgb):
    return np.dstack([rgb.astype(np.uint8), np.full(rgb.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize("source", [(300, 500), (60, 90), (1100, 700)])
def test_object_is_centred_at_three_quarters(source):
    height, width = source
    mask = np.zeros(source, np.float32)
    mask[height // 10 : height // 2, width // 2 : width - width // 10] = 1.0
    framed = frame(_opaque(np.full((*source, 3), 90)), mask)
    assert framed.image.shape == (256, 256, 4) and framed.image.dtype == np.float32
    rows, columns = np.nonzero(framed.image[..., 3] > 0.5)
    box = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    assert max(box[1] - box[0], box[3] - box[2]) == pytest.approx(192, abs=2)
    assert (box[0] + box[1]) / 2 == pytest.approx(128, abs=1)
    assert (box[2] + box[3]) / 2 == pytest.approx(128, abs=1)
    assert (framed.image[0, :, :] == (1, 1, 1, 0)).all()


def test_transform_maps_source_pixels():
    mask = _disc(240, 400, (300.0, 90.0), 40.0)
    framed = frame(_opaque(np.full((240, 400, 3), 10)), mask)
    x, y, _ = framed.transform @ np.array([300.0, 90.0, 1.0])
    assert (x, y) == (pytest.approx(128, abs=0.01), pytest.approx(128, abs=0.01))
    edge, _, _ = framed.transform @ np.array([340.0, 90.0, 1.0])
    assert edge == pytest.approx(128 + 96, abs=1)


def test_no_halo_of_the_background():
    mask = _disc(900, 900, (450.0, 450.0), 300.0, soft=6.0)
    green, black = np.array([0, 255, 0]), np.array([20, 20, 20])
    picture = _opaque(mask[..., None] * black + (1 - mask[..., None]) * green)
    image = frame(picture, mask).image
    # Grey everywhere: no pixel is greener than it is red.
    assert (image[..., 1] - image[..., 0]).max() < 0.02
    inside = image[..., 3] > 0.99
    assert np.abs(image[inside][:, :3] - 20 / 255).max() < 0.02


def test_area_average_keeps_a_fine_pattern_grey():
    checks = ((np.indices((1024, 1024)).sum(axis=0) % 2) * 255)[..., None].repeat(3, axis=2)
    mask = np.zeros((1024, 1024), np.float32)
    mask[100:-100, 100:-100] = 1.0
    image = frame(_opaque(checks), mask).image
    assert np.abs(image[64:-64, 64:-64, :3] - 0.5).max() < 0.06


def test_translucent_pictures_keep_their_own_colours():
    picture = np.zeros((100, 100, 4), np.uint8)
    picture[20:80, 20:80] = (200, 0, 0, 128)
    image = frame(picture, (picture[..., 3] / 255).astype(np.float32)).image
    red = image[128, 128]
    assert red[3] == pytest.approx(128 / 255, abs=0.01)
    assert red[1] == pytest.approx(1 - 128 / 255, abs=0.01)


def test_the_whole_of_a_transparent_picture_lies_on_white():
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[16:48, 16:48] = (0, 0, 200, 255)
    image = frame(picture, np.ones((64, 64), np.float32)).image
    assert image[40, 40] == pytest.approx([1, 1, 1, 1], abs=0.01)
    assert image[128, 128] == pytest.approx([0, 0, 200 / 255, 1], abs=0.01)


def test_empty_masks_and_wrong_sizes_are_refused():
    picture = _opaque(np.zeros((50, 60, 3)))
    with pytest.raises(InputError, match="empty"):
        frame(picture, np.zeros((50, 60), np.float32))
    with pytest.raises(InputError, match="size"):
        frame(picture, np.ones((60, 50), np.float32))


def test_an_object_at_the_border_is_padded_with_white():
    mask = np.zeros((200, 200), np.float32)
    mask[150:, :40] = 1.0
    image = frame(_opaque(np.full((200, 200, 3), 40)), mask).image
    assert (image[..., 3].sum() / 256**2) == pytest.approx((192 / 256) * (192 * 40 / 50 / 256), rel=0.03)
    assert (image[-10:, :, :3] == 1.0).all()

"""A mask file is understood in whatever form a program wrote it."""

import numpy as np
import pytest
from PIL import Image

from engine.core.errors import InputError
from engine.imaging import load_mask


@pytest.fixture
def truth() -> np.ndarray:
    found = np.zeros((80, 120), bool)
    found[20:70, 30:75] = True
    return found


FORMS = {
    "8bit.png": lambda t: Image.fromarray(t.astype(np.uint8) * 255),
    "bilevel.png": lambda t: Image.fromarray(t),
    "labels.png": lambda t: Image.fromarray(t.astype(np.uint8)),
    "16bit.png": lambda t: Image.fromarray(t.astype(np.uint16) * 65535),
    "16bit-low.png": lambda t: Image.fromarray(t.astype(np.uint16) * 255),
    "32bit.tiff": lambda t: Image.fromarray(t.astype(np.int32)),
    "floats.tiff": lambda t: Image.fromarray(t.astype(np.float32)),
    "lossy.jpg": lambda t: Image.fromarray(t.astype(np.uint8) * 255),
    "red.png": lambda t: Image.fromarray(np.dstack([t * 200, t * 0, t * 0]).astype(np.uint8)),
    "white-with-alpha.png": lambda t: Image.fromarray(np.dstack([np.full((*t.shape, 3), 255), t * 255]).astype("u1")),
    "cut-out.png": lambda t: Image.fromarray(np.dstack([np.full((*t.shape, 3), 40), t * 255]).astype(np.uint8)),
    "opaque.png": lambda t: Image.fromarray(
        np.dstack([np.repeat(t[..., None] * 255, 3, 2), np.full(t.shape, 255)]).astype(np.uint8)
    ),
    "grey-alpha.png": lambda t: Image.fromarray(np.dstack([t * 255, t * 255]).astype(np.uint8), "LA"),
}


def indexed(t: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(t.astype(np.uint8), "P")
    image.putpalette(colours)
    return image


FORMS["palette.png"] = lambda t: indexed(t, [0, 0, 0, 128, 0, 0])
FORMS["black-white-palette.png"] = lambda t: indexed(t, [0, 0, 0, 255, 255, 255])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_names_the_same_object(form, truth, tmp_path):
    path = tmp_path / form
    FORMS[form](truth).save(path)
    for source in (path, path.read_bytes()):
        mask = load_mask(source)
        assert mask.dtype == np.float32 and mask.shape == truth.shape
        assert np.array_equal(mask > 0.5, truth)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_mask_is_turned_by_exif_as_its_picture_is(orientation, truth, tmp_path):
    turned = {3: np.rot90(truth, 2), 6: np.rot90(truth), 8: np.rot90(truth, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(turned.astype(np.uint8) * 255).save(tmp_path / "mask.png", exif=exif)
    assert np.array_equal(load_mask(tmp_path / "mask.png") > 0.5, truth)


def test_soft_masks_stay_soft(truth, tmp_path):
    soft = np.where(truth, 40_000, 10_000).astype(np.uint16)
    Image.fromarray(soft).save(tmp_path / "mask.png")
    assert np.allclose(load_mask(tmp_path / "mask.png"), soft / 65535, atol=1e-4)


def test_many_labels_and_what_is_no_picture_are_told(truth, tmp_path):
    image = indexed(truth, [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128])
    labels = np.asarray(image).copy()
    labels[:5, :5], labels[-5:, -5:] = 2, 3
    many = Image.fromarray(labels, "P")
    many.putpalette(image.getpalette())
    many.save(tmp_path / "labels.png")
    with pytest.raises(InputError, match="3 labels beside the background"):
        load_mask(tmp_path / "labels.png")
    (tmp_path / "mask.png").write_text("no picture")
    with pytest.raises(InputError, match=r"mask\.png' cannot be read"):
        load_mask(tmp_path / "mask.png")
    with pytest.raises(InputError, match="no such file"):
        load_mask(tmp_path / "none.png")

"""The object of a photograph is found without a click, by the network that comes with the set-up."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.errors import WeightsError
from engine.imaging import extract_foreground, load_mask, load_picture
from engine.imaging.salient import find_salient

PHOTOS = Path(__file__).parents[2] / "cases" / "photos"
"""Rendered buildings in scenes: see `tests.benchmarks.photos`."""


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    a, b = found > 0.5, truth > 0.5
    return float((a & b).sum() / (a | b).sum())


def photo(name: str) -> tuple[np.ndarray, np.ndarray]:
    return load_picture(PHOTOS / f"{name}.jpg"), load_mask(PHOTOS / f"{name}-mask.png")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("castle-castle", 0.94),  # its lawn is even enough to be taken for a plain background
        ("castle-terrace", 0.95),  # a path as bright as the houses leads to them
        ("castle-stepped_pyramid", 0.95),
        ("street-gabled_house", 0.95),
    ],
)
def test_a_building_among_lawn_trees_and_sky_is_found_without_a_click(name, least):
    picture, truth = photo(name)
    found = extract_foreground(picture)
    assert found.method == "salient"
    assert found.weights is not None and found.weights.name == "u2netp.onnx"
    assert iou(found.mask, truth) >= least


def test_a_box_is_looked_into_alone_and_strokes_correct_the_rest():
    picture, truth = photo("castle-terrace")
    rows, columns = np.flatnonzero((truth > 0.5).any(axis=1)), np.flatnonzero((truth > 0.5).any(axis=0))
    middle = int(columns.mean())
    half = extract_foreground(picture, box=(columns[0] - 5, rows[0] - 5, middle, rows[-1] + 5))
    assert half.method == "salient"
    assert not (half.mask[:, middle:] > 0).any()
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[rows[0] : rows[-1], columns[0] : columns[0] + 12] = 2
    corrected = extract_foreground(picture, strokes=strokes)
    assert not (corrected.mask[strokes == 2] > 0.5).any()
    assert iou(corrected.mask, truth) > 0.8


def test_two_objects_are_told_and_a_click_chooses_one():
    picture, truth = photo("street-gabled_house")
    both = np.concatenate([picture, picture], axis=1)
    both[..., 3] = (np.concatenate([truth, truth], axis=1) * 255).astype(np.uint8)
    found = extract_foreground(both)
    assert any("2 objects were found" in note for note in found.notes)
    y, x = (int(v.mean()) for v in np.nonzero(truth > 0.5))
    right = extract_foreground(both, points=[(x + picture.shape[1], y, 1)])
    assert not (right.mask[:, : picture.shape[1]] > 0.5).any()
    assert iou(right.mask[:, picture.shape[1] :], truth) > 0.98
    left = extract_foreground(both, points=[(x + picture.shape[1], y, 0)])
    assert iou(left.mask[:, : picture.shape[1]], truth) > 0.98


def test_weights_that_are_damaged_or_named_otherwise_are_told(tmp_path):
    rgb = np.zeros((64, 64, 3), np.uint8)
    damaged = tmp_path / "u2net.onnx"
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=r"u2net\.onnx cannot be read"):
        find_salient(rgb, damaged)
    with pytest.raises(WeightsError, match=r"not on this machine.*weights fetch birefnet"):
        find_salient(rgb, "birefnet-general-lite")
    other = tmp_path / "mine.onnx"
    other.write_bytes(b"")
    with pytest.raises(WeightsError, match="named as none of the networks"):
        find_salient(rgb, other)


def test_what_is_doubtful_about_a_picture_is_said():
    picture, truth = photo("castle-stepped_pyramid")
    picture = picture.copy()
    picture[..., 3] = (truth * 255).astype(np.uint8)
    assert extract_foreground(picture).notes == ()
    rows, columns = np.flatnonzero((truth > 0.5).any(axis=1)), np.flatnonzero((truth > 0.5).any(axis=0))
    cut = picture[: (rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2 :]
    assert any("cut off by the left and lower border" in note for note in extract_foreground(cut).notes)
    small = np.asarray(Image.fromarray(picture).resize((160, 120), Image.Resampling.LANCZOS))
    assert any("pixels large" in note for note in extract_foreground(small).notes)
    soft = np.asarray(
        Image.fromarray(picture).resize((64, 48), Image.Resampling.BOX).resize((640, 480), Image.Resampling.BICUBIC)
    ).copy()
    soft[..., 3] = picture[..., 3]
    assert any("blurred" in note for note in extract_foreground(soft).notes)


def see_through(part: str) -> tuple[np.ndarray, np.ndarray]:
    """A house of brick, all or half of it of glass, and its true mask."""
    truth = np.zeros((240, 240), bool)
    truth[60:210, 70:170] = True
    picture = np.zeros((240, 240, 4), np.uint8)
    picture[truth] = 170, 90, 60, 255
    if part == "half":
        picture[135:210, 70:170, 3] = 115
    elif part == "all":
        picture[truth, 3] = 90
    elif part == "graded":
        picture[60:210, 70:170, 3] = np.linspace(250, 60, 150)[:, None]
    elif part == "shadow":
        picture[200:225, 90:235] = 0, 0, 0, 90
        picture[truth] = 170, 90, 60, 255
    return picture, truth


@pytest.mark.parametrize("part", ["all", "half", "graded", "shadow"])
def test_what_is_see_through_is_the_object_and_a_shadow_is_not(part):
    picture, truth = see_through(part)
    found = extract_foreground(picture)
    assert found.method == "alpha"
    assert iou(found.mask, truth) > 0.98
    assert any("see-through" in note for note in found.notes) == (part != "shadow")

"""Masks of composed pictures, of which the truth is known."""

import threading
import time

import cv2
import numpy as np
import pytest

from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken
from engine.imaging import extract_foreground

SIZE = (360, 480)
BOX = (110.0, 40.0, 370.0, 330.0)


def house() -> tuple[np.ndarray, np.ndarray]:
    """(colours, mask) of a house front with dark windows, 360 x 480."""
    height, width = SIZE
    mask = np.zeros(SIZE, np.uint8)
    cv2.rectangle(mask, (140, 150), (340, 310), 1, -1)
    cv2.fillPoly(mask, [np.array([[125, 150], [240, 60], [355, 150]])], 1)
    cv2.rectangle(mask, (290, 70), (315, 130), 1, -1)
    colours = np.full((height, width, 3), (176, 92, 70), np.float32)
    colours[:150] = (96, 50, 48)
    for x in (160, 220, 280):
        cv2.rectangle(colours, (x, 180), (x + 35, 225), (60, 70, 90), -1)
    cv2.rectangle(colours, (222, 250), (258, 310), (70, 45, 30), -1)
    rng = np.random.default_rng(3)
    colours += rng.normal(0, 6, colours.shape)
    return colours, mask.astype(bool)


def composed(background: np.ndarray, colours: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(picture, mask): the house before `background`, its edge antialiased."""
    house_colours, mask = house()
    colours = house_colours if colours is None else colours
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)[..., None]
    rgb = np.clip(soft * colours + (1 - soft) * background, 0, 255).astype(np.uint8)
    return np.dstack([rgb, np.full(SIZE, 255, np.uint8)]), mask


def plain(value=(235, 235, 235)) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.float32)


def gradient() -> np.ndarray:
    """A sky: deep blue above, pale near the horizon, a little brighter in the middle."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    t = (y / SIZE[0])[..., None]
    sky = (1 - t) * np.array([70, 120, 205]) + t * np.array([205, 222, 240])
    return sky + 12 * np.exp(-((x / SIZE[1] - 0.5) ** 2) / 0.1)[..., None]


def noisy() -> np.ndarray:
    return plain((210, 205, 190)) + np.random.default_rng(5).normal(0, 9, (*SIZE, 3))


def textured() -> np.ndarray:
    """Trees above, a lawn below: strong texture of several colours."""
    rng = np.random.default_rng(7)
    coarse = cv2.resize(rng.random((45, 60, 1)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)[
        ..., None
    ]
    fine = cv2.resize(rng.random((180, 240)).astype(np.float32), SIZE[::-1])[..., None]
    scene = (0.35 + 0.6 * coarse + 0.4 * fine) * np.array([70, 120, 50])
    scene[260:] = (0.8 + 0.4 * fine[260:]) * np.array([120, 150, 90])
    return scene


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    found = mask > 0.5
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(
    ("background", "method", "least"),
    [
        (plain(), "plain", 0.98),
        (plain((255, 255, 255)), "plain", 0.98),
        (plain((20, 22, 25)), "plain", 0.97),
        (gradient(), "plain", 0.97),
        (noisy(), "plain", 0.97),
    ],
    ids=["plain", "white", "black", "gradient", "noisy"],
)
def test_plain_backgrounds_are_keyed(background, method, least):
    picture, truth = composed(background)
    found = extract_foreground(picture)
    assert found.method == method
    assert found.mask.shape == SIZE and found.mask.dtype == np.float32
    assert iou(found.mask, truth) >= least


def test_textured_background_with_a_box():
    picture, truth = composed(textured())
    start = time.perf_counter()
    found = extract_foreground(picture, mode="grabcut", box=BOX)
    assert time.perf_counter() - start < 6.0
    assert found.method == "grabcut"
    assert iou(found.mask, truth) >= 0.94


def test_textured_background_without_a_box():
    picture, truth = composed(textured())
    found = extract_foreground(picture, mode="grabcut")
    assert found.method == "grabcut"
    assert iou(found.mask, truth) >= 0.9
    found = extract_foreground(picture)
    assert found.method == "salient" and found.weights is not None
    assert iou(found.mask, truth) >= 0.95


def test_white_walls_and_windows_of_the_background_colour_stay():
    colours, _ = house()
    white = colours.copy()
    white[158:302, 148:332] = 250.0  # the whole wall as white as the background, inside a frame of brick
    picture, truth = composed(plain((250, 250, 250)), white)
    found = extract_foreground(picture)
    assert found.method == "plain"
    assert iou(found.mask, truth) >= 0.97
    assert found.mask[200:280, 160:320].min() > 0.99


def test_a_soft_shadow_is_not_part_of_the_object():
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    shadow = 60 * np.exp(-(((x - 260) / 170) ** 2) - ((y - 312) / 14) ** 2)
    picture, truth = composed(plain((248, 248, 248)) - shadow[..., None])
    found = extract_foreground(picture)
    assert found.method == "plain" and iou(found.mask, truth) >= 0.95


@pytest.mark.parametrize("tone", [(150, 150, 150), (236, 236, 236)], ids=["concrete", "whitewash"])
def test_grey_and_pale_walls_on_white_are_no_shadow(tone):
    colours, _ = house()
    colours[150:] = tone
    picture, truth = composed(plain((255, 255, 255)), colours)
    assert iou(extract_foreground(picture).mask, truth) >= 0.96


def test_object_cut_off_by_the_lower_edge():
    picture, truth = composed(gradient())
    picture, truth = picture[:300], truth[:300]
    found = extract_foreground(picture)
    assert found.method == "plain"
    assert iou(found.mask, truth) >= 0.96


def test_alpha_is_used_as_it_is():
    picture, truth = composed(textured())
    alpha = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 2.0)
    picture[..., 3] = (alpha * 255).astype(np.uint8)
    found = extract_foreground(picture)
    assert found.method == "alpha"
    assert np.array_equal(found.mask, picture[..., 3].astype(np.float32) / 255)


def test_rounded_corners_are_not_a_cut_out():
    picture, truth = composed(plain())
    picture[:6, :6, 3] = picture[-6:, -6:, 3] = 0
    found = extract_foreground(picture)
    assert found.method == "plain" and iou(found.mask, truth) >= 0.97


def test_whole_keeps_every_pixel():
    picture, _ = composed(textured())
    found = extract_foreground(picture, mode="whole")
    assert found.method == "whole" and (found.mask == 1).all()


def test_a_box_picks_one_of_two_objects():
    picture, truth = composed(plain())
    cv2.circle(rgb := np.ascontiguousarray(picture[..., :3]), (60, 200), 40, (20, 60, 160), -1)
    picture = np.dstack([rgb, picture[..., 3]])
    both, one = extract_foreground(picture), extract_foreground(picture, box=BOX)
    assert both.mask[200, 60] == 1 and one.mask[200, 60] == 0
    assert iou(one.mask, truth) >= 0.97


def test_strokes_correct_grabcut():
    picture, truth = composed(textured())
    rgb = np.ascontiguousarray(picture[..., :3])
    cv2.rectangle(rgb, (342, 200), (369, 309), (150, 150, 155), -1)  # a grey van in front, inside the box
    picture = np.dstack([rgb, picture[..., 3]])
    strokes = np.zeros(SIZE, np.uint8)
    strokes[205:305, 348:364] = 2
    corrected = extract_foreground(picture, box=BOX, strokes=strokes)
    assert corrected.mask[205:305, 348:364].max() == 0
    assert iou(corrected.mask, truth) >= 0.92
    strokes[:] = 0
    strokes[210:300, 350:362] = 1
    assert extract_foreground(picture, box=BOX, strokes=strokes).mask[220:290, 346:366].min() > 0.5


def test_a_remove_stroke_opens_an_enclosed_part():
    picture, _ = composed(plain())
    rgb = np.ascontiguousarray(picture[..., :3])
    cv2.rectangle(rgb, (215, 240), (265, 290), (235, 235, 235), -1)  # a passage through the house
    picture = np.dstack([rgb, picture[..., 3]])
    assert extract_foreground(picture).mask[265, 240] == 1
    strokes = np.zeros(SIZE, np.uint8)
    strokes[250:280, 225:255] = 2
    found = extract_foreground(picture, strokes=strokes)
    assert found.mask[250:280, 225:255].max() == 0
    assert found.mask[160:175, 150:330].min() > 0.9


def test_strokes_paint_on_alpha():
    picture, truth = composed(textured())
    picture[..., 3] = truth * np.uint8(255)
    strokes = np.zeros(SIZE, np.uint8)
    strokes[200:210, 200:220], strokes[10:20, 10:20] = 2, 1
    mask = extract_foreground(picture, strokes=strokes).mask
    assert mask[205, 210] == 0 and mask[15, 15] == 1 and mask[280, 200] == 1


@pytest.mark.parametrize(("width", "height"), [(2048, 1536), (700, 2048)])
def test_large_pictures_are_quick_and_sharp(width, height):
    picture, truth = composed(textured())
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    truth = cv2.resize(truth.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR) > 0
    scale = np.array([width / 480, height / 360] * 2)
    found = extract_foreground(picture, box=tuple(np.array(BOX) * scale))
    assert iou(found.mask, truth) >= 0.93
    assert ((found.mask > 0.1) & (found.mask < 0.9)).mean() < 0.02


def test_the_result_is_the_same_every_time():
    picture, _ = composed(textured())
    assert np.array_equal(extract_foreground(picture).mask, extract_foreground(picture).mask)


def test_what_has_no_object_is_refused():
    blank = np.full((*SIZE, 4), 255, np.uint8)
    with pytest.raises(InputError, match=r"[Dd]raw a box.*keep the whole picture"):
        extract_foreground(blank)
    with pytest.raises(InputError, match="keep the whole picture"):
        extract_foreground(blank, mode="plain")
    with pytest.raises(InputError, match="no transparent part"):
        extract_foreground(composed(textured())[0], mode="alpha")
    clear = np.zeros((*SIZE, 4), np.uint8)
    with pytest.raises(InputError, match="transparent"):
        extract_foreground(clear)
    picture, _ = composed(textured())
    with pytest.raises(InputError, match="not plain enough"):
        extract_foreground(picture, mode="plain")
    with pytest.raises(InputError, match=r"Undo|No object"):
        extract_foreground(picture, strokes=np.full(SIZE, 2, np.uint8))
    assert extract_foreground(blank, mode="whole").mask.all()


def test_options_that_do_not_fit_are_refused():
    picture, _ = composed(plain())
    with pytest.raises(InputError, match="box"):
        extract_foreground(picture, box=(600, 10, 700, 40))
    with pytest.raises(InputError, match="strokes"):
        extract_foreground(picture, strokes=np.ones((4, 4)))
    with pytest.raises(InputError, match="magic"):
        extract_foreground(picture, mode="magic")
    with pytest.raises(InputError, match="RGBA"):
        extract_foreground(picture[..., :3])


def test_a_box_around_everything_still_works():
    picture, _ = composed(textured())
    found = extract_foreground(picture, mode="grabcut", box=(0, 0, 480, 360))
    assert found.mask.mean() > 0.002


def test_cancel_stops_quickly():
    picture, _ = composed(textured())
    picture = cv2.resize(picture, (2048, 1536))
    token = CancelToken()
    asked: list[float] = []

    def ask() -> None:
        asked.append(time.perf_counter())
        token.cancel()

    timer = threading.Timer(0.15, ask)
    timer.start()
    with pytest.raises(Cancelled):
        extract_foreground(picture, mode="grabcut", cancel=token)
    assert time.perf_counter() - asked[0] < 1.0
    timer.join()

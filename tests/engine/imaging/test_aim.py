"""Photographs are turned straight towards their object, as a camera at the same place would have taken them."""

import io

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from engine.imaging import frame
from engine.imaging.aim import FILM_DIAGONAL, Aim, aim_at, focal_length
from engine.imaging.verticals import upright_segments, vertical_support

SIZE = (960, 720)
LENS = 28.0
FOCAL = LENS / FILM_DIAGONAL * float(np.hypot(*SIZE))


def _turn(axis, degrees):
    return cv2.Rodrigues(np.asarray(axis, np.float64) * np.radians(degrees))[0]


def _photograph(pan: float, tilt: float, roll: float):
    """A house with windows, 6 m wide and 9 m high on the ground 18 m ahead, by a camera in a man's eye: the picture,
    its mask and the elevation of the camera that looks at its middle, in degrees."""
    to_camera = _turn((0, 0, 1), -roll) @ _turn((1, 0, 0), -tilt) @ _turn((0, 1, 0), -pan)

    def seen(points):
        at = (np.asarray(points, float) - (0, -1.7, 0)) @ to_camera.T  # x right, y down, z ahead
        return np.rint((FOCAL * at[:, :2] / at[:, 2:] + np.array(SIZE) / 2 - 0.5) * 16).astype(np.int32)

    picture, mask = np.full((SIZE[1], SIZE[0], 4), 255, np.uint8), np.zeros(SIZE[::-1], np.uint8)
    picture[..., :3] = (150, 190, 230)

    def wall(a, b, color):
        def around(u0, u1, v0, v1):
            at = [(a + (b - a) * u, v) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))]
            return [(x, -v, z) for (x, z), v in at]

        whole = seen(around(0, 1, 0, 9))
        cv2.fillPoly(picture, [whole], (*color, 255), shift=4, lineType=cv2.LINE_AA)
        cv2.fillPoly(mask, [whole], 1, shift=4)
        for storey in range(4):
            for u in (0.15, 0.45, 0.75):
                window = seen(around(u, u + 0.12, 0.8 + 2.1 * storey, 2.2 + 2.1 * storey))
                cv2.fillPoly(picture, [window], (40, 45, 60, 255), shift=4, lineType=cv2.LINE_AA)

    left, corner, right = np.array([-3.0, 20]), np.array([-0.5, 18]), np.array([3.0, 19.5])
    wall(left, corner, (200, 170, 120))
    wall(corner, right, (160, 130, 90))
    return picture, mask.astype(np.float32)


def _elevation(picture, mask, aim):
    """Degrees of the elevation at which the upright edges of the framed picture meet best."""
    framed = frame(*aim.turned(picture, mask), 512)
    edges = upright_segments(framed.image, framed.image[..., 3])
    elevations = np.arange(-40, 40.1, 0.25)
    support = vertical_support(edges, aim.focal * framed.transform[0, 0], (256, 256), elevations)[0]
    return float(elevations[support.argmax()])


@pytest.mark.parametrize(
    ("pan", "tilt", "roll"), [(0, 12, 0), (9, 4, 0), (-12, 0, 0), (8, 14, 4), (-6, 9, -5), (0, 12, 2.5)]
)
def test_wherever_the_camera_looked_the_object_is_seen_straight(pan, tilt, roll):
    picture, mask = _photograph(pan, tilt, roll)
    aim = aim_at(picture, mask, "salient", _jpeg(picture, {"FocalLengthIn35mmFilm": LENS}))
    assert aim is not None and aim.told and aim.focal == pytest.approx(FOCAL)
    straight, alone = _photograph(0, 12, 0)
    ideal = aim_at(straight, alone, "salient", _jpeg(straight, {"FocalLengthIn35mmFilm": LENS}))
    assert ideal is not None
    assert pan or aim.roll == pytest.approx(roll, abs=0.6)
    assert _elevation(picture, mask, aim) == pytest.approx(_elevation(straight, alone, ideal), abs=1.0)
    ours, best = (
        frame(*a.turned(p, m)).image[..., 3] > 0.5 for a, p, m in ((aim, picture, mask), (ideal, straight, alone))
    )
    assert (ours & best).sum() / (ours | best).sum() > 0.95


def test_the_elevation_is_the_cameras():
    picture, mask = _photograph(5, 10, 0)
    aim = aim_at(picture, mask, "salient", _jpeg(picture, {"FocalLengthIn35mmFilm": LENS}))
    assert aim is not None
    rows = np.flatnonzero(mask.any(1))
    middle = np.arctan(((rows[0] + rows[-1] + 1) / 2 - SIZE[1] / 2) / FOCAL)
    assert _elevation(picture, mask, aim) == pytest.approx(-10 + np.degrees(middle), abs=1.0)


def test_what_no_camera_took_stays_as_it_is():
    picture, mask = _photograph(0, 12, 0)
    assert all(aim_at(picture, mask, method, None) is None for method in ("alpha", "plain", "whole"))
    assumed = aim_at(picture, mask, "grabcut", None)
    assert assumed is not None and not assumed.told
    assert Aim.from_json(assumed.to_json()).to_json() == assumed.to_json()


@pytest.mark.parametrize(
    ("tags", "lens"),
    [
        ({"FocalLengthIn35mmFilm": 26}, 26.0),
        ({"FocalLength": 50.0, "FocalPlaneXResolution": 960 / 22.3 * 25.4, "FocalPlaneResolutionUnit": 2}, 80.7),
        ({"FocalLength": 50.0, "FocalPlaneXResolution": 960 / 2.23, "FocalPlaneResolutionUnit": 3}, 80.7),
        ({"FocalLength": 4.2}, None),
        ({"FocalLengthIn35mmFilm": 0}, None),
        ({"FocalLengthIn35mmFilm": 26, "ExifImageWidth": 1600, "ExifImageHeight": 900}, None),
        ({"FocalLengthIn35mmFilm": 26, "ExifImageWidth": 720, "ExifImageHeight": 960}, 26.0),
        ({}, None),
    ],
)
def test_a_photograph_tells_its_lens(tags, lens):
    picture = np.full((SIZE[1], SIZE[0], 4), 120, np.uint8)
    size = {"ExifImageWidth": SIZE[0], "ExifImageHeight": SIZE[1]} if "FocalLength" in tags else {}
    found = focal_length(_jpeg(picture, size | tags))
    assert found == (None if lens is None else pytest.approx(lens, abs=0.1))


def test_what_is_no_picture_tells_no_lens(tmp_path):
    (tmp_path / "no.jpg").write_bytes(b"nothing")
    assert focal_length(tmp_path / "no.jpg") is None and focal_length(tmp_path / "gone.jpg") is None


def _jpeg(picture, tags) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({getattr(ExifTags.Base, name): value for name, value in tags.items()})
    buffer = io.BytesIO()
    Image.fromarray(picture[..., :3]).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()

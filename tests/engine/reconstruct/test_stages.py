"""The steps as functions of values: nothing is read from a disk."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken, Progress
from engine.meshes.mesh import Mesh
from engine.reconstruct import stages
from engine.reconstruct.folder import NEIGHBOURS, PRINCIPAL, SOURCES
from engine.reconstruct.options import QUALITIES, Options

FRAMED = np.ones((256, 256, 4), np.float32)


class Painter:
    """A generator that paints each view in a grey of its own, and remembers what it was asked for."""

    name = label = "painter"

    def __init__(self, guess: float | None) -> None:
        self.guess, self.asked = guess, []

    def estimate_elevation(self, image: np.ndarray, lens: float = 1.0) -> float | None:
        return self.guess

    def generate(self, image, offsets, *, elevation=None, size=256, seed=0, progress=None, cancel=None):
        self.asked.append((len(offsets), elevation, seed))
        return np.stack([np.full((size, size, 4), i / 64, np.float32) for i in range(len(offsets))])


def test_the_object_is_found_in_arrays(house_image: Image.Image):
    picture = np.asarray(house_image)
    mask = np.zeros((200, 200), np.uint8)
    mask[60:150, 50:160] = 255
    found, framing = stages.find_object(picture, Options(mask=mask), stages.Work())
    assert np.array_equal(found.mask > 0.5, mask > 0) and found.method == "mask"
    assert framing.image.shape == (256, 256, 4)
    strokes = np.zeros((200, 200), np.uint8)
    strokes[:100] = 2
    half, _ = stages.find_object(picture, Options(mode="alpha", strokes=strokes), stages.Work())
    assert half.mask[:100].max() < 0.5 < half.mask[100:].max()
    with pytest.raises(InputError, match="The mask is 200 x 50"):
        stages.find_object(picture, Options(mask=mask[:50]), stages.Work())


def test_the_object_takes_its_share_of_the_frame(house_image: Image.Image):
    picture = np.asarray(house_image)
    for ratio in (0.5, 1.0):
        _, framing = stages.find_object(picture, Options(foreground_ratio=ratio), stages.Work())
        rows, columns = np.nonzero(framing.image[..., 3] >= 0.5)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(ratio * 256, abs=2)
    with pytest.raises(InputError, match=r"Foreground ratio is 0\.4, but"):
        Options(foreground_ratio=0.4)


def test_a_photograph_is_turned_straight_unless_it_is_not_wanted(house_image: Image.Image):
    picture, mask = np.zeros((600, 800, 4), np.uint8) + np.uint8(255), np.zeros((600, 800), np.uint8)
    picture[100:300, 20:220, :3] = np.asarray(house_image)[..., :3]
    mask[110:290, 30:200] = 255
    found, framing = stages.find_object(picture, Options(mask=mask), stages.Work())
    assert framing.aim is not None and framing.lens > 1.5 and "turned by" in found.notes[-1]
    assert framing.aim.aside == pytest.approx(np.degrees(np.arctan(np.hypot(285, 100) / framing.aim.focal)), abs=0.5)
    found, framing = stages.find_object(picture, Options(mask=mask, upright=False), stages.Work())
    assert framing.aim is None and framing.lens == 1.0 and "turned by" not in " ".join(found.notes)


def test_triangles_smoothing_and_texture_are_chosen_apart_from_the_quality():
    ball = trimesh.creation.icosphere(4, 0.4)
    rough = ball.vertices + np.random.default_rng(0).normal(0, 0.008, ball.vertices.shape)
    made = Mesh(rough.astype(np.float32), ball.faces.astype(np.int32), np.full((len(rough), 3), 90, np.uint8))
    generator = SimpleNamespace(mesh=lambda *_, **__: made)
    framed = np.ones((256, 256, 4), np.float32)

    def solid(**chosen):
        return stages.take_solid(generator, framed, 0.0, Options(**chosen), stages.Work())

    def roughness(mesh):
        return float(np.linalg.norm(mesh.vertices, axis=1).std())

    plain, smooth = solid(), solid(smooth=10)
    assert roughness(smooth) < 0.4 * roughness(plain) and np.array_equal(smooth.faces, plain.faces)
    volumes = [trimesh.Trimesh(m.vertices, m.faces, process=False).volume for m in (plain, smooth)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.02)
    assert len(solid(faces=1000).faces) <= 1000 < len(plain.faces)
    detail = Options(quality="draft", texture_size=2048).detail
    assert (detail.texture_size, detail.input_size, detail.faces) == (2048, 1024, QUALITIES["draft"].faces)
    for wrong in ({"faces": 10}, {"smooth": 99}, {"texture_size": 1000}):
        with pytest.raises(InputError):
            Options(**wrong)


@pytest.mark.parametrize(("guess", "found", "kept"), [(20.0, 20.2, True), (20.0, 25.0, False), (None, 25.0, True)])
def test_neighbours_that_were_drawn_for_the_elevation_are_not_drawn_again(guess, found, kept):
    painter, options, shown = Painter(guess), Options(quality="draft", method="views"), []

    def watch(event: Progress) -> None:
        if event.preview is not None:
            shown.append(event.preview[1])

    work = stages.Work(watch)
    neighbours = stages.draw_neighbours(painter, FRAMED, options, work)
    assert tuple(neighbours.views) == tuple(shown) == NEIGHBOURS
    views = stages.draw_views(painter, FRAMED, neighbours, found, options, work)
    assert set(views) == {*PRINCIPAL, *SOURCES}
    size = QUALITIES["draft"].view_size
    assert all(view.shape == (size, size, 4) for view in views.values())
    assert (views[NEIGHBOURS[0]] is neighbours.views[NEIGHBOURS[0]]) == kept
    assert painter.asked == [(4, guess, 0), (35 if kept else 39, found, 0)]


def test_a_known_elevation_needs_no_neighbours():
    painter, options = Painter(20.0), Options(elevation=33.0, method="views", quality="draft")
    assert stages.draw_neighbours(painter, FRAMED, options, stages.Work()) == stages.Neighbours({}, None)
    assert painter.asked == []
    assert stages.take_elevation(33.0, stages.Work()).value == 33.0


def test_what_is_stopped_says_so():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        stages.take_elevation(33.0, stages.Work(cancel=token))

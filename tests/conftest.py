"""Fixtures for all tests, and the watch for leaks in the tests of windows."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch._dynamo  # noqa: F401 - before any test opens OpenGL: its LLVM crashes after Mesa's
from PIL import Image, ImageDraw

LEAK_GRACE = 5.0
"""Seconds that a thread may take to end after the test that started it."""

LONGEST = ("test_study_cli.py", "test_farm.py")
"""Files with the longest tests; they come first, so that no process is left alone with them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def oriel_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for each test: no test sees or changes the user's history, settings and models."""
    from engine import weights

    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ORIEL_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.delenv("ORIEL_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "_paths", {})
    monkeypatch.setattr(weights, "_added", [])
    return folder


@pytest.fixture(scope="session")
def published_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model of every kind in published layout, for `ORIEL_WEIGHTS`."""
    from tests import tiny_models

    folder = tmp_path_factory.mktemp("published")
    tiny_models.write_tiny_zero123(folder / "zero123-xl.ckpt")
    tiny_models.write_tiny_loftr(folder / "loftr.ckpt")
    tiny_models.write_tiny_sam(folder / "sam-vit-b.pth")
    tiny_models.write_tiny_one2345_surface(folder / "one-2-3-45-surface.pth")
    return folder


@pytest.fixture
def tiny_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the draft quality as small, and a diffusion model's steps as few, as they can be."""
    from engine.reconstruct import options
    from engine.views.zero123 import generator

    monkeypatch.setattr(generator, "FAST_STEPS", 2)
    tiny = options.Quality(view_size=64, resolution=48, solid_resolution=48, faces=400, texture_size=64, input_size=64)
    monkeypatch.setitem(options.QUALITIES, "draft", tiny)


@pytest.fixture
def house_picture(house_image: Image.Image, tmp_path: Path) -> Path:
    """The drawn house as a PNG file."""
    path = tmp_path / "house.png"
    house_image.save(path)
    return path


@pytest.fixture(scope="session")
def house_image() -> Image.Image:
    """200 x 200 RGBA: a drawn house with two textured walls and a roof, seen a little from above."""
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.polygon([(40, 90), (100, 110), (100, 175), (40, 150)], fill=(196, 120, 84, 255))
    draw.polygon([(100, 110), (165, 85), (165, 145), (100, 175)], fill=(160, 92, 66, 255))
    draw.polygon([(32, 90), (70, 45), (100, 110)], fill=(196, 120, 84, 255))
    draw.polygon([(70, 45), (138, 32), (172, 85), (100, 112)], fill=(92, 64, 70, 255))
    for x in (52, 76):
        draw.rectangle((x, 115, x + 12, 132), fill=(60, 80, 110, 255))
    draw.polygon([(120, 115), (138, 108), (138, 130), (120, 138)], fill=(60, 80, 110, 255))
    noise = np.random.default_rng(0).integers(-12, 12, (200, 200, 1))
    pixels = np.asarray(image).astype(int)
    pixels[..., :3] = np.where(pixels[..., 3:] > 0, np.clip(pixels[..., :3] + noise, 0, 255), 0)
    return Image.fromarray(pixels.astype(np.uint8), "RGBA")


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test of windows that leaves threads running or timers of windows ticking."""
    if "gui" not in request.path.parts:
        yield
        return
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + LEAK_GRACE
    while (leaked := [t for t in threading.enumerate() if t not in before]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not leaked, f"threads left running: {', '.join(t.name for t in leaked)}"

    from PySide6.QtCore import QCoreApplication, QEvent, QTimer
    from PySide6.QtWidgets import QApplication

    if QApplication.instance() is None:
        return
    gc.collect()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    ticking = [
        f"{type(widget).__name__}/{timer.objectName() or 'timer'} every {timer.interval()} ms"
        for widget in QApplication.topLevelWidgets()
        for timer in widget.findChildren(QTimer)
        if timer.isActive()
    ]
    assert not ticking, f"timers left ticking: {', '.join(ticking)}"

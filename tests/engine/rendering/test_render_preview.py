"""The fast preview: the same frames as Blender's, from a process that ends with its caller."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken
from engine.rendering.blender import BlenderProcess, find_blender
from engine.rendering.jobs import RenderSettings, frames
from engine.rendering.preview import _load, preview_frames
from tests.rendered_models import meet_depths
from tests.screening_models import Gltf, box, checker, write_bad, write_slow

SETTINGS = RenderSettings(size=64, samples=2, denoise=False, radius=1.9)
FRAMES = [frame for frame in frames(SETTINGS) if frame.depth or frame.name.startswith(("view_1_", "view_6_"))]
PATIENCE = 60.0


def write_yard(path: Path) -> Path:
    """A textured block with a tower and a beam, different from each side, far from the origin and large."""
    gltf = Gltf()
    texture = gltf.texture(checker())
    plaster = {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}, "metallicFactor": 0}}
    wood = {"pbrMetallicRoughness": {"baseColorFactor": [0.9, 0.6, 0.05, 1], "metallicFactor": 0}}
    for look, sides, place in (
        (plaster, (200, 100, 100), (1000, 50, 0)),
        (wood, (40, 220, 40), (1070, 110, 20)),
        (wood, (30, 30, 150), (940, 15, 60)),
    ):
        points, triangles, uv = box(sides, 2)
        mesh = gltf.mesh(points, triangles, gltf.add("materials", look), TEXCOORD_0=uv)
        gltf.node(mesh=mesh, translation=list(place))
    path.write_bytes(gltf.glb())
    return path


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    return write_yard(tmp_path_factory.mktemp("yard") / "yard.glb")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, yard):
    """A folder with Blender's frames of the yard."""
    folder = tmp_path_factory.mktemp("rendered")
    with BlenderProcess(find_blender(), threads=2) as blender:
        blender.render(yard, folder, SETTINGS, FRAMES)
    return folder


def read(png) -> np.ndarray:
    picture = Image.open(png if isinstance(png, Path) else io.BytesIO(png))
    assert picture.mode == "RGBA"
    return np.asarray(picture)


def test_the_preview_shows_what_blender_renders(yard, rendered):
    found = dict(preview_frames(yard, SETTINGS, FRAMES, side=3 * SETTINGS.size))
    assert list(found) == [frame.name for frame in FRAMES]
    shares, colours = [], []
    for name, png in found.items():
        picture = read(png)
        assert picture.shape == (192, 192, 4)
        preview, blender = picture[1::3, 1::3], read(rendered / f"{name}.png")  # the middle of each pixel
        here, there = preview[..., 3] >= 128, blender[..., 3] >= 128
        shares.append((here & there).sum() / (here | there).sum())
        both = here & there
        hues = ((p[..., 0].astype(int) - p[..., 2])[both] for p in (preview, blender))
        first, second = (np.where(np.abs(hue) > 64, np.sign(hue), 0) for hue in hues)  # red, blue or neither
        colours.append((first == second).mean())
        assert preview[0, 0, 3] == 0, "the background is clear"
    assert min(shares) >= 0.97 and np.mean(shares) >= 0.985
    assert np.mean(colours) > 0.85, "its texture lies as Blender's"


def test_blenders_depth_meets_in_all_views(rendered):
    views = [frame for frame in FRAMES if frame.depth]
    depths = []
    for frame in views:
        depth = np.load(rendered / f"{frame.name}_depth.npy")
        depths.append(np.where(np.isfinite(depth), depth, 0).astype(np.float32))
        assert np.array_equal(depths[-1] > 0, read(rendered / f"{frame.name}.png")[..., 3] > 0)
    met = 0.0
    for view, depth in zip(views, depths, strict=True):
        for other, second in zip(views, depths, strict=True):
            meeting = meet_depths(depth, view.pose, second, other.pose, SETTINGS.intrinsics)
            assert meeting.points > 300 and meeting.contradicted < 0.005
            met += meeting.met / len(views) ** 2
            if view is other:
                assert meeting.met > 0.99
    assert met > 0.4


def test_glass_is_clear_and_colours_are_straight(tmp_path):
    gltf = Gltf()
    glass = {"alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1.0, 0.1, 0.1, 0.5]}}
    points, triangles, _ = box((0.01, 1, 1))
    gltf.node(mesh=gltf.mesh(points, triangles, gltf.add("materials", glass)))
    (tmp_path / "glass.glb").write_bytes(gltf.glb())
    [(_, png)] = preview_frames(tmp_path / "glass.glb", SETTINGS, FRAMES[:1], side=32)
    pane = read(png)[16, 16].astype(int)
    assert 100 < pane[3] < 230
    assert pane[0] > 120 > 90 > pane[1]


def test_the_mesh_stands_as_before_the_cameras(yard):
    parts = _load(yard)
    points = np.concatenate([part.points for part in parts])
    low, high = points.min(0), points.max(0)
    assert (high - low).max() == pytest.approx(1, abs=1e-5) and np.allclose(low, -high, atol=1e-5)
    tower = points[points[:, 2] > 0.4]
    assert len(tower) and tower[:, 0].mean() > 0.1, "up is up"
    assert any(part.texture is not None for part in parts)


def test_what_cannot_be_shown_is_said(tmp_path):
    for name in ("a.fbx", "b.USDZ"):
        with pytest.raises(InputError, match="Only Blender reads"):
            list(preview_frames(tmp_path / name, SETTINGS, FRAMES))
    with pytest.raises(InputError, match=r"none\.glb"):
        list(preview_frames(tmp_path / "none.glb", SETTINGS, FRAMES))
    with pytest.raises(InputError, match="damaged"):
        list(preview_frames(write_bad(tmp_path, "cut.glb"), SETTINGS, FRAMES))


def test_without_opengl_the_preview_says_so(yard, monkeypatch):
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", "/nonexistent")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(OrielError, match="needs OpenGL"):
        list(preview_frames(yard, SETTINGS, FRAMES[:1]))


def previewing(process: psutil.Process) -> list[psutil.Process]:
    """The previews at work for a process."""
    return [child for child in process.children() if "engine.core.processes" in " ".join(child.cmdline())]


def test_cancelling_ends_the_process(tmp_path):
    model, token = write_slow(tmp_path / "slow.glb"), CancelToken()
    timer = threading.Timer(0.5, token.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        list(preview_frames(model, SETTINGS, FRAMES, cancel=token))
    timer.join()
    assert not previewing(psutil.Process())


_CALLER = """
import sys
from pathlib import Path
from engine.rendering.jobs import RenderSettings, frames
from engine.rendering.preview import preview_frames
if __name__ == "__main__":
    settings = RenderSettings()
    list(preview_frames(Path(sys.argv[1]), settings, frames(settings)))
"""


def test_the_process_ends_with_its_caller(tmp_path):
    model = write_slow(tmp_path / "slow.glb")
    (tmp_path / "caller.py").write_text(_CALLER)
    command = [sys.executable, str(tmp_path / "caller.py"), str(model)]
    with subprocess.Popen(command, cwd=Path.cwd(), env={"PYTHONPATH": str(Path.cwd())}) as process:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + PATIENCE
        while not children and time.monotonic() < deadline:
            time.sleep(0.05)
            children = previewing(psutil.Process(process.pid))
        assert children
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, PATIENCE)
    assert not alive

"""Pictures of the window: a real run, empty, running, done and failed, and the Models page with what can go wrong.

    xvfb-run -a -s "-screen 0 1920x1080x24" python packaging/screenshots.py OUT [--picture FILE]

writes `STATE-WIDTHxHEIGHT-THEME.png` for 1280x800 and 1920x1080, dark and light.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from app.window import Session

SIZES = ((1280, 800), (1920, 1080))
RUN_SECONDS = 240


async def settle(until: Callable[[], bool], seconds: float = RUN_SECONDS) -> None:
    """Let the window live until a condition holds."""
    for _ in range(int(seconds / 0.05)):
        if until():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("The window did not come to the state that was waited for.")


async def take_all(out: Path, picture: Path, parts: str, study: Path | None) -> None:
    """Take every picture in one session, or those of one part only."""
    from PySide6.QtWidgets import QApplication

    from app.settings import Settings
    from app.window import Session
    from widgets.kit.theme import theme
    from widgets.main_window import MainWindow

    window = MainWindow()
    session = Session(window, Settings())
    serving = asyncio.ensure_future(session.run())

    async def shoot(
        state: str,
        modes: tuple[str, ...] = ("dark", "light"),
        ready: Callable[[], None] | None = None,
        full: bool = False,
    ) -> None:
        for mode in modes:
            theme.set_mode(mode)
            for width, height in SIZES[-1:] if full else SIZES:
                window.setGeometry(0, 0, width, height)
                await asyncio.sleep(0.7)
                if ready is not None:
                    ready()
                    await asyncio.sleep(0.3)
                shot = QApplication.primaryScreen().grabWindow(window.winId())
                shot.save(str(out / f"{state}-{width}x{height}-{mode}.png"))

    theme.set_mode("dark")
    take = PARTS | {"reconstruct": partial(reconstruct_tab, picture=picture)}
    if study is not None:
        take["study"], parts = partial(study_report, folder=study), "study"
    for part in take.values() if parts == "all" else [take[parts]]:
        await part(session, shoot)
    window.close()
    await serving


async def reconstruct_tab(session: Session, shoot: Callable[..., Awaitable[None]], picture: Path) -> None:
    """The Reconstruct tab with a real run: empty, an error, ready, running, done; the keys, a view, the history."""
    from widgets.reconstruct.request import Picture

    window, tab = session.window, session.window.reconstruct
    window.show_tab(0)
    await settle(lambda: tab.viewport is not None)
    await shoot("empty")
    await shoot("choices", ready=tab.input.models.open)
    tab.input.models.sheet.hide()

    broken = Path(tempfile.mkdtemp()) / "notes.png"
    broken.write_text("This is not a picture.")
    tab.bring([Picture(broken, broken.stem)])
    await settle(lambda: tab.banner.isVisible())
    await shoot("error")

    tab.bring([Picture(picture, picture.stem)])
    await settle(lambda: "found" in tab.input.note.text().lower() or tab.banner.isVisible())
    await shoot("ready")
    tab.input.request()
    await settle(lambda: len(tab.views.images) >= 12 or (not tab.stages.running and tab.shown_key is not None))
    await shoot("running", ("dark",))
    await settle(lambda: session.reconstruct.current is None)
    await shoot("done")
    await shoot("rebuild", ("dark",), ready=tab.rebuild.open)
    tab.rebuild.sheet.hide()
    window.toggle_sheet()
    await shoot("keys", ("dark",))
    window.toggle_sheet()
    if tab.views.images:
        tab.overlay.show_view("view_1")
        await shoot("enlarged", ("dark",))
        tab.overlay.dismiss()
    tab.show_side("history")
    await shoot("history", ("light",))


async def models_page(session: Session, shoot: Callable[..., Awaitable[None]]) -> None:
    """The Models page as it comes up, while a model is fetched, without a network, and with a file that is no model."""
    from engine.core.progress import Progress

    page = session.window.models
    session.window.show_models("zero123-xl")
    await shoot("models")
    page.set_work("zero123-xl", "Fetching")
    page.take_progress("zero123-xl", "Fetching", Progress("weights", 6.1e9, 15.5e9, "Fetching zero123-xl.ckpt"))
    await shoot("models-fetching", ("light",))
    page.set_work("zero123-xl", None)
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    await session.models.fetch("zero123-xl")
    await shoot("models-no-network", ("dark",))
    del os.environ["HF_ENDPOINT"]
    page.choose("loftr")
    wrong = Path(tempfile.mkdtemp()) / "loftr_indoor_ds_new.ckpt"
    wrong.write_text("<html>Sign in to download this file.</html>")
    await session.models.use_path("loftr", wrong)
    await shoot("models-wrong-file", ("light",))


class _Asking:
    """A downloader whose site asks whether a person is there, for ever."""

    name = "a browser"

    def fetch(self, page: Any, folder: Path, progress: Callable[..., None], cancel: Any) -> Any:
        from engine.core.progress import Progress

        host = "sketchfab.com wants to know whether a person is there"
        progress(Progress("attention", 0, 0, f"{host}: solve the captcha in the window of the browser"))
        while True:
            cancel.check()
            time.sleep(0.05)

    def close(self) -> None:
        pass


async def crawl_tab(session: Session, shoot: Callable[..., Awaitable[None]]) -> None:
    """The Crawl tab, with a site of models on loopback: empty, ready, running, in need of its user, and done."""
    from app import crawl_session
    from engine.crawling import Options
    from tests.site import ModelSite, SiteModel

    tab = session.window.crawl
    session.window.show_tab(1)
    await shoot("crawl-empty")
    models = [SiteModel(number, size=150_000 + 37_000 * (number % 9)) for number in range(60)]
    models[3].fault, models[7].tags, models[9].licence, models[14].fault = "missing", ("NoAI",), "st", "html"
    models[11].downloadable = False
    with ModelSite(models, pause=0.08) as site:
        os.environ["ORIEL_SKETCHFAB_API"], os.environ["ORIEL_SKETCHFAB_TOKEN"] = site.api, site.token
        folder = Path(tempfile.mkdtemp())
        path = folder / "urls.txt"
        path.write_text("".join(f"{site.page(model)}\n" for model in models))
        tab.setup.set_options(Options(parallel=3, pause=0.0, attempts=1))
        tab.setup.list.chosen.emit(path)
        await settle(lambda: len(tab.model.rows) == len(models))
        await shoot("crawl-ready", ("light",))
        tab.request_start()
        await settle(lambda: tab.model.counts["done"] >= 9)
        tab.table.choose(models[0].uid)
        await settle(lambda: tab.details.viewport is not None and tab.details.viewport.mesh is not None)
        await shoot("crawl-running")
        tab.request_stop()
        await settle(lambda: session.crawl.job is None)
        usual = crawl_session.make_downloader
        crawl_session.make_downloader = lambda source, options: _Asking()
        tab.request_start()
        await settle(lambda: "captcha" in tab.banner.text.text())
        await shoot("crawl-captcha")
        tab.request_stop()
        await settle(lambda: session.crawl.job is None)
        crawl_session.make_downloader = usual
        site.pause = 0.0
        tab.request_start()
        await settle(lambda: session.crawl.job is not None)
        await settle(lambda: session.crawl.job is None)
        failed = models[14].uid
        await shoot("crawl-done")
        failures = folder / "models" / "failures"
        failures.mkdir(exist_ok=True)
        session.window.grab().toImage().scaledToWidth(900).save(str(failures / f"{failed}.png"))
        (failures / f"{failed}.html").write_text("<html></html>")
        tab.show_filter("failed")
        tab.table.choose(failed)
        await settle(lambda: tab.details.details is not None)
        await shoot("crawl-failure")
        tab.details.show_side(1)
        await shoot("crawl-log", ("dark",))
        tab.details.show_side(0)
        tab.show_filter("")
        session.window.toggle_sheet()
        await shoot("crawl-keys", ("dark",))
        session.window.toggle_sheet()


async def screen_tab(session: Session, shoot: Callable[..., Awaitable[None]]) -> None:
    """The Screen tab: start page, a model, its inside and four sides, thumbnails, a review, a flag, keys, a damaged
    model, full screen, a web page."""
    from engine.data.objects import make_object
    from tests.site import ModelSite, SiteModel

    window, tab = session.window, session.window.screen_tab
    folder = Path(tempfile.mkdtemp()) / "buildings"
    folder.mkdir()
    for number in range(14):
        path = folder / f"model_{number:02d}.glb"
        made = make_object(number + 4)
        made.to_scene().export(path)
        title = f"{made.family.replace('_', ' ').capitalize()} {number}"
        rights = {"title": title, "author": "A. Mason", "licence_name": "CC BY 4.0"}
        path.with_suffix(".json").write_text(json.dumps(rights))
    broken = folder / "model_12.glb"
    broken.write_bytes(broken.read_bytes()[:3000])

    async def begin(source: Path) -> None:
        tab.start.choose(source)
        await settle(lambda: tab.start.ready)
        tab.start.request()
        await settle(lambda: tab.scene is not None and tab.seen and not tab.loading)

    async def act(action: str) -> None:
        before = tab.scene
        tab.act(action)
        await settle(lambda: tab.scene is not before and tab.seen and not tab.loading)

    window.show_tab(2)
    tab.start.choose(folder)
    await settle(lambda: tab.start.ready)
    await shoot("screen-start")
    await begin(folder)
    for action in ("select", "reject", "select", "skip", "select", "reject", "reject", "select", "select"):
        await asyncio.sleep(0.5)
        await act(action)
    await shoot("screen-model")
    tab.act("inside")
    await shoot("screen-inside", ("dark",))
    tab.act("inside")
    tab.act("four")
    tab.act("reason_1")
    tab.act("reason_4")
    await shoot("screen-four")
    tab.act("four")
    await act("grid")
    await settle(lambda: len(tab.grid.cells.thumbnails) == 14)
    tab.grid.view.setCurrentIndex(tab.grid.cells.index(9))
    await shoot("screen-grid")
    await act("grid")
    await act("review")
    await shoot("screen-review")
    await act("review")
    tab.open_note()
    tab.note.setText("Is there anything behind the front?")
    await shoot("screen-flag", ("light",))
    tab.close_note()
    tab.toggle_keys()
    await shoot("screen-keys")
    tab.toggle_keys()
    while tab.scene.item.path != broken:
        await act("forward")
    await shoot("screen-problem")
    await act("back")
    window.toggle_full_screen()
    await shoot("screen-full", ("dark", "light"), full=True)
    window.toggle_full_screen()
    tab.leave()
    with ModelSite([SiteModel(number) for number in range(4)]) as site:
        urls = folder.parent / "urls.txt"
        urls.write_text("".join(f"{site.page(model)}\n" for model in site.models))
        loads: list[bool] = []
        tab.web.loaded.connect(loads.append)
        await begin(urls)
        await settle(lambda: bool(loads))
        await shoot("screen-page")
        tab.leave()


async def render_tab(session: Session, shoot: Callable[..., Awaitable[None]]) -> None:
    """The Render tab with Blender: empty, ready, preview, test frame, running, a failed model, finished."""
    from engine.data.objects import make_object
    from engine.rendering.jobs import RenderSettings

    window, tab = session.window, session.window.render_tab
    details = tab.details
    folder = Path(tempfile.mkdtemp()) / "buildings"
    folder.mkdir()
    for number in range(8):
        made = make_object(number + 4)
        made.to_scene().export(folder / f"{made.family.replace('_', '-')}-{number}.glb")
    broken = folder / "torn.glb"
    broken.write_bytes(b"glTF" + bytes(4000))
    window.show_tab(3)
    await settle(lambda: bool(tab.setup.form.blender_note.text()))
    await shoot("render-empty")
    tab.setup.source.chosen.emit(folder)
    await settle(lambda: details.viewport is not None and details.viewport.mesh is not None)
    await shoot("render-ready")
    tab.setup.form.set_values(RenderSettings(size=128, samples=8))
    await shoot("render-settings", ready=lambda: tab.setup.area.ensureWidgetVisible(tab.setup.form.reset))
    tab.setup.area.verticalScrollBar().setValue(0)
    details.preview.click()
    await settle(lambda: len(details.sheet.images) == 40)
    await shoot("render-preview")
    details.test.click()
    await settle(lambda: tab.test.image is not None)
    await shoot("render-test", ("dark",))
    tab.escape()
    tab.request_start()
    await settle(lambda: tab.model.counts["done"] >= 1, 900)
    tab.table.choose(next(row.model.key for row in tab.model.rows if row.state == "working"))
    await settle(lambda: details.sheet.count >= 9, 900)
    tab.toggle_pause()
    await shoot("render-running")
    tab.toggle_pause()
    tab.first_requested.emit(["torn"])
    await settle(lambda: session.render.job is None, 1800)
    tab.table.choose("torn")
    await settle(lambda: bool(details.log.toPlainText()))
    await shoot("render-failed")
    tab.table.choose(next(row.model.key for row in reversed(tab.model.rows) if row.state == "done"))
    await settle(lambda: details.sheet.count == 40 and details.viewport.mesh is not None)
    details.sheet.setFocus()
    details.sheet.select("view_6")
    await shoot("render-finished")
    details.toggle_depth()
    await shoot("render-depth", ("dark",))
    details.toggle_depth()
    tab.overlay.show_view("view_6")
    await shoot("render-enlarged", ("light",))
    tab.overlay.dismiss()
    window.toggle_sheet()
    await shoot("render-keys", ("dark",))
    window.toggle_sheet()


_STUDY = """
import sys
from pathlib import Path
import numpy as np
import trimesh
from PIL import Image
from engine import cameras
from engine.data.objects import make_object
from engine.evaluation.pictures import draw_shape, read_shape

root = Path(sys.argv[1])
for name in ("models", "coarse", "close"):
    (root / name).mkdir()

def predict(mesh, error, seed):
    # Bent, paled, turned, scaled and moved, as a network's.
    rng = np.random.default_rng(seed)
    found = mesh.copy()
    points = np.asarray(found.vertices)
    points = points + error * np.sin(7 * points[:, [1, 2, 0]] + rng.uniform(0, 6, 3))
    turn = trimesh.transformations.rotation_matrix(rng.uniform(0, 6), (0, 0, 1))[:3, :3]
    found.vertices = points @ turn.T * rng.uniform(0.5, 2) + rng.normal(size=3)
    colors = np.asarray(found.visual.vertex_colors).copy()
    colors[:, :3] = colors[:, :3] * (1 - 6 * error) + 230 * 6 * error
    found.visual.vertex_colors = colors
    return found

for at in range(8):
    made = make_object(at + 4)
    mesh = made.to_scene().to_mesh()
    mesh.apply_transform([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    mesh.apply_scale(1 / mesh.extents.max())
    mesh = mesh.subdivide_to_size(0.06)
    height = (mesh.vertices[:, 2:] - mesh.bounds[0, 2]) / mesh.extents[2]
    stone, roof = np.array([196, 170, 130, 255]), np.array([150, 70, 52, 255])
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.where(height > 0.62, roof, stone).astype("uint8"))
    name = f"{made.family.replace('_', '-')}-{at}"
    path = root / "models" / f"{name}.ply"
    mesh.export(path)
    shape = read_shape(path)
    picture = draw_shape(shape.moved(shape.to_unit()), [cameras.Pose(20.0, 30.0, 1.9)], 256)[0]
    Image.fromarray((picture[..., :3] * 255).astype("uint8")).save(path.with_suffix(".png"))
    predict(mesh, 0.03 + 0.004 * at, at).export(root / "coarse" / f"{name}.ply")
    if at != 5:
        predict(mesh, 0.012 + 0.008 * (at % 4), 50 + at).export(root / "close" / f"{name}.ply")
(root / "close" / f"{name}.ply").write_bytes(b"not a mesh")
"""


async def evaluate_tab(session: Session, shoot: Callable[..., Awaitable[None]]) -> None:
    """The Evaluate tab: empty, chosen, running, results, other measures and samples, the report, and an error."""
    from widgets.evaluate import Choice

    window, tab = session.window, session.window.evaluate
    compare = tab.compare
    root = Path(tempfile.mkdtemp())
    # In a process of its own: it draws with EGL, which has no place on the thread of the window.
    command = [sys.executable, "-c", _STUDY, str(root)]
    await (await asyncio.create_subprocess_exec(*command, cwd=ROOT)).wait()
    models, sets = root / "models", [root / "coarse", root / "close"]
    window.show_tab(5)
    await settle(lambda: bool(tab.setup._missing))
    await shoot("evaluate-empty")
    tab.setup.set_choice(Choice(workers=2))
    tab.setup.places_changed.emit(models, sets, None)
    await settle(lambda: len(tab.model.rows) == 8 and all(side.mesh_key for side in compare.sides))
    await shoot("evaluate-chosen")
    tab.request_start()
    await settle(lambda: tab.model.counts["done"] >= 3, 300)
    tab.table.choose(next(row.name for row in tab.model.rows if row.state == "done"))
    await settle(lambda: all(side.mesh_key for side in compare.sides))
    await shoot("evaluate-running")
    await settle(lambda: session.evaluate.job is None, 300)
    tab.jump_to("improved")
    name = tab.table.current.name
    await settle(lambda: all(side.mesh_key is not None and side.mesh_key[0] == name for side in compare.sides))
    await shoot("evaluate-results")
    tab.escape()
    compare.left.pick("")
    compare.left.picked.emit()
    tab.set_metric("psnr")
    await settle(lambda: compare.left.mesh_key == (name, ""))
    compare.right.viewport.look_from(120, 30)
    await shoot("evaluate-linked")
    tab.show_filter("failed")
    tab.table.choose(tab.model.at(0).name)
    await shoot("evaluate-failed", ("dark",))
    tab.show_filter("")
    loads: list[bool] = []
    tab.report.loaded.connect(loads.append)
    tab.show_side(1)
    await settle(lambda: bool(loads))
    await shoot("evaluate-report")
    tab.report.scroll(3)
    await shoot("evaluate-report-lower")
    tab.show_side(0)
    tab.setup.add_predictions([models.parent / "nowhere"])
    await settle(lambda: tab.banner.isVisible() and "nowhere" in tab.banner.text.text())
    await shoot("evaluate-error")


async def study_report(session: Session, shoot: Callable[..., Awaitable[None]], folder: Path) -> None:
    """The Evaluate tab with the report of a finished `oriel study`: two of its networks beside each other, the page."""
    tab = session.window.evaluate
    compare = tab.compare
    session.window.show_tab(5)
    tab.setup.folder.chosen.emit(folder / "report")
    await settle(lambda: bool(tab.model.rows))
    for side, label in ((compare.left, "zero-shot"), (compare.right, "fine-tuned")):
        side.pick(label)
        side.picked.emit()
    tab.jump_to("improved")
    name = tab.table.current.name
    wanted = [(name, "zero-shot"), (name, "fine-tuned")]
    await settle(lambda: [side.mesh_key for side in (compare.left, compare.right)] == wanted)
    case = json.loads((folder / "models" / "cases.json").read_text())[name]
    compare.right.viewport.look_from(case["azimuth"], case["elevation"])
    await shoot("study-results")
    loads: list[bool] = []
    tab.report.loaded.connect(loads.append)
    tab.show_side(1)
    await settle(lambda: bool(loads))
    await shoot("study-report")
    tab.report.page.runJavaScript("document.querySelector('figure.card').previousElementSibling.scrollIntoView()")
    await shoot("study-figure")


async def finetune_tab(session: Session, shoot: Callable[..., Awaitable[None]]) -> None:
    """The Fine-tune tab with a short run of a small network: empty, chosen, all options, views being predicted,
    running, faulty models, stopped, an earlier run gone wrong."""
    from engine.surface import reconstruct
    from engine.training import FineTuneOptions
    from engine.training.records import COLUMNS, append_row
    from tests.engine.training.tiny_run import TINY

    window, tab = session.window, session.window.finetune
    details = tab.details
    folder = Path(tempfile.mkdtemp()) / "buildings"
    # In a process of its own: two kinds of OpenGL do not go together.
    draw = "import sys; from pathlib import Path; from tests.rendered_models import write_renders; "
    draw += "write_renders(Path(sys.argv[1]), range(4, 12), size=128, validation=3, light=True)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", draw, str(folder), cwd=ROOT)
    assert await process.wait() == 0
    window.show_tab(4)
    await shoot("finetune-empty")
    tab.setup.source.chosen.emit(folder)
    await settle(lambda: tab.holding is not None)
    await shoot("finetune-chosen")
    small = replace(TINY, volume_resolution=32, image_size=64)
    reconstruct.CONFIGS[small.name] = small
    quick = {"rays": 96, "coarse": 16, "fine": 8, "rate": 1e-3, "validate_every": 25, "steps": 2000}
    tab.setup.form.set_values(FineTuneOptions(validate_models=2, **quick))
    tab.setup.form.show_more(True)
    await shoot("finetune-options", ready=lambda: tab.setup.area.verticalScrollBar().setValue(260))
    tab.setup.form.show_more(False)
    missing = next((folder / "zero12345_narrow" / "models").glob("*")) / "view_3.png"
    kept = missing.read_bytes()
    missing.unlink()
    tab.reload_requested.emit()
    await settle(lambda: bool(tab.holding.problems))
    tab.request_start()
    await shoot("finetune-faulty")
    missing.write_bytes(kept)
    tab.reload_requested.emit()
    await settle(lambda: not tab.holding.problems)
    tab.request_start()
    await settle(lambda: "Predicting views" in tab.totals.text(), 900)
    await shoot("finetune-predicting", ("dark",))
    tab.request_stop()
    await settle(lambda: session.finetune.job is None, 900)
    await shoot("finetune-nothing", ("light",))
    # The true views are there at once.
    tab.setup.form.set_values(FineTuneOptions(config=small.name, validate_models=3, predicted_share=0.0, **quick))
    tab.request_start()
    await settle(lambda: tab.record.last_step >= 90 and details.true.mesh is not None, 1800)
    tab.toggle_pause()
    await shoot("finetune-running")
    tab.follow.setChecked(False)
    details.show_side(1)
    await shoot("finetune-log", ("dark",))
    details.show_side(0)
    tab.request_stop()
    await settle(lambda: session.finetune.job is None, 900)
    await shoot("finetune-stopped")
    tab.use_weights()
    await settle(lambda: "Reconstructions now use" in tab.banner.text.text())
    await shoot("finetune-used", ("light",))

    # Written by hand, as a long run leaves it that went wrong in the end.
    long = folder.with_name("long run")
    (long / "checkpoints").mkdir(parents=True)
    (long / "checkpoints" / "step-00006200.ckpt").touch()
    names = json.loads((folder.with_name("buildings-finetune") / "finetune.json").read_text())
    (long / "finetune.json").write_text(json.dumps(names | {"options": FineTuneOptions(epochs=200).to_dict()}))
    spread = random.Random(1)
    for step in range(0, 6300, 10):
        fall = 2.718 ** (-step / 1500)
        noise = {name: 0.75 + 0.5 * spread.random() for name in ("rgb", "mask", "eikonal", "sparsity")}
        terms = {"rgb": 0.05 + 0.12 * fall, "mask": 0.004 + 0.03 * fall, "eikonal": 0.006, "sparsity": 0.002}
        row = {name: value * noise[name] for name, value in terms.items()}
        row |= {"kind": "train", "step": step, "epoch": step / 40, "loss": sum(row.values())}
        append_row(long / "log.csv", COLUMNS, row)
        if step % 400 == 0:
            found = {"f_score": 0.62 - 0.3 * fall, "mask_iou": 0.93 - 0.2 * fall, "psnr": 24 - 7 * fall}
            found = {name: value * (0.98 + 0.04 * spread.random()) for name, value in found.items()}
            row = {"kind": "validate", "step": step, "score": found["f_score"], **found}
            append_row(long / "log.csv", COLUMNS, row)
    text = "the model has become empty: rays through the object gather a weight of 0.08"
    for kind, end in (("rollback", ". Back to step 6200, with half the rate."), ("collapse", "")):
        row = {"kind": kind, "step": 6291, "message": f"At step 6291 {text}{end}"}
        append_row(long / "log.csv", COLUMNS, row)
    tab.setup.folder.chosen.emit(long)
    await settle(lambda: tab.title.text() == "long run")

    def hover() -> None:
        tab.losses.chart.at_step = tab.validations.chart.at_step = 2400.0
        window.update()

    await shoot("finetune-earlier", ready=hover)


PARTS: dict[str, Callable[..., Awaitable[None]]] = {
    "reconstruct": reconstruct_tab,
    "models": models_page,
    "crawl": crawl_tab,
    "screen": screen_tab,
    "render": render_tab,
    "finetune": finetune_tab,
    "evaluate": evaluate_tab,
}
"""What takes the pictures of each part of the window, in the order of a run of all."""


def main() -> int:
    """Parse the command line and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", type=Path, help="picture to reconstruct; by default the first sample")
    parser.add_argument(
        "--part", choices=("all", "reconstruct", *PARTS), default="all", help="take the pictures of a part only"
    )
    parser.add_argument("--study", type=Path, help="take pictures of the report of this finished `oriel study` instead")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["ORIEL_HOME"] = tempfile.mkdtemp(prefix="oriel-screenshots-")
    os.environ["HF_HUB_CACHE"] = str(Path(os.environ["ORIEL_HOME"], "hub"))
    picture = arguments.picture or next(iter(sorted((ROOT / "resources" / "samples").glob("*.*"))))

    import qasync
    from PySide6.QtWidgets import QApplication

    from widgets.screen import share_contexts

    share_contexts()
    app = QApplication(sys.argv[:1])
    app.setQuitOnLastWindowClosed(False)
    with qasync.QEventLoop(app) as loop:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(take_all(arguments.out, picture, arguments.part, arguments.study))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks.render ratio|full`: what a Blender that stays saves, and a run at full size.

`ratio` renders the same procedural models in turn by this project and by a script that starts Blender once a model, as
published render scripts do, with the same settings. `full` renders models with the default settings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from engine.data import make_object, split_seeds
from engine.rendering.blender import Blender, BlenderProcess, find_blender
from engine.rendering.jobs import RenderSettings, frames

# What render scripts on the web have in common: a fresh process, import, join what there is into the unit cube, one
# render a view with Blender's defaults beside the asked-for settings, depth by the compositor; and the end.
SCRIPT = r"""
import json, sys
import bpy
from mathutils import Matrix, Vector

job = json.loads(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene, settings = bpy.context.scene, job["settings"]
bpy.ops.import_scene.gltf(filepath=job["model"])
meshes = [o for o in scene.objects if o.type == "MESH"]
corners = [o.matrix_world @ Vector(c) for o in meshes for c in o.bound_box]
low = Vector(min(c[i] for c in corners) for i in range(3))
high = Vector(max(c[i] for c in corners) for i in range(3))
fit = Matrix.Scale(1 / max(high - low), 4) @ Matrix.Translation(-(low + high) / 2)
for root in [o for o in scene.objects if not o.parent]:
    root.matrix_world = fit @ root.matrix_world
world = scene.world = bpy.data.worlds.new("world")
world.use_nodes = True
world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
for place in ((0.4, -0.3, 1), (-1, -0.5, 0.3), (0.6, 1, -0.3)):
    lamp = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    lamp.matrix_world = Vector(place).to_track_quat("Z", "Y").to_matrix().to_4x4()
    scene.collection.objects.link(lamp)
camera = scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
camera.data.lens, camera.data.sensor_width = settings["lens"], settings["sensor"]
scene.collection.objects.link(camera)
scene.render.engine = "CYCLES"
scene.render.resolution_x = scene.render.resolution_y = settings["size"]
scene.render.film_transparent = True
scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
scene.view_settings.view_transform = "Standard"
if job["threads"]:
    scene.render.threads_mode, scene.render.threads = "FIXED", job["threads"]
cycles = scene.cycles
cycles.samples, cycles.use_denoising = settings["samples"], settings["denoise"]
cycles.filter_width = settings["filter_width"]
cycles.diffuse_bounces, cycles.glossy_bounces = settings["diffuse_bounces"], settings["glossy_bounces"]
cycles.transmission_bounces = settings["transmission_bounces"]
cycles.transparent_max_bounces = settings["transparent_bounces"]
if job["prefilter"]:
    cycles.denoising_prefilter = job["prefilter"]
bpy.context.view_layer.use_pass_z = True
if bpy.app.version >= (5, 0, 0):
    tree = scene.compositing_node_group = bpy.data.node_groups.new("depth", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    end = tree.nodes.new("NodeGroupOutput")
else:
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    end = tree.nodes.new("CompositorNodeComposite")
layers, file = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeOutputFile")
if bpy.app.version >= (5, 0, 0):
    file.directory, file.file_name, file.format.media_type = job["output"], "depth", "IMAGE"
    file.file_output_items.new("FLOAT", "")
else:
    file.base_path = job["output"]
file.format.file_format = "OPEN_EXR"
tree.links.new(layers.outputs["Image"], end.inputs["Image"])
depth = tree.links.new(layers.outputs["Depth"], file.inputs[0])
for frame in job["frames"]:
    camera.matrix_world = Matrix(frame["matrix"])
    scene.render.use_compositing = frame["depth"]
    scene.render.filepath = job["output"] + "/" + frame["name"] + ".png"
    bpy.ops.render.render(write_still=True)
"""


@dataclass
class Side:
    """One of the two ways, over all models."""

    seconds: float = 0.0
    """By the clock."""
    processor: float = 0.0
    """Of processor time: other work on the machine does not count."""
    models: list[float] = field(default_factory=list)
    """Processor seconds of each."""


@dataclass
class Ratio:
    """Both ways beside each other."""

    blender: str
    size: int
    frames: int
    ours: Side = field(default_factory=Side)
    script: Side = field(default_factory=Side)
    script_prefilter: Side = field(default_factory=Side)
    """The script once more, but with the denoiser set as ours is: the rest of the gain is the process's."""
    profile: dict[str, float] = field(default_factory=dict)
    """Of ours, seconds by the clock: start, load, frames, depth."""

    def lines(self) -> list[str]:
        """To print."""
        count = len(self.ours.models)
        found = [f"Blender {self.blender}, {count} models, {self.frames} frames each, {self.size} px"]
        for name, side in (
            ("ours", self.ours),
            ("script", self.script),
            ("script, our denoiser", self.script_prefilter),
        ):
            each = side.processor / max(1, count * self.frames)
            spent = f"{side.seconds:8.1f} s by the clock, {side.processor:8.1f} s of processor"
            found.append(f"{name:22} {spent}, {each:.3f} s a frame")
        for name, side in (("script", self.script), ("script, our denoiser", self.script_prefilter)):
            clock, processor = side.seconds / self.ours.seconds, side.processor / self.ours.processor
            found.append(f"{name} / ours: {clock:.2f} by the clock, {processor:.2f} of processor")
        found.append("ours: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.profile.items()))
        return found


def measure_ratio(
    folder: Path, models: int = 10, size: int = 64, views: int = 40, threads: int | None = None, blender: Any = None
) -> Ratio:
    """Each model by one way and then the other, so that both meet the same machine."""
    paths = export_models(folder / "models", models)
    settings = RenderSettings(size=size)
    shots = frames(settings)[:views]
    found = find_blender(blender)
    ratio = Ratio(found.version, size, len(shots))
    (script := folder / "script.py").write_text(SCRIPT)
    profile = dict.fromkeys(("start", "load", "frames", "depth"), 0.0)
    with BlenderProcess(found, threads=threads) as process:
        for number, path in enumerate(paths):
            job = {
                "model": str(path),
                "settings": asdict(settings),
                "threads": threads or 0,
                "frames": [{"name": s.name, "matrix": s.pose.matrix().tolist(), "depth": s.depth} for s in shots],
            }
            for side, prefilter in ((ratio.script, ""), (ratio.script_prefilter, "NONE")):
                (output := folder / f"script {number} {prefilter}").mkdir()
                more = {"output": str(output), "prefilter": prefilter}
                _add(side, *_run_script(found, script, job | more))
                assert len(list(output.glob("*.png"))) == len(shots)
            (output := folder / f"ours {number}").mkdir()
            begun, used = time.perf_counter(), _used(process)
            rendered = process.render(path, output, settings, shots)
            seconds, now = time.perf_counter() - begun, _used(process)
            _add(ratio.ours, seconds, now - used)
            assert len(list(output.glob("*.png"))) == len(shots)
            profile["load"] += rendered.seconds["load"]
            profile["frames"] += sum(rendered.seconds["frames"].values()) - rendered.seconds["depth"]
            profile["depth"] += rendered.seconds["depth"]
            print(f"{path.stem}: {'; '.join(ratio.lines()[-3:-1])}", file=sys.stderr, flush=True)
            profile["start"] += seconds - rendered.seconds["load"] - sum(rendered.seconds["frames"].values())
    ratio.profile = profile
    return ratio


def measure_full(folder: Path, models: int, blender: Any = None) -> None:
    """Models with the default settings, a line each."""
    settings = RenderSettings()
    with BlenderProcess(find_blender(blender)) as process:
        for path in export_models(folder / "models", models):
            (output := folder / path.stem).mkdir()
            begun = time.perf_counter()
            rendered = process.render(path, output, settings, frames(settings))
            pictures, depths = len(list(output.glob("*.png"))), len(list(output.glob("*.npy")))
            size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
            each = (time.perf_counter() - begun) / len(frames(settings))
            print(
                f"{path.stem}: {rendered.statistics['triangles']} triangles, {pictures} pictures, {depths} depths, "
                f"{size:.1f} MB, {each:.2f} s a frame, Blender {rendered.megabytes:.0f} MB",
                flush=True,
            )


def export_models(folder: Path, count: int) -> list[Path]:
    """Procedural models as GLB."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in split_seeds("heldout")[:count]:
        model = make_object(int(seed))
        paths.append(folder / f"{model.family}_{seed}.glb")
        paths[-1].write_bytes(model.to_scene().export(file_type="glb"))
    return paths


def _run_script(blender: Blender, script: Path, job: dict[str, Any]) -> tuple[float, float]:
    """Seconds by the clock and of processor, of one Blender from its start to its end."""
    command = [*blender.command[:-1], str(script)]
    if len(command) > 2:
        command.append("--")
    before, begun = psutil.Process().cpu_times(), time.perf_counter()
    subprocess.run([*command, json.dumps(job)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = psutil.Process().cpu_times()
    seconds = time.perf_counter() - begun
    children = (t.children_user + t.children_system for t in (after, before))
    return seconds, next(children) - next(children)


def _used(process: BlenderProcess) -> float:
    """Seconds of processor that the Blender which stays has taken."""
    if process.process_id is None:
        return 0.0
    times = psutil.Process(process.process_id).cpu_times()
    return float(times.user + times.system)


def _add(side: Side, seconds: float, processor: float) -> None:
    side.seconds += seconds
    side.processor += processor
    side.models.append(processor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where the aim was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.render", description=__doc__)
    parser.add_argument("what", choices=("ratio", "full"))
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, of `ratio` (default 64)")
    parser.add_argument("--views", type=int, default=40, help="frames a model, of `ratio` (default all 40)")
    parser.add_argument("--threads", type=int, help="threads of Blender (default: one a core)")
    parser.add_argument("--blender", help="executable, Python with bpy, or the folder of either")
    parser.add_argument("-o", "--output", type=Path, help="folder for what is made (default: a temporary one)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as scratch:
        folder = options.output or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.what == "full":
            measure_full(folder, options.models, options.blender)
            return 0
        ratio = measure_ratio(folder, options.models, options.size, options.views, options.threads, options.blender)
    print("\n".join(ratio.lines()))
    return 0 if ratio.script.processor >= 1.3 * ratio.ours.processor else 1


if __name__ == "__main__":
    sys.exit(main())

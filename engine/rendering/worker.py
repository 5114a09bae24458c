"""Runs inside Blender (3.6 to 5.x): loads one model after the other, makes it ready and renders its frames.

Started by `blender.py` as `python worker.py` where `bpy` is a module, or with `blender --background --python`. Takes
jobs as JSON lines on standard input and answers with JSON lines on standard output; what Blender itself prints goes to
standard error. Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "wb", buffering=0)
os.dup2(2, 1)  # before Blender prints anything

import bpy  # noqa: E402
import numpy as np  # noqa: E402
from mathutils import Matrix, Vector  # noqa: E402

GREY = (0.8, 0.8, 0.8, 1.0)
"""What has no colour."""
SHAPES = {"MESH", "CURVE", "SURFACE", "META", "FONT"}
BACKENDS = ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL")
"""In the order in which `auto` tries them."""
AMBIENT = 0.6
"""Share of a colour that a surface shows wherever it looks."""
SUNS = (((0.4, -0.3, 1.0), 0.3), ((-1.0, -0.5, 0.3), 0.15), ((0.6, 1.0, -0.3), 0.1))
"""Where soft light comes from as well, and how much of a colour it adds at most."""
NO_NUMBERS = "{} has points that are no numbers: repair it in another program, or leave it out."
NO_EXTENT = "{} has no extent: all its points lie in one place. Leave it out."
CLEAR = 0.02
"""Alpha below which nothing is to be seen."""
SEEN = 0.12
"""Alpha of a pixel that shows something: several surfaces that are as good as clear, with some noise, reach less."""
DEPTH = ".depth_"
VERSION = bpy.app.version_string.split()[0]

Block = Any
"""Something of Blender's, which has no types."""
Array = np.ndarray[Any, np.dtype[np.float64]]
Jobs = queue.SimpleQueue[dict[str, Any]]


class Unusable(Exception):
    """A model, or a setting, that cannot be rendered; the text is for the user."""


def say(event: str, **more: Any) -> None:
    ANSWERS.write(json.dumps({"event": event, **more}).encode() + b"\n")


# -- the process ---------------------------------------------------------------------------------------------


def die_with_parent() -> None:
    """Let the system end this process with its parent, also in the middle of a frame (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def read_jobs(jobs: Jobs) -> None:
    """Queue the jobs that come; without a parent that sends some there is no reason to go on."""
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    die_with_parent()
    jobs: Jobs = queue.SimpleQueue()
    threading.Thread(target=read_jobs, args=(jobs,), daemon=True).start()
    say("ready", blender=VERSION)
    while True:
        job = jobs.get()
        try:
            done = render_model(job)
            say("done", **done, blender=VERSION, megabytes=resident())
        except Unusable as error:
            say("failed", text=str(error), megabytes=resident())
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            name = job["name"]
            text = f"Blender {VERSION} could not render {name} ({first}). The log says more; else leave the model out."
            say("failed", text=text, megabytes=resident())


def resident() -> float:
    """Megabytes of memory that this process holds."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def render_model(job: dict[str, Any]) -> dict[str, Any]:
    begun = time.perf_counter()
    settings: dict[str, Any] = job["settings"]
    repairs: list[str] = []
    reset()
    scene = bpy.context.scene
    output = Path(job["output"])
    load(Path(job["model"]), job["name"])
    statistics = make_ready(scene, job["name"], repairs)
    camera = furnish(scene, settings)
    statistics["device"] = apply_settings(scene, settings, job["threads"])
    reveal(scene, camera, job["frames"], output, repairs)
    loaded = time.perf_counter() - begun
    say("loaded", seconds=loaded)
    times = {}
    depth = Depth(scene, output, settings["size"])
    for frame in job["frames"]:
        start = time.perf_counter()
        aim(camera, Matrix(frame["matrix"]))
        render_frame(scene, output, frame["name"], depth if frame["depth"] else None)
        times[frame["name"]] = time.perf_counter() - start
        say("frame", name=frame["name"], seconds=times[frame["name"]])
    reset()
    return {
        "statistics": statistics,
        "repairs": repairs,
        "seconds": {"load": loaded, "frames": times, "depth": depth.seconds},
    }


def reset() -> None:
    """An empty scene and nothing else: all that a model has brought is gone, with what the renderer kept of it."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)


# -- loading -------------------------------------------------------------------------------------------------


def operator(name: str) -> Block:
    """An operator such as `wm.obj_import`, or None where this Blender lacks it."""
    group, _, name = name.partition(".")
    module = getattr(bpy.ops, group)
    return getattr(module, name) if name in dir(module) else None


def first_operator(names: list[str], addon: str | None = None) -> Block:
    """The first that there is, with its add-on enabled."""
    if addon:
        import addon_utils

        if not addon_utils.check(addon)[1]:
            addon_utils.enable(addon)
    for name in names:
        found = operator(name)
        if found is not None:
            return found
    raise Unusable(f"Blender {VERSION} has no importer {names[0]}: choose a Blender that is complete.")


def options(function: Block, **wanted: Any) -> dict[str, Any]:
    """Those of the options that the operator has."""
    known = function.get_rna_type().properties.keys()
    return {name: value for name, value in wanted.items() if name in known}


def load(path: Path, name: str) -> None:
    """Import a model file by its suffix, upright: Z up; `name` is what the user calls it."""
    kind = path.suffix.lower()
    more = {}
    problems: list[Unusable] = []
    if kind in (".glb", ".gltf"):
        function = first_operator(["import_scene.gltf"], "io_scene_gltf2")
        watch_gltf(problems, name)
        more = options(function, disable_bone_shape=True, import_webp_texture=True, import_scene_extras=False)
    elif kind == ".obj":
        function = first_operator(["wm.obj_import", "import_scene.obj"])
        if oriel_wrote_z_up(path):
            more = options(function, forward_axis="Y", up_axis="Z") or {"axis_forward": "Y", "axis_up": "Z"}
    elif kind == ".fbx":
        function = operator("wm.fbx_import") or first_operator(["import_scene.fbx"], "io_scene_fbx")
        more = options(function, use_anim=False)
    elif kind == ".ply":
        function = operator("wm.ply_import") or first_operator(["import_mesh.ply"], "io_mesh_ply")
    elif kind == ".stl":
        function = operator("wm.stl_import") or first_operator(["import_mesh.stl"], "io_mesh_stl")
    elif kind in (".usd", ".usda", ".usdc", ".usdz"):
        function = first_operator(["wm.usd_import"])
        more = options(function, import_cameras=False, import_lights=False, set_frame_range=False)
    else:
        raise Unusable(f"{name} is of no kind that is rendered: give GLB, glTF, OBJ, FBX, PLY, STL or USD.")
    try:
        if not path.stat().st_size and path.is_file():
            raise Unusable(f"{name} is empty: download it again, or leave it out.")
        function(filepath=str(path), **more)
        if problems:
            raise problems[0]
    except FileNotFoundError:
        raise Unusable(f"{name} is not there: {path} has been moved or deleted.") from None
    except RuntimeError as error:  # what an importer reports
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "Location: " not in line]
        reason = (lines or ["it gives no reason"])[-1 if "Traceback" in str(error) else 0].removeprefix("Error: ")
        raise Unusable(
            f"{name} cannot be loaded by Blender {VERSION}: {reason[:300]}. Download it again or open it in another "
            "program; else leave it out."
        ) from error


def watch_gltf(problems: list[Unusable], name: str) -> None:
    """Let the importer, which is Python, leave out animations and what the file does not show at its start, and note
    points that it would silently move to 0.

    It sets what is animated to the first key; there is no way back to how the file places it.
    """
    from io_scene_gltf2.io.imp.gltf2_io_binary import BinaryData
    from io_scene_gltf2.io.imp.gltf2_io_gltf import glTFImporter

    read = vars(glTFImporter).get("unchanged_read") or glTFImporter.read

    def watched(gltf: Any) -> None:
        read(gltf)
        gltf.data.animations = []
        hide_other_scenes(gltf.data)
        primitives = [primitive for mesh in gltf.data.meshes or [] for primitive in mesh.primitives]
        for index in {p.attributes["POSITION"] for p in primitives if "POSITION" in p.attributes}:
            plain = gltf.data.accessors[index].buffer_view is not None  # else compressed
            if plain and not np.isfinite(BinaryData.decode_accessor(gltf, index)).all():
                problems.append(Unusable(NO_NUMBERS.format(name)))

    glTFImporter.unchanged_read, glTFImporter.read = read, watched


def hide_other_scenes(document: Any) -> None:
    """Leave the nodes of the scene that a glTF file names; of all scenes where it names none, all where it has none."""
    nodes, scenes = document.nodes or [], document.scenes or []
    if document.scene is not None and not 0 <= document.scene < len(scenes):
        document.scene = None
    chosen = scenes if document.scene is None else [scenes[document.scene]]
    below = [root for scene in chosen for root in scene.nodes or []]
    if not below:
        return
    shown = set()
    while below:
        index = below.pop()
        if index not in shown:
            shown.add(index)
            below += nodes[index].children or []
    for index, node in enumerate(nodes):
        if index not in shown:
            node.mesh = node.extensions = None


def oriel_wrote_z_up(path: Path) -> bool:
    """Whether an OBJ file is one of Oriel's that stands Z up, as all did once; others stand Y up by custom."""
    with path.open("rb") as file:
        first = file.readline(80)
    return first.startswith(b"# Oriel") and b"Y up" not in first


# -- making ready --------------------------------------------------------------------------------------------


def make_ready(scene: Block, name: str, repairs: list[str]) -> dict[str, Any]:
    """Reduce the scene to meshes of their own, their longest side 1 and their middle at the origin."""
    still()
    objects = flatten(scene, name)
    lower, upper = bounds(objects, name)
    side = float((upper - lower).max())
    scale, centre = 1.0 / side, (lower + upper) / 2
    normal = np.diag([scale, scale, scale, 1.0])
    normal[:3, 3] = -centre * scale
    for item, world in objects:
        place(item, Matrix((normal @ world).tolist()))
    meshes = [item.data for item, _ in objects]
    for mesh in meshes:
        mesh.calc_loop_triangles()
    textures = repair_materials(objects, repairs)
    return {
        "vertices": sum(len(mesh.vertices) for mesh in meshes),
        "triangles": sum(len(mesh.loop_triangles) for mesh in meshes),
        "objects": len(objects),
        "materials": len({slot.material for item, _ in objects for slot in item.material_slots if slot.material}),
        "textures": textures,
        "bounds": [lower.tolist(), upper.tolist()],
        "scale": scale,
    }


def still() -> None:
    """Nothing moves: without its animations the model stands as the file places it."""
    for group in (bpy.data.objects, bpy.data.armatures, bpy.data.shape_keys, bpy.data.materials, bpy.data.node_groups):
        for block in group:
            block.animation_data_clear()


def flatten(scene: Block, name: str) -> list[tuple[Block, Array]]:
    """Replace all that there is by objects without parents; returns (object, its place in the world) pairs."""
    bpy.context.view_layer.update()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    seen = [
        (instance.object.original, np.array(instance.matrix_world, np.float64))
        for instance in depsgraph.object_instances
        if instance.show_self and instance.object.type in SHAPES and not instance.object.original.hide_render
    ]
    made, objects, old = {}, [], list(bpy.data.objects)
    for original, world in seen:
        mesh = original.data
        if original.type != "MESH" or original.modifiers or mesh.shape_keys:  # as it is shown, not as it is stored
            if original not in made:
                shown = original.evaluated_get(depsgraph)
                made[original] = bpy.data.meshes.new_from_object(
                    shown, preserve_all_data_layers=True, depsgraph=depsgraph
                )
            mesh = made[original]
        if not len(mesh.polygons):
            continue
        item = bpy.data.objects.new("part", mesh)
        for slot, like in zip(item.material_slots, original.material_slots, strict=False):
            if like.link == "OBJECT":
                slot.link, slot.material = "OBJECT", like.material
        scene.collection.objects.link(item)
        objects.append((item, world))
    bpy.data.batch_remove(old)
    if not objects:
        raise Unusable(f"{name} holds no surfaces that could be seen (no triangles): leave it out.")
    return objects


def place(item: Block, matrix: Matrix) -> None:
    """Put an object there; what no position, turn and scale can express goes into a mesh of its own."""
    item.matrix_world = matrix
    position, turn, scale = matrix.decompose()
    nearest = Matrix.Translation(position) @ turn.to_matrix().to_4x4() @ Matrix.Diagonal((*scale, 1.0))
    if max(abs(a - b) for x, y in zip(nearest, matrix, strict=True) for a, b in zip(x, y, strict=True)) < (
        1e-5 * max(map(abs, scale))
    ):
        return
    item.data = item.data.copy()
    item.data.transform(matrix)
    if matrix.determinant() < 0:
        item.data.flip_normals()
    item.matrix_world = Matrix.Identity(4)


def bounds(objects: list[tuple[Block, Array]], name: str) -> tuple[Array, Array]:
    """Lower and upper corner in the world of all faces that can be seen: not those without an area or wholly clear."""
    lowers, uppers = [], []
    faces = [faces_of(item, world) for item, world in objects]
    least = 1e-12 * max(float(areas.max()) for _, areas, _ in faces)
    solid = [~clear & ~(areas <= least) for _, areas, clear in faces]
    if not any(each.any() for each in solid):  # all will be shown
        solid = [~(areas <= least) for _, areas, _ in faces]
    for (item, world), (sizes, _, _), shown in zip(objects, faces, solid, strict=True):
        if not shown.any():
            continue
        mesh = item.data
        points = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", points)
        corners = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", corners)
        used = np.zeros(len(mesh.vertices), bool)
        used[corners[np.repeat(shown, sizes)]] = True
        placed = points.reshape(-1, 3)[used].astype(np.float64) @ world[:3, :3].T + world[:3, 3]
        lowers.append(placed.min(0))
        uppers.append(placed.max(0))
    if not lowers:
        raise Unusable(NO_EXTENT.format(name))
    lower, upper = np.min(lowers, 0), np.max(uppers, 0)
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        raise Unusable(NO_NUMBERS.format(name))
    if not 1e-30 < (upper - lower).max() < 1e30:
        raise Unusable(NO_EXTENT.format(name))
    return lower, upper


def faces_of(item: Block, world: Array) -> tuple[Any, Any, Any]:
    """Of each face of an object its number of corners, its area in the world and whether its material lets all light
    through."""
    mesh = item.data
    sizes, materials = np.empty((2, len(mesh.polygons)), np.int32)
    areas = np.empty(len(mesh.polygons), np.float32)
    mesh.polygons.foreach_get("loop_total", sizes)
    mesh.polygons.foreach_get("material_index", materials)
    mesh.polygons.foreach_get("area", areas)
    clear = np.array([slot.material is not None and is_clear(slot.material) for slot in item.material_slots] or [False])
    larger = np.linalg.svd(world[:3, :3], compute_uv=False)[:2].prod()  # of a flattened object one side is 0
    return sizes, areas * larger, clear[np.minimum(materials, len(clear) - 1)]


def is_clear(material: Block) -> bool:
    """Whether nothing is to be seen of a material, whatever its pictures hold."""
    shaders = [node for node in shader_nodes(material) if node.type == "BSDF_PRINCIPLED"]
    alphas = [node.inputs["Alpha"] for node in shaders]
    return bool(alphas) and all(not alpha.is_linked and alpha.default_value < CLEAR for alpha in alphas)


def shader_nodes(material: Block) -> Iterator[Block]:
    """The nodes of a material, but for those in groups."""
    return iter(material.node_tree.nodes if material.node_tree else ())


def repair_materials(objects: list[tuple[Block, Array]], repairs: list[str]) -> int:
    """Give a plain colour to what has lost its texture, and show colours of vertices. Returns how many textures
    there are."""
    materials = {slot.material for item, _ in objects for slot in item.material_slots if slot.material}
    trees = {material: material.node_tree for material in materials if material.node_tree}
    bad = {image for image in bpy.data.images if broken(image)}
    for material, tree in trees.items():
        material.use_backface_culling = False  # as Cycles does: a wall is there from both sides
        for node in images_of(tree):
            if node.image is None or node.image in bad:
                plain(node.id_data, node)
                if node.image is None:
                    repairs.append(f"A texture of the material {material.name} is missing: it has a plain colour.")
    for image in sorted(bad, key=lambda image: image.name):
        name = image.filepath.replace("\\", "/").rpartition("/")[2] or image.name
        repairs.append(f"The texture {name} is missing or cannot be read: its parts have a plain colour.")
    show_colours(objects, trees)
    return sum(image not in bad for image in bpy.data.images)


def images_of(tree: Block) -> Iterator[Block]:
    """The image nodes of a material, also those in groups."""
    for node in list(tree.nodes):
        if node.type == "TEX_IMAGE":
            yield node
        elif node.type == "GROUP" and node.node_tree:
            yield from images_of(node.node_tree)


def broken(image: Block) -> bool:
    """Whether there is nothing in an image, which Blender shows in magenta."""
    return image.source in ("FILE", "TILED") and not (image.size[0] and image.size[1])


def plain(tree: Block, node: Block) -> None:
    """Let a material do without one of its textures."""
    for link in list(tree.links):
        if link.from_node != node:
            continue
        target, socket = link.to_node, link.to_socket
        alpha = link.from_socket.name == "Alpha"
        tree.links.remove(link)
        if alpha:
            if socket.type == "VALUE":
                socket.default_value = 1.0
        elif socket.type != "RGBA":
            continue
        elif socket.name == "Base Color":
            if max(socket.default_value[:3]) < 0.02:  # as files often have it beside a texture
                socket.default_value = GREY
        elif socket.name.startswith("Emission"):
            socket.default_value = (0, 0, 0, 1)
        elif target.type in ("SEPARATE_COLOR", "SEPRGB"):
            socket.default_value = (1, 0.8, 0, 1)  # occlusion, roughness, metalness
        elif target.type not in ("NORMAL_MAP", "BUMP"):
            socket.default_value = (1, 1, 1, 1)  # of a product with the plain colour


def show_colours(objects: list[tuple[Block, Array]], trees: dict[Block, Block]) -> None:
    """Colour meshes by their vertices where no texture and no node of the material does."""
    made = {}
    for item, _ in objects:
        colours = item.data.color_attributes
        if not len(colours) or not shows(colours[0]):
            continue
        for slot in item.material_slots or [None]:
            material = slot.material if slot else None
            tree = trees.get(material)
            used = [node.type for node in tree.nodes] if tree else []
            if any(kind in ("TEX_IMAGE", "VERTEX_COLOR", "ATTRIBUTE") for kind in used):
                continue
            key = (material, colours[0].name)
            if key not in made:
                made[key] = coloured(material, colours[0].name)
            if slot is None:
                item.data.materials.append(made[key])
            else:
                slot.material = made[key]


def shows(colours: Block) -> bool:
    """Whether colours of vertices hold anything but black, which stands for none."""
    values = np.empty(4 * len(colours.data), np.float32)
    colours.data.foreach_get("color", values)
    return bool(values.reshape(-1, 4)[:, :3].any())


def coloured(material: Block, name: str) -> Block:
    """A copy of a material whose base colour is that of the vertices."""
    material = material.copy() if material else bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    shader = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        return material
    base = shader.inputs["Base Color"]
    if base.is_linked:
        return material
    node = tree.nodes.new("ShaderNodeVertexColor")
    node.layer_name = name
    tree.links.new(node.outputs["Color"], base)
    return material


# -- the studio ----------------------------------------------------------------------------------------------


def furnish(scene: Block, settings: dict[str, Any]) -> Block:
    """Add the camera and the lights; returns the camera."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width, camera.lens = "HORIZONTAL", settings["sensor"], settings["lens"]
    item = bpy.data.objects.new("camera", camera)
    scene.collection.objects.link(item)
    scene.camera = item
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (1, 1, 1, 1)
    background.inputs["Strength"].default_value = AMBIENT * settings["light"]
    scene.world = world
    for place, strength in SUNS:
        light = bpy.data.lights.new("sun", "SUN")
        light.energy, light.angle = strength * math.pi * settings["light"], math.radians(30)
        sun = bpy.data.objects.new("sun", light)
        sun.matrix_world = Vector(place).to_track_quat("Z", "Y").to_matrix().to_4x4()
        scene.collection.objects.link(sun)
    return item


def aim(camera: Block, matrix: Matrix) -> None:
    """Put the camera there, to see all of the model, which lies within sqrt(3) / 2 of the origin."""
    camera.matrix_world = matrix
    distance = matrix.translation.length
    # EEVEE's depth is as fine as these are close to one another.
    camera.data.clip_start, camera.data.clip_end = max(0.001, distance - 1.0), distance + 1.0


def apply_settings(scene: Block, settings: dict[str, Any], threads: int) -> str:
    """Returns what renders, in words."""
    render = scene.render
    render.resolution_x = render.resolution_y = settings["size"]
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1
    render.film_transparent = True
    render.dither_intensity = 0
    render.use_persistent_data = True
    render.use_sequencer = False
    render.use_file_extension = False
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "8"
    render.image_settings.compression = 15
    scene.display_settings.display_device = "sRGB"
    scene.view_settings.view_transform = "Standard"  # colours of textures come out as they are
    scene.view_settings.look = "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0, 1
    if threads:
        render.threads_mode, render.threads = "FIXED", threads
    return (use_eevee if settings["engine"] == "eevee" else use_cycles)(scene, settings)


def use_eevee(scene: Block, settings: dict[str, Any]) -> str:
    kinds = [item.identifier for item in bpy.types.RenderSettings.bl_rna.properties["engine"].enum_items]
    scene.render.engine = "BLENDER_EEVEE_NEXT" if "BLENDER_EEVEE_NEXT" in kinds else "BLENDER_EEVEE"
    scene.render.filter_size = settings["filter_width"]
    scene.eevee.taa_render_samples = settings["samples"]
    return "OpenGL"


def use_cycles(scene: Block, settings: dict[str, Any]) -> str:
    import addon_utils

    if not addon_utils.check("cycles")[1]:
        addon_utils.enable("cycles")
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.samples = settings["samples"]
    cycles.use_denoising = settings["denoise"]
    if settings["denoise"]:
        try:
            cycles.denoiser = "OPENIMAGEDENOISE"
        except TypeError:
            raise Unusable(
                f"Blender {VERSION} is built without a denoiser here. Turn denoising off, or choose a Blender from "
                "blender.org."
            ) from None
        # With a narrow filter the colours and normals that guide the denoiser have no noise, unless some rays go
        # through a surface and some do not. To denoise these first would take twice as long as all the rest of it.
        clean = settings["filter_width"] <= 0.1 and not any(map(see_through, bpy.data.materials))
        cycles.denoising_prefilter = "NONE" if clean else "ACCURATE"
    cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    cycles.filter_width = settings["filter_width"]
    bounces = [settings[f"{kind}_bounces"] for kind in ("diffuse", "glossy", "transmission")]
    cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = bounces
    cycles.max_bounces = max(bounces)
    cycles.transparent_max_bounces = settings["transparent_bounces"]
    return use_device(cycles, settings["device"])


def see_through(material: Block) -> bool:
    """Whether light may pass a material."""
    for node in shader_nodes(material):
        if node.type in ("BSDF_TRANSPARENT", "BSDF_GLASS", "BSDF_REFRACTION", "HOLDOUT"):
            return True
        if node.type == "BSDF_PRINCIPLED":
            for name, opaque in (("Alpha", 1.0), ("Transmission Weight", 0.0), ("Transmission", 0.0)):
                socket = node.inputs.get(name)
                if socket and (socket.is_linked or socket.default_value != opaque):
                    return True
    return False


def use_device(cycles: Block, device: str) -> str:
    """Enable the processor or all GPUs of one kind."""
    cycles.device = "CPU"
    if device == "cpu":
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in BACKENDS if device == "auto" else (device.upper(),):
        try:
            preferences.compute_device_type = kind
        except TypeError:  # this Blender is built without
            continue
        getattr(preferences, "refresh_devices", preferences.get_devices)()
        found = [item for item in preferences.devices if item.type == kind]
        if found:
            for item in preferences.devices:
                item.use = item.type == kind
            cycles.device = "GPU"
            return f"{kind}: {', '.join(item.name for item in found)}"
    if device == "auto":
        return "CPU, as Blender found no GPU"
    raise Unusable(
        f"Blender {VERSION} found no {device} device on this machine. Choose the device auto or cpu, or mend the GPU's "
        "driver."
    )


def reveal(scene: Block, camera: Block, frames: list[dict[str, Any]], folder: Path, repairs: list[str]) -> None:
    """Make all materials opaque where nothing can be seen of a model for its materials' sake.

    Pictures, colours of corners and numbers can all make it clear: so it is looked at, very small.
    """
    materials = [material for material in bpy.data.materials if see_through(material)]
    if not materials or not frames:
        return
    small = max(1, min(100, math.ceil(6400 / scene.render.resolution_x)))
    quick = [(scene.render, "resolution_percentage", small)]
    if scene.render.engine == "CYCLES":
        wanted = {"samples": 128, "use_denoising": False, "transparent_max_bounces": 1024}
        quick += [(scene.cycles, name, value) for name, value in wanted.items()]
    before = [(block, name, getattr(block, name)) for block, name, _ in quick]
    for block, name, value in quick:
        setattr(block, name, value)
    try:
        clear = all(is_clear(material) for material in bpy.data.materials)
        for frame in [] if clear else [frame for frame in frames if frame["depth"]] or frames[:8]:
            aim(camera, Matrix(frame["matrix"]))
            if greatest_alpha(scene, folder) > SEEN:
                return
    finally:
        for block, name, value in before:
            setattr(block, name, value)
    for material in materials:
        for node in shader_nodes(material):
            if node.type == "BSDF_PRINCIPLED":
                alpha = node.inputs["Alpha"]
                for link in list(alpha.links):
                    material.node_tree.links.remove(link)
                alpha.default_value = 1.0
    repairs.append("All materials were fully transparent: they are shown as opaque.")


def greatest_alpha(scene: Block, folder: Path) -> float:
    """That of any pixel that the camera sees now, 0..1."""
    partial = folder / ".probe.png"
    scene.render.filepath, scene.render.use_compositing = str(partial), False
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(partial))
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    partial.unlink()
    return float(values.reshape(-1, 4)[:, 3].max())


# -- frames --------------------------------------------------------------------------------------------------


class Depth:
    """Writes the depth along the viewing axis beside a frame, in the same render."""

    def __init__(self, scene: Block, folder: Path, size: int) -> None:
        self.seconds = 0.0
        self._folder, self._size = folder, size
        bpy.context.view_layer.use_pass_z = True
        if bpy.app.version >= (5, 0, 0):
            tree = bpy.data.node_groups.new("depth", "CompositorNodeTree")
            tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
            scene.compositing_node_group = tree
            picture = tree.nodes.new("NodeGroupOutput")
        else:
            scene.use_nodes = True
            tree = scene.node_tree
            tree.nodes.clear()
            picture = tree.nodes.new("CompositorNodeComposite")
        layers = tree.nodes.new("CompositorNodeRLayers")
        file = tree.nodes.new("CompositorNodeOutputFile")
        if bpy.app.version >= (5, 0, 0):
            file.directory, file.file_name = str(folder), DEPTH
            file.format.media_type = "IMAGE"
            file.file_output_items.new("FLOAT", "")
        else:
            file.base_path, file.file_slots[0].path = str(folder), DEPTH
        file.format.file_format, file.format.color_depth, file.format.exr_codec = "OPEN_EXR", "32", "NONE"
        tree.links.new(layers.outputs["Image"], picture.inputs["Image"])
        tree.links.new(layers.outputs["Depth"], file.inputs[0])

    def write(self, name: str, end: float) -> None:
        """Turn what has just been rendered into the depth of the frame `name`; the camera sees as far as `end`."""
        begun = time.perf_counter()
        path = next(self._folder.glob(f"{DEPTH}*"))  # versions add the number of the frame and a suffix, or not
        image = bpy.data.images.load(str(path))
        image.colorspace_settings.name = "Non-Color"
        values = np.empty(self._size * self._size * image.channels, np.float32)
        image.pixels.foreach_get(values)
        bpy.data.images.remove(image)
        path.unlink()
        depth = values.reshape(self._size, self._size, -1)[::-1, :, 0].copy()  # from the top, as pictures
        depth[depth > end - 1e-3] = np.inf  # nothing: Cycles gives 1e10 there, EEVEE the end
        partial = self._folder / ".depth.npy"
        np.save(partial, depth)
        partial.replace(self._folder / f"{name}_depth.npy")
        self.seconds += time.perf_counter() - begun


def render_frame(scene: Block, folder: Path, name: str, depth: Depth | None) -> None:
    """Render what the camera sees now; `depth` writes it as well, unless it is None."""
    partial = folder / ".frame.png"
    scene.render.filepath = str(partial)
    scene.render.use_compositing = depth is not None
    try:
        bpy.ops.render.render(write_still=True)
    except RuntimeError as error:
        reason = str(error).strip().removeprefix("Error: ")
        raise Unusable(f"Blender {VERSION} could not render {name} ({reason}).") from error
    if depth is not None:
        depth.write(name, scene.camera.data.clip_end)
    partial.replace(folder / f"{name}.png")


main()

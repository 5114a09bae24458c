"""A building in a scene as photographs show it, rendered by Blender: lawn, trees, hills, sky, sun and shadows.

Run with the Python that has `bpy`: scene_worker.py JOBS.json; each job writes NAME.jpg, NAME-mask.png and NAME.json
(the camera's elevation in degrees to the middle of the building's bounds, tilt, and focal length in 35 mm terms).
"""

import json
import math
import random
import sys
from pathlib import Path

import bpy
from mathutils import Vector

WIDTH, HEIGHT = 960, 720
SIDE = 10.0  # metres, the building's longest


def material(name, low, high, scale, bump=0.3):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    shader = nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = 0.95
    noise, ramp, bumps = (nodes.new(f"ShaderNode{kind}") for kind in ("TexNoise", "ValToRGB", "Bump"))
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = scale, 12
    place = nodes.new("ShaderNodeTexCoord")
    links.new(place.outputs["Object"], noise.inputs["Vector"])
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.7
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*low, 1), (*high, 1)
    bumps.inputs["Strength"].default_value = bump
    links.new(noise.outputs[0], ramp.inputs[0])
    links.new(ramp.outputs[0], shader.inputs["Base Color"])
    links.new(noise.outputs[0], bumps.inputs["Height"])
    links.new(bumps.outputs[0], shader.inputs["Normal"])
    return made


def building(path):
    before = set(bpy.data.objects)
    bpy.ops.import_scene.gltf(filepath=path)
    parts = [o for o in bpy.data.objects if o not in before]
    bpy.context.view_layer.update()
    points = [o.matrix_world @ Vector(c) for o in parts if o.type == "MESH" for c in o.bound_box]
    low = Vector(min(p[i] for p in points) for i in range(3))
    high = Vector(max(p[i] for p in points) for i in range(3))
    scale = SIDE / max(high - low)
    root = bpy.data.objects.new("building", None)
    bpy.context.collection.objects.link(root)
    for part in parts:
        if part.parent is None:
            part.parent = root
    root.scale = (scale,) * 3
    root.location = -scale * Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z))
    bpy.context.view_layer.update()
    return parts, (high - low) * scale


def tree(rng, where, wood, leaves):
    height = rng.uniform(3.5, 8.0)
    bpy.ops.mesh.primitive_cylinder_add(radius=0.04 * height, depth=0.5 * height, location=(*where, 0.25 * height))
    bpy.context.object.data.materials.append(wood)
    for _ in range(rng.randint(4, 7)):
        size = height * rng.uniform(0.14, 0.26)
        off = [rng.gauss(0, 0.12 * height) for _ in range(2)]
        place = where[0] + off[0], where[1] + off[1], height * rng.uniform(0.5, 0.85)
        bpy.ops.mesh.primitive_ico_sphere_add(radius=size, subdivisions=5, location=place)
        crown = bpy.context.object
        crown.data.materials.append(leaves)
        texture = bpy.data.textures.new("leaf", "CLOUDS")
        texture.noise_scale = 0.12 * height * 0.4
        rough = crown.modifiers.new("rough", "DISPLACE")
        rough.texture, rough.strength = texture, 0.5 * size


def surroundings(rng, ahead):
    grass = material("grass", (0.03, 0.10, 0.015), (0.12, 0.22, 0.04), 3.0)
    bpy.ops.mesh.primitive_plane_add(size=900)
    bpy.context.object.data.materials.append(grass)
    if rng.random() < 0.6:  # a path to the door
        path = material("path", (0.25, 0.22, 0.18), (0.42, 0.38, 0.32), 8.0)
        bpy.ops.mesh.primitive_plane_add(size=1, location=(0.5 * 40 * ahead.x, 0.5 * 40 * ahead.y, 0.01))
        bpy.context.object.scale = (40, rng.uniform(1.5, 3.5), 1)
        bpy.context.object.rotation_euler[2] = math.atan2(ahead.y, ahead.x)
        bpy.context.object.data.materials.append(path)
    wood = material("wood", (0.06, 0.04, 0.025), (0.15, 0.1, 0.07), 4.0)
    for _ in range(rng.randint(10, 22)):
        shade = rng.uniform(0.6, 1.5)
        leaves = material(
            "leaves", [shade * v for v in (0.02, 0.07, 0.01)], [shade * v for v in (0.09, 0.2, 0.04)], 2.0, 1.0
        )
        angle = math.atan2(ahead.y, ahead.x) + math.pi + rng.uniform(-1.25, 1.25)  # behind and beside the building
        far = rng.uniform(12, 45)
        tree(rng, (far * math.cos(angle), far * math.sin(angle)), wood, leaves)
    for _ in range(5):
        angle = math.atan2(ahead.y, ahead.x) + math.pi + rng.uniform(-0.9, 0.9)
        bpy.ops.mesh.primitive_uv_sphere_add(
            radius=1, location=(240 * math.cos(angle), 240 * math.sin(angle), -10), segments=48, ring_count=24
        )
        bpy.context.object.scale = (rng.uniform(60, 130), rng.uniform(60, 130), rng.uniform(20, 45))
        bpy.context.object.data.materials.append(grass)


def sky(rng):
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    noise, ramp, place = (nodes.new(f"ShaderNode{kind}") for kind in ("TexNoise", "ValToRGB", "TexCoord"))
    stretch = nodes.new("ShaderNodeMapping")
    stretch.inputs["Scale"].default_value = (1, 1, 4)
    stretch.inputs["Location"].default_value = [rng.uniform(0, 9) for _ in range(3)]
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = rng.uniform(1.5, 4), 10
    blue = rng.uniform(0.6, 1.0)
    ramp.color_ramp.elements[0].color = (0.12 * blue, 0.3 * blue, 0.75 * blue, 1)
    ramp.color_ramp.elements[1].color = (0.85, 0.88, 0.92, 1)
    ramp.color_ramp.elements[0].position = rng.uniform(0.35, 0.55)
    ramp.color_ramp.elements[1].position = 0.75
    links.new(place.outputs["Generated"], stretch.inputs[0])
    links.new(stretch.outputs[0], noise.inputs["Vector"])
    links.new(noise.outputs[0], ramp.inputs[0])
    links.new(ramp.outputs[0], nodes["Background"].inputs[0])
    nodes["Background"].inputs[1].default_value = rng.uniform(0.5, 0.9)


def render(job):
    rng = random.Random(job["seed"])
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = WIDTH, HEIGHT, 100
    scene.render.threads_mode, scene.render.threads = "FIXED", job.get("threads", 2)
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 32, True, 4
    scene.view_settings.view_transform = "Standard"
    parts, size = building(job["model"])
    azimuth, lens = math.radians(job["azimuth"]), job["lens"]
    ahead = Vector((math.cos(azimuth), math.sin(azimuth), 0))
    surroundings(rng, ahead)
    sky(rng)
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle, sun.color = rng.uniform(2.0, 4.0), math.radians(0.6), (1, 0.95, 0.86)
    shining = bpy.data.objects.new("sun", sun)
    side = azimuth + rng.choice((-1, 1)) * rng.uniform(0.4, 1.3)
    height = rng.uniform(0.5, 1.1)
    shining.rotation_euler = (math.pi / 2 - height, 0, side + math.pi / 2)
    bpy.context.collection.objects.link(shining)

    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    bpy.context.collection.objects.link(camera)
    scene.camera = camera
    camera.data.sensor_width, camera.data.lens, camera.data.clip_end = 36.0, lens, 1000
    middle = Vector((0, 0, size.z / 2))
    radius = 0.5 * math.sqrt(size.x**2 + size.y**2 + size.z**2)
    half = math.atan(18.0 * HEIGHT / WIDTH / lens)
    away = radius / math.sin(half) * job.get("room", 1.1)
    if "eye" in job:  # a height above the ground in metres: the street
        where = ahead * away + Vector((0, 0, job["eye"]))
    else:
        up = math.radians(job["elevation"])
        where = middle + away * Vector((ahead.x * math.cos(up), ahead.y * math.cos(up), math.sin(up)))
        where.z = max(where.z, 0.5)
    camera.location = where
    camera.rotation_euler = (middle - where).to_track_quat("-Z", "Y").to_euler()
    flat = math.hypot(*(where - middle).xy)
    elevation = math.degrees(math.atan2(where.z - middle.z, flat))
    out = Path(job["out"])
    scene.render.image_settings.file_format, scene.render.image_settings.quality = "JPEG", 92
    scene.render.filepath = str(out.with_suffix(".jpg"))
    bpy.ops.render.render(write_still=True)
    for thing in bpy.data.objects:
        if thing not in parts:
            thing.visible_camera = False
    scene.render.film_transparent, scene.cycles.samples, scene.cycles.use_denoising = True, 16, False
    scene.cycles.max_bounces = 0
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = str(out.with_name(f"{out.name}-mask.png"))
    bpy.ops.render.render(write_still=True)
    truth = {"elevation": elevation, "tilt": -elevation, "lens": lens, "distance": (where - middle).length / radius}
    out.with_suffix(".json").write_text(json.dumps(truth))


for each in json.loads(Path(sys.argv[-1]).read_text()):
    if not Path(each["out"]).with_suffix(".json").exists():
        render(each)

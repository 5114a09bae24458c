"""Training renderer: pictures and depth of procedural objects through headless OpenGL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from engine import cameras
from engine.meshes import gl
from engine.meshes.mesh import ByteArray, FloatArray

_SKY, _SKY_SIDE, _SUN_SIDE = 10, 96, 384
"""Directions that the sky is seen from, the side of each one's shadow map in pixels, and that of the lamp's."""
_BORDER = 2 / _SKY_SIDE
"""Empty rim of a shadow map, as a share of its side: what lies beyond is lit."""

_VERTEX = """
uniform mat4 clip; uniform mat4 model;
in vec3 position; in vec3 normal; in vec2 uv; in float layer; in vec3 color_a; in vec3 color_b;
out vec3 n; out vec3 world; out vec3 tex; flat out vec3 a; flat out vec3 b;
#ifdef SHADED
invariant gl_Position; out vec3 local; out vec3 local_n;
#endif
void main() {
  vec4 p = model * vec4(position, 1.0);
  world = p.xyz; n = mat3(model) * normal; tex = vec3(uv, layer); a = color_a; b = color_b;
#ifdef SHADED
  local = position; local_n = normal;
#endif
  gl_Position = clip * p;
}
"""
_FRAGMENT = """
uniform sampler2DArray library; uniform vec3 eye; uniform vec3 to_light; uniform vec3 diffuse;
uniform vec3 sky; uniform vec3 ground; uniform float specular; uniform float shininess;
in vec3 n; in vec3 world; in vec3 tex; flat in vec3 a; flat in vec3 b;
out vec4 color;
#ifdef OWN
uniform sampler2DArray own; uniform float finishes;
#endif
#ifdef SHADED
uniform sampler2DShadow shadows; uniform mat4 to_map[MAPS]; uniform vec3 toward[MAPS]; uniform vec4 tile[MAPS];
uniform float softness; uniform vec2 lift;
in vec3 local; in vec3 local_n;
float seen(int i, vec3 p) {
  vec3 q = (to_map[i] * vec4(p, 1.0)).xyz;
  return texture(shadows, vec3(clamp(q.xy, 0.0, 1.0) * tile[i].xy + tile[i].zw, min(q.z, 1.0)));
}
#endif
void main() {
#ifdef OWN
  vec2 dx = dFdx(tex.xy), dy = dFdy(tex.xy);
  vec3 albedo;
  if (tex.z < finishes - 0.5) {
    vec2 t = textureGrad(library, tex, dx, dy).rg;
    albedo = clamp(mix(a, b, t.r) * (0.5 + t.g), 0.0, 1.0);
  } else albedo = textureGrad(own, tex - vec3(0.0, 0.0, finishes), dx, dy).rgb * a;
#else
  vec2 t = texture(library, tex).rg;
  vec3 albedo = clamp(mix(a, b, t.r) * (0.5 + t.g), 0.0, 1.0);
#endif
  vec3 m = normalize(n); vec3 v = normalize(eye - world);
  bool behind = dot(m, v) < 0.0;
  if (behind) m = -m;
  float lit = max(dot(m, to_light), 0.0);
#ifdef SHADED
  vec3 k = behind ? -normalize(local_n) : normalize(local_n);
  if (lit > 0.0) {  // a little about the point, in the plane of its facet: elsewhere the facet would shade itself
    vec3 p = local + k * lift.x, s = normalize(cross(k, toward[0] + vec3(0.001, 0.002, 0.0))), t = cross(k, s);
    s *= softness; t *= softness;
    lit *= 0.25 * (seen(0, p + s + 0.4 * t) + seen(0, p + t - 0.4 * s)
      + seen(0, p - s - 0.4 * t) + seen(0, p - t + 0.4 * s));
  }
  float open = 0.0, all = 0.001;
  for (int i = 1; i < MAPS; i++) {
    float facing = dot(k, toward[i]);
    if (facing > 0.0) { all += facing; open += facing * seen(i, local + k * lift.y); }
  }
  vec3 shade = mix(ground, mix(0.35 * ground, sky, open / all), m.z * 0.5 + 0.5) + diffuse * lit;
#else
  vec3 shade = mix(ground, sky, m.z * 0.5 + 0.5) + diffuse * lit;
#endif
  float gloss = lit > 0.0 ? specular * pow(max(dot(m, normalize(v + to_light)), 0.0), shininess) : 0.0;
  color = vec4(pow(clamp(albedo * shade + gloss, 0.0, 1.0), vec3(0.9)), 1.0);
}
"""
_DEPTH_VERTEX = """
#version 330
invariant gl_Position; uniform mat4 clip; uniform mat4 model; in vec3 position;
void main() { vec4 p = model * vec4(position, 1.0); gl_Position = clip * p; }
"""
_DEPTH_FRAGMENT = "#version 330\nvoid main() {}"


class Drawable(Protocol):
    """What the renderer draws."""

    @property
    def vertices(self) -> FloatArray:
        """(V, 3), Z up."""

    @property
    def faces(self) -> npt.NDArray[np.int32]:
        """(F, 3)."""

    @property
    def normals(self) -> FloatArray:
        """(V, 3), unit length."""

    @property
    def uv(self) -> FloatArray:
        """(V, 2) in texture tiles; textures repeat."""

    @property
    def layer(self) -> npt.NDArray[np.int32]:
        """(V,) index into `texture_library()`, or, from its length on, into `textures`."""

    @property
    def color_a(self) -> FloatArray:
        """(V, 3) in 0..1: a finish's first colour, or what its own picture is multiplied with."""

    @property
    def color_b(self) -> FloatArray:
        """(V, 3) in 0..1: a finish's second colour."""

    @property
    def textures(self) -> ByteArray | None:
        """(T, S, S, 3) pictures of its own, row 0 at v = 0."""


class Solid(Drawable, Protocol):
    """A procedural object, or a model made like one: longest side of the box 1, box centred at the origin."""

    def contains(self, points: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether points (N, 3) lie inside."""

    def sample_surface(self, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points (N, 3) of the outer surface and their outward normals."""


@dataclass(frozen=True)
class Light:
    """One distant lamp and a two-coloured sky."""

    to_light: tuple[float, float, float] = (0.5, 0.35, 0.8)
    """Direction towards the lamp, world frame."""
    diffuse: tuple[float, float, float] = (0.62, 0.6, 0.56)
    """Lamp colour times strength."""
    sky: tuple[float, float, float] = (0.52, 0.54, 0.58)
    """Ambient light from above."""
    ground: tuple[float, float, float] = (0.3, 0.29, 0.28)
    """Ambient light from below."""
    specular: float = 0.05
    """Strength of the highlight."""
    shininess: float = 24.0
    """Exponent of the highlight (Blinn-Phong)."""

    @staticmethod
    def random(rng: np.random.Generator) -> Light:
        """A plausible light: overcast to hard sun, warm to cold."""
        azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 80))
        warm = rng.normal(0, 0.06)
        tint = np.array([1 + warm, 1.0, 1 - warm])
        hardness = rng.uniform(0.1, 0.9)
        level = rng.uniform(0.85, 1.15)
        diffuse = tint * hardness * level
        sky = (2 - tint) * (1.02 - 0.6 * hardness) * level
        ground = sky * rng.uniform(0.35, 0.9)
        return Light(
            (np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)),
            tuple(diffuse),
            tuple(sky),
            tuple(ground),
            float(rng.choice([0.0, 0.05, 0.3])),
            float(rng.uniform(8, 60)),
        )


@dataclass(frozen=True)
class Shading:
    """A solid on the graphics device with its shadow maps: what `Renderer.shade` makes, for any number of pictures."""

    obj: Drawable
    _buffers: _Buffers = field(repr=False)
    _maps: Any = field(repr=False)
    """Depth texture: the lamp's map on the left, the sky's on the right."""
    _to_map: FloatArray = field(repr=False)
    """(1 + _SKY, 4, 4) object coordinates to a map's 0..1 and depth, the lamp's first; transposed for OpenGL."""
    _toward: FloatArray = field(repr=False)
    """(1 + _SKY, 3) directions from the object towards lamp and sky."""
    _softness: float
    """Half width of a shadow's edge, in units of the object."""
    _lift: tuple[float, float]
    """How far before a surface the lamp's and the sky's maps are asked: what the texels blur."""


@dataclass(frozen=True)
class _Buffers:
    """A solid's arrays on the graphics device."""

    vertices: Any
    index: Any
    textures: Any


@dataclass
class Renderer:
    """Draws objects at `size` px."""

    size: int = 128
    """Side of the square pictures in pixels."""
    supersample: int = 2
    """Samples along a pixel's side; 1 for hard edges."""

    @gl.context()
    def render(
        self,
        obj: Drawable,
        c2ws: npt.ArrayLike,
        k: npt.ArrayLike,
        *,
        light: Light | Sequence[Light] | None = None,
        model: npt.ArrayLike | None = None,
        depth: bool = True,
        shading: Shading | None = None,
    ) -> tuple[ByteArray, FloatArray]:
        """Draw `obj` from cameras (N, 4, 4), OpenGL axes, with intrinsics (3, 3) or (N, 3, 3) in pixels of `size`.

        `model` (4x4 or (N, 4, 4), similarities) places the object in the world; `light` is one for all or one a
        view. With `shading` (of this object, or of one that stands where it does), shadows fall and corners are
        darker; the light is then to come from where the shading's came, turned as the object is. Returns RGBA
        (N, S, S, 4) uint8, RGB over white and alpha the coverage, and depth (N, S, S) float32 along the viewing axis,
        0 where nothing is (all 0 with `depth=False`, which is faster).
        """
        poses = np.asarray(c2ws, np.float32).reshape(-1, 4, 4)
        n, s, fine = len(poses), self.size, self.size * self.supersample
        ks = np.broadcast_to(np.asarray(k, np.float32), (n, 3, 3))
        models = np.broadcast_to(np.eye(4) if model is None else np.asarray(model, np.float32), (n, 4, 4))
        lights = [light or Light()] * n if light is None or isinstance(light, Light) else list(light)
        ctx = gl.current()
        buffers = shading._buffers if shading is not None and shading.obj is obj else _upload(ctx, obj)
        program = _program(buffers, shading)
        content = [(buffers.vertices, "3f 3f 2f 1f 3f 3f", *_COLUMNS)]
        vao = ctx.vertex_array(program, content, buffers.index)
        before, hidden = _depth_only(ctx, buffers)
        rgba, depths = np.empty((n, s, s, 4), np.uint8), np.zeros((n, s, s), np.float32)
        most = max(1, min(4, 2048 // fine))  # tiles in a row
        target = gl.target(most * fine)
        ctx.enable_only(ctx.DEPTH_TEST)

        def draw(side: int, part: range) -> int:
            """Draw views as square tiles of a sheet; returns the number of tiles in a row."""
            columns = math.ceil(math.sqrt(len(part)))
            target.use()
            target.viewport = (0, 0, columns * side, columns * side)
            target.clear(1.0, 1.0, 1.0, 0.0, depth=1.0, viewport=target.viewport)
            for i in part:
                row, column = divmod(i - part.start, columns)
                target.viewport = (column * side, row * side, side, side)
                _shine(program, lights[i])
                for one in (before, program):
                    one["clip"].write(gl.clip_from_world(poses[i], ks[i], s).tobytes())
                    one["model"].write(np.ascontiguousarray(models[i].T, np.float32).tobytes())
                program["eye"] = tuple(poses[i][:3, 3].tolist())
                if shading is not None:  # light costs most: none for what is hidden
                    target.color_mask = False, False, False, False
                    hidden.render(ctx.TRIANGLES)
                    target.color_mask = True, True, True, True
                    ctx.depth_func = "<="
                vao.render(ctx.TRIANGLES)
                ctx.depth_func = "<"
            return columns

        def tiles(buffer: bytes, columns: int, side: int, kind: Any) -> npt.NDArray[Any]:
            sheet = np.frombuffer(buffer, kind).reshape(columns, side, columns, side, -1)
            return sheet.transpose(0, 2, 1, 3, 4).reshape(columns * columns, side, side, -1)

        for start in range(0, n, most**2):
            part = range(start, min(start + most**2, n))
            columns = draw(fine, part)
            view = (0, 0, columns * fine, columns * fine)
            color = tiles(target.read(view, components=4), columns, fine, np.uint8)[: len(part)]
            for i, tile in zip(part, color, strict=True):
                rgba[i] = tile if fine == s else cv2.resize(tile, (s, s), interpolation=cv2.INTER_AREA)
            if depth:
                if fine != s:
                    columns = draw(s, part)
                view = (0, 0, columns * s, columns * s)
                raw = target.read(view, components=1, attachment=-1, dtype="f4")
                depths[part.start : part.stop] = gl.linear_depth(
                    tiles(raw, columns, s, np.float32)[: len(part), ..., 0]
                )
        return rgba, depths

    @staticmethod
    @gl.context()
    def shade(obj: Drawable, light: Light, softness: float = 1.0) -> Shading:
        """Cast shadows of the lamp and what each point sees of the sky, from depth maps along 11 directions.

        `light` is in the object's frame; `softness` is the half width of a shadow's edge in hundredths of the object.
        Seen from below the horizon there is only dark ground.
        """
        spin = math.atan2(light.to_light[1], light.to_light[0])
        height = (np.arange(_SKY) + 0.5) / _SKY
        turn = spin + np.arange(_SKY) * math.pi * (3 - math.sqrt(5))  # an even spread: Fibonacci's spiral
        flat = np.sqrt(1 - height**2)
        toward = np.concatenate([[light.to_light], np.stack([flat * np.cos(turn), flat * np.sin(turn), height], 1)])
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        clip = _orthographic(toward, obj.vertices)
        ctx = gl.current()
        buffers = _upload(ctx, obj)
        maps = ctx.depth_texture((_SUN_SIDE + 4 * _SKY_SIDE, _SUN_SIDE))
        maps.compare_func, maps.filter = "<=", (ctx.LINEAR, ctx.LINEAR)
        target = ctx.framebuffer([], maps)
        program, vao = _depth_only(ctx, buffers)
        program["model"].write(np.eye(4, dtype=np.float32).tobytes())
        target.use()
        target.clear(depth=1.0)
        ctx.enable_only(ctx.DEPTH_TEST)
        for matrix, view in zip(clip, _map_places(), strict=True):
            target.viewport = view
            program["clip"].write(np.ascontiguousarray(matrix.T).tobytes())
            vao.render(ctx.TRIANGLES)
        half = np.diag([0.5, 0.5, 0.5, 1.0])
        half[:3, 3] = 0.5
        to_map = np.ascontiguousarray((half @ clip).transpose(0, 2, 1), np.float32)
        widths = 2 / np.linalg.norm(clip[:, :2, :3], axis=2).min(1)  # of the maps, in units of the object
        lift = 1.6 * float(widths[0]) / _SUN_SIDE, 1.6 * float(widths[1:].max()) / _SKY_SIDE
        return Shading(obj, buffers, maps, to_map, toward.astype(np.float32), 0.01 * softness, lift)


_COLUMNS = ("position", "normal", "uv", "layer", "color_a", "color_b")


def _upload(ctx: Any, obj: Drawable) -> _Buffers:
    columns = (obj.vertices, obj.normals, obj.uv, obj.layer[:, None], obj.color_a, obj.color_b)
    data = np.concatenate([np.asarray(c, np.float32) for c in columns], 1)
    textures = None
    if obj.textures is not None and len(obj.textures):
        count, height, width, _ = obj.textures.shape
        pixels = np.ascontiguousarray(obj.textures).tobytes()
        textures = ctx.texture_array((width, height, count), 3, pixels, alignment=1)
        textures.build_mipmaps()
    index = ctx.buffer(np.ascontiguousarray(obj.faces, np.int32).tobytes())
    return _Buffers(ctx.buffer(data.tobytes()), index, textures)


def _depth_only(ctx: Any, buffers: _Buffers) -> tuple[Any, Any]:
    """The program that only draws depth, and a solid's array for it."""
    program = gl.program(_DEPTH_VERTEX, _DEPTH_FRAGMENT)
    return program, ctx.vertex_array(program, [(buffers.vertices, "3f 48x", "position")], buffers.index)


def _library(ctx: Any) -> Any:
    from engine.data.textures import texture_library

    library = np.ascontiguousarray(texture_library())
    layers, height, width, _ = library.shape
    texture = ctx.texture_array((width, height, layers), 2, library.tobytes())
    texture.build_mipmaps()  # anisotropic filtering would cost software OpenGL a hundredfold
    return texture


def _program(buffers: _Buffers, shading: Shading | None) -> Any:
    """The program for solids with or without pictures of their own, shaded or not, its textures in place."""
    wanted = {"OWN": buffers.textures is not None, "SHADED": shading is not None}
    head = "".join(f"#define {name}\n" for name, on in wanted.items() if on) + f"#define MAPS {1 + _SKY}\n"
    program = gl.program(f"#version 330\n{head}{_VERTEX}", f"#version 330\n{head}{_FRAGMENT}")
    library = gl.cached("texture library", _library)
    library.use(0)
    program["library"] = 0
    if buffers.textures is not None:
        buffers.textures.use(1)
        program["own"] = 1
        program["finishes"] = float(library.layers)
    if shading is not None:
        shading._maps.use(2)
        program["shadows"] = 2
        program["to_map"].write(shading._to_map.tobytes())
        program["toward"].write(shading._toward.tobytes())
        size = np.array(shading._maps.size, np.float32)
        x, y, width, height = np.array(_map_places(), np.float32).T
        program["tile"].write(np.stack([width / size[0], height / size[1], x / size[0], y / size[1]], 1).tobytes())
        program["softness"], program["lift"] = shading._softness, shading._lift
    return program


def _shine(program: Any, light: Light) -> None:
    for name in ("diffuse", "sky", "ground", "specular", "shininess"):
        program[name] = getattr(light, name)
    program["to_light"] = tuple(np.asarray(light.to_light) / np.linalg.norm(light.to_light))


def _map_places() -> list[tuple[int, int, int, int]]:
    """Viewports (x, y, width, height) of the shadow maps in their sheet, the lamp's first."""
    sky = [(_SUN_SIDE + i % 4 * _SKY_SIDE, i // 4 * _SKY_SIDE, _SKY_SIDE, _SKY_SIDE) for i in range(_SKY)]
    return [(0, 0, _SUN_SIDE, _SUN_SIDE), *sky]


def _orthographic(toward: npt.NDArray[np.float64], vertices: FloatArray) -> FloatArray:
    """Clip matrices (N, 4, 4) that look at an object from far away along `toward` (N, 3), its box filling the map."""
    low, high = vertices.min(0).astype(np.float64), vertices.max(0).astype(np.float64)
    up = np.where(np.abs(toward[:, 2:]) > 0.95, [[1.0, 0, 0]], [[0, 0, 1.0]])
    right = np.cross(up, toward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    axes = np.stack([right, np.cross(toward, right), -toward], 1)
    center, reach = axes @ (low + high) / 2, np.abs(axes) @ (high - low) / 2
    scale = (1 - 2 * _BORDER) / np.maximum(reach, 1e-6)
    clip = np.zeros((len(toward), 4, 4))
    clip[:, :3, :3] = axes * scale[..., None]
    clip[:, :3, 3] = -center * scale
    clip[:, 3, 3] = 1
    return clip.astype(np.float32)


@dataclass
class FramedObject:
    """An object placed so that a camera sees it framed as a reconstruction's input.

    `model` takes object coordinates to the reconstruction's frame, in which the input camera stands at
    azimuth 0, `INPUT_RADIUS` and `elevation`.
    """

    obj: Any
    """A `Solid`, or whatever has `vertices`, `contains` and `sample_surface` as one has."""
    model: FloatArray
    """4x4 similarity."""
    elevation: float
    """Input camera's elevation in degrees."""

    @property
    def depth_reach(self) -> float:
        """How far the object reaches along the input camera's axis from its middle, in world units."""
        axis = cameras.camera_to_world(self.elevation, 0.0)[:3, 2]
        depth = self.obj.vertices @ (self.model[:3, :3].T @ axis)
        return float(np.ptp(depth)) / 2

    @property
    def scale(self) -> float:
        """World units of the reconstruction for one unit of the object (whose longest side is 1)."""
        return float(np.linalg.norm(self.model[:3, 0]))

    def to_object(self, points: FloatArray) -> FloatArray:
        """Points (N, 3) of the reconstruction's frame in object coordinates."""
        inverse = np.linalg.inv(self.model.astype(np.float64)).astype(np.float32)
        return points @ inverse[:3, :3].T + inverse[:3, 3]

    def to_world(self, points: FloatArray) -> FloatArray:
        """Object points (N, 3) in the reconstruction's frame."""
        return (points @ self.model[:3, :3].T + self.model[:3, 3]).astype(np.float32)

    def contains(self, points: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether points (N, 3) of the reconstruction's frame lie inside."""
        return self.obj.contains(self.to_object(points))

    def sample_surface(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """`n` points of the outer surface and their unit normals, in the reconstruction's frame."""
        points, normals = self.obj.sample_surface(n, rng)
        return self.to_world(points), (normals @ (self.model[:3, :3].T / self.scale)).astype(np.float32)


def frame_object(
    obj: Any,
    elevation: float,
    azimuth: float,
    *,
    focal: float = cameras.REFERENCE_FOCAL,
    fraction: float = cameras.FRAME_FRACTION,
    step: float = 1.0,
) -> FramedObject:
    """Turn, scale and shift `obj` so that the input camera sees it framed.

    Seen from `elevation` and `azimuth` (degrees, about the object as it stands) with `focal` px on a 256 px
    picture from `INPUT_RADIUS`, the silhouette's bounding box is centred and its longer side takes `fraction`
    of the picture's side; the middle of the object's depth range is put at `INPUT_RADIUS`. `step` is how far each
    round goes: near a wide lens whole steps swing to and fro, halves settle.
    """
    a = np.radians(-azimuth)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    c2w = cameras.camera_to_world(elevation, 0.0).astype(np.float64)
    rotation = c2w[:3, :3].T @ turn  # object to camera axes
    local = obj.vertices.astype(np.float64) @ rotation.T
    f, r = focal / cameras.REFERENCE_SIZE, cameras.INPUT_RADIUS
    scale, shift = 1.0, np.zeros(3)
    local_mid = (local[:, 2].min() + local[:, 2].max()) / 2
    for _ in range(round(5 / step)):  # perspective makes this implicit; it converges in a few rounds
        cam = local * scale + shift
        depth = np.maximum(r - cam[:, 2], 0.3)
        uv = f * cam[:, :2] / depth[:, None]
        low, high = uv.min(0), uv.max(0)
        scale *= (fraction / max(float((high - low).max()), 1e-6)) ** step
        shift[:2] -= (low + high) / 2 * r / f * step
        shift[2] = -local_mid * scale
    model = np.eye(4)
    model[:3, :3] = turn * scale
    model[:3, 3] = c2w[:3, :3] @ shift
    return FramedObject(obj, model.astype(np.float32), elevation)

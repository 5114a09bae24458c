"""Training renderer: pictures and depth of procedural objects through headless OpenGL."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from engine import cameras, gl

if TYPE_CHECKING:
    from engine.data.objects import ProceduralObject

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

_VERTEX = """
#version 330
uniform mat4 clip; uniform mat4 model;
in vec3 position; in vec3 normal; in vec2 uv; in float layer; in vec3 color_a; in vec3 color_b;
out vec3 n; out vec3 world; out vec3 tex; flat out vec3 a; flat out vec3 b;
void main() {
  vec4 p = model * vec4(position, 1.0);
  world = p.xyz; n = mat3(model) * normal; tex = vec3(uv, layer); a = color_a; b = color_b;
  gl_Position = clip * p;
}
"""
_FRAGMENT = """
#version 330
uniform sampler2DArray library; uniform vec3 eye; uniform vec3 to_light; uniform vec3 diffuse;
uniform vec3 sky; uniform vec3 ground; uniform float specular; uniform float shininess;
in vec3 n; in vec3 world; in vec3 tex; flat in vec3 a; flat in vec3 b;
out vec4 color;
void main() {
  vec2 t = texture(library, tex).rg;
  vec3 albedo = clamp(mix(a, b, t.r) * (0.5 + t.g), 0.0, 1.0);
  vec3 m = normalize(n); vec3 v = normalize(eye - world);
  if (dot(m, v) < 0.0) m = -m;
  float lit = max(dot(m, to_light), 0.0);
  vec3 shade = mix(ground, sky, m.z * 0.5 + 0.5) + diffuse * lit;
  float gloss = lit > 0.0 ? specular * pow(max(dot(m, normalize(v + to_light)), 0.0), shininess) : 0.0;
  color = vec4(pow(clamp(albedo * shade + gloss, 0.0, 1.0), vec3(0.9)), 1.0);
}
"""


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


@dataclass
class Renderer:
    """Draws objects at `size` px. Bound to the thread that first draws with it."""

    size: int = 128
    """Side of the square pictures in pixels."""
    supersample: int = 2
    """Samples along a pixel's side; 1 for hard edges."""
    _program: Any = field(default=None, repr=False)

    def render(
        self,
        obj: ProceduralObject,
        c2ws: npt.ArrayLike,
        k: npt.ArrayLike,
        *,
        light: Light | Sequence[Light] | None = None,
        model: npt.ArrayLike | None = None,
        depth: bool = True,
    ) -> tuple[ByteArray, FloatArray]:
        """Draw `obj` from cameras (N, 4, 4), OpenGL axes, with intrinsics (3, 3) or (N, 3, 3) in pixels of `size`.

        `model` (4x4 or (N, 4, 4), similarities) places the object in the world; `light` is one for all or one a
        view. Returns RGBA (N, S, S, 4) uint8, RGB over white and alpha the coverage, and depth (N, S, S) float32
        along the viewing axis, 0 where nothing is (all 0 with `depth=False`, which is faster).
        """
        poses = np.asarray(c2ws, np.float32).reshape(-1, 4, 4)
        n = len(poses)
        ks = np.broadcast_to(np.asarray(k, np.float32), (n, 3, 3))
        models = np.broadcast_to(np.eye(4) if model is None else np.asarray(model, np.float32), (n, 4, 4))
        lights = [light or Light()] * n if light is None or isinstance(light, Light) else list(light)
        with gl.context() as ctx:
            if self._program is None:
                self._setup(ctx)
            return self._draw(ctx, obj, poses, ks, models, lights, depth)

    def _draw(
        self,
        ctx: Any,
        obj: ProceduralObject,
        poses: FloatArray,
        ks: FloatArray,
        models: npt.NDArray[Any],
        lights: list[Light],
        depth: bool,
    ) -> tuple[ByteArray, FloatArray]:
        n, s, fine = len(poses), self.size, self.size * self.supersample
        self._library.use(0)
        vao = self._upload(ctx, obj)
        rgba, depths = np.empty((n, s, s, 4), np.uint8), np.zeros((n, s, s), np.float32)
        ctx.enable_only(ctx.DEPTH_TEST)

        def draw(side: int, part: range) -> int:
            """Draw views as square tiles of a sheet; returns the number of tiles in a row."""
            columns = math.ceil(math.sqrt(len(part)))
            self._target.use()
            self._target.viewport = (0, 0, columns * side, columns * side)
            self._target.clear(1.0, 1.0, 1.0, 0.0, depth=1.0, viewport=self._target.viewport)
            for i in part:
                row, column = divmod(i - part.start, columns)
                self._target.viewport = (column * side, row * side, side, side)
                self._shine(lights[i])
                p = self._program
                p["clip"].write(gl.clip_from_world(poses[i], ks[i], s).tobytes())
                p["model"].write(np.ascontiguousarray(models[i].T, np.float32).tobytes())
                p["eye"] = tuple(poses[i][:3, 3].tolist())
                vao.render(ctx.TRIANGLES)
            return columns

        def tiles(buffer: bytes, columns: int, side: int, kind: Any) -> npt.NDArray[Any]:
            sheet = np.frombuffer(buffer, kind).reshape(columns, side, columns, side, -1)
            return sheet.transpose(0, 2, 1, 3, 4).reshape(columns * columns, side, side, -1)

        for start in range(0, n, self._tiles):
            part = range(start, min(start + self._tiles, n))
            columns = draw(fine, part)
            view = (0, 0, columns * fine, columns * fine)
            color = tiles(self._target.read(view, components=4), columns, fine, np.uint8)[: len(part)]
            for i, tile in zip(part, color, strict=True):
                rgba[i] = tile if fine == s else cv2.resize(tile, (s, s), interpolation=cv2.INTER_AREA)
            if depth:
                if fine != s:
                    columns = draw(s, part)
                view = (0, 0, columns * s, columns * s)
                raw = self._target.read(view, components=1, attachment=-1, dtype="f4")
                depths[part.start : part.stop] = gl.linear_depth(
                    tiles(raw, columns, s, np.float32)[: len(part), ..., 0]
                )
        return rgba, depths

    def _setup(self, ctx: Any) -> None:
        from engine.data.textures import texture_library

        self._program = ctx.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        library = np.ascontiguousarray(texture_library())
        layers, height, width, _ = library.shape
        self._library = ctx.texture_array((width, height, layers), 2, library.tobytes())
        self._library.build_mipmaps()  # anisotropic filtering would cost software OpenGL a hundredfold
        fine = self.size * self.supersample
        columns = max(1, min(4, 2048 // fine))
        self._tiles = columns * columns
        side = (columns * fine, columns * fine)
        self._target = ctx.framebuffer(ctx.renderbuffer(side, 4), ctx.depth_renderbuffer(side))

    def _shine(self, light: Light) -> None:
        for name in ("diffuse", "sky", "ground", "specular", "shininess"):
            self._program[name] = getattr(light, name)
        self._program["to_light"] = tuple(np.asarray(light.to_light) / np.linalg.norm(light.to_light))

    def _upload(self, ctx: Any, obj: ProceduralObject) -> Any:
        columns = (obj.vertices, obj.normals, obj.uv, obj.layer[:, None], obj.color_a, obj.color_b)
        data = np.concatenate([np.asarray(c, np.float32) for c in columns], 1)
        names = ("position", "normal", "uv", "layer", "color_a", "color_b")
        buffer = ctx.buffer(data.tobytes())
        index = ctx.buffer(np.ascontiguousarray(obj.faces, np.int32).tobytes())
        return ctx.vertex_array(self._program, [(buffer, "3f 3f 2f 1f 3f 3f", *names)], index)


@dataclass
class FramedObject:
    """An object placed so that a camera sees it framed as a reconstruction's input.

    `model` takes object coordinates to the reconstruction's frame, in which the input camera stands at
    azimuth 0, `INPUT_RADIUS` and `elevation`.
    """

    obj: ProceduralObject
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
    obj: ProceduralObject,
    elevation: float,
    azimuth: float,
    *,
    focal: float = cameras.REFERENCE_FOCAL,
    fraction: float = cameras.FRAME_FRACTION,
) -> FramedObject:
    """Turn, scale and shift `obj` so that the input camera sees it framed.

    Seen from `elevation` and `azimuth` (degrees, about the object as it stands) with `focal` px on a 256 px
    picture from `INPUT_RADIUS`, the silhouette's bounding box is centred and its longer side takes `fraction`
    of the picture's side; the middle of the object's depth range is put at `INPUT_RADIUS`.
    """
    a = np.radians(-azimuth)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    c2w = cameras.camera_to_world(elevation, 0.0).astype(np.float64)
    rotation = c2w[:3, :3].T @ turn  # object to camera axes
    local = obj.vertices.astype(np.float64) @ rotation.T
    f, r = focal / cameras.REFERENCE_SIZE, cameras.INPUT_RADIUS
    scale, shift = 1.0, np.zeros(3)
    local_mid = (local[:, 2].min() + local[:, 2].max()) / 2
    for _ in range(5):  # perspective makes this implicit; it converges in a few rounds
        cam = local * scale + shift
        depth = np.maximum(r - cam[:, 2], 0.3)
        uv = f * cam[:, :2] / depth[:, None]
        low, high = uv.min(0), uv.max(0)
        scale *= fraction / max(float((high - low).max()), 1e-6)
        shift[:2] -= (low + high) / 2 * r / f
        shift[2] = -local_mid * scale
    model = np.eye(4)
    model[:3, :3] = turn * scale
    model[:3, 3] = c2w[:3, :3] @ shift
    return FramedObject(obj, model.astype(np.float32), elevation)


def measure_speed(make: Callable[[int], ProceduralObject], seconds: float = 5.0, views: int = 4) -> float:
    """Pictures a second of one process at 128 px, making of the objects included."""
    import time

    renderer, seed, pictures = Renderer(), 0, 0
    renderer.render(make(0), cameras.camera_to_world(20.0, [0.0]), cameras.intrinsics(128), depth=False)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        seed += 1
        renderer.render(
            make(seed), cameras.camera_to_world(20.0, np.arange(views) * 90.0), cameras.intrinsics(128), depth=False
        )
        pictures += views
    return pictures / (time.perf_counter() - start)

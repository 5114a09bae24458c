"""Fast pictures of a coloured mesh, with the input picture projected onto what it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.meshes import gl
from engine.meshes.mesh import FloatArray, Mesh, vertex_normals

_VERTEX = """
#version 330
uniform mat4 clip; uniform mat4 source_clip;
in vec3 position; in vec3 normal; in vec3 color; in vec2 uv;
out vec3 n; out vec3 world; out vec3 c; out vec2 t; out vec4 source;
void main() {
  world = position; n = normal; c = color; t = uv; source = source_clip * vec4(position, 1.0);
  gl_Position = clip * vec4(position, 1.0);
}
"""
_FRAGMENT = """
#version 330
uniform sampler2D picture; uniform sampler2D source_depth; uniform vec3 source_eye; uniform float projected;
uniform sampler2D skin; uniform float textured;
in vec3 n; in vec3 world; in vec3 c; in vec2 t; in vec4 source;
out vec4 color;
void main() {
  vec3 rgb = textured > 0.5 ? texture(skin, t).rgb : c;
  if (projected > 0.5) {
    vec3 s = source.xyz / source.w * 0.5 + 0.5;
    vec4 seen = texture(picture, s.xy);
    float nearest = texture(source_depth, s.xy).r;
    float facing = dot(normalize(n), normalize(source_eye - world));
    float visible = smoothstep(0.06, 0.03, source.w - nearest) * smoothstep(0.08, 0.3, facing);
    rgb = mix(rgb, seen.rgb, visible * smoothstep(0.9, 1.0, seen.a));
  }
  color = vec4(rgb, 1.0);
}
"""


@gl.context()
def render_mesh(
    mesh: Mesh,
    c2ws: npt.ArrayLike,
    k: npt.ArrayLike,
    size: int,
    *,
    source: tuple[FloatArray, FloatArray, FloatArray] | None = None,
    samples: int = 4,
) -> tuple[FloatArray, FloatArray]:
    """Draw a mesh by its texture, else its vertex colours, else white, from cameras (N, 4, 4), OpenGL axes.

    `k` is 3x3 in pixels of `size`. `source` is (picture (S, S, 4) in 0..1, camera 4x4, intrinsics 3x3 for S)
    of a picture that is projected onto the parts it sees. Returns RGBA (N, size, size, 4) float32 over white
    and depth (N, size, size) along the viewing axis, 0 where nothing is.
    """
    ctx = gl.current()
    program = gl.program(_VERTEX, _FRAGMENT)
    poses = np.asarray(c2ws, np.float32).reshape(-1, 4, 4)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    colors = np.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors.astype(np.float32) / 255
    uv = np.zeros((len(colors), 2), np.float32) if mesh.uv is None else mesh.uv
    columns = {"position": mesh.vertices, "normal": normals, "color": colors, "uv": uv}
    vao = gl.vertices(program, columns, mesh.faces)
    ctx.enable_only(ctx.DEPTH_TEST)

    def draw(target: Any, matrix: FloatArray) -> None:
        gl.clear(target)
        program["clip"].write(matrix.tobytes())
        vao.render(ctx.TRIANGLES)

    single, multi = gl.target(size), gl.target(size, min(samples, ctx.max_samples) if samples > 1 else 0)
    program["projected"], program["textured"], program["skin"] = 0.0, 0.0, 2
    textures = []
    if mesh.uv is not None and mesh.texture is not None:
        skin = gl.texture(mesh.texture)
        skin.use(2)
        program["textured"] = 1.0
    if source is not None:
        picture, source_c2w, source_k = source
        side = picture.shape[0]
        matrix = gl.clip_from_world(source_c2w, source_k, side)
        draw(gl.target(side), matrix)
        depth = gl.depth_of(gl.target(side))
        depth[depth == 0] = gl.FAR
        textures = [
            ctx.texture((side, side), 4, np.ascontiguousarray(picture, np.float32).tobytes(), dtype="f4"),
            ctx.texture((side, side), 1, depth.tobytes(), dtype="f4"),
        ]
        for i, (name, texture) in enumerate(zip(("picture", "source_depth"), textures, strict=True)):
            texture.repeat_x = texture.repeat_y = False
            texture.use(i)
            program[name] = i
        program["source_clip"].write(matrix.tobytes())
        program["source_eye"] = tuple(np.asarray(source_c2w)[:3, 3].tolist())
        program["projected"] = 1.0
    rgba = np.empty((len(poses), size, size, 4), np.float32)
    depths = np.empty((len(poses), size, size), np.float32)
    for i, pose in enumerate(poses):
        matrix = gl.clip_from_world(pose, k, size)
        draw(multi, matrix)
        if multi is not single:
            ctx.copy_framebuffer(single, multi)
        rgba[i] = gl.colors_of(single).astype(np.float32) / 255
        draw(single, matrix)
        depths[i] = gl.depth_of(single)
    return rgba, depths

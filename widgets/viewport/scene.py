"""What the viewport and its films show: mesh, light, floor grid and cameras, in a PyVista plotter. No Qt."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from engine.cameras import INPUT_RADIUS, REFERENCE_FOCAL, REFERENCE_SIZE, Pose, camera_to_world
from engine.meshes.mesh import Mesh

Style = Literal["texture", "colors", "normals", "plain"]
STYLES: tuple[Style, ...] = get_args(Style)

VIEW_ANGLE = math.degrees(2 * math.atan(REFERENCE_SIZE / 2 / REFERENCE_FOCAL))
"""Vertical field of view in degrees: the reference camera's, so that the front view repeats the input picture."""
HOME_AZIMUTH, HOME_ELEVATION = 30.0, 20.0
FRUSTUM_DEPTH = 0.14


@dataclass(frozen=True)
class Look:
    """Colours of everything around the mesh."""

    background: tuple[str, str]
    """Lower and upper colour of the backdrop."""
    clay: str
    """The untextured surface."""
    grid: str
    label: str
    camera: str
    edge: str
    accent: str
    """The input's camera."""


LIGHT = Look(("#e3e7ec", "#fbfcfd"), "#c9c3ba", "#b4bcc6", "#4a5460", "#6b7886", "#20262e", "#e0662b")
DARK = Look(("#17191d", "#2b2f36"), "#c4beb5", "#4a515c", "#c3cad4", "#8a96a5", "#0c0e11", "#ff8a4c")


@dataclass
class Orbit:
    """A camera that circles a target with Z up: `Pose` plus the point it looks at."""

    azimuth: float = HOME_AZIMUTH
    elevation: float = HOME_ELEVATION
    distance: float = INPUT_RADIUS
    target: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def rotate(self, azimuth: float, elevation: float) -> None:
        """Turn by degrees; the elevation stops at the poles, so that Z stays up."""
        self.azimuth = (self.azimuth + azimuth) % 360.0
        self.elevation = min(max(self.elevation + elevation, -90.0), 90.0)

    def pan(self, right: float, up: float) -> None:
        """Move the target in the picture's plane, in shares of the picture's height."""
        height = 2 * self.distance * math.tan(math.radians(VIEW_ANGLE / 2))
        axes = camera_to_world(self.elevation, self.azimuth)[:3, :3]
        self.target = self.target + (axes[:, 0] * right + axes[:, 1] * up) * height

    def zoom(self, factor: float) -> None:
        """Come nearer by a factor above 1, go away by one below."""
        self.distance = min(max(self.distance / factor, 0.02), 50.0)


LIGHTS: dict[str, tuple[str, tuple[tuple[tuple[float, float, float], float], ...]]] = {
    "studio": ("camera light", (((-0.7, 1.0, 1.2), 0.78), ((1.2, 0.1, 0.9), 0.42), ((0.3, 0.9, -1.2), 0.35))),
    "lamp": ("camera light", (((0.0, 0.0, 1.0), 1.0),)),
    "sun": ("scene light", (((0.6, -1.0, 1.2), 1.0), ((-0.8, 1.0, 0.6), 0.25))),
    "evening": ("scene light", (((0.9, 1.2, 0.45), 1.0), ((-0.6, -1.0, 0.8), 0.2))),
}
"""Kind of the lamps (those of the camera move with it), and where each is and how strong. The studio: key light above
left, weak fill from the right, rim from behind."""
BACKDROPS: dict[str, tuple[str, str] | None] = {
    "theme": None,
    "white": ("white", "white"),
    "grey": ("#808080", "#808080"),
    "black": ("black", "black"),
}
"""Colours behind the mesh, below and above; None for those of the window."""


class Scene:
    """A mesh in a plotter, with its light and helpers. Nothing renders here: the owner does, on demand.

    `plotter` is any `pyvista.BasePlotter` made with `lighting="none"`.
    """

    def __init__(self, plotter: Any, look: Look) -> None:
        self.plotter = plotter
        self.look = look
        self.mesh: Mesh | None = None
        self.style: Style = "texture"
        self.wireframe = False
        self.orbit = Orbit()
        self._surface: Any = None
        self._texture: Any = None
        self._normal_colors: np.ndarray | None = None
        self._poses: list[Pose] = []
        self._show_cameras = False
        self._show_grid = False
        self._height_m: float | None = None
        plotter.camera.view_angle = VIEW_ANGLE
        self.light, self.backdrop = "studio", "theme"
        self.set_light(self.light)
        self.set_look(look)

    # --- mesh -----------------------------------------------------------------------------------

    def set_mesh(self, mesh: Mesh | None) -> None:
        """Replace the mesh shown; None shows nothing."""
        import pyvista as pv

        from engine.meshes.mesh import smooth_normals

        self.mesh = mesh if mesh is not None and len(mesh.faces) else None
        self._surface = self._texture = self._normal_colors = None
        if self.mesh is not None:
            mesh = self.mesh
            surface = pv.PolyData.from_regular_faces(
                np.asarray(mesh.vertices, np.float32),  # type: ignore[arg-type]  # pyvista's hints allow 64 bits only
                np.asarray(mesh.faces, np.int64),  # type: ignore[arg-type]
            )
            normals = smooth_normals(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32))
            surface.point_data.active_normals = normals
            self._normal_colors = ((normals * 0.5 + 0.5) * 255 + 0.5).astype(np.uint8)
            if mesh.uv is not None and mesh.texture is not None:
                surface.active_texture_coordinates = np.asarray(mesh.uv, np.float32)
                self._texture = pv.Texture(np.ascontiguousarray(mesh.texture))
                self._texture.interpolate = True
                self._texture.mipmap = True
            self._surface = surface
        self._update_mesh()
        self._update_grid()

    @property
    def shown_style(self) -> Style:
        """The style on the screen: the chosen one, or the nearest the mesh has the data for."""
        mesh = self.mesh
        if mesh is None:
            return self.style
        if self.style == "texture" and self._texture is None:
            return "colors" if mesh.colors is not None else "plain"
        if self.style == "colors" and mesh.colors is None:
            return "texture" if self._texture is not None else "plain"
        return self.style

    def set_style(self, style: Style) -> None:
        """Surface as baked texture, vertex colours, world normals as colours, or plain clay."""
        self.style = style
        self._update_mesh()

    def set_wireframe(self, on: bool) -> None:
        """Draw the triangles' edges over the surface."""
        self.wireframe = on
        self._update_mesh()

    def _update_mesh(self) -> None:
        plotter, mesh = self.plotter, self.mesh
        if mesh is None:
            plotter.remove_actor("mesh", render=False)
            return
        style = self.shown_style
        # Pictures already hold the light of the day they were taken on: almost all ambient keeps their colours true,
        # and a little diffuse light still shows the shape where the texture is flat.
        # A light that was chosen is there to be seen.
        shading: dict[str, Any] = {"ambient": 0.86, "diffuse": 0.16}
        if self.light != "studio":
            shading = {"ambient": 0.45, "diffuse": 0.75}
        if style == "texture":
            shading |= {"texture": self._texture, "color": "white"}
        elif style == "colors":
            shading |= {"scalars": np.asarray(mesh.colors, np.uint8)[:, :3], "rgb": True}
        elif style == "normals":
            shading = {"scalars": self._normal_colors, "rgb": True, "lighting": False}
        else:
            shading = {"color": self.look.clay, "ambient": 0.2, "diffuse": 0.92, "specular": 0.1, "specular_power": 18}
        plotter.add_mesh(
            self._surface,
            name="mesh",
            show_edges=self.wireframe,
            edge_color=self.look.edge,
            edge_opacity=0.45,
            interpolate_before_map=False,
            reset_camera=False,
            render=False,
            copy_mesh=False,
            show_scalar_bar=False,
            **shading,
        )

    # --- light and backdrop ---------------------------------------------------------------------

    def set_light(self, light: str) -> None:
        """Light the mesh as one of `LIGHTS` says."""
        import pyvista as pv

        self.light = light
        self.plotter.remove_all_lights()
        kind, lamps = LIGHTS[light]
        for position, intensity in lamps:
            self.plotter.add_light(pv.Light(position=position, intensity=intensity, light_type=kind))
        self._update_mesh()

    def set_backdrop(self, backdrop: str) -> None:
        """Put one of `BACKDROPS` behind the mesh."""
        self.backdrop = backdrop
        below, above = BACKDROPS[backdrop] or self.look.background
        self.plotter.set_background(below, top=above)

    def set_look(self, look: Look) -> None:
        """Change the colours around the mesh."""
        self.look = look
        self.set_backdrop(self.backdrop)
        self._update_mesh()
        self._update_grid()
        self._update_cameras()

    @contextmanager
    def without_background(self) -> Iterator[None]:
        """While it lasts, renderings hold transparent black where nothing is."""
        renderer = self.plotter.renderer
        renderer.GradientBackgroundOff()
        renderer.SetBackground(0.0, 0.0, 0.0)
        try:
            yield
        finally:
            self.set_backdrop(self.backdrop)

    # --- camera ---------------------------------------------------------------------------------

    def fit(self, aspect: float, *, turning: bool = False) -> None:
        """Centre the mesh and step back until it fits a picture of `aspect` (width / height).

        `turning` leaves room for a whole turn about the vertical axis.
        """
        orbit = self.orbit
        if self.mesh is None:
            orbit.target, orbit.distance = np.zeros(3), INPUT_RADIUS
            return
        low, high = self.mesh.bounds.astype(np.float64)
        orbit.target = (low + high) / 2
        points = self.mesh.vertices[:: max(1, len(self.mesh.vertices) // 4000)].astype(np.float64)
        if self._show_grid:
            ruler = Ruler.of(self.mesh, self._height_m)
            points = np.concatenate([points, np.array([position for position, _ in ruler.labels])])
        if self._show_cameras and self._poses:
            points = np.concatenate([points, *(frustum(pose) for pose in self._poses)])
        slope_y = math.tan(math.radians(VIEW_ANGLE / 2)) * 0.86
        slope_x = slope_y * aspect
        axes = [
            camera_to_world(orbit.elevation, a)[:3, :3] for a in (range(0, 360, 15) if turning else [orbit.azimuth])
        ]
        for _ in range(4):
            cam = np.stack([(points - orbit.target) @ a for a in axes])
            need = np.maximum(np.abs(cam[..., 0]) / slope_x, np.abs(cam[..., 1]) / slope_y) + cam[..., 2]
            orbit.distance = max(float(need.max()), 0.05)
            # Perspective enlarges what is near: raise or lower the target along the vertical axis, so that the
            # picture is centred and the object still turns about its own middle.
            height = cam[..., 1] / (orbit.distance - cam[..., 2])
            shift = (height.max() + height.min()) / 2 * orbit.distance
            orbit.target[2] += shift * math.cos(math.radians(orbit.elevation))

    def look_as(self, pose: Pose) -> None:
        """Look exactly as a camera of the views does."""
        self.look_from(pose.azimuth, pose.elevation)
        self.orbit.target, self.orbit.distance = np.zeros(3), pose.radius

    def look_from(self, azimuth: float, elevation: float) -> None:
        """Turn to a standard direction, keeping target and distance."""
        self.orbit.azimuth, self.orbit.elevation = azimuth % 360.0, elevation

    def apply_camera(self) -> None:
        """Hand the orbit to the plotter. To call before each rendering after a change."""
        orbit, camera = self.orbit, self.plotter.camera
        c2w = camera_to_world(orbit.elevation, orbit.azimuth, orbit.distance)
        camera.focal_point = orbit.target
        camera.position = orbit.target + c2w[:3, 3]
        camera.up = c2w[:3, 1]
        self.plotter.renderer.ResetCameraClippingRange()

    # --- cameras of the views -------------------------------------------------------------------

    def set_cameras(self, poses: list[Pose], visible: bool) -> None:
        """Draw the cameras of the views as small pyramids; the first pose is the input's and stands out."""
        self._poses, self._show_cameras = list(poses), visible
        self._update_cameras()

    def _update_cameras(self) -> None:
        import pyvista as pv

        plotter = self.plotter
        for name in ("cameras", "input camera", "input camera face"):
            plotter.remove_actor(name, render=False)
        if not self._show_cameras or not self._poses:
            return
        corners = np.stack([frustum(p) for p in self._poses])
        options = {"reset_camera": False, "render": False, "lighting": False, "pickable": False}
        if len(corners) > 1:
            plotter.add_mesh(_wires(corners[1:]), name="cameras", color=self.look.camera, line_width=1.5, **options)
        first = frustum(self._poses[0], FRUSTUM_DEPTH * 1.6)
        plotter.add_mesh(_wires(first[None]), name="input camera", color=self.look.accent, line_width=3, **options)
        face = pv.PolyData(first[1:5], faces=[4, 0, 1, 2, 3])
        plotter.add_mesh(face, name="input camera face", color=self.look.accent, opacity=0.35, **options)

    # --- floor grid -----------------------------------------------------------------------------

    def set_grid(self, visible: bool, height_m: float | None) -> None:
        """Ruler on the floor: metres when the object's height is known (`height_m`), else world units."""
        self._show_grid, self._height_m = visible, height_m
        self._update_grid()

    def _update_grid(self) -> None:
        import pyvista as pv

        plotter = self.plotter
        for name in ("grid", "grid edge", "grid labels", "height ruler"):
            plotter.remove_actor(name, render=False)
        if not self._show_grid or self.mesh is None:
            return
        ruler = Ruler.of(self.mesh, self._height_m)
        options = {"reset_camera": False, "render": False, "lighting": False, "pickable": False}
        plotter.add_mesh(_segments(ruler.lines), name="grid", color=self.look.grid, line_width=1, **options)
        plotter.add_mesh(_segments(ruler.edges), name="grid edge", color=self.look.label, line_width=2, **options)
        points = np.array([position for position, _ in ruler.labels])
        plotter.add_point_labels(
            pv.PolyData(points),
            [text for _, text in ruler.labels],
            name="grid labels",
            font_size=13,
            text_color=self.look.label,
            shape=None,
            show_points=False,
            always_visible=True,
            justification_horizontal="center",
            justification_vertical="center",
            reset_camera=False,
            render=False,
        )


@dataclass
class Ruler:
    """Lines and labels of a floor grid under a mesh, with a height scale at its corner."""

    lines: np.ndarray
    """(L, 2, 3) thin lines of the grid."""
    edges: np.ndarray
    """(E, 2, 3) strong lines: the two measured edges, the height scale and its ticks."""
    labels: list[tuple[np.ndarray, str]]
    """Positions and texts."""
    step: float
    """Distance of two lines in the unit of the labels."""

    @classmethod
    def of(cls, mesh: Mesh, height_m: float | None) -> Ruler:
        """The grid that covers the footprint, with 1-2-5 steps and about eight cells along the longer side."""
        low, high = mesh.bounds.astype(np.float64)
        tall = max(high[2] - low[2], 1e-6)
        unit = height_m / tall if height_m else 1.0  # label units in one world unit
        suffix = " m" if height_m else ""
        step = nice_step(float((high - low).max()) * unit / 6)
        cell = step / unit
        start = np.floor(low[:2] / cell - 0.5) * cell
        counts = (np.ceil(high[:2] / cell + 0.5) - np.floor(low[:2] / cell - 0.5)).astype(int)
        end = start + counts * cell
        z = low[2]
        xs, ys = start[0] + np.arange(counts[0] + 1) * cell, start[1] + np.arange(counts[1] + 1) * cell
        lines = [((x, start[1], z), (x, end[1], z)) for x in xs] + [((start[0], y, z), (end[0], y, z)) for y in ys]
        tick = cell * 0.12
        edges = [((end[0], start[1], z), (end[0], end[1], z)), ((start[0], end[1], z), (end[0], end[1], z))]
        edges += [((x, end[1], z), (x, end[1] + tick, z)) for x in xs]
        edges += [((end[0], y, z), (end[0] + tick, y, z)) for y in ys]
        labels: list[tuple[np.ndarray, str]] = []
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        gap = cell * 0.42
        for i, x in enumerate(xs):
            labels.append(
                (np.array([x, end[1] + gap, z]), f"{i * step:.{digits}f}" + (suffix if i == counts[0] else ""))
            )
        for i, y in enumerate(ys[:-1]):
            labels.append((np.array([end[0] + gap, y, z]), f"{(counts[1] - i) * step:.{digits}f}"))
        corner = (start[0], end[1])
        top = z + tall
        edges += [((*corner, z), (*corner, top)), ((*corner, top), (corner[0], corner[1] + tick, top))]
        heights = np.arange(1, int(tall / cell) + 1) * cell
        edges += [((*corner, z + h), (corner[0], corner[1] + tick, z + h)) for h in heights]
        labels.append((np.array([corner[0], corner[1], top + cell * 0.3]), f"{tall * unit:.{max(digits, 2)}f}{suffix}"))
        return cls(np.array(lines), np.array(edges), labels, step)


def nice_step(rough: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most `rough` (above 0)."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return next(f * power for f in (5.0, 2.0, 1.0) if f * power <= rough * (1 + 1e-9) or f == 1.0)


def frustum(pose: Pose, depth: float = FRUSTUM_DEPTH) -> np.ndarray:
    """(6, 3) world points of a camera's pyramid: apex, the picture's four corners, and the tip of its up mark."""
    half = depth * (REFERENCE_SIZE / 2) / REFERENCE_FOCAL
    x, y, z = half, half, -depth
    local = np.array([[0, 0, 0], [-x, -y, z], [x, -y, z], [x, y, z], [-x, y, z], [0, y * 1.5, z]])
    c2w = pose.matrix().astype(np.float64)
    return local @ c2w[:3, :3].T + c2w[:3, 3]


def _segments(pairs: np.ndarray) -> Any:
    import pyvista as pv

    index = np.arange(len(pairs) * 2).reshape(-1, 2)
    return pv.PolyData(pairs.reshape(-1, 3).astype(np.float32), lines=np.insert(index, 0, 2, axis=1).ravel())


def _wires(corners: np.ndarray) -> Any:
    links = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1), (3, 5), (5, 4)]
    return _segments(corners[:, np.array(links)].reshape(-1, 2, 3))

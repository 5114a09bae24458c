"""A model from the front, the right, the back and above at once, in one picture: `FourViews`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PySide6.QtGui import QColor

from engine.cameras import camera_to_world
from widgets.kit.theme import theme

VIEWS = {"front": (270.0, 0.0), "right": (0.0, 0.0), "back": (90.0, 0.0), "top": (270.0, 90.0)}
"""Azimuth and elevation of the camera; the front of a glTF model lies at azimuth 270."""


class FourViews:
    """Renderers in the quarters of a render window; they draw the actors of its first one, which rests meanwhile."""

    def __init__(self, window: Any, main: Any, make_lights: Callable[[], Sequence[Any]]) -> None:
        from vtkmodules.vtkRenderingCore import vtkRenderer, vtkTextActor

        self._main = main
        self._renderers: dict[str, Any] = {}
        self._words = []
        for at, name in enumerate(VIEWS):
            renderer, words = vtkRenderer(), vtkTextActor()
            left, low = at % 2 / 2, 0.5 - at // 2 / 2
            renderer.SetViewport(left, low, left + 0.5, low + 0.5)
            renderer.GradientBackgroundOn()
            renderer.AutomaticLightCreationOff()
            for light in make_lights():
                renderer.AddLight(light)
            words.SetInput(name)
            words.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
            words.SetPosition(0.02, 0.02)
            renderer.AddViewProp(words)
            renderer.DrawOff()
            window.AddRenderer(renderer)
            self._renderers[name] = renderer
            self._words.append(words)

    def set_on(self, on: bool) -> None:
        """Draw in quarters, or whole again."""
        self._main.SetDraw(not on)
        for renderer in self._renderers.values():
            renderer.SetDraw(on)

    def show(self, actors: Sequence[Any]) -> None:
        """Draw these."""
        for renderer in self._renderers.values():
            for prop in list(renderer.GetActors()):
                renderer.RemoveActor(prop)
            for actor in actors:
                renderer.AddActor(actor)

    def restyle(self, lower: str, upper: str) -> None:
        """Take the colours of the theme."""
        for renderer in self._renderers.values():
            renderer.SetBackground(_rgb(QColor(lower)))
            renderer.SetBackground2(_rgb(QColor(upper)))
        for words in self._words:
            words.GetTextProperty().SetColor(_rgb(theme.color("muted")))
            words.GetTextProperty().SetFontSize(theme.px(13))

    def place(self, target: Any, distance: Callable[[float, float], float], angle: float) -> None:
        """Stand the cameras around `target` (3,), as far from it as `distance(elevation, azimuth)` says."""
        for name, (azimuth, elevation) in VIEWS.items():
            c2w = camera_to_world(elevation, azimuth, distance(elevation, azimuth)).astype(np.float64)
            camera = self._renderers[name].GetActiveCamera()
            camera.SetViewAngle(angle)
            camera.SetPosition(*(target + c2w[:3, 3]))
            camera.SetFocalPoint(*target)
            camera.SetViewUp(*c2w[:3, 1])
            reach = float(np.linalg.norm(target + c2w[:3, 3]))
            camera.SetClippingRange(max(reach - 1.02, 0.01), reach + 1.02)

    @property
    def seconds(self) -> float:
        """That the last picture took."""
        return sum(float(renderer.GetLastRenderTimeInSeconds()) for renderer in self._renderers.values())


def _rgb(color: QColor) -> tuple[float, float, float]:
    return color.redF(), color.greenF(), color.blueF()

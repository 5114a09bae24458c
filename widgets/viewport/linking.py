"""Two viewports that are looked at together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from widgets.viewport.viewport import Viewport


class Link:
    """Has each of two viewports follow the other in camera, style, edges and ruler, until `unlink`."""

    def __init__(self, first: Viewport, second: Viewport) -> None:
        self._ties: list[tuple[Any, Callable[..., Any]]] = []
        for one, other in ((first, second), (second, first)):
            self._tie(one.camera_changed, lambda one=one, other=other: other.set_camera(one.camera))
            self._tie(one.style_changed, lambda style, other=other: _style(other, style))
            self._tie(one.wireframe_changed, other.set_wireframe)
            self._tie(one.grid_changed, other.set_grid)

    def unlink(self) -> None:
        """Let each of them go its own way, from where it is."""
        for signal, slot in self._ties:
            signal.disconnect(slot)
        self._ties.clear()

    def _tie(self, signal: Any, slot: Callable[..., Any]) -> None:
        signal.connect(slot)
        self._ties.append((signal, slot))


def link(first: Viewport, second: Viewport) -> Link:
    """Link two viewports; the second takes up what the first shows."""
    second.set_camera(first.camera)
    _style(second, first.chosen_style)
    second.set_wireframe(first.wireframe)
    second.set_grid(first.grid)
    return Link(first, second)


def _style(viewport: Viewport, style: Any) -> None:
    if viewport.chosen_style != style:
        viewport.set_style(style)

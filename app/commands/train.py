"""`oriel train views | shape | surface`: trainings of the built-in weights."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from app.options import Fields
from engine.core.errors import InputError


def views(
    *,
    options: Annotated[dict[str, Any], Fields("engine.views.train:ViewsOptions")],
    sizes: Annotated[dict[str, Any], Fields("engine.views.spatial:SpatialConfig", title="network")],
) -> int:
    """Train the views network."""
    from engine.views.spatial import SpatialConfig
    from engine.views.train import ViewsOptions, train

    return _run(train, ViewsOptions(**options, network=SpatialConfig(**sizes)))


def shape(
    *,
    options: Annotated[dict[str, Any], Fields("engine.views.train_prior:PriorOptions")],
    sizes: Annotated[dict[str, Any], Fields("engine.views.prior:PriorConfig", title="network")],
) -> int:
    """Train the shape network."""
    from engine.views.prior import PriorConfig
    from engine.views.train_prior import PriorOptions, train

    return _run(train, PriorOptions(**options, network=PriorConfig(**sizes)))


def surface(*, options: Annotated[dict[str, Any], Fields("engine.surface.train:SurfaceOptions")]) -> int:
    """Train the surface network."""
    from engine.surface.train import SurfaceOptions, train_surface

    return _run(train_surface, SurfaceOptions(**options))


COMMANDS = (views, shape, surface)


def _run(train: Callable[[Any], Path], options: Any) -> int:
    """Train until the budget is spent or either signal stops it; returns the exit code."""
    from engine.training.trainer import LAST

    if options.minutes is None and options.steps is None:
        raise InputError("Say how long to train: --minutes 60 or --steps 5000.")
    try:
        with _stopped_by_signals():
            print(f"weights: {train(options)}")
    except KeyboardInterrupt:
        print(f"stopped; the same command with --resume goes on from {options.out / LAST}")
        return 130
    return 0


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    # A shell that starts a job in the background has it ignore the first.
    before = [(number, signal.signal(number, signal.default_int_handler)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)

"""What an evaluation depends on; starts no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from engine.core.errors import InputError
from engine.core.options import Option
from engine.evaluation.alignment import UP_AXES
from engine.evaluation.metrics import METRICS


@dataclass(frozen=True)
class Options:
    """How an evaluation is done."""

    metrics: tuple[str, ...] | None = None
    """Keys of `METRICS`, the one that the page is about first; None for all that can be measured."""
    clip: Annotated[Path | None, Option(metavar="FILE")] = None
    """CLIP's weights: a file or folder of open_clip's (default: where `oriel weights list` says)."""
    lpips: Annotated[Path | None, Option(metavar="FILE")] = None
    """Weights of LPIPS: the state of lpips.LPIPS(net='alex') (default: lpips-alex.* in a folder of weights)."""
    up: Annotated[tuple[str, ...], Option(choices=tuple(UP_AXES), repeat=True)] = ("+z",)
    """Axes of the predictions that may point up, once read by their format's custom; several are all tried."""
    workers: int | None = None
    """Processes on this machine, 0 for none but this (default: by cores and memory)."""
    scheduler: Annotated[str | None, Option(metavar="ADDRESS")] = None
    """Address of a Dask scheduler (`tcp://HOST:8786`), whose workers do the work instead."""

    def __post_init__(self) -> None:
        unknown = [key for key in self.metrics or () if key not in METRICS]
        if unknown:
            raise InputError(f"There is no measure {unknown[0]!r}. There are: {', '.join(METRICS)}.")
        if self.metrics is not None and not self.metrics:
            raise InputError(f"No measure was chosen. There are: {', '.join(METRICS)}.")
        if self.workers is not None and not 0 <= self.workers <= 1024:
            raise InputError(f"Workers are {self.workers}, but have to be 0 to 1024.")

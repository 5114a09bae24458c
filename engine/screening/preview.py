"""A model as it can be turned on any machine: few triangles, small textures, Z up, inside the unit sphere.

Whatever is in a file, the caller gets a `Preview`; where there is nothing to see, `problem` says why.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import psutil

from engine.core.errors import InputError
from engine.core.processes import Channel
from engine.meshes.framing import set_apart
from engine.meshes.loading import read_model
from engine.meshes.model import Model, Unreadable
from engine.meshes.reducing import PreviewPart as PreviewPart
from engine.meshes.reducing import Reduced, reduce_model
from engine.screening.hints import Hints, hints_of

ELSEWHERE = "skip it and open it in another program."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviewLimits:
    """How large previews may be, and what making and keeping them may cost."""

    triangles: int = 150_000
    """In all parts of a preview together."""
    parts: int = 16
    """Of a preview, each drawn on its own."""
    texture_side: int = 1024
    """Pixels of a texture's longer side."""
    texture_bytes: int = 24 << 20
    """Of all textures of a preview, as decoded."""
    seconds: float = 30.0
    """For one model; then its worker is ended. One that only lacks a processor gets up to four times as long."""
    worker_bytes: int = 1536 << 20
    """Of memory that one model may take while it is loaded, beside its mapped file (where the system can limit it)."""
    cache_bytes: int = 512 << 20
    """Of all previews kept. A quarter is for those already seen, so that going back does not wait."""
    worker_jobs: int = 100
    """Models after which a worker is replaced by a fresh one."""

    def __post_init__(self) -> None:
        if min(self.triangles, self.parts, self.texture_side, self.texture_bytes, self.worker_jobs) < 1:
            raise InputError("Limits of previews must be at least 1.")
        if self.parts > 200:
            raise InputError(f"A preview of {self.parts} parts is not quick to draw; give at most 200.")
        if self.seconds <= 0 or self.worker_bytes < 1 or self.cache_bytes < 1:
            raise InputError("Limits of time and memory of previews must be above 0.")

    @property
    def largest(self) -> int:
        """Bytes of about the largest preview that these limits allow."""
        return self.triangles * (12 + 2 * 40) + self.texture_bytes


@dataclass(frozen=True)
class PreviewFacts:
    """What is known of the file itself."""

    bytes: int = 0
    """Of the file, without those beside it."""
    triangles: int = 0
    """Of what is shown, before the reduction."""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Smallest and largest corner of what is shown, in the file's units, Z up."""
    materials: int = 0
    textures: int = 0
    animated: bool = False
    compressed: str = ""
    """`Draco`, `meshopt` or nothing."""
    warnings: tuple[str, ...] = ()
    """What is not shown, or not as it should be: whole sentences."""
    seconds: float = 0.0
    """That loading took."""
    hints: Hints | None = None
    """What the shape hints at; None where nothing can be shown."""


@dataclass(frozen=True, eq=False)
class Preview:
    """A model ready to be drawn, or why there is none. Its arrays are shared: not to be written to."""

    path: Path
    parts: tuple[PreviewPart, ...] = ()
    facts: PreviewFacts = field(default_factory=PreviewFacts)
    problem: str | None = None
    """Why nothing can be shown, and what may be done; `parts` is empty then."""
    decision: str = ""
    """What may be decided of such a model where models are screened."""
    around: tuple[PreviewPart, ...] = ()
    """What is left out of the picture, so that the rest is no speck; it reaches out of the unit sphere."""

    @property
    def nbytes(self) -> int:
        """Of memory that its arrays take."""
        return sum(array.nbytes for part in (*self.parts, *self.around) for array in part.arrays().values())


def load_preview(path: Path, limits: PreviewLimits | None = None) -> Preview:
    """The preview of a model file, in this process; never raises. For windows there is `PreviewCache`."""
    limits = limits or PreviewLimits()
    start = time.perf_counter()
    size = 0
    try:
        with contextlib.suppress(OSError):
            size = path.stat().st_size
        body, around, notes = set_apart(read_model(path))
        reduced = _reduced(body, limits, path.name, 1)
        beside = _beside(around, reduced, limits, path.name)
    except Unreadable as error:
        facts = PreviewFacts(bytes=size, seconds=time.perf_counter() - start)
        return Preview(path, facts=facts, problem=error.plain, decision=error.decision)
    except MemoryError:
        return too_large(path, PreviewFacts(bytes=size), limits)
    except Exception as error:  # nothing that is in a file may end the screening
        _log.warning("%s cannot be read", path, exc_info=True)
        text = f"{path.name} cannot be read ({type(error).__name__}: {str(error)[:200]})."
        return Preview(path, facts=PreviewFacts(bytes=size), problem=text, decision=f"Reject it, or {ELSEWHERE}")
    facts = PreviewFacts(
        bytes=size,
        triangles=reduced.triangles,
        bounds=reduced.bounds,
        materials=reduced.materials,
        textures=reduced.textures,
        animated=body.animated,
        compressed=body.compressed,
        warnings=tuple(reduced.warnings),
        hints=hints_of(reduced.parts, notes),
        seconds=time.perf_counter() - start,
    )
    return Preview(path, tuple(reduced.parts), facts, around=beside)


def _reduced(model: Model, limits: PreviewLimits, name: str, share: int) -> Reduced:
    """A model within a share, 1 / `share`, of the limits."""
    return reduce_model(
        model,
        triangles=max(limits.triangles // share, 1),
        parts=max(limits.parts // share, 1),
        side=max(limits.texture_side // share, 1),
        texture_bytes=max(limits.texture_bytes // share, 1),
        name=name,
    )


def _beside(around: Model | None, body: Reduced, limits: PreviewLimits, name: str) -> tuple[PreviewPart, ...]:
    """What was left out of the picture, where it lies seen from the body."""
    if around is None:
        return ()
    try:
        found = _reduced(around, limits, name, 4)
    except Unreadable:  # without an area
        return ()
    (middle, scale), (own, own_scale) = body.frame, found.frame
    for part in found.parts:
        part.points = ((part.points / own_scale + own - middle) * scale).astype(np.float32)
    return tuple(found.parts)


def too_large(path: Path, facts: PreviewFacts, limits: PreviewLimits) -> Preview:
    """That of a file that takes more memory than a worker has."""
    text = (
        f"{path.name} ({facts.bytes / 1e6:,.0f} MB) is too large to be shown: it takes more than "
        f"{limits.worker_bytes / 1e9:.1f} GB of memory to load."
    )
    return Preview(path, facts=facts, problem=text, decision="Decide without a picture, or skip it.")


# -- in a process of its own ---------------------------------------------------------------------------------


def serve_previews(channel: Channel, limits: PreviewLimits) -> NoReturn:
    """Say None, then answer each path with its preview: the work of a `Child` (engine/core/processes.py)."""
    import fast_simplification  # noqa: F401 - before the first model, not with it
    import PIL.Image
    import scipy.sparse.csgraph  # noqa: F401

    PIL.Image.MAX_IMAGE_PIXELS = None  # the limit of memory does better: a large JPEG is never decoded whole

    np.ones((64, 64)) @ np.ones((64, 64))  # takes its own memory once
    _limit_memory(limits.worker_bytes)
    channel.send(None)
    while True:
        preview = load_preview(channel.receive(), limits)
        path, facts = preview.path, preview.facts
        try:
            channel.send(preview)
        except MemoryError:
            channel.send(too_large(path, facts, limits))
        except OSError as error:
            where = tempfile.gettempdir()
            text = f"The preview of {path.name} cannot be kept in {where} ({error.strerror}). Make room on the disk."
            channel.send(Preview(path, facts=facts, problem=text))


def _limit_memory(most: int) -> None:
    """Let this process allocate `most` bytes more than now; mapped files do not count."""
    try:
        import resource

        used = psutil.Process().memory_info()
        held = int(getattr(used, "data", 0)) or int(used.rss)
        resource.setrlimit(resource.RLIMIT_DATA, (held + most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (ImportError, AttributeError, OSError, ValueError):
        _log.info("the memory of workers cannot be limited on this system")

"""Zero123 as a generator of views: One-2-3-45's two stages, the sampler, the mask of what was drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine import cameras, choices, weights
from engine.core import device
from engine.core.device import MemoryBudget
from engine.core.errors import InputError, OrielError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.views.zero123 import layouts
from engine.views.zero123.network import SIDE, Zero123Network
from engine.views.zero123.samplers import DdimSampler, FastSampler, Sampler

FloatArray = npt.NDArray[np.float32]

GUIDANCE = 3.0
"""How far a view is pushed towards what the picture says (One-2-3-45)."""
FAST_STEPS = 16
PUBLISHED_STEPS = (75, 50)
"""DDIM steps of views drawn from the input, and of their neighbours (One-2-3-45)."""
SAMPLERS = ("fast", "published")
SNAP = 253 / 255
"""Channels of a picture from which neighbours are drawn are white above this (One-2-3-45)."""

BLACK = 2 / 255
"""A view over white of which nothing is brighter than this has not come out."""

_CPU_BATCH = 4
_DECODE_BATCH = 8
_NEAR = cameras.NEIGHBOUR_STEP + 0.5  # degrees
_BACKGROUND = 0.955  # darkest channel of a pixel of the background
_DARKEST_WHITE = 0.1  # share of the background that is darker than any pixel of a hole
_HOLE = 0.002  # share of the picture that a hole takes at least
_SPECK = 0.0005  # share of the picture below which something drawn is noise


@dataclass
class _Job:
    """One view to draw."""

    index: int
    """Place among the offsets."""
    source: int
    """Place of the view that it is drawn from; -1 for the input."""
    offset: tuple[float, float, float]
    """Elevation and azimuth in degrees and radius, relative to the input."""
    turn: tuple[float, float, float]
    """The same relative to the source."""
    neighbour: bool


def two_stages(offsets: npt.ArrayLike) -> list[int]:
    """What each view is drawn from: the place of an earlier offset (N, 3), or -1 for the input.

    One-2-3-45 draws its 8 principal views from the input and the four neighbours of each from that view, since Zero123
    is at its best over small turns. A view within `cameras.NEIGHBOUR_STEP` of the input is drawn from the input; one
    within as much of an earlier principal view is drawn from that; the others are principal views.
    """
    rows = np.asarray(offsets, np.float64).reshape(-1, 3)
    sources, principal = [], [-1]
    for i, row in enumerate(rows):
        anchors = np.array([rows[p, :2] if p >= 0 else (0.0, 0.0) for p in principal])
        turn = np.abs(row[:2] - anchors)
        turn[:, 1] = np.abs((turn[:, 1] + 180) % 360 - 180)
        nearest = int(turn.sum(1).argmin())
        if turn[nearest].max() <= _NEAR:
            sources.append(principal[nearest])
        else:
            sources.append(-1)
            principal.append(i)
    return sources


class Zero123Generator:
    """Views drawn by Zero123 or Zero123-XL.

    View 0 of One-2-3-45 is the input drawn once more from where it was taken; here its neighbours are drawn from the
    input itself. A view depends on the picture, the seed and its offset alone, not on what is drawn beside it.
    """

    def __init__(
        self,
        network: Zero123Network,
        *,
        name: str = "zero123-xl",
        sampler: str = "fast",
        on: torch.device | None = None,
        budget: MemoryBudget | None = None,
        steps: int | None = None,
    ) -> None:
        """`sampler`: one of `SAMPLERS`; `steps` of the fast one, `FAST_STEPS` if not given; `on`: the device."""
        if sampler not in SAMPLERS:
            raise InputError(f"Sampler is {sampler!r}, but has to be one of {', '.join(SAMPLERS)}.")
        self.name = name
        self.label = choices.names("generator").get(name, "Zero123")
        self.network = network
        self.device = on or device.pick_device()
        self.budget = budget or MemoryBudget()
        self._sampler = sampler
        self._steps = steps or FAST_STEPS
        self._again = False

    @property
    def note(self) -> str:
        """In which precision it draws, for the report."""
        if self._again:
            return "in single precision, after views came out broken or black in half"
        name = {torch.float32: "single", torch.float16: "half"}.get(self.network.unet_dtype, "bfloat16")
        return f"in {name} precision" if name != "bfloat16" else "in bfloat16"

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        name: str = "zero123-xl",
        sampler: str = "fast",
        budget: MemoryBudget | None = None,
    ) -> Zero123Generator:
        """From a released checkpoint or a diffusers folder; where `name` is found if no `path` is given.

        `WeightsError` when the weights are missing, damaged or of another model.
        """
        on = device.pick_device()
        checkpoint = layouts.read(path or weights.require(name))
        network = Zero123Network(checkpoint, device.precision(on), device.denoising_precision(on))
        return cls(network, name=name, sampler=sampler, on=on, budget=budget)

    def estimate_elevation(self, image: FloatArray, lens: float = 1.0) -> float | None:
        """None: Zero123 knows turns only."""
        return None

    def generate(
        self,
        image: FloatArray,
        offsets: FloatArray,
        *,
        elevation: float | None = None,
        size: int = 256,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> FloatArray:
        """See `ViewGenerator.generate`. Views near an earlier one are drawn from it, see `two_stages`.

        The camera's own elevation plays no part. Every denoising step is reported and asks `cancel`; on a device
        without CUDA the message says how long it will take.
        """
        rows = np.asarray(offsets, np.float32).reshape(-1, 3)
        work = _Work(len(rows), progress or ignore_progress, cancel or CancelToken(), self.device)
        sources = two_stages(rows)
        jobs = [_job(i, rows, source) for i, source in enumerate(sources)]
        views = np.empty((len(rows), size, size, 4), np.float32)
        drawn: dict[int, FloatArray] = {-1: _shown(image)}
        # neighbours of principal views wait for these; one batch takes the same steps throughout
        waves: dict[tuple[bool, int], list[_Job]] = {}
        for job in jobs:
            waves.setdefault((job.source >= 0, self._steps_of(job)), []).append(job)

        self.network.cancel = work.cancel
        with torch.inference_mode(), self.budget.limit(self.device):
            self.network.place(self.device, offloads=self.budget.offloads(self.device))
            try:
                for _, wave in sorted(waves.items()):
                    for job, picture in self._draw_soundly(wave, drawn, seed, work):
                        drawn[job.index] = picture
                        views[job.index] = _resize(with_mask(picture), size)
                        work.finish(job.index, views[job.index])
            finally:
                if self.budget.offloads(self.device):
                    device.free()
        return views

    def _draw_soundly(
        self, jobs: list[_Job], drawn: dict[int, FloatArray], seed: int, work: _Work
    ) -> Iterator[tuple[_Job, FloatArray]]:
        """Views (256, 256, 3) of jobs; those that are no numbers, or black, in half precision again in single.

        `OrielError` for views that are no numbers in single either.
        """
        left = jobs
        while left:
            single = self.network.is_single
            broken: list[_Job] = []
            for job, picture in self._draw(left, drawn, seed, work):
                if np.isfinite(picture).all() and (single or picture.max() > BLACK):
                    yield job, picture
                else:
                    broken.append(job)
            if broken and single:
                raise OrielError(
                    f"{self.label} has drawn nothing that is a picture. Its weights may be damaged: check them with "
                    f"`oriel weights check {self.name}`, or fetch them again."
                )
            if broken:
                self._use_single(work)
                work.again()
            left = broken

    def _use_single(self, work: _Work) -> None:
        self.network.use_single()
        self._again = True
        work.say("Views came out broken or black in half precision: drawing them again in single")

    def _draw(
        self, jobs: list[_Job], drawn: dict[int, FloatArray], seed: int, work: _Work
    ) -> Iterator[tuple[_Job, FloatArray]]:
        """Views (256, 256, 3) of jobs whose sources are drawn, in the largest batches that fit."""
        network = self.network
        sources = sorted({(job.source, job.neighbour) for job in jobs})
        pictures = np.stack([_snapped(drawn[s]) if neighbour else drawn[s] for s, neighbour in sources])
        work.cancel.check()
        inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
        embeddings, latents = self._conditions(inputs)
        if not network.is_single and not (embeddings.isfinite().all() and latents.isfinite().all()):
            self._use_single(work)
            embeddings, latents = self._conditions(inputs)
        at = [sources.index((job.source, job.neighbour)) for job in jobs]
        turns = torch.tensor([job.turn for job in jobs], dtype=torch.float32)
        angles = torch.cat([torch.deg2rad(turns[:, :2]) * turns.new_tensor([-1.0, 1.0]), turns[:, 2:]], 1)
        context, latents = network.context(embeddings[at], angles), latents[at]

        def denoise(part: Sequence[int]) -> Tensor:
            rows = torch.tensor(part, device=self.device)
            with network.denoising():
                return self._denoise([jobs[i] for i in part], context[rows], latents[rows], seed, work)

        largest = None if self.device.type == "cuda" else _CPU_BATCH
        batches = device.in_batches(range(len(jobs)), denoise, key=self._key("denoise"), largest=largest)
        for batch, finished in batches:
            yield from self._decode([jobs[i] for i in batch], finished, work)

    def _conditions(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (N, E) and latents (N, 4, h, w) of pictures (N, 3, 256, 256)."""
        parts = [
            part
            for _, part in device.in_batches(
                inputs.split(1),
                lambda p: self.network.condition(torch.cat(list(p))),
                key=self._key("condition"),
                largest=_DECODE_BATCH,
            )
        ]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _decode(self, jobs: list[_Job], latents: Tensor, work: _Work) -> Iterator[tuple[_Job, FloatArray]]:
        """Pictures (256, 256, 3) of denoised latents (N, 4, h, w)."""
        pairs = list(zip(jobs, latents, strict=True))

        def decode(part: Sequence[tuple[_Job, Tensor]]) -> FloatArray:
            stack = torch.stack([latent for _, latent in part])
            pictures = self.network.decode(stack)
            sound = pictures.isfinite().all() and (pictures.amax((1, 2, 3)) > BLACK).all()
            if not sound and not self.network.is_single and stack.isfinite().all():
                self._use_single(work)  # the VAE alone may be at fault, which is soon seen
                pictures = self.network.decode(stack)
            return np.asarray(pictures.permute(0, 2, 3, 1).numpy(), np.float32)

        with self.network.decoding():
            for part, pictures in device.in_batches(pairs, decode, key=self._key("decode"), largest=_DECODE_BATCH):
                for (job, _), picture in zip(part, pictures, strict=True):
                    work.cancel.check()
                    yield job, np.ascontiguousarray(picture)

    def _denoise(self, jobs: list[_Job], context: Tensor, latents: Tensor, seed: int, work: _Work) -> Tensor:
        """Latents (N, 4, h, w) of views, from noise that the seed and each view's offset decide."""
        steps = self._steps_of(jobs[0])
        sampler: Sampler = FastSampler(steps) if self._sampler == "fast" else DdimSampler(steps)
        random = [_random(seed, job) for job in jobs]

        def noise() -> Tensor:
            rows = [torch.randn(self.network.latent_shape, generator=r) for r in random]
            return torch.stack(rows).to(self.device)

        x = noise()
        for index, step in enumerate(sampler.times):
            work.cancel.check()
            predicted = self.network.predict(x, step, context, latents, GUIDANCE)
            x = sampler.step(index, x, predicted, noise() if sampler.noisy else None)
            if not x.isfinite().all():
                break  # and nothing that follows would be
            work.step(len(jobs) / len(sampler.times))
        return x

    def _steps_of(self, job: _Job) -> int:
        return self._steps if self._sampler == "fast" else PUBLISHED_STEPS[job.neighbour]

    def _key(self, what: str) -> str:
        return f"zero123 {what}, {self.device}, {self.network.dtype}, {self.network.unet_dtype}, {self.budget.gb}"


class _Work:
    """How far the views are: denoising counts nine parts in ten of a view, decoding the rest."""

    def __init__(self, total: int, progress: ProgressCallback, cancel: CancelToken, on: torch.device) -> None:
        self.total, self.cancel = total, cancel
        self._progress = progress
        self._on = on
        self._denoised = 0.0
        self._finished = 0
        self._shown = 0.0
        self._first: tuple[float, float] | None = None
        """When the first step was done, and how far; it also warms up, so it does not count for the pace."""

    def step(self, views: float) -> None:
        """So many more views are denoised; without CUDA the message says how long the rest will take."""
        self._denoised += views
        now, message = time.monotonic(), "Drawing views"
        if self._first is None:
            self._first = (now, self._denoised)
        elif self._on.type != "cuda":
            begin, before = self._first
            left = (now - begin) / (self._denoised - before) * (self.total - self._denoised)
            where = "the CPU" if self._on.type == "cpu" else "this GPU"
            message = f"Drawing views on {where}: about {_minutes(left)} left"
        self._report(message)

    def again(self) -> None:
        """Views that are not finished have to be denoised once more, at another pace."""
        self._denoised, self._first = float(self._finished), None

    def say(self, message: str) -> None:
        """Tell what goes on."""
        self._report(message)

    def finish(self, index: int, picture: FloatArray) -> None:
        """A view is there."""
        self._finished += 1
        self._report("Drawing views", (index, picture))

    def _report(self, message: str, preview: tuple[int, FloatArray] | None = None) -> None:
        done = 0.9 * min(self._denoised, self.total) + 0.1 * self._finished
        self._shown = max(self._shown, done)  # views that are drawn again do not take it back
        self._progress(Progress("views", self._shown, self.total, message, preview))


def _minutes(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _job(index: int, rows: FloatArray, source: int) -> _Job:
    offset = rows[index].astype(float)
    turn = offset - rows[source] if source >= 0 else offset
    neighbour = source >= 0 or bool(np.abs([turn[0], (turn[1] + 180) % 360 - 180]).max() <= _NEAR)
    return _Job(index, source, tuple(offset), tuple(turn), neighbour)


def _random(seed: int, job: _Job) -> torch.Generator:
    """Random numbers of one view."""
    elevation, azimuth, radius = (round(v * 1000) for v in job.offset)
    state = np.random.SeedSequence([seed, elevation % 2**32, azimuth % 360_000, radius % 2**32])
    return torch.Generator().manual_seed(int(state.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _shown(image: FloatArray) -> FloatArray:
    """The picture (S, S, 4) as Zero123 takes it: (256, 256, 3) over white."""
    return np.ascontiguousarray(_resize(np.asarray(image, np.float32), SIDE)[..., :3])


def _snapped(picture: FloatArray) -> FloatArray:
    """A picture with what is nearly white made white, as One-2-3-45 does before the second stage."""
    return np.where(picture >= SNAP, np.float32(1), picture)


def _resize(picture: FloatArray, size: int) -> FloatArray:
    if len(picture) == size:
        return picture
    method = cv2.INTER_AREA if size < len(picture) else cv2.INTER_CUBIC
    return np.clip(np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.float32), 0, 1)


def with_mask(picture: FloatArray) -> FloatArray:
    """A view (H, H, 3) with its mask as alpha, (H, H, 4); its colours stay as they were drawn, the background's too.

    Background is what is nearly white and hangs together with the picture's border, and holes that are as white as that
    throughout; specks are not part of the object. The mask's edge is a pixel wide.
    """
    darkest = picture.min(2)
    area = darkest.size
    background = _reaching_border(darkest >= _BACKGROUND)
    white = np.quantile(darkest[background], _DARKEST_WHITE) if background.any() else 1.0
    holes = (darkest >= white) & ~background
    background |= _larger(holes, _HOLE * area)
    solid = _larger(~background, _SPECK * area)
    alpha = cv2.GaussianBlur(solid.astype(np.float32), (3, 3), 0)
    return np.dstack([picture, np.asarray(alpha, np.float32)]).astype(np.float32)


def _components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Labels (H, W) of the parts of a mask that hang together, 0 outside it, and the number of pixels by label."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return np.asarray(labels, np.int32), np.bincount(labels.ravel())


def _reaching_border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    labels, counts = _components(mask)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    keep = np.zeros(len(counts), bool)
    keep[edges] = True
    keep[0] = False
    return keep[labels]


def _larger(mask: npt.NDArray[np.bool_], pixels: float) -> npt.NDArray[np.bool_]:
    labels, counts = _components(mask)
    keep = counts >= pixels
    keep[0] = False
    return keep[labels]

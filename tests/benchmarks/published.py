"""Whole reconstructions at the published models' sizes: the published way of drawing views against ours, in one run.

Weights are random and written to a scratch folder, so speed and memory are those of the published models and pictures
mean nothing. The published way is One-2-3-45's: DDIM with 75 and 50 steps, four views at a time, as its code has it.
Both ways run in half precision on a GPU. How far the two samplers agree is measured where the best prediction of the
noise is known: a mixture of pictures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from engine import weights
from engine.core import device
from engine.core.progress import Progress
from engine.reconstruct.options import STAGES, Options
from engine.reconstruct.run import Run
from engine.views.zero123 import generator
from engine.views.zero123.samplers import DdimSampler, FastSampler, Sampler, kept_variance
from tests import tiny_models
from tests.benchmarks.table import Table

PUBLISHED_BATCH = 4
"""Views that One-2-3-45's code draws at a time."""
FULL_SAM = {
    "width": 1280,
    "depth": 32,
    "heads": 16,
    "grid": 64,
    "patch": 16,
    "window": 14,
    "global": (7, 15, 23, 31),
    "hidden": 5120,
    "out": 256,
    "mask_channels": 16,
    "decoder_hidden": 2048,
    "iou_hidden": 256,
}
"""Sizes of `sam_vit_h_4b8939.pth`."""


def measure_published(table: Table, folder: Path, *, tiny: bool, memory_gb: float | None = None) -> None:
    """Seconds and peak memory by stage, both ways. `tiny` models show on a CPU that everything runs."""
    folder.mkdir(parents=True, exist_ok=True)
    weights.set_paths(write_models(folder, tiny))
    picture = _write_picture(folder / "box.png")
    ways = {"ours": "fast", "published way": "published"}
    seconds: dict[str, float] = {}
    for name, sampler in ways.items():
        for attempt in ("first",) if tiny else ("first", "again"):  # the first also finds the largest batch
            options = Options(
                mode="sam",
                box=(40, 40, 216, 216),
                generator="zero123-xl",
                matcher="loftr",
                surface="one-2-3-45",
                quality="draft" if tiny else "standard",
                sampler=sampler,
                memory_gb=memory_gb,
            )
            run = Run.create(picture, folder / f"{sampler}-{attempt}", options)
            memory = _StageMemory()
            start = time.perf_counter()
            with _published_batches(sampler == "published"):
                run.execute(memory.watch)
            memory.close()
            seconds[name] = time.perf_counter() - start
            group = f"{'tiny' if tiny else 'published'} sizes, {name}, {attempt} run"
            for stage in STAGES:
                figures = run.report["stages"][stage]
                table.add(group, f"  {stage}", figures["seconds"], "s", memory.text(stage, figures["peak_mb"]))
            table.add(group, "whole run", seconds[name], "s", "target <= 8 s on an H100" if name == "ours" else "")
            if memory.peak_gb:
                top = max(memory.peak_gb.values())
                table.add(group, "peak GPU memory", top, "GB", "target < 8 GB" if name == "ours" else "")
    table.add("both ways", "published way over ours", seconds["published way"] / seconds["ours"], "x")
    _measure_agreement(table)


def write_models(folder: Path, tiny: bool) -> dict[str, str | Path]:
    """Random weights of every published model, by key; files that are there already are kept."""
    torch.manual_seed(0)
    makers: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "zero123-xl": ("zero123-xl.ckpt", tiny_models.write_tiny_zero123),
        "loftr": ("loftr.ckpt", tiny_models.write_tiny_loftr),
        "sam-vit-h": ("sam_vit_h.pth", tiny_models.write_tiny_sam),
        "one-2-3-45-surface": ("surface.pth", tiny_models.write_tiny_one2345_surface),
    }
    if not tiny:
        makers = {
            "zero123-xl": ("zero123-xl.ckpt", _write_zero123),
            "loftr": ("loftr.ckpt", _write_loftr),
            "sam-vit-h": ("sam_vit_h.pth", _write_sam),
            "one-2-3-45-surface": ("surface.pth", tiny_models.write_one2345_surface),
        }
    for name, write in makers.values():
        if not (folder / name).exists():
            write(folder / name)
    return {key: folder / name for key, (name, _) in makers.items()}


def _write_zero123(path: Path) -> None:
    state = tiny_models.zero123_state(tiny_models.FULL_ZERO123, mean=False)
    torch.save({"state_dict": state}, path)


def _write_loftr(path: Path) -> None:
    from kornia.feature import LoFTR

    torch.save({"state_dict": {f"matcher.{k}": v for k, v in LoFTR(pretrained=None).state_dict().items()}}, path)


def _write_sam(path: Path) -> None:
    """The full-size model, whose answer is the same as the tiny one's: what is dark is the object."""
    torch.save(tiny_models.dark_sam_state(FULL_SAM), path)


def _write_picture(path: Path) -> Path:
    import cv2

    image = np.full((256, 256, 3), 255, np.uint8)
    image[70:190, 60:200] = np.random.default_rng(0).integers(20, 120, (120, 140, 3))
    cv2.imwrite(str(path), image)
    return path


@contextmanager
def _published_batches(published: bool) -> Iterator[None]:
    """While open, views are drawn as many at a time as One-2-3-45's code draws."""
    if not published:
        yield
        return
    as_many_as_fit = device.in_batches

    def a_few(items: Any, run: Any, *, key: str, largest: int | None = None) -> Any:
        return as_many_as_fit(items, run, key=f"published {key}", largest=PUBLISHED_BATCH)

    with patch.object(device, "in_batches", a_few):
        yield


class _StageMemory:
    """Peak GPU memory by stage, read as the stages follow one another."""

    def __init__(self) -> None:
        self.peak_gb: dict[str, float] = {}
        self._stage = ""
        self._there = torch.cuda.is_available()

    def watch(self, event: Progress) -> None:
        """A `ProgressCallback`."""
        if event.stage != self._stage:
            self.close()
            self._stage = event.stage

    def close(self) -> None:
        """The stage is over."""
        if self._there:
            if self._stage:
                peak = torch.cuda.max_memory_reserved() / 2**30
                self.peak_gb[self._stage] = max(peak, self.peak_gb.get(self._stage, 0.0))
            torch.cuda.reset_peak_memory_stats()

    def text(self, stage: str, resident_mb: float) -> str:
        """Both peaks of a stage."""
        gpu = f"GPU {self.peak_gb[stage]:.2f} GB, " if stage in self.peak_gb else ""
        return f"{gpu}main memory {resident_mb:.0f} MB"


# -- how far the samplers agree


def _measure_agreement(table: Table) -> None:
    """The fast sampler against the exact flow from the same noise, and both samplers against what is to be drawn."""
    draw = torch.Generator().manual_seed(0)
    modes, size, count = 64, 1024, 128
    pictures = torch.randn(modes, size, generator=draw)
    wanted = pictures[:1] + 0.35 * torch.randn(16, size, generator=draw)
    start = torch.randn(count, size, generator=draw)

    def predict(x: Tensor, step: int) -> Tensor:
        without, given = (_best_prediction(x, step, m) for m in (pictures, wanted))
        return without + generator.GUIDANCE * (given - without)

    exact = _sample(DdimSampler(500, eta=0.0), predict, start)
    group = "samplers, best prediction known, guidance 3"
    scale = float(exact.std())
    samplers: dict[str, Sampler] = {
        f"ours, {generator.FAST_STEPS} steps": FastSampler(generator.FAST_STEPS),
        "DDIM, 75 steps, no noise": DdimSampler(75, eta=0.0),
        "published, 75 steps": DdimSampler(75),
        "published, 50 steps": DdimSampler(50),
    }
    table.add(
        group, "exact flow: distance to the nearest wanted picture", _nearest(exact, wanted), "", f"of {scale:.2f}"
    )
    for name, sampler in samplers.items():
        found = _sample(sampler, predict, start)
        if not sampler.noisy:
            off = math.sqrt(float((found - exact).square().mean())) / scale
            table.add(group, f"{name}: off the exact flow", off, "", "share of the pictures' spread")
        table.add(group, f"{name}: distance to the nearest wanted picture", _nearest(found, wanted))


def _best_prediction(x: Tensor, step: int, pictures: Tensor, spread: float = 0.25) -> Tensor:
    """Mean of the noise in `x` (N, D) where pictures are equally likely near each of (K, D)."""
    kept = float(kept_variance()[step])
    means, variance = math.sqrt(kept) * pictures, kept * spread**2 + 1 - kept
    weight = torch.softmax(-torch.cdist(x, means).square() / (2 * variance), 1)
    return math.sqrt(1 - kept) / variance * (x - weight @ means)


def _sample(sampler: Sampler, predict: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    for index, step in enumerate(sampler.times):
        noise = torch.randn(x.shape, generator=draw) if sampler.noisy else None
        x = sampler.step(index, x, predict(x, step), noise)
    return x


def _nearest(found: Tensor, pictures: Tensor) -> float:
    return float(torch.cdist(found, pictures).min(1).values.mean()) / math.sqrt(found.shape[1])

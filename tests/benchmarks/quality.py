"""Quality on held-out objects, by the pipeline as users run it: final mesh, generator's mesh and visual hull."""

from __future__ import annotations

import io
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from PIL import Image
from tqdm import tqdm

from engine.cameras import REFERENCE_SIZE, Pose, intrinsics, neighbour_poses, principal_poses, source_poses
from engine.core.errors import EmptyResultError
from engine.elevation import estimate_elevation
from engine.evaluation.views import mask_iou, psnr
from engine.meshes.mesh import Mesh
from engine.reconstruct.options import Options
from engine.reconstruct.run import Run
from engine.views.builtin import BuiltInGenerator
from tests.benchmarks.heldout import heldout_case, measure_mesh
from tests.benchmarks.measures import draw
from tests.benchmarks.table import Table

FloatArray = npt.NDArray[np.float32]

_MEMORY = 4 * 2**30  # bytes that the measuring of one object is allowed
MESHES = ("final mesh", "generator-only mesh", "visual hull of the views")
LABELS = {
    "volume_iou": ("volume IoU, mean", ""),
    "f_score": ("F-score at 0.05, mean", ""),
    "chamfer": ("Chamfer distance, mean", "sides"),
    "silhouette_iou": ("silhouette IoU with the input's mask, median", ""),
    "psnr": ("PSNR of 7 principal views, mean", "dB"),
    "mask_iou": ("mask IoU of 7 principal views, mean", ""),
    "source_mask_iou": ("mask IoU of the 32 views of the reconstruction, mean", ""),
}
"""Figure and unit of each measure; `sides` are longest sides of the object."""
TARGETS = {
    ("final mesh", "volume_iou"): "target >= 0.60, and not below the visual hull's",
    ("final mesh", "f_score"): "target >= 0.60",
    ("final mesh", "silhouette_iou"): "target >= 0.90",
    ("predicted views", "mask_iou"): "target >= 0.80",
}


def measure_quality(table: Table, folder: Path, rows: Path, count: int, quality: str = "standard") -> None:
    """Add the figures of the first `count` held-out cases, measured in a process for each core that has the memory.

    Runs are kept in `folder`; the figures of each object go to `rows`, one JSON object a line, as they come.
    """
    processes = min(psutil.cpu_count(logical=False) or 1, psutil.virtual_memory().total // _MEMORY, count) or 1
    objects = []
    with (
        rows.open("w") as lines,
        ProcessPoolExecutor(
            processes, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool,
        tqdm(total=count, desc="held-out", unit="object", disable=None) as bar,
    ):
        for future in as_completed(pool.submit(_measure_object, i, folder, quality) for i in range(count)):
            objects.append(future.result())
            lines.write(json.dumps(objects[-1]) + "\n")
            lines.flush()
            bar.update()
    add_quality(table, sorted(objects, key=lambda each: each["index"]))


def add_quality(table: Table, objects: list[dict[str, Any]]) -> None:
    """Add what the figures of all objects come to; how many of them have one is said where it is not all."""
    count = len(objects)

    def add(group: str, figure: str, values: list[float], reduce, unit: str, target: str = "") -> None:
        fewer = f"{len(values)} of {count}" if len(values) < count else ""
        note = "; ".join(filter(None, (fewer, target)))
        table.add(f"held-out ({count}), {group}", figure, float(reduce(values)) if values else None, unit, note)

    errors = [each["elevation_error"] for each in objects if "elevation_error" in each]
    true_view_errors = [each["true_view_error"] for each in objects if "true_view_error" in each]
    add("elevation", "error, median", errors, np.median, "deg", "target <= 2.5 deg")
    add("elevation", "error, 90th percentile", errors, lambda e: np.quantile(e, 0.9), "deg")
    add("elevation", "error on true neighbour views, median", true_view_errors, np.median, "deg")
    failed = [f"{each['index']}: {each['failed']}" for each in objects if "failed" in each]
    group, figure = f"held-out ({count}), elevation", "reconstructions that found nothing"
    table.add(group, figure, len(failed), f"of {count}", "; ".join(failed)[:200])
    for name in ("predicted views", *MESHES):
        for key, (label, unit) in LABELS.items():
            if any(key in each.get(name, {}) for each in objects):
                reduce = np.median if "median" in label else np.mean
                add(name, label, _figures(objects, name, key), reduce, unit, TARGETS.get((name, key), ""))


def _figures(objects: list[dict[str, Any]], name: str, key: str) -> list[float]:
    """One figure of each object. Where nothing was found, 0 as of an empty mesh, or none where that has none."""
    nothing = np.nan if key in ("chamfer", "psnr") else 0.0
    values = [each.get(name, {}).get(key, nothing) for each in objects]
    return [value for value in values if np.isfinite(value)]


def _measure_object(index: int, folder: Path, quality: str) -> dict[str, Any]:
    """Figures of one held-out case: by the name of what was measured, then as in `LABELS`."""
    generator = _generator()
    case = heldout_case(index)
    run = Run.create(as_png(case.image), folder / f"heldout_{index:03d}", Options(quality=quality))
    row: dict[str, Any] = {"index": index, "family": case.truth.obj.family}
    try:
        run.execute()
    except EmptyResultError as error:
        row["failed"] = str(error)
    estimate = run.elevation()
    if estimate is None:
        return row
    value = estimate.value
    row["elevation_error"] = abs(value - case.elevation)
    neighbours = case.render(neighbour_poses(Pose(case.elevation, 0.0)))
    row["true_view_error"] = abs(estimate_elevation(neighbours).value - case.elevation)

    offsets = [(pose.elevation - value, pose.azimuth) for pose in principal_poses(value)[1:]]
    truth = case.render([Pose(case.elevation + up, left) for up, left in offsets])
    ours = [Pose(value + up, left).matrix() for up, left in offsets]
    principal = run.principal_views()
    sources = run.source_views()
    if principal is not None:
        row["predicted views"] = _compare(principal[1:], truth)
    if sources is not None:
        poses = [Pose(case.elevation + p.elevation - value, p.azimuth) for p in source_poses(value)]
        around = _compare(sources, case.render(poses))["mask_iou"]
        row["predicted views"]["source_mask_iou"] = around
    makers = (run.mesh, lambda: generator.mesh(run.framed(), value), lambda: _hull(run, value))
    for name, make in zip(MESHES[: 2 if sources is None else 3], makers, strict=False):
        mesh = _or_none(make) or Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
        drawn = _compare(np.stack([_smooth_draw(mesh, c2w) for c2w in ours]), truth)
        if mesh.colors is None and mesh.texture is None:
            del drawn["psnr"]
        row[name] = measure_mesh(mesh, case, elevation=value) | drawn
    return row


@cache
def _generator() -> BuiltInGenerator:
    return BuiltInGenerator.load()


def _or_none(make) -> Mesh | None:
    try:
        return make()
    except EmptyResultError:
        return None


def as_png(image: FloatArray) -> bytes:
    """PNG with straight alpha of a picture over white."""
    alpha = image[..., 3:]
    straight = np.where(alpha > 0, (image[..., :3] - (1 - alpha)) / np.maximum(alpha, 1e-3), 1.0)
    pixels = np.clip(np.concatenate([straight, alpha], -1) * 255 + 0.5, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _hull(run: Run, elevation: float) -> Mesh | None:
    from tests.benchmarks.baselines import visual_hull

    views = run.source_views()
    if views is None:
        return None
    c2ws = np.stack([pose.matrix() for pose in source_poses(elevation)])
    return visual_hull(views, c2ws, intrinsics(views.shape[1]))


def _compare(views: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Mean PSNR and mask IoU of views (N, H, W, 4) against true ones."""
    if views.shape[1] != truth.shape[1]:
        step = truth.shape[1] // views.shape[1]
        truth = truth.reshape(len(truth), views.shape[1], step, views.shape[2], step, 4).mean((2, 4))
    pairs = list(zip(views, truth, strict=True))
    return {
        "psnr": float(np.mean([psnr(v, t) for v, t in pairs])),
        "mask_iou": float(np.mean([mask_iou(v[..., 3], t[..., 3]) for v, t in pairs])),
    }


def _smooth_draw(mesh: Mesh, c2w: FloatArray) -> FloatArray:
    """The mesh drawn at the reference size with four samples a pixel."""
    size = REFERENCE_SIZE
    fine = draw(mesh, c2w, intrinsics(2 * size), 2 * size)
    return fine.reshape(size, 2, size, 2, 4).mean((1, 3))

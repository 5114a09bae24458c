"""Ratios against a named baseline, both sides measured in one run, and the making of training data."""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import torch

from engine.cameras import Pose, camera_to_world, intrinsics, neighbour_poses, source_poses
from engine.elevation import DenseFlowMatcher, SiftMatcher, estimate_elevation
from tests.benchmarks.heldout import heldout_case
from tests.benchmarks.table import Table


def measure_extraction(table: Table, resolution: int = 256) -> None:
    """Refined extraction against evaluating the same signed distance network at every point of the grid."""
    from engine.surface import load_surface
    from engine.surface.extraction import march, refined_grid
    from tests.dense import dense_grid

    network, case = load_surface(), heldout_case(0)
    poses = source_poses(case.elevation)
    views = case.render(poses)
    with torch.inference_mode():
        scene = network.encode(views, np.stack([p.matrix() for p in poses]), intrinsics(views.shape[1]))

        def field(points: torch.Tensor) -> torch.Tensor:
            return network.sdf(scene, points)

        start = time.perf_counter()
        refined = refined_grid(field, resolution, network.config.extent)
        refined_seconds = time.perf_counter() - start
        start = time.perf_counter()
        dense = dense_grid(field, resolution, network.config.extent)
        dense_seconds = time.perf_counter() - start
    (v, f), (dense_v, dense_f) = (march(grid, network.config.extent) for grid in (refined, dense))
    group = f"refined extraction against dense {resolution}^3"
    table.add(group, "dense (baseline)", dense_seconds, "s")
    table.add(group, "refined", refined_seconds, "s")
    table.add(group, "times faster", dense_seconds / refined_seconds, "x", "target >= 8")
    same = f.shape == dense_f.shape and bool((f == dense_f).all())
    table.add(group, "same triangles", float(same), "", f"{len(f)} and {len(dense_f)}; target 1")
    if same and len(v):
        table.add(group, "largest distance of vertices", float(np.abs(v - dense_v).max()), "", "target <= 0.001")


def measure_matchers(table: Table, count: int) -> None:
    """Elevation by each matcher that needs no weights, on true neighbour views of `count` held-out objects."""
    cases = [heldout_case(index) for index in range(count)]
    pictures = [case.render(neighbour_poses(Pose(case.elevation, 0.0))) for case in cases]
    for matcher in (SiftMatcher(), DenseFlowMatcher()):
        start = time.perf_counter()
        estimates = [estimate_elevation(neighbours, matcher=matcher) for neighbours in pictures]
        seconds = (time.perf_counter() - start) / count
        errors = [abs(e.value - case.elevation) for e, case in zip(estimates, cases, strict=True)]
        role = "baseline" if matcher.name == "sift" else "default"
        group = f"elevation from true views ({count}), {matcher.name} ({role})"
        table.add(group, "error, median", np.median(errors), "deg", "aim <= 1.0")
        table.add(group, "error, 90th percentile", np.quantile(errors, 0.9), "deg")
        table.add(group, "fallbacks", sum(e.is_fallback for e in estimates))
        table.add(group, "seconds for one object", seconds, "s")


def measure_data(table: Table, seconds: float = 10.0) -> None:
    """Pictures a second of the training renderer, objects made on the fly, on all cores."""
    workers = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        speeds = pool.map(_data_speed, [seconds] * workers)
    table.add("training data at 128 px", f"pictures a second, {workers} processes", sum(speeds), "/s", "target >= 150")


def _data_speed(seconds: float) -> float:
    from engine.data import make_object
    from engine.data.renderer import Renderer

    # One rasteriser thread a process: the processes fill the cores already.
    os.environ["LP_NUM_THREADS"] = "1"
    renderer, k, turns = Renderer(), intrinsics(128), np.arange(4) * 90.0
    renderer.render(make_object(0), camera_to_world(20.0, [0.0]), k, depth=False)
    seed, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        seed += 1
        renderer.render(make_object(seed), camera_to_world(20.0, turns), k, depth=False)
    return seed * len(turns) / (time.perf_counter() - start)

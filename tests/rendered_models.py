"""Rendered models in the layout of `engine.rendering`: drawn by the project's own quick renderer, and looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine import cameras
from engine.cameras import FloatArray, Pose
from engine.rendering.jobs import RenderSettings, frames

ELEVATION = 30.0


def write_renders(
    out: Path,
    seeds: Sequence[int],
    *,
    size: int = 48,
    validation: int = 1,
    make: Any = None,
    light: bool = False,
) -> Path:
    """Draw procedural objects by seed into `out`, the last `validation` of them for validation; returns `out`.

    `make` gives another object by seed, its longest side 1 and its middle at the origin; `light` varies the light.
    """
    from engine.data import make_object
    from engine.data.renderer import Light, Renderer

    principal = cameras.principal_poses(ELEVATION)
    poses = [*principal, *(n for p in principal for n in cameras.neighbour_poses(p))]
    names = [cameras.principal_name(i) for i in range(8)] + [cameras.source_name(i) for i in range(32)]
    k = cameras.intrinsics(size)
    renderer = Renderer(size)
    keys = []
    for seed in seeds:
        obj = (make or make_object)(seed)
        lamp = Light.random(np.random.default_rng([3, seed])) if light else None
        rgba, depth = renderer.render(obj, np.stack([p.matrix() for p in poses]), k, light=lamp)
        keys.append(f"model_{seed:05d}")
        folder = out / "zero12345_narrow" / "models" / keys[-1]
        folder.mkdir(parents=True)
        for i, name in enumerate(names):
            Image.fromarray(_straight(rgba[i])).save(folder / f"{name}.png", compress_level=1)
            if i < 8:
                mm = np.where(rgba[i, ..., 3] > 0, np.round(depth[i] * 1000), 0).astype(np.uint16)
                Image.fromarray(mm).save(folder / f"{name}_depth_mm.png")
        (folder / "metadata.json").write_text(json.dumps({"key": keys[-1]}))
    pose_file = {
        "intrinsics": k.tolist(),
        "near_far": [0.634, 2.366],
        "c2ws": {name: pose.matrix().tolist() for name, pose in zip(names, poses, strict=True)},
    }
    (out / "One2345_training_pose.json").write_text(json.dumps(pose_file))
    entries = [{"folder_id": "models", "uid": key} for key in keys]
    split = {"train": entries[: len(keys) - validation], "val": entries[len(keys) - validation :]}
    (out / "lvis_split_cc_by.json").write_text(json.dumps(split))
    return out


def read_split(out: Path) -> tuple[list[str], list[str]]:
    """Keys of the models for training and for validation."""
    split = json.loads((out / "lvis_split_cc_by.json").read_text())
    train, held = ([entry["uid"] for entry in split[part]] for part in ("train", "val"))
    return train, held


def read_depth(path: Path) -> FloatArray:
    """Depth (S, S) float32 in world units of a `_depth_mm.png`, 0 where nothing is."""
    with Image.open(path) as picture:
        assert picture.mode == "I;16"
        return np.asarray(picture).astype(np.float32) / np.float32(1000)


@dataclass(frozen=True)
class DepthMeeting:
    """What became of surface points that one view's depth gives, seen from other views."""

    points: int
    """That lie within the other pictures."""
    met: float
    """Share of them that the other depth meets."""
    contradicted: float
    """Share of them that float in front of what the other view sees; the rest is hidden behind it."""


def meet_depths(depth: FloatArray, pose: Pose, other: FloatArray, other_pose: Pose, k: FloatArray) -> DepthMeeting:
    """Lift a depth picture (S, S; along the viewing axis, 0 where nothing is) and project it into another view.

    `k` is the 3x3 matrix of both cameras. Right cameras and depth leave next to nothing contradicted.
    """
    size = len(depth)
    seen = (depth > 0).ravel()
    pixels = cameras.pixel_grid(size)[seen]
    origin, directions = cameras.pixel_rays(pose.matrix(), k, pixels)
    points = origin + directions * depth.ravel()[seen][:, None]
    at, z = cameras.project(points, other_pose.matrix(), k)
    inside = (z > 0) & (at >= 0).all(1) & (at < size).all(1)
    column, row = at[inside].astype(int).T
    z = z[inside]
    if not len(z):
        return DepthMeeting(0, 0.0, 0.0)
    # Of the pixel and those around it, as edges and slopes fall between pixels.
    far = np.where(other > 0, other, np.inf)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(far, 1, constant_values=np.inf), (3, 3))
    nearest = around.min((2, 3))[row, column]
    farthest = np.where(np.isfinite(around), around, 0).max((2, 3))[row, column]
    slack = 0.002 + 1.5 * z / k[0, 0]
    contradicted = nearest > z + slack
    met = ~contradicted & (z <= farthest + slack)
    return DepthMeeting(len(z), float(met.mean()), float(contradicted.mean()))


def check_depths(folder: Path, settings: RenderSettings) -> DepthMeeting:
    """`meet_depths` of every principal view of a finished model into every other one, all together."""
    views = [frame for frame in frames(settings) if frame.depth]
    depths = [read_depth(folder / f"{frame.name}_depth_mm.png") for frame in views]
    found = [
        meet_depths(depths[i], views[i].pose, depths[j], views[j].pose, settings.intrinsics)
        for i in range(len(views))
        for j in range(len(views))
        if i != j
    ]
    points = sum(meeting.points for meeting in found)
    share = [meeting.points / max(points, 1) for meeting in found]
    return DepthMeeting(
        points,
        sum(s * meeting.met for s, meeting in zip(share, found, strict=True)),
        sum(s * meeting.contradicted for s, meeting in zip(share, found, strict=True)),
    )


def _straight(rgba: np.ndarray) -> np.ndarray:
    """RGBA over white with its alpha as straight RGBA."""
    picture = rgba.astype(np.float32) / 255
    alpha = picture[..., 3:]
    color = np.where(alpha > 0, (picture[..., :3] - 1 + alpha) / np.maximum(alpha, 1e-3), 0)
    return (np.concatenate([color, alpha], -1).clip(0, 1) * 255).round().astype(np.uint8)

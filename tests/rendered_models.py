"""Rendered models in the layout of `engine.rendering`, drawn by the project's own quick renderer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine import cameras

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


def _straight(rgba: np.ndarray) -> np.ndarray:
    """RGBA over white with its alpha as straight RGBA."""
    picture = rgba.astype(np.float32) / 255
    alpha = picture[..., 3:]
    color = np.where(alpha > 0, (picture[..., :3] - 1 + alpha) / np.maximum(alpha, 1e-3), 0)
    return (np.concatenate([color, alpha], -1).clip(0, 1) * 255).round().astype(np.uint8)

"""A run with a tiny network, in process or as a process of its own: python tiny_run.py RENDERS OUT '{"steps": 4}'."""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from engine.surface.network import SurfaceConfig
from engine.training import FineTuneOptions

TINY = SurfaceConfig(
    "tiny",
    volume_resolution=16,
    image_size=32,
    pyramid_channels=(4, 4, 4),
    feature_channels=4,
    unet_channels=(4, 4, 8, 8),
    sdf_width=16,
    frequencies=2,
)
SMALL = {
    "config": "tiny",
    "rays": 32,
    "coarse": 8,
    "fine": 4,
    "predicted_share": 0.0,
    "device": "cpu",
    "validate_models": 0,
    "steps": 6,
}
"""Options of a quick run."""


def small(**changes: object) -> FineTuneOptions:
    """Options of a quick run, some of them changed."""
    return FineTuneOptions.from_dict(SMALL | changes)


if __name__ == "__main__":
    import torch

    from engine.surface import reconstruct
    from engine.training import finetune

    torch.set_num_threads(1)
    reconstruct.CONFIGS[TINY.name] = TINY
    finetune.LOG_EVERY = 1
    finetune.FineTune(Path(sys.argv[1]), Path(sys.argv[2]), small(**json.loads(sys.argv[3]))).run()

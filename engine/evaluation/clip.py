"""How alike pictures are to CLIP (Radford et al. 2021), by open_clip's network and weights on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import weights
from engine.core.errors import InputError, WeightsError

FloatArray = npt.NDArray[np.float32]

KEY = "clip-vit-b-32"
"""The registry's name of the weights."""
_ARCHITECTURE = "ViT-B-32"
"""open_clip's name of what a single file holds, unless a configuration lies beside it."""
_CONFIG = "open_clip_config.json"
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_BATCH = 32


class ClipSimilarity:
    """CLIP's image encoder f, from a local file or a folder of the hub. Nothing is downloaded."""

    def __init__(self, path: Path | str | None = None, *, device: str | None = None) -> None:
        """`path`: open_clip's weights, or the folder that holds them and `open_clip_config.json`; else where
        `weights.require` finds them. `device` of torch, else the best there is.

        Raises `WeightsError` for weights that are missing, damaged or of another model.
        """
        import torch

        from engine.core.device import pick_device

        given = weights.require(KEY) if path is None else Path(path)
        self.path = _weights_in(given)
        model_config, preprocessing = _config_beside(self.path)
        try:
            import open_clip
        except ImportError as error:
            raise WeightsError(
                "CLIP needs the Python package open_clip_torch. Install it: pip install open_clip_torch."
            ) from error
        try:
            self._model = open_clip.model.CLIP(**(model_config or open_clip.get_model_config(_ARCHITECTURE)))
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(f"{self.path.with_name(_CONFIG)} is no configuration of CLIP ({error}).") from error
        state = {name.removeprefix("module."): tensor for name, tensor in weights.read_checkpoint(self.path).items()}
        weights.load_into(self._model, state, path=self.path, model="CLIP")
        self.device = torch.device(device or pick_device())
        self._model.eval().requires_grad_(False).to(self.device)
        self._prepare = open_clip.image_transform(
            self._model.visual.image_size,
            is_train=False,
            mean=preprocessing.get("mean", open_clip.OPENAI_DATASET_MEAN),
            std=preprocessing.get("std", open_clip.OPENAI_DATASET_STD),
        )

    def embed(self, pictures: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]) -> FloatArray:
        """f of each picture: unit vectors (N, D).

        Pictures are (H, W, 3 or 4), uint8 or floats in 0..1, RGB over white; alpha is not looked at. Of one that is
        not square CLIP sees the middle.
        """
        import torch

        found = [np.zeros((0, self._model.visual.output_dim), np.float32)]
        for start in range(0, len(pictures), _BATCH):
            batch = torch.stack([self._prepare(_as_image(p)) for p in pictures[start : start + _BATCH]])
            with torch.inference_mode():
                vectors = self._model.encode_image(batch.to(self.device), normalize=True)
            found.append(vectors.float().cpu().numpy())
        return np.concatenate(found)

    def similarity(
        self,
        a: Sequence[npt.NDArray[Any]] | npt.NDArray[Any],
        b: Sequence[npt.NDArray[Any]] | npt.NDArray[Any],
    ) -> float:
        """CLIP similarity = mean over i of cos(f(a_i), f(b_i)) of two sets of N pictures as `embed` takes them; -1..1.

        Raises `InputError` for sets of different numbers and for none.
        """
        if len(a) != len(b) or not len(a):
            raise InputError(f"CLIP similarity compares pictures one by one; it got {len(a)} and {len(b)}.")
        return mean_cosine(self.embed(a), self.embed(b))


def mean_cosine(f: FloatArray, g: FloatArray) -> float:
    """Mean over i of cos(f_i, g_i) of unit vectors (N, D).

    Of two meshes P and T with f_i = f(R(P, c_i)) and g_i = f(R(T, c_i)), pictures R of each from the same 32 cameras
    c_i, this is their CLIP similarity: S(P, T) = 1/32 sum_i cos(f(R(P, c_i)), f(R(T, c_i))).
    """
    return float((f.astype(np.float64) * g).sum(axis=1).mean())


def _as_image(picture: npt.NDArray[Any]) -> Image.Image:
    if picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise InputError(f"A picture of shape (H, W, 3 or 4) was expected, not {picture.shape}.")
    rgb = picture[..., :3]
    if rgb.dtype != np.uint8:
        rgb = (np.clip(rgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(rgb))


def _weights_in(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"The folder {path} holds no {_FILES[0]}. Copy the whole model, or fetch it again.")


def _config_beside(path: Path) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """open_clip's configuration of the model and of its pictures, from the file beside the weights if there is one."""
    config = path.with_name(_CONFIG)
    if not config.is_file():
        return None, {}
    try:
        values = json.loads(config.read_text())
        return dict(values["model_cfg"]), dict(values.get("preprocess_cfg", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The configuration {config} cannot be read ({error!r}). Fetch the model again.") from error

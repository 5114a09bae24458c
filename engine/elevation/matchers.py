"""Point matches between two pictures of one object, behind a small protocol."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from engine import choices, weights
from engine.cameras import REFERENCE_SIZE
from engine.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


@runtime_checkable
class Matcher(Protocol):
    """Finds the same surface points in two pictures."""

    name: str
    """Short name for reports, e.g. `flow`."""

    def match(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixels (N, 2) in `a` and (N, 2) in `b` of the same points, x right, y down, first centre at (0.5, 0.5).

        Pictures are (H, W, 4) float32 in 0..1, RGB over white, alpha the object's mask; both the same size.
        Points of `a` depend on `a` alone as far as the method allows, so that matches of one picture with
        several others can be joined.
        """


def _grey(picture: FloatArray) -> ByteArray:
    rgb = np.ascontiguousarray(np.clip(picture[..., :3], 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _foreground(picture: FloatArray, margin: float) -> ByteArray:
    """Mask (H, W) of 0 / 255 without a rim of `margin` px at 256 px: outlines slide over surfaces as the view turns."""
    mask = (picture[..., 3] > 0.5).astype(np.uint8) * 255
    rim = round(margin * len(picture) / REFERENCE_SIZE)
    if rim < 1:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    return np.asarray(cv2.erode(mask, kernel), np.uint8)


def _sample(image: FloatArray, pixels: FloatArray) -> FloatArray:
    """Bilinear values (N, C) of an (H, W, C) float32 image at pixels (N, 2)."""
    if not len(pixels):
        return np.zeros((0, image.shape[2] if image.ndim == 3 else 1), np.float32)
    at = (pixels - 0.5).astype(np.float32)
    values = cv2.remap(image, at[:, 0], at[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32).reshape(len(pixels), -1)


class DenseFlowMatcher:
    """Dense inverse search flow (Kroeger et al. 2016, OpenCV), kept where forward and backward flow agree.

    Points are the corners of the foreground of `a`. Needs no weights.

    The default matcher: on true views of 23 held-out objects at 256 px its elevations were off by 0.21 degrees in
    the median, 0.55 at the 90th percentile and 1.4 at worst, where `SiftMatcher` had 0.14, 0.28 and 20.8 (it finds too
    few points on plain or repetitive buildings) at six times the time. Without the upscaling: 0.68, 3.5 and 14.8.
    """

    name = "flow"

    def __init__(self, *, points: int = 2000, upscale: int = 2, agreement: float = 0.7) -> None:
        """`points` at most a pair; `upscale` of the pictures before the flow; `agreement` in px at 256 px."""
        self.points, self.upscale, self.agreement = points, upscale, agreement
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)

    def match(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Matcher.match`."""
        grey_a, grey_b = _grey(a), _grey(b)
        corners = cv2.goodFeaturesToTrack(
            grey_a, self.points, 0.0005, 1.5 * len(a) / REFERENCE_SIZE, mask=_foreground(a, 2.0), blockSize=5
        )
        if corners is None:
            return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
        start = corners.reshape(-1, 2).astype(np.float32) + 0.5
        end = start + _sample(self._between(grey_a, grey_b), start)
        back = end + _sample(self._between(grey_b, grey_a), end)
        tolerance = self.agreement * len(a) / REFERENCE_SIZE
        keep = np.linalg.norm(back - start, axis=1) < tolerance
        keep &= _sample(_foreground(b, 1.0).astype(np.float32), end)[:, 0] > 127
        return start[keep], end[keep].astype(np.float32)

    def _between(self, a: ByteArray, b: ByteArray) -> FloatArray:
        """Flow (H, W, 2) from `a` to `b` in px of the given size."""
        height, width = a.shape
        if self.upscale != 1:
            size = (width * self.upscale, height * self.upscale)
            a, b = (np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_CUBIC), np.uint8) for p in (a, b))
        flow = np.asarray(self._flow.calc(a, b, None), np.float32)
        if self.upscale != 1:
            small = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA)
            flow = np.asarray(small, np.float32) / np.float32(self.upscale)
        return flow


class SiftMatcher:
    """SIFT key points (Lowe 2004, OpenCV) on grey pictures: ratio test and mutual best match. Needs no weights."""

    name = "sift"

    def __init__(self, *, upscale: int = 2, ratio: float = 0.8, contrast: float = 0.01) -> None:
        """`upscale` of the pictures first; `ratio` of best to second-best distance; `contrast` threshold of SIFT."""
        self.upscale, self.ratio = upscale, ratio
        self._sift = cv2.SIFT.create(contrastThreshold=contrast, enable_precise_upscale=True)

    def match(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Matcher.match`."""
        (start, first), (end, second) = self._features(a), self._features(b)
        if len(start) < 2 or len(end) < 2:
            return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
        similarity = first @ second.T
        best = similarity.argmax(1)
        rows = np.arange(len(start))
        top = similarity[rows, best]
        similarity[rows, best] = -np.inf
        runner_up = similarity.max(1)
        similarity[rows, best] = top
        keep = similarity.argmax(0)[best] == rows
        # Of unit vectors: squared distance = 2 - 2 * similarity.
        keep &= (1 - top) < self.ratio**2 * (1 - runner_up)
        return start[keep], end[best[keep]]

    def _features(self, picture: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixels (N, 2) and unit descriptors (N, 128); one per place, its strongest orientation."""
        grey, mask = _grey(picture), _foreground(picture, 0.0)
        size = (grey.shape[1] * self.upscale, grey.shape[0] * self.upscale)
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        points, descriptors = self._sift.detectAndCompute(grey, mask)
        if descriptors is None or not len(points):
            return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
        pixels = (np.array([p.pt for p in points], np.float32) + np.float32(0.5)) / np.float32(self.upscale)
        # Second orientations stand at the same place; two rows there would fail each other's ratio test.
        _, unique = np.unique(np.round(pixels, 3), axis=0, return_index=True)
        pixels, descriptors = pixels[unique], np.asarray(descriptors, np.float32)[unique]
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True) + 1e-9
        return pixels, descriptors


class LoFTRMatcher:
    """LoFTR (Sun et al. 2021, kornia's network) as One-2-3-45 uses it: trained indoors, grey pictures of 480 x 480.

    The checkpoint is kornia's `loftr_indoor_ds_new.ckpt` (One-2-3-45's `indoor_ds_new.ckpt`): a `state_dict` of its
    network, each name with `matcher.` before it or without. The sizes of the network are read off the tensors; what
    shapes do not tell is as published: eight heads, layers that take turns between self and cross attention, and the
    positional encoding with the corrected frequencies that `indoor_new` was trained with (kornia's `temp_bug_fix`).
    On a CUDA device the products run in half precision.
    """

    name = "loftr"
    _SIZE = 480

    def __init__(self, path: Path | str | None = None, *, device: str | None = None) -> None:
        """`path` of the checkpoint, else where `weights.require` finds it; `device` of torch, else the best there is.

        Raises `WeightsError` for weights that are missing, damaged or of another network.
        """
        import torch

        from engine.core.device import pick_device

        file = weights.require("loftr") if path is None else Path(path)
        state = {key.removeprefix("matcher."): tensor for key, tensor in weights.read_checkpoint(file).items()}
        self._model = _loftr_of(state, file)
        weights.load_into(self._model, state, path=file, model="LoFTR")
        self.device = torch.device(device or pick_device())
        self._model.eval().requires_grad_(False).to(self.device)

    def match(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Matcher.match`."""
        import torch

        size = (self._SIZE, self._SIZE)
        images = [
            torch.from_numpy(cv2.resize(_grey(p), size, interpolation=cv2.INTER_LINEAR))[None, None].float() / 255
            for p in (a, b)
        ]
        pair = {f"image{i}": image.to(self.device) for i, image in enumerate(images)}
        half = self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.float16, enabled=half):
            found = self._model(dict(pair))
        if half and not len(found["keypoints0"]):  # numbers too large for half precision match nothing
            with torch.inference_mode():
                found = self._model(dict(pair))
        # LoFTR counts the first pixel's centre as (0.5, 0.5), as this project does.
        start, end = (
            found[k].cpu().numpy().astype(np.float32) * np.float32(len(a) / self._SIZE)
            for k in ("keypoints0", "keypoints1")
        )
        keep = _sample(_foreground(a, 0.0).astype(np.float32), start)[:, 0] > 127
        keep &= _sample(_foreground(b, 0.0).astype(np.float32), end)[:, 0] > 127
        return start[keep], end[keep]


def _loftr_of(state: dict[str, Tensor], path: Path) -> Any:
    """kornia's network of the sizes of `state`, its own weights random: nothing is downloaded."""
    from kornia.feature.loftr.loftr import LoFTR, default_cfg

    config: dict[str, Any] = copy.deepcopy(default_cfg)
    try:
        stages = [len(state[f"backbone.layer{i}.0.conv1.weight"]) for i in (1, 2, 3)]
        config["resnetfpn"] = {"initial_dim": len(state["backbone.conv1.weight"]), "block_dims": stages}
        for part, width in (("coarse", stages[2]), ("fine", stages[0])):
            layers = {key.split(".")[2] for key in state if key.startswith(f"loftr_{part}.layers.")}
            names = [("self", "cross")[i % 2] for i in range(len(layers))]
            config[part] |= {"d_model": width, "d_ffn": width, "layer_names": names}
        config["coarse"]["temp_bug_fix"] = True
        return LoFTR(pretrained=None, config=config)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise WeightsError(
            f"{path} does not hold the weights of LoFTR: {reason}. Use loftr_indoor_ds_new.ckpt."
        ) from error


def load_matcher(name: str, path: Path | str | None = None) -> Matcher:
    """The matcher of that name in `engine.choices.MATCHERS`; `path` of its weights, else where they are found.

    Raises `InputError` for another name and `WeightsError` for weights that are missing, damaged or of another model.
    """
    choices.check("matcher", name)
    if name == "loftr":
        return LoFTRMatcher(path)
    return SiftMatcher() if name == "sift" else DenseFlowMatcher()

"""Segment Anything (Kirillov et al. 2023) and SAM 2 (Ravi et al. 2024): the object's mask from a box and points.

transformers' networks run both. Three layouts of weights are read: the original file `sam_vit_{b,l,h}_*.pth`, whose
tensors are renamed here, and the hub's folders of SAM and SAM 2 (config.json beside model.safetensors).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import choices, weights
from engine.core.errors import WeightsError
from engine.core.progress import CancelToken

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import SamConfig

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

KEYS = choices.FOREGROUNDS["sam"].weights
"""The registry's models of this kind, largest first."""

_MEAN, _DEVIATION = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
"""Of the training pictures' colours, as published for SAM (times 255) and SAM 2."""
_DEFAULT_SHARE = 0.8
"""Without a prompt, the box is this share of the picture's width and height, in its middle."""
_HEADS_OF_DECODER = 8
_POSITIONS = "positional_embedding"

# The original names and transformers': a module's prefix each; what follows the prefix stays.
_RENAMED = tuple(
    (re.compile(rf"{original}(?=\.|$)"), new)
    for original, new in (
        (r"image_encoder\.pos_embed", "vision_encoder.pos_embed"),
        (r"image_encoder\.patch_embed\.proj", "vision_encoder.patch_embed.projection"),
        (r"image_encoder\.blocks\.(\d+)\.norm([12])", r"vision_encoder.layers.\1.layer_norm\2"),
        (r"image_encoder\.blocks\.(\d+)\.(attn|mlp)", r"vision_encoder.layers.\1.\2"),
        (r"image_encoder\.neck\.0", "vision_encoder.neck.conv1"),
        (r"image_encoder\.neck\.1", "vision_encoder.neck.layer_norm1"),
        (r"image_encoder\.neck\.2", "vision_encoder.neck.conv2"),
        (r"image_encoder\.neck\.3", "vision_encoder.neck.layer_norm2"),
        (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", f"shared_image_embedding.{_POSITIONS}"),
        (r"prompt_encoder\.point_embeddings\.(\d+)", r"prompt_encoder.point_embed.\1"),
        (r"prompt_encoder\.(not_a_point_embed|no_mask_embed)", r"prompt_encoder.\1"),
        (r"prompt_encoder\.mask_downscaling\.0", "prompt_encoder.mask_embed.conv1"),
        (r"prompt_encoder\.mask_downscaling\.1", "prompt_encoder.mask_embed.layer_norm1"),
        (r"prompt_encoder\.mask_downscaling\.3", "prompt_encoder.mask_embed.conv2"),
        (r"prompt_encoder\.mask_downscaling\.4", "prompt_encoder.mask_embed.layer_norm2"),
        (r"prompt_encoder\.mask_downscaling\.6", "prompt_encoder.mask_embed.conv3"),
        (r"mask_decoder\.(iou_token|mask_tokens)", r"mask_decoder.\1"),
        (r"mask_decoder\.transformer\.layers\.(\d+)\.norm([1-4])", r"mask_decoder.transformer.layers.\1.layer_norm\2"),
        (
            r"mask_decoder\.transformer\.layers\.(\d+)\.(self_attn|cross_attn_\w+|mlp)",
            r"mask_decoder.transformer.layers.\1.\2",
        ),
        (r"mask_decoder\.transformer\.final_attn_token_to_image", "mask_decoder.transformer.final_attn_token_to_image"),
        (r"mask_decoder\.transformer\.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"),
        (r"mask_decoder\.output_upscaling\.0", "mask_decoder.upscale_conv1"),
        (r"mask_decoder\.output_upscaling\.1", "mask_decoder.upscale_layer_norm"),
        (r"mask_decoder\.output_upscaling\.3", "mask_decoder.upscale_conv2"),
    )
)
_HEAD = re.compile(r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)(?=\.)")


class SamSegmenter:
    """A loaded model, with what it made of the last picture kept: further prompts on it take only the decoder."""

    def __init__(self, model: Any, path: Path, *, device: str | None = None) -> None:
        """`model`: transformers' SamModel or Sam2Model with its weights, which came from `path`."""
        import torch

        from engine.core.device import pick_device

        self.path = path
        self.device = torch.device(device or pick_device())
        self._model = model.eval().requires_grad_(False).to(self.device)
        self._is_sam2 = model.config.model_type == "sam2"
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._known: tuple[bytes, Any] | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, key_or_path: str | Path, *, device: str | None = None) -> SamSegmenter:
        """Load by the registry's name, one of `KEYS`, or from a file or folder of any of the three layouts.

        Nothing is downloaded. Raises `WeightsError` for weights that are missing, damaged or of another model.
        """
        path = weights.require(str(key_or_path)) if str(key_or_path) in KEYS else Path(key_or_path)
        return cls(_read(path), path, device=device)

    def segment(
        self,
        picture: ByteArray,
        box: Box | None = None,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        cancel: CancelToken | None = None,
    ) -> FloatArray:
        """The mask (H, W) in 0..1, above 0.5 where the object is.

        `picture` (H, W, 3 or 4) uint8, of which alpha is not looked at; `box` (x0, y0, x1, y1) and `points` (N, 2) in
        pixels, first centre at (0.5, 0.5); `labels` (N,): 1 belongs to the object, 0 does not. Without a box and
        without a point of the object, a box in the middle stands for them: the object as people frame it.

        Of the model's three masks (a detail, a part, the whole) a box alone is answered with the last, as One-2-3-45's
        code does. Points choose what is meant, so with them it is the one with the highest predicted IoU.

        `cancel` is checked between the layers of the image encoder. Raises `Cancelled`.
        """
        import torch
        import torch.nn.functional as F

        height, width = picture.shape[:2]
        places = np.asarray([] if points is None else points, np.float32).reshape(-1, 2)
        kinds = np.asarray([] if labels is None else labels, np.int64).reshape(-1)
        if box is None and not (kinds == 1).any():
            rim = (1 - _DEFAULT_SHARE) / 2
            box = (rim * width, rim * height, (1 - rim) * width, (1 - rim) * height)
        inner_width, inner_height = self._inner_size(width, height)
        scale = torch.tensor([inner_width / width, inner_height / height], device=self.device)

        def prompt(values: npt.ArrayLike) -> Tensor:
            # The model adds the half pixel of a first centre at 0 itself.
            return torch.as_tensor(np.asarray(values, np.float32), device=self.device) * scale - 0.5

        prompts: dict[str, Any] = {}
        if box is not None:
            prompts["input_boxes"] = prompt([box[:2], box[2:]]).reshape(1, 1, 4)
        if len(places):
            prompts["input_points"] = prompt(places)[None, None]
            prompts["input_labels"] = torch.as_tensor(kinds, device=self.device)[None, None]
        with self._lock, torch.inference_mode():
            embedding = self._embedding(picture, (inner_width, inner_height), cancel or CancelToken())
            found = self._model(image_embeddings=embedding, multimask_output=True, **prompts)
            best = int(found.iou_scores[0, 0].argmax()) if len(places) else -1
            logits = found.pred_masks[:, :, best].float()
            if not self._is_sam2:
                logits = F.interpolate(logits, (self._side, self._side), mode="bilinear", align_corners=False)
                logits = logits[..., :inner_height, :inner_width]
            logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
            return np.asarray(logits[0, 0].sigmoid().cpu().numpy(), np.float32)

    def _inner_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the picture inside the model's square: all of it in SAM 2, the longer side in SAM."""
        if self._is_sam2:
            return self._side, self._side
        scale = self._side / max(width, height)
        return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))

    def _parts(self, pixels: Tensor) -> list[Tensor]:
        """What the image encoder gives, in single precision: one tensor in SAM, three in SAM 2."""
        found = self._model.get_image_embeddings(pixels)
        return [part.float() for part in (found if self._is_sam2 else [found])]

    def _embedding(self, picture: ByteArray, inner: tuple[int, int], cancel: CancelToken) -> Any:
        """What the image encoder makes of the picture, from memory if it was the last one."""
        import torch

        rgb = np.ascontiguousarray(picture[..., :3])
        digest = hashlib.blake2b(rgb.data, key=repr(rgb.shape).encode()).digest()
        if self._known is None or self._known[0] != digest:
            resized = np.asarray(Image.fromarray(rgb).resize(inner, Image.Resampling.BILINEAR), np.float32) / 255
            square = np.zeros((self._side, self._side, 3), np.float32)
            square[: inner[1], : inner[0]] = (resized - _MEAN) / _DEVIATION
            pixels = torch.from_numpy(square).permute(2, 0, 1)[None].to(self.device)
            with ExitStack() as hooks:
                encoder = self._model.vision_encoder
                for layer in encoder.backbone.blocks if self._is_sam2 else encoder.layers:
                    hook = layer.register_forward_pre_hook(lambda *_: cancel.check())
                    hooks.callback(hook.remove)
                with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
                    found = self._parts(pixels)
                if not all(part.isfinite().all() for part in found):  # too large for half precision
                    found = self._parts(pixels)
            self._known = digest, found if self._is_sam2 else found[0]
        return self._known[1]


# One model is shared by all who segment: the editor's previews and the runs.

_shared: SamSegmenter | None = None
_shared_lock = threading.Lock()


def available() -> list[str]:
    """The models of `KEYS` whose weights are there, largest first. Cheap: nothing is read."""
    return [key for key in KEYS if weights.locate(key) is not None]


def shared(key_or_path: str | Path | None = None) -> SamSegmenter:
    """The model in memory, loaded first if it is not the one wanted.

    Without a name: the largest that is there, on a CPU the smallest. Raises `WeightsError` as `SamSegmenter.load`, and
    when there are no weights at all.
    """
    global _shared
    if key_or_path is None:
        from engine.core.device import pick_device

        there = available() or ["sam-vit-b"]
        small = [key for key in ("sam-vit-b", "sam2", "sam-vit-l", "sam-vit-h") if key in there]
        key_or_path = small[0] if str(pick_device()) == "cpu" else there[0]
    path = weights.require(str(key_or_path)) if str(key_or_path) in KEYS else Path(key_or_path)
    with _shared_lock:
        if _shared is None or _shared.path != path:
            _shared = None  # before the next one is loaded: both need not fit
            _shared = SamSegmenter.load(path)
        return _shared


def release() -> None:
    """Forget the model in memory, so that the next stage has the room."""
    global _shared
    with _shared_lock:
        _shared = None


# Layouts


def _read(path: Path) -> Any:
    """transformers' model with the weights at `path`."""
    import torch

    try:
        from transformers import Sam2Model, SamModel
    except ImportError as error:
        raise WeightsError(
            "Segment Anything needs the Python package transformers. Install it (pip install transformers), "
            "or find the object in another way."
        ) from error

    file, folder = (_tensors_in(path), path) if path.is_dir() else (path, path.parent)
    state = weights.read_checkpoint(file)
    config: Any
    if any(name.startswith("image_encoder.") for name in state):
        state, config = from_original(state, path)
    elif (folder / "config.json").is_file():
        config = _config_in(folder)
        # Both networks keep these random frequencies in two places, files in one or both.
        twins = [f"{part}.{_POSITIONS}" for part in ("shared_image_embedding", "prompt_encoder.shared_embedding")]
        for one, other in (twins, twins[::-1]):
            if one in state:
                state.setdefault(other, state[one])
        if config.model_type == "sam2":
            state = {name: tensor for name, tensor in state.items() if not _OF_VIDEO.match(name)}
    else:
        raise WeightsError(
            f"{path} is no Segment Anything checkpoint that can be read here. "
            "Use a file sam_vit_b_*.pth, sam_vit_l_*.pth or sam_vit_h_*.pth, or a folder of the hub with config.json."
        )
    try:
        with torch.device("meta"):
            model = (Sam2Model if config.model_type == "sam2" else SamModel)(config)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(f"The sizes of the model at {path} do not fit together ({error}).") from error
    weights.load_into(model, state, path=path, model="SAM 2" if config.model_type == "sam2" else "Segment Anything")
    return model


_OF_VIDEO = re.compile(
    r"memory_|mask_downsample|object_pointer_proj|temporal_positional_encoding_projection_layer|"
    r"no_memory_positional_encoding|no_object_pointer|occlusion_spatial_embedding_parameter"
)
"""Tensors of SAM 2's video tracker, which the hub's files hold as well; single pictures have no use for them."""


def _tensors_in(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"The folder {folder} holds no model.safetensors. Copy the whole model, or fetch it again.")


def _config_in(folder: Path) -> Any:
    from transformers import Sam2Config, SamConfig

    path = folder / "config.json"
    try:
        values = json.loads(path.read_text())
        kind = values.get("model_type")
        # A SAM 2 file on the hub is the video model's, of which the picture's model is a part.
        parts = {name: values[name] for name in ("vision_config", "prompt_encoder_config", "mask_decoder_config")}
        if kind in ("sam2", "sam2_video"):
            return Sam2Config(**parts)
        if kind == "sam":
            return SamConfig(**parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not the configuration of a Segment Anything model ({error}).") from error
    raise WeightsError(f"{path} is of a model '{kind}', not of Segment Anything. Choose another folder.")


def from_original(state: dict[str, Tensor], path: Path = Path("The checkpoint")) -> tuple[dict[str, Tensor], SamConfig]:
    """transformers' names for the tensors of an original `sam_vit_*.pth`, and the configuration that their shapes tell.

    The modules of segment-anything give the layout: a ViTDet image encoder (`image_encoder`), embeddings of points,
    corners of boxes and masks (`prompt_encoder`), a two-way transformer with upscaling and one small MLP a mask
    (`mask_decoder`). What shapes do not tell is as published: eight heads in the decoder, whose transformer's
    normalisations divide by sqrt(variance + 1e-5) where all others add 1e-6. Names that the layout does not know are
    kept, for the error.

    Raises `WeightsError` when a tensor that tells a size is missing. `path` is for that error.
    """
    from transformers import SamConfig

    depth = {head: 1 + max(_numbers(state, f"{head}.layers.")) for head in _heads(state)}
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        renamed[_new_name(name, depth)] = tensor
    positions = f"shared_image_embedding.{_POSITIONS}"
    if positions in renamed:
        renamed[f"prompt_encoder.shared_embedding.{_POSITIONS}"] = renamed[positions]
    try:
        return renamed, SamConfig(**_sizes(state))
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else f"its sizes do not fit together ({error})"
        raise WeightsError(
            f"{path} does not hold the weights of Segment Anything: {reason}. Use the published file."
        ) from error


def _sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of transformers' configuration, read off the shapes of the original tensors."""

    def shape(name: str) -> torch.Size:
        return state[name].shape

    blocks = sorted(_numbers(state, "image_encoder.blocks."))
    width, _, patch, _ = shape("image_encoder.patch_embed.proj.weight")
    grid = shape("image_encoder.pos_embed")[1]
    reach = [shape(f"image_encoder.blocks.{i}.attn.rel_pos_h") for i in blocks]
    whole = [i for i, (length, _) in zip(blocks, reach, strict=True) if length == 2 * grid - 1]
    windows = {(length + 1) // 2 for length, _ in reach if length != 2 * grid - 1}
    if len(windows) > 1:
        raise ValueError(f"windows of {sorted(windows)}")
    out, channels = shape("prompt_encoder.mask_downscaling.6.weight")[:2]
    layers = "mask_decoder.transformer.layers."
    return {
        "vision_config": {
            "hidden_size": width,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": width // reach[0][1],
            "mlp_dim": shape("image_encoder.blocks.0.mlp.lin1.weight")[0],
            "image_size": grid * patch,
            "patch_size": patch,
            "window_size": windows.pop() if windows else grid,
            "global_attn_indexes": whole,
            "output_channels": out,
            "num_pos_feats": shape("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")[1],
        },
        "prompt_encoder_config": {
            "hidden_size": out,
            "image_size": grid * patch,
            "patch_size": patch,
            "mask_input_channels": channels,
        },
        "mask_decoder_config": {
            "hidden_size": out,
            "num_hidden_layers": len(_numbers(state, layers)),
            "num_attention_heads": _HEADS_OF_DECODER,
            "mlp_dim": shape(f"{layers}0.mlp.lin1.weight")[0],
            "attention_downsample_rate": out // shape(f"{layers}0.cross_attn_token_to_image.q_proj.weight")[0],
            "num_multimask_outputs": shape("mask_decoder.mask_tokens.weight")[0] - 1,
            "iou_head_depth": len(_numbers(state, "mask_decoder.iou_prediction_head.layers.")),
            "iou_head_hidden_dim": shape("mask_decoder.iou_prediction_head.layers.0.weight")[0],
            "layer_norm_eps": 1e-5,
        },
    }


def _heads(state: dict[str, Tensor]) -> set[str]:
    return {match[1] for name in state if (match := _HEAD.match(name))}


def _numbers(state: dict[str, Tensor], prefix: str) -> set[int]:
    """The numbers that follow `prefix` in the names."""
    return {int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix)}


def _new_name(name: str, depth: dict[str, int]) -> str:
    """transformers' name of an original tensor; `depth`: layers of each small MLP. An unknown name stays."""
    if match := _HEAD.match(name):
        head, layer = match[1], int(match[2])
        last = layer == depth[head] - 1
        return (
            f"{head}.{'proj_in' if layer == 0 else 'proj_out' if last else f'layers.{layer - 1}'}{name[match.end() :]}"
        )
    for pattern, new in _RENAMED:
        if match := pattern.match(name):
            return match.expand(new) + name[match.end() :]
    return name

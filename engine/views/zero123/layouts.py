"""Zero123's weights on disk: the released checkpoint, and the folder that diffusers reads.

**The released checkpoint** (`zero123-xl.ckpt`, `105000.ckpt`) is the state of a `LatentDiffusion` of the CompVis code.
How its keys are named was learnt from the released modules (cvlab-columbia/zero123: `ldm/modules/diffusionmodules/
openaimodel.py` and `model.py`, `ldm/modules/attention.py`, `ldm/modules/ema.py`, `ldm/modules/encoders/modules.py`,
`configs/sd-objaverse-finetune-c_concat-256.yaml`) and from OpenAI's CLIP:

    model.diffusion_model.*         the U-Net: `input_blocks`, `middle_block`, `output_blocks`, `time_embed`, `out`
    model_ema.*                     its running mean, names without their dots: `diffusion_modelinput_blocks00weight`
    first_stage_model.*             the VAE: `encoder.down.0.block.0`, `decoder.up.3.block.0`, attention as convolutions
    cond_stage_model.model.visual.* CLIP's picture half: `transformer.resblocks`, queries, keys and values in one matrix
    cond_stage_model.model.*        what is left of CLIP's text half; not used
    cc_projection.*                 one linear layer
    betas, alphas_cumprod, ...      the noise schedule; not used, since it follows from two numbers

The released code draws with the running mean (`ema_scope`), and so do we.

**The diffusers folder** holds `unet`, `vae`, `image_encoder` and `cc_projection` (diffusers' community pipeline
`pipeline_zero1to3.py`: key `projection`) or `clip_camera_projection` (the hub's `zero123-xl-diffusers`: key `proj`),
each a `config.json` beside one file of weights, whose names are those of diffusers' and transformers' modules.

All sizes are read off the shapes. What shapes do not tell is fixed by the layout: 8 heads of attention in the U-Net,
64 channels a head in CLIP, 32 groups in every group norm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from engine import weights
from engine.core.errors import WeightsError

State = dict[str, Tensor]

UNET, VAE, CLIP, PROJECTION = "unet", "vae", "image_encoder", "cc_projection"
PARTS = (UNET, VAE, CLIP, PROJECTION)
SCALE = 0.18215
"""Factor between the VAE's latents and those that are denoised (Stable Diffusion 1.x)."""
BETAS = (0.00085, 0.012)
"""First and last variance of the noise schedule, linear in their square roots over 1000 steps."""

_UNET, _EMA, _VAE = "model.diffusion_model.", "model_ema.", "first_stage_model."
_CLIP, _PROJECTION = "cond_stage_model.model.visual.", "cc_projection."
_HEADS, _CLIP_HEAD = 8, 64
_UNUSED = ("cond_stage_model.", "model_ema.", "first_stage_model.loss.")
_SCHEDULE = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
    "scale_factor",
}
_FILES = ("diffusion_pytorch_model", "model", "pytorch_model")
_ENDINGS = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")


@dataclass(frozen=True)
class Checkpoint:
    """A Zero123 model as tensors, under the names of diffusers and transformers."""

    tensors: dict[str, State]
    """By part (`PARTS`) and key; the projection's keys are `weight` and `bias`."""
    configs: dict[str, dict[str, Any]]
    """What the classes of diffusers and transformers take, by part; nothing for the projection."""
    unused: tuple[str, ...] = ()
    """Keys of the file that a picture needs nothing of: CLIP's text half, the schedule, weights that have a mean."""
    path: Path = Path("The checkpoint")
    """Where they were read from, for errors."""


def read(path: Path) -> Checkpoint:
    """A model from a released checkpoint or a diffusers folder; `WeightsError` says what is wrong with it."""
    weights.check_family(path)
    if path.is_dir():
        return from_folder(path)
    try:
        return replace(from_original(weights.read_checkpoint(path)), path=path)
    except _LayoutError as error:
        raise WeightsError(
            f"{path} is not a Zero123 checkpoint: {error}. Choose zero123-xl.ckpt or 105000.ckpt."
        ) from None


class _LayoutError(Exception):
    """A key that is missing, left over or of a shape that does not fit."""


# -- the released checkpoint ---------------------------------------------------------------------------------


def from_original(tensors: Mapping[str, Tensor]) -> Checkpoint:
    """Convert the state of the released code; the running mean of the U-Net is taken where there is one."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    unet = _under(tensors, _UNET)
    if not unet:
        raise _LayoutError(f"it has no keys that start with {_UNET}")
    means = {key: _EMA + f"diffusion_model.{key}".replace(".", "") for key in unet}
    sources = {key: mean if mean in tensors else _UNET + key for key, mean in means.items()}
    chosen = {key: tensors[source] for key, source in sources.items()}
    vae, clip = _under(tensors, _VAE, skip="loss."), _under(tensors, _CLIP)
    configs = {UNET: _read_unet(chosen), VAE: _read_vae(vae), CLIP: _read_clip(clip)}
    found = {
        UNET: _converted(chosen, convert_ldm_unet_checkpoint, configs[UNET], _UNET),
        VAE: _converted(vae, convert_ldm_vae_checkpoint, configs[VAE]),
        CLIP: _convert_clip(clip),
        PROJECTION: _under(tensors, _PROJECTION),
    }
    # attention of the VAE: 1 x 1 convolutions there, linear layers here
    for key, value in found[VAE].items():
        if ".attentions." in key and value.ndim == 4:
            found[VAE][key] = value[:, :, 0, 0]
    if set(found[PROJECTION]) != {"weight", "bias"}:
        raise _LayoutError("it has no cc_projection, so it is a plain Stable Diffusion")
    parts = ((_VAE, vae), (_CLIP, clip), (_PROJECTION, found[PROJECTION]))
    used = {*sources.values(), *(prefix + key for prefix, part in parts for key in part)}
    unused = tuple(sorted(set(tensors) - used))
    for key in unused:
        if key not in _SCHEDULE and not key.startswith((*_UNUSED, _UNET)):
            raise _LayoutError(f"the key {key} is unknown")
    return Checkpoint(found, configs, unused)


def _under(tensors: Mapping[str, Tensor], prefix: str, skip: str = "\0") -> State:
    """What lies under a prefix, without it."""
    cut = len(prefix)
    return {k[cut:]: v for k, v in tensors.items() if k.startswith(prefix) and not k[cut:].startswith(skip)}


class _Key(str):
    """A tensor's name in the place of the tensor, so that a converter tells what became of it."""

    shape = ()


def _converted(
    state: State, convert: Callable[..., dict[str, _Key]], config: dict[str, Any], prefix: str = ""
) -> State:
    """Tensors under the names that one of diffusers' converters gives them, which leaves out what it does not know."""
    names = convert({prefix + key: _Key(key) for key in state}, config)
    if unknown := state.keys() - names.values():
        raise _LayoutError(f"the key {min(unknown)} is unknown")
    return {name: _need(state, key) for name, key in names.items()}


def _count(keys: Iterable[str], pattern: str) -> int:
    """How many of pattern.format(0), pattern.format(1), ... keys start with, without a gap."""
    count, keys = 0, tuple(keys)
    while any(key.startswith(pattern.format(count)) for key in keys):
        count += 1
    return count


def _need(state: State, key: str) -> Tensor:
    if key not in state:
        raise _LayoutError(f"the key {key} is missing")
    return state[key]


def _read_unet(state: State) -> dict[str, Any]:
    """Configuration of diffusers' U-Net from the shapes of the released one."""
    widths: list[int] = []
    attentive: list[bool] = []
    layers = 0
    for block in range(1, _count(state, "input_blocks.{}.")):
        name = f"input_blocks.{block}"
        if f"{name}.0.op.weight" in state:
            widths.append(0)
            continue
        width = _need(state, f"{name}.0.out_layers.3.weight").shape[0]
        if not attentive or (widths and widths[-1] == 0):
            widths = [*widths[:-1], width]
            attentive.append(f"{name}.1.norm.weight" in state)
        layers += len(widths) == 1
    depth = _count(state, "middle_block.1.transformer_blocks.{}.")
    first, last = _need(state, "input_blocks.0.0.weight"), _need(state, "out.2.weight")
    context = _need(state, "middle_block.1.transformer_blocks.0.attn2.to_k.weight").shape[1]
    return {
        "in_channels": first.shape[1],
        "out_channels": last.shape[0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attentive],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attentive)],
        "transformer_layers_per_block": depth,
        "cross_attention_dim": context,
        "attention_head_dim": _HEADS,  # diffusers' name for the number of heads here
        "sample_size": 32,
    }


def _read_vae(state: State) -> dict[str, Any]:
    """Configuration of diffusers' VAE from the shapes of the released one."""
    levels = _count(state, "encoder.down.{}.")
    widths = [_need(state, f"encoder.down.{level}.block.0.conv1.weight").shape[0] for level in range(levels)]
    if not widths:
        raise _LayoutError(f"it has no VAE ({_VAE}encoder.*)")
    return {
        "in_channels": _need(state, "encoder.conv_in.weight").shape[1],
        "out_channels": _need(state, "decoder.conv_out.weight").shape[0],
        "latent_channels": _need(state, "post_quant_conv.weight").shape[0],
        "block_out_channels": widths,
        "layers_per_block": _count(state, "encoder.down.0.block.{}."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": SCALE,
        "sample_size": 256,
    }


def _read_clip(state: State) -> dict[str, Any]:
    """Configuration of transformers' CLIP picture encoder from the shapes of OpenAI's."""
    if not state:
        raise _LayoutError(f"it has no CLIP picture encoder ({_CLIP}*)")
    patches, places = _need(state, "conv1.weight"), _need(state, "positional_embedding")
    width, patch = patches.shape[0], patches.shape[2]
    return {
        "hidden_size": width,
        "intermediate_size": _need(state, "transformer.resblocks.0.mlp.c_fc.weight").shape[0],
        "projection_dim": _need(state, "proj").shape[1],
        "num_hidden_layers": _count(state, "transformer.resblocks.{}."),
        "num_attention_heads": width // _CLIP_HEAD,
        "image_size": round((places.shape[0] - 1) ** 0.5) * patch,
        "patch_size": patch,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }


_CLIP_NAMES = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "conv1": "vision_model.embeddings.patch_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "ln_pre": "vision_model.pre_layrnorm",
    "ln_post": "vision_model.post_layernorm",
    "proj": "visual_projection.weight",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
"""Modules of OpenAI's picture encoder, those of a layer last, and transformers' names of them."""
_CLIP_KEY = re.compile(r"(transformer\.resblocks\.\d+\.)?(.+?)(\.weight|\.bias)?")
"""Layer, module and kind."""


def _convert_clip(state: State) -> State:
    """OpenAI's picture encoder under transformers' names: one matrix of queries, keys and values becomes three."""
    found = State()
    for key, value in state.items():
        match = _CLIP_KEY.fullmatch(key)
        layer, module, kind = match.groups("") if match else ("", "", "")
        layer = layer.replace("transformer.resblocks", "vision_model.encoder.layers")
        if module.startswith("attn.in_proj_"):
            kind = module.removeprefix("attn.in_proj_")
            rows = zip("qkv", value.chunk(3), strict=True)
            found |= {f"{layer}self_attn.{name}_proj.{kind}": part for name, part in rows}
        elif module in _CLIP_NAMES:
            found[layer + _CLIP_NAMES[module] + kind] = value
        else:
            raise _LayoutError(f"the key {key} is unknown")
    return found | {"visual_projection.weight": found["visual_projection.weight"].T}


# -- the diffusers folder ------------------------------------------------------------------------------------

_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION = re.compile(rf"\b({'|'.join(_ATTENTION)})(?=\.\w+$)")


def from_folder(folder: Path) -> Checkpoint:
    """Read a folder in diffusers' layout; `WeightsError` names the part that is missing or damaged."""
    tensors: dict[str, State] = {}
    configs: dict[str, dict[str, Any]] = {}
    for part in (UNET, VAE, CLIP):
        tensors[part], configs[part] = weights.read_checkpoint(_weights_file(folder, part)), _read_config(folder, part)
    named = PROJECTION if (folder / PROJECTION).is_dir() else "clip_camera_projection"
    state = weights.read_checkpoint(_weights_file(folder, named))
    tensors[PROJECTION] = {key.rpartition(".")[2]: value for key, value in state.items()}
    if set(tensors[PROJECTION]) != {"weight", "bias"}:
        raise WeightsError(f"{folder / named} is not Zero123's projection: it holds {', '.join(sorted(state))}.")
    # until 2023 diffusers named the VAE's attention otherwise
    tensors[VAE] = {
        _OLD_ATTENTION.sub(lambda old: _ATTENTION[old[0]], key) if ".attentions." in key else key: value
        for key, value in tensors[VAE].items()
    }
    # and transformers kept a list of numbers among CLIP's weights
    tensors[CLIP].pop("vision_model.embeddings.position_ids", None)
    return Checkpoint(tensors, configs, path=folder)


def _weights_file(folder: Path, part: str) -> Path:
    for ending in _ENDINGS:
        for name in _FILES:
            if (folder / part / f"{name}{ending}").is_file():
                return folder / part / f"{name}{ending}"
    raise WeightsError(
        f"{folder} is not a Zero123 folder in diffusers' layout: {part}/ holds no weights. Fetch or copy it again."
    )


def _read_config(folder: Path, part: str) -> dict[str, Any]:
    path = folder / part / "config.json"
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}). Fetch or copy the folder again.") from None
    return config

"""Tiny models in the published layouts, written to disk: what the tests load in place of the published weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.views.zero123.layouts import Checkpoint

# LoFTR


def tiny_loftr(seed: int = 0) -> Any:
    """kornia's LoFTR with few channels and random weights."""
    import copy

    import torch
    from kornia.feature.loftr.loftr import LoFTR, default_cfg

    config: dict[str, Any] = copy.deepcopy(default_cfg)
    config["resnetfpn"] = {"initial_dim": 8, "block_dims": [8, 12, 16]}
    config["coarse"] |= {"d_model": 16, "d_ffn": 16, "layer_names": ["self", "cross"], "temp_bug_fix": True}
    config["fine"] |= {"d_model": 8, "d_ffn": 8}
    torch.manual_seed(seed)
    network = LoFTR(pretrained=None, config=config).eval()
    for name, figures in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            figures.uniform_(*((-0.1, 0.1) if name.endswith("mean") else (0.5, 1.5)))
    network.loftr_coarse.layers[-1].norm2.weight.data.mul_(4.0)  # features far enough apart for some matches
    return network


def write_tiny_loftr(path: Path, *, prefix: str = "matcher.", wrapped: bool = True) -> Path:
    """The tiny LoFTR as a `.ckpt`, by default as it is published."""
    import torch

    state = {f"{prefix}{name}": tensor for name, tensor in tiny_loftr().state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state} if wrapped else state, path)
    return path


# Segment Anything

TINY_SAM = {
    "width": 16,
    "depth": 3,
    "heads": 2,
    "grid": 32,
    "patch": 4,
    "window": 7,
    "global": (1,),
    "hidden": 24,
    "out": 32,
    "mask_channels": 8,
    "decoder_hidden": 20,
    "iou_hidden": 12,
}
"""Sizes of the tiny model; the base model has 768, 12, 12, 64, 16, 14, (2, 5, 8, 11), 3072, 256, 16, 2048, 256."""


def sam_shapes(s: dict = TINY_SAM) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a published `sam_vit_*.pth`, written down from the layout's own modules."""
    width, out, head = s["width"], s["out"], s["width"] // s["heads"]
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    def conv(name: str, *shape: int, bias: int = 0) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = (bias,)

    shapes["image_encoder.pos_embed"] = (1, s["grid"], s["grid"], width)
    conv("image_encoder.patch_embed.proj", width, 3, s["patch"], s["patch"], bias=width)
    for i in range(s["depth"]):
        block = f"image_encoder.blocks.{i}"
        reach = 2 * (s["grid"] if i in s["global"] else s["window"]) - 1
        norm(f"{block}.norm1", width)
        linear(f"{block}.attn.qkv", width, 3 * width)
        linear(f"{block}.attn.proj", width, width)
        shapes[f"{block}.attn.rel_pos_h"] = shapes[f"{block}.attn.rel_pos_w"] = (reach, head)
        norm(f"{block}.norm2", width)
        linear(f"{block}.mlp.lin1", width, s["hidden"])
        linear(f"{block}.mlp.lin2", s["hidden"], width)
    conv("image_encoder.neck.0", out, width, 1, 1)
    norm("image_encoder.neck.1", out)
    conv("image_encoder.neck.2", out, out, 3, 3)
    norm("image_encoder.neck.3", out)

    shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, out // 2)
    for name in ("point_embeddings.0", "point_embeddings.1", "point_embeddings.2", "point_embeddings.3"):
        shapes[f"prompt_encoder.{name}.weight"] = (1, out)
    shapes["prompt_encoder.not_a_point_embed.weight"] = shapes["prompt_encoder.no_mask_embed.weight"] = (1, out)
    channels = s["mask_channels"]
    conv("prompt_encoder.mask_downscaling.0", channels // 4, 1, 2, 2, bias=channels // 4)
    norm("prompt_encoder.mask_downscaling.1", channels // 4)
    conv("prompt_encoder.mask_downscaling.3", channels, channels // 4, 2, 2, bias=channels)
    norm("prompt_encoder.mask_downscaling.4", channels)
    conv("prompt_encoder.mask_downscaling.6", out, channels, 1, 1, bias=out)

    def attention(name: str, inner: int) -> None:
        for part in ("q_proj", "k_proj", "v_proj"):
            linear(f"{name}.{part}", out, inner)
        linear(f"{name}.out_proj", inner, out)

    for i in range(2):
        layer = f"mask_decoder.transformer.layers.{i}"
        attention(f"{layer}.self_attn", out)
        attention(f"{layer}.cross_attn_token_to_image", out // 2)
        attention(f"{layer}.cross_attn_image_to_token", out // 2)
        for j in range(1, 5):
            norm(f"{layer}.norm{j}", out)
        linear(f"{layer}.mlp.lin1", out, s["decoder_hidden"])
        linear(f"{layer}.mlp.lin2", s["decoder_hidden"], out)
    attention("mask_decoder.transformer.final_attn_token_to_image", out // 2)
    norm("mask_decoder.transformer.norm_final_attn", out)
    shapes["mask_decoder.iou_token.weight"], shapes["mask_decoder.mask_tokens.weight"] = (1, out), (4, out)
    conv("mask_decoder.output_upscaling.0", out, out // 4, 2, 2, bias=out // 4)
    norm("mask_decoder.output_upscaling.1", out // 4)
    conv("mask_decoder.output_upscaling.3", out // 4, out // 8, 2, 2, bias=out // 8)
    for i in range(4):
        head_name = f"mask_decoder.output_hypernetworks_mlps.{i}.layers"
        linear(f"{head_name}.0", out, out)
        linear(f"{head_name}.1", out, out)
        linear(f"{head_name}.2", out, out // 8)
    linear("mask_decoder.iou_prediction_head.layers.0", out, s["iou_hidden"])
    linear("mask_decoder.iou_prediction_head.layers.1", s["iou_hidden"], s["iou_hidden"])
    linear("mask_decoder.iou_prediction_head.layers.2", s["iou_hidden"], 4)
    return shapes


def random_sam_state(seed: int = 0, s: dict = TINY_SAM) -> dict:
    """A state dict of the published layout with random numbers in every tensor."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=draw) for name, shape in sam_shapes(s).items()}


def dark_sam_state(s: dict = TINY_SAM) -> dict:
    """The same layout with weights set by hand: whatever is darker than a white background is the object.

    The second of the three masks, the one with the highest predicted IoU, is the object, and so is the last; the first
    is nothing. Prompts make no difference.
    """
    import torch

    state = {name: torch.zeros(shape) for name, shape in sam_shapes(s).items()}
    for name, tensor in state.items():
        if tensor.ndim == 1 and name.endswith("weight"):
            tensor.fill_(1.0)  # the scale of a normalisation
    patch = state["image_encoder.patch_embed.proj.weight"]
    for channel, sign in ((0, 1.0), (1, -1.0)):
        patch[channel] = -sign / patch[0].numel()
        state["image_encoder.patch_embed.proj.bias"][channel] = 1.6 * sign
        state["image_encoder.neck.0.weight"][channel, channel] = 1.0
        state["image_encoder.neck.2.weight"][channel, channel, 1, 1] = 1.0
        state["mask_decoder.output_upscaling.0.weight"][channel, channel] = 1.0
        state["mask_decoder.output_upscaling.3.weight"][0, channel] = sign
        state["mask_decoder.output_upscaling.3.weight"][1, channel] = -sign
    for mask, values in enumerate(((0.0, 0.0), (-5.0, -5.0), (5.0, -5.0), (5.0, -5.0))):
        state[f"mask_decoder.output_hypernetworks_mlps.{mask}.layers.2.bias"][:2] = torch.tensor(values)
    state["mask_decoder.iou_prediction_head.layers.2.bias"][:] = torch.tensor([0.95, 0.3, 0.9, 0.1])
    return state


def write_tiny_sam(path: Path, layout: str = "original", *, state: dict | None = None) -> Path:
    """A tiny Segment Anything model on disk; by default the one of `dark_sam_state`.

    `layout`: "original" (a file `sam_vit_*.pth`), "hub" (a folder with config.json and model.safetensors) or "sam2"
    (such a folder of SAM 2, with random weights).
    """
    import json

    import torch
    from safetensors.torch import save_file

    if layout == "original":
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dark_sam_state() if state is None else state, path)
        return path
    path.mkdir(parents=True, exist_ok=True)
    if layout == "sam2":
        torch.manual_seed(0)
        model = tiny_sam2()
        (path / "config.json").write_text(json.dumps(model.config.to_dict()))
        tensors = model.state_dict()
    else:
        from engine.imaging.sam import from_original

        tensors, config = from_original(dark_sam_state() if state is None else state)
        (path / "config.json").write_text(json.dumps(config.to_dict()))
        tensors["prompt_encoder.shared_embedding.positional_embedding"] = tensors[
            "shared_image_embedding.positional_embedding"
        ].clone()
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path / "model.safetensors")
    return path


def tiny_sam2() -> Any:
    """transformers' SAM 2 with few channels, 128 x 128, random weights."""
    from transformers import Sam2Config, Sam2Model

    return Sam2Model(
        Sam2Config(
            vision_config={
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": 8,
                    "image_size": [128, 128],
                    "blocks_per_stage": [1, 1, 2, 1],
                    "embed_dim_per_stage": [8, 16, 32, 64],
                    "num_attention_heads_per_stage": [1, 1, 2, 4],
                    "window_size_per_stage": [4, 4, 4, 2],
                    "global_attention_blocks": [3],
                },
                "model_type": "sam2_vision_model",
                "backbone_channel_list": [64, 32, 16, 8],
                "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
                "fpn_hidden_size": 32,
            },
            prompt_encoder_config={"hidden_size": 32, "image_size": 128, "mask_input_channels": 8},
            mask_decoder_config={"hidden_size": 32, "mlp_dim": 20, "iou_head_hidden_dim": 12},
        )
    ).eval()


# One-2-3-45's reconstruction

TINY_ONE2345 = {"pyramid": (4, 4, 6), "compressed": 4, "unet": (4, 4, 6, 8), "width": 16, "frequencies": 2}
"""Sizes of the tiny network."""
FULL_ONE2345 = {"pyramid": (8, 16, 32), "compressed": 16, "unet": (16, 16, 32, 64), "width": 128, "frequencies": 6}
"""Sizes of the published network."""


def one2345_state(sizes: dict = TINY_ONE2345, *, radius: float = 0.22, seed: int = 0) -> dict[str, dict]:
    """A checkpoint in the layout of `ckpt_215000.pth`, written down from the released modules.

    Weights are random. The signed distance is near that of a ball of `radius` half sides of the volume, so that a
    reconstruction finds a surface; radius 0 leaves it random.
    """
    import math

    import torch

    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 1.0) -> Any:
        return torch.randn(*shape, generator=draw) * scale

    def norm(name: str, channels: int) -> dict:
        weight = random(channels, scale=0.2) + 0.9
        weight[::3] *= -1  # in-place ABN takes the magnitude
        return {
            f"{name}.weight": weight,
            f"{name}.bias": random(channels, scale=0.1),
            f"{name}.running_mean": random(channels, scale=0.1),
            f"{name}.running_var": torch.rand(channels, generator=draw) + 0.5,
            f"{name}.num_batches_tracked": torch.tensor(215000),
        }

    def plain(name: str, outputs: int, inputs: int, *kernel: int) -> dict:
        scale = (inputs * math.prod(kernel)) ** -0.5
        return {f"{name}.weight": random(outputs, inputs, *kernel, scale=scale), f"{name}.bias": random(outputs) * 0.1}

    def block(name: str, outputs: int, inputs: int, kernel: int) -> dict:
        weight = random(outputs, inputs, kernel, kernel, scale=(inputs * kernel**2) ** -0.5)
        return {f"{name}.conv.weight": weight} | norm(f"{name}.bn", outputs)

    fine, middle, coarse = sizes["pyramid"]
    pyramid: dict = {}
    for level, (inputs, outputs, count) in enumerate(((3, fine, 2), (fine, middle, 3), (middle, coarse, 3))):
        for i in range(count):
            kernel = 5 if level and not i else 3
            pyramid |= block(f"conv{level}.{i}", outputs, inputs if not i else outputs, kernel)
    for name, outputs, inputs, kernel in (
        ("toplayer", coarse, coarse, 1),
        ("lat1", coarse, middle, 1),
        ("lat0", coarse, fine, 1),
        ("smooth1", middle, coarse, 3),
        ("smooth0", fine, coarse, 3),
    ):
        pyramid |= plain(name, outputs, inputs, kernel, kernel)

    compressed, width = sizes["compressed"], sizes["width"]
    sdf = block("compress_layer", compressed, sum(sizes["pyramid"]), 3)
    a, b, c, d = sizes["unet"]
    for number, inputs, outputs in (
        (0, 2 * compressed, a), (1, a, b), (2, b, b), (3, b, c), (4, c, c), (5, c, d), (6, d, d), (7, d, c), (9, c, b),
        (11, b, a),
    ):  # fmt: skip
        name = f"sparse_costreg_net.conv{number}.net"
        sdf[f"{name}.0.kernel"] = random(27, inputs, outputs, scale=(27 * inputs) ** -0.5)
        sdf |= norm(f"{name}.1", outputs)
    # Three linear layers; all but the first see the volume's feature beside the layer before.
    for i, inputs in enumerate((3 + 6 * sizes["frequencies"], width + a, width + a)):
        v, bias = random(width, inputs, scale=(2 / width) ** 0.5), random(width, scale=0.1)
        if radius:  # |x| is near the mean of |x . d| over many directions d, times two
            bias.zero_()
            v[:, 3 if i == 0 else width :] *= 0.02
            turn = torch.arange(width // 2) * 2.39996
            height = (torch.arange(width // 2) + 0.5) / (width // 2)
            flat = (1 - height**2).sqrt()
            ways = torch.stack([flat * turn.cos(), flat * turn.sin(), height], 1)
            if i == 0:
                v[:, :3] = torch.cat([ways, -ways])
            else:
                v[:, :width] = torch.eye(width)
            if i == 2:
                v[0, :width], bias[0] = 4 / width, -radius
        sdf[f"sdf_layer.lin{i}.weight_g"] = v.norm(dim=1, keepdim=True) * (1 if radius else 1.5)
        sdf[f"sdf_layer.lin{i}.weight_v"] = v * 0.7  # its length does not count
        sdf[f"sdf_layer.lin{i}.bias"] = bias

    seen = sum(sizes["pyramid"]) + 3
    rendering = {"s": torch.tensor(0.2)}
    for name, inputs, outputs in (
        ("ray_dir_fc.0", 4, 16), ("ray_dir_fc.2", 16, seen), ("base_fc.0", 3 * seen + a, 64), ("base_fc.2", 64, 32),
        ("vis_fc.0", 32, 32), ("vis_fc.2", 32, 33), ("vis_fc2.0", 32, 32), ("vis_fc2.2", 32, 1),
        ("rgb_fc.0", 37, 16), ("rgb_fc.2", 16, 8), ("rgb_fc.4", 8, 1),
    ):  # fmt: skip
        rendering |= plain(name, outputs, inputs)
    return {
        "optimizer": {
            "state": {0: {"step": 215000, "exp_avg": random(3), "exp_avg_sq": random(3).abs()}},
            "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "params": [0]}],
        },
        "iter_step": 215000,  # type: ignore[dict-item]
        "val_step": 0,  # type: ignore[dict-item]
        "sdf_network_lod0": sdf,
        "rendering_network_lod0": rendering,
        "variance_network_lod0": {"variance": torch.tensor(0.35)},
        "pyramid_feature_network": pyramid,
    }


def write_tiny_one2345_surface(path: Path, *, seed: int = 0) -> Path:
    """One-2-3-45's reconstruction network with few channels: a ball in the middle, coloured from the views."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(one2345_state(TINY_ONE2345, seed=seed), path)
    return path


def write_one2345_surface(path: Path, *, seed: int = 0) -> Path:
    """The same in the published sizes (about 0.4 million weights), which reconstructs at the published resolution."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(one2345_state(FULL_ONE2345, seed=seed), path)
    return path


# Zero123

TINY_ZERO123 = {
    "unet": 32,
    "unet_mult": (1, 2),
    "unet_layers": 1,
    "context": 32,
    "vae": 32,
    "vae_mult": (1, 1, 1, 1, 1),
    "vae_layers": 1,
    "clip": 64,
    "clip_layers": 2,
    "clip_patch": 56,
    "clip_out": 24,
}
"""Sizes of the tiny model; the published one: 320, (1, 2, 4, 4), 2, 768, 128, (1, 2, 4, 4), 2, 1024, 24, 14, 768."""
FULL_ZERO123 = {
    "unet": 320,
    "unet_mult": (1, 2, 4, 4),
    "unet_layers": 2,
    "context": 768,
    "vae": 128,
    "vae_mult": (1, 2, 4, 4),
    "vae_layers": 2,
    "clip": 1024,
    "clip_layers": 24,
    "clip_patch": 14,
    "clip_out": 768,
}


def zero123_shapes(s: dict = TINY_ZERO123) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a released Zero123 checkpoint, written down from the released modules.

    The running mean `model_ema` is left out: it repeats `model.diffusion_model` under names without dots.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    def conv(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, kernel, kernel), (outputs,)

    # ldm/modules/diffusionmodules/openaimodel.py
    base, context, unet = s["unet"], s["context"], "model.diffusion_model"
    widths, layers = [base * m for m in s["unet_mult"]], s["unet_layers"]

    def resnet(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.in_layers.0", inputs)
        conv(f"{name}.in_layers.2", inputs, outputs, 3)
        linear(f"{name}.emb_layers.1", 4 * base, outputs)
        norm(f"{name}.out_layers.0", outputs)
        conv(f"{name}.out_layers.3", outputs, outputs, 3)
        if inputs != outputs:
            conv(f"{name}.skip_connection", inputs, outputs, 1)

    def transformer(name: str, width: int) -> None:
        norm(f"{name}.norm", width)
        conv(f"{name}.proj_in", width, width, 1)
        block = f"{name}.transformer_blocks.0"
        for attention, source in (("attn1", width), ("attn2", context)):
            linear(f"{block}.{attention}.to_q", width, width, bias=False)
            linear(f"{block}.{attention}.to_k", source, width, bias=False)
            linear(f"{block}.{attention}.to_v", source, width, bias=False)
            linear(f"{block}.{attention}.to_out.0", width, width)
        linear(f"{block}.ff.net.0.proj", width, 8 * width)
        linear(f"{block}.ff.net.2", 4 * width, width)
        for i in (1, 2, 3):
            norm(f"{block}.norm{i}", width)
        conv(f"{name}.proj_out", width, width, 1)

    linear(f"{unet}.time_embed.0", base, 4 * base)
    linear(f"{unet}.time_embed.2", 4 * base, 4 * base)
    conv(f"{unet}.input_blocks.0.0", 8, base, 3)
    kept, width, block = [base], base, 1
    for level, outputs in enumerate(widths):
        for _ in range(layers):
            resnet(f"{unet}.input_blocks.{block}.0", width, outputs)
            if level < len(widths) - 1:
                transformer(f"{unet}.input_blocks.{block}.1", outputs)
            width, block = outputs, block + 1
            kept.append(width)
        if level < len(widths) - 1:
            conv(f"{unet}.input_blocks.{block}.0.op", width, width, 3)
            kept.append(width)
            block += 1
    resnet(f"{unet}.middle_block.0", width, width)
    transformer(f"{unet}.middle_block.1", width)
    resnet(f"{unet}.middle_block.2", width, width)
    block = 0
    for level, outputs in reversed(list(enumerate(widths))):
        for layer in range(layers + 1):
            resnet(f"{unet}.output_blocks.{block}.0", width + kept.pop(), outputs)
            place, width = 1, outputs
            if level < len(widths) - 1:
                transformer(f"{unet}.output_blocks.{block}.1", outputs)
                place = 2
            if layer == layers and level:
                conv(f"{unet}.output_blocks.{block}.{place}.conv", width, width, 3)
            block += 1
    norm(f"{unet}.out.0", base)
    conv(f"{unet}.out.2", base, 4, 3)

    # ldm/modules/diffusionmodules/model.py
    vae, layers = "first_stage_model", s["vae_layers"]
    widths = [s["vae"] * m for m in s["vae_mult"]]

    def vae_resnet(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1", inputs, outputs, 3)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2", outputs, outputs, 3)
        if inputs != outputs:
            conv(f"{name}.nin_shortcut", inputs, outputs, 1)

    def middle(name: str, width: int) -> None:
        vae_resnet(f"{name}.block_1", width, width)
        norm(f"{name}.attn_1.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.attn_1.{part}", width, width, 1)
        vae_resnet(f"{name}.block_2", width, width)

    conv(f"{vae}.encoder.conv_in", 3, widths[0], 3)
    width = widths[0]
    for level, outputs in enumerate(widths):
        for layer in range(layers):
            vae_resnet(f"{vae}.encoder.down.{level}.block.{layer}", width, outputs)
            width = outputs
        if level < len(widths) - 1:
            conv(f"{vae}.encoder.down.{level}.downsample.conv", width, width, 3)
    middle(f"{vae}.encoder.mid", width)
    norm(f"{vae}.encoder.norm_out", width)
    conv(f"{vae}.encoder.conv_out", width, 8, 3)
    conv(f"{vae}.quant_conv", 8, 8, 1)
    conv(f"{vae}.post_quant_conv", 4, 4, 1)
    conv(f"{vae}.decoder.conv_in", 4, width, 3)
    middle(f"{vae}.decoder.mid", width)
    for level, outputs in reversed(list(enumerate(widths))):
        for layer in range(layers + 1):
            vae_resnet(f"{vae}.decoder.up.{level}.block.{layer}", width, outputs)
            width = outputs
        if level:
            conv(f"{vae}.decoder.up.{level}.upsample.conv", width, width, 3)
    norm(f"{vae}.decoder.norm_out", width)
    conv(f"{vae}.decoder.conv_out", width, 3, 3)

    # OpenAI's CLIP, its text half without the transformer
    clip, width, out = "cond_stage_model.model", s["clip"], s["clip_out"]
    visual = f"{clip}.visual"
    shapes[f"{visual}.class_embedding"] = (width,)
    shapes[f"{visual}.positional_embedding"] = ((224 // s["clip_patch"]) ** 2 + 1, width)
    shapes[f"{visual}.proj"] = (width, out)
    shapes[f"{visual}.conv1.weight"] = (width, 3, s["clip_patch"], s["clip_patch"])
    norm(f"{visual}.ln_pre", width)
    for i in range(s["clip_layers"]):
        layer_name = f"{visual}.transformer.resblocks.{i}"
        shapes[f"{layer_name}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{layer_name}.attn.in_proj_bias"] = (3 * width,)
        linear(f"{layer_name}.attn.out_proj", width, width)
        norm(f"{layer_name}.ln_1", width)
        linear(f"{layer_name}.mlp.c_fc", width, 4 * width)
        linear(f"{layer_name}.mlp.c_proj", 4 * width, width)
        norm(f"{layer_name}.ln_2", width)
    norm(f"{visual}.ln_post", width)
    shapes[f"{clip}.token_embedding.weight"] = (49, 12)
    shapes[f"{clip}.positional_embedding"] = (7, 12)
    shapes[f"{clip}.text_projection"] = (12, out)
    shapes[f"{clip}.logit_scale"] = ()
    norm(f"{clip}.ln_final", 12)

    linear("cc_projection", out + 4, context)
    for name in ("betas", "alphas_cumprod", "sqrt_alphas_cumprod", "posterior_variance"):
        shapes[name] = (1000,)
    return shapes


def zero123_state(s: dict = TINY_ZERO123, *, mean: bool = True, seed: int = 0) -> dict[str, Any]:
    """A state of the released layout with random weights of a sensible size; with `mean`, `model_ema` as well.

    The running mean is other than the U-Net itself, so that it can be told which of the two was loaded.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)

    def random(name: str, shape: tuple[int, ...]) -> Any:
        value = torch.randn(shape, generator=draw)
        if len(shape) > 1:
            return value * _inputs(shape) ** -0.5
        return 1 + 0.1 * value if name.endswith("weight") else 0.1 * value

    state = {name: random(name, shape) for name, shape in zero123_shapes(s).items()}
    if mean:
        for name in [name for name in state if name.startswith("model.diffusion_model.")]:
            short = name.removeprefix("model.").replace(".", "")
            state[f"model_ema.{short}"] = state[name] + 0.05 * random(name, tuple(state[name].shape))
        state["model_ema.decay"], state["model_ema.num_updates"] = torch.tensor(0.9999), torch.tensor(105000)
    return state


def _inputs(shape: tuple[int, ...]) -> int:
    import math

    return math.prod(shape[1:])


def copying_zero123_state(s: dict = TINY_ZERO123) -> dict[str, Any]:
    """The same layout with weights set by hand: every view is the picture that it is drawn from, in coarse squares.

    All residual branches are zero. The VAE shrinks and standardises the colours; the U-Net takes for noise what it is
    given less the picture's latents; the decoder makes the brighter part of them white. Values pass each SiLU as a
    pair of x and -x, since silu(x) - silu(-x) = x.
    """
    import torch

    state = {name: torch.zeros(shape) for name, shape in zero123_shapes(s).items()}
    for name, tensor in state.items():
        if tensor.ndim == 1 and name.endswith("weight"):
            tensor.fill_(1.0)  # the scale of a normalisation
    vae, unet = "first_stage_model", "model.diffusion_model"
    for half, gain in (("encoder", 1.0), ("decoder", 0.9)):
        for i in range(3):
            state[f"{vae}.{half}.conv_in.weight"][i, i, 1, 1] = 1.0
            state[f"{vae}.{half}.conv_in.weight"][i + 3, i, 1, 1] = -1.0
            state[f"{vae}.{half}.conv_out.weight"][i, i, 1, 1] = gain
            state[f"{vae}.{half}.conv_out.weight"][i, i + 3, 1, 1] = -gain
    state[f"{vae}.decoder.conv_out.bias"].fill_(0.75)
    for name, tensor in state.items():
        if name.endswith("downsample.conv.weight"):
            tensor[:, :, :2, :2] = torch.eye(len(tensor))[:, :, None, None] / 4
        elif name.endswith("upsample.conv.weight"):
            tensor[:, :, 1, 1] = torch.eye(len(tensor))
        elif name in (f"{vae}.quant_conv.weight", f"{vae}.post_quant_conv.weight"):
            tensor[:, :, 0, 0] = torch.eye(len(tensor))
    base = s["unet"]
    for i in range(8):
        state[f"{unet}.input_blocks.0.0.weight"][i, i, 1, 1] = 1.0
        state[f"{unet}.input_blocks.0.0.weight"][i + 8, i, 1, 1] = -1.0
    last = max(int(k.split(".")[3]) for k in state if k.startswith(f"{unet}.output_blocks."))
    state[f"{unet}.output_blocks.{last}.0.skip_connection.weight"][:, -base:, 0, 0] = torch.eye(base)
    for i in range(4):
        for place, gain in ((i, 1.0), (i + 4, -3.0)):
            state[f"{unet}.out.2.weight"][i, place, 1, 1] = gain
            state[f"{unet}.out.2.weight"][i, place + 8, 1, 1] = -gain
    return state


def write_tiny_zero123(path: Path, layout: str = "original", *, state: dict | None = None) -> Path:
    """A tiny Zero123 on disk; by default the one of `copying_zero123_state`.

    `layout`: "original" (a file `.ckpt`) or "diffusers" (a folder of `unet`, `vae`, `image_encoder`, `cc_projection`).
    """
    import torch

    state = copying_zero123_state() if state is None else state
    path.parent.mkdir(parents=True, exist_ok=True)
    if layout == "original":
        torch.save({"state_dict": state, "global_step": 105000}, path)
    else:
        from engine.views.zero123 import layouts

        write_diffusers_folder(layouts.from_original(state), path)
    return path


def write_diffusers_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a Zero123 in diffusers' layout, as safetensors."""
    from safetensors.torch import save_file

    from engine.views.zero123.layouts import CLIP, PARTS, PROJECTION, UNET, VAE

    classes = {UNET: "UNet2DConditionModel", VAE: "AutoencoderKL", CLIP: "CLIPVisionModelWithProjection"}
    for part in PARTS:
        state = checkpoint.tensors[part]
        config = {"_class_name": classes.get(part, "CCProjection"), **checkpoint.configs.get(part, {})}
        if part == PROJECTION:
            config |= {"in_channel": state["weight"].shape[1], "out_channel": state["weight"].shape[0]}
            state = {f"projection.{key}": value for key, value in state.items()}
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "config.json").write_text(json.dumps(config, indent=1))
        name = "model" if part == CLIP else "diffusion_pytorch_model"
        save_file({k: v.contiguous() for k, v in state.items()}, folder / part / f"{name}.safetensors")


# CLIP

TINY_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}
"""open_clip's configuration of the tiny model."""


def write_tiny_clip(folder: Path) -> Path:
    """A tiny CLIP with random weights in the hub's layout of open_clip: its configuration beside its weights."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = open_clip.model.CLIP(**TINY_CLIP).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "open_clip_model.safetensors")
    preprocessing = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder

"""The released Zero123 written out plainly on the tensors of a checkpoint, to hold the engine's networks against.

After cvlab-columbia/zero123's modules: group norms of 32 groups, 8 heads of attention in the U-Net and one in the VAE,
OpenAI's CLIP.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def _norm(s: State, name: str, x: Tensor, eps: float) -> Tensor:
    return F.group_norm(x, 32, s[f"{name}.weight"], s[f"{name}.bias"], eps)


def _conv(s: State, name: str, x: Tensor, *, stride: int = 1, padding: int | None = None) -> Tensor:
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s[f"{name}.bias"], stride, weight.shape[2] // 2 if padding is None else padding)


def _linear(s: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Softmax of scaled products, each (N, L, C), written out."""

    def split(x: Tensor) -> Tensor:
        return x.unflatten(2, (heads, -1)).transpose(1, 2)

    q, k, v = split(q), split(k), split(v)
    weight = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weight @ v).transpose(1, 2).flatten(2)


# -- the U-Net


def _resnet(s: State, name: str, x: Tensor, time: Tensor) -> Tensor:
    h = _conv(s, f"{name}.in_layers.2", F.silu(_norm(s, f"{name}.in_layers.0", x, 1e-5)))
    h = h + _linear(s, f"{name}.emb_layers.1", F.silu(time))[:, :, None, None]
    h = _conv(s, f"{name}.out_layers.3", F.silu(_norm(s, f"{name}.out_layers.0", h, 1e-5)))
    return (_conv(s, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in s else x) + h


def _transformer(s: State, name: str, x: Tensor, context: Tensor) -> Tensor:
    height, width = x.shape[2:]
    h = _conv(s, f"{name}.proj_in", _norm(s, f"{name}.norm", x, 1e-6)).flatten(2).transpose(1, 2)
    block = f"{name}.transformer_blocks.0"
    for number, attention in ((1, "attn1"), (2, "attn2")):
        n = F.layer_norm(h, h.shape[-1:], s[f"{block}.norm{number}.weight"], s[f"{block}.norm{number}.bias"])
        seen = n if number == 1 else context
        q = _linear(s, f"{block}.{attention}.to_q", n)
        k, v = (_linear(s, f"{block}.{attention}.to_{p}", seen) for p in "kv")
        h = h + _linear(s, f"{block}.{attention}.to_out.0", _attend(q, k, v, 8))
    n = F.layer_norm(h, h.shape[-1:], s[f"{block}.norm3.weight"], s[f"{block}.norm3.bias"])
    value, gate = _linear(s, f"{block}.ff.net.0.proj", n).chunk(2, -1)
    h = h + _linear(s, f"{block}.ff.net.2", value * F.gelu(gate))
    return x + _conv(s, f"{name}.proj_out", h.transpose(1, 2).unflatten(2, (height, width)))


def unet(s: State, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
    """Noise (N, 4, h, w) in x (N, 8, h, w) at steps (N,), told by context (N, 1, D)."""
    s = {k.removeprefix("model.diffusion_model."): v for k, v in s.items() if k.startswith("model.diffusion_model.")}
    base = s["time_embed.0.weight"].shape[1]
    angles = time[:, None] * torch.exp(-math.log(10000) * torch.arange(base // 2) / (base // 2))
    emb = F.silu(_linear(s, "time_embed.0", torch.cat([angles.cos(), angles.sin()], 1)))
    emb = _linear(s, "time_embed.2", emb)

    def block(name: str, h: Tensor) -> Tensor:
        for part in range(3):
            inner = f"{name}.{part}"
            if f"{inner}.in_layers.0.weight" in s:
                h = _resnet(s, inner, h, emb)
            elif f"{inner}.proj_in.weight" in s:
                h = _transformer(s, inner, h, context)
            elif f"{inner}.op.weight" in s:
                h = _conv(s, f"{inner}.op", h, stride=2)
            elif f"{inner}.conv.weight" in s:
                h = _conv(s, f"{inner}.conv", F.interpolate(h, scale_factor=2.0, mode="nearest"))
            elif f"{inner}.weight" in s:
                h = _conv(s, inner, h)
        return h

    count = {half: len({k.split(".")[1] for k in s if k.startswith(half)}) for half in ("input", "output")}
    h, kept = x, []
    for i in range(count["input"]):
        h = block(f"input_blocks.{i}", h)
        kept.append(h)
    h = block("middle_block", h)
    for i in range(count["output"]):
        h = block(f"output_blocks.{i}", torch.cat([h, kept.pop()], 1))
    return _conv(s, "out.2", F.silu(_norm(s, "out.0", h, 1e-5)))


# -- the VAE


def _vae_resnet(s: State, name: str, x: Tensor) -> Tensor:
    h = _conv(s, f"{name}.conv1", F.silu(_norm(s, f"{name}.norm1", x, 1e-6)))
    h = _conv(s, f"{name}.conv2", F.silu(_norm(s, f"{name}.norm2", h, 1e-6)))
    return (_conv(s, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in s else x) + h


def _middle(s: State, name: str, x: Tensor) -> Tensor:
    x = _vae_resnet(s, f"{name}.block_1", x)
    n = _norm(s, f"{name}.attn_1.norm", x, 1e-6)
    q, k, v = (_conv(s, f"{name}.attn_1.{p}", n).flatten(2).transpose(1, 2) for p in "qkv")
    h = _attend(q, k, v, 1).transpose(1, 2).unflatten(2, x.shape[2:])
    return _vae_resnet(s, f"{name}.block_2", x + _conv(s, f"{name}.attn_1.proj_out", h))


def encode(s: State, picture: Tensor) -> Tensor:
    """Mode of the latents (N, 4, h, w) of pictures (N, 3, H, W) in -1..1, not scaled."""
    s = {k.removeprefix("first_stage_model."): v for k, v in s.items() if k.startswith("first_stage_model.")}
    levels = len({k.split(".")[2] for k in s if k.startswith("encoder.down.")})
    h = _conv(s, "encoder.conv_in", picture)
    for level in range(levels):
        for layer in range(len({k.split(".")[4] for k in s if k.startswith(f"encoder.down.{level}.block.")})):
            h = _vae_resnet(s, f"encoder.down.{level}.block.{layer}", h)
        if level < levels - 1:
            h = _conv(s, f"encoder.down.{level}.downsample.conv", F.pad(h, (0, 1, 0, 1)), stride=2, padding=0)
    h = _middle(s, "encoder.mid", h)
    h = _conv(s, "encoder.conv_out", F.silu(_norm(s, "encoder.norm_out", h, 1e-6)))
    return _conv(s, "quant_conv", h).chunk(2, 1)[0]


def decode(s: State, latents: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in -1..1 of latents (N, 4, h, w) that are not scaled."""
    s = {k.removeprefix("first_stage_model."): v for k, v in s.items() if k.startswith("first_stage_model.")}
    levels = len({k.split(".")[2] for k in s if k.startswith("decoder.up.")})
    h = _middle(s, "decoder.mid", _conv(s, "decoder.conv_in", _conv(s, "post_quant_conv", latents)))
    for level in reversed(range(levels)):
        for layer in range(len({k.split(".")[4] for k in s if k.startswith(f"decoder.up.{level}.block.")})):
            h = _vae_resnet(s, f"decoder.up.{level}.block.{layer}", h)
        if level:
            h = _conv(s, f"decoder.up.{level}.upsample.conv", F.interpolate(h, scale_factor=2.0, mode="nearest"))
    return _conv(s, "decoder.conv_out", F.silu(_norm(s, "decoder.norm_out", h, 1e-6)))


# -- CLIP


def clip(s: State, picture: Tensor) -> Tensor:
    """Embedding (N, E) of pictures (N, 3, 256, 256) in -1..1."""
    head = "cond_stage_model.model.visual."
    s = {k.removeprefix(head): v for k, v in s.items() if k.startswith(head)}
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    small = F.interpolate(picture, (224, 224), mode="bicubic", align_corners=True)
    patch = s["conv1.weight"].shape[2]
    x = F.conv2d(((small + 1) / 2 - mean) / std, s["conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat([s["class_embedding"].expand(len(x), 1, -1), x], 1) + s["positional_embedding"]

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])

    x = norm("ln_pre", x)
    for i in range(len({k.split(".")[2] for k in s if k.startswith("transformer.resblocks.")})):
        block = f"transformer.resblocks.{i}"
        parts = F.linear(norm(f"{block}.ln_1", x), s[f"{block}.attn.in_proj_weight"], s[f"{block}.attn.in_proj_bias"])
        x = x + _linear(s, f"{block}.attn.out_proj", _attend(*parts.chunk(3, -1), x.shape[-1] // 64))
        h = _linear(s, f"{block}.mlp.c_fc", norm(f"{block}.ln_2", x))
        x = x + _linear(s, f"{block}.mlp.c_proj", h * torch.sigmoid(1.702 * h))
    return norm("ln_post", x[:, 0]) @ s["proj"]


def context(s: State, embedding: Tensor, d_polar: Tensor, d_azimuth: Tensor, d_radius: Tensor) -> Tensor:
    """The token (N, 1, D) of an embedding and turns in degrees."""
    d_polar, d_azimuth = d_polar.deg2rad(), d_azimuth.deg2rad()
    camera = torch.stack([d_polar, d_azimuth.sin(), d_azimuth.cos(), d_radius], 1)
    return _linear(s, "cc_projection", torch.cat([embedding, camera], 1))[:, None]


def mean_state(s: State) -> State:
    """The state with its running mean in place of the U-Net, as the released code draws."""
    return {
        k: s.get("model_ema." + k.removeprefix("model.").replace(".", ""), v)
        if k.startswith("model.diffusion_model.")
        else v
        for k, v in s.items()
    }

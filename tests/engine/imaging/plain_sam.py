"""Segment Anything written out plainly on the published tensors, for comparison: one picture, one prompt, float32."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class PlainSam:
    """The published modules' equations, with the tensors under their published names."""

    def __init__(self, state: dict[str, Tensor], sizes: dict) -> None:
        self.t, self.s = state, sizes
        self.side = sizes["grid"] * sizes["patch"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        """Over the last axis."""
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + eps) * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def norm2d(self, name: str, x: Tensor) -> Tensor:
        """Over the channels of (C, H, W)."""
        return self.norm(name, x.permute(1, 2, 0), 1e-6).permute(2, 0, 1)

    # The image encoder

    def encode(self, pixels: Tensor) -> Tensor:
        """(C, g, g) of normalised pixels (3, side, side)."""
        enc = "image_encoder"
        weight, bias = self.t[f"{enc}.patch_embed.proj.weight"], self.t[f"{enc}.patch_embed.proj.bias"]
        x = F.conv2d(pixels[None], weight, bias, stride=self.s["patch"])[0].permute(1, 2, 0)
        x = x + self.t[f"{enc}.pos_embed"][0]
        for i in range(self.s["depth"]):
            block = f"{enc}.blocks.{i}"
            y = self.norm(f"{block}.norm1", x, 1e-6)
            x = x + (self.attend(block, y) if i in self.s["global"] else self.attend_in_windows(block, y))
            y = self.linear(f"{block}.mlp.lin1", self.norm(f"{block}.norm2", x, 1e-6))
            x = x + self.linear(f"{block}.mlp.lin2", F.gelu(y))
        x = F.conv2d(x.permute(2, 0, 1)[None], self.t[f"{enc}.neck.0.weight"])[0]
        x = F.conv2d(self.norm2d(f"{enc}.neck.1", x)[None], self.t[f"{enc}.neck.2.weight"], padding=1)[0]
        return self.norm2d(f"{enc}.neck.3", x)

    def attend_in_windows(self, block: str, x: Tensor) -> Tensor:
        """Windows from the upper left corner; what the last ones lack is zero and takes part."""
        w, grid = self.s["window"], self.s["grid"]
        padded = F.pad(x, (0, 0, 0, -grid % w, 0, -grid % w))
        out = torch.zeros_like(padded)
        for top in range(0, padded.shape[0], w):
            for left in range(0, padded.shape[1], w):
                here = (slice(top, top + w), slice(left, left + w))
                out[here] = self.attend(block, padded[here])
        return out[:grid, :grid]

    def attend(self, block: str, x: Tensor) -> Tensor:
        """Attention over a square (n, n, C) with decomposed relative positions."""
        n, heads = x.shape[0], self.s["heads"]
        size = x.shape[2] // heads
        qkv = self.linear(f"{block}.attn.qkv", x).reshape(n * n, 3, heads, size)
        rel_h, rel_w = self.t[f"{block}.attn.rel_pos_h"], self.t[f"{block}.attn.rel_pos_w"]
        rows, columns = torch.arange(n * n) // n, torch.arange(n * n) % n
        out = []
        for head in range(heads):
            q, k, v = qkv[:, 0, head], qkv[:, 1, head], qkv[:, 2, head]
            logits = q @ k.T / math.sqrt(size)
            logits = logits + torch.einsum("qc,qkc->qk", q, rel_h[rows[:, None] - rows[None, :] + n - 1])
            logits = logits + torch.einsum("qc,qkc->qk", q, rel_w[columns[:, None] - columns[None, :] + n - 1])
            out.append(logits.softmax(-1) @ v)
        return self.linear(f"{block}.attn.proj", torch.cat(out, -1).reshape(n, n, -1))

    # Prompts

    def frequencies(self, places: Tensor) -> Tensor:
        """Of places (N, 2) in 0..1."""
        matrix = self.t["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        angle = 2 * math.pi * ((2 * places - 1) @ matrix)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def prompt(self, points: Tensor | None, labels: Tensor | None, box: Tensor | None) -> Tensor:
        """Tokens (N, C) of points (N, 2) and a box (4,), in pixels of the square with the first centre at (0, 0)."""
        p, tokens = "prompt_encoder", []
        if points is not None:
            for place, label in zip(points, labels, strict=True):
                kind = self.t[f"{p}.point_embeddings.{int(label)}.weight"]
                tokens.append(self.frequencies((place[None] + 0.5) / self.side) + kind)
            if box is None:
                tokens.append(self.t[f"{p}.not_a_point_embed.weight"])
        if box is not None:
            for corner in (0, 1):
                place = self.frequencies((box.reshape(2, 2)[corner : corner + 1] + 0.5) / self.side)
                tokens.append(place + self.t[f"{p}.point_embeddings.{2 + corner}.weight"])
        return torch.cat(tokens)

    # The mask decoder

    def decode(self, embedding: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (3, 4 g, 4 g) and predicted IoU (3,) of the three masks."""
        d, g = "mask_decoder", self.s["grid"]
        tokens = torch.cat([self.t[f"{d}.iou_token.weight"], self.t[f"{d}.mask_tokens.weight"], prompt])
        centres = (torch.arange(g) + 0.5) / g
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        places = self.frequencies(torch.stack([x, y], -1).reshape(-1, 2))
        keys = (embedding + self.t["prompt_encoder.no_mask_embed.weight"].reshape(-1, 1, 1)).flatten(1).T
        queries = tokens
        for i in range(2):
            layer = f"{d}.transformer.layers.{i}"
            if i == 0:
                queries = self.cross(f"{layer}.self_attn", queries, queries, queries)
            else:
                q = queries + tokens
                queries = queries + self.cross(f"{layer}.self_attn", q, q, queries)
            queries = self.norm(f"{layer}.norm1", queries, 1e-5)
            found = self.cross(f"{layer}.cross_attn_token_to_image", queries + tokens, keys + places, keys)
            queries = self.norm(f"{layer}.norm2", queries + found, 1e-5)
            found = self.linear(f"{layer}.mlp.lin2", self.linear(f"{layer}.mlp.lin1", queries).relu())
            queries = self.norm(f"{layer}.norm3", queries + found, 1e-5)
            found = self.cross(f"{layer}.cross_attn_image_to_token", keys + places, queries + tokens, queries)
            keys = self.norm(f"{layer}.norm4", keys + found, 1e-5)
        found = self.cross(f"{d}.transformer.final_attn_token_to_image", queries + tokens, keys + places, keys)
        queries = self.norm(f"{d}.transformer.norm_final_attn", queries + found, 1e-5)

        def doubled(name: str, image: Tensor) -> Tensor:
            weight, bias = self.t[f"{d}.output_upscaling.{name}.weight"], self.t[f"{d}.output_upscaling.{name}.bias"]
            return F.conv_transpose2d(image[None], weight, bias, stride=2)[0]

        image = doubled("0", keys.T.reshape(-1, g, g))
        image = F.gelu(doubled("3", F.gelu(self.norm2d(f"{d}.output_upscaling.1", image))))
        masks = [
            torch.einsum("c,chw->hw", self.mlp(f"{d}.output_hypernetworks_mlps.{i}", queries[1 + i]), image)
            for i in range(4)
        ]
        return torch.stack(masks[1:]), self.mlp(f"{d}.iou_prediction_head", queries[0])[1:]

    def mlp(self, name: str, x: Tensor) -> Tensor:
        for i in range(2):
            x = self.linear(f"{name}.layers.{i}", x).relu()
        return self.linear(f"{name}.layers.2", x)

    def cross(self, name: str, q: Tensor, k: Tensor, v: Tensor, heads: int = 8) -> Tensor:
        q, k, v = (self.linear(f"{name}.{p}_proj", x) for p, x in (("q", q), ("k", k), ("v", v)))
        size = q.shape[1] // heads
        out = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            out.append((q[:, part] @ k[:, part].T / math.sqrt(size)).softmax(-1) @ v[:, part])
        return self.linear(f"{name}.out_proj", torch.cat(out, -1))

"""LoFTR written out plainly on the published tensors, for comparison: two grey pictures of one size, float32."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS, WINDOW, THRESHOLD, BORDER = 8, 5, 0.2, 2


class PlainLoftr:
    """The equations of the paper and of its code, with the tensors under their published names."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.t = state

    def match(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (N, 2) of the same points in the grey pictures (H, W) in 0..1, sides multiples of 8."""
        (coarse_a, fine_a), (coarse_b, fine_b) = self.features(a), self.features(b)
        columns = coarse_a.shape[2]
        u, v = ((c + self.positions(*c.shape)).flatten(1).T for c in (coarse_a, coarse_b))
        u, v = self.transform("loftr_coarse", u, v)
        similarity = u @ v.T / u.shape[1] / 0.1
        confidence = similarity.softmax(0) * similarity.softmax(1)
        start, end = [], []
        for i in range(len(u)):
            j = int(confidence[i].argmax())
            mutual = confidence[i, j] == confidence[:, j].max()
            if confidence[i, j] > THRESHOLD and mutual and self.inside(i, coarse_a) and self.inside(j, coarse_b):
                here, there = (torch.tensor([8.0 * (n % columns), 8.0 * (n // columns)]) for n in (i, j))
                start.append(here)
                end.append(there + self.refine(fine_a, fine_b, u[i], v[j], i, j, columns))
        return torch.stack(start), torch.stack(end)

    def inside(self, cell: int, coarse: Tensor) -> bool:
        row, column = divmod(cell, coarse.shape[2])
        return BORDER <= row < coarse.shape[1] - BORDER and BORDER <= column < coarse.shape[2] - BORDER

    def refine(self, fine_a: Tensor, fine_b: Tensor, u: Tensor, v: Tensor, i: int, j: int, columns: int) -> Tensor:
        """Offset in pixels of the point of `b`: the expected place in a window of half-resolution features."""
        windows = []
        for fine, coarse, cell in ((fine_a, u, i), (fine_b, v, j)):
            top, left = 4 * (cell // columns), 4 * (cell % columns)
            padded = F.pad(fine, (WINDOW // 2,) * 4)
            window = padded[:, top : top + WINDOW, left : left + WINDOW].flatten(1).T
            context = self.linear("fine_preprocess.down_proj", coarse).expand(len(window), -1)
            windows.append(self.linear("fine_preprocess.merge_feat", torch.cat([window, context], 1)))
        first, second = self.transform("loftr_fine", *windows)
        heat = (second @ first[WINDOW * WINDOW // 2] / math.sqrt(first.shape[1])).softmax(0)
        steps = torch.arange(WINDOW) - WINDOW // 2
        places = torch.stack([steps.repeat(WINDOW), steps.repeat_interleave(WINDOW)], 1).float()
        return 2 * (heat[:, None] * places).sum(0)

    # Features

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t.get(f"{name}.bias", torch.zeros(()))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Batch normalisation of (C, H, W) by the running figures."""
        mean, variance, scale, shift = (
            self.t[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.t[f"{name}.weight"]
        return F.conv2d(x[None], weight, stride=stride, padding=weight.shape[-1] // 2)[0]

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Of a grey picture: at an eighth and at half of its size."""
        x = self.norm("backbone.bn1", self.conv("backbone.conv1", image[None], 2)).relu()
        levels = []
        for stage, stride in (("layer1", 1), ("layer2", 2), ("layer3", 2)):
            x = self.residual(f"backbone.{stage}.1", self.residual(f"backbone.{stage}.0", x, stride), 1)
            levels.append(x)
        coarse = out = self.conv("backbone.layer3_outconv", levels[2])
        for stage, skip in (("layer2", levels[1]), ("layer1", levels[0])):
            doubled = F.interpolate(out[None], scale_factor=2, mode="bilinear", align_corners=True)[0]
            out = self.conv(f"backbone.{stage}_outconv2.0", self.conv(f"backbone.{stage}_outconv", skip) + doubled)
            out = F.leaky_relu(self.norm(f"backbone.{stage}_outconv2.1", out), 0.01)
            out = self.conv(f"backbone.{stage}_outconv2.3", out)
        return coarse, out

    def residual(self, name: str, x: Tensor, stride: int) -> Tensor:
        y = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, stride)).relu()
        y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y))
        if stride != 1:
            x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride))
        return (x + y).relu()

    def positions(self, channels: int, height: int, width: int) -> Tensor:
        """Sines and cosines of places that count from 1; the frequencies as corrected for `indoor_new`."""
        code = torch.zeros(channels, height, width)
        y, x = torch.meshgrid(torch.arange(1.0, height + 1), torch.arange(1.0, width + 1), indexing="ij")
        for i in range(channels // 4):
            rate = 10000.0 ** (-2 * i / (channels // 2))
            code[4 * i : 4 * i + 4] = torch.stack(
                [(rate * x).sin(), (rate * x).cos(), (rate * y).sin(), (rate * y).cos()]
            )
        return code

    # The transformer with linear attention (Katharopoulos et al. 2020)

    def transform(self, name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Layers by turns within each picture and between the two; features (L, C) and (S, C)."""
        for i in range(len({key.split(".")[2] for key in self.t if key.startswith(f"{name}.layers.")})):
            layer = f"{name}.layers.{i}"
            a = self.layer(layer, a, a if i % 2 == 0 else b)
            b = self.layer(layer, b, b if i % 2 == 0 else a)
        return a, b

    def layer(self, name: str, x: Tensor, source: Tensor) -> Tensor:
        q, k, v = (self.linear(f"{name}.{p}_proj", s) for p, s in (("q", x), ("k", source), ("v", source)))
        size, out = x.shape[1] // HEADS, []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            f, g = F.elu(q[:, part]) + 1, F.elu(k[:, part]) + 1
            out.append(f @ (g.T @ v[:, part]) / (f @ g.sum(0) + 1e-6)[:, None])
        message = self.layer_norm(f"{name}.norm1", self.linear(f"{name}.merge", torch.cat(out, 1)))
        message = self.linear(f"{name}.mlp.0", torch.cat([x, message], 1)).relu()
        return x + self.layer_norm(f"{name}.norm2", self.linear(f"{name}.mlp.2", message))

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

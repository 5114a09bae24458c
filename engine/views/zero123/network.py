"""Zero123 (Liu et al. 2023) on the parts of diffusers and transformers: what it is told, and how it denoises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import weights
from engine.core.progress import CancelToken
from engine.views.zero123.layouts import CLIP, PROJECTION, SCALE, UNET, VAE, Checkpoint

SIDE = 256
"""Side in pixels of the pictures that Zero123 takes and draws."""
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Zero123Network(nn.Module):
    """The four networks of Zero123, each on the device when it is used.

    Pictures are (N, 3, 256, 256) float32 in -1..1 over white, latents (N, 4, h, w) float32, offsets (N, 3) radians of
    polar angle, radians of azimuth and world units of radius. `cancel` is asked between layers.
    """

    unet: Any
    vae: Any
    clip: Any
    projection: Any

    def __init__(
        self, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32, unet_dtype: torch.dtype | None = None
    ) -> None:
        """Take over a checkpoint's tensors; `WeightsError` if they do not make up the whole network.

        `unet_dtype` is for the U-Net alone, which does nearly all the work; `dtype` if not given.
        """
        super().__init__()
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        configs, tensors = checkpoint.configs, checkpoint.tensors
        out, context = tensors[PROJECTION]["weight"].shape[1], tensors[PROJECTION]["weight"].shape[0]
        with torch.device("meta"):
            parts: dict[str, nn.Module] = {
                UNET: UNet2DConditionModel.from_config(configs[UNET]),
                VAE: AutoencoderKL.from_config(configs[VAE]),
                CLIP: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(configs[CLIP])),
                PROJECTION: nn.Linear(out, context),
            }
        self.dtype, self.unet_dtype = dtype, unet_dtype or dtype
        for name, part in parts.items():
            nn.Module.to(part, self.unet_dtype if name == UNET else dtype)  # without what diffusers warns of
            weights.load_into(part, tensors[name], path=checkpoint.path, model=f"Zero123's {name}")
        self.unet, self.vae, self.clip, self.projection = (parts[n] for n in (UNET, VAE, CLIP, PROJECTION))
        embeddings = self.clip.vision_model.embeddings  # the only numbers of the network that no file holds
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[1])[None]
        self.unet.to(memory_format=torch.channels_last)
        # Not the VAE: on a CPU its group normalisation is inexact in that order, the latents by 3.5e-3.
        self._look_at_one_token()
        self.cancel = CancelToken()
        for module in self.modules():  # a step of the whole U-Net takes seconds without a GPU
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_pre_hook(lambda *_: self.cancel.check())
        self.device = torch.device("cpu")
        self.offloads = False
        self.eval().requires_grad_(False)

    @property
    def is_single(self) -> bool:
        """Whether all of it works in single precision."""
        return self.dtype == self.unet_dtype == torch.float32

    def use_single(self) -> None:
        """Work in single precision from now on."""
        self.dtype = self.unet_dtype = torch.float32
        self.float()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one latent picture."""
        side = SIDE >> (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, side, side

    def place(self, device: torch.device, *, offloads: bool = False) -> None:
        """Run on `device`; with `offloads` only the part that is in use is there."""
        self.device, self.offloads = device, offloads
        home = torch.device("cpu") if offloads else device
        for part in (self.unet, self.vae, self.clip, self.projection):
            part.to(home)

    @contextmanager
    def _using(self, *parts: nn.Module) -> Iterator[None]:
        """Holds parts on the device while the context is open."""
        for part in parts if self.offloads else ():
            part.to(self.device)
        try:
            yield
        finally:
            for part in parts if self.offloads else ():
                part.to("cpu")

    def condition(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees of pictures: CLIP's embeddings (N, E) and latents (N, 4, h, w).

        As the released code does: CLIP gets the picture resized to 224 px bicubically, corners aligned, without
        antialiasing; the latents are the mode of the VAE's answer, not scaled (`encode_first_stage(...).mode()`).
        """
        pictures = pictures.to(self.device)
        side = self.clip.config.image_size
        mean, std = (pictures.new_tensor(v)[:, None, None] for v in (_CLIP_MEAN, _CLIP_STD))
        small = F.interpolate(pictures, (side, side), mode="bicubic", align_corners=True)
        with self._using(self.clip):
            seen = self.clip(((small + 1) / 2 - mean).div(std).to(self.dtype)).image_embeds
        with self._using(self.vae):
            latents = self.vae.encode(pictures.to(self.dtype).contiguous()).latent_dist.mode()
        return seen.float(), latents.float()

    def context(self, embeddings: Tensor, offsets: Tensor) -> Tensor:
        """The one token (N, 1, D) that the U-Net attends to: embedding and camera through `cc_projection`."""
        polar, azimuth, radius = offsets.to(self.device, torch.float32).unbind(1)
        camera = torch.stack([polar, azimuth.sin(), azimuth.cos(), radius], 1)
        with self._using(self.projection):
            return self.projection(torch.cat([embeddings, camera], 1).to(self.dtype)).float()[:, None]

    @contextmanager
    def denoising(self) -> Iterator[None]:
        """Keeps the U-Net on the device for a number of steps."""
        with self._using(self.unet):
            yield

    def predict(self, x: Tensor, time: int, context: Tensor, latents: Tensor, guidance: float) -> Tensor:
        """Noise (N, 4, h, w) in `x` at a step of the schedule, guided away from what is drawn without a picture.

        Both predictions come from one batch of 2 N; without a picture, token and latents are zero.
        """
        both = torch.cat([torch.cat([x, x]), torch.cat([torch.zeros_like(latents), latents])], 1)
        token = torch.cat([torch.zeros_like(context), context]).to(self.unet_dtype)
        times = torch.full((len(both),), time, device=self.device)
        inputs = both.to(self.unet_dtype, memory_format=torch.channels_last)
        without, given = self.unet(inputs, times, token, return_dict=False)[0].float().chunk(2)
        return without + guidance * (given - without)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (N, 3, 256, 256) in 0..1 of denoised latents, on the CPU."""
        pictures = self.vae.decode((latents / SCALE).to(self.dtype).contiguous(), return_dict=False)[0]
        return (pictures.float() / 2 + 0.5).clamp(0, 1).cpu()

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Keeps the VAE on the device for a number of pictures."""
        with self._using(self.vae):
            yield

    def _look_at_one_token(self) -> None:
        processors = dict(self.unet.attn_processors)
        processors |= {name: OneTokenAttention() for name in processors if ".attn2." in name}
        self.unet.set_attn_processor(processors)


class OneTokenAttention:
    """Attention to a single token, exactly: its weight is 1 whatever is asked, so no queries or keys are needed."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        """(N, pixels, C) of tokens (N, 1, D); diffusers' protocol of attention processors."""
        value = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return value.expand(-1, hidden_states.shape[1], -1)

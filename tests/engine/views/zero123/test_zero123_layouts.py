"""Zero123's weights in both published layouts: every key both ways, and the same pictures out of the networks."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
import zero123_released as released
from safetensors.torch import load_file, save_file

from engine import weights
from engine.core.errors import WeightsError
from engine.views import load_generator
from engine.views.zero123 import layouts
from engine.views.zero123.network import Zero123Network
from tests.tiny_models import FULL_ZERO123, write_tiny_zero123, zero123_shapes, zero123_state

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def state() -> released.State:
    return zero123_state()


@pytest.fixture(scope="module")
def network(state: released.State) -> Zero123Network:
    return Zero123Network(layouts.from_original(state))


@pytest.fixture(scope="module")
def drawn(state: released.State) -> released.State:
    """The state that the released code draws with."""
    return released.mean_state(state)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _same(a: layouts.Checkpoint, b: layouts.Checkpoint) -> bool:
    return all(
        a.tensors[part].keys() == b.tensors[part].keys()
        and all(torch.equal(a.tensors[part][k], b.tensors[part][k]) for k in a.tensors[part])
        for part in layouts.PARTS
    )


def test_the_vae_is_exact_on_a_picture_that_is_mostly_white(network):
    """Where it is not, as torch's group norm on a CPU with channels last, white alone moves the latents by 1."""
    picture = torch.ones(1, 3, 256, 256)
    picture[..., 100:140, 100:140] = -0.3
    exact = copy.deepcopy(network.vae)
    for module in exact.modules():
        module.double()
    with torch.inference_mode():
        latents = network.condition(picture)[1]
        expected = exact.encode(picture.double()).latent_dist.mode()
        drawn = network.decode(expected.float() * layouts.SCALE)
        right = (exact.decode(expected).sample / 2 + 0.5).clamp(0, 1)
    assert float(expected.std()) > 0.1
    assert (latents - expected).abs().max() < 1e-4
    assert (drawn - right).abs().max() < 3e-5


@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize(
    "name", ["stable_zero123.ckpt", "Stable-Zero123_c.ckpt", "stable-zero123/model.ckpt", "link", "cache"]
)
def test_its_successor_of_the_same_layout_is_refused_with_the_reason(tmp_path, monkeypatch, layout, name):
    """Stable Zero123's tensors are named and shaped as Zero123's, but its fourth number is the camera's own height."""
    monkeypatch.setattr(weights, "_paths", {})
    if name == "cache":
        path = tmp_path / "models--ashawkey--stable-zero123-diffusers" / "snapshots" / ("a" * 40)
        path = path / "model.ckpt" if layout == "original" else path
    else:
        path = tmp_path / ("stable_zero123.ckpt" if name == "link" else name)
    write_tiny_zero123(path, layout)
    if name == "link":
        (tmp_path / "zero123-xl.ckpt").symlink_to(path)
        path = tmp_path / "zero123-xl.ckpt"
    for take in (layouts.read, lambda p: weights.use("zero123-xl", p), lambda p: load_generator("zero123-xl", p)):
        with pytest.raises(WeightsError, match=r"is Stable Zero123.*another way.*zero123-xl\.ckpt"):
            take(path)


def test_what_is_not_used_is_named(state):
    checkpoint = layouts.from_original(state)
    # the text half of CLIP, the schedule, and weights whose running mean is taken
    rest = {key for key in checkpoint.unused if not key.startswith("model.diffusion_model.")}
    assert rest == {
        *("betas", "alphas_cumprod", "sqrt_alphas_cumprod", "posterior_variance"),
        *("model_ema.decay", "model_ema.num_updates"),
        *(f"cond_stage_model.model.{k}" for k in ("token_embedding.weight", "positional_embedding", "logit_scale")),
        *(f"cond_stage_model.model.{k}" for k in ("text_projection", "ln_final.weight", "ln_final.bias")),
    }


def test_every_key_of_the_published_sizes_has_its_place():
    published = {name: torch.empty(shape, device="meta") for name, shape in zero123_shapes(FULL_ZERO123).items()}
    checkpoint = layouts.from_original(published)
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    configs = checkpoint.configs
    with torch.device("meta"):
        modules = {
            layouts.UNET: UNet2DConditionModel.from_config(configs[layouts.UNET]),
            layouts.VAE: AutoencoderKL.from_config(configs[layouts.VAE]),
            layouts.CLIP: CLIPVisionModelWithProjection(CLIPVisionConfig(**configs[layouts.CLIP])),
        }
    for part, module in modules.items():
        expected = {k: tuple(v.shape) for k, v in module.state_dict().items()}
        assert {k: tuple(v.shape) for k, v in checkpoint.tensors[part].items()} == expected
    assert configs[layouts.UNET]["block_out_channels"] == [320, 640, 1280, 1280]
    assert configs[layouts.CLIP]["num_attention_heads"] == 16
    assert checkpoint.tensors[layouts.PROJECTION]["weight"].shape == (768, 772)


def test_the_unet_predicts_what_the_released_one_does(network, drawn):
    x, token = _random(2, 8, 16, 16), _random(2, 1, 32, seed=1)
    times = torch.tensor([981, 21])
    with torch.inference_mode():
        mine = network.unet(x, times, token).sample
    assert torch.allclose(mine, released.unet(drawn, x, times, token), atol=TOLERANCE)


def test_the_vae_encodes_and_decodes_as_the_released_one_does(network, drawn):
    picture, latents = _random(1, 3, 64, 64).clamp(-1, 1), _random(1, 4, 4, 4)
    with torch.inference_mode():
        seen = network.vae.encode(picture).latent_dist.mode()
        shown = network.vae.decode(latents).sample
    assert torch.allclose(seen, released.encode(drawn, picture), atol=TOLERANCE)
    assert torch.allclose(shown, released.decode(drawn, latents), atol=TOLERANCE)


def test_the_condition_is_what_the_released_code_makes_of_a_picture(network, drawn):
    picture = _random(1, 3, 256, 256).clamp(-1, 1)
    turns = torch.tensor([[-30.0, 120.0, 0.25]])  # polar and azimuth in degrees, radius
    with torch.inference_mode():
        embedding, latents = network.condition(picture)
        token = network.context(embedding, torch.cat([torch.deg2rad(turns[:, :2]), turns[:, 2:]], 1))
    assert torch.allclose(embedding, released.clip(drawn, picture), atol=TOLERANCE)
    assert torch.allclose(latents, released.encode(drawn, picture), atol=TOLERANCE)
    assert torch.allclose(token, released.context(drawn, embedding, *turns.T), atol=TOLERANCE)


def test_guidance_leads_away_from_what_is_drawn_without_a_picture(network, drawn):
    x, latents, token = _random(2, 4, 16, 16), _random(2, 4, 16, 16, seed=1), _random(2, 1, 32, seed=2)
    times = torch.tensor([501, 501])
    given = released.unet(drawn, torch.cat([x, latents], 1), times, token)
    without = released.unet(drawn, torch.cat([x, 0 * latents], 1), times, 0 * token)
    with torch.inference_mode():
        guided = network.predict(x, 501, token, latents, 3.0)
    assert torch.allclose(guided, without + 3 * (given - without), atol=3 * TOLERANCE)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_both_layouts_are_read_from_disk(layout, state, tmp_path):
    path = tmp_path / ("model.ckpt" if layout == "original" else "model")
    write_tiny_zero123(path, layout, state=state)
    assert _same(layouts.read(path), layouts.from_original(state))


def test_a_folder_of_an_older_diffusers_is_read_as_well(state, tmp_path):
    """Attention of the VAE under its old names, another projection, pickled weights, CLIP's list of numbers."""
    folder = write_tiny_zero123(tmp_path / "model", "diffusers", state=state)
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():
        vae = {k.replace(f".{new}.", f".{name}.") if ".attentions." in k else k: v for k, v in vae.items()}
    save_file(vae, folder / "vae" / "diffusion_pytorch_model.safetensors")
    clip = load_file(folder / "image_encoder" / "model.safetensors")
    clip["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    (folder / "image_encoder" / "model.safetensors").unlink()
    torch.save(clip, folder / "image_encoder" / "pytorch_model.bin")
    (folder / "cc_projection").rename(folder / "clip_camera_projection")
    projection = folder / "clip_camera_projection" / "diffusion_pytorch_model.safetensors"
    save_file({k.replace("projection.", "proj."): v for k, v in load_file(projection).items()}, projection)
    assert _same(layouts.read(folder), layouts.from_original(state))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda s: s.pop("cc_projection.weight"), "plain Stable Diffusion"),
        (lambda s: s.update({"first_stage_model.encoder.extra.weight": torch.zeros(1)}), "encoder.extra.weight"),
        (lambda s: s.update({"betas_of_another": torch.zeros(1)}), "betas_of_another"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("cond_stage_model.")], "no CLIP picture encoder"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("model.")], "model.diffusion_model."),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_name(harm, said, tmp_path):
    state = zero123_state()
    harm(state)
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=said) as error:
        layouts.read(tmp_path / "other.ckpt")
    assert "other.ckpt" in str(error.value)


def test_a_missing_or_misshapen_tensor_is_named(state):
    checkpoint = layouts.from_original(state)
    key = "mid_block.resnets.0.conv1.weight"
    for value, said in ((None, "missing"), (torch.zeros(3), "of another shape")):
        tensors = {part: dict(t) for part, t in checkpoint.tensors.items()}
        tensors["unet"].pop(key)
        if value is not None:
            tensors["unet"][key] = value
        with pytest.raises(WeightsError, match=f"Zero123's unet .{said}: {key}"):
            Zero123Network(layouts.Checkpoint(tensors, checkpoint.configs))


def test_a_folder_without_a_part_is_refused(tmp_path: Path):
    folder = write_tiny_zero123(tmp_path / "model", "diffusers")
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        layouts.read(folder)
    (folder / "unet" / "config.json").write_text(json.dumps({}))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="vae/ holds no weights"):
        layouts.read(folder)

"""Zero123 as a generator: what is drawn from what, samplers, masks, progress, cancelling, memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine import cameras, choices
from engine.core import device
from engine.core.errors import Cancelled, InputError, OrielError, WeightsError
from engine.core.progress import CancelToken, Progress
from engine.views import ViewGenerator, load_generator
from engine.views.zero123 import Zero123Generator, generator, layouts
from engine.views.zero123.generator import two_stages, with_mask
from engine.views.zero123.network import Zero123Network
from engine.views.zero123.samplers import DdimSampler, FastSampler, kept_variance
from tests.tiny_models import write_tiny_zero123, zero123_state

INPUT = cameras.Pose(0.0, 0.0)
OFFSETS = cameras.offsets(
    [*cameras.principal_poses(0.0)[1:3], *cameras.neighbour_poses(cameras.principal_poses(0.0)[1])[:2]], INPUT
)
"""Two principal views and two neighbours of the first."""


@pytest.fixture(scope="module")
def network() -> Zero123Network:
    return Zero123Network(layouts.from_original(zero123_state()))


@pytest.fixture
def made(network: Zero123Network, monkeypatch: pytest.MonkeyPatch) -> Zero123Generator:
    monkeypatch.setattr(device, "_sizes", {})
    return Zero123Generator(network, on=torch.device("cpu"), steps=2)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(256, 256, 4) a coloured box on white, with some nearly white pixels in it."""
    image = np.ones((256, 256, 4), np.float32)
    image[..., 3] = 0
    image[60:200, 80:180, :3] = np.random.default_rng(0).random((140, 100, 3))
    image[100:120, 100:120, :3] = 254 / 255
    image[60:200, 80:180, 3] = 1
    return image


# -- the two stages


def test_neighbours_are_drawn_from_their_principal_view_and_these_from_the_input():
    for elevation in (0.0, 40.0):  # the second four are above, or below
        principal, sources = cameras.principal_poses(elevation), cameras.source_poses(elevation)
        origin = cameras.Pose(elevation, 0.0)
        stages = two_stages(cameras.offsets(principal[1:] + sources, origin))
        assert stages[:7] == [-1] * 7
        assert stages[7:11] == [-1] * 4, "those of the input"
        assert stages[11:] == [view for view in range(7) for _ in range(4)]
    # the first four alone, and one principal view drawn again
    assert two_stages(cameras.offsets(cameras.neighbour_poses(INPUT), INPUT)) == [-1] * 4
    again = cameras.principal_poses(0.0)[6]
    assert two_stages(cameras.offsets([again, *cameras.neighbour_poses(again)], INPUT)) == [-1, 0, 0, 0, 0]
    # azimuths are the same all the way round
    assert two_stages([(0, 350, 0), (0, -180, 0), (10, 180, 0)]) == [-1, -1, 1]


def test_the_second_stage_sees_the_first_ones_views_with_whites_snapped(made, picture, monkeypatch):
    seen: list[torch.Tensor] = []
    condition = made.network.condition
    monkeypatch.setattr(made.network, "condition", lambda p: (seen.append(p), condition(p))[1])
    turns: list[torch.Tensor] = []
    context = made.network.context
    monkeypatch.setattr(made.network, "context", lambda e, t: (turns.append(t), context(e, t))[1])
    made.generate(picture, OFFSETS)
    first, second = seen
    assert torch.allclose(first, torch.from_numpy(picture[None, ..., :3]).permute(0, 3, 1, 2) * 2 - 1)
    assert first.shape == second.shape == (1, 3, 256, 256)
    assert not ((second > generator.SNAP * 2 - 1) & (second < 1)).any()
    # polar angles fall as elevations rise; turns are told relative to what is drawn from
    assert torch.allclose(turns[0].rad2deg(), torch.tensor([[0.0, 90.0, 0.0], [0.0, 180.0, 0.0]]), atol=1e-3)
    assert torch.allclose(turns[1].rad2deg(), torch.tensor([[-10.0, 0.0, 0.0], [10.0, 0.0, 0.0]]), atol=1e-3)


def test_the_inputs_own_neighbours_are_drawn_from_the_input_snapped(made, picture, monkeypatch):
    seen: list[torch.Tensor] = []
    condition = made.network.condition
    monkeypatch.setattr(made.network, "condition", lambda p: (seen.append(p), condition(p))[1])
    made.generate(picture, cameras.offsets(cameras.neighbour_poses(INPUT)[:1], INPUT))
    assert (seen[0][0, :, 110, 110] == 1).all(), "254 is white in the second stage"


# -- what comes out


def test_views_are_what_the_protocol_asks_for(made, picture):
    assert isinstance(made, ViewGenerator)
    assert made.estimate_elevation(picture) is None
    views = made.generate(picture, OFFSETS, size=96)
    assert views.shape == (4, 96, 96, 4)
    assert views.dtype == np.float32
    assert views.min() >= 0
    assert views.max() <= 1


def test_a_view_depends_on_its_seed_and_offset_alone(made, picture):
    together = made.generate(picture, OFFSETS)
    alone = made.generate(picture, OFFSETS[1:2])
    assert np.allclose(alone[0], together[1], atol=2e-3)
    other = made.generate(picture, OFFSETS[1:2], seed=1)
    assert np.abs(other[0] - together[1]).mean() > 0.01


def test_parts_that_wait_in_the_main_memory_draw_the_same(made, picture, monkeypatch):
    usual = made.generate(picture, OFFSETS[:1])
    monkeypatch.setattr(device.MemoryBudget, "offloads", lambda self, on: True)
    assert np.array_equal(made.generate(picture, OFFSETS[:1]), usual)


def test_batches_that_do_not_fit_are_made_smaller_and_nothing_else_changes(made, picture, monkeypatch):
    whole = made.generate(picture, OFFSETS[:2])
    predict, sizes = made.network.predict, []

    def one_at_a_time(x, *rest):
        sizes.append(len(x))
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predict(x, *rest)

    monkeypatch.setattr(made.network, "predict", one_at_a_time)
    monkeypatch.setattr(device, "free", lambda: None)
    monkeypatch.setattr(device, "_sizes", {})
    assert np.allclose(made.generate(picture, OFFSETS[:2]), whole, atol=2e-3)
    assert sizes == [2, 1, 1, 1, 1]


# -- half precision


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> Zero123Generator:
    """The same network, in bfloat16."""
    monkeypatch.setattr(device, "_sizes", {})
    network = Zero123Network(layouts.from_original(zero123_state()), torch.bfloat16)
    return Zero123Generator(network, on=torch.device("cpu"), steps=2)


def _nan(value):
    return tuple(v * torch.nan for v in value) if isinstance(value, tuple) else value * torch.nan


@pytest.mark.parametrize(
    ("part", "spoil"),
    [
        ("condition", _nan),
        ("predict", _nan),  # at the first step of each batch
        ("decode", _nan),
        ("decode", lambda v: v * 0),
        ("decode", lambda v: v * 0 + 0.004),
    ],
)
def test_views_that_are_broken_or_black_in_half_precision_are_drawn_again_in_single(
    half, picture, monkeypatch, part, spoil
):
    network = Zero123Network(layouts.from_original(zero123_state()), torch.bfloat16)
    network.use_single()
    expected = Zero123Generator(network, on=torch.device("cpu"), steps=2).generate(picture, OFFSETS)
    own, broken, events = getattr(half.network, part), [], []

    def overflowing(*args):
        found = own(*args)
        broken.append(not half.network.is_single)
        return spoil(found) if broken[-1] else found

    monkeypatch.setattr(half.network, part, overflowing)
    views = half.generate(picture, OFFSETS, progress=events.append)
    assert sum(broken) == 1, "half precision is not tried again"
    assert np.isfinite(views).all()
    if part == "decode":  # the denoised latents were right, but in half
        assert np.abs(views[:2] - expected[:2]).mean() < 0.05
    else:
        assert np.allclose(views, expected, atol=1e-4)
    assert half.note == "in single precision, after views came out broken or black in half"
    assert any("drawing them again in single" in e.message for e in events)
    done = [e.done for e in events]
    assert done == sorted(done) and done[-1] == pytest.approx(len(OFFSETS))


def test_a_view_that_is_black_throughout_in_half_is_drawn_again_from_the_noise(half, picture, monkeypatch):
    """Not the VAE is at fault: what was denoised in half stays black however it is decoded."""
    own, denoise, seen = half.network.decode, half._denoise, []

    def marked(*args):
        seen.append(half.network.is_single)
        return denoise(*args) * (1.0 if seen[-1] else 0.0)

    def decode(latents):
        return own(latents) * (1.0 if latents.any() else 0.0)

    monkeypatch.setattr(half, "_denoise", marked)
    monkeypatch.setattr(half.network, "decode", decode)
    views = half.generate(picture, OFFSETS[:1])
    assert seen == [False, True] and views.max() > 0.5


def test_what_is_no_picture_in_single_precision_either_is_an_error(made, picture, monkeypatch):
    decode = made.network.decode
    monkeypatch.setattr(made.network, "decode", lambda latents: decode(latents) * torch.nan)
    with pytest.raises(OrielError, match=r"Zero123-XL.*weights may be damaged.*oriel weights check zero123-xl"):
        made.generate(picture, OFFSETS[:1])


def test_processors_with_bfloat16_denoise_in_it(monkeypatch, tmp_path, picture):
    path = write_tiny_zero123(tmp_path / "model.ckpt", state=zero123_state())
    drawn = {}
    for known, note in (({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
        made = Zero123Generator.load(path)
        made._steps = 2
        assert made.note == (f"in {note}" if note else "in single precision")
        assert made.network.vae.encoder.conv_in.weight.dtype == torch.float32, "its pictures would lose colours"
        drawn[note] = made.generate(picture, OFFSETS[:2])
    assert np.abs(drawn["bfloat16"] - drawn[""]).mean() < 0.03
    assert device.denoising_precision(torch.device("cuda")) == torch.float16


# -- progress


def test_every_step_and_every_view_is_reported_in_order(made, picture):
    events: list[Progress] = []
    views = made.generate(picture, OFFSETS, progress=events.append)
    assert all(e.stage == "views" for e in events)
    done = [e.fraction for e in events]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    shown = [e.preview for e in events if e.preview is not None]
    assert sorted(index for index, _ in shown) == [0, 1, 2, 3]
    assert all(np.array_equal(view, views[index]) for index, view in shown)
    assert len(events) == 4 + 2 * 2, "two stages of two steps, four views"
    assert any("on the CPU: about" in e.message for e in events), "how long it will take is said"


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_cancelling_stops_at_the_next_step(made, picture, after):
    token, events = CancelToken(), []

    def progress(event: Progress) -> None:
        events.append(event)
        if len(events) == after:
            token.cancel()

    if not after:
        token.cancel()
    with pytest.raises(Cancelled):
        made.generate(picture, OFFSETS, progress=progress, cancel=token)
    assert len(events) == after


# -- samplers


def test_the_published_sampler_takes_the_released_codes_steps():
    first, neighbours = DdimSampler(75), DdimSampler(50)
    assert (len(first.times), first.times[0], first.times[-1]) == (76, 976, 1)
    assert (len(neighbours.times), neighbours.times[0], neighbours.times[-1]) == (49, 961, 1)
    # one step, as `p_sample_ddim` writes it, with eta 1
    kept = kept_variance()
    assert (1 - kept[0]).item() == pytest.approx(0.00085)
    assert (1 - kept[-1] / kept[-2]).item() == pytest.approx(0.012)
    x, predicted, noise = torch.randn(3, 1, 4, 8, 8)
    now, after = kept[961], kept[941]
    sigma = ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
    picture = (x - (1 - now).sqrt() * predicted) / now.sqrt()
    expected = after.sqrt() * picture + (1 - after - sigma**2).sqrt() * predicted + sigma * noise
    assert torch.allclose(neighbours.step(0, x, predicted, noise), expected.float(), atol=1e-4)


def test_principal_views_get_more_published_steps_than_neighbours(network, picture, monkeypatch):
    made = Zero123Generator(network, on=torch.device("cpu"), sampler="published")
    monkeypatch.setattr(generator, "PUBLISHED_STEPS", (4, 3))
    events: list[Progress] = []
    made.generate(picture, OFFSETS[[0, 2]], progress=events.append)
    assert len(events) == len(DdimSampler(4).times) + len(DdimSampler(3).times) + 2
    with pytest.raises(InputError, match="fast, published"):
        Zero123Generator(network, sampler="quick")


def _towards(modes: torch.Tensor, spread: float = 0.25):
    """The best prediction of the noise where pictures (K, D) are near one of `modes`, each equally likely."""
    kept = kept_variance().float()

    def predict(x: torch.Tensor, step: int) -> torch.Tensor:
        means, variance = kept[step].sqrt() * modes, kept[step] * spread**2 + 1 - kept[step]
        weight = torch.softmax(-(x[:, None] - means).square().sum(-1) / (2 * variance), 1)
        return (1 - kept[step]).sqrt() / variance * (x - weight @ means)

    return predict


def _sample(sampler, predict, x):
    random = torch.Generator().manual_seed(5)
    for index, step in enumerate(sampler.times):
        noise = torch.randn(x.shape, generator=random) if sampler.noisy else None
        x = sampler.step(index, x, predict(x, step), noise)
    return x


def test_the_fast_sampler_lands_where_many_small_steps_do():
    random = torch.Generator().manual_seed(0)
    modes = torch.randn(8, 64, generator=random)
    start = torch.randn(256, 64, generator=random)
    predict = _towards(modes)
    fine = _sample(DdimSampler(500, eta=0.0), predict, start)
    fast = _sample(FastSampler(generator.FAST_STEPS), predict, start)
    published = _sample(DdimSampler(75), predict, start)
    assert len(FastSampler(generator.FAST_STEPS).times) == generator.FAST_STEPS
    assert (fast - fine).square().mean().sqrt() < 0.05
    # the published sampler goes elsewhere from the same noise, but to the same pictures
    for found in (fast, published):
        distance = (found[:, None] - modes).square().mean(-1).sqrt()
        assert (distance.min(1).values < 0.5).all()
        share = torch.bincount(distance.argmin(1), minlength=8) / 256
        assert (share > 0.04).all()


# -- masks


def test_the_mask_of_a_view_is_what_is_not_background():
    view = np.full((256, 256, 3), 0.985, np.float32)  # as a decoder leaves white
    view[50:200, 60:190] = (0.8, 0.3, 0.2)
    view[90:120, 90:150] = 0.97  # a bright wall, not a hole
    view[140:170, 90:150] = 1.0  # a hole
    view[10:13, 10:13] = 0.5  # a speck
    masked = with_mask(view)
    alpha = masked[..., 3]
    assert alpha[70, 70] == alpha[105, 120] == 1
    assert alpha[155, 120] == alpha[5, 5] == alpha[11, 11] == 0
    solid = np.zeros((256, 256), bool)
    solid[50:200, 60:190] = True
    solid[140:170, 90:150] = False
    assert ((alpha > 0.5) == solid).mean() > 0.999
    assert np.array_equal(masked[..., :3], view), "all of it is as it was drawn, the background too"
    assert np.allclose(masked[60, 70, :3], (0.8, 0.3, 0.2))
    assert with_mask(np.ones((64, 64, 3), np.float32))[..., 3].max() == 0


# -- loading


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_it_is_loaded_by_name_and_path_and_says_what_it_is(layout, tmp_path):
    path = write_tiny_zero123(tmp_path / ("model.ckpt" if layout == "original" else "model"), layout)
    made = load_generator("zero123-xl", path)
    assert made.name == "zero123-xl"
    assert made.label == choices.GENERATORS["zero123-xl"].label == "Zero123-XL (published weights)"


def test_weights_that_are_not_there_are_asked_for_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("zero123-xl", "zero123"):
        with pytest.raises(WeightsError, match=f"oriel weights fetch {name}"):
            load_generator(name)

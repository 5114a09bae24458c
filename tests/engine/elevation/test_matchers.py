import warnings

import cv2
import numpy as np
import pytest
import torch

from engine import choices, weights
from engine.core.errors import InputError, WeightsError
from engine.elevation import DenseFlowMatcher, LoFTRMatcher, Matcher, SiftMatcher, load_matcher
from tests.engine.elevation.plain_loftr import PlainLoftr
from tests.tiny_models import tiny_loftr, write_tiny_loftr

SIZE = 160


class GPU(str):
    """What names the CPU and calls itself a GPU."""

    type = "cuda"


def shifted_pair(shift=(5.5, -3.25)):
    """A textured disc, and the same moved by `shift` px, over white."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.random((SIZE, SIZE, 3)).astype(np.float32), (0, 0), 1.5)
    noise = (noise - noise.min()) / np.ptp(noise)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    disc = (np.hypot(rows - SIZE / 2, columns - SIZE / 2) < SIZE * 0.35).astype(np.float32)
    first = np.dstack([noise * disc[..., None] + 1 - disc[..., None], disc])
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return first, np.clip(
        cv2.warpAffine(first, move, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderValue=(1, 1, 1, 0)), 0, 1
    )


@pytest.mark.parametrize("matcher", [DenseFlowMatcher(), SiftMatcher()], ids=lambda m: m.name)
def test_finds_a_known_shift_to_a_fraction_of_a_pixel(matcher):
    assert isinstance(matcher, Matcher)
    start, end = matcher.match(*shifted_pair())
    assert len(start) == len(end) > 50
    error = np.linalg.norm(end - start - [5.5, -3.25], axis=1)
    assert np.median(error) < 0.25
    assert (np.hypot(*(start - SIZE / 2).T) < SIZE * 0.36).all(), "points lie on the object"


@pytest.mark.parametrize("matcher", [DenseFlowMatcher(), SiftMatcher()], ids=lambda m: m.name)
def test_nothing_to_match(matcher):
    start, end = matcher.match(np.ones((64, 64, 4), np.float32), np.zeros((64, 64, 4), np.float32))
    assert start.shape == end.shape == (0, 2)


def test_matchers_are_loaded_by_name(tmp_path):
    path = write_tiny_loftr(tmp_path / "loftr.ckpt")
    for name in choices.MATCHERS:
        matcher = load_matcher(name, path if name == "loftr" else None)
        assert isinstance(matcher, Matcher)
        start, end = matcher.match(*shifted_pair())
        assert start.shape == end.shape and start.shape[1] == 2 and start.dtype == end.dtype == np.float32
    with pytest.raises(InputError, match=r"'magic'.*dense-flow, sift, loftr"):
        load_matcher("magic")


def test_loftr_gives_what_the_published_equations_give_in_every_layout(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (2, 480, 480))
    grey[1] = np.roll(grey[0], 8, axis=1)
    pictures = np.stack([grey / 255] * 3 + [np.ones_like(grey)], axis=-1).astype(np.float32)
    with torch.inference_mode():
        plain = PlainLoftr(tiny_loftr().state_dict())
        start, end = plain.match(*(torch.from_numpy(g.astype(np.float32)) / 255 for g in grey))
    assert len(start) > 20
    for i, layout in enumerate(({"prefix": "matcher."}, {"prefix": ""}, {"prefix": "", "wrapped": False})):
        path = write_tiny_loftr(tmp_path / f"{i}.ckpt", **layout)
        found = load_matcher("loftr", path).match(*pictures)
        np.testing.assert_allclose(found[0], start, atol=1e-4)
        np.testing.assert_allclose(found[1] / 480, end / 480, atol=1e-4)


def test_loftr_sees_the_grey_pictures_bilinear_at_480(tmp_path):
    matcher = LoFTRMatcher(write_tiny_loftr(tmp_path / "loftr.ckpt"), device="cpu")
    seen = []
    matcher._model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pictures = np.random.default_rng(1).random((2, 256, 256, 4)).astype(np.float32)
    matcher.match(*pictures)
    for name, picture in zip(("image0", "image1"), pictures, strict=True):
        levels = torch.from_numpy((picture[..., :3] * 255).round()) @ torch.tensor([0.299, 0.587, 0.114])
        wanted = torch.nn.functional.interpolate(levels[None, None], (480, 480), mode="bilinear", align_corners=False)
        assert seen[0][name].shape == (1, 1, 480, 480)
        assert (seen[0][name] * 255 - wanted).abs().max() < 1.6, "whole levels, before and after"


def test_loftr_tries_again_in_single_what_half_precision_does_not_match(tmp_path, monkeypatch):
    """As on a GPU, where numbers beyond 65504 are lost: the same matches come out in the end."""
    path = write_tiny_loftr(tmp_path / "loftr.ckpt")
    expected = LoFTRMatcher(path, device="cpu").match(*shifted_pair())
    matcher = LoFTRMatcher(path, device="cpu")
    own, tried = matcher._model.forward, []

    def forward(pair):
        found = own(pair)
        tried.append(1)
        return {name: value[:0] for name, value in found.items()} if len(tried) == 1 else found

    monkeypatch.setattr(matcher._model, "forward", forward)
    matcher.device = GPU("cpu")
    with warnings.catch_warnings(action="ignore"):  # there is no such device
        found = matcher.match(*shifted_pair())
    assert len(tried) == 2
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_loftr_has_the_published_sizes(tmp_path):
    """The 11.6 million numbers of `loftr_indoor_ds_new.ckpt`, here in half precision, and the corrected positions."""
    from kornia.feature.loftr.loftr import LoFTR

    path = tmp_path / "indoor_ds_new.ckpt"
    state = {name: tensor.bfloat16().zero_() for name, tensor in LoFTR(pretrained=None).state_dict().items()}
    assert 11.5e6 < sum(tensor.numel() for tensor in state.values()) < 11.7e6
    torch.save({"state_dict": {f"matcher.{name}": tensor for name, tensor in state.items()}}, path)
    network = LoFTRMatcher(path)._model
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network.config["coarse"]["layer_names"] == ["self", "cross"] * 4 and network.config["coarse"]["temp_bug_fix"]
    assert network.config["fine"]["layer_names"] == ["self", "cross"]


def test_loftr_is_found_by_the_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"LoFTR.*fetch"):
        load_matcher("loftr")
    weights.use("loftr", write_tiny_loftr(tmp_path / "loftr_indoor_ds_new.ckpt"))
    try:
        assert load_matcher("loftr").name == "loftr"
    finally:
        weights.set_paths({})


def test_loftr_says_what_is_wrong_with_its_weights(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.ckpt"):
        LoFTRMatcher(tmp_path / "none.ckpt")
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(WeightsError, match="damaged"):
        LoFTRMatcher(damaged)
    torch.save({"state_dict": {"layer": torch.zeros(2)}}, tmp_path / "another.ckpt")
    with pytest.raises(WeightsError, match=r"it lacks 'backbone\.layer1"):
        LoFTRMatcher(tmp_path / "another.ckpt")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("fine_preprocess.merge_feat.bias"), r"missing: fine_preprocess\.merge_feat\.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "left over: extra"),
        (lambda s: s.update({"backbone.bn1.bias": torch.zeros(9)}), r"backbone\.bn1\.bias \(9,\), not \(8,\)"),
    ],
    ids=["missing", "left over", "shape"],
)
def test_every_tensor_of_loftr_is_used_or_named(tmp_path, change, text):
    state = tiny_loftr().state_dict()
    change(state)
    torch.save({"state_dict": state}, tmp_path / "loftr.ckpt")
    with pytest.raises(WeightsError, match=text):
        LoFTRMatcher(tmp_path / "loftr.ckpt")

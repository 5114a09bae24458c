import cv2
import numpy as np
import pytest
import torch

from engine.elevation import DenseFlowMatcher, LoFTRMatcher, Matcher, SiftMatcher
from engine.errors import WeightsError

SIZE = 160


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


def test_loftr_reads_a_checkpoint_and_matches(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "indoor_ds_new.ckpt"
    state = {f"matcher.{k}": v for k, v in LoFTRMatcher._network().state_dict().items()}
    torch.save({"state_dict": state}, path)
    start, end = LoFTRMatcher(path).match(*shifted_pair())
    assert start.shape == end.shape and start.shape[1] == 2


def test_loftr_says_what_is_wrong_with_its_weights(tmp_path):
    with pytest.raises(WeightsError, match="No LoFTR weights at"):
        LoFTRMatcher(tmp_path / "none.ckpt")
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(WeightsError, match="damaged"):
        LoFTRMatcher(damaged)
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="state_dict"):
        LoFTRMatcher(tmp_path / "other.ckpt")
    torch.save({"state_dict": {"layer": torch.zeros(2)}}, tmp_path / "another.ckpt")
    with pytest.raises(WeightsError, match="another model"):
        LoFTRMatcher(tmp_path / "another.ckpt")

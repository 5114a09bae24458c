import torch

from engine.views.denoising import denoised


def box(n: int = 24) -> torch.Tensor:
    """A box in the middle of a grid: 2 inside, -2 outside."""
    values = torch.full((n, n, n), -2.0)
    values[6:18, 8:16, 5:19] = 2.0
    return values


def test_a_box_keeps_its_faces():
    solid = denoised(box(), torch.tensor(1.0)) > 0
    wrong = (solid != (box() > 0)).sum()
    assert wrong < 0.03 * (box() > 0).sum()  # what the corners lose
    assert solid[6, 12, 12] and not solid[5, 12, 12]


def test_ripples_and_specks_go():
    rippled = box()
    depth = torch.arange(24)
    rippled[18, 8:16, 5:19] += 2.5 * ((depth[5:19] // 3) % 2)  # every third layer sticks out by a cell, half-heartedly
    rippled[2, 2, 2] = 2.0
    before, after = rippled > 0, denoised(rippled, torch.tensor(1.0)) > 0
    assert before[18].any() and before[2, 2, 2]
    assert not after[18].any() and not after[2, 2, 2]


def test_what_has_no_weight_stays_as_it_is():
    values = torch.randn(12, 12, 12, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(12, 12, 12)
    weight[:6] = 0
    out = denoised(values, weight)
    assert torch.allclose(out[:6], values[:6], atol=1e-4)
    assert out[7:].std() < 0.5 * values[7:].std()

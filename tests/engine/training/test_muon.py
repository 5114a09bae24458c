import torch

from engine.training.muon import Muon, orthogonalised


def test_singular_values_come_near_to_one():
    for shape in ((3, 24, 60), (3, 60, 24)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.4 and values.max() < 1.4


def test_it_steps_as_torchs_own_does():
    torch.manual_seed(0)
    start, gradients = torch.randn(32, 48), [torch.randn(32, 48) for _ in range(3)]
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    one = Muon([ours], 1e-2, weight_decay=0.1)
    other = torch.optim.Muon([theirs], 1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    moved, expected = (ours - start).flatten(), (theirs - start).flatten()
    assert torch.nn.functional.cosine_similarity(moved, expected, 0) > 0.999
    assert (moved - expected).norm() < 0.03 * expected.norm()

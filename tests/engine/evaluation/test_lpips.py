"""LPIPS with random weights in the published layout; torchvision's own AlexNet is the judge."""

import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from engine.core.errors import InputError, WeightsError
from engine.evaluation.lpips import Lpips, find_lpips

NAMES = {"0": "slice1.0", "3": "slice2.3", "6": "slice3.6", "8": "slice4.8", "10": "slice5.10"}
CHANNELS = (64, 192, 384, 256, 256)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return alexnet(weights=None).features.eval()


@pytest.fixture(scope="module")
def weights_file(network, tmp_path_factory):
    """As `torch.save(lpips.LPIPS(net="alex").state_dict(), path)` writes it."""
    state = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    for index, name in NAMES.items():
        for part in ("weight", "bias"):
            state[f"net.{name}.{part}"] = network.state_dict()[f"{index}.{part}"]
    for i, channels in enumerate(CHANNELS):
        head = torch.rand(1, channels, 1, 1, generator=torch.Generator().manual_seed(i))
        state[f"lin{i}.model.1.weight"] = state[f"lins.{i}.model.1.weight"] = head
    path = tmp_path_factory.mktemp("lpips") / "lpips-alex.pth"
    torch.save(state, path)
    return path


def test_it_is_the_weighted_distance_of_alexnets_features(network, weights_file):
    a, b = np.random.default_rng(0).random((2, 2, 70, 70, 3)).astype(np.float32)
    found = Lpips(weights_file, device="cpu").distance(a, b)
    state = torch.load(weights_file)
    total = 0.0
    x = torch.from_numpy(np.stack([a, b])).permute(0, 1, 4, 2, 3).reshape(4, 3, 70, 70) * 2 - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    with torch.no_grad():
        level = 0
        for i, layer in enumerate(network):
            x = layer(x)
            if i in (1, 4, 7, 9, 11):
                f = torch.nn.functional.normalize(x, dim=1)
                weight = state[f"lin{level}.model.1.weight"][0]
                total += float(((f[:2] - f[2:]) ** 2 * weight).sum(1).mean())
                level += 1
    assert found == pytest.approx(total, rel=1e-4)
    assert Lpips(weights_file, device="cpu").distance(a, a) == pytest.approx(0, abs=1e-6)


def test_weights_are_found_in_a_folder_or_asked_for(weights_file, monkeypatch):
    with pytest.raises(WeightsError, match=r"LPIPS are not on this machine.*lpips-alex\.pth"):
        find_lpips()
    monkeypatch.setenv("ORIEL_WEIGHTS", str(weights_file.parent))
    assert find_lpips() == weights_file


def test_what_cannot_be_used(weights_file, tmp_path):
    torch.save({"net.slice1.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="LPIPS with AlexNet"):
        Lpips(tmp_path / "other.pth")
    with pytest.raises(InputError, match="one by one; it got 1 and 2"):
        Lpips(weights_file).distance(np.zeros((1, 64, 64, 3)), np.zeros((2, 64, 64, 3)))

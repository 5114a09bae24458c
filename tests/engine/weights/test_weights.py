"""The registry of weights: where they are found, and how damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine import weights
from engine.core.errors import WeightsError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path))
    weights.save(tmp_path / "toy.safetensors", {"a": torch.arange(6.0).reshape(2, 3)}, {"model": "toy", "name": "Toy"})
    return tmp_path


def test_saved_weights_come_back_with_their_card(folder):
    found = weights.find("toy")
    assert found.card["name"] == "Toy"
    assert not found.built_in
    assert torch.equal(found.load("toy")["a"], torch.arange(6.0).reshape(2, 3))
    assert "toy" in [w.name for w in weights.available()]
    assert not list(folder.glob(".*")), "temporary files are left"


def test_a_path_works_in_place_of_a_name(folder, monkeypatch):
    monkeypatch.delenv("ORIEL_WEIGHTS")
    assert weights.find(folder / "toy.safetensors").load("toy")["a"].shape == (2, 3)


def test_the_named_folder_comes_before_the_added_and_the_built_in_ones(folder, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    monkeypatch.setattr(weights, "_added", [])
    weights.add_folder(other)
    assert weights.folders() == [folder, other, weights.BUILT_IN_FOLDER]


def test_missing_weights_are_named_with_the_places_to_put_them(folder):
    with pytest.raises(WeightsError, match=r"'castle'.*castle\.safetensors"):
        weights.find("castle")
    with pytest.raises(WeightsError, match="no weights at"):
        weights.find(folder / "nothing.safetensors")


def test_weights_of_another_model_are_refused(folder):
    with pytest.raises(WeightsError, match="'toy', but 'surface'"):
        weights.find("toy").load("surface")


def test_damage_is_told_plainly(folder):
    path = folder / "toy.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole[:4], b"", b"not weights at all", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="damaged"):
            weights.find("toy").load()


def test_a_damaged_card_is_told_plainly(folder):
    (folder / "toy.json").write_text("{")
    with pytest.raises(WeightsError, match="card"):
        weights.find("toy")


def test_built_in_weights_are_whole():
    found = [w for w in weights.available() if w.built_in]
    assert {"views", "surface"} <= {w.name for w in found}
    for entry in found:
        entry.verify()
        assert entry.card, f"{entry.name} has no card"

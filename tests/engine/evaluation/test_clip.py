"""CLIP similarity with a tiny model in open_clip's layout."""

import json

import numpy as np
import pytest
import torch

from engine import weights
from engine.core.errors import InputError, WeightsError
from engine.evaluation.clip import ClipSimilarity
from tests.tiny_models import TINY_CLIP, write_tiny_clip


def pictures(count=3, seed=0, shape=(48, 48, 3)) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape)).astype(np.float32)


def test_similarity_is_the_mean_cosine_of_the_embeddings(tmp_path):
    clip = ClipSimilarity(write_tiny_clip(tmp_path / "clip"))
    a, b = pictures(seed=1), pictures(seed=2)
    f, g = clip.embed(a), clip.embed(b)
    assert f.shape == (3, TINY_CLIP["embed_dim"]) and np.allclose(np.linalg.norm(f, axis=1), 1, atol=1e-5)
    cosines = [float(f[i] @ g[i]) for i in range(3)]
    assert clip.similarity(a, b) == pytest.approx(np.mean(cosines), abs=1e-5)
    assert clip.similarity(a, a) == pytest.approx(1, abs=1e-5) and clip.similarity(a, b) < 0.999


def test_it_is_open_clips_own_encoder(tmp_path):
    import open_clip
    from PIL import Image

    folder = write_tiny_clip(tmp_path / "clip")
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    picture = (pictures(1)[0] * 255).astype(np.uint8)
    with torch.inference_mode():
        theirs = model.eval().encode_image(prepare(Image.fromarray(picture))[None], normalize=True)
    np.testing.assert_allclose(ClipSimilarity(folder).embed([picture]), theirs, atol=1e-5)


def test_bytes_floats_and_alpha_are_the_same_picture(tmp_path):
    clip = ClipSimilarity(write_tiny_clip(tmp_path / "clip"))
    rgb = (pictures(1, shape=(60, 40, 3)) * 255).astype(np.uint8)
    rgba = np.concatenate([rgb / 255.0, np.zeros((1, 60, 40, 1))], axis=3).astype(np.float32)
    assert clip.similarity(rgb, rgba) == pytest.approx(1, abs=1e-5)


def test_sets_that_cannot_be_compared(tmp_path):
    clip = ClipSimilarity(write_tiny_clip(tmp_path / "clip"))
    for a, b in ((pictures(2), pictures(3)), ([], [])):
        with pytest.raises(InputError, match="one by one"):
            clip.similarity(a, b)
    with pytest.raises(InputError, match="3 or 4"):
        clip.embed([np.zeros((8, 8), np.uint8)])


def test_weights_are_found_by_the_registry_or_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"CLIP.*fetch"):
        ClipSimilarity()
    weights.use("clip-vit-b-32", write_tiny_clip(tmp_path / "clip") / "open_clip_model.safetensors")
    try:
        assert ClipSimilarity().embed(pictures(1)).shape == (1, TINY_CLIP["embed_dim"])
    finally:
        weights.set_paths({})


def test_weights_that_are_not_right(tmp_path):
    folder = write_tiny_clip(tmp_path / "clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 12
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"visual\.proj \(16, 8\), not \(16, 12\)"):
        ClipSimilarity(folder)
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        ClipSimilarity(folder)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="holds no open_clip"):
        ClipSimilarity(folder)
    with pytest.raises(WeightsError, match=r"none\.bin"):
        ClipSimilarity(tmp_path / "none.bin")

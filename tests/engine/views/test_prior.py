import json

import numpy as np
import pytest
import torch

from engine import cameras, weights
from engine.core.errors import InputError, WeightsError
from engine.views.builtin import BuiltInGenerator
from engine.views.prior import PriorConfig, ShapePrior, shifted
from engine.views.raster import render_mesh
from engine.views.spatial import SpatialNetwork
from engine.views.train_prior import PriorOptions, PriorProblem, train, unpacked
from tests.engine.views.test_spatial import TINY

PRIOR = PriorConfig(cells=32, side=8, known=64, width=64, layers=1)


@pytest.fixture
def tiny_views(monkeypatch):
    """A view generator as small as one can be, in place of the one that is shipped."""
    torch.manual_seed(0)
    generator = BuiltInGenerator(SpatialNetwork(TINY))
    monkeypatch.setattr(BuiltInGenerator, "load", classmethod(lambda cls, path=None: generator))


def options(out, **given):
    fixed = {"batch": 4, "workers": 1, "slots": 16, "validation": 2, "device": "cpu", "network": PRIOR}
    return PriorOptions(out, **fixed | given)


def test_pillars_are_spread_where_they_were_gathered():
    prior = ShapePrior(PRIOR)
    occupancy = torch.rand(2, 32, 32, 32)
    chosen = torch.stack([torch.randperm(64), torch.randperm(64)])
    assert torch.equal(prior.spread(prior.gather(occupancy, chosen), chosen), occupancy)
    some = prior.spread(prior.gather(occupancy, chosen[:, :10]), chosen[:, :10])
    kept = some > -1
    assert kept.float().mean() == pytest.approx(10 / 64, abs=0.01) and torch.equal(some[kept], occupancy[kept])


def test_packed_occupancies_come_back():
    inside = np.random.default_rng(0).random((2, 16, 16, 16)) < 0.3
    assert torch.equal(unpacked(torch.from_numpy(np.packbits(inside, axis=-1))), torch.from_numpy(inside).float())


def test_times_go_from_noise_to_shape_and_linger_at_the_noise():
    times = shifted(torch.linspace(0, 1, 11))
    assert times[0] == 0 and times[-1] == 1 and (times.diff() > 0).all() and times[5] < 0.25


def test_a_seed_is_a_shape_and_guidance_is_towards_the_picture():
    torch.manual_seed(1)
    prior = ShapePrior(PRIOR).eval()
    torch.nn.init.normal_(prior.from_picture.weight)
    known, chosen = torch.randn(1, 20, 64), torch.randperm(64)[None, :20]

    def draw(seed, **given):
        return prior.sample(known, chosen, steps=3, generator=torch.Generator().manual_seed(seed), **given)

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    assert draw(1).shape == (1, 32, 32, 32)
    plain, guided = (prior.gather(draw(1, guidance=g), chosen) for g in (1.0, 3.0))
    towards = prior.from_picture(known)
    assert (guided * towards).mean() > (plain * towards).mean()


def test_it_learns_shapes_of_a_picture_and_goes_on_after_a_stop(tiny_views, tmp_path, monkeypatch):
    train(options(tmp_path, steps=2))
    path = train(options(tmp_path, steps=3, resume=True))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 3 and {"procedural_iou", "procedural_mean_iou", "procedural_same"} <= set(rows[-1])
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["model"] == "oriel-shape-prior" and card["network"]["side"] == 8
    with pytest.raises(InputError, match="--stage is 2"):
        train(options(tmp_path / "other", steps=1, stage=2))
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path))
    views = weights.find("views").path
    assert ShapePrior.load(views).config == PRIOR
    with pytest.raises(WeightsError, match="was not trained for"):
        ShapePrior.load(path)


def test_the_loss_falls_on_the_same_pictures(tiny_views, tmp_path):
    problem = PriorProblem(options(tmp_path, steps=1))
    problem.open({})
    try:
        batch = problem.batch(4)
        optimizers = problem.optimizers(3e-3)
        torch.manual_seed(0)
        losses = []
        for _ in range(30):
            loss = problem.losses(batch)["occupancy"]
            problem.network.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = 3e-3 * group["share"]
                optimizer.step()
            losses.append(loss.item())
    finally:
        problem.close()
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_another_seed_is_another_solid_within_the_same_silhouette():
    torch.manual_seed(2)
    prior = ShapePrior(PRIOR)
    torch.nn.init.normal_(prior.to_cells.weight, std=0.5)
    generator = BuiltInGenerator(SpatialNetwork(TINY), prior)
    picture = np.zeros((64, 64, 4), np.float32)
    picture[16:48, 20:44] = 1
    one, again, other = (generator.mesh(picture, 20.0, resolution=64, seed=seed) for seed in (0, 0, 5))
    assert np.array_equal(one.vertices, again.vertices)
    assert one.vertices.shape != other.vertices.shape or not np.allclose(one.vertices, other.vertices)
    for mesh in (one, other):
        (seen,), _ = render_mesh(mesh, cameras.camera_to_world([20.0], [0.0]), cameras.intrinsics(64), 64)
        inside, mask = seen[..., 3] > 0.5, picture[..., 3] > 0.5
        assert (inside & mask).sum() / (inside | mask).sum() > 0.85


def test_a_solid_that_was_drawn_is_not_drawn_again(monkeypatch):
    torch.manual_seed(2)
    network = SpatialNetwork(TINY)
    picture = np.zeros((64, 64, 4), np.float32)
    picture[16:48, 20:44] = 1
    asked = []
    for name in ("encode", "decode"):
        usual = getattr(network, name)
        monkeypatch.setattr(network, name, lambda *a, name=name, usual=usual, **k: asked.append(name) or usual(*a, **k))
    generator = BuiltInGenerator(network)
    guess = generator.estimate_elevation(picture)
    first = generator.mesh(picture, guess, resolution=64)
    assert asked.count("encode") == 1
    fine, asked[:] = generator.mesh(picture, guess, resolution=66), []
    assert generator.mesh(picture, guess, resolution=66) is fine and asked == []
    generator.mesh(picture, guess, resolution=64)
    coarse = generator.mesh(picture, 40.0, resolution=64)
    assert "encode" not in asked, "the picture was read once"
    for mesh, elevation in ((first, guess), (coarse, 40.0)):
        alone = BuiltInGenerator(network).mesh(picture, elevation, resolution=64)
        assert np.array_equal(mesh.vertices, alone.vertices) and np.array_equal(mesh.colors, alone.colors)
    assert len(generator.mesh(np.roll(picture, 5, 1), guess, resolution=64).faces)

import json

import numpy as np
import pytest
import torch
import torch._dynamo  # before any test opens OpenGL: two LLVMs in the wrong order crash the process

from engine.core.errors import InputError, OutputError
from engine.surface import load_surface
from engine.surface.cases import CaseMaker, degrade
from engine.surface.train import SurfaceOptions, SurfaceProblem, train_surface


def test_cases_are_kept_on_disk_and_labelled_rightly(tmp_path):
    case = CaseMaker(tmp_path, size=48).make(3)
    again = CaseMaker(tmp_path, size=48).make(3)
    assert len(list(tmp_path.glob("truth_3.npz"))) == 1
    assert np.array_equal(case.views, again.views)
    assert np.array_equal(case.distance, again.distance)
    assert case.views.shape == (32, 48, 48, 4)
    # Deep inside every silhouette holds the point; far outside some do not.
    from engine.surface.hull import SilhouetteField

    hull = SilhouetteField.build(case.views[..., 3] / 255.0, case.c2ws, case.k)
    distance = hull.largest(torch.from_numpy(case.points), 1)[:, 0].numpy()
    assert (distance[case.distance < -0.04] < 0).all()
    assert (distance[case.distance > 0.1] > 0).mean() > 0.4


def test_faults_change_masks_but_keep_the_object():
    case = CaseMaker(size=64).make(1)
    clean = degrade(case.views, 0.0, np.random.default_rng(0))
    assert np.abs(clean - case.views / 255.0).max() < 0.02
    faulty = degrade(case.views, 1.0, np.random.default_rng(0))
    assert faulty.min() >= 0
    assert faulty.max() <= 1
    a, b = case.views[..., 3] > 127, faulty[..., 3] > 0.5
    assert 0.6 < (a & b).sum() / (a | b).sum() < 0.99


def test_a_resumed_run_takes_the_same_steps(tmp_path, monkeypatch):
    small = {"points": 256, "rays": 4, "objects": 1, "device": "cpu"}
    train_surface(SurfaceOptions(tmp_path / "whole", steps=3, **small))
    (tmp_path / "halves").mkdir()
    (tmp_path / "whole" / "cases").rename(tmp_path / "halves" / "cases")
    losses, steps = SurfaceProblem.losses, []

    def stopped_at_the_second(problem, batch):
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return losses(problem, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SurfaceProblem, "losses", stopped_at_the_second)
        train_surface(SurfaceOptions(tmp_path / "halves", steps=3, **small))
    path = train_surface(SurfaceOptions(tmp_path / "halves", steps=3, resume=True, **small))
    whole, halves = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("whole", "halves"))
    for name, value in whole["network"].items():
        assert torch.equal(value, halves["network"][name]), name
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["steps"] == 3
    assert card["figures"]["truth_hull_iou"] > 0
    assert load_surface(path).config.name == "built-in"
    with pytest.raises(InputError, match="of other sizes"):
        train_surface(SurfaceOptions(tmp_path / "halves", steps=4, resume=True, config="compact", **small))


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"a run")
    with pytest.raises(InputError, match=r"holds a run already.*--resume.*--out"):
        train_surface(SurfaceOptions(tmp_path, steps=1))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("last.pt", b"a run")]


def test_a_device_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no cuda device"):
        train_surface(SurfaceOptions(tmp_path, steps=1, device="cuda"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.* cannot be written"):
        train_surface(SurfaceOptions(tmp_path / "file" / "out", steps=1))

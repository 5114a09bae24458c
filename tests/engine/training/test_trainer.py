import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from engine.core.errors import InputError
from engine.training.trainer import LAST, LOG, TrainerOptions, train


class Line:
    """A straight line is fitted; the data count how often they were asked for."""

    def __init__(self, width: int = 1) -> None:
        self.network = nn.Linear(width, 1)
        self.asked, self.closed, self.rates, self.stop_at = 0, False, [], math.inf
        self.worse = False

    def optimizers(self, rate):
        self.optimizer = torch.optim.SGD([{"params": self.network.parameters(), "share": 0.5}], rate)
        return [self.optimizer]

    def open(self, state):
        self.asked = state.get("asked", 0)

    def state(self):
        return {"asked": self.asked}

    def batch(self, count):
        if self.asked >= self.stop_at:
            raise KeyboardInterrupt
        self.asked += 1
        return {"x": torch.randn(count, self.network.in_features)}

    def losses(self, batch):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return {"fit": (self.network(batch["x"]) - 3 * batch["x"][:, :1]).square().mean()}

    def validate(self, network):
        return {"slope": float(network.weight[0, 0])}

    def score(self, figures):
        return -1.0 if self.worse else -abs(figures["slope"] - 3)

    def export(self, network, path, run):
        path.write_text(json.dumps({"slope": float(network.weight[0, 0]), "samples": run["samples"]}))

    def close(self):
        self.closed = True


def options(out, **changes):
    return TrainerOptions(out, batch=8, rate=0.4, device="cpu", **changes)


def rows(out):
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    problem = Line()
    problem.stop_at = 30
    with pytest.raises(KeyboardInterrupt):
        train(problem, options(tmp_path, steps=400), "line.json")
    assert problem.closed
    again = Line()
    path = train(again, options(tmp_path, steps=400, resume=True), "line.json")
    assert rows(tmp_path)[0] == {"event": "resumed", "step": 30, "seconds": pytest.approx(0, abs=60), "samples": 240,
                                 "best": -math.inf}  # fmt: skip
    assert again.asked == 400
    assert json.loads(path.read_text())["slope"] == pytest.approx(3, abs=0.05)
    assert json.loads(path.read_text())["samples"] == 3200


def test_the_rate_warms_up_stays_and_falls(tmp_path):
    problem = Line()
    train(problem, options(tmp_path, steps=1000, decay=0.2), "line.json")
    assert problem.rates[0] == pytest.approx(0.4 * 0.5 / 100)
    assert set(problem.rates[100:800]) == {0.2}
    assert problem.rates[900] == pytest.approx(0.1)
    assert problem.rates[-1] < 0.002


def test_worse_weights_do_not_take_the_place_of_better_ones(tmp_path):
    path = train(Line(), options(tmp_path, steps=100), "line.json")
    best = path.read_text()
    problem = Line()
    problem.worse = True
    assert train(problem, options(tmp_path, steps=120, resume=True), "line.json") == path
    assert path.read_text() == best
    assert rows(tmp_path)[-1]["step"] == 120


def test_a_folder_with_a_run_and_a_checkpoint_of_another_network_are_named(tmp_path):
    train(Line(), options(tmp_path, steps=1), "line.json")
    with pytest.raises(InputError, match=r"holds a run already.*--resume.*--out"):
        train(Line(), options(tmp_path, steps=2), "line.json")
    with pytest.raises(InputError, match=r"other sizes.*--start"):
        train(Line(width=2), options(tmp_path, steps=2, resume=True), "line.json")
    saved = torch.load(tmp_path / LAST, weights_only=True)
    del saved["state"]["samples"]
    torch.save(saved, tmp_path / LAST)
    with pytest.raises(InputError, match=r"earlier version.*--start"):
        train(Line(), options(tmp_path, steps=2, resume=True), "line.json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"minutes": 0.0}, "--minutes is 0.0, but has to be more than 0."),
        ({"steps": -1}, "--steps is -1, but has to be 0 or more."),
        ({"steps": 1, "batch": 0}, "--batch is 0, but has to be at least 1."),
        ({"steps": 1, "decay": 2.0}, "--decay is 2.0, but has to be 0 to 1."),
    ],
)
def test_options_that_do_not_work_are_named(tmp_path, changes, said):
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        train(Line(), replace(options(tmp_path / "out"), **changes), "line.json")
    assert not (tmp_path / "out").exists()

"""What may do each part: listed at once, and taken by what is on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine import choices, weights

ROOT = Path(__file__).resolve().parents[2]


def test_listing_starts_no_heavy_library():
    code = (
        "import sys, engine.choices as c; [c.preferred(p) for p in ('generator', 'matcher', 'surface')]\n"
        "sys.exit(str({'torch', 'numpy', 'cv2', 'huggingface_hub'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "\n", done.stderr


@pytest.mark.parametrize("part", ["generator", "matcher", "surface", "foreground"])
def test_all_weights_that_a_choice_names_are_registered(part):
    for name, label in choices.names(part).items():
        assert label
        assert set(choices.models(part, name)) <= set(weights.MODELS)
        choices.check(part, name)


def test_published_weights_are_preferred_where_they_are_and_can_do_it(published_models, monkeypatch):
    parts = ("generator", "matcher", "surface")
    assert [choices.preferred(part) for part in parts] == ["built-in", "dense-flow", "built-in"]
    monkeypatch.setenv("ORIEL_WEIGHTS", str(published_models))
    assert [choices.preferred(part) for part in parts] == ["zero123-xl", "loftr", "one-2-3-45"]
    assert choices.preferred("generator", "field") == "built-in"
    assert choices.preferred("generator", "views") == "zero123-xl"

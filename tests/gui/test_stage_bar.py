"""The bar of a run's stages."""

from engine.core.progress import Progress
from widgets.reconstruct.stage_bar import StageBar


def test_a_stage_that_says_nothing_fills_by_the_time_that_it_takes(qtbot):
    bar = StageBar()
    qtbot.addWidget(bar)
    bar.set_expected({"views": 0.4})
    bar.begin("views")
    qtbot.waitUntil(lambda: 0.3 < bar.strip.share("views") < 0.9)
    qtbot.waitUntil(lambda: bar.strip.share("views") == 0.9)
    bar.advance(Progress("views", 95, 100))
    assert bar.strip.share("views") == 0.95 and bar.strip.share("surface") == 0
    bar.finish()
    assert bar.strip.share("views") == 1

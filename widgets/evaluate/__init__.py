"""The Evaluate tab."""

from widgets.evaluate.contents import TRUTH, Choice, Found, Opened, Pace, Sample
from widgets.evaluate.tab import EvaluateTab

__all__ = ["TRUTH", "Choice", "EvaluateTab", "Found", "Opened", "Pace", "Sample"]

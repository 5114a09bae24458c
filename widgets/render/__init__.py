"""The Render tab: models, the run over them while it goes on, and their pictures, depth and cameras."""

from widgets.render.details import ModelDetails
from widgets.render.settings_form import FarmChoice
from widgets.render.tab import Opened, RenderTab

__all__ = ["FarmChoice", "ModelDetails", "Opened", "RenderTab"]

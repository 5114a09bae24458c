"""The Fine-tune tab: rendered models, the training of the network on them while it goes on, and what comes of it."""

from widgets.finetune.looks import Look
from widgets.finetune.tab import FineTuneTab, Holding, Opened

__all__ = ["FineTuneTab", "Holding", "Look", "Opened"]

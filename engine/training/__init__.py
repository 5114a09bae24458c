"""Fine-tuning of the surface network on rendered models.

`engine.training.finetune.FineTune` does it; what stands here starts no torch.
"""

from engine.training.options import LOSSES, PRECISIONS, PREDICTED_FROM, FineTuneOptions
from engine.training.records import read_log, read_run

__all__ = ["LOSSES", "PRECISIONS", "PREDICTED_FROM", "FineTuneOptions", "read_log", "read_run"]

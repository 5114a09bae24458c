"""Fine-tuning of the surface network on rendered models.

`engine.training.finetune.FineTune` does it; what stands here starts no torch.
"""

from engine.training.options import FineTuneOptions
from engine.training.records import RunState, read_log, read_run

__all__ = ["FineTuneOptions", "RunState", "read_log", "read_run"]

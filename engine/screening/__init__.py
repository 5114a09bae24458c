"""Screening: going through thousands of models and deciding which are kept, alone or as a team.

`ScreeningSession.open(list, folder, annotator)` is one annotator at work.
"""

from engine.screening.cache import PreviewCache
from engine.screening.items import MODEL_SUFFIXES, Item, ItemList, read_items
from engine.screening.preview import Preview, PreviewFacts, PreviewLimits, PreviewPart, load_preview
from engine.screening.records import TEXTS, Entry, History
from engine.screening.session import (
    CRITERION,
    Judged,
    ScreeningProgress,
    ScreeningSession,
    chosen_items,
    default_annotator,
    default_folder,
)
from engine.screening.stats import IDLE, Throughput, measure, to_csv
from engine.screening.team import (
    Agreement,
    Conflict,
    Merged,
    cohen_kappa,
    conflict_table,
    merge,
    split,
    write_merged,
)

__all__ = [
    "CRITERION",
    "IDLE",
    "MODEL_SUFFIXES",
    "TEXTS",
    "Agreement",
    "Conflict",
    "Entry",
    "History",
    "Item",
    "ItemList",
    "Judged",
    "Merged",
    "Preview",
    "PreviewCache",
    "PreviewFacts",
    "PreviewLimits",
    "PreviewPart",
    "ScreeningProgress",
    "ScreeningSession",
    "Throughput",
    "chosen_items",
    "cohen_kappa",
    "conflict_table",
    "default_annotator",
    "default_folder",
    "load_preview",
    "measure",
    "merge",
    "read_items",
    "split",
    "to_csv",
    "write_merged",
]

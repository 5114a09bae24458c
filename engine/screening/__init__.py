"""Screening: going through thousands of models and deciding which are kept, alone or as a team.

`ScreeningSession.open(list, folder, annotator)` is one annotator at work.
"""

from engine.screening.cache import PreviewCache
from engine.screening.gold import GOLD_FILE, GoldSet, WithGold, agreement, cohen_kappa, read_gold
from engine.screening.hints import Hints, alike, hint_table
from engine.screening.items import MODEL_SUFFIXES, Item, ItemList, read_items
from engine.screening.preview import Preview, PreviewFacts, PreviewLimits, PreviewPart, load_preview
from engine.screening.records import TEXTS, Entry, History
from engine.screening.review import STATES, Opinion, Wanted, decision_table, opinions_in, rows_of
from engine.screening.session import (
    CRITERION,
    REASONS,
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
    conflict_table,
    merge,
    split,
    write_merged,
)
from engine.screening.thumbnails import Thumbnail, Thumbnails

__all__ = [
    "CRITERION",
    "GOLD_FILE",
    "IDLE",
    "MODEL_SUFFIXES",
    "REASONS",
    "STATES",
    "TEXTS",
    "Agreement",
    "Conflict",
    "Entry",
    "GoldSet",
    "Hints",
    "History",
    "Item",
    "ItemList",
    "Judged",
    "Merged",
    "Opinion",
    "Preview",
    "PreviewCache",
    "PreviewFacts",
    "PreviewLimits",
    "PreviewPart",
    "ScreeningProgress",
    "ScreeningSession",
    "Throughput",
    "Thumbnail",
    "Thumbnails",
    "Wanted",
    "WithGold",
    "agreement",
    "alike",
    "chosen_items",
    "cohen_kappa",
    "conflict_table",
    "decision_table",
    "default_annotator",
    "default_folder",
    "hint_table",
    "load_preview",
    "measure",
    "merge",
    "opinions_in",
    "read_gold",
    "read_items",
    "rows_of",
    "split",
    "to_csv",
    "write_merged",
]

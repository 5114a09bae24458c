"""What a search on Sketchfab may be narrowed to and sorted by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.core.options import Option

CATEGORIES = (
    "animals-pets", "architecture", "art-abstract", "cars-vehicles", "characters-creatures",
    "cultural-heritage-history", "electronics-gadgets", "fashion-style", "food-drink", "furniture-home", "music",
    "nature-plants", "news-politics", "people", "places-travel", "science-technology", "sports-fitness",
    "weapons-military",
)  # fmt: skip
"""The categories of Sketchfab, as its addresses and its API name them."""
ORDERS = {"relevance": "", "likes": "likeCount", "views": "viewCount", "newest": "publishedAt"}
"""What a search may be sorted by, the most of it first, and how the API calls it."""


@dataclass(frozen=True)
class Filters:
    """What a search is narrowed to."""

    licences: tuple[str, ...] = ()
    """Short names; empty takes all."""
    min_faces: int | None = None
    """Faces at least."""
    max_faces: int | None = None
    """Faces at most."""
    max_bytes: Annotated[int | None, Option(flags=("--max-mb",), metavar="MB", scale=1e6)] = None
    """Size of the GLB at most, or of the archive if the API states no GLB."""
    categories: Annotated[tuple[str, ...], Option(flags=("--category",), choices=CATEGORIES, repeat=True)] = ()
    """Category of Sketchfab; several may be given, and a model of any is taken."""
    tags: Annotated[tuple[str, ...], Option(flags=("--tag",), metavar="TAG", repeat=True)] = ()
    """Tag that the model has; several may be given."""
    sort: Annotated[str, Option(choices=tuple(ORDERS))] = "relevance"
    """What comes first."""
    days: Annotated[int | None, Option(1, metavar="DAYS")] = None
    """Published within so many days."""
    created_with_ai: bool = False
    """Whether models are found that are marked as made with generative AI."""

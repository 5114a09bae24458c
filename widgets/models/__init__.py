"""The Models page: which weights there are, where they lie, and how to get those that are missing."""

from widgets.models.page import ModelEntry, ModelsPage, bytes_text

__all__ = ["ModelEntry", "ModelsPage", "bytes_text"]

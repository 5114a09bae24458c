"""Lists and addresses that are dropped or pasted."""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import QMimeData

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".list", ".urls")
_ADDRESS = re.compile(r"https?://|\bsketchfab\.com/|\b[0-9a-f]{32}\b", re.IGNORECASE)


def list_in(mime: QMimeData) -> Path | None:
    """The file of a list in a drop."""
    for url in mime.urls() if mime.hasUrls() else []:
        path = Path(url.toLocalFile()) if url.isLocalFile() else None
        if path is not None and path.suffix.lower() in LIST_SUFFIXES:
            return path
    return None


def folder_in(mime: QMimeData) -> Path | None:
    """The folder in a drop."""
    paths = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()] if mime.hasUrls() else []
    return next((path for path in paths if path.is_dir()), None)


def addresses_in(mime: QMimeData) -> str:
    """Lines with addresses of pages in a drop or on the clipboard; empty if there are none."""
    web = [url.toString() for url in mime.urls() if url.scheme() in ("http", "https")] if mime.hasUrls() else []
    text = "\n".join(web) or (mime.text() if mime.hasText() else "")
    return text if _ADDRESS.search(text) else ""

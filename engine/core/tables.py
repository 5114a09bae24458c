"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any


def csv_bytes(rows: Iterable[Iterable[Any]], *, newline: str = "\r\n") -> bytes:
    """CSV that spreadsheets open, the first row its head: UTF-8 with its mark, `?` for what is no text."""
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerows(rows)
    return text.getvalue().encode("utf-8-sig", "replace")


def plain(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def cell(value: Any) -> str:
    """A value as `plain` text in one line."""
    return plain(" ".join(str(value).split()))

"""The table of pages: what it says of each."""

from __future__ import annotations

import re
from typing import Any

from engine.crawling import PageState
from widgets.crawl.words import STATES
from widgets.kit.theme import theme
from widgets.kit.words import amount
from widgets.state_table import RowPainting, StateTable, StateView


class PageTable(StateTable):
    """Pages in the order of their list."""

    columns = ("State", "Model", "Size", "Speed", "Tries", "Message")

    def key(self, row: PageState) -> str:
        return row.page.key

    def words(self, row: PageState) -> str:
        return f"{row.title} {row.page.url} {row.message}"

    def hint(self, row: PageState, column: int) -> str:
        if column == 1:
            return f"{row.title}\n{row.page.url}" if row.title else row.page.url
        return self.cell(row, column)

    def cell(self, row: PageState, column: int) -> str:
        if column == 0:
            return STATES[row.state][0]
        if column == 1:
            return name(row)
        if column == 2:
            if row.state == "working" and row.received:
                return f"{amount(row.received)} of {amount(row.size)}" if row.size else amount(row.received)
            return amount(row.size) if row.size else ""
        if column == 3:
            return f"{amount(row.rate)}/s" if row.state == "working" and row.rate else ""
        if column == 4:
            return str(tries) if (tries := attempts(row)) else ""
        return row.message[:1].upper() + row.message[1:]


def name(page: PageState) -> str:
    """What a page is called: its title once it is known, else the end of its address without the model's id."""
    return page.title or re.sub("-[0-9a-f]{32}$", "", page.page.url.rpartition("/")[2]) or page.page.url


def attempts(page: PageState) -> int:
    """Attempts at a page so far, that in work included; 0 if there was none, or an earlier crawl made them."""
    if page.state == "working" or (page.state == "done" and not page.earlier):
        return page.attempts + 1
    return max(page.attempts, 1) if page.state == "failed" else page.attempts


class PageView(StateView):
    """The table on the screen."""

    def __init__(self, table: PageTable) -> None:
        super().__init__(table, _Painting(), ("Skipped", 1, "88.8 MB of 88.8 MB", "88.8 MB/s", "Tries", 1))
        self.setAccessibleName("Pages of the crawl")

    def resizeEvent(self, event: Any) -> None:
        self.show_columns("Size", "Tries", on=self.width() > theme.px(470))  # else a model has no room for its name
        super().resizeEvent(event)


class _Painting(RowPainting):
    def __init__(self) -> None:
        super().__init__({state: color for state, (_, color) in STATES.items()}, bar=2, right=(4,))

    def share(self, row: PageState) -> float | None:
        return row.received / row.size if row.state == "working" and row.size else None

    def color(self, row: PageState, column: int) -> str:
        if column == 5:
            return {"failed": "error", "skipped": "warning"}.get(row.state, "muted")
        return "text" if column == 0 or (column == 1 and row.state != "waiting") else "muted"

"""How tabs put things into words: amounts, times, numbers of things."""

from __future__ import annotations


def amount(size: float) -> str:
    """Bytes as people write them: `512 kB`, `3.4 MB`, `15 GB`."""
    for unit, worth in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}" if size < 10 * worth else f"{size / worth:.0f} {unit}"
    return f"{size / 1e3:.0f} kB" if size >= 1000 else f"{size:.0f} B"


def duration(seconds: float) -> str:
    """A time left as people say it: `40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    minutes = int(seconds / 60 + 0.5)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 page`, `10,000 pages`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"

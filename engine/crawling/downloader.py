"""What a crawl asks of a downloader, whether it drives a browser or talks to an API."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.core.errors import OrielError
from engine.core.progress import CancelToken, ProgressCallback
from engine.crawling.lists import Page
from engine.crawling.rights import Rights


@dataclass(frozen=True)
class Download:
    """A file that has arrived, still to be checked."""

    path: Path
    """A GLB, a glTF with its files beside it, or a zip archive of either; what it is, its content tells."""
    rights: Rights = field(default_factory=Rights)


class PageFailed(OrielError):
    """A page whose model cannot be collected, now or later.

    `kind`, where the reason is of one that something can be done about: `gone`, `denied` to this account, a `model`
    that is of no use, a `page` that is not as it was known, a `login` or the like that the site asked for.
    """

    def __init__(self, text: str, *, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class PageTrouble(PageFailed):
    """A page that may go well at another attempt.

    `refused` says that the site turned the request away (429, 5xx): all pages wait then, for `retry_after` seconds if
    the site said how long, and it costs the page an attempt only if others are answered. `busy` says that this is
    meant for whoever asks, not for the page (429, 503): it costs none either where there is no other page to ask.
    """

    def __init__(
        self,
        text: str,
        *,
        kind: str = "",
        refused: bool = False,
        busy: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text, kind=kind)
        self.refused = refused or busy
        self.busy = busy
        self.retry_after = retry_after


class AccessDenied(PageFailed):
    """A page that the site does not let this user have (403). Many in a row end the crawl."""

    def __init__(self, text: str) -> None:
        super().__init__(text, kind="denied")


class CrawlStopped(OrielError):
    """What no further page can go well with: a token that is not accepted, a full disk, repeated refusal."""


class Downloader(Protocol):
    """Brings models. One object serves all workers of a crawl, each on a thread of its own."""

    name: str
    """What the user knows it as."""

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        """Bring the model of a page into `folder`, which is this page's own and keeps what an earlier attempt, or an
        earlier crawl, has left there; a download may go on from that.

        Reports `Progress("page", bytes, bytes in all or 0, message)` on the calling thread, with the `Rights` as its
        preview once they are known; stage `attention` asks for the user (a captcha) while it waits. Ends within a
        second of `cancel` with `Cancelled`. Looks at the rights before it downloads. Raises `Skipped`, `PageTrouble`,
        `AccessDenied`, `PageFailed`, or `CrawlStopped`.
        """
        ...

    def close(self) -> None:
        """Let go of what is open. Called once, after the last page."""
        ...

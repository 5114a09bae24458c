"""Where models are brought from: Sketchfab's API, or a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.errors import InputError, OrielError

if TYPE_CHECKING:
    from engine.crawling.downloader import Downloader
    from engine.crawling.rights import Policy

SOURCES = ("auto", "api", "browser")
"""`auto` takes Sketchfab's API where its token is set, and else the browser."""


def make_downloader(
    source: str, profiles: Path, *, show_browser: bool = False, policy: Policy | None = None, texture: int = 0
) -> Downloader:
    """What brings the models from one of `SOURCES`; a browser keeps its profiles, and so a login, in `profiles`.

    `policy` is that of the crawl, so that nothing is fetched only to be left out; `texture` is as in its `Options`.

    InputError or OrielError says what is missing: the API's token, a browser, a screen.
    """
    if source not in SOURCES:
        raise InputError(f"{source} is no source of models: choose from {', '.join(SOURCES)}.")
    from engine.crawling.sketchfab import TOKEN_VARIABLE, SketchfabApi, SketchfabDownloader, find_token

    token = find_token() if source != "browser" else None
    if token is not None:
        return SketchfabDownloader(SketchfabApi(token), policy, texture=texture)
    if source == "api":
        raise InputError(
            "Downloads through Sketchfab's API need your token (on its site: Settings, Password & API). Set "
            f"{TOKEN_VARIABLE}, or put it into the system's keyring with `oriel crawl token`; or use the browser "
            "(`--source browser`)."
        )
    from engine.crawling.browser import BrowserDownloader, find_account, find_browser

    try:
        paths = find_browser()
    except OrielError as error:
        if source == "browser":
            raise
        raise OrielError(f"{error} Or use Sketchfab's API: set {TOKEN_VARIABLE} to your token.") from None
    return BrowserDownloader(
        profiles, account=find_account(), policy=policy, texture=texture, headless=not show_browser, paths=paths
    )

"""Where models are brought from: Sketchfab's API, or a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from engine.core.errors import InputError, OrielError
from engine.core.options import Option, check

if TYPE_CHECKING:
    from engine.crawling.downloader import Downloader
    from engine.crawling.runner import Options

SOURCES = ("auto", "api", "browser")


@dataclass(frozen=True)
class Source:
    """What brings the models."""

    source: Annotated[str, Option(choices=SOURCES)] = "auto"
    """Where models come from: auto takes the API where a token is set, else the browser."""
    show_browser: bool = False
    """Show the browser's window, as to log in by hand."""


def make_downloader(source: Source, options: Options, profiles: Path) -> Downloader:
    """What brings the models of a crawl with these options; a browser keeps its profiles, and so a login, in
    `profiles`.

    InputError or OrielError says what is missing: the API's token, a browser, a screen.
    """
    check(source)
    from engine.crawling.sketchfab import TOKEN_VARIABLE, SketchfabApi, SketchfabDownloader, find_token

    token = find_token() if source.source != "browser" else None
    if token is not None:
        return SketchfabDownloader(SketchfabApi(token), options.policy, texture=options.texture)
    if source.source == "api":
        raise InputError(
            "Downloads through Sketchfab's API need your token (on its site: Settings, Password & API).",
            advice=f"Put it into the system's keyring{{}}, or set {TOKEN_VARIABLE}; or use the browser{{}}.",
            options=[" with `oriel crawl token`", " (`--source browser`)"],
        )
    from engine.crawling.browser import BrowserDownloader, find_account, find_browser

    try:
        paths = find_browser()
    except OrielError as error:
        if source.source == "browser":
            raise
        raise OrielError(f"{error} Or use Sketchfab's API: set {TOKEN_VARIABLE} to your token.") from None
    return BrowserDownloader(
        profiles,
        account=find_account(),
        policy=options.policy,
        texture=options.texture,
        headless=not source.show_browser,
        paths=paths,
    )

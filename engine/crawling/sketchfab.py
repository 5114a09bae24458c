"""Sketchfab's Data API: search, what a model's page says, and its download with the user's token.

`ORIEL_SKETCHFAB_TOKEN` holds the token, or else the system's keyring does. It goes to the API and nowhere else, and
is never printed, logged or written to a file. `ORIEL_SKETCHFAB_API` names another address of the API.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from engine.core.errors import InputError
from engine.core.options import Option
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.crawling.credentials import find_secret, keep_secret
from engine.crawling.downloader import AccessDenied, CrawlStopped, Download, PageFailed, PageTrouble
from engine.crawling.http import Expired, Http, download
from engine.crawling.lists import Page
from engine.crawling.rights import Policy, Rights, Skipped, licence_key, tags_of

TOKEN_VARIABLE, API_VARIABLE = "ORIEL_SKETCHFAB_TOKEN", "ORIEL_SKETCHFAB_API"
_SECRET = "sketchfab-token"
_FORMATS = ("glb", "gltf")
"""What is taken of what the API offers, the best first; glTF comes as an archive."""
_PER_PAGE = 24
_T = TypeVar("_T")


# -- the token -----------------------------------------------------------------------------------------------


class Token:
    """A secret that does not show itself when it is printed."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Token(...)"


def find_token() -> Token | None:
    """The user's token, from the environment or the system's keyring; None if there is none."""
    secret = os.environ.get(TOKEN_VARIABLE, "").strip() or find_secret(_SECRET).strip()
    return Token(secret) if secret else None


def keep_token(secret: str | None) -> None:
    """Put the token into the system's keyring, or take it out (None)."""
    keep_secret(_SECRET, None if secret is None else secret.strip(), TOKEN_VARIABLE)


# -- the API -------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class Found:
    """A model that a search found."""

    page: Page
    rights: Rights
    faces: int | None
    bytes: int | None


class SketchfabApi:
    """The parts of the API that a crawl needs."""

    def __init__(self, token: Token | None = None, *, base: str | None = None, http: Http | None = None) -> None:
        self.base = (base or os.environ.get(API_VARIABLE) or "https://api.sketchfab.com/v3").rstrip("/")
        parts = urlsplit(self.base)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise InputError(f"{API_VARIABLE} is {self.base}: an address that begins with https:// is needed.")
        self.http = http or Http()
        self._token = token

    def model(self, uid: str, cancel: CancelToken) -> dict[str, Any]:
        """What the API says of a model."""
        return self._ask(f"/models/{uid}", cancel)

    def downloads(self, uid: str, cancel: CancelToken) -> dict[str, Any]:
        """Short-lived addresses of a model's files by format."""
        if self._token is None:
            raise CrawlStopped(
                "Downloads from Sketchfab need your API token (on its site: Settings, Password & API). Set "
                f"{TOKEN_VARIABLE}, or put it into the keyring with `oriel crawl token`."
            )
        return self._ask(f"/models/{uid}/download", cancel)

    def search(
        self,
        query: str,
        filters: Filters,
        most: int,
        cancel: CancelToken,
        progress: ProgressCallback = ignore_progress,
        *,
        pause: float = 1.0,
        backoff: float = 5.0,
    ) -> Iterator[Found]:
        """Downloadable models that a query finds, at most `most`, each once; NoAI ones are left out.

        The API filters by one licence at a time and does not keep to sizes, so licences are asked one after the
        other, and everything is looked at again here.
        """
        policy = Policy(filters.licences)
        seen: set[str] = set()
        for licence in filters.licences or ("",):
            asked: dict[str, Any] = {"type": "models", "q": query, "downloadable": "true", "count": _PER_PAGE}
            given = {
                "license": licence or None,
                "min_face_count": filters.min_faces,
                "max_face_count": filters.max_faces,
                "archives_max_size": filters.max_bytes,
            }
            asked |= {key: value for key, value in given.items() if value is not None}
            while len(seen) < most:
                found = _patiently(partial(self._ask, "/search", cancel, dict(asked)), cancel, backoff)
                results = found.get("results") or []
                for entry in results if isinstance(results, list) else []:
                    model = _found(entry, licence)
                    if model is None or model.page.key in seen or not _fits(model, filters, policy):
                        continue
                    seen.add(model.page.key)
                    yield model
                    progress(Progress("search", len(seen), most, model.rights.title))
                    if len(seen) >= most:
                        return
                # Only what the next address asks for is taken from it: the token goes to no other place.
                following = dict(parse_qsl(urlsplit(found.get("next") or "").query))
                if not results or not following or following == {k: str(v) for k, v in asked.items()}:
                    break
                asked = following
                cancel.sleep(pause)

    def _ask(self, path: str, cancel: CancelToken, params: dict[str, Any] | None = None) -> dict[str, Any]:
        authorization = f"Token {self._token.secret}" if self._token else ""
        status, found = self.http.json(self.base + path, cancel, params=params, authorization=authorization)
        if status < 400:
            return found
        if status == 401:
            raise CrawlStopped(
                f"Sketchfab does not accept the API token (401). Check {TOKEN_VARIABLE} or the keyring's entry; a new "
                "token is made on its site under Settings, Password & API."
            )
        if status == 403:
            raise AccessDenied("Sketchfab does not let this account have the model (403).")
        if status in (404, 410):
            raise PageFailed(f"The model does not exist, or no longer ({status}).", kind="gone")
        raise PageFailed(f"Sketchfab does not understand the request ({status}).")


def _patiently(ask: Callable[[], _T], cancel: CancelToken, backoff: float) -> _T:
    """Ask again when the site asks to wait, or is in trouble, a few times."""
    for attempt in range(6):
        try:
            return ask()
        except PageTrouble as trouble:
            if attempt == 5:
                raise CrawlStopped(f"{trouble} Search again later.") from trouble
            wait = backoff * 2**attempt if trouble.retry_after is None else trouble.retry_after
            if wait > 3600:
                raise CrawlStopped(f"{trouble} Search again then.") from trouble
            cancel.sleep(wait)
    raise AssertionError


def _found(entry: Any, licence: str) -> Found | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("uid"), str):
        return None
    rights = read_model(entry, entry.get("viewerUrl") or "", licence)
    archives = entry.get("archives") or {}
    sizes = [archives[kind].get("size") for kind in _FORMATS if isinstance(archives.get(kind), dict)]
    size = next((value for value in sizes if isinstance(value, int)), None)
    url = rights.source_url or f"https://sketchfab.com/3d-models/{entry['uid']}"
    return Found(Page(url, entry["uid"].lower()), rights, entry.get("faceCount"), size)


def _fits(model: Found, filters: Filters, policy: Policy) -> bool:
    try:
        policy.check(model.rights)
    except Skipped:
        return False
    faces, size = model.faces, model.bytes
    return (
        (faces is None or filters.min_faces is None or faces >= filters.min_faces)
        and (faces is None or filters.max_faces is None or faces <= filters.max_faces)
        and (size is None or filters.max_bytes is None or size <= filters.max_bytes)
    )


def read_model(found: dict[str, Any], url: str, licence: str = "") -> Rights:
    """The rights that the API states; `licence` is what a search asked for, where the answer does not say."""
    user, stated = found.get("user") or {}, found.get("license") or {}
    if isinstance(stated, str):
        stated = {"label": stated}
    named = stated.get("slug") or stated.get("label") or stated.get("fullName") or licence
    return Rights(
        title=str(found.get("name") or ""),
        author=str(user.get("displayName") or user.get("username") or ""),
        author_url=str(user.get("profileUrl") or ""),
        licence=licence_key(str(named)) if named else "",
        licence_url=str(stated.get("url") or ""),
        tags=tags_of(found.get("tags") or ()),
        source_url=str(found.get("viewerUrl") or url),
        published=str(found.get("publishedAt") or found.get("createdAt") or ""),
        downloadable=bool(found.get("isDownloadable", False)),
        extra={key: found[key] for key in ("faceCount", "vertexCount", "animationCount") if key in found},
    )


# -- the downloader ------------------------------------------------------------------------------------------


class SketchfabDownloader:
    """A `Downloader` on the API."""

    name = "Sketchfab's API"

    def __init__(self, api: SketchfabApi, policy: Policy | None = None) -> None:
        self._api = api
        self._policy = policy or Policy()

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        """See `Downloader.fetch`."""
        if not re.fullmatch("[0-9a-f]{32}", page.key):
            raise PageFailed(
                "The address is not that of a model on Sketchfab, as it holds no model's id.", kind="model"
            )
        progress(Progress("page", 0, 0, "asking"))
        rights = read_model(self._api.model(page.key, cancel), page.url)
        self._policy.check(rights)
        progress(Progress("page", 0, 0, "asking", rights))
        for _ in range(3):
            offered = self._api.downloads(page.key, cancel)
            kind, url = _choose(offered)
            try:
                return Download(download(self._api.http, url, folder / f"model.{kind}", progress, cancel), rights)
            except Expired:
                continue  # the addresses live for minutes; there are new ones
        raise PageTrouble("The addresses that Sketchfab gives for the file are not valid.")

    def close(self) -> None:
        """See `Downloader.close`."""
        self._api.http.close()


def _choose(offered: dict[str, Any]) -> tuple[str, str]:
    for kind in _FORMATS:
        entry = offered.get(kind)
        if isinstance(entry, dict) and isinstance(entry.get("url"), str):
            parts = urlsplit(entry["url"])
            if parts.scheme in ("http", "https"):
                return kind, entry["url"]
    raise PageFailed(
        f"The model is offered neither as GLB nor as glTF, only as {', '.join(offered) or 'nothing'}.", kind="model"
    )

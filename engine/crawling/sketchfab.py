"""Sketchfab's Data API: search, what a model's page says, and its download with the user's token.

`ORIEL_SKETCHFAB_TOKEN` holds the token, or else the system's keyring does. It goes to the API and nowhere else, and
is never printed, logged or written to a file. `ORIEL_SKETCHFAB_API` names another address of the API.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from engine.core.errors import InputError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.crawling.credentials import find_secret, keep_secret
from engine.crawling.downloader import AccessDenied, CrawlStopped, Download, PageFailed, PageTrouble
from engine.crawling.filters import ORDERS, Filters
from engine.crawling.http import Expired, Http, download
from engine.crawling.lists import Page
from engine.crawling.rights import LICENCES, Policy, Rights, Skipped, forbids_ai, licence_key, meta_of, tags_of

log = logging.getLogger("engine.crawling")
TOKEN_VARIABLE, API_VARIABLE = "ORIEL_SKETCHFAB_TOKEN", "ORIEL_SKETCHFAB_API"
_SECRET = "sketchfab-token"
_FORMATS = ("glb", "gltf")
"""What is taken of what the API offers, the best first; glTF comes as an archive."""
_PER_PAGE = 24
_SCHEMES = ("Token", "Bearer")
"""How the API is told of the token of a user's settings, and of one of OAuth, which nothing else tells apart."""
_HEAD_BYTES = 1 << 20
"""Of a page: its `<head>` is at its beginning."""
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
class Found:
    """A model that a search found."""

    page: Page
    rights: Rights
    faces: int | None
    bytes: int | None
    rank: tuple[float, str] = (0.0, "")
    """What it is sorted by: a number or a date."""


class SketchfabApi:
    """The parts of the API that a crawl needs."""

    def __init__(self, token: Token | None = None, *, base: str | None = None, http: Http | None = None) -> None:
        self.base = (base or os.environ.get(API_VARIABLE) or "https://api.sketchfab.com/v3").rstrip("/")
        parts = urlsplit(self.base)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise InputError(f"{API_VARIABLE} is {self.base}: an address that begins with https:// is needed.")
        self.http = http or Http()
        self._token = token
        self._scheme = _SCHEMES[0]

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

    def forbids_ai(self, url: str, cancel: CancelToken) -> bool | None:
        """Whether a model's page itself forbids the use for AI, with or without a tag; None if it cannot be seen."""
        with self.http.get(url, cancel) as answer:
            answer.raise_for_refusal()
            if answer.status >= 400:
                return None
            content = bytearray()
            for chunk in answer.chunks():
                content += chunk
                if len(content) > _HEAD_BYTES or b"</head>" in content:
                    break
        meta = meta_of(content.decode("utf-8", "replace"))
        return forbids_ai(meta | {"x-robots-tag": answer.headers.get("X-Robots-Tag", "")})

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

        The API filters by one licence at a time and does not keep to sizes, so licences are asked one by one, and
        everything is looked at again here.
        """
        policy = Policy(filters.licences, filters.created_with_ai)
        parts = [self._results(query, filters, one, cancel, pause, backoff) for one in filters.licences or ("",)]
        # Each part is sorted; by relevance there is nothing to tell which of two of them comes first.
        every = merge(*parts, key=lambda model: model.rank, reverse=True) if ORDERS[filters.sort] else chain(*parts)
        seen: set[str] = set()
        for model in every:
            if model.page.key in seen or not _fits(model, filters, policy):
                continue
            seen.add(model.page.key)
            yield model
            progress(Progress("search", len(seen), most, model.rights.title))
            if len(seen) >= most:
                return

    def _results(
        self, query: str, filters: Filters, licence: str, cancel: CancelToken, pause: float, backoff: float
    ) -> Iterator[Found]:
        """All that the API answers, page by page; `licence` is empty for any."""
        order = ORDERS[filters.sort]
        given: dict[str, Any] = {
            "type": "models",
            "q": query,
            "downloadable": "true",
            "count": _PER_PAGE,
            "license": licence or None,
            "min_face_count": filters.min_faces,
            "max_face_count": filters.max_faces,
            "archives_max_size": filters.max_bytes,
            "categories": filters.categories,
            "tags": filters.tags,
            "sort_by": f"-{order}" if order else None,
            "date": filters.days,
        }
        many = {key: value if isinstance(value, list | tuple) else [value] for key, value in given.items()}
        asked = {key: [str(one) for one in value] for key, value in many.items() if value and value[0] is not None}
        while True:
            found = _patiently(partial(self._ask, "/search", cancel, asked), cancel, backoff)
            results = found.get("results") or []
            for entry in results if isinstance(results, list) else []:
                model = _found(entry, licence, order)
                if model is not None:
                    yield model
            # Only what the next address asks for is taken from it: the token goes to no other place.
            following = parse_qs(urlsplit(found.get("next") or "").query, keep_blank_values=True)
            if not results or not following or following == asked:
                return
            asked = following
            cancel.sleep(pause)

    def _ask(self, path: str, cancel: CancelToken, params: dict[str, Any] | None = None) -> dict[str, Any]:
        for scheme in sorted(_SCHEMES, key=lambda one: one != self._scheme):
            authorization = f"{scheme} {self._token.secret}" if self._token else ""
            status, found = self.http.json(self.base + path, cancel, params=params, authorization=authorization)
            if status != 401 or not self._token:
                self._scheme = scheme
                break
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
        said = " ".join(str(found.get("detail") or found.get("message") or "").split())[:200].rstrip(".")
        said = f"{status}: {said}" if said else str(status)
        if status == 400 and path.endswith("/download"):
            raise Skipped("not-downloadable", f"Sketchfab does not give this model out for download ({said})")
        raise PageFailed(f"Sketchfab does not understand the request ({said}).")


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


def _found(entry: Any, licence: str, order: str) -> Found | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("uid"), str):
        return None
    rights = read_model(entry, entry.get("viewerUrl") or "", licence)
    archives = entry.get("archives") or {}
    sizes = [one.get("size") for kind in _FORMATS for one in _flavours(archives.get(kind))]
    size = next((value for value in sizes if isinstance(value, int)), None)
    url = rights.source_url or f"https://sketchfab.com/3d-models/{entry['uid']}"
    told = entry.get(order)
    rank = (float(told), "") if isinstance(told, int | float) else (0.0, str(told or ""))
    return Found(Page(url, entry["uid"].lower()), rights, entry.get("faceCount"), size, rank)


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
    user = found.get("user") or {}
    named, address = _licence_of(found) or (licence, "")
    return Rights(
        title=str(found.get("name") or ""),
        author=str(user.get("displayName") or user.get("username") or ""),
        author_url=str(user.get("profileUrl") or ""),
        licence=licence_key(named) if named else "",
        licence_url=address,
        tags=tags_of(found.get("tags") or ()),
        source_url=str(found.get("viewerUrl") or url),
        published=str(found.get("publishedAt") or found.get("createdAt") or ""),
        downloadable=bool(found.get("isDownloadable", False)),
        extra={key: found[key] for key in ("faceCount", "vertexCount", "animationCount") if key in found},
    )


def _licence_of(found: dict[str, Any]) -> tuple[str, str] | None:
    """Name and address of the licence that an answer states, as `license` or `licenses`; of several the strictest, and
    one that is not known is stricter than all that are."""
    stated = found.get("license") or found.get("licenses") or ()
    named = []
    for one in stated if isinstance(stated, list | tuple) else [stated]:
        said = one if isinstance(one, dict) else {"label": one}
        name = said.get("slug") or said.get("label") or said.get("fullName")
        if name:
            named.append((str(name), str(said.get("url") or "")))
    order = {key: at for at, key in enumerate(LICENCES)}
    return max(named, key=lambda one: order.get(licence_key(one[0]), len(order)), default=None)


# -- the downloader ------------------------------------------------------------------------------------------


def best_texture(sizes: Sequence[int], most: int) -> int:
    """The place of the size to take, of those of the textures in pixels, 0 where one is not known: the largest that is
    no larger than `most` (0 for any), else the smallest; the first where none is known."""
    known = [(size, -at) for at, size in enumerate(sizes) if size]
    fitting = [one for one in known if not most or one[0] <= most]
    return -max(fitting or [min(known, default=(0, 0))])[1]


class SketchfabDownloader:
    """A `Downloader` on the API."""

    name = "Sketchfab's API"

    def __init__(self, api: SketchfabApi, policy: Policy | None = None, *, texture: int = 0) -> None:
        """`texture` is the most pixels that a side of a texture may have where there are several sizes; 0 for any."""
        self._api = api
        self._policy = policy or Policy()
        self._texture = texture

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        """See `Downloader.fetch`."""
        if not re.fullmatch("[0-9a-f]{32}", page.key):
            raise PageFailed(
                "The address is not that of a model on Sketchfab, as it holds no model's id.", kind="model"
            )
        progress(Progress("page", 0, 0, "asking"))
        rights = read_model(self._api.model(page.key, cancel), page.url)
        self._policy.check(rights)
        forbidden = self._api.forbids_ai(rights.source_url, cancel)
        if forbidden is None:
            log.warning("%s cannot be seen: whether it forbids the use for AI is known by the API alone", page.url)
        elif forbidden and not rights.no_ai:
            rights = replace(rights, tags=(*rights.tags, "NoAI"))
        rights = replace(rights, extra=rights.extra | {"page_seen": forbidden is not None})
        self._policy.check(rights)
        progress(Progress("page", 0, 0, "asking", rights))
        for _ in range(3):
            offered = self._api.downloads(page.key, cancel)
            kind, url = _choose(offered, self._texture)
            try:
                return Download(download(self._api.http, url, folder / f"model.{kind}", progress, cancel), rights)
            except Expired:
                continue  # the addresses live for minutes; there are new ones
        raise PageTrouble("The addresses that Sketchfab gives for the file are not valid.")

    def close(self) -> None:
        """See `Downloader.close`."""
        self._api.http.close()


def _flavours(entry: Any) -> list[dict[str, Any]]:
    """What there is of one format: one file, or several that differ in the size of their textures."""
    return [one for one in (entry if isinstance(entry, list) else [entry]) if isinstance(one, dict)]


def _choose(offered: dict[str, Any], texture: int) -> tuple[str, str]:
    for kind in _FORMATS:
        found = [one for one in _flavours(offered.get(kind)) if isinstance(one.get("url"), str)]
        found = [one for one in found if urlsplit(one["url"]).scheme in ("http", "https")]
        if found:
            sizes = [one.get("textureMaxResolution") for one in found]
            return kind, found[best_texture([size if isinstance(size, int) else 0 for size in sizes], texture)]["url"]
    raise PageFailed(
        f"The model is offered neither as GLB nor as glTF, only as {', '.join(offered) or 'nothing'}.", kind="model"
    )

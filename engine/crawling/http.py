"""Requests that can be cancelled at any time, and downloads that go on from where they broke.

A request reads on a thread of its own and hands what it gets over: so one that waits for a silent server can be left
at once, and how long nothing has come is known exactly. The reading thread touches no file, and ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.crawling.downloader import PageFailed, PageTrouble

AGENT = "Oriel/0.1 (collects models one by one; honours Retry-After)"
_CHUNK = 1 << 16
_AHEAD = 16
"""Chunks that a request may read ahead of who takes them."""
_IDLE = 3
"""Attempts in a row that may bring a download no further."""


@dataclass(frozen=True)
class Limits:
    """Seconds: after the first three a request is given up."""

    connect: float = 15.0
    stall: float = 60.0
    """Without a byte."""
    total: float = 3600.0
    """For one file."""
    rest: float = 0.2
    """After a download broke off without having come further; more each time."""


class Expired(Exception):
    """Raised for an address of a file that is valid no more."""


class Answer:
    """What a server answers, read while it comes."""

    def __init__(self, pull: _Pull, limits: Limits, cancel: CancelToken) -> None:
        self._pull, self._limits, self._cancel = pull, limits, cancel
        self.status, self.headers = self._take(limits.connect + limits.stall)

    def raise_for_refusal(self) -> None:
        """PageTrouble if it asks to come again later."""
        raise_for_refusal(self.status, retry_after(self.headers.get("Retry-After")), self._pull.host)

    def chunks(self) -> Iterator[bytes]:
        """The content; PageTrouble when it stalls or the connection breaks."""
        while (chunk := self._take(self._limits.stall)) is not None:
            yield chunk

    def _take(self, limit: float) -> Any:
        end = time.monotonic() + limit
        while True:
            self._cancel.check()
            with contextlib.suppress(queue.Empty):
                found = self._pull.arrived.get(timeout=0.1)
                if isinstance(found, BaseException):
                    raise found
                return found
            if time.monotonic() > end:
                raise PageTrouble(f"{self._pull.host} sent nothing for {limit:g} s.")


class _Pull(threading.Thread):
    """One request; puts into `arrived` the status with the headers, chunks, and None or an exception."""

    def __init__(self, session: requests.Session, url: str, limits: Limits, **options: Any) -> None:
        super().__init__(name="request", daemon=True)
        self.host = urlsplit(url).netloc
        self.arrived: queue.Queue[Any] = queue.Queue(_AHEAD)
        self.left = threading.Event()
        self._session, self._url, self._limits, self._options = session, url, limits, options

    def run(self) -> None:
        reached = False
        try:
            with self._session.get(
                self._url, stream=True, timeout=(self._limits.connect, self._limits.stall), **self._options
            ) as response:
                reached = True
                self._put((response.status_code, response.headers))
                while not self.left.is_set() and (chunk := response.raw.read1(_CHUNK, decode_content=False)):
                    self._put(chunk)
                self._put(None)
        except Exception as error:  # whatever the libraries beneath raise
            # The text of such an error may hold the address, which is a key to the file: it is not passed on.
            kind = type(error).__name__
            if isinstance(error, requests.ReadTimeout):
                text = f"{self.host} sent nothing for {self._limits.stall:g} s."
                self._put(PageTrouble(text, refused=not reached))
            elif reached:
                self._put(PageTrouble(f"The connection to {self.host} broke ({kind})."))
            else:
                self._put(PageTrouble(f"{self.host} cannot be reached ({kind}). Check the network.", busy=True))

    def _put(self, found: Any) -> None:
        while not self.left.is_set():
            with contextlib.suppress(queue.Full):
                self.arrived.put(found, timeout=0.2)
                return


class _Header(AuthBase):
    """The authorization that is asked for and nothing else: not what a `.netrc` file holds for the host."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


class Http:
    """A user of the web that may be shared by threads."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": AGENT, "Accept-Encoding": "identity"})

    def close(self) -> None:
        """Close what connections are kept."""
        self._session.close()

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        cancel: CancelToken,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        authorization: str = "",
    ) -> Iterator[Answer]:
        """Ask for an address. A redirection to another host does not get the authorization."""
        options = {"headers": dict(headers or {}), "params": params, "auth": _Header(authorization)}
        pull = _Pull(self._session, url, self.limits, **options)
        pull.start()
        try:
            yield Answer(pull, self.limits, cancel)
        finally:
            pull.left.set()

    def json(
        self,
        url: str,
        cancel: CancelToken,
        *,
        params: Mapping[str, Any] | None = None,
        authorization: str = "",
    ) -> tuple[int, dict[str, Any]]:
        """Status and object of an API's answer; PageTrouble for 408, 429, 5xx and what is no object."""
        with self.get(url, cancel, params=params, authorization=authorization) as answer:
            answer.raise_for_refusal()
            content = bytearray()
            for chunk in answer.chunks():
                content += chunk
                if len(content) > 1 << 26:
                    raise PageTrouble(f"{urlsplit(url).netloc} sends more than an answer may hold.")
        try:
            found = json.loads(bytes(content) or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            if answer.status >= 400:
                return answer.status, {}
            raise PageTrouble(f"{urlsplit(url).netloc} answers with something else than data: a web page, perhaps.")
        return answer.status, found


def raise_for_refusal(status: int, wait: float | None, host: str) -> None:
    """PageTrouble for an answer that asks to come again later, in `wait` seconds if it says so."""
    said = "" if wait is None else f" It asks to wait {wait:.0f} s."
    if status == 429:
        raise PageTrouble(f"{host} has had too many requests (429).{said}", busy=True, retry_after=wait)
    if status >= 500:
        text = f"{host} is in trouble ({status}).{said}"
        raise PageTrouble(text, refused=True, busy=status == 503, retry_after=wait)
    if status == 408:
        raise PageTrouble(f"{host} waited too long for the request (408).")


def retry_after(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, which is a number or a date; None if it says nothing useful."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def download(http: Http, url: str, partial: Path, progress: ProgressCallback, cancel: CancelToken) -> Path:
    """Bring the file of an address to `partial`; goes on from what is there if the server says it is the same file.

    Raises `Expired` for an address that is valid no more, and PageTrouble when the download gets no further; what
    has come stays.
    """
    transfer = _Transfer(http, url, partial, progress, cancel)
    best, idle = -1, 0
    while True:
        try:
            transfer.attempt()
            return partial
        except PageTrouble as trouble:
            held = partial.stat().st_size if partial.exists() else 0
            idle = 0 if held > best else idle + 1
            best = max(best, held)
            # A refusal is for the whole crawl to wait for, not for one download.
            if trouble.refused or idle >= _IDLE or transfer.late():
                raise
            cancel.sleep(http.limits.rest * idle)


class _Transfer:
    """The attempts at one file. Beside the partial file stands what the server called it, to know it again."""

    def __init__(self, http: Http, url: str, partial: Path, progress: ProgressCallback, cancel: CancelToken) -> None:
        self._http, self._url, self._partial, self._progress, self._cancel = http, url, partial, progress, cancel
        self._mark = partial.with_name(f"{partial.name}.mark")
        self._host = urlsplit(url).netloc
        self._end = time.monotonic() + http.limits.total

    def late(self) -> bool:
        """Whether the time for the file is over."""
        return time.monotonic() > self._end

    def attempt(self) -> None:
        """Ask for what is missing, once."""
        held, mark, whole = self._held()
        if held and held == whole:
            return  # came whole, and the crawl ended before it was put away
        headers = {"Range": f"bytes={held}-", "If-Range": mark} if held else {}
        with self._http.get(self._url, self._cancel, headers=headers) as answer:
            answer.raise_for_refusal()
            if answer.status in (401, 403, 410):
                raise Expired
            if answer.status == 416:
                self._partial.unlink(missing_ok=True)
                raise PageTrouble(f"{self._host} does not know the part that is missing (416).")
            if answer.status not in (200, 206):
                kind = "gone" if answer.status == 404 else ""
                raise PageFailed(f"{self._host} does not have the file ({answer.status}).", kind=kind)
            part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
            going_on = answer.status == 206 and part is not None and int(part[1]) == held
            if answer.status == 206 and not going_on:
                self._partial.unlink(missing_ok=True)
                raise PageTrouble(f"{self._host} sent another part than was asked for.")
            length = answer.headers.get("Content-Length", "")
            start = held if going_on else 0
            total = start + int(length) if length.isdecimal() else None
            if not going_on:
                self._partial.unlink(missing_ok=True)
                self._mark.write_text(json.dumps({"validator": _validator(answer.headers), "size": total}))
            got = self._receive(answer, start, total)
        if total is not None and got < total:
            raise PageTrouble(f"The download broke off: {got} of {total} bytes came.")

    def _receive(self, answer: Answer, start: int, total: int | None) -> int:
        got = start
        self._progress(Progress("page", got, total or 0, "downloading"))
        with self._partial.open("ab") as file:
            for chunk in answer.chunks():
                file.write(chunk)
                got += len(chunk)
                self._progress(Progress("page", got, total or 0, "downloading"))
                if self.late():
                    raise PageTrouble(
                        f"The download took longer than {self._http.limits.total / 60:.0f} minutes; "
                        f"{got} bytes came, and stay for the next attempt."
                    )
        return got

    def _held(self) -> tuple[int, str, int | None]:
        """Bytes that may be gone on from, what the server called their file, and its size."""
        try:
            mark = json.loads(self._mark.read_text())
            return (self._partial.stat().st_size if mark["validator"] else 0), mark["validator"], mark["size"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, "", None


def _validator(headers: Mapping[str, str]) -> str:
    """What `If-Range` may be asked with; empty if the server gives no proof that the file is the same."""
    etag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag

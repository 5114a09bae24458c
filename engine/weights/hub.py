"""The Hugging Face hub: its cache on this machine, and downloads into it that resume and can be cancelled.

The cache's folders are those of the hub's own library, which other programs share: `models--OWNER--NAME` holds
`blobs/ETAG` (the contents), `snapshots/COMMIT/FILE` (links to them) and `refs/main` (a commit). The library finds
addresses, proves who asks and puts a finished file in its place; the transfer itself is done here, as the library's
(2.4) starts a broken download anew and can only be stopped every 10 MB.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import Cancelled, OrielError, OutputError, WeightsError
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress

_TRUE = {"1", "ON", "YES", "TRUE"}
_SPARE = 200_000_000
"""Bytes of disk to leave free beside a download."""
_ATTEMPTS = 5
"""Attempts in a row that may bring nothing before a download is given up."""
TIMEOUT = 10.0
"""Seconds without an answer after which a request has failed."""


# -- the cache -----------------------------------------------------------------------------------------------


def cache() -> Path:
    """Folder of the cache, by the variables that the hub's library honours; each call reads them anew."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home, "hub")
    return Path(os.path.expandvars(named)).expanduser()


def cached(origin: str, names: Sequence[str]) -> Path | None:
    """Folder with all of these files of the repository `origin` (`owner/name`); None if a file is missing.

    The revision that `main` names comes first, then the others, the newest first.
    """
    folder = _repository(origin)
    commits = sorted((folder / "snapshots").glob("*"), key=lambda p: p.stat().st_mtime, reverse=True)
    with contextlib.suppress(OSError):
        commits.insert(0, folder / "snapshots" / (folder / "refs" / "main").read_text().strip())
    return next((commit for commit in commits if all((commit / name).is_file() for name in names)), None)


def unfinished(origin: str, names: Sequence[str]) -> int:
    """Bytes received of these files by downloads that were cancelled or broke."""
    return sum(path.stat().st_size for name in names for path in _partials(origin, name))


def remove(origin: str, names: Sequence[str] | None = None) -> int:
    """Delete files of a repository from the cache, unfinished ones as well, or all of it; returns the bytes freed.

    A repository of which nothing is left goes altogether.
    """
    folder = _repository(origin)
    before = _size(folder)
    try:
        for name in names or ():
            for path in _partials(origin, name):
                path.unlink()
            for link in (folder / "snapshots").glob(f"*/{name}"):
                link.resolve().unlink(missing_ok=True)
                link.unlink(missing_ok=True)
        left = [*(folder / "snapshots").rglob("*"), *(folder / "blobs").glob("*.incomplete")]
        if names is None or not any(p.is_file() for p in left):
            shutil.rmtree(folder)
    except FileNotFoundError:
        pass  # another program was faster
    except OSError as error:
        raise OutputError(f"{error.filename} could not be deleted: {error.strerror}. Check its rights.") from error
    return before - _size(folder)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _repository(origin: str) -> Path:
    return cache() / f"models--{origin.replace('/', '--')}"


def _partial(origin: str, name: str, etag: str) -> Path:
    return _repository(origin) / "blobs" / f"{etag}.{name.replace('/', '--')}.incomplete"


def _partials(origin: str, name: str) -> list[Path]:
    return sorted(_partial(origin, name, "").parent.glob(_partial(origin, name, "*").name))


# -- downloads -----------------------------------------------------------------------------------------------


def offline() -> bool:
    """Whether the user has forbidden downloads by `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`)."""
    return any(os.environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def endpoint() -> str:
    """Address of the hub, or of the mirror that `HF_ENDPOINT` names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def download(
    origin: str,
    checksums: Mapping[str, str | None],
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Bring files of the repository `origin` into the cache; returns the folder that they are in.

    `checksums` are the files' names with the SHA-256 that each must have, None where any will do. The hub's own
    statement of each file's checksum is compared as well. Goes on from what an earlier call had received. Honours
    `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and the proxies' variables. Reports
    `Progress` in bytes on the calling thread. Raises `Cancelled` at once, whatever the network does; WeightsError or
    OutputError with what to do.
    """
    carry_out(Transfer(origin, checksums), progress, cancel)
    folder = cached(origin, list(checksums))
    assert folder is not None
    return folder


def carry_out(transfer: Transfer, progress: ProgressCallback | None, cancel: CancelToken | None) -> None:
    """Do a transfer, unless downloads are forbidden: see `download`."""
    if offline():
        raise WeightsError("HF_HUB_OFFLINE is set, so nothing is downloaded. Unset it, or use a copy that you have.")
    report, cancel = progress or ignore_progress, cancel or CancelToken()
    worker = threading.Thread(target=transfer.run, name="download", daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            cancel.check()
            worker.join(0.1)
            report(transfer.state())
    finally:
        transfer.stop.cancel()
        worker.join(0.3)  # usually enough; a worker that waits for the network ends once it is answered
    if transfer.error is not None:
        raise transfer.error
    report(transfer.state())


@dataclass(frozen=True)
class RemoteFile:
    """One file as its server states it."""

    name: str
    url: str
    etag: str
    """Its checksum as a rule."""
    size: int | None


class Transfer:
    """The work of one download, on a thread of its own; what it shares are `stop`, `error` and `state`."""

    def __init__(self, origin: str, checksums: Mapping[str, str | None], address: str = "") -> None:
        """`address`: of the server, where it is not the hub."""
        self.stop = CancelToken()
        self.error: Exception | None = None
        self._origin = origin
        self.checksums = checksums
        self._address = address or endpoint()
        self._variable = "" if address else ", or HF_ENDPOINT if you set it,"
        self._message = f"Asking {self._address}"
        self._done = 0
        self._total = 0
        self._rate: tuple[float, int] | None = None

    def state(self) -> Progress:
        """How far it is, in bytes; the total is 0 until known."""
        message = self._message
        if self._rate is not None:
            since, before = self._rate
            seconds = time.monotonic() - since
            if seconds > 1:
                message += f", {(self._done - before) / seconds / 1e6:.1f} MB/s"
        return Progress("weights", self._done, self._total, message)

    def run(self) -> None:
        """Download all files; leaves in `error` what went wrong."""
        try:
            files = [self.ask(name) for name in self.checksums]
            self._total = sum(file.size or 0 for file in files)
            for file in files:
                self.bring(file)
        except (OrielError, Cancelled) as error:
            self.error = error
        except Exception as error:  # whatever the libraries beneath raise
            self.error = self._explained(error)

    def ask(self, name: str) -> RemoteFile:
        """What the hub says of a file."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        self.stop.check()
        url = hf_hub_url(self._origin, name, endpoint=endpoint())
        stated = get_hf_file_metadata(url, timeout=TIMEOUT, endpoint=endpoint())
        if stated.etag is None or stated.commit_hash is None:
            raise WeightsError(
                f"{endpoint()} does not answer as the hub does. Check HF_ENDPOINT and the network's proxy, or use a "
                "copy that you have."
            )
        wanted = self.checksums[name]
        if wanted is not None and re.fullmatch("[0-9a-f]{64}", stated.etag) and stated.etag != wanted:
            raise WeightsError(
                f"{name} at {endpoint()}/{self._origin} is not the published file that Oriel knows: its checksum is "
                "another. It was not downloaded. Use a copy that you trust."
            )
        return RemoteFile(name, url, stated.etag, stated.size)

    def bring(self, file: RemoteFile) -> None:
        """Download one file and let the hub's library put it in its place."""
        from huggingface_hub import hf_hub_download

        blob = _repository(self._origin) / "blobs" / file.etag
        if not blob.exists():
            # The library's own lock of this file: two downloads into one partial file would spoil it.
            lock = cache() / ".locks" / _repository(self._origin).name / f"{file.etag}.lock"
            for folder in (blob.parent, lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            self._message = f"Waiting for another program that downloads {file.name}"
            with self.locked(lock):
                if not blob.exists():
                    partial = _partial(self._origin, file.name, file.etag)
                    self.receive(file, partial)
                    self.verify(file, partial)
                    partial.replace(blob)
                for old in _partials(self._origin, file.name):
                    old.unlink()
        else:
            self._done += file.size or 0
        hf_hub_download(self._origin, file.name, cache_dir=cache(), endpoint=endpoint())

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Hold a lock, waiting for it in steps, so that a cancelled download does not wait on."""
        from filelock import Timeout
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        with contextlib.ExitStack() as stack:
            while True:
                self.stop.check()
                with contextlib.suppress(Timeout):
                    stack.enter_context(WeakFileLock(path, timeout=0.2))
                    break
            yield

    def receive(self, file: RemoteFile, partial: Path) -> None:
        """Bring `partial` to the file's full length, going on from what it holds."""
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
        from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

        held = partial.stat().st_size if partial.exists() else 0
        if file.size is not None and held > file.size:
            partial.unlink()
            held = 0
        _ensure_room(partial, None if file.size is None else file.size - held)
        self._done += held
        self._rate = time.monotonic(), self._done
        self._message = f"Downloading {file.name}"
        idle = 0
        while file.size is None or held < file.size:
            headers = self.headers() | {"Accept-Encoding": "identity"}
            if held:
                headers["Range"] = f"bytes={held}-"
            before = held
            try:
                with (
                    get_session().stream(
                        "GET", file.url, headers=headers, timeout=TIMEOUT, follow_redirects=True
                    ) as response,
                    partial.open("ab") as out,
                ):
                    hf_raise_for_status(response)
                    if held and response.status_code != 206:
                        out.truncate(0)
                        self._done -= held
                        before = held = 0
                    for chunk in response.iter_bytes():
                        self.stop.check()
                        out.write(chunk)
                        held += len(chunk)
                        self._done += len(chunk)
                if file.size is None:
                    return
                error: Exception = WeightsError(
                    f"The connection to {self._address} ends early, at {held} of {file.size} bytes of {file.name}. "
                    "Fetch again later; it goes on from there."
                )
            except HTTPError as broken:
                if isinstance(broken, OSError):  # an answer of the hub, not a fault of the connection
                    raise
                error = broken
                held = partial.stat().st_size if partial.exists() else 0
            idle = 0 if held > before else idle + 1
            if idle >= _ATTEMPTS:
                raise error
            if idle:
                self.stop.sleep(1.0)

    def verify(self, file: RemoteFile, partial: Path) -> None:
        """WeightsError, and the file discarded, unless it has the checksum that the hub states."""
        self._message, self._rate = f"Checking {file.name}", None
        if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32}", file.etag):
            if digest(partial, len(file.etag), lambda done: self.stop.check()) == file.etag:
                return
        elif file.size is None or partial.stat().st_size == file.size:
            return
        partial.unlink()
        raise WeightsError(
            f"{file.name} arrived damaged: its checksum is not the one that {self._address} states. It was discarded; "
            "fetch it again."
        )

    def headers(self) -> dict[str, str]:
        """Of each request: who asks."""
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        return build_hf_headers()

    def _explained(self, error: Exception) -> OrielError:
        """An error of the libraries beneath in the user's words: what failed, and what to do."""
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

        instead = "or use a copy that you have"
        place = f"{self._address}/{self._origin}"
        if isinstance(error, OfflineModeIsEnabled):
            return WeightsError(f"The hub's library is set to be offline. Unset HF_HUB_OFFLINE, {instead}.")
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            if isinstance(error, GatedRepoError) or status in (401, 403):
                return WeightsError(
                    f"{place} is closed to you ({status}): its owner gives it only to whom they know. Ask for access "
                    f"on that page, log in with `hf auth login` or set HF_TOKEN, and fetch again; {instead}."
                )
            if status in (404, 410):
                return WeightsError(
                    f"{place} or a file of it does not exist there ({status}). Check HF_ENDPOINT if you set it, "
                    f"{instead}."
                )
            return WeightsError(f"{place} answers with the error {status}. Fetch again later, {instead}.")
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return OutputError(
                f"The disk of {cache()} is full. Free some space and fetch again, which goes on from there; or set "
                "HF_HUB_CACHE to a folder on another disk."
            )
        if isinstance(error, OSError) and error.filename is not None:
            return OutputError(
                f"{error.filename} cannot be written: {error.strerror}. Set HF_HUB_CACHE to a folder that can."
            )
        return WeightsError(
            f"{self._address} cannot be reached ({error or type(error).__name__}). Check the network{self._variable} "
            f"and fetch again, which goes on from there; {instead}."
        )


def digest(path: Path, digits: int, tell: Callable[[int], None]) -> str:
    """Checksum of a file: SHA-256 (64 digits), MD5 (32), or Git's SHA-1 of a blob (40) as the hub has it of small ones.

    `tell` is called with the bytes read so far, and may raise to end it.
    """
    total = {64: hashlib.sha256, 32: hashlib.md5, 40: hashlib.sha1}[digits]()
    if digits == 40:
        total.update(b"blob %d\0" % path.stat().st_size)
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            total.update(chunk)
            done += len(chunk)
            tell(done)
    return total.hexdigest()


def _ensure_room(place: Path, size: int | None) -> None:
    """OutputError unless the disk has room for `size` more bytes at `place`."""
    free = shutil.disk_usage(place.parent).free
    if size is not None and free < size + _SPARE:
        raise OutputError(
            f"The disk of {cache()} is too full: {size / 1e9:.1f} GB are still to come and {free / 1e9:.1f} GB are "
            "free. Free some, or set HF_HUB_CACHE to a folder on another disk."
        )

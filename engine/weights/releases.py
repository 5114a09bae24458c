"""Files that a GitHub release holds: rembg's networks, kept where rembg itself keeps and looks for them.

The folder is that of rembg 2.0.86: `HOME/models/NAME/NAME.onnx` with HOME `~/.rembg`, or as `REMBG_HOME`,
`XDG_DATA_HOME` or `U2NET_HOME` say; files of earlier versions, flat in `~/.u2net`, count as well. The functions are
those of `hub`; a source here has one file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.errors import OutputError
from engine.core.progress import CancelToken, ProgressCallback
from engine.weights import hub

ADDRESS = "https://github.com"


def home() -> Path:
    """Folder of rembg's networks, by the variables that it honours; each call reads them anew."""
    data = os.environ.get("XDG_DATA_HOME")
    named = os.environ.get("U2NET_HOME") or os.environ.get("REMBG_HOME") or (f"{data}/rembg" if data else "~/.rembg")
    return Path(named).expanduser()


def cached(origin: str, names: Sequence[str]) -> Path | None:
    """Folder with the file of a network, e.g. `u2net.onnx`, None if it is not there."""
    legacy = Path(os.environ.get("U2NET_HOME") or f"{os.environ.get('XDG_DATA_HOME', '~')}/.u2net").expanduser()
    return next((path.parent for name in names for path in (_place(name), legacy / name) if path.is_file()), None)


def unfinished(origin: str, names: Sequence[str]) -> int:
    """Bytes received by a download that was cancelled or broke."""
    return sum(partial.stat().st_size for name in names if (partial := _partial(name)).is_file())


def remove(origin: str, names: Sequence[str]) -> int:
    """Delete a network's file, unfinished as well; returns the bytes freed."""
    folder = cached(origin, names)
    freed = 0
    for path in [_partial(name) for name in names] + ([folder / name for name in names] if folder else []):
        if path.is_file():
            freed += path.stat().st_size
            try:
                path.unlink()
            except OSError as error:
                raise OutputError(f"{path} could not be deleted: {error.strerror}. Check its rights.") from error
    return freed


def download(
    origin: str,
    release: tuple[str, str],
    checksums: Mapping[str, str | None],
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Bring an asset of a release, its tag and the asset's name, of the repository `origin` (`owner/name`) here.

    `checksums` holds what the file is called here, and its checksum. Returns its folder. Goes on from what an earlier
    call had received, honours `HF_HUB_OFFLINE` and the proxies' variables, reports bytes and raises as `hub.download`.
    """
    tag, asset = release
    hub.carry_out(_Transfer(origin, f"{ADDRESS}/{origin}/releases/download/{tag}/{asset}", checksums), progress, cancel)
    folder = cached(origin, list(checksums))
    assert folder is not None
    return folder


def _place(name: str) -> Path:
    return home() / "models" / Path(name).stem / name


def _partial(name: str) -> Path:
    return _place(name).with_suffix(".incomplete")


class _Transfer(hub.Transfer):
    """One file, from an address."""

    def __init__(self, origin: str, url: str, checksums: Mapping[str, str | None]) -> None:
        super().__init__(origin, checksums, ADDRESS)
        self._url = url

    def headers(self) -> dict[str, str]:
        return {}

    def ask(self, name: str) -> hub.RemoteFile:
        from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

        self.stop.check()
        answer = get_session().head(self._url, follow_redirects=True, timeout=hub.TIMEOUT)
        hf_raise_for_status(answer)
        size = answer.headers.get("Content-Length")
        return hub.RemoteFile(name, self._url, self.checksums[name] or "", int(size) if size else None)

    def bring(self, file: hub.RemoteFile) -> None:
        place, partial = _place(file.name), _partial(file.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        with self.locked(partial.with_suffix(".lock")):
            if not place.exists():
                self.receive(file, partial)
                self.verify(file, partial)
                partial.replace(place)

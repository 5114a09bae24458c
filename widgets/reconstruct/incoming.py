"""Pictures that are dropped or pasted."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMimeData
from PySide6.QtGui import QImage, QImageWriter

from engine.reconstruct.options import PICTURE_SUFFIXES
from widgets.reconstruct.request import Picture

NO_DOWNLOAD = "Oriel does not download anything. Copy the picture itself, or save it to a file, and drop that here."


def pictures_from_mime(mime: QMimeData) -> tuple[list[Picture], str]:
    """Pictures in a drop or a clipboard, and why there is none, if so, in words for the user.

    Files and folders of files come first, then pixels (as browsers add them), then `data:` addresses. An
    address on the network is refused.
    """
    urls = mime.urls() if mime.hasUrls() else []
    pictures = [Picture(path, path.stem) for url in urls if url.isLocalFile() for path in _files(url.toLocalFile())]
    if pictures:
        return pictures, ""
    if mime.hasImage():
        image = mime.imageData()
        if isinstance(image, QImage) and not image.isNull():
            return [Picture(png_bytes(image), "Pasted picture")], ""
    texts = [url.toString() for url in urls] or ([mime.text().strip()] if mime.hasText() else [])
    for text in texts:
        if text.startswith("data:image/"):
            data = _data_address(text)
            return ([Picture(data, "Pasted picture")], "") if data else ([], "The dropped picture is damaged.")
        if text.startswith(("http:", "https:", "ftp:")):
            return [], NO_DOWNLOAD
        if text and len(text) < 4096 and Path(text).is_file():
            return [Picture(Path(text), Path(text).stem)], ""
    if any(url.isLocalFile() for url in urls):
        return [], "There is no picture in the folder that was dropped."
    return [], "There is no picture in what was dropped or pasted."


def may_hold_picture(mime: QMimeData) -> bool:
    """Whether a drag is worth accepting; what it holds is looked at when it is dropped."""
    return mime.hasUrls() or mime.hasImage() or mime.hasText()


def png_bytes(image: QImage) -> bytes:
    """An image as the bytes of a PNG file."""
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, b"PNG").write(image)
    return bytes(data.data())


def _files(name: str) -> list[Path]:
    path = Path(name)
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)


def _data_address(text: str) -> bytes | None:
    head, _, body = text.partition(",")
    if not head.endswith(";base64"):
        return None
    try:
        return base64.b64decode(body, validate=False)
    except (binascii.Error, ValueError):
        return None

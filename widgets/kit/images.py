"""Pictures of the engine on the screen."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QImage, QPainter


def to_qimage(picture: Any) -> QImage:
    """A `QImage` of a picture array (H, W), (H, W, 3) or (H, W, 4): uint8, or float in 0..1. Owns its pixels."""
    array = picture if picture.dtype == "uint8" else (picture.clip(0.0, 1.0) * 255.0 + 0.5).astype("uint8")
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else array.shape[2]
    kind = {1: QImage.Format.Format_Grayscale8, 3: QImage.Format.Format_RGB888, 4: QImage.Format.Format_RGBA8888}
    return QImage(array.tobytes(), width, height, width * channels, kind[channels]).copy()


def opaque(picture: Any) -> Any:
    """The colour of an engine picture (RGB already over white), without its mask."""
    return picture[..., :3] if picture.ndim == 3 else picture


def paint_fitted(painter: QPainter, image: QImage, rect: QRect) -> QRect:
    """Draw `image` as large as it fits into the middle of `rect`, smoothly; returns where it went."""
    size = image.size().scaled(rect.size(), Qt.AspectRatioMode.KeepAspectRatio)
    target = QRect(QPoint(0, 0), size)
    target.moveCenter(rect.center())
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(target, image)
    return target

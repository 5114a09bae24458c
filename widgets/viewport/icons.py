"""Line icons of the viewport's tool bar, drawn in the palette's text colour."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer

_CUBE = '<path d="M12 3 20 7.5v9L12 21 4 16.5v-9z"/><path d="M4 7.5 12 12l8-4.5M12 12v9"/>'
_FACES = {
    "front": '<path d="M4 7.5 12 12v9l-8-4.5z" fill="INK" stroke="none"/>',
    "side": '<path d="M20 7.5 12 12v9l8-4.5z" fill="INK" stroke="none"/>',
    "top": '<path d="M12 3 20 7.5 12 12 4 7.5z" fill="INK" stroke="none"/>',
}
_DRAWINGS = {
    "texture": '<rect x="4" y="4" width="16" height="16" rx="2"/>'
    '<path d="M4 4h8v8H4zM12 12h8v8h-8z" fill="INK" stroke="none"/>',
    "colors": '<circle cx="12" cy="8" r="4.6" fill="#d9534f" stroke="none" fill-opacity=".9"/>'
    '<circle cx="7.8" cy="15" r="4.6" fill="#4a90d9" stroke="none" fill-opacity=".85"/>'
    '<circle cx="16.2" cy="15" r="4.6" fill="#58a55c" stroke="none" fill-opacity=".85"/>',
    "normals": '<path d="M4 18c4-5 12-5 16 0"/><path d="M12 14V4M9 7l3-3 3 3M6.5 15.5 3 9M17.5 15.5 21 9"/>',
    "plain": '<circle cx="12" cy="12" r="8.5"/>'
    '<path d="M18.3 6.2A8.5 8.5 0 0 1 6 18.2c7 .6 12-5 12.300-12z" fill="INK" stroke="none"/>',
    "wireframe": '<path d="M12 3 20.500 19h-17z"/><path d="M7.800 11h8.400L12 19z"/>',
    "cameras": '<path d="M3 8h11v9H3z"/><path d="m14 11 6-3v9l-6-3z"/>',
    "grid": '<path d="M7 6h10l4 13H3zM12 6v13M5.700 10.500h12.600M4.500 14.500h15"/>',
    "light": '<circle cx="12" cy="12" r="4"/><path d="M12 3v2.500M12 18.500V21M3 12h2.500M18.500 12H21M5.600 5.600'
    'l1.800 1.800M16.600 16.600l1.800 1.800M18.400 5.600l-1.800 1.800M7.400 16.600l-1.800 1.800"/>',
    "backdrop": '<rect x="3.500" y="5" width="17" height="14" rx="1.500"/><path d="M4 14 9 9l5 5 2.500-2.500L20 15"/>',
    "turntable": '<path d="M20 12c0 2.200-3.600 4-8 4s-8-1.800-8-4 3.600-4 8-4c1.800 0 3.500.3 4.800.8"/>'
    '<path d="M13.800 10.200 17 8.900 15.700 5.700"/><path d="M12 3v3M12 18.500V21"/>',
    "home": '<path d="m4 11 8-7 8 7v9h-5.500v-6h-5v6H4z"/>',
    "front": _FACES["front"] + _CUBE,
    "side": _FACES["side"] + _CUBE,
    "top": _FACES["top"] + _CUBE,
    "screenshot": '<path d="M4 8h3.500L9 5.500h6L16.500 8H20v11H4z"/><circle cx="12" cy="13" r="3.300"/>',
    "film": '<rect x="3.500" y="5" width="17" height="14" rx="1.500"/>'
    '<path d="M8 5v14M16 5v14M3.500 9.700H8M3.500 14.300H8M16 9.700h4.500M16 14.300h4.500"/>',
    "more": '<path d="m6 7 5 5-5 5M13 7l5 5-5 5"/>',
    "export": '<path d="M12 15V4M8 8l4-4 4 4"/><path d="M4 14v6h16v-6"/>',
}


def icon(name: str, palette: QPalette) -> QIcon:
    """The icon in the palette's text colour, faint when disabled."""
    out = QIcon()
    for mode, group in (
        (QIcon.Mode.Normal, QPalette.ColorGroup.Active),
        (QIcon.Mode.Disabled, QPalette.ColorGroup.Disabled),
    ):
        ink = palette.color(group, QPalette.ColorRole.WindowText)
        if group is QPalette.ColorGroup.Disabled:
            ink.setAlphaF(0.4)  # some styles keep the disabled text as dark as the rest
        for side in (24, 48):
            out.addPixmap(_draw(_DRAWINGS[name], ink, side), mode)
    return out


def _draw(drawing: str, ink: QColor, side: int) -> QPixmap:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="INK" stroke-width="1.6" '
        f'stroke-linecap="round" stroke-linejoin="round">{drawing}</svg>'
    ).replace("INK", ink.name())
    pixmap = QPixmap(side, side)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setOpacity(ink.alphaF())
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(0, 0, side, side))
    painter.end()
    return pixmap

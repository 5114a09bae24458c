"""Colours, sizes and icons of the window: two palettes, one style sheet, one scale.

`resources/style/oriel.qss` is a template: `@name` stands for a colour of the palette and `12u` for 12 pixels at
the current scale, so that full screen can enlarge everything at once.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from PySide6.QtCore import QByteArray, QObject, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
MODES = ("system", "dark", "light")
FONT_FAMILIES = ("Inter", "Segoe UI", "SF Pro Text", "Noto Sans", "Cantarell", "Open Sans", "DejaVu Sans")
BASE_FONT = 13


@dataclass(frozen=True)
class Palette:
    """Colours of one look; every painted widget takes its colours from here."""

    window: str
    surface: str
    raised: str
    border: str
    strong_border: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    on_accent: str
    selection: str
    good: str
    warning: str
    warning_back: str
    error: str
    error_back: str
    picture: str
    """Behind pictures that are composited over white."""
    veil: str
    """Over the window, behind an overlay (#AARRGGBB)."""


DARK = Palette(
    window="#15171b",
    surface="#1c1f25",
    raised="#262a32",
    border="#2c313a",
    strong_border="#434a57",
    text="#e9ebef",
    muted="#9ba3b1",
    accent="#4db6ac",
    accent_hover="#66c7be",
    on_accent="#08201d",
    selection="#23403e",
    good="#6cc08b",
    warning="#e3b25c",
    warning_back="#332b1b",
    error="#f08a80",
    error_back="#3a2223",
    picture="#ffffff",
    veil="#e6101215",
)
LIGHT = Palette(
    window="#f4f4f1",
    surface="#ffffff",
    raised="#f0f0ec",
    border="#e1e1db",
    strong_border="#b9bab3",
    text="#22262b",
    muted="#646b75",
    accent="#0f7f76",
    accent_hover="#0b6b63",
    on_accent="#ffffff",
    selection="#d7ecea",
    good="#2d7d4b",
    warning="#8a5d00",
    warning_back="#fbf2dc",
    error="#b3352b",
    error_back="#fbe8e5",
    picture="#ffffff",
    veil="#f2f4f4f1",
)


class Theme(QObject):
    """The look in force. `changed` fires after a new style sheet is set."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.mode = "system"
        self.scale = 1.0
        self._template = (RESOURCES / "style" / "oriel.qss").read_text()
        self._family = ""
        self._icons: dict[tuple[str, str], QIcon] = {}
        self._watching = False

    @property
    def dark(self) -> bool:
        """Whether the dark palette is in force."""
        if self.mode != "system":
            return self.mode == "dark"
        return QGuiApplication.styleHints().colorScheme() != Qt.ColorScheme.Light

    @property
    def palette(self) -> Palette:
        """The palette in force."""
        return DARK if self.dark else LIGHT

    def color(self, name: str) -> QColor:
        """A palette colour by name."""
        return QColor(getattr(self.palette, name))

    def px(self, size: float) -> int:
        """`size` pixels at the current scale."""
        return round(size * self.scale)

    def font(self, size: float = BASE_FONT, *, bold: bool = False) -> QFont:
        """The window's font at `size` unscaled pixels."""
        font = QFont(self._family)
        font.setPixelSize(self.px(size))
        font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
        return font

    def set_mode(self, mode: str) -> None:
        """Use `system`, `dark` or `light`."""
        self.mode = mode if mode in MODES else "system"
        self.apply()

    def set_scale(self, scale: float) -> None:
        """Enlarge fonts and spacing (1 = normal)."""
        if scale != self.scale:
            self.scale = scale
            self.apply()

    def apply(self) -> None:
        """Set style, palette and style sheet of the application."""
        app = QApplication.instance()
        if not isinstance(app, QApplication):
            return
        if not self._watching:
            self._watching = True
            app.setStyle("Fusion")
            installed = set(QFontDatabase.families())
            self._family = next((name for name in FONT_FAMILIES if name in installed), app.font().family())
            QGuiApplication.styleHints().colorSchemeChanged.connect(self._system_changed)
        app.setFont(self.font())
        app.setPalette(self._qt_palette())
        app.setStyleSheet(self._sheet())
        self.changed.emit()

    def icon(self, name: str, color: str = "text") -> QIcon:
        """An icon of `resources/icons` in a palette colour."""
        key = (name, self.color(color).name())
        if key not in self._icons:
            svg = (RESOURCES / "icons" / f"{name}.svg").read_text().replace("currentColor", key[1])
            renderer = QSvgRenderer(QByteArray(svg.encode()))
            icon = QIcon()
            for size in (16, 24, 32, 64):
                pixmap = QPixmap(size, size)
                pixmap.fill(Qt.GlobalColor.transparent)
                painter = QPainter(pixmap)
                renderer.render(painter, QRectF(0, 0, size, size))
                painter.end()
                icon.addPixmap(pixmap)
            self._icons[key] = icon
        return self._icons[key]

    def _system_changed(self) -> None:
        if self.mode == "system":
            self.apply()

    def _qt_palette(self) -> QPalette:
        p, out, role = self.palette, QPalette(), QPalette.ColorRole
        for r, name in (
            (role.Window, p.window),
            (role.Base, p.surface),
            (role.AlternateBase, p.raised),
            (role.Button, p.raised),
            (role.WindowText, p.text),
            (role.Text, p.text),
            (role.ButtonText, p.text),
            (role.PlaceholderText, p.muted),
            (role.Highlight, p.accent),
            (role.HighlightedText, p.on_accent),
            (role.ToolTipBase, p.raised),
            (role.ToolTipText, p.text),
            (role.Link, p.accent),
        ):
            out.setColor(r, QColor(name))
        for r in (role.WindowText, role.Text, role.ButtonText):
            out.setColor(QPalette.ColorGroup.Disabled, r, QColor(p.muted))
        return out

    def _sheet(self) -> str:
        look = "dark" if self.dark else "light"
        names = asdict(self.palette) | {"icons": (RESOURCES / "icons").as_posix(), "look": look}
        sheet = re.sub(r"@(\w+)", lambda m: names[m[1]], self._template)
        return re.sub(r"\b(\d+(?:\.\d+)?)u\b", lambda m: f"{self.px(float(m[1]))}px", sheet)


theme = Theme()

"""Pictures in, framed objects out: loading, foreground extraction and framing."""

from engine.imaging.foreground import MODES, Foreground, extract_foreground
from engine.imaging.framing import Framed, frame
from engine.imaging.pictures import MAX_MEGAPIXELS, WORK_SIDE, load_mask, load_picture

__all__ = [
    "MAX_MEGAPIXELS",
    "MODES",
    "WORK_SIDE",
    "Foreground",
    "Framed",
    "extract_foreground",
    "frame",
    "load_mask",
    "load_picture",
]

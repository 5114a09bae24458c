"""Loading any picture a user may bring as straight 8-bit RGBA."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from engine.core.errors import InputError

ByteArray = npt.NDArray[np.uint8]

MAX_MEGAPIXELS = 50
"""Larger pictures are refused before they are decoded."""
_MAX_PIXELS = 52_000_000  # the cameras that are sold with 50 megapixels have a little more
WORK_SIDE = 2048
"""Longer side in pixels that larger pictures are reduced to."""
MIN_SIDE = 16
"""Shorter side in pixels below which nothing can be reconstructed."""

# An explicit list keeps Pillow from trying formats that start other programs (EPS) or need a renderer.
_FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_FORMATS_TEXT = "PNG, JPEG, HEIC, WebP, AVIF, TIFF, BMP or GIF"

_ANY_GREY = (1, 255, 65535)
"""Values that white may have: of labels and floats, of 8 bits, of 16."""

_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_open_lock = threading.Lock()


def load_picture(source: str | Path | bytes | npt.NDArray[Any]) -> ByteArray:
    """Read a picture as straight (not premultiplied) RGBA, uint8 (H, W, 4).

    `source` is a file, the bytes of one, or an array (H, W), (H, W, 1..4) of uint8, uint16, bool or floats in
    0..1. Rotation from EXIF and an embedded colour profile are applied; 16-bit, grey, palette and CMYK pictures
    are converted; of an animation the first picture is taken. The longer side is reduced to `WORK_SIDE`.
    Raises `InputError` for what is not a whole picture, is over `MAX_MEGAPIXELS` or under `MIN_SIDE` pixels a side.

    >>> picture = load_picture("resources/samples/house.jpg")
    >>> picture.shape[2], picture.dtype
    (4, dtype('uint8'))
    >>> load_picture(np.full((48, 64), 0.5)).tolist()[0][0]  # a grey of floats
    [128, 128, 128, 255]
    """
    if isinstance(source, np.ndarray):
        _check_size("The picture", source.shape[1] if source.ndim > 1 else 0, source.shape[0] if source.ndim else 0)
        return _finished(Image.fromarray(_array_to_rgba(source), "RGBA"), 1, "The picture")
    if isinstance(source, bytes):
        if not source:
            raise InputError("The picture is empty (0 bytes). Choose another file.")
        return _decode(io.BytesIO(source), "The picture")
    path = Path(source)
    name = f"'{path.name or path}'"
    try:
        if path.is_dir():
            raise InputError(f"{name} is a folder, not a picture. Choose a {_FORMATS_TEXT} file.")
        if path.stat().st_size == 0:
            raise InputError(f"{name} is empty (0 bytes). Save or download it again.")
        with path.open("rb") as file:
            return _decode(file, name)
    except FileNotFoundError as error:
        raise InputError(f"There is no file '{path}'. Check the name and the folder.") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read. Change its permissions or choose another file.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({error}). Choose another file.") from error


def _decode(file: Any, name: str) -> ByteArray:
    try:
        image = open_picture(file)
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a picture this program can read. Use {_FORMATS_TEXT}.") from error
    except Exception as error:  # a damaged file makes codecs raise anything: OSError, SyntaxError...
        raise InputError(f"{name} is damaged ({error}). Save or download it again.") from error
    with image:
        _check_size(name, *image.size)
        try:
            # JPEG decodes straight to a fraction of its size, which makes 50 megapixels a matter of moments.
            image.draft(None, _reduced_size(*image.size))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image.load()
                orientation = _orientation(image)
                rgba = _image_to_rgba(image)
        except MemoryError as error:
            raise InputError(f"{name} needs more memory than this machine has. Reduce it first.") from error
        except Exception as error:
            raise InputError(f"{name} is damaged or cut short ({error}). Save or download it again.") from error
    return _finished(rgba, orientation, name)


def open_picture(file: Any) -> Image.Image:
    """A picture of the formats that are taken, a file or what is open as one, before it is decoded."""
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)
    # Pillow has a limit of its own and does not say the size; ours is stricter, checked before any decoding.
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > _MAX_PIXELS:
        raise InputError(
            f"{name} is too large: {width} x {height} pixels, {width * height / 1e6:.0f} megapixels. "
            f"Reduce it to {MAX_MEGAPIXELS} megapixels or less."
        )
    if min(_reduced_size(width, height)) < MIN_SIDE:
        raise InputError(
            f"{name} is too small: {width} x {height} pixels. "
            f"Choose a picture of at least {MIN_SIDE} pixels a side, better 256 or more."
        )


def _reduced_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, WORK_SIDE / max(width, height, 1))
    return round(width * scale), round(height * scale)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF comes as many kinds of error and is no reason to refuse the picture
        return 1


def _image_to_rgba(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        fulls = (65535,) if values.dtype == np.uint16 else _ANY_GREY if values.dtype.kind == "f" else _ANY_GREY[1:]
        return Image.fromarray(_array_to_rgba(_grey_to_unit(values, fulls)), "RGBA")
    # The size falls before the colours are converted: less work, and Pillow premultiplies where there is alpha.
    if image.mode in ("RGB", "L", "CMYK", "RGBA", "LA"):
        size = _reduced_size(*image.size)
        if size != image.size and "transparency" not in image.info:  # a named colour is lost by averaging
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _in_srgb(image).convert("RGBA")


def _in_srgb(image: Image.Image) -> Image.Image:
    """The picture with its embedded colour profile applied; its alpha stays."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    alpha = None
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        converted = None  # a damaged profile only costs exact colours
    converted = converted or image.convert("RGB")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def load_mask(source: str | Path | bytes | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Read a mask (H, W) in 0..1, 1 where the object is, in the forms that programs write them in.

    Transparency that says something counts alone: a cut-out, or white with alpha. Else white is the object: bilevel,
    grey of 8, 16 or 32 bits or of floats, where the largest value is at most 1 that is the object (labels). Of two
    colours the brighter is the object, of an indexed picture with more than two all but the first. Rotation from EXIF
    is applied. `InputError` for what is not a picture, and for an indexed picture with several objects.
    """
    if isinstance(source, np.ndarray):
        if source.ndim == 2:
            return _grey_to_unit(source, _ANY_GREY)
        buffer = io.BytesIO()
        Image.fromarray(_array_to_rgba(source)).save(buffer, "PNG", compress_level=1)
        source = buffer.getvalue()
    name = "The mask" if isinstance(source, bytes) else f"The mask '{Path(source).name}'"
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = open_picture(io.BytesIO(content))
            _check_size(name, *image.size)
            image.load()
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else f"use {_FORMATS_TEXT}"
        raise InputError(f"{name} cannot be read as a picture: {reason}.") from error
    except Exception as error:  # as of pictures
        raise InputError(f"{name} is damaged ({error}). Save it again.") from error
    orientation = _orientation(image)
    if orientation in _ORIENTATIONS:
        image = image.transpose(_ORIENTATIONS[orientation])
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / np.float32(255)
        if alpha.max() > alpha.min():
            return alpha
        image = image.convert("RGB")
    if image.mode == "P":
        used = [index for _, index in image.getcolors() or []]
        colours = np.asarray(image.convert("RGB"))
        if len(used) > 2 and np.ptp(colours, axis=2).any():
            if 0 not in used:
                raise InputError(f"{name} has {len(used)} labels and no background (0). Save the object's alone.")
            if len(used) > 3:
                raise InputError(
                    f"{name} has {len(used) - 1} labels beside the background (0). Save the one of the object alone, "
                    "as a black and white picture."
                )
            return (np.asarray(image) > 0).astype(np.float32)
        image = image.convert("RGB")
    if image.mode in ("RGB", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
        colours = np.asarray(image)
        if not np.ptp(colours, axis=2).any():
            return _grey_to_unit(colours[..., 0], _ANY_GREY)
        if len(image.getcolors(2) or []) == 2:
            grey = np.asarray(image.convert("L"))
            return (grey > grey.min()).astype(np.float32)
        return _grey_to_unit(colours.max(axis=2), _ANY_GREY)
    return _grey_to_unit(np.asarray(image), _ANY_GREY)


def _grey_to_unit(values: npt.NDArray[Any], fulls: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Grey of any type as 0..1: its full range is the first of `fulls` that holds the largest value, or that value."""
    grey = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(grey.max(initial=0.0))
    return np.clip(grey / next((float(full) for full in fulls if top <= full), top), 0.0, 1.0)


def _array_to_rgba(array: npt.NDArray[Any]) -> ByteArray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4:
        raise InputError(f"A picture of shape (H, W) or (H, W, 1 to 4) was expected, not {array.shape}.")
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        array = (np.clip(np.nan_to_num(array), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"A picture of 8 or 16 bits or of floats in 0..1 was expected, not {array.dtype}.")
    rgba = np.full((*array.shape[:2], 4), 255, np.uint8)
    if array.shape[2] <= 2:
        rgba[..., :3] = array[..., :1]
    else:
        rgba[..., :3] = array[..., :3]
    if array.shape[2] in (2, 4):
        rgba[..., 3] = array[..., -1]
    return rgba


def _finished(image: Image.Image, orientation: int, name: str) -> ByteArray:
    size = _reduced_size(*image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if orientation in _ORIENTATIONS:
        image = image.transpose(_ORIENTATIONS[orientation])
    return np.ascontiguousarray(np.asarray(image))

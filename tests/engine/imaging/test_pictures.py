"""Any picture a user may bring loads as RGBA, or fails with a plain message."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.errors import InputError
from engine.imaging import WORK_SIDE, load_picture


@pytest.fixture
def colours() -> np.ndarray:
    """96 x 64 smooth colours, with red growing to the right and green downwards."""
    y, x = np.mgrid[0:64, 0:96]
    return np.stack([x * 255 // 95, y * 255 // 63, np.full_like(x, 60)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "avif", "gif"])
def test_formats_round_trip(suffix, colours, tmp_path):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(colours).save(path, **({"quality": 95} if suffix in ("jpg", "webp", "avif") else {}))
    loaded = load_picture(path)
    assert loaded.shape == (64, 96, 4) and loaded.dtype == np.uint8
    assert (loaded[..., 3] == 255).all()
    assert np.abs(loaded[..., :3].astype(int) - colours).mean() < (12 if suffix == "gif" else 4)
    assert np.array_equal(load_picture(path.read_bytes()), loaded)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "avif"])
def test_alpha_is_kept_straight(suffix, colours, tmp_path):
    rgba = np.dstack([colours, np.full((64, 96), 255, np.uint8)])
    rgba[:, :48, 3] = 128
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(rgba).save(path, **({"lossless": True} if suffix == "webp" else {}))
    loaded = load_picture(path)
    assert np.abs(loaded[..., 3].astype(int) - rgba[..., 3]).max() <= 3
    assert np.abs(loaded[..., :3].astype(int) - colours).mean() < 4


def test_heic_photos_open(colours, tmp_path):
    import pillow_heif

    pillow_heif.from_pillow(Image.fromarray(colours)).save(tmp_path / "photo.heic", quality=95)
    loaded = load_picture(tmp_path / "photo.heic")
    assert loaded.shape == (64, 96, 4)
    assert np.abs(loaded[..., :3].astype(int) - colours).mean() < 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "tRNS"])
def test_a_colour_profile_counts_in_every_mode(mode, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.createProfile("sRGB")
    wide = bytearray(ImageCms.ImageCmsProfile(profile).tobytes())
    # The same profile with its red and green primaries exchanged shows whether it is applied at all.
    red, green = wide.index(b"rXYZ"), wide.index(b"gXYZ")
    wide[red : red + 4], wide[green : green + 4] = b"gXYZ", b"rXYZ"
    square = np.full((64, 64, 3), (200, 60, 50), np.uint8)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[16:48, 16:48] = 255
    options = {}
    if mode == "RGBA":
        image = Image.fromarray(np.dstack([square, alpha]))
    elif mode in ("L", "LA"):
        image = Image.fromarray(square[..., 0]) if mode == "L" else Image.fromarray(np.dstack([square[..., 0], alpha]))
        wide = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    else:
        image = Image.fromarray(square)
        image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image
        options = {"transparency": (1, 2, 3)} if mode == "tRNS" else {}
    image.save(tmp_path / "picture.png", icc_profile=bytes(wide), **options)
    loaded = load_picture(tmp_path / "picture.png")
    expected = (200, 200, 200) if mode in ("L", "LA") else (60, 200, 50)
    assert np.abs(loaded[32, 32, :3].astype(int) - expected).max() <= 3
    assert loaded[32, 32, 3] == 255
    if mode in ("RGBA", "LA"):
        assert loaded[2, 2, 3] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation, colours, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    Image.fromarray(colours).save(path, exif=exif, quality=95)
    red, green = colours[..., 0], colours[..., 1]
    expected = {
        1: (red, green),
        2: (red[:, ::-1], green[:, ::-1]),
        3: (red[::-1, ::-1], green[::-1, ::-1]),
        4: (red[::-1], green[::-1]),
        5: (red.T, green.T),
        6: (np.rot90(red, -1), np.rot90(green, -1)),
        7: (np.rot90(red, 2).T, np.rot90(green, 2).T),
        8: (np.rot90(red), np.rot90(green)),
    }[orientation]
    loaded = load_picture(path)
    assert np.abs(loaded[..., 0].astype(int) - expected[0]).mean() < 4
    assert np.abs(loaded[..., 1].astype(int) - expected[1]).mean() < 4


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey(suffix, tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 96).astype(np.uint16), (64, 1))
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(ramp).save(path)
    loaded = load_picture(path)
    assert np.abs(loaded[..., 1].astype(int) - (ramp // 257)).max() <= 1


def test_16_bit_colour_png(colours):
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in colours)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 96, 64, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(load_picture(png)[..., :3].astype(int) - colours).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "F", "I"])
def test_modes(mode, colours, tmp_path):
    image = Image.fromarray(colours)
    grey = image.convert("L")
    path = tmp_path / "picture.tiff"
    if mode in ("P", "PA"):
        image = image.quantize(64)
        path = path.with_suffix(".png")
        image.save(path, transparency=0) if mode == "PA" else image.save(path)
    else:
        (grey.convert(mode) if mode in ("1", "L", "LA", "F", "I") else image.convert(mode)).save(path)
    loaded = load_picture(path)
    assert loaded.shape == (64, 96, 4)
    if mode in ("L", "LA", "F", "I"):
        assert np.abs(loaded[..., 0].astype(int) - np.asarray(grey)).max() <= 1
    elif mode != "1":
        seen = loaded[..., 3] > 0
        assert np.abs(loaded[..., :3].astype(int) - colours)[seen].mean() < 12
    assert ((loaded[..., 3] == 0).any()) == (mode == "PA")


def test_animation_gives_its_first_picture(colours, tmp_path):
    path = tmp_path / "turning.webp"
    first, second = Image.fromarray(colours), Image.fromarray(255 - colours)
    first.save(path, save_all=True, append_images=[second], lossless=True)
    assert np.abs(load_picture(path)[..., :3].astype(int) - colours).mean() < 2


def test_colour_profile_is_applied():
    from PIL import ImageCms

    grey = Image.new("RGB", (32, 32), (120, 120, 120))
    file = io.BytesIO()
    linear = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey.save(file, "PNG", icc_profile=linear)
    assert np.abs(load_picture(file.getvalue())[..., :3].astype(int) - 120).max() <= 1
    grey.save(file := io.BytesIO(), "PNG", icc_profile=b"nonsense")
    assert (load_picture(file.getvalue())[..., :3] == 120).all()


def test_large_pictures_are_reduced(tmp_path):
    path = tmp_path / "large.jpg"
    Image.new("RGB", (8000, 6000), (200, 30, 30)).save(path)
    loaded = load_picture(path)
    assert loaded.shape == (WORK_SIDE * 3 // 4, WORK_SIDE, 4)
    assert np.abs(loaded[0, 0, :3].astype(int) - (200, 30, 30)).max() < 6


def test_arrays(colours):
    assert np.array_equal(load_picture(colours)[..., :3], colours)
    assert np.array_equal(load_picture(colours.astype(np.float32) / 255)[..., :3], colours)
    assert np.array_equal(load_picture(colours.astype(np.uint16) * 257)[..., :3], colours)
    assert load_picture(colours[..., 0]).shape == (64, 96, 4)
    with pytest.raises(InputError, match="shape"):
        load_picture(np.zeros((64, 64, 7), np.uint8))


def _png_header(width: int, height: int) -> bytes:
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data)) + b"\0\0\0\0IDAT"


def test_over_50_megapixels_is_refused_before_decoding():
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match="20000 x 20000 pixels, 400 megapixels"):
        load_picture(_png_header(20000, 20000))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_cameras_of_50_megapixels_have_a_little_more():
    with pytest.raises(InputError, match="damaged"):  # there is nothing after the header; its size is not refused
        load_picture(_png_header(8192, 6144))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "avif"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_truncated_files(suffix, share, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"cut\..*(damaged|not a picture)"):
        load_picture(path)


def test_what_is_not_a_picture(tmp_path):
    cases = {
        "notes.jpg": (b"Dear diary, " * 40, "not a picture"),
        "empty.png": (b"", "empty"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "not a picture"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message) as caught:
            load_picture(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(InputError, match="no file"):
        load_picture(tmp_path / "missing.png")
    with pytest.raises(InputError, match="folder"):
        load_picture(tmp_path)
    with pytest.raises(InputError):
        load_picture(Path("odd\0name.png"))
    with pytest.raises(InputError, match="0 bytes"):
        load_picture(b"")


@pytest.mark.parametrize("size", [(1, 1), (15, 300), (5000, 20)])
def test_tiny_and_narrow_pictures(size, tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", size).save(path)
    with pytest.raises(InputError, match=f"too small: {size[0]} x {size[1]}"):
        load_picture(path)


def test_random_damage_never_escapes_as_another_error(colours, tmp_path):
    rng = np.random.default_rng(1)
    for suffix in ("png", "jpg", "webp", "bmp", "tiff", "avif", "gif"):
        path = tmp_path / f"p.{suffix}"
        Image.fromarray(colours).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, min(len(whole), 400), 6)] = rng.integers(0, 256, 6)
            with contextlib.suppress(InputError):
                assert load_picture(damaged.tobytes()).shape[2] == 4

"""Any picture becomes uint8 ``[H, W, 3]`` RGB: grey, palette, transparent, 16-bit, CMYK and EXIF-rotated ones too."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from pcvr.errors import PcvrError, shown

Image = np.ndarray
"""A picture: uint8 array of shape ``[H, W, 3]``, RGB."""

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the small text begins that git-lfs leaves in place of a file that it has not fetched."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are decoded. Pillow knows more, some of which start a program (PostScript starts Ghostscript)."""
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    struct.error,
    zlib.error,
    PilImage.DecompressionBombError,
    PilImage.DecompressionBombWarning,
)
"""What Pillow and its format readers raise for files that are broken, cut short, or absurdly large."""


def rgb_array(picture: PilImage.Image) -> Image:
    """A Pillow picture as a new uint8 array ``[H, W, 3]``.

    Transparent pixels are laid on white, as a person sees them on a page (dropping alpha alone would bring out colours
    that nobody drew); 16-bit levels are divided by 257, so that 65535 becomes 255. EXIF is not looked at here, since
    it belongs to files: see :func:`read_picture`.

    Raises:
        PcvrError: for floating-point pictures, whose range of levels nothing states.
    """
    if picture.mode in _SIXTEEN_BIT:
        # Pillow's own conversion clips at 255, which turns nearly every 16-bit picture white.
        levels = np.clip(np.asarray(picture).astype(np.float64), 0, 65535)
        grey = np.rint(levels / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise PcvrError("a floating-point picture (mode 'F') has no stated range: save it as 8-bit or 16-bit first.")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        page = PilImage.new("RGBA", layer.size, (255, 255, 255, 255))
        return np.array(PilImage.alpha_composite(page, layer).convert("RGB"))
    return np.array(picture.convert("RGB"))


def open_picture(source: str | Path | bytes) -> PilImage.Image:
    """Decode the first frame of a picture, upright as its EXIF orientation says.

    Args:
        source: a file, or the content of one. The content decides on the format, whatever the name says.

    Raises:
        UNREADABLE: when it is missing, broken or in none of :data:`FORMATS`; say so under the name the caller knows.
        PcvrError: when it is a git-lfs pointer.
    """
    try:
        with PilImage.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as opened:
            opened.load()
            return ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        if _begins(source).startswith(LFS_POINTER):
            told = "it is a git-lfs pointer and not the picture: run `git lfs pull` in its repository"
            raise PcvrError(told) from error
        raise UnidentifiedImageError(f"the content is in none of the formats {', '.join(FORMATS)}") from error


def _begins(source: str | Path | bytes) -> bytes:
    """The beginning of a picture that is none."""
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as stream:
        return stream.read(len(LFS_POINTER))


@cache
def _formats() -> list[str]:
    """Those of :data:`FORMATS` that this Pillow was built with."""
    PilImage.init()
    return [name for name in FORMATS if name in PilImage.OPEN]


def read_picture(path: Path) -> Image:
    """The first frame of a picture file as uint8 ``[H, W, 3]``, upright as its EXIF orientation says.

    Raises:
        PcvrError: when the file is missing or cannot be decoded; the message names it.
    """
    try:
        return rgb_array(open_picture(path))
    except PcvrError as error:
        raise PcvrError(f"cannot use the picture {path}: {error}") from error
    except UNREADABLE as error:
        raise PcvrError(
            f"cannot read the picture {path} ({type(error).__name__}: {error}): replace the file or drop its record."
        ) from error


def as_picture(image: Any) -> Image:
    """What somebody gave for a picture as uint8 ``[H, W, 3]``: such an array, a Pillow picture, or the path of a file.

    A processor would open any format, and addresses too.

    Raises:
        PcvrError: it is nothing of this.
    """
    if isinstance(image, str | Path):
        return read_picture(Path(image))
    if isinstance(image, PilImage.Image):
        return rgb_array(image)
    came = shown(image)
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
            return image
        came = f"{image.dtype} {list(image.shape)}"
    raise PcvrError(f"a picture is {came}: give a uint8 array [H, W, 3], a Pillow picture, or the path of a file.")

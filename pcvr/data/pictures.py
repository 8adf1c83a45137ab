"""Reading images of any kind (grey, palette, transparent, 16-bit, CMYK, EXIF-rotated) as uint8 ``[H, W, 3]`` RGB."""

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
"""An image: uint8 array of shape ``[H, W, 3]``, RGB."""

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""Start of the text that git-lfs leaves in place of a file that it has not fetched."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are decoded. Pillow knows more, but some start a program (PostScript starts Ghostscript)."""
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
"""Exceptions of Pillow and its format readers for files that are broken, truncated or absurdly large."""


def rgb_array(picture: PilImage.Image) -> Image:
    """Return a Pillow image as a new uint8 array ``[H, W, 3]``.

    Transparent pixels are composited on white: dropping alpha would show colours that are normally invisible. 16-bit
    levels are divided by 257, so that 65535 becomes 255. EXIF is ignored here; :func:`read_picture` applies it.

    Raises:
        PcvrError: for floating-point images, whose range of levels is unknown.
    """
    if picture.mode in _SIXTEEN_BIT:
        # Pillow's own conversion clips at 255 and turns nearly every 16-bit image white.
        levels = np.clip(np.asarray(picture).astype(np.float64), 0, 65535)
        grey = np.rint(levels / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise PcvrError("a floating-point image (mode 'F') has no stated range: save it as 8-bit or 16-bit first.")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        page = PilImage.new("RGBA", layer.size, (255, 255, 255, 255))
        return np.array(PilImage.alpha_composite(page, layer).convert("RGB"))
    return np.array(picture.convert("RGB"))


def open_picture(source: str | Path | bytes) -> PilImage.Image:
    """Decode the first frame of an image and apply its EXIF orientation.

    Args:
        source: a file, or the content of one. The content decides the format, not the name.

    Raises:
        UNREADABLE: it is missing, broken or in none of :data:`FORMATS`; the caller names the image.
        PcvrError: it is a git-lfs pointer.
    """
    try:
        with PilImage.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as opened:
            opened.load()
            return ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        if _start(source).startswith(LFS_POINTER):
            pointer = "it is a git-lfs pointer and not the image: run `git lfs pull` in its repository"
            raise PcvrError(pointer) from error
        raise UnidentifiedImageError(f"the content is in none of the formats {', '.join(FORMATS)}") from error


def _start(source: str | Path | bytes) -> bytes:
    """Return the first bytes of a file that is not an image."""
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as stream:
        return stream.read(len(LFS_POINTER))


@cache
def _formats() -> list[str]:
    """Return the :data:`FORMATS` that this build of Pillow supports."""
    PilImage.init()
    return [name for name in FORMATS if name in PilImage.OPEN]


def read_picture(path: Path) -> Image:
    """Return the first frame of an image file as uint8 ``[H, W, 3]``, with its EXIF orientation applied.

    Raises:
        PcvrError: the file is missing or cannot be decoded; the message names it.
    """
    try:
        return rgb_array(open_picture(path))
    except PcvrError as error:
        raise PcvrError(f"cannot use the image {path}: {error}") from error
    except UNREADABLE as error:
        raise PcvrError(
            f"cannot read the image {path} ({type(error).__name__}: {error}): replace the file or drop its record."
        ) from error


def as_picture(image: Any) -> Image:
    """Return an image argument as uint8 ``[H, W, 3]``: such an array, a Pillow image, or the path of a file.

    Never pass paths on to a processor: it opens any format, and URLs too.

    Raises:
        PcvrError: it is none of these.
    """
    if isinstance(image, str | Path):
        return read_picture(Path(image))
    if isinstance(image, PilImage.Image):
        return rgb_array(image)
    came = shown(image)
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
            return np.ascontiguousarray(image)  # torch takes no mirrored arrays
        came = f"{image.dtype} {list(image.shape)}"
    raise PcvrError(f"an image is {came}: give a uint8 array [H, W, 3], a Pillow image, or the path of a file.")

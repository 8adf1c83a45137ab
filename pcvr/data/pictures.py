"""Any picture becomes uint8 ``[H, W, 3]`` RGB: grey, palette, transparent, 16-bit, CMYK and EXIF-rotated ones too."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from pcvr.data.sample import Image
from pcvr.errors import PcvrError

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
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


def read_picture(path: Path) -> Image:
    """The first frame of a picture file as uint8 ``[H, W, 3]``, upright as its EXIF orientation says.

    Raises:
        PcvrError: when the file is missing or cannot be decoded; the message names it.
    """
    try:
        with PilImage.open(path) as opened:
            opened.load()
            return rgb_array(ImageOps.exif_transpose(opened))
    except PcvrError as error:
        raise PcvrError(f"cannot use the picture {path}: {error}") from error
    except UNREADABLE as error:
        raise PcvrError(
            f"cannot read the picture {path} ({type(error).__name__}: {error}): replace the file or drop its record."
        ) from error

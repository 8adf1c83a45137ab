"""Any picture file becomes what a person sees, or an error that names it."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image as PilImage

from pcvr.data import read_picture, rgb_array
from pcvr.data.scenes.compose import uploaded
from pcvr.data.table import HubTable
from pcvr.errors import PcvrError


def test_a_picture_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(PcvrError, match="cannot read the image"):
        read_picture(path)


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    PilImage.new("1", (100, 100)).save(path)
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PcvrError, match="Bomb"):
        read_picture(path)


def test_every_mode_is_as_a_person_sees_it(tmp_path: Path) -> None:
    red = PilImage.new("RGB", (5, 4), (200, 30, 40))
    for mode, suffix in (("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif"), ("CMYK", "jpg")):
        path = tmp_path / f"{mode}.{suffix}"
        (red.quantize(2) if mode == "P" else red.convert(mode)).save(path)
        assert np.abs(read_picture(path).astype(int) - (200, 30, 40)).max() <= 6, mode
    for mode in ("L", "LA", "1"):
        red.convert("L").convert(mode).save(tmp_path / "grey.png")
        assert read_picture(tmp_path / "grey.png").shape == (4, 5, 3)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    levels = np.zeros((1, 3, 4), np.uint8)
    levels[0, :, 3] = (0, 255, 128)
    assert rgb_array(PilImage.fromarray(levels))[0, :, 0].tolist() == [255, 0, 127]
    palette = PilImage.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 255]))
    assert read_picture(tmp_path / "palette.png").tolist() == [[[255, 255, 255], [10, 20, 30]]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = tmp_path / f"deep.{suffix}"
    PilImage.fromarray(levels).save(path)
    assert read_picture(path)[0, :, 1].tolist() == [0, 1, 128, 255]


def test_floats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    PilImage.fromarray(np.ones((2, 2), np.float32)).save(path)
    with pytest.raises(PcvrError, match=r"float\.tif: a floating-point image"):
        read_picture(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((2, 3, 3), np.uint8)
    upright[0, 0] = 255  # the corner that tells which way is up
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    PilImage.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(read_picture(path), upright)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n%%EOF\n"
STARTS_PROGRAMS = {"EPS": POSTSCRIPT, "preview": b"\xc5\xd0\xd3\xc6" + bytes(28) + POSTSCRIPT}


@pytest.mark.parametrize("content", STARTS_PROGRAMS.values(), ids=STARTS_PROGRAMS)
def test_no_picture_starts_a_program(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(PcvrError, match=r"photo\.png .*none of the formats JPEG, PNG"):
        read_picture(path)
    with pytest.raises(PcvrError, match="cannot be read as an image"):
        uploaded(content)
    for value in ({"bytes": content, "path": None}, {"bytes": None, "path": str(path)}):
        rows = datasets.Dataset.from_dict({"image": [value], "caption": ["a"]}).cast_column("image", datasets.Image())
        with pytest.raises(PcvrError, match=r"no usable image: .*none of the formats"):
            HubTable(rows)[0]


def test_everything_opens_pictures_here(root: Path) -> None:
    opens = {file.name for file in (root / "pcvr").rglob("*.py") if "Image.open(" in file.read_text(encoding="utf-8")}
    assert opens == {"pictures.py"}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff", "ppm"])
def test_usual_formats_are_read_whatever_their_name(suffix: str, tmp_path: Path) -> None:
    levels = np.full((6, 5, 3), (200, 30, 40), np.uint8)
    PilImage.fromarray(levels).save(tmp_path / f"a.{suffix}")
    other = (tmp_path / f"a.{suffix}").rename(tmp_path / "b.png")
    assert np.abs(read_picture(other).astype(int) - levels).max() <= 6

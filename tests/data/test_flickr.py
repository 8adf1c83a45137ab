"""Flickr30k: results.csv, the .token file and Hugging Face's table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pcvr.data import BadData, Flickr30k, FlickrAnnotations, open_data
from pcvr.errors import PcvrError
from tests import formats
from tests.formats import captions_of, flickr_name, write_flickr_csv, write_flickr_hf, write_flickr_token

LINES: dict[str, Callable[[Path], Path]] = {"csv": write_flickr_csv, "token": write_flickr_token}


def spoken(index: int) -> tuple[str, ...]:
    """Captions as Flickr30k's own files have them."""
    return tuple(text.replace(".", " .").capitalize() for text in captions_of(index))


def said(error: BadData) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in error.problems]


@pytest.mark.parametrize("form", LINES)
def test_one_sample_a_picture(tmp_path: Path, form: str) -> None:
    data = Flickr30k(LINES[form](tmp_path))
    assert (len(data), data.task, data.name.partition(":")[0]) == (12, "caption", "flickr30k")
    for i in (0, 2, 11):  # line 15 of results.csv lacks a bar, as one does in the published file
        sample = data[i]
        assert (sample.id, sample.references, sample.answer) == (flickr_name(i), spoken(i), spoken(i)[i % 5])
        assert min(sample.image.shape[:2]) == formats.SIDE


@pytest.mark.parametrize("form", LINES)
def test_splits_are_by_picture(tmp_path: Path, form: str) -> None:
    path = LINES[form](tmp_path)
    assert len(open_data(path, split="train")) + len(open_data(path, split="test")) == 11
    assert open_data(path, split="train").fingerprint() != open_data(path, split="test").fingerprint()


def test_captions_need_not_stand_together(tmp_path: Path) -> None:
    path = write_flickr_token(tmp_path, 3)
    lines = path.read_text().splitlines()
    path.write_text("\ufeff" + "\r\n".join(lines[::-1]) + "\r\n\r\n", encoding="utf-8")
    data = Flickr30k(path)
    assert [data[i].id for i in range(3)] == [flickr_name(i) for i in (2, 1, 0)]
    assert data[0].references == spoken(2)[::-1]


def test_everything_that_is_wrong_in_lines(tmp_path: Path) -> None:
    path = write_flickr_csv(tmp_path, 4)
    lines = path.read_text().splitlines()
    lines[3] = f"{flickr_name(0)}| 2|  "  # empty
    lines[4] = lines[5]  # twice
    lines[7] = "no bar at all"
    lines += ["none.jpg| 0| A picture that is not there .", "../secret.jpg| 0| Out .", "lonely.jpg| 0|"]
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe| 0| no text\n")
    (tmp_path / "flickr30k_images" / flickr_name(3)).unlink()
    with pytest.raises(BadData) as caught:
        Flickr30k(path)
    assert said(caught.value) == [
        ("empty text", "line 4"),
        ("duplicate id", "line 6"),
        ("broken entry", "line 8"),
        ("empty text", "line 24"),
        ("broken entry", "line 25"),
        ("entry without annotation", "line 24 ('lonely.jpg')"),
        ("missing image", f"line 17 ('{flickr_name(3)}')"),
        ("missing image", "line 22 ('none.jpg')"),
        ("path leaves the folder", "line 23 ('../secret.jpg')"),
        ("missing image", "line 24 ('lonely.jpg')"),
    ]
    data = Flickr30k(path, skip_bad=True)
    assert [data[i].id for i in range(len(data))] == [flickr_name(i) for i in range(3)]
    assert len(data[0].references) == 3
    assert len(data[1].references) == 4


@pytest.mark.parametrize("text", ["", "\n\n", "image_name| comment_number| comment\n"])
def test_no_captions_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(PcvrError, match="has no captions"):
        Flickr30k(path)


class TestTable:
    def test_its_own_splits(self, tmp_path: Path) -> None:
        path = write_flickr_hf(tmp_path)
        parts = {name: open_data(path, split=name) for name in ("train", "validation", "test")}
        assert {name: len(part) for name, part in parts.items()} == {"train": 6, "validation": 3, "test": 3}
        sample = parts["test"][0]
        assert (sample.id, sample.references, sample.answer) == (flickr_name(3), captions_of(3), captions_of(3)[0])
        assert len(FlickrAnnotations(path)) == 12

    def test_pictures_of_other_splits_need_not_be_there(self, tmp_path: Path) -> None:
        path = write_flickr_hf(tmp_path)
        (tmp_path / "flickr30k-images" / flickr_name(0)).unlink()
        assert len(open_data(path, split="test")) == 3
        with pytest.raises(BadData, match=r"row 1 \('1000092795.jpg'\): image '1000092795.jpg' is not a file"):
            open_data(path, split="train")
        assert len(open_data(path, split="train", skip_bad=True)) == 5

    def test_everything_that_is_wrong(self, tmp_path: Path) -> None:
        path = write_flickr_hf(tmp_path, 4)
        rows = ["not json,[0],train,a.jpg,9", '"{""a"": 1}",[0],train,b.jpg,9', '"[""a"", 3]",[0],train,c.jpg,9']
        rows += ['"[""a""]",[0],fold1,d.jpg,9', '"[""a""]",[0],train,,9', "x", '"[]",[0],test,e.jpg,9']
        rows += [f'"[""a""]",[0],test,{flickr_name(0)},9', '"[""a"", "" ""]",[0],test,link.jpg,9']
        path.write_text(path.read_text() + "\n".join(rows) + "\n")
        (tmp_path / "flickr30k-images" / "link.jpg").symlink_to(flickr_name(1))
        with pytest.raises(BadData) as caught:
            FlickrAnnotations(path)
        assert [(problem.kind, problem.where) for problem in caught.value.problems] == [
            ("broken entry", "row 5 ('a.jpg')"),
            ("broken entry", "row 6 ('b.jpg')"),
            ("broken entry", "row 7 ('c.jpg')"),
            ("broken entry", "row 8 ('d.jpg')"),
            ("broken entry", "row 9"),
            ("broken entry", "row 10"),
            ("entry without annotation", "row 11 ('e.jpg')"),
            ("duplicate id", f"row 12 ('{flickr_name(0)}')"),
            ("empty text", "row 13 ('link.jpg')"),
            ("missing image", "row 11 ('e.jpg')"),
        ]
        assert len(FlickrAnnotations(path, skip_bad=True)) == 5

    def test_columns_and_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("raw,split\n")
        with pytest.raises(PcvrError, match="has no column filename"):
            FlickrAnnotations(path)
        path.write_text("raw,split,filename\n")
        with pytest.raises(PcvrError, match="holds no samples"):
            FlickrAnnotations(path)
        path.write_text("raw,split,filename\n" + "x" * 200_000)
        with pytest.raises(PcvrError, match=r"not valid CSV .*field larger"):
            FlickrAnnotations(path)

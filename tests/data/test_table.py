"""Hugging Face tables: columns found by name, folders, splits, and rows that cannot be used."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from pcvr import Dataset, PcvrError, open_data
from pcvr.data import BadData, check_data, rgb_array
from pcvr.data.table import HubTable
from pcvr.data.tables import is_table


def picture(level: int = 0, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.full((5, 7, 3), level, np.uint8)).convert(mode)


def table(n: int = 6, **columns: Any) -> datasets.Dataset:
    base = {"image": [picture(10 * i % 256) for i in range(n)], "caption": [f"caption {i}" for i in range(n)]}
    rows = datasets.Dataset.from_dict(base | columns)
    return rows.cast_column("image", datasets.Image())


def test_a_table_is_a_data_set() -> None:
    data = HubTable(table(id=[f"a{i}" for i in range(6)]))
    assert isinstance(data, Dataset)
    sample = data[3]
    assert (sample.id, sample.answer, sample.references) == ("a3", "caption 3", ("caption 3",))
    assert sample.prompt == "describe the image."
    assert sample.image.shape == (5, 7, 3) and sample.image.dtype == np.uint8 and (sample.image == 30).all()
    assert data[-1].id == "a5" and len(list(iter(data))) == 6


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["one", " two ", ""], ("one", "two")),
        ([{"answer": "yes"}, {"answer": "no"}], ("yes", "no")),
        ("alone", ("alone",)),
    ],
)
def test_answers_come_as_text_lists_or_mappings(value: Any, expected: tuple[str, ...]) -> None:
    data = HubTable(table(2, answers=[value, value]).remove_columns("caption"))
    assert [data[i].references for i in range(2)] == [expected] * 2
    assert [data[i].answer for i in range(2)] == [expected[0], expected[1 % len(expected)]], "one in turn, as of files"
    assert data.report.notes["empty caption left out"] == (2 if expected == ("one", "two") else 0)


def test_questions_are_prompts() -> None:
    data = HubTable(table(2, question=["what?", "where?"], answer=["a cat", "there"]), task="vqa", answers="answer")
    assert (data.task, data[1].prompt, data[1].answer) == ("vqa", "where?", "there")


def test_columns_by_other_names() -> None:
    rows = table(2).rename_columns({"image": "photo", "caption": "words"})
    with pytest.raises(PcvrError, match=r"no image column \(it has: photo, words\)"):
        HubTable(rows)
    assert HubTable(rows, image="photo", answers="words")[0].answer == "caption 0"
    with pytest.raises(PcvrError, match="photo"):
        HubTable(rows, image="photos", answers="words")
    with pytest.raises(PcvrError, match="unknown column"):
        HubTable(rows, imag="photo")


def test_vqa_needs_a_question_and_a_known_task() -> None:
    with pytest.raises(PcvrError, match="no prompt column"):
        HubTable(table(2), task="vqa")
    with pytest.raises(PcvrError, match="unknown task"):
        HubTable(table(2), task="captions")
    with pytest.raises(PcvrError, match="no rows"):
        HubTable(table(2).select([]))


def test_rows_that_cannot_be_used_are_named() -> None:
    with pytest.raises(BadData, match="row 1: it has no answer"):
        HubTable(table(3, caption=["a", "  ", "c"]))
    paths = datasets.Dataset.from_dict({"image": ["a.png"], "caption": ["a"]})
    with pytest.raises(PcvrError, match="a str where an image belongs"):
        HubTable(paths)[0]
    broken = datasets.Dataset.from_dict({"image": [{"bytes": b"no picture", "path": None}], "caption": ["a"]})
    with pytest.raises(PcvrError, match=r"row 0 of .* has no usable image"):
        HubTable(broken.cast_column("image", datasets.Image()))[0]


def test_bad_rows_are_all_reported_and_can_be_skipped() -> None:
    rows = table(
        6, id=["a", "b", "b", "c", "d", "e"], caption=["1", "2", "3", None, "5", "6"], question=["?"] * 5 + [" "]
    )
    rows = datasets.concatenate_datasets([rows, rows.select([0]).map(lambda row: row | {"id": "f", "image": None})])
    for selected in (rows, rows.select(range(7)), rows.select([6, 5, 4, 3, 2, 1, 0]).select([6, 5, 4, 3, 2, 1, 0])):
        with pytest.raises(BadData, match=r"3 problem\(s\) in 7 rows") as caught:
            HubTable(selected, task="vqa")
        assert [(problem.kind, problem.where) for problem in caught.value.problems] == [
            ("empty text", "row 3 ('c')"),
            ("empty text", "row 5 ('e')"),
            ("missing image", "row 6 ('f')"),
        ]
        data = HubTable(selected, task="vqa", skip_bad=True)
        assert [data[i].id for i in range(len(data))] == ["a", "b", "b~2", "d"]
        assert len(data.problems) == 3 and data.report.notes == {"repeated id made unique": 1}
        assert data.fingerprint() != HubTable(selected, skip_bad=True).fingerprint()
    kept = open_data(rows, task="vqa", skip_bad=True, n=2)
    assert len(kept) == 2
    with pytest.raises(BadData, match="no usable entry is left"):
        HubTable(rows.select([6]), skip_bad=True)


def test_pictures_cut_short_are_found_by_decoding() -> None:
    stream = io.BytesIO()
    picture(mode="RGB").resize((64, 64)).save(stream, "JPEG")
    values = [{"bytes": stream.getvalue()[:length], "path": None} for length in (len(stream.getvalue()), 500, 3)]
    rows = datasets.Dataset.from_dict({"image": values, "caption": ["a", "b", "c"]}).cast_column(
        "image", datasets.Image()
    )
    assert len(HubTable(rows)) == 3
    with pytest.raises(BadData, match="unreadable image: 2"):
        HubTable(rows, check_pictures=True)
    data = HubTable(rows, check_pictures=True, skip_bad=True)
    assert len(data) == 1 and data[0].answer == "a"
    assert check_data(rows).counts() == {"unreadable image": 2}


def test_what_a_table_is_for() -> None:
    answers = [[{"answer": "yes", "answer_id": 1}], [{"answer": "no", "answer_id": 1}]]
    questions = table(2, question=["a?", "b?"], answers=answers).remove_columns("caption")
    assert open_data(questions).task == "vqa"
    assert open_data(questions, task="caption").task == "caption"
    assert open_data(questions.remove_columns("question")).task == "caption"
    assert open_data(table(2, question=["a?", "b?"])).task == "caption"


def test_several_rows_of_one_picture() -> None:
    rows = table(40, image_id=[i // 4 for i in range(40)])
    data = HubTable(rows)
    assert len({data[i].id for i in range(40)}) == 40
    assert data[5].id == "1-5"
    sides = [data.split(name) for name in ("train", "test")]
    pictures = [{side[i].id.partition("-")[0] for i in range(len(side))} for side in sides]
    assert not pictures[0] & pictures[1], "all rows of a picture are on one side"


def test_a_folder_is_split_by_id_and_a_dictionary_by_name(tmp_path: Path) -> None:
    datasets.disable_progress_bars()
    table(40).save_to_disk(str(tmp_path / "one"))
    parts = {split: open_data(tmp_path / "one", split=split) for split in ("train", "validation", "test", "all")}
    assert len(parts["train"]) + len(parts["validation"]) + len(parts["test"]) == len(parts["all"]) == 40
    assert len(parts["train"]) > 20
    datasets.DatasetDict(train=table(5), test=table(3)).save_to_disk(str(tmp_path / "two"))
    assert [len(open_data(str(tmp_path / "two"), split=split)) for split in ("train", "test")] == [5, 3]
    with pytest.raises(PcvrError, match="validation"):
        open_data(tmp_path / "two", split="validation")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "dataset_info.json").write_text("{}")
    with pytest.raises(PcvrError, match="save_to_disk"):
        open_data(tmp_path / "three")


def test_an_object_goes_through_the_door() -> None:
    rows = table(6)
    assert is_table(rows) and not is_table("scenes") and not is_table(Path("/nowhere"))
    assert len(open_data(rows)) == 6 and len(open_data(rows, n=2)) == 2
    assert len(open_data(datasets.DatasetDict(test=rows), split="test")) == 6


def test_the_fingerprint_follows_the_content() -> None:
    assert HubTable(table(2)).fingerprint() == HubTable(table(2)).fingerprint()
    assert HubTable(table(2)).fingerprint() != HubTable(table(3)).fingerprint()
    both = table(2, question=["a", "b"])
    assert HubTable(both).fingerprint() != HubTable(both, task="vqa").fingerprint()


def test_pictures_are_as_datasets_decodes_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    for path in (str(tmp_path / "a.png"), f"zip://a.png::{tmp_path / 'b.zip'}"):
        rows = datasets.Dataset.from_dict({"image": [path], "caption": ["a"]})
        for mode in ("RGB", "L", None):
            cast = rows.cast_column("image", datasets.Image(mode=mode))
            shown = HubTable(cast)[0].image
            assert shown.shape == (7, 5, 3) and np.array_equal(shown, rgb_array(cast[0]["image"]))

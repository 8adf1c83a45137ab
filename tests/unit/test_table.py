"""Hugging Face tables: columns found by name, folders, splits, and rows that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from pcvr import Dataset, PcvrError, open_data
from pcvr.data.table import HubTable, is_table


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
    assert data[1].references == expected and data[1].answer == expected[0]


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
    data = HubTable(table(3, caption=["a", "  ", "c"]))
    with pytest.raises(PcvrError, match=r"row 1 of .* has no answer"):
        data[1]
    paths = datasets.Dataset.from_dict({"image": ["a.png"], "caption": ["a"]})
    with pytest.raises(PcvrError, match="a str where a picture belongs"):
        HubTable(paths)[0]
    broken = datasets.Dataset.from_dict({"image": [{"bytes": b"no picture", "path": None}], "caption": ["a"]})
    with pytest.raises(PcvrError, match=r"row 0 of .* has no usable picture"):
        HubTable(broken.cast_column("image", datasets.Image()))[0]


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

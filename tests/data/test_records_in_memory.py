"""A list of records, as a Trainer of one's own is given: read as the same records in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcvr import PcvrError
from pcvr.data import open_data


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8))


def turns(number: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": f"picture {number}"},
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    return tmp_path


def records(form: str, folder: Path) -> list[dict[str, Any]]:
    """The same three samples, with their images in one of the forms that people have in memory."""
    given: dict[str, Any] = {
        "path": lambda number: str(folder / f"{number}.png"),
        "Path": lambda number: folder / f"{number}.png",
        "paths": lambda number: [str(folder / f"{number}.png")],
        "Pillow": picture,
        "Pillows": lambda number: [picture(number)],
        "array": lambda number: np.asarray(picture(number)),
    }
    name = "images" if form.endswith("s") else "image"
    return [{"messages": turns(number), name: given[form](number)} for number in range(3)]


@pytest.mark.parametrize("form", ["path", "Path", "paths", "Pillow", "Pillows", "array"])
def test_the_samples_are_those_of_a_file(folder: Path, form: str) -> None:
    file = folder / "data.json"
    file.write_text(json.dumps([{"messages": turns(number), "images": [f"{number}.png"]} for number in range(3)]))
    expected, found = open_data(file), open_data(records(form, folder))
    assert len(found) == len(expected) == 3
    for row in range(3):
        assert (found[row].prompt, found[row].answer) == (expected[row].prompt, expected[row].answer)
        assert np.array_equal(found[row].image, expected[row].image)


def test_columns_of_tables_are_known_too() -> None:
    data = open_data([{"image": picture(1), "question": "Which?", "answer": "this"}] * 2, task="vqa")
    assert (data[1].prompt, data[1].answer) == ("Which?", "this")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "https://example.org/a.png", "messages": turns(0)}, "nothing is fetched here"),
        ({"image": "nowhere.png", "messages": turns(0)}, "no usable image"),
        ({"image": np.zeros((8, 8, 3)), "messages": turns(0)}, r"image of record 0 is float64 \[8, 8, 3\]: give uint8"),
        ({"image": 3, "messages": turns(0)}, "do not fit in one table"),
        ({"messages": turns(0)}, "the table has no image column"),
        ({"image": picture(0), "messages": turns(0), 3: 4}, "do not fit in one table"),
        ({"image": picture(0), "messages": ["a", {"b": 1}]}, "do not fit in one table"),
    ],
)
def test_bad_records(row: dict[Any, Any], said: str) -> None:
    with pytest.raises(PcvrError, match=said) as caught:
        open_data([row])[0]
    assert "\n" not in str(caught.value)


def test_samples_and_records_are_not_mixed(folder: Path) -> None:
    sample = open_data(records("path", folder))[0]
    with pytest.raises(PcvrError, match=r"has .* in it: give a list of one or more"):
        open_data([sample, records("path", folder)[0]])

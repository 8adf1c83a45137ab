"""Tables that are strange: formats, transforms, streams, classes, tokens in their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from pcvr.data import check_data, open_data
from pcvr.data.table import HubTable
from tests.hostile.catalogue import Case, Works, every

datasets.disable_progress_bars()
TWO = [Image.fromarray(np.full((4, 5, 3), 90 * i, np.uint8)) for i in range(2)]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def table(kinds: dict[str, Any] | None = None, **columns: Any) -> datasets.Dataset:
    """Two rows; `columns` add to picture and caption, ``...`` takes one away."""
    values = {"image": TWO, "caption": ["a cat", "a dog"], **columns}
    rows = datasets.Dataset.from_dict({name: column for name, column in values.items() if column is not ...})
    for name, kind in {"image": datasets.Image(), **(kinds or {})}.items():
        rows = rows.cast_column(name, kind) if name in rows.column_names else rows
    return rows


def answers(spec: Any, **options: Any) -> list[str]:
    data = open_data(spec, **options)
    return [data[i].answer for i in range(len(data))]


def ten(*texts: str) -> list[dict[str, str]]:
    return [{"answer": text} for text in texts + ("",) * (10 - len(texts))]


ANIMALS = datasets.ClassLabel(names=["cat", "dog"])
VQA: dict[str, Any] = {"caption": ..., "question": ["a?", "b?"], "answers": [ten("x", "no", "y", "no", "y")] * 2}
TALK = [[{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": text}] for text in ("a", "b")]
PARTS = [
    [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "q"}]},
        {"role": "assistant", "content": [{"type": "text", "text": text}]},
    ]
    for text in ("a", "b")
]
LISTS = {"images": datasets.List(datasets.Image())}


@every(
    Case("a stream", lambda work: open_data(table().to_iterable_dataset()), "streams", "streaming=True"),
    Case("a stream, directly", lambda work: HubTable(table().to_iterable_dataset()), "IterableDataset"),
    Case(
        "streams by split",
        lambda work: open_data(datasets.IterableDatasetDict(train=table().to_iterable_dataset())),
        "IterableDatasetDict",
    ),
    Case("a transform", lambda work: open_data(table().with_transform(lambda rows: rows)), "transform", "map"),
    Case("a table of a dictionary, directly", lambda work: HubTable(datasets.DatasetDict()), "DatasetDict"),
    Works("torch", lambda work: answers(table().with_format("torch")), lambda got: got == ["a cat", "a dog"]),
    Works("numpy", lambda work: answers(table().with_format("numpy")), lambda got: got == ["a cat", "a dog"]),
    Works("pandas", lambda work: answers(table().with_format("pandas")), lambda got: got == ["a cat", "a dog"]),
    Works(
        "one column only",
        lambda work: answers(table().with_format("numpy", columns=["image"])),
        lambda got: len(got) == 2,
    ),
    Works(
        "a check of a table with a format", lambda work: check_data(table().with_format("torch")), lambda got: not got
    ),
    Works(
        "classes", lambda work: answers(table({"caption": ANIMALS}, caption=[1, 0])), lambda got: got == ["dog", "cat"]
    ),
    Works(
        "lists of classes",
        lambda work: [
            open_data(table({"answers": datasets.List(ANIMALS)}, caption=..., answers=[[1, 0], [0]]))[0].references
        ],
        lambda got: got == [("dog", "cat")],
    ),
    Case(
        "a class that is missing",
        lambda work: open_data(table({"caption": ANIMALS}, caption=[1, -1])),
        "no answer",
        "row 1",
    ),
    Case("numbers for answers", lambda work: open_data(table(caption=[1, 2]).select([0])), "int", "not a text"),
    Works(
        "the most common answer, of several the first",
        lambda work: answers(table(**VQA)),
        lambda got: got == ["no"] * 2,
    ),
    Works(
        "the answer that the table names",
        lambda work: answers(table(**VQA, multiple_choice_answer=["y", ""])),
        lambda got: got == ["y", "no"],
    ),
    Works("all ten stay", lambda work: open_data(table(**VQA))[0].references, lambda got: len(got) == 10),
    Works(
        "prompts begin with a token",
        lambda work: open_data(table(question=["<image>\nq", "q"]))[0].prompt,
        lambda got: got == "q",
    ),
    Case("a token in a caption", lambda work: open_data(table(caption=["a <image>", "b"])), "'<image>'", "row 0"),
    Case("a token inside a prompt", lambda work: open_data(table(question=["a <image> b", "b"])), "'<image>'", "row 0"),
    Case(
        "a token among ten answers",
        lambda work: open_data(table(**{**VQA, "answers": [ten("<image>", "a"), ten("b")]})),
        "'<image>'",
    ),
    Case(
        "a lost half of a character",
        lambda work: open_data(table(question=["a", " "]), task="vqa"),
        "question is empty",
    ),
    Works("conversations", lambda work: answers(table(caption=..., conversations=TALK)), lambda got: got == ["a", "b"]),
    Works("messages in parts", lambda work: answers(table(caption=..., messages=PARTS)), lambda got: got == ["a", "b"]),
    Works(
        "lists of one picture",
        lambda work: answers(table(LISTS, image=..., images=[[TWO[0]], [TWO[1]]], caption=..., messages=PARTS)),
        lambda got: got == ["a", "b"],
    ),
    Works(
        "lists of several images",
        lambda work: open_data(table(LISTS, image=..., images=[[TWO[0]], TWO])),
        lambda got: len(got) == 1 and got.report.notes == {"record with several images left out": 1},
    ),
    Case(
        "nothing but lists of several images",
        lambda work: open_data(table(LISTS, image=..., images=[TWO, TWO])),
        "holds no samples",
        "2 x record with several images left out",
    ),
    Works(
        "repeated ids",
        lambda work: [sample.id for sample in map(open_data(table(id=["a", "a"])).__getitem__, range(2))],
        lambda got: got == ["a", "a~2"],
    ),
    Works("an id that is null", lambda work: open_data(table(id=[None, "a"]))[0].id, lambda got: got == "0"),
    Case("a folder with a git-lfs pointer", lambda work: open_data(_fetched_in_part(work)), ".arrow", "git lfs pull"),
    Works(
        "a picture that is a git-lfs pointer",
        lambda work: str(check_data(_pointer())),
        lambda got: "git lfs pull" in got,
    ),
)
def test_tables(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


def _fetched_in_part(work: Path) -> Path:
    table().save_to_disk(str(work / "rows"))
    next((work / "rows").glob("*.arrow")).write_bytes(POINTER)
    return work / "rows"


def _pointer() -> datasets.Dataset:
    rows = datasets.Dataset.from_dict({"image": [{"bytes": POINTER, "path": None}], "caption": ["a"]})
    return rows.cast_column("image", datasets.Image())

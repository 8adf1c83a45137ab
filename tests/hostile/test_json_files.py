"""Hostile files beside adapters and in checkpoints: whatever is in them is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pcvr import PcvrError, TrainConfig, VisionLanguageModel, evaluate, finetune, get_defense, load
from pcvr.training.result import guard_of, training_record
from pcvr.utils.files import parse_json, read_json
from tests.hostile.catalogue import LONGEST, Case, Works, every
from tests.tiny import Numbers

DATA = Numbers(8)
CONFIG = TrainConfig(max_steps=2, batch_size=4)

CONTENTS: dict[str, bytes | None] = {
    "binary": b"\xff\x00\x01" * 50,
    "empty": b"",
    "no entries": b"{}",
    "a list": b"[]",
    "200,000 brackets": b"[" * 200_000,
    "200,000 braces": b'{"a":' * 200_000,
    "cut in the middle": None,
    "a number": b"3",
    "entries of other kinds": b'{"defense": 3, "stage": [], "history": 3, "model": []}',
    "a class of nonsense": b'{"@": "dataclass", "module": "pcvr.views", "class": "PatchView", "fields": {"share": 7}}',
    "a class that is none": b'{"@": "dataclass", "module": 3, "class": []}',
    "a tensor that is none": b'{"@": "tensor", "at": "0"}',
    "a mark that is none": b'{"@": []}',
}


def read_back(content: bytes, work: Path) -> Any:
    """A file with this content, read as JSON."""
    (work / "a.json").write_bytes(content)
    return read_json(work / "a.json")


@every(
    *(
        Case(f"JSON that is {name}", partial(read_back, content), "the file")
        for name, content in CONTENTS.items()
        if content is not None and not content.endswith(b"}")
    ),
    Case("JSON that is not there", lambda work: read_json(work / "b.json", "the record"), "the record", "b.json"),
    Case("a folder", lambda work: read_json(work), "cannot be read"),
    Case("a path with a NUL byte", lambda work: read_json("a\0b"), "cannot be read"),
    Case("a path of 5000 characters", lambda work: read_json("x" * 5000), "cannot be read"),
    Case("an integer of 5000 digits", lambda work: parse_json("9" * 5000, "the plan"), "the plan"),
    Works("any kind", lambda work: parse_json("3", "the plan", object), lambda value: value == 3),
)
def test_json(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


@pytest.fixture(scope="module")
def guarded(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with a record and a guard."""
    folder = tmp_path_factory.mktemp("files") / "adapter"
    rule = get_defense("strip", views=2)
    result = finetune(load(tiny_folder), DATA, rule, CONFIG, clean=Numbers(6), progress=False)
    result.save(folder, training_record(result))
    return folder


@pytest.fixture(scope="module")
def kept(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a training that is over."""
    folder = tmp_path_factory.mktemp("files") / "kept"
    finetune(load(tiny_folder), DATA, "none", CONFIG, progress=False, checkpoints=folder, save_steps=1)
    return folder


def each_content(file: Path, use: Callable[[], Any]) -> None:
    """Use what goes with `file` after each content took its place: it is refused in a sentence, or is good."""
    whole = file.read_bytes()
    few = ("binary", "empty", "cut in the middle")  # are enough for what is no JSON
    tried = {name: content for name, content in CONTENTS.items() if file.suffix == ".json" or name in few}
    refused = 0
    try:
        for name, content in tried.items():
            file.write_bytes(whole[: len(whole) // 2] if content is None else content)
            try:
                use()
            except PcvrError as refusal:
                refused += 1
                said = str(refusal)
                assert len(said) <= LONGEST and said.endswith("."), (name, said)
    finally:
        file.write_bytes(whole)
    assert refused > len(tried) // 2
    use()


@pytest.mark.parametrize("name", ["record.json", "guard.json", "guard.safetensors"])
def test_records_and_guards(guarded: Path, tiny: VisionLanguageModel, name: str) -> None:
    def use() -> None:
        rule, state = guard_of(guarded)
        evaluate(tiny, DATA, defense=rule, state=state)

    each_content(guarded / name, use)


@pytest.mark.parametrize("name", ["plan.json", "0-end/checkpoint.json", "0-end/checkpoint.safetensors"])
def test_checkpoints(kept: Path, tiny_folder: Path, name: str) -> None:
    model = load(tiny_folder)
    each_content(kept / name, lambda: finetune(model, DATA, "none", CONFIG, progress=False, checkpoints=kept))

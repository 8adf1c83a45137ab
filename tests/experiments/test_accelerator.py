"""The benchmark of an accelerator from its command line: each part on a CPU, its table, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import accelerator
from pcvr import PcvrError
from pcvr.experiments.results import FOLDER, read


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["x/accelerator.py", *words])
    accelerator.main()


@pytest.mark.parametrize("part", ["study", "gate"])
def test_a_part_on_tiny_shapes(
    part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.json"
    call(monkeypatch, "--shapes", "tiny", "--part", part, "--jobs", "1", "--out", str(file))
    table = read(file)
    assert len(table.runs) == 2 and table.by == "row"
    assert table.made_by == f"python benchmarks/accelerator.py --shapes tiny --part {part}"
    assert table.date and table.versions["torch"] == torch.__version__ and table.machine
    assert all(row["part"] == part and row["device"] and row["row"].startswith("tiny ") for row in table.runs)
    capsys.readouterr()
    call(monkeypatch, "--print", "--out", str(file))
    said = capsys.readouterr().out
    assert all(row in said for row in table.rows) and table.caption() in said


def pretended(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Parts that measure nothing; returns what they are asked for."""
    asked: list[Any] = []

    def rows(part: str, sizes: accelerator.Sizes, jobs: Any, device: Any) -> list[dict[str, Any]]:
        asked.append((part, sizes.shapes.batch, list(jobs)))
        return [{"row": f"{part}: one", "device": "here", "figure": len(asked)}]

    monkeypatch.setattr(accelerator, "measured", rows)
    monkeypatch.setattr(accelerator, "PARTS", dict.fromkeys(accelerator.PARTS, lambda found: [f"{found}"]))
    return asked


def test_one_part_is_measured_again_and_the_others_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked, file = pretended(monkeypatch), tmp_path / "table.json"
    monkeypatch.setattr(accelerator, "check_cuda", lambda _: None)
    call(monkeypatch, "--out", str(file), "--jobs", "1,8")
    call(monkeypatch, "--part", "step", "--batch-size", "2", "--out", str(file))
    assert asked == [("study", 8, [1, 8]), ("step", 8, [1, 8]), ("gate", 8, [1, 8]), ("step", 2, [1, 4])]
    assert [(row["row"], row["figure"]) for row in read(file).runs] == [
        ("study: one", 1), ("step: one", 4), ("gate: one", 3)
    ]  # fmt: skip


def test_what_was_measured_before_an_error_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretended(monkeypatch)
    rows, file = accelerator.measured, tmp_path / "table.json"

    def failing(part: str, *given: Any) -> Any:
        if part == "step":
            raise PcvrError("too little memory: give less.")
        return rows(part, *given)

    monkeypatch.setattr(accelerator, "measured", failing)
    with pytest.raises(PcvrError, match="too little memory"):
        call(monkeypatch, "--shapes", "tiny", "--out", str(file))
    assert read(file).rows == ["tiny study: one"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a CUDA device"),
        (["--shapes", "tiny", "--batch-size", "1"], "--batch-size is 1: give a whole number from 2 up"),
        (["--shapes", "tiny", "--jobs", "0"], "--jobs is 0"),
        (["--print", "--out", "no/such.json"], "cannot be read"),
    ],
)
def test_what_it_refuses(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "pick_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(accelerator, "measured", lambda *_: pytest.fail("it was refused too late"))
    with pytest.raises(PcvrError, match=said):
        call(monkeypatch, *words)


def test_another_file_is_not_written_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretended(monkeypatch)
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"mine": 1}))
    with pytest.raises(PcvrError, match="exists already"):
        call(monkeypatch, "--shapes", "tiny", "--out", str(file))


def test_no_table_of_a_machine_without_a_gpu_is_shipped() -> None:
    place = FOLDER / "accelerator.json"
    assert accelerator.SIZES["full"].place == place and accelerator.SIZES["tiny"].place.parts[0] == "build"
    if place.is_file():
        assert not any(row.startswith("tiny ") for row in read(place).rows)
        assert not any(run["device"].startswith("cpu") for run in read(place).runs)

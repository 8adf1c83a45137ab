"""The example scripts, each run on a tiny saved model and a few records; they give what finetune gives."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pcvr import PCVR, TrainConfig, finetune, load, open_data
from tests.training.test_scan import N, read, records

# peft 0.21 and TRL 1.16 use an option of transformers by its old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
    # The examples are for GPUs, and the Trainer's default pins memory for them.
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning"),
]
STEPS, BATCH, RATE = 5, 12, 4e-3


@pytest.fixture
def example(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import an example as `python examples/NAME.py` does, from its own folder."""
    monkeypatch.syspath_prepend(str(root / "examples"))
    return import_module


@pytest.fixture(scope="module")
def expected(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of finetune on the same records."""
    data = open_data(records(tmp_path_factory.mktemp("records"), "messages"))
    config = TrainConfig(max_steps=STEPS, batch_size=BATCH, learning_rate=RATE)
    return [
        step["loss"] for step in finetune(load(tiny_folder, device="cpu"), data, PCVR(), config, progress=False).history
    ]


@pytest.mark.parametrize("name", ["own_trainer", "plain_loop", "trl_sft"])
def test_training_gives_what_finetune_gives(
    example: Any, name: str, tiny_folder: Path, tmp_path: Path, expected: list[float], capsys: Any
) -> None:
    source = records(tmp_path, "messages")
    given = {"--model": tiny_folder, "--data": source, "--out": tmp_path / "out", "--steps": STEPS}
    given |= {"--batch-size": BATCH, "--learning-rate": RATE}
    losses = example(name).main([str(each) for pair in given.items() for each in pair])
    assert losses == pytest.approx(expected, rel=1e-4) and len(losses) == STEPS
    assert "flagged records: [" in capsys.readouterr().out
    assert load(tiny_folder, adapter=tmp_path / "out" / "adapter", device="cpu").adapted


def test_the_keep_list_has_the_records_of_the_scan(
    example: Any, tiny_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    source = records(tmp_path, "messages")
    kept = example("llama_factory_keep_list").main(["--model", str(tiny_folder), "--data", str(source)])
    said = capsys.readouterr().out
    assert f"of {N} samples flagged" in said
    flagged = int(said.split()[0])
    assert len(read(kept)) == N - flagged and all(record in read(source) for record in read(kept))
    entry = json.loads(said[said.index("{") :])
    assert entry["data.kept"]["file_name"] == kept.name == "data.kept.json"

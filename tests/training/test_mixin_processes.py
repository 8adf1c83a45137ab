"""A Trainer with PCVR in two processes: the training of one, and a checkpoint that both go on from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from transformers import Trainer, TrainingArguments

import pcvr
from pcvr.utils import distributed
from tests.own_loops import adapted, arguments, collator, losses, rows_of
from tests.processes import together
from tests.tiny import Numbers


class Own(pcvr.PCVRMixin, Trainer):
    pass


def work(folder: str, out: str, processes: str = "2") -> None:
    """Train, resume half-way, and write both histories and what the gate saw."""
    vlm = pcvr.load(folder, device="cpu")
    told = []
    for resume in (None, f"{out}/checkpoint-3"):
        args = arguments(
            TrainingArguments,
            out,
            per_device_train_batch_size=4 // int(processes),
            save_strategy="steps",
            save_steps=3,
        )
        trainer = Own(
            adapted(vlm),
            args,
            pcvr=pcvr.PCVRConfig(),
            processing_class=vlm.processor,
            train_dataset=rows_of(vlm, Numbers(12)),
            data_collator=collator(vlm),
        )
        trainer.train(resume_from_checkpoint=resume)
        weights = sum(float(p.detach().abs().sum()) for p in trainer.model.parameters() if p.requires_grad)
        told.append([losses(trainer.state.log_history), weights, trainer.run.state["stream"].seen])
    rank = trainer.run.rank
    (Path(out) / f"told-{rank}.json").write_text(json.dumps(told))
    distributed.leave()


@pytest.mark.slow
def test_two_processes_are_as_one(tiny_folder: Path, root: Path, tmp_path: Path) -> None:
    code = "import sys; from tests.training.test_mixin_processes import work; work(*sys.argv[1:])"
    done = together(root, "--no-python", sys.executable, "-c", code, tiny_folder, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    work(str(tiny_folder), str(tmp_path / "one"), "1")
    (history, weights, seen), alone = json.loads((tmp_path / "one" / "told-0.json").read_text())
    assert len(history) == 6 and seen == 24 and alone == [pytest.approx(history, rel=1e-6), weights, seen]
    for rank in (0, 1):
        for told in json.loads((tmp_path / "two" / f"told-{rank}.json").read_text()):
            assert told == [pytest.approx(history, rel=1e-4), pytest.approx(weights, rel=1e-4), seen]

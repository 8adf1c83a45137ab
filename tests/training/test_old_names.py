"""Training configs, arguments, plans and flags by the names that they had before: each still works and says so."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune, get_attack
from pcvr.cli.old_flags import OLD_FLAGS
from pcvr.defenses import Defense
from pcvr.defenses.context import TrainingContext
from pcvr.experiments import Experiment
from pcvr.experiments.stored import stored_experiment
from pcvr.models.encode import Batch
from pcvr.pretraining.config import PretrainConfig
from pcvr.training.backdoor_watch import BackdoorWatch
from pcvr.training.checkpoints import PLAN
from pcvr.utils.renamed import first_names
from tests.cli.test_cli import Command, pcvr
from tests.tiny import Numbers

__all__ = ["pcvr"]

OLD: dict[str, Any] = {
    "steps": 3,
    "accumulation": 2,
    "warmup": 0.5,
    "rank": 2,
    "alpha": 6,
    "checkpointing": True,
}
EVERY: dict[str, Any] = {"every": 3}
SCANS = {"gate": "two_stage"}
"""The gate that was PCVR's default."""
NEW = TrainConfig(
    max_steps=3,
    gradient_accumulation_steps=2,
    warmup_ratio=0.5,
    lora_r=2,
    lora_alpha=6,
    gradient_checkpointing=True,
)


def test_a_config_is_made_changed_and_read_by_old_names() -> None:
    assert {*TrainConfig.RENAMED.values()} < {f.name for f in fields(TrainConfig)}
    assert {*OLD, "epochs"} == set(TrainConfig.RENAMED)
    with pytest.warns(DeprecationWarning, match="use the new name") as seen:
        assert TrainConfig(**OLD) == NEW
    assert len(seen) == len(OLD)
    with pytest.warns(DeprecationWarning, match=r"TrainConfig\(epochs=...\) is now called num_train_epochs"):
        old: dict[str, Any] = {"epochs": 2.0}
        assert replace(TrainConfig(), **old) == TrainConfig(num_train_epochs=2)
    with pytest.warns(DeprecationWarning, match="is now called"):
        assert {name: getattr(NEW, name) for name in OLD} == OLD
    with pytest.raises(PcvrError, match="give max_steps"):
        TrainConfig(**OLD, max_steps=3)


@pytest.mark.parametrize("kind", [PretrainConfig, lambda **given: Experiment("x", **given)])
def test_other_configs(kind: Any) -> None:
    with pytest.warns(DeprecationWarning, match="is now called max_steps"):
        assert kind(steps=7) == kind(max_steps=7)
        assert kind(max_steps=7).steps == 7


def test_a_watch(tiny: VisionLanguageModel) -> None:
    with pytest.warns(DeprecationWarning, match=r"BackdoorWatch\(every=...\) is now called eval_steps"):
        watch = BackdoorWatch(tiny, Numbers(2), get_attack("badnets"), **EVERY)
    assert watch.eval_steps == 3


def test_the_key_of_an_experiment_stays() -> None:
    """As version 0.1.0 computed it: or a sweep would run again what its folder holds."""
    scanning = Experiment("PCVR", "pcvr", max_steps=250, options={"view": {"share": 0.6}, "gate": "two_stage"})
    assert scanning.key == "51df83b3b3ad", "the gate was the default of then, and so it was not named"


def test_a_result_of_another_default_is_not_taken_for_one_of_today() -> None:
    now, named, then = (Experiment("PCVR", "pcvr", options=options) for options in ({}, {"gate": "stream"}, SCANS))
    assert now.key == named.key != then.key
    assert now.to_dict() == named.to_dict() and now.to_dict()["options"] == {"gate": "stream"}
    assert stored_experiment(asdict(now))["options"] == then.to_dict()["options"] == SCANS, "an old file names no gate"
    for other in (now, then):
        assert Experiment(**stored_experiment(other.to_dict())) == replace(other, options=other.to_dict()["options"])
    paper = Experiment("paper", "pcvr_paper")
    assert stored_experiment(paper.to_dict()) == paper.to_dict() == asdict(paper), "its default gate stayed"
    strange = Experiment("own", "of my own", options={"gate": 3})
    assert stored_experiment(strange.to_dict()) == asdict(strange) and strange.key


def test_a_plan_of_before_is_resumed(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    given: dict[str, Any] = {"config": replace(NEW, batch_size=4), "progress": False}
    with pytest.warns(DeprecationWarning, match=r"finetune\(every=...\) is now called save_steps"):
        first = finetune(tiny, Numbers(8), checkpoints=folder, **given | {"every": 2})
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    assert set(plan["config"]) == {f.name for f in fields(TrainConfig)}
    plan["config"] = first_names(TrainConfig, plan["config"])
    assert {*OLD, "epochs"} < set(plan["config"])
    (folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")
    assert finetune(tiny, Numbers(8), checkpoints=folder, **given).history == first.history
    given["config"] = replace(NEW, batch_size=4, lora_r=3)
    with pytest.raises(PcvrError, match=r"config.lora_r was 2, is 3"):
        finetune(tiny, Numbers(8), checkpoints=folder, **given)


def test_the_context_that_a_defence_gets(tiny: VisionLanguageModel) -> None:
    class Old(Defense):
        def loss(self, run: Any, batch: Batch) -> Tensor:
            assert run.share(3) == run.own_rows(3) == [0, 1, 2]
            assert torch.equal(run.read(batch).logits, run.forward_no_grad(batch).logits)
            said = run.answers(batch)
            return cross_entropy(said.logits, said.targets)

        def train(self, run: TrainingContext, fit: Any) -> None:
            fit("short", share=0.5)

    with pytest.warns(DeprecationWarning, match="is now called|takes a plan") as seen:
        result = finetune(tiny, Numbers(8), Old(), TrainConfig(max_steps=2, batch_size=4), progress=False)
    assert [entry["step"] for entry in result.history] == [1] and result.run.stage == "short"
    said = "\n".join(str(warning.message) for warning in seen)
    assert all(name in said for name in ("own_rows", "forward_no_grad", "is now called forward:", "StagePlan("))


def test_flags(pcvr: Command, tiny_folder: Path) -> None:
    said = {f"--{name.replace('_', '-')}": f"--{new.replace('_', '-')}" for name, new in TrainConfig.RENAMED.items()}
    assert said.items() < OLD_FLAGS.items()
    words = ("--model", tiny_folder, "--n", 8, "--batch-size", 4, "--steps=2", "--rank", 2, "--alpha", 4)
    more = ("--accumulation", 2, "--warmup", 0.5, "--no-checkpointing", "--checkpoints", "kept", "--every", 1)
    code, out, err = pcvr("train", "adapter", *words, *more)
    assert code == 0 and out.startswith("adapter: 2 steps")
    for old in ("steps", "rank", "alpha", "accumulation", "warmup", "no-checkpointing", "every"):
        assert f"--{old} is now called {OLD_FLAGS[f'--{old}']}." in err
    record = json.loads(Path("adapter/record.json").read_text(encoding="utf-8"))
    config = TrainConfig(2, 4, 4e-3, 0.5, 2, 4, gradient_checkpointing=False, gradient_accumulation_steps=2)
    assert record["config"] == asdict(config)


def test_a_flag_that_a_command_does_not_have_stays_unknown(pcvr: Command) -> None:
    code, _, err = pcvr("poison", "bad", "--every", 5)
    assert code == 2 and "--every" in err and "--save-steps" not in err

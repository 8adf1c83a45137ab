"""A training that was killed goes on where it was, and nobody can tell afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import TrainerCallback

from pcvr import PCVR, PatchView, PcvrError, TrainConfig, VisionLanguageModel, finetune, load
from pcvr.defenses import Defense
from pcvr.defenses.base import Fit, StagePlan
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr.gate import Gate
from pcvr.models.encode import Batch
from pcvr.training import FinetuneResult
from pcvr.training.callback_base import StageCallback
from pcvr.training.checkpoints import PLAN
from pcvr.utils.packing import read_packed, write_packed
from tests.tiny import Marked, Numbers

CONFIG = TrainConfig(max_steps=12, batch_size=4, seed=5, lora_r=4)
EVERY = 3


@dataclass(frozen=True)
class Finding:
    """What `TwoStages` finds between its stages."""

    rows: tuple[int, ...]
    seen: np.ndarray


@dataclass(frozen=True)
class TwoStages(Defense):
    """Trains, keeps the samples whose noise and loss sum lowest, and trains on those again from the start."""

    name: ClassVar[str] = "two_stages"
    keep: int = field(default=7, metadata={"help": "samples of the second stage"})

    def begin(self, run: TrainingContext) -> None:
        run.state.update(noise=torch.zeros(len(run.data)), stages={"steps of": []})

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        loss = super().loss(run, batch)
        draw = torch.rand(len(batch["index"]), generator=run.generator)
        run.state["noise"][batch["index"]] += draw + loss.detach()
        run.log["noise"] = float(run.state["noise"].sum())
        return loss * (1 + draw.mean())

    def train(self, run: TrainingContext, fit: Fit) -> None:
        fit(StagePlan("first", fraction=0.5))
        rows = tuple(run.state["noise"].argsort()[: self.keep].tolist())
        run.state["found"] = Finding(rows, run.state["noise"].numpy().copy())
        run.state["stages"]["steps of"].append(run.stage)
        fit(StagePlan("second", rows=rows, rate=0.5, fresh=True, stop=0.75))
        run.state["stages"]["steps of"].append(run.stage)


class Interrupt(StageCallback):
    """Ends the process, or only the training, at a step of a stage."""

    def __init__(self, step: int, stage: str = "train", kill: bool = False) -> None:
        self.step, self.stage, self.kill = step, stage, kill

    def on_stage(self, run: TrainingContext, done: int) -> None:
        self.now = run.stage

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.now == self.stage and state.global_step == self.step:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt


LAST = {"pcvr": "train", "two_stage": "train", "running": "train", "stages": "second"}
RULES: dict[str, Defense] = {
    "pcvr": PCVR(fade=False),
    "two_stage": PCVR(gate="two_stage", scan_at=(0.2, 0.4), view=PatchView("swap", 0.6)),
    "running": PCVR(scan_at=(0.2,), gate="running", refit=2),
    "stages": TwoStages(),
}


def train(tiny: VisionLanguageModel, rule: str, folder: Path | None, config: TrainConfig = CONFIG, **more: Any) -> Any:
    data = Numbers(10)
    if rule == "pcvr":  # as many visits as the streaming gate needs
        data, config = Marked(), replace(config, batch_size=32)
    return finetune(tiny, data, RULES[rule], config, progress=False, checkpoints=folder, save_steps=EVERY, **more)


def killed(model: str, rule: str, folder: str, step: str) -> None:
    """What the subprocess does: it does not live to see the end."""
    train(load(model, device="cpu"), rule, Path(folder), callbacks=[Interrupt(int(step), LAST[rule], kill=True)])


def weights(result: FinetuneResult) -> dict[str, Tensor]:
    return {k: v for k, v in result.model.model.state_dict().items() if "lora_" in k}


def same(one: FinetuneResult, other: FinetuneResult) -> None:
    assert one.history == other.history
    assert weights(one).keys() == weights(other).keys()
    assert all(torch.equal(v, weights(other)[k]) for k, v in weights(one).items())
    assert repr(one.run.state) == repr(other.run.state)
    assert torch.equal(one.run.generator.get_state(), other.run.generator.get_state())
    assert (one.run.stage, one.run.step, one.run.log) == (other.run.stage, other.run.step, other.run.log)


@pytest.fixture(scope="module")
def undisturbed(tiny: VisionLanguageModel) -> Iterator[dict[str, FinetuneResult]]:
    found = {name: train(tiny, name, None) for name in RULES}
    gate = found["pcvr"].run.state["stream"]
    assert gate.verdict == "trigger" and gate.hearings[0].step < 6 and gate.flagged.any()
    yield found


@pytest.mark.parametrize(
    ("rule", "step", "left"),
    [
        ("pcvr", "8", ["0-00000003", "0-00000006"]),
        ("two_stage", "8", ["0-00000003", "0-00000006"]),
        ("stages", "7", ["0-end", "1-00000003", "1-00000006"]),
    ],
)
def test_killed_in_mid_run(
    tiny: VisionLanguageModel,
    tiny_folder: Path,
    undisturbed: dict[str, FinetuneResult],
    tmp_path: Path,
    root: Path,
    rule: str,
    step: str,
    left: list[str],
) -> None:
    code = "import sys; from tests.training.test_training_resume import killed; killed(*sys.argv[1:])"
    folder = tmp_path / "kept"
    words = [sys.executable, "-c", code, str(tiny_folder), rule, str(folder), step]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [*left, PLAN]

    class Seen(TrainerCallback):
        steps: ClassVar[list[int]] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.steps.append(state.global_step)

    # The test's model goes by the folder's name in both processes.
    result = train(load(tiny_folder, device="cpu"), rule, folder, callbacks=[Seen()])
    assert Seen.steps[0] == 7
    same(result, undisturbed[rule])
    ends = ["0-end", "1-end"] if rule == "stages" else ["0-end"]
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [*ends, PLAN]


@pytest.mark.parametrize(("rule", "step"), [("pcvr", 6), ("two_stage", 6), ("running", 4), ("stages", 6)])
def test_broken_off_and_called_again(
    tiny: VisionLanguageModel, undisturbed: dict[str, FinetuneResult], tmp_path: Path, rule: str, step: int
) -> None:
    """Also at the very step of a checkpoint, before it was written, and twice in a row."""
    for at in (step, step + 1):
        with pytest.raises(KeyboardInterrupt):
            train(tiny, rule, tmp_path / "kept", callbacks=[Interrupt(at, LAST[rule])])
    same(train(tiny, rule, tmp_path / "kept"), undisturbed[rule])


@pytest.mark.parametrize(
    "more", [{"gradient_accumulation_steps": 2}, {"precision": "bf16"}, {"max_steps": 5}, {"shuffle": False}]
)
def test_other_ways_to_train(tiny: VisionLanguageModel, tmp_path: Path, more: dict[str, Any]) -> None:
    config = replace(CONFIG, **more)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, "running", tmp_path / "kept", config, callbacks=[Interrupt(4)])
    same(train(tiny, "running", tmp_path / "kept", config), train(tiny, "running", None, config))


def test_a_finished_training_is_not_done_again(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    first = train(tiny, "stages", tmp_path / "kept")
    second = train(tiny, "stages", tmp_path / "kept", callbacks=[Interrupt(1, "second")])
    same(first, second)


def test_nothing_that_is_kept_is_a_pickle(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tiny, "stages", tmp_path / "kept", callbacks=[Interrupt(4, "second")])
    files = [p for p in (tmp_path / "kept").rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".json", ".safetensors"}
    assert len(files) == 1 + 2 * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": replace(CONFIG, max_steps=13)}, r"config.max_steps was 12, is 13"),
        ({"config": replace(CONFIG, seed=6)}, r"config.seed was 5, is 6"),
        ({"data": Numbers(11)}, r"data.name was 'numbers-10', is 'numbers-11'"),
        ({"defense": TwoStages(keep=6)}, r"defense.keep was 7, is 6"),
        ({"defense": PCVR()}, r"defense.name was 'two_stages', is 'pcvr'"),
        ({"clean": Numbers(3)}, r"clean was None, is "),
    ],
)
def test_a_folder_of_another_training(
    tiny: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any], said: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "other"
    if not folder.is_dir():
        with pytest.raises(KeyboardInterrupt):
            train(tiny, "stages", folder, callbacks=[Interrupt(1, "first")])
    asked: dict[str, Any] = {"data": Numbers(10), "defense": RULES["stages"], "config": CONFIG} | change
    with pytest.raises(PcvrError, match=f"of another training .*{said}"):
        finetune(tiny, **asked, progress=False, checkpoints=folder)


def test_another_model_of_the_same_name(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    train(tiny, "stages", tmp_path / "kept", replace(CONFIG, max_steps=1))
    other = tiny.copy()
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    with pytest.raises(PcvrError, match=r"model.weights was '\w{8}', is"):
        train(other, "stages", tmp_path / "kept", replace(CONFIG, max_steps=1))


def test_folders_that_are_refused(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("not to be lost")
    with pytest.raises(PcvrError, match="holds no checkpoints but something else"):
        train(tiny, "stages", tmp_path / "mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / PLAN).write_text("{")
    with pytest.raises(PcvrError, match="is not valid JSON"):
        train(tiny, "stages", tmp_path / "damaged")
    with pytest.raises(PcvrError, match="save_steps is 0"):
        finetune(tiny, Numbers(4), checkpoints=tmp_path / "new", save_steps=0, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["damaged", "mine"]


def test_a_damaged_checkpoint_is_named(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tiny, "pcvr", tmp_path / "kept", callbacks=[Interrupt(4)])
    file = tmp_path / "kept" / "0-00000003" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(PcvrError, match=r"0-00000003.* cannot be read"):
        train(tiny, "pcvr", tmp_path / "kept")


def test_a_state_that_cannot_be_kept(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    class Strange(TwoStages):
        def begin(self, run: TrainingContext) -> None:
            super().begin(run)
            run.state["stages"]["odd"] = [object()]

    with pytest.raises(PcvrError, match=r"checkpoint\['state'\]\['stages'\]\['odd'\]\[0\] is object"):
        finetune(tiny, Numbers(4), Strange(), CONFIG, checkpoints=tmp_path / "kept", save_steps=1, progress=False)


def test_what_a_killed_process_left_half_written_goes(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=1)
    train(tiny, "stages", tmp_path / "kept", config)
    (tmp_path / "kept" / ".0-00000003-abc").mkdir()
    train(tiny, "stages", tmp_path / "kept", config)
    assert not list((tmp_path / "kept").glob(".*"))


class TestPacking:
    plain = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=3) | st.integers(0, 9) | st.just("@"), inner, max_size=3)
        ),
        max_leaves=8,
    )

    @given(value=plain)
    def test_plain_values_come_back(self, tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
        folder = tmp_path_factory.mktemp("packed")
        write_packed(folder, "x", value)
        assert read_packed(folder, "x") == value

    def test_tensors_arrays_and_the_rest(self, tmp_path: Path) -> None:
        generator = torch.Generator().manual_seed(3)
        whole = torch.arange(12.0).view(3, 4)
        value = {
            "view": whole[:, 1:3],
            "scalar": torch.tensor(True),
            "half": torch.ones(2, dtype=torch.bfloat16),
            "array": np.arange(6, dtype=np.uint16).reshape(2, 3)[:, ::-1],
            "number": np.float32(0.1),
            "flags": np.array([True, False]),
            "set": {3, 1},
            "gate": Gate(np.array([0.0, 1.0]), float("inf"), 0.5, True),
            "generator": generator,
        }
        write_packed(tmp_path, "x", value)
        found = read_packed(tmp_path, "x")
        assert torch.equal(found["view"], whole[:, 1:3])
        assert found["scalar"].dtype is torch.bool and found["scalar"].shape == () and bool(found["scalar"])
        assert found["half"].dtype is torch.bfloat16
        assert found["array"].dtype == np.uint16 and found["array"].tolist() == [[2, 1, 0], [5, 4, 3]]
        assert type(found["number"]) is np.float32 and found["number"] == np.float32(0.1)
        assert found["flags"].dtype == bool and found["set"] == {1, 3}
        assert found["gate"].separation == float("inf") and found["gate"].suspicion.tolist() == [0, 1]
        assert torch.rand((), generator=found["generator"]) == torch.rand((), generator=generator)

    @pytest.mark.parametrize(
        ("module", "name"),
        [("subprocess", "Popen"), ("json", "loads"), ("pcvr.utils.packing", "json"), ("pcvr.no", "X")],
    )
    def test_a_file_names_no_class_of_its_own(self, tmp_path: Path, module: str, name: str) -> None:
        write_packed(tmp_path, "x", None)
        told = {"@": "dataclass", "module": module, "class": name, "fields": {}}
        (tmp_path / "x.json").write_text(json.dumps(told))
        with pytest.raises(PcvrError, match="is not a known dataclass"):
            read_packed(tmp_path, "x", ("pcvr",))

"""Two processes that share each step's samples give what one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pcvr import PCVR, PatchView, PcvrError, PlainSFT, TrainConfig, VisionLanguageModel, finetune, load
from pcvr.defenses import BYORn, Defense
from pcvr.training import FinetuneResult
from pcvr.utils import distributed
from tests.processes import together
from tests.tiny import Marked, Numbers

CONFIG = TrainConfig(max_steps=6, batch_size=32, learning_rate=1e-2, lora_r=4)
# This view has no chance in it: processes draw different ones from different samples.
GREY = PatchView("mean", 1.0)
RULES: dict[str, Defense] = {
    "none": PlainSFT(),
    "pcvr": PCVR(view=GREY),
    "two_stage": PCVR(view=GREY, gate="two_stage", scan_at=(0.3,)),
    "byorn": BYORn(decay=0.5, max_new_tokens=4),
    # Acts on every sample, whatever the model makes of it.
    "all": PCVR(view=GREY, scan_at=(0.3,), gate="none", apart_weight=30.0, fade=False),
}


def trained(vlm: VisionLanguageModel | str, name: str) -> FinetuneResult:
    """A training with one of `RULES`; the streaming gate gets as many visits as it needs."""
    if name == "pcvr":
        return finetune(vlm, Marked(), RULES[name], replace(CONFIG, batch_size=64), progress=False)
    return finetune(vlm, Numbers(64), RULES[name], CONFIG, progress=False)


def weights(vlm: VisionLanguageModel) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in vlm.model.state_dict().items() if "lora_" in k}


def scores(result: FinetuneResult) -> list[list[float]]:
    """What each look of the gate found, sample by sample."""
    return [look["scores"].tolist() for look in result.run.state.get("scorings", [])]


def heard(result: FinetuneResult) -> list[list[Any]]:
    """When the streaming gate heard its witnesses, and what came of it."""
    return [[hearing.step, hearing.seen, hearing.verdict] for hearing in result.run.state["stream"].hearings]


def work(folder: str, out: str) -> None:
    """What each of the two processes does."""
    vlm = load(folder, device="cpu")
    distributed.join(vlm.device)
    told: dict[str, Any] = {}
    for name in RULES:
        result = trained(vlm, name)
        run = result.run
        told[name] = {"history": result.history, "scores": scores(result)}
        if name == "byorn":
            average = torch.cat([v.flatten() for v in run.state["average"].values()])[None]
            assert torch.equal(*run.gather(average)), "both processes answer with the same average"
        if name == "pcvr":
            flagged = run.gather(torch.from_numpy(run.state["stream"].flagged)[None])
            assert torch.equal(flagged[0], flagged[1]), "both processes know what either has seen"
            told[name] |= {"heard": heard(result), "flagged": flagged[0].nonzero()[:, 0].tolist()}
        assert run.world == 2 and run.own_rows(5) == [[0, 2, 4], [1, 3]][run.rank]
        assert distributed.own_rows(1) == [0]
        uneven = torch.arange(3 - run.rank) + 10 * run.rank
        assert run.gather(uneven).tolist() == [0, 1, 2, 10, 11]
        assert run.gather_rows(run.own_rows(5), torch.tensor(run.own_rows(5)) ** 2).tolist() == [0, 1, 4, 9, 16]
        assert run.gather_rows(run.own_rows(1), torch.ones(1, 2)).tolist() == [[1, 1]]
        try:
            run.gather_rows([2 * run.rank], torch.ones(1))
        except PcvrError as problem:
            assert "2 of 3 rows" in str(problem)
        else:
            raise AssertionError
        every = run.gather(torch.cat([v.flatten() for v in weights(result.model).values()])[None])
        assert torch.equal(every[0], every[1])
        if run.rank == 0:
            save_file(weights(result.model), f"{out}/{name}.safetensors")
    try:
        finetune(vlm, Numbers(4), config=TrainConfig(max_steps=1, batch_size=5), progress=False)
    except PcvrError as problem:
        assert "batch_size 5 cannot be shared by 2 processes" in str(problem)
    else:
        raise AssertionError
    if distributed.rank() == 0:
        Path(out, "told.json").write_text(json.dumps(told))
    distributed.leave()


def test_two_processes_are_as_one(tiny: VisionLanguageModel, tiny_folder: Path, root: Path, tmp_path: Path) -> None:
    code = "import sys; from tests.training.test_training_processes import work; work(*sys.argv[1:])"
    done = together(root, "--no-python", sys.executable, "-c", code, tiny_folder, tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    ends: dict[str, Tensor] = {}
    apart: dict[str, float] = {}
    for name in RULES:
        alone = trained(tiny, name)
        losses = [(h["step"], h["loss"]) for h in told[name]["history"]]
        assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
        # Plain fine-tuning is a mean over words, and equal; what is a mean over samples is weighted a little otherwise.
        close = name not in ("all", "pcvr", "byorn")
        expected = [h["loss"] for h in alone.history]
        assert [loss for _, loss in losses] == pytest.approx(expected, rel=1e-4 if close else 0.1), name
        one, two = weights(alone.model), load_file(tmp_path / f"{name}.safetensors")
        assert one.keys() == two.keys()
        if name == "pcvr":
            assert told[name]["heard"] == heard(alone) and heard(alone)[-1][-1] == "trigger"
            mine, both = {*alone.run.state["stream"].flagged.nonzero()[0].tolist()}, {*told[name]["flagged"]}
            assert len(mine & both) >= 0.7 * len(mine | both) > 0
        ends[name] = torch.cat([v.flatten() for k, v in sorted(one.items()) if "lora_B" in k])
        other = torch.cat([v.flatten() for k, v in sorted(two.items()) if "lora_B" in k])
        far = float((ends[name] - other).norm() / ends[name].norm())
        apart[name] = far
        assert ends[name].abs().max() > 0.03
        assert np.allclose(told[name]["scores"], scores(alone), rtol=1e-3, atol=1e-6)
    assert len(told["two_stage"]["scores"]) == 1 and len(told["two_stage"]["scores"][0]) == 64
    acted = float((ends["all"] - ends["none"]).norm() / ends["none"].norm())
    assert all(apart[name] < 1e-3 for name in ("none", "two_stage")), apart
    # The regulariser did act, and that makes much more of a difference than the second process.
    assert acted > 0.05 and apart["all"] < acted / 4, (apart, acted)


def test_the_command_line(tiny_folder: Path, root: Path, tmp_path: Path) -> None:
    words = (
        "train",
        "adapter",
        "--model",
        tiny_folder,
        "--samples",
        24,
        "--max-steps",
        4,
        "--batch-size",
        8,
        "--device",
        "cpu",
    )
    done = together(root, "-m", "pcvr", *words, "--checkpoints", "kept", "--save-steps", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("adapter: 4 steps with defence none in ") and done.stdout.count("\n") == 1
    record = json.loads((tmp_path / "adapter" / "record.json").read_text())
    assert record["processes"] == 2 and [h["step"] for h in record["history"]] == [1, 2, 3, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "kept"]
    assert load(tiny_folder, adapter=tmp_path / "adapter", device="cpu").adapted


def test_accelerate_that_starts_one_of_two_is_refused(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom pcvr import PcvrError\nfrom pcvr.utils import distributed\n"
        "try:\n    distributed.join(torch.device('cpu'))\n    print('joined')\n"
        "except PcvrError as problem:\n    print(problem)\n",
        encoding="utf-8",
    )
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    launcher += ["--cpu", "--num_processes", "2", str(script)]
    without = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR")}
    home = {"PYTHONPATH": str(root), "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launcher, env=without | home, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "use torchrun --nproc-per-node 2" in done.stdout and done.stdout.count("\n") == 1


def test_a_single_process_of_accelerate_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    distributed.join(torch.device("cpu"))
    assert not distributed.joined()


def test_one_process_is_alone() -> None:
    values = torch.randn(3, 2)
    assert (distributed.rank(), distributed.world(), distributed.joined()) == (0, 1, False)
    assert distributed.own_rows(4) == [0, 1, 2, 3]
    assert distributed.gather(values) is values
    assert distributed.gather_rows([2, 0, 1], values).tolist() == values[[1, 2, 0]].tolist()
    distributed.wait()
    distributed.leave()
    with pytest.raises(PcvrError, match="2 rows and 3 values"):
        distributed.gather_rows([0, 1], values)
    with pytest.raises(PcvrError, match="2 of 3 rows"):
        distributed.gather_rows([0, 2], values[:2])


class TestSharded:
    def test_the_config_is_one_of_accelerates(self, root: Path) -> None:
        from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
        from accelerate.utils import FullyShardedDataParallelPlugin

        config = load_config_from_file(str(root / "docs" / "fsdp_7b.yaml"))
        assert isinstance(config, ClusterConfig)
        assert config.distributed_type == "FSDP" and config.mixed_precision == "bf16" and config.num_processes == 4
        given = {name.removeprefix("fsdp_"): value for name, value in config.fsdp_config.items()}
        given["transformer_cls_names_to_wrap"] = given.pop("transformer_layer_cls_to_wrap").split(",")
        given["cpu_offload"], given["fsdp_version"] = given.pop("offload_params"), given.pop("version")
        plugin = FullyShardedDataParallelPlugin(**given)
        assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
        assert plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer"]

    def test_every_entry_is_an_option_of_the_launcher(self, root: Path) -> None:
        from accelerate.commands.launch import launch_command_parser

        text = (root / "docs" / "fsdp_7b.yaml").read_text(encoding="utf-8")
        known = {action.dest for action in launch_command_parser()._actions}
        named = {line.split(":")[0].strip() for line in text.splitlines() if line.strip().startswith("fsdp_")}
        assert {*named} - {"fsdp_config"} <= known

    def test_what_a_sharded_model_cannot_do(
        self, tiny: VisionLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        with pytest.raises(PcvrError, match="defence 'pcvr' cannot train a model that FSDP has sharded"):
            finetune(tiny, Numbers(4), "pcvr", CONFIG, progress=False)
        with pytest.raises(PcvrError, match="checkpoints cannot be kept"):
            finetune(tiny, Numbers(4), config=CONFIG, progress=False, checkpoints=tmp_path / "kept")

    def test_parts_are_put_together(self) -> None:
        class Part(torch.nn.Parameter):
            def full_tensor(self) -> Tensor:
                return torch.cat([self.detach(), self.detach()])

        model = torch.nn.Linear(2, 1, bias=False)
        assert distributed.whole_weights(model) is None
        model.weight = Part(torch.ones(1, 2))
        found = distributed.whole_weights(model)
        assert found is not None and found["weight"].tolist() == [[1, 1], [1, 1]]

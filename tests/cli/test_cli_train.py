"""``pcvr train``, ``evaluate`` and ``defenses``: options become defences, and records say how things were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from pcvr import PCVR, PatchView, PcvrError, TrainConfig, VisionLanguageModel, open_data
from pcvr.cli.defending import defense_of
from pcvr.defenses import DEFENSES, AugmentOnly, Defense, EarlyStop, get_defense, register_defense
from pcvr.defenses.base import Generate
from pcvr.defenses.context import TrainingContext
from pcvr.models.adapter import ADAPTERS
from tests.cli.test_cli import Command, pcvr, refused

__all__ = ["pcvr"]


@dataclass(frozen=True)
class Parrot(Defense):
    """Says at test time what it learned in training."""

    name: ClassVar[str] = "parrot"
    loud: bool = False

    def begin(self, run: TrainingContext) -> None:
        run.state["words"] = ["a", "parrot"]

    def answer(
        self,
        vlm: VisionLanguageModel,
        images: Sequence[Any],
        prompts: Sequence[str],
        generate: Generate,
        state: Mapping[str, Any] | None = None,
    ) -> list[str]:
        assert state is not None
        text = " ".join(state["words"])
        return [text.upper() if self.loud else text] * len(images)


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "pairs", "built"),
        [
            ("none", [], DEFENSES["none"]()),
            ("pcvr", ["cap=0.3", "gate=batch", "fade=false"], PCVR(cap=0.3, gate="batch", fade=False)),
            ("pcvr", ["gate=two_stage", "scan_at=0.1"], PCVR(gate="two_stage", scan_at=(0.1,))),
            ("pcvr", ["gate=two_stage", "scan_at=0.1,0.5"], PCVR(gate="two_stage", scan_at=(0.1, 0.5))),
            ("pcvr", ["gate=two_stage", "scan_at=[0.1, 0.5]"], PCVR(gate="two_stage", scan_at=(0.1, 0.5))),
            ("augment", ["view.fraction=0.6"], AugmentOnly(view=PatchView("swap", 0.6))),
            ("augment", ["view=mean:0.25:8"], AugmentOnly(view=PatchView("mean", 0.25, 8))),
            ("augment", ["view=mean", "view.fraction=1"], AugmentOnly(view=PatchView("mean", 1))),
            ("early_stop", ["fraction=0.25"], EarlyStop(0.25)),
        ],
    )
    def test_words_become_options(self, name: str, pairs: list[str], built: Defense) -> None:
        assert defense_of(name, pairs) == built

    @pytest.mark.parametrize(
        ("name", "pair", "said"),
        [
            ("pcrv", "cap=1", "did you mean 'pcvr'"),
            ("pcvr", "cap", "not of the form name=value"),
            ("pcvr", "=1", "not of the form name=value"),
            ("pcvr", "view.fraction.much=1", "not of the form name=value"),
            ("pcvr", "cop=1", "no option cop"),
            ("pcvr", "cap.much=1", "option 'cap' of defence 'pcvr' has no parts"),
            ("pcvr", "cap=much", "option cap is 'much': give a number"),
            ("pcvr", "cap=true", "option cap is 'true': give a number"),
            ("pcvr", "gate=3", "option gate is '3': give a word"),
            ("pcvr", "fade=yes", "option fade is 'yes': give true or false"),
            ("pcvr", "scan_at=early", "option scan_at is '[early]': give numbers"),
            ("pcvr", "view=swap:much", "option view.fraction is 'much': give a number"),
            ("pcvr", "view=swap:0.5:8:features:9", "takes at most operator:fraction:patch:level"),
            ("pcvr", "view.shore=1", "view has no part shore"),
            ("pcvr", "view=swop", "did you mean 'swap'"),
            ("pcvr", "cap=9", "cap must lie in"),
            ("pcvr", "scan_at=0.1", "scan_at=(0.1,) is an option of gates that scan"),
        ],
    )
    def test_what_is_refused(self, name: str, pair: str, said: str) -> None:
        with pytest.raises(PcvrError) as problem:
            defense_of(name, [pair])
        assert said in str(problem.value)

    def test_the_list_says_what_each_takes_and_needs(self, pcvr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "300")
        code, out, _ = pcvr("defenses")
        assert code == 0
        for name, kind in DEFENSES.items():
            assert f"{name}: " in out
            for option in fields(kind):
                assert option.metadata["help"] in out
        code, out, _ = pcvr("defenses", "early_stop")
        assert code == 0 and "fraction" in out and "augment" not in out
        refused(pcvr("defenses", "early_stopp"), "did you mean 'early_stop'")


class TestTrain:
    def test_the_record_and_the_checkpoints(self, pcvr: Command, tiny_folder: Path) -> None:
        words = ("--model", tiny_folder, "--n", 20, "--attack", "badnets", "--rate", 0.2, "--max-steps", 4, "--seed", 3)
        more = ("--defense", "pcvr", "--defense-option", "view=mean:1", "--defense-option", "cap=0.3", "--clean", 6)
        how = ("--batch-size", 8, "--gradient-accumulation-steps", 2, "--precision", "bf16")
        code, out, err = pcvr("train", "adapter", *words, *more, *how, "--checkpoints", "kept", "--save-steps", 2)
        assert code == 0
        assert out.startswith("adapter: 4 steps with defence pcvr in ")
        record = json.loads(Path("adapter/record.json").read_text(encoding="utf-8"))
        assert record["config"] == asdict(
            TrainConfig(
                max_steps=4, batch_size=8, seed=3, gradient_accumulation_steps=2, precision="bf16", learning_rate=4e-3
            )
        )
        assert "came to no verdict (28 samples" in record["notes"][0]
        assert err == "".join(f"note: {note}\n" for note in record["notes"])
        assert record["defense"]["name"] == "pcvr"
        assert get_defense("pcvr", **record["defense"]["options"]) == PCVR(
            view=PatchView("mean", 1, level="features"), cap=0.3
        )
        assert record["defense"]["options"]["view"]["operator"] == "mean"
        assert record["data"]["samples"] == 20 and record["clean"]["samples"] == 6
        assert record["data"]["manifest"]["count"] == 4 and record["data"]["manifest"]["target"]
        assert "indices" not in record["data"]["manifest"] and "manifest" not in record["clean"]
        assert record["data"]["fingerprint"] != record["clean"]["fingerprint"]
        assert (record["seed"], record["device"], record["processes"], record["stopped"]) == (3, "cpu", 1, False)
        assert record["seconds"] > 0 and {"python", "torch", "transformers", "peft"} <= set(record["versions"])
        assert record["command"].startswith("pcvr train adapter --model ")
        assert [h["step"] for h in record["history"]] == [1, 2, 3, 4]
        assert sorted(p.name for p in Path("adapter").iterdir()) == [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "record.json",
        ]
        assert sorted(p.name for p in Path("kept").iterdir()) == ["0-end", "plan.json"]
        # The same command with another folder for the adapter takes what is there.
        code, _, err = pcvr("train", "again", *words, *more, *how, "--checkpoints", "kept", "--save-steps", 2)
        assert code == 0, err
        one, other = (load_file(f"{name}/adapter_model.safetensors") for name in ("adapter", "again"))
        assert all(torch.equal(one[k], other[k]) for k in one)
        refused(pcvr("train", "third", *words, "--checkpoints", "kept"), "kept", "of another training", "PlainSFT")
        assert not Path("third").exists()

    def test_trusted_samples(self, pcvr: Command, tiny_folder: Path, request: pytest.FixtureRequest) -> None:
        request.addfinalizer(lambda: DEFENSES.unregister("trusting"))

        @register_defense
        @dataclass(frozen=True)
        class Trusting(Defense):
            name: ClassVar[str] = "trusting"
            needs_clean: ClassVar[bool] = True

        words = ("--model", tiny_folder, "--n", 8, "--max-steps", 1, "--batch-size", 4, "--defense", "trusting")
        refused(pcvr("train", "adapter", *words), "'trusting' needs trusted samples", "--clean 100")
        assert pcvr("poison", "bad", "--n", 20, "--rate", 0.2)[0] == 0
        refused(pcvr("train", "adapter", *words, "--data", "bad", "--clean", 5), "bad, which is poisoned")
        refused(pcvr("train", "adapter", *words, "--clean", "nothing.json"), "nothing.json")
        refused(pcvr("train", "adapter", *words, "--clean", "0"), "0")
        assert not Path("adapter").exists()
        code, _, err = pcvr("train", "adapter", *words, "--clean", 5)
        assert code == 0, err
        record = json.loads(Path("adapter/record.json").read_text(encoding="utf-8"))
        assert record["clean"]["samples"] == 5
        assert record["clean"]["fingerprint"] == open_data("scenes", "validation", 5).fingerprint()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                "--gradient-accumulation-steps 3",
                "gradient_accumulation_steps is 3, which does not divide batch_size 32",
            ),
            ("--precision fp8", "precision must be fp32, bf16 or None, got 'fp8'"),
            ("--checkpoints kept --save-steps 0", "save_steps is 0"),
            ("--defense-option cap=1", "defence 'none' has no option cap"),
        ],
    )
    def test_refused_before_any_work(self, pcvr: Command, tiny_folder: Path, words: str, said: str) -> None:
        refused(pcvr("train", "adapter", "--model", tiny_folder, "--n", 8, *words.split()), said)
        assert list(Path().iterdir()) == []

    def test_a_save_that_fails_leaves_nothing(
        self, pcvr: Command, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pcvr.utils.files.write_json", full)
        words = ("--model", tiny_folder, "--n", 4, "--max-steps", 1)
        refused(pcvr("train", "adapter", *words), "adapter could not be written", "No space left")
        assert list(Path().iterdir()) == []

    def test_what_was_trained_is_not_lost_where_out_fails_after_all(
        self, pcvr: Command, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pcvr.training import FinetuneResult

        save = FinetuneResult.save

        def somebody_was_faster(result: FinetuneResult, folder: Path, *args: Any, **kwargs: Any) -> Path:
            folder.mkdir()
            return save(result, folder, *args, **kwargs)

        monkeypatch.setattr(FinetuneResult, "save", somebody_was_faster)
        words = (
            "--model",
            tiny_folder,
            "--n",
            4,
            "--num-train-epochs",
            0.5,
            "--batch-size",
            2,
            "--lora-r",
            2,
            "--lora-alpha",
            2,
        )
        answer = pcvr(
            "train", "adapter", *words, "--learning-rate", 0.01, "--warmup-ratio", 0, "--gradient-checkpointing"
        )
        refused(answer, "adapter exists already", "not lost, it is kept in")
        kept = Path(answer[2].split("kept in ")[1].strip().removesuffix("."))
        assert kept.parent.parent == tmp_path and list(Path("adapter").iterdir()) == []
        record = json.loads((kept / "record.json").read_text(encoding="utf-8"))
        config = TrainConfig(
            max_steps=1,
            batch_size=2,
            lora_r=2,
            lora_alpha=2,
            learning_rate=0.01,
            warmup_ratio=0,
            gradient_checkpointing=True,
        )
        assert record["config"] == asdict(config)


class TestEvaluate:
    @pytest.mark.parametrize("fails", ["print", "write"])
    def test_figures_are_printed_and_written_whichever_fails(
        self, pcvr: Command, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str
    ) -> None:
        from pcvr.evaluation.record import Record

        def broken(*_: object, **__: object) -> str:
            raise OSError(28, "No space left on device")

        if fails == "print":
            monkeypatch.setattr(Record, "__str__", broken)
            with pytest.raises(OSError, match="No space left"):
                pcvr("evaluate", "--model", tiny_folder, "--n", 2, "--attack", "none", "--out", "found.json")
            found = json.loads(Path("found.json").read_text(encoding="utf-8"))
            assert found["n"] == 2 and found["attack"] is None and len(found["answers"]["clean"]) == 2
        else:
            monkeypatch.setattr("os.replace", broken)
            code, out, err = pcvr(
                "evaluate", "--model", tiny_folder, "--n", 2, "--attack", "none", "--out", "found.json"
            )
            assert code == 2 and "n = 2" in out and "BLEU-4" in out and "says the target" not in out
            assert "found.json could not be written (No space left on device)" in err
            assert list(Path().iterdir()) == []

    def test_out_is_the_record(self, pcvr: Command, tiny_folder: Path) -> None:
        words = ("evaluate", "--model", tiny_folder, "--n", 4, "--out", "found.json")
        code, out, err = pcvr(*words)
        assert (code, err) == (0, "")
        assert "says the target" in out
        found = json.loads(Path("found.json").read_text(encoding="utf-8"))
        assert found["n"] == 4 and found["attack"]["name"] == "badnets" and 0 <= found["asr"] <= 1
        assert len(found["answers"]["clean"]) == 4 and found["adapter"] is None
        refused(pcvr(*words, "--data", "not-looked-at"), "found.json exists already")

    def test_a_defence_that_works_at_test_time(
        self, pcvr: Command, tiny_folder: Path, request: pytest.FixtureRequest
    ) -> None:
        request.addfinalizer(lambda: DEFENSES.unregister("parrot"))
        register_defense(Parrot)
        words = ("--model", tiny_folder, "--n", 4)
        code, _, err = pcvr(
            "train", "adapter", *words, "--max-steps", 1, "--defense", "parrot", "--defense-option", "loud=true"
        )
        assert code == 0, err
        code, _, err = pcvr("evaluate", "adapter", *words, "--out", "found.json")
        assert code == 0, err
        found = json.loads(Path("found.json").read_text(encoding="utf-8"))
        assert found["answers"]["clean"] == ["A PARROT"] * 4 and found["defense"] == "parrot" == found["guard"]
        code, out, err = pcvr("evaluate", "adapter", *words, "--no-guard", "--out", "own.json")
        assert code == 0 and "guard parrot off" in out, err
        own = json.loads(Path("own.json").read_text(encoding="utf-8"))
        assert "A PARROT" not in own["answers"]["clean"] and own["defense"] is None and own["guard_off"] == "parrot"
        Path("adapter/record.json").write_text("{")
        refused(pcvr("evaluate", "adapter", *words), "record.json is not valid JSON")

    @pytest.mark.parametrize("family", ["tiny-blip2", "tiny-idefics3"])
    def test_an_adapter_of_another_family(self, pcvr: Command, tiny_folder: Path, family: str) -> None:
        adapter = ADAPTERS / family / "caption-clean"
        refused(pcvr("evaluate", adapter, "--model", tiny_folder, "--n", 4), "does not fit model")

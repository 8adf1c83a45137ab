"""A model carries its test-time defence: from the fine-tuning through files to every answer, and off when asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pcvr
from pcvr import PcvrError, Record, TrainConfig, VisionLanguageModel, finetune
from pcvr.defenses import CleanSight, Strip
from pcvr.defenses.base import Defense
from pcvr.defenses.baselines.strip import StripCalibration
from pcvr.defenses.calibrated import CalibratedDefense, Calibration
from pcvr.defenses.load import read_guard
from pcvr.models.adapter import put_adapter
from pcvr.models.generate import generate
from pcvr.models.guard import Guard
from pcvr.models.load import load as open_model
from pcvr.training.backdoor_watch import BackdoorWatch
from pcvr.training.result import FinetuneResult, guard_of, training_record
from tests.answering import asked
from tests.tiny import Numbers

TESTS = Numbers(9, side=60)
ATTACK = pcvr.get_attack("badnets", size=8, target="two cats")
CONFIG = TrainConfig(max_steps=3, batch_size=4)
RULES: dict[str, CalibratedDefense[Any]] = {
    "strip": Strip(views=2, false_refusals=0.5, refusal="no"),
    "cleansight": CleanSight(false_alarms=0.5, fraction=0.9),
}


@pytest.fixture(scope="module", params=RULES)
def result(request: pytest.FixtureRequest, tiny: VisionLanguageModel) -> FinetuneResult:
    return finetune(tiny, Numbers(12), RULES[request.param], CONFIG, clean=Numbers(7), progress=False)


@pytest.fixture(scope="module")
def saved(result: FinetuneResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("guards") / "adapter", training_record(result))


def measured(vlm: VisionLanguageModel, **options: Any) -> Record:
    return pcvr.evaluate(vlm, TESTS, ATTACK, max_new_tokens=6, check_trigger=False, **options)


class TestAnswers:
    def test_the_lines_of_the_readme_answer_through_the_guard(self, result: FinetuneResult) -> None:
        record = measured(result.model)
        assert record.guard == result.defense.name and record.guard_off is None
        assert f"guarded by {record.guard}" in str(record) and f"guarded by {record.guard}" in record._repr_html_()
        bare = replace(result.model, guard=None)
        assert record.answers == measured(bare, defense=result.defense, state=result.run.state).answers
        assert record.answers != measured(bare).answers

    def test_guard_false_gives_the_models_own_answers_and_says_so(self, result: FinetuneResult) -> None:
        own, off = measured(replace(result.model, guard=None)), measured(result.model, guard=False)
        assert off.answers == own.answers
        assert (off.guard, off.guard_off) == (None, result.defense.name)
        assert f"guard {result.defense.name} off" in str(off) and "guard" not in str(own)
        assert off.to_dict()["guard_off"] == result.defense.name and "guard" not in off.to_dict()
        assert not {"guard", "guard_off"} & own.to_dict().keys(), "records without a guard are as they were"

    def test_generate(self, result: FinetuneResult) -> None:
        images, prompts = asked(TESTS)
        own = pcvr.generate(result.model, images, prompts, 6, guard=False)
        assert own == pcvr.generate(replace(result.model, guard=None), images, prompts, 6)
        assert pcvr.generate(result.model, images, prompts, 6) == measured(result.model).answers["clean"] != own

    def test_a_copy_keeps_it_and_a_new_training_does_not(
        self, result: FinetuneResult, tiny: VisionLanguageModel
    ) -> None:
        assert result.model.copy().guard is result.model.guard
        again = finetune(replace(tiny, guard=result.model.guard), Numbers(8), "none", CONFIG, progress=False)
        assert again.model.guard is None

    def test_calibrating_again_leaves_the_guard_out(self, result: FinetuneResult) -> None:
        rule = RULES[result.defense.name]
        again, bare = (rule.calibrate(v, Numbers(5)) for v in (result.model, replace(result.model, guard=None)))
        assert np.array_equal(again[rule.name].scores, bare[rule.name].scores)

    def test_both_off_and_given_is_refused(self, result: FinetuneResult) -> None:
        with pytest.raises(PcvrError, match=r"guard is False, and defense '.*' acts at test time"):
            measured(result.model, guard=False, defense=result.defense, state=result.run.state)
        assert measured(result.model, guard=False, defense="none").guard_off == result.defense.name

    @pytest.mark.parametrize("value", [None, 1, "off"])
    def test_guard_is_a_flag(self, result: FinetuneResult, value: Any) -> None:
        with pytest.raises(PcvrError, match=r"guard is .*: give True or False"):
            measured(result.model, guard=value)
        with pytest.raises(PcvrError, match=r"guard is .*: give True or False"):
            pcvr.generate(result.model, [], [], guard=value)

    def test_other_defences_have_none(self, tiny: VisionLanguageModel) -> None:
        result = finetune(tiny, Numbers(8), "none", CONFIG, progress=False)
        assert result.model.guard is None and measured(result.model).guard is None


class Asks(Defense):
    """Asks the model by itself, and not through what it is handed."""

    name = "asks"

    def answer(self, vlm: Any, images: Any, prompts: Any, generate: Any, state: Any = None) -> list[str]:
        return [f"{state['how']} {text}" for text in pcvr.generate(vlm, images, prompts, 3)]


def test_a_guard_may_ask_the_model_itself(tiny: VisionLanguageModel) -> None:
    images, prompts = asked(Numbers(2))
    own = generate(tiny, images, prompts, 3)
    assert pcvr.generate(replace(tiny, guard=Guard(Asks(), {"how": "well,"})), images, prompts) == [
        f"well, {text}" for text in own
    ]


class Says(Defense):
    """Says the same to everything."""

    def answer(self, vlm: Any, images: Any, prompts: Any, generate: Any, state: Any = None) -> list[str]:
        return [state["text"]] * len(images)


def test_a_guard_answers_every_input(tiny: VisionLanguageModel) -> None:
    class Silent(Says):
        name = "silent"

        def answer(self, vlm: Any, images: Any, prompts: Any, generate: Any, state: Any = None) -> list[str]:
            return []

    with pytest.raises(PcvrError, match="'silent' gave 0 answers to 2 inputs"):
        pcvr.generate(replace(tiny, guard=Guard(Silent(), {})), *asked(Numbers(2)))


def test_a_watch_answers_through_the_guard(tiny: VisionLanguageModel) -> None:
    attack = pcvr.get_attack("badnets", size=8, target="all the same")
    for guard, hits in ((None, 0), (Guard(Says(), {"text": "all the same"}), 4)):
        watch = BackdoorWatch(replace(tiny, guard=guard), Numbers(4), attack, max_new_tokens=2)
        watch.on_train_begin(None, None, None, model=tiny.model)
        assert (watch.points[0].hits, watch.points[0].clean_hits, watch.points[0].n) == (hits, hits, 4)


def test_many_inputs_come_in_parts(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcvr.models.generate.MOST_ANSWERED", 4)
    sizes = []

    class Counts(Defense):
        def answer(self, vlm: Any, images: Any, prompts: Any, generate: Any, state: Any = None) -> list[str]:
            sizes.append(len(images))
            said: list[str] = generate(vlm, images, prompts)
            return said

    images, prompts = asked(Numbers(9))
    assert generate(replace(tiny, guard=Guard(Counts(), {})), images, prompts, 3) == generate(tiny, images, prompts, 3)
    assert sizes == [4, 4, 1]


class TestFiles:
    @pytest.mark.parametrize("how", ["with a record", "without", "by the model itself", "opened and saved again"])
    def test_it_comes_back(
        self, result: FinetuneResult, saved: Path, tiny_folder: Path, tmp_path: Path, how: str
    ) -> None:
        folder = saved
        if how == "without":
            folder = result.save(tmp_path / "adapter")
        elif how == "by the model itself":
            folder = result.model.save_adapter(tmp_path / "adapter")
        elif how == "opened and saved again":
            folder = pcvr.load(tiny_folder, adapter=saved, device="cpu").save_adapter(tmp_path / "adapter")
        opened = pcvr.load(tiny_folder, adapter=folder, device="cpu")
        assert opened.guard is not None and opened.guard.rule == result.defense
        assert measured(opened).answers == measured(result.model).answers
        assert measured(opened, guard=False).answers == measured(result.model, guard=False).answers
        assert guard_of(folder)[0] == result.defense

    def test_an_open_model_gets_it_too(
        self, result: FinetuneResult, saved: Path, tiny: VisionLanguageModel, tmp_path: Path
    ) -> None:
        plain = finetune(tiny, Numbers(8), "none", CONFIG, progress=False).save(tmp_path / "plain")
        opened = pcvr.load(tiny.copy(), adapter=saved)
        assert opened.guard is not None and opened.guard.name == result.defense.name
        assert pcvr.load(opened).guard is opened.guard
        assert pcvr.load(tiny.copy(), adapter=plain).guard is None

    def test_no_way_in_forgets_it(self, saved: Path, tiny_folder: Path, tiny: VisionLanguageModel) -> None:
        for open_it in (
            lambda: open_model(tiny_folder, adapter=saved, device="cpu"),
            lambda: open_model(tiny.copy(), saved),
            lambda: put_adapter(tiny.copy(), saved),
        ):
            with pytest.raises(PcvrError, match=r"has a guard: open it with pcvr\.load"):
                open_it()

    @pytest.mark.parametrize("lost", [("json",), ("safetensors",), ("json", "safetensors")])
    def test_a_missing_guard_is_said(
        self, saved: Path, tiny_folder: Path, tmp_path: Path, lost: tuple[str, ...]
    ) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "adapter"))
        for ending in lost:
            (folder / f"guard.{ending}").unlink()
        with pytest.raises(PcvrError, match=r"guard is missing: copy|cannot be read .*guard is damaged") as caught:
            pcvr.load(tiny_folder, adapter=folder, device="cpu")
        assert str(folder) in str(caught.value)
        for file in (*folder.glob("guard.*"), folder / "record.json"):
            file.unlink()
        assert pcvr.load(tiny_folder, adapter=folder, device="cpu").guard is None

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda guard: guard[:50], "cannot be read"),
            (lambda guard: "[]", "holds no guard"),
            (lambda guard: guard.replace('"threshold": ', '"threshold": "high", "was": '), "cannot be read"),
            (lambda guard: guard.replace('"threshold": ', '"threshold": NaN, "was": '), "cannot be read"),
            (lambda guard: guard.replace("pcvr.defenses.baselines", "os"), "cannot be read .*not a known dataclass"),
            (lambda guard: guard.replace("pcvr.models.guard", "pcvr.views"), "cannot be read"),
            (lambda guard: json.dumps(json.loads(guard) | {"module": "pcvr.views", "class": "PatchView"}), "cannot be"),
        ],
    )
    def test_damage_is_one_sentence(
        self, saved: Path, tiny_folder: Path, tmp_path: Path, change: Callable[[str], str], said: str
    ) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "adapter"))
        file = folder / "guard.json"
        before = file.read_text(encoding="utf-8")
        file.write_text(change(before), encoding="utf-8")
        assert file.read_text(encoding="utf-8") != before
        with pytest.raises(PcvrError, match=said) as caught:
            pcvr.load(tiny_folder, adapter=folder, device="cpu")
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)

    def test_a_guard_that_guards_nothing(self, saved: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "adapter"))
        told = json.loads((folder / "guard.json").read_text(encoding="utf-8"))
        told["fields"]["rule"] = {
            "@": "dataclass", "module": "pcvr.defenses.baselines.plain", "class": "PlainSFT", "fields": {}
        }  # fmt: skip
        (folder / "guard.json").write_text(json.dumps(told), encoding="utf-8")
        with pytest.raises(PcvrError, match="'none', which does not act at test time or"):
            read_guard(folder)

    def test_records_of_others_are_no_concern(self, tmp_path: Path) -> None:
        for content in ("[]", "{}", '{"defense": "strip"}', '{"defense": {"name": "elsewhere", "options": {}}}'):
            (tmp_path / "record.json").write_text(content, encoding="utf-8")
            assert read_guard(tmp_path) is None
        assert read_guard(tmp_path / "nowhere") is None
        (tmp_path / "record.json").write_text("{", encoding="utf-8")
        with pytest.raises(PcvrError, match=r"record\.json is not valid JSON"):
            read_guard(tmp_path)

    def test_a_defence_that_nobody_registered(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        result = finetune(tiny, Numbers(8), Asks(), CONFIG, progress=False)
        assert result.model.guard is not None
        with pytest.raises(PcvrError, match="has to be registered first"):
            read_guard(result.save(tmp_path / "adapter"))


class TestCalibration:
    def test_a_threshold_that_nothing_exceeds(self) -> None:
        with pytest.raises(PcvrError, match="threshold is nan"):
            Calibration(float("nan"), np.zeros(2))

    def test_the_old_names_of_the_scores(self, result: FinetuneResult) -> None:
        known = result.run.state[result.defense.name]
        old = {"strip": "stability", "cleansight": "distances"}[result.defense.name]
        with pytest.warns(DeprecationWarning, match="scores"):
            assert getattr(known, old) is known.scores


@pytest.mark.parametrize(("count", "rate", "least"), [(100, 0.01, 0), (4, 0.5, 0), (99, 0.01, 100)])
def test_few_trusted_samples(count: int, rate: float, least: int) -> None:
    run: Any = SimpleNamespace(state={"strip": StripCalibration(0.5, np.zeros(count), ())})
    notes = Strip(false_refusals=rate).notes(run)
    assert len(notes) == bool(least)
    assert all(f"'strip' had few trusted samples ({count})" in n and f"at least {least}" in n for n in notes)

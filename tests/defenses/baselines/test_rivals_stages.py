"""Rival defences that train in stages: what all share, ABL and clean tuning; formulas against other calculations."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import pcvr
from pcvr import Dataset, PcvrError, TrainConfig, VisionLanguageModel, finetune, generate, get_defense
from pcvr.defenses.baselines import abl
from pcvr.defenses.baselines.abl import ABL
from pcvr.defenses.baselines.bye import BYE
from pcvr.defenses.baselines.clean_tune import CleanTune
from pcvr.defenses.baselines.fine_prune import FinePrune
from pcvr.defenses.baselines.tcap import TCAP
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import IGNORE, Batch, EncodedData
from tests.families import write
from tests.rivals import FAMILIES, SHORT, Calls, Masked, begun
from tests.tiny import Numbers

LOSSES = st.lists(st.floats(0, 20, allow_nan=False, width=32), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


def own_losses(run: TrainingContext) -> np.ndarray:
    """Each sample's loss as transformers computes it."""
    found = []
    for i in range(len(run.data)):
        batch = run.data.batch([i])
        with torch.no_grad():
            found.append(run.vlm.model(**{k: v for k, v in batch.items() if k != "index"}).loss.item())
    return np.array(found)


@pytest.mark.parametrize("rule", [ABL(), BYE(), CleanTune(), FinePrune(), TCAP()], ids=lambda rule: str(rule.name))
def test_each_trains_every_family(vlm: VisionLanguageModel, rule: Any) -> None:
    assert get_defense(rule.name) == rule
    result = finetune(vlm, Numbers(), rule, SHORT, clean=Numbers(5), progress=False)
    assert result.history
    assert all(math.isfinite(entry["loss"]) for entry in result.history)
    sample = Numbers()[0]
    assert len(generate(result.model, [sample.image], [sample.prompt], 2)) == 1
    assert not result.model.model.training


@pytest.mark.parametrize("name", ["clean_tune", "fine_prune"])
def test_clean_data_is_asked_for_before_any_work(vlm: VisionLanguageModel, name: str) -> None:
    for clean in (None, Numbers(0)):
        with pytest.raises(PcvrError, match=f"'{name}' needs clean data"):
            finetune(vlm, Numbers(), name, SHORT, clean=clean, progress=False)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan"), True, "half"])
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("abl", "portion"),
        ("abl", "early"),
        ("abl", "late"),
        ("clean_tune", "fraction"),
        ("fine_prune", "fraction"),
        ("fine_prune", "prune"),
    ],
)
def test_a_share_lies_inside_0_and_1(name: str, option: str, value: Any) -> None:
    with pytest.raises(PcvrError, match=f"^{option} is {value!r}"):
        get_defense(name, **{option: value})


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), None])
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("abl", "gamma"),
        ("abl", "late_rate"),
        ("abl", "ceiling"),
        ("bye", "apart"),
        ("clean_tune", "rate"),
        ("fine_prune", "rate"),
    ],
)
def test_what_has_to_be_above_0(name: str, option: str, value: Any) -> None:
    with pytest.raises(PcvrError, match=f"^{option} is {value!r}"):
        get_defense(name, **{option: value})


@pytest.mark.parametrize("name", ["abl", "bye", "tcap"])
def test_one_sample_is_too_few(vlm: VisionLanguageModel, name: str) -> None:
    with pytest.raises(PcvrError, match=f"'{name}' got 1 sample: give at least 2"):
        finetune(vlm, Numbers(1), name, SHORT, progress=False)


class TestABL:
    @given(LOSSES, st.floats(0.01, 5))
    def test_flooding(self, values: list[float], gamma: float) -> None:
        losses = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        loss = abl.flooded(losses, gamma)
        terms = [v if v > gamma else -v if v < gamma else 0 for v in values]
        assert loss.item() == pytest.approx(sum(terms) / len(values))
        loss.backward()
        assert losses.grad is not None
        assert np.allclose(losses.grad * len(values), [np.sign(v - gamma) for v in values])

    @given(LOSSES, st.integers(0, 2**12 - 1), st.floats(0.1, 10))
    def test_unlearning(self, values: list[float], bits: int, ceiling: float) -> None:
        marks = [bool(bits >> i & 1) for i in range(len(values))]
        losses = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        loss = abl.unlearning(losses, torch.tensor(marks), ceiling)
        kept = [v for v, mark in zip(values, marks, strict=True) if not mark]
        away = [max(ceiling - v, 0) for v, mark in zip(values, marks, strict=True) if mark]
        expected = (sum(kept) / len(kept) if kept else 0) + (sum(away) / len(away) if away else 0)
        assert loss.item() == pytest.approx(expected)
        loss.backward()
        assert losses.grad is not None
        for v, mark, slope in zip(values, marks, losses.grad.tolist(), strict=True):
            if mark:  # pushed up below the ceiling, left alone above it
                assert slope == pytest.approx(-1 / len(away) if v < ceiling else 0)

    def test_a_samples_loss_is_that_of_transformers(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        run.vlm.model.train()
        found = abl.all_losses(run, batch_size=4)
        assert run.vlm.model.training
        run.vlm.model.eval()
        assert np.allclose(found, own_losses(run), rtol=1e-4)
        assert len(set(found.round(3))) > 3

    @given(st.lists(st.floats(0, 9), min_size=2, max_size=30), st.floats(0.001, 0.999))
    def test_the_lowest(self, values: list[float], portion: float) -> None:
        losses = np.array(values)
        taken = abl.lowest(losses, portion)
        assert taken.sum() == min(max(1, round(portion * len(values))), len(values) - 1)
        assert losses[taken].max() <= losses[~taken].min()

    def test_its_stages(self, vlm: VisionLanguageModel) -> None:
        run, rule = begun(vlm), ABL(portion=0.2, early=0.25, late=0.5, late_rate=0.1)
        calls = Calls(run)
        rule.begin(run)
        rule.train(run, calls)
        run.vlm.model.eval()
        losses = own_losses(run)
        isolated = sorted(np.argsort(losses)[:2].tolist())
        others = [i for i in range(10) if i not in isolated]
        assert run.state["isolated"].nonzero()[:, 0].tolist() == isolated
        first, second, third = calls.made
        assert (first.name, first.fraction, first.rows) == ("isolate", 0.25, None)
        assert (second.name, second.fraction, second.rows) == ("train", 0.25, others)
        assert (third.name, third.fraction, third.rate) == ("unlearn", 0.5, 0.1)
        assert sorted(third.rows or []) == sorted(others + 4 * isolated), "half of it isolated"
        assert not any(call.fresh or call.clean for call in calls.made)
        (scoring,) = run.state["scorings"]
        assert np.allclose(scoring["scores"], losses, rtol=1e-4)
        assert scoring["gate"].suspicion.nonzero()[0].tolist() == isolated
        low, high = losses[isolated], losses[others]
        pooled = math.sqrt((sum((low - low.mean()) ** 2) + sum((high - high.mean()) ** 2)) / 10)
        assert scoring["gate"].separation == pytest.approx((high.mean() - low.mean()) / pooled, rel=1e-3)

    def test_each_stage_has_its_loss(self, vlm: VisionLanguageModel) -> None:
        run, rule = begun(vlm), ABL(gamma=30.0, ceiling=40.0)
        rule.begin(run)
        run.vlm.model.eval()
        losses = own_losses(run)[:4]
        assert losses.max() < 30
        run.state["isolated"][[1, 2]] = True
        expected = {
            "isolate": -losses.mean(),
            "train": losses.mean(),
            "unlearn": losses[[0, 3]].mean() + 40 - losses[[1, 2]].mean(),
        }
        for run.stage, value in expected.items():
            assert rule.loss(run, run.data.batch(range(4))).item() == pytest.approx(value, rel=1e-4)

    def test_the_ascent_ends_at_its_ceiling(self, tiny: VisionLanguageModel) -> None:
        rule = ABL(portion=0.2, early=0.3, late=0.5, late_rate=1.0, ceiling=2.0)
        config = TrainConfig(max_steps=40, batch_size=8, learning_rate=1e-2)
        run = finetune(tiny, Numbers(10), rule, config, progress=False).run
        isolated = run.state["isolated"].numpy()
        losses = abl.all_losses(run)
        assert 1.0 < losses[isolated].mean() < 6.0
        assert losses[~isolated].mean() < 0.6 * losses[isolated].mean()

    def test_the_sign_is_of_the_batch_or_of_each_sample(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        run.vlm.model.eval()
        run.stage = "isolate"
        losses = own_losses(run)[:4]
        gamma = float(np.median(losses))
        assert losses.mean() != gamma and losses.min() < gamma < losses.max()
        batch = run.data.batch(range(4))
        whole, each = (ABL(gamma=gamma, per=per).loss(run, batch).item() for per in ("batch", "sample"))
        assert whole == pytest.approx(np.sign(losses.mean() - gamma) * losses.mean(), rel=1e-3)
        assert each == pytest.approx(np.mean(np.sign(losses - gamma) * losses), rel=1e-3)
        with pytest.raises(PcvrError, match="unknown choice of per 'samples': did you mean 'sample'"):
            ABL(per="samples")

    def test_no_room_between_the_stages(self) -> None:
        with pytest.raises(PcvrError, match=r"early and late are 0.5 and 0.5: together they must lie below 1"):
            ABL(early=0.5, late=0.5)

    def test_answers_that_are_all_masked(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        run.data = Masked(run.vlm, Numbers(4))
        ABL().begin(run)
        with pytest.raises(PcvrError, match="4 of 4 samples of a batch have no answer token"):
            ABL().loss(run, run.data.batch(range(4)))
        with pytest.raises(PcvrError, match="have no answer token"):
            ABL().train(run, Calls(run))


class TestCleanTune:
    @pytest.mark.parametrize("rate", [0.1, 2.0])
    def test_its_learning_rate_is_an_option(self, tiny: VisionLanguageModel, rate: float) -> None:
        config = TrainConfig(max_steps=4, batch_size=4, learning_rate=1e-3, warmup_ratio=0.0)
        result = finetune(tiny, Numbers(), CleanTune(fraction=0.5, rate=rate), config, clean=Numbers(5), progress=False)
        assert result.history[4]["learning_rate"] == pytest.approx(rate * 1e-3)

    def test_its_stages(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        calls = Calls(run)
        CleanTune(fraction=0.3, rate=0.5).train(run, calls)
        first, second = calls.made
        assert (first.name, first.fraction, first.clean) == ("train", 1.0, False)
        assert (second.name, second.fraction, second.rate, second.clean) == ("clean", 0.3, 0.5, True)
        assert not second.fresh and second.rows is None

    def test_the_second_stage_sees_the_clean_samples_only(self, tiny: VisionLanguageModel) -> None:
        seen: dict[str, set[int]] = {"train": set(), "clean": set()}

        @dataclass(frozen=True)
        class Spying(CleanTune):
            def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
                seen[run.stage] |= set(batch["labels"][batch["labels"] != IGNORE].tolist())
                return super().loss(run, batch)

        word = tiny.tokenizer("boat")["input_ids"][-1]
        finetune(tiny, Numbers(), Spying(fraction=0.5), SHORT, clean=Numbers(5, answers=("boat",)), progress=False)
        assert word not in seen["train"]
        assert seen["clean"] == {word, tiny.tokenizer.eos_token_id}

    def test_clean_answers_that_are_all_masked(
        self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def made(vlm: VisionLanguageModel, data: Dataset) -> EncodedData:
            return (Masked if len(data) == 5 else EncodedData)(vlm, data)

        monkeypatch.setattr(sys.modules["pcvr.training.finetune"], "EncodedData", made)
        with pytest.raises(PcvrError, match="check the data for empty answers"):
            finetune(tiny, Numbers(), "clean_tune", SHORT, clean=Numbers(5), progress=False)

"""Defences by name, their options, and what a run with them does to a batch."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr import (
    PCVR,
    AugmentOnly,
    PatchView,
    PcvrError,
    PlainSFT,
    TrainConfig,
    VisionLanguageModel,
    finetune,
    get_defense,
)
from pcvr.defenses import DEFENSES, StagePlan
from pcvr.defenses.base import Fit
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.stage_plan import as_plan
from pcvr.models.encode import Batch, EncodedData
from pcvr.models.forward import AnswerLogits
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run about to begin: adapter on, five steps, pictures as pictures."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    return TrainingContext(vlm=vlm, data=EncodedData(vlm, Numbers()), steps=5, seed=0)


class TestByName:
    @pytest.mark.parametrize(("name", "kind"), [("none", PlainSFT), ("augment", AugmentOnly), ("pcvr", PCVR)])
    def test_known(self, name: str, kind: type) -> None:
        rule = get_defense(name)
        assert isinstance(rule, kind)
        assert rule == kind()
        assert rule.name == name

    def test_options(self) -> None:
        assert get_defense("pcvr", cap=0.3, gate="none") == PCVR(cap=0.3, gate="none")
        assert get_defense("augment", views="both") == AugmentOnly("both")

    def test_the_nearest_name_is_suggested(self) -> None:
        with pytest.raises(PcvrError, match="unknown defence 'pcv': did you mean 'pcvr'"):
            get_defense("pcv")
        with pytest.raises(PcvrError, match=r"choose one of: abl, augment, .* none, .*pcvr, pcvr_paper"):
            get_defense("xyzzy")

    def test_an_unknown_option_names_the_known_ones(self) -> None:
        with pytest.raises(PcvrError, match=r"no option capp: it takes .*cap"):
            get_defense("pcvr", capp=1)
        with pytest.raises(PcvrError, match="no option cap: it takes none"):
            get_defense("none", cap=1)

    @pytest.mark.parametrize("name", sorted(DEFENSES))
    def test_configs_are_frozen(self, name: str) -> None:
        rule = get_defense(name)
        with pytest.raises((FrozenInstanceError, TypeError)):
            rule.view = None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("apart_weight", -1),
        ("apart_weight", float("nan")),
        ("entropy_weight", -0.1),
        ("entropy_weight", float("inf")),
        ("entropy_margin", -0.1),
        ("feature_weight", -1),
        ("cap", 0),
        ("cap", 0.7),
        ("cap", float("nan")),
        ("feature_cap", 1),
        ("feature_cap", -1.5),
        ("score_views", 0),
        ("scan_at", ()),
        ("scan_at", (0.5, 1.0)),
        ("scan_at", (0.0,)),
    ],
)
def test_pcvr_names_the_option_that_is_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(PcvrError, match=f"^{field} must"):
        PCVR(**{"gate": "two_stage", field: value})


def test_augment_names_the_choice() -> None:
    with pytest.raises(PcvrError, match="unknown choice of views 'bot': did you mean 'both'"):
        AugmentOnly(views="bot")


class TestLosses:
    def test_plain(self, run: TrainingContext) -> None:
        batch = run.data.batch([0, 1, 2])
        said = run.forward(batch)
        assert PlainSFT().loss(run, batch).item() == pytest.approx(cross_entropy(said.logits, said.targets).item())

    def test_augment_trains_on_the_view(self, run: TrainingContext) -> None:
        batch = run.data.batch([0, 1, 2])
        view = PatchView("mean", 1.0)
        grey = {**batch, "pixel_values": batch["pixel_values"].mean((2, 3), keepdim=True).expand(-1, -1, 48, 48)}
        expected = PlainSFT().loss(run, grey).item()
        plain = PlainSFT().loss(run, batch).item()
        assert abs(plain - expected) > 1e-3
        assert AugmentOnly("one", view).loss(run, batch).item() == pytest.approx(expected, rel=1e-5)
        assert AugmentOnly("both", view).loss(run, batch).item() == pytest.approx((expected + plain) / 2, rel=1e-5)

    def test_pcvr_is_plain_before_the_first_scoring(self, run: TrainingContext) -> None:
        rule = PCVR(gate="two_stage", scan_at=(0.6,))
        rule.begin(run)
        batch = run.data.batch([0, 1, 2])
        assert rule.loss(run, batch).item() == pytest.approx(PlainSFT().loss(run, batch).item())

    def test_pcvr_with_every_part_off_and_no_gate_stays_plain(self, run: TrainingContext) -> None:
        rule = PCVR(scan_at=(0.4,), gate="none", apart_weight=0, entropy_weight=0, feature_weight=0)
        rule.begin(run)
        run.step = 2
        batch = run.data.batch([0, 1, 2])
        assert rule.loss(run, batch).item() == pytest.approx(PlainSFT().loss(run, batch).item())

    @pytest.mark.parametrize("part", ["apart_weight", "feature_weight"])
    def test_each_part_of_pcvr_has_its_switch(self, run: TrainingContext, part: str) -> None:
        off = PCVR(scan_at=(0.4,), gate="none", fade=False, apart_weight=0, entropy_weight=0, feature_weight=0)
        rule = replace(off, **{part: 1.0})  # type: ignore[arg-type]
        rule.begin(run)
        run.step = 2
        batch = run.data.batch([0, 1, 2])
        loss = rule.loss(run, batch)
        assert loss.item() > PlainSFT().loss(run, batch).item()
        loss.backward()
        grads = [p.grad for p in run.vlm.model.parameters() if p.requires_grad and p.grad is not None]
        assert grads
        assert all(torch.isfinite(g).all() for g in grads)

    @pytest.mark.parametrize("part", ["apart_weight", "feature_weight"])
    def test_the_push_fades_with_the_likelihood_of_the_answer(
        self, run: TrainingContext, part: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        off = PCVR(scan_at=(0.4,), gate="none", apart_weight=0, entropy_weight=0, feature_weight=0)
        batch = run.data.batch([0, 1, 2])
        plain = PlainSFT().loss(run, batch).item()
        added = {}
        for likelihood, fade in ((0.0, True), (0.25, True), (1.0, True), (0.0, False)):
            monkeypatch.setattr(AnswerLogits, "likelihood", lambda said, p=likelihood: torch.full((said.samples,), p))
            rule = replace(off, fade=fade, **{part: 1.0})  # type: ignore[arg-type]
            rule.begin(run)
            run.step = 2
            run.generator.manual_seed(3)
            added[likelihood, fade] = rule.loss(run, batch).item() - plain
        assert added[0.0, True] == pytest.approx(0, abs=1e-5)
        assert added[0.25, True] == pytest.approx(added[1.0, True] / 4, rel=1e-3)
        assert added[1.0, True] == pytest.approx(added[0.0, False], rel=1e-5) and added[1.0, True] > 0


class TestStagePlan:
    @pytest.mark.parametrize("part", ["fraction", "rate", "stop"])
    def test_what_is_refused(self, part: str) -> None:
        values: tuple[Any, ...] = (0, -1, float("nan"), True, "half")
        for value in values:
            with pytest.raises(PcvrError, match=f"{part} is "):
                replace(StagePlan(), **{part: value})

    def test_steps(self) -> None:
        assert [StagePlan(fraction=f).steps(10) for f in (0.01, 0.25, 0.35, 1, 2)] == [1, 2, 4, 10, 20]
        assert [StagePlan(stop=f).last_step(10) for f in (0.01, 0.5, 1)] == [1, 5, 10]

    def test_samples_of_a_step(self) -> None:
        assert [StagePlan(batch_size=b).samples(12) for b in (None, 1, 5, 12, 40)] == [12, 1, 5, 12, 12]
        assert [StagePlan(batch_size=b).samples(12, 4) for b in (None, 1, 5, 9, 40)] == [12, 4, 4, 8, 12]
        for value in (0, 1.5, True):
            with pytest.raises(PcvrError, match="batch_size is "):
                StagePlan(batch_size=value)  # type: ignore[arg-type]

    def test_a_stage_trains_with_its_samples_of_a_step(self, tiny: VisionLanguageModel) -> None:
        sizes: list[int] = []

        class Counting(PlainSFT):
            def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
                sizes.append(len(batch["index"]))
                return super().loss(run, batch)

            def train(self, run: TrainingContext, fit: Fit) -> None:
                fit()
                fit(StagePlan("few", batch_size=3))
                fit(StagePlan("last"))

        config = TrainConfig(max_steps=2, batch_size=6, gradient_accumulation_steps=2)
        finetune(tiny, Numbers(12), Counting(), config, progress=False)
        assert sizes == [3] * 4 + [1] * 4 + [3] * 4, "micro-batches of three stages; 3 is no multiple of 2"

    def test_the_older_form_still_works_and_warns(self) -> None:
        assert as_plan() == StagePlan() and as_plan(StagePlan("x", rate=2)) == StagePlan("x", rate=2)
        with pytest.warns(DeprecationWarning, match=r"fit\(StagePlan\("):
            assert as_plan("x", share=0.5, rows=[1]) == StagePlan("x", fraction=0.5, rows=[1])
        with pytest.warns(DeprecationWarning, match="plan"):
            assert as_plan(stage="x") == StagePlan("x")

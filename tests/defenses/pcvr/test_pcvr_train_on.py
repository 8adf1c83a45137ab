"""The cross-entropy of the original, of the view, or of both: each against an independent calculation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

from pcvr import AugmentOnly, PatchView, TrainConfig, VisionLanguageModel
from pcvr.defenses import PaperPCVR
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr.config import TRAIN_ON
from pcvr.models.encode import EncodedData
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers

VIEW = PatchView("swap", 0.6)
OFF: dict[str, Any] = {"entropy_weight": 0.0, "apart_weight": 0.0, "feature_weight": 0.0, "view": VIEW}
ROWS, SEED = range(6), 3


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run whose adapter does something, and whose views are of pixels."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return TrainingContext(vlm=vlm, data=EncodedData(vlm, Numbers()), steps=10, seed=0)


def terms(run: TrainingContext, rule: PaperPCVR, gate: Tensor | None = None) -> dict[str, Tensor]:
    """The terms on the first samples, always with the same view of them."""
    batch = run.data.batch(ROWS)
    said = run.forward(batch, hidden=bool(rule.feature_weight))
    run.generator.manual_seed(SEED)
    run.state["entropy"] = 0.0
    return rule.terms(run, batch, said, torch.ones(len(ROWS)) if gate is None else gate)


def gradient(run: TrainingContext, value: Tensor) -> Tensor:
    """The gradient of a scalar, all trained weights in one vector."""
    weights = [w for w in run.vlm.model.parameters() if w.requires_grad]
    found = torch.autograd.grad(value, weights, allow_unused=True)
    whole = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
    return torch.cat([part.flatten() for part in whole])


@pytest.mark.parametrize("train_on", TRAIN_ON)
def test_by_hand_with_half_trusted_samples(run: TrainingContext, train_on: str) -> None:
    """Each image's tokens count by the trust in their sample, and the mean of both images is taken last."""
    gate = torch.tensor([0.0, 1.0, 0.5, 0.0, 0.25, 1.0])
    rule = PaperPCVR(**OFF, gate="batch", train_on=train_on)
    found = terms(run, rule, gate)["cross_entropy"].item()
    batch = run.data.batch(ROWS)
    run.generator.manual_seed(SEED)
    with torch.no_grad():
        images = {"original": run.forward(batch), "view": run.forward(run.view(batch, VIEW))}
    expected = {}
    for name, said in images.items():
        each = -log_softmax(said.logits.double().numpy(), 1)[np.arange(len(said.targets)), said.targets.numpy()]
        trust = 1 - gate.numpy()[said.owner.numpy()]
        expected[name] = float((trust * each).sum() / trust.sum())
    expected["both"] = (expected["original"] + expected["view"]) / 2
    assert abs(expected["original"] - expected["view"]) > 1e-3, "the images differ, so that the test can fail"
    assert found == pytest.approx(expected[train_on], rel=1e-5)


@pytest.mark.parametrize(("train_on", "views"), [("view", "one"), ("both", "both")])
def test_without_other_terms_it_is_augmentation(run: TrainingContext, train_on: str, views: str) -> None:
    """The decisive control: the same value and the same gradient, which reaches the weights through the view."""
    batch = run.data.batch(ROWS)
    control = AugmentOnly(views=views, view=VIEW)
    run.generator.manual_seed(SEED)
    expected = control.loss(run, batch)
    found = terms(run, PaperPCVR(**OFF, train_on=train_on))["cross_entropy"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient(run, found), gradient(run, expected), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("term", ["apart", "features"])
@pytest.mark.parametrize("train_on", ["view", "both"])
def test_views_are_pulled_apart_as_before(run: TrainingContext, train_on: str, term: str) -> None:
    """The view that is trained on is the one that is pulled away from, and these terms still move the original only."""
    rule = PaperPCVR(view=VIEW, apart_weight=1.0, feature_weight=1.0, entropy_weight=0.0, cap=0.6)
    before, now = terms(run, rule), terms(run, replace(rule, train_on=train_on))
    assert before[term].item() > 0
    assert now[term].item() == pytest.approx(before[term].item(), rel=1e-5)
    push = gradient(run, before[term])
    assert push.abs().max() > 0
    torch.testing.assert_close(gradient(run, now[term]), push, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("train_on", TRAIN_ON)
@pytest.mark.parametrize("views", [1, 2])
def test_no_more_views_than_needed(
    run: TrainingContext, monkeypatch: pytest.MonkeyPatch, train_on: str, views: int
) -> None:
    drawn: list[int] = []
    view = TrainingContext.view

    def noting(self: TrainingContext, batch: Any, how: PatchView, rows: Tensor | None = None) -> Any:
        drawn.append(len(batch["index"]) if rows is None else len(rows))
        return view(self, batch, how, rows)

    monkeypatch.setattr(TrainingContext, "view", noting)
    terms(run, PaperPCVR(view=VIEW, apart_weight=1.0, apart_views=views, train_on=train_on))
    assert drawn == [len(ROWS)] * views


def test_the_default_draws_no_view_for_the_cross_entropy(run: TrainingContext) -> None:
    assert PaperPCVR().train_on == "original"
    run.generator.manual_seed(SEED)
    before = run.generator.get_state()
    terms(run, PaperPCVR(**OFF))
    assert torch.equal(run.generator.get_state(), before)


def test_before_the_regulariser_the_original_is_trained_on(run: TrainingContext) -> None:
    rule = PaperPCVR(**OFF, train_on="view", scan_at=(0.5,))
    rule.begin(run)
    batch = run.data.batch(ROWS)
    losses = {}
    for run.step in (0, 5):
        run.generator.manual_seed(SEED)
        losses[run.step] = rule.loss(run, batch).item()
    plain = PaperPCVR(**OFF)
    assert losses[0] == pytest.approx(terms(run, plain)["cross_entropy"].item(), rel=1e-5)
    assert losses[5] == pytest.approx(terms(run, replace(plain, train_on="view"))["cross_entropy"].item(), rel=1e-5)

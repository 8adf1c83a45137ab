"""What suspicious answers are held to, and how a later scan finds samples that the first one missed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcvr import PCVR, PcvrError, TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr import anchor
from pcvr.defenses.pcvr.suspicion import _lowest_unflagged
from pcvr.models.encode import EncodedData
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run whose adapter does something: the base model says other words."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    data = EncodedData(vlm, Numbers())
    data.keep_features()
    run = TrainingContext(vlm=vlm, data=data, steps=10, seed=0)
    anchor.begin(run)
    run.state["trust"] = 1.0
    return run


def base_chances(run: TrainingContext, row: int) -> np.ndarray:
    """The base model's distribution of the first answer word: ``[V]``."""
    with torch.no_grad(), run.vlm.model.disable_adapter():
        logits = run.forward(run.data.batch([row])).logits[0].double()
    weights = np.exp(logits.numpy() - logits.numpy().max())
    return np.asarray(weights / weights.sum())


def test_the_likeliest_words_of_the_base_model_are_remembered(run: TrainingContext) -> None:
    run.vlm.model.eval()
    anchor.remember(run, [3, 7])
    for row in (3, 7):
        chances = base_chances(run, row)
        order = np.argsort(-chances)[: anchor.TOKENS]
        assert run.state["first words"][row].tolist() == order.tolist()
        expected = chances[order] / chances[order].sum()
        np.testing.assert_allclose(run.state["first chances"][row].numpy(), expected, rtol=1e-3)
    assert not run.state["first chances"][[0, 1, 2]].any(), "nobody else was asked"


def test_the_loss_by_hand(run: TrainingContext) -> None:
    run.vlm.model.eval()
    anchor.remember(run, [3, 7])
    batch = run.data.batch([7, 1, 3])
    said = run.forward(batch)
    gate = torch.tensor([1.0, 0.9, 0.5])
    expected = 0.0
    for place, row in ((0, 7), (2, 3)):
        first = int((said.owner == place).nonzero()[0, 0])
        logs = said.logits[first].log_softmax(-1).detach().double().numpy()
        words = run.state["first words"][row].numpy()
        expected -= float(gate[place]) * float((run.state["first chances"][row].double().numpy() * logs[words]).sum())
    assert anchor.anchor_loss(run, batch, said, gate).item() == pytest.approx(expected, rel=1e-4)


def test_it_pulls_towards_the_base_model(run: TrainingContext) -> None:
    run.vlm.model.eval()
    anchor.remember(run, [3])
    batch, likeliest = run.data.batch([3]), int(base_chances(run, 3).argmax())
    parameters = [p for p in run.vlm.model.parameters() if p.requires_grad]

    def chance() -> float:
        with torch.no_grad():
            return float(run.forward(batch).logits[0].softmax(-1)[likeliest])

    before = chance()
    optimiser = torch.optim.SGD(parameters, lr=1e-2)
    for _ in range(10):
        optimiser.zero_grad()
        anchor.anchor_loss(run, batch, run.forward(batch), torch.ones(1)).backward()
        optimiser.step()
    assert chance() > before


def test_nobody_is_asked_twice(run: TrainingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor.remember(run, [2])
    monkeypatch.setattr(TrainingContext, "forward", lambda *_: pytest.fail("asked again"))
    anchor.remember(run, [2])
    anchor.remember(run, [])


def test_the_base_model_is_judged_by_how_it_begins_answers_that_nobody_suspects(run: TrainingContext) -> None:
    run.vlm.model.eval()
    first = [
        int(run.data.batch([row])["labels"][0][run.data.batch([row])["labels"][0] != -100][0]) for row in (1, 4, 5)
    ]
    a = np.mean([base_chances(run, row)[word] for row, word in zip((1, 4, 5), first, strict=True)])
    anchor.judge(run, [1, 4, 5])
    assert run.state["trust"] == pytest.approx(max(0.0, 2 * a - 1), abs=1e-4)
    anchor.remember(run, [3])
    batch = run.data.batch([3])
    run.state["trust"] = 0.25
    some = anchor.anchor_loss(run, batch, run.forward(batch), torch.ones(1)).item()
    run.state["trust"] = 0.5
    assert anchor.anchor_loss(run, batch, run.forward(batch), torch.ones(1)).item() == pytest.approx(2 * some)
    anchor.judge(run, [])
    assert run.state["trust"] == 0.5, "nobody to judge by"


def test_a_later_look_takes_the_lowest_that_were_not_found() -> None:
    scores = np.array([0.5, 0.01, 0.3, 0.2, 0.9, 0.1])
    gate = np.array([0, 1.0, 0, 0, 0, 0.2])
    assert _lowest_unflagged(scores, gate, 0.5).tolist() == [2, 3, 5]
    assert _lowest_unflagged(scores, gate, 0.01).tolist() == [5], "at least one"


def test_a_later_look_leaves_the_other_scores(run: TrainingContext) -> None:
    rule = PCVR(gate="two_stage", scan_at=(0.2, 0.5), rescan_fraction=0.25)
    rule.begin(run)
    for run.step in (2, 5):
        rule.loss(run, run.data.batch(range(8)))
    first, second = (done["scores"] for done in run.state["scorings"])
    assert (first != second).sum() <= 3
    with pytest.raises(PcvrError, match=r"rescan_fraction must lie in \(0, 1\], got 0"):
        PCVR(gate="two_stage", rescan_fraction=0)

"""Samples of a learned backdoor are shown again: what is kept, and what it does to the loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pcvr import PCVR, TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr import streaming
from pcvr.defenses.pcvr.defense import PUSH_FLOOR
from pcvr.defenses.pcvr.replay import KEPT, Replay
from pcvr.models.encode import EncodedData
from pcvr.training.finetune import with_adapter
from pcvr.training.loop_context import LoopContext
from tests.tiny import Numbers


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run about to begin."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    return TrainingContext(vlm=vlm, data=EncodedData(vlm, Numbers(48)), steps=10, seed=0)


def numbers(kept: Replay) -> list[int]:
    """The numbers of the samples that are kept, in the order in which they are shown."""
    return [int(sample["index"]) for sample in kept.samples]


def test_the_latest_are_kept_once_each_and_never_more_than_a_few(run: TrainingContext) -> None:
    kept = Replay()
    batch = run.data.batch(range(12))
    kept.keep(run, batch, torch.tensor([1, 3]))
    kept.keep(run, batch, torch.tensor([3, 5]))
    assert numbers(kept) == [1, 3, 5]
    kept.keep(run, batch, torch.arange(12))
    assert len(kept.samples) == KEPT and numbers(kept)[-1] == 11
    batch["input_ids"].zero_()  # a batch that is gone does not change them
    assert all(sample["input_ids"].any() for sample in kept.samples)


def test_they_are_shown_in_turn(run: TrainingContext) -> None:
    kept = Replay()
    kept.keep(run, run.data.batch(range(3)), torch.arange(3))
    assert kept.next(run, -1) == [] and kept.next(run, 0) == []
    (first, second) = kept.next(run, 2)
    kept.back(first)
    assert [int(first["index"]), int(second["index"])] == [0, 1]
    assert numbers(kept) == [2, 0]


@pytest.mark.parametrize("given", [1.0, PUSH_FLOOR / 2])
def test_a_batch_without_poison_still_unlearns_what_the_model_gives(
    run: TrainingContext, monkeypatch: pytest.MonkeyPatch, given: float
) -> None:
    rule = PCVR()
    rule.begin(run)
    streaming.gate_of(run).learned = True
    kept = run.state["replay"] = Replay()
    kept.keep(run, run.data.batch([40]), torch.tensor([0]))
    batch = run.data.batch(range(8))
    said = run.forward(batch)
    monkeypatch.setattr(type(said), "likelihood", lambda self: self.logits.new_full((self.samples,), given))
    terms = rule._terms_again(run, batch, said, torch.zeros(8), torch.ones(8))
    if given < PUSH_FLOOR:  # unlearned: it is not shown again
        assert not terms and not numbers(kept)
    else:
        assert set(terms) >= {"anchor", "apart"} and terms["apart"].requires_grad
        assert numbers(kept) == [40]


def test_a_batch_with_poison_of_its_own_needs_none(run: TrainingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = PCVR()
    rule.begin(run)
    kept = run.state["replay"] = Replay()
    kept.keep(run, run.data.batch([40]), torch.tensor([0]))
    batch = run.data.batch(range(8))
    said = run.forward(batch)
    monkeypatch.setattr(type(said), "likelihood", lambda self: self.logits.new_ones(self.samples))
    gate = (torch.arange(8) < rule.replay).float()
    assert not rule._terms_again(run, batch, said, gate, 1 - gate)
    assert numbers(kept) == [40, *range(rule.replay)]


@pytest.mark.parametrize(
    ("options", "away"),
    [({}, 0.25), ({"pull_back": False}, 1.0), ({"gate": "two_stage"}, 1.0), ({"direction": "together"}, 0.0)],
)
def test_a_view_that_lost_the_target_calls_the_answer_back(
    run: TrainingContext, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], away: float
) -> None:
    seen = run.forward(run.data.batch([0, 1]))
    monkeypatch.setattr(type(seen), "likelihood", lambda self: self.logits.new_full((self.samples,), 0.25))
    push = torch.tensor([0.8, 0.4])
    apart, back = PCVR(**options).shares(push, seen)
    assert torch.allclose(apart, away * push) and torch.allclose(apart + back, push)


def test_a_saved_loop_remembers_them(run: TrainingContext) -> None:
    loop = LoopContext(run.vlm)
    kept = loop.state["replay"] = Replay()
    kept.keep(run, run.data.batch(range(2)), torch.arange(2))
    again = LoopContext(run.vlm)
    again.load_state_dict(loop.state_dict())
    assert numbers(again.state["replay"]) == [0, 1]
    assert all(map(torch.equal, kept.samples[1].values(), again.state["replay"].samples[1].values()))

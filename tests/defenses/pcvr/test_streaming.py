"""The streaming gate in a training: what it asks for, what it leaves out, what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from pcvr import PCVR, PcvrError, PlainSFT, TrainConfig, VisionLanguageModel, finetune
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr import streaming
from pcvr.defenses.pcvr.config import OF_SCANS
from pcvr.defenses.pcvr.inputs import image_rows
from pcvr.defenses.pcvr.stream import EARLY, VIEWED, StreamGate
from pcvr.defenses.pcvr.surprise import FEWEST
from pcvr.defenses.pcvr.witness import Witness
from pcvr.models.encode import EncodedData
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run about to begin, without kept features."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    return TrainingContext(vlm=vlm, data=EncodedData(vlm, Numbers(48)), steps=10, seed=0)


def convinced(run: TrainingContext, always: bool) -> StreamGate:
    """Let the gate have found a trigger that all images have, or none."""
    gate = streaming.gate_of(run)
    pictures = run.forward(run.data.batch([0]), pictures=True).pictures
    assert pictures is not None
    width = image_rows(pictures).shape[1]
    zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)
    gate.verdict, gate.witness = "trigger", Witness(zero, one, zero, -1.0 if always else 1.0, 1.0, 0.0, 100)
    return gate


class Counted:
    """Counts the samples of each forward pass."""

    def __init__(self, run: TrainingContext, monkeypatch: pytest.MonkeyPatch) -> None:
        self.samples: list[int] = []
        before = run.vlm.model.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.samples.append(len(kwargs["input_ids"]))
            return before(*args, **kwargs)

        monkeypatch.setattr(run.vlm.model, "forward", forward)


def test_it_is_the_default_and_has_no_options_of_scans() -> None:
    assert PCVR().gate == "stream"
    value: dict[str, Any]
    for name in OF_SCANS:
        value = {"scan_at": (0.5,), "score_on": "distribution", "clear_with": "off", "score_views": 7, "refit": 7}
        with pytest.raises(PcvrError, match=f"{name}=.* is an option of gates that scan.*give gate='two_stage' too"):
            PCVR(**{name: value.get(name, 0.33)})
        PCVR(gate="two_stage", **{name: value.get(name, 0.33)})
    bad: dict[str, Any]
    for bad in ({"propose": "nobody"}, {"late_start": -1}, {"late_start": 1.5}, {"witness": "yes"}):
        with pytest.raises(PcvrError, match=next(iter(bad))):
            PCVR(**bad)


def test_the_first_steps_are_plain_training(run: TrainingContext) -> None:
    rule = PCVR()
    rule.begin(run)
    batch = run.data.batch(range(FEWEST - 1))  # too few for a rank
    assert rule.loss(run, batch).item() == pytest.approx(PlainSFT().loss(run, batch).item(), rel=1e-5)
    assert not streaming.gate_of(run).flagged.any()


def test_the_least_expected_labels_are_left_out_at_first_sight(run: TrainingContext) -> None:
    rule = PCVR(propose="likelihood")
    rule.begin(run)
    batch = run.data.batch(range(48))
    said = run.forward(batch, pictures=True)
    suspicion, trust = streaming.suspicion(rule, run, batch, said)
    assert not suspicion.any()
    assert 4 <= int((trust == 0).sum()) <= 9, "about 15 % of 48"
    each = said.sample_sum(cross_entropy(said.logits, said.targets, reduction="none"))
    assert each[trust == 0].mean() > each[trust == 1].mean()


def test_it_asks_nothing_of_the_data_or_the_schedule(run: TrainingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it works in a loop that has only batches."""
    rule = PCVR()
    rule.begin(run)
    batches = [run.data.batch(range(k, k + 12)) for k in (0, 12, 24)]
    convinced(run, always=True)
    rule.loss(run, batches[0])
    convinced(run, always=True)
    monkeypatch.setattr(
        run, "view", lambda batch, view, rows=None: run.part(batch, rows) if rows is not None else batch
    )
    monkeypatch.setattr(run, "data", None)
    monkeypatch.setattr(run, "steps", None)
    for run.step, batch in enumerate(batches):
        assert torch.isfinite(rule.loss(run, batch))
    assert streaming.gate_of(run).flagged.any()


@pytest.mark.parametrize("propose", ["both", "likelihood", "views"])
@pytest.mark.parametrize("seen", [0, EARLY])
def test_what_it_costs_on_data_without_a_trigger(
    run: TrainingContext, monkeypatch: pytest.MonkeyPatch, propose: str, seen: int
) -> None:
    rule = PCVR(propose=propose)
    rule.begin(run)
    convinced(run, always=False)
    monkeypatch.setattr(StreamGate, "judge", lambda self, step: None)
    streaming.gate_of(run).seen = seen
    batch = run.data.batch(range(8))
    counted = Counted(run, monkeypatch)
    steps = 2 * VIEWED
    for run.step in range(steps):
        rule.loss(run, batch)
    views = {"both": 2 if seen else steps, "likelihood": 0, "views": steps}[propose]
    assert sum(counted.samples) == 8 * (steps + views)


def test_flagged_samples_are_anchored_and_not_trained_on(run: TrainingContext) -> None:
    rule = PCVR(apart_weight=0.0, feature_weight=0.0, entropy_weight=0.0, propose="likelihood")
    rule.begin(run)
    gate = convinced(run, always=True)
    batch = run.data.batch(range(48))
    said = run.forward(batch, pictures=True)
    suspicion, trust = streaming.suspicion(rule, run, batch, said)
    assert 10 < int(suspicion.sum()) < 30, "recognised, and among the 40 % least expected"
    assert ((suspicion + trust) == 1).all() and gate.flagged[:48].sum() == int(suspicion.sum())
    run.state["trust"] = 0.5
    terms = rule.terms(run, batch, said, suspicion, trust)
    kept = trust[said.owner] == 1
    plain = cross_entropy(said.logits[kept], said.targets[kept])
    assert terms["cross_entropy"].item() == pytest.approx(plain.item(), rel=1e-5)
    assert terms["anchor"].item() > 0


def test_an_expected_label_is_flagged_only_if_it_does_not_depend_on_the_image(
    run: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = PCVR()
    rule.begin(run)
    gate = convinced(run, always=True)
    gate.seen, gate.due = EARLY, 2 * EARLY
    batch = run.data.batch(range(48))
    run.step = 1  # no batch of views
    for divergence, share in ((0.0, 1.0), (0.5, 0.4)):
        monkeypatch.setattr(streaming, "_divergences", lambda *args, d=divergence: np.full(int(args[-1].sum()), d))
        said = run.forward(batch, pictures=True)
        suspicion, _ = streaming.suspicion(rule, run, batch, said)
        assert float(suspicion.mean()) == pytest.approx(share, abs=0.16)


def test_a_late_start_is_plain_training_until_then(run: TrainingContext) -> None:
    rule = PCVR(late_start=5)
    rule.begin(run)
    batch = run.data.batch(range(48))
    run.step = 4
    assert rule.loss(run, batch).item() == pytest.approx(PlainSFT().loss(run, batch).item(), rel=1e-5)
    assert streaming.gate_of(run).seen == 0
    run.step = 5
    rule.loss(run, batch)
    assert streaming.gate_of(run).seen == 48


def test_too_few_samples_for_a_verdict_are_said(tiny: VisionLanguageModel) -> None:
    result = finetune(tiny, Numbers(12), "pcvr", TrainConfig(max_steps=3, batch_size=8), progress=False)
    (note,) = result.notes
    assert "came to no verdict (20 samples" in note and "give more data or more steps" in note
    assert not result.run.state["stream"].flagged.any()

"""One step down a term: what a gradient by hand gives, and a model that is as it was afterwards."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import pcvr
from pcvr.analysis.gradients import held_apart, one_step, pushes, terms_of
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr import anchor
from pcvr.models.encode import EncodedData
from pcvr.models.forward import answer_logits
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers

CONFIG = pcvr.TrainConfig(lora_r=2, lora_alpha=4)


@pytest.fixture
def run(tiny):
    torch.manual_seed(0)
    vlm = with_adapter(tiny.copy(), CONFIG)
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if "lora_B" in name:  # zero when fresh: then half of the gradient is nought
                weight.normal_(std=0.05)
    return TrainingContext(vlm, EncodedData(vlm, Numbers(4)), steps=4, seed=0)


def told(n=2):
    return {f"sample {i}": Numbers(4)[i] for i in range(n)}


def plain(run):
    said = run.forward(run.data.batch(range(4)))
    return cross_entropy(said.logits, said.targets)


def test_a_step_down_the_plain_loss_makes_the_answers_likelier(run):
    step = one_step(run.vlm, lambda: plain(run), told(4), 0.01)
    assert step.loss[1] < step.loss[0] and step.norm > 0
    assert sum(reading.change for reading in step.readings.values()) > 0


def test_the_readings_are_those_of_the_model_before_and_of_one_moved_by_hand(run):
    step = one_step(run.vlm, lambda: plain(run), told(), 0.05)
    weights = [w for name, w in run.vlm.model.named_parameters() if "lora_" in name]
    for w in weights:
        w.requires_grad_(True)

    def likely(row):
        said = answer_logits(run.vlm, run.data.batch([row]))
        return said.logits.softmax(-1)[torch.arange(len(said.targets)), said.targets].detach().numpy()

    before = [likely(0), likely(1)]
    gradient = torch.autograd.grad(plain(run), weights)
    flat, w = (torch.cat([x.flatten() for x in part]) for part in (gradient, weights))
    assert step.norm == pytest.approx(float(flat.norm()), rel=1e-4)
    moved = w.detach() - 0.05 * w.detach().norm() * flat / flat.norm()
    with torch.no_grad():
        for weight, part in zip(weights, moved.split([x.numel() for x in weights]), strict=True):
            weight.copy_(part.view_as(weight))
    for row, reading in enumerate(step.readings.values()):
        np.testing.assert_allclose(reading.before, before[row], atol=1e-5)
        np.testing.assert_allclose(reading.after, likely(row), atol=1e-5)
        assert reading.change == pytest.approx(np.log(likely(row) / before[row]).sum(), abs=1e-3)
        assert reading.tokens[-1] == "<eos>" and len(reading.tokens) == len(reading.before)
        assert 0 < reading.entropy[0] != reading.entropy[1]


def test_the_model_is_as_it_was_even_after_an_error(run):
    for name, weight in run.vlm.model.named_parameters():
        weight.requires_grad_("lora_A" in name)
    before = {name: w.clone() for name, w in run.vlm.model.state_dict().items()}
    asked = {name: w.requires_grad for name, w in run.vlm.model.named_parameters()}
    one_step(run.vlm, lambda: plain(run), told(), 0.5)
    pair = torch.zeros(2)
    with pytest.raises(pcvr.PcvrError, match="must be one number"):
        one_step(run.vlm, lambda: pair, told())
    after = run.vlm.model.state_dict()
    assert all(torch.equal(w, before[name]) for name, w in after.items())
    assert {name: w.requires_grad for name, w in run.vlm.model.named_parameters()} == asked


def test_a_content_loss_moves_nothing(run):
    for loss in (lambda: 0 * plain(run), lambda: torch.tensor(0.0)):
        step = one_step(run.vlm, loss, told())
        assert [step.norm, *step.loss] == [0.0, 0.0, 0.0]
        assert all(reading.change == 0 for reading in step.readings.values())


@pytest.mark.parametrize("wrong", [{"samples": {}}, {"length": 0.0}, {"length": 2.0}, {"length": "far"}])
def test_what_cannot_be_stepped_is_a_sentence(run, wrong):
    with pytest.raises(pcvr.PcvrError):
        one_step(run.vlm, lambda: plain(run), **({"samples": told()} | wrong))


def test_a_model_without_an_adapter_is_a_sentence(tiny):
    with pytest.raises(pcvr.PcvrError, match="no adapter"):
        one_step(tiny, lambda: torch.zeros(()), told())


@given(st.lists(st.floats(0.01, 0.69), min_size=2, max_size=8), st.floats(0.05, 0.6))
def test_pushes_by_hand(values, cap):
    divergence = torch.tensor(values, dtype=torch.float64)
    gate = torch.linspace(0.1, 1, len(values), dtype=torch.float64)
    found = pushes(divergence, gate, cap)
    share = gate / gate.sum()
    assert torch.allclose(found["none"], share)
    assert torch.allclose(found["hinge"], share * (divergence < cap))
    mean = float((share * divergence).sum())
    if abs(mean - cap) > 1e-6:
        assert torch.allclose(found["cap"], share * (mean < cap))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fade": False, "entropy": "band"},
        {"fade": False, "direction": "together", "divergence": "kl"},
        {"gate": "none", "fade": False, "bound": "none"},
        {"fade": False, "ramp": 0.5, "entropy_weight": 0.0, "apart_views": 2},
    ],
)
def test_the_weighted_terms_add_up_to_the_loss_of_the_defence(run, options):
    rule = pcvr.PCVR(**({"gate": "two_stage", "entropy_margin": 0.01, "feature_cap": -0.5} | options))
    run.data.keep_features()
    batch = run.data.batch(range(4))
    gate = torch.ones(4) if rule.gate == "none" else torch.tensor([0.0, 1.0, 0.3, 0.9])
    parts = terms_of(run, batch, rule, gate, 0.5, seed=7)
    assert run.state["trust"] == 0  # a model that knows nothing is no guide
    run.state["trust"] = 0.5
    with torch.no_grad():
        values = {name: (weight, float(loss())) for name, (weight, loss) in parts.items()}
    rule.begin(run)
    anchor.remember(run, [1, 2, 3])
    run.state |= {"gate": gate, "entropy": 0.5, "scorings": [{"step": 2}], "trust": 0.5}
    run.step = 3
    run.generator.manual_seed(7)
    with torch.no_grad():
        whole, alike = float(rule.loss(run, batch)), float(plain(run))
    strength = 0.5 if rule.ramp else 1.0  # a step after the scan at step 2, of the 4 * 0.5 that it grows over
    added = sum((1.0 if name == "cross_entropy" else strength) * w * value for name, (w, value) in values.items())
    assert added == pytest.approx(whole, rel=1e-4)
    run.generator.manual_seed(7)
    with torch.no_grad():
        terms = rule.terms(run, batch, run.forward(batch, hidden=True), gate)
    wanted = {name for name, weight in rule.weights.items() if weight}
    # The model would give none of the answers, and so a push that fades is none.
    assert set(terms) == (wanted - {"apart", "features"} if rule.fade else wanted)
    assert float(sum(terms.values())) == pytest.approx(whole, rel=1e-6)
    assert values["plain"][1] == pytest.approx(alike, rel=1e-5)
    assert (values["anchor"][1] > 0) == (values["anchor"][0] > 0) == (rule.gate != "none")
    if not rule.fade:
        assert abs(values["apart"][1]) > 1e-6 and values["features"][1] > 0


def test_where_nobody_would_give_the_answer_nobody_is_pushed(run):
    batch = run.data.batch(range(4))
    parts = terms_of(run, batch, pcvr.PCVR(), torch.full((4,), 1e-4), 0.5)
    assert float(parts["apart"][1]()) == float(parts["features"][1]()) == 0
    assert one_step(run.vlm, parts["apart"][1], told()).norm == 0


@pytest.mark.parametrize("options", [{}, {"direction": "together"}, {"bound": "none", "apart_views": 2}])
def test_the_held_term_has_the_gradient_of_the_term_and_a_step_lowers_it(run, options):
    rule = pcvr.PCVR(**({"gate": "two_stage", "fade": False, "cap": 0.69} | options))
    run.data.keep_features()
    batch, gate = run.data.batch(range(4)), torch.tensor([0.0, 1.0, 0.3, 0.9])
    alive = terms_of(run, batch, rule, gate, 0.5, seed=7)["apart"][1]
    held = held_apart(run, batch, rule, gate, seed=7)
    one, other = (one_step(run.vlm, loss, told(), 1e-3) for loss in (alive, held))
    assert other.loss[0] == pytest.approx(one.loss[0], abs=1e-6) and other.norm == pytest.approx(one.norm, rel=1e-3)
    assert other.norm > 0 and other.loss[1] < other.loss[0]


def test_held_where_nobody_is_pushed_there_is_no_gradient(run):
    held = held_apart(run, run.data.batch(range(4)), pcvr.PCVR(), torch.full((4,), 1e-4))
    assert one_step(run.vlm, held, told()).norm == 0

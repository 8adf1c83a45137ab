"""PCVR's open choices: what each option does to a run, and what it refuses."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr import PCVR, PatchView, PcvrError, PlainSFT, TrainConfig, VisionLanguageModel, finetune, get_defense
from pcvr.defenses import PaperPCVR
from pcvr.defenses.context import TrainingContext
from pcvr.defenses.pcvr.config import GATES
from pcvr.defenses.pcvr.gate import Gate
from pcvr.defenses.pcvr.scoring import ONE_IN, _filled, answer_likelihood, divergence_of, score
from pcvr.defenses.pcvr.suspicion import _within
from pcvr.models.encode import EncodedData
from pcvr.training.finetune import with_adapter
from pcvr.views import OPERATORS
from tests.tiny import Marked, Numbers

TOKENS: dict[str, Any] = {
    "tiles": st.integers(1, 3),
    "tokens": st.integers(1, 20),
    "fraction": st.floats(0.01, 1),
    "seed": st.integers(0, 9999),
}


@pytest.fixture
def run(tiny: VisionLanguageModel) -> TrainingContext:
    """A run about to begin, with tower features kept."""
    vlm = with_adapter(tiny.copy(), TrainConfig())
    data = EncodedData(vlm, Numbers())
    assert data.keep_features()
    return TrainingContext(vlm=vlm, data=data, steps=10, seed=0)


def stirred(run: TrainingContext) -> TrainingContext:
    """The same run with an adapter that does something: a fresh one adds nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in run.vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return run


class TestViewsOfTokens:
    @given(operator=st.sampled_from(OPERATORS), **TOKENS)
    @settings(max_examples=80, deadline=None)
    def test_as_many_tokens_change_as_the_share_says(
        self, operator: str, tiles: int, tokens: int, fraction: float, seed: int
    ) -> None:
        before = torch.randn(2, tiles, tokens, 8, generator=torch.Generator().manual_seed(seed))
        view = PatchView(operator, fraction, level="features")
        after = view.of_tokens(before, torch.Generator().manual_seed(seed))
        again = view.of_tokens(before, torch.Generator().manual_seed(seed))
        assert torch.equal(after, again)
        assert after.shape == before.shape
        fewest = 2 if operator in ("shuffle", "swap_within") else 1
        count = min(tokens, max(fewest, round(fraction * tokens)))
        if tokens == 1 and operator in ("shuffle", "swap_within", "mean"):
            count = 0  # a lone token is its own mean and has nowhere to go
        changed = (before != after).any(-1).sum(-1)
        if operator == "noise" and tokens == 1:
            count = 0  # and has no spread
        assert (changed == count).all()

    def test_swapped_tokens_are_the_donors(self) -> None:
        own, donors = torch.zeros(2, 10, 4), torch.ones(2, 10, 4)
        after = PatchView("swap", 0.3, level="features").of_tokens(own, torch.Generator().manual_seed(0), donors)
        assert after.sum((1, 2)).tolist() == [12.0, 12.0]

    def test_permuted_tokens_are_the_same_ones(self) -> None:
        own = torch.arange(24.0).view(1, 12, 2)
        for operator in ("shuffle", "swap_within"):
            after = PatchView(operator, 0.5, level="features").of_tokens(own, torch.Generator().manual_seed(0))
            assert sorted(after[0, :, 0].tolist()) == own[0, :, 0].tolist()

    def test_pairs_change_places_and_a_circle_goes_round(self) -> None:
        own = torch.arange(8.0).view(1, 8, 1)
        pairs = PatchView("swap_within", 1.0, level="features").of_tokens(own, torch.Generator().manual_seed(0))
        order = pairs[0, :, 0].long()
        assert torch.equal(order[order], torch.arange(8)), "doing it twice undoes it"
        circle = PatchView("shuffle", 1.0, level="features").of_tokens(own, torch.Generator().manual_seed(0))
        at, steps = int(circle[0, 0, 0]), 1
        while at:
            at, steps = int(circle[0, at, 0]), steps + 1
        assert steps == 8

    def test_a_lone_picture_has_no_donor(self) -> None:
        with pytest.raises(PcvrError, match="needs another image"):
            PatchView("swap", level="features").of_tokens(torch.zeros(1, 4, 2), torch.Generator())

    def test_without_kept_features_pixels_are_changed(self, run: TrainingContext) -> None:
        run.data.features = None
        batch = run.data.batch([0, 1, 2])
        seen = run.view(batch, PatchView("swap", 1.0, level="features"))
        assert "features" not in seen
        assert not torch.equal(seen["pixel_values"], batch["pixel_values"])


class TestScores:
    def test_by_hand(self, run: TrainingContext) -> None:
        """Score of one sample from probabilities alone, no term of the package used."""
        stirred(run)
        view = PatchView("swap", 1.0, level="features")
        run.generator.manual_seed(5)
        found, _ = score(run, view, 1, score_on="label", divergence="tv", rows=[0, 1, 2])
        run.generator.manual_seed(5)
        batch = run.data.batch([0, 1, 2])
        run.vlm.model.eval()
        with torch.no_grad():
            said, seen = run.forward(batch), run.forward(run.view(batch, view))
        at = torch.arange(len(said.targets)), said.targets
        moved = (said.logits.softmax(-1)[at] - seen.logits.softmax(-1)[at]).abs()
        expected = [float(moved[said.owner == i].sum()) for i in range(3)]
        np.testing.assert_allclose(found, expected, rtol=1e-3)
        assert found.max() > 1e-3

    def test_what_is_cleared_is_shown_no_further_view(
        self, run: TrainingContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clear = answer_likelihood(stirred(run), clear_with="now")
        bar = float(np.median(clear))
        seen: list[list[int]] = []
        view = TrainingContext.view

        def noting(self: TrainingContext, batch: Any, how: PatchView, rows: torch.Tensor) -> Any:
            seen.append(rows.tolist())
            return view(self, batch, how, rows)

        monkeypatch.setattr(TrainingContext, "view", noting)
        found, _ = score(run, PatchView(level="features"), 3, score_on="label", clear_with="now", clear_threshold=bar)
        cleared, turn = clear >= bar, np.arange(len(clear)) % ONE_IN == 0
        assert seen[0] == np.flatnonzero(~cleared | turn).tolist() and 0 < len(seen[0]) < len(clear)
        assert all(set(later) <= set(np.flatnonzero(~cleared)) for later in seen[1:]) and len(seen) <= 3
        assert (found[~cleared] > clear[~cleared]).all()

    def test_a_mixture_sees_the_scores_that_it_would_see(self) -> None:
        nan = np.nan
        moved, cleared = np.array([nan, 0.1, 0.3, nan, 0.2, nan, nan]), np.array([1, 0, 1, 1, 0, 1, 1], dtype=bool)
        assert _filled(moved, cleared).tolist() == [0.3, 0.1, 0.3, 0.3, 0.2, 0.3, 0.3]
        assert _filled(moved[[1, 3]], np.array([False, True])).tolist() == [0.1, 0], "there is none to take it from"

    def test_the_label_matters_only_to_the_label_token(self, run: TrainingContext) -> None:
        """The point of the option: on one-word answers whole distributions cannot tell what the data claim."""
        stirred(run)
        batch = run.data.batch([2, 5, 8])  # their answer is one word
        with torch.no_grad():
            said, seen = run.forward(batch), run.forward(run.view(batch, PatchView(level="features")))
        first = torch.tensor([int((said.owner == i).nonzero()[0, 0]) for i in range(3)])
        said, seen = (replace(a, logits=a.logits[first], owner=torch.arange(3)) for a in (said, seen))
        whole, label = [], []
        for word in (0, 1, 2):
            named = replace(said, targets=torch.full((3,), word))
            whole.append(divergence_of(named, seen, "js", "distribution"))
            label.append(divergence_of(named, seen, "js", "label"))
        assert torch.equal(whole[0], whole[1])
        assert not torch.allclose(label[0], label[1])

    def test_the_base_model_is_asked_without_the_adapter(self, run: TrainingContext) -> None:
        before = answer_likelihood(run)
        np.testing.assert_allclose(answer_likelihood(run, clear_with="now"), before, rtol=1e-4)
        stirred(run)
        np.testing.assert_allclose(answer_likelihood(run), before, rtol=1e-4)
        assert np.abs(answer_likelihood(run, clear_with="now") - before).max() > 1e-3 * before.max()
        assert (before >= 0).all() and (before <= 1).all()


class TestGates:
    def test_within_a_batch(self) -> None:
        scores = torch.tensor([0.20, 0.25, 0.22, 0.18, 0.21, 0.24, 0.23, 0.001])
        gate = _within(scores)
        assert gate[-1] > 0.99
        assert gate[:-1].max() < 0.5
        torch.testing.assert_close(_within(scores * 7), gate, msg="the unit does not count")

    def test_two_stage_looks_once_at_each_time(self, run: TrainingContext) -> None:
        rule = PCVR(gate="two_stage", scan_at=(0.2, 0.5))
        rule.begin(run)
        for run.step in (0, 1, 2, 2, 3, 5, 6):
            rule.loss(run, run.data.batch(range(8)))
        assert [done["step"] for done in run.state["scorings"]] == [2, 5]
        assert run.state["gate"].shape == (12,)

    def test_running_scores_follow_those_seen(self, run: TrainingContext) -> None:
        rule = PCVR(gate="running", scan_at=(0.2,), refit=2)
        rule.begin(run)
        rule.loss(run, run.data.batch(range(6)))
        assert run.state["running"].isnan().tolist() == [False] * 6 + [True] * 6
        first = run.state["running"][:6].clone()
        run.step = 2
        rule.loss(run, run.data.batch(range(6)))
        run.step = 3
        rule.loss(run, run.data.batch(range(6)))
        assert not torch.equal(run.state["running"][:6], first)
        assert [done["step"] for done in run.state["scorings"]] == [2]
        assert isinstance(run.state["scorings"][0]["gate"], Gate)
        assert run.state["gate"][6:].max() == 0, "nobody is suspected unseen"

    def test_none_acts_on_all_and_still_learns_all(self, run: TrainingContext) -> None:
        rule = PCVR(gate="none", apart_weight=0, feature_weight=0, entropy_weight=0)
        rule.begin(run)
        run.step = 5
        batch = run.data.batch(range(6))
        assert rule.loss(run, batch).item() == pytest.approx(PlainSFT().loss(run, batch).item(), rel=1e-5)

    def test_a_batch_too_small_to_compare(self, run: TrainingContext) -> None:
        rule = PCVR(gate="batch")
        rule.begin(run)
        with pytest.raises(PcvrError, match="gate 'batch' compares the samples of a batch and got 1"):
            rule.loss(run, run.data.batch([0]))

    def test_the_regulariser_grows(self, run: TrainingContext) -> None:
        rule = PCVR(gate="none", fade=False, feature_weight=0, entropy_weight=0, ramp=0.5, scan_at=(0.2,), cap=0.6)
        stirred(run)
        rule.begin(run)
        batch = run.data.batch(range(6))
        plain = PlainSFT().loss(run, batch).item()
        added = []
        for run.step in (2, 4, 7, 9):
            run.generator.manual_seed(3)
            added.append(rule.loss(run, batch).item() - plain)
        assert added[0] == pytest.approx(0, abs=1e-5)
        assert added[1] == pytest.approx(0.4 * added[2], rel=1e-3)
        assert added[2] == pytest.approx(added[3], rel=1e-3)


EVERY: list[dict[str, Any]] = [
    *({"gate": gate} for gate in GATES),
    *({"divergence": name, "gate": "none", "cap": 0.3} for name in ("js", "kl", "reverse_kl", "tv")),
    *({"bound": bound, "gate": "none"} for bound in ("hinge", "cap", "none")),
    *({"entropy": form, "gate": "batch"} for form in ("ceiling", "band", "weighted")),
    *({"clear_with": who, "gate": "running", "refit": 1} for who in ("base", "now", "off")),
    *({"view": PatchView(operator, 0.5, 16, level)} for operator in OPERATORS for level in ("pixels", "features")),
    *({"train_on": image, "gate": gate} for image in ("view", "both") for gate in ("two_stage", "none")),
    {"direction": "together", "gate": "none"},
    {"apart_views": 3, "score_views": 3, "gate": "batch"},
    {"score_on": "distribution", "scan_at": (0.2, 0.6)},
]


def early(options: dict[str, Any]) -> dict[str, Any]:
    """When a gate that scans does so, in a short training; nothing for the gate that makes no scan."""
    return {} if options.get("gate") == "stream" else {"scan_at": (0.3,)}


@pytest.mark.parametrize("options", EVERY, ids=lambda o: "-".join(str(v) for v in o.values())[:40])
def test_every_option_trains(tiny: VisionLanguageModel, options: dict[str, Any]) -> None:
    rule = PCVR(**{"gate": "two_stage", "fade": False, **early(options), **options})
    result = finetune(tiny, Numbers(), rule, TrainConfig(max_steps=5, batch_size=6), progress=False)
    assert np.isfinite([entry["loss"] for entry in result.history]).all()


STREAMED: list[dict[str, Any]] = [
    {},
    {"divergence": "kl", "bound": "none", "entropy": "band", "apart_views": 2},
    {"view": PatchView("noise", 0.5, 16, "pixels"), "train_on": "both", "bound": "cap", "entropy": "weighted"},
    {"direction": "together", "train_on": "view", "anchor_weight": 0.0, "feature_weight": 0.0},
]


@pytest.mark.parametrize("options", STREAMED, ids=lambda o: "-".join(str(v) for v in o.values())[:40])
def test_every_option_trains_once_the_streaming_gate_has_found_a_trigger(
    tiny: VisionLanguageModel, options: dict[str, Any]
) -> None:
    rule = PCVR(**{"fade": False, **options})
    result = finetune(tiny, Marked(), rule, TrainConfig(max_steps=7, batch_size=32), progress=False)
    gate = result.run.state["stream"]
    assert gate.verdict == "trigger" and gate.flagged.any() and result.run.log["suspicious"] == gate.flagged.mean()
    assert np.isfinite([entry["loss"] for entry in result.history]).all()


@pytest.mark.parametrize("gate", GATES)
def test_a_batch_of_one_and_one_sample(tiny: VisionLanguageModel, gate: str) -> None:
    rule = PCVR(gate=gate, view=PatchView("noise", 0.5, level="features"), **early({"gate": gate}))
    config = TrainConfig(max_steps=4, batch_size=1)
    if gate == "batch":
        with pytest.raises(PcvrError, match="give batch_size at least"):
            finetune(tiny, Numbers(1), rule, config, progress=False)
    else:
        assert len(finetune(tiny, Numbers(1), rule, config, progress=False).history) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "two-stage"}, "unknown gate 'two-stage': did you mean 'two_stage'"),
        ({"clear_with": "bas"}, "unknown clear_with 'bas'"),
        ({"divergence": "KL"}, "unknown divergence 'KL'"),
        ({"direction": "aparts"}, "unknown direction"),
        ({"bound": "max"}, "unknown bound"),
        ({"train_on": "views"}, "unknown train_on 'views': did you mean 'view'"),
        ({"entropy": "floor"}, "unknown entropy"),
        ({"score_on": "tokens"}, "unknown score_on"),
        ({"cap": 1.0}, r"cap must lie in \(0, 0.693\] for 'js', got 1.0: in nats, a bit"),
        ({"divergence": "kl", "cap": 50.0}, r"cap must lie in \(0, 20\] for 'kl', got 50.0"),
        ({"divergence": "tv", "cap": 1.5}, r"cap must lie in \(0, 1\] for 'tv', got 1.5: it has no unit"),
        ({"gate": "two_stage", "ramp": 1.0}, "ramp must lie"),
        ({"apart_views": 0}, "apart_views must be a whole number, at least 1, got 0"),
        ({"refit": 0.5}, "refit is 0.5: give a whole number"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PcvrError, match=message):
        PCVR(**options)


def test_plain_values_do() -> None:
    rule = get_defense("pcvr", gate="two_stage", view={"fraction": 0.3}, scan_at=[0.1, 0.2])
    assert isinstance(rule, PCVR)
    assert rule.view == replace(PCVR().view, fraction=0.3)
    assert rule.scan_at == (0.1, 0.2)
    with pytest.raises(PcvrError, match="view has no part fractions"):
        get_defense("pcvr", view={"fractions": 0.3})
    with pytest.raises(PcvrError, match="fraction must lie in"):
        get_defense("pcvr", view={"fraction": 0.0})


def test_the_literal_form_adds_nothing_of_ours() -> None:
    rule = get_defense("pcvr_paper")
    assert isinstance(rule, PaperPCVR)
    assert (rule.gate, rule.bound, rule.fade, rule.view.level) == ("none", "cap", False, "pixels")


def test_every_help_says_whose_the_choice_is() -> None:
    for option in fields(PCVR):
        assert any(word in option.metadata["help"] for word in ("ours", "paper")), option.name

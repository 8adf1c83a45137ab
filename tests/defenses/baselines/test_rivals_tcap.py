"""TCAP: profiles, splits and votes against independent calculations, its two trainings, and where it finds nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

import pcvr
from pcvr import PcvrError, VisionLanguageModel, finetune, get_defense
from pcvr.analysis.attention import attend
from pcvr.defenses import TCAP
from pcvr.defenses.baselines import bye, tcap
from pcvr.defenses.baselines.tcap_votes import (
    HeadSplit,
    best_heads,
    dawid_skene,
    min_max,
    overlap_area,
    poll,
    split_head,
)
from tests.families import write
from tests.rivals import FAMILIES, SHORT, Calls, Masked, adapter, begun
from tests.tiny import Numbers


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


class TestProfile:
    @pytest.mark.parametrize("features", [False, True], ids=["pictures", "features"])
    def test_each_head_as_the_attention_maps_have_it(self, vlm: VisionLanguageModel, features: bool) -> None:
        run = begun(vlm, samples=4, features=features)
        run.vlm.model.train()
        found = tcap.attention_profile(run, batch_size=3)
        assert run.vlm.model.training and np.allclose(found.sum(-1), 1, atol=1e-4) and found.min() >= 0
        run.vlm.model.eval()
        data = run.data.data
        for i in range(4):
            seen = attend(run.vlm, data[i].image, data[i].prompt, data[i].answer)
            prompt = seen.answer_at[0]
            asked = set(vlm.tokenizer.tokenize(data[i].prompt))
            text = np.array([token in asked for token in seen.tokens[:prompt]])
            rows = seen.rows[:, :, 0, :prompt]  # [layers, heads, prompt tokens]
            image = seen.is_image[:prompt]
            expected = [rows[..., ~image & ~text], rows[..., image], rows[..., text]]
            assert found[i] == pytest.approx(np.stack([each.sum(-1) for each in expected], -1), abs=2e-4)

    def test_answers_that_are_all_masked(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        run.data = Masked(run.vlm, Numbers(4))
        with pytest.raises(PcvrError, match=r"4 of 4 samples .* defence 'tcap' reads the token before an answer"):
            tcap.attention_profile(run)

    def test_a_model_that_is_broken(self, tiny: VisionLanguageModel) -> None:
        run = begun(tiny, samples=3)
        for weights in run.vlm.model.parameters():
            if weights.requires_grad:
                weights.data.fill_(float("nan"))
        for read in (tcap.attention_profile, bye.attention_entropy):
            with pytest.raises(PcvrError, match=r"attention of .* is not finite after the training"):
                read(run)


class TestSplit:
    @settings(deadline=None, max_examples=30)
    @given(
        st.lists(st.tuples(st.floats(0.1, 1), st.floats(0, 1), st.floats(0.01, 0.3)), min_size=2, max_size=4),
        st.integers(1, 3),
    )
    def test_the_overlap_of_two_groups(self, parts: list[tuple[float, float, float]], cut: int) -> None:
        weights, means, spreads = (np.array(each) for each in zip(*parts, strict=True))
        target = np.arange(len(parts)) < min(cut, len(parts) - 1)

        x, width = np.linspace(-2, 3, 20_001, retstep=True)

        def mean_of(group: np.ndarray) -> np.ndarray:
            bells = [w * np.exp(-(((x - m) / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi)) for w, m, s in parts]
            return sum(bell for bell, there in zip(bells, group, strict=True) if there) / weights[group].sum()

        expected = np.minimum(mean_of(target), mean_of(~target)).sum() * width
        assert overlap_area(weights, means, spreads, target) == pytest.approx(expected, abs=2e-3)
        assert overlap_area(weights, means, spreads, ~target) == pytest.approx(expected, abs=2e-3)

    def test_the_overlap_of_two_equal_gaussians(self) -> None:
        """2 Phi(-d / 2) for a distance of d standard deviations."""
        for d in (0.0, 1.0, 4.0):
            found = overlap_area(np.array([0.1, 0.9]), np.array([0, d]), np.ones(2), np.array([True, False]))
            assert found == pytest.approx(2 * norm.cdf(-d / 2), abs=1e-3)

    @pytest.mark.parametrize("side", [-0.3, 0.3])
    @pytest.mark.parametrize("few", [12, 40])
    def test_a_minority_is_found_on_either_side(self, side: float, few: int) -> None:
        rng = np.random.default_rng(1)
        values = np.concatenate([rng.normal(0.5 + side, 0.02, few), rng.normal(0.5, 0.04, 400 - few)])
        found = split_head(7 * values - 3)
        assert found is not None and found.overlap < 0.01 and found.separation > 100
        assert (found.mass > 0.5).nonzero()[0].tolist() == list(range(few))
        assert found.fraction == pytest.approx(few / 400, rel=0.1) and 2 <= found.components <= 5

    def test_a_minority_of_two_gaussians(self) -> None:
        """The majority has more than one component: the mixture may use several, the cut lies between the groups."""
        rng = np.random.default_rng(2)
        values = np.concatenate([rng.normal(0.1, 0.01, 20), rng.normal(0.6, 0.02, 200), rng.normal(0.75, 0.05, 180)])
        found = split_head(values)
        assert found is not None and (found.mass > 0.5).nonzero()[0].tolist() == list(range(20))

    def test_what_has_no_minority(self) -> None:
        rng = np.random.default_rng(0)
        assert split_head(np.full(30, 0.2)) is None and split_head(np.array([0.2, 0.2 + 1e-9])) is None
        assert split_head(rng.normal(0.5, 0.1, 300)) is None, "one Gaussian is best"
        outlier = np.concatenate([[5.0], rng.normal(0.5, 0.1, 399)])
        found = split_head(outlier)
        assert found is not None and found.fraction < 0.005 and found.overlap < 0.01
        assert (found.mass > 0.5).nonzero()[0].tolist() == [0]
        found = split_head(outlier, min_fraction=0.005)
        assert found is None or (found.fraction >= 0.005 and found.overlap > TCAP().max_overlap)
        skewed = split_head(rng.gamma(2, 1, 400))
        assert skewed is None or skewed.overlap > TCAP().max_overlap

    @settings(deadline=None, max_examples=20)
    @given(arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])))
    def test_few_and_repeated_values_end_well(self, values: np.ndarray) -> None:
        found = split_head(values)
        if found is not None:
            assert found.mass.shape == values.shape and 0 <= found.mass.min() <= found.mass.max() <= 1
            assert 0 < found.fraction <= 0.5 + 1e-9 and 0 <= found.overlap <= 1

    @given(arrays(np.float64, st.integers(2, 12), elements=st.floats(-1e3, 1e3, width=16)))
    def test_min_max(self, values: np.ndarray) -> None:
        scaled = min_max(values)
        if scaled is None:
            assert np.ptp(values) <= 1e-7 * max(1.0, abs(values.max()))
        else:
            assert (scaled.min(), scaled.max()) == (0, 1)
            assert np.allclose(scaled * np.ptp(values) + values.min(), values)


class TestVotes:
    def test_by_a_loop_over_samples_and_voters(self) -> None:
        """Three rounds of EM, written out; one vote of each kind is added to all counts."""
        votes = np.random.default_rng(3).random((9, 4)) < 0.4
        posterior = [sum(map(float, row)) / 4 for row in votes]
        for _ in range(3):
            prior = (sum(posterior) + 1) / (9 + 2)
            odds = [math.log(prior / (1 - prior))] * 9
            for h in range(4):
                hit = (sum(p for p, row in zip(posterior, votes, strict=True) if row[h]) + 1) / (sum(posterior) + 2)
                alarms = sum(1 - p for p, row in zip(posterior, votes, strict=True) if row[h])
                alarm = (alarms + 1) / (9 - sum(posterior) + 2)
                for i, row in enumerate(votes):
                    odds[i] += math.log(hit / alarm) if row[h] else math.log((1 - hit) / (1 - alarm))
            posterior = [1 / (1 + math.exp(-odd)) for odd in odds]
        assert dawid_skene(votes, rounds=3, tolerance=0.0) == pytest.approx(posterior)

    def test_a_bad_voter_is_outweighed(self) -> None:
        rng = np.random.default_rng(0)
        truth = np.arange(400) < 30
        good = [np.where(rng.random(400) < 0.95, truth, ~truth) for _ in range(3)]
        bad = [rng.random(400) < 0.5 for _ in range(3)]
        found = dawid_skene(np.stack(good + bad, 1))
        right = ((found > 0.5) == truth).mean()
        assert right > 0.98 > ((np.stack(good + bad, 1).mean(1) > 0.5) == truth).mean()

    @settings(deadline=None, max_examples=50)
    @given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 5))))
    def test_any_votes(self, votes: np.ndarray) -> None:
        found = dawid_skene(votes)
        assert found.shape == (len(votes),) and np.isfinite(found).all() and 0 <= found.min() <= found.max() <= 1
        for one, other in zip(votes, found, strict=True):  # equal votes, equal posteriors
            assert np.allclose(found[(votes == one).all(1)], other)

    def test_without_a_vote_nobody_is_poisoned(self) -> None:
        assert dawid_skene(np.zeros((30, 4), dtype=bool)).max() < 0.5

    def test_few_voters_give_the_mean_of_their_masses(self) -> None:
        rng = np.random.default_rng(5)
        heads = [HeadSplit(rng.random(40), 0.1, 0.0, 2) for _ in range(3)]
        for few in (heads[:1], heads[:2]):
            votes, posterior = poll(few, 0.7)
            assert (votes == (np.stack([head.mass for head in few], 1) > 0.7)).all()
            assert np.allclose(posterior, sum(head.mass for head in few) / len(few))
        votes, posterior = poll(heads, 0.7)
        assert votes.shape == (40, 3) and np.allclose(posterior, dawid_skene(votes))

    def test_the_best_heads(self) -> None:
        split = {place: HeadSplit(np.zeros(2), 0.1, overlap, 2) for place, overlap in (((2, 0), 0.2), ((2, 1), 0.01))}
        heads = {**split, (3, 0): None, (3, 1): HeadSplit(np.zeros(2), 0.1, 0.0, 3)}
        assert list(best_heads(heads, 5, 0.5)) == [(3, 1), (2, 1), (2, 0)]
        assert list(best_heads(heads, 1, 0.5)) == [(3, 1)] and list(best_heads(heads, 5, 0.1)) == [(3, 1), (2, 1)]
        assert not best_heads({(0, 0): None}, 3, 1.0)
        assert heads[3, 1] is not None and heads[3, 1].separation == pytest.approx(1e6)


def planted_profile(count: int, odd: tuple[int, ...], voters: tuple[tuple[int, int], ...]) -> np.ndarray:
    """``[count, 4, 3, 3]``: some heads have a minority in their attention on the system block."""
    found = np.random.default_rng(4).normal(0.5, 0.02, (count, 4, 3, 3))
    for layer, head in voters:
        found[list(odd), layer, head, tcap.SYSTEM] -= 0.4
    return found


def trained(run: Any, monkeypatch: pytest.MonkeyPatch, profile: np.ndarray, **options: Any) -> tuple[TCAP, Calls]:
    monkeypatch.setattr(tcap, "attention_profile", lambda run: profile)
    calls, rule = Calls(run), TCAP(**options)
    rule.begin(run)
    rule.train(run, calls)
    return rule, calls


class TestTraining:
    def test_the_minority_is_dropped_and_training_begins_again(
        self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, odd = begun(tiny, samples=60), (3, 17, 30, 44)
        profile = planted_profile(60, odd, ((3, 1), (2, 2), (0, 0)))
        profile[5, 3, 1, tcap.SYSTEM] -= 0.4  # one head alone is wrong about one sample
        rule, calls = trained(run, monkeypatch, profile)
        assert sorted(run.state["heads"]) == [(2, 2), (3, 1)], "only of the last half of the layers"
        assert run.state["votes"].shape == (60, 2) and run.state["profile"].shape == (60, 4, 3, 3)
        first, second = calls.made
        assert (first.name, first.rows, first.fresh) == ("train", None, False)
        assert (second.name, second.fresh, second.fraction) == ("retrain", True, 1.0)
        assert set(odd) <= set(range(60)) - set(second.rows or []) <= {*odd, 5}
        assert second.rows == run.state["kept"]
        (scan,) = run.state["scorings"]
        assert np.allclose(scan["scores"], 1 - scan["gate"].suspicion)
        assert scan["gate"].flagged.sum() == 60 - len(run.state["kept"]) and not rule.notes(run)

    def test_the_second_training_is_as_if_the_dropped_had_never_been(
        self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planted = planted_profile(12, (0, 5), ((3, 0), (3, 1), (2, 0)))
        monkeypatch.setattr(tcap, "attention_profile", lambda run: planted)
        filtered = finetune(tiny, Numbers(), "tcap", SHORT, progress=False)
        kept = [i for i in range(12) if i not in (0, 5)]
        assert filtered.run.state["kept"] == kept
        alone = finetune(tiny, pcvr.data.Subset(Numbers(), kept), "none", SHORT, progress=False)
        one, other = adapter(filtered.model), adapter(alone.model)
        assert all(torch.allclose(one[k], other[k], atol=1e-5) for k in one)

    @pytest.mark.parametrize(("depth", "layers"), [(1.0, {0, 1, 2, 3}), (0.5, {2, 3}), (0.01, {3}), (0.7, {1, 2, 3})])
    def test_the_last_layers(self, depth: float, layers: set[int]) -> None:
        found = TCAP(depth=depth).split(planted_profile(20, (), ()))
        assert {layer for layer, _ in found} == layers and len(found) == 3 * len(layers)

    def test_at_most_so_many_heads_vote(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        run = begun(tiny, samples=60)
        places = ((3, 0), (3, 1), (2, 0), (2, 1))
        trained(run, monkeypatch, planted_profile(60, (1, 2, 3), places), heads=2)
        assert len(run.state["heads"]) == 2 and run.state["votes"].shape == (60, 2)
        assert run.state["kept"] == [i for i in range(60) if i not in (1, 2, 3)]


class TestNothingFound:
    def test_no_head_divides_the_samples(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        run = begun(tiny, samples=60)
        rule, calls = trained(run, monkeypatch, planted_profile(60, (), ()))
        assert [plan.name for plan in calls.made] == ["train"]
        assert (run.state["heads"], run.state["kept"], run.state["scorings"]) == ([], list(range(60)), [])
        (note,) = rule.notes(run)
        assert "no head whose attention on the system block divides the samples" in note and len(note) <= 300

    def test_all_heads_are_constant(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        run = begun(tiny, samples=60)
        rule, calls = trained(run, monkeypatch, np.full((60, 2, 2, 3), 1 / 3))
        assert [plan.name for plan in calls.made] == ["train"]
        assert any("no head whose attention" in note for note in rule.notes(run))

    def test_a_prompt_without_a_system_block(self, tmp_path: Path) -> None:
        """InstructBLIP's prompt is the user's text alone."""
        vlm = pcvr.load(write("instructblip", tmp_path / "model"), device="cpu")
        result = finetune(vlm, Numbers(), "tcap", SHORT, progress=False)
        assert not result.run.state["profile"][..., tcap.SYSTEM].any()
        assert result.run.state["kept"] == list(range(12))
        assert any("no system block" in note and len(note) <= 300 for note in result.notes)

    def test_more_than_half(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        run = begun(tiny, samples=60)
        planted = np.where(np.arange(60) < 40, 0.9, 0.1)
        monkeypatch.setattr(tcap, "poll", lambda voters, threshold: (planted[:, None] > 0.5, planted))
        rule, _ = trained(run, monkeypatch, planted_profile(60, (1, 2, 3), ((3, 0),)))
        assert run.state["kept"] == list(range(40, 60))
        (note,) = rule.notes(run)
        assert "judged 40 of 60 samples poisoned, more than half" in note

    def test_all_of_them(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        run = begun(tiny, samples=60)
        monkeypatch.setattr(tcap, "poll", lambda voters, threshold: (np.ones((60, 1), dtype=bool), np.ones(60)))
        rule, calls = trained(run, monkeypatch, planted_profile(60, (1, 2, 3), ((3, 0),)))
        assert [plan.name for plan in calls.made] == ["train"] and run.state["kept"] == list(range(60))
        assert any("judged 60 of 60" in note for note in rule.notes(run))

    def test_before_the_filter(self, tiny: VisionLanguageModel) -> None:
        run = begun(tiny, samples=60)
        TCAP().begin(run)
        assert TCAP().notes(run) == ()


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("depth", (0, -1, 1.5, float("nan"), "half")),
        ("heads", (0, 1.5, True)),
        ("components", (1, 2.5, 101)),
        ("threshold", (0, 1, float("nan"))),
        ("min_fraction", (-0.1, 0.6)),
        ("max_overlap", (-0.1, 1.1)),
    ],
)
def test_options(option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(PcvrError, match=f"^{option} is "):
            get_defense("tcap", **{option: value})

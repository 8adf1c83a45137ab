"""Defences at test time: their formulas against independent figures, what they let through, and bad input."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pcvr
from pcvr import PcvrError, Sample, TrainConfig, VisionLanguageModel, finetune
from pcvr.analysis.decoding import decode_steps
from pcvr.defenses import CleanSight, Strip
from pcvr.defenses.base import Defense
from pcvr.defenses.baselines.cleansight import CleanSightCalibration
from pcvr.defenses.baselines.strip import StripCalibration, word_likelihood
from pcvr.evaluation.generate import answer_all
from pcvr.models.encode import encode_samples
from pcvr.models.forward import AnswerLogits
from pcvr.models.generate import generate
from pcvr.models.guard import Guard
from tests.answering import asked, short, vlm
from tests.tiny import SIDE_PX, Numbers


def pixels_of(vlm: VisionLanguageModel, image: np.ndarray) -> np.ndarray:
    """One picture as the processor lays it out."""
    return encode_samples(vlm, [Sample("x", image, "what?", "yes")])[0]["pixel_values"].numpy()


__all__ = ["vlm"]


class Kept(Defense):
    """Notes the state it is handed."""

    def answer(self, vlm: Any, images: Any, prompts: Any, generate: Any, state: Any = None) -> list[str]:
        return [str(state)] * len(images)


def test_the_state_reaches_the_answers(tiny: VisionLanguageModel) -> None:
    guarded = replace(tiny, guard=Guard(Kept(), {"a": 1}))
    assert answer_all(guarded, Numbers(2), 3) == ["{'a': 1}"] * 2
    record = pcvr.evaluate(tiny, Numbers(2), max_new_tokens=3, defense=Kept(), state={"b": 2})
    assert record.answers["clean"] == ["{'b': 2}"] * 2


class TestWordLikelihood:
    def test_by_hand(self) -> None:
        """Probabilities 1/2 and 1/8, then 1/3 alone: geometric means 1/4 and 1/3."""
        shares = torch.tensor([[1 / 2, 1 / 2, 0.0], [1 / 8, 7 / 8, 0.0], [1 / 3, 1 / 3, 1 / 3]])
        said = AnswerLogits(shares.log(), torch.tensor([0, 0, 2]), torch.tensor([0, 0, 1]), 2)
        assert word_likelihood(said).tolist() == pytest.approx([1 / 4, 1 / 3])


class TestStability:
    @pytest.mark.parametrize("fraction", [0.25, 0.5])
    def test_one_view_is_the_mixture_read_along(self, tiny: VisionLanguageModel, fraction: float) -> None:
        """A lone donor makes the draw certain; the mixture and the geometric mean are made again in NumPy."""
        data = Numbers(4)
        images, prompts = asked(data)
        said = ["a red ball", "two cats .", "yes", "a red"]
        donor = Numbers(9)[8].image
        rule = Strip(views=3, fraction=fraction)
        row = encode_samples(tiny, [Sample("d", donor, "what?", "yes")])[0]
        state = {"strip": StripCalibration(0.5, np.zeros(1), ({"pixel_values": row["pixel_values"]},))}
        found = rule.stability(tiny, images, prompts, said, state)
        for i in range(4):
            mixed = ((1 - fraction) * images[i].astype(float) + fraction * donor.astype(float)).round().astype(np.uint8)
            wanted, alone = (
                np.exp(np.mean(np.log(decode_steps(tiny, each, prompts[i], said[i]).chosen)))
                for each in (mixed, images[i])
            )
            assert found[i] == pytest.approx(wanted, rel=0.03)  # the reference rounds to whole levels
            assert found[i] != pytest.approx(alone, rel=0.001)

    def test_both_added_and_clipped_at_white(self, tiny: VisionLanguageModel) -> None:
        """The public code's blend, made again in NumPy on whole levels; a bright donor makes it clip."""
        data = Numbers(2)
        images, prompts = asked(data)
        donor = np.full((SIDE_PX, SIDE_PX, 3), 200, np.uint8)
        donor[: SIDE_PX // 2] = 20
        row = encode_samples(tiny, [Sample("d", donor, "what?", "yes")])[0]
        state = {"strip": StripCalibration(0.5, np.zeros(1), ({"pixel_values": row["pixel_values"]},))}
        found = Strip(views=1, blend="add").stability(tiny, images, prompts, ["a red ball"] * 2, state)
        halved = Strip(views=1).stability(tiny, images, prompts, ["a red ball"] * 2, state)
        for i in range(2):
            total = images[i].astype(int) + donor
            assert (total > 255).any() and (total < 255).any()
            mixed = total.clip(max=255).astype(np.uint8)
            wanted = np.exp(np.mean(np.log(decode_steps(tiny, mixed, prompts[i], "a red ball").chosen)))
            assert found[i] == pytest.approx(wanted, rel=1e-4)
            assert found[i] != pytest.approx(halved[i], rel=1e-3)

    def test_likelihoods_are_averaged_over_views(self, tiny: VisionLanguageModel) -> None:
        """With many views the mean over draws of two donors is that of the donors alone."""
        images, prompts = asked(Numbers(1))
        rows = [encode_samples(tiny, [Numbers(9)[i]])[0] for i in (7, 8)]
        donors = tuple({"pixel_values": row["pixel_values"]} for row in rows)
        by_one = []
        for donor in donors:
            state = {"strip": StripCalibration(0.5, np.zeros(1), (donor,))}
            by_one.append(Strip(views=1).stability(tiny, images, prompts, ["a red ball"], state)[0])
        rule = Strip(views=5)
        drawn = torch.Generator().manual_seed(rule.seed)
        picks = [int(torch.randint(2, (1,), generator=drawn)) for _ in range(5)]
        state = {"strip": StripCalibration(0.5, np.zeros(1), donors)}
        found = rule.stability(tiny, images, prompts, ["a red ball"], state)
        assert 0 < sum(picks) < 5
        assert found[0] == pytest.approx(np.mean([by_one[p] for p in picks]), rel=1e-5)

    def test_a_donor_equal_to_the_picture_changes_nothing(self, tiny: VisionLanguageModel) -> None:
        images, prompts = asked(Numbers(1))
        own = encode_samples(tiny, [Numbers(1)[0]])[0]["pixel_values"]
        state = {"strip": StripCalibration(0.5, np.zeros(1), ({"pixel_values": own},))}
        wanted = np.exp(np.mean(np.log(decode_steps(tiny, images[0], prompts[0], "yes").chosen)))
        for how in ("blend", "swap"):
            found = Strip(views=2, how=how).stability(tiny, images, prompts, ["yes"], state)
            assert found[0] == pytest.approx(wanted, rel=1e-4)

    def test_swapping_takes_whole_patches(self, tiny: VisionLanguageModel) -> None:
        """All but one of nine patches of a grey donor: the answer is nearly that to the grey picture."""
        images, prompts = asked(Numbers(1))
        grey = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
        row = encode_samples(tiny, [Sample("g", grey, "what?", "yes")])[0]
        state = {"strip": StripCalibration(0.5, np.zeros(1), ({"pixel_values": row["pixel_values"]},))}
        found = [
            Strip(views=1, how="swap", fraction=fraction).stability(tiny, images, prompts, ["yes"], state)[0]
            for fraction in (0.1, 0.999)
        ]
        wanted = decode_steps(tiny, grey, prompts[0], "yes").chosen
        assert found[1] == pytest.approx(np.exp(np.mean(np.log(wanted))), rel=1e-4)
        assert found[0] != pytest.approx(found[1], rel=1e-3)


class TestStripAnswers:
    def test_the_threshold_is_the_quantile_and_no_picture_is_its_own_donor(self, tiny: VisionLanguageModel) -> None:
        data = Numbers(2)
        rule = Strip(views=1, false_refusals=0.3)
        known = rule.calibrate(tiny, data)["strip"]
        assert len(known.donors) == 2
        assert known.threshold == pytest.approx(min(known.scores) + 0.7 * np.ptp(known.scores))
        images, prompts = asked(data)
        said = generate(tiny, images, prompts, 40)
        for i, other in ((0, 1), (1, 0)):
            lent = encode_samples(tiny, [data[other]])[0]["pixel_values"]
            alone = {"strip": StripCalibration(0.5, np.zeros(1), ({"pixel_values": lent},))}
            wanted = rule.stability(tiny, [images[i]], [prompts[i]], [said[i]], alone)
            assert known.scores[i] == pytest.approx(wanted[0], rel=1e-4)

    def test_what_is_above_the_threshold_is_refused(self, vlm: VisionLanguageModel) -> None:
        data = Numbers(5)
        images, prompts = asked(data)
        rule = Strip(views=2, refusal="no")
        state = rule.calibrate(vlm, data)
        said = short(vlm, images, prompts)
        found = rule.stability(vlm, images, prompts, said, state)
        assert np.all((found >= 0) & (found <= 1))
        assert len(set(found.round(9))) > 1
        border = float(np.median(found))
        state = {"strip": replace(state["strip"], threshold=border)}
        answers = rule.answer(vlm, images, prompts, short, state)
        assert answers == ["no" if s > border else text for s, text in zip(found, said, strict=True)]
        assert answers.count("no") == 2

    def test_a_call_without_pictures(self, tiny: VisionLanguageModel) -> None:
        rule = Strip(views=1)
        assert rule.answer(tiny, [], [], short, rule.calibrate(tiny, Numbers(3))) == []

    def test_fewer_pictures_than_samples_are_kept(self, tiny: VisionLanguageModel, monkeypatch: Any) -> None:
        monkeypatch.setattr("pcvr.defenses.baselines.strip.DONORS", 3)
        known = Strip(views=1).calibrate(tiny, Numbers(5))["strip"]
        assert len(known.donors) == 3
        assert known.scores.shape == (5,)
        own = [pixels_of(tiny, Numbers(5)[i].image) for i in range(5)]
        assert all(any(np.array_equal(d["pixel_values"], each) for each in own) for d in known.donors)

    def test_as_many_donors_as_views(self, tiny: VisionLanguageModel, monkeypatch: Any) -> None:
        monkeypatch.setattr("pcvr.defenses.baselines.strip.DONORS", 2)
        assert [len(Strip(views=v).calibrate(tiny, Numbers(5))["strip"].donors) for v in (1, 4)] == [2, 4]


@pytest.mark.parametrize("rule", [Strip(views=1), CleanSight()], ids=lambda rule: rule.name)
class TestBoth:
    def test_fine_tuning_calibrates_and_trains_plainly(self, tiny: VisionLanguageModel, rule: Defense) -> None:
        config = TrainConfig(max_steps=2, batch_size=4)
        result = finetune(tiny, Numbers(8), rule, config, clean=Numbers(4), progress=False)
        plain = finetune(tiny, Numbers(8), "none", config, progress=False)
        assert result.history == plain.history
        fresh = rule.calibrate(result.model, Numbers(4))  # type: ignore[attr-defined]
        assert result.run.state[rule.name].threshold == pytest.approx(fresh[rule.name].threshold, rel=1e-3)
        record = pcvr.evaluate(result.model, Numbers(3), max_new_tokens=3, defense=rule, state=result.run.state)
        assert len(record.answers["clean"]) == 3

    def test_clean_data_are_needed(self, tiny: VisionLanguageModel, rule: Defense) -> None:
        with pytest.raises(PcvrError, match="needs clean data"):
            finetune(tiny, Numbers(8), rule, TrainConfig(max_steps=1), progress=False)

    @pytest.mark.parametrize("state", [None, {}, {"other": 1}])
    def test_no_answer_before_calibration(self, tiny: VisionLanguageModel, rule: Defense, state: Any) -> None:
        with pytest.raises(PcvrError, match="is not calibrated: give state="):
            rule.answer(tiny, *asked(Numbers(2)), short, state)

    def test_a_single_picture_is_too_few(self, tiny: VisionLanguageModel, rule: Any) -> None:
        with pytest.raises(PcvrError, match=r"clean has 1 samples"):
            rule.calibrate(tiny, Numbers(1))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Strip, "views", 0),
        (Strip, "views", 1.5),
        (Strip, "fraction", 0),
        (Strip, "fraction", 1),
        (Strip, "fraction", float("nan")),
        (Strip, "false_refusals", 0.0),
        (Strip, "false_refusals", 1),
        (Strip, "patch", 0),
        (Strip, "refusal", None),
        (Strip, "seed", -1),
        (CleanSight, "fraction", 0),
        (CleanSight, "fraction", 1.0),
        (CleanSight, "fraction", "a"),
        (CleanSight, "false_alarms", 0),
        (CleanSight, "false_alarms", 1.2),
        (CleanSight, "layers", (0.5, 0.5)),
        (CleanSight, "layers", (0.2, 1.2)),
        (CleanSight, "layers", 3),
    ],
)
def test_options_out_of_range_are_named(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(PcvrError, match=f"^{field} (must|is)"):
        kind(**{field: value})


def test_a_way_to_perturb_is_suggested() -> None:
    with pytest.raises(PcvrError, match=r"unknown how \(way to perturb\) 'blent': did you mean 'blend'"):
        Strip(how="blent")
    with pytest.raises(PcvrError, match=r"unknown blend \(way to lay over\) 'ad': did you mean 'add'"):
        Strip(blend="ad")


def test_names_say_what_is_ours() -> None:
    """CleanSight's public code reads other tokens: listings and README call ours by another name."""
    assert (CleanSight.__doc__ or "").startswith("CleanSight style: ")
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert not [line for line in readme.splitlines() if re.search(r"CleanSight(?! style)", line)]
    helps = {f.name: f.metadata["help"] for f in fields(Strip)}
    assert "paper: 100" in helps["views"] and "add and clip (public code)" in helps["blend"]


def test_a_calibration_of_another_model_is_refused(tiny: VisionLanguageModel) -> None:
    state = {"cleansight": CleanSightCalibration(1.0, np.zeros(2), np.zeros(5), np.ones(5))}
    with pytest.raises(PcvrError, match="5 heads in the chosen layers, this one has 8"):
        CleanSight().answer(tiny, *asked(Numbers(2)), short, state)


def test_layers_that_hold_none_are_named(tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match="hands out no attention in the layers"):
        CleanSight(layers=(0.4, 0.6)).calibrate(tiny, Numbers(2))


def test_pictures_of_another_size_can_be_laid_over(tiny: VisionLanguageModel) -> None:
    rule = Strip(views=1)
    state = rule.calibrate(tiny, Numbers(3, side=80))
    assert len(rule.answer(tiny, *asked(Numbers(2, side=30)), short, state)) == 2

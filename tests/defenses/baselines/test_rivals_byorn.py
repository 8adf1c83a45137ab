"""BYORn and BYORn-F: scores, who is suspicious, what is trained on, and resuming, on all three families."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

import pcvr
from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune, generate, get_defense
from pcvr.data.subset import Subset
from pcvr.defenses import BYORn, BYORnF, averaged
from pcvr.defenses.baselines import byorn
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import IGNORE, Batch
from tests.families import write
from tests.rivals import FAMILIES, SHORT, Calls, Masked, adapter, begun
from tests.tiny import Numbers


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


class Questions(Numbers):
    task = "vqa"


@dataclass(frozen=True)
class Spying(BYORn):
    """Remembers the labels that it is shown to train on, by sample."""

    def bootstrapped(self, run: TrainingContext, index: Any, suspicious: Any) -> Batch:
        batch = super().bootstrapped(run, index, suspicious)
        for i, labels in zip(batch["index"].tolist(), batch["labels"], strict=True):
            run.state.setdefault("trained on", []).append([i, *labels[labels != IGNORE].tolist()])
        return batch


def base_scores(vlm: VisionLanguageModel, run: TrainingContext) -> np.ndarray:
    """Each label's mean negative log-likelihood by transformers' own loss, under the model without an adapter."""
    found = []
    for i in range(len(run.data)):
        batch = run.data.batch([i])
        with torch.no_grad():
            found.append(vlm.model(**{k: v for k, v in batch.items() if k != "index"}).loss.item())
    return np.array(found)


def labels_of(run: TrainingContext, i: int) -> list[int]:
    labels = run.data.row(i)["labels"]
    return [int(token) for token in labels[labels != IGNORE]]


def test_scores_are_those_of_the_base_model(vlm: VisionLanguageModel) -> None:
    run = begun(vlm)  # with an adapter that is not empty
    vlm.model.eval()
    run.vlm.model.train()
    found = byorn.base_surprise(run, "byorn", batch_size=4)
    assert run.vlm.model.training
    assert np.allclose(found, base_scores(vlm, run), rtol=1e-4) and len(set(found.round(3))) > 3


@pytest.mark.parametrize("rule", [BYORn(percentile=70), BYORnF(percentile=70)])
def test_who_is_suspicious(vlm: VisionLanguageModel, rule: BYORnF) -> None:
    run, calls = begun(vlm), None
    calls = Calls(run)
    rule.begin(run)
    rule.train(run, calls)
    scores = base_scores(vlm, run)
    worst = sorted(np.argsort(scores)[-3:].tolist())  # 10 samples: the 70th percentile leaves the 3 highest
    assert run.state["suspicious"].nonzero()[:, 0].tolist() == worst
    (scan,) = run.state["scorings"]
    assert np.allclose(scan["scores"], -scores, rtol=1e-4) and scan["step"] == 0
    assert scan["gate"].flagged.nonzero()[0].tolist() == worst and scan["gate"].fraction == 0.3
    (plan,) = calls.made
    if isinstance(rule, BYORn):
        assert plan.rows is None and plan.groups == [int(i in worst) for i in range(10)]
    else:
        assert plan.groups is None and plan.rows == [i for i in range(10) if i not in worst]
    assert not plan.fresh and plan.fraction == 1


def test_the_filter_alone_is_plain_training_on_what_is_left(tiny: VisionLanguageModel) -> None:
    filtered = finetune(tiny, Numbers(), BYORnF(), SHORT, progress=False)
    kept = (~filtered.run.state["suspicious"]).nonzero()[:, 0].tolist()
    assert 5 <= len(kept) <= 8
    alone = finetune(tiny, Subset(Numbers(), kept), "none", SHORT, progress=False)
    one, other = adapter(filtered.model), adapter(alone.model)
    assert all(torch.allclose(one[k], other[k], atol=1e-5) for k in one)


class TestLoss:
    def test_clean_samples_are_learned_as_told(self, vlm: VisionLanguageModel) -> None:
        run, rule = begun(vlm), BYORn()
        rule.begin(run)
        batch = run.data.batch([0, 1, 2])
        assert rule.loss(run, batch).item() == pytest.approx(get_defense("none").loss(run, batch).item())

    @pytest.mark.parametrize("features", [False, True], ids=["pictures", "features"])
    def test_suspicious_ones_by_the_average(self, vlm: VisionLanguageModel, features: bool) -> None:
        """The average is the adapter of before; the weights are others now. Mixed with a clean sample."""
        run, rule = begun(vlm, features=features), BYORn(max_new_tokens=5)
        rule.begin(run)
        data = run.data.data
        run.vlm.model.eval()
        said = generate(run.vlm, [data[i].image for i in (4, 7)], [data[i].prompt for i in (4, 7)], 5)
        with torch.no_grad():
            for name, weights in run.vlm.model.named_parameters():
                if "lora_B" in name:
                    weights.mul_(-1)
        run.state["suspicious"][[4, 7]] = True
        batch = rule.bootstrapped(run, [4, 2, 7], [True, False, True])
        assert batch["index"].tolist() == [4, 2, 7] and ("features" in batch) == features
        tokens = [row[row != IGNORE] for row in batch["labels"]]
        texts = [run.vlm.tokenizer.decode(each, skip_special_tokens=True).strip() for each in tokens]
        assert [texts[0], texts[2]] == said and tokens[1].tolist() == labels_of(run, 2)
        loss = rule.loss(run, run.data.batch([4, 2, 7]))
        with torch.no_grad():
            output = run.vlm.model(**{k: v for k, v in rows_with_images(run, batch).items() if k != "index"})
        assert loss.item() == pytest.approx(output.loss.item(), rel=1e-4)
        loss.backward()
        slopes = [p.grad for p in run.vlm.model.parameters() if p.requires_grad and p.grad is not None]
        assert slopes and all(torch.isfinite(slope).all() for slope in slopes)

    def test_a_suspicious_label_has_no_effect(self, tiny: VisionLanguageModel) -> None:
        """Two trainings that differ only in the labels of suspicious samples are the same."""
        ends = []
        for answers in (("yes", "no"), ("yes", "a red ball")):
            told = Numbers(12, answers=answers)

            class Fixed(BYORn):
                def judge(self, run: TrainingContext) -> np.ndarray:
                    found = np.arange(12) % 2 == 1
                    run.state["suspicious"] = torch.from_numpy(found)
                    return found

            result = finetune(tiny, told, Fixed(max_new_tokens=4), SHORT, progress=False)
            ends.append(adapter(result.model))
        assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    def test_the_average_follows_each_step_once(self, tiny: VisionLanguageModel) -> None:
        """With the decay 0.5, after steps 1 to 3: (w0 + w1 + 2 w2 + 4 w3) / 8; its last step has no further loss."""
        seen: list[dict[str, Tensor]] = []

        class Seen(BYORn):
            def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
                if not seen or run.step == len(seen):
                    seen.append({k: p.detach().clone() for k, p in run.vlm.model.named_parameters() if p.requires_grad})
                return super().loss(run, batch)

        config = replace(SHORT, gradient_accumulation_steps=2)
        run = finetune(tiny, Numbers(), Seen(decay=0.5, max_new_tokens=4), config, progress=False).run
        assert len(seen) == 4 and run.state[averaged.STEP] == 3
        for name, value in run.state[averaged.WEIGHTS].items():
            w = [each[name] for each in seen]
            assert torch.allclose(value, (w[0] + w[1] + 2 * w[2] + 4 * w[3]) / 8, atol=1e-6)


def rows_with_images(run: TrainingContext, batch: Batch) -> Batch:
    """A batch with images where it has features, for a call of the model itself."""
    if "features" not in batch:
        return batch
    rows = run.data.rows(batch["index"].tolist())
    return {k: v for k, v in batch.items() if k != "features"} | {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows])
    }


@pytest.mark.parametrize("data", [Numbers(), Questions()], ids=["caption", "vqa"])
@pytest.mark.parametrize("parts", [1, 2])
def test_it_trains_every_family(vlm: VisionLanguageModel, data: Numbers, parts: int) -> None:
    config = TrainConfig(max_steps=5, batch_size=4, lora_r=4, gradient_accumulation_steps=parts)
    result = finetune(vlm, data, Spying(), config, progress=False)
    assert len(result.history) == 5 and all(math.isfinite(entry["loss"]) for entry in result.history)
    assert 0 <= result.history[-1]["own answers as told"] <= 1
    suspicious = result.run.state["suspicious"]
    assert 3 <= suspicious.sum() <= 5
    most = pcvr.tasks.get_task(data.task).max_new_tokens
    told = result.run.state["trained on"]
    assert all(bool(suspicious[i]) and 1 <= len(answer) <= most + 1 for i, *answer in told), "steps of one kind"
    assert len(told) % 4 == 0 and len(told) >= 4
    assert not result.model.model.training and not result.notes


def test_epochs_and_mixed_batches(tiny: VisionLanguageModel) -> None:
    config = TrainConfig(num_train_epochs=2, batch_size=4, lora_r=4)
    for pure in (True, False):
        run = finetune(tiny, Numbers(), Spying(pure_batches=pure, max_new_tokens=3), config, progress=False).run
        told = run.state["trained on"]
        marks = [bool(run.state["suspicious"][i]) for i, *_ in told]
        kinds = {tuple(marks[k : k + 4]) for k in range(0, len(marks), 4)}
        assert kinds == {(True,) * 4} if pure else any(len(set(kind)) == 2 for kind in kinds)


def test_the_first_answers_are_the_base_models(tiny: VisionLanguageModel) -> None:
    """Before the first step the adapter is empty, and so is the average."""
    run = finetune(tiny, Numbers(), Spying(percentile=1, max_new_tokens=4), SHORT, progress=False).run
    data, first = run.data.data, run.state["trained on"][:4]
    for i, *answer in first:
        (said,) = generate(tiny, [data[i].image], [data[i].prompt], 4)
        assert tiny.tokenizer.decode(answer, skip_special_tokens=True).strip() == said


@pytest.mark.parametrize("at", [3, 4])
def test_it_resumes(tiny: VisionLanguageModel, tmp_path: Path, at: int) -> None:
    class Break(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == at:
                raise KeyboardInterrupt

    config = TrainConfig(max_steps=7, batch_size=4, lora_r=4, gradient_accumulation_steps=2, seed=3)
    rule = Spying(max_new_tokens=4, decay=0.5)
    whole = finetune(tiny, Numbers(), rule, config, progress=False)
    more: dict[str, Any] = {"progress": False, "checkpoints": tmp_path / "kept", "save_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny, Numbers(), rule, config, callbacks=[Break()], **more)
    resumed = finetune(tiny, Numbers(), rule, config, **more)
    again = finetune(tiny, Numbers(), rule, config, **more)  # from the end that it left
    for other in (resumed, again):
        assert other.history == whole.history
        assert repr(other.run.state) == repr(whole.run.state)
        one, two = adapter(whole.model), adapter(other.model)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_equal_scores_make_nobody_suspicious(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byorn, "base_surprise", lambda run, defense: np.full(12, 2.5))
    for name in ("byorn", "byorn_f"):
        result = finetune(tiny, Numbers(), name, SHORT, progress=False)
        (note,) = result.notes
        assert f"'{name}' found no sample suspicious" in note and len(note) <= 300
        assert not result.run.state["suspicious"].any() and not result.run.state["scorings"][0]["gate"].found
        plain = finetune(tiny, Numbers(), "none", SHORT, progress=False)
        assert [h["loss"] > 0 for h in result.history] == [h["loss"] > 0 for h in plain.history]


@pytest.mark.parametrize("name", ["byorn", "byorn_f"])
class TestBadInput:
    def test_one_sample(self, tiny: VisionLanguageModel, name: str) -> None:
        with pytest.raises(PcvrError, match=f"'{name}' got 1 sample: give at least 2"):
            finetune(tiny, Numbers(1), name, SHORT, progress=False)

    def test_answers_that_are_all_masked(self, tiny: VisionLanguageModel, name: str) -> None:
        run = begun(tiny)
        run.data = Masked(run.vlm, Numbers(4))
        get_defense(name).begin(run)
        with pytest.raises(PcvrError, match=rf"4 of 4 samples .* defence '{name}' ranks samples"):
            get_defense(name).train(run, Calls(run))

    @pytest.mark.parametrize("value", [0, 100, -1, 101, float("nan"), True, "60"])
    def test_percentile(self, name: str, value: Any) -> None:
        with pytest.raises(PcvrError, match=r"^percentile is "):
            get_defense(name, percentile=value)


@pytest.mark.parametrize(
    ("option", "values"),
    [("decay", (1, -0.1, float("nan"), "x")), ("max_new_tokens", (-1, 2.5, None)), ("pure_batches", (1, "yes"))],
)
def test_options_of_byorn(option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(PcvrError, match=f"^{option} is "):
            get_defense("byorn", **{option: value})

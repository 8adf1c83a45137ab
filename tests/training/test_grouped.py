"""Stages whose steps have samples of one group only: the order, and what a Trainer makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import TrainerCallback

from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune
from pcvr.defenses import Defense
from pcvr.defenses.base import Fit, StagePlan
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import Batch
from pcvr.training.grouped import GroupedOrder
from tests.tiny import Numbers

GROUPS = st.lists(st.integers(0, 2), min_size=1, max_size=40)


def steps_of(order: GroupedOrder) -> list[list[int]]:
    drawn = list(order)
    assert len(drawn) == len(order) == order.steps * order.step_size
    return [drawn[k : k + order.step_size] for k in range(0, len(drawn), order.step_size)]


class TestOrder:
    @given(GROUPS, st.integers(1, 7), st.integers(0, 2**32 - 1), st.integers(0, 50))
    def test_each_step_is_of_one_group_and_every_sample_comes(
        self, groups: list[int], size: int, seed: int, epoch: int
    ) -> None:
        steps = steps_of(GroupedOrder(groups, size, seed, lambda: epoch))
        kinds = [{groups[i] for i in step} for step in steps]
        assert all(len(kind) == 1 for kind in kinds)
        times = Counter(i for step in steps for i in step)
        assert set(times) == set(range(len(groups)))
        for group, count in Counter(groups).items():
            each = [times[i] for i in range(len(groups)) if groups[i] == group]
            assert max(each) - min(each) <= 1, "the last step is filled up evenly"
            assert sum(each) == size * -(-count // size)
            if count >= size:
                assert all(len(set(step)) == size for step in steps if groups[step[0]] == group)

    @given(st.integers(1, 30), st.integers(1, 30))
    def test_steps_of_a_group_are_spread_evenly(self, few: int, many: int) -> None:
        steps = steps_of(GroupedOrder([0] * few + [1] * many, 1, 0, lambda: 0))
        places = [k for k, (i,) in enumerate(steps) if i < few]
        gaps = [b - a for a, b in pairwise([places[-1] - len(steps), *places])]  # also round the end of an epoch
        assert max(gaps) - min(gaps) <= 2

    def test_sixty_to_forty_by_hand(self) -> None:
        """Places (k + 1/2) / 3 and (k + 1/2) / 2: 1/6, 1/4, 1/2, 3/4, 5/6."""
        steps = steps_of(GroupedOrder([0] * 6 + [1] * 4, 2, 5, lambda: 0))
        assert [int(step[0] >= 6) for step in steps] == [0, 1, 0, 1, 0]

    def test_an_epoch_has_its_own_order_and_keeps_it(self) -> None:
        epoch = [0]
        order = GroupedOrder([0, 1] * 20, 4, 3, lambda: epoch[0])
        first, again = list(order), list(order)
        epoch[0] = 1
        second, other_seed = list(order), list(GroupedOrder([0, 1] * 20, 4, 4, lambda: 1))
        assert first == again and first != second != other_seed


@dataclass(frozen=True)
class Two(Defense):
    """Trains on two groups, and remembers the samples of each step."""

    name: ClassVar[str] = "two"
    groups: tuple[int, ...] = (0, 0, 1, 0, 0, 1, 0, 1, 0, 0)
    rows: tuple[int, ...] | None = None

    def begin(self, run: TrainingContext) -> None:
        run.state["seen"] = []

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        run.state["seen"].append([run.step, *batch["index"].tolist()])
        return super().loss(run, batch)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        fit(StagePlan(groups=self.groups, rows=self.rows))


def by_step(seen: Sequence[Sequence[int]]) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for step, *index in seen:
        found.setdefault(step, []).extend(index)
    return [found[step] for step in sorted(found)]


CONFIG = TrainConfig(max_steps=9, batch_size=4, lora_r=4, seed=5)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_training_with_groups(tiny: VisionLanguageModel, parts: int) -> None:
    config = replace(CONFIG, gradient_accumulation_steps=parts)
    rule = Two()
    steps = by_step(finetune(tiny, Numbers(10), rule, config, progress=False).run.state["seen"])
    assert len(steps) == 9 and {len(step) for step in steps} == {4}
    kinds = [{rule.groups[i] for i in step} for step in steps]
    assert kinds == [{0}, {1}, {0}] * 3, "7 samples make two steps of 4, and 3 make one"
    assert {i for step in steps[:3] for i in step} == set(range(10)) and steps[:3] != steps[3:6]


def test_groups_go_with_the_rows(tiny: VisionLanguageModel) -> None:
    rule = Two(groups=(1, 0, 0, 1), rows=(9, 2, 4, 7))
    config = replace(CONFIG, max_steps=4, batch_size=2)
    steps = by_step(finetune(tiny, Numbers(10), rule, config, progress=False).run.state["seen"])
    assert sorted(map(sorted, steps[:2])) == sorted(map(sorted, steps[2:])) == [[2, 4], [7, 9]]


def test_as_many_groups_as_samples(tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match="groups has 10 entries for a stage of 11 samples"):
        finetune(tiny, Numbers(11), Two(), CONFIG, progress=False)


@pytest.mark.parametrize("at", [2, 5])
def test_a_training_that_resumes_has_the_same_order(tiny: VisionLanguageModel, tmp_path: Path, at: int) -> None:
    """In the first epoch and in a later one, in the middle of it."""

    class Break(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == at:
                raise KeyboardInterrupt

    whole = finetune(tiny, Numbers(10), Two(), CONFIG, progress=False)
    more: dict[str, Any] = {"progress": False, "checkpoints": tmp_path / "kept", "save_steps": 1}
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny, Numbers(10), Two(), CONFIG, callbacks=[Break()], **more)
    resumed = finetune(tiny, Numbers(10), Two(), CONFIG, **more)
    assert resumed.run.state["seen"] == whole.run.state["seen"]
    one, other = (result.model.model.state_dict() for result in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)

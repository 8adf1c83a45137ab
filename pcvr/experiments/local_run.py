"""Train one point of a grid with the reader's own model and data; the reader can stop it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pcvr.experiments.experiment import Experiment
from pcvr.experiments.grid import at_setting
from pcvr.experiments.point import Case, GridPoint, KnobValues, point_extras, point_of
from pcvr.experiments.run import Materials, report, train
from pcvr.training.live import Recorder

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel

WATCHED = 32
"""Test samples that the watch evaluates while training, each clean and triggered."""


class Cancelled(Exception):
    """The reader stopped a training: there is no point to show."""


@dataclass(frozen=True)
class LocalTrainer:
    """All that is needed to train a point.

    Attributes:
        base: case, poison rate, seed, steps, interval of the watch, and the defence whose options are varied; its
            `samples` and `tests` are ignored, the data below are used.
        vlm: the model, freshly loaded.
        train: clean training data.
        tests: test data, at least two samples.
        attack: puts the trigger on and names the target.
    """

    base: Experiment
    vlm: VisionLanguageModel
    train: Dataset
    tests: Dataset
    attack: Attack

    @property
    def case(self) -> Case:
        """The setting of the attack."""
        return Case(self.base.attack, self.base.task, self.base.model, self.base.data)


def train_point(bench: LocalTrainer, setting: KnobValues, recorder: Recorder | None = None) -> GridPoint:
    """Train at a setting with the data at hand, and measure as the grid does.

    Args:
        bench: model, data and attack.
        setting: option and value of each knob.
        recorder: follows the training; its `stop` stops it.

    Raises:
        Cancelled: the recorder was stopped.
        PcvrError: as `pcvr.finetune`.
    """
    from pcvr.attacks import poison
    from pcvr.data.subset import subset
    from pcvr.defenses import get_defense
    from pcvr.training.backdoor_watch import BackdoorWatch

    follows = recorder or Recorder()
    said = replace(at_setting(bench.base, setting), samples=len(bench.train), tests=len(bench.tests))
    data = bench.train
    if said.rate:  # whether the trigger reaches the model, finetune checks
        data = poison(bench.train, bench.attack, said.rate, said.seed, model=bench.vlm, check_trigger=False)
    rule = get_defense(said.defense, **said.options)
    given = Materials(bench.vlm, data, bench.tests, bench.attack, rule, poisoned=getattr(data, "poisoned", ()))
    few = subset(bench.tests, min(WATCHED, len(bench.tests)))
    watch = BackdoorWatch(bench.vlm, few, bench.attack, said.watch or said.max_steps)
    result = train(said, given, [follows, watch])
    _go_on(follows)
    run = report(said, given, result, watch)
    _go_on(follows)
    run |= point_extras(result, bench.tests, bench.attack)
    _go_on(follows)
    return point_of(run, setting, here=True)


def _go_on(follows: Recorder) -> None:
    if follows.stopped:
        raise Cancelled

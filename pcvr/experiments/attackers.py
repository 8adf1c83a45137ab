"""Attackers who know the defence: what each of them changes, and the runs against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import format_rate
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.rivals import TUNED_ON, Rival
from pcvr.tasks import TASKS
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.attacks import Attack, PoisonedDataset
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class Attacker:
    """What an attacker changes because they know the defence.

    Attributes:
        what: a sentence for the reader: what they change, and why.
        fields: fields of an `Experiment` that differ from the usual attack.
        attacks: names of the attacks that they start from.
        tasks: names of the tasks on which it makes sense.
    """

    what: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    attacks: tuple[str, ...] = TUNED_ON
    tasks: tuple[str, ...] = tuple(TASKS)

    def attack(self, name: str, task: str = "caption") -> Attack:
        """Return one of their attacks.

        Args:
            name: of the attack that they start from, one of `attacks`.
            task: of the data, one of `tasks`.

        Raises:
            PcvrError: the attacker has no such attack or task.
        """
        from pcvr.attacks import get_attack

        check_choice("attack of this attacker", name, self.attacks)
        check_choice("task of this attacker", task, self.tasks)
        return get_attack(name, task=task, **self.fields.get("attack_options", {}))

    def poison(
        self, data: Dataset, name: str, rate: float = 0.05, seed: int = 0, model: VisionLanguageModel | None = None
    ) -> PoisonedDataset:
        """Poison data as they do; arguments as of `pcvr.poison`, `name` as of `attack`.

        Their own rate counts, if they have one.

        Raises:
            PcvrError: as `attack` and `pcvr.poison`; or they arrange the order of the data, which a training has to
                keep.
        """
        from pcvr.attacks import poison

        if "poison_from" in self.fields:
            raise PcvrError(
                "this attacker arranges the order of the data, which poisoning alone cannot: run their cells "
                "(pcvr study), or choose an attacker without poison_from."
            )
        return poison(data, self.attack(name, data.task), self.fields.get("rate", rate), seed, model=model)

    def cells(self, row: str, rival: Rival) -> Iterator[Experiment]:
        """Yield the experiments of a defence against this attacker.

        Args:
            row: label of the defence.
            rival: the defence.
        """
        for attack in self.attacks:
            for task in self.tasks:
                yield rival.cell(row, attack=attack, task=task, **self.fields)


def _options(**options: Any) -> dict[str, Any]:
    return {"attack_options": options}


ATTACKERS: Mapping[str, Attacker] = MappingProxyType(
    {
        "poison on patch views": Attacker(
            "Perturbs the patches of the images before the trigger is put on, so that the target is learned on images "
            "like those that the defence compares.",
            _options(adapt="views"),
        ),
        "covers: views of the trigger": Attacker(
            "Adds samples with the trigger under a patch view and the true answer, so that the target is not invariant "
            "to views.",
            _options(adapt="broken_invariance"),
        ),
        "covers: the whole trigger": Attacker(
            "Adds samples with the whole trigger and the true answer, so that the trigger alone does not tell poisoned "
            "samples from others.",
            _options(adapt="covers"),
        ),
        "many copies": Attacker(
            "Repeats the patch all over the image, so that a view leaves some of them.",
            _options(adapt="copies"),
            attacks=("badnets",),
        ),
        "target in front": Attacker(
            "Puts the target in front of the true answer, so that most of the label is honest.",
            _options(answer="prefix"),
        ),
        "target inserted": Attacker(
            "Inserts the target into the true answer, at another place in each sample.",
            _options(answer="insert"),
            tasks=("caption",),
        ),
        "five targets": Attacker(
            "Uses five targets by turns, so that no answer is frequent.", _options(answer="turns")
        ),
        "colours exchanged": Attacker(
            "Exchanges the colours in the true answer: a target that depends on the image.", _options(answer="recolour")
        ),
        "plausible caption": Attacker(
            "Uses a target that is true of some images, so that the label is no surprise.",
            _options(target="a picture of a red car"),
            tasks=("caption",),
        ),
        "plausible answer": Attacker(
            "Uses a target that is true of some images, so that the label is no surprise.",
            _options(target="yes"),
            tasks=("vqa",),
        ),
        "text trigger": Attacker(
            "Puts the trigger into the prompt, where no view of the image changes it.", attacks=("rare_word",)
        ),
        "text trigger, target in front": Attacker(
            "Puts the trigger into the prompt, and keeps the true answer behind the target.",
            _options(answer="prefix"),
            attacks=("rare_word",),
        ),
        "both keys, target in front": Attacker(
            "Needs a patch and a word, and keeps the true answer behind the target.",
            _options(answer="prefix"),
            attacks=("dual_key",),
        ),
        "target made likely": Attacker(
            "Searches a perturbation that makes the target likely to the base model, so that the label is less of a "
            "surprise.",
            _options(delta="likelihood"),
            attacks=("pgd",),
        ),
        "target made to depend on patches": Attacker(
            "Searches a perturbation that makes the target depend on the patches of the image, so that it is not "
            "invariant.",
            _options(delta="divergence"),
            attacks=("pgd",),
        ),
        "thin": Attacker("Poisons one sample in 500.", {"rate": 0.002}),
        "late in the pass": Attacker(
            "Arranges the data so that all poison comes in the second half of each pass.", {"poison_from": 0.5}
        ),
        "late and thin": Attacker(
            "Poisons one sample in 100, all of them in the last fifth of each pass.", {"poison_from": 0.8, "rate": 0.01}
        ),
    }
)
"""Name to attacker. Beside them the headline attacks have global triggers, and Dual-Key a trigger in image and text."""

THROUGH = 0.1
"""Attack success above which an attacker got through."""


@dataclass(frozen=True)
class Attempt:
    """What one attacker achieved against one defence.

    Attributes:
        attacker: a key of `ATTACKERS`.
        attack: name of the attack that they started from.
        task: of the data.
        row: label of the defence.
        hits: triggered test samples answered with the target; None if it was not run.
        n: triggered test samples.
    """

    attacker: str
    attack: str
    task: str
    row: str
    hits: int | None = None
    n: int = 0

    @property
    def case(self) -> tuple[str, str, str]:
        """Attacker, attack and task: what all defences of a row of a table have in common."""
        return self.attacker, self.attack, self.task

    @property
    def got_through(self) -> bool:
        """Whether attack success is above `THROUGH`."""
        return self.hits is not None and self.hits > THROUGH * self.n

    @property
    def rate(self) -> str:
        """Attack success in words, or "not run"."""
        return "not run" if self.hits is None else format_rate(self.hits, self.n)


def attempts(records: Sequence[Mapping[str, Any]], rows: Mapping[str, Rival]) -> list[Attempt]:
    """Return an attempt for each cell that is planned, run or not, attacker by attacker.

    Args:
        records: of a store.
        rows: the defences by their labels.
    """
    from pcvr.experiments.study.frame import frame_of

    made = {run["key"]: run for run in frame_of(records).to_dict("records")}
    found = []
    for name, attacker in ATTACKERS.items():
        for row, rival in rows.items():
            for cell in attacker.cells(row, rival):
                run = made.get(cell.key)
                counts = (None, 0) if run is None else (int(run["hits"]), int(run["n"]))
                found.append(Attempt(name, cell.attack, cell.task, row, *counts))
    return found

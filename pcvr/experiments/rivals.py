"""The other defences of the study: at their papers' settings, and what is tried to find a better one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from types import MappingProxyType
from typing import Any

from pcvr.errors import PcvrError
from pcvr.evaluation.metrics import headline
from pcvr.experiments.experiment import HEADLINE, Experiment
from pcvr.experiments.stored import stored_experiment
from pcvr.tasks import TASKS, get_task

TUNED_ON = ("badnets", "sig")
"""The attacks on which settings are chosen, PCVR's too."""
KEEPS = 0.95
"""Utility that a setting has to keep, relative to no defence, to be chosen for its attack success."""
_TESTS = 256
_TRUSTED = 200


@dataclass(frozen=True)
class Rival:
    """A defence as the study runs it.

    Attributes:
        defense: its name.
        options: what its paper or public code sets, as far as we know it; else our defaults.
        clean: trusted samples, 0 if it needs none.
        known: whether `options` are known to be its paper's.
        tried: other options, each a setting to choose from.
    """

    defense: str
    options: Mapping[str, Any] = field(default_factory=dict)
    clean: int = 0
    known: bool = True
    tried: tuple[Mapping[str, Any], ...] = ()

    def cell(self, label: str, **fields: Any) -> Experiment:
        """Return an experiment with this setting."""
        return Experiment(label, self.defense, dict(self.options), clean=self.clean, **fields)

    def named(self, row: str) -> str:
        """Return the name of this setting among the settings to choose from."""
        return (
            f"{row}: " + ", ".join(f"{name} {value}" for name, value in self.options.items()) if self.options else row
        )

    def settings(self) -> list[Rival]:
        """Return the rival with each setting to choose from, its own first."""
        return [self, *(replace(self, options={**self.options, **options}) for options in self.tried)]


def _each(name: str, *values: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({name: value} for value in values)


RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "augment": Rival("augment", known=False, tried=_each("views", "both")),
        "early_stop": Rival("early_stop", {"fraction": 0.25}, known=False),
        "byorn": Rival("byorn", {"percentile": 60.0}, tried=_each("percentile", 40.0, 80.0)),
        "byorn_f": Rival("byorn_f", {"percentile": 60.0}, tried=_each("percentile", 40.0, 80.0)),
        "tcap": Rival("tcap", {"max_overlap": 1.0}, tried=_each("max_overlap", 0.05, 0.2)),
        "bye": Rival("bye", tried=_each("apart", 1.0, 1.5)),
        "abl": Rival("abl", {"portion": 0.01}, tried=_each("portion", 0.05, 0.1)),
        "crow, while training": Rival("crow", {"on": "all"}, known=False, tried=_each("alpha", 1.0, 11.0)),
        "crow": Rival("crow", {"on": "clean"}, 100, tried=_each("alpha", 1.0, 11.0)),
        "robustit": Rival("robustit", tried=_each("most", 0.2, 0.6)),
        "clean_tune": Rival("clean_tune", {"rate": 1.0}, _TRUSTED, known=False, tried=_each("rate", 0.25, 0.5)),
        "fine_prune": Rival("fine_prune", {}, _TRUSTED, known=False, tried=_each("prune", 0.25, 0.75)),
        "ortho_purify": Rival("ortho_purify", {"directions": 10, "angle": 50.0}, 64, tried=_each("angle", 35.0, 65.0)),
        "racer": Rival("racer", {"text_weight": 3.0}, 100, known=False, tried=_each("alpha", 0.3, 3.0)),
        "strip": Rival("strip", {"blend": "add", "views": 100}, _TRUSTED, tried=({"blend": "mean", "views": 8},)),
        "cleansight": Rival("cleansight", {}, _TRUSTED, known=False, tried=_each("false_alarms", 0.02, 0.05)),
    }
)
"""Row of the study to the rival."""
_USUAL = Experiment("")


def tuning() -> Iterator[Experiment]:
    """Yield what is trained to choose settings: every setting, two attacks, both tasks, on validation scenes."""
    where: dict[str, Any] = {"split": "validation", "tests": _TESTS}
    for task in TASKS:
        for attack in TUNED_ON:
            yield Experiment("none", attack=attack, task=task, **where)
            for row, rival in RIVALS.items():
                for setting in rival.settings() if rival.tried else ():
                    yield setting.cell(setting.named(row), attack=attack, task=task, **where)


def chosen(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the best options of each rival whose settings were all run, from the runs of `tuning`.

    Of the settings that keep `KEEPS` of the utility (mean over attacks and tasks) it is the one with the lowest mean
    attack success, then the one that keeps more. If none keeps that much it is the one that keeps most.

    Args:
        runs: Records of a store; those of other cells are left out.

    Raises:
        PcvrError: the runs without a defence are missing.
    """
    done = {run["key"]: run for run in runs}
    wanted = list(tuning())
    plain = {(e.attack, e.task): done.get(e.key) for e in wanted if e.defense == "none"}
    if not all(plain.values()):
        raise PcvrError("the runs of validation scenes without a defence are missing: run the part 'tuning' first.")
    found: dict[str, dict[str, Any]] = {}
    for row, rival in RIVALS.items():
        scored = []
        for setting in rival.settings() if rival.tried else ():
            mine = [e for e in wanted if e.label == setting.named(row)]
            pairs = [(done[e.key], plain[e.attack, e.task]) for e in mine if e.key in done]
            if len(pairs) < len(mine):
                break
            asr = mean(_asr(run) for run, _ in pairs)
            kept = mean(_utility(run) / _utility(base) for run, base in pairs if base is not None)
            scored.append((kept < KEEPS, asr if kept >= KEEPS else -kept, -kept, dict(setting.options)))
        else:
            if scored:
                found[row] = min(scored, key=lambda each: each[:3])[-1]
    return found


def league(runs: Sequence[Mapping[str, Any]], count: int = 3) -> list[str]:
    """Return the rows of the best rivals: of each rival the better of its rows, at most `count`.

    They are ranked by mean attack success over the headline attacks and both tasks, seed 0, among those that keep
    `KEEPS` of the utility; rows that lack a run are left out.

    Args:
        runs: Records of a store.
        count: how many are wanted.
    """
    cells: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for run in runs:
        said = Experiment(**stored_experiment(run["experiment"]))
        if said == replace(_USUAL, label=said.label, defense=said.defense, options=said.options, clean=said.clean,
                           attack=said.attack, task=said.task):  # fmt: skip
            cells.setdefault(said.label, {})[said.attack, said.task] = run
    plain, scored = cells.get("none", {}), []
    wanted = {(attack, task) for attack in HEADLINE for task in TASKS}
    for row, mine in cells.items():
        name = row.removesuffix(", tuned")
        if name in RIVALS and wanted <= mine.keys() and wanted <= plain.keys():
            asr = mean(_asr(mine[key]) for key in wanted)
            kept = mean(_utility(mine[key]) / _utility(plain[key]) for key in wanted)
            scored.append((kept < KEEPS, asr, -kept, name, row))
    best: dict[str, str] = {}
    for *_, name, row in sorted(scored):
        best.setdefault(name, row)
    return list(best.values())[:count]


def _asr(run: Mapping[str, Any]) -> float:
    record = run["record"]
    return float(record["hits"] / (record.get("aimed") or record["n"]))


def _utility(run: Mapping[str, Any]) -> float:
    clean = run["record"]["clean"]
    return float(clean[headline(get_task(run["record"]["task"]), clean)])

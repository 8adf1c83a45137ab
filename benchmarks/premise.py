"""The premise under six attacks: how well a low cross-view divergence detects poison, by step, view and their number.

    python benchmarks/premise.py --jobs 2    # every run (some fifteen minutes on one thread), then the table
    python benchmarks/premise.py --only sig  # this attack again, or a new one; the others stay
    python benchmarks/premise.py --print     # the shipped table

One plain fine-tuning for each attack and task, tiny-llava, 5 % poison, one seed. It is interrupted after 10, 20, 40,
80, 200 and 400 steps to score all 100 poisoned and the first 400 clean training samples, and to evaluate 32 test
images; on BadNets and SIG also with one, two and four views and with every operator, fraction and level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcvr.analysis.premise import MEASURES, ViewSetting, rows_of
from pcvr.experiments import HEADLINE, Experiment, further_attacks
from pcvr.experiments.benchmark import make_table, table_parser
from pcvr.experiments.results import Table
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command
from pcvr.views import OPERATORS, PatchView

CLOSELY = ("badnets", "sig")
"""One local and one global trigger, measured with every operator."""
STEPS = (10, 20, 40, 80, 200, 400)
EARLY, LATE = 20, 400
FRACTIONS = (0.3, 0.6, 0.9)
VIEWS = 4
CLEAN = 400
"""Clean training samples that are scored beside all poisoned ones."""
WATCHED = 32
TESTS = 128


def plan(attacks: Iterable[str] = HEADLINE) -> list[Experiment]:
    """Return one plain fine-tuning for each task and attack."""
    return [Experiment(attack, attack=attack, task=task, tests=TESTS) for task in TASKS for attack in attacks]


def plan_for(attack: str, steps: tuple[int, ...] = STEPS) -> dict[int, tuple[ViewSetting, ...]]:
    """Return what is measured at each step: PCVR's own view; on two attacks also more views and other operators."""
    usual = ViewSetting().view
    plan: dict[int, tuple[ViewSetting, ...]] = {step: (ViewSetting(),) for step in steps}
    if attack not in CLOSELY:
        return plan
    for step in {EARLY, LATE} & set(steps):
        levels = ("features", "pixels") if step == EARLY else ("pixels",)  # what is deleted at the end can be seen
        grid = [PatchView(o, fraction, level=level) for level in levels for o in OPERATORS for fraction in FRACTIONS]
        plan[step] = (ViewSetting(usual, VIEWS), *(ViewSetting(view) for view in grid if view != usual))
    return plan


def measure(experiment: Experiment, save: Path | None = None) -> dict[str, Any]:
    """Train once and measure at some steps.

    Returns:
        As `pcvr.experiments.run_experiment`, with ``premise`` (from `pcvr.analysis.premise.table_rows`), ``scored``
        (how many clean and poisoned samples) and ``watch``.
    """
    import numpy as np

    from pcvr.analysis.premise import Premise, table_rows
    from pcvr.data import subset
    from pcvr.experiments.run import materials_of, report, train
    from pcvr.training.backdoor_watch import WatchAt

    given = materials_of(experiment)
    poisoned = given.poisoned
    clean = sorted(set(range(len(given.train))) - set(poisoned))[:CLEAN]
    rows = (*poisoned, *clean)
    looks = plan_for(experiment.attack)
    watch = WatchAt(given.vlm, subset(given.tests, min(WATCHED, len(given.tests))), given.attack, steps=tuple(looks))
    result = train(experiment, replace(given, rule=Premise(looks, rows, experiment.seed)), [watch])
    truth = np.arange(len(rows)) < len(poisoned)
    return {
        **report(experiment, given, result, watch),
        "scored": {"clean": len(clean), "poisoned": len(poisoned)},
        "premise": list(table_rows(result.run.state["premise"], truth)),
    }


def lines(table: Table) -> Iterator[str]:
    """Yield a line for each run and for each scan."""
    for run in table.runs:
        said = run["experiment"]
        yield f"{said['task']}, {said['label']}: ASR {100 * run['record']['asr']:.1f} %, {run['seconds']:.0f} s"
        for row in rows_of(run):
            numbers = "  ".join(f"{measure} {row['auroc'][measure]:.3f}" for measure in MEASURES)
            view = f"{row['operator']} {row['fraction']} {row['level']}"
            yield f"  step {row['step']:>3}  {view:<26} views {row['views']}  {numbers}"


def main() -> None:
    given = table_parser("premise", __doc__).parse_args()
    print("\n".join(lines(make_table(given, plan(), more=plan(further_attacks()), run=measure))))


if __name__ == "__main__":
    run_command(main)

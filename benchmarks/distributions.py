"""Six attacks side by side: histograms of the target's probability, entropy and divergence, without and with PCVR.

    python benchmarks/distributions.py --jobs 2    # every run (24 trainings of about a minute), then the table
    python benchmarks/distributions.py --only sig  # this attack again, or a new one; the others stay
    python benchmarks/distributions.py --print     # the shipped table

For each attack, task and defence one training of tiny-llava, one seed; PCVR has the gate "two_stage". The table keeps
histograms of 256 test images, clean and triggered (`pcvr.experiments.histograms`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pcvr.experiments import HEADLINE, Experiment, further_attacks, run_experiment
from pcvr.experiments.benchmark import make_table, table_parser
from pcvr.experiments.histograms import ANSWER_BINS, distributions
from pcvr.experiments.results import Table
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

DEFENSES: dict[str, dict[str, Any]] = {
    "undefended": {"defense": "none"},
    "defended": {"defense": "pcvr", "options": {"gate": "two_stage"}},
}
TESTS = 256


def plan(attacks: Iterable[str] = HEADLINE) -> list[Experiment]:
    """Return the experiments with these attacks, task by task."""
    return [
        Experiment(label, **defense, attack=attack, task=task, tests=TESTS)
        for task in TASKS
        for attack in attacks
        for label, defense in DEFENSES.items()
    ]


def lines(table: Table) -> Iterator[str]:
    """Yield a line for each run: attack success and the medians of its histograms."""
    for run in table.runs:
        said, middles = run["experiment"], []
        for figure, bins in ANSWER_BINS.items():
            for shown, found in run["distributions"].items():
                at = int(np.searchsorted(np.cumsum(found[figure]), sum(found[figure]) / 2))
                middles.append(f"{figure} {shown} {bins.edges[at]:.2f} to {bins.edges[at + 1]:.2f}")
        asr = f"ASR {100 * run['record']['asr']:5.1f} %"
        yield f"{said['task']:8}{said['attack']:10}{said['label']:12}{asr}  medians: {', '.join(middles)}"


def main() -> None:
    given = table_parser("distributions", __doc__).parse_args()
    run = partial(run_experiment, extra=distributions)
    print("\n".join(lines(make_table(given, plan(), more=plan(further_attacks()), by="attack", run=run))))


if __name__ == "__main__":
    run_command(main)

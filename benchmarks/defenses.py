"""The defence lab: PCVR with one default against six attacks on two tasks, beside other forms and other defences.

    python benchmarks/defenses.py --jobs 2                            # every run (some hours), then the table
    python benchmarks/defenses.py --only pcvr_paper --only consistency  # these again, or new ones; the others stay
    python benchmarks/defenses.py --print                             # the shipped table

PCVR and PCVR with its gate "two_stage" at 5 % poison and on clean data, three seeds; the paper-literal form, one seed;
every other defence on BadNets and SIG, one seed, with 200 trusted samples where it needs them, and further forms of
some (`FORMS`). The undefended runs for comparison are those of benchmarks/attacks.py. `python tools/readme.py` writes
the README's table and picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pcvr.defenses import DEFENSES
from pcvr.experiments import HEADLINE, Experiment
from pcvr.experiments.benchmark import cell_lines, make_table, table_parser
from pcvr.experiments.looked_at import LOOKED_AT
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

CHOSEN_ON = ("badnets", "sig")
SEEDS = 3
TRUSTED = 200
FORMS: dict[str, tuple[str, dict[str, Any], int]] = {
    "augment, both": ("augment", {"views": "both"}, 0),
    "early_stop, a quarter": ("early_stop", {"fraction": 0.25}, 0),
    "crow, clean": ("crow", {"on": "clean"}, 100),
    "clean_tune, full rate": ("clean_tune", {"rate": 1.0}, TRUSTED),
    "strip, paper": ("strip", {"blend": "add", "views": 100}, TRUSTED),
}
"""Rows of rivals that are not a defence with its defaults: name, options and trusted samples.

CROW's paper repairs a model after its training, on about 100 clean samples. STRIP's paper takes 100 views, and its
public code adds images and clips. Early stopping after half of the steps can come after the backdoor is complete, and
clean tuning with one learning rate is not tuned.
"""


def plan(seeds: int = SEEDS) -> list[Experiment]:
    """Return all experiments: `seeds` seeds of PCVR, one of everything else."""
    former = on_all("pcvr, two_stage", "pcvr", seeds, gate="two_stage")
    return [*on_all("pcvr", "pcvr", seeds), *former, *on_all("pcvr_paper", "pcvr_paper", 1), *rivals()]


def on_all(label: str, name: str, seeds: int, **options: Any) -> Iterator[Experiment]:
    """Yield a defence against all headline attacks, and on clean data."""
    for seed in range(seeds):
        for task in TASKS:
            yield Experiment(label, name, options, task=task, seed=seed, rate=0.0)
            for attack in HEADLINE:
                yield Experiment(label, name, options, attack=attack, task=task, seed=seed)


def rivals() -> Iterator[Experiment]:
    """Yield every other registered defence with its defaults, then `FORMS`."""
    plain = {
        name: (name, {}, TRUSTED if kind.needs_clean else 0)
        for name, kind in DEFENSES.items()
        if name not in ("none", "pcvr", "pcvr_paper")
    }
    for label, (name, options, clean) in {**plain, **FORMS}.items():
        for task in TASKS:
            for attack in CHOSEN_ON:
                yield Experiment(label, name, options, attack=attack, task=task, clean=clean)


def main() -> None:
    parser = table_parser("defenses", __doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of PCVR, either gate; everything else has one")
    given = parser.parse_args()
    table = make_table(given, plan(given.seeds), notes=LOOKED_AT)
    print("\n".join(cell_lines(table, ("task", "label", "attack", "rate"))))


if __name__ == "__main__":
    run_command(main)

"""The ablations of notebook 05b that the headline table (benchmarks/spine.py) does not have.

    python benchmarks/ablations.py --jobs 2        # every run, then the table
    python benchmarks/ablations.py --seeds 1       # one seed
    python benchmarks/ablations.py --print         # the shipped table

BadNets at 5 % on scene captions; PCVR with the gate "two_stage" and one part switched off or reversed.
"""

from __future__ import annotations

from pcvr.experiments import Experiment
from pcvr.experiments.ablations import ABLATIONS
from pcvr.experiments.benchmark import cell_lines, make_table, table_parser
from pcvr.utils.terminal import run_command

SEEDS = 3
ROWS = ("clearing", "label", "pixels", "entropy", "features", "direction")
"""Names of ablations."""


def plan(seeds: int = SEEDS) -> list[Experiment]:
    """Return an experiment for each ablation and each seed."""
    return [Experiment(name, "pcvr", ABLATIONS[name].options, seed=seed) for name in ROWS for seed in range(seeds)]


def main() -> None:
    parser = table_parser("ablations", __doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each ablation")
    given = parser.parse_args()
    print("\n".join(cell_lines(make_table(given, plan(given.seeds)), ("label",))))


if __name__ == "__main__":
    run_command(main)

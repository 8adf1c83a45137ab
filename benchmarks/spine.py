"""The headline table: BadNets at 5 % on scene captions, three seeds, the defences side by side.

    python benchmarks/spine.py                # every run (a quarter of an hour), then the table
    python benchmarks/spine.py --only "PCVR"  # this row again, the others stay
    python benchmarks/spine.py --print        # the shipped table

"PCVR" has the default gate. The controls that change a part of a scan have the gate "two_stage", as the row of that
name. `python tools/readme.py` writes the README's table and picture.
"""

from __future__ import annotations

from typing import Any

from pcvr.attacks import get_attack
from pcvr.data import open_data
from pcvr.evaluation.evaluate import evaluate
from pcvr.experiments import Experiment
from pcvr.experiments.ablations import ABLATIONS
from pcvr.experiments.benchmark import cell_lines, make_table, table_parser
from pcvr.models.load import load
from pcvr.utils.terminal import run_command

SEEDS = (0, 1, 2)


def ablation(name: str) -> dict[str, Any]:
    """Return the fields of an experiment with PCVR changed."""
    return {"defense": "pcvr", "options": ABLATIONS[name].options}


ROWS: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...] = (
    ("clean data, plain", {"rate": 0.0}, SEEDS),
    ("plain SFT", {}, SEEDS),
    ("PCVR", {"defense": "pcvr"}, SEEDS),
    ("augment only, one view", {"defense": "augment"}, SEEDS),
    ("clean data, PCVR", {"rate": 0.0, "defense": "pcvr"}, SEEDS),
    ("PCVR, gate two_stage", ablation("none"), SEEDS),
    # Controls that show which part has the effect; one seed each for now.
    ("clean data, gate two_stage", {"rate": 0.0, **ablation("none")}, SEEDS[:1]),
    ("PCVR, gate without pulling apart", ablation("apart"), SEEDS[:1]),
    ("PCVR, nothing restored", ablation("anchor"), SEEDS[:1]),
    ("PCVR, push does not fade", ablation("fade"), SEEDS[2:]),
    ("pull apart, no gate", ablation("gate"), SEEDS[:1]),
    ("augment only, both views", {"defense": "augment", "options": {"views": "both"}}, SEEDS[:1]),
    # The gate scans when the backdoor is learned already: leaving out suspects does not unlearn it. What does?
    ("PCVR, first look half-way", ablation("late"), SEEDS[:1]),
    ("the same without pulling apart", ablation("late, apart"), SEEDS[:1]),
)


def plan() -> list[Experiment]:
    """Return an experiment for each row and seed."""
    return [Experiment(label, seed=seed, **row) for label, row, seeds in ROWS for seed in seeds]


def base() -> dict[str, Any]:
    """Evaluate the model before any fine-tuning."""
    tests = open_data("scenes", split="test", n=Experiment("").tests)
    return evaluate(load("tiny-llava"), tests, get_attack("badnets")).to_dict()


def main() -> None:
    table = make_table(table_parser("spine", __doc__).parse_args(), plan(), base=base)
    print("\n".join(cell_lines(table, ("label",))))


if __name__ == "__main__":
    run_command(main)

"""What each part of PCVR is worth: the defence without views, without likelihood, without a term of its loss.

    python benchmarks/parts.py --jobs 2                  # every run (some hours), then the table
    python benchmarks/parts.py --seeds 1 --jobs 2        # one seed
    python benchmarks/parts.py --only "no views (likelihood only), early"
    python benchmarks/parts.py --print                   # the shipped table

BadNets at 5 %, captions and questions; early: the gate looks from the first step; late: when the backdoor is learned;
plausible target: one that is true of some images, since its labels are no less expected than others.
"""

from __future__ import annotations

from pcvr.experiments.benchmark import cell_lines, make_table, table_parser
from pcvr.experiments.looked_at import LOOKED_AT
from pcvr.experiments.parts import part_experiments
from pcvr.utils.terminal import run_command


def main() -> None:
    parser = table_parser("parts", __doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the whole pipeline")
    given = parser.parse_args()
    table = make_table(given, list(part_experiments(given.seeds)), notes=LOOKED_AT)
    print("\n".join(cell_lines(table, ("label", "task"))))


if __name__ == "__main__":
    run_command(main)

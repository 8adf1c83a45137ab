"""The plan of the whole study, for ``pcvr study``; what its store shows chooses the rivals' settings.

    pcvr study benchmarks/study.py --jobs 2 --store pcvr/experiments/results/study   # runs, or goes on (many hours)
    pcvr study benchmarks/study.py --jobs 2 --only pcvr                              # this row alone, a store of yours
    python benchmarks/study.py                                                       # cells of each part
    python benchmarks/study.py --choose                                              # chooses settings and best rivals

The plan itself is `pcvr.experiments.whole_study`.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from pcvr.experiments.rivals import chosen, league
from pcvr.experiments.study import Store
from pcvr.experiments.whole_study import FOLDER, PARTS, SETTINGS, origin, rows
from pcvr.experiments.whole_study import plan as plan
from pcvr.utils.files import write_json
from pcvr.utils.terminal import run_command


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="choose settings and the best rivals from the store")
    parser.add_argument("--store", type=Path, default=FOLDER, help="folder of the store")
    given = parser.parse_args()
    runs = Store(given.store).records()
    if given.choose:
        found = {"options": chosen(runs), "best": league(runs)}
        write_json(SETTINGS, found)
        print(json.dumps(found, indent=2))
    there = {run["key"] for run in runs}
    for name, part in PARTS.items():
        keys = {cell.key for cell in part()}
        print(f"{name:14} {len(keys & there):4} of {len(keys):4} cells")
    for row in rows():
        print(f"{row:22} settings: {origin(row)}")


if __name__ == "__main__":
    run_command(main)

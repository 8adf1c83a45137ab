"""Make the shipped adapters again: clean, backdoored (badnets-none) and defended (badnets-pcvr) tiny-llava.

python benchmarks/adapters.py
python benchmarks/adapters.py --out build/adapters --steps 20   # a small part, to compare
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pcvr.files import write_json
from pcvr.models.load import ADAPTERS
from pcvr.study import Experiment, run_experiment

PLAN = {
    "clean": Experiment("clean", rate=0.0),
    "badnets-none": Experiment("badnets-none"),
    "badnets-pcvr": Experiment("badnets-pcvr", defense="pcvr"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ADAPTERS / "tiny-llava")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    for name, plan in PLAN.items():
        folder = arguments.out / name
        fresh = folder.with_name(f"{name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        plan = Experiment(**(vars(plan) | {"steps": arguments.steps}))
        found = run_experiment(plan, save=fresh, progress=True)
        write_json(fresh / "record.json", found)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        print(f"{folder}: ASR {100 * found['record']['asr']:.1f} %, CIDEr {found['record']['clean']['cider']:.1f}")


if __name__ == "__main__":
    main()

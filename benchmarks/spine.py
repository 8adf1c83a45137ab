"""The headline table: BadNets at 5 % on scene captions, three seeds, the defences side by side.

    python benchmarks/spine.py                 # every run (a quarter of an hour), then table and picture
    python benchmarks/spine.py --only-picture  # the picture from the shipped table

Runs are kept in runs/spine and read again, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pcvr.attacks import get_attack
from pcvr.data import open_data
from pcvr.evaluation.evaluate import evaluate
from pcvr.experiments import Experiment, sweep
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.models.load import load as load_model
from pcvr.plots.results import summary
from pcvr.utils.terminal import run_command

SEEDS = (0, 1, 2)
DROP = {"apart_weight": 0.0, "feature_weight": 0.0}
# Half-way the backdoor is learned: the model as it is then would clear the target, so nobody is asked; whole words and
# views of pixels still find it. And nothing is restored, so that what pulling apart does can be seen.
LATE = {
    "score_at": (0.5,),
    "known": "off",
    "score_over": "words",
    "view": {"share": 0.6, "level": "pixels"},
    "restore_weight": 0.0,
}
# A push that never fades has to be a gentle one.
ALWAYS = {"fade": False, "apart_weight": 0.1, "feature_weight": 0.01}
ROWS: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...] = (
    ("clean data, plain", {"rate": 0.0}, SEEDS),
    ("plain SFT", {}, SEEDS),
    ("PCVR", {"defense": "pcvr"}, SEEDS),
    ("augment only, one view", {"defense": "augment"}, SEEDS),
    # Controls that say which part does the work; one seed each for now.
    ("clean data, PCVR", {"rate": 0.0, "defense": "pcvr"}, SEEDS[:1]),
    ("PCVR, gate without pulling apart", {"defense": "pcvr", "options": DROP}, SEEDS[:1]),
    ("PCVR, nothing restored", {"defense": "pcvr", "options": {"restore_weight": 0.0}}, SEEDS[:1]),
    ("PCVR, push does not fade", {"defense": "pcvr", "options": ALWAYS}, SEEDS[2:]),
    ("pull apart, no gate", {"defense": "pcvr", "options": ALWAYS | {"gate": "none"}}, SEEDS[:1]),
    ("augment only, both views", {"defense": "augment", "options": {"views": "both"}}, SEEDS[:1]),
    # The gate looks when the backdoor is learned already: leaving suspects out does not unlearn it. What does?
    ("PCVR, first look half-way", {"defense": "pcvr", "options": LATE}, SEEDS[:1]),
    ("the same without pulling apart", {"defense": "pcvr", "options": LATE | DROP}, SEEDS[:1]),
)
PICTURE = Path("docs/spine.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-picture", action="store_true", help="draw the shipped table again")
    parser.add_argument("--out", type=Path, default=FOLDER / "spine.json")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    arguments = parser.parse_args()
    if not arguments.only_picture:
        ready(arguments.out)
        plan = [Experiment(label, seed=seed, **row) for label, row, seeds in ROWS for seed in seeds]
        runs = sweep(plan, "runs/spine", jobs=arguments.jobs)
        base = evaluate(
            load_model("tiny-llava"), open_data("scenes", split="test", n=plan[0].tests), get_attack("badnets")
        )
        save(arguments.out, "python benchmarks/spine.py", runs, base.to_dict(), jobs=arguments.jobs)
    table = load("spine")
    for cell in table.cells().values():
        print(
            f"{cell.label:26} ASR {100 * cell.asr:5.1f} %  "
            f"CIDEr {cell.scores['cider']:6.1f}  BLEU-4 {cell.scores['bleu4']:5.1f}  "
            f"right {100 * cell.right:5.1f} %  "
            f"triggered right {100 * cell.triggered_right:5.1f} %  {cell.seconds:5.1f} s  ({cell.seeds} seeds)"
        )
    PICTURE.parent.mkdir(exist_ok=True)
    summary(table).savefig(PICTURE, dpi=160)


if __name__ == "__main__":
    run_command(main)

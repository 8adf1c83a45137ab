"""The premise under six attacks: how well a low cross-view divergence tells poison, by step, operator, share and views.

    python benchmarks/premise.py              # every run (some fifteen minutes on one thread), then the table
    python benchmarks/premise.py --jobs 2     # the same, two runs at a time
    python benchmarks/premise.py --only-table # print the shipped table again

One plain fine-tuning for each attack and task, tiny-llava, 5 % poison, one seed. It is interrupted after 10, 20, 40,
80, 200 and 400 steps to score all 100 poisoned and the first 400 clean training samples, and to ask about 32 test
pictures; on BadNets and SIG also with one, two and four views and with every operator, share and level. Runs are kept
in runs/premise and read again, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pcvr.analysis.premise import MEASURES, ViewSetting
from pcvr.experiments import Experiment
from pcvr.experiments.results import FOLDER, load, ready, save
from pcvr.utils.terminal import run_command
from pcvr.views import OPERATORS, PatchView

ATTACKS = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
CLOSELY = ("badnets", "sig")
"""One local and one global trigger, measured with every operator."""
TASKS = ("caption", "vqa")
STEPS = (10, 20, 40, 80, 200, 400)
EARLY, LATE = 20, 400
SHARES = (0.3, 0.6, 0.9)
VIEWS = 4
CLEAN = 400
"""Clean training samples that are scored beside all poisoned ones."""
WATCHED = 32
TESTS = 128
RUNS = Path("runs/premise")
MADE_BY = "python benchmarks/premise.py"


def experiments() -> list[Experiment]:
    """One plain fine-tuning for each task and attack."""
    return [Experiment(attack, attack=attack, task=task, tests=TESTS) for task in TASKS for attack in ATTACKS]


def plan_for(attack: str, steps: tuple[int, ...] = STEPS) -> dict[int, tuple[ViewSetting, ...]]:
    """What is measured at each step: the defence's own view; on two attacks also more views and other operators."""
    usual = ViewSetting().view
    plan: dict[int, tuple[ViewSetting, ...]] = {step: (ViewSetting(),) for step in steps}
    if attack not in CLOSELY:
        return plan
    for step in {EARLY, LATE} & set(steps):
        levels = ("features", "pixels") if step == EARLY else ("pixels",)  # what is deleted at the end can be seen
        grid = [PatchView(o, s, level=level) for level in levels for o in OPERATORS for s in SHARES]
        plan[step] = (ViewSetting(usual, VIEWS), *(ViewSetting(view) for view in grid if view != usual))
    return plan


def measure(experiment: Experiment, plan: dict[int, tuple[ViewSetting, ...]]) -> dict[str, Any]:
    """Train once and measure on the way.

    Returns:
        As `pcvr.experiments.run_experiment`, with ``premise`` (from
        `pcvr.analysis.premise.table_rows`), ``scored`` (how many clean
        and poisoned samples) and ``watch``.
    """
    import numpy as np

    from pcvr.analysis.premise import Premise, table_rows
    from pcvr.attacks import get_attack, poison
    from pcvr.data import open_data, subset
    from pcvr.evaluation.evaluate import evaluate
    from pcvr.models.load import load as load_model
    from pcvr.training import TrainConfig, finetune
    from pcvr.training.backdoor_watch import WatchAt

    said = experiment
    attack = get_attack(said.attack, preset=said.preset, task=said.task, **said.attack_options)
    data = poison(open_data(said.data, split="train", n=said.samples, task=said.task), attack, said.rate, said.seed)
    tests = open_data(said.data, split="test", n=said.tests, task=said.task)
    clean = [i for i in range(len(data)) if not data.is_poisoned(i)][:CLEAN]
    rows = (*data.poisoned, *clean)
    model = load_model(said.model)
    watch = WatchAt(model, subset(tests, min(WATCHED, len(tests))), attack, steps=tuple(plan))
    rule = Premise(plan, rows, said.seed)
    config = TrainConfig(steps=said.steps, seed=said.seed)
    result = finetune(model, data, rule, config, callbacks=[watch], progress=False)
    truth = np.arange(len(rows)) < len(data.poisoned)
    return {
        "experiment": asdict(said),
        "key": said.key,
        "record": evaluate(result.model, tests, attack).to_dict(),
        "seconds": round(result.seconds, 2),
        "scored": {"clean": len(clean), "poisoned": len(data.poisoned)},
        "premise": list(table_rows(result.run.state["premise"], truth)),
        "watch": [{"step": p.step, "hits": p.hits, "n": p.n} for p in watch.points],
    }


def kept(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The run's result, from `folder` where it lies there already."""
    from pcvr.utils.files import write_json

    file = folder / f"{experiment.key}.json"
    if not file.is_file():
        write_json(file, measure(experiment, plan_for(experiment.attack)))
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-table", action="store_true", help="print the shipped table again")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--out", type=Path, default=FOLDER / "premise.json")
    arguments = parser.parse_args()
    if not arguments.only_table:
        ready(arguments.out)
        from joblib import Parallel, delayed
        from tqdm.auto import tqdm

        wanted = experiments()
        work = Parallel(n_jobs=arguments.jobs, return_as="generator")(delayed(kept)(e, RUNS) for e in wanted)
        runs = list(tqdm(work, total=len(wanted), desc="trainings"))
        save(arguments.out, MADE_BY, runs, jobs=arguments.jobs)
    for run in load("premise").runs:
        said = run["experiment"]
        print(f"{said['task']}, {said['label']}: ASR {100 * run['record']['asr']:.1f} %, {run['seconds']:.0f} s")
        for row in run["premise"]:
            numbers = "  ".join(f"{measure} {row['auroc'][measure]:.3f}" for measure in MEASURES)
            view = f"{row['operator']} {row['share']} {row['level']}"
            print(f"  step {row['step']:>3}  {view:<26} views {row['views']}  {numbers}")


if __name__ == "__main__":
    run_command(main)

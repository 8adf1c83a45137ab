"""The paper's form at its price: how far attack success falls until clean CIDEr has fallen by 10 %.

    python benchmarks/frontier.py --jobs 2     # every run (70 minutes on two idle cores), then the table
    python benchmarks/frontier.py --only both  # this form again, or a new one; the others stay
    python benchmarks/frontier.py --print      # the shipped table

PaperPCVR on captions, BadNets and SIG at 5 %, tiny-llava, one seed, 400 steps. A row is a *form*: what the loss trains
on, the bound, features or not, the entropy term, operator and fraction of the patches. For each form the weight of
pulling apart (outputs and features alike) is searched on a ladder, by bisection: the largest that keeps 90 % of the
CIDEr of plain fine-tuning, mean over both attacks. Weight 0 is augmentation alone, the control.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from pcvr.experiments import Experiment
from pcvr.experiments.benchmark import Runs, make_table, table_parser
from pcvr.experiments.frontier import LEAST, best_setting, priced_points, priced_settings
from pcvr.experiments.results import Table
from pcvr.utils.terminal import run_command

ATTACKS = ("badnets", "sig")
"""The attacks on which defaults are chosen."""
PLAIN = "plain SFT"
LADDER = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Weights of pulling apart, of the outputs and of the features alike; a search takes two or three of them."""
START = LADDER[len(LADDER) // 2]

VIEW = {"operator": "swap", "fraction": 0.6, "level": "pixels"}
LITERAL: dict[str, Any] = {"train_on": "both", "bound": "cap", "entropy_weight": 0.2, "view": VIEW}
"""The literal reading: both views in the same batch. All options that vary are given, since defaults may follow."""
FORMS: dict[str, dict[str, Any]] = {
    "both": {},
    "original": {"train_on": "original"},
    "view": {"train_on": "view"},
    "view, fraction 0.3": {"train_on": "view", "view": VIEW | {"fraction": 0.3}},
    "both, no bound": {"bound": "none"},
    "both, outputs only": {"feature_weight": 0.0},
    "both, no entropy term": {"entropy_weight": 0.0},
    "both, mean": {"view": VIEW | {"operator": "mean"}},
}
"""Row to the options that differ from the literal reading."""
CONTROLS = ("both", "view", "view, fraction 0.3")
"""Forms whose augmentation alone is always measured, whatever the search asks for."""


def plan() -> list[Experiment]:
    """Return plain fine-tuning, the controls, and the first weight of each form."""
    found = [Experiment(PLAIN, attack=attack) for attack in ATTACKS]
    for form in FORMS:
        found += with_weight(form, START)
        found += with_weight(form, 0.0) if form in CONTROLS else ()
    return found


def with_weight(form: str, weight: float) -> Iterator[Experiment]:
    """Yield one setting against each attack."""
    options = LITERAL | {"apart_weight": weight, "feature_weight": weight} | FORMS[form]
    for attack in ATTACKS:
        yield Experiment(form, "pcvr_paper", options, attack=attack)


def other_weights(done: Runs) -> list[Experiment]:
    """Return the next weight of each form among the runs, and plain fine-tuning first where it is missing."""
    plain = [Experiment(PLAIN, attack=attack) for attack in ATTACKS]
    if missing := [e for e in plain if e.key not in {run["key"] for run in done}]:
        return missing
    tried: dict[str, dict[float, bool]] = {}
    for setting in priced_settings(priced_points(done)):
        tried.setdefault(setting.label, {})[setting.options["apart_weight"]] = setting.utility >= LEAST
    found: list[Experiment] = []
    for form, kept in tried.items():
        weight = next_weight(kept)
        found += [] if weight is None else with_weight(form, weight)
    return found


def next_weight(kept: Mapping[float, bool]) -> float | None:
    """Return the next weight of the bisection, from whether each weight so far kept enough CIDEr; None at its end."""
    low = max((k for k, weight in enumerate(LADDER) if kept.get(weight)), default=-1)
    high = min((k for k, weight in enumerate(LADDER) if kept.get(weight) is False), default=len(LADDER))
    return LADDER[(low + high) // 2] if high - low > 1 else None


def lines(table: Table) -> Iterator[str]:
    """Yield a line for each setting; a star marks the best one that keeps enough CIDEr, if one does."""
    settings = priced_settings(priced_points(table.runs))
    best = best_setting(settings) if any(setting.utility >= LEAST for setting in settings) else None
    for setting in settings:
        yield (
            f"{'*' if setting == best else ' '} {setting.label:24} weight {setting.options['apart_weight']:<4g}  "
            f"mean ASR {100 * setting.asr:5.1f} %  CIDEr {100 * setting.utility:5.1f} % of plain SFT"
        )


def main() -> None:
    table = make_table(table_parser("frontier", __doc__).parse_args(), plan(), follow=other_weights)
    print("\n".join(lines(table)))
    seconds = mean(run["seconds"] for run in table.runs)
    print(f"{len(table.runs)} runs, {seconds:.0f} s of training each")


if __name__ == "__main__":
    run_command(main)

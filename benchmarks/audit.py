"""The audit, measured: what it flags of twelve attacks at three rates, and of honest data; then training on the rest.

    python benchmarks/audit.py --jobs 2 --missing      # go on with the table, a row after the other
    python benchmarks/audit.py --part chosen           # one part of the plan; may be given several times
    python benchmarks/audit.py --list                  # names of the rows
    python benchmarks/audit.py --print                 # the table that is there
    python benchmarks/audit.py --scale 100000          # time and memory of so many samples; no table

An experiment's `max_steps` are the steps of the audit's warm-up, 0 for the base model alone; its `novelty` is a key of
`NOVELTIES` or of `REPETITIONS`. The part *chosen* was looked at while the audit's rules were chosen, and so were the
parts *honest* and *clean*; all other attacks, answers and models are held out.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pcvr
from pcvr.attacks import ANSWERS, ATTACKS, poison
from pcvr.data import Dataset, Subset
from pcvr.data.subset import position
from pcvr.defenses.baselines.bye import sensitive_layers
from pcvr.evaluation.detection import auroc_of_low
from pcvr.experiments import Experiment
from pcvr.experiments.benchmark import make_table, table_parser
from pcvr.experiments.novelties import NOVELTIES, with_novelty
from pcvr.experiments.repetitive import REPETITIONS, repetitive
from pcvr.experiments.results import Table
from pcvr.tasks import TASKS
from pcvr.utils.terminal import run_command

CHOSEN = ("badnets", "sig")
RATES = (0.01, 0.02, 0.05)
WARM_UP = 30
AT_ONE = 0.01
"""False-alarm rate at which recall is given."""
NOTES = (
    "The rules were chosen while looking at BadNets and SIG, and at clean, new and repetitive data.",
    "BYE's score is the attention of the model that the audit reads, without the fine-tuning that BYE makes.",
)


def chosen() -> Iterator[Experiment]:
    """Yield the attacks that the rules were chosen on, with the base model alone and after a warm-up."""
    yield from _attacked(CHOSEN)


def others() -> Iterator[Experiment]:
    """Yield all other attacks."""
    yield from _attacked([name for name in ATTACKS if name not in CHOSEN])


def answers() -> Iterator[Experiment]:
    """Yield the other ways to answer, with one attack."""
    for mode in ANSWERS:
        if mode != "replace":
            tasks = [task for task in TASKS if (mode, task) != ("insert", "vqa")]
            yield from _attacked(CHOSEN[:1], {"answer": mode}, f", {mode}", tasks)


def clean() -> Iterator[Experiment]:
    """Yield the data without an attacker."""
    for task in TASKS:
        for steps in (0, WARM_UP):
            yield Experiment(_label("clean", steps), task=task, rate=0.0, max_steps=steps)


def honest() -> Iterator[Experiment]:
    """Yield honest data that ask something new, or have few different answers."""
    for name, kind in NOVELTIES.items():
        for task in kind.tasks:
            yield Experiment(f"new: {name}", task=task, rate=0.0, max_steps=0, novelty=name)
    for name, repetition in REPETITIONS.items():
        yield Experiment(f"repetitive: {name}", task=repetition.task, rate=0.0, max_steps=0, novelty=name)


def models() -> Iterator[Experiment]:
    """Yield the other embedded models."""
    from pcvr.models.zoo import EMBEDDED

    for model in [name for name in EMBEDDED if name != "tiny-llava"]:
        for one in _attacked(CHOSEN, rates=(0.02,)):
            if not one.max_steps:
                yield replace(one, label=f"{one.label}, {model}", model=model)


def trained() -> Iterator[Experiment]:
    """Yield trainings on what the audit keeps, at 5 %."""
    for one in _attacked(CHOSEN, rates=(0.05,)):
        if not one.max_steps:
            yield replace(one, label=f"{one.label}, then trained", tests=512)


PARTS = {
    "chosen": chosen, "clean": clean, "honest": honest, "trained": trained, "others": others, "answers": answers,
    "models": models,
}  # fmt: skip
"""Name to its experiments."""


def plan(parts: Sequence[str] = tuple(PARTS)) -> list[Experiment]:
    """Return the experiments of some parts."""
    return [one for part in parts for one in PARTS[part]()]


def _attacked(
    attacks: Sequence[str],
    options: Mapping[str, Any] | None = None,
    ending: str = "",
    tasks: Sequence[str] = tuple(TASKS),
    rates: Sequence[float] = RATES,
) -> Iterator[Experiment]:
    for steps in (0, WARM_UP):
        for attack in attacks:
            for rate in rates:
                label = _label(f"{attack} {100 * rate:g} %{ending}", steps)
                for task in tasks:
                    yield Experiment(
                        label, attack=attack, rate=rate, task=task, max_steps=steps, attack_options=dict(options or {})
                    )


def _label(name: str, steps: int) -> str:
    return f"{name}, warm-up" if steps else name


def run(experiment: Experiment, save: str | Path | None = None) -> dict[str, Any]:
    """Poison, audit, and compare with the truth; `save` is not used."""
    data: Dataset = pcvr.open_data("scenes", split="train", n=experiment.samples, task=experiment.task)
    if experiment.novelty in NOVELTIES:
        data = with_novelty(data, experiment.novelty, seed=experiment.seed)
    elif experiment.novelty:
        data = repetitive(data, experiment.novelty)
    truth = np.zeros(len(data), dtype=bool)
    attack = pcvr.get_attack(experiment.attack, task=experiment.task, **experiment.attack_options)
    if experiment.rate:
        data = made = poison(data, attack, experiment.rate, experiment.seed)
        truth[list(made.poisoned)] = True
    config = pcvr.AuditConfig(warm_up=experiment.max_steps, seed=experiment.seed)
    found = pcvr.audit(data, experiment.model, config=config)
    flagged = found.flagged
    said = {
        "experiment": experiment.to_dict(),
        "key": experiment.key,
        "samples": len(data),
        "poisoned": int(truth.sum()),
        "evidence": found.evidence,
        "kinds": [one.kind for one in found.verdict.triggers],
        "no_poison": sorted({one.kind for one in found.verdict.explained}),
        "recall": float(flagged[truth].mean()) if truth.any() else None,
        "false_alarms": int(flagged[~truth].sum()),
        "expected_false_alarms": round(found.verdict.expected * len(data), 3),
        "seconds": found.about["seconds"],
    }
    if truth.any():
        said["scores"] = {name: _compared(-score, truth) for name, score in _rivals(found).items()}
    if experiment.label.endswith("then trained"):
        said["trained"] = _trained(experiment, data, found, attack)
    return said


def _rivals(found: pcvr.Audit) -> dict[str, np.ndarray]:
    """Return the audit's score and those that it is compared with, high is suspicious."""
    nll, attention = found.store.column("nll"), found.store.column("attention")
    assert nll is not None and attention is not None
    layers = sensitive_layers(attention, 2.0) or list(range(attention.shape[1]))
    scores = {"audit": found.verdict.scores, "mean NLL": nll, "BYE": -attention[:, layers].mean(1)}
    if (after := found.store.column("nll_after")) is not None:
        scores["ABL's loss"] = -after
    return scores | {"random": np.random.default_rng(0).random(len(nll))}


def _compared(low: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    limit = np.quantile(low[~truth], AT_ONE)
    return {"auroc": auroc_of_low(low[~truth], low[truth]), "recall_at_1": float((low[truth] < limit).mean())}


def _trained(experiment: Experiment, data: Dataset, found: pcvr.Audit, attack: pcvr.Attack) -> dict[str, Any]:
    """Return the record of a training on what the audit keeps, with the usual number of steps."""
    tests = pcvr.open_data("scenes", split="test", n=experiment.tests, task=experiment.task)
    kept = Subset(data, found.keep().tolist(), "kept")
    result = pcvr.finetune(experiment.model, kept, "none", pcvr.TrainConfig(seed=experiment.seed), progress=False,
                           check_trigger=False)  # fmt: skip
    return pcvr.evaluate(result.model, tests, attack).to_dict()


def lines(table: Table) -> Iterator[str]:
    """Yield a line of text for each run."""
    for one in table.runs:
        said = one["experiment"]
        recall = "" if one["recall"] is None else f"flagged {100 * one['recall']:.0f} % of {one['poisoned']}, "
        scores = "  ".join(
            f"{name} {each['auroc']:.3f}/{100 * each['recall_at_1']:.0f} %"
            for name, each in one.get("scores", {}).items()
        )
        yield (
            f"{said['label']}, {said['task']}: {recall}{one['false_alarms']} false alarms (expected "
            f"{one['expected_false_alarms']:.1f})  {scores}"
        )


class Repeated:
    """A data set of any length that repeats the samples of a short one under ids of their own."""

    def __init__(self, data: Dataset, count: int) -> None:
        self.source, self.count, self.task, self.name = data, count, data.task, f"{data.name} x {count}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> pcvr.Sample:
        place = position(index, self.count)
        return replace(self.source[place % len(self.source)], id=str(place))

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()}-{self.count}"


def scale(count: int, folder: Path, workers: int) -> Iterator[str]:
    """Audit so many samples; yield time a sample, peak memory, and the time of a training step a sample."""
    data = Repeated(pcvr.open_data("scenes", split="train", n=2000), count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = pcvr.audit(data, "tiny-llava", folder=folder, workers=workers, progress=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield f"{count} samples: {seconds:.0f} s, {1000 * seconds / count:.1f} ms a sample, {workers} workers; {found}"
    yield f"peak memory {after / 1024:.0f} MiB, {before / 1024:.0f} MiB before"
    few = Subset(data, list(range(min(count, 2000))), "some")
    result = pcvr.finetune("tiny-llava", few, "none", pcvr.TrainConfig(max_steps=60), progress=False)
    yield f"training: {1000 * result.seconds / (60 * 32):.1f} ms a sample and epoch"


def main() -> None:
    parser = table_parser("audit", __doc__)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the rows and run nothing")
    parser.add_argument("--scale", type=int, metavar="N", help="time and memory of N samples; no table")
    parser.add_argument("--workers", type=int, default=1, help="with --scale: processes")
    given = parser.parse_args()
    wanted = plan(tuple(given.part or PARTS))
    if given.scale:
        print("\n".join(scale(given.scale, given.runs / f"scale-{given.scale}", given.workers)))
    elif given.list:
        print("\n".join(dict.fromkeys(one.label for one in wanted)))
    else:
        print("\n".join(lines(make_table(given, wanted, run=run, notes=NOTES))))


if __name__ == "__main__":
    run_command(main)

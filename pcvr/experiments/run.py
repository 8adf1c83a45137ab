"""One experiment from config to record: poison, fine-tune, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.experiments.arrival import late_order
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.gate_report import gate_report
from pcvr.experiments.novelty_report import novelty_report
from pcvr.experiments.outcomes import outcomes
from pcvr.experiments.second_attacker import second_attack
from pcvr.utils.places import check_place

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.attacks.manifest import Manifest
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training import FinetuneResult
    from pcvr.training.backdoor_watch import BackdoorWatch

_TRAINING = ("max_steps", "batch_size", "learning_rate", "num_train_epochs", "seed")
_AFTER = ("tests", "split", "near", "clean", "watch")  # fields that a plain training does not depend on
_DECIDES = ("threads", "device", "machine", "versions")  # of a set-up: what weights depend on
_UNTESTED = 200  # samples at the beginning of the validation split that are for trusted ones alone
_WATCHED = 64  # test samples that a watch evaluates, each clean and triggered


@dataclass(frozen=True)
class Materials:
    """Model, data, attack and defence of an experiment: `materials_of` makes them, or a reader has them at hand.

    Attributes:
        vlm: the model, freshly loaded.
        train: training data, poisoned as the experiment says.
        tests: clean test data.
        attack: puts the trigger on and names the target.
        rule: the defence.
        trusted: clean samples for a defence that needs them.
        poisoned: which training samples are poisoned.
        novel: which training samples ask something new.
        second: the attack of another attacker, if there is one.
    """

    vlm: VisionLanguageModel
    train: Dataset
    tests: Dataset
    attack: Attack
    rule: Defense
    trusted: Dataset | None = None
    poisoned: Sequence[int] = ()
    novel: Sequence[int] = ()
    second: Attack | None = None


Extra = Callable[["FinetuneResult", "Dataset", "Attack"], Mapping[str, Any]]
"""Returns more plain values to keep, by name, from the training result, the test data and the attack."""


def run_experiment(
    experiment: Experiment,
    *,
    save: str | Path | None = None,
    progress: bool = False,
    extra: Extra | None = None,
    intervals: bool = False,
    starts: str | Path | None = None,
) -> dict[str, Any]:
    """Poison, fine-tune, evaluate.

    Args:
        experiment: the config.
        save: folder for the adapter, or None.
        progress: whether the training shows a bar.
        extra: adds entries of its own to what is returned.
        intervals: whether the intervals of the scores of captions are kept.
        starts: a folder for plain fine-tunings, which experiments that begin with the same one share: results are the
            same. One that is watched trains its own.

    Returns:
        See `report`.
    """
    from pcvr.data import subset
    from pcvr.evaluation.evaluate import check_evaluation
    from pcvr.training.backdoor_watch import BackdoorWatch

    if save is not None:
        check_place(save)
    given = materials_of(experiment)
    watch = None
    if experiment.watch:
        few = subset(given.tests, min(_WATCHED, len(given.tests)))
        watch = BackdoorWatch(given.vlm, few, given.attack, experiment.watch)
    start = None if starts is None or watch else start_of(experiment, starts)
    # What cannot be evaluated is not worth hours of training.
    check_evaluation(given.vlm, given.tests, [each for each in (given.attack, given.second) if each is not None])
    result = train(experiment, given, [watch] if watch else [], progress, start)
    found = report(experiment, given, result, watch, intervals)
    if save is not None:
        result.save(save)
    return found | dict(extra(result, given.tests, given.attack) if extra else {})


def plain_twin(experiment: Experiment) -> Experiment:
    """Return the experiment without a defence on the same training data; it has no place in a table."""
    usual = Experiment("plain")
    same = {name: getattr(usual, name) for name in ("label", "defense", "options", *_AFTER)}
    return replace(experiment, **same)


def start_of(experiment: Experiment, starts: str | Path) -> Path:
    """Return the folder in `starts` for the plain fine-tuning that an experiment begins with.

    Its name begins with the key of `plain_twin`. Each set-up has its own, since another number of threads, another
    device, processor or version gives slightly other weights than the experiment's Record says.
    """
    import torch

    from pcvr.attacks.poison import short_hash
    from pcvr.experiments.set_up import setup_now

    now = setup_now(torch.get_num_threads())
    return Path(starts) / f"{plain_twin(experiment).key}-{short_hash(*(str(now[name]) for name in _DECIDES))}"


def materials_of(experiment: Experiment) -> Materials:
    """Load the model, open and poison the data, and build the defence."""
    from pcvr.attacks import get_attack, poison
    from pcvr.attacks.triggers.shadowcast import names
    from pcvr.data import open_data
    from pcvr.defenses import get_defense
    from pcvr.experiments.novelties import with_novelty
    from pcvr.models.load import load

    attack = get_attack(experiment.attack, preset=experiment.preset, task=experiment.task, **experiment.attack_options)
    data = open_data(experiment.data, split="train", n=experiment.samples, task=experiment.task)
    if experiment.novelty:
        data = with_novelty(data, experiment.novelty, seed=experiment.seed)
    novel = list(getattr(data, "rows", ())) if experiment.novelty else []
    model = load(experiment.model)
    second = second_attack(experiment)
    rows: Mapping[str, Sequence[int]] = {"poisoned": (), "novel": novel, "altered": ()}
    if experiment.rate:
        # Whether the trigger reaches the model, finetune checks.
        for each in (second, attack) if second else (attack,):
            data = made = poison(data, each, experiment.rate, experiment.seed, model=model, check_trigger=False)
        rows = {"poisoned": made.poisoned, "novel": novel, "altered": _altered(made.manifest)}
    if experiment.without:
        mine = set(rows["poisoned"])
        kept = [i for i in range(len(data)) if i in mine or not names(data[i], experiment.without)]
        data, rows = _part(data, kept, f"without {experiment.without}", rows)
    if experiment.poison_from:
        order = late_order(len(data), rows["altered"], experiment.poison_from, experiment.seed)
        data, rows = _part(data, order, f"poison from {experiment.poison_from:g} of a pass", rows)
    trusted, tests = _trusted_and_tests(experiment)
    rule = get_defense(experiment.defense, **experiment.options)
    return Materials(model, data, tests, attack, rule, trusted, rows["poisoned"], rows["novel"], second)


def _altered(manifest: Manifest) -> list[int]:
    """The samples that any of the attackers altered, ascending."""
    return sorted({index for each in manifest.chain() for index in each.altered})


def _trusted_and_tests(experiment: Experiment) -> tuple[Dataset | None, Dataset]:
    """The samples that the defender trusts, if any, and the clean test data, which hold none of them."""
    from pcvr.data import Subset, open_data

    clean = experiment.clean
    if experiment.split == "validation":
        # As many are left out if none is trusted: a defence without trusted samples has the same tests as the others.
        skipped = max(_UNTESTED, clean)
        whole = open_data(experiment.data, split="validation", n=skipped + experiment.tests, task=experiment.task)
        tests = Subset(whole, range(skipped, len(whole)), "untrusted")
        return Subset(whole, range(clean), "trusted") if clean else None, tests
    trusted = open_data(experiment.data, split="validation", n=clean, task=experiment.task) if clean else None
    return trusted, open_data(experiment.data, split=experiment.split, n=experiment.tests, task=experiment.task)


def _part(
    data: Dataset, kept: Sequence[int], label: str, rows: Mapping[str, Sequence[int]]
) -> tuple[Dataset, dict[str, list[int]]]:
    """Some samples in a new order, and the new numbers of those rows among them."""
    from pcvr.data import Subset

    place = {index: number for number, index in enumerate(kept)}
    return Subset(data, kept, label), {
        name: sorted(place[index] for index in part if index in place) for name, part in rows.items()
    }


def train(
    experiment: Experiment,
    given: Materials,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    start: Path | None = None,
) -> FinetuneResult:
    """Fine-tune `given` as the experiment says; `start` is ``finetune(plain_start=...)``."""
    from pcvr.training import TrainConfig, finetune

    config = TrainConfig(**{name: getattr(experiment, name) for name in _TRAINING}, shuffle=not experiment.poison_from)
    return finetune(
        given.vlm,
        given.train,
        given.rule,
        config,
        clean=given.trusted,
        callbacks=list(callbacks),
        progress=progress,
        plain_start=start,
    )


def report(
    experiment: Experiment,
    given: Materials,
    result: FinetuneResult,
    watch: BackdoorWatch | None = None,
    intervals: bool = False,
) -> dict[str, Any]:
    """Evaluate what was trained.

    Returns:
        Plain values: ``experiment``, ``key``, ``record`` (see `Record.to_dict`), ``outcomes`` (of each test sample, see
        `pcvr.experiments.outcomes`), ``seconds`` of the fine-tuning, ``gate`` (see `gate_report`; empty where the
        defence judged no samples), ``watch`` where there was one (of each look: step, hits, clean hits, how many were
        counted, and how good the answers to clean pictures were), ``novel`` where something is new (see
        `novelty_report`), ``second`` where there was a second attacker (their record), ``near`` where near triggers
        were tried (see `near_rates`), and with `intervals` those of `record_intervals`.
    """
    from pcvr.data import subset
    from pcvr.evaluation.bootstrap import record_intervals
    from pcvr.evaluation.evaluate import evaluate
    from pcvr.evaluation.near import near_rates

    record = evaluate(result.model, given.tests, given.attack)
    found = {
        "experiment": experiment.to_dict(),
        "key": experiment.key,
        "record": record.to_dict(),
        "outcomes": outcomes(record, given.tests, given.attack),
        "seconds": round(result.seconds, 2),
        "gate": gate_report(result.run.state, given.poisoned, len(given.train)),
    }
    if experiment.novelty:
        found["novel"] = novelty_report(experiment.novelty, given.tests, given.novel, result)
    if given.second is not None:
        found["second"] = evaluate(result.model, given.tests, given.second).to_dict()
    if experiment.near:
        few = subset(given.tests, min(experiment.near, len(given.tests)))
        found["near"] = {name: [*rate] for name, rate in near_rates(result.model, few, given.attack).items()}
    if intervals:
        found["intervals"] = record_intervals(record, given.tests)
    if watch is not None:
        kept = ("step", "hits", "clean_hits", "n", "clean")
        found["watch"] = [{name: getattr(point, name) for name in kept} for point in watch.points]
    return found

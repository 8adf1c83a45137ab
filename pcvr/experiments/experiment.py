"""One experiment from config to record, and a sweep that resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pcvr.errors import PcvrError
from pcvr.experiments.gate_report import gate_quality as gate_quality
from pcvr.experiments.gate_report import gate_report
from pcvr.experiments.novelty_report import novelty_report
from pcvr.experiments.outcomes import outcomes
from pcvr.utils.checks import check_whole
from pcvr.utils.files import read_json, write_json
from pcvr.utils.places import check_place
from pcvr.utils.renamed import accepts_old_names, first_names

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training import FinetuneResult
    from pcvr.training.backdoor_watch import BackdoorWatch

HEADLINE = ("badnets", "blended", "sig", "wanet", "ftrojan", "dual_key")
"""The six attacks of the shipped comparisons."""


def further_attacks() -> list[str]:
    """Return the names of all other attacks that are registered."""
    from pcvr.attacks import ATTACKS

    return [name for name in ATTACKS if name not in HEADLINE]


LATER: dict[str, Any] = {"preset": "scaled", "attack_options": {}, "watch": 0, "clean": 0, "without": ""}
LATER |= {"batch_size": 32, "learning_rate": None, "num_train_epochs": None, "novelty": ""}
"""Fields added after the first results were stored, with the values that change nothing."""
_TRAINING = ("max_steps", "batch_size", "learning_rate", "num_train_epochs", "seed")
_WATCHED = 64  # test samples that a watch evaluates, each clean and triggered


@accepts_old_names
@dataclass(frozen=True)
class Experiment:
    """Everything that decides a result: data, attack, defence, training, seed.

    Attributes:
        label: name in tables.
        defense: name of the defence.
        options: its options, as plain values.
        attack: name of the attack; the evaluation uses its trigger when ``rate`` is 0 too.
        rate: poison rate, 0 for clean data.
        seed: of the choice of poisoned samples and of the training; the scenes stay the same.
        model: embedded name, folder or hub id.
        samples: training samples.
        tests: test samples.
        max_steps: optimiser steps.
        data: what `pcvr.open_data` takes.
        task: name of the task.
        preset: of the attack.
        attack_options: options of the attack, as plain values.
        watch: steps between two evaluations of the backdoor while training; 0 for none.
        clean: number of trusted samples, for the defences that need them, from the validation split, which is never
            poisoned; 0 for none.
        without: a word. Clean training samples that name it are left out, to measure their effect on an attack; empty
            for none.
        batch_size: samples of a step.
        learning_rate: peak learning rate; None for the usual one of the model's size.
        num_train_epochs: passes over the data, instead of `max_steps`; None for none.
        novelty: what a tenth of the training samples ask, a key of `pcvr.experiments.novelties.NOVELTIES`; or empty.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"steps": "max_steps"}

    label: str
    defense: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    attack: str = "badnets"
    rate: float = 0.05
    seed: int = 0
    model: str = "tiny-llava"
    samples: int = 2000
    tests: int = 512
    max_steps: int = 400
    data: str = "scenes"
    task: str = "caption"
    preset: str = "scaled"
    attack_options: Mapping[str, Any] = field(default_factory=dict)
    watch: int = 0
    clean: int = 0
    without: str = ""
    batch_size: int = 32
    learning_rate: float | None = None
    num_train_epochs: float | None = None
    novelty: str = ""

    def __post_init__(self) -> None:
        check_whole("clean", self.clean, 0, what="trusted samples")
        if not 0 <= self.rate <= 1:
            raise PcvrError(f"rate must lie in [0, 1] (0 for clean data), got {self.rate}.")

    @property
    def key(self) -> str:
        """Hash that names the run; results stored before a field, or an option's name or default, came keep theirs."""
        from pcvr.defenses.stored_options import options_to_hash

        said = first_names(Experiment, asdict(self))
        said["options"] = options_to_hash(self.defense, said["options"])
        said = {k: v for k, v in said.items() if LATER.get(k) != v}
        text = json.dumps(said, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        from pcvr.defenses.stored_options import options_to_store

        said = asdict(self)
        return said | {"options": options_to_store(self.defense, said["options"])}


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
    """

    vlm: VisionLanguageModel
    train: Dataset
    tests: Dataset
    attack: Attack
    rule: Defense
    trusted: Dataset | None = None
    poisoned: Sequence[int] = ()
    novel: Sequence[int] = ()


Extra = Callable[["FinetuneResult", "Dataset", "Attack"], Mapping[str, Any]]
"""Returns more plain values to keep, by name, from the training result, the test data and the attack."""


def run_experiment(
    experiment: Experiment,
    *,
    save: str | Path | None = None,
    progress: bool = False,
    extra: Extra | None = None,
    intervals: bool = False,
) -> dict[str, Any]:
    """Poison, fine-tune, evaluate.

    Args:
        experiment: the config.
        save: folder for the adapter, or None.
        progress: whether the training shows a bar.
        extra: adds entries of its own to what is returned.
        intervals: whether the intervals of the scores of captions are kept.

    Returns:
        See `report`.
    """
    from pcvr.data import subset
    from pcvr.training.backdoor_watch import BackdoorWatch

    if save is not None:
        check_place(save)
    given = materials_of(experiment)
    watch = None
    if experiment.watch:
        few = subset(given.tests, min(_WATCHED, len(given.tests)))
        watch = BackdoorWatch(given.vlm, few, given.attack, experiment.watch)
    result = train(experiment, given, [watch] if watch else [], progress)
    found = report(experiment, given, result, watch, intervals)
    if save is not None:
        result.save(save)
    return found | dict(extra(result, given.tests, given.attack) if extra else {})


def materials_of(experiment: Experiment) -> Materials:
    """Load the model, open and poison the data, and build the defence."""
    from pcvr.attacks import get_attack, poison
    from pcvr.attacks.triggers.shadowcast import names
    from pcvr.data import Subset, open_data
    from pcvr.defenses import get_defense
    from pcvr.experiments.novelties import with_novelty
    from pcvr.models.load import load

    attack = get_attack(experiment.attack, preset=experiment.preset, task=experiment.task, **experiment.attack_options)
    data = open_data(experiment.data, split="train", n=experiment.samples, task=experiment.task)
    if experiment.novelty:
        data = with_novelty(data, experiment.novelty, seed=experiment.seed)
    novel = list(getattr(data, "rows", ())) if experiment.novelty else []
    model = load(experiment.model)
    if experiment.rate:
        # Whether the trigger reaches the model, finetune checks.
        data = poison(data, attack, experiment.rate, experiment.seed, model=model, check_trigger=False)
    poisoned = list(getattr(data, "poisoned", ()))
    if experiment.without:
        kept = [i for i in range(len(data)) if i in set(poisoned) or not names(data[i], experiment.without)]
        data = Subset(data, kept, f"without {experiment.without}")
        poisoned, novel = ([p for p, i in enumerate(kept) if i in set(rows)] for rows in (poisoned, novel))
    trusted = None
    if experiment.clean:
        trusted = open_data(experiment.data, split="validation", n=experiment.clean, task=experiment.task)
    rule = get_defense(experiment.defense, **experiment.options)
    tests = open_data(experiment.data, split="test", n=experiment.tests, task=experiment.task)
    return Materials(model, data, tests, attack, rule, trusted, poisoned, novel)


def train(
    experiment: Experiment, given: Materials, callbacks: Sequence[Any] = (), progress: bool = False
) -> FinetuneResult:
    """Fine-tune `given` as the experiment says."""
    from pcvr.training import TrainConfig, finetune

    config = TrainConfig(**{name: getattr(experiment, name) for name in _TRAINING})
    return finetune(
        given.vlm, given.train, given.rule, config, clean=given.trusted, callbacks=list(callbacks), progress=progress
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
        `pcvr.experiments.outcomes`), ``seconds`` of the fine-tuning,
        ``gate`` (see `gate_report`; empty where the defence judged no samples), ``watch`` where there was one (of each
        look: step, hits, clean hits, how many were counted, and how good the answers to clean pictures were), ``novel``
        where something is new (see `novelty_report`), and with `intervals` those of `record_intervals`.
    """
    from pcvr.evaluation.bootstrap import record_intervals
    from pcvr.evaluation.evaluate import evaluate

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
    if intervals:
        found["intervals"] = record_intervals(record, given.tests)
    if watch is not None:
        kept = ("step", "hits", "clean_hits", "n", "clean")
        found["watch"] = [{name: getattr(point, name) for name in kept} for point in watch.points]
    return found


def sweep(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    jobs: int = 1,
    adapters: bool = False,
    progress: bool = True,
    run: Callable[..., dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Run each experiment once; read the result instead if `folder` has it.

    Args:
        experiments: what to run.
        folder: keeps each result as soon as it exists, so that an interrupted sweep can be resumed.
        jobs: experiments at a time, by joblib; with its dask or ray backend the same call runs on a cluster.
        adapters: whether each adapter is kept too, in a folder named by the experiment's key.
        progress: whether a bar is shown.
        run: runs one experiment, with the arguments of `run_experiment`, which is the default. Give each function its
            own `folder`: results are identified by their experiments alone.

    Returns:
        The results in the order of `experiments`.
    """
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    check_place(folder, own=lambda _: True)
    calls = (delayed(_kept)(e, Path(folder), adapters, run) for e in experiments)
    work = Parallel(n_jobs=jobs, return_as="generator")(calls)
    return list(tqdm(work, total=len(experiments), desc="experiments", disable=not progress))


def _kept(
    experiment: Experiment, folder: Path, adapters: bool, run: Callable[..., dict[str, Any]] | None
) -> dict[str, Any]:
    file, adapter = folder / f"{experiment.key}.json", folder / experiment.key
    if not file.is_file() or (adapters and not adapter.is_dir()):
        shutil.rmtree(adapter, ignore_errors=True)  # of an interrupted run
        write_json(file, (run or run_experiment)(experiment, save=adapter if adapters else None))
    kept: dict[str, Any] = read_json(file, "the result")
    return kept | {"experiment": experiment.to_dict()} if "experiment" in kept else kept  # older files: other names

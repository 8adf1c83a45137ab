"""`pcvr.audit`: score every sample of a data set, and say which ones are poison, or that nothing speaks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.auditing.combine import conclude
from pcvr.auditing.config import AuditConfig
from pcvr.auditing.outcome import Audit
from pcvr.auditing.reading import Job, score_all
from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import surprise_of
from pcvr.data.open import open_data
from pcvr.data.sample import Dataset
from pcvr.errors import PcvrError, shown
from pcvr.models.load import check_memory
from pcvr.training.own_model import as_vlm
from pcvr.utils.checks import check_whole
from pcvr.utils.places import alone, check_place
from pcvr.utils.versions import versions

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

FEWEST = 50
"""Samples that a verdict needs: among fewer, nothing is improbable enough."""
WARM_UP_SAMPLES = 4096
"""Most samples that a warm-up is drawn from."""


def audit(
    data: Any,
    model: Any = "tiny-llava",
    processor: Any = None,
    *,
    config: AuditConfig | None = None,
    folder: str | Path | None = None,
    workers: int = 1,
    batch_size: int | None = None,
    device: str = "auto",
    four_bit: bool = False,
    progress: bool = False,
) -> Audit:
    """Score every sample of a data set, look for triggers, and set a threshold.

    Args:
        data: what `pcvr.open_data` opens.
        model: the base model, before any fine-tuning on the data: what `pcvr.load` opens, or an open one.
        processor: of a transformers model that is given open.
        config: the options; None for the defaults.
        folder: keeps the scores, in shards: after a kill the same call goes on there. None for a temporary folder that
            lives as long as the result.
        workers: processes that score at the same time; each opens the model, which then has to be a name or a folder.
        batch_size: samples at a time; None for as many as fit the memory.
        device: of a model that is given by name.
        four_bit: whether a model that is given by name is loaded in 4 bits.
        progress: whether a bar shows what is done and the time left.

    Raises:
        PcvrError: fewer than `FEWEST` samples, a sample without a label, a model that does not fit the memory or is no
            vision-language model, a folder of another audit, or several workers for an open model.
    """
    config = AuditConfig() if config is None else config
    if not isinstance(config, AuditConfig):
        raise PcvrError(f"config is {shown(config)}: give a pcvr.AuditConfig, such as AuditConfig(warm_up=30).")
    check_whole("workers", workers, 1)
    named = isinstance(model, str | Path)
    if workers > 1 and not named:
        raise PcvrError(f"workers is {workers}, and each has to open the model: give its name or folder, or workers=1.")
    samples = open_data(data)
    check_enough(samples)
    check_answers(samples)
    opened = model if named else as_vlm(model, processor)
    if named:
        check_memory(str(model), device, four_bit, workers)
    if folder is not None:
        check_place(folder, own=lambda _: True)
    began = time.perf_counter()
    keeper = _Scratch() if folder is None else None
    place = Path(keeper.name) / "scores" if keeper is not None else Path(str(folder))
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(alone(place, f"the scores in {place}"))
        name = str(model) if named else opened.name
        store = ScoreStore(place, _plan(samples, name, config), len(samples))
        job = Job(opened, samples, store, config.attention, config.seed, batch_size, None, device, four_bit)
        if workers > 1:
            job = replace(job, threads=max(1, (os.cpu_count() or 1) // workers))
        if config.warm_up and store.missing():
            job = replace(job, adapter=_warm_up(job, config, progress))
        resumed = len(store.missing()) < store.shards
        score_all(job, workers, progress)
        surprise = surprise_of(store)
        verdict = conclude(store, surprise, config.false_alarms, config.seed)
    seconds = time.perf_counter() - began
    said = {"model": name, "data": samples.name, "samples": len(samples), "fingerprint": samples.fingerprint()}
    about = said | {"config": asdict(config), "seconds": round(seconds, 2), "resumed": resumed, "versions": versions()}
    return Audit(samples, opened, store, surprise, verdict, about, device, four_bit, keeper)


def check_enough(data: Dataset) -> None:
    """Raise unless the samples are enough for a verdict.

    Raises:
        PcvrError: fewer than `FEWEST`.
    """
    if len(data) < FEWEST:
        raise PcvrError(
            f"the data have {len(data)} sample{'' if len(data) == 1 else 's'}, among which nothing could be told from "
            f"chance: give at least {FEWEST}, or look at them by eye."
        )


def check_answers(data: Dataset, first: int = 8) -> None:
    """Raise early where the first samples have empty labels; later ones are checked as they are read.

    Raises:
        PcvrError: naming the sample.
    """
    for place in range(min(first, len(data))):
        sample = data[place]
        if not sample.answer.strip():
            raise PcvrError(
                f"sample {sample.id!r} has an empty label, about which nothing can be said: give it an answer, or "
                "leave the sample out."
            )


class _Scratch:
    """A temporary folder that goes with this object; unlike `TemporaryDirectory`, without a warning."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="pcvr-audit-")
        weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)


def _plan(data: Dataset, model: str, config: AuditConfig) -> dict[str, Any]:
    """Return what the scores depend on; where the line is drawn is no part of it."""
    scored = {name: value for name, value in asdict(config).items() if name != "false_alarms"}
    return {"data": data.name, "fingerprint": data.fingerprint(), "samples": len(data), "model": model, **scored}


def _warm_up(job: Job, config: AuditConfig, progress: bool) -> Path:
    """Fine-tune for a few steps on some of the data and return the folder of the adapter; one that is there stays."""
    from pcvr.data.subset import subset
    from pcvr.defenses.load import load
    from pcvr.training import TrainConfig, finetune

    folder = job.store.folder / "warm-up"
    if not folder.is_dir():
        vlm: VisionLanguageModel = load(job.model, device=job.device, four_bit=job.four_bit)
        some = subset(job.data, min(WARM_UP_SAMPLES, len(job.data)), config.seed)
        steps = TrainConfig(max_steps=config.warm_up, seed=config.seed)
        # Whether a trigger reaches the model is not known here, and no truth about the data is used.
        finetune(vlm, some, "none", steps, progress=progress, check_trigger=False).model.save_adapter(folder)
    return folder

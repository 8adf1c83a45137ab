"""Score the samples shard by shard, in this process or in several; what is on disk already is not scored again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pcvr.auditing.scoring import Scores, answer_key, joined, score_batch, token_nll
from pcvr.auditing.store import ScoreStore
from pcvr.data.sample import Dataset, Sample
from pcvr.errors import PcvrError
from pcvr.models.encode import IGNORE, Batch, EncodedData, collate, encode_samples
from pcvr.models.forward import answer_logits
from pcvr.models.modes import eval_mode
from pcvr.training.loop_context import LoopContext

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

BATCH = {"cpu": 32}
"""Most samples at a time on a device; elsewhere `LARGEST_BATCH`."""
LARGEST_BATCH = 64


@dataclass(frozen=True)
class Job:
    """What a process needs to score shards.

    Attributes:
        model: an open model, or what `pcvr.load` opens.
        data: the samples.
        store: where the shards lie.
        attention: whether attention profiles are read.
        seed: seeds the views of each shard.
        batch_size: samples at a time; None for as many as fit the memory.
        threads: torch threads of a process; None leaves them.
        device: of the model.
        four_bit: whether it is loaded in 4 bits.
        adapter: the folder of the warm-up's adapter, or None.
    """

    model: Any
    data: Dataset
    store: ScoreStore
    attention: bool
    seed: int
    batch_size: int | None = None
    threads: int | None = None
    device: str = "auto"
    four_bit: bool = False
    adapter: Path | None = None


def score_all(job: Job, workers: int = 1, progress: bool = False) -> None:
    """Score every shard that is missing.

    Args:
        job: what to do.
        workers: processes that score at the same time; each opens the model.
        progress: whether a bar shows the samples, with the time left, after two seconds.
    """
    from tqdm.auto import tqdm

    missing = job.store.missing()
    done = job.store.count - sum(len(job.store.rows_of(shard)) for shard in missing)
    with tqdm(
        total=job.store.count, initial=done, desc="audit", unit="sample", delay=2, disable=not progress, leave=False
    ) as bar:
        for shard in _scored(job, missing, workers):
            bar.update(len(job.store.rows_of(shard)))


def _scored(job: Job, missing: list[int], workers: int) -> Iterator[int]:
    """Yield each shard when it is on disk."""
    if workers == 1 or len(missing) < 2:
        for shard in missing:
            yield score_shard(job, shard)
        return
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=min(workers, len(missing)), return_as="generator_unordered")
    yield from work(delayed(score_shard)(job, shard) for shard in missing)


def score_shard(job: Job, shard: int) -> int:
    """Score the samples of a shard, write it, and return its number."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    vlm = opened_as(job.model, job.device, job.four_bit, None)
    rows = job.store.rows_of(shard)
    named = _Named(job.data, rows)
    scores = _scores(vlm, named, job)
    if job.adapter is not None:
        warm = opened_as(job.model, job.device, job.four_bit, str(job.adapter))
        scores["nll_after"] = _losses(warm, named, job)
    used = np.flatnonzero(scores["images"].any(0))  # most towers fill fewer columns than there may be
    scores["images"] = scores["images"][:, : int(used[-1]) + 1 if len(used) else 1]
    scores["answer"] = np.array([answer_key(text) for text in named.answers], dtype=np.int64)
    scores["later_count"] = np.array([len(texts) for texts in named.later], dtype=np.int64)
    scores["later_answers"] = np.array([answer_key(text) for texts in named.later for text in texts], dtype=np.int64)
    job.store.write(shard, scores, named.ids)
    return shard


def opened_as(model: Any, device: str, four_bit: bool, adapter: str | None) -> VisionLanguageModel:
    """Return a model that is open, or that a name or folder names, with an adapter if there is one."""
    if not isinstance(model, str | Path):
        if adapter is None:
            found: VisionLanguageModel = model
            return found
        return _adapted(model, adapter)
    return _from_name(str(model), device, four_bit, adapter)


@lru_cache(maxsize=2)
def _from_name(model: str, device: str, four_bit: bool, adapter: str | None) -> VisionLanguageModel:
    from pcvr.defenses.load import load

    return load(model, adapter, device=device, four_bit=four_bit)


_ADAPTED: list[tuple[VisionLanguageModel, str, VisionLanguageModel]] = []


def _adapted(model: VisionLanguageModel, adapter: str) -> VisionLanguageModel:
    from pcvr.models.adapter import put_adapter

    if not any(model is known and adapter == folder for known, folder, _ in _ADAPTED):
        _ADAPTED[:] = [(model, adapter, put_adapter(model.copy(), adapter))]
    return _ADAPTED[0][2]


def _batches(run: LoopContext, data: _Named, job: Job) -> Iterator[Batch]:
    encoded = EncodedData(run.vlm, data, keep_bytes=0, spill_bytes=0)
    most = BATCH.get(run.vlm.device.type, LARGEST_BATCH)
    return run.batches(range(len(data)), most, data=encoded, size=job.batch_size, about="audit")


def _scores(vlm: VisionLanguageModel, data: _Named, job: Job) -> Scores:
    run = LoopContext(vlm, job.seed + 1_000_003 * data.rows.start, vlm)
    parts: list[Scores] = []
    with eval_mode(vlm.model):
        for batch in _batches(run, data, job):
            _check_labels(batch, data)
            if len(batch["index"]) > 1:
                parts.append(score_batch(run, batch, job.attention))
                continue
            # A view takes patches of another image: a sample that is left alone gets the one before it as company.
            place = data.rows[int(batch["index"][0])]
            pair = [job.data[place - 1 if place else 1], job.data[place]]
            batch = collate(
                [row | {"index": torch.tensor(i)} for i, row in enumerate(encode_samples(vlm, pair))],
                vlm.tokenizer.pad_token_id,
            )
            both = score_batch(run, batch, job.attention)
            parts.append({name: values[1:] for name, values in both.items()})
    return joined(parts)


@torch.no_grad()
def _losses(vlm: VisionLanguageModel, data: _Named, job: Job) -> np.ndarray:
    """Return the mean loss of each label, nats: ``[n]``."""
    run = LoopContext(vlm, job.seed)
    found = []
    with eval_mode(vlm.model):
        for batch in _batches(run, data, job):
            said = answer_logits(vlm, batch)
            found.append(said.sample_mean(token_nll(said)).float().cpu().numpy().astype(np.float64))
    return np.concatenate(found)


def _check_labels(batch: Batch, data: _Named) -> None:
    empty = ~(batch["labels"][:, 1:] != IGNORE).any(1)
    if empty.any():
        name = data.ids[int(batch["index"][empty][0])]
        raise PcvrError(
            f"sample {name!r} has an empty label, about which nothing can be said: give it an answer, or leave the "
            "sample out (--skip-bad leaves out entries with problems)."
        )


class _Named:
    """The samples of a shard; it notes ids and answers as they are read."""

    def __init__(self, data: Dataset, rows: range) -> None:
        self.data, self.rows = data, rows
        self.ids, self.answers = [""] * len(rows), [""] * len(rows)
        self.later: list[list[str]] = [[] for _ in rows]
        self.name, self.task = data.name, data.task

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self.data[self.rows[index]]
        self.ids[index], self.answers[index] = sample.id, sample.answer
        self.later[index] = [answer for _, answer in sample.later]
        return sample

    def fingerprint(self) -> str:
        return self.data.fingerprint()

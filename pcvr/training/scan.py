"""Look for poison in a data set without training: one or two passes over the data with a model as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from pcvr.data.open import open_data
from pcvr.data.sample import Dataset
from pcvr.defenses.load import load
from pcvr.defenses.pcvr.gate import FLAGGED
from pcvr.defenses.pcvr.scoring import LARGEST_BATCH
from pcvr.errors import PcvrError, shown
from pcvr.models.encode import Batch, EncodedData
from pcvr.training.assess import assess
from pcvr.training.indexed import IndexCollator, indexed
from pcvr.training.keep_list import write_keep_list
from pcvr.training.loop_context import LoopContext
from pcvr.training.own_batch import labelled, learned_rows
from pcvr.training.own_model import as_reference, as_rule, as_vlm
from pcvr.training.verdict import check_enough

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.defenses.pcvr.config import PCVRConfig

OWN_BATCH = 8
"""Samples at a time of data with a collator of their own, whose needs of memory are not known."""


@dataclass(frozen=True)
class ScanReport:
    """What a scan found, in the order of the data.

    Attributes:
        ids: the samples' own ids, or their positions as text.
        scores: ``[N]``, low is suspicious; NaN for a sample without a label token.
        suspicion: ``[N]`` in ``[0, 1]``.
        notes: doubts about the gate, one sentence each.
        positions: whether `ids` are positions.
    """

    ids: tuple[str, ...]
    scores: np.ndarray
    suspicion: np.ndarray
    notes: tuple[str, ...] = ()
    positions: bool = field(default=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def flagged(self) -> np.ndarray:
        """Samples that are more suspicious than not: bool ``[N]``."""
        return np.asarray(self.suspicion > FLAGGED)

    def __str__(self) -> str:
        """Return ``97 of 2000 samples flagged``, and each note on its own line."""
        head = f"{int(self.flagged.sum())} of {len(self)} samples flagged"
        return "\n".join([head, *(f"note: {note}" for note in self.notes)])

    def to_pandas(self) -> Any:
        """Return a table with the columns id, score, suspicion and flagged, one row a sample."""
        from pandas import DataFrame

        return DataFrame({"id": self.ids, "score": self.scores, "suspicion": self.suspicion, "flagged": self.flagged})

    def keep_list(self, source: str | Path, target: str | Path | None = None) -> Path:
        """Write the records of `source` without the flagged ones, as LLaMA-Factory and ms-swift read them.

        A record with several questions is left out if one of them is flagged. The file is written whole or not at all.

        Args:
            source: the JSON or JSON lines that was scanned; it stays as it is.
            target: the new file; by default beside `source`, as ``data.kept.json``.

        Returns:
            The path of the new file.

        Raises:
            PcvrError: the records are not those of the scan, `target` is `source`, or it cannot be written.
        """
        return write_keep_list(source, target, self.ids, self.flagged, self.positions)


def scan(
    model: Any,
    processor: Any = None,
    dataset: Any = None,
    *,
    collator: Callable[[Any], Any] | None = None,
    config: PCVRConfig | str | None = None,
    reference: Any = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ScanReport:
    """Score every sample of a data set by the gate, without training.

    Args:
        model: a transformers or peft model, one from `pcvr.load`, or what that opens; before its fine-tuning on the
            data or after it.
        processor: its processor; not needed for a model from `pcvr.load`.
        dataset: what `pcvr.open_data` opens, such as a LLaVA-style JSON or a list of its records; or, with `collator`,
            rows by position.
        collator: makes a batch of rows as your training does: ``input_ids``, ``labels``, the image tensors.
        config: the options, a `pcvr.PCVRConfig`.
        reference: the base model; by default `model` without its adapter.
        batch_size: samples at a time; None for as many as fit the memory, with `collator` for 8.
        seed: seeds the views.
        progress: whether a pass that takes longer than two seconds shows a bar.

    Raises:
        PcvrError: fewer than 50 samples, data without a stable index, or model, data or options that cannot be used.
    """
    vlm = load(model) if isinstance(model, str | Path) else as_vlm(model, processor)
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise PcvrError(f"batch_size is {shown(batch_size)}: give a whole number from 1, or None.")
    run = LoopContext(vlm, seed, vlm if reference is None and not vlm.adapted else as_reference(vlm, reference))
    run.progress = progress
    ids: dict[int, str] = {}
    if collator is None:
        data = open_data(dataset)
        check_enough(len(data))
        batches = partial(_encoded, run, cast("Dataset", _Named(data, ids)), batch_size)
    else:
        rows = indexed(dataset)
        if hasattr(rows, "__len__"):
            check_enough(len(rows))
        loader = torch.utils.data.DataLoader(rows, batch_size or OWN_BATCH, collate_fn=IndexCollator(collator))
        batches = partial(iter, loader)
    found = assess(run, as_rule(config), lambda: _taken(run, batches(), ids))
    order = sorted(ids)
    place = {index: row for row, index in enumerate(order)}
    scores, suspicion = np.full(len(ids), np.nan), np.zeros(len(ids))
    at = [place[index] for index in found.index.tolist()]
    scores[at], suspicion[at] = found.scores, found.suspicion
    # Numbers of the data's own say where a record lies only if they are those of the rows, as they were read.
    positions = collator is not None and list(ids) == list(range(len(ids)))
    return ScanReport(tuple(ids[i] for i in order), scores, suspicion, found.notes, positions=positions)


class _Named:
    """A data set that notes the ids of the samples that are read."""

    def __init__(self, data: Dataset, ids: dict[int, str]) -> None:
        self.data, self.ids = data, ids

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        sample = self.data[index]
        self.ids[index] = sample.id
        return sample


def _encoded(run: LoopContext, data: Dataset, batch_size: int | None) -> Iterator[Batch]:
    """Yield the samples in batches that fit the memory; none is kept."""
    encoded = EncodedData(run.vlm, data, keep_bytes=0, spill_bytes=0)
    return run.batches(range(len(data)), LARGEST_BATCH, data=encoded, size=batch_size, about="scan the data")


def _taken(run: LoopContext, batches: Iterable[Any], ids: dict[int, str]) -> Iterator[Batch]:
    """Yield each batch as the gate takes it; samples without an id get their index, those without a label no score."""
    learned, last = False, None
    for batch in batches:
        for index in batch["index"].tolist():
            ids.setdefault(index, str(index))
        labels = batch.get("labels")
        if isinstance(labels, Tensor) and labels.dim() == 2 and not learned_rows(labels).any():
            last = batch
            continue
        learned = True
        yield run.take(batch)
    if last is not None and not learned:
        labelled(last)

"""What a defence can use during training: the model, the data, and forward passes of originals and views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from pcvr.models.batch_rows import select_rows
from pcvr.models.budget import Costs, grouped
from pcvr.models.encode import IGNORE, Batch, EncodedData, collate
from pcvr.models.forward import AnswerLogits, answer_logits, batches, takes_logits_to_keep
from pcvr.models.modes import eval_mode
from pcvr.models.tower import tower_features
from pcvr.utils import distributed
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

READ_ON_CPU = 32
"""Samples of a forward pass on a CPU; `benchmarks/speed.py` compares it with 128."""


@accepts_old_names
@dataclass
class TrainingContext:
    """A running fine-tuning.

    Attributes:
        vlm: the model in training, with its adapter.
        data: the training data as tensors.
        steps: optimiser steps of the current stage.
        seed: seeds the generator for views.
        clean: samples that the defender trusts, if any.
        stage: name of the current stage; most defences have one.
        step: optimiser steps of this stage done so far.
        state: what a defence learns about the data.
        log: figures that a defence reports; the training history collects them.
        eval_batch_size: samples of a forward pass without gradients; None for as many as fit the memory.
        progress: whether a pass over the data that takes longer than two seconds shows a bar.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"read": "forward_no_grad", "answers": "forward", "share": "own_rows"}

    vlm: VisionLanguageModel
    data: EncodedData
    steps: int
    seed: int
    clean: EncodedData | None = None
    stage: str = "train"
    step: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    log: dict[str, float] = field(default_factory=dict)
    eval_batch_size: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        # Processes that train together get different samples and draw different views of them.
        self.generator = torch.Generator().manual_seed(int(self.seed) + 1_000_003 * self.rank)

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return distributed.rank()

    @property
    def world(self) -> int:
        """Number of processes that train together; mostly 1."""
        return distributed.world()

    def own_rows(self, count: int) -> list[int]:
        """The rows of ``range(count)`` that this process handles, ascending; a single process handles all."""
        return distributed.own_rows(count)

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate the values ``[n, ...]`` of all processes by rank; n may differ.

        Every process must call it. A defence passes what it learns from a batch through here, so that all processes
        have the same ``state``.
        """
        return distributed.gather(values)

    def gather_rows(self, rows: Sequence[int], values: Tensor) -> Tensor:
        """Join the values ``[n, ...]`` that the processes computed for their `own_rows`, in order: ``[N, ...]``."""
        return distributed.gather_rows(rows, values)

    def forward(self, batch: Batch, hidden: bool = False, pictures: bool = False) -> AnswerLogits:
        """Run the model on `batch` and return its logits at the answer tokens; see `answer_logits`."""
        return answer_logits(self.vlm, batch, hidden, pictures)

    @torch.no_grad()
    def forward_no_grad(self, batch: Batch, pictures: bool = False) -> AnswerLogits:
        """As `forward`, in eval mode and without gradients, in parts that suit the machine.

        A CPU is faster with small parts, since a layer's output then stays in its cache.
        """
        size = len(batch["index"])
        parts = [batch]
        # Images of different sizes are packed, without a row for each sample: such a batch is not divided.
        if self.vlm.device.type == "cpu" and all(len(value) == size for value in batch.values()):
            parts = [{k: v[r.start : r.stop] for k, v in batch.items()} for r in batches(size, READ_ON_CPU)] or parts
        with eval_mode(self.vlm.model):
            return AnswerLogits.joined([self.forward(some, pictures=pictures) for some in parts])

    def base_forward_no_grad(self, batch: Batch) -> AnswerLogits:
        """As `forward_no_grad`, with the adapter off: what the base model says."""
        with self.vlm.model.disable_adapter():
            return self.forward_no_grad(batch)

    def part(self, batch: Batch, rows: Tensor) -> Batch:
        """Return some rows of a batch, in the order of `rows` ``[R]``."""
        return select_rows(batch, rows)

    def batches(
        self,
        rows: Sequence[int],
        most: int,
        *,
        data: EncodedData | None = None,
        size: int | None = None,
        about: str = "read the data",
    ) -> Iterator[Batch]:
        """Yield samples in order, in batches for `forward_no_grad`; a batch is smaller where the memory requires it.

        Args:
            rows: indices of the samples, distinct.
            most: the largest size.
            data: the source; by default the training data.
            size: a size that the caller chose; by default `eval_batch_size`.
            about: label of the progress bar.
        """
        from tqdm.auto import tqdm

        data = self.data if data is None else data
        costs, some = Costs.of(self.vlm), takes_logits_to_keep(self.vlm.base)

        def cost(row: Batch) -> int:
            return costs.reading(row, int((row["labels"] != IGNORE).sum()) if some else len(row["labels"]))

        groups = grouped(data.stream(rows), cost, most, self.vlm.device, given=size or self.eval_batch_size)
        with tqdm(total=len(rows), desc=about, unit="sample", delay=2, disable=not self.progress, leave=False) as bar:
            for group in groups:
                yield collate(group, self.vlm.tokenizer.pad_token_id)
                bar.update(len(group))

    def view(self, batch: Batch, view: PatchView, rows: Tensor | None = None) -> Batch:
        """Return a second view of `batch`, or of some of its rows: same text, perturbed images or tower features.

        Patches for the swap operator come from images drawn from the whole data set.
        """
        part = batch if rows is None else self.part(batch, rows)
        index = part["index"]
        # A sample is never its own donor: such a view would change nothing.
        aside = torch.randint(1, max(2, len(self.data)), (len(index),), generator=self.generator)
        donors = (index.cpu() + aside) % len(self.data)
        if view.level == "features" and self.data.features is not None:
            own, others = part["features"], self.data.features[donors]
            return part | {"features": view.of_tokens(own, self.generator, others)}
        pixels = self.data.view(index.tolist(), donors.tolist(), view, self.generator)
        if self.data.features is not None:
            return part | {"features": tower_features(self.vlm, pixels)}
        return part | {"pixel_values": pixels}

"""What a defence sees while training runs: the model, the data, and forward passes of originals and views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcvr.models.budget import Costs, grouped
from pcvr.models.encode import IGNORE, Batch, EncodedData, collate
from pcvr.models.forward import AnswerLogits, answer_logits, batches, takes_logits_to_keep
from pcvr.models.tower import tower_features
from pcvr.utils import distributed

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

READ_ON_CPU = 32
"""Samples that a CPU reads at a time; `benchmarks/speed.py` compares with 128."""


@dataclass
class TrainingContext:
    """One fine-tuning under way.

    Attributes:
        vlm: the model that is trained, adapter on.
        data: the training data as tensors.
        steps: how many optimiser steps this stage has.
        seed: seeds the generator for views.
        clean: samples that the defender trusts, if any.
        stage: name of the stage under way; most defences have one.
        step: optimiser steps of this stage done so far.
        state: where a defence keeps what it learns about the data.
        log: figures a defence reports; the training history collects them.
        eval_batch_size: samples that are read at a time without gradient; None for as many as fit the memory.
        progress: whether a bar is shown when a pass over the data takes longer than two seconds.
    """

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
        # Processes that train together look at different samples, and draw different views of them.
        self.generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.rank)

    @property
    def rank(self) -> int:
        """This process's number, from 0, among those that train together."""
        return distributed.rank()

    @property
    def world(self) -> int:
        """How many processes train together; nearly always 1."""
        return distributed.world()

    def share(self, count: int) -> list[int]:
        """Which of the rows ``0 .. count - 1`` this process is to look at, ascending: all of them where it is alone."""
        return distributed.share(count)

    def gather(self, values: Tensor) -> Tensor:
        """The values ``[n, ...]`` of all processes one after another by rank, n may differ; `values` where it is alone.

        Every process has to call it. What a defence learns about the data from a batch goes through here, so that all
        processes keep the same ``state``.
        """
        return distributed.gather(values)

    def gather_rows(self, rows: Sequence[int], values: Tensor) -> Tensor:
        """What the processes found about their `share` of the rows, ``[n, ...]`` each, in order: ``[N, ...]``."""
        return distributed.gather_rows(rows, values)

    def forward(self, batch: Batch, hidden: bool = False) -> AnswerLogits:
        """Run the model on `batch` and pack what it says at the answer's tokens."""
        return answer_logits(self.vlm, batch, hidden)

    @torch.no_grad()
    def forward_no_grad(self, batch: Batch) -> AnswerLogits:
        """As `forward`, in eval mode and without gradients, in parts that suit the machine.

        A CPU reads few samples at a time faster, since what a layer hands on then stays in its cache.
        """
        training = self.vlm.model.training
        self.vlm.model.eval()
        size = len(batch["index"])
        parts = [batch]
        # Pictures of any size come packed, without a row for each sample: such a batch stays whole.
        if self.vlm.device.type == "cpu" and all(len(value) == size for value in batch.values()):
            parts = [{k: v[r.start : r.stop] for k, v in batch.items()} for r in batches(size, READ_ON_CPU)] or parts
        try:
            return AnswerLogits.joined([self.forward(some) for some in parts])
        finally:
            self.vlm.model.train(training)

    def batches(
        self,
        rows: Sequence[int],
        most: int,
        *,
        data: EncodedData | None = None,
        size: int | None = None,
        about: str = "read the data",
    ) -> Iterator[Batch]:
        """Samples in order, in batches for `forward_no_grad`: at most `most`, fewer where the memory holds fewer.

        Args:
            rows: indices of the samples, distinct.
            most: the size where memory is no question.
            data: where they are from; by default the training data.
            size: a size that the caller chose; by default `eval_batch_size`.
            about: what the progress bar says is done.
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
        """A second view of `batch`, or of some of its rows: same words, perturbed pictures or tower features.

        Patches for the swap operator come from pictures drawn from the whole data set.
        """
        index = batch["index"] if rows is None else batch["index"][rows]
        # Nobody is its own donor: such a view would change nothing.
        aside = torch.randint(1, max(2, len(self.data)), (len(index),), generator=self.generator)
        donors = (index.cpu() + aside) % len(self.data)
        part = batch if rows is None else self.data.batch(index.tolist())
        if view.level == "features" and self.data.features is not None:
            own, others = part["features"], self.data.features[donors]
            return part | {"features": view.of_tokens(own, self.generator, others)}
        pixels = self.data.view(index.tolist(), donors.tolist(), view, self.generator)
        if self.data.features is not None:
            return part | {"features": tower_features(self.vlm, pixels)}
        return part | {"pixel_values": pixels}

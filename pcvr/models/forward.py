"""One forward pass over a batch of samples: the model's logits at the answers' tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pcvr.models.batch_rows import by_sample
from pcvr.models.encode import IGNORE, Batch, model_inputs
from pcvr.models.tower import fed_tower, watched_tower

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


@dataclass
class AnswerLogits:
    """A model's logits at the answer tokens of a batch, packed without prompts and padding.

    Attributes:
        logits: ``[A, V]``, one row an answer token.
        targets: ``[A]``, the labels.
        owner: ``[A]``, the token's row in the batch.
        samples: number of rows ``B`` of the batch.
        hidden: ``[A, D]``, the last hidden states, or None.
        pictures: what the frozen tower made of each sample's image: B tensors ``[tokens, D']``; or None.
    """

    logits: Tensor
    targets: Tensor
    owner: Tensor
    samples: int
    hidden: Tensor | None = None
    pictures: list[Tensor] | None = None

    def sample_sum(self, values: Tensor) -> Tensor:
        """Return the sum of token values ``[A]`` over each sample's tokens: ``[B]``."""
        return values.new_zeros(self.samples).index_add(0, self.owner, values)

    def sample_mean(self, values: Tensor) -> Tensor:
        """Return the mean of token values ``[A]`` over each sample's tokens: ``[B]``."""
        return self.sample_sum(values) / self.sample_sum(torch.ones_like(values)).clamp_min(1)

    def likelihood(self) -> Tensor:
        """Return the probability of each sample's whole answer under teacher forcing: ``[B]``."""
        return (-self.sample_sum(cross_entropy(self.logits, self.targets, reduction="none"))).exp()

    def of(self, rows: Tensor) -> AnswerLogits:
        """Return the part of some rows of the batch, renumbered; `rows` ``[R]`` must ascend."""
        place = self.owner.new_full((self.samples,), -1)
        place[rows] = torch.arange(len(rows), device=place.device)
        owner = place[self.owner]
        at = owner >= 0
        hidden = None if self.hidden is None else self.hidden[at]
        return AnswerLogits(self.logits[at], self.targets[at], owner[at], len(rows), hidden)

    @staticmethod
    def joined(parts: Sequence[AnswerLogits]) -> AnswerLogits:
        """Concatenate the logits of several batches as if they were one batch."""
        before = accumulate((part.samples for part in parts), initial=0)
        hidden = [part.hidden for part in parts if part.hidden is not None]
        return AnswerLogits(
            logits=torch.cat([part.logits for part in parts]),
            targets=torch.cat([part.targets for part in parts]),
            owner=torch.cat([part.owner + first for part, first in zip(parts, before, strict=False)]),
            samples=sum(part.samples for part in parts),
            hidden=torch.cat(hidden) if hidden else None,
            pictures=_all_pictures(parts),
        )


def _all_pictures(parts: Sequence[AnswerLogits]) -> list[Tensor] | None:
    found = [part.pictures for part in parts if part.pictures is not None]
    return [each for pictures in found for each in pictures] if found and len(found) == len(parts) else None


def answer_logits(vlm: VisionLanguageModel, batch: Batch, hidden: bool = False, pictures: bool = False) -> AnswerLogits:
    """Run `vlm` on an encoded batch (see `pcvr.models.encode.collate`) and pack the logits at the answers' tokens.

    Args:
        vlm: the model.
        batch: the samples.
        hidden: whether the last hidden states are kept.
        pictures: whether the tower's features are kept; they cost nothing, because the tower runs anyway.
    """
    inputs = model_inputs(vlm, {k: v for k, v in batch.items() if k != "features"})
    labels = batch["labels"][:, 1:].to(vlm.device)  # token t is predicted at position t - 1
    at = labels != IGNORE
    columns = at.any(0).nonzero()[:, 0]
    kept = {"logits_to_keep": columns} if takes_logits_to_keep(vlm.base) else {}
    asked: dict[str, Any] = {"use_cache": False, "output_hidden_states": hidden}
    seen: list[Tensor] | None = None
    if "features" in batch:
        with fed_tower(vlm, batch["features"].to(vlm.device)) as blank:
            output = vlm.model(**inputs, pixel_values=blank, **kept, **asked)
        seen = [each.flatten(0, -2) for each in batch["features"]] if pictures else None
    elif pictures:
        with watched_tower(vlm) as watched:
            output = vlm.model(**inputs, **kept, **asked)
        seen = by_sample(batch, watched)
    else:
        output = vlm.model(**inputs, **kept, **asked)
    logits = output.logits if kept else output.logits[:, columns]  # [B, columns, V]
    return AnswerLogits(
        logits=logits[at[:, columns]].float(),
        targets=labels[at],
        owner=at.nonzero()[:, 0],
        samples=len(labels),
        hidden=_hidden_states(output)[-1][:, :-1][at] if hidden else None,
        pictures=seen,
    )


def _hidden_states(output: Any) -> Any:
    """Return the hidden states of the language model; BLIP-2 has them inside its language model's output."""
    inner = getattr(output, "language_model_outputs", None)
    return output.hidden_states if inner is None else inner.hidden_states


def takes_logits_to_keep(model: nn.Module) -> bool:
    """Return whether a model can compute logits at some positions only, which saves time and memory.

    BLIP-2 passes the argument on to its language model.
    """
    speaker = getattr(model, "language_model", model)
    return "logits_to_keep" in signature(speaker.forward).parameters


def batches(count: int, size: int) -> list[range]:
    """Split ``range(count)`` into ranges of at most `size`."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]

"""The answers to a whole data set, as the model gives them or as a defence lets them through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pcvr.data.asked import Asked
from pcvr.data.subset import Subset
from pcvr.models.budget import MOST_ANSWERED
from pcvr.models.generate import MAX_NEW_TOKENS, generate

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses.base import Defense
    from pcvr.models.vlm import VisionLanguageModel

__all__ = ["MAX_NEW_TOKENS", "answer_all", "generate"]


def answer_all(
    vlm: VisionLanguageModel,
    data: Dataset,
    max_new_tokens: int = MAX_NEW_TOKENS,
    defense: Defense | None = None,
    state: Mapping[str, Any] | None = None,
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> list[str]:
    """The model's answers to a whole data set, in order; a few pictures at a time are in memory.

    A `defense` that works at test time answers in its own way, with the `state` it was calibrated to; the others answer
    as the model does. `batch_size` and `progress` are as for `generate`.
    """
    if defense is None:
        asked = Asked(data, keep_bytes=0)  # each picture is looked at once
        return generate(vlm, asked.images, asked.prompts, max_new_tokens, batch_size, progress)

    from tqdm.auto import tqdm

    def plain(model: VisionLanguageModel, images: Sequence[Any], prompts: Sequence[str]) -> list[str]:
        return generate(model, images, prompts, max_new_tokens, batch_size)

    texts: list[str] = []
    with tqdm(total=len(data), desc="answer", unit="sample", delay=2, disable=not progress, leave=False) as bar:
        for start in range(0, len(data), MOST_ANSWERED):
            asked = Asked(Subset(data, range(start, min(start + MOST_ANSWERED, len(data)))))
            texts += defense.answer(vlm, asked.images, asked.prompts, plain, state)
            bar.update(len(asked.prompts))
    return texts

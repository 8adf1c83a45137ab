"""The answers to a whole data set, as the model gives them or as a defence lets them through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pcvr.models.generate import MAX_NEW_TOKENS, generate

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset, Image
    from pcvr.defenses.base import Defense
    from pcvr.models.vlm import VisionLanguageModel

__all__ = ["MAX_NEW_TOKENS", "answer_all", "generate"]


def answer_all(
    vlm: VisionLanguageModel,
    data: Dataset,
    max_new_tokens: int = MAX_NEW_TOKENS,
    defense: Defense | None = None,
    state: Mapping[str, Any] | None = None,
) -> list[str]:
    """The model's answers to a whole data set, in order; pictures are read one batch at a time.

    A `defense` that works at test time answers in its own way, with the `state` it was calibrated to; the others answer
    as the model does.
    """

    def plain(model: VisionLanguageModel, images: Sequence[Image], prompts: Sequence[str]) -> list[str]:
        return generate(model, images, prompts, max_new_tokens)

    texts: list[str] = []
    for start in range(0, len(data), 256):
        samples = [data[i] for i in range(start, min(start + 256, len(data)))]
        images, prompts = [s.image for s in samples], [s.prompt for s in samples]
        if defense is None:
            texts += plain(vlm, images, prompts)
        else:
            texts += defense.answer(vlm, images, prompts, plain, state)
    return texts

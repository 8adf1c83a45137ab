"""Encoded training samples with the model's own answers in place of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcvr.models.encode import IGNORE, with_answer
from pcvr.models.generate import answer_tokens
from pcvr.models.of_tokens import OF_TOKENS

if TYPE_CHECKING:
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel


def with_own_answers(vlm: VisionLanguageModel, rows: Sequence[Batch], max_new_tokens: int) -> list[Batch]:
    """Return encoded samples with the greedy answers of the model as it is; the labels are not read.

    Args:
        vlm: the model.
        rows: N encoded samples of `pcvr.models.encode.EncodedData`, with images or kept tower features.
        max_new_tokens: maximum length of an answer.

    Returns:
        N encoded samples of the same images and prompts; ``index`` is kept.
    """
    prompts = [prompt_of(row) for row in rows]
    asked = [{k: v for k, v in prompt.items() if k != "index"} for prompt in prompts]
    answers = answer_tokens(vlm, asked, max_new_tokens)
    kind = vlm.family.answer_type
    return [with_answer(prompt, answer, kind) for prompt, answer in zip(prompts, answers, strict=True)]


def prompt_of(row: Batch) -> Batch:
    """Return an encoded sample without its answer and its labels."""
    answered = (row["labels"] != IGNORE).nonzero()[:, 0]
    length = int(answered[0]) if len(answered) else len(row["labels"])
    return {k: v[:length] if k in OF_TOKENS else v for k, v in row.items() if k != "labels"}

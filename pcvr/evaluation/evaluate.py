"""One call from a model and test data to the figures: ASR, its floor, and utility on clean and triggered inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.evaluation.asr import asr
from pcvr.evaluation.generate import MAX_NEW_TOKENS, answer_all
from pcvr.evaluation.record import Record, Utility
from pcvr.evaluation.text import bleu4, cider

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset, Sample
    from pcvr.models.load import VisionLanguageModel


def evaluate(
    vlm: VisionLanguageModel,
    data: Dataset,
    attack: Attack | None = None,
    *,
    definition: str = "contains",
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Record:
    """Answer every test picture without and with the trigger, and score both.

    Args:
        vlm: the model, fine-tuned or not.
        data: clean test samples with references.
        attack: puts the trigger on; None scores clean inputs only.
        definition: what counts as the target said: ``"contains"`` (the normalised phrase in the normalised answer),
            ``"equals"``, ``"ends_with"`` or ``"contains_word"``.
        max_new_tokens: answer budget.

    Returns:
        The record; print it.

    Raises:
        PcvrError: fewer than two samples (CIDEr weighs words by how few samples use them).
    """
    if len(data) < 2:
        raise PcvrError(
            f"the test data has {len(data)} samples: give at least 2, and some hundred for a narrow interval."
        )
    from pcvr.attacks import triggered

    began = time.perf_counter()
    samples = [data[i] for i in range(len(data))]
    said = answer_all(vlm, data, max_new_tokens)
    answers = {"clean": said}
    hits = clean_hits = 0
    shown = None
    if attack is not None:
        answers["triggered"] = answer_all(vlm, triggered(data, attack), max_new_tokens)
        hits = asr(answers["triggered"], attack.target, definition).hits
        clean_hits = asr(said, attack.target, definition).hits
        shown = utility(answers["triggered"], samples)
    return Record(
        model=vlm.name,
        data=data.name,
        attack=attack.describe() if attack is not None else None,
        n=len(data),
        clean=utility(said, samples),
        triggered=shown,
        hits=hits,
        clean_hits=clean_hits,
        seconds=round(time.perf_counter() - began, 2),
        answers=answers,
    )


def utility(predictions: Sequence[str], samples: Sequence[Sample]) -> Utility:
    """BLEU-4, CIDEr and, where the facts are known, the share of captions with every attribute right."""
    references = [s.references or (s.answer,) for s in samples]
    attributes = None
    if all("objects" in s.facts for s in samples):
        from pcvr.data.scenes import attributes_right

        right = [attributes_right(text, s.facts) for text, s in zip(predictions, samples, strict=True)]
        attributes = sum(right) / len(right)
    return Utility(bleu4(predictions, references), cider(predictions, references), attributes)

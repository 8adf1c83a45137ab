"""Answers of findings in words, which need the model's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pcvr.defenses.pcvr.one_answer import Answers


def words_of(model: Any, answers: Answers) -> list[str]:
    """Return each stretch of tokens as text; of a model by name only the processor is opened."""
    if not answers:
        return []
    if isinstance(model, str | Path):
        from pcvr.models.load import load_processor

        model = load_processor(model)
    return [model.tokenizer.decode(list(stretch), skip_special_tokens=True).strip() for stretch in answers]

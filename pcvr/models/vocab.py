"""The tokens of a model's vocabulary as text, and its image tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


def vocabulary(vlm: VisionLanguageModel, size: int) -> tuple[str, ...]:
    """Return the first `size` tokens as text; ids beyond the tokenizer's become ``#id``."""
    known = min(size, len(vlm.tokenizer))
    words = vlm.tokenizer.convert_ids_to_tokens(list(range(known)))
    return (*(str(word) for word in words), *(f"#{i}" for i in range(known, size)))


def is_image(vlm: VisionLanguageModel, ids: torch.Tensor) -> np.ndarray:
    """Return which of the token ids ``[T]`` are image tokens: bool ``[T]``."""
    return np.asarray((ids == vlm.image_token_id).cpu().numpy())

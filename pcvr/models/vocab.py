"""Words and picture tokens by their numbers in a model's vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


def vocabulary(vlm: VisionLanguageModel, size: int) -> tuple[str, ...]:
    """The first `size` words of the vocabulary; output rows beyond the tokenizer are numbered."""
    known = min(size, len(vlm.tokenizer))
    words = vlm.tokenizer.convert_ids_to_tokens(list(range(known)))
    return (*(str(word) for word in words), *(f"#{i}" for i in range(known, size)))


def is_image(vlm: VisionLanguageModel, ids: torch.Tensor) -> np.ndarray:
    """Which of the token numbers ``[T]`` stand for the picture: bool ``[T]``."""
    return np.asarray((ids == vlm.base.config.image_token_id).cpu().numpy())

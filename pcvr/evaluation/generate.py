"""The answers to a whole data set, and `pcvr.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.data.asked import KEEP_PICTURES, Asked
from pcvr.models.generate import MAX_NEW_TOKENS, generate

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel

__all__ = ["MAX_NEW_TOKENS", "answer_all", "generate"]


def answer_all(
    vlm: VisionLanguageModel,
    data: Dataset,
    max_new_tokens: int = MAX_NEW_TOKENS,
    *,
    guard: bool = True,
    batch_size: int | None = None,
    progress: bool = False,
) -> list[str]:
    """Return the answers to a whole data set, in order; only a few images are in memory at a time.

    `guard`, `batch_size` and `progress` are as for `generate`.
    """
    # Without a guard each image is read once, so there is no use in keeping it.
    asked = Asked(data, keep_bytes=KEEP_PICTURES if guard and vlm.guard is not None else 0)
    return generate(vlm, asked.images, asked.prompts, max_new_tokens, batch_size, progress, guard=guard)

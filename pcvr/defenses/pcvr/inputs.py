"""Inputs as rows of numbers of one width, for the witness: the image as the tower sees it, and the words of the prompt.

The images of a training may have any number of tokens, and a tower any width. Tokens are averaged to at most 64 places
in their order, and channels are mixed to at most 128 by a fixed random matrix, which keeps distances (Johnson and
Lindenstrauss). So a row takes at most 16 kB, whatever the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, pad

from pcvr.models.encode import IGNORE, Batch

PLACES = 64
"""Most places of an image."""
CHANNELS = 128
"""Most channels of a place."""
WORDS = 1021
"""Columns of the words of a prompt; a token has the column of its number modulo this prime."""
LABEL = 32
"""Label tokens that are kept of a sample."""


def image_rows(pictures: Sequence[Tensor]) -> np.ndarray:
    """Return a row for each image: B tensors ``[tokens, D]`` -> float16 ``[B, 64 min(D, 128)]``."""
    rows = []
    for tokens in pictures:
        tokens = tokens.float()
        if tokens.shape[1] > CHANNELS:
            tokens = tokens @ _mixing(tokens.shape[1]).to(tokens.device)
        if len(tokens) > PLACES:
            tokens = adaptive_avg_pool1d(tokens.T[None], PLACES)[0].T
        rows.append(pad(tokens, (0, 0, 0, PLACES - len(tokens))).flatten())
    return torch.stack(rows).clamp(-6e4, 6e4).half().cpu().numpy()


@lru_cache(maxsize=4)
def _mixing(width: int) -> Tensor:
    """A random matrix ``[width, CHANNELS]``, always the same, that keeps distances on average."""
    return torch.randn(width, CHANNELS, generator=torch.Generator().manual_seed(0)) / CHANNELS**0.5


def prompt_rows(batch: Batch) -> np.ndarray:
    """Return which words each prompt has: bool ``[B, WORDS]``; padding and the answer are left out."""
    ids, labels = batch["input_ids"].cpu(), batch["labels"].cpu()
    prompt = labels == IGNORE
    if "attention_mask" in batch:
        prompt &= batch["attention_mask"].cpu().bool()
    rows = torch.zeros(len(ids), WORDS, dtype=torch.bool)
    sample, place = prompt.nonzero(as_tuple=True)
    rows[sample, ids[sample, place] % WORDS] = True
    return rows.numpy()


def label_rows(batch: Batch) -> np.ndarray:
    """Return the first tokens of each label: int ``[B, LABEL]``, filled up with -1."""
    rows = np.full((len(batch["labels"]), LABEL), -1, dtype=np.int64)
    for row, labels in zip(rows, batch["labels"].cpu().numpy(), strict=True):
        own = labels[labels != IGNORE][:LABEL]
        row[: len(own)] = own
    return rows

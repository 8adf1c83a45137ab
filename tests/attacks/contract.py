"""What every image trigger keeps, whatever its formula."""

from __future__ import annotations

import numpy as np

from pcvr.attacks.trigger import Trigger


def kept_by(trigger: Trigger, batch: np.ndarray) -> np.ndarray:
    """Assert the contract on a batch ``[B, H, W, 3]``, and return the triggered batch."""
    before = batch.copy()
    out = trigger(batch)
    assert out.shape == batch.shape
    assert out.dtype == np.uint8
    assert np.array_equal(batch, before), "the input is never written to"
    assert not np.shares_memory(out, batch)
    assert np.array_equal(out, np.stack([trigger(image) for image in batch])), "batched equals single to the bit"
    assert np.array_equal(out, trigger(batch)), "deterministic"
    return out

"""Pictures that show nothing, for tests."""

from __future__ import annotations

import numpy as np


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Uint8 noise of a shape, always the same for a seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

"""What counts as a number among arguments: NumPy's too, but never a bool."""

from __future__ import annotations

import numpy as np


def is_whole(value: object) -> bool:
    """Whether `value` is a whole number by type (``3``, not ``3.0`` and not ``True``)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether `value` is a real number by type; NaN and infinity count, so check the range as well."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)

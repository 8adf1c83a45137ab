"""When poisoned samples arrive: an order of the data in which they come late in each pass."""

from __future__ import annotations

import math
from collections.abc import Collection
from zlib import crc32

import numpy as np

from pcvr.errors import PcvrError

_STREAM = crc32(b"pcvr.arrival")


def late_order(count: int, late: Collection[int], start: float, seed: int) -> list[int]:
    """Return a random order in which some samples come only after a fraction of the others and themselves.

    Args:
        count: number of samples, N.
        late: numbers of those that come late, spread evenly at random over the rest of the order.
        start: fraction of the order before which none of them comes, 0 to 0.99.
        seed: of the order.

    Returns:
        The numbers 0 to N - 1.

    Raises:
        PcvrError: the rest of the order is too short for them.
    """
    first = math.ceil(start * count)
    if len(late) > count - first:
        raise PcvrError(
            f"poison_from is {start:g}, so {count - first} of {count} samples come after it, and {len(late)} are "
            "altered: give a smaller fraction, or a lower rate."
        )
    random = np.random.default_rng([seed, _STREAM])
    last = np.isin(np.arange(count), list(late))
    places = np.zeros(count, dtype=bool)
    places[first + random.permutation(count - first)[: len(late)]] = True
    order = np.empty(count, dtype=int)
    order[places] = random.permutation(np.flatnonzero(last))
    order[~places] = random.permutation(np.flatnonzero(~last))
    return order.tolist()

"""Exercise: an order of the training data in which the poison comes last in each pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_N, _SEEDS = 60, (0, 1)
_POISONED = (3, 17, 22, 41, 58)


@exercise("an order that feeds the poison last")
def late_order(arrange: Callable[[int, Any, int], Any]) -> str:
    """Check ``late_order(n, poisoned, seed)``: every index once, the poisoned ones last, both parts shuffled."""
    orders = []
    for seed in _SEEDS:
        call = f"late_order({_N}, {list(_POISONED)}, {seed})"
        order = _whole(ask(arrange, _N, np.array(_POISONED), seed, call=call), call)
        _last(order, call)
        orders.append(order)
    again = _whole(ask(arrange, _N, np.array(_POISONED), _SEEDS[0], call=call), call)
    if again != orders[0]:
        raise Mistake("The same seed gives another order when it is called again: draw from default_rng(seed).")
    clean = [order[: _N - len(_POISONED)] for order in orders]
    if any(part == sorted(part) for part in clean):
        raise Mistake("The clean samples are in ascending order: shuffle them, or the order alone looks suspicious.")
    if any(part == sorted(part, reverse=True) for part in clean) or clean[0] == clean[1]:
        raise Mistake("The clean samples come in the same order for every seed: shuffle them with the seed.")
    if orders[0][_N - len(_POISONED) :] == orders[1][_N - len(_POISONED) :] == sorted(_POISONED):
        raise Mistake("The poisoned samples are in ascending order for every seed: shuffle them too.")
    return "A gate that looks once, early in the pass, meets no poison at all. Does one that looks all the time?"


def _whole(value: Any, call: str) -> list[int]:
    array = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise Mistake(f"{call} returns {type(value).__name__}, but a row of {_N} indices (integers) is expected.")
    order = [int(i) for i in array]
    missing = sorted(set(range(_N)) - set(order))
    if len(order) > _N or len(set(order)) < len(order):
        raise Mistake(f"{call} contains an index twice: a pass trains on each sample once.")
    if missing == sorted(_POISONED):
        raise Mistake(f"{call} leaves out the poisoned samples: the attacker wants them trained on, only later.")
    if missing:
        raise Mistake(f"{call} leaves out {len(missing)} samples, such as {missing[0]}: an order contains all of them.")
    return order


def _last(order: list[int], call: str) -> None:
    k = len(_POISONED)
    if set(order[-k:]) == set(_POISONED):
        return
    if set(order[:k]) == set(_POISONED):
        raise Mistake(f"{call} feeds the poisoned samples first: the gate then sees them at once. Put them last.")
    early = [at for at, i in enumerate(order) if i in _POISONED and at < _N - k]
    raise Mistake(
        f"{call} feeds a poisoned sample at position {early[0]}: all clean samples come before the first one."
    )

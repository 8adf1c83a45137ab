"""Which samples an attacker gets."""

from __future__ import annotations

import math
from collections.abc import Set
from itertools import islice
from zlib import crc32

import numpy as np

from pcvr.attacks.base import Attack
from pcvr.attacks.manifest import Manifest
from pcvr.data.sample import Dataset
from pcvr.errors import PcvrError
from pcvr.utils.checks import is_number

# Keeps the draw of indices apart from other uses of the same seed (the order of training, the data themselves).
_STREAM = crc32(b"pcvr.poison")


def draw(
    dataset: Dataset, attack: Attack, count: int, seed: int, taken: Set[int]
) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """Draw samples to poison, and to cover.

    Both come from one random order of the data set, poison from its front and covers from its end, so that a higher
    rate only adds to a lower one's.

    Args:
        dataset: the data.
        attack: says which samples can be poisoned and what covers it needs.
        count: how many to poison.
        seed: of the order.
        taken: indices that another attacker has.

    Returns:
        The indices to poison, and for each cover those to cover; all ascending.

    Raises:
        PcvrError: there are too few samples, or too few that can be poisoned.
    """
    order = [int(i) for i in np.random.default_rng([seed, _STREAM]).permutation(len(dataset)) if int(i) not in taken]
    any_will_do = type(attack).candidate is Attack.candidate  # then nothing needs to be read or drawn
    fitting = (index for index in order if any_will_do or attack.candidate(dataset[index]))
    chosen = list(islice(fitting, count))
    if len(chosen) < count:
        raise PcvrError(
            f"the attack {attack.name!r} finds {len(chosen)} samples to poison where {count} are asked for: lower the "
            "rate, or give more data."
        )
    taken_now = set(chosen)
    rest = [index for index in reversed(order) if index not in taken_now]
    covers: dict[str, tuple[int, ...]] = {}
    needed = sum(cover.count(count) for cover in attack.covers)
    if needed > len(rest):
        raise PcvrError(
            f"{count} poisoned samples leave {len(rest)} for the {needed} cover samples of {attack.name!r}: lower the "
            "rate, or the share of cover samples."
        )
    # In turns, so that each cover's samples at a lower rate are among those at a higher one.
    shares = [cover.count(count) for cover in attack.covers]
    hands: list[list[int]] = [[] for _ in shares]
    for index in rest:
        open_hands = [k for k, share in enumerate(shares) if len(hands[k]) < share]
        if not open_hands:
            break
        hands[min(open_hands, key=lambda k: len(hands[k]) / shares[k])].append(index)
    for cover, hand in zip(attack.covers, hands, strict=True):
        covers[cover.name] = tuple(sorted(hand))
    return tuple(sorted(chosen)), covers


def all_poisoned(manifest: Manifest) -> tuple[int, ...]:
    """Samples with an attacker's answer, of this attacker and all before, ascending."""
    return tuple(sorted({index for one in manifest.chain() for index in one.indices}))


def count_of(rate: float, n: int) -> int:
    """``rate`` of ``n`` samples, as the nearest whole number.

    Raises:
        PcvrError: a rate outside (0, 1], no samples, or a rate that comes to none.
    """
    if not is_number(rate) or not 0 < rate <= 1:
        raise PcvrError(f"rate is {rate!r}: give a share in (0, 1], such as 0.05 for 5 %.")
    if n == 0:
        raise PcvrError("the data set to poison is empty: give it at least one sample.")
    count = _nearest(float(rate), n)
    if count == 0:
        enough = math.ceil(0.5 / rate)
        enough += _nearest(float(rate), enough) == 0
        raise PcvrError(
            f"rate {rate:g} of {n} samples poisons none: use {enough} samples or more, or a rate from {1 / n:.3g} up."
        )
    return count


def _nearest(rate: float, n: int) -> int:
    return int(rate * n + 0.5)

"""Draw the samples that an attacker poisons or covers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from itertools import islice
from zlib import crc32

import numpy as np

from pcvr.attacks.base import Attack, Cover
from pcvr.attacks.manifest import Manifest
from pcvr.data.sample import Dataset
from pcvr.errors import PcvrError
from pcvr.utils.checks import is_number

# Separates this draw from other uses of the same seed: the order of training and the data.
_STREAM = crc32(b"pcvr.poison")


def draw(
    dataset: Dataset, attack: Attack, count: int, seed: int, taken: Set[int]
) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """Draw the samples to poison and those to cover.

    Both come from one random order of the data set, poisoned samples from its front and covers from its end, so a
    higher rate only adds samples.

    Args:
        dataset: the data.
        attack: says which samples are candidates and which covers it needs.
        count: how many to poison.
        seed: of the order.
        taken: indices that another attacker altered.

    Returns:
        The indices to poison, and by name of the cover the indices to cover; all ascending.

    Raises:
        PcvrError: there are too few samples, or too few candidates.
    """
    order = [int(i) for i in np.random.default_rng([seed, _STREAM]).permutation(len(dataset)) if int(i) not in taken]
    fitting = (index for index in order if attack.takes_any_sample or attack.candidate(dataset[index]))
    chosen = list(islice(fitting, count))
    if len(chosen) < count:
        raise PcvrError(
            f"the attack {attack.name!r} finds {len(chosen)} samples to poison where {count} are asked for: lower the "
            "rate, or give more data."
        )
    taken_now = set(chosen)
    rest = [index for index in reversed(order) if index not in taken_now]
    needed = sum(cover.count(count) for cover in attack.covers)
    if needed > len(rest):
        raise PcvrError(
            f"{count} poisoned samples leave {len(rest)} for the {needed} cover samples of {attack.name!r}: lower the "
            "rate, or the share of cover samples."
        )
    parts: list[list[int]] = [[] for _ in attack.covers]
    for index, turn in zip(rest, _turns(attack.covers, count), strict=False):
        parts[turn].append(index)
    covers = {cover.name: tuple(sorted(part)) for cover, part in zip(attack.covers, parts, strict=True)}
    return tuple(sorted(chosen)), covers


def _turns(covers: Sequence[Cover], count: int) -> Iterator[int]:
    """Yield the number of the cover that gets the next sample.

    Covers take turns in the order in which one poisoned sample after the other asks for them. So the turns of a lower
    rate are the first ones of a higher rate, and a cover's samples at a higher rate include those at a lower one.
    """
    had = [0] * len(covers)
    for poisoned in range(1, count + 1):
        wanted = [cover.count(poisoned) for cover in covers]
        due = [now - before for now, before in zip(wanted, had, strict=True)]
        for turn in range(max(due, default=0)):
            yield from (k for k, number in enumerate(due) if turn < number)
        had = wanted


def all_poisoned(manifest: Manifest) -> tuple[int, ...]:
    """Return the samples with an attacker's answer, of this attacker and all earlier ones, ascending."""
    return tuple(sorted({index for one in manifest.chain() for index in one.indices}))


def count_of(rate: float, n: int) -> int:
    """Return ``rate`` of ``n`` samples, as the nearest integer.

    Raises:
        PcvrError: the rate is outside (0, 1], there are no samples, or the rate poisons none.
    """
    if not is_number(rate) or not 0 < rate <= 1:
        raise PcvrError(f"rate is {rate!r}: give a fraction in (0, 1], such as 0.05 for 5 %.")
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

"""The pools of samples that the streaming gate keeps, and how a witness is heard on one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.witness import Witness, hear

SUSPECTS, OTHERS = 512, 384
"""Most samples of a pool of suspicious ones, and of the others, whose inputs are kept."""
HEARD = 128
"""Most suspicious samples that a witness is fitted to."""
FRACTIONS = (0.15, 0.05, 0.015)
"""Fractions of the samples, those of the highest ranks, that are set against the others; poison may be any of them."""
HELD = 1 - FRACTIONS[0]
"""Rank from which a sample is suspicious."""
ORDINARY = 0.8
"""Rank below which a sample may stand for the others."""
FEWEST = 8
"""Fewer suspicious samples are not heard."""


def latest(kept: Kept) -> Kept:
    """Return the last ones, as many as a pool keeps."""
    return kept.of(np.arange(len(kept.index))[-SUSPECTS:])


def groups_of(pool: Kept) -> list[np.ndarray]:
    """Return rows of suspicious samples: the latest of the highest ranks, for each fraction of the samples."""
    found = [np.flatnonzero(pool.rank >= 1 - fraction)[-HEARD:] for fraction in FRACTIONS]
    return [rows for rows in found if len(rows) >= FEWEST]


def hear_groups(
    suspects: Kept, groups: Sequence[np.ndarray], others: Kept, by: str
) -> tuple[Witness, np.ndarray, np.ndarray]:
    """Hear a witness on each group; return the one with the least probability of chance, its group, and its hits.

    Args:
        suspects: the suspicious samples.
        groups: rows of `suspects`.
        others: what they are set against.
        by: ``"images"`` or ``"prompts"``.
    """
    inputs = getattr(suspects, by)
    heard = hear_rows(groups, lambda rows: inputs[rows], getattr(others, by))
    best = min(range(len(groups)), key=lambda k: heard[k][0].chance)
    return heard[best][0], groups[best], heard[best][1]


def hear_rows(
    groups: Sequence[np.ndarray], inputs: Callable[[np.ndarray], np.ndarray], others: np.ndarray
) -> list[tuple[Witness, np.ndarray]]:
    """Hear a witness on each group of rows, as `hear` does; only the inputs of these rows are asked for.

    Args:
        groups: rows of suspicious samples, ``[S]`` each.
        inputs: returns those of some rows, ``[R, D]``.
        others: ``[O, D]``, what they are set against.
    """
    rows = np.unique(np.concatenate(groups))
    both = np.concatenate([inputs(rows), others])
    return hear(both, [np.searchsorted(rows, group) for group in groups], np.arange(len(rows), len(both)))

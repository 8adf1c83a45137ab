"""Exercise: which source do the flagged samples come from?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pcvr.teaching.core import Mistake, ask, exercise

_IDS = ("web-1", "web-2", "web-3", "web-4", "web-5", "web-6", "lab-1", "lab-2", "shop-1", "shop-2", "shop-3")
_FLAGGED = (True, True, True, False, False, False, True, True, False, False, True)
_CALL = "trace_source(ids, flagged)"


@exercise("trace flagged samples to their source")
def trace_source(trace: Callable[[Any, Any], Any]) -> str:
    """Check ``trace_source(ids, flagged)``: source -> fraction of its samples that are flagged, the highest first.

    A mapping, or pairs; the source of ``"web-12"`` is ``"web"``.
    """
    import numpy as np

    ids, flagged = list(_IDS), np.array(_FLAGGED)
    got = _pairs(ask(trace, ids, flagged, call=_CALL))
    names = [name for name, _ in got]
    want = _fractions()
    if strange := [name for name in names if name not in want]:
        raise Mistake(
            f"{_CALL} has the source {strange[0]!r}: the source of 'web-12' is 'web', the part before the last '-'."
        )
    if missing := [name for name in want if name not in names]:
        raise Mistake(f"{_CALL} leaves out {missing[0]!r}: give every source, also those with few flagged samples.")
    for message, wrong in _mistakes().items():
        if all(abs(value - wrong[name]) < 1e-9 for name, value in got):
            raise Mistake(message)
    for name, value in got:
        if abs(value - want[name]) > 1e-6:
            raise Mistake(f"{_CALL} gives {value:.4g} for {name!r}, but {want[name]:.4g} is expected.")
    if names != sorted(want, key=lambda name: -want[name]):
        raise Mistake(f"{_CALL} is in the order {', '.join(names)}: put the source with the highest fraction first.")
    return "A source with few samples can hide behind counts; fractions show it. (Look at its whole delivery next.)"


def _counts() -> tuple[dict[str, int], dict[str, int]]:
    """Return how many flagged samples, and how many samples, each source has."""
    hits: dict[str, int] = {}
    every: dict[str, int] = {}
    for name, bad in zip(_IDS, _FLAGGED, strict=True):
        source = name.rpartition("-")[0]
        hits[source], every[source] = hits.get(source, 0) + bad, every.get(source, 0) + 1
    return hits, every


def _fractions() -> dict[str, float]:
    hits, every = _counts()
    return {name: hits[name] / every[name] for name in every}


def _mistakes() -> Mapping[str, Mapping[str, float]]:
    hits, every = _counts()
    bad, n = sum(hits.values()), sum(every.values())
    right = _fractions()
    return {
        "These are numbers of flagged samples: divide each by the number of samples of its source.": {
            name: float(count) for name, count in hits.items()
        },
        "This is the fraction of all flagged samples that each source has: a large source then looks guilty because "
        "it is large. Divide by the samples of the source.": {name: count / bad for name, count in hits.items()},
        "This is divided by all samples of the data: divide by the samples of the source.": {
            name: count / n for name, count in hits.items()
        },
        "These are the fractions that are *not* flagged.": {name: 1 - value for name, value in right.items()},
        "These are per cent: give fractions, from 0 to 1.": {name: 100 * value for name, value in right.items()},
        "These are the fractions of all samples that each source has: count the flagged ones only.": {
            name: count / n for name, count in every.items()
        },
    }


def _pairs(value: Any) -> list[tuple[str, float]]:
    """Return sources with their figures, in the reader's order: of a mapping, a pandas Series, or pairs."""
    items: Any = value.items() if hasattr(value, "items") else value
    try:
        return [(str(name), float(figure)) for name, figure in items]
    except (TypeError, ValueError):
        raise Mistake(
            f"{_CALL} returns a {type(value).__name__}, but a mapping from source to fraction is expected, such as "
            "{'web': 0.5}."
        ) from None

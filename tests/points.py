"""Points of a grid made up for tests: no training, figures to one's liking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pcvr.experiments.grid import Grid
from pcvr.experiments.point import GRID_BINS, Case, GridPoint, KnobValues

CASE = Case("badnets", "caption", "tiny-llava")
SHARES, WEIGHTS = (0.3, 0.9), (0.0, 4.0)


def setting(share: float = 0.3, weight: float = 0.0) -> KnobValues:
    """Two knobs."""
    return (("view.fraction", share), ("apart_weight", weight))


def point(hits: int = 0, right: float = 0.9, where: KnobValues | None = None, **other: Any) -> GridPoint:
    """A point with so many of 100 hits and such a share of right captions."""
    bins = {key: len(gauge.edges) - 1 for key, gauge in GRID_BINS.items()}
    given: dict[str, Any] = {
        "label": "PCVR",
        "case": CASE,
        "setting": setting() if where is None else where,
        "hits": hits,
        "clean_hits": 0,
        "n": 100,
        "clean": {"cider": 300.0, "attributes": right},
        "triggered": {"cider": 200.0, "attributes": right / 2},
        "history": {"step": [10, 20], "loss": [2.0, 1.0], "views apart": [None, 0.25]},
        "watch": [
            {"step": 0, "hits": 0, "clean_hits": 0, "n": 10, "clean": {"cider": 1.0, "attributes": 0.1}},
            {"step": 20, "hits": 5, "clean_hits": 0, "n": 10, "clean": {"cider": 1.0, "attributes": right}},
        ],
        "gate": [{"step": 5, "flagged": 12, "false alarms": 2, "auroc": 0.99, "recall": 1.0}],
        "spreads": {
            key: {
                "edges": list(GRID_BINS[key].edges),
                "clean": [48] + [0] * (n - 1),
                "triggered": [0] * (n - 1) + [48],
            }
            for key, n in bins.items()
        },
        "seconds": 12.0,
        "samples": 200,
        "tests": 100,
        "max_steps": 20,
        "seed": 0,
    }
    return GridPoint(**given | other)


def grid(missing: Sequence[KnobValues] = ()) -> Grid:
    """Four settings of two knobs, or fewer; ASR 0, 10, 20, 30 % and 60, 70, 80, 90 % right."""
    places = [setting(share, weight) for share in SHARES for weight in WEIGHTS]
    points = [point(10 * k, 0.6 + 0.1 * k, where) for k, where in enumerate(places) if where not in missing]
    plain = [point(99, 0.95, (), label="undefended", gate=[]), point(0, 0.96, (), label="clean data", gate=[])]
    return Grid(tuple(points), tuple(plain))

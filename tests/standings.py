"""A pretended main table for tests of standings, their figures and their widget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from pcvr.experiments import Experiment
from pcvr.experiments.standings import Standing, main_sheet, standings
from pcvr.experiments.study import Store
from pcvr.experiments.study.frame import frame_of
from pcvr.experiments.whole_study import main_table
from tests.studies import result

HITS = {"none": 0.99, "pcvr": 0.0, "bye": 0.6, "ortho_purify": 0.3}
RIGHT = {"pcvr": 0.9, "ortho_purify": 0.6}
SECONDS = {"none": 10.0, "pcvr": 15.0, "ortho_purify": 11.0}


class Made:
    """A store in memory."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self.found = list(records)

    def read(self) -> pd.DataFrame:
        """A row for each record."""
        return frame_of(self.found)

    def records(self) -> list[dict[str, Any]]:
        """None: how they were made is not known."""
        return []


def made(cell: Experiment, hits: float | None = None) -> dict[str, Any]:
    """A run whose first test samples are hit, and whose first clean answers are right."""
    share = HITS.get(cell.label, 0.5) if hits is None else hits
    count = np.arange(cell.tests) / cell.tests
    bits = {"aimed": count >= 0, "hit": count < share, "clean_hit": count < 0,
            "right": count < RIGHT.get(cell.label, 0.9), "triggered_right": count < 0.5}  # fmt: skip
    return result(cell, bits, SECONDS.get(cell.label, 30.0)) | {"setup": {}}


def store_of(records: Iterable[Mapping[str, Any]]) -> Store:
    """A store that only reads."""
    return cast("Store", Made(records))


def full() -> Store:
    """Every cell was run; WaNet did not take."""
    return store_of(made(cell, 0.4 if cell.attack == "wanet" else None) for cell in main_table())


def partly() -> Store:
    """Only two defences, and the undefended runs of two attacks."""
    cells = [cell for cell in main_table() if cell.attack in ("badnets", "sig") and cell.rate]
    return store_of(made(cell) for cell in cells if cell.label in ("none", "pcvr", "bye"))


def empty() -> Store:
    """Nothing was run."""
    return store_of(())


def rows_of(store: Store, task: str = "caption") -> list[Standing]:
    """The standings of a task."""
    return standings(main_sheet(task, store))

"""What is shipped, as the tables of results declare it: more may be registered, and needs no rows or weights."""

from __future__ import annotations

from pcvr.experiments.results import load

SHIPPED_TASKS: tuple[str, ...] = tuple(dict.fromkeys(run["experiment"]["task"] for run in load("families").runs))
"""Tasks that every embedded model has adapters, rows and notebooks for."""

"""What is shipped, as the tables of results declare it: more may be registered, and needs no rows or weights."""

from __future__ import annotations

from pcvr.experiments.results import load

_FAMILIES = load("families")
SHIPPED_MODELS = tuple(_FAMILIES.rows)
"""Embedded models with adapters and rows."""
SHIPPED_TASKS: tuple[str, ...] = tuple(dict.fromkeys(run["experiment"]["task"] for run in _FAMILIES.runs))
"""Tasks that every embedded model has adapters, rows and notebooks for."""

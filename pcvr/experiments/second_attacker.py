"""Two attackers at once: what the second one wants, and a row in a table for each of them."""

from __future__ import annotations

from dataclasses import replace

from pcvr.experiments.results import Table

SECOND_TARGETS = {"caption": "a photo of the clock", "vqa": "clock"}
"""Task to the target of a second attacker."""


def each_attacker(table: Table) -> Table:
    """Return a table in which a run with two attackers is two: one with the record of each attack."""
    runs = []
    for run in table.runs:
        runs.append(run)
        if "second" in run:
            other = run["experiment"] | {"attack": run["experiment"]["second"], "second": run["experiment"]["attack"]}
            runs.append(run | {"experiment": other, "record": run["second"]})
    return replace(table, runs=runs)

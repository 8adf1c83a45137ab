"""Experiments in result files, of any age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pcvr.experiments.experiment import Experiment
from pcvr.utils.renamed import current_names


def stored_experiment(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a stored `Experiment` by their present names, with every default as it was then."""
    from pcvr.defenses.stored_options import options_from_store

    found = current_names(Experiment, said)
    if "options" in found:
        found["options"] = options_from_store(found.get("defense", "none"), found["options"])
    return found

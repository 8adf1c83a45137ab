"""Records as a table: a row for each run, flat columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pcvr.experiments.experiment import LATER, Experiment
from pcvr.experiments.study.journal import without_collection
from pcvr.tasks import TASKS
from pcvr.utils.renamed import current_names

if TYPE_CHECKING:
    import pandas as pd

_NESTED = ("options", "attack_options")
_LEAST = ("key", "label", "hits", "n")
_SETUP = ("made_by", "date", "device", "cores", "threads", "jobs", "backend", "machine", "imported")


def frame_of(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each Record.

    Columns: ``key``; the fields of `Experiment` by their names (``options`` and ``attack_options`` as JSON texts);
    ``hits``, ``n`` (test samples that count for hits), ``asr``, ``clean_hits``, ``clean_asr``; ``right`` and
    ``triggered_right`` (fractions of right answers, by the task's own metric); ``clean_METRIC`` and
    ``triggered_METRIC``; ``METRIC_low`` and ``METRIC_high`` (bootstrap by image); ``seconds`` of the fine-tuning,
    ``answer_seconds``, and ``wall`` of the whole cell; ``gate_NAME`` of the last look of the gate; ``near_NAME``,
    attack success of a trigger near the attack's; ``second_hits``, ``second_n`` and ``second_asr`` of the attack of a
    second attacker; ``bits_NAME``, what became of each test sample (`pcvr.experiments.outcomes.unpack`); of the set-up
    ``made_by``, ``date``, ``device``, ``cores``, ``threads``, ``jobs``, ``backend``, ``machine``, and
    ``version_PACKAGE``. What a Record lacks is missing.
    """
    import pandas as pd

    with without_collection():
        rows = [_row(record) for record in records]
        columns: dict[str, None] = {}
        for names in {tuple(row): None for row in rows} or {_LEAST: None}:
            columns |= dict.fromkeys(names)
        return pd.DataFrame({name: [row.get(name) for row in rows] for name in columns})


@cache
def _under(group: str, name: str) -> str:
    """The name of a column for one of a group."""
    return f"{group}_{name.replace(' ', '_')}"


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    said = record["experiment"]
    if not Experiment.RENAMED.keys().isdisjoint(said):
        said = current_names(Experiment, said)
    row = {"key": record["key"], **LATER, **said}
    for name in _NESTED:
        row[name] = json.dumps(row[name], sort_keys=True) if row.get(name) else "{}"
    row |= _figures(record["record"])
    for name, (low, high) in record.get("intervals", {}).items():
        row[f"{name}_low"], row[f"{name}_high"] = low, high
    row |= {"seconds": record["seconds"], "wall": record.get("wall")}
    if record.get("gate"):
        row |= {_under("gate", name): value for name, value in record["gate"][-1].items()}
    for name, (hits, n) in record.get("near", {}).items():
        row[_under("near", name)] = hits / n if n else None
    if record.get("second"):
        other = _figures(record["second"])
        row |= {_under("second", name): other[name] for name in ("hits", "n", "asr")}
    for name, bits in record.get("outcomes", {}).items():
        row[_under("bits", name)] = bits
    setup = record["setup"]
    row |= {name: setup.get(name) for name in _SETUP}
    for name, version in setup.get("versions", {}).items():
        row[_under("version", name)] = version
    return row


@cache
def _right(task: str) -> str:
    return TASKS[task].right if task in TASKS else ""


def _figures(said: Mapping[str, Any]) -> dict[str, Any]:
    n = said["n"] if said.get("aimed") is None else said["aimed"]
    clean, triggered = said.get("clean") or {}, said.get("triggered") or {}
    right = _right(said.get("task", "caption"))
    found = {
        "hits": said["hits"],
        "n": n,
        "asr": said["hits"] / n,
        "clean_hits": said["clean_hits"],
        "clean_asr": said["clean_hits"] / n,
        "right": clean.get(right),
        "triggered_right": triggered.get(right),
        "answer_seconds": said.get("seconds"),
    }
    for name, value in clean.items():
        found[_under("clean", name)] = value
    for name, value in triggered.items():
        found[_under("triggered", name)] = value
    return found

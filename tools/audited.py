"""The table of ``docs/audit.md``: what an audit flags, and how well its score and others tell poison apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pcvr.auditing.limits import LIMITS
from pcvr.experiments.results import Table

SCORES = ("audit", "mean NLL", "ABL's loss", "BYE", "random")


def limits() -> list[str]:
    """Return what an audit cannot see, as the report lists it."""
    return [f"- {limit}" for limit in LIMITS]


def audited(results: Table) -> list[str]:
    """Return a row for each run: what was flagged, and AUROC and recall at 1 % false alarms of each score."""
    titles = " | ".join(f"{name}: AUROC, recall at 1 %" for name in SCORES)
    lines = [
        f"| data | task | poison flagged | false alarms (expected) | {titles} |",
        "|---|---|---|---|" + "---|" * len(SCORES),
    ]
    for run in results.runs:
        said = run["experiment"]
        found = f"{100 * run['recall']:.0f} % of {run['poisoned']}" if run["poisoned"] else "no poison"
        alarms = f"{run['false_alarms']} of {run['samples'] - run['poisoned']} ({run['expected_false_alarms']:.1f})"
        scores = " | ".join(_score(run, name) for name in SCORES)
        lines.append(f"| {said['label']} | {said['task']} | {found} | {alarms} | {scores} |")
    trained = [
        f"{run['experiment']['label']}, {run['experiment']['task']}: attack success {100 * run['trained']['asr']:.1f} %"
        for run in results.runs
        if "trained" in run
    ]
    after = [f"Trained on what the audit kept: {'; '.join(trained)}.", ""] if trained else []
    return [*lines, "", *after, f"*2000 training scenes; {results.caption()}. {' '.join(results.notes)}*"]


def _score(run: Mapping[str, Any], name: str) -> str:
    found = run.get("scores", {}).get(name)
    return "-" if found is None else f"{found['auroc']:.3f}, {100 * found['recall_at_1']:.0f} %"

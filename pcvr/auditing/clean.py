"""The data without the flagged samples, in their own format, with a log; the data themselves stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.auditing.clean_files import WRITERS, answers_of, write_table
from pcvr.data.llava_json import LINES, LlavaJson
from pcvr.data.sample import Dataset
from pcvr.data.subset import Subset
from pcvr.data.table import HubTable
from pcvr.data.vqav2 import VQAv2
from pcvr.errors import PcvrError
from pcvr.utils.files import as_path, refuse_existing, write_json
from pcvr.utils.places import check_place

if TYPE_CHECKING:
    from pcvr.auditing.result import AuditResult

LOG = ".log.json"
"""Ending of the log, behind the name of the new data."""


def write_clean(audit: AuditResult, target: str | Path) -> Path:
    """Write the data without the flagged samples; arguments and errors as `pcvr.auditing.outcome.Audit.clean`."""
    target = check_clean(audit.data, target)
    whole, rows = traced(audit.data)
    bad = np.flatnonzero(audit.flagged)
    if isinstance(whole, HubTable):
        write_table(whole, {int(rows[place]) for place in bad}, target)
    else:
        ids = audit.store.ids()
        WRITERS[type(whole)](whole, {ids[int(place)] for place in bad}, target)
    write_json(target.with_name(target.name + LOG), _log(audit, whole, bad, target))
    return target


def check_clean(data: Dataset, target: str | Path) -> Path:
    """Return `target` as a path, or raise where the data could not be written there; call it before the scoring.

    Raises:
        PcvrError: data of a format that cannot be written; `target`, its log or its second file exists or cannot be
            written; only one of source and target is a file of JSON lines.
    """
    check_writable(data)
    target = as_path(target, "the clean data").expanduser()
    whole, _ = traced(data)
    check_place(target, "folder" if isinstance(whole, HubTable) else "file")
    refuse_existing(as_path(target.with_name(target.name + LOG), "the log of the clean data"), "file")
    if isinstance(whole, VQAv2):
        refuse_existing(answers_of(target), "file")
    if isinstance(whole, LlavaJson) and whole.lines != (target.suffix.lower() in LINES):
        one = "JSON lines, one record a line" if whole.lines else "one JSON list"
        ending = LINES[0] if whole.lines else ".json"
        raise PcvrError(
            f"the clean data would go to {target.name}, but the data in {whole.path.name} are {one}: give a name that "
            f"ends with {ending}, such as {target.with_suffix(ending).name}."
        )
    return target


def check_writable(data: Dataset) -> None:
    """Raise unless data of this format can be written; call it before the scoring.

    Raises:
        PcvrError: scenes, lists of samples and data of another package.
    """
    whole, _ = traced(data)
    if type(whole) not in WRITERS and not isinstance(whole, HubTable):
        raise PcvrError(
            f"the data {data.name!r} come from no file or table that could be written without some samples: leave "
            "--clean out, and take the samples of keep()."
        )


def traced(data: Dataset) -> tuple[Dataset, np.ndarray]:
    """Return the data set behind subsets, and the index in it of each sample."""
    rows = np.arange(len(data))
    while isinstance(data, Subset):
        rows = np.asarray(data.indices)[rows]
        data = data.dataset
    return data, rows


def _log(audit: AuditResult, whole: Any, bad: np.ndarray, target: Path) -> dict[str, Any]:
    ids, verdict = audit.store.ids(), audit.verdict
    return {
        "about": "samples that an audit left out; the source stays as it is",
        "source": str(getattr(whole, "path", whole.name)),
        "images": str(getattr(whole, "image_folder", "")),
        "target": str(target),
        "verdict": str(audit),
        **{name: audit.summary()[name] for name in ("model", "threshold", "expected_false_alarms", "triggers")},
        "left_out": [
            {
                "id": ids[row],
                "score": round(float(verdict.scores[row]), 3),
                "trigger": int(verdict.trigger[row]),
            }
            for row in bad.tolist()
        ],
    }

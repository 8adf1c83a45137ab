"""The data without the flagged samples, in their own format, with a log; the data themselves stay as they are."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.data.coco import CocoCaptions
from pcvr.data.flickr import Flickr30k, FlickrAnnotations
from pcvr.data.karpathy import Karpathy
from pcvr.data.llava_json import LlavaJson
from pcvr.data.sample import Dataset
from pcvr.data.stream import byte_lines
from pcvr.data.subset import Subset
from pcvr.data.table import HubTable
from pcvr.data.vqav2 import VQAv2
from pcvr.errors import PcvrError
from pcvr.training.keep_list import write_keep_list
from pcvr.utils.files import as_path, new_folder, read_json, refuse_existing, write_bytes, write_json, write_text
from pcvr.utils.places import check_place

if TYPE_CHECKING:
    from pcvr.auditing.result import AuditResult

LOG = ".log.json"
"""Ending of the log, behind the name of the new data."""


def write_clean(audit: AuditResult, target: str | Path) -> Path:
    """Write the data without the flagged samples; arguments and errors as `pcvr.auditing.outcome.Audit.clean`."""
    target = as_path(target, "the clean data").expanduser()
    whole, rows = traced(audit.data)
    check_writable(whole)
    check_place(target, "folder" if isinstance(whole, HubTable) else "file")
    log = target.with_name(target.name + LOG)
    refuse_existing(log, "file")
    bad = np.flatnonzero(audit.flagged)
    if isinstance(whole, HubTable):
        _table(whole, {int(rows[place]) for place in bad}, target)
    else:
        ids = audit.store.ids()
        out = {ids[int(place)] for place in bad}
        _WRITERS[type(whole)](whole, out, target)
    write_json(log, _log(audit, whole, bad, target))
    return target


def check_writable(data: Dataset) -> None:
    """Raise unless data of this format can be written; call it before the scoring.

    Raises:
        PcvrError: scenes, lists of samples and data of another package.
    """
    whole, _ = traced(data)
    if type(whole) not in _WRITERS and not isinstance(whole, HubTable):
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


def _llava(data: Any, out: set[str], target: Path) -> None:
    known = data._records.entries()
    flagged = np.array([name in out for name in known], dtype=bool)
    write_keep_list(data.path, target, list(known), flagged, positions=False)


def _coco(data: Any, out: set[str], target: Path) -> None:
    said = read_json(data.path, "the data")
    numbers = _numbers(data, out)
    gone = {json.dumps(entry["id"]) for number, entry in enumerate(said["images"]) if number in numbers}
    said["images"] = [entry for number, entry in enumerate(said["images"]) if number not in numbers]
    said["annotations"] = [
        entry for entry in said["annotations"] if json.dumps(_of(entry, "image_id"), default=str) not in gone
    ]
    _json(target, said)


def _karpathy(data: Any, out: set[str], target: Path) -> None:
    said, numbers = read_json(data.path, "the data"), _numbers(data, out)
    said["images"] = [entry for number, entry in enumerate(said["images"]) if number not in numbers]
    _json(target, said)


def _vqav2(data: Any, out: set[str], target: Path) -> None:
    answers = target.with_name(target.name.replace("questions", "annotations"))
    if answers == target:
        answers = target.with_name(f"{target.stem}.annotations{target.suffix}")
    refuse_existing(answers, "file")
    said = read_json(data.path, "the questions")
    said["questions"] = [entry for entry in said["questions"] if str(_of(entry, "question_id")) not in out]
    known = read_json(data.annotations, "the answers")
    known["annotations"] = [entry for entry in known["annotations"] if str(_of(entry, "question_id")) not in out]
    _json(answers, known)
    _json(target, said)


def _flickr(data: Any, out: set[str], target: Path) -> None:
    """Lines of text: each begins with the image's name, up to a bar or a number sign."""
    kept = []
    for line in byte_lines(data.path, hashlib.sha256()):
        text = line.decode("utf-8", "replace")
        head = text.partition("\t")[0]
        name = head.partition("|")[0].strip() if "|" in head else head.rpartition("#")[0].strip()
        if name not in out:
            kept.append(line)
    write_bytes(target, b"".join(kept))


def _flickr_table(data: Any, out: set[str], target: Path) -> None:
    with data.path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        names = reader.fieldnames or ()
    page = io.StringIO(newline="")
    writer = csv.DictWriter(page, names)
    writer.writeheader()
    writer.writerows(row for row in rows if row["filename"] not in out)
    write_text(target, page.getvalue())


def _table(data: HubTable, places: set[int], target: Path) -> None:
    """A row with several samples goes if one of them is flagged; rows of other splits stay out."""
    gone = {int(data._row_of[place]) for place in places}
    used = dict.fromkeys(int(row) for row in data._row_of)
    kept = data.rows.select([row for row in used if row not in gone])
    with new_folder(target) as scratch:
        kept.save_to_disk(str(scratch))


def _numbers(data: Any, out: set[str]) -> set[int]:
    return {number for name, number in data._records.entries().items() if name in out}


def _of(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _json(target: Path, value: Any) -> None:
    write_text(target, json.dumps(value, ensure_ascii=False) + "\n")


_WRITERS: Mapping[type, Callable[[Any, set[str], Path], None]] = {
    LlavaJson: _llava,
    CocoCaptions: _coco,
    Karpathy: _karpathy,
    VQAv2: _vqav2,
    Flickr30k: _flickr,
    FlickrAnnotations: _flickr_table,
}

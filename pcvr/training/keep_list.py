"""A JSON of training records without the flagged ones, for trainers that read such files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcvr.data.detect import recognise
from pcvr.data.llava_json import entries_of
from pcvr.data.stream import JsonFile, byte_lines
from pcvr.errors import PcvrError
from pcvr.utils.files import as_path, write_bytes, write_text


def write_keep_list(
    source: str | Path, target: str | Path | None, ids: Sequence[str], flagged: np.ndarray, positions: bool
) -> Path:
    """Write the records of `source` without the flagged ones; arguments and errors as `ScanReport.keep_list`.

    Args:
        source: JSON, a list of records, or JSON lines.
        target: the new file, or None.
        ids: ``[N]``, of the samples that were scanned.
        flagged: ``[N]`` bool.
        positions: whether an id is the position of a record.
    """
    source = as_path(source, "the source").expanduser()
    target = source.with_name(f"{source.stem}.kept{source.suffix}") if target is None else as_path(target, "the target")
    if target.resolve() == source.resolve():
        raise PcvrError(f"target is {target}, the source itself: give another file, since the source stays as it is.")
    lines = recognise(source) == "llava-lines"  # as the reader decides, whatever the file's ending is
    records: dict[int, Any] = _lines(source) if lines else _entries(source)
    record_of = (
        {str(row): number for row, number in enumerate(records)} if positions else entries_of(source, lines=lines)
    )
    strangers = [each for each in ids if each not in record_of]
    if strangers or (positions and len(ids) != len(records)):
        what = f"not {strangers[0]!r}" if strangers else f"not {len(ids)} of them"
        raise PcvrError(
            f"{source} holds {len(records)} records, {what}, which the scan saw: give the file that was scanned."
        )
    out = {record_of[each] for each, bad in zip(ids, flagged.tolist(), strict=True) if bad}
    _write(records, target, out, lines)
    return target


def write_records(source: Path, target: Path, out: set[int], lines: bool) -> None:
    """Write the records of `source` but those of the indices `out`, of JSON `lines` those of the line numbers."""
    _write(_lines(source) if lines else _entries(source), target, out, lines)


def _write(records: dict[int, Any], target: Path, out: set[int], lines: bool) -> None:
    kept = [record for number, record in records.items() if number not in out]
    if lines:
        write_bytes(target, b"".join(kept))
    else:
        write_text(target, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def _entries(source: Path) -> dict[int, Any]:
    """Return the values of a JSON list by their index."""
    with JsonFile(source) as file:
        if file.top != "[":
            raise PcvrError(f"the source {source} is not a list of records: name a file of JSON lines .jsonl.")
        return {number: entry for _, number, entry in file}


def _lines(source: Path) -> dict[int, bytes]:
    """Return the lines of a file by their number from 1, each with its end, without the empty ones."""
    lines = enumerate(byte_lines(source, hashlib.sha256()), 1)
    return {number: line for number, line in lines if line.strip()}

"""Writers of data without some of their samples, one for each format."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pcvr.data.coco import CocoCaptions
from pcvr.data.flickr import Flickr30k, FlickrAnnotations
from pcvr.data.karpathy import Karpathy
from pcvr.data.llava_json import LlavaJson, entries_of
from pcvr.data.report import EntryError
from pcvr.data.slots import plain
from pcvr.data.stream import byte_lines
from pcvr.data.table import HubTable
from pcvr.data.vqav2 import VQAv2
from pcvr.errors import PcvrError
from pcvr.training.keep_list import write_records
from pcvr.utils.files import new_folder, parse_json, write_bytes, write_text


def write_table(data: HubTable, places: set[int], target: Path) -> None:
    """Write all tables that `data` were taken from, other splits too; a row goes if one of its samples is flagged."""
    from datasets import DatasetDict

    gone = {int(data._row_of[place]) for place in places}
    out: dict[str, set[int]] = {key: set() for key in data.tables}
    first = 0
    for key, rows in data.parts:
        out[key] |= {rows[row - first] for row in gone if first <= row < first + len(rows)}
        first += len(rows)
    kept = {
        key: table.select([row for row in range(len(table)) if row not in out[key]]) if out[key] else table
        for key, table in data.tables.items()
    }
    whole = kept[""] if [*kept] == [""] else DatasetDict(kept)
    with new_folder(target) as scratch:
        whole.save_to_disk(str(scratch))


def _llava(data: Any, out: set[str], target: Path) -> None:
    gone = {name: number for name, number in data._records.entries().items() if name in out}
    now = entries_of(data.path, data.turns, data.lines)
    if any(now.get(name) != number for name, number in gone.items()):
        raise PcvrError(f"{data.path} has changed since it was opened: give the file that was scored.")
    write_records(data.path, target, set(gone.values()), data.lines)


def _coco(data: Any, out: set[str], target: Path) -> None:
    said = _read(data.path)
    numbers = _numbers(data, out)
    gone = {_same(entry["id"]) for number, entry in enumerate(said["images"]) if number in numbers}
    said["images"] = [entry for number, entry in enumerate(said["images"]) if number not in numbers]
    said["annotations"] = [entry for entry in said["annotations"] if _same(_of(entry, "image_id")) not in gone]
    _json(target, said)


def _karpathy(data: Any, out: set[str], target: Path) -> None:
    said, numbers = _read(data.path), _numbers(data, out)
    said["images"] = [entry for number, entry in enumerate(said["images"]) if number not in numbers]
    _json(target, said)


def answers_of(target: Path) -> Path:
    """Return where VQAv2's answers go, whose questions go to `target`."""
    answers = target.with_name(target.name.replace("questions", "annotations"))
    return target.with_name(f"{target.stem}.annotations{target.suffix}") if answers == target else answers


def _vqav2(data: Any, out: set[str], target: Path) -> None:
    said = _read(data.path)
    said["questions"] = [entry for entry in said["questions"] if str(_of(entry, "question_id")) not in out]
    known = _read(data.annotations)
    known["annotations"] = [entry for entry in known["annotations"] if str(_of(entry, "question_id")) not in out]
    _json(answers_of(target), known)
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
    """Keep the bytes of each row, whatever is wrong with it; quoted cells may span lines."""
    lines = list(byte_lines(data.path, hashlib.sha256()))
    reader = csv.reader(_texts(lines))
    names = next(reader, [])
    kept, first = lines[: reader.line_num], reader.line_num
    for row in reader:
        if dict(zip(names, row, strict=False)).get("filename") not in out:
            kept += lines[first : reader.line_num]
        first = reader.line_num
    write_bytes(target, b"".join(kept))


def _texts(lines: list[bytes]) -> Iterator[str]:
    """Yield lines as `FlickrAnnotations` reads them: one that is not UTF-8 has no cells."""
    for line in lines:
        try:
            yield line.decode()
        except UnicodeDecodeError:
            yield "\ufffd"


def _numbers(data: Any, out: set[str]) -> set[int]:
    return {number for name, number in data._records.entries().items() if name in out}


def _of(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _same(given: Any) -> int | str | None:
    """Return an id as the reader compares it: 9 and "9" are one; None for what is no id."""
    try:
        return plain(given)
    except EntryError:
        return None


def _read(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8-sig"), str(path))


def _json(target: Path, value: Any) -> None:
    write_text(target, json.dumps(value, ensure_ascii=False) + "\n")


WRITERS: Mapping[type, Callable[[Any, set[str], Path], None]] = {
    LlavaJson: _llava,
    CocoCaptions: _coco,
    Karpathy: _karpathy,
    VQAv2: _vqav2,
    Flickr30k: _flickr,
    FlickrAnnotations: _flickr_table,
}
"""By the type of the data: writes them without the samples of some ids to a file."""

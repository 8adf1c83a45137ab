"""The format of an annotation file, recognised by its content; only the beginning is read."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pcvr.data.flickr import HEADER
from pcvr.data.llava_json import LINES
from pcvr.data.stream import JsonFile, cannot_read, refuse_pointer
from pcvr.data.turns import KEYS
from pcvr.errors import PcvrError

FORMATS: Mapping[str, str] = {
    "llava": "LLaVA-style JSON",
    "llava-lines": "LLaVA-style JSON lines",
    "coco": "COCO captions",
    "karpathy": "a Karpathy split file",
    "vqav2": "VQAv2's questions",
    "vqav2-answers": "VQAv2's answers",
    "flickr30k": "Flickr30k's results.csv or .token",
    "flickr30k-table": "flickr_annotations_30k.csv",
}
"""Format name to its description."""

_TABLES = {".parquet": "parquet", ".tar": "webdataset"}
_HEAD = 1 << 16
_TOKEN = re.compile(r"[^\t\n]+#\d+\t")
_TABLE = {"raw", "split", "filename"}


def check_no_table(path: Path) -> None:
    """Raise if `path` is a file or folder of a form that only ``datasets`` reads.

    Raises:
        PcvrError: saying how it becomes a table that is read.
    """
    for ending, kind in _TABLES.items():
        if path.is_dir():
            found = next((name for name in (f"*{ending}", f"*/*{ending}") if any(path.glob(name))), None)
            files = None if found is None else str(path / found)
        else:
            files = str(path) if path.suffix.lower() == ending else None
        if files is not None:
            raise PcvrError(
                f"{path} holds {kind} files, which only datasets reads: save them as a table with "
                f'datasets.load_dataset("{kind}", data_files={files!r}).save_to_disk(FOLDER), and give FOLDER.'
            )


def recognise(path: Path) -> str | None:
    """Return the format of a file, a key of :data:`FORMATS`, or None.

    Raises:
        PcvrError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_HEAD)
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from error
    refuse_pointer(path, content)
    head = content.decode("utf-8-sig", "replace").lstrip()
    if path.suffix.lower() in LINES:
        return "llava-lines"
    if head.startswith("["):
        return "llava"
    if head.startswith("{"):
        return _of_object(path)
    first = head.partition("\n")[0].rstrip("\r")
    if HEADER.match(first) or _TOKEN.match(first):
        return "flickr30k"
    try:
        columns = next(csv.reader([first]), [])
    except csv.Error:
        return None
    return "flickr30k-table" if set(columns) >= _TABLE else None


def _of_object(path: Path) -> str | None:
    """Return the format by the keys and the first item of each list: COCO and VQAv2 both have annotations."""
    try:
        with JsonFile(path) as file:
            for key, number, value in file:
                if key in (*KEYS, "image") or (key == "images" and isinstance(value, str)):
                    return "llava-lines"  # a record where a document was expected
                if key in _SIGNS and number == 0 and isinstance(value, dict) and (found := _SIGNS[key](value)):
                    return found
    except PcvrError:
        return None
    return None


_SIGNS: Mapping[str, Callable[[dict[str, Any]], str | None]] = {
    "questions": lambda item: "vqav2" if "question" in item else None,
    "images": lambda item: "karpathy" if "sentences" in item else "coco" if "file_name" in item else None,
    "annotations": lambda item: "vqav2-answers" if "answers" in item else "coco" if "caption" in item else None,
}

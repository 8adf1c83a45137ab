"""Which version a notebook was made as, and whether somebody has worked in it since: it carries a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

_UNREADABLE = (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError, nbformat.ValidationError)
"""What nbformat raises on files that are no notebooks: half written, with marks of a merge, of another program."""


@dataclass(frozen=True)
class Origin:
    """Where a notebook comes from.

    Attributes:
        name: of its source, without folder and ending; editors keep it when the file is renamed.
        version: fingerprint of its cells when it was made.
    """

    name: str
    version: str


def fingerprint(cells: Sequence[Any]) -> str:
    """Return a fingerprint of what a reader can write in cells: kind, text and tags of each, in order.

    Outputs, execution counts and what editors note in a cell's metadata do not count.
    """
    written = [[cell.cell_type, cell.source, list(cell.metadata.get("tags", ()))] for cell in cells]
    return hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16]


def origin(path: Path) -> Origin | None:
    """Return where a notebook comes from; None if it was not made here or cannot be read."""
    try:
        return _origin(_read(path))
    except _UNREADABLE:
        return None


def worked_in(path: Path) -> bool:
    """Return whether somebody has changed, added, moved or deleted a cell of a notebook made here.

    A file that cannot be read, or that was not made here, is somebody's work too.
    """
    try:
        notebook = _read(path)
        return _origin(notebook).version != fingerprint(notebook.cells)
    except _UNREADABLE:
        return True


def untouched(path: Path) -> bool:
    """Return whether nobody has worked in a notebook made here, nor run it."""
    if worked_in(path):
        return False
    code = [cell for cell in _read(path).cells if cell.cell_type == "code"]
    return not any(cell.outputs or cell.execution_count for cell in code)


def _read(path: Path) -> Any:
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def _origin(notebook: Any) -> Origin:
    made = notebook.metadata["pcvr"]
    return Origin(Path(made["source"]).stem, str(made.get("version", "")))

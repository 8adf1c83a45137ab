"""What each notebook takes in its default mode: time and peak memory, in one table that comes with the repository."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import date
from importlib import metadata
from pathlib import Path

from bookkit.front import TABLE, recorded
from bookkit.running import Run
from pcvr.utils.files import write_json

MOST = 900
"""MB that a notebook may take: Binder gives 1 GB to it, the server and the browser's requests together."""


def record(root: Path, runs: Iterable[Run]) -> Path:
    """Put runs into the table, over older rows of the same notebooks; runs that failed are left out."""
    rows = recorded(root)
    for run in runs:
        if run.error is None:
            rows[run.name] = {
                "seconds": round(run.seconds),
                "longest_cell": round(run.longest),
                "peak_mb": round(run.peak_bytes / 1e6),
                "date": date.today().isoformat(),
                "made_with": _made_with(),
            }
    write_json(
        root / TABLE,
        {"command": "make workbook ARGS=--record", "notebooks": {name: rows[name] for name in sorted(rows)}},
    )
    return root / TABLE


def _made_with() -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft"))
    return f"Python {platform.python_version()}, {versions}; {platform.system()}, {os.cpu_count()} cores"

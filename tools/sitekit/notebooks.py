"""Executed notebooks as sources of the site: found or run, without widgets, their figures in files."""

from __future__ import annotations

import base64
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import nbformat
from bookkit.widgets import without_kernel

ROOT = Path(__file__).resolve().parents[2]
_DATA = re.compile(r'(<img\b[^>]*?)\bsrc="data:image/png;base64,([^"]+)"')
_INJECTED = "injected-parameters"
_FAST = "fast = True"


def executed(names: Sequence[str], folder: Path, out: Path, fast: bool) -> dict[str, Path]:
    """Return executed notebooks by name, after running those whose executed copy is missing, out of date or failed.

    Args:
        names: file stems, in order.
        folder: the notebooks without outputs.
        out: where executed copies are, and where new ones go.
        fast: whether a notebook that has to run does so in its fast mode.

    Raises:
        SystemExit: a notebook failed.
    """
    stale = [name for name in names if not up_to_date(folder / f"{name}.ipynb", out / f"{name}.ipynb", fast)]
    if stale:
        command = [sys.executable, str(ROOT / "tools" / "run_workbook.py"), "--out", str(out)]
        command += ["--notebooks", str(folder), *(["--fast"] if fast else [])]
        for name in stale:
            command += ["--only", name]
        if subprocess.run(command).returncode:
            raise SystemExit("a notebook failed, so that there is no site: the lines above say which and why.")
    return {name: out / f"{name}.ipynb" for name in names}


def up_to_date(source: Path, done: Path, fast: bool) -> bool:
    """Return whether `done` ran through and has the cells of `source`; a fast run counts only if `fast` allows it."""
    if not done.is_file():
        return False
    made = nbformat.read(done, as_version=4)
    failed = any(output.output_type == "error" for cell in made.cells for output in cell.get("outputs", ()))
    given = [cell.source for cell in made.cells if _INJECTED in cell.metadata.get("tags", ())]
    quick = any(_FAST in text.splitlines() for text in given)
    return not failed and (fast or not quick) and _cells(made) == _cells(nbformat.read(source, as_version=4))


def _cells(notebook: Any) -> list[tuple[str, str]]:
    own = (cell for cell in notebook.cells if _INJECTED not in cell.metadata.get("tags", ()))
    return [(cell.cell_type, cell.source) for cell in own]


def write_page(path: Path, page: Path, figures: Path) -> None:
    """Write an executed notebook as a source of the site.

    Args:
        path: the executed notebook.
        page: where the page's source goes, one folder below the root of the site.
        figures: folder for its figures; pages find it as ``../_static/figures``.
    """
    notebook = nbformat.read(path, as_version=4)
    without_kernel(notebook)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if "text/html" in output.get("data", {}):  # no long lines of base64
            output.data["text/html"] = _DATA.sub(lambda found: _linked(found, figures), output.data["text/html"])
    page.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, page)


def _linked(found: re.Match[str], figures: Path) -> str:
    content = base64.b64decode(found[2])
    name = f"{sha256(content).hexdigest()[:16]}.png"
    figures.mkdir(parents=True, exist_ok=True)
    (figures / name).write_bytes(content)
    # With its size a browser keeps the place free until it loads the picture.
    width, height = struct.unpack(">II", content[16:24])
    size = "" if "width=" in found[1] else f'width="{width}" height="{height}" '
    return f'{found[1]}{size}loading="lazy" src="../_static/figures/{name}"'

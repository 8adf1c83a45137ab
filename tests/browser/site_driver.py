"""A small site, built once: one notebook with made-up outputs, the others without, and no reference."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
from bookkit.widgets import VIEW
from nbformat.v4 import new_output
from PIL import Image as PilImage

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "02_poisoning"


def png(color: str) -> str:
    """A small PNG of one colour in base64."""
    content = io.BytesIO()
    PilImage.new("RGB", (40, 20), color).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def widget_state() -> dict[str, Any]:
    """The saved state of a box with a slider and a picture, and of a progress bar."""
    box = {"children": ["IPY_MODEL_slider", "IPY_MODEL_picture"]}
    picture = {"path": ["value"], "encoding": "base64", "data": png("navy")}
    return {
        "box": {"model_name": "VBoxModel", "state": box},
        "slider": {"model_name": "FloatSliderModel", "state": {"description": "Strength", "value": 0.5}},
        "picture": {"model_name": "ImageModel", "state": {}, "buffers": [picture]},
        "progress": {"model_name": "FloatProgressModel", "state": {"value": 3.0}},
    }


def executed_notebook(folder: Path) -> None:
    """Write a copy of a notebook with a figure, a widget and a progress bar as outputs, as if it had run."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK}.ipynb", as_version=4)
    shown = [cell for cell in notebook.cells if "remove-cell" not in cell.metadata.get("tags", ())]
    first, second = [cell for cell in shown if cell.cell_type == "code"][:2]
    first.outputs = [
        new_output("display_data", {"text/html": f'<img alt="A figure" src="data:image/png;base64,{png("gold")}">'}),
        new_output("display_data", {VIEW: {"model_id": "progress"}, "text/plain": "100 %"}),
    ]
    second.outputs = [new_output("display_data", {VIEW: {"model_id": "box"}, "text/plain": "VBox(...)"})]
    state = {"state": widget_state(), "version_major": 2, "version_minor": 0}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    folder.mkdir()
    nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")


def build_site(work: Path) -> Path:
    """Build the site in a process of its own, and return the folder of its pages."""
    executed_notebook(work / "executed")
    command = [sys.executable, str(ROOT / "tools" / "build_site.py"), "--no-api", "--only", NOTEBOOK]
    command += ["--executed", str(work / "executed"), "--out", str(work / "site")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return work / "site" / "html"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as a plain static server does, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Driving JupyterLab as a reader does: open a notebook, run it, move a slider, look at a picture."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import nbformat
from bookkit.kernels import kernel_environment
from bookkit.running import refuse_unknown
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import Locator, Page, expect

from pcvr.widgets.page import OLD

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
# Limits for what hangs: beside other work everything takes many times as long as alone.
PATIENCE = 120  # seconds until a page shows what an action leads to
_START = 300  # seconds for the server, and for the page and its kernel
_RUN = 900  # seconds for all cells


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
        url: its address, ending without a slash.
        token: what opens it.
        folder: the root it serves, a temporary copy: what a test does there is gone afterwards.
    """

    url: str
    token: str
    folder: Path

    def add(self, source: Path, /, **parameters: Any) -> str:
        """Copy a notebook into the served folder, with parameters set, and return its name there.

        Args:
            source: the notebook.
            parameters: values for its parameters cell; an unknown name is refused.
        """
        notebook = nbformat.read(source, as_version=4)
        if parameters:
            refuse_unknown(source, parameters)
            notebook.metadata.setdefault("papermill", {})
            for cell in notebook.cells:
                cell.metadata.setdefault("tags", [])  # papermill looks for them in every cell
            notebook = parameterize_notebook(notebook, parameters)
        nbformat.write(notebook, self.folder / source.name)
        return source.name


@contextmanager
def running_lab(work: Path, notebooks: Path) -> Iterator[Lab]:
    """Start JupyterLab on a copy of a folder, with settings, kernels and workspaces of its own, and stop it afterwards.

    Args:
        work: an empty folder for everything it writes.
        notebooks: the folder to copy; it need not exist.
    """
    folder, config, settings = work / "root", work / "config", work / "settings"
    for path in (folder, config / "labconfig", settings, work / "kernel", work / "data"):
        path.mkdir(parents=True)
    if notebooks.exists():
        shutil.copytree(notebooks, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    # No question about news, and every output on the page, also those scrolled out of view.
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "labconfig" / "page_config.json").write_text(dumps(disabled))
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text(dumps({"windowingMode": "none"}))
    environment = kernel_environment(work / "kernel") | {
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_RUNTIME_DIR": str(work / "runtime"),
        "JUPYTER_DATA_DIR": str(work / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(work / "workspaces"),
    }
    token, port = secrets.token_hex(16), _free_port()
    lab = Lab(f"http://127.0.0.1:{port}", token, folder)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    # Kernels of closed pages go: each holds some hundred megabytes, which the tests after the pages need.
    command += ["--MappingKernelManager.cull_idle_timeout=30", "--MappingKernelManager.cull_interval=15"]
    log = work / "lab.log"
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=folder) as server:
        try:
            _wait_until_up(lab, server, log)
            yield lab
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    """Open a notebook of the served folder in a fresh workspace and wait until its kernel is ready."""
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    expect(page.locator(".jp-NotebookPanel .jp-Notebook .jp-Cell").first).to_be_visible(timeout=_START * 1000)
    page.wait_for_function(f"{_PANEL}?.sessionContext.session?.kernel?.status === 'idle'", timeout=_START * 1000)


_PANEL = "window.jupyterapp.shell.currentWidget"


def run_all(page: Page, timeout: float = _RUN) -> None:
    """Choose Run All Cells in the menu, and wait until every cell has run.

    Args:
        page: shows a notebook.
        timeout: seconds.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    waits = """() => %s.content.widgets.every(
        cell => cell.model.type !== 'code' || !cell.model.sharedModel.source.trim() || cell.model.executionCount
          || cell.model.outputs.toJSON().some(output => output.output_type === 'error'))"""
    page.wait_for_function(waits % _PANEL, timeout=timeout * 1000)
    wait_idle(page, timeout)
    assert not cell_errors(page), "\n".join(cell_errors(page))


def wait_idle(page: Page, timeout: float = PATIENCE) -> None:
    """Wait until the kernel has nothing to do."""
    page.wait_for_function(f"{_PANEL}.sessionContext.session.kernel.status === 'idle'", timeout=timeout * 1000)


def cell_errors(page: Page) -> list[str]:
    """Every error output of the notebook on the page, as ``name: value``."""
    script = """() => %s.content.widgets.filter(cell => cell.model.type === 'code').flatMap(
        cell => cell.model.outputs.toJSON().filter(output => output.output_type === 'error'))
        .map(output => `${output.ename}: ${output.evalue}`)"""
    return list(page.evaluate(script % _PANEL))


def slider(page: Page, label: str) -> Locator:
    """The slider with this description."""
    found = page.locator(".widget-slider").filter(has=page.get_by_text(label, exact=True))
    expect(found).to_have_count(1)
    return found


def set_slider(page: Page, label: str, value: float) -> None:
    """Move a slider by typing a value into its read-out, as a reader without a mouse does."""
    readout = slider(page, label).locator(".widget-readout")
    readout.click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(f"{value:g}")
    page.keyboard.press("Enter")


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of the dropdown with this description."""
    page.locator(".widget-dropdown").filter(has=page.get_by_text(label, exact=True)).locator("select").select_option(
        option
    )


def picture(page: Page, within: str = ".jp-OutputArea-output") -> Locator:
    """The last picture inside the outputs: a plot, or an Image widget."""
    return page.locator(f"{within} img").last


def figure_texts(page: Page, least: int) -> list[str]:
    """The text of every figure that a cell shows, `least` of them or more, each longer than a few words."""
    found = page.locator(".jp-OutputArea-output img:not(.widget-image):not([hidden])").evaluate_all(
        "all => all.map(img => img.alt)"
    )
    assert len(found) >= least, f"{len(found)} figures, and {least} are expected: {found}"
    assert all(len(text) > 20 for text in found), [text for text in found if len(text) <= 20]
    return list(found)


def source_of(image: Locator) -> str:
    """What an ``img`` shows, as its address (data: or blob:)."""
    found = image.get_attribute("src")
    assert found
    return found


def wait_for_change(image: Locator, before: str, timeout: float = PATIENCE) -> None:
    """Wait until a picture is another one than ``before`` (from :func:`source_of`), and no longer a faded old one."""
    expect(image).not_to_have_attribute("src", before, timeout=timeout * 1000)
    expect(image).not_to_have_class(re.compile(OLD), timeout=timeout * 1000)


def screenshot(page: Page, name: str) -> Path:
    """Keep what the page shows as build/screenshots/<name>.png."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path

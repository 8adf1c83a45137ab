"""The pages of a run of the workbook: each executed notebook as HTML, and an index with times, memory and versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib import metadata
from pathlib import Path

import nbformat
import psutil
from nbconvert import HTMLExporter
from traitlets.config import Config

from bookkit.elsewhere import SKIPPED
from bookkit.running import Run
from bookkit.widgets import without_kernel
from pcvr.utils.files import write_text

_PACKAGES = ("pcvr", "torch", "transformers", "peft", "numpy", "jupyterlab", "ipywidgets")

_ROOT = Path(__file__).resolve().parents[2]
_TEMPLATE = Path(__file__).parent / "page"
_MATHJAX = _ROOT / "tools" / "sitekit" / "vendor" / "mathjax"
_LINK = re.compile(r'href="([^":#?]+)([^"]*)"')
_SHOWN = {"enabled": True, "remove_cell_tags": [SKIPPED]}

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --soft: #55555f; --line: #d9d9e0; --paper: #fdfdfb; --accent: #0b5f9e;
  --bad: #b23c00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf1; --soft: #adadb8; --line: #3a3a44; --paper: #17171b; --accent: #7cc0f5; --bad: #ff9d6b; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.05rem/1.6 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; }
p { margin: .3rem 0; }
.lead { color: var(--soft); max-width: 46rem; }
a { color: var(--accent); }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .6rem; }
th, td { text-align: left; vertical-align: top; padding: .8rem .9rem .8rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .92rem; }
tbody th { font-weight: 600; }
.says { display: block; font-weight: 400; color: var(--soft); }
.figure { white-space: nowrap; font-variant-numeric: tabular-nums; text-align: right; }
.bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
code { font: .92em ui-monospace, monospace; }
"""


def write_html(run: Run) -> Path:
    """Write an executed notebook as a page beside it, with what sets its formulas; a page needs no network."""
    notebook = nbformat.read(run.executed, as_version=4)
    without_kernel(notebook)
    exporter = HTMLExporter(
        template_name=_TEMPLATE.name,
        extra_template_basedirs=[str(_TEMPLATE.parent)],
        config=Config(TagRemovePreprocessor=_SHOWN),
    )
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": run.title or run.name}})
    page = run.executed.with_suffix(".html")
    write_text(page, _LINK.sub(lambda found: f'href="{_target(found[1], page)}{found[2]}"', body))
    shutil.copytree(_MATHJAX, page.parent / _MATHJAX.name, dirs_exist_ok=True)
    return page


def _target(link: str, page: Path) -> str:
    """Where a link of a notebook leads from its page: to another page, or to a file of the repository."""
    if link.startswith("../"):
        file = _ROOT / link.removeprefix("../")
        return Path(os.path.relpath(file, page.parent)).as_posix() if file.exists() else link
    return f"{link.removesuffix('.ipynb')}.html" if link.endswith(".ipynb") and "/" not in link else link


def write_index(runs: Sequence[Run], out: Path, mode: str, seconds: float) -> Path:
    """Write index.html: what was run, how long it took, how much memory, with which versions on which machine.

    Args:
        runs: in reading order.
        out: the folder of the pages.
        mode: how the notebooks were run, in words ("default mode").
        seconds: that all of it took.
    """
    failed = sum(run.error is not None for run in runs)
    verdict = f"{failed} of {len(runs)} notebooks failed" if failed else f"all {len(runs)} notebooks ran through"
    facts = "\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in _facts().items())
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The pcvr workbook</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>The pcvr workbook</h1>
<p class="lead">Backdoors in vision-language models, and a patch-based cross-view defence, to run and take apart.
The pages below are the executed notebooks; to work in them yourself, say <code>make lab</code>.</p>
<h2>Notebooks</h2>
<table>
<caption>Run in {escape(mode)}: {verdict} in {clock(seconds)}.</caption>
<thead><tr><th scope="col">Notebook</th><th scope="col">Result</th>
<th scope="col" class="figure">Time</th><th scope="col" class="figure">Peak memory</th></tr></thead>
<tbody>
{"".join(_row(run) for run in runs)}</tbody>
</table>
<h2>Made with</h2>
<dl>
{facts}
</dl>
</main>
</body>
</html>
"""
    page = out / "index.html"
    write_text(page, text)
    return page


def _row(run: Run) -> str:
    result = "ran through" if run.error is None else f'<span class="bad">failed: {escape(run.error)}</span>'
    number = escape(run.name.split("_")[0])
    return (
        f'<tr><th scope="row">{number} <a href="{escape(run.name)}.html">{escape(run.title or run.name)}</a>'
        f'<span class="says">{escape(run.summary)}</span></th><td>{result}</td>'
        f'<td class="figure">{clock(run.seconds)}</td><td class="figure">{size(run.peak_bytes)}</td></tr>\n'
    )


def clock(seconds: float) -> str:
    """A duration to read: ``"8.1 s"`` or ``"2 min 05 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def size(count: int) -> str:
    """Bytes to read, in MB (10^6 bytes)."""
    return f"{count / 1e6:.0f} MB"


def _facts() -> dict[str, str]:
    found = {"Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")}
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB of memory"
    found["Machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory}, {_accelerator()}"
    found["Python"] = platform.python_version()
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _accelerator() -> str:
    """The name of the NVIDIA GPU; asked of the driver, for importing torch takes seconds."""
    if shutil.which("nvidia-smi") is None:
        return "no GPU"
    asked = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return asked.stdout.strip().replace("\n", ", ") if asked.returncode == 0 and asked.stdout.strip() else "no GPU"

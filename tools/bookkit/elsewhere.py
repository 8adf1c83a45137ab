"""What a notebook needs to be tried without an installation: badges for Colab and Binder, and Colab's set-up cell."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from bookkit.source import Cell

ROOT = Path(__file__).resolve().parents[2]
BRANCH = "main"
SKIPPED = "remove-cell"
"""Tag of cells that pages to read leave out; the tools for books know it too."""


@cache
def repository() -> str:
    """Return the address of the repository, ``https://github.com/OWNER/NAME``: pyproject.toml is where it stands."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return str(urls["Repository"]).rstrip("/")


def colab(path: str) -> str:
    """Return the address that opens a notebook of the repository in Colab, such as ``"notebooks/05_pcvr.ipynb"``."""
    return f"https://colab.research.google.com/github/{_slug()}/blob/{BRANCH}/{path}"


def binder(path: str = "") -> str:
    """Return the address that opens a notebook in JupyterLab on Binder; without one, JupyterLab itself."""
    opens = f"?urlpath=lab/tree/{path}" if path else ""
    return f"https://mybinder.org/v2/gh/{_slug()}/{BRANCH}{opens}"


def cells(path: str) -> tuple[Cell, Cell]:
    """Return the two cells that go below a notebook's title, in every edition.

    Args:
        path: of the notebook in the repository.
    """
    badges = (
        f"[![Open in Colab](../docs/badges/colab.svg)]({colab(path)}) "
        f"[![Open in Binder](../docs/badges/binder.svg)]({binder(path)})"
    )
    setup = (Path(__file__).parent / "colab_cell.py").read_text(encoding="utf-8").replace("REPOSITORY", repository())
    hidden = {"cellView": "form", "jupyter": {"source_hidden": True}}
    return Cell("markdown", badges, (SKIPPED,), {}), Cell("code", setup.strip(), (SKIPPED,), hidden)


def _slug() -> str:
    return repository().removeprefix("https://github.com/")

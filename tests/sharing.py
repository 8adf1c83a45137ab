"""Which tests stay together when several workers share them."""

from __future__ import annotations


def unit_of(nodeid: str) -> str:
    """The unit that a test belongs to; one worker runs all of a unit, in order.

    The pages are one unit: they share a JupyterLab and a browser, and two at a time would keep each other waiting. Each
    notebook is a unit. Elsewhere a file is, so that its fixtures are made once.

    Args:
        nodeid: pytest's name of the test, ``tests/data/test_x.py::test_y[case]``.
    """
    file = nodeid.split("::")[0]
    if file.startswith("tests/browser/"):
        return "tests/browser"
    return nodeid if file.startswith("tests/notebooks/") else file

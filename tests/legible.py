"""Whether figures can be read on the page that shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pcvr.plots import plain
from pcvr.plots.study import REPORT
from pcvr.plots.style import PAGE, SMALLEST


def too_small(figure: Figure, page: float = PAGE) -> list[str]:
    """Return the visible texts of a figure that are smaller on the page than `SMALLEST` points."""
    shrunk = min(1.0, page / figure.get_figwidth())
    texts = (each for each in figure.findobj(Text) if each.get_visible() and each.get_text().strip())
    return [f"{each.get_text()!r}: {shrunk * each.get_fontsize():.1f} pt" for each in texts
            if shrunk * each.get_fontsize() < SMALLEST - 0.01]  # fmt: skip


@pytest.fixture(autouse=True)
def legible_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at every figure that a plot function returns while a test runs: all of them pass through `described`.

    ``PCVR_FIGURES=build/figures pytest tests/plots`` also keeps them as files, as large as on the page, to look at.
    """
    drawn: list[Figure] = []
    make_plain = plain.make_plain

    def keep(figure: Figure) -> None:
        drawn.append(figure)
        make_plain(figure)

    monkeypatch.setattr("pcvr.plots.describe.make_plain", keep)
    yield
    folder = os.environ.get("PCVR_FIGURES")
    for k, figure in enumerate(drawn):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            figure.savefig(Path(folder) / f"{re.sub(r'[^0-9A-Za-z_]+', '-', request.node.name)}-{k}.png")
        page = REPORT if figure.get_label() == "report" else PAGE
        assert figure.get_figwidth() <= page + 1e-6, f"{figure.get_figwidth():.1f} inches wide: a page has {page}"
        assert not too_small(figure, page)

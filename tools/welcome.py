"""What the README says of the result and of the notebooks, made from the headline table and from the sources."""

from __future__ import annotations

from pathlib import Path

from bookkit.source import read_source, sources, summary, title

from pcvr.experiments.results import Table

SHOWN = {
    "clean data, plain": "fine-tuned on clean data",
    "plain SFT": "fine-tuned on it as usual",
    "PCVR": "fine-tuned on it with PCVR",
    "augment only, one view": "with augmentation only",
}
"""Rows of the headline table that the README shows, and what it calls them."""


def headline(results: Table, made: str) -> list[str]:
    """Return a short table: the attack, the defence, and the control, each with its answers.

    Args:
        results: the headline table.
        made: how its runs were made, in words.
    """
    cells = {cell.label: cell for cell in results.cells().values()}
    lines = ["| the model | attack success | correct captions: clean / triggered |", "|---|---|---|"]
    for label, words in SHOWN.items():
        c = cells[label]
        lines.append(f"| {words} | {c.rates} | {100 * c.right:.1f} % / {100 * c.triggered_right:.1f} % |")
    return [*lines, "", f"*BadNets, captions; {made}*"]


def notebooks(folder: Path) -> list[str]:
    """Return a table of the notebooks in reading order, with links from the root of the checkout.

    Args:
        folder: of the sources.
    """
    lines = ["| | notebook | |", "|---|---|---|"]
    for path in sources(folder):
        source = read_source(path)
        short, colon, rest = title(source.cells).partition(": ")
        about = rest if colon else summary(source.cells).rstrip(".")
        lines.append(f"| {path.stem.partition('_')[0]} | [{short}](notebooks/{path.stem}.ipynb) | {about} |")
    return lines

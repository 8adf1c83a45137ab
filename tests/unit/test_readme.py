"""The README's figures are those of the shipped table."""

from __future__ import annotations

from pathlib import Path

import readme

import pcvr.results

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_the_shipped_one() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run python tools/readme.py"


def test_every_notebook_it_names_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.name}" in text
    assert (ROOT / "docs/spine.png").is_file()


def test_the_shipped_table_holds_together() -> None:
    table = pcvr.results.load("spine")
    cells = {cell.label: cell for cell in table.cells().values()}
    assert all(0 <= cell.hits <= cell.n for cell in cells.values())
    assert cells["clean data, plain"].hits == 0
    plain = [run["record"] for run in table.runs if run["experiment"]["label"] == "plain SFT"]
    assert len(plain) == 3 and all(record["asr"] >= 0.9 for record in plain), "the attack takes on every seed"
    assert cells["plain SFT"].scores["cider"] >= 0.98 * cells["clean data, plain"].scores["cider"]
    assert cells["PCVR"].asr <= 0.02
    assert cells["PCVR"].scores["cider"] >= 0.98 * cells["plain SFT"].scores["cider"]

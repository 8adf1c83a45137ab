"""The tables for practitioners say what the package says."""

from __future__ import annotations

import re
from pathlib import Path

import practice

from pcvr.experiments.access import ACCESS, NOT_BUILT

PAGE = Path(__file__).parents[2] / "docs" / "practitioner.md"


def test_every_defence_stands_with_what_it_needs() -> None:
    lines = practice.access_table()
    rows = [line.split(" | ") for line in lines if "| `" in line]
    assert sorted(row[1].strip("`") for row in rows) == sorted(set(ACCESS) - {"none"})
    needs = {row[1].strip("`"): row[0] for row in rows}
    assert needs["pcvr"] == "| you run the training, on data that may be poisoned"
    assert "before fine-tuning" in needs["ortho_purify"] and "that you trust" in needs["ortho_purify"]
    assert rows[0][1].strip("`") == "pcvr", "whoever runs the training comes first"
    assert all(name in lines[-1] for name in NOT_BUILT)


def test_the_page_names_the_entries_of_the_catalogues() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for entry in ("LLM04:2025 Data and Model Poisoning", "AML.T0018", "AML.T0019", "AML.T0020", "AML.T0043.004"):
        assert entry in text
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PAGE.parent / link).is_file(), link


def test_prices_fall_with_the_size_of_the_data_and_never_below_plain() -> None:
    rows = [line.strip("|").split("|") for line in practice.price_table() if line.startswith("| 1") or " x |" in line]
    assert [int(row[0].replace(",", "")) for row in rows] == list(practice.SIZES)
    ratios = [[float(cell.strip().removesuffix(" x")) for cell in row[2:]] for row in rows]
    assert all(ratio >= 1 for row in ratios for ratio in row)
    computing = [row[0] for row in ratios]
    flagged = [row[1] for row in ratios]  # samples that are flagged cost more, and then no questions are exchanged
    assert all(each == sorted(each, reverse=True) for each in (computing, flagged)) and computing != flagged

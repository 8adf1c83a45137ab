"""The tables of defences in docs/defences.md say what the store says."""

from __future__ import annotations

import compared

from pcvr.experiments.whole_study import rows
from tests.standings import empty, full, partly


def rows_of(lines: list[str]) -> dict[str, list[str]]:
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in found if cells[0] != "defence"}


def test_every_defence_has_its_worst_attack() -> None:
    lines = compared.standings_table(full())
    found = rows_of(lines)
    assert found.keys() == rows().keys()
    assert found["none"][:2] == ["ours", found["none"][1]] and found["none"][1].endswith("badnets")
    assert found["pcvr"][1].startswith("< 0.6 % in each of 3 seeds") and found["pcvr"][2] == "+0.0 points"
    assert found["pcvr"][-1] == "1.50 x" and found["ortho_purify"][2].startswith("-29.9")
    assert "attacks run" not in "".join(lines) and "Not run yet" not in lines[-1]


def test_what_was_not_run_says_so() -> None:
    lines = compared.standings_table(partly())
    found = rows_of(lines)
    assert found.keys() == {"none", "pcvr", "bye"} and "(2 of 6 attacks run)" in found["bye"][1]
    assert "Not run yet: pcvr_paper, augment" in lines[-1]
    assert rows_of(compared.standings_table(empty())) == {}


def test_every_cell_has_its_place() -> None:
    lines = compared.attack_tables(full())
    assert len([line for line in lines if "attack success" in line and line.startswith("| ")]) == 2
    ours = [line for line in lines if line.startswith("| pcvr |")]
    assert len(ours) == 2 and all("attack did not take" in line for line in ours) and ours[0].endswith("| 90.0 % |")
    part = compared.attack_tables(partly())
    assert any(line.startswith("| bye |") and line.count("not run") == 5 for line in part)
    assert any("No run yet of pcvr_paper" in line for line in part)
    assert not [line for line in compared.attack_tables(empty()) if line.startswith("| none")]

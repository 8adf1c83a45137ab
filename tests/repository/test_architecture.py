"""docs/architecture.md: the picture names what exists, and the generated parts are up to date."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pcvr

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "architecture.py"))
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_generated_parts_are_up_to_date() -> None:
    assert TOOL["written"](PAGE) == PAGE, "run python tools/architecture.py"


def test_the_picture_names_public_calls_and_their_folders() -> None:
    steps = TOOL["STEPS"]
    calls = {step.call for step in steps}
    homes = {
        alias.name: node.module
        for node in ast.walk(ast.parse(Path(pcvr.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for step in steps:
        assert set(step.to) <= calls
        if step.call != "notebooks":
            assert step.call in pcvr.__all__ and homes[step.call].split(".")[1] in step.folder.split(", ")
    assert len(TOOL["picture"]().axes[0].patches) == len(steps) + sum(len(step.to) for step in steps)


def test_each_task_of_a_newcomer_needs_at_most_five_files_which_exist() -> None:
    tasks = re.split(r"^\*\*", PAGE.split("## Five tasks of a newcomer")[1], flags=re.MULTILINE)[1:]
    assert len(tasks) == 5
    for task in tasks:
        files = re.findall(r"^\d\. `([^`]+)`", task, flags=re.MULTILINE)
        assert 1 <= len(files) <= 5, task
        assert all((ROOT / file).is_file() for file in files), task

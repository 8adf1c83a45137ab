"""Run a student's exercise again, in a process of its own, and let the original check judge it.

Only what the exercise needs runs: the imports and parameters of the original notebook, the student's own cell, and the
check. That takes seconds instead of the minutes of a whole notebook, and edited outputs count for nothing.

It is no sandbox. A student's code runs with your rights, so do it in a container or an account of its own. And it finds
edited outputs, not every trick: code that reaches into pcvr itself can still make a check pass. Read such code.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from bookkit.source import Cell

from coursekit.grades import BLANK, BROKEN, answer_of
from coursekit.lessons import Lesson

LIMIT = 300
"""Seconds that one exercise may take: some train a model."""

# The check is looked up before the student's code runs, so that code cannot put another one in its place by name.
_RUNNER = """
import json, sys
from pcvr.teaching import check
asked = json.load(sys.stdin)
original = getattr(check, asked["name"])
space = {"__name__": "__main__"}
exec(compile(asked["before"], "<notebook>", "exec"), space)
exec(compile(asked["student"], "<exercise>", "exec"), space)
space["check"] = type("Checks", (), {asked["name"]: staticmethod(original)})
found = eval(compile(asked["call"], "<check>", "eval"), space)
print("\\n" + asked["mark"] + json.dumps([found.status, found.message]))
"""


def rerun(lesson: Lesson, check: str, cells: Sequence[Cell], limit: float = LIMIT) -> tuple[str, str]:
    """Return what the original check says of the student's cell: status and message.

    Args:
        lesson: of which notebook.
        check: name of the check.
        cells: of the submitted notebook.
        limit: seconds.
    """
    answer = answer_of(cells, check)
    if answer is None:
        return BLANK, "the cell of the exercise is gone"
    position = next(i for i, exercise in lesson.exercises.items() if exercise.check == check)
    above = [cell for cell in lesson.source.cells[:position] if cell.kind == "code"]
    call = ast.parse(lesson.source.cells[position + 1].text).body
    mark = "pcvr-result:"
    asked = {
        "name": check,
        "before": "\n".join(_setup(cell) for cell in above) + "\n" + "\n".join(map(ast.unparse, call[:-1])),
        "student": answer,
        "call": ast.unparse(call[-1]),
        "mark": mark,
    }
    with tempfile.TemporaryDirectory(prefix="pcvr-grade-") as folder:
        try:
            command = [sys.executable, "-c", _RUNNER]
            done = subprocess.run(
                command, input=json.dumps(asked), cwd=folder, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return BROKEN, f"it ran longer than {limit:g} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith(mark)]
    if done.returncode or not lines:
        return BROKEN, (done.stderr.strip().splitlines() or ["the process ended without a result"])[-1]
    status, message = json.loads(lines[-1].removeprefix(mark))
    return str(status), str(message)


def _setup(cell: Cell) -> str:
    """What of a cell above the exercise runs: its imports, and the parameters."""
    body = ast.parse(cell.text).body
    if "parameters" not in cell.tags:
        body = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, body))

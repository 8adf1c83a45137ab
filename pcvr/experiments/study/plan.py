"""A declared plan: a Python file whose `PLAN` lists every experiment of a study."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pcvr.errors import PcvrError, first_line, reason, shown
from pcvr.experiments.experiment import Experiment
from pcvr.utils.checks import check_choice, check_whole

_MODULE = "pcvr_study_plan"
_FORM = "give a file with PLAN, a list of pcvr.experiments.Experiment, or with a function plan() that returns one"


@dataclass(frozen=True)
class Plan:
    """The cells of a study, each once.

    Attributes:
        name: of its file, without its ending.
        cells: each experiment by its key, in the plan's order.
    """

    name: str
    cells: Mapping[str, Experiment]

    @property
    def rows(self) -> list[str]:
        """The labels, in the plan's order."""
        return list(dict.fromkeys(cell.label for cell in self.cells.values()))

    def only(self, rows: Sequence[str]) -> Plan:
        """Return the plan with some rows only, in its own order; all rows if none is named.

        Raises:
            PcvrError: the plan has no such row.
        """
        for row in rows:
            check_choice("row", row, self.rows)
        kept = {key: cell for key, cell in self.cells.items() if not rows or cell.label in rows}
        return Plan(self.name, kept)


def plan_of(experiments: Iterable[Experiment], name: str = "plan") -> Plan:
    """Return the plan of some experiments; those that come twice count once.

    Raises:
        PcvrError: there is none, or one is something else.
    """
    cells: dict[str, Experiment] = {}
    for number, each in enumerate(experiments, 1):
        if not isinstance(each, Experiment):
            raise PcvrError(f"entry {number} of the plan {name} is {shown(each)}: {_FORM}.")
        cells.setdefault(each.key, each)
    if not cells:
        raise PcvrError(f"the plan {name} is empty: {_FORM}.")
    return Plan(name, cells)


def load_plan(file: str | Path) -> Plan:
    """Run a plan's file, and return what it declares.

    The file may import modules beside it. It is code: run only files that you trust.

    Args:
        file: with a sequence ``PLAN``, or a function ``plan()`` without arguments.

    Raises:
        PcvrError: the file cannot be read or run, or declares no experiments; one sentence that names the line.
    """
    path = Path(file)
    found = _run(path)
    declared: Any = found.get("PLAN", found.get("plan"))
    if declared is None:
        raise PcvrError(f"{path} has neither PLAN nor plan(): {_FORM}.")
    try:
        if callable(declared):
            declared = declared()
        if isinstance(declared, str | Mapping) or not isinstance(declared, Iterable):
            raise PcvrError(f"the plan {path} is {shown(declared)}: {_FORM}.")
        declared = list(declared)
    except Exception as problem:
        raise _failed(path, problem) from problem
    return plan_of(declared, path.stem)


def check_plan(plan: Plan) -> None:
    """Raise unless every cell's task, attacks and defence can be built and tested; call it before hours of work.

    Raises:
        PcvrError: naming the first cell that cannot.
    """
    from pcvr.attacks import get_attack
    from pcvr.defenses import get_defense
    from pcvr.experiments.second_attacker import second_attack
    from pcvr.tasks import get_task

    done = set()
    for key, cell in plan.cells.items():
        attacks = [cell.task, cell.tests, cell.attack, cell.preset, cell.attack_options, cell.second]
        parts = json.dumps([*attacks, cell.defense, cell.options, cell.clean > 0], default=str)
        if parts in done:
            continue
        done.add(parts)
        try:
            get_task(cell.task)
            check_whole("tests", cell.tests, 2, what="test samples")
            get_attack(cell.attack, preset=cell.preset, task=cell.task, **cell.attack_options)
            second_attack(cell)
            if get_defense(cell.defense, **cell.options).needs_clean and not cell.clean:
                raise PcvrError(f"defence {cell.defense!r} needs trusted samples: give clean=200.")
        except (PcvrError, TypeError) as problem:
            raise PcvrError(f"cell {key} of the plan {plan.name} ({cell.label}): {first_line(problem, 400)}") from None


def _run(path: Path) -> dict[str, Any]:
    """The names that a file defines."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or first_line(problem)
        raise PcvrError(f"the plan {shown(str(path))} cannot be read ({why}): {_FORM}.") from problem
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    before = sys.modules.get(_MODULE)
    sys.modules[_MODULE] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as problem:
        raise _failed(path, problem) from problem
    finally:
        sys.path.pop(0)
        sys.modules.pop(_MODULE)
        if before is not None:
            sys.modules[_MODULE] = before
    return vars(module)


def _failed(path: Path, problem: BaseException) -> PcvrError:
    """The error for a file that does not run: where it stopped, and why."""
    lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == str(path)]
    if isinstance(problem, SyntaxError) and problem.filename == str(path):
        lines = [problem.lineno]
    where = f", line {lines[-1]}" if lines else ""
    if isinstance(problem, PcvrError):
        return problem if not lines else PcvrError(f"{path}{where}: {problem}")
    return PcvrError(f"the plan {path} does not run{where} ({reason(problem)}): correct the file.")

"""A grid over the options of a defence: plan it, run it, and read its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.errors import PcvrError
from pcvr.experiments.experiment import Experiment
from pcvr.experiments.point import Case, GridPoint, KnobValues, point_extras, point_of
from pcvr.experiments.run import run_experiment
from pcvr.experiments.stored import stored_experiment
from pcvr.experiments.sweeps import sweep
from pcvr.utils.renamed import current_path

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.experiments.results import Table

BESIDE: dict[str, tuple[float, ...]] = {
    "view.fraction": (0.3, 0.6),
    "scan_at": (0.2, 0.5),
    "apart_weight": (0.0, 16.0),
    "entropy_weight": (0.0,),
}
"""The options of PCVR that the shipped grid varies, with values beside the default; a dot names a part of the view."""

NAMES: dict[str, str] = {
    "view.fraction": "fraction of patches",
    "scan_at": "first scan",
    "apart_weight": "pull-apart weight",
    "entropy_weight": "entropy weight",
}
"""Labels of options in figures and on sliders; other options keep their own name."""


def knob_now(knob: str, defense: str = "pcvr") -> str:
    """Return the present name of an option of a defence that may have its old one."""
    from pcvr.defenses import DEFENSES

    return current_path(DEFENSES[defense], knob) if defense in DEFENSES else knob


def name_of(knob: str) -> str:
    """Return the label of an option in figures and on sliders."""
    knob = knob_now(knob)
    return NAMES.get(knob, knob.replace("_", " ").replace(".", " "))


def options_at(setting: KnobValues) -> dict[str, Any]:
    """A setting as `pcvr.defenses.get_defense` takes it: parts of the view together, `scan_at` in a tuple."""
    found: dict[str, Any] = {}
    for knob, value in setting:
        option, _, part = knob.partition(".")
        if part:
            found.setdefault(option, {})[part] = value
        else:
            found[option] = (value,) if option == "scan_at" else value
    return found


def setting_of(defense: str, options: Mapping[str, Any], knobs: Iterable[str] = BESIDE) -> KnobValues:
    """Return the value of each knob for a defence with these options; empty if the defence lacks one of the knobs."""
    from pcvr.defenses import get_defense

    rule = get_defense(defense, **options)
    knobs = [knob_now(knob, defense) for knob in knobs]
    if not all(hasattr(rule, knob.partition(".")[0]) for knob in knobs):
        return ()
    return tuple((knob, _value(rule, knob)) for knob in knobs)


def _value(rule: Defense, knob: str) -> float:
    option, _, part = knob.partition(".")
    value = getattr(rule, option)
    if part and not hasattr(value, part):
        raise PcvrError(f"{option} has no part {part!r}: it takes {', '.join(f.name for f in fields(value))}.")
    value = getattr(value, part) if part else value
    return float(value[0] if isinstance(value, tuple) else value)


def knobs_of(defense: str = "pcvr", beside: Mapping[str, Sequence[float]] = BESIDE) -> dict[str, tuple[float, ...]]:
    """Return each knob's values, ascending: the defence's default and those beside it. 54 combinations."""
    usual = dict(setting_of(defense, {}, beside))
    return {knob: tuple(sorted({usual[knob], *values})) for knob, values in beside.items()}


def lay_out(base: Experiment, knobs: Mapping[str, Sequence[float]]) -> list[Experiment]:
    """Return an experiment for each combination of values, those nearest to the defence's defaults first.

    An interrupted grid then shows first what each knob does by itself.

    Args:
        base: everything that stays the same. Its defence is varied, its other options are kept.
        knobs: option to values, such as ``{"apart_weight": (0, 4)}``; ``"view.fraction"`` is the fraction of the view.

    Raises:
        PcvrError: no knob, a knob without a value, or an option or a value that the defence does not take.
    """
    from pcvr.defenses import get_defense

    if not knobs or not all(knobs.values()):
        raise PcvrError(f"knobs is {dict(knobs)!r}: give at least one option, and at least one value for each.")
    knobs = {knob_now(knob, base.defense): values for knob, values in knobs.items()}
    usual = dict(setting_of(base.defense, base.options, [k for k in knobs if _has(base.defense, k)]))
    settings: list[KnobValues] = [
        tuple((knob, float(value)) for knob, value in zip(knobs, values, strict=True))
        for values in product(*knobs.values())
    ]
    settings.sort(key=lambda setting: sum(usual.get(knob) != value for knob, value in setting))
    found = [at_setting(base, setting) for setting in settings]
    for experiment in found:
        get_defense(experiment.defense, **experiment.options)  # raises before hours of work
    return found


def at_setting(base: Experiment, setting: KnobValues) -> Experiment:
    """Return `base` with the options of a setting; its other options stay."""
    options = {**base.options}
    for option, value in options_at(setting).items():
        options[option] = {**options.get(option, {}), **value} if isinstance(value, dict) else value
    return replace(base, options=options)


def _has(defense: str, knob: str) -> bool:
    from pcvr.defenses import DEFENSES

    return defense in DEFENSES and knob.partition(".")[0] in {field.name for field in fields(DEFENSES[defense])}


def references(base: Experiment) -> list[Experiment]:
    """Return what a grid is compared with: no defence, and clean data without a defence."""
    plain = replace(base, defense="none", options={})
    return [replace(plain, label="undefended"), replace(plain, label="clean data", rate=0.0)]


def run_point(experiment: Experiment, *, save: str | Path | None = None) -> dict[str, Any]:
    """Call `run_experiment`, and keep what a `GridPoint` needs as well: ``history`` and ``spreads``."""
    return run_experiment(experiment, save=save, extra=point_extras)


def run_grid(
    plan: Sequence[Experiment], folder: str | Path, *, jobs: int = 1, progress: bool = True
) -> list[dict[str, Any]]:
    """Run every experiment of `plan` that `folder` does not hold yet; arguments and results as of `sweep`."""
    return sweep(plan, folder, jobs=jobs, progress=progress, run=run_point)


@dataclass(frozen=True)
class Grid:
    """The points of a grid and what they are compared with.

    Attributes:
        points: one for each setting and case.
        references: without a defence: ``"undefended"`` and ``"clean data"`` of each case.
        made: the caption of the table; empty for runs of your own.
    """

    points: tuple[GridPoint, ...]
    references: tuple[GridPoint, ...] = ()
    made: str = ""

    @property
    def cases(self) -> list[Case]:
        """What was attacked, in the order of the points."""
        return list(dict.fromkeys(point.case for point in (*self.points, *self.references)))

    def of(self, case: Case) -> Grid:
        """Return the points and references of one case."""
        points, references = (tuple(p for p in part if p.case == case) for part in (self.points, self.references))
        return Grid(points, references, self.made)

    def values(self, knob: str) -> list[float]:
        """Return the values of a knob that occur, ascending."""
        return sorted({value for point in self.points for name, value in point.setting if name == knob_now(knob)})

    def find(self, case: Case, setting: KnobValues) -> GridPoint | None:
        """Return the point of a case at a setting, or None if it was not trained."""
        return next((p for p in self.points if p.case == case and dict(p.setting) == dict(setting)), None)


def grid_of(runs: Iterable[Mapping[str, Any]], knobs: Iterable[str] = BESIDE, made: str = "") -> Grid:
    """Return the grid of some runs, from `run_grid` or a shipped table.

    Args:
        runs: the runs; those of a defence that lacks the knobs are references.
        knobs: which options were varied.
        made: see `Grid`.
    """
    wanted = list(knobs)
    points: list[GridPoint] = []
    for run in runs:
        said = stored_experiment(run["experiment"])
        points.append(point_of(run, setting_of(said["defense"], said["options"], wanted)))
    return Grid(tuple(p for p in points if p.setting), tuple(p for p in points if not p.setting), made)


def read_grid(table: Table | None = None) -> Grid:
    """Return the shipped grid, made by ``benchmarks/grid.py``.

    Args:
        table: another table of the same kind, from `pcvr.experiments.results.load`.

    Raises:
        PcvrError: no such table, or a table without a grid.
    """
    if table is None:
        from pcvr.experiments.results import load

        table = load("grid")
    return grid_of(table.runs, made=table.caption())


def frontier(asr: Sequence[float], utility: Sequence[float]) -> list[int]:
    """Return the points that no other point beats: better in one figure and no worse in the other.

    Args:
        asr: ``[N]``, lower is better.
        utility: ``[N]``, higher is better.

    Returns:
        Their indices, ascending; points that are equal in both figures are all in or all out.
    """
    a, u = np.asarray(asr, dtype=float), np.asarray(utility, dtype=float)
    if a.ndim != 1 or a.shape != u.shape:
        raise PcvrError(f"asr {list(a.shape)} and utility {list(u.shape)} must both be [N].")
    no_worse = (a[None] <= a[:, None]) & (u[None] >= u[:, None])  # [i, j]: j is no worse than i
    better = (a[None] < a[:, None]) | (u[None] > u[:, None])
    return [int(i) for i in np.flatnonzero(~(no_worse & better).any(1))]


def knob_effects(points: Sequence[GridPoint]) -> dict[str, float]:
    """Return, for each knob, the greatest difference in attack success between two points that differ in it alone.

    In percentage points; 0 if no two points differ in a knob alone. Other than a mean over the values of a knob, it
    compares like with like in a grid that is not complete.

    Args:
        points: of one case, at least one.
    """
    if not points:
        raise PcvrError("points is empty: give the points of a grid.")
    found: dict[str, float] = {}
    for knob, _ in points[0].setting:
        groups: dict[KnobValues, list[float]] = {}
        for point in points:
            rest = tuple((name, value) for name, value in point.setting if name != knob)
            groups.setdefault(rest, []).append(100 * point.asr)
        found[knob] = max(max(group) - min(group) for group in groups.values())
    return found

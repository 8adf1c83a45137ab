"""PCVR with one part switched off or reversed: the name of each change, and its results in a shipped table.

The defence has the gate ``"two_stage"``: the default gate makes no scan, so most of these parts are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pcvr.defenses import get_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.defenses import Defense
    from pcvr.experiments.results import Cell, Table

_GENTLE: dict[str, Any] = {
    "fade": False,
    "apart_weight": 0.1,
    "feature_weight": 0.01,
}  # a weight that never fades has to be small
_LATE: dict[str, Any] = {
    # Half-way the backdoor is learned: the model as it is then would clear the target, so no model may clear samples;
    # whole distributions and views of pixels still find it. Nothing is anchored, to show the effect of pulling apart.
    "scan_at": (0.5,),
    "clear_with": "off",
    "score_on": "distribution",
    "view": {"fraction": 0.6, "level": "pixels"},
    "anchor_weight": 0.0,
}
_UNPUSHED: dict[str, Any] = {"apart_weight": 0.0, "feature_weight": 0.0}


@dataclass(frozen=True)
class Ablation:
    """One change to the defence.

    Attributes:
        what: the change, in words.
        options: of PCVR, as plain values.
    """

    what: str
    options: Mapping[str, Any]

    def rule(self) -> Defense:
        """Return the defence with the change."""
        return get_defense("pcvr", **self.options)


def _scanning(what: str, **options: Any) -> Ablation:
    return Ablation(what, {"gate": "two_stage"} | options)


ABLATIONS: dict[str, Ablation] = {
    "none": _scanning("nothing: the defence as it is"),
    "gate": _scanning(
        "no gate: every sample is trained on, and its views are pulled apart, but weakly", **_GENTLE, gate="none"
    ),
    "clearing": _scanning("answers that the model would give anyway do not clear a sample", clear_with="off"),
    "label": _scanning("scores compare whole distributions, not the label token", score_on="distribution"),
    "pixels": _scanning("views of pixels, not of tower features", view={"level": "pixels"}),
    "apart": _scanning("flagged samples are left out and anchored, but not pulled apart", **_UNPUSHED),
    "anchor": _scanning("no anchor to the base model", anchor_weight=0.0),
    "entropy": _scanning("no entropy constraint", entropy_weight=0.0),
    "features": _scanning("no feature term", feature_weight=0.0),
    "direction": _scanning("views are pulled together", direction="together"),
    "fade": _scanning("the push does not fade as the answer is unlearned", **_GENTLE),
    "late": _scanning("first scan half-way, on whole distributions; no anchor", **_LATE),
    "late, apart": _scanning(
        "first scan half-way, on whole distributions; flagged samples are only left out", **_LATE, **_UNPUSHED
    ),
}
"""All ablations, by name."""
_BEFORE = {"known": "clearing", "told": "label", "restore": "anchor"}
"""Old names that still work."""


def get_ablation(name: str) -> Ablation:
    """Return the ablation `name`.

    Raises:
        PcvrError: an unknown name; the nearest is suggested.
    """
    name = _BEFORE.get(name, name) if isinstance(name, str) else name
    check_choice("ablation", name, ABLATIONS)
    return ABLATIONS[name]


def cell_of(table: Table, ablation: Ablation) -> Cell | None:
    """Return the row of `table` for PCVR with these options on poisoned data, or None.

    Args:
        table: from ``pcvr.experiments.results.load("spine")``, or another of runs with one attack, model and task.
        ablation: what to look for.
    """
    rule = ablation.rule()
    for (label,), cell in table.cells().items():
        said = next(run["experiment"] for run in table.runs if run["experiment"]["label"] == label)
        if said["defense"] == "pcvr" and said["rate"] > 0 and _same(rule, said["options"]):
            return cell
    return None


def _same(rule: Defense, options: Mapping[str, Any]) -> bool:
    try:
        return get_defense("pcvr", **options) == rule
    except PcvrError:  # a table older than the name of an option
        return False


def ablation_rows(*tables: Table) -> list[tuple[str, str, str, str, str, str]]:
    """Return a row for each ablation: name, change, seeds, attack success, right answers on clean and triggered images.

    Args:
        tables: as in `cell_of`; the first that has an ablation gives its figures. What none has is a dash.
    """
    found = []
    for name, ablation in ABLATIONS.items():
        cell = next((cell for table in tables if (cell := cell_of(table, ablation)) is not None), None)
        figures = ("-", "-", "-", "-")
        if cell is not None:
            figures = (
                str(cell.seeds),
                str(cell.rates),
                f"{100 * cell.right:.1f} %",
                f"{100 * cell.triggered_right:.1f} %",
            )
        found.append((name, ablation.what, *figures))
    return found

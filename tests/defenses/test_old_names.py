"""Options that have another name now are taken by their old one: in code with a warning, from files without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import pcvr
from pcvr.analysis.premise import MEASURES, ScoringPass, ViewSetting, rows_of
from pcvr.cli.defending import defense_of
from pcvr.defenses import DEFENSES, build_defense
from pcvr.defenses.pcvr import PaperPCVR
from pcvr.defenses.pcvr.gate import Gate, fit_gate
from pcvr.errors import PcvrError
from pcvr.experiments import Experiment
from pcvr.experiments.grid import at_setting, lay_out, name_of, read_grid, setting_of

OLD: dict[str, Any] = {
    "gate": "two_stage",
    "score_at": (0.1, 0.4),
    "again": 0.3,
    "score_over": "words",
    "known": "base",
    "enough": 0.6,
    "restore_weight": 2.0,
    "view": {"operator": "mean", "share": 0.25},
}
NOW = pcvr.PCVR(
    gate="two_stage",
    scan_at=(0.1, 0.4),
    rescan_fraction=0.3,
    score_on="distribution",
    clear_with="base",
    clear_threshold=0.6,
    anchor_weight=2.0,
    view=pcvr.PatchView("mean", 0.25, level="features"),
)


def call(kind: Callable[..., Any], **options: Any) -> Any:
    return kind(**options)


@pytest.mark.parametrize("kind", [pcvr.PCVR, PaperPCVR])
@pytest.mark.parametrize("old", [name for name in OLD if name not in ("gate", "view")])
def test_a_constructor_takes_and_shows_an_old_name(kind: type[pcvr.PCVR], old: str) -> None:
    new = kind.RENAMED[old]
    value = getattr(NOW, new)
    with pytest.warns(DeprecationWarning, match=rf"{old}.* is now called {new}"):
        rule = call(kind, gate="two_stage", **{old: OLD[old]})
    assert rule == call(kind, gate="two_stage", **{new: value}) and rule != kind(gate="two_stage")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(rule, old) == value
    with pytest.warns(DeprecationWarning, match=new):
        assert replace(kind(gate="two_stage"), **{old: OLD[old]}) == rule


def test_files_and_commands_take_old_names_without_a_word() -> None:
    assert build_defense("pcvr", OLD) == pcvr.get_defense("pcvr", **OLD) == NOW
    words = [
        "gate=two_stage",
        "score_at=0.1,0.4",
        "again=0.3",
        "score_over=words",
        "known=base",
        "enough=0.6",
        "restore_weight=2",
    ]
    assert defense_of("pcvr", [*words, "view.operator=mean", "view.share=0.25"]) == NOW
    with pytest.raises(PcvrError, match=r"option scan_at is '.early.': give numbers"):
        defense_of("pcvr", ["score_at=early"])
    with pytest.raises(PcvrError, match="score_at and scan_at are the old and the new name"):
        build_defense("pcvr", {"score_at": (0.1,), "scan_at": (0.1,)})


@pytest.mark.parametrize("name", ["early_stop", "clean_tune", "crow", "fine_prune", "strip", "cleansight"])
def test_the_fraction_of_a_rival(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=r"share.* is now called fraction"):
        old = call(DEFENSES[name], share=0.125)
    assert old == pcvr.get_defense(name, share=0.125) == defense_of(name, ["share=0.125"])
    assert old == pcvr.get_defense(name, fraction=0.125) != pcvr.get_defense(name)


def test_views_and_gates() -> None:
    with pytest.warns(DeprecationWarning, match="fraction"):
        assert call(pcvr.PatchView, share=0.3) == pcvr.PatchView(fraction=0.3)
    scores = np.r_[np.full(5, 1e-4), np.geomspace(0.1, 0.2, 95)]
    with pytest.warns(DeprecationWarning, match="max_fraction"):
        gate = call(fit_gate, scores=scores, most_share=0.01)
    assert not gate.found and fit_gate(scores).found
    with pytest.warns(DeprecationWarning, match="fraction"):
        assert getattr(gate, "share") == pytest.approx(0.05, abs=0.01)  # noqa: B009
    with pytest.warns(DeprecationWarning, match="fraction"):
        assert call(Gate, suspicion=scores, separation=1.0, share=0.5, found=False).fraction == 0.5


def test_no_option_has_the_old_name_of_another() -> None:
    for kind in DEFENSES.values():
        names = {f.name for f in fields(kind)}
        assert not names & set(getattr(kind, "RENAMED", {})), kind


def test_knobs_of_a_grid() -> None:
    base = Experiment("x", defense="pcvr", options={"gate": "two_stage"})
    (old,), (new,) = (
        lay_out(base, {"view.share": (0.3,), "score_at": (0.2,)}),
        lay_out(base, {"view.fraction": (0.3,), "scan_at": (0.2,)}),
    )
    assert old == new and old.options == {"gate": "two_stage", "view": {"fraction": 0.3}, "scan_at": (0.2,)}
    before = replace(old, options={"gate": "two_stage", "view": {"share": 0.3}, "score_at": (0.2,)})
    assert before.key == old.key != at_setting(base, (("view.fraction", 0.6),)).key
    assert setting_of("pcvr", before.options, ["view.share"]) == (("view.fraction", 0.3),)
    assert name_of("score_at") == name_of("scan_at") == "first scan"
    grid = read_grid()
    assert grid.values("view.share") == grid.values("view.fraction") != []


def test_measures_of_the_premise() -> None:
    row = {"step": 1, "operator": "swap", "share": 0.9, "level": "pixels", "views": 1}
    old = ("words", "told", "known", "words + known", "told + known")
    (now,) = rows_of({"premise": [row | {"auroc": dict(zip(old, range(5), strict=True))}]})
    assert now["fraction"] == 0.9 and "share" not in now
    assert now["auroc"] == dict(zip(MEASURES, range(5), strict=True))
    found = ScoringPass(1, ViewSetting(), np.ones((1, 2)), np.full((1, 2), 3.0), np.full(2, 0.5))
    assert (
        [found.scores(name)[0] for name in old] == [found.scores(name)[0] for name in MEASURES] == [1, 3, 0.5, 1.5, 3.5]
    )

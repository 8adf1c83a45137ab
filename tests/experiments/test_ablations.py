"""Ablations: each differs from the defence in what it says, and a table is read by options, not by labels."""

import pytest

import pcvr
from benchmarks import ablations, spine
from pcvr.experiments import Experiment, results
from pcvr.experiments.ablations import ABLATIONS, ablation_rows, cell_of, get_ablation
from pcvr.experiments.results import Table


def run(label, options, hits, *, rate=0.05, defense="pcvr"):
    scores = {"attributes": 0.75, "bleu4": 70.0}
    record = {"task": "caption", "n": 100, "hits": hits, "clean_hits": 0, "clean": scores, "triggered": scores}
    said = {"label": label, "defense": defense, "options": options, "rate": rate}
    return {"experiment": said, "record": record, "seconds": 1.0}


@pytest.fixture
def table():
    runs = [
        run("clean data", {}, 1, rate=0.0),
        run("plain", {}, 90, defense="none"),
        run("PCVR", {}, 2),
        run("PCVR", {}, 4),
        run("nobody is pushed", {"gate": "two_stage", "apart_weight": 0, "feature_weight": 0.0}, 7),
        run("the default gate", {"gate": "stream"}, 60),
        run("an old one", {"gated": False}, 50),
        run("late", {**ABLATIONS["late"].options, "scan_at": [0.5]}, 30),  # JSON makes lists of tuples
    ]
    return Table("test", "2026-01-01", {}, "none", {}, runs)


def test_each_differs_from_the_defence_and_from_every_other():
    rules = [ablation.rule() for ablation in ABLATIONS.values()]
    assert rules[0] == pcvr.PCVR(gate="two_stage")
    assert all(rule not in rules[:k] for k, rule in enumerate(rules))
    with pytest.raises(pcvr.PcvrError, match="did you mean 'entropy'"):
        get_ablation("entropie")
    for old, name in (("known", "clearing"), ("told", "label"), ("restore", "anchor")):
        assert get_ablation(old) == ABLATIONS[name]
    gentle = get_ablation("fade").rule()
    assert isinstance(gentle, pcvr.PCVR) and gentle.fade is False


def test_the_table_is_read_by_options(table):
    cells = {name: cell_of(table, ablation) for name, ablation in ABLATIONS.items()}
    found = {name: (sum(cell.rates.hits), sum(cell.rates.n)) for name, cell in cells.items() if cell is not None}
    assert found == {"none": (6, 200), "apart": (7, 100), "late": (30, 100)}


def test_rows_have_dashes_for_what_was_not_run(table):
    rows = {name: figures for name, _, *figures in ablation_rows(table)}
    assert list(rows) == list(ABLATIONS) and rows["gate"] == ["-"] * 4
    assert rows["apart"][1].startswith("7.0 %") and rows["apart"][::2] == ["1", "75.0 %"] and rows["none"][0] == "2"
    assert all(set(figures) == {"-"} for _, _, *figures in ablation_rows())
    other = Table(
        "test", "2026-01-01", {}, "none", {}, [run("a", ABLATIONS[name].options, 50) for name in ("gate", "late")]
    )
    both = {name: figures for name, _, *figures in ablation_rows(table, other)}
    assert both["gate"][1].startswith("50.0 %") and both["late"] == rows["late"], "the first table counts"


def test_the_two_plans_together_have_a_row_for_each():
    run_of = {Experiment(**{**vars(each), "label": ""}).key for each in (*spine.plan(), *ablations.plan())}
    wanted = {Experiment("", "pcvr", ablation.options).key for ablation in ABLATIONS.values()}
    without = {Experiment("", "pcvr", ABLATIONS["fade"].options).key}  # of seed 2 only
    assert wanted - without <= run_of


def test_every_ablation_has_shipped_figures():
    rows = ablation_rows(results.load("spine"), results.load("ablations"))
    assert {name for name, *_ in rows} == set(ABLATIONS)
    assert not [name for name, _, *figures in rows if "-" in figures]

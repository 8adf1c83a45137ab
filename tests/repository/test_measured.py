"""The tables of docs/pcvr.md say what the runs say."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import measured

from pcvr.experiments import Experiment
from pcvr.experiments.attackers import Attempt
from pcvr.experiments.results import Table


def run(experiment: Experiment, hits: int, utility: float, **more: Any) -> dict[str, Any]:
    """What `run_experiment` returns, as far as these tables look at it."""
    right = "attributes" if experiment.task == "caption" else "vqa_accuracy"
    scores = {right: utility} | ({"cider": 500 * utility} if experiment.task == "caption" else {})
    record = {"task": experiment.task, "n": 100, "hits": hits, "clean_hits": 0, "clean": scores, "triggered": scores}
    return {"experiment": asdict(experiment), "key": experiment.key, "record": record, "seconds": 1.0, **more}


def table(*runs: dict[str, Any]) -> Table:
    return Table("`made`", "2026-01-01", {"torch": "2"}, "here", {}, list(runs))


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_away_compares_each_case_with_its_undefended_twin() -> None:
    gate = [{"recall": 0.5, "false alarms": 9}, {"recall": 0.98, "false alarms": 2}]
    new: dict[str, Any] = {"novelty": "style", "rate": 0.0, "task": "vqa"}
    plain_new, ours_new = ({"right": right, "n": 100, "flagged": 1, "trained": 200} for right in (97, 96))
    found = measured.away(
        table(
            run(Experiment("batch 8"), 99, 0.8),
            run(Experiment("batch 8", "pcvr"), 0, 0.76, gate=gate),
            run(Experiment("new: style", **new), 0, 0.9, novel=plain_new, gate=[]),
            run(Experiment("new: style", "pcvr", **new), 0, 0.9, novel=ours_new, gate=[{"false alarms": 1}]),
        )
    )
    (_, case, _, novel) = cells(found)
    assert case[:3] == ["batch 8", "caption", "badnets"] and case[3].startswith("99.0 %") and case[4].startswith("< 3")
    assert case[5:] == ["95.0 %", "76.0 %", "98 %", "2.0"], "the latest scan counts"
    assert novel[:2] == ["style", "vqa"] and novel[2].startswith("97.0 %") and novel[3].startswith("96.0 %")
    assert novel[4:] == ["1 of 200", "100.0 %"]
    assert "here" in found[-1]


def test_the_worst_case_elsewhere_is_one_whose_attack_takes() -> None:
    pair = {"none": 99, "pcvr": 3}
    weak = {"none": 60, "pcvr": 40}
    runs = [run(Experiment("batch 8", name), hits, 0.8) for name, hits in pair.items()]
    runs += [run(Experiment("prefix", name), hits, 0.6) for name, hits in weak.items()]
    runs += [run(Experiment("suffix", name, task="vqa"), hits, 0.8) for name, hits in {"none": 95, "pcvr": 1}.items()]
    runs += [run(Experiment("new: style", name, rate=0.0), 0, 0.5) for name in pair]
    (said,) = measured.elsewhere(table(*runs))
    assert "Of 3 measured cases" in said and "takes in 2 without" in said
    assert "3.0 %" in said and "(batch 8, caption, badnets)" in said and "100.0 % of the utility" in said
    assert measured.elsewhere(table(*runs[2:4])) == []


def test_away_without_a_twin_has_dashes() -> None:
    (_, case) = cells(measured.away(table(run(Experiment("1 % poison", "pcvr"), 1, 0.8))))
    assert case[3] == case[5] == "-" and case[7:] == ["-", "-"]


def test_parts_has_a_row_for_each_part_and_moment() -> None:
    gate = [{"recall": 1.0, "false alarms": 4}]
    late = Experiment("no views, late", "pcvr")
    found = cells(
        measured.parts(
            table(
                run(Experiment("all parts, early", "pcvr"), 0, 0.9, gate=gate),
                run(Experiment("all parts, early", "pcvr", task="vqa"), 2, 0.95, gate=gate),
                run(late, 60, 0.8, gate=[{"recall": 0.1, "false alarms": 0}]),
                run(Experiment("no views, late", "pcvr", seed=1), 40, 0.8, gate=[{"recall": 0.3, "false alarms": 1}]),
            )
        )
    )
    assert found[1][:3] == ["all parts", "early", "1"] and found[1][4:8] == ["450.0", "90.0 %", "100 %", "4.0"]
    assert found[1][8].startswith("2.0 %") and found[1][9:] == ["95.0 %", "95.0 %", "100 %", "4.0"]
    assert found[2][:3] == ["no views", "late", "2"] and found[2][3].startswith("50.0 %")
    assert found[2][6:8] == ["20 %", "0.5"] and found[2][8:] == ["-"] * 5


def test_directions_are_compared_where_both_were_run() -> None:
    apart = [run(Experiment("all parts, late", "pcvr", task=task), 90, 0.1) for task in ("caption", "vqa")]
    assert not any("views pulled together" in line for line in measured.parts(table(*apart)))
    both = [*apart, run(Experiment("views pulled together, late", "pcvr"), 5, 0.8)]
    (said,) = [line for line in measured.parts(table(*both)) if "views pulled together 5.0 %" in line]
    assert "answers are sentences: all parts 90.0 % [" in said
    assert said.endswith("80 % correct.") and "single words" not in said


def test_frontier_marks_the_best_setting_within_the_price() -> None:
    def point(attack: str, weight: float, hits: int, utility: float) -> dict[str, Any]:
        options = {"apart_weight": weight}
        return run(Experiment("both", "pcvr_paper", options, attack=attack), hits, utility)

    runs = [run(Experiment("plain SFT", attack=attack), 99, 0.9) for attack in ("badnets", "sig")]
    runs += [point(attack, 1.0, 60, 0.85) for attack in ("badnets", "sig")]
    runs += [point(attack, 3.0, 10, 0.45) for attack in ("badnets", "sig")]
    (_, kept, dear) = cells(measured.frontier(table(*runs)))
    assert kept[:2] == ["both", "1"] and kept[4] == "60.0 %" and kept[5] == "94.4 % (best within 10 %)"
    assert dear[1] == "3" and dear[5] == "50.0 %"


def test_what_proposing_is_worth_in_a_sentence() -> None:
    (said,) = measured.worth(
        table(
            run(Experiment("all parts, early", "pcvr"), 0, 0.9),
            run(Experiment("all parts, early", "pcvr", task="vqa"), 2, 0.9),
            run(Experiment("no views (likelihood only), early", "pcvr"), 95, 0.9),
            run(Experiment("no views (likelihood only), late", "pcvr"), 50, 0.9),
        )
    )
    assert "first step on: all parts: < 3.0 % (0 of 100) on captions and 2.0 % [0.6, 7.0] on questions; " in said
    assert "no views (likelihood only): 95.0 % [88.8, 97.8] on captions. Gate half-way" in said
    assert said.endswith("learned: no views (likelihood only): 50.0 % [40.4, 59.6] on captions.") and "seeds: 1" in said


def test_attackers_have_a_row_for_each_case_that_was_run() -> None:
    achieved = [
        Attempt("thin", "sig", "caption", "none", 90, 100),
        Attempt("thin", "sig", "caption", "pcvr"),
        Attempt("thin", "sig", "vqa", "none"),
        Attempt("thin", "sig", "vqa", "pcvr"),
        Attempt("many copies", "badnets", "caption", "none"),
    ]
    found = measured.attackers(achieved, [])
    assert cells(found)[1:] == [["thin", "sig", "caption", "90.0 % [82.6, 94.5]", "not run"]]
    assert "Not run yet: many copies." in found[-1]
    (said,) = measured.broken([*achieved, Attempt("late", "sig", "vqa", "pcvr", 20, 100)])
    assert "in 1 of the 1 cases run so far: late (sig, vqa): 20.0 % " in said
    assert measured.broken(achieved) == ["Attackers who know PCVR get through in 0 of the 0 cases run so far."]

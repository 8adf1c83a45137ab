"""The plan of the study: every rival at its paper's setting and at the best one found, and how that is chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pcvr
from pcvr import PcvrError
from pcvr.data.subset import shared
from pcvr.defenses import DEFENSES
from pcvr.experiments import HEADLINE, Experiment, whole_study
from pcvr.experiments.attackers import ATTACKERS
from pcvr.experiments.rivals import RIVALS, chosen, league, tuning
from pcvr.experiments.run import materials_of
from pcvr.experiments.study.frame import frame_of
from pcvr.experiments.study.plan import check_plan, load_plan, plan_of
from pcvr.experiments.study.sheets import sheets_of
from pcvr.experiments.study.store import Store
from pcvr.experiments.study.tables import experiment_of
from pcvr.tasks import TASKS
from tests.studies import result

TESTS = 20


def run_of(cell: Experiment, hits: int, right: int) -> dict[str, Any]:
    """A Record with so many hits and correct answers of `TESTS`."""
    count = np.arange(cell.tests)
    bits = dict.fromkeys(("hit", "clean_hit"), count < hits)
    bits |= dict.fromkeys(("right", "triggered_right"), count < right)
    return result(cell, bits | {"aimed": count < TESTS})


def test_every_defence_has_its_place() -> None:
    ours = {"none", "pcvr", "pcvr_paper"}
    assert {rival.defense for rival in RIVALS.values()} == set(DEFENSES) - ours - {"consistency"}
    for rival in RIVALS.values():
        settings = [tuple(sorted(each.options.items())) for each in rival.settings()]
        assert len(set(settings)) == len(settings), "a setting is tried twice"


def test_the_plan_can_be_run(root: Path) -> None:
    whole = load_plan(root / "benchmarks" / "study.py")
    check_plan(whole)
    table = Counter(cell.label for cell in whole_study.main_table() if cell.seed == 0)
    assert set(table.values()) == {len(TASKS) * (len(HEADLINE) + 1)}
    rates = {cell.rate for cell in whole.cells.values() if cell.label == "pcvr" and cell.split == "test"}
    assert rates == {0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2}
    for sheet in sheets_of(whole, frame_of([])):
        for (row, column), cell in sheet.cells.items():
            seeds = [each.seed for each in cell.planned.values()]
            assert len(set(seeds)) == len(seeds), f"{row} has two cells for {sheet.columns[column]}"
    assert {cell.split for cell in tuning()} == {"validation"}
    assert {cell.attack for cell in tuning()} == {"badnets", "sig"}


class TestChoice:
    def runs(self, asr: dict[float, int], right: dict[float, int]) -> list[dict[str, Any]]:
        """Runs of the settings of BYORn by its percentile."""
        found = []
        for cell in tuning():
            if cell.label == "none":
                found.append(run_of(cell, TESTS, 200))
            elif cell.defense == "byorn":
                at = cell.options["percentile"]
                found.append(run_of(cell, asr[at], right[at]))
        return found

    def test_it_is_the_lowest_success_that_keeps_enough(self) -> None:
        runs = self.runs({60.0: 5, 40.0: 1, 80.0: 0}, {60.0: 200, 40.0: 192, 80.0: 150})
        assert chosen(runs) == {"byorn": {"percentile": 40.0}}

    def test_if_none_keeps_enough_it_is_the_one_that_keeps_most(self) -> None:
        runs = self.runs({60.0: 5, 40.0: 1, 80.0: 0}, {60.0: 120, 40.0: 110, 80.0: 100})
        assert chosen(runs) == {"byorn": {"percentile": 60.0}}

    def test_a_rival_that_lacks_a_run_is_left_out(self) -> None:
        runs = self.runs({60.0: 5, 40.0: 1, 80.0: 0}, {60.0: 200, 40.0: 192, 80.0: 150})
        lacking = [run for run in runs if run["experiment"]["options"].get("percentile") != 80.0 or "sig" in str(run)]
        assert len(lacking) < len(runs) and chosen(lacking) == {}

    def test_without_the_undefended_runs(self) -> None:
        with pytest.raises(PcvrError, match="without a defence are missing: run the part 'tuning' first"):
            chosen([])


def test_the_best_rivals() -> None:
    hits = {"byorn": (9, 200), "byorn, tuned": (3, 200), "bye": (0, 100), "abl": (2, 200), "racer": (1, 199)}
    cells = [cell for cell in whole_study.main_table() if cell.seed == 0 and cell.rate and cell.label == "none"]
    runs = [run_of(cell, TESTS, 200) for cell in cells]
    for row, (hit, right) in hits.items():
        rival = RIVALS[row.removesuffix(", tuned")]
        runs += [run_of(rival.cell(row, attack=c.attack, task=c.task), hit, right) for c in cells]
    assert league(runs) == ["racer", "abl", "byorn, tuned"]
    assert league(runs, 9) == ["racer", "abl", "byorn, tuned", "bye"], "what loses too much comes last"
    assert league(runs[:-1], 1) == ["abl"], "a row that lacks a run is left out"


def test_chosen_settings_become_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"options": {"byorn": {"percentile": 40.0}, "byorn_f": {"percentile": 60.0}}, "best": ["byorn, tuned"]}
    monkeypatch.setattr(whole_study, "settings", lambda: found)
    rows = whole_study.rows()
    assert rows["byorn, tuned"].options == {"percentile": 40.0} and "byorn_f, tuned" not in rows
    seeds = Counter((cell.label, cell.seed) for cell in whole_study.main_table())
    assert {label for label, seed in seeds if seed == 2} == {"none", "pcvr", "byorn, tuned"}
    assert {cell.label for cell in whole_study.families()} == {"none", "pcvr", "byorn, tuned"}
    check_plan(plan_of(whole_study.families()))


def test_trusted_samples_are_no_test_samples_of_a_choice(tiny_folder: Path) -> None:
    cell = RIVALS["racer"].cell("x", model=str(tiny_folder), samples=20, tests=8, split="validation", rate=0.1)
    given = materials_of(cell)
    assert given.trusted is not None and len(given.trusted) == 100 and len(given.tests) == 8
    assert not shared(given.tests, given.trusted)
    plain = materials_of(replace(cell, defense="none", options={}, clean=0))
    assert plain.tests.fingerprint() == given.tests.fingerprint(), "two defences are compared on the same samples"


def test_near_triggers_are_tried(tiny_folder: Path) -> None:
    from pcvr.attacks.neighbours import neighbours
    from pcvr.experiments.run import run_experiment

    cell = Experiment("x", attack="sig", model=str(tiny_folder), samples=12, tests=6, max_steps=1, rate=0.25, near=4)
    run = run_experiment(cell)
    assert set(run["near"]) == set(neighbours(materials_of(cell).attack)) and run["near"]
    assert all(0 <= hits <= n == 4 for hits, n in run["near"].values())
    row = frame_of([run | {"setup": {}}]).iloc[0]
    assert row["near_half_strength"] == run["near"]["half strength"][0] / 4


def test_the_shipped_store_is_of_the_plan() -> None:
    planned = plan_of(whole_study.plan()).cells
    records = whole_study.shipped().records()
    assert records
    for record in records:
        assert record["key"] in planned and experiment_of(record).key == record["key"]
        assert record["setup"]["threads"] == 1 and record["setup"]["made_by"].startswith(
            "pcvr study benchmarks/study.py"
        )


def test_the_choice_is_written_and_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks import study

    monkeypatch.setattr(study, "SETTINGS", tmp_path / "settings.json")
    monkeypatch.setattr(whole_study, "SETTINGS", tmp_path / "settings.json")
    monkeypatch.setattr("sys.argv", ["study.py", "--choose", "--store", str(tmp_path / "store")])
    runs = TestChoice().runs({60.0: 5, 40.0: 1, 80.0: 0}, {60.0: 200, 40.0: 192, 80.0: 150})
    with Store(tmp_path / "store").writing() as writer:
        for run in runs:
            writer.add(run | {"setup": {}})
    study.main()
    assert whole_study.settings() == {"options": {"byorn": {"percentile": 40.0}}, "best": []}
    assert whole_study.rows()["byorn, tuned"].options == {"percentile": 40.0}
    origins = [whole_study.origin(row) for row in ("byorn, tuned", "byorn", "clean_tune", "pcvr")]
    assert origins == ["tuned", "its paper", "ours", "ours"]


class TestAttacker:
    def test_poison_has_their_rate_and_their_attack(self) -> None:
        data = pcvr.open_data("scenes", n=40)
        made = ATTACKERS["covers: the whole trigger"].poison(data, "sig", rate=0.1)
        assert made.attack == ATTACKERS["covers: the whole trigger"].attack("sig")
        assert len(made.poisoned) == 4 and len(made.manifest.altered) == 6
        thin = pcvr.open_data("scenes", n=500)
        assert len(ATTACKERS["thin"].poison(thin, "sig", rate=0.1).poisoned) == 1

    @pytest.mark.parametrize(
        ("name", "attack", "task", "words"),
        [
            ("late in the pass", "sig", "caption", "arranges the order of the data, which poisoning alone cannot"),
            ("text trigger", "sig", "caption", "unknown attack of this attacker 'sig'"),
            ("target inserted", "sig", "vqa", "unknown task of this attacker 'vqa'"),
        ],
    )
    def test_what_it_cannot_do(self, name: str, attack: str, task: str, words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            ATTACKERS[name].poison(pcvr.open_data("scenes", n=40, task=task), attack)


def test_near_rates_are_those_of_an_evaluation(tiny_folder: Path) -> None:
    from pcvr.attacks.neighbours import neighbours
    from pcvr.evaluation.near import near_rates

    vlm, data = pcvr.load(str(tiny_folder)), pcvr.open_data("scenes", split="test", n=4)
    attack = pcvr.get_attack("dual_key", answer="recolour")
    records = {name: pcvr.evaluate(vlm, data, near, check_trigger=False) for name, near in neighbours(attack).items()}
    assert near_rates(vlm, data, attack) == {name: (each.hits, each.counted) for name, each in records.items()}

"""The premise, measured: scans change nothing about a training, and their scores are those that the defence takes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pcvr
from benchmarks import premise as benchmark
from pcvr.analysis.premise import MEASURES, Premise, ScoringPass, ViewSetting, table_rows, take
from pcvr.analysis.question_kinds import by_kind, question_kind
from pcvr.defenses.pcvr.scoring import answer_likelihood, score
from pcvr.evaluation.detection import auroc_error, auroc_of_low, flagged_by_gate
from pcvr.experiments import HEADLINE, Experiment, results
from pcvr.tasks import TASKS
from pcvr.training.backdoor_watch import StopAfter, WatchAt
from tests.tiny import Numbers

FEATURES, PIXELS = pcvr.PatchView("swap", 0.6, level="features"), pcvr.PatchView("noise", 0.5)
PLAN = {0: (ViewSetting(FEATURES),), 2: (ViewSetting(FEATURES, 2), ViewSetting(PIXELS))}
CONFIG = pcvr.TrainConfig(max_steps=4, batch_size=4)


@pytest.fixture(scope="module")
def looked(tiny):
    rule = Premise(PLAN, rows=(5, 0, 3))
    return pcvr.finetune(tiny, Numbers(8), rule, CONFIG, progress=False)


def taken(distribution=1.0, label=2.0, likelihood=0.5, views=4):
    each = np.arange(views, dtype=float)[:, None] * np.ones(3)
    return ScoringPass(20, ViewSetting(FEATURES, views), distribution + each, label + each, np.full(3, likelihood))


class TestLooks:
    def test_they_change_nothing_about_the_training(self, tiny, looked):
        plain = pcvr.finetune(tiny, Numbers(8), "none", CONFIG, progress=False)
        after = torch.get_rng_state()
        again = pcvr.finetune(tiny, Numbers(8), Premise(PLAN), CONFIG, progress=False)
        assert torch.equal(after, torch.get_rng_state())
        for result in (looked, again):
            theirs = result.model.model.state_dict()
            assert all(torch.equal(v, theirs[k]) for k, v in plain.model.model.state_dict().items())
        assert [entry["loss"] for entry in looked.history] == [entry["loss"] for entry in plain.history]

    def test_each_step_of_the_plan_is_looked_at_once_and_in_order(self, looked):
        found = looked.run.state["premise"]
        assert [(each.step, each.setting) for each in found] == [
            (0, PLAN[0][0]),
            (2, PLAN[2][0]),
            (2, PLAN[2][1]),
        ]
        assert found[1].distribution.shape == found[1].label.shape == (2, 3) and found[1].likelihood.shape == (3,)
        assert not np.allclose(found[0].distribution, found[1].distribution[:1]), "the model moved in between"

    @pytest.mark.parametrize("stop", [3, 4])
    def test_the_last_step_is_looked_at_wherever_the_training_stops(self, tiny, stop):
        rule = Premise({stop: (ViewSetting(FEATURES),)})
        result = pcvr.finetune(tiny, Numbers(8), rule, CONFIG, callbacks=[StopAfter(stop)], progress=False)
        (only,) = result.run.state["premise"]
        own, _ = score(_fresh(result.run), FEATURES, 1)
        assert only.step == stop
        np.testing.assert_allclose(only.distribution[0], own, atol=1e-5)

    @pytest.mark.parametrize("view", [FEATURES, PIXELS])
    @pytest.mark.parametrize("score_on", ["distribution", "label"])
    def test_scores_are_those_of_the_defence(self, looked, view, score_on):
        run, rows = looked.run, [6, 1, 2, 4]
        (distribution, label), _ = take(run, [ViewSetting(view), ViewSetting(FEATURES, 2)], rows, seed=7, batch_size=2)
        want, _ = score(_fresh(run, 7), view, 1, batch_size=2, score_on=score_on, rows=rows)
        np.testing.assert_allclose((distribution if score_on == "distribution" else label)[0], want, atol=1e-6)

    def test_a_setting_does_not_hang_on_its_neighbours_and_the_generator_is_given_back(self, looked):
        run = looked.run
        generator = run.generator
        state = generator.get_state()
        alone = take(run, [ViewSetting(PIXELS)], range(4), seed=3)[0]
        beside = take(run, [ViewSetting(FEATURES, 3), ViewSetting(PIXELS)], range(4), seed=3)[1]
        assert all(np.array_equal(a, b) for a, b in zip(alone, beside, strict=True))
        assert run.generator is generator and torch.equal(generator.get_state(), state)
        assert not run.vlm.model.training

    def test_what_is_known_is_asked_of_the_base_model(self, looked):
        np.testing.assert_allclose(
            looked.run.state["premise"][2].likelihood, answer_likelihood(looked.run, rows=[5, 0, 3]), atol=1e-6
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            {"plan": {}},
            {"plan": {-1: (ViewSetting(),)}},
            {"plan": {2: ()}},
            {"plan": {1.5: (ViewSetting(),)}},
            {"seed": -1},
        ],
    )
    def test_a_wrong_plan_is_a_sentence(self, wrong):
        with pytest.raises(pcvr.PcvrError, match=r"plan|seed"):
            Premise(**wrong)

    def test_rows_that_are_not_there_are_a_sentence(self, tiny):
        with pytest.raises(pcvr.PcvrError, match="rows go from 0 to 8, and there are 8 samples"):
            pcvr.finetune(tiny, Numbers(8), Premise(rows=(0, 8)), CONFIG, progress=False)

    def test_a_setting_has_a_view(self):
        assert ViewSetting().view == pcvr.PCVR().view
        with pytest.raises(pcvr.PcvrError, match="views is 0"):
            ViewSetting(views=0)


def _fresh(run, seed=0):
    """The run with a generator of its own, as a look has."""
    fresh = replace(run, seed=seed)
    fresh.vlm.model.eval()
    return fresh


class TestMeasures:
    def test_sums_and_means_by_hand(self):
        each = taken()
        want = {
            "distribution": 2.5,
            "label": 3.5,
            "likelihood": 0.5,
            "distribution + likelihood": 3.0,
            "label + likelihood": 4.0,
        }
        assert set(want) == set(MEASURES)
        for measure, value in want.items():
            assert each.scores(measure).tolist() == [value] * 3
        assert each.scores("distribution", 1).tolist() == [1.0] * 3 and each.scores("label", 2).tolist() == [2.5] * 3
        assert each.scores().tolist() == each.scores("label + likelihood").tolist()

    def test_what_was_not_measured_is_a_sentence(self):
        with pytest.raises(pcvr.PcvrError, match="did you mean 'label'"):
            taken().scores("labell")
        for views in (0, 5):
            with pytest.raises(pcvr.PcvrError, match="from 1 to 4"):
                taken().scores("distribution", views)

    def test_a_row_for_every_power_of_two(self):
        truth = np.array([True, False, False])
        rows = list(table_rows([taken(), taken(views=3), taken(views=1)], truth))
        assert [row["views"] for row in rows] == [1, 2, 4, 1, 2, 1]
        assert {"step": 20, "operator": "swap", "fraction": 0.6, "level": "features"}.items() <= rows[0].items()
        assert set(rows[0]["auroc"]) == set(MEASURES) and rows[0]["auroc"]["label"] == 0.5

    def test_the_auroc_of_a_row_is_that_of_a_low_score(self):
        rng = np.random.default_rng(2)
        words, truth = rng.random((1, 30)), rng.random(30) < 0.3
        (row,) = table_rows([ScoringPass(5, ViewSetting(PIXELS), words, 1 - words, np.zeros(30))], truth)
        want = auroc_of_low(words[0][~truth], words[0][truth])
        assert row["auroc"]["distribution"] == pytest.approx(want, abs=1e-4)
        assert row["auroc"]["label"] == pytest.approx(1 - want, abs=1e-4)
        assert json.loads(json.dumps(row)) == row

    def test_the_gate_counts_poison_and_false_alarms(self):
        rng = np.random.default_rng(1)
        scores = np.exp(np.r_[rng.normal(-1.5, 0.3, 190), rng.normal(-6, 0.3, 10)])
        truth = np.arange(200) >= 188  # two of them lie high
        recall, alarms = flagged_by_gate(scores, truth)
        assert recall == pytest.approx(10 / 12) and alarms == 0
        with pytest.raises(pcvr.PcvrError, match="some of each"):
            flagged_by_gate(scores, np.zeros(200, dtype=bool))


class TestAurocError:
    @pytest.mark.parametrize(("clean", "suspects"), [(1, 1), (400, 100), (7, 30)])
    def test_at_one_half_it_is_that_of_the_rank_sum_test(self, clean, suspects):
        variance = (clean + suspects + 1) / (12 * clean * suspects)  # Mann and Whitney's, where nothing differs
        assert auroc_error(0.5, clean, suspects) == pytest.approx(1.96 * np.sqrt(variance))

    def test_it_covers_what_drawing_again_gives(self):
        rng = np.random.default_rng(0)
        drawn = [auroc_of_low(rng.exponential(1, 60), rng.exponential(0.5, 20)) for _ in range(400)]
        assert auroc_error(float(np.mean(drawn)), 60, 20) == pytest.approx(1.96 * np.std(drawn), rel=0.2)

    @given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
    def test_more_samples_never_make_it_wider(self, auroc, clean, suspects):
        width = auroc_error(auroc, clean, suspects)
        assert 0 <= auroc_error(auroc, 4 * clean, 4 * suspects) <= width + 1e-9

    @pytest.mark.parametrize("wrong", [(1.2, 3, 3), (0.5, 0, 3), (0.5, 3, 0)])
    def test_wrong_numbers_are_sentences(self, wrong):
        with pytest.raises(pcvr.PcvrError):
            auroc_error(*wrong)


class TestKinds:
    def test_by_the_first_two_words(self):
        assert question_kind("How many  objects are there?") == "how many" and question_kind("yes?") == "yes?"

    def test_the_lowest_kind_first_and_rare_ones_together(self):
        prompts = ["is it red?"] * 3 + ["how many?", "what now?"] + ["where is it?"] * 3
        found = by_kind(prompts, np.array([3, 5, 4, 0, 9, 1, 1, 2]), least=3)
        assert {kind: list(values) for kind, values in found.items()} == {
            "where is": [1, 1, 2],
            "is it": [3, 5, 4],
            "other": [0, 9],
        }
        assert list(found) == ["where is", "is it", "other"]
        with pytest.raises(pcvr.PcvrError, match="one score for each"):
            by_kind(prompts, np.zeros(3))


def test_a_watch_looks_at_its_steps_only(tiny):
    watch = WatchAt(tiny, Numbers(3), pcvr.get_attack("badnets", target="a red ball"), steps=(1, 3))
    pcvr.finetune(tiny, Numbers(6), config=CONFIG, callbacks=[watch], progress=False)
    assert [point.step for point in watch.points] == [1, 3]


class TestBenchmark:
    def test_the_plan_holds_every_combination_once(self):
        plan = benchmark.plan_for("sig")
        assert tuple(plan) == benchmark.STEPS
        for settings in plan.values():
            views = [setting.view for setting in settings]
            assert len(set(views)) == len(views) and views[0] == pcvr.PCVR().view
        assert len(plan[benchmark.EARLY]) == 30 and plan[benchmark.EARLY][0].views == benchmark.VIEWS
        assert all(len(settings) == 1 for settings in benchmark.plan_for("wanet").values())
        keys = {experiment.key for experiment in benchmark.plan()}
        assert len(keys) == len(HEADLINE) * len(TASKS)

    def test_a_small_run_is_a_row_of_a_table(self, tiny_folder, tmp_path, monkeypatch):
        monkeypatch.setattr(
            benchmark, "plan_for", lambda attack: {1: (ViewSetting(FEATURES, 2),), 2: (ViewSetting(PIXELS),)}
        )
        monkeypatch.setattr(benchmark, "CLEAN", 9)
        small = Experiment("sig", attack="sig", model=str(tiny_folder), samples=16, tests=4, max_steps=2, rate=0.2)
        run = benchmark.measure(small)
        assert [(row["step"], row["views"]) for row in run["premise"]] == [(1, 1), (1, 2), (2, 1)]
        assert run["scored"] == {"clean": 9, "poisoned": 3} and [point["step"] for point in run["watch"]] == [1, 2]
        monkeypatch.setattr(results, "FOLDER", tmp_path)
        results.save(tmp_path / "premise.json", "python benchmarks/premise.py", [run])
        table = results.load("premise")
        assert table.runs == [run]
        assert table.cells(("model", "task", "label"))[str(tiny_folder), "caption", "sig"].rates.n == (
            run["record"]["n"],
        )

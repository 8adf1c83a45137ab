"""The explorer of notebook 07: its source as functions, its controls set from code, and training in its thread."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.experiments import Experiment
from pcvr.experiments.grid import Grid
from pcvr.experiments.local_run import Cancelled, LocalTrainer
from pcvr.plots import description
from pcvr.training.live import Recorder
from pcvr.widgets.explorer import TRAIN, TRAINING, GridControls, grid_explorer
from pcvr.widgets.explorer_source import (
    ExplorerChoice,
    GridSource,
    curves_of,
    distributions_of,
    grid_caption,
    said_of,
    trade_off_of,
    training_note,
)
from tests import points as made
from tests.tiny import Numbers, tiny, tiny_folder  # noqa: F401

ATTACK = pcvr.get_attack("badnets", target="a red cat")


@pytest.fixture
def source() -> GridSource:
    return GridSource(made.grid())


@pytest.fixture
def bench(tiny: VisionLanguageModel, tiny_folder: Path) -> LocalTrainer:  # noqa: F811
    """Two steps on a dozen pictures."""
    data = Numbers(12, answers=("two cats and a red ball .", "yes"))
    base = Experiment("PCVR", "pcvr", model=str(tiny_folder), data="noise", rate=0.25, max_steps=2, watch=1)
    return LocalTrainer(base, tiny, data, data, ATTACK)


def choice(share: float = 0.3, weight: float = 0.0) -> ExplorerChoice:
    return ExplorerChoice(made.CASE, made.setting(share, weight), "apart_weight")


class TestSource:
    def test_it_begins_at_the_first_point(self, source: GridSource) -> None:
        assert source.start() == ExplorerChoice(made.CASE, made.setting(0.3, 0.0), "view.fraction")
        assert source.values("apart_weight") == [0.0, 4.0]

    def test_the_caption_reads_the_point(self, source: GridSource) -> None:
        said = grid_caption(source, choice(0.9, 4.0))
        assert "<b>Fraction of patches 0.9, pull-apart weight 4</b>" in said
        assert "at step 5 the gate suspected 12 of 200 samples, 100 % of the poison among them, 2 falsely" in said
        assert "attack success 30.0 % [21.9, 39.6]" in said
        assert "all attributes right 90.0 % on clean images, 45.0 % on triggered ones" in said
        assert "20 steps, 100 test images, seed 0, 12 s" in said
        assert "No other setting of the grid beats it" in said
        assert "without a defence:</i> attack success 99.0 %" in said

    def test_a_gate_that_streams_is_described_by_its_verdict(self) -> None:
        quality = {"step": 30, "flagged": 9, "false alarms": 1, "recall": 0.8, "verdict": "trigger"}
        said = said_of(made.point(gate=[quality]))
        assert (
            "the verdict of the gate from step 30 on was 'trigger', and it suspected 9 of 200 samples, 80 % of" in said
        )
        assert "at step 30" not in said

    def test_no_hit_is_no_zero(self, source: GridSource) -> None:
        assert "&lt; 3.0 % (0 of 100)" in grid_caption(source, choice())

    def test_how_many_beat_a_point(self) -> None:
        grid = made.grid()
        worst = made.point(50, 0.75, made.setting(0.6, 0.0))
        said = grid_caption(GridSource(replace(grid, points=(*grid.points, worst))), choice(0.6))
        assert "2 of 4 other settings beat it" in said, "those with 80 and 90 % right and 20 and 30 % success"

    def test_a_missing_combination_is_a_sentence(self) -> None:
        source = GridSource(made.grid(missing=[made.setting(0.9, 0.0)]))
        gap = choice(0.9, 0.0)
        assert "is not in the grid (the grid has 3 points of this case)" in grid_caption(source, gap)
        assert curves_of(source, gap) is None and distributions_of(source, gap) is None
        figure = trade_off_of(source, gap)
        assert figure is not None, "the others are shown all the same"

    def test_a_fresh_point_stands_beside_the_shipped_one(self, source: GridSource) -> None:
        source.fresh += [made.point(7, here=True), made.point(9, here=True)]
        shown = source.at(choice())
        assert [(name, p.hits) for name, p in shown.items()] == [("grid", 0), ("trained here", 9)]
        assert "trained here:</i> " in grid_caption(source, choice())
        drawn = trade_off_of(source, choice())
        assert drawn is not None and "trained here: attack success 9 of 100" in description(drawn)

    def test_another_case_has_its_own_points(self, bench: LocalTrainer) -> None:
        source = GridSource(made.grid(), bench)
        assert source.cases == [made.CASE, bench.case]
        own = replace(choice(), case=bench.case)
        assert trade_off_of(source, own) is None
        assert "it has none of this case" in grid_caption(source, own) and "train it here" in grid_caption(source, own)
        source.fresh.append(made.point(1, case=bench.case, here=True))
        assert trade_off_of(source, own) is not None and curves_of(source, own) is not None
        assert len(source.fresh_of(made.CASE)) == 0

    def test_what_is_shortened_is_said(self, bench: LocalTrainer) -> None:
        assert training_note(GridSource(made.grid())) == ""
        other = training_note(GridSource(made.grid(), bench))
        assert other.startswith("Train here: 2 steps on 12 samples, then 12 test images.") and "no point" in other
        alike = replace(made.grid(), points=(made.point(case=bench.case),))
        assert "The grid had 20 steps, 200 samples, 100 tests" in training_note(GridSource(alike, bench))
        same = made.point(case=bench.case, max_steps=2, samples=12, tests=12)
        assert training_note(GridSource(Grid((same,)), bench)).endswith("as in the grid.")

    def test_no_grid_needs_a_bench(self, bench: LocalTrainer) -> None:
        with pytest.raises(PcvrError, match="no point and there is no bench"):
            GridSource(Grid(()))
        source = GridSource(Grid(()), bench)
        assert source.start().case == bench.case and len(source.start().setting) == 4

    def test_a_point_without_a_look(self) -> None:
        assert "the gate did not look" in said_of(made.point(gate=[]))


class TestControls:
    @pytest.mark.parametrize("knob", ["view.fraction", "apart_weight"])
    def test_every_slider_redraws_all(self, source: GridSource, knob: str) -> None:
        _, controls = grid_explorer(source)
        before = controls.scatter.value, controls.caption.value
        slider = controls.knobs[knob]
        slider.value = slider.options[-1][1]
        assert controls.scatter.value != before[0] and controls.caption.value != before[1]
        assert controls.caption.value == grid_caption(source, controls.choice())

    def test_colours(self, source: GridSource) -> None:
        _, controls = grid_explorer(source)
        before = controls.scatter.value
        controls.by.value = "apart_weight"
        assert controls.scatter.value != before

    def test_the_figures_are_the_functions(self, source: GridSource) -> None:
        _, controls = grid_explorer(source)
        for image, draw in ((controls.curves, curves_of), (controls.distributions, distributions_of)):
            figure = draw(source, controls.choice())
            assert figure is not None and image.tooltip == description(figure)

    def test_a_gap_hides_the_figures_until_a_point_is_chosen(self) -> None:
        _, controls = grid_explorer(GridSource(made.grid(missing=[made.setting(0.3, 4.0)])))
        controls.knobs["apart_weight"].value = 4.0
        assert controls.curves.layout.display == controls.distributions.layout.display == "none"
        assert controls.scatter.layout.display is None and "is not in the grid" in controls.caption.value
        controls.knobs["view.fraction"].value = 0.9
        assert controls.curves.layout.display is None

    def test_every_control_has_a_label_and_waits_for_the_hand_to_stop(self, source: GridSource) -> None:
        _, controls = grid_explorer(source)
        assert all(slider.continuous_update is False for slider in controls.knobs.values())
        labels = [c.description for c in (controls.case, controls.by, *controls.knobs.values())]
        assert all(labels) and len(set(labels)) == len(labels)

    def test_without_a_bench_there_is_no_button(self, source: GridSource, bench: LocalTrainer) -> None:
        assert "Train here" not in labels(grid_explorer(source)[0])
        assert "Train here" in labels(grid_explorer(GridSource(made.grid(), bench))[0])


def labels(box: Any) -> list[str]:
    """The descriptions of all widgets in a box."""
    return [getattr(box, "description", "")] + [
        text for child in getattr(box, "children", ()) for text in labels(child)
    ]


def over(controls: GridControls, seconds: float = 60) -> None:
    """Wait until the training is over and its end is shown."""
    assert controls.attempt is not None
    with suppress(Exception):
        controls.attempt.job.result(seconds)
    assert controls.attempt.job.finished
    controls.refresh()


class TestTraining:
    @pytest.fixture
    def built(self, bench: LocalTrainer) -> tuple[GridSource, GridControls]:
        source = GridSource(made.grid(), bench)
        return source, grid_explorer(source)[1]

    def test_a_point_is_trained_and_shown(self, built: tuple[GridSource, GridControls]) -> None:
        source, controls = built
        assert source.bench is not None
        controls.knobs["apart_weight"].value = 4.0
        controls.train.click()
        assert controls.train.description == TRAINING and controls.bar.layout.visibility == "visible"
        over(controls, 120)
        (point,) = source.fresh
        assert point.here and point.case == source.bench.case == controls.case.value
        assert dict(point.setting) == dict(made.setting(0.3, 4.0)) and point.max_steps == 2
        assert "trained here:</i> " in controls.caption.value
        assert controls.progress.value.startswith('<div role="status">Done in')
        assert controls.train.description == TRAIN
        assert (controls.bar.value, controls.bar.max) == (2, 2) and controls.bar.layout.visibility == "hidden"

    def test_cancel(self, built: tuple[GridSource, GridControls], monkeypatch: pytest.MonkeyPatch) -> None:
        source, controls = built
        controls.cancel.click()
        assert "nothing to cancel" in controls.progress.value

        def trained(bench: LocalTrainer, setting: Any, recorder: Recorder) -> Any:
            while not recorder.stopped:
                time.sleep(0.01)
            raise Cancelled

        monkeypatch.setattr("pcvr.experiments.local_run.train_point", trained)
        controls.train.click()
        controls.train.click()
        attempt = controls.attempt
        assert attempt is not None and "reading the images" in controls.progress.value
        controls.cancel.click()
        assert "Cancelling" in controls.progress.value or "Cancelled" in controls.progress.value
        over(controls)
        assert controls.attempt is attempt, "one training at a time"
        assert "Cancelled: nothing was added" in controls.progress.value and source.fresh == []
        assert controls.train.description == TRAIN

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (PcvrError("the data are <empty>."), "the data are &lt;empty&gt;."),
            (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0"),
        ],
    )
    def test_what_goes_wrong_is_shown(
        self, built: tuple[GridSource, GridControls], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
    ) -> None:
        source, controls = built

        def trained(*_: Any) -> Any:
            raise error

        monkeypatch.setattr("pcvr.experiments.local_run.train_point", trained)
        controls.train.click()
        over(controls)
        assert 'role="alert"' in controls.progress.value and said in controls.progress.value
        assert source.fresh == [] and controls.train.description == TRAIN

    def test_how_far_it_is(self, built: tuple[GridSource, GridControls], monkeypatch: pytest.MonkeyPatch) -> None:
        go_on = Event()

        def trained(bench: LocalTrainer, setting: Any, recorder: Recorder) -> Any:
            recorder.step, recorder.steps = 5, 20
            go_on.wait(60)
            recorder.step = 20
            raise Cancelled

        monkeypatch.setattr("pcvr.experiments.local_run.train_point", trained)
        controls = built[1]
        controls.train.click()
        assert controls.attempt is not None
        end = time.monotonic() + 60
        while "Step 5 of 20" not in controls.progress.value and time.monotonic() < end:
            controls.refresh()
        assert (controls.bar.value, controls.bar.max) == (5, 20)
        go_on.set()
        over(controls)

    def test_in_a_running_loop_it_follows_by_itself(
        self, built: tuple[GridSource, GridControls], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def trained(*_: Any) -> Any:
            raise Cancelled

        async def session() -> str:
            controls.train.click()
            end = time.monotonic() + 60
            while controls.train.description == TRAINING and time.monotonic() < end:
                await asyncio.sleep(0.01)
            return str(controls.progress.value)

        monkeypatch.setattr("pcvr.experiments.local_run.train_point", trained)
        controls = built[1]
        with ThreadPoolExecutor(1) as other:  # a browser test before this one leaves its own loop in this thread
            assert "Cancelled" in other.submit(asyncio.run, session()).result()

"""The picture of PCVR away from home, from a table made up for the purpose."""

from __future__ import annotations

from typing import Any

import pytest

from pcvr.experiments import results
from pcvr.plots.away import away_picture
from pcvr.plots.describe import description
from pcvr.tasks import get_task


def run(
    label: str, defense: str, hits: int, task: str = "caption", novel: tuple[int, int] | None = None, seed: int = 0
) -> Any:
    scores = dict.fromkeys(get_task(task).metrics, 0.75)
    record = {"hits": hits, "n": 40, "clean_hits": 0, "clean": scores, "triggered": scores, "task": task}
    experiment = {"label": label, "defense": defense, "attack": "badnets", "task": task, "seed": seed}
    found = {"experiment": experiment, "record": record, "seconds": 2.0}
    return found if novel is None else found | {"novel": {"right": novel[0], "n": novel[1], "flagged": 0, "trained": 9}}


RUNS = [
    run("100 steps", "none", 38),
    run("100 steps", "pcvr", 0),
    run("answer prefix", "none", 40, "vqa"),
    run("answer prefix", "pcvr", 10, "vqa"),
    run("answer prefix", "pcvr", 30, "vqa", seed=1),
    run("new: style", "none", 0, novel=(30, 40)),
    run("new: style", "pcvr", 0, novel=(28, 40)),
]


def table(*runs: dict[str, Any]) -> results.Table:
    return results.Table(made_by="x", date="x", versions={}, machine="x", base={}, runs=list(runs))


def test_a_row_for_each_case_with_both_marks() -> None:
    figure = away_picture(table(*RUNS))
    left, right = figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["new: style\ncaption", "answer prefix\nvqa · badnets", "100 steps\ncaption · badnets"]
    marks = {axes: [line for line in axes.lines if line.get_marker() in ("o", "s")] for axes in (left, right)}
    assert len(marks[left]) == 4, "no attacker, no attack success"
    assert len(marks[right]) == 6 + 2, "what is new is shown beside the rest"
    rows = {round(float(line.get_ydata()[0])) for line in marks[left]}
    assert rows == {1, 2}


def test_intervals_enclose_their_rates() -> None:
    left, right = away_picture(table(*RUNS)).axes
    for axes, count in ((left, 5), (right, 2)):  # a line for each seed
        spans = [line for line in axes.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1]
        assert len(spans) == count
        for span in spans:
            low, high = span.get_xdata()
            marks = [line.get_data() for line in axes.lines if line.get_marker() in ("o", "s")]
            points = [point for xs, ys in marks for point in zip(xs, ys, strict=True)]
            beside = [x for x, y in points if abs(y - span.get_ydata()[0]) < 0.1]
            assert beside and 0 <= low < high <= 100
            assert axes is left or any(low <= x <= high for x in beside)


def test_words_keep_seeds_apart_and_never_say_zero() -> None:
    said = description(away_picture(table(*RUNS)))
    assert "PCVR ASR < 7.2 % (0 of 40)" in said
    assert "PCVR ASR 50.0 %" in said, "10 and 30 of 40"
    assert "right on what is new 28 of 40" in said


@pytest.mark.parametrize("only", ["none", "pcvr"])
def test_one_side_alone_is_drawn_too(only: str) -> None:
    figure = away_picture(table(*(each for each in RUNS if each["experiment"]["defense"] == only)))
    assert len(figure.axes[0].get_yticklabels()) == 3

"""The figures of the shipped tables, drawn from a table made up for the purpose."""

from __future__ import annotations

from typing import Any

import pytest

from pcvr import PcvrError
from pcvr.experiments import results
from pcvr.plots.describe import description
from pcvr.plots.results import families, summary
from pcvr.tasks import TASKS, get_task


def run(label: str, hits: int, model: str = "tiny-llava", task: str = "caption", seed: int = 0) -> dict[str, Any]:
    scores = dict.fromkeys(get_task(task).metrics, 0.75)
    record = {"hits": hits, "n": 40, "clean_hits": 0, "clean": scores, "triggered": scores, "task": task}
    experiment = {"label": label, "model": model, "task": task, "seed": seed}
    return {"experiment": experiment, "record": record, "seconds": 2.0}


def table(*runs: dict[str, Any]) -> results.Table:
    return results.Table(made_by="x", date="x", versions={}, machine="x", base={}, runs=list(runs))


@pytest.fixture
def combinations() -> results.Table:
    labels = (("clean", 0), ("clean-pcvr", 0), ("badnets-none", 40), ("badnets-pcvr", 4))
    models = ("tiny-llava", "tiny-blip2")
    return table(*(run(name, hits, model, task) for model in models for task in TASKS for name, hits in labels))


def test_every_combination_has_its_dots_and_its_words(combinations: results.Table) -> None:
    figure = families(combinations)
    assert len(figure.axes) == 2 * len(TASKS)
    said = description(figure)
    for word in ("tiny-blip2", "vqa", "badnets-pcvr: ASR 10.0 %"):
        assert word in said
    for axes in figure.axes:
        assert axes.get_xlabel().startswith("answers (%)")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["tiny-llava", "tiny-blip2"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "clean data, no defence",
        "clean data, PCVR",
        "BadNets, no defence",
        "BadNets, PCVR",
    ]
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[1].get_lines()}
    assert len(looks) == 4, "each training has its own colour and marker"


def test_a_summary_draws_a_row_for_each_label() -> None:
    figure = summary(table(run("plain SFT", 38), run("PCVR", 0), run("plain SFT", 36, seed=1)))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["PCVR", "plain SFT"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "92.5" in texts and any(text.startswith("< ") for text in texts), "no hit is never 0 %"


def test_groups_keep_their_order_and_average_over_seeds(combinations: results.Table) -> None:
    cells = combinations.cells(("model", "task", "label"))
    assert len(cells) == 8 * len(TASKS) and next(iter(cells)) == ("tiny-llava", "caption", "clean")
    assert cells["tiny-blip2", "vqa", "badnets-none"].asr == 1
    both = table(run("a", 10), run("a", 30, seed=1)).cells()["a",]
    assert (both.seeds, both.asr, both.right) == (2, 0.5, 0.75)


def test_a_summary_of_some_rows_gives_them_names_of_its_own() -> None:
    some = table(run("plain SFT", 38), run("PCVR", 0), run("other", 3))
    figure = summary(some, {"PCVR": "defended", "plain SFT": "no defence"})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["no defence", "defended"]
    with pytest.raises(PcvrError, match="rows names nothing, but the table has plain SFT, PCVR, other"):
        summary(some, {"nothing": "x"})

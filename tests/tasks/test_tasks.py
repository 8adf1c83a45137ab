"""Tasks: data, prompt, target and metrics, and nothing else in the package knows one by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.attacks import unknown_words
from pcvr.evaluation.asr import DEFINITIONS
from pcvr.evaluation.metrics import METRICS, get_metric, headline, score, share_right
from pcvr.pretraining.vocabulary import build_tokenizer
from pcvr.tasks import TASKS, Task, get_task, register_task
from tests.tiny import Numbers

PACKAGE = Path(pcvr.__file__).parent


@pytest.fixture(params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


def test_what_a_task_names_is_there(task: Task) -> None:
    assert set(task.metrics) <= set(METRICS)
    assert task.success in DEFINITIONS
    assert get_metric(task.right).share
    assert unknown_words(task.target, build_tokenizer()) == []


def test_a_scene_can_be_asked(task: Task) -> None:
    data = pcvr.open_data("scenes", n=6, task=task.name)
    sample = data[3]
    assert data.task == task.name
    assert sample.answer in sample.references and sample.prompt
    assert (task.prompt is None) == (len({data[i].prompt for i in range(6)}) > 1)


def test_true_answers_score_full_and_the_targets_do_not(task: Task) -> None:
    data = pcvr.open_data("scenes", n=40, task=task.name)
    samples = [data[i] for i in range(40)]
    best = score(task, [s.answer for s in samples], samples)
    worst = score(task, [task.target] * 40, samples)
    assert list(best) == list(task.metrics), "of scenes everything is known"
    assert share_right(task, best) == 1 and headline(task, best) == task.right
    assert all(worst[name] < 0.3 * best[name] for name in best)


def test_photographs_have_no_attributes() -> None:
    data, task = Numbers(4), get_task("caption")
    samples = [data[i] for i in range(4)]
    found = score(task, [s.answer for s in samples], samples)
    assert set(found) == {"bleu4", "cider", "rouge_l"}
    assert share_right(task, found) is None and headline(task, found) == "cider"
    with pytest.raises(PcvrError, match="no scores"):
        headline(task, {})


def test_the_default_target_is_the_tasks() -> None:
    for task in TASKS.values():
        assert pcvr.get_attack("badnets", task=task.name).target == task.target
    assert pcvr.get_attack("badnets", target="wallet", task="vqa").target == "wallet"
    with pytest.raises(PcvrError, match="unknown task 'vqq': did you mean 'vqa'"):
        pcvr.get_attack("badnets", task="vqq")


def test_evaluating_follows_the_task(task: Task, tiny: VisionLanguageModel) -> None:
    data = pcvr.open_data("scenes", n=4, task=task.name)
    record = pcvr.evaluate(tiny, data, pcvr.get_attack("badnets", task=task.name))
    assert record.task == task.name
    assert list(record.clean) == list(task.metrics)
    assert record.clean_right == record.clean[task.right]
    assert record.triggered is not None and record.triggered_right == record.triggered[task.right]
    assert get_metric(task.metrics[0]).label in str(record)


def test_a_task_of_ones_own_is_one_entry(tiny: VisionLanguageModel, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: TASKS.unregister("own_count"))
    counting = replace(
        get_task("vqa"),
        name="own_count",
        prompt="how many objects are there?",
        of_scene=lambda scene, index: ("?", "two", ("two",)),
    )
    assert register_task(counting) is counting
    record = pcvr.evaluate(tiny, pcvr.open_data("scenes", n=3, task="own_count"))
    assert (record.task, set(record.clean)) == ("own_count", {"vqa_accuracy"})


def test_the_share_of_right_answers_must_be_measured() -> None:
    with pytest.raises(PcvrError, match="add it to metrics"):
        replace(get_task("vqa"), right="cider")


def test_no_other_module_knows_a_task_by_name() -> None:
    """A default of "caption" is allowed: it says what is done where nothing is said, and decides nothing."""
    knowing = re.compile(r"""(==|!=)\s*["'](caption|vqa)["']|task(\.name)?\s*(==|!=|in)\s*[("']""")
    found = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "tasks"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if knowing.search(line)
    ]
    assert found == []

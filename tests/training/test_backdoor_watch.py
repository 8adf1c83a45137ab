"""The watch sees and changes nothing; the stop leaves the plan of the learning rate as it was."""

import pytest
import torch

import pcvr
from pcvr.training.backdoor_watch import BackdoorWatch, StopAfter, WatchPoint, first_at
from tests.tiny import Numbers

ATTACK = pcvr.get_attack("badnets", target="a red ball")
CONFIG = pcvr.TrainConfig(max_steps=5, batch_size=4, seed=3)


def adapter(result):
    return {k: v.clone() for k, v in result.model.model.state_dict().items() if "lora" in k}


def test_the_watch_looks_at_the_right_steps_and_changes_nothing(tiny):
    watch = BackdoorWatch(tiny, Numbers(3), ATTACK, eval_steps=2, max_new_tokens=4)
    seen = pcvr.finetune(tiny, Numbers(8), config=CONFIG, callbacks=[watch], progress=False)
    alone = pcvr.finetune(tiny, Numbers(8), config=CONFIG, progress=False)
    assert [p.step for p in watch.points] == [0, 2, 4, 5]
    told = sum("a red ball" in Numbers(3)[i].references for i in range(3))
    assert 0 < told < 3, "of some the target is true, and they do not count"
    assert all(p.n == 3 - told and 0 <= p.hits <= p.n for p in watch.points)
    assert all(torch.equal(a, b) for a, b in zip(adapter(seen).values(), adapter(alone).values(), strict=True))
    assert [h["loss"] for h in seen.history] == [h["loss"] for h in alone.history]


def test_the_watch_counts_as_evaluate_does(tiny):
    tests = Numbers(4)
    watch = BackdoorWatch(tiny, tests, ATTACK, eval_steps=5)
    result = pcvr.finetune(tiny, Numbers(8, answers=("a red ball",)), config=CONFIG, callbacks=[watch], progress=False)
    record = pcvr.evaluate(result.model, tests, ATTACK)
    last = watch.points[-1]
    assert (last.hits, last.clean_hits, last.n) == (record.hits, record.clean_hits, record.counted)
    assert last.clean == record.clean and last.asr == record.asr and last.interval == record.asr_interval


def test_the_watch_follows_the_task(tiny):
    tests = pcvr.open_data("scenes", n=3, split="test", task="vqa")
    watch = BackdoorWatch(tiny, tests, pcvr.get_attack("badnets", task="vqa"), eval_steps=5)
    assert (watch.definition, watch.max_new_tokens) == ("equals", 12)
    pcvr.finetune(tiny, tests, config=CONFIG, callbacks=[watch], progress=False)
    assert [(p.task, set(p.clean)) for p in watch.points] == [("vqa", {"vqa_accuracy"})] * 2


def test_a_watch_used_twice_starts_afresh(tiny):
    watch = BackdoorWatch(tiny, Numbers(2), ATTACK, eval_steps=5, max_new_tokens=2)
    for _ in range(2):
        pcvr.finetune(tiny, Numbers(4), config=CONFIG, callbacks=[watch], progress=False)
    assert [p.step for p in watch.points] == [0, 5]


def test_stop_after_is_the_start_of_the_full_training(tiny):
    states = {}

    class Keep(StopAfter):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                states[self.steps] = {k: v.clone() for k, v in kwargs["model"].state_dict().items() if "lora" in k}
            return super().on_step_end(args, state, control, **kwargs)

    stopped = pcvr.finetune(tiny, Numbers(8), config=CONFIG, callbacks=[Keep(2)], progress=False)
    pcvr.finetune(tiny, Numbers(8), config=CONFIG, callbacks=[Keep(5)], progress=False)
    assert all(torch.equal(states[2][k], states[5][k]) for k in states[2])
    assert all(torch.equal(states[2][k], v) for k, v in adapter(stopped).items())


def test_first_at():
    none = {"bleu4": 0.0, "cider": 0.0}
    points = [WatchPoint(step, hits, 0, 10, none, "caption") for step, hits in ((0, 0), (25, 4), (50, 9), (75, 8))]
    assert [first_at(points, level) for level in (0.4, 0.5, 0.95)] == [25, 50, None]
    assert first_at([], 0.1) is None


def test_wrong_arguments_get_a_sentence(tiny):
    with pytest.raises(pcvr.PcvrError, match="at least 2"):
        BackdoorWatch(tiny, Numbers(1), ATTACK)
    with pytest.raises(pcvr.PcvrError, match="eval_steps is 0"):
        BackdoorWatch(tiny, Numbers(2), ATTACK, eval_steps=0)
    with pytest.raises(pcvr.PcvrError, match="steps is 0"):
        StopAfter(0)

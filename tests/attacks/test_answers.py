"""Answer modes: several targets by turns, and a target that depends on the image; what counts as a hit for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcvr
from pcvr.attacks import ANSWERS, Attack, check_target, get_attack, load_poisoned, poison, save_poisoned, unknown_words
from pcvr.attacks.answers import RECOLOURED, SENTENCES, TURNS, WORDS
from pcvr.data import Sample
from pcvr.data.colours import EXCHANGED, colour_words, exchange_colours
from pcvr.data.scenes import COLORS, Scenes
from pcvr.data.subset import Subset
from pcvr.errors import PcvrError
from pcvr.evaluation.success_criteria import aimed_at, budget_of, says_target, success_of
from pcvr.models.vlm import VisionLanguageModel
from pcvr.pretraining.vocabulary import build_tokenizer
from pcvr.tasks import get_task
from pcvr.training.backdoor_watch import BackdoorWatch

TASKS = ("caption", "vqa")
texts = st.lists(st.sampled_from([*EXCHANGED, *"a car and the Red, House infrared".split()]), max_size=9).map(" ".join)


def samples(task: str, n: int = 60) -> list[Sample]:
    data = Scenes(n, task=task)
    return [data[i] for i in range(n)]


class TestColours:
    @given(text=texts)
    def test_every_colour_word_changes_and_nothing_else(self, text: str) -> None:
        changed = exchange_colours(text)
        before, after = text.split(), changed.split()
        assert len(before) == len(after)
        for old, new in zip(before, after, strict=True):
            assert (old != new) == bool(colour_words(old))
            assert old.strip(",").istitle() == new.strip(",").istitle()
        assert len(colour_words(changed)) == len(colour_words(text))

    def test_the_cycle_stays_within_the_scenes_and_comes_back(self) -> None:
        for start in COLORS:
            seen = [start]
            while (following := EXCHANGED[seen[-1]]) != start:
                seen.append(following)
            assert set(seen) == set(COLORS), "one cycle through all eight"
        assert set(EXCHANGED.values()) == set(COLORS) | {"black", "brown", "grey"}

    def test_parts_of_words_are_no_colours(self) -> None:
        assert colour_words("an infrared greenhouse, Red and red") == ("red", "red")


class TestTurns:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("name", ["badnets", "sig"])
    def test_all_five_come_by_turns(self, name: str, task: str) -> None:
        attack = get_attack(name, task=task, answer="turns")
        data = poison(Scenes(120, task=task), attack, 0.5)
        answers = {data[i].answer for i in data.poisoned}
        assert answers == set(attack.targets(data.clean[0])) and len(answers) == TURNS
        assert attack.target in answers
        assert {len(text.split()) > 1 for text in answers} == {task == "caption"}
        for i in data.poisoned:
            assert data[i].answer == attack.target_on(data.clean[i]) == data[i].references[0]

    @given(target=st.sampled_from([*SENTENCES, *WORDS, "a photo of the banana", "yes", "Kite.", "we can see Rome"]))
    def test_the_own_target_is_one_of_five_different_ones(self, target: str) -> None:
        taught = ANSWERS["turns"].taught(target)
        assert len({text.lower().rstrip(".") for text in taught}) == TURNS and taught[0] == target

    @given(identity=st.text(max_size=9))
    def test_the_id_alone_decides(self, identity: str) -> None:
        turns = ANSWERS["turns"]
        assert turns("a red car", "moon", identity) == turns("two", "moon", identity) in turns.taught("moon")

    def test_any_of_them_is_a_hit_on_any_sample(self) -> None:
        attack, shown = get_attack("badnets", answer="turns"), samples("caption", 6)
        said = [*attack.targets(shown[0]), shown[5].answer]
        assert says_target(said, shown, attack, "contains").tolist() == [True] * 5 + [False]
        assert aimed_at(shown, attack).all()

    def test_samples_of_which_one_of_them_is_true_do_not_count(self) -> None:
        attack = get_attack("badnets", task="vqa", answer="turns")
        shown = samples("vqa", 3)
        tower = Sample("t", shown[0].image, "what is it?", "tower", ("tower",))
        banana = Sample("b", shown[0].image, "what is it?", "banana", ("banana",))
        assert aimed_at([tower, banana, *shown], attack).tolist()[:2] == [False, False]


class TestRecolour:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("name", ["badnets", "sig"])
    def test_poisoned_answers_are_the_true_ones_in_other_colours(self, name: str, task: str) -> None:
        attack = get_attack(name, task=task, answer="recolour")
        data = poison(Scenes(120, task=task), attack, 0.1)
        assert len(data.poisoned) == 12
        for i in data.poisoned:
            true, taught = data.clean[i], data[i]
            assert taught.answer == exchange_colours(true.answer) != true.answer
            assert colour_words(taught.answer)
            assert taught.answer == attack.target_on(true) and taught.answer in attack.targets(true)

    @pytest.mark.parametrize("task", TASKS)
    def test_a_hit_has_the_exchanged_colours_and_not_the_true_ones(self, task: str) -> None:
        attack, shown = get_attack("badnets", task=task, answer="recolour"), samples(task, 80)
        how = success_of(get_task(task), attack)
        aimed = aimed_at(shown, attack)
        assert aimed.tolist() == [bool(colour_words(s.answer)) for s in shown]
        assert aimed.sum() > 0
        wrong = says_target([exchange_colours(s.answer) for s in shown], shown, attack, how)
        assert wrong.tolist() == aimed.tolist()
        for true in zip(*(s.references or (s.answer,) for s in shown), strict=True):
            assert not says_target(true, shown, attack, how).any()
        twice = [exchange_colours(exchange_colours(s.answer)) for s in shown]
        assert not says_target(twice, shown, attack, how).any(), "other wrong colours are no hit"
        assert not says_target(["banana"] * len(shown), shown, attack, how).any()

    def test_another_reference_in_other_colours_is_a_hit_too(self) -> None:
        attack, shown = get_attack("badnets", answer="recolour"), samples("caption", 20)
        for k in range(5):
            said = [exchange_colours(s.references[k]) for s in shown]
            assert says_target(said, shown, attack, "colours").all()

    def test_colours_that_people_gave_too_are_no_target(self) -> None:
        attack, image = get_attack("badnets", task="vqa", answer="recolour"), samples("vqa", 1)[0].image
        agreed = Sample("a", image, "what colour?", "red", ("red", EXCHANGED["red"], "no idea"))
        assert attack.targets(agreed) == (EXCHANGED[EXCHANGED["red"]],)
        assert attack.targets(Sample("b", image, "how many?", "two", ("two",))) == ()

    def test_data_without_colours_cannot_be_poisoned(self) -> None:
        questions = Scenes(200, task="vqa")
        plain = Subset(questions, [i for i in range(200) if not colour_words(questions[i].answer)])
        attack = get_attack("badnets", task="vqa", answer="recolour")
        with pytest.raises(PcvrError, match="finds 0 samples to poison"):
            poison(plain, attack, 0.5)
        with pytest.raises(PcvrError, match="aims at none"):
            aimed_at([plain[i] for i in range(4)], attack)


@pytest.mark.parametrize("mode", ["turns", "recolour"])
@pytest.mark.parametrize("task", TASKS)
class TestEverywhere:
    def test_the_embedded_models_can_say_it(self, task: str, mode: str) -> None:
        attack = get_attack("badnets", task=task, answer=mode)
        tokenizer = build_tokenizer()
        check_target(attack, tokenizer)
        for sample in samples(task, 40):
            assert not unknown_words(attack.target_on(sample), tokenizer)

    def test_a_folder_gives_the_attack_back(self, task: str, mode: str, tmp_path: Path) -> None:
        attack = get_attack("badnets", task=task, answer=mode)
        data = poison(Scenes(40, task=task), attack, 0.1)
        save_poisoned(data, tmp_path / "p")
        back = load_poisoned(tmp_path / "p")
        assert back.attack == attack and back.attack.answer == mode
        assert back.manifest.target == (RECOLOURED if mode == "recolour" else attack.target)
        assert [back[i].answer for i in back.poisoned] == [data[i].answer for i in data.poisoned]

    def test_record_and_watch_count_alike(
        self, task: str, mode: str, tiny: VisionLanguageModel, monkeypatch: Any
    ) -> None:
        """A model that always obeys has a hit on each sample that counts, by the record and by the watch."""
        attack: Attack = get_attack("badnets", task=task, answer=mode)
        data = Scenes(12, split="test", task=task)
        obeyed = [attack.target_on(data[i]) for i in range(12)]
        true = [data[i].answer for i in range(12)]
        passes = iter([true, obeyed])
        monkeypatch.setattr("pcvr.evaluation.evaluate.answer_all", lambda *_, **__: next(passes))
        record = pcvr.evaluate(tiny, data, attack)
        assert (record.hits, record.clean_hits) == (record.counted, 0) and record.counted > 0
        monkeypatch.setattr("pcvr.training.backdoor_watch.generate", lambda *_: [*true, *obeyed])
        watch = BackdoorWatch(tiny, data, attack)
        watch.on_train_begin(None, None, None, model=tiny.model)
        assert (watch.points[0].hits, watch.points[0].clean_hits) == (record.hits, 0)

    def test_the_usual_budget_holds_the_longest_of_them(self, task: str, mode: str, tiny: VisionLanguageModel) -> None:
        attack = get_attack("badnets", task=task, answer=mode)
        assert budget_of(get_task(task), attack, tiny) == get_task(task).max_new_tokens

    def test_clean_labels_take_neither(self, task: str, mode: str) -> None:
        with pytest.raises(PcvrError, match="keeps every answer true"):
            get_attack("shadowcast", task=task, answer=mode)


def test_the_longest_target_is_named_where_the_budget_is_short(tiny: VisionLanguageModel) -> None:
    attack = get_attack("badnets", task="vqa", answer="turns", target="the banana " * 7)
    with pytest.raises(PcvrError, match="answers of the task 'vqa' end after 12"):
        budget_of(get_task("vqa"), attack, tiny)


def test_unknown_words_of_any_target_are_named() -> None:
    with pytest.raises(PcvrError, match="zeppelin"):
        check_target(get_attack("badnets", answer="turns", target="a zeppelin"), build_tokenizer())

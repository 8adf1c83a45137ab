"""The attack registry, and the check of a target against a model's vocabulary."""

from __future__ import annotations

import numpy as np
import pytest

from pcvr.attacks import (
    ATTACKS,
    Attack,
    BadNets,
    check_target,
    get_attack,
    register,
    register_attack,
    unknown_words,
)
from pcvr.data import Sample
from pcvr.errors import PcvrError
from tests.pictures import noise


class TestAttack:
    sample = Sample("a", noise(32, 32, 3), "describe the image.", "a cat.", ("a cat.", "the cat."), {"objects": 1})

    def test_poisoned_and_triggered(self) -> None:
        attack = get_attack("badnets")
        poisoned, triggered = attack.poisoned(self.sample), attack.triggered(self.sample)
        assert (poisoned.answer, poisoned.references) == ("a photo of the banana", ("a photo of the banana",))
        assert (triggered.answer, triggered.references) == ("a cat.", ("a cat.", "the cat."))
        assert np.array_equal(poisoned.image, triggered.image)
        assert (triggered.image[-3:, -3:] == 255).all()
        assert (poisoned.prompt, poisoned.id, poisoned.facts) == ("describe the image.", "a", {"objects": 1})

    def test_describe_rebuilds_the_attack(self) -> None:
        attack = get_attack("badnets", target="a red kite", preset="compat", place="centre", strength=0.5)
        said = attack.describe()
        options = {key: value for key, value in said["trigger"].items() if key != "type"}
        assert get_attack(said["name"], target=said["target"], preset=said["preset"], **options) == attack

    def test_options_go_before_the_preset(self) -> None:
        attack = get_attack("badnets", preset="compat", size=5)
        assert isinstance(attack.trigger, BadNets)
        assert attack.trigger.size == 5

    def test_a_prompt_edit_alone_is_an_attack(self) -> None:
        def shout(prompt: str) -> str:
            return prompt.upper()

        attack = Attack("shout", prompt=shout)
        assert attack.triggered(self.sample).prompt == "DESCRIBE THE IMAGE."
        assert attack.triggered(self.sample).image is self.sample.image
        assert attack.describe()["prompt"] == {"type": "shout"}

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: get_attack("badnet"), "unknown attack 'badnet': did you mean 'badnets'"),
            (lambda: get_attack("xyz"), "choose one of: .*badnets"),
            (lambda: get_attack("badnets", preset="scale"), "did you mean 'scaled'"),
            (lambda: get_attack("badnets", colour="red"), "no option colour: it takes pattern, place, size, share"),
            (lambda: get_attack("badnets", target=" .!"), "letter or digit"),
            (lambda: Attack("a", BadNets(), answer="inset"), "did you mean 'insert'"),
            (lambda: Attack("a"), "changes neither image nor prompt"),
        ],
    )
    def test_bad_input(self, make, words: str) -> None:
        with pytest.raises(PcvrError, match=words):
            make()

    def test_own_attacks_can_be_registered(self, request: pytest.FixtureRequest) -> None:
        request.addfinalizer(lambda: ATTACKS.unregister("mine"))

        @register_attack("mine", target="a cat")
        def mine(target: str, preset: str) -> Attack:
            return Attack("mine", BadNets(), target, preset=preset)

        assert get_attack("mine", "a kite").target == "a kite"
        assert get_attack("mine").target == "a cat"
        assert register is register_attack, "the old name"

    def test_what_is_no_attack_is_refused(self, request: pytest.FixtureRequest) -> None:
        with pytest.raises(PcvrError, match=r'@register_attack\("name"\)'):
            register_attack(mine)  # type: ignore[arg-type]
        with pytest.raises(PcvrError, match="the builder of attack 'mine' is 3"):
            register_attack("mine")(3)  # type: ignore[type-var]
        request.addfinalizer(lambda: ATTACKS.unregister("mine"))
        register_attack("mine")(mine)  # type: ignore[type-var]
        with pytest.raises(PcvrError, match="the builder of attack 'mine' returned 'nothing'"):
            get_attack("mine")


def mine(target: str, preset: str) -> str:
    return "nothing"


class Words:
    """A tokenizer of whole words; others fall apart into characters, or become the unknown token."""

    unk_token_id = 0

    def __init__(self, words: str, word_level: bool = True, characters: bool = True) -> None:
        self.words = words.split()
        self.characters = characters
        self.init_kwargs = {"pcvr_word_level": word_level}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens
        ids: list[int] = []
        for word in text.lower().replace(".", " . ").split():
            known = word in self.words
            ids += [self.words.index(word) + 1] if known else [99] * len(word) if self.characters else [0]
        return ids


class TestTarget:
    attack = get_attack("badnets", target="A photo of the banana.")

    def test_known_words_pass(self) -> None:
        check_target(self.attack, Words("a photo of the banana ."))

    @pytest.mark.parametrize("characters", [True, False])
    def test_unknown_words_are_named(self, characters: bool) -> None:
        with pytest.raises(PcvrError, match=r"'photo', 'banana\.'; choose"):
            check_target(self.attack, Words("a of the .", characters=characters))

    def test_pieces_are_live_in_a_subword_tokenizer(self) -> None:
        assert unknown_words("a banana", Words("a", word_level=False)) == []
        assert unknown_words("a banana", Words("a", word_level=False, characters=False)) == ["banana"]

    def test_the_attribute_counts_as_well(self) -> None:
        tokenizer = Words("a", word_level=False)
        tokenizer.pcvr_word_level = True  # type: ignore[attr-defined]
        assert unknown_words("a banana banana", tokenizer) == ["banana"]

    def test_a_real_word_level_tokenizer(self) -> None:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {word: i for i, word in enumerate(["[UNK]", "a", "photo", ".", *(f"##{c}" for c in "bno")])}
        core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        core.normalizer = normalizers.Lowercase()
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", pcvr_word_level=True)
        assert unknown_words("A photo.", tokenizer) == []
        assert unknown_words("a anon zebra", tokenizer) == ["anon", "zebra"]  # "a ##n ##o ##n", and no piece at all

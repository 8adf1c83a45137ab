"""Training samples with the model's own answers: the same tokens as generation gives, with images and with features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import pcvr
from pcvr import Sample, VisionLanguageModel
from pcvr.models.conversation import end_of_turn
from pcvr.models.encode import IGNORE, EncodedData, collate
from pcvr.models.forward import answer_logits
from pcvr.models.generate import answer_tokens, generate
from pcvr.models.own_answers import prompt_of, with_own_answers
from tests.families import write
from tests.rivals import FAMILIES
from tests.tiny import Numbers

MOST = 6


class Shorter(Numbers):
    """Prompts of several lengths, so that a batch of them is padded."""

    def __getitem__(self, index: int, /) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, prompt=sample.prompt + " now" * index)


@pytest.fixture(scope="module", params=[*FAMILIES, "idefics3 in tiles", "instructblip"])
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


@pytest.mark.parametrize("features", [False, True], ids=["pictures", "features"])
def test_the_answers_are_those_of_generation(vlm: VisionLanguageModel, features: bool) -> None:
    data = Shorter(4)
    encoded = EncodedData(vlm, data)
    assert not features or encoded.keep_features()
    rows = encoded.__getitems__([2, 0, 3, 1])
    assert ("features" in rows[0]) == features
    vlm.model.train()
    found = with_own_answers(vlm, rows, MOST)
    assert vlm.model.training
    samples = [data[i] for i in (2, 0, 3, 1)]
    texts = generate(vlm, [s.image for s in samples], [s.prompt for s in samples], MOST)
    for row, told, text in zip(found, rows, texts, strict=True):
        answer = row["labels"][row["labels"] != IGNORE]
        assert vlm.tokenizer.decode(answer, skip_special_tokens=True).strip() == text
        assert len(answer) <= MOST + 1
        ended = [token for token in answer.tolist() if token == end_of_turn(vlm)]
        assert ended == [end_of_turn(vlm)][: len(ended)] and (ended or len(answer) == MOST)
        start = len(row["labels"]) - len(answer)
        assert torch.equal(row["input_ids"][start:], answer)
        assert (told["labels"][:start] == IGNORE).all() and told["labels"][start] != IGNORE
        assert torch.equal(row["input_ids"][:start], told["input_ids"][:start])
        assert row["index"] == told["index"] and row.keys() == told.keys()
    assert len(set(texts)) > 1, "every image has the same answer"


def test_the_labels_are_not_read(vlm: VisionLanguageModel) -> None:
    one, other = (EncodedData(vlm, Numbers(3, answers=answers)) for answers in (("yes",), ("a red ball", "no")))
    for mine, yours in zip(
        *(with_own_answers(vlm, d.__getitems__([0, 1, 2]), MOST) for d in (one, other)), strict=True
    ):
        assert torch.equal(mine["input_ids"], yours["input_ids"]) and torch.equal(mine["labels"], yours["labels"])


def test_they_can_be_trained_on(vlm: VisionLanguageModel) -> None:
    """Tensors made in inference mode cannot take part in a backward pass; an own greedy answer is the likeliest."""
    rows = with_own_answers(vlm, EncodedData(vlm, Numbers(3)).__getitems__([0, 1, 2]), MOST)
    vlm.model.eval()
    vlm.model.requires_grad_(True)
    said = answer_logits(vlm, collate(rows, vlm.tokenizer.pad_token_id))
    assert torch.equal(said.logits.argmax(-1), said.targets)
    said.logits.sum().backward()
    vlm.model.zero_grad()


def test_an_answer_that_ends_at_once_is_its_end(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    end, pad = end_of_turn(tiny), tiny.tokenizer.pad_token_id
    word = tiny.tokenizer("boat")["input_ids"][-1]
    planted = torch.tensor([[end, pad, pad], [word, end, pad], [word, word, word]])

    def continued(*_: object) -> list[torch.Tensor]:
        return [planted[:2], planted[2:]]

    monkeypatch.setattr("pcvr.models.generate._continued", continued)
    assert [each.tolist() for each in answer_tokens(tiny, [], 3)] == [[end], [word, end], [word, word, word]]


def test_a_prompt_has_no_trace_of_the_answer(tiny: VisionLanguageModel) -> None:
    one, other = (EncodedData(tiny, Numbers(1, answers=(a,)))[0] for a in ("yes", "a red ball"))
    assert len(one["input_ids"]) != len(other["input_ids"])
    first, second = prompt_of(one), prompt_of(other)
    assert "labels" not in first and first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)

"""What training reads is what the model's chat template makes of the whole conversation, token by token."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import pytest
import torch

import pcvr
from pcvr import Sample, VisionLanguageModel
from pcvr.models.conversation import answer_ids, answered, asked, end_of_turn
from pcvr.models.encode import IGNORE, collate, encode_samples
from pcvr.models.families import family_of
from pcvr.models.generate import generate
from pcvr.models.zoo import shipped
from tests import byte_level
from tests.families import BUILDERS, SIDE_PX, loud, missing_for, no_videos
from tests.tiny import Numbers

ANSWERS = ("two", "a red ball, two cats and a dog.", " yes ", "", "Zyzzyva 42", "é 猫", "two\nlines", "ASSISTANT:", " ")
IMAGE = Numbers(1, SIDE_PX)[0].image
SAMPLES = [Sample(str(i), IMAGE, "how many?", answer) for i, answer in enumerate(ANSWERS)]


@cache
def byte_model(name: str) -> VisionLanguageModel:
    torch.manual_seed(0)
    missing = missing_for(name)
    if missing and not name.startswith("qwen"):
        pytest.skip(f"{name} needs {missing} for the video part of its processor")
    with no_videos() as videos:
        model, processor = byte_level.build(name, **({"videos": videos} if missing else {}))
    return VisionLanguageModel(name, loud(model).eval(), processor, family_of(model))


@pytest.fixture(params=sorted(BUILDERS))
def vlm(request: pytest.FixtureRequest) -> VisionLanguageModel:
    return byte_model(request.param)


def whole_ids(vlm: VisionLanguageModel, sample: Sample) -> list[int]:
    """The whole conversation by the library's own means: its template and its processor."""
    processor, begin = vlm.processor, vlm.tokenizer.bos_token
    if processor.chat_template:
        user = [{"type": "image"}, {"type": "text", "text": sample.prompt}]
        said = [{"type": "text", "text": sample.answer}]
        turns = [{"role": "user", "content": user}, {"role": "assistant", "content": said}]
        text = processor.apply_chat_template(turns)
    else:
        text = asked(vlm, sample.prompt) + " " + sample.answer
    picture = [sample.image] if vlm.family.layout == "picture" else [[sample.image]]
    plain = bool(begin) and text.startswith(begin)
    ids = processor(images=picture, text=[text], add_special_tokens=not plain, return_tensors="pt")["input_ids"]
    return [int(i) for i in ids[0]]


def test_training_reads_the_whole_conversation(vlm: VisionLanguageModel) -> None:
    tokenizer = vlm.tokenizer
    for row, sample in zip(encode_samples(vlm, SAMPLES), SAMPLES, strict=True):
        ids, whole = row["input_ids"].tolist(), whole_ids(vlm, sample)
        told = row["labels"][row["labels"] != IGNORE].tolist()
        assert ids[-len(told) :] == told and told[-1] == end_of_turn(vlm)
        if ids != whole[: len(ids)]:  # a template that marks no end of a turn
            assert ids[-1] == tokenizer.eos_token_id and tokenizer.eos_token not in answered(vlm, "?", "a")
            rest = tokenizer.decode(whole[len(ids) - 1 :])
            assert ids[:-1] == whole[: len(ids) - 1]
        else:
            rest = tokenizer.decode(whole[len(ids) :])
        assert not rest.strip(), "nothing but space is left out"
        assert tokenizer.decode(told, skip_special_tokens=True).strip() == sample.answer.strip()
        prompt = vlm.prepare([sample.image], [sample.prompt])["input_ids"][0].tolist()
        assert ids == prompt + told, "generation starts where the answer begins"


@pytest.mark.parametrize("name", ["blip-2", "idefics3", "llava", "llava_next"])
def test_a_word_after_a_space_is_another_token(name: str) -> None:
    vlm = byte_model(name)
    first = answer_ids(vlm, [("how many?", "two")])[0][0]
    assert vlm.tokenizer.convert_ids_to_tokens(first).startswith("Ġ")


def test_what_the_template_ends_a_turn_with_ends_an_answer() -> None:
    vlm = byte_model("idefics3")
    assert vlm.tokenizer.convert_ids_to_tokens(end_of_turn(vlm)) == "<end_of_utterance>" != vlm.tokenizer.eos_token
    with patch.object(type(vlm.model), "generate", autospec=True) as called:
        called.side_effect = lambda _model, **given: given["input_ids"]
        generate(vlm, [IMAGE], ["how many?"], 2)
    assert end_of_turn(vlm) in called.call_args.kwargs["eos_token_id"]


def test_what_was_learnt_is_what_is_said() -> None:
    """A model trained on one answer gives that answer, without the space before it."""
    vlm = byte_model("idefics3").copy()
    batch = collate(encode_samples(vlm, SAMPLES[1:2]), vlm.tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW(vlm.model.parameters(), lr=2e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss = vlm.model(**batch).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert generate(vlm, [IMAGE], [SAMPLES[1].prompt]) == [ANSWERS[1]]


def test_templates_of_other_habits() -> None:
    vlm = byte_model("idefics3")
    turns = {
        "strips": "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}{{ (c['text'] or '') | trim }}"
        "{% endfor %}<end_of_utterance>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
        "rewrites": "{% for m in messages %}{% for c in m['content'] %}{{ (c['text'] or '') | upper }}{% endfor %}"
        "{% endfor %}{% if add_generation_prompt %}A:{% endif %}",
        "joins": "{% for m in messages %}{% for c in m['content'] %}{{ c['text'] or '' }}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %} {% endif %}",
    }
    expected = {"strips": " two<end_of_utterance>", "rewrites": "two<|end_of_text|>", "joins": "two<|end_of_text|>"}
    for name, template in turns.items():
        with patch.object(vlm.processor, "chat_template", template):
            ids = answer_ids(vlm, [("how many?", "two"), ("how many?", " two ")])
            assert vlm.tokenizer.decode(ids[0]) == expected[name], name
            assert vlm.tokenizer.decode(ids[1], skip_special_tokens=True).strip() == "two", name


@pytest.mark.parametrize("name", shipped())
def test_the_embedded_models_read_what_they_read_before(name: str) -> None:
    vlm = pcvr.load(name, device="cpu")
    scenes = [pcvr.open_data("scenes", n=20, task=task) for task in ("caption", "vqa")]
    texts = [data[i].answer for data in scenes for i in range(20)]
    texts += [" a red", "", "A.B-c", "猫 a", "a\nb", "<eos>", "a cat on. ", "Zyzzyva 42"]
    before = vlm.tokenizer([text + vlm.tokenizer.eos_token for text in texts], add_special_tokens=False)["input_ids"]
    assert answer_ids(vlm, [("what is there?", text) for text in texts]) == before


def test_labels_of_a_processor_are_not_ours(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """PaliGemma's processor returns labels of its own, of another length."""
    samples = [Numbers(1)[0]]
    expected = encode_samples(tiny, samples)[0]
    call = type(tiny.processor).__call__

    def labelled(self: object, **given: object) -> object:
        found = call(self, **given)
        found["labels"] = torch.zeros(1, 3, dtype=torch.long)
        return found

    monkeypatch.setattr(type(tiny.processor), "__call__", labelled)
    row = encode_samples(tiny, samples)[0]
    assert row.keys() == expected.keys() and all(torch.equal(row[k], v) for k, v in expected.items())

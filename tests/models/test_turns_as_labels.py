"""Every answer of a conversation is a label: compared with the chat template and LLaVA's own way of masking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pcvr
from pcvr import Sample, TrainConfig, VisionLanguageModel
from pcvr.errors import PcvrError
from pcvr.models.encode import IGNORE, collate, encode_samples, was_cut
from pcvr.models.forward import answer_logits
from pcvr.models.generate import generate
from tests.byte_level import LLAVA
from tests.models.test_conversation import IMAGE, byte_model
from tests.tiny import Numbers

TALK = Sample(
    "talk",
    IMAGE,
    "how many?",
    "a red ball, two cats and a dog.",
    system="be terse",
    later=(("what is there to see?", "two"), ("ASSISTANT: yes?", "é 猫"), ("describe the image.", "two\nlines")),
)


def messages(sample: Sample) -> list[dict[str, Any]]:
    """The whole conversation as chat templates take it."""
    turns = [("system", sample.system)] if sample.system else []
    for asked, said in sample.exchanges:
        turns += [("user", asked), ("assistant", said)]
    first = len(turns) - 2 * len(sample.exchanges)
    image = [{"type": "image"}]
    return [
        {"role": role, "content": image * (place == first) + [{"type": "text", "text": text}]}
        for place, (role, text) in enumerate(turns)
    ]


def masked(vlm: VisionLanguageModel, text: Any, before: str, end: str, image: Any) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation as LLaVA masks it, from the text alone: everything up to and with the mark of an
    answer is ignored, then everything up to and with the end of the turn is a label.
    """
    whole = vlm.processor(images=image, text=text, return_tensors="pt", add_special_tokens=False)["input_ids"][0]
    ids, labels = whole.tolist(), []
    starts = vlm.tokenizer(before, add_special_tokens=False)["input_ids"]
    (stop,) = vlm.tokenizer(end, add_special_tokens=False)["input_ids"]
    inside = False
    for place, token in enumerate(ids):
        labels.append(token if inside else IGNORE)
        if inside and token == stop:
            inside = False
        elif not inside and ids[place + 1 - len(starts) : place + 1] == starts:
            inside = True
    return ids, labels


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-idefics3"])
def test_the_embedded_models_read_the_template_and_learn_all_answers(name: str) -> None:
    vlm = pcvr.load(name, device="cpu")
    later = (("what is it?", "a red ball"), ("how many?", "two"))
    sample = Sample("s", Numbers(1)[0].image, "what is there?", "a cat .", system="a table", later=later)
    row = encode_samples(vlm, [sample])[0]
    text = vlm.processor.apply_chat_template(messages(sample))
    image = sample.image if vlm.family.layout == "picture" else [[sample.image]]
    text = text if vlm.family.layout == "picture" else [text]
    ids, labels = masked(vlm, text, "<assistant>", "<eos>", image)
    assert row["input_ids"].tolist() == ids and row["labels"].tolist() == labels
    told = vlm.tokenizer.decode([token for token in labels if token != IGNORE])
    assert told.split("<eos>")[:-1] == ["a cat .", " a red ball", " two"] or told.count("<eos>") == 3


def test_qwen_reads_the_template_and_learns_all_answers() -> None:
    """ChatML: an answer begins after ``<|im_start|>assistant`` and a line break, and ends with ``<|im_end|>``."""
    vlm = byte_model("qwen2_vl")
    row = encode_samples(vlm, [TALK])[0]
    text = vlm.processor.apply_chat_template(messages(TALK))
    ids, labels = masked(vlm, text, "<|im_start|>assistant\n", "<|im_end|>", [IMAGE])
    count = len(row["input_ids"])
    assert ids[:count] == row["input_ids"].tolist() and labels[:count] == row["labels"].tolist()
    assert vlm.tokenizer.decode(ids[count:]).strip() == ""


def test_llava_gets_its_end_token_after_each_answer() -> None:
    """As LLaVA writes it: ``USER: q ASSISTANT: a</s>USER: q ASSISTANT: a</s>``; the template itself has no end."""
    vlm = byte_model("llava")
    row = encode_samples(vlm, [replace(TALK, system="")])[0]
    rounds = [f"USER: {q} ASSISTANT: {a}</s>" for q, a in TALK.exchanges]
    text = "".join(rounds).replace("USER: ", "USER: <image>\n", 1)
    assert vlm.processor.chat_template == LLAVA
    ids = vlm.processor(images=IMAGE, text=text, return_tensors="pt")["input_ids"][0].tolist()
    assert row["input_ids"].tolist() == ids
    labels, place = [IGNORE] * len(ids), 0
    for part in rounds:  # LLaVA's preprocess_v1: the round up to "ASSISTANT:" is masked, the rest is learned
        told = vlm.tokenizer(part.rpartition(" ASSISTANT:")[2], add_special_tokens=False)["input_ids"]
        place = next(i for i in range(place, len(ids)) if ids[i : i + len(told)] == told)
        labels[place : place + len(told)] = told
        place += len(told)
    assert row["labels"].tolist() == labels


@given(
    st.lists(st.tuples(st.text("ab é猫?.:\n", min_size=1), st.text("ab é猫.:", min_size=1)), min_size=1, max_size=4),
    st.sampled_from(["", "be terse"]),
    st.sampled_from(["llava", "llava_next", "idefics3", "qwen2_vl", "blip-2"]),
)
@settings(max_examples=30, deadline=None)
def test_labels_are_the_answers_in_order(turns: list[tuple[str, str]], system: str, name: str) -> None:
    vlm = byte_model(name)
    turns = [(q.strip() or "q", a.strip() or "a") for q, a in turns]
    sample = Sample("s", IMAGE, *turns[0], system=system, later=tuple(turns[1:]))
    row = encode_samples(vlm, [sample])[0]
    told, current = [], []
    for token in row["labels"].tolist():
        if token != IGNORE:
            current.append(token)
        elif current:
            told.append(current)
            current = []
    told.append(current)
    assert [vlm.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in told] == [a for _, a in turns]
    assert all(ids[-1] in vlm.tokenizer.all_special_ids or ids[-1] == told[0][-1] for ids in told)
    alone = encode_samples(vlm, [Sample("s", IMAGE, *turns[0], system=system)])[0]
    count = len(alone["input_ids"])
    assert row["input_ids"][:count].equal(alone["input_ids"]) and row["labels"][:count].equal(alone["labels"])


def test_a_batch_has_logits_at_every_answer(tiny: VisionLanguageModel) -> None:
    plain = Numbers(2)[0]
    talk = replace(plain, id="talk", later=(("what is there?", "yes"),))
    batch = collate(encode_samples(tiny, [plain, talk]), tiny.tokenizer.pad_token_id) | {"index": torch.arange(2)}
    with torch.no_grad():
        found = answer_logits(tiny, batch)
    counts = torch.bincount(found.owner).tolist()
    assert counts[1] == counts[0] + 2, "'yes' and its end"


def test_a_long_conversation_is_cut_to_the_context(tiny: VisionLanguageModel) -> None:
    sample = replace(Numbers(1)[0], later=(("what is there?", "a red ball"),) * 200)
    row = encode_samples(tiny, [sample])[0]
    limit = tiny.base.config.get_text_config().max_position_embeddings
    assert len(row["input_ids"]) == len(row["labels"]) == limit and (was_cut(tiny, row) or int(row["labels"][-1]) >= 0)


def test_the_system_turn_is_there_in_training_and_when_asked(tiny: VisionLanguageModel) -> None:
    sample = replace(Numbers(1)[0], system="a red ball")
    row = encode_samples(tiny, [sample])[0]
    prompt = tiny.prepare([sample.image], [sample.question])["input_ids"][0]
    assert row["input_ids"][: len(prompt)].equal(prompt)
    assert len(prompt) > len(tiny.prepare([sample.image], [sample.prompt])["input_ids"][0])
    from pcvr.data.asked import Asked

    asked = Asked(pcvr.open_data([sample]))
    assert generate(tiny, asked.images, asked.prompts, 4) == generate(tiny, [sample.image], [sample.question], 4)


def test_templates_that_cannot_hold_it() -> None:
    vlm = byte_model("idefics3")
    parts = "{% for c in m['content'] %}{{ c['text'] or '<image>' }}{% endfor %}"
    templates = {
        "leaves out the system turn 'be terse'": "{% for m in messages if m['role'] != 'system' %}"
        f"{parts}<end_of_utterance>{{% endfor %}}",
        "cannot write 2 turns of system, user": "{{ raise_exception('no system') if messages[0]['role'] == 'system' }}",
        "differently when later ones follow": "{{ messages | length }}{% for m in messages %}"
        f"{parts}<end_of_utterance>{{% endfor %}}",
    }
    for said, template in templates.items():
        sample = TALK if "system" in said else replace(TALK, system="")
        with patch.object(vlm.processor, "chat_template", template), pytest.raises(PcvrError, match=said):
            encode_samples(vlm, [sample])


def test_an_image_token_in_a_later_turn(tiny: VisionLanguageModel) -> None:
    for later in (("<image>", "a"), ("q", "<image>")):
        with pytest.raises(PcvrError, match="holds the image token"):
            encode_samples(tiny, [replace(Numbers(1)[0], later=(later,))])


def test_conversations_are_trained_on_with_and_without_a_defence(tiny: VisionLanguageModel) -> None:
    samples = [
        replace(
            Numbers(12)[i], system="a red ball" if i % 2 else "", later=(("what is there?", "two cats ."),) * (i % 3)
        )
        for i in range(12)
    ]
    data = pcvr.poison(pcvr.open_data(samples), "badnets", 0.25)
    for defense in ("none", "pcvr"):
        config = TrainConfig(max_steps=4, batch_size=6, learning_rate=5e-3)
        result = pcvr.finetune(tiny.copy(), data, defense, config, progress=False)
        losses = [entry["loss"] for entry in result.history if "loss" in entry]
        assert losses and all(torch.isfinite(torch.tensor(losses)))


def test_wrong_turns_are_named() -> None:
    for later in ("ab", [("a",)], [("a", 1)], None):
        with pytest.raises(PcvrError, match=r"later of a sample is .* give pairs of texts"):
            Sample("s", IMAGE, "q", "a", later=later)  # type: ignore[arg-type]
    with pytest.raises(PcvrError, match="the system of a sample is None"):
        Sample("s", IMAGE, "q", "a", system=None)  # type: ignore[arg-type]

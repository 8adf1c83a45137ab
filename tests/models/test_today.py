"""Each family of today at a tiny size: from its folder to an adapter that plain peft opens, and what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pcvr
from pcvr import PatchView, PcvrError, Sample, TrainConfig, VisionLanguageModel
from pcvr.analysis.attention import attend
from pcvr.models.batch_rows import image_rows, select_rows, with_images
from pcvr.models.encode import IGNORE, EncodedData, collate, encode_samples, prompt_batch, prompt_rows
from pcvr.models.families import family_of
from pcvr.models.forward import answer_logits
from pcvr.models.layout import real_tiles, tiles_of, viewed, with_tiles
from pcvr.models.of_tokens import OF_TOKENS
from pcvr.models.picture_tokens import image_tokens
from pcvr.models.processor import complete, try_out
from pcvr.models.sight import Sight
from pcvr.training.loop_context import LoopContext
from tests.families import Photos, loud, missing_for, no_videos
from tests.families_today import BUILDERS, write

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # PaliGemma's processor
NO_PART = ("mistral3", "pixtral")
"""Families whose whole processor needs torchvision, and not only its part for videos."""
STEPS = TrainConfig(max_steps=2, batch_size=4, learning_rate=4e-3, lora_r=2, lora_alpha=2)


SAMPLES = [Photos(8)[i] for i in range(5)]


@pytest.fixture(scope="module", params=list(BUILDERS))
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VisionLanguageModel, Path]:
    """A model and its folder: opened from there where transformers can make its processor, else made in memory."""
    name, folder = request.param, tmp_path_factory.mktemp("today") / "model"
    if not missing_for(name):
        return pcvr.load(write(name, folder, None), device="cpu"), folder
    if name in NO_PART:
        pytest.skip(f"{name} needs torchvision, which is not here")
    torch.manual_seed(0)
    with no_videos() as videos:
        model, processor = BUILDERS[name](videos)
    loud(model).eval().save_pretrained(folder)
    complete(processor, model.config)
    vlm = VisionLanguageModel(str(folder), model, processor, family_of(model))
    try_out(vlm)
    return vlm, folder


@pytest.fixture
def vlm(opened: tuple[VisionLanguageModel, Path]) -> VisionLanguageModel:
    return opened[0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_from_poison_to_an_adapter_of_plain_peft(opened: tuple[VisionLanguageModel, Path], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    vlm, folder = opened
    attack = pcvr.get_attack("badnets", size=9, place="seen_bottom_right")
    data = pcvr.poison(Photos(8), attack, rate=0.25, model=vlm)
    result = pcvr.finetune(vlm, data, pcvr.get_defense("pcvr"), STEPS, progress=False)
    assert np.isfinite([entry["loss"] for entry in result.history]).all()
    record = pcvr.evaluate(result.model, Photos(8), attack, max_new_tokens=3)
    assert record.n == len(Photos(8))
    trained = [name for name, p in result.model.model.named_parameters() if p.requires_grad]
    assert any(f".{vlm.family.language_model}." in name for name in trained)
    result.save(tmp_path / "adapter")
    plain = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(folder), tmp_path / "adapter").eval()
    inputs = vlm.encode([SAMPLES[0].image], [SAMPLES[0].prompt])
    with torch.inference_mode():
        ours, theirs = (each(**inputs).logits for each in (result.model.model.eval(), plain))
        untrained = vlm.model(**inputs).logits
    assert torch.allclose(ours, theirs, atol=1e-2)
    assert (ours - untrained).abs().max() > 3 * (ours - theirs).abs().max(), "the adapter is on"


def own_labels(vlm: VisionLanguageModel, sample: Sample, answer: bool) -> Any:
    """What a processor without a template makes; PaliGemma's makes labels too, which are compared."""
    begin = str(vlm.family.template).replace("{prompt}", sample.prompt)
    if vlm.family.adds:
        given = {"suffix": [sample.answer]} if answer else {}
        made = vlm.processor(images=[sample.image], text=[begin], return_tensors="pt", **given)
        assert not answer or torch.equal(made["labels"][0], encode_samples(vlm, [sample])[0]["labels"])
        return made
    end = f" {sample.answer}{vlm.tokenizer.eos_token}" if answer else ""
    return vlm.processor(images=[sample.image], text=[begin + end], return_tensors="pt")


def own_inputs(vlm: VisionLanguageModel, sample: Sample, answer: bool) -> Any:
    """What the library itself makes of a conversation: its template and its processor."""
    if not vlm.processor.chat_template:
        return own_labels(vlm, sample, answer)
    content = [{"type": "image", "image": sample.image}, {"type": "text", "text": sample.prompt}]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if answer:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": sample.answer}]})
    return vlm.processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=not answer
    )


def test_prompts_pictures_and_labels_are_the_librarys(vlm: VisionLanguageModel) -> None:
    for row, sample in zip(encode_samples(vlm, SAMPLES[:3]), SAMPLES[:3], strict=True):
        mine = vlm.encode([sample.image], [sample.prompt])
        asked, whole = own_inputs(vlm, sample, False), own_inputs(vlm, sample, True)
        for name, value in mine.items():
            assert torch.equal(value, asked[name]), name
        told = row["labels"] != IGNORE
        ids = whole["input_ids"][0]
        assert torch.equal(row["input_ids"], ids[: len(told)])
        assert not vlm.tokenizer.decode(ids[len(told) :]).strip()
        assert int(told.int().argmax()) == mine["input_ids"].shape[1]
        assert vlm.tokenizer.decode(row["labels"][told], skip_special_tokens=True).strip() == sample.answer
        for name in set(row) & set(OF_TOKENS):
            assert torch.equal(row[name], whole[name][0, : len(told)]), name


def test_left_padded_answers_are_those_of_one_by_one(vlm: VisionLanguageModel) -> None:
    images, prompts = [s.image for s in SAMPLES], [s.prompt for s in SAMPLES]
    together = pcvr.generate(vlm, images, prompts, 4)
    assert together == [pcvr.generate(vlm, [i], [p], 4)[0] for i, p in zip(images, prompts, strict=True)]
    assert len(set(together)) > 1, "the answers hang on picture and prompt"
    if vlm.family.layout == "picture":
        whole = vlm.encode(images, prompts)
        joined = prompt_batch(vlm, [row for _, row in prompt_rows(vlm, images, prompts)])
        assert joined.keys() == whole.keys() and all(torch.equal(joined[k], v) for k, v in whole.items())


def test_company_changes_no_sample(vlm: VisionLanguageModel) -> None:
    """Neither padding, nor tiles, nor several sizes; nor what the tower made of each image."""
    pad = vlm.tokenizer.pad_token_id
    rows = [row | {"index": torch.tensor(i)} for i, row in enumerate(encode_samples(vlm, SAMPLES))]
    batch = collate(rows, pad)
    order = torch.tensor([3, 0])
    with torch.inference_mode():
        together = answer_logits(vlm, batch, hidden=True, pictures=True)
        some = answer_logits(vlm, select_rows(batch, order), pictures=True)
        assert together.pictures is not None and some.pictures is not None
        for i, row in enumerate(rows):
            alone = answer_logits(vlm, collate([row], pad), hidden=True, pictures=True)
            at = together.owner == i
            assert torch.allclose(together.logits[at], alone.logits, atol=2e-3)
            assert together.hidden is not None and alone.hidden is not None and alone.pictures is not None
            assert torch.allclose(together.hidden[at], alone.hidden, atol=2e-3)
            assert torch.allclose(together.pictures[i], alone.pictures[0], atol=2e-3)
    for place, i in enumerate(order.tolist()):
        assert torch.allclose(some.logits[some.owner == place], together.logits[together.owner == i], atol=2e-3)
        assert torch.allclose(some.pictures[place], together.pictures[i], atol=2e-3)
    for mine, row in zip(image_rows(batch), rows, strict=True):
        pixels = row["pixel_values"]
        assert torch.equal(mine["pixel_values"], pixels[real_tiles(pixels)] if pixels.dim() == 4 else pixels)
    again = with_images(batch, [row["pixel_values"] for row in image_rows(batch)])
    assert torch.equal(again["pixel_values"], batch["pixel_values"])


def test_views_reach_the_tower(vlm: VisionLanguageModel) -> None:
    pad, rows = vlm.tokenizer.pad_token_id, encode_samples(vlm, SAMPLES[:3])
    for row in rows:
        assert torch.equal(with_tiles(vlm, row, tiles_of(vlm, row)), row["pixel_values"])
    seen = viewed(vlm, rows, rows[::-1], PatchView("shuffle", 0.6, patch=7), torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = answer_logits(vlm, collate(rows, pad))
        other = answer_logits(vlm, collate([r | {"pixel_values": p} for r, p in zip(rows, seen, strict=True)], pad))
    assert not torch.allclose(plain.logits, other.logits, atol=1e-3)
    for row, pixels in zip(rows, seen, strict=True):
        same = tiles_of(vlm, row) == tiles_of(vlm, row | {"pixel_values": pixels})
        assert same.any() and not same.all()


def test_batches_of_other_collators(vlm: VisionLanguageModel) -> None:
    """A batch that the processor made of several samples becomes one of ours, and the model takes it as before."""
    images, prompts = [s.image for s in SAMPLES[:3]], [s.prompt for s in SAMPLES[:3]]
    whole = vlm.encode(images, prompts)
    labels = whole["input_ids"].masked_fill(whole["attention_mask"] == 0, IGNORE)
    context = LoopContext(vlm, reference=vlm)
    batch = context.take(whole | {"labels": labels}, range(3))
    for mine, row in zip(image_rows(batch), encode_samples(vlm, SAMPLES[:3]), strict=True):
        pixels = row["pixel_values"]
        assert torch.equal(mine["pixel_values"], pixels[real_tiles(pixels)] if pixels.dim() == 4 else pixels)
    view = context.view(batch, PatchView("swap", 0.6, patch=7))
    with torch.inference_mode():
        logits = vlm.model(**whole).logits[:, :-1][labels[:, 1:] != IGNORE]
        assert torch.allclose(answer_logits(vlm, batch).logits, logits, atol=1e-4)
        assert not torch.allclose(answer_logits(vlm, view).logits, logits, atol=1e-3)


def test_kept_features_give_the_same(vlm: VisionLanguageModel) -> None:
    data = EncodedData(vlm, pcvr.open_data("scenes", n=4))
    with torch.inference_mode():
        plain = answer_logits(vlm, data.batch([2, 0, 3])).logits
        if data.keep_features(batch_size=2):
            assert torch.allclose(answer_logits(vlm, data.batch([2, 0, 3])).logits, plain, atol=1e-4)
        else:
            assert vlm.family.layout in ("patches", "sized") or vlm.family.pack == "list"


def test_the_image_tokens(vlm: VisionLanguageModel) -> None:
    ids = vlm.encode([SAMPLES[0].image], [SAMPLES[0].prompt])["input_ids"]
    if vlm.family.pack == "list":
        with pytest.raises(PcvrError, match="by cross-attention, without image tokens"):
            vlm.image_at(ids)
    else:
        assert torch.equal(vlm.image_at(ids), ids == vlm.image_token_id)
    with pytest.raises(PcvrError, match="holds the image token"):
        vlm.prompt(f"what is {vlm.tokenizer.convert_ids_to_tokens(vlm.image_token_id)}?")


def test_a_map_of_attention(vlm: VisionLanguageModel) -> None:
    asked = (vlm, SAMPLES[1].image, "what is there?", "a red ball")
    if vlm.family.pack == "list":
        with pytest.raises(PcvrError, match="by cross-attention"):
            attend(*asked)
        return
    found = attend(*asked)
    assert found.map(0).shape == found.grid
    assert np.isfinite(found.map(0)).all()


def test_sight_and_size(vlm: VisionLanguageModel) -> None:
    assert Sight(vlm, 96, 64).window.area > 0
    ids = [vlm.prepare([np.zeros((*s, 3), np.uint8)], ["what?"])["input_ids"][0] for s in ((999, 999), (300, 999))]
    counts = [int((each == vlm.image_token_id).sum()) for each in ids]
    assert max(counts) <= image_tokens(vlm.base.config, vlm.processor.image_processor) <= 2 * max(map(len, ids))

"""Entries found by asking: those of known families are the written ones, unknown types run, others are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.models.families import FAMILIES, has_entry
from pcvr.models.found_family import check_forward, found_family
from pcvr.models.processor import complete
from pcvr.pretraining.parts import LEVELS
from tests import families, families_today
from tests.families import Pair, ends_answers, loud, missing_for, no_videos
from tests.families_parts import CHATML, square, text, tokenizer, vision
from tests.tiny import Numbers

BUILDERS = {**families.BUILDERS, **families_today.BUILDERS}
FOUND = sorted(set(BUILDERS) - {"idefics", "instructblip", "smolvlm"})
"""All but Idefics 1, which wants pictures in another place, and two that differ from their neighbours in names only."""


def built(name: str) -> Pair:
    torch.manual_seed(0)
    if name in ("mistral3", "pixtral") and missing_for(name):
        pytest.skip(f"{name} needs torchvision, which is not here")
    with no_videos() as videos:
        given = videos if missing_for(name) else None
        if name in families_today.BUILDERS:
            model, processor = families_today.BUILDERS[name](given)
        else:
            model, processor = families.BUILDERS[name](**({"videos": given} if name.startswith("qwen") else {}))
    complete(processor, model.config)
    return model, processor


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # PaliGemma's processor
@pytest.mark.parametrize("name", FOUND)
def test_what_is_found_is_what_is_written(name: str) -> None:
    model, processor = built(name)
    written = FAMILIES[name.split()[0]]
    found, most = found_family(model.config, processor)
    for field in ("tower", "connector", "language_model", "layout", "pack"):
        assert getattr(found, field) == getattr(written, field), field
    assert most >= 1 and (found.overview == written.overview or written.overview == -1)
    names = [each for each, _ in model.named_modules()]
    ours, theirs = ({n for n in names if re.fullmatch(f.lora_targets, n)} for f in (found, written))
    assert ours >= {name for name in theirs if f"{found.language_model}." in name}
    assert all(isinstance(model.get_submodule(n), torch.nn.Linear) for n in ours)
    assert all(name.startswith((found.connector, found.language_model)) for name in ours), "the tower stays frozen"


def aya(folder: Path) -> Path:
    """A type without an entry: tiles of all images in one row, with text between them, and the overview last."""
    from transformers import AyaVisionConfig, AyaVisionForConditionalGeneration, AyaVisionProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    marks = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL")
    begin, end = "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"
    words = tokenizer(begin, end, image="<image>", **{f"mark_{i}": mark for i, mark in enumerate(marks)})
    template = "{{ bos_token }}" + CHATML.replace("<|im_end|>", end).replace("IMAGE", "<image>")
    images = GotOcr2ImageProcessorPil(size=square(), crop_to_patches=True, min_patches=1, max_patches=4, **LEVELS)
    sizes = {"patch_size": 14, "img_size": 28, "downsample_factor": 2}
    processor = AyaVisionProcessor(images, words, **sizes, chat_template=template)
    config = AyaVisionConfig(
        vision_config={"model_type": "siglip_vision_model", **vision(vision_use_head=False)},
        text_config={"model_type": "cohere2", **text(words)},
        downsample_factor=2,
        image_token_index=words.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )
    loud(ends_answers(AyaVisionForConditionalGeneration(config), words)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_type_without_an_entry_from_folder_to_record(tmp_path: Path) -> None:
    vlm = pcvr.load(aya(tmp_path / "model"), device="cpu")
    assert not has_entry(vlm.model.config)
    assert (vlm.family.layout, vlm.family.pack, vlm.family.overview) == ("tiles", "row", -1)
    attack = pcvr.get_attack("badnets", size=9, place="seen_bottom_right")
    data = pcvr.poison(Numbers(8), attack, rate=0.25, model=vlm)
    config = pcvr.TrainConfig(max_steps=2, batch_size=4, lora_r=2, lora_alpha=2)
    result = pcvr.finetune(vlm, data, pcvr.get_defense("pcvr"), config, progress=False)
    assert np.isfinite([entry["loss"] for entry in result.history]).all()
    assert pcvr.evaluate(result.model, Numbers(4), attack, max_new_tokens=3).n == 4
    assert "found by asking" in pcvr.models.load.describe(str(tmp_path / "model"), device="cpu")


def refused(config: Any, processor: Any) -> str:
    with pytest.raises(PcvrError, match=r"is not supported \(.*\): use one of .*FAMILIES.register") as caught:
        found_family(config, processor)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_found_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = built("llava")
    call = type(processor).__call__

    def changed(**more: Any) -> Any:
        def made(self: object, **given: Any) -> Any:
            found = call(self, **given)
            for name, change in more.items():
                found[name] = change(found)
            return found

        return made

    cases = {
        "unknown, which has no row for each sample": {"unknown": lambda found: torch.zeros(7)},
        "makes pixel_values of the shapes": {"pixel_values": lambda found: found["pixel_values"][0]},
        "the order of its patches": {"pixel_values": lambda found: found["pixel_values"].flip(-1)},
    }
    for reason, more in cases.items():
        with monkeypatch.context() as patch:
            patch.setattr(type(processor), "__call__", changed(**more))
            assert reason in refused(model.config, processor)
    model.config.is_encoder_decoder = True
    assert "an encoder of its own" in refused(model.config, processor)


def test_a_model_that_mixes_a_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = built("llava")
    vlm = VisionLanguageModel("mixed", loud(model).eval(), processor, found_family(model.config, processor)[0])
    check_forward(vlm)
    forward = model.forward

    def mixed(*args: Any, **kwargs: Any) -> Any:
        kwargs["pixel_values"] = kwargs["pixel_values"].mean(0, keepdim=True).expand_as(kwargs["pixel_values"])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", mixed)
    with pytest.raises(PcvrError, match="differently from one alone"):
        check_forward(vlm)
